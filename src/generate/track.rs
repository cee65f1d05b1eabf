//! What came back more than once, or before what was sent earlier: both told from the stamps, in little memory.
//!
//! Duplicates are found by the packets' numbers, in a window that slides with the highest number seen, as IPsec does
//! against replays (RFC 6479). A flow's packets are out of order when one was sent earlier than the last one that came
//! (RFC 4737 §3.3, by time): a table remembers that last one for as many flows as it has places, and a flow that finds
//! another in its place takes it over, unjudged.

use super::stamp::SentAt;

/// The numbers behind the highest that are remembered.
const WINDOW: u32 = 1 << 16;

/// Flows that are remembered.
const FLOWS: usize = 1 << 15;

/// The numbers of one sender's packets that have come back.
#[derive(Debug)]
pub struct Window {
    seen: Box<[u64; WINDOW as usize / 64]>,
    highest: u32,
}

impl Default for Window {
    fn default() -> Self {
        // The sender's first number is 0; the highest before that is behind it.
        Self { seen: Box::new([0; WINDOW as usize / 64]), highest: u32::MAX }
    }
}

impl Window {
    /// Notes that packet `number` has come; whether it had come before. One from before the window is taken for new.
    #[inline(always)]
    pub fn is_repeated(&mut self, number: u32) -> bool {
        let ahead = number.wrapping_sub(self.highest);
        if ahead.cast_signed() > 0 {
            self.advance(ahead);
            self.highest = number;
        } else if self.highest.wrapping_sub(number) >= WINDOW {
            return false;
        }
        let (word, bit) = ((number % WINDOW / 64) as usize, 1 << (number % 64));
        let was_seen = self.seen[word] & bit != 0;
        self.seen[word] |= bit;
        was_seen
    }

    /// Forgets what falls out of the window when it moves on by `ahead`.
    #[inline(always)]
    fn advance(&mut self, ahead: u32) {
        if ahead >= WINDOW {
            self.seen.fill(0);
            return;
        }
        for step in 1..=ahead {
            let number = self.highest.wrapping_add(step) % WINDOW;
            self.seen[(number / 64) as usize] &= !(1 << (number % 64));
        }
    }
}

/// When the last packet of each of some flows that came back was sent.
#[derive(Debug)]
pub struct LastOfFlows(Box<[(u32, SentAt)]>);

impl Default for LastOfFlows {
    fn default() -> Self {
        Self(vec![(u32::MAX, SentAt(0)); FLOWS].into_boxed_slice())
    }
}

impl LastOfFlows {
    /// Notes that a packet of `flow` has come; whether one that was sent later had come before.
    #[inline(always)]
    pub fn is_overtaken(&mut self, flow: u32, sent: SentAt) -> bool {
        let (known, last) = &mut self.0[flow as usize % FLOWS];
        if *known == flow && last.is_after(sent) {
            return true;
        }
        (*known, *last) = (flow, sent);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_comes_twice_is_noticed_in_any_order() {
        let mut window = Window::default();
        let repeated: Vec<_> = [0, 1, 3, 2, 3, 0, 4].map(|number| window.is_repeated(number)).into();
        assert_eq!(repeated, [false, false, false, false, true, true, false]);
    }

    #[test]
    fn a_number_is_not_taken_for_one_a_window_earlier() {
        let mut window = Window::default();
        assert!((0..4 * WINDOW).all(|number| !window.is_repeated(number)));
        assert!(window.is_repeated(3 * WINDOW), "the oldest that is remembered");
        assert!(!window.is_repeated(3 * WINDOW - 1), "one before the window");
        assert!(!window.is_repeated(10 * WINDOW) && window.is_repeated(10 * WINDOW));
    }

    #[test]
    fn numbers_wrap() {
        let mut window = Window { highest: u32::MAX - 2, ..Window::default() };
        assert!((0..10).all(|step| !window.is_repeated((u32::MAX - 1).wrapping_add(step))));
        assert!(window.is_repeated(u32::MAX) && window.is_repeated(3));
    }

    #[test]
    fn only_a_flows_own_packets_are_compared() {
        let mut last = LastOfFlows::default();
        let rows = [(1, 10, false), (2, 5, false), (1, 11, false), (1, 9, true), (1, 11, false), (2, 4, true)];
        for (flow, sent, expected) in rows {
            assert_eq!(last.is_overtaken(flow, SentAt(sent)), expected, "flow {flow}, {sent}");
        }
        // This one has flow 1's place.
        assert!(!last.is_overtaken(1 + FLOWS as u32, SentAt(1)));
        assert!(!last.is_overtaken(1, SentAt(2)));
    }
}
