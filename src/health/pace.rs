//! Which probe is next, and when: every target once an interval, evenly spread, and never more than four a second in all.

use std::time::Duration;

use crate::time::Instant;

/// The least time between two probes. It is a little more than a quarter of a second: so no second sees five of them,
/// although the worker may send one some milliseconds later than another.
pub(super) const GAP: Duration = Duration::from_millis(260);

/// When one target is probed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    interval: Duration,
    /// Its share of the cycle: how long after the start of one its turn is.
    offset: Duration,
    due: Instant,
    is_first: bool,
}

/// Limits all probes together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    started: Instant,
    next: Instant,
}

/// A time up to `most`, at random.
pub(super) fn later(most: Duration) -> Duration {
    if most.is_zero() {
        return Duration::ZERO;
    }
    // Without randomness there is no jitter; the checks work all the same.
    most.mul_f64(f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX))
}

impl Turn {
    /// The turn of number `index` of `count` targets, due at once.
    pub(super) fn new(interval: Duration, index: u32, count: u32, now: Instant) -> Self {
        let offset = Duration::from_secs_f64(interval.as_secs_f64() * f64::from(index) / f64::from(count));
        Self { interval, offset, due: now, is_first: true }
    }

    pub(super) const fn due(&self) -> Instant {
        self.due
    }
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { started: now, next: now }
    }

    /// Whether a probe may leave now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Notes that `turn`'s probe leaves now.
    pub(super) fn take(&mut self, turn: &mut Turn, now: Instant) {
        self.next = now + GAP;
        if std::mem::replace(&mut turn.is_first, false) {
            // The first ones follow each other closely. After them each waits for its place in the cycle: the first one
            // that is at least half an interval away.
            turn.due = self.started + turn.offset;
            while turn.due < now + turn.interval / 2 {
                turn.due = turn.due + turn.interval;
            }
            return;
        }
        // When there are too many, none piles up turns that it has missed: the longest waiting is next.
        turn.due = (turn.due + turn.interval).max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(20);

    fn seconds(now: Instant) -> f64 {
        now.as_nanos() as f64 / 1e9
    }

    /// The seconds at which each target with one of these intervals is probed within `time`, when somebody looks every
    /// 20 ms.
    fn probed(intervals: &[f64], time: f64) -> Vec<Vec<f64>> {
        let start = Instant::ZERO + Duration::from_secs(1000);
        let count = intervals.len() as u32;
        let turn = |(interval, index): (&f64, u32)| Turn::new(Duration::from_secs_f64(*interval), index, count, start);
        let mut turns: Vec<_> = intervals.iter().zip(0..).map(turn).collect();
        let mut pace = Pace::new(start);
        let mut times = vec![Vec::new(); intervals.len()];
        let mut now = start;
        while seconds(now) < 1000.0 + time {
            if let Some((turn, times)) =
                turns.iter_mut().zip(&mut times).filter(|(turn, _)| turn.due <= now).min_by_key(|(turn, _)| turn.due)
                && pace.allows(now)
            {
                pace.take(turn, now);
                times.push(seconds(now) - 1000.0);
            }
            now = now + STEP;
        }
        times
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 0.05
    }

    #[test]
    fn a_cycle_takes_the_interval_and_its_probes_are_spread_over_it() {
        let times = probed(&[5.0; 4], 60.0);
        for (target, times) in times.iter().enumerate() {
            assert!(times[0] < 0.9, "the first probes leave at once: {times:?}");
            assert!(times[1..].windows(2).all(|pair| close(pair[1] - pair[0], 5.0)), "{times:?}");
            assert!(close(times[2] % 5.0, 1.25 * target as f64), "{times:?}");
        }
    }

    #[test]
    fn no_second_has_more_than_four_probes_however_many_targets_there_are() {
        for intervals in [vec![0.1], vec![5.0; 3], vec![1.0; 7], vec![5.0; 100], vec![0.1, 0.2, 0.3, 60.0, 7.0]] {
            let mut all: Vec<_> = probed(&intervals, 120.0).concat();
            all.sort_by(f64::total_cmp);
            assert!(all.windows(5).all(|five| five[4] - five[0] > 1.03), "{} targets: {all:?}", intervals.len());
        }
    }

    #[test]
    fn with_many_targets_the_cycle_gets_longer_and_nobody_is_left_out() {
        let times = probed(&[5.0; 100], 120.0);
        for times in &times {
            assert!(times.len() >= 4 && times.windows(2).all(|pair| pair[1] - pair[0] < 40.0), "{times:?}");
            assert!(times[2..].windows(2).all(|pair| close(pair[1] - pair[0], 26.0)), "{times:?}");
        }
    }

    #[test]
    fn those_who_want_more_than_there_is_leave_the_others_their_turns() {
        let times = probed(&[0.1, 0.1, 30.0], 120.0);
        assert_eq!(times[2].len(), 5, "{:?}", times[2]);
        assert!(times[0].len() > 200 && times[1].len() > 200);
    }
}
