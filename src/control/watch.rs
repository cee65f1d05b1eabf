//! Looks at the counters once in a while and says what an operator should hear about. Workers never log.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::Line;
use crate::counters::DropReason;
use crate::metrics::Source;
use crate::neighbor::Hop;

/// How often at most one reason is reported.
const QUIET: Duration = Duration::from_secs(10);

/// Drops that say something is wrong on this side, and not just with a packet.
const NOTABLE: &[DropReason] = &[
    DropReason::ArpConflict,
    DropReason::ArpPastLeat,
    DropReason::NoBackend,
    DropReason::TableFull,
    DropReason::PortsExhausted,
    DropReason::NeighborUnresolved,
    DropReason::NeighborQueueFull,
    DropReason::HandOverFull,
    DropReason::TransmitFull,
    DropReason::TooLong,
    DropReason::NoBuffer,
];

/// What was last said.
#[derive(Debug, Default)]
pub struct Watch {
    drops: HashMap<&'static str, (u64, Instant)>,
    neighbors: HashMap<Ipv4Addr, Hop>,
}

impl Watch {
    /// Says what is new since the last look.
    pub fn look(&mut self, source: &Source, now: Instant) {
        for line in self.news(source, now) {
            line.log();
        }
    }

    fn news(&mut self, source: &Source, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        for reason in NOTABLE {
            let total = source.drops(*reason);
            let (told, when) = self.drops.entry(reason.name()).or_insert((0, now));
            if total > *told && (*told == 0 || now.duration_since(*when) >= QUIET) {
                let text = format!("dropped {} packets: {} ({})", total - *told, reason.description(), reason.name());
                lines.push(Line { level: log::Level::Warn, text });
                (*told, *when) = (total, now);
            }
        }
        let snapshot = source.current.load();
        for neighbor in snapshot.neighbors().iter().filter(|neighbor| !neighbor.is_static()) {
            let Some(hop) = neighbor.hop() else { continue };
            let before = self.neighbors.insert(neighbor.address(), hop);
            if before == Some(hop) {
                continue;
            }
            let (address, mac, port) = (neighbor.address(), hop.mac, hop.port.0);
            let what = if before.is_some() { "is now at" } else { "is at" };
            lines.push(Line { level: log::Level::Info, text: format!("{address} {what} {mac} on port {port}") });
        }
        lines
    }
}
