//! Which backends are alive.
//!
//! The control thread calls [`Checker::poll`] some fifty times a second with the time. It has neighbours probed, at a
//! limited pace, waits for each answer, and returns what has changed; the [`Report`] says how things stand. No packet is
//! made here: the first worker sends the probes and hears the answers (see [`Neighbor::want_probe`]).
//!
//! ```text
//! pace: whose turn is it? → a probe is wanted → sent → answered, or the time is over → verdict: rise, fall → Change
//! ```
//!
//! A backend is up until it is proven down. The time for an answer begins when the probe has left; one that the worker
//! has not sent proves nothing. Backends at the same neighbour with the same interval and timeout share their probes.

mod pace;
mod report;
mod verdict;

#[cfg(test)]
mod tests;

pub use report::{BackendHealth, Reason, Report};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Health, HealthKind};
use crate::id::BackendId;
use crate::neighbor::{Bell, Neighbor, Probe};
use crate::time::Instant;
use pace::{Pace, Turn};
use verdict::{News, Verdict};

/// A backend that is to be probed.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Which.
    pub backend: BackendId,
    /// What is probed for it.
    pub neighbor: Arc<Neighbor>,
    /// How.
    pub health: Health,
}

/// A backend that has gone down or come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub backend: BackendId,
    /// Whether it is up now.
    pub is_up: bool,
    /// Why.
    pub reason: Reason,
}

/// Probes backends and judges them.
#[derive(Debug)]
pub struct Checker {
    targets: Vec<Target>,
    pace: Pace,
    bell: Arc<Bell>,
    report: Arc<Report>,
}

/// What is probed as one, for all who care.
#[derive(Debug)]
struct Target {
    neighbor: Arc<Neighbor>,
    health: Health,
    turn: Turn,
    pending: Option<Pending>,
    backends: Vec<(BackendId, Health, Verdict)>,
}

/// A probe whose outcome is awaited.
#[derive(Debug)]
struct Pending {
    probe: Probe,
    /// When it was first known to have left.
    sent: Option<Instant>,
}

impl Checker {
    /// Probes `subjects` from `now` on; `bell` is that of the snapshot that they are from.
    pub fn new(subjects: Vec<Subject>, bell: Arc<Bell>, now: Instant) -> Self {
        let report = Arc::new(Report::default());
        let mut checker = Self { targets: Vec::new(), pace: Pace::new(now), bell, report };
        checker.adopt(subjects, now);
        checker
    }

    /// Probes `subjects` from `now` on, and nobody else. What is thought of those that were probed before stays, and so
    /// does a probe that is under way, unless its interval or its timeout has changed.
    pub fn adopt(&mut self, subjects: Vec<Subject>, now: Instant) {
        let mut verdicts = HashMap::new();
        let mut known = HashMap::new();
        for target in self.targets.drain(..) {
            verdicts.extend(target.backends.iter().map(|(backend, _, verdict)| (*backend, *verdict)));
            known.insert(key(&target.neighbor, &target.health), target);
        }
        let mut targets: Vec<Result<Target, Subject>> = Vec::new();
        let mut judged: Vec<Vec<(BackendId, Health, Verdict)>> = Vec::new();
        let mut places = HashMap::new();
        let probed: HashSet<BackendId> = subjects.iter().map(|subject| subject.backend).collect();
        self.report.retain(|backend| probed.contains(backend));
        for subject in subjects {
            let Subject { backend, health, .. } = subject;
            let verdict = match verdicts.remove(&backend) {
                Some(verdict) => verdict.with(health.rise, health.fall),
                None => {
                    let since = BackendHealth { is_up: true, since: now, reason: Reason::Unproven, changes: 0 };
                    self.report.set(backend, since);
                    Verdict::new(health.rise, health.fall)
                }
            };
            let key = key(&subject.neighbor, &health);
            let place = *places.entry(key).or_insert_with(|| {
                targets.push(known.remove(&key).ok_or(subject));
                judged.push(Vec::new());
                targets.len() - 1
            });
            judged[place].push((backend, health, verdict));
        }
        let count = targets.len() as u32;
        for ((target, backends), index) in targets.into_iter().zip(judged).zip(0..) {
            self.targets.push(match target {
                Ok(target) => Target { backends, ..target },
                Err(Subject { neighbor, health, .. }) => {
                    let turn = Turn::new(health.interval, index, count, now);
                    Target { neighbor, health, turn, pending: None, backends }
                }
            });
        }
    }

    /// How things stand, now and later.
    pub const fn report(&self) -> &Arc<Report> {
        &self.report
    }

    /// Whether there is nothing to be probed.
    pub const fn is_idle(&self) -> bool {
        self.targets.is_empty()
    }

    /// Does what is due: decides probes that were answered or whose time is over, and has the next one sent. Returns the
    /// backends that went down or came up by that.
    pub fn poll(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        for target in &mut self.targets {
            let Some(is_answered) = target.outcome(now) else { continue };
            for (backend, health, verdict) in &mut target.backends {
                if let Some(news) = verdict.observe(is_answered) {
                    changes.extend(tell(&self.report, *backend, health, news, now));
                }
            }
        }
        if self.pace.allows(now) {
            let waiting = self.targets.iter_mut().filter(|target| target.pending.is_none() && target.turn.due() <= now);
            if let Some(target) = waiting.min_by_key(|target| target.turn.due()) {
                self.pace.take(&mut target.turn, now);
                target.pending = Some(Pending { probe: target.neighbor.want_probe(), sent: None });
                self.bell.ring();
            }
        }
        changes
    }
}

/// What backends have in common whom one probe says the same of.
type TargetKey = (*const Neighbor, HealthKind, Duration, Duration);

fn key(neighbor: &Arc<Neighbor>, health: &Health) -> TargetKey {
    (Arc::as_ptr(neighbor), health.kind, health.interval, health.timeout)
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

/// Writes `news` of `backend` into `report`. A change is returned, too.
fn tell(report: &Report, backend: BackendId, health: &Health, news: News, now: Instant) -> Option<Change> {
    let before = report.of(backend)?;
    let Health { kind, timeout, fall: times, .. } = *health;
    let (is_up, reason) = match news {
        News::Proven | News::Up => (true, Reason::Answers(kind)),
        News::Down => (false, Reason::Silent { kind, timeout, times }),
    };
    if news == News::Proven {
        report.set(backend, BackendHealth { reason, ..before });
        return None;
    }
    report.set(backend, BackendHealth { is_up, since: now, reason, changes: before.changes + 1 });
    Some(Change { backend, is_up, reason })
}
