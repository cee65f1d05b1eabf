//! The ports of local addresses that are nobody's source port, because services listen on them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::flow::Protocol;

/// Which ports of which addresses are reserved, in host byte order. Immutable; a configuration has one.
#[derive(Debug)]
pub struct ReservedPorts {
    ports: HashMap<(IpAddr, Protocol), Vec<u16>>,
    edition: u64,
}

impl Default for ReservedPorts {
    fn default() -> Self {
        Self::new([])
    }
}

impl ReservedPorts {
    /// These ranges, in any order; they may overlap.
    pub fn new(ranges: impl IntoIterator<Item = (IpAddr, Protocol, RangeInclusive<u16>)>) -> Self {
        static EDITIONS: AtomicU64 = AtomicU64::new(1);
        let mut by_address: HashMap<_, Vec<_>> = HashMap::new();
        for (address, protocol, ports) in ranges {
            by_address.entry((address, protocol)).or_default().extend(ports);
        }
        for ports in by_address.values_mut() {
            ports.sort_unstable();
            ports.dedup();
        }
        Self { ports: by_address, edition: EDITIONS.fetch_add(1, Relaxed) }
    }

    /// Those of `address`, ascending, each once.
    pub fn of(&self, address: IpAddr, protocol: Protocol) -> &[u16] {
        self.ports.get(&(address, protocol)).map_or(&[], Vec::as_slice)
    }

    /// Whether both say the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.ports == other.ports
    }

    /// A number that no other has, and never 0: a pool that has seen it has nothing to compare.
    pub(super) const fn edition(&self) -> u64 {
        self.edition
    }
}
