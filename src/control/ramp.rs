//! Slow start: a backend that is back gets its share of new connections little by little.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::id::BackendId;
use crate::time::Instant;

/// In so many steps a share grows to what it shall be.
pub(super) const STEPS: u16 = 10;

/// The backends that have come back not long ago.
#[derive(Debug, Default)]
pub(super) struct Ramps {
    under_way: HashMap<BackendId, Ramp>,
    /// Those whose share may be another than the one that was last asked for.
    touched: HashSet<BackendId>,
}

#[derive(Clone, Copy, Debug)]
struct Ramp {
    since: Instant,
    /// 1 to [`STEPS`].
    step: u16,
}

impl Ramps {
    /// `backend` is back.
    pub(super) fn begin(&mut self, backend: BackendId, now: Instant) {
        self.under_way.insert(backend, Ramp { since: now, step: 1 });
        self.touched.insert(backend);
    }

    /// `backend` is down again.
    pub(super) fn end(&mut self, backend: BackendId) {
        if self.under_way.remove(&backend).is_some() {
            self.touched.insert(backend);
        }
    }

    /// Shares may have been forgotten: all are told of once more.
    pub(super) fn touch(&mut self) {
        self.touched.extend(self.under_way.keys());
    }

    /// Whether any is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Goes on to `now`, with what each one's service says about how long it takes. Returns those whose share has changed; one
    /// that has come to its end, or whose service wants none any more, is there no longer.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        time_of: impl Fn(BackendId) -> Option<Duration>,
    ) -> HashSet<BackendId> {
        let Self { under_way, touched } = self;
        under_way.retain(|backend, ramp| {
            let step = match time_of(*backend) {
                None => STEPS,
                Some(time) => 1 + (now.since(ramp.since).as_secs_f64() / time.as_secs_f64() * f64::from(STEPS)) as u16,
            };
            if step != ramp.step {
                touched.insert(*backend);
            }
            ramp.step = step;
            step < STEPS
        });
        std::mem::take(touched)
    }

    /// How many tenths of its share `backend` gets; nothing if that is all of it.
    pub(super) fn share(&self, backend: BackendId) -> Option<u16> {
        self.under_way.get(&backend).map(|ramp| ramp.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_by_tenths_and_is_whole_in_the_end() {
        let mut ramps = Ramps::default();
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let time = |_| Some(Duration::from_secs(20));
        ramps.begin(BackendId(1), at(100));
        let mut shares = Vec::new();
        for second in 100..122 {
            if ramps.advance(at(second), time).contains(&BackendId(1)) {
                shares.push((second - 100, ramps.share(BackendId(1))));
            }
        }
        let growing = (0..9).map(|n| (2 * n, Some(n as u16 + 1)));
        let expected: Vec<_> = growing.chain([(18, None)]).collect();
        assert_eq!(shares, expected);
        assert!(ramps.is_empty());
        ramps.begin(BackendId(1), at(200));
        ramps.advance(at(201), |_| None);
        assert!(ramps.is_empty(), "its service wants none any more");
    }
}
