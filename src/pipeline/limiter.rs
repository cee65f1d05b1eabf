//! How often leat speaks up by itself, at most.

use std::time::Duration;

use crate::time::Instant;

/// ICMP errors a second, of one worker.
const RATE: u64 = 1000;

/// Errors that may come at once after a silence.
const BURST: u64 = 100;

/// The time that one error costs.
const COST: Duration = Duration::from_nanos(1_000_000_000 / RATE);

/// Lets [`RATE`] errors a second pass (RFC 1812 §4.3.2.8: "a token bucket").
#[derive(Debug, Default)]
pub(super) struct Limiter {
    /// When the bucket will be full again.
    full_at: Instant,
}

impl Limiter {
    /// Whether one more may be sent now. If so, it counts.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + COST;
        if full_at.since(now).as_nanos() > COST.as_nanos() * u128::from(BURST) {
            return false;
        }
        self.full_at = full_at;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_a_thousand_a_second() {
        let mut limiter = Limiter::default();
        let start = Instant::ZERO + Duration::from_secs(5);
        assert_eq!((0..1000).filter(|_| limiter.allows(start)).count(), 100);
        let later = (0..100_000).filter(|n| limiter.allows(start + Duration::from_micros(10 * n))).count();
        assert!((999..=1001).contains(&later), "{later}");
    }
}
