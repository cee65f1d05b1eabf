//! Looks at the counters once in a while and says what an operator should hear about. Workers never log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Line;
use crate::counters::DropReason;
use crate::id::PortId;
use crate::metrics::Source;
use crate::neighbor::Hop;

/// How often at most one reason is reported.
const QUIET: Duration = Duration::from_secs(10);

/// How long a next hop may be silent before that is said.
const PATIENCE: Duration = Duration::from_secs(5);

/// Drops that say something is wrong on this side, and not just with a packet.
const NOTABLE: &[DropReason] = &[
    DropReason::ArpConflict,
    DropReason::ArpPastLeat,
    DropReason::NdpConflict,
    DropReason::NdpPastLeat,
    DropReason::TunnelRefused,
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
    neighbors: HashMap<(IpAddr, Option<PortId>), Known>,
    /// By port, whether its link was up.
    links: HashMap<u16, bool>,
}

/// What is known of a next hop, and was said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing yet, since then.
    NothingSince(Instant),
    /// Nothing yet, and that was said.
    NothingAsWasSaid,
    /// Where it is, and that was said.
    At(Hop),
}

impl Watch {
    /// Says what is new since the last look. Returns whether a link has come up again: there may be another switch behind it.
    pub fn look(&mut self, source: &Source, now: Instant) -> bool {
        for line in self.news(source, now) {
            line.log();
        }
        let (figures, _) = (source.ask_ports)();
        let snapshot = source.current.load();
        let links: Vec<_> = snapshot.ports().iter().zip(figures).map(|(port, it)| (port, it.link_up)).collect();
        let mut is_back = false;
        for (port, is_up) in links {
            is_back |= self.link(port.id.0, &port.name, is_up);
        }
        is_back
    }

    /// Says when a port's link has come or gone, and returns whether it has come back.
    fn link(&mut self, port: u16, name: &str, is_up: bool) -> bool {
        let was_up = self.links.insert(port, is_up);
        match (was_up, is_up) {
            (Some(true), false) => log::warn!("port {name}: its link is down"),
            (Some(false), true) => log::info!("port {name}: its link is up"),
            // Some ports are not up at once.
            (None, false) => log::warn!("port {name}: it has no link"),
            _ => {}
        }
        was_up == Some(false) && is_up
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
        self.neighbors.retain(|(address, _), _| !snapshot.neighbors_at(*address).is_empty());
        for neighbor in snapshot.neighbors().iter().filter(|neighbor| !neighbor.is_static()) {
            // Elsewhere a link-local address is another station's.
            let port = neighbor.port().filter(|_| neighbor.is_link_local());
            lines.extend(self.news_of((neighbor.address(), port), &snapshot.name_of(neighbor), neighbor.hop(), now));
        }
        lines
    }

    /// What is new about a next hop: where it is, where it is now, or that it does not answer.
    fn news_of(
        &mut self,
        key: (IpAddr, Option<PortId>),
        address: &str,
        hop: Option<Hop>,
        now: Instant,
    ) -> Option<Line> {
        let known = self.neighbors.entry(key).or_insert(Known::NothingSince(now));
        let (next, level, text) = match (*known, hop) {
            (Known::At(before), Some(hop)) if before == hop => return None,
            (before, Some(hop)) => {
                let what = if matches!(before, Known::At(_)) { "is now at" } else { "is at" };
                let text = format!("{address} {what} {} on port {}", hop.mac, hop.port.0);
                (Known::At(hop), log::Level::Info, text)
            }
            (Known::NothingSince(start), None) if now.duration_since(start) >= PATIENCE => {
                let how = if key.0.is_ipv4() { "ARP" } else { "neighbour discovery" };
                let text = format!("{address} does not answer {how}: nothing can be sent to it until it does");
                (Known::NothingAsWasSaid, log::Level::Warn, text)
            }
            (_, None) => return None,
        };
        *known = next;
        Some(Line { level, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MacAddr;

    #[test]
    fn an_operator_hears_once_of_a_next_hop_that_is_silent_found_or_moved() {
        let mut watch = Watch::default();
        let start = Instant::now();
        let at = |last| Some(Hop { mac: MacAddr([2, 0, 0, 0, 0, last]), port: PortId(0) });
        let mut said = Vec::new();
        let rows = [(0, None), (1, None), (6, None), (60, None), (61, at(2)), (62, at(2)), (63, at(3)), (64, at(3))];
        for (second, hop) in rows {
            let line =
                watch.news_of(([10, 0, 0, 2].into(), None), "10.0.0.2", hop, start + Duration::from_secs(second));
            said.extend(line.map(|line| (second, line.level, line.text)));
        }
        let expected = [
            (6, log::Level::Warn, "10.0.0.2 does not answer ARP: nothing can be sent to it until it does"),
            (61, log::Level::Info, "10.0.0.2 is at 02:00:00:00:00:02 on port 0"),
            (63, log::Level::Info, "10.0.0.2 is now at 02:00:00:00:00:03 on port 0"),
        ];
        assert_eq!(said, expected.map(|(second, level, text)| (second, level, text.to_owned())));
    }
}
