//! What outlives a connection: which backend a client, or a flow, had last.
//!
//! [`Persistence`] remembers clients, each in each service; [`FlowMemory`] remembers flows by their 5-tuple. Both are
//! tables of fixed size, one line of four entries a bucket. A bucket that is full gives up the entry that would be
//! forgotten first: one whose time is over, else the one that was unused longest, as far as the times agree.

use std::net::IpAddr;

use super::lines::{LazyLines, Line};
use crate::arch;
use crate::flow::FlowHasher;
use crate::id::{BackendId, ServiceId};
use crate::time::Tick;

/// Entries in a bucket; each is two words of its line.
pub(super) const SLOTS: usize = 4;
/// Half the circle of ticks: what lies further ahead counts as past.
const LONGEST: u32 = 1 << 31;

/// Which backend each client address has in each service.
#[derive(Debug)]
pub struct Persistence {
    table: Table,
    hasher: FlowHasher,
}

impl Persistence {
    /// A table for about `entries` clients; at least one bucket.
    pub fn new(entries: usize, hasher: FlowHasher) -> Self {
        Self { table: Table::new(entries), hasher }
    }

    /// How many entries it holds at most.
    pub const fn capacity(&self) -> usize {
        self.table.buckets as usize * SLOTS
    }

    /// The backend of `client` in `service`, unless it has been silent for too long.
    pub fn find(&self, service: ServiceId, client: IpAddr, now: Tick) -> Option<BackendId> {
        self.table.find(self.key(service, client), now)
    }

    /// Fetches what [`Self::find`] will read.
    #[inline]
    pub fn prefetch(&self, service: ServiceId, client: IpAddr) {
        self.table.prefetch(self.key(service, client));
    }

    /// Gives `client` the backend `backend` in `service`, until it has been silent for `idle` ticks from `now`.
    pub fn insert(&mut self, service: ServiceId, client: IpAddr, backend: BackendId, idle: u32, now: Tick) {
        self.table.insert(self.key(service, client), backend, idle, now);
    }

    /// Notes a packet of `client` in `service`: an entry that is still alive lives for `idle` ticks from `now`.
    pub fn touch(&mut self, service: ServiceId, client: IpAddr, idle: u32, now: Tick) {
        self.table.touch(self.key(service, client), idle, now);
    }

    fn key(&self, service: ServiceId, client: IpAddr) -> Key {
        Key::of_client(&self.hasher, service, client)
    }
}

/// Which backend each flow had when its connection ended.
#[derive(Debug)]
pub struct FlowMemory(Table);

impl FlowMemory {
    /// A table for about `entries` flows; at least one bucket.
    pub fn new(entries: usize) -> Self {
        Self(Table::new(entries))
    }

    /// The backend of the flow whose original key has `hash`, unless that was too long ago. Another flow has the same
    /// keyed hash once in 2⁶³.
    pub fn find(&self, hash: u64, now: Tick) -> Option<BackendId> {
        self.0.find(Key::of_flow(hash), now)
    }

    /// Remembers `backend` for the flow whose original key has `hash`, for `ticks` from `now`.
    pub fn insert(&mut self, hash: u64, backend: BackendId, ticks: u32, now: Tick) {
        self.0.insert(Key::of_flow(hash), backend, ticks, now);
    }
}

/// Whose an entry is, and where to look for it.
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// Never 0, which marks a vacant entry.
    pub(super) owner: u64,
    hash: u64,
}

impl Key {
    /// A client's, in one service.
    ///
    /// An IPv6 address does not fit, so such a client is told by its keyed hash: another one has the same once in 2⁴⁶.
    pub(super) fn of_client(hasher: &FlowHasher, service: ServiceId, client: IpAddr) -> Self {
        let hash = hasher.hash_address(client);
        let owner = match client {
            IpAddr::V4(client) => u64::from(client.to_bits()) << 32,
            IpAddr::V6(_) => hash << 18 | 1 << 17,
        };
        Self { owner: owner | u64::from(service.0) << 1 | 1, hash: hash ^ u64::from(service.0) }
    }

    /// Its bucket, of so many.
    #[inline]
    pub(super) fn bucket(self, buckets: u32) -> usize {
        let mixed = self.hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((mixed * u64::from(buckets)) >> 32) as usize
    }

    /// Its slot in the line of its bucket, if it has one.
    pub(super) fn slot(self, line: &Line) -> Option<usize> {
        (0..SLOTS).find(|&slot| line[2 * slot] == self.owner)
    }

    const fn of_flow(hash: u64) -> Self {
        Self { owner: hash | 1, hash }
    }
}

/// Backends by owners, each for a time.
#[derive(Debug)]
struct Table {
    lines: LazyLines,
    buckets: u32,
}

/// One owner's backend.
#[derive(Clone, Copy)]
struct Entry {
    owner: u64,
    backend: BackendId,
    expires: Tick,
}

impl Table {
    fn new(entries: usize) -> Self {
        let buckets = u32::try_from(entries.div_ceil(SLOTS).max(1)).expect("fewer than 2³² buckets");
        Self { lines: LazyLines::zeroed(buckets as usize), buckets }
    }

    fn find(&self, key: Key, now: Tick) -> Option<BackendId> {
        let line = self.lines.line(key.bucket(self.buckets));
        let slot = key.slot(line)?;
        let entry = Entry::read(line, slot);
        entry.is_alive(now).then_some(entry.backend)
    }

    #[inline]
    fn prefetch(&self, key: Key) {
        arch::prefetch_read(self.lines.line(key.bucket(self.buckets)));
    }

    fn insert(&mut self, key: Key, backend: BackendId, idle: u32, now: Tick) {
        let (bucket, owner) = (key.bucket(self.buckets), key.owner);
        let line = self.lines.line_mut(bucket);
        let place = |slot: &usize| {
            let entry = Entry::read(line, *slot);
            // Its own place before any other; then a vacant or expired one; then the next to expire.
            let left = if entry.owner != 0 && entry.is_alive(now) { 1 + entry.expires.since(now) } else { 0 };
            (entry.owner != owner, left)
        };
        let slot = (0..SLOTS).min_by_key(place).unwrap_or_default();
        Entry { owner, backend, expires: expiry(idle, now) }.write(line, slot);
    }

    fn touch(&mut self, key: Key, idle: u32, now: Tick) {
        let bucket = key.bucket(self.buckets);
        let line = self.lines.line_mut(bucket);
        let Some(slot) = key.slot(line) else { return };
        let entry = Entry::read(line, slot);
        if entry.is_alive(now) {
            Entry { expires: expiry(idle, now), ..entry }.write(line, slot);
        }
    }
}

impl Entry {
    const fn read(line: &[u64; 2 * SLOTS], slot: usize) -> Self {
        let value = line[2 * slot + 1];
        Self { owner: line[2 * slot], backend: BackendId((value >> 32) as u32), expires: Tick(value as u32) }
    }

    fn write(self, line: &mut [u64; 2 * SLOTS], slot: usize) {
        line[2 * slot] = self.owner;
        line[2 * slot + 1] = u64::from(self.backend.0) << 32 | u64::from(self.expires.0);
    }

    const fn is_alive(&self, now: Tick) -> bool {
        let left = self.expires.since(now);
        left != 0 && left < LONGEST
    }
}

/// The first tick at which an entry is no longer alive. One tick is added because a stamp tells only in which tick a
/// packet came.
const fn expiry(idle: u32, now: Tick) -> Tick {
    let idle = if idle >= LONGEST - 1 { LONGEST - 2 } else { idle };
    Tick(now.0.wrapping_add(idle + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: ServiceId = ServiceId(0);
    const DNS: ServiceId = ServiceId(1);
    const NOW: Tick = Tick(u32::MAX - 50); // The clock wraps within every test.

    fn at(ticks: u32) -> Tick {
        Tick(NOW.0.wrapping_add(ticks))
    }

    fn client(number: u32) -> IpAddr {
        (0x0a00_0000 + number).to_be_bytes().into()
    }

    fn table(entries: usize) -> Persistence {
        Persistence::new(entries, FlowHasher::with_key((1, 2)))
    }

    #[test]
    fn a_client_keeps_its_backend_until_it_has_been_silent_for_that_long() {
        let mut table = table(1000);
        table.insert(WEB, client(1), BackendId(7), 100, NOW);
        assert_eq!(table.find(WEB, client(1), at(100)), Some(BackendId(7)));
        assert_eq!(table.find(WEB, client(1), at(101)), None);
        table.touch(WEB, client(1), 100, at(90));
        assert_eq!(table.find(WEB, client(1), at(190)), Some(BackendId(7)));
        assert_eq!(table.find(WEB, client(1), at(191)), None);
    }

    #[test]
    fn a_packet_after_the_silence_does_not_bring_the_backend_back() {
        let mut table = table(1000);
        table.insert(WEB, client(1), BackendId(7), 100, NOW);
        table.touch(WEB, client(1), 100, at(101));
        assert_eq!(table.find(WEB, client(1), at(102)), None);
    }

    #[test]
    fn each_service_has_its_own_choice_for_a_client() {
        let mut table = table(1000);
        table.insert(WEB, client(1), BackendId(7), 100, NOW);
        table.insert(DNS, client(1), BackendId(9), 100, NOW);
        assert_eq!(table.find(WEB, client(1), NOW), Some(BackendId(7)));
        assert_eq!(table.find(DNS, client(1), NOW), Some(BackendId(9)));
        assert_eq!(table.find(WEB, client(2), NOW), None);
    }

    #[test]
    fn a_new_choice_replaces_the_old_one() {
        let mut table = table(4);
        for backend in 0..10 {
            table.insert(WEB, client(1), BackendId(backend), 100, NOW);
        }
        assert_eq!(table.find(WEB, client(1), NOW), Some(BackendId(9)));
        for number in 2..5 {
            table.insert(WEB, client(number), BackendId(number), 100, NOW);
        }
        assert_eq!(table.find(WEB, client(1), NOW), Some(BackendId(9)), "it took one place of four, not ten");
    }

    #[test]
    fn a_full_bucket_forgets_the_expired_first_and_then_the_longest_unused() {
        let mut table = table(4);
        for number in 0..4 {
            table.insert(WEB, client(number), BackendId(number), 100, at(number));
        }
        table.touch(WEB, client(0), 100, at(10));
        table.insert(WEB, client(4), BackendId(4), 100, at(11));
        let known = |table: &Persistence, now| (0..8).filter(|&n| table.find(WEB, client(n), now).is_some()).collect();
        let after: Vec<u32> = known(&table, at(11));
        assert_eq!(after, [0, 2, 3, 4]);

        // At 103 client 2, seen last at 2, is expired; client 3, seen at 3, is not.
        table.insert(WEB, client(5), BackendId(5), 1, at(103));
        let after: Vec<u32> = known(&table, at(103));
        assert_eq!(after, [0, 3, 4, 5]);
    }

    #[test]
    fn a_table_has_room_for_a_bucket_at_least() {
        assert_eq!(table(0).capacity(), 4);
        assert_eq!(table(5).capacity(), 8);
    }

    #[test]
    fn a_flow_finds_its_backend_within_its_memory_and_not_after() {
        let mut memory = FlowMemory::new(1000);
        memory.insert(77, BackendId(7), 100, NOW);
        assert_eq!(memory.find(77, at(100)), Some(BackendId(7)));
        assert_eq!(memory.find(78, at(100)), None);
        assert_eq!(memory.find(77, at(101)), None);
    }
}
