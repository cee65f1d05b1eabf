//! The ports of one pool: which of them is given out next.
//!
//! The ports that may be given out wait in a queue. The one that has rested longest comes first: a backend that closed
//! first keeps the tuple in TIME-WAIT, and the longer ago that was the better (RFC 6056 §2.3 on reuse). The port of a
//! connection that is over, but not yet forgotten, *rests*: it waits already. Each pool's queue begins at
//! another place (RFC 6056 §3.3.1), the same for the same hash.
//!
//! The queue is a ring of numbers, two bytes for each port, and beside it there are four bits for each port. A port that is taken by its number leaves its
//! entry behind: what comes to the front and is not there to be given out is thrown away. If the port has come back before
//! that, its entry is too far in front. So the port is marked, and goes to the end when it is met. A port has one entry at
//! the most, the ring has room for all, and each end of it is where it was last touched: to take a
//! port and to give it back hardly ever waits for memory.
//!
//! A number in the ring is kept as its distance from its place, so zeroed memory is a full queue in the order of the ports, and pages of ports that are
//! never reached cost nothing.
//!
//! A number counts within the worker's part, and [`PortShare`] makes a port of it. Where that depends on the
//! port that the backend answers from, the numbers of a pool for all ports of a backend *float*: each stands for another port
//! with each port of the backend, so no number is reserved, and one that stands for a reserved port is passed over when it is met.

use super::ports::{Place, PoolKey, Slabs};
use super::reserved::ReservedPorts;
use crate::arch;
use crate::flow::FlowKey;
use crate::steering::{Base, PortShare};

/// Ports whose marks fit in one word.
const MARKS_IN_WORD: usize = 4;

/// How many ports one search sends to the end of the queue, because their entries were early, before it takes such a one as it comes: a bound for its
/// time.
const MOST_SENT_BACK: usize = 32_768;

/// What is marked of a port, a bit each. Without any it waits, and its entry is in its place.
mod mark {
    /// A connection has it.
    pub(super) const IN_USE: u16 = 1;
    /// It has no entry in the ring.
    pub(super) const UNQUEUED: u16 = 2;
    /// Its entry is further in front than it should be.
    pub(super) const EARLY: u16 = 4;
    /// It is reserved.
    pub(super) const RESERVED: u16 = 8;
    /// All of them.
    pub(super) const ALL: u16 = 15;
}

/// How many words of memory a pool of so many ports takes.
pub(super) const fn words(ports: usize) -> usize {
    ports + ports.div_ceil(MARKS_IN_WORD)
}

/// One pool: the ports of one worker's part, each waiting in the queue, in use, or reserved.
#[derive(Debug)]
pub(super) struct Pool {
    place: Place,
    /// Of answers from port 0 of the backend.
    base: Base,
    /// Whether which port a number stands for depends on the port that the backend answers from.
    floats: bool,
    /// How many ports are in the worker's part.
    ports: u32,
    /// The place in the ring of the entry that comes first.
    front: u32,
    /// How many entries there are.
    entries: u32,
    waiting: usize,
    in_use: usize,
    reserved: Vec<u16>,
    /// Which edition of the reserved ports that is; 0: none yet.
    edition: u64,
}

impl Pool {
    /// All of `share` in the queue, beginning at a port that `start` selects. Its words are at `place`, with all ports in the
    /// queue.
    pub(super) fn new(place: Place, share: &PortShare, key: &PoolKey, start: u64) -> Self {
        let ports = share.len();
        Self {
            place,
            base: share.base(&FlowKey { src_port: 0, ..key.answers() }),
            floats: key.backend_port == 0 && share.depends_on_base(),
            ports: ports as u32,
            front: if ports == 0 { 0 } else { (start % ports as u64) as u32 },
            entries: ports as u32,
            waiting: ports,
            in_use: 0,
            reserved: Vec::new(),
            edition: 0,
        }
    }

    /// With its words, which are in `slabs`, for connections with `backend_port`.
    #[inline]
    pub(super) fn with<'a>(&'a mut self, slabs: &'a mut Slabs, share: &'a PortShare, backend_port: u16) -> PoolMut<'a> {
        let base = share.base_with_source_port(self.base, backend_port);
        let (ring, marks) = slabs.words(self.place).split_at_mut(self.ports as usize);
        PoolMut { pool: self, share, base, ring, marks }
    }

    /// How many ports wait to be given out, resting ones included.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many ports connections have.
    pub(super) const fn in_use(&self) -> usize {
        self.in_use
    }

    /// Where its words are.
    pub(super) const fn place(&self) -> Place {
        self.place
    }
}

/// A pool with its words.
#[derive(Debug)]
pub(super) struct PoolMut<'a> {
    pool: &'a mut Pool,
    share: &'a PortShare,
    base: Base,
    /// The queue: by place, the distance from there to the number that stands there.
    ring: &'a mut [u16],
    /// By number, four to a word: what is marked of the port.
    marks: &'a mut [u16],
}

impl PoolMut<'_> {
    /// Takes the port that has waited longest; but one that was last taken by [`Self::take`] may wait longer than that, and where more than
    /// 32,768 such ones stand in a row, one of them is taken as it comes.
    pub(super) fn take_oldest(&mut self) -> Option<u16> {
        let (mut passed_over, mut sent_back) = (0, 0);
        while self.pool.waiting > 0 {
            let number = self.pop()?;
            let marks = self.marks(number);
            if marks & (mark::IN_USE | mark::RESERVED) != 0 {
                self.unmark(number, mark::EARLY);
                self.mark(number, mark::UNQUEUED);
                continue;
            }
            if marks & mark::EARLY != 0 && sent_back < MOST_SENT_BACK {
                sent_back += 1;
                self.unmark(number, mark::EARLY);
                self.push(number);
                continue;
            }
            let port = self.share.port(number, self.base);
            if self.is_passed_over(port) {
                self.push(number);
                passed_over += 1;
                // There are no more of them than such ports, and after two rounds no entry is early.
                if passed_over > 2 * self.pool.reserved.len() {
                    return None;
                }
                continue;
            }
            self.unmark(number, mark::EARLY);
            self.mark(number, mark::UNQUEUED);
            self.use_number(number);
            return Some(port);
        }
        None
    }

    /// The port whose entry is in front of the queue, whether it can be given out or not.
    pub(super) fn front(&self) -> Option<u16> {
        if self.pool.entries == 0 {
            return None;
        }
        let place = self.pool.front;
        Some(self.share.port(self.wrap(place + u32::from(self.ring[place as usize])), self.base))
    }

    /// Fetches what tells whether `port` waits.
    pub(super) fn prefetch(&self, port: u16) {
        if let Some(number) = self.number(port) {
            arch::prefetch_element(self.marks, number as usize / MARKS_IN_WORD);
        }
    }

    /// Whether `port` waits in the queue to be given out.
    pub(super) fn is_waiting(&self, port: u16) -> bool {
        self.waiting_number(port).is_some()
    }

    /// Takes `port`, wherever in the queue it stands; whether it was there to be given out.
    pub(super) fn take(&mut self, port: u16) -> bool {
        let Some(number) = self.waiting_number(port) else { return false };
        self.use_number(number);
        true
    }

    /// Takes `port` back for a resting connection that goes on, even if it was reserved meanwhile.
    pub(super) fn reclaim(&mut self, port: u16) {
        let Some(number) = self.number(port) else { return };
        if self.marks(number) & mark::IN_USE == 0 {
            self.use_number(number);
        }
    }

    /// Puts a port that was in use at the end of the queue.
    pub(super) fn give_back(&mut self, port: u16) {
        let Some(number) = self.number(port) else { return };
        let marks = self.marks(number);
        if marks & mark::IN_USE == 0 {
            return;
        }
        self.unmark(number, mark::IN_USE);
        self.pool.in_use -= 1;
        if marks & mark::RESERVED == 0 {
            self.wait(number);
        }
    }

    /// Has the pool for `key` learn what is reserved, unless it knows.
    pub(super) fn adopt(&mut self, reserved: &ReservedPorts, key: &PoolKey) {
        if self.pool.edition != reserved.edition() {
            self.reserve_only(reserved.of(key.local, key.protocol));
            self.pool.edition = reserved.edition();
        }
    }

    /// From now on exactly `reserved`, in ascending order, is never given out. A connection that has such a port keeps it.
    pub(super) fn reserve_only(&mut self, reserved: &[u16]) {
        if self.pool.reserved == reserved {
            return;
        }
        let before = std::mem::replace(&mut self.pool.reserved, reserved.to_vec());
        if self.pool.floats {
            return;
        }
        for port in before {
            let Some(number) = self.number(port).filter(|_| reserved.binary_search(&port).is_err()) else { continue };
            self.unmark(number, mark::RESERVED);
            if self.marks(number) & mark::IN_USE == 0 {
                self.wait(number);
            }
        }
        for &port in reserved {
            let Some(number) = self.number(port) else { continue };
            if self.marks(number) & (mark::IN_USE | mark::RESERVED) == 0 {
                self.pool.waiting -= 1;
            }
            self.mark(number, mark::RESERVED);
        }
    }

    /// Notes that a connection has `number`, which waits or is reserved.
    fn use_number(&mut self, number: u32) {
        if self.marks(number) & mark::RESERVED == 0 {
            self.pool.waiting -= 1;
        }
        self.mark(number, mark::IN_USE);
        self.pool.in_use += 1;
    }

    /// Has `number` wait, behind all that wait already.
    fn wait(&mut self, number: u32) {
        self.pool.waiting += 1;
        if self.marks(number) & mark::UNQUEUED == 0 {
            self.mark(number, mark::EARLY);
        } else {
            self.unmark(number, mark::UNQUEUED);
            self.push(number);
        }
    }

    /// Whether `port` is reserved, and its number waits nevertheless.
    fn is_passed_over(&self, port: u16) -> bool {
        self.pool.floats && self.pool.reserved.binary_search(&port).is_ok()
    }

    /// The number of `port`, if it waits to be given out.
    #[inline]
    fn waiting_number(&self, port: u16) -> Option<u32> {
        let number = self.number(port)?;
        let waits = self.marks(number) & (mark::IN_USE | mark::RESERVED) == 0 && !self.is_passed_over(port);
        waits.then_some(number)
    }

    /// The number of `port`, if it is this worker's.
    #[inline]
    fn number(&self, port: u16) -> Option<u32> {
        self.share.number(port, self.base)
    }

    /// Takes the first entry out of the ring: its number.
    #[inline]
    fn pop(&mut self) -> Option<u32> {
        self.pool.entries = self.pool.entries.checked_sub(1)?;
        let place = self.pool.front;
        self.pool.front = self.wrap(place + 1);
        Some(self.wrap(place + u32::from(self.ring[place as usize])))
    }

    /// Puts an entry at the end of the ring.
    #[inline]
    fn push(&mut self, number: u32) {
        let place = self.wrap(self.pool.front + self.pool.entries);
        self.ring[place as usize] = self.wrap(number + self.ring.len() as u32 - place) as u16;
        self.pool.entries += 1;
    }

    /// A number below twice the ring, on the ring.
    #[inline]
    const fn wrap(&self, number: u32) -> u32 {
        let ring = self.ring.len() as u32;
        if number >= ring { number - ring } else { number }
    }

    /// The marks of `number`.
    #[inline]
    fn marks(&self, number: u32) -> u16 {
        let (word, shift) = place_of_marks(number);
        self.marks[word] >> shift & mark::ALL
    }

    #[inline]
    fn mark(&mut self, number: u32, mark: u16) {
        let (word, shift) = place_of_marks(number);
        self.marks[word] |= mark << shift;
    }

    #[inline]
    fn unmark(&mut self, number: u32, mark: u16) {
        let (word, shift) = place_of_marks(number);
        self.marks[word] &= !(mark << shift);
    }
}

/// The word in which the marks of `number` are, and how far up.
#[inline]
const fn place_of_marks(number: u32) -> (usize, u32) {
    (number as usize / MARKS_IN_WORD, number % MARKS_IN_WORD as u32 * 4)
}

#[cfg(test)]
#[path = "port_queue_tests.rs"]
mod tests;
