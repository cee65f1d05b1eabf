//! Connections: which are open, in what state, and which source port each one has towards its backend.
//!
//! One lcore owns one [`Conntrack`] and shares nothing of it. A packet's key goes in through a lookup in three passes
//! over a burst, so that no pass waits for memory: [`Conntrack::prefetch`], [`Conntrack::find_candidate`] with
//! [`Conntrack::find_elsewhere`], [`Conntrack::verify`]. What is found takes the packet in ([`Conntrack::track`]); what is not may be opened
//! ([`Conntrack::open`]). Between bursts [`Conntrack::sweep`] forgets the connections whose time is over.
//!
//! The states and timeouts are those of RFC 9293, RFC 5382, RFC 4787, RFC 5508 and RFC 7857; each rule cites its own.
//! All memory is allocated at the start, and for a pool of ports when its first connection is opened.

mod adjustment;
mod connection;
mod index;
mod lines;
mod loads;
mod memory;
mod open;
mod port_queue;
mod ports;
mod records;
mod renumber;
mod reserved;
mod room;
mod table;
mod tcp;
mod timeouts;
mod track;

pub use adjustment::{Adjustment, Errand};
pub use connection::{ClientLink, Connection, ConnectionIndex, Family, Path, Record};
pub use loads::{ClientLimits, ClientLoads, Reached};
pub use memory::{FlowMemory, Persistence};
pub use open::{Opening, Source};
pub use ports::PoolKey;
pub use renumber::{Numbers, Predecessor, Stamp};
pub use reserved::ReservedPorts;
pub use table::Candidate;
pub use tcp::{Segment, Sight};
pub use timeouts::Timeouts;
pub use track::{Change, Direction, Observed, State, Track};

use std::sync::Arc;

use crate::flow::{FlowHasher, FlowKey, PackedKey};
use crate::steering::PortShare;
use crate::time::Tick;
use crate::wire::checksum::Delta;
use adjustment::Adjustments;
use lines::Line;
use open::Choice;
use port_queue::{Pool, PoolMut};
use ports::Pools;
use table::Table;
use timeouts::TimeoutTicks;

/// What a [`Conntrack`] is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many connections it can hold; below 2³⁰.
    pub connections: usize,
    /// Whether many of them will be of IPv6: each then has room for its addresses beside it, 64 bytes, from the start.
    pub ipv6: bool,
    /// The process's hash of flow keys.
    pub hasher: FlowHasher,
    /// How long silent connections live.
    pub timeouts: Timeouts,
    /// This lcore's part of the source ports.
    pub share: PortShare,
}

/// An opened connection.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Where it is.
    pub index: ConnectionIndex,
    /// A connection that is gone now: it had rested on the port, or its record was needed. It was over or
    /// [half-open](State::is_half_open), and may still count as open.
    pub ended: Option<Connection>,
}

/// Why a connection could not be opened. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// All connections that there is room for exist, and none that is over or half-open was found among the next few.
    #[error("the connection table is full")]
    TableFull,
    /// Every source port towards this backend is in use, at each local address. [`Conntrack::evict_for_port`] may find one.
    #[error("no source port towards the backend is free")]
    PortsExhausted,
    /// The client talks from the same port with the same backend through another service, and `nat` could not tell the
    /// answers apart.
    #[error("the same client port is connected to the same backend already")]
    TupleInUse,
}

/// What a packet meant for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Whether the packet can belong to the connection; only then may it change where the client's packets come from.
    /// In any case it is to be forwarded, but for [`Change::Reopen`].
    pub in_window: bool,
    /// What it changed. Each transition is reported once.
    pub change: Option<Change>,
    /// Whether it is the first packet of its tick that prolongs the connection.
    pub first_in_tick: bool,
}

/// What a packet leaves with.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<K> {
    /// Its 5-tuple.
    pub key: K,
    /// What becomes of a checksum over its addresses, if it is one of IPv6.
    pub addresses: Delta,
}

/// A connection that a packet has come for.
#[derive(Debug)]
pub struct Met<'a> {
    connection: &'a mut Record,
    wide: &'a Line,
    timeouts: &'a TimeoutTicks,
}

impl Met<'_> {
    /// What is known of the connection.
    #[inline(always)]
    pub const fn connection(&self) -> &Record {
        self.connection
    }

    /// The 5-tuple that its packets in `direction` leave with.
    #[inline(always)]
    pub fn leaving_either(&self, direction: Direction) -> PackedKey {
        self.connection.key(self.wide, direction.opposite()).reversed()
    }

    /// Whether its time is over: see [`Conntrack::is_over`].
    #[inline(always)]
    pub const fn is_over(&self, now: Tick) -> bool {
        self.connection.is_over(self.timeouts, now)
    }

    /// Whether a packet at `now` would be the first in its tick that prolongs the connection.
    #[inline(always)]
    pub const fn is_first_in_tick(&self, now: Tick) -> bool {
        self.connection.last_seen().0 != now.0
    }

    /// Does all that [`Conntrack::track`] would for a packet at `now`, if it is one of those that nearly all are, and says what
    /// addresses and ports it leaves with; otherwise changes nothing. The connection's time must not be over, and a TCP
    /// `segment` has ACK and neither SYN, FIN nor RST.
    #[inline(always)]
    pub fn pass<K: Family>(
        &mut self,
        direction: Direction,
        segment: Option<&Segment>,
        now: Tick,
    ) -> Option<Leaving<K>> {
        self.connection.pass(direction, segment, now).then(|| Leaving {
            key: K::read(self.connection, self.wide, direction.opposite()).reversed(),
            addresses: self.connection.readdressing(direction),
        })
    }

    /// What [`Conntrack::track`] does, but for one thing: if the packet changed something, [`Conntrack::settle`] must be
    /// told.
    #[inline(always)]
    pub fn track(&mut self, direction: Direction, segment: Option<&Segment>, now: Tick) -> Tracked {
        self.connection.take_in(direction, segment, now)
    }
}

/// The connections of one lcore.
#[derive(Debug)]
pub struct Conntrack {
    table: Table,
    adjustments: Adjustments,
    /// When a full table last forgot a connection whose source port may be in TIME-WAIT at its backend.
    forgot_resting: Option<Tick>,
    pools: Pools,
    reserved: Arc<ReservedPorts>,
    /// The shard of the pools that is next to be searched for some that nobody needs; none when all were.
    tidy_at: Option<usize>,
    hasher: FlowHasher,
    timeouts: TimeoutTicks,
    /// The record that the next sweep begins with.
    sweep_at: usize,
    /// The record that the next search for room begins with.
    room_at: usize,
    /// Records that earlier searches for room did not need to look at.
    room_tries_left: usize,
}

impl Conntrack {
    /// An empty one. Its memory is committed as it is used.
    pub fn new(settings: &Settings) -> Self {
        Self {
            // One more than asked: a new connection is put in before the one that it replaces goes.
            table: Table::new(settings.connections + 1, settings.ipv6),
            adjustments: Adjustments::new(settings.connections + 1),
            forgot_resting: None,
            pools: Pools::new(settings.share.clone(), settings.hasher),
            reserved: Arc::default(),
            tidy_at: None,
            hasher: settings.hasher,
            timeouts: TimeoutTicks::new(&settings.timeouts),
            sweep_at: 0,
            room_at: 0,
            room_tries_left: 0,
        }
    }

    /// How many connections there are, resting ones included.
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there can be.
    pub const fn capacity(&self) -> usize {
        self.table.capacity() - 1
    }

    /// Takes over a configuration's reserved ports and timeouts, and has [`Self::tidy`] look at all pools again. Cheap: a
    /// pool learns what is reserved when it is next used.
    pub fn adopt(&mut self, reserved: &Arc<ReservedPorts>, timeouts: &Timeouts) {
        self.reserved = Arc::clone(reserved);
        self.timeouts = TimeoutTicks::new(timeouts);
        self.tidy_at = Some(0);
    }

    /// Looks at some pools after [`Self::adopt`], and forgets those that `is_wanted` refuses, but for those that still have
    /// a port in use. Nothing once it has looked at all.
    pub fn tidy(&mut self, is_wanted: impl FnMut(&PoolKey) -> bool) {
        let Some(shard) = self.tidy_at else { return };
        self.pools.retain(shard, is_wanted);
        self.tidy_at = Some(shard + 1).filter(|next| *next < Pools::shards());
    }

    /// How many ports of a pool can be given out, those that rest included; `None` if there is no such pool.
    pub fn ports_free(&self, key: &PoolKey) -> Option<usize> {
        self.pools.pool(key).map(Pool::waiting)
    }

    /// The hash that the lookups take.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.hasher.hash(key)
    }

    /// First pass of a lookup: fetches the bucket that `hash` leads to.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    /// Second pass: reads the bucket and fetches the record that it points to.
    #[inline]
    pub fn find_candidate(&self, hash: u64) -> Candidate {
        self.table.find_candidate(hash)
    }

    /// Second pass again, after it was made for all packets: does the same for the few that need one more step.
    #[inline]
    pub fn find_elsewhere(&self, candidate: &mut Candidate, hash: u64) {
        self.table.find_elsewhere(candidate, hash);
    }

    /// Third pass: the connection that has `key` in either direction. The answer is that of [`Self::find`], now; the
    /// candidate only makes it quick, and may be older than other packets' openings and endings.
    #[inline(always)]
    pub fn verify(&self, candidate: Candidate, key: &PackedKey, hash: u64) -> Option<(ConnectionIndex, Direction)> {
        self.table.verify(candidate, key, hash)
    }

    /// Third pass, for most packets: the connection that the candidate points to, if it has `key` and its packets need nothing
    /// but to be passed on.
    #[inline(always)]
    pub fn expect<K: Family>(&mut self, candidate: Candidate, key: &K) -> Option<(Met<'_>, Direction)> {
        let (connection, wide, direction) = self.table.expect(candidate, key)?;
        Some((Met { connection, wide, timeouts: &self.timeouts }, direction))
    }

    /// The connection that has `key`, whose hash is `hash`, in either direction, and which direction that is.
    #[inline]
    pub fn find(&self, key: &PackedKey, hash: u64) -> Option<(ConnectionIndex, Direction)> {
        self.table.find(key, hash)
    }

    /// Whether there is still, or again, a connection at `index` that has `key` in `direction`.
    #[inline]
    pub fn is(&self, index: ConnectionIndex, direction: Direction, key: &PackedKey) -> bool {
        self.table.is(index, direction, key)
    }

    /// The connection at `index`; one with [`State::Vacant`] if it has ended.
    #[inline(always)]
    pub fn connection(&self, index: ConnectionIndex) -> Connection {
        self.table.connection(index)
    }

    /// What is known of it, but for its addresses.
    #[inline(always)]
    pub fn record(&self, index: ConnectionIndex) -> &Record {
        self.table.record(index)
    }

    /// Second pass, for IPv6: fetches what [`Self::find_candidate`] did not.
    #[inline]
    pub fn prefetch_wide(&self, candidate: Candidate) {
        self.table.prefetch_wide(candidate);
    }

    /// Whether the time of `connection` is over. [`Self::sweep`] ends it sooner or later; a packet that comes before may
    /// find it still there.
    #[inline(always)]
    pub const fn is_over(&self, connection: &Record, now: Tick) -> bool {
        connection.is_over(&self.timeouts, now)
    }

    /// The connection at `index`, for one of its packets.
    #[inline(always)]
    pub fn meet(&mut self, index: ConnectionIndex) -> Met<'_> {
        let (connection, wide) = self.table.meet(index);
        Met { connection, wide, timeouts: &self.timeouts }
    }

    /// Opens a connection and gives it a source port. A full table makes room by forgetting a connection that rests or
    /// whose time is over, or else one that is half-open.
    ///
    /// # Errors
    ///
    /// As [`OpenError`] says. No other connection is hurt and no port is lost.
    pub fn open(&mut self, opening: &Opening<'_>) -> Result<Opened, OpenError> {
        debug_assert!(
            opening.is_one_packet || self.find(&opening.original.pack(), opening.hash).is_none(),
            "{} is open",
            opening.original
        );
        let over = if self.len() < self.capacity() {
            None
        } else {
            Some(self.find_room(opening.now).ok_or(OpenError::TableFull)?)
        };
        let choice = self.choose_way(opening)?;
        let connection = choice.connection(opening);
        let adjustment = self.adjustment_of(opening, &choice);
        let Ok(index) = self.table.insert(connection, opening.hash, choice.reply_hash) else {
            self.rest(&connection);
            return Err(OpenError::TableFull);
        };
        if let Some(adjustment) = &adjustment {
            self.adjust(index, adjustment);
        }
        if choice.resting.is_none() && over.is_some_and(|index| self.table.record(index).rests_at_backend()) {
            self.forgot_resting = Some(opening.now);
        }
        let ended = choice.resting.or(over).map(|index| self.end(index));
        if over.is_some() {
            self.prepare_room();
        }
        Ok(Opened { index, ended })
    }

    /// How segments of a new connection are to be changed, if they are.
    fn adjustment_of(&self, opening: &Opening<'_>, choice: &Choice) -> Option<Adjustment> {
        let Some(numbers) = opening.numbers else { return opening.adjustment };
        let resting = choice.resting.filter(|index| self.table.record(*index).rests_at_backend());
        let before = resting.map(|index| self.predecessor(index)).or(numbers.before);
        if before.is_none() && !numbers.always && !self.has_forgotten_resting(opening.now) {
            return opening.adjustment;
        }
        let mut adjustment = opening.adjustment.unwrap_or_default();
        self.renumber(numbers, &choice.reply, before, opening.now, &mut adjustment);
        Some(adjustment)
    }

    /// How segments of the connection at `index` are changed; by nothing, if they are not.
    pub fn adjustment(&self, index: ConnectionIndex) -> Adjustment {
        if self.table.record(index).is_adjusted() { self.adjustments.get(index.at()) } else { Adjustment::default() }
    }

    /// Has segments of the connection at `index` changed from now on.
    pub fn adjust(&mut self, index: ConnectionIndex, adjustment: &Adjustment) {
        self.adjustments.set(index.at(), adjustment);
        self.table.record_mut(index).set_adjusted(true, adjustment.errand != Errand::None);
    }

    /// Leaves segments of the connection at `index` as they are from now on.
    pub fn leave_as_they_are(&mut self, index: ConnectionIndex) {
        self.table.record_mut(index).set_adjusted(false, false);
    }

    /// Whether a connection was forgotten of late whose port its backend may have in TIME-WAIT.
    fn has_forgotten_resting(&self, now: Tick) -> bool {
        self.forgot_resting.is_some_and(|at| !self.timeouts.expired(State::TimeWait, at, now))
    }

    /// Takes in a packet of the connection at `index`; `segment` is its TCP header, if it is TCP.
    ///
    /// A valid packet prolongs the connection, except in [`State::TimeWait`] and [`State::Reset`].
    #[inline(always)]
    pub fn track(
        &mut self,
        index: ConnectionIndex,
        direction: Direction,
        segment: Option<&Segment>,
        now: Tick,
    ) -> Tracked {
        let tracked = self.meet(index).track(direction, segment, now);
        if let Some(change) = tracked.change {
            self.settle(index, change);
        }
        tracked
    }

    /// Does to the ports what `change` of the connection at `index` means for its own.
    #[cold]
    pub fn settle(&mut self, index: ConnectionIndex, change: Change) {
        let connection = self.table.connection(index);
        match change {
            Change::Closed => self.rest(&connection),
            Change::Restored => {
                if let Some(mut pool) = self.pool_of(&connection) {
                    pool.reclaim(connection.local_port());
                }
            }
            Change::Reopen { .. } => {}
        }
    }

    /// Notes where the client's packets come from now. Only a packet of the client's that was
    /// [in the window](Tracked::in_window) may say so.
    #[inline]
    pub fn set_link(&mut self, index: ConnectionIndex, link: ClientLink) {
        self.table.record_mut(index).set_link(link);
    }

    /// Ends the connection at `index`, which must exist, gives its port back, and returns what it was.
    pub fn end(&mut self, index: ConnectionIndex) -> Connection {
        let connection = self.table.connection(index);
        let original = self.hasher.hash(&connection.original_key());
        let reply = connection.has_replies().then(|| self.hasher.hash(&connection.reply_key()));
        let connection = self.table.remove(index, original, reply);
        // A resting connection's port is in the queue already.
        if connection.is_open() {
            self.rest(&connection);
        }
        connection
    }

    /// Looks at the next `budget` records, from where the last sweep stopped, and ends the connections whose time is
    /// over; `ended` gets each as it last was. Returns how many those were.
    pub fn sweep(&mut self, now: Tick, budget: usize, ended: impl FnMut(&Connection)) -> usize {
        self.sweep_and_ask(now, budget, ended, |_| ())
    }

    /// The same; `errand` gets the connections of those records for which leat has to do something.
    pub fn sweep_and_ask(
        &mut self,
        now: Tick,
        budget: usize,
        mut ended: impl FnMut(&Connection),
        mut errand: impl FnMut(ConnectionIndex),
    ) -> usize {
        let mut count = 0;
        for _ in 0..budget.min(self.table.used()) {
            if self.sweep_at >= self.table.used() {
                self.sweep_at = 0;
            }
            let index = ConnectionIndex(self.sweep_at as u32);
            self.sweep_at += 1;
            let connection = self.table.record(index);
            if self.is_over(connection, now) {
                ended(&self.end(index));
                count += 1;
            } else if connection.has_errand() {
                errand(index);
            }
        }
        count
    }

    /// The connections among `count` records from record `from` on; all are among the first [`Self::used`].
    pub fn records(&self, from: usize, count: usize) -> impl Iterator<Item = (ConnectionIndex, Connection)> {
        let end = self.table.used().min(from.saturating_add(count));
        (from..end).map(|at| ConnectionIndex(at as u32)).filter_map(|index| {
            let is_vacant = self.table.record(index).state() == State::Vacant;
            (!is_vacant).then(|| (index, self.table.connection(index)))
        })
    }

    /// How many records were ever used.
    pub const fn used(&self) -> usize {
        self.table.used()
    }

    /// Puts the connection's port at the end of its pool's queue.
    fn rest(&mut self, connection: &Connection) {
        if let Some(mut pool) = self.pool_of(connection) {
            pool.give_back(connection.local_port());
        }
    }

    /// The pool that the connection's source port is from, if it is from one.
    fn pool_of(&mut self, connection: &Connection) -> Option<PoolMut<'_>> {
        self.pools.pool_mut(&connection.pool()?, connection.reply_key().src_port)
    }
}

#[cfg(test)]
mod tests;
