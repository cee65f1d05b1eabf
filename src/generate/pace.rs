//! How many packets may leave now.
//!
//! A bucket of tokens that fills with time: a packet takes one. Its depth is one burst, so a sender that was held up for
//! long does not make up for it in one surge, which would measure the surge and not the rate.

/// The parts of one token.
const ONE: u128 = 1 << 64;

/// Lets packets go at a rate.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// Parts of a token that one cycle of the clock brings; `None` for no limit.
    per_cycle: Option<u128>,
    tokens: u128,
    depth: u128,
    last: u64,
}

impl Pacer {
    /// `rate` packets a second, at most `burst` at once, on a clock of `hz` cycles a second that shows `now`. Without a
    /// rate there is no limit. The first packet may leave at once.
    pub fn new(rate: Option<f64>, hz: u64, burst: usize, now: u64) -> Self {
        let per_cycle = rate.map(|rate| (rate / hz as f64 * ONE as f64) as u128);
        Self { per_cycle, tokens: ONE, depth: ONE * burst as u128, last: now }
    }

    /// How many packets may leave at `now`, up to `most`; they count as gone.
    #[inline(always)]
    pub fn take(&mut self, now: u64, most: usize) -> usize {
        let Some(per_cycle) = self.per_cycle else { return most };
        // A counter that lags on another CPU brings no tokens and takes none.
        let passed = now.saturating_sub(self.last);
        self.last = self.last.max(now);
        self.tokens = self.depth.min(self.tokens.saturating_add(per_cycle.saturating_mul(u128::from(passed))));
        let count = ((self.tokens >> 64) as usize).min(most);
        self.tokens -= ONE * count as u128;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 2_893_437_211;

    /// Packets that leave in `seconds`, with one look every `step` cycles.
    fn sent(rate: f64, burst: usize, seconds: u64, step: u64) -> u64 {
        let mut pacer = Pacer::new(Some(rate), HZ, burst, 1000);
        (1000..1000 + seconds * HZ).step_by(step as usize).map(|now| pacer.take(now, burst) as u64).sum()
    }

    #[test]
    fn the_rate_is_met_whatever_the_loop_costs() {
        for (rate, seconds, step) in
            [(1.0, 60, HZ / 7), (1000.0, 3, 100_003), (1e6, 1, 1009), (14_880_952.0, 1, 499), (0.5, 60, HZ / 3)]
        {
            let (sent, expected) = (sent(rate, 32, seconds, step), rate * seconds as f64);
            assert!((sent as f64 - expected).abs() <= 2.0 + expected * 1e-5, "{rate}: {sent} in {seconds} s");
        }
    }

    #[test]
    fn a_long_pause_is_not_made_up_for() {
        let mut pacer = Pacer::new(Some(1e6), HZ, 32, 0);
        assert_eq!(pacer.take(10 * HZ, 64), 32);
        assert_eq!(pacer.take(10 * HZ, 64), 0);
        assert_eq!(pacer.take(10 * HZ - 1000, 64), 0, "a clock that steps back");
        assert_eq!(pacer.take(10 * HZ + HZ / 100_000 + 1, 64), 10);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut pacer = Pacer::new(None, HZ, 32, 0);
        assert_eq!((pacer.take(0, 32), pacer.take(0, 32)), (32, 32));
    }
}
