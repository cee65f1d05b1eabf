//! The connection table of one lcore: records, and the index that finds each by the keys of both its directions.
//!
//! All of it is allocated and committed once. Records are used from the front, and a freed one, whose line is likely to
//! be in the cache still, is the next to be used again.

use super::connection::{Connection, ConnectionIndex, Family, NOT_WIDE, Record};
use super::index::{Hint, Index};
use super::lines::{LazyLines, Line};
use super::track::{Direction, State};
use crate::arch;
use crate::flow::PackedKey;

/// The end of the list of freed records.
const NONE: u32 = u32::MAX;

/// A record that a packet's hash points to, to be verified once it has arrived from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate(Hint);

impl Default for Candidate {
    /// That there is none.
    fn default() -> Self {
        Self(Hint::ABSENT)
    }
}

/// There is no room for another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableFull;

/// Connections by the hashes of their keys.
#[derive(Debug)]
pub(super) struct Table {
    index: Index,
    records: Vec<Record>,
    /// The addresses of those records that are wide.
    wide: LazyLines,
    capacity: usize,
    freed: u32,
    len: usize,
}

impl Table {
    /// A table for `capacity` connections, at most 2³⁰.
    pub(super) fn new(capacity: usize) -> Self {
        assert!(capacity <= 1 << 30, "an index of 30 bits");
        let mut records = Vec::with_capacity(capacity);
        arch::commit(records.spare_capacity_mut());
        Self {
            index: Index::new(2 * capacity),
            records,
            wide: LazyLines::zeroed(capacity),
            capacity,
            freed: NONE,
            len: 0,
        }
    }

    /// Has the memory for IPv6 there from now on, and not when it is first used.
    pub(super) fn commit_wide(&mut self) {
        self.wide.commit();
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// First pass of a lookup: fetches the bucket.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Second pass: fetches the record that the bucket's tags point to.
    #[inline]
    pub(super) fn find_candidate(&self, hash: u64) -> Candidate {
        let hint = self.index.look(hash);
        self.prefetch_record(unpack(hint.value()).0);
        Candidate(hint)
    }

    /// Second pass again, for the few whose entry is not in its first bucket.
    #[inline]
    pub(super) fn find_elsewhere(&self, candidate: &mut Candidate, hash: u64) {
        if candidate.0 == Hint::ELSEWHERE {
            candidate.0 = self.index.look_elsewhere(hash);
            self.prefetch_record(unpack(candidate.0.value()).0);
        }
    }

    /// Fetches the record at `index`.
    #[inline(always)]
    pub(super) fn prefetch_record(&self, index: ConnectionIndex) {
        arch::prefetch_element(&self.records, index.0 as usize);
    }

    /// Fetches both buckets in which an entry with `hash` can be.
    #[inline]
    pub(super) fn prefetch_entry(&self, hash: u64) {
        self.index.prefetch_both(hash);
    }

    /// Second pass, for IPv6: fetches the addresses of the record that the candidate points to as well.
    #[inline]
    pub(super) fn prefetch_wide(&self, candidate: Candidate) {
        let (index, _) = unpack(candidate.0.value());
        if (index.0 as usize) < self.capacity {
            arch::prefetch_read(self.wide.line(index.0 as usize));
        }
    }

    /// Third pass: what [`Self::find`] says now, and quickly where the candidate is it.
    #[inline(always)]
    pub(super) fn verify(
        &self,
        candidate: Candidate,
        key: &PackedKey,
        hash: u64,
    ) -> Option<(ConnectionIndex, Direction)> {
        let value = candidate.0.value();
        if self.value_is(value, key) { Some(unpack(value)) } else { self.find(key, hash) }
    }

    /// The record that the candidate points to, if it has `key` and needs nothing but to have its packets passed on.
    #[inline(always)]
    pub(super) fn expect<K: Family>(
        &mut self,
        candidate: Candidate,
        key: &K,
    ) -> Option<(&mut Record, &LazyLines, ConnectionIndex, Direction)> {
        let (index, direction) = unpack(candidate.0.value());
        let record = self.records.get_mut(index.0 as usize)?;
        let is_it = K::read(record, wide_of::<K>(&self.wide, index), direction) == *key && record.is_plain::<K>();
        is_it.then_some((record, &self.wide, index, direction))
    }

    /// The connection with `key` in either direction, and which direction that is.
    #[inline]
    pub(super) fn find(&self, key: &PackedKey, hash: u64) -> Option<(ConnectionIndex, Direction)> {
        self.index.find(hash, |value| self.value_is(value, key)).map(unpack)
    }

    /// Whether packets with `key` belong to connection `index`, in `direction`.
    #[inline(always)]
    pub(super) fn is(&self, index: ConnectionIndex, direction: Direction, key: &PackedKey) -> bool {
        // A vacant record has ports of 0, which no packet that is looked for has.
        self.records
            .get(index.0 as usize)
            .is_some_and(|record| record.key(self.wide_line(record, index), direction) == *key)
    }

    /// The wide line of the record at `index`, which is `record`.
    #[inline(always)]
    fn wide_line(&self, record: &Record, index: ConnectionIndex) -> &Line {
        if record.is_wide() { self.wide.line(index.0 as usize) } else { &NOT_WIDE }
    }

    /// The connection at `index`, or a vacant one.
    #[inline(always)]
    pub(super) fn connection(&self, index: ConnectionIndex) -> Connection {
        let record = self.record(index);
        Connection::of(record, self.wide_line(record, index))
    }

    /// The record at `index` to be changed, and the wide lines.
    #[inline(always)]
    pub(super) fn meet(&mut self, index: ConnectionIndex) -> (&mut Record, &LazyLines) {
        (&mut self.records[index.0 as usize], &self.wide)
    }

    /// The record at `index`, vacant or not.
    #[inline(always)]
    pub(super) fn record(&self, index: ConnectionIndex) -> &Record {
        &self.records[index.0 as usize]
    }

    #[inline(always)]
    pub(super) fn record_mut(&mut self, index: ConnectionIndex) -> &mut Record {
        &mut self.records[index.0 as usize]
    }

    /// How many records were ever used: all connections are among the first so many.
    pub(super) const fn used(&self) -> usize {
        self.records.len()
    }

    /// Adds a connection under the hash of its original key, unless it is of one packet, and that of its reply key if replies
    /// come by.
    ///
    /// # Errors
    ///
    /// [`TableFull`]; nothing has changed.
    pub(super) fn insert(
        &mut self,
        connection: Connection,
        original: u64,
        reply: Option<u64>,
    ) -> Result<ConnectionIndex, TableFull> {
        if self.len == self.capacity {
            return Err(TableFull);
        }
        let index = ConnectionIndex(if self.freed == NONE { self.records.len() as u32 } else { self.freed });
        let has_original = !connection.is_one_packet();
        if has_original {
            self.index.insert(original, pack(index, Direction::Original)).map_err(|_| TableFull)?;
        }
        if reply.is_some_and(|reply| self.index.insert(reply, pack(index, Direction::Reply)).is_err()) {
            if has_original {
                self.index.remove(original, pack(index, Direction::Original));
            }
            return Err(TableFull);
        }
        let (record, wide) = connection.parts();
        if record.is_wide() {
            *self.wide.line_mut(index.0 as usize) = *wide;
        }
        if self.freed == NONE {
            self.records.push(*record);
        } else {
            let vacant = &mut self.records[index.0 as usize];
            self.freed = vacant.backend.0;
            *vacant = *record;
        }
        self.len += 1;
        Ok(index)
    }

    /// Removes the connection at `index`, whose keys have these hashes, and returns what it was.
    pub(super) fn remove(&mut self, index: ConnectionIndex, original: u64, reply: Option<u64>) -> Connection {
        let is_one_packet = self.record(index).is_one_packet();
        let mut remove = |hash, direction| {
            let was_there = self.index.remove(hash, pack(index, direction));
            debug_assert!(was_there, "{direction:?} of {index:?}");
        };
        if !is_one_packet {
            remove(original, Direction::Original);
        }
        if let Some(reply) = reply {
            remove(reply, Direction::Reply);
        }
        let connection = self.connection(index);
        self.records[index.0 as usize] = Record::vacant(self.freed);
        debug_assert_ne!(connection.state(), State::Vacant);
        self.freed = index.0;
        self.len -= 1;
        connection
    }

    #[inline(always)]
    fn value_is(&self, value: u32, key: &PackedKey) -> bool {
        let (index, direction) = unpack(value);
        self.is(index, direction, key)
    }
}

/// The line in which a record of this family has its addresses.
#[inline(always)]
fn wide_of<K: Family>(wide: &LazyLines, index: ConnectionIndex) -> &Line {
    if K::PLAIN == 0 { &NOT_WIDE } else { wide.line(index.0 as usize) }
}

const fn pack(index: ConnectionIndex, direction: Direction) -> u32 {
    index.0 << 1 | direction as u32
}

#[inline]
const fn unpack(value: u32) -> (ConnectionIndex, Direction) {
    let direction = if value & 1 == 0 { Direction::Original } else { Direction::Reply };
    (ConnectionIndex(value >> 1), direction)
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
