//! Probing whether a neighbour is there: the control side asks for it, the first worker sends and hears.
//!
//! Each side writes its own words, and no clock is shared: probes are numbered, and what matters is which number was sent
//! and which was the last one sent when the neighbour was heard. So an answer counts only when it came after the probe
//! left, however late either side looks.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::counters::Counter;

/// One probe of one neighbour, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe(u64);

/// What the two sides tell each other about the probes of one neighbour: the number of the last one of each kind.
#[derive(Debug, Default)]
pub(super) struct Probes {
    /// Written by the control side alone.
    wanted: Counter,
    /// Written by the first worker alone, as the next.
    sent: Counter,
    answered: Counter,
}

impl Probes {
    pub(super) fn want(&self) -> Probe {
        self.wanted.add(1);
        Probe(self.wanted.value())
    }

    pub(super) fn is_sent(&self, probe: Probe) -> bool {
        self.sent.value() >= probe.0
    }

    pub(super) fn is_answered(&self, probe: Probe) -> bool {
        self.answered.value() >= probe.0
    }

    /// What is wanted and was not sent, if anything. One frame serves all that were wanted by then.
    pub(super) fn due(&self) -> Option<Probe> {
        let wanted = self.wanted.value();
        (wanted != self.sent.value()).then_some(Probe(wanted))
    }

    pub(super) fn note_sent(&self, probe: Probe) {
        self.sent.set(probe.0);
    }

    /// The neighbour was heard: whatever was sent is answered.
    pub(super) fn note_heard(&self) {
        self.answered.set(self.sent.value());
    }
}

/// Rung by the control side when it wants a probe, so that the first worker need not look at all neighbours all the time.
#[derive(Debug, Default)]
pub struct Bell(AtomicU64);

impl Bell {
    /// Says that a probe is wanted. Only the control side may ring.
    pub fn ring(&self) {
        // Who hears it sees what was wanted before.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// How often it was rung, modulo 2⁶⁴.
    #[inline(always)]
    pub fn rings(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
