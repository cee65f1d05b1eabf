//! Source ports towards the backends: for each (local address, protocol, backend address and port) one pool.
//!
//! The four together with the source port are what a backend tells connections apart by, so each pool has all ports
//! from 1024 up for itself. A worker owns a fixed part of every pool ([`PortShare`]) and needs nobody's consent to use
//! it.
//!
//! Which port is given out next is the matter of [`port_queue`](super::port_queue); here are the pools, and their memory.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::net::IpAddr;

use super::port_queue::{Pool, PoolMut, words};
use super::reserved::ReservedPorts;
use crate::flow::{FlowHasher, FlowKey, Protocol};
use crate::steering::PortShare;

/// What a pool of source ports is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolKey {
    /// The source address.
    pub local: IpAddr,
    /// The protocol; for ICMP the pool is of echo identifiers.
    pub protocol: Protocol,
    /// The backend's address.
    pub backend: IpAddr,
    /// The backend's port, in host byte order; 0 where the client's destination port is kept (`any`), and for ICMP.
    pub backend_port: u16,
}

impl PoolKey {
    /// The 5-tuple of the pool's answers, without the source port.
    pub(super) const fn answers(&self) -> FlowKey {
        FlowKey {
            src: self.backend,
            dst: self.local,
            src_port: self.backend_port,
            dst_port: 0,
            protocol: self.protocol,
        }
    }
}

impl Hash for PoolKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match (self.local, self.backend) {
            (IpAddr::V4(local), IpAddr::V4(backend)) => {
                state.write_u64(u64::from(local.to_bits()) << 32 | u64::from(backend.to_bits()));
            }
            (local, backend) => {
                for address in [local, backend] {
                    let bits = match address {
                        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
                        IpAddr::V6(address) => address.to_bits(),
                    };
                    state.write_u64((bits >> 64) as u64);
                    state.write_u64(bits as u64);
                }
            }
        }
        state.write_u64(u64::from(self.backend_port) << 8 | u64::from(self.protocol.number()));
    }
}

/// A hash for pools: quick, and with no key, since pools come from the configuration and no stranger chooses them.
#[derive(Debug, Default)]
struct PoolHasher(u64);

impl Hasher for PoolHasher {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Parts of a worker's pools. Each is so small that making it larger, or looking at all of it, takes a few microseconds.
const SHARDS: usize = 256;

/// Pools that a shard has room for from the start.
const SHARD_ROOM: usize = 56;

type Shard = HashMap<PoolKey, Pool, BuildHasherDefault<PoolHasher>>;

/// All pools of one worker. A pool is made when the first connection asks for it, so that a new configuration, however
/// large, costs the worker nothing at once.
#[derive(Debug)]
pub(super) struct Pools {
    shards: Box<[Shard]>,
    slabs: Slabs,
    share: PortShare,
    hasher: FlowHasher,
}

impl Pools {
    pub(super) fn new(share: PortShare, hasher: FlowHasher) -> Self {
        let shards = (0..SHARDS).map(|_| HashMap::with_capacity_and_hasher(SHARD_ROOM, BuildHasherDefault::default()));
        Self { shards: shards.collect(), slabs: Slabs::new(words(share.len())), share, hasher }
    }

    /// The pool for `key`, made if there is none, to be used for connections with `backend_port`: the key's, where that has
    /// one. Exactly what is `reserved` is never given out from it.
    pub(super) fn ensure(&mut self, key: &PoolKey, backend_port: u16, reserved: &ReservedPorts) -> PoolMut<'_> {
        let Self { shards, slabs, share, hasher } = self;
        let make = || Pool::new(slabs.take(), share, key, hasher.hash(&key.answers()));
        let pool = shards[shard(key)].entry(*key).or_insert_with(make);
        let mut pool = pool.with(slabs, share, backend_port);
        pool.adopt(reserved, key);
        pool
    }

    /// Forgets those pools of one shard that `is_wanted` refuses, but for those that have a port in use.
    pub(super) fn retain(&mut self, shard: usize, mut is_wanted: impl FnMut(&PoolKey) -> bool) {
        let Self { shards, slabs, share, .. } = self;
        shards[shard].retain(|key, pool| {
            let stays = is_wanted(key) || pool.in_use() != 0;
            if !stays {
                // Every port is in the queue then, in whatever order: as good as new.
                pool.with(slabs, share, key.backend_port).reserve_only(&[]);
                slabs.give_back(pool.place());
            }
            stays
        });
    }

    /// How many shards there are.
    pub(super) const fn shards() -> usize {
        SHARDS
    }

    #[inline]
    pub(super) fn pool(&self, key: &PoolKey) -> Option<&Pool> {
        self.shards[shard(key)].get(key)
    }

    /// The pool for `key`, to be used for connections with `backend_port`: the key's, where that has one.
    #[inline]
    pub(super) fn pool_mut(&mut self, key: &PoolKey, backend_port: u16) -> Option<PoolMut<'_>> {
        let Self { shards, slabs, share, .. } = self;
        let pool = shards[shard(key)].get_mut(key)?;
        Some(pool.with(slabs, share, backend_port))
    }
}

/// Which shard a pool is in. A shard's own table goes by the hash's other bits.
fn shard(key: &PoolKey) -> usize {
    let mut hasher = PoolHasher::default();
    key.hash(&mut hasher);
    (hasher.finish() >> 20) as usize % SHARDS
}

/// The memory of many pools' queues, in pieces of one length.
///
/// It is asked for many pools at a time, of which none is written before it is used: what is so large, the allocator takes
/// fresh from the kernel, which commits a page only when it is written. Asked for one by one, pools would come out of memory that was used before, and be cleared.
#[derive(Debug)]
pub(super) struct Slabs {
    slabs: Vec<Vec<u16>>,
    /// The words of one pool.
    piece: usize,
    /// Pieces of the last slab that were given out.
    taken: usize,
    /// Pieces that were given back, with all their ports in the queue.
    spare: Vec<Place>,
}

/// Where a pool's words are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    slab: usize,
    first: usize,
}

impl Slabs {
    /// Words in a slab: 64 MiB, twice the largest request that glibc's allocator serves from memory that it has.
    const WORDS: usize = 32 << 20;

    pub(super) const fn new(piece: usize) -> Self {
        Self { slabs: Vec::new(), piece, taken: 0, spare: Vec::new() }
    }

    /// A piece whose ports are all in the queue: one of zeros, or one that was given back.
    pub(super) fn take(&mut self) -> Place {
        if let Some(place) = self.spare.pop() {
            return place;
        }
        let pieces = (Self::WORDS / self.piece.max(1)).max(1);
        if self.slabs.is_empty() || self.taken == pieces {
            self.slabs.push(vec![0; pieces * self.piece]);
            self.taken = 0;
        }
        let place = Place { slab: self.slabs.len() - 1, first: self.taken * self.piece };
        self.taken += 1;
        place
    }

    fn give_back(&mut self, place: Place) {
        self.spare.push(place);
    }

    #[inline]
    pub(super) fn words(&mut self, place: Place) -> &mut [u16] {
        &mut self.slabs[place.slab][place.first..][..self.piece]
    }
}

#[cfg(test)]
#[path = "ports_tests.rs"]
mod tests;
