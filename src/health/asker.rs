//! Whose turn it is to be asked by [conversation](super::talk): every backend by itself, once an interval, evenly spread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::pace::later;
use super::talk::{Fault, Place, Talks};
use crate::config::Health;
use crate::courier::Courier;
use crate::id::BackendId;
use crate::time::Instant;

/// Within this time after the start, or after their start delay, all are asked for the first time.
const FIRST: Duration = Duration::from_secs(1);

/// Asks backends.
#[derive(Debug)]
pub(super) struct Askers {
    askers: Vec<Asker>,
    talks: Talks,
}

/// Who asks one backend.
#[derive(Debug)]
struct Asker {
    backend: BackendId,
    place: Place,
    health: Health,
    due: Instant,
    /// How much later than that the next conversation begins.
    delay: Duration,
    is_asking: bool,
}

impl Askers {
    /// Asks nobody yet.
    pub(super) fn new(courier: Arc<Courier>) -> Self {
        Self { askers: Vec::new(), talks: Talks::new(courier) }
    }

    /// Asks `subjects` from `now` on, and nobody else. What is under way goes on, unless it would be asked otherwise now.
    pub(super) fn adopt(&mut self, subjects: Vec<(BackendId, Place, Health)>, now: Instant) {
        let mut known: HashMap<_, _> = self.askers.drain(..).map(|asker| (asker.backend, asker)).collect();
        let count = subjects.len().max(1) as f64;
        for ((backend, place, health), index) in subjects.into_iter().zip(0..) {
            let same = known.remove(&backend).filter(|asker| asker.place == place && asker.health == health);
            self.askers.push(same.unwrap_or_else(|| {
                let share = FIRST.min(health.interval).mul_f64(f64::from(index) / count);
                let due = now + health.start_delay + share;
                Asker { backend, place, due, delay: Duration::ZERO, is_asking: false, health }
            }));
        }
        let asking: std::collections::HashSet<_> =
            self.askers.iter().filter(|asker| asker.is_asking).map(|asker| asker.backend).collect();
        self.talks.retain(|backend| asking.contains(&backend), now);
    }

    /// Whether there is nothing to be asked.
    pub(super) const fn is_idle(&self) -> bool {
        self.askers.is_empty()
    }

    /// Whether a conversation is under way.
    pub(super) fn is_talking(&self) -> bool {
        !self.talks.is_idle()
    }

    /// Does what is due. `tell` hears of each backend what has come of its conversation.
    pub(super) fn poll(&mut self, now: Instant, mut tell: impl FnMut(BackendId, Result<(), Fault>)) {
        let mut due: Vec<usize> = (0..self.askers.len()).filter(|at| self.askers[*at].is_due(now)).collect();
        // When too many are under way, those that wait the longest come first.
        due.sort_by_key(|at| self.askers[*at].due);
        let mut has_begun = false;
        for at in due {
            let asker = &mut self.askers[at];
            if !self.talks.start(asker.backend, &asker.place, &asker.health, now) {
                break;
            }
            has_begun = true;
            asker.is_asking = true;
            asker.due = (asker.due + asker.health.interval).max(now);
            asker.delay = later(asker.health.jitter);
        }
        if !has_begun && self.talks.is_idle() {
            return;
        }
        let outcomes: HashMap<_, _> = self.talks.poll(now).into_iter().collect();
        if outcomes.is_empty() {
            return;
        }
        for asker in &mut self.askers {
            asker.is_asking &= !outcomes.contains_key(&asker.backend);
        }
        outcomes.into_iter().for_each(|(backend, outcome)| tell(backend, outcome));
    }
}

impl Asker {
    /// Whether its next conversation is to begin.
    fn is_due(&self, now: Instant) -> bool {
        !self.is_asking && self.due + self.delay <= now
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::tests::EVERY_5_S;
    use super::*;
    use crate::config::HealthKind;

    #[test]
    fn of_more_dead_hosts_than_can_be_asked_at_once_none_is_left_out() {
        let courier = Arc::new(Courier::default());
        let mut askers = Askers::new(Arc::clone(&courier));
        let second = Duration::from_secs(1);
        let health = Health { kind: HealthKind::Icmp, interval: second, timeout: second, ..EVERY_5_S };
        let place =
            Place { source: [10, 0, 0, 1].into(), destination: [10, 0, 0, 2].into(), port: 0, taken: Vec::new() };
        let subjects = (0..2500).map(|number| (BackendId(number), place.clone(), health.clone())).collect();
        let mut now = Instant::ZERO + Duration::from_secs(9);
        askers.adopt(subjects, now);
        let mut judged = HashSet::new();
        for _ in 0..300 {
            askers.poll(now, |backend, outcome| {
                assert_eq!(outcome.unwrap_err().as_ref(), "no answer to ping for 1s");
                judged.insert(backend);
            });
            while courier.collect(|_, _| ()).is_some() {}
            now = now + Duration::from_millis(20);
        }
        assert_eq!(judged.len(), 2500);
    }
}
