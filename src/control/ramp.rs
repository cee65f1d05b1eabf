//! Slow start: a backend that is back gets its share of new connections little by little.

use std::collections::HashMap;
use std::time::Duration;

use crate::id::BackendId;
use crate::time::Instant;

/// In so many steps a share grows to what it shall be.
pub(super) const STEPS: u16 = 10;

/// The backends that have come back not long ago.
#[derive(Debug, Default)]
pub(super) struct Ramps(HashMap<BackendId, Ramp>);

#[derive(Clone, Copy, Debug)]
struct Ramp {
    since: Instant,
    /// 1 to [`STEPS`].
    step: u16,
}

impl Ramps {
    /// `backend` is back.
    pub(super) fn begin(&mut self, backend: BackendId, now: Instant) {
        self.0.insert(backend, Ramp { since: now, step: 1 });
    }

    /// `backend` is down again.
    pub(super) fn end(&mut self, backend: BackendId) {
        self.0.remove(&backend);
    }

    /// Whether any is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Goes on to `now`, with what each one's service says about how long it takes. Whether a share has changed; one that has
    /// come to its end is there no longer.
    pub(super) fn advance(&mut self, now: Instant, time_of: impl Fn(BackendId) -> Option<Duration>) -> bool {
        let mut has_changed = false;
        self.0.retain(|backend, ramp| {
            let time = time_of(*backend).unwrap_or_default();
            let passed = now.since(ramp.since).as_secs_f64() / time.as_secs_f64().max(1e-3);
            let step = 1 + (passed * f64::from(STEPS)) as u16;
            has_changed |= step != ramp.step;
            ramp.step = step;
            step < STEPS + 1 && !time.is_zero()
        });
        has_changed
    }

    /// How many tenths of its share `backend` gets; nothing if that is all of it.
    pub(super) fn share(&self, backend: BackendId) -> Option<u16> {
        self.0.get(&backend).map(|ramp| ramp.step).filter(|step| *step < STEPS)
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
            if ramps.advance(at(second), time) {
                shares.push((second - 100, ramps.share(BackendId(1))));
            }
        }
        let expected: Vec<_> = (1..9).map(|n| (2 * n, Some(n as u16 + 1))).chain([(18, None), (20, None)]).collect();
        assert_eq!(shares, expected);
        assert!(ramps.is_empty());
        ramps.begin(BackendId(1), at(200));
        ramps.advance(at(201), |_| None);
        assert!(ramps.is_empty(), "its service wants none any more");
    }
}
