//! Next hops: which Ethernet address, on which port, an IP address is reached at.
//!
//! Every next hop that leat will ever ask for is known from the configuration: the backends and the gateways. Each is a
//! [`Neighbor`], a cell that the first worker writes and all workers read; one that a new configuration needs as well stays
//! the same cell, with all that is known of it. [`Resolver`], on the first worker, asks by
//! ARP or neighbour discovery, asks again and listens (RFC 826, RFC 1122 §2.3.2, RFC 4861 §7); [`Waiting`] holds packets until their next hop is known. The
//! control side may have a neighbour probed ([`Neighbor::want_probe`]), to know whether it is alive.
//! Clients need no neighbours: replies go where the client's packets came from.

mod advertised;
mod announced;
mod probe;
mod question;
mod resolver;
mod waiting;

pub use advertised::Advertised;
pub use announced::{Announced, Announcement};
pub use probe::{Bell, Probe};
pub use question::LONGEST_QUESTION;
pub use resolver::{Outgoing, Resolver, Targets};
pub use waiting::{Outcome, Waiting};

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam::atomic::AtomicCell;

use crate::counters::{Counter, PerWorker, per_worker};
use crate::id::{PortId, WorkerId};
use crate::wire::MacAddr;
use crate::wire::ip::is_link_local;
use probe::Probes;
use resolver::Asking;

/// Where a packet leaves, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The Ethernet address of the receiver.
    pub mac: MacAddr,
    /// The port that it is reached through.
    pub port: PortId,
}

impl Hop {
    /// All of it in one word, never 0, that can be stored in one step.
    #[inline(always)]
    const fn pack(self) -> u64 {
        let [a, b, c, d, e, f] = self.mac.0;
        // The two spare bytes hold the port, counted from 1.
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) | ((self.port.0 as u64 + 1) << 48)
    }

    /// What `pack` packed; `None` for 0.
    #[inline(always)]
    const fn unpack(word: u64) -> Option<Self> {
        if word == 0 {
            return None;
        }
        let [a, b, c, d, e, f, _, _] = word.to_le_bytes();
        Some(Self { mac: MacAddr([a, b, c, d, e, f]), port: PortId(((word >> 48) - 1) as u16) })
    }
}

/// One next hop, and what is known of it.
#[derive(Debug)]
pub struct Neighbor {
    address: IpAddr,
    /// Written by the control side alone.
    asker: AtomicCell<IpAddr>,
    asked_on: Option<PortId>,
    is_static: bool,
    /// Written by the first worker alone.
    hop: AtomicU64,
    /// How many packets could not be sent for want of it; each worker writes its own part.
    wanted: PerWorker<Counter>,
    probes: Probes,
    asking: Asking,
}

impl Neighbor {
    /// A next hop to be found: asked for in the name of `asker`, on one port, or on all of them.
    pub fn new(address: IpAddr, asker: IpAddr, asked_on: Option<PortId>, workers: usize) -> Self {
        Self {
            address,
            asker: AtomicCell::new(asker),
            asked_on,
            is_static: false,
            hop: AtomicU64::new(0),
            wanted: per_worker(workers),
            probes: Probes::default(),
            asking: Asking::default(),
        }
    }

    /// A next hop that was configured and is never asked for.
    pub fn fixed(address: IpAddr, hop: Hop) -> Self {
        let known = AtomicU64::new(hop.pack());
        Self { is_static: true, hop: known, ..Self::new(address, address, Some(hop.port), 0) }
    }

    /// Its address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The only port that it is asked for on, or reached through; all ports when there is none.
    pub const fn port(&self) -> Option<PortId> {
        self.asked_on
    }

    /// Whether its address means a station of one link alone (RFC 4291 §2.5.6).
    pub const fn is_link_local(&self) -> bool {
        is_link_local(self.address)
    }

    /// Whether who has its address on `port` is it: on another link, a link-local address is another station's.
    fn may_be_on(&self, port: PortId) -> bool {
        !self.is_link_local() || self.asked_on.is_none_or(|only| only == port)
    }

    /// In whose name it is asked for.
    fn asker(&self) -> IpAddr {
        self.asker.load()
    }

    /// From now on it is asked for in the name of `asker`. Only the control side may call it.
    pub fn set_asker(&self, asker: IpAddr) {
        self.asker.store(asker);
    }

    /// Whether it was configured and not found.
    pub const fn is_static(&self) -> bool {
        self.is_static
    }

    /// Where it is, if that is known.
    #[inline(always)]
    pub fn hop(&self) -> Option<Hop> {
        Hop::unpack(self.hop.load(Relaxed))
    }

    /// Says that `worker` has a packet for it and does not know where it is.
    pub fn want(&self, worker: WorkerId) {
        if let Some(wanted) = self.wanted.get(worker.index()) {
            wanted.add(1);
        }
    }

    /// How often it was wanted by any worker.
    fn wanted(&self) -> u64 {
        self.wanted.iter().map(|wanted| wanted.value()).fold(0, u64::wrapping_add)
    }

    /// Has it probed, as soon as the snapshot's [`Bell`] is rung. Only the control side may call it; in vain for a
    /// [static](Self::is_static) one.
    pub fn want_probe(&self) -> Probe {
        self.probes.want()
    }

    /// Whether `probe` has left.
    pub fn is_sent(&self, probe: Probe) -> bool {
        self.probes.is_sent(probe)
    }

    /// Whether the neighbour was heard after `probe` had left.
    pub fn is_answered(&self, probe: Probe) -> bool {
        self.probes.is_answered(probe)
    }

    /// Stores where it is.
    fn learn(&self, hop: Hop) {
        self.hop.store(hop.pack(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_survives_being_packed() {
        for (mac, port) in
            [([0, 0, 0, 0, 0, 1], 0), ([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff], 31), ([2, 3, 4, 5, 6, 7], 254)]
        {
            let hop = Hop { mac: MacAddr(mac), port: PortId(port) };
            assert_eq!(Hop::unpack(hop.pack()), Some(hop));
        }
        assert_eq!(Hop::unpack(0), None);
    }
}
