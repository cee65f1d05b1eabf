//! Which backends are alive.
//!
//! The control thread calls [`Checker::poll`] some fifty times a second with the time. It has backends probed, waits for each
//! answer, and returns what has changed; the [`Report`] says how things stand.
//!
//! ```text
//! arp:           pace ─▶ neighbour's probe, sent and heard by the first worker ─┐
//! icmp tcp http: asker ─▶ talk, packets by way of the courier ─────────────────┴▶ verdict: rise, fall ─▶ Change
//! ```
//!
//! A backend is up until it is proven down.

mod arp;
mod asker;
mod pace;
mod report;
mod talk;
mod verdict;

#[cfg(test)]
mod tests;

pub use report::{BackendHealth, Question, Reason, Report};
pub use talk::Place;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Health;
use crate::courier::Courier;
use crate::id::BackendId;
use crate::neighbor::{Bell, Neighbor};
use crate::time::Instant;
use arp::Arp;
use asker::Askers;
use verdict::{News, Verdict};

/// A backend that is to be probed.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Which.
    pub backend: BackendId,
    /// What is probed for it.
    pub target: Target,
    /// How.
    pub health: Health,
}

/// What is probed.
#[derive(Clone, Debug)]
pub enum Target {
    /// The neighbour that it is, by ARP or in IPv6 by neighbour solicitations.
    Neighbor(Arc<Neighbor>),
    /// The backend itself, there.
    Place(Place),
}

impl Target {
    /// The address that is asked.
    fn address(&self) -> IpAddr {
        match self {
            Self::Neighbor(neighbor) => neighbor.address(),
            Self::Place(place) => place.destination,
        }
    }
}

/// A backend that has gone down or come up.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    arp: Arp,
    askers: Askers,
    judged: HashMap<BackendId, Judged>,
    report: Arc<Report>,
}

/// What there is to judge a backend by.
#[derive(Debug)]
struct Judged {
    health: Health,
    question: Question,
    verdict: Verdict,
}

impl Checker {
    /// Probes `subjects` from `now` on; `bell` is that of the snapshot that they are from, and `courier` brings packets to the
    /// first worker.
    pub fn new(subjects: Vec<Subject>, bell: Arc<Bell>, courier: Arc<Courier>, now: Instant) -> Self {
        let mut checker = Self {
            arp: Arp::new(bell, now),
            askers: Askers::new(courier),
            judged: HashMap::new(),
            report: Arc::default(),
        };
        checker.adopt(subjects, now);
        checker
    }

    /// Probes `subjects` from `now` on, and nobody else. What is thought of those that were probed before stays, and so
    /// does a probe that is under way, unless it would be another one now.
    pub fn adopt(&mut self, subjects: Vec<Subject>, now: Instant) {
        let probed: HashSet<BackendId> = subjects.iter().map(|subject| subject.backend).collect();
        self.report.retain(|backend| probed.contains(backend));
        self.judged.retain(|backend, _| probed.contains(backend));
        let (mut neighbors, mut places) = (Vec::new(), Vec::new());
        for Subject { backend, target, health } in subjects {
            let verdict = match self.judged.get(&backend) {
                Some(judged) => judged.verdict.with(health.rise, health.fall),
                None => {
                    let since = BackendHealth { is_up: true, since: now, reason: Reason::Unproven, changes: 0 };
                    self.report.set(backend, since);
                    Verdict::new(health.rise, health.fall)
                }
            };
            let question = Question::of(health.kind, target.address());
            self.judged.insert(backend, Judged { health: health.clone(), question, verdict });
            match target {
                Target::Neighbor(neighbor) => neighbors.push((backend, neighbor, health)),
                Target::Place(place) => places.push((backend, place, health)),
            }
        }
        self.arp.adopt(neighbors, now);
        self.askers.adopt(places, now);
    }

    /// How things stand, now and later.
    pub const fn report(&self) -> &Arc<Report> {
        &self.report
    }

    /// Whether there is nothing to be probed.
    pub const fn is_idle(&self) -> bool {
        self.arp.is_idle() && self.askers.is_idle()
    }

    /// Whether an answer may come at any moment that is to be answered in turn.
    pub fn is_talking(&self) -> bool {
        self.askers.is_talking()
    }

    /// Does what is due: decides what was answered or whose time is over, and has the next ones asked. Returns the backends
    /// that went down or came up by that.
    pub fn poll(&mut self, now: Instant) -> Vec<Change> {
        let Self { arp, askers, judged, report } = self;
        let mut changes = Vec::new();
        let mut judge = |backend, is_right, reason: &dyn Fn(&Health, Question) -> Reason| {
            let Some(Judged { health, question, verdict }) = judged.get_mut(&backend) else { return };
            let Some(news) = verdict.observe(is_right) else { return };
            changes.extend(tell(report, backend, news, reason(health, *question), now));
        };
        arp.poll(now, |backend, is_answered| {
            judge(backend, is_answered, &|health, question| match is_answered {
                true => Reason::Answers(question),
                false => Reason::Silent { question, timeout: health.timeout, times: health.fall },
            });
        });
        askers.poll(now, |backend, outcome| {
            judge(backend, outcome.is_ok(), &|health, question| match &outcome {
                Ok(()) => Reason::Answers(question),
                Err(what) => Reason::Fails { what: Arc::clone(what), times: health.fall },
            });
        });
        changes
    }
}

/// Writes `news` of `backend` into `report`. A change is returned, too.
fn tell(report: &Report, backend: BackendId, news: News, reason: Reason, now: Instant) -> Option<Change> {
    let before = report.of(backend)?;
    if news == News::Proven {
        report.set(backend, BackendHealth { reason, ..before });
        return None;
    }
    let is_up = news == News::Up;
    report.set(backend, BackendHealth { is_up, since: now, reason: reason.clone(), changes: before.changes + 1 });
    Some(Change { backend, is_up, reason })
}
