//! Health checks by ARP: neighbours are probed at a limited pace, for all backends that are reached through them.
//!
//! No packet is made here: the first worker sends the probes and hears the answers (see [`Neighbor::want_probe`]). The time for
//! an answer begins when the probe has left; one that the worker has not sent proves nothing. Backends at the same neighbour
//! with the same interval and timeout share their probes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::pace::{Pace, Turn, later};
use crate::config::Health;
use crate::id::BackendId;
use crate::neighbor::{Bell, Neighbor, Probe};
use crate::time::Instant;

/// Probes neighbours.
#[derive(Debug)]
pub(super) struct Arp {
    targets: Vec<Target>,
    pace: Pace,
    bell: Arc<Bell>,
}

/// What is probed as one, for all who care.
#[derive(Debug)]
struct Target {
    neighbor: Arc<Neighbor>,
    health: Health,
    turn: Turn,
    /// How much later than its turn the next probe leaves.
    delay: Duration,
    pending: Option<Pending>,
    backends: Vec<BackendId>,
}

/// A probe whose outcome is awaited.
#[derive(Debug)]
struct Pending {
    probe: Probe,
    /// When it was first known to have left.
    sent: Option<Instant>,
}

/// What backends have in common whom one probe says the same of.
type TargetKey = (*const Neighbor, Duration, Duration);

fn key(neighbor: &Arc<Neighbor>, health: &Health) -> TargetKey {
    (Arc::as_ptr(neighbor), health.interval, health.timeout)
}

impl Arp {
    /// Probes nobody yet; `bell` is that of the snapshot that the neighbours are from.
    pub(super) fn new(bell: Arc<Bell>, now: Instant) -> Self {
        Self { targets: Vec::new(), pace: Pace::new(now), bell }
    }

    /// Probes `subjects` from `now` on, and nobody else. A probe that is under way goes on, unless its interval or its timeout
    /// has changed.
    pub(super) fn adopt(&mut self, subjects: Vec<(BackendId, Arc<Neighbor>, Health)>, now: Instant) {
        let mut known: HashMap<_, _> =
            self.targets.drain(..).map(|target| (key(&target.neighbor, &target.health), target)).collect();
        let mut places = HashMap::new();
        let mut wanted: Vec<(Arc<Neighbor>, Health, Vec<BackendId>)> = Vec::new();
        for (backend, neighbor, health) in subjects {
            let place = *places.entry(key(&neighbor, &health)).or_insert_with(|| {
                wanted.push((neighbor, health, Vec::new()));
                wanted.len() - 1
            });
            wanted[place].2.push(backend);
        }
        let count = wanted.len() as u32;
        for ((neighbor, health, backends), index) in wanted.into_iter().zip(0..) {
            self.targets.push(match known.remove(&key(&neighbor, &health)) {
                Some(target) => Target { backends, health, ..target },
                None => {
                    let turn = Turn::new(health.interval, index, count, now + health.start_delay);
                    Target { neighbor, health, turn, delay: Duration::ZERO, pending: None, backends }
                }
            });
        }
    }

    /// Whether there is nothing to be probed.
    pub(super) const fn is_idle(&self) -> bool {
        self.targets.is_empty()
    }

    #[cfg(test)]
    pub(super) const fn targets(&self) -> usize {
        self.targets.len()
    }

    /// Does what is due: decides probes that were answered or whose time is over, and has the next one sent. `tell` hears of
    /// each backend whether it has answered.
    pub(super) fn poll(&mut self, now: Instant, mut tell: impl FnMut(BackendId, bool)) {
        for target in &mut self.targets {
            let Some(is_answered) = target.outcome(now) else { continue };
            target.backends.iter().for_each(|backend| tell(*backend, is_answered));
        }
        if !self.pace.allows(now) {
            return;
        }
        let is_due = |target: &&mut Target| target.pending.is_none() && target.turn.due() + target.delay <= now;
        if let Some(target) = self.targets.iter_mut().filter(is_due).min_by_key(|target| target.turn.due()) {
            self.pace.take(&mut target.turn, now);
            target.delay = later(target.health.jitter);
            target.pending = Some(Pending { probe: target.neighbor.want_probe(), sent: None });
            self.bell.ring();
        }
    }
}

impl Target {
    /// Whether the probe that is under way was answered, once that is decided.
    fn outcome(&mut self, now: Instant) -> Option<bool> {
        let pending = self.pending.as_mut()?;
        // Who looks late still finds the answer that came in time.
        let is_answered = self.neighbor.is_answered(pending.probe);
        if !is_answered {
            if !self.neighbor.is_sent(pending.probe) {
                return None;
            }
            let sent = *pending.sent.get_or_insert(now);
            if now < sent + self.health.timeout {
                return None;
            }
        }
        self.pending = None;
        Some(is_answered)
    }
}
