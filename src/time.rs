//! Time as the packet path sees it: always an argument, never a clock that is read in passing.
//!
//! [`Instant`] is exact and belongs to whoever measures; [`Tick`] is coarse and small enough to be stamped into
//! every connection's record.

use std::time::Duration;

/// Nanoseconds on a monotonic clock since leat started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment leat started.
    pub const ZERO: Self = Self(0);

    /// The instant `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The tick that this instant lies in.
    pub const fn tick(self) -> Tick {
        Tick((self.0 / Tick::NANOS) as u32)
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// A coarse time stamp: tenths of a second since leat started. It wraps after 13 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tick(pub u32);

impl Tick {
    /// Nanoseconds in one tick.
    pub const NANOS: u64 = 100_000_000;

    /// Ticks in a second.
    pub const PER_SECOND: u32 = (1_000_000_000 / Self::NANOS) as u32;

    /// Ticks passed since `earlier`, modulo 2³².
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// How many whole ticks cover `duration`: never fewer than one, so no timeout is zero.
    pub const fn count(duration: Duration) -> u32 {
        let ticks = duration.as_nanos().div_ceil(Self::NANOS as u128);
        if ticks == 0 {
            1
        } else if ticks > u32::MAX as u128 {
            u32::MAX
        } else {
            ticks as u32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_round_durations_up() {
        assert_eq!(Tick::count(Duration::ZERO), 1);
        assert_eq!(Tick::count(Duration::from_millis(100)), 1);
        assert_eq!(Tick::count(Duration::from_millis(101)), 2);
        assert_eq!(Tick::count(Duration::from_secs(60)), 600);
        assert_eq!(Tick::count(Duration::MAX), u32::MAX);
    }

    #[test]
    fn a_tick_counts_across_the_wrap() {
        assert_eq!(Tick(3).since(Tick(u32::MAX - 1)), 5);
    }
}
