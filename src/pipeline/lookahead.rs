//! The second pass: finds what connection each packet may belong to, some packets before that is needed.
//!
//! A lookup waits for memory twice, for the index's bucket and for the connection's record. Both are asked for early
//! enough to be there when their turn comes, and not much earlier: a processor keeps track of a dozen or so lines on
//! their way, and seems to drop what it is asked for besides. So the second pass runs through the burst with the third, a few
//! packets before it:
//!
//! ```text
//! packet   i            i + 4                        i + 8                i + 16
//!          third pass   look into the other bucket   look into the        fetch the
//!                       of those that need it,       bucket, fetch        bucket
//!                       fetch the record             the record
//! ```
//!
//! It takes a few packets at a time. A fetch occupies the processor until the page tables were walked for its address, and
//! walks that begin together end together.

use std::marker::PhantomData;

use super::express::Version;
use crate::conntrack::{Candidate, Conntrack};
use crate::io::BURST;

/// How many packets before the third pass a bucket is looked into; it is fetched as many before that.
const AHEAD: usize = 8;

/// The lookups of one burst.
pub(super) struct Lookahead<'a, K> {
    hashes: &'a [u64; BURST],
    /// How many of them are a packet's.
    len: usize,
    /// Bit *i* says whether packet *i* is of IPv6.
    wide: u64,
    candidates: [Candidate; BURST],
    version: PhantomData<K>,
}

impl<'a, K: Version> Lookahead<'a, K> {
    /// The lookups of the packets whose keys have these hashes, of which those that have a bit in `wide` are of IPv6. What is looked at in vain for a packet without a key does
    /// no harm.
    #[inline(always)]
    pub(super) fn start(hashes: &'a [u64; BURST], len: usize, wide: u64, conntrack: &Conntrack) -> Self {
        const { assert!((AHEAD / 2).is_multiple_of(K::GROUP) && BURST.is_multiple_of(K::GROUP)) };
        let mut ahead = Self { hashes, len, wide, candidates: [Candidate::default(); BURST], version: PhantomData };
        for at in (0..2 * AHEAD).step_by(K::GROUP) {
            ahead.fetch(at, conntrack);
        }
        for at in (0..AHEAD).step_by(K::GROUP) {
            ahead.look(at, conntrack);
        }
        for at in (0..AHEAD / 2).step_by(K::GROUP) {
            ahead.look_elsewhere(at, conntrack);
        }
        ahead
    }

    /// What packet number `at` may belong to. To be asked for one packet after the other.
    #[inline(always)]
    pub(super) fn candidate(&mut self, at: usize, conntrack: &Conntrack) -> (u64, Candidate) {
        if at.is_multiple_of(K::GROUP) {
            self.advance(at, conntrack);
        }
        (self.hashes[at % BURST], self.candidates[at % BURST])
    }

    /// The second pass's part when packet number `at` comes to the third.
    #[inline(always)]
    fn advance(&mut self, at: usize, conntrack: &Conntrack) {
        self.fetch(at + 2 * AHEAD, conntrack);
        self.look(at + AHEAD, conntrack);
        self.look_elsewhere(at + AHEAD / 2, conntrack);
    }

    // What begins behind the last packet is left out; the few numbers behind it in a group that begins before do no harm. Numbers are
    // taken modulo the burst's length where they are known to be below it: that needs no check.

    #[inline(always)]
    fn fetch(&self, from: usize, conntrack: &Conntrack) {
        if from < self.len {
            for at in from..from + K::GROUP {
                conntrack.prefetch(self.hashes[at % BURST]);
            }
        }
    }

    #[inline(always)]
    fn look(&mut self, from: usize, conntrack: &Conntrack) {
        if from >= self.len {
            return;
        }
        for at in from..from + K::GROUP {
            self.candidates[at % BURST] = conntrack.find_candidate(self.hashes[at % BURST]);
        }
        let wide = self.wide >> (from % BURST) & ((1 << K::GROUP) - 1);
        if wide != 0 {
            for at in 0..K::GROUP {
                if wide >> at & 1 != 0 {
                    conntrack.prefetch_wide(self.candidates[(from + at) % BURST]);
                }
            }
        }
    }

    #[inline(always)]
    fn look_elsewhere(&mut self, from: usize, conntrack: &Conntrack) {
        if from < self.len {
            for at in from..from + K::GROUP {
                conntrack.find_elsewhere(&mut self.candidates[at % BURST], self.hashes[at % BURST]);
            }
        }
    }
}
