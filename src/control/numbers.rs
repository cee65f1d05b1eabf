//! Which numbers services and backends have.
//!
//! Workers keep numbers for long: a connection that of its backend, persistence and flow memory those of service and
//! backend. So a number stays with whom it was given to, and when it is given back it rests until nobody can remember it.

use std::collections::VecDeque;

use crate::time::Instant;

/// The numbers of one kind of thing. A clone is another future, to be taken or left.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    /// The first that was never given out.
    fresh: usize,
    /// Those that were given back, each with the time from which it may be given out again.
    resting: VecDeque<(usize, Instant)>,
}

impl Numbers {
    /// A number that nobody has and nobody remembers.
    pub(super) fn take(&mut self, now: Instant) -> usize {
        if let Some(at) = self.resting.iter().position(|(_, free)| *free <= now)
            && let Some((number, _)) = self.resting.remove(at)
        {
            return number;
        }
        self.fresh += 1;
        self.fresh - 1
    }

    /// Takes back a number that no connection has, and that nobody remembers from `free` on.
    pub(super) fn give_back(&mut self, number: usize, free: Instant) {
        self.resting.push_back((number, free));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_number_rests_for_as_long_as_somebody_may_remember_it() {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let mut numbers = Numbers::default();
        assert_eq!([numbers.take(at(0)), numbers.take(at(0)), numbers.take(at(0))], [0, 1, 2]);
        numbers.give_back(1, at(300));
        numbers.give_back(2, at(10));
        assert_eq!([numbers.take(at(9)), numbers.take(at(10)), numbers.take(at(10))], [3, 2, 4]);
        assert_eq!(numbers.take(at(300)), 1);
    }
}
