//! One worker's part of the source ports: those whose answers it owns.

use std::sync::Arc;

use super::{Rss, Steering};
use crate::flow::FlowKey;
use crate::id::WorkerId;

/// The first port that is given out: those below are the well-known ones' (RFC 6335 §6).
const FIRST_PORT: u32 = 1024;

/// A worker's part of every pool of source ports.
///
/// Only this type knows which ports that are, which may depend on whose answers they are for; everybody else counts them
/// from 0. There are equally many whosever answers they are for, and no port is in two workers' parts.
#[derive(Clone, Debug)]
pub struct PortShare(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// Those that leave the worker's number when divided by `workers`.
    Residue { first: u32, workers: u32 },
    /// Those that lead to the worker's entries of the redirection table.
    Entries(Entries),
}

#[derive(Clone, Debug)]
struct Entries {
    rss: Arc<Rss>,
    /// The worker's entries, ascending.
    own: Box<[u16]>,
    /// By entry of the table: where in `own` it stands; [`u16::MAX`] if it is another worker's.
    places: Box<[u16]>,
}

/// Whose answers ports are for, as far as that decides which ports those are: the entry of the redirection table that an
/// answer to port 0 would lead to, and whether that is in IPv6. A table has up to 2¹⁵ entries, so one bit is left for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base(u16);

impl Base {
    const V6: u16 = 1 << 15;

    const fn entry(self) -> u16 {
        self.0 & !Self::V6
    }

    const fn is_v6(self) -> bool {
        self.0 & Self::V6 != 0
    }
}

impl PortShare {
    /// The part of `worker`; `None` if there is no such worker.
    pub fn new(steering: &Steering, worker: WorkerId) -> Option<Self> {
        if worker.0 >= steering.workers() {
            return None;
        }
        Some(Self(match steering {
            Steering::Modulo { workers } => {
                let (worker, workers) = (u32::from(worker.0), u32::from(*workers));
                Kind::Residue { first: FIRST_PORT + (worker + workers - FIRST_PORT % workers) % workers, workers }
            }
            Steering::Rss(rss) => {
                let own: Box<[u16]> = rss.entries_of(worker).collect();
                let mut places = vec![u16::MAX; rss.entries()].into_boxed_slice();
                for (&entry, place) in own.iter().zip(0..) {
                    places[usize::from(entry)] = place;
                }
                Kind::Entries(Entries { rss: Arc::clone(rss), own, places })
            }
        }))
    }

    /// How many ports are in it.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Residue { first, workers } => {
                (1 + u32::from(u16::MAX)).saturating_sub(*first).div_ceil(*workers) as usize
            }
            Kind::Entries(entries) => entries.own.len() * entries.rss.class_len() as usize,
        }
    }

    /// Whether there are more workers than ports, and none is left for this one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the port of a number depends on whose answers it is for.
    pub const fn depends_on_base(&self) -> bool {
        matches!(self.0, Kind::Entries(_))
    }

    /// The base for answers with `key`, whatever their destination port.
    pub fn base(&self, key: &FlowKey) -> Base {
        Base(match &self.0 {
            Kind::Residue { .. } => 0,
            Kind::Entries(entries) => {
                let version = if key.dst.is_ipv6() { Base::V6 } else { 0 };
                entries.rss.entry(&FlowKey { dst_port: 0, ..*key }) | version
            }
        })
    }

    /// The base for answers from `port`, where `base` is that for port 0 of the same backend.
    #[inline]
    pub fn base_with_source_port(&self, base: Base, port: u16) -> Base {
        match &self.0 {
            Kind::Residue { .. } => base,
            Kind::Entries(entries) => Base(base.0 ^ entries.rss.of_source_port(port, base.is_v6())),
        }
    }

    /// The number of `port` within this part, for answers with `base`, if it is in it.
    #[inline]
    pub fn number(&self, port: u16, base: Base) -> Option<u32> {
        match &self.0 {
            Kind::Residue { first, workers } => match u32::from(port).checked_sub(*first) {
                Some(distance) if distance.is_multiple_of(*workers) => Some(distance / workers),
                _ => None,
            },
            Kind::Entries(entries) => entries.number(port, base),
        }
    }

    /// The port with `number`, which is below [`Self::len`], for answers with `base`.
    #[inline]
    pub fn port(&self, number: u32, base: Base) -> u16 {
        match &self.0 {
            Kind::Residue { first, workers } => (first + number * workers) as u16,
            Kind::Entries(entries) => entries.port(number, base),
        }
    }
}

impl Entries {
    #[inline]
    fn number(&self, port: u16, base: Base) -> Option<u32> {
        let entry = self.rss.of_destination_port(port, base.is_v6()) ^ base.entry();
        let place = self.places[usize::from(entry)];
        if place == u16::MAX {
            return None;
        }
        let number = self.rss.classes(base.is_v6()).number(port)?;
        // One version may have more of them than the other.
        (number < self.rss.class_len()).then_some(number * self.own.len() as u32 + u32::from(place))
    }

    #[inline]
    fn port(&self, number: u32, base: Base) -> u16 {
        let own = self.own.len() as u32;
        let class = self.own[(number % own) as usize] ^ base.entry();
        self.rss.classes(base.is_v6()).port(class, number / own)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::flow::Protocol;

    fn share(worker: u16, workers: u16) -> PortShare {
        PortShare::new(&Steering::Modulo { workers }, WorkerId(worker)).unwrap()
    }

    #[test]
    fn every_port_from_1024_belongs_to_exactly_one_worker() {
        for workers in [1, 2, 3, 4, 7, 64, 1000, u16::MAX] {
            let shares: Vec<_> = (0..workers.min(100)).map(|worker| share(worker, workers)).collect();
            for (worker, share) in shares.iter().enumerate() {
                let base = Base::default();
                let ports: Vec<u16> = (0..share.len() as u32).map(|number| share.port(number, base)).collect();
                let expected: Vec<u16> = (1024..=u16::MAX).filter(|port| port % workers == worker as u16).collect();
                assert_eq!(ports, expected, "{worker} of {workers}");
                assert!((0..=u16::MAX).all(|port| {
                    share.number(port, base).is_some() == (port >= 1024 && port % workers == worker as u16)
                }));
            }
        }
        assert!(PortShare::new(&Steering::Modulo { workers: 4 }, WorkerId(4)).is_none());
    }

    #[test]
    fn a_worker_beyond_the_ports_has_none_and_says_so() {
        // 65535 % 65535 is 0, so worker 0 has a port and worker 1 would need port 1.
        assert!(share(1, u16::MAX).is_empty());
        assert!(!share(0, u16::MAX).is_empty());
    }

    /// A redirection table of 64, 128 or 512 entries, dealt out anyhow, but so that each worker has one.
    fn table(workers: u16) -> impl Strategy<Value = Vec<u16>> {
        let entries = prop_oneof![Just(64_usize), Just(128), Just(512)];
        entries.prop_flat_map(move |entries| prop::collection::vec(0..workers, entries)).prop_map(move |mut table| {
            table.splice(..usize::from(workers), 0..workers);
            table
        })
    }

    /// An answer to port 0, in IPv4 or IPv6.
    fn key(is_v6: bool, src: [u8; 16], dst: [u8; 16], src_port: u16) -> FlowKey {
        let address = |bytes: [u8; 16]| match is_v6 {
            true => IpAddr::from(bytes),
            false => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
        };
        FlowKey { src: address(src), dst: address(dst), src_port, dst_port: 0, protocol: Protocol::Tcp }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_workers_ports_are_those_whose_answers_the_port_delivers_to_it(
            hash_key: [u8; 40],
            (workers, table) in prop_oneof![Just(2_u16), Just(3), Just(4), Just(7)].prop_flat_map(|n| (Just(n), table(n))),
            is_v6: bool,
            backend: [u8; 16],
            local: [u8; 16],
            backend_port: u16,
        ) {
            let Ok(rss) = Rss::new(&hash_key, &table, workers) else { return Ok(()) };
            let steering = Steering::Rss(Arc::new(rss));
            let answers = key(is_v6, backend, local, backend_port);
            let mut dealt_out = vec![false; 1 << 16];
            for worker in 0..workers {
                let share = PortShare::new(&steering, WorkerId(worker)).unwrap();
                let base = share.base(&answers);
                let from_port_0 = share.base(&key(is_v6, backend, local, 0));
                prop_assert_eq!(share.base_with_source_port(from_port_0, backend_port), base);
                for number in 0..share.len() as u32 {
                    let port = share.port(number, base);
                    prop_assert_eq!(share.number(port, base), Some(number));
                    prop_assert_eq!(steering.owner_of_reply(&FlowKey { dst_port: port, ..answers }), WorkerId(worker));
                    prop_assert!(port >= 1024);
                    dealt_out[usize::from(port)] = true;
                }
                let members = (0..=u16::MAX).filter(|&port| share.number(port, base).is_some()).count();
                prop_assert_eq!(members, share.len(), "each port has one number");
            }
            // All are dealt out, but for at most as many again as are below 1024 for each rank that those lack.
            let spared = dealt_out.iter().filter(|dealt_out| !**dealt_out).count();
            prop_assert!(spared.is_power_of_two() && (1024..=32_768).contains(&spared), "{}", spared);
        }
    }
}
