//! Asking for next hops and announcing leat's own addresses, on the first worker.
//!
//! A question in broadcast is what a probe is too: sent because the control side wants to know who is alive. One that was
//! just asked by the resolver itself serves as a probe, and probing saves asking again.
//!
//! What is remembered of a neighbour stands in the neighbour itself ([`Asking`]), and the neighbours come in as an argument:
//! so a new set of them costs nothing here. However many there are, one call looks at a part of them, and sends a few
//! messages at most.
//!
//! Times come in as arguments and frames go out as [`Outgoing`] values; this module opens no socket and reads no clock.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::probe::Probe;
use super::{Announced, Announcement, Hop, Neighbor};
use crate::counters::Counter;
use crate::id::PortId;
use crate::time::Instant;
use crate::wire::MacAddr;
use crate::wire::mld::{Occasion, Query};

/// The first wait between two questions to one that does not answer. RFC 1122 §2.3.2.1: at most one a second.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Questions a second apart before the wait begins to double.
const QUICK_RETRIES: u32 = 3;

/// The longest wait between two questions.
const LAST_RETRY: Duration = Duration::from_secs(16);

/// How long an answer is believed before it is asked for again.
const REFRESH: Duration = Duration::from_secs(30);

/// For how long after a probe it is left to the next probe to find out whether what is known is still right.
const PROBED: Duration = Duration::from_secs(600);

/// How often the workers are asked whom they miss.
const LOOK_AROUND: Duration = Duration::from_millis(250);

/// Neighbours and own addresses that one call looks at, and the messages that it sends at most: a few microseconds each.
const LOOKS: usize = 64;
const MESSAGES: usize = 8;

/// Queries for listeners that are looked at in a second.
const QUERIES: u32 = 8;

/// A message to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Who has `target`? In the name of `sender`. To `known` alone when it only confirms what is known, else to all, on
    /// one port or on all.
    Request {
        /// The address that is looked for.
        target: IpAddr,
        /// The address that asks.
        sender: IpAddr,
        /// Where it was last.
        known: Option<Hop>,
        /// The port to ask on; all when there is none.
        port: Option<PortId>,
    },
    /// leat has this address.
    Announce(Announcement),
    /// Has anybody this address, which is to be leat's?
    Probe(Announcement),
    /// leat listens to the group in which this address is asked for, on this port or on all.
    Report(Ipv6Addr, Option<PortId>, Occasion),
}

/// What the resolver remembers of one neighbour. The first worker alone reads and writes it.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// When it is asked for next, in nanoseconds since the start: at once.
    next: Counter,
    unanswered: Counter,
    wanted: Counter,
    /// The nanosecond after that at which everybody was last asked for it; 0: never, or a probe has made use of that.
    broadcast: Counter,
    /// Whether it was heard since it was last asked for.
    is_heard: Counter,
    is_probed: Counter,
}

/// Everything that leat asks for and announces, of one configuration.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// Every next hop.
    pub neighbors: &'a [Arc<Neighbor>],
    /// Every own address.
    pub own: &'a [Arc<Announced>],
}

/// Keeps every neighbour known.
#[derive(Debug, Default)]
pub struct Resolver {
    /// When the next lap around all begins.
    next: Instant,
    /// How far the lap has come, and the first time at which something is due after it.
    lap: Option<(usize, Instant)>,
    /// How often the bell had rung at the last look.
    rings: u64,
    /// When the current second of queries for listeners began, and how many came in it.
    queries: (Instant, u32),
}

impl Resolver {
    /// There are other neighbours or own addresses than before: all are looked at.
    pub fn adopt(&mut self) {
        (self.next, self.lap) = (Instant::ZERO, None);
    }

    /// Takes in a query for listeners; too many in a second are not looked at, for whoever asks in earnest asks again.
    pub fn query(&mut self, query: &Query, own: &[Arc<Announced>], now: Instant) {
        let (second, count) = &mut self.queries;
        if now.since(*second) >= Duration::from_secs(1) {
            (*second, *count) = (now, 0);
        }
        *count += 1;
        if *count > QUERIES {
            return;
        }
        for own in own {
            if let IpAddr::V6(address) = own.announcement().address
                && query.is_about(address)
                && own.query(query.version, now)
            {
                self.look_by(now);
            }
        }
    }

    /// Something is due earlier than was thought.
    pub(super) fn look_by(&mut self, time: Instant) {
        self.next = self.next.min(time);
    }

    /// Sends what is due; `rings` is how often the bell for probes has rung. Cheap when nothing is.
    #[inline]
    pub fn poll(&mut self, targets: Targets<'_>, now: Instant, rings: u64, send: impl FnMut(Outgoing)) {
        if rings != self.rings {
            // Whom it rings for may be behind us in the lap.
            (self.rings, self.next) = (rings, now);
        }
        if now >= self.next || self.lap.is_some() {
            self.go_on(targets, now, send);
        }
    }

    /// Goes on with the lap, or begins one.
    fn go_on(&mut self, targets: Targets<'_>, now: Instant, mut send: impl FnMut(Outgoing)) {
        let Targets { neighbors, own } = targets;
        let (start, mut next) = self.lap.unwrap_or_else(|| {
            self.next = now + REFRESH;
            (0, now + REFRESH)
        });
        let end = neighbors.len() + own.len();
        let mut messages = 0;
        let mut at = start;
        while at < end && at - start < LOOKS && messages < MESSAGES {
            let send = |outgoing| {
                messages += 1;
                send(outgoing);
            };
            let due = match own.get(at) {
                Some(own) => announce(own, now, send),
                None => neighbors.get(at - own.len()).and_then(|neighbor| neighbor.attend(now, send)),
            };
            next = due.map_or(next, |due| next.min(due));
            at += 1;
        }
        if at < end {
            self.lap = Some((at, next));
        } else {
            // It may have been rung for meanwhile.
            (self.next, self.lap) = (self.next.min(next), None);
        }
    }

    /// Learns what a neighbour says of itself by ARP, asked or not (RFC 826, "merge"): that it is at `mac`. `neighbors` are those
    /// at its address.
    pub fn hear(&self, neighbors: &[Arc<Neighbor>], mac: MacAddr, ingress: PortId, now: Instant) {
        if !mac.is_unicast() {
            return;
        }
        for neighbor in neighbors.iter().filter(|neighbor| !neighbor.is_static()) {
            neighbor.learn(Hop { mac, port: ingress });
            neighbor.probes.note_heard();
            neighbor.asking.note_heard(now);
        }
    }
}

/// Announces `own` if that is due, and says that its group is listened to; when it is due next, if ever.
fn announce(own: &Announced, now: Instant, mut send: impl FnMut(Outgoing)) -> Option<Instant> {
    let report = |occasion| match own.announcement() {
        Announcement { address: IpAddr::V6(address), port, .. } => Some(Outgoing::Report(address, port, occasion)),
        _ => None,
    };
    if let Some(report) = own.take_query().and_then(|version| report(Occasion::Asked(version))) {
        send(report);
    }
    if own.next()? <= now {
        // Before it is asked whether somebody has the address (RFC 4862 §5.4.2): the answer may come to the group.
        if let Some(report) = report(Occasion::Joined) {
            send(report);
        }
        let what = if own.is_probed_first() { Outgoing::Probe } else { Outgoing::Announce };
        send(what(own.announcement()));
        own.announce(now);
    }
    own.next()
}

impl Neighbor {
    /// Asks for it or probes it if that is due; when to look again.
    fn attend(&self, now: Instant, mut send: impl FnMut(Outgoing)) -> Option<Instant> {
        if self.is_static() {
            return None;
        }
        let mut look_again = None;
        if self.hop().is_none() {
            self.hurry_if_wanted(now);
            look_again = Some(now + LOOK_AROUND);
        }
        if self.asking.next() <= now {
            send(self.ask(now));
        }
        if let Some(probe) = self.probes.due()
            && let Some(question) = self.probe(probe, now)
        {
            send(question);
        }
        let next = self.asking.next();
        Some(look_again.map_or(next, |look| next.min(look)))
    }

    /// Asks soon when packets came for it since the last look, within the limit of one question a second.
    fn hurry_if_wanted(&self, now: Instant) {
        let (wanted, asking) = (self.wanted(), &self.asking);
        if asking.wanted.value() != wanted {
            asking.wanted.set(wanted);
            asking.set_next(asking.next().min(now + FIRST_RETRY));
        }
    }

    /// Asks because it is time to.
    fn ask(&self, now: Instant) -> Outgoing {
        let asking = &self.asking;
        let unanswered = asking.unanswered.value() as u32;
        // One that knew the way is first asked by itself (RFC 1122 §2.3.2.1, "unicast poll"), then through everybody.
        let known = self.hop().filter(|_| unanswered < QUICK_RETRIES);
        asking.broadcast.set(if known.is_none() { now.as_nanos() + 1 } else { 0 });
        asking.is_heard.set(0);
        asking.is_probed.set(0);
        asking.set_next(now + retry_after(unanswered));
        asking.unanswered.set(unanswered.saturating_add(1).into());
        self.question(known)
    }

    /// Sends `probe`: everybody is asked, so that one whose Ethernet address has changed is found in the same step.
    /// Nothing is to be sent when everybody was asked a moment ago.
    fn probe(&self, probe: Probe, now: Instant) -> Option<Outgoing> {
        let asking = &self.asking;
        let asked = asking.broadcast.value().checked_sub(1).map(Instant::from_nanos);
        asking.broadcast.set(0);
        self.probes.note_sent(probe);
        asking.is_probed.set(1);
        // Nothing is asked in between as well, unless nothing is known yet.
        let rest = asking.next().max(now + if self.hop().is_some() { PROBED } else { LAST_RETRY });
        if asked.is_some_and(|asked| now.since(asked) < FIRST_RETRY) {
            if asking.is_heard.value() != 0 {
                self.probes.note_heard();
                asking.set_next(now + PROBED);
            } else if asking.unanswered.value() > QUICK_RETRIES.into() {
                // Who was not found quickly is asked at the pace of the probes from now on, and that question was one.
                asking.set_next(rest);
            }
            return None;
        }
        asking.is_heard.set(0);
        asking.set_next(rest);
        Some(self.question(None))
    }

    fn question(&self, known: Option<Hop>) -> Outgoing {
        Outgoing::Request { target: self.address, sender: self.asker(), known, port: self.asked_on }
    }
}

impl Asking {
    pub(super) fn next(&self) -> Instant {
        Instant::from_nanos(self.next.value())
    }

    fn set_next(&self, next: Instant) {
        self.next.set(next.as_nanos());
    }

    /// Whether the last question was answered.
    pub(super) fn is_answered(&self) -> bool {
        self.unanswered.value() == 0
    }

    /// What is known may not be right any more: it is asked for at `latest`.
    pub(super) fn doubt(&self, latest: Instant) {
        self.set_next(self.next().min(latest));
    }

    /// It was heard, and that is no answer.
    pub(super) fn note_alive(&self) {
        self.is_heard.set(1);
    }

    /// It is elsewhere, and is asked there by `latest`.
    pub(super) fn begin_anew(&self, latest: Instant) {
        self.unanswered.set(0);
        self.doubt(latest);
    }

    /// It has answered, or has said by ARP that it is there.
    pub(super) fn note_heard(&self, now: Instant) {
        self.is_heard.set(1);
        self.unanswered.set(0);
        self.set_next(now + if self.is_probed.value() != 0 { PROBED } else { REFRESH });
    }
}

/// How long to wait for the answer to a question that `unanswered` others came before.
fn retry_after(unanswered: u32) -> Duration {
    let doublings = unanswered.saturating_sub(QUICK_RETRIES - 1).min(8);
    (FIRST_RETRY * 2u32.pow(doublings)).min(LAST_RETRY)
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
