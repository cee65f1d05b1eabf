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

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::probe::Probe;
use super::{Announced, Announcement, Hop, Neighbor};
use crate::counters::Counter;
use crate::id::PortId;
use crate::time::Instant;
use crate::wire::MacAddr;

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
}

impl Resolver {
    /// There are other neighbours or own addresses than before: all are looked at.
    pub fn adopt(&mut self) {
        (self.next, self.lap) = (Instant::ZERO, None);
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

/// Announces `own` if that is due; when it is due next, if ever.
fn announce(own: &Announced, now: Instant, send: impl FnOnce(Outgoing)) -> Option<Instant> {
    if own.next()? <= now {
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
mod tests {
    use super::*;
    use crate::id::WorkerId;
    use crate::wire::MacAddr;
    use crate::wire::ip::Octets as _;

    const PORT: PortId = PortId(0);

    /// The first worker, with what it has to look after.
    #[derive(Default)]
    struct Worker {
        resolver: Resolver,
        neighbors: Vec<Arc<Neighbor>>,
        own: Vec<Arc<Announced>>,
    }

    impl Worker {
        fn adopt(&mut self, neighbors: &[Arc<Neighbor>], own: &[Arc<Announced>]) {
            (self.neighbors, self.own) = (neighbors.to_vec(), own.to_vec());
            self.resolver.adopt();
        }

        fn poll(&mut self, now: Instant, rings: u64, sent: &mut Vec<Outgoing>) {
            let targets = Targets { neighbors: &self.neighbors, own: &self.own };
            self.resolver.poll(targets, now, rings, |send| sent.push(send));
        }

        fn hear(&self, mac: MacAddr, ingress: PortId, now: Instant) {
            self.resolver.hear(&self.neighbors, mac, ingress, now);
        }
    }

    fn neighbors(count: u8) -> Vec<Arc<Neighbor>> {
        (0..count).map(|n| Arc::new(Neighbor::new([10, 0, 0, 2 + n].into(), [10, 0, 0, 10].into(), None, 2))).collect()
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn sent(resolver: &mut Worker, now: Instant) -> Vec<Outgoing> {
        sent_after(resolver, 0, now)
    }

    /// What is sent when the bell has rung so often.
    fn sent_after(resolver: &mut Worker, rings: u64, now: Instant) -> Vec<Outgoing> {
        let mut all = Vec::new();
        resolver.poll(now, rings, &mut all);
        all
    }

    fn asked_at(resolver: &mut Worker, seconds: std::ops::RangeInclusive<u64>) -> Vec<u64> {
        seconds.filter(|&second| !sent(resolver, at(second)).is_empty()).collect()
    }

    #[test]
    fn every_backend_is_asked_for_once_at_the_start() {
        let mut resolver = Worker::default();
        resolver.adopt(&neighbors(3), &[]);
        let targets: Vec<_> = sent(&mut resolver, at(0))
            .into_iter()
            .map(|send| match send {
                Outgoing::Request { target, sender, known: None, port: None }
                    if sender == IpAddr::from([10, 0, 0, 10]) =>
                {
                    target.octets()[3]
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(targets, [2, 3, 4]);
        assert_eq!(sent(&mut resolver, at(0)), [], "and no second time at once");
    }

    #[test]
    fn one_that_is_silent_is_asked_ever_less_often() {
        let mut resolver = Worker::default();
        resolver.adopt(&neighbors(1), &[]);
        assert_eq!(asked_at(&mut resolver, 0..=70), [0, 1, 2, 3, 5, 9, 17, 33, 49, 65]);
    }

    #[test]
    fn one_that_answered_is_confirmed_by_unicast_and_then_looked_for_by_broadcast() {
        let mut resolver = Worker::default();
        let neighbors = neighbors(1);
        resolver.adopt(&neighbors, &[]);
        sent(&mut resolver, at(0));
        resolver.hear(MacAddr([2, 0, 0, 0, 0, 2]), PORT, at(0));
        let hop = Hop { mac: MacAddr([2, 0, 0, 0, 0, 2]), port: PORT };
        assert_eq!(neighbors[0].hop(), Some(hop));
        assert!(asked_at(&mut resolver, 1..=29).is_empty());
        for (second, expected) in [(30, Some(hop)), (31, Some(hop)), (32, Some(hop)), (33, None)] {
            let questions = sent(&mut resolver, at(second));
            assert!(
                matches!(questions[..], [Outgoing::Request { known, .. }] if known == expected),
                "{second}: {questions:?}"
            );
        }
        assert_eq!(neighbors[0].hop(), Some(hop), "the last known way is used until another is found");
    }

    #[test]
    fn a_backend_that_moves_is_followed_when_it_says_so() {
        let mut resolver = Worker::default();
        let neighbors = neighbors(1);
        resolver.adopt(&neighbors, &[]);
        resolver.hear(MacAddr([2, 0, 0, 0, 0, 2]), PORT, at(0));
        resolver.hear(MacAddr([2, 0, 0, 0, 0, 9]), PortId(1), at(1));
        assert_eq!(neighbors[0].hop(), Some(Hop { mac: MacAddr([2, 0, 0, 0, 0, 9]), port: PortId(1) }));
    }

    #[test]
    fn no_one_is_believed_to_live_at_a_group_address() {
        let mut resolver = Worker::default();
        let neighbors = neighbors(1);
        resolver.adopt(&neighbors, &[]);
        resolver.hear(MacAddr([0xff; 6]), PORT, at(0));
        assert_eq!(neighbors[0].hop(), None);
    }

    #[test]
    fn a_configured_address_is_never_asked_for_and_never_changed() {
        let hop = Hop { mac: MacAddr([2, 0, 0, 0, 0, 2]), port: PORT };
        let neighbor = Arc::new(Neighbor::fixed([10, 0, 0, 2].into(), hop));
        let mut resolver = Worker::default();
        resolver.adopt(std::slice::from_ref(&neighbor), &[]);
        assert!(asked_at(&mut resolver, 0..=100).is_empty());
        resolver.hear(MacAddr([2, 0, 0, 0, 0, 9]), PORT, at(1));
        assert_eq!(neighbor.hop(), Some(hop));
    }

    #[test]
    fn an_address_is_announced_twice_and_not_again_after_a_reload() {
        let own =
            [Arc::new(Announced::new(Announcement { address: [10, 0, 0, 10].into(), port: None, gives_way: false }))];
        let mut resolver = Worker::default();
        resolver.adopt(&[], &own);
        assert_eq!(asked_at(&mut resolver, 0..=60), [0, 2]);
        resolver.adopt(&[], &own);
        assert!(asked_at(&mut resolver, 61..=100).is_empty());
    }

    #[test]
    fn however_many_there_are_one_call_sends_a_few_and_soon_all_are_asked_for() {
        let mut worker = Worker::default();
        let neighbor = |n: u32| Neighbor::new((0x0a01_0000 + n).to_be_bytes().into(), [10, 0, 0, 10].into(), None, 1);
        let neighbors: Vec<_> = (0..1000).map(|n| Arc::new(neighbor(n))).collect();
        worker.adopt(&neighbors, &[]);
        let calls: Vec<_> = (0..200).map(|_| sent(&mut worker, at(0)).len()).collect();
        assert!(calls.iter().all(|sent| *sent <= MESSAGES), "{calls:?}");
        assert_eq!(calls.iter().sum::<usize>(), 1000);
        // A probe of one that the lap has passed is not forgotten.
        neighbors[3].want_probe();
        let asked: usize = (0..200).map(|_| sent_after(&mut worker, 1, at(60)).len()).sum();
        assert!(asked >= 1000);
        assert!(neighbors[3].probes.due().is_none());
    }

    #[test]
    fn what_is_known_of_a_neighbor_outlives_a_reload() {
        let (mut resolver, neighbor) = resolved();
        let more = neighbors(2);
        resolver.adopt(&[Arc::clone(&neighbor), Arc::clone(&more[1])], &[]);
        let questions = sent(&mut resolver, at(1));
        assert!(matches!(questions[..], [Outgoing::Request { target, .. }] if target == more[1].address()));
        assert!(neighbor.hop().is_some());
    }

    #[test]
    fn packets_that_wait_hasten_the_question_but_never_beyond_one_a_second() {
        let mut resolver = Worker::default();
        let neighbors = neighbors(1);
        resolver.adopt(&neighbors, &[]);
        asked_at(&mut resolver, 0..=33);
        let mut asked = Vec::new();
        for quarter in 34 * 4..38 * 4 {
            neighbors[0].want(WorkerId(1));
            if !sent(&mut resolver, Instant::ZERO + Duration::from_millis(250 * quarter)).is_empty() {
                asked.push(quarter as f64 / 4.0);
            }
        }
        assert_eq!(asked, [35.0, 36.25, 37.5]);
    }

    /// One neighbour that was asked for and has answered, both at 0.
    fn resolved() -> (Worker, Arc<Neighbor>) {
        let mut resolver = Worker::default();
        let neighbors = neighbors(1);
        resolver.adopt(&neighbors, &[]);
        sent(&mut resolver, at(0));
        let neighbor = Arc::clone(&neighbors[0]);
        resolver.hear(MacAddr([2, 0, 0, 0, 0, 2]), PORT, at(0));
        (resolver, neighbor)
    }

    #[test]
    fn a_probe_asks_everybody_once_and_only_what_is_heard_afterwards_answers_it() {
        let (mut resolver, neighbor) = resolved();
        resolver.hear(MacAddr([2, 0, 0, 0, 0, 2]), PORT, at(9));
        let probe = neighbor.want_probe();
        assert!(!neighbor.is_sent(probe));
        let questions = sent_after(&mut resolver, 1, at(10));
        assert!(matches!(questions[..], [Outgoing::Request { known: None, .. }]), "{questions:?}");
        assert_eq!(sent_after(&mut resolver, 1, at(11)), []);
        assert!(
            neighbor.is_sent(probe) && !neighbor.is_answered(probe),
            "it was heard before, and that does not count"
        );
        resolver.hear(MacAddr([2, 0, 0, 0, 0, 9]), PORT, at(12));
        assert!(neighbor.is_answered(probe));
        assert_eq!(neighbor.hop().unwrap().mac, MacAddr([2, 0, 0, 0, 0, 9]), "a new card in the same host is found");
    }

    #[test]
    fn the_question_at_the_start_is_the_first_probe_whether_it_was_answered_already_or_is_later() {
        for answered_before in [true, false] {
            let mut resolver = Worker::default();
            let neighbors = neighbors(1);
            let [neighbor] = &neighbors[..] else { panic!() };
            let hear = |resolver: &mut Worker| {
                resolver.hear(MacAddr([2, 0, 0, 0, 0, 2]), PORT, at(0));
            };
            resolver.adopt(&neighbors, &[]);
            assert_eq!(sent(&mut resolver, at(0)).len(), 1);
            if answered_before {
                hear(&mut resolver);
            }
            let half = at(0) + Duration::from_millis(500);
            let probe = neighbor.want_probe();
            assert_eq!(sent_after(&mut resolver, 1, half), []);
            if !answered_before {
                assert!(!neighbor.is_answered(probe));
                hear(&mut resolver);
            }
            assert!(neighbor.is_sent(probe) && neighbor.is_answered(probe));
            neighbor.want_probe();
            assert_eq!(sent_after(&mut resolver, 2, half).len(), 1, "one question is not two probes");
        }
    }

    #[test]
    fn one_that_is_probed_is_not_asked_for_in_between_dead_or_alive() {
        for alive in [true, false] {
            let (mut resolver, neighbor) = resolved();
            let mut questions = 0;
            for second in 1..=300 {
                let rings = second / 5;
                if second % 5 == 0 {
                    neighbor.want_probe();
                }
                let asked = sent_after(&mut resolver, rings, at(second)).len();
                questions += asked;
                if alive && asked > 0 {
                    resolver.hear(MacAddr([2, 0, 0, 0, 0, 2]), PORT, at(second));
                }
            }
            assert_eq!(questions, 60);
        }
    }

    #[test]
    fn one_that_was_never_found_is_asked_at_the_pace_of_its_probes_even_if_one_made_use_of_a_question() {
        let mut resolver = Worker::default();
        let neighbors = neighbors(1);
        resolver.adopt(&neighbors, &[]);
        // Questions at 0, 1, 2, 3 and 5 seconds; then a probe every five, the first just after a question.
        let mut asked = Vec::new();
        for tenth in 0..=260_u64 {
            let now = Instant::ZERO + Duration::from_millis(100 * tenth);
            if tenth >= 59 && (tenth - 59) % 50 == 0 {
                neighbors[0].want_probe();
            }
            let rings = if tenth < 59 { 0 } else { 1 + (tenth - 59) / 50 };
            if !sent_after(&mut resolver, rings, now).is_empty() {
                asked.push(tenth);
            }
        }
        assert_eq!(asked, [0, 10, 20, 30, 50, 109, 159, 209, 259]);
    }
}
