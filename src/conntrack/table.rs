//! The connection table of one lcore: records, and the index that finds each by the keys of both its directions.
//!
//! All of it is allocated and committed once. Records are used from the front, and a freed one, whose line is likely to
//! be in the cache still, is the next to be used again.

use super::connection::{Connection, ConnectionIndex, Family, NOT_WIDE, Record};
use super::index::{Hint, Index};
use super::lines::Line;
use super::records::Records;
use super::track::{Direction, State};
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

impl Candidate {
    /// Where that record is, if it is there.
    #[inline]
    pub const fn index(self) -> ConnectionIndex {
        unpack(self.0.value()).0
    }
}

/// There is no room for another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableFull;

/// Connections by the hashes of their keys.
#[derive(Debug)]
pub(super) struct Table {
    index: Index,
    records: Records,
    capacity: usize,
    freed: u32,
    len: usize,
}

impl Table {
    /// A table for `capacity` connections, at most 2³⁰; with `ipv6`, laid out for those of IPv6.
    pub(super) fn new(capacity: usize, ipv6: bool) -> Self {
        assert!(capacity <= 1 << 30, "an index of 30 bits");
        let (index, records) = (Index::new(2 * capacity), Records::new(capacity, ipv6));
        Self { index, records, capacity, freed: NONE, len: 0 }
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
        self.records.prefetch(index.0 as usize);
    }

    /// Fetches both buckets in which an entry with `hash` can be.
    #[inline]
    pub(super) fn prefetch_entry(&self, hash: u64) {
        self.index.prefetch_both(hash);
    }

    /// Second pass, for IPv6: fetches the addresses of the record that the candidate points to as well.
    #[inline]
    pub(super) fn prefetch_wide(&self, candidate: Candidate) {
        self.records.prefetch_wide(unpack(candidate.0.value()).0.0 as usize);
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
    ) -> Option<(&mut Record, &Line, Direction)> {
        let (index, direction) = unpack(candidate.0.value());
        let (record, wide) = self.records.family::<K>(index.0 as usize)?;
        let is_it = K::read(record, wide, direction) == *key && record.is_plain::<K>();
        is_it.then_some((record, wide, direction))
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
        if record.is_wide() { self.records.wide(index.0 as usize) } else { &NOT_WIDE }
    }

    /// The connection at `index`, or a vacant one.
    #[inline(always)]
    pub(super) fn connection(&self, index: ConnectionIndex) -> Connection {
        let record = self.record(index);
        Connection::of(record, self.wide_line(record, index))
    }

    /// The record at `index` to be changed, and its wide line.
    #[inline(always)]
    pub(super) fn meet(&mut self, index: ConnectionIndex) -> (&mut Record, &Line) {
        self.records.both(index.0 as usize)
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
        if self.freed == NONE {
            self.records.push(*record, wide);
        } else {
            self.freed = self.records[index.0 as usize].backend.0;
            self.records.set(index.0 as usize, *record, wide);
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
        *self.record_mut(index) = Record::vacant(self.freed);
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
