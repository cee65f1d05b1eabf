//! Source ports towards the backends: for each (local address, protocol, backend address and port) one pool.
//!
//! The four together with the source port are what a backend tells connections apart by, so each pool has all ports
//! from 1024 up for itself. A worker owns a fixed part of every pool ([`PortShare`]) and needs nobody's consent to use
//! it.
//!
//! The ports that may be given out stand in a queue. The one that has rested longest comes first: a backend that closed
//! first keeps the tuple in TIME-WAIT, and the longer ago that was the better (RFC 6056 §2.3 on reuse). The port of a
//! connection that is over, but not yet forgotten, *rests*: it is in the queue already. Each pool's queue begins at
//! another place (RFC 6056 §3.3.1), the same for the same hash.
//!
//! The queue is a ring of nodes, linked both ways, each link a distance from where it would point in a fresh queue.
//! Zeroed memory is thus a full queue in the order of the ports, and pages of ports that are never reached cost nothing.
//!
//! A node stands for a number within the worker's part, and [`PortShare`] makes a port of it. Where that depends on the
//! port that the backend answers from, the nodes of a pool for all ports of a backend *float*: each stands for another port
//! with each port of the backend, so a reserved port has no node of its own, and is passed over when it is met.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::net::IpAddr;

use super::reserved::ReservedPorts;
use crate::arch;
use crate::flow::{FlowHasher, FlowKey, Protocol};
use crate::steering::{Base, PortShare};

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
        Self { shards: shards.collect(), slabs: Slabs::new(share.len() + 1), share, hasher }
    }

    /// The pool for `key`, made if there is none, to be used for connections with `backend_port`: the key's, where that has
    /// one. Exactly what is `reserved` is never given out from it.
    pub(super) fn ensure(&mut self, key: &PoolKey, backend_port: u16, reserved: &ReservedPorts) -> PoolMut<'_> {
        let Self { shards, slabs, share, hasher } = self;
        let make = || Pool::new(slabs.take(), share, key, hasher.hash(&key.answers()));
        let pool = shards[shard(key)].entry(*key).or_insert_with(make);
        let is_new = pool.edition != reserved.edition();
        let mut pool = PoolMut::new(pool, slabs, share, backend_port);
        if is_new {
            pool.reserve_only(reserved.of(key.local, key.protocol));
            pool.pool.edition = reserved.edition();
        }
        pool
    }

    /// Forgets those pools of one shard that `is_wanted` refuses, but for those that have a port in use.
    pub(super) fn retain(&mut self, shard: usize, mut is_wanted: impl FnMut(&PoolKey) -> bool) {
        let Self { shards, slabs, share, .. } = self;
        shards[shard].retain(|key, pool| {
            let stays = is_wanted(key) || pool.in_use != 0;
            if !stays {
                // Every port is in the queue then, in whatever order: as good as new.
                PoolMut::new(pool, slabs, share, key.backend_port).reserve_only(&[]);
                slabs.give_back(pool.place);
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
        Some(PoolMut::new(pool, slabs, share, backend_port))
    }
}

/// Which shard a pool is in. A shard's own table goes by the hash's other bits.
fn shard(key: &PoolKey) -> usize {
    let mut hasher = PoolHasher::default();
    key.hash(&mut hasher);
    (hasher.finish() >> 20) as usize % SHARDS
}

/// The memory of many pools' nodes, in pieces of one length.
///
/// It is asked for many pools at a time, of which none is written before it is used: what is so large, the allocator takes
/// fresh from the kernel, which commits a page only when it is written. Asked for one by one, pools would come out of memory that was used before, and be cleared.
#[derive(Debug)]
struct Slabs {
    slabs: Vec<Vec<Links>>,
    /// The nodes of one pool.
    piece: usize,
    /// Pieces of the last slab that were given out.
    taken: usize,
    /// Pieces that were given back, with all their nodes in the queue.
    spare: Vec<Place>,
}

/// Where a pool's nodes are.
#[derive(Clone, Copy, Debug)]
struct Place {
    slab: usize,
    first: usize,
}

impl Slabs {
    /// Links in a slab: 64 MiB, twice the largest request that glibc's allocator serves from memory that it has.
    const LINKS: usize = 16 << 20;

    const fn new(piece: usize) -> Self {
        Self { slabs: Vec::new(), piece, taken: 0, spare: Vec::new() }
    }

    /// A piece whose nodes are all in the queue: one of zeros, or one that was given back.
    fn take(&mut self) -> Place {
        if let Some(place) = self.spare.pop() {
            return place;
        }
        let pieces = (Self::LINKS / self.piece).max(1);
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
    fn nodes(&mut self, place: Place) -> &mut [Links] {
        &mut self.slabs[place.slab][place.first..][..self.piece]
    }
}

/// A node's two links: the distance of the next node in the low half, of the previous one in the high half.
///
/// A node that is not in the queue is its own next; its upper half then says why, see [`absence`].
type Links = u32;

/// Why a port is not in the queue.
mod absence {
    /// A connection has it.
    pub(super) const IN_USE: u32 = 0;
    /// It is reserved.
    pub(super) const RESERVED: u32 = 1;
    /// A connection got it before it was reserved.
    pub(super) const BOTH: u32 = 2;
}

/// One pool: the ports of one worker's part, each waiting in the queue, in use, or reserved.
#[derive(Debug)]
pub(super) struct Pool {
    place: Place,
    /// Of answers from port 0 of the backend.
    base: Base,
    /// Whether which port a node stands for depends on the port that the backend answers from.
    floats: bool,
    /// The number within the part that node 1 stands for.
    start: u32,
    waiting: usize,
    in_use: usize,
    reserved: Vec<u16>,
    /// Which edition of the reserved ports that is; 0: none yet.
    edition: u64,
}

impl Pool {
    /// All of `share` in the queue, beginning at a port that `start` selects. Its nodes are at `place`, all in the
    /// queue.
    fn new(place: Place, share: &PortShare, key: &PoolKey, start: u64) -> Self {
        let ports = share.len();
        Self {
            place,
            base: share.base(&FlowKey { src_port: 0, ..key.answers() }),
            floats: key.backend_port == 0 && share.depends_on_base(),
            start: if ports == 0 { 0 } else { (start % ports as u64) as u32 },
            waiting: ports,
            in_use: 0,
            reserved: Vec::new(),
            edition: 0,
        }
    }

    /// How many ports wait to be given out, resting ones included.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }
}

/// A pool with its nodes.
#[derive(Debug)]
pub(super) struct PoolMut<'a> {
    pool: &'a mut Pool,
    share: &'a PortShare,
    base: Base,
    /// Node 0 is the ring's head: its next is the port to be given out first, its previous the last.
    nodes: &'a mut [Links],
}

impl<'a> PoolMut<'a> {
    fn new(pool: &'a mut Pool, slabs: &'a mut Slabs, share: &'a PortShare, backend_port: u16) -> Self {
        let base = share.base_with_source_port(pool.base, backend_port);
        Self { nodes: slabs.nodes(pool.place), share, base, pool }
    }

    /// Takes the port that has waited longest.
    pub(super) fn take_oldest(&mut self) -> Option<u16> {
        // Nodes that stand for a reserved port go to the end, and there are no more of them than such ports.
        for _ in 0..=self.pool.reserved.len() {
            let node = self.next(0);
            if node == 0 {
                return None;
            }
            let port = self.port(node);
            if !self.is_passed_over(port) {
                self.use_node(node);
                return Some(port);
            }
            self.unlink(node);
            self.append(node);
        }
        None
    }

    /// Fetches what tells where `port` stands in the queue.
    pub(super) fn prefetch(&self, port: u16) {
        if let Some(node) = self.node(port) {
            arch::prefetch_element(self.nodes, node as usize);
        }
    }

    /// Whether `port` waits in the queue to be given out.
    pub(super) fn is_waiting(&self, port: u16) -> bool {
        self.waiting_node(port).is_some() && !self.is_passed_over(port)
    }

    /// Takes `port`, wherever in the queue it stands; whether it was there to be given out.
    pub(super) fn take(&mut self, port: u16) -> bool {
        let Some(node) = self.waiting_node(port).filter(|_| !self.is_passed_over(port)) else { return false };
        self.use_node(node);
        true
    }

    /// Takes `port` back for a resting connection that goes on, even if it was reserved meanwhile.
    pub(super) fn reclaim(&mut self, port: u16) {
        let Some(node) = self.node(port) else { return };
        if self.next(node) != node {
            self.use_node(node);
        } else if self.absence(node) == absence::RESERVED {
            self.set_absent(node, absence::BOTH);
            self.pool.in_use += 1;
        }
    }

    /// Puts a port that was in use at the end of the queue.
    pub(super) fn give_back(&mut self, port: u16) {
        let Some(node) = self.node(port) else { return };
        if self.next(node) != node {
            return;
        }
        match self.absence(node) {
            absence::IN_USE => self.append(node),
            absence::BOTH => self.set_absent(node, absence::RESERVED),
            _ => return,
        }
        self.pool.in_use -= 1;
    }

    /// From now on exactly `reserved` is kept out of the queue. A connection that has such a port keeps it.
    fn reserve_only(&mut self, reserved: &[u16]) {
        if self.pool.reserved == reserved {
            return;
        }
        let before = std::mem::replace(&mut self.pool.reserved, reserved.to_vec());
        if self.pool.floats {
            return;
        }
        for port in before {
            let Some(node) = self.node(port).filter(|_| reserved.binary_search(&port).is_err()) else { continue };
            match self.absence(node) {
                absence::BOTH => self.set_absent(node, absence::IN_USE),
                _ => self.append(node),
            }
        }
        for &port in reserved {
            let Some(node) = self.node(port) else { continue };
            if self.next(node) != node {
                self.unlink(node);
                self.set_absent(node, absence::RESERVED);
            } else if self.absence(node) == absence::IN_USE {
                self.set_absent(node, absence::BOTH);
            }
        }
    }

    fn use_node(&mut self, node: u32) {
        self.unlink(node);
        self.set_absent(node, absence::IN_USE);
        self.pool.in_use += 1;
    }

    fn append(&mut self, node: u32) {
        let last = self.previous(0);
        self.set_next(last, node);
        self.set_previous(node, last);
        self.set_next(node, 0);
        self.set_previous(0, node);
        self.pool.waiting += 1;
    }

    fn unlink(&mut self, node: u32) {
        let (previous, next) = (self.previous(node), self.next(node));
        self.set_next(previous, next);
        self.set_previous(next, previous);
        self.pool.waiting -= 1;
    }

    /// Whether `port` is reserved and stands in the queue nevertheless.
    fn is_passed_over(&self, port: u16) -> bool {
        self.pool.floats && self.pool.reserved.binary_search(&port).is_ok()
    }

    /// The node of `port`, if it is in the queue.
    #[inline]
    fn waiting_node(&self, port: u16) -> Option<u32> {
        self.node(port).filter(|&node| self.next(node) != node)
    }

    /// The node of `port`, if it is this worker's.
    #[inline]
    fn node(&self, port: u16) -> Option<u32> {
        let part = self.share.number(port, self.base)?;
        let distance =
            if part >= self.pool.start { part - self.pool.start } else { part + self.ring() - 1 - self.pool.start };
        Some(distance + 1)
    }

    #[inline]
    fn port(&self, node: u32) -> u16 {
        let part = self.pool.start + node - 1;
        let ports = self.ring() - 1;
        self.share.port(if part >= ports { part - ports } else { part }, self.base)
    }

    /// Nodes in the ring, the head included.
    #[inline]
    const fn ring(&self) -> u32 {
        self.nodes.len() as u32
    }

    #[inline]
    fn next(&self, node: u32) -> u32 {
        self.wrap(node + 1 + (self.nodes[node as usize] & 0xffff))
    }

    #[inline]
    fn previous(&self, node: u32) -> u32 {
        self.wrap(node + self.ring() - 1 + (self.nodes[node as usize] >> 16))
    }

    #[inline]
    fn set_next(&mut self, node: u32, next: u32) {
        let distance = self.wrap(next + 2 * self.ring() - node - 1);
        let links = &mut self.nodes[node as usize];
        *links = *links & 0xffff_0000 | distance;
    }

    #[inline]
    fn set_previous(&mut self, node: u32, previous: u32) {
        let distance = self.wrap(previous + self.ring() + 1 - node);
        let links = &mut self.nodes[node as usize];
        *links = *links & 0xffff | distance << 16;
    }

    /// Why `node`, which is not in the queue, is not.
    fn absence(&self, node: u32) -> u32 {
        self.nodes[node as usize] >> 16
    }

    fn set_absent(&mut self, node: u32, why: u32) {
        self.set_next(node, node);
        let links = &mut self.nodes[node as usize];
        *links = *links & 0xffff | why << 16;
    }

    /// A number below three times the ring, on the ring.
    #[inline]
    const fn wrap(&self, number: u32) -> u32 {
        let ring = self.ring();
        if number >= 2 * ring {
            number - 2 * ring
        } else if number >= ring {
            number - ring
        } else {
            number
        }
    }
}

#[cfg(test)]
#[path = "ports_tests.rs"]
mod tests;
