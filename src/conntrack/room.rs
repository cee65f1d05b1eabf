//! Making room: which connection has to go when the table is full, or when every source port towards a backend is in use.
//!
//! One that rests or whose time is over goes first. Else it is one that is half-open, the one that has been silent for the longest of some
//! that are met: a flood of SYNs pushes out itself. One that both sides have agreed to is never taken.
//!
//! A search goes on where the last one stopped, over records that lie side by side, and its length is bounded.

use super::open::Opening;
use super::{Connection, ConnectionIndex, Conntrack, Predecessor, Record};
use crate::time::Tick;

/// How many records a full table is searched for a connection that is over, each time that one is to be opened…
const ROOM_TRIES: usize = 64;
/// … to which are added those that earlier searches did not need, up to so many: young connections can lie side by side.
const MOST_ROOM_TRIES: usize = 4096;

/// How many half-open connections a search for room looks at before it takes the oldest of them.
const HALF_OPEN_TRIES: usize = 16;

/// How many records are searched for a half-open connection that has a source port which is needed, when none is free.
const PORT_ROOM_TRIES: usize = 256;

impl Conntrack {
    /// A connection that rests or whose time is over, among the next records of a full table; else the one that has been
    /// half-open for the longest, of some.
    pub(super) fn find_room(&mut self, now: Tick) -> Option<ConnectionIndex> {
        let tries = (self.room_tries_left + ROOM_TRIES).min(MOST_ROOM_TRIES);
        self.room_tries_left = 0;
        let mut half_open = Oldest::default();
        for tried in 0..tries.min(self.table.used()) {
            let index = self.next_for_room();
            let connection = self.table.record(index);
            if connection.state().rests() || self.is_over(connection, now) {
                self.room_tries_left = tries - tried - 1;
                return Some(index);
            }
            if connection.state().is_half_open() {
                half_open.consider(index, connection, now);
                if half_open.considered == HALF_OPEN_TRIES {
                    self.room_tries_left = tries - tried - 1;
                    break;
                }
            }
        }
        half_open.index
    }

    /// Ends a half-open connection whose source port the new one could have, if it meets one. Returns what it was, and what its
    /// backend may remember of it.
    #[cold]
    pub fn evict_for_port(&mut self, opening: &Opening<'_>) -> Option<(Connection, Predecessor)> {
        let mut half_open = Oldest::default();
        for _ in 0..PORT_ROOM_TRIES.min(self.table.used()) {
            let index = self.next_for_room();
            let connection = self.table.record(index);
            if connection.state().is_half_open()
                && self.table.connection(index).pool().is_some_and(|pool| opening.can_use(&pool))
                && half_open.considered < HALF_OPEN_TRIES
            {
                half_open.consider(index, connection, opening.now);
            }
        }
        half_open.index.map(|index| {
            let predecessor = self.predecessor(index);
            (self.end(index), predecessor)
        })
    }

    /// The record that the search for room has come to, which goes on to the next.
    fn next_for_room(&mut self) -> ConnectionIndex {
        let index = ConnectionIndex(self.room_at as u32);
        self.room_at = if self.room_at + 1 < self.table.used() { self.room_at + 1 } else { 0 };
        index
    }

    /// Fetches what it takes to end the connection that the next search for room begins with, and the one after it.
    pub(super) fn prepare_room(&self) {
        let [next, after] = [self.room_at, self.room_at + 1].map(|at| ConnectionIndex((at % self.table.used()) as u32));
        self.table.prefetch_record(after);
        let connection = self.table.connection(next);
        self.table.prefetch_entry(self.hasher.hash(&connection.original_key()));
        if connection.has_replies() {
            self.table.prefetch_entry(self.hasher.hash(&connection.reply_key()));
        }
    }
}

/// The connection that has been silent for the longest, of some.
#[derive(Default)]
struct Oldest {
    index: Option<ConnectionIndex>,
    age: u32,
    considered: usize,
}

impl Oldest {
    fn consider(&mut self, index: ConnectionIndex, connection: &Record, now: Tick) {
        self.considered += 1;
        let age = now.since(connection.last_seen());
        if self.index.is_none() || age > self.age {
            (self.index, self.age) = (Some(index), age);
        }
    }
}
