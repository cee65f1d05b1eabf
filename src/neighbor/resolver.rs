//! Asking for next hops and announcing leat's own addresses, on the first worker.
//!
//! A question in broadcast is what a probe is too: sent because the control side wants to know who is alive. One that was
//! just asked by the resolver itself serves as a probe, and probing saves asking again.
//!
//! Times come in as arguments and frames go out as [`Outgoing`] values; this module opens no socket and reads no clock.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::probe::Probe;
use super::{Hop, Neighbor};
use crate::id::PortId;
use crate::time::Instant;
use crate::wire::arp::Message;

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

/// Announcements of an address (RFC 5227 §1.1: ANNOUNCE_NUM), and the time between them (ANNOUNCE_INTERVAL).
const ANNOUNCEMENTS: u32 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

/// How often the workers are asked whom they miss.
const LOOK_AROUND: Duration = Duration::from_millis(250);

/// A message to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Who has `target`? In the name of `sender`. To `known` alone when it only confirms what is known, else to all, on
    /// one port or on all.
    Request {
        /// The address that is looked for.
        target: Ipv4Addr,
        /// The address that asks.
        sender: Ipv4Addr,
        /// Where it was last.
        known: Option<Hop>,
        /// The port to ask on; all when there is none.
        port: Option<PortId>,
    },
    /// leat has this address.
    Announce(Announcement),
}

/// An address of leat's own, and the port that it is announced on; all when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Announcement {
    /// The address.
    pub address: Ipv4Addr,
    /// The port.
    pub port: Option<PortId>,
}

/// What the resolver remembers of one neighbour.
#[derive(Debug)]
struct Asked {
    neighbor: Arc<Neighbor>,
    next: Instant,
    unanswered: u32,
    wanted: u64,
    /// When everybody was last asked for it, and no probe has made use of that.
    broadcast: Option<Instant>,
    /// Whether it was heard since it was last asked for.
    is_heard: bool,
    is_probed: bool,
}

/// Keeps every neighbour known.
#[derive(Debug, Default)]
pub struct Resolver {
    asked: Vec<Asked>,
    announcements: Vec<(Announcement, Instant, u32)>,
    next: Instant,
    /// How often the bell had rung at the last look.
    rings: u64,
}

impl Resolver {
    /// Takes over a new set of neighbours and of own addresses. What stays keeps its timers, what is new is asked for
    /// and announced at once.
    pub fn adopt(&mut self, neighbors: &[Arc<Neighbor>], own: &[Announcement], now: Instant) {
        let mut before = std::mem::take(&mut self.asked);
        self.asked = neighbors
            .iter()
            .filter(|neighbor| !neighbor.is_static())
            .map(|neighbor| match before.iter().position(|asked| Arc::ptr_eq(&asked.neighbor, neighbor)) {
                Some(at) => before.swap_remove(at),
                None => Asked::new(neighbor, now),
            })
            .collect();
        self.announcements.retain(|(announcement, ..)| own.contains(announcement));
        for announcement in own {
            if !self.announcements.iter().any(|(known, ..)| known == announcement) {
                self.announcements.push((*announcement, now, 0));
            }
        }
        self.next = now;
    }

    /// Sends what is due; `rings` is how often the bell for probes has rung. Cheap when nothing is.
    #[inline]
    pub fn poll(&mut self, now: Instant, rings: u64, send: impl FnMut(Outgoing)) {
        if now >= self.next || rings != self.rings {
            self.rings = rings;
            self.send_due(now, send);
        }
    }

    fn send_due(&mut self, now: Instant, mut send: impl FnMut(Outgoing)) {
        let mut next = now + REFRESH;
        for (announcement, due, sent) in &mut self.announcements {
            if *sent == ANNOUNCEMENTS {
                continue;
            }
            if *due <= now {
                send(Outgoing::Announce(*announcement));
                *sent += 1;
                *due = now + ANNOUNCE_INTERVAL;
            }
            if *sent < ANNOUNCEMENTS {
                next = next.min(*due);
            }
        }
        for asked in &mut self.asked {
            if asked.neighbor.hop().is_none() {
                asked.hurry_if_wanted(now);
                next = next.min(now + LOOK_AROUND);
            }
            if asked.next <= now {
                send(asked.ask(now));
            }
            if let Some(probe) = asked.neighbor.probes.due()
                && let Some(question) = asked.probe(probe, now)
            {
                send(question);
            }
            next = next.min(asked.next);
        }
        self.next = next;
    }

    /// Learns from an ARP message: what a neighbour says of itself, asked or not (RFC 826, "merge").
    pub fn hear(&mut self, message: &Message, ingress: PortId, now: Instant) {
        if !message.sender_mac.is_unicast() {
            return;
        }
        for asked in &mut self.asked {
            if asked.neighbor.address() == message.sender {
                asked.neighbor.learn(Hop { mac: message.sender_mac, port: ingress });
                asked.neighbor.probes.note_heard();
                asked.is_heard = true;
                asked.unanswered = 0;
                asked.next = now + if asked.is_probed { PROBED } else { REFRESH };
            }
        }
    }
}

impl Asked {
    /// One that is asked for at once.
    fn new(neighbor: &Arc<Neighbor>, now: Instant) -> Self {
        let neighbor = Arc::clone(neighbor);
        Self { neighbor, next: now, unanswered: 0, wanted: 0, broadcast: None, is_heard: false, is_probed: false }
    }

    /// Asks soon when packets came for it since the last look, within the limit of one question a second.
    fn hurry_if_wanted(&mut self, now: Instant) {
        let wanted = self.neighbor.wanted();
        if std::mem::replace(&mut self.wanted, wanted) != wanted {
            self.next = self.next.min(now + FIRST_RETRY);
        }
    }

    /// Asks because it is time to.
    fn ask(&mut self, now: Instant) -> Outgoing {
        // One that knew the way is first asked by itself (RFC 1122 §2.3.2.1, "unicast poll"), then through everybody.
        let known = self.neighbor.hop().filter(|_| self.unanswered < QUICK_RETRIES);
        self.broadcast = known.is_none().then_some(now);
        (self.is_heard, self.is_probed) = (false, false);
        self.next = now + retry_after(self.unanswered);
        self.unanswered = self.unanswered.saturating_add(1);
        self.question(known)
    }

    /// Sends `probe`: everybody is asked, so that one whose Ethernet address has changed is found in the same step.
    /// Nothing is to be sent when everybody was asked a moment ago.
    fn probe(&mut self, probe: Probe, now: Instant) -> Option<Outgoing> {
        let is_covered = self.broadcast.take().is_some_and(|asked| now.since(asked) < FIRST_RETRY);
        self.neighbor.probes.note_sent(probe);
        self.is_probed = true;
        if is_covered {
            if self.is_heard {
                self.neighbor.probes.note_heard();
                self.next = now + PROBED;
            }
            return None;
        }
        self.is_heard = false;
        // Nothing is asked in between as well, unless nothing is known yet.
        self.next = self.next.max(now + if self.neighbor.hop().is_some() { PROBED } else { LAST_RETRY });
        Some(self.question(None))
    }

    fn question(&self, known: Option<Hop>) -> Outgoing {
        let Neighbor { address: target, asker: sender, asked_on: port, .. } = *self.neighbor;
        Outgoing::Request { target, sender, known, port }
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
    use crate::wire::arp::Operation;

    const PORT: PortId = PortId(0);

    fn neighbors(count: u8) -> Vec<Arc<Neighbor>> {
        (0..count).map(|n| Arc::new(Neighbor::new([10, 0, 0, 2 + n].into(), [10, 0, 0, 10].into(), None, 2))).collect()
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn sent(resolver: &mut Resolver, now: Instant) -> Vec<Outgoing> {
        sent_after(resolver, 0, now)
    }

    /// What is sent when the bell has rung so often.
    fn sent_after(resolver: &mut Resolver, rings: u64, now: Instant) -> Vec<Outgoing> {
        let mut all = Vec::new();
        resolver.poll(now, rings, |send| all.push(send));
        all
    }

    fn asked_at(resolver: &mut Resolver, seconds: std::ops::RangeInclusive<u64>) -> Vec<u64> {
        seconds.filter(|&second| !sent(resolver, at(second)).is_empty()).collect()
    }

    fn answer(from: Ipv4Addr, mac: [u8; 6]) -> Message {
        Message {
            operation: Operation::Reply,
            sender_mac: MacAddr(mac),
            sender: from,
            target_mac: MacAddr([2, 0, 0, 0, 0, 0xfe]),
            target: [10, 0, 0, 10].into(),
        }
    }

    #[test]
    fn every_backend_is_asked_for_once_at_the_start() {
        let mut resolver = Resolver::default();
        resolver.adopt(&neighbors(3), &[], at(0));
        let targets: Vec<_> = sent(&mut resolver, at(0))
            .into_iter()
            .map(|send| match send {
                Outgoing::Request { target, sender, known: None, port: None }
                    if sender == Ipv4Addr::new(10, 0, 0, 10) =>
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
        let mut resolver = Resolver::default();
        resolver.adopt(&neighbors(1), &[], at(0));
        assert_eq!(asked_at(&mut resolver, 0..=70), [0, 1, 2, 3, 5, 9, 17, 33, 49, 65]);
    }

    #[test]
    fn one_that_answered_is_confirmed_by_unicast_and_then_looked_for_by_broadcast() {
        let mut resolver = Resolver::default();
        let neighbors = neighbors(1);
        resolver.adopt(&neighbors, &[], at(0));
        sent(&mut resolver, at(0));
        resolver.hear(&answer(neighbors[0].address(), [2, 0, 0, 0, 0, 2]), PORT, at(0));
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
        let mut resolver = Resolver::default();
        let neighbors = neighbors(1);
        resolver.adopt(&neighbors, &[], at(0));
        resolver.hear(&answer(neighbors[0].address(), [2, 0, 0, 0, 0, 2]), PORT, at(0));
        resolver.hear(&answer(neighbors[0].address(), [2, 0, 0, 0, 0, 9]), PortId(1), at(1));
        assert_eq!(neighbors[0].hop(), Some(Hop { mac: MacAddr([2, 0, 0, 0, 0, 9]), port: PortId(1) }));
    }

    #[test]
    fn no_one_is_believed_to_live_at_a_group_address() {
        let mut resolver = Resolver::default();
        let neighbors = neighbors(1);
        resolver.adopt(&neighbors, &[], at(0));
        resolver.hear(&answer(neighbors[0].address(), [0xff; 6]), PORT, at(0));
        assert_eq!(neighbors[0].hop(), None);
    }

    #[test]
    fn a_configured_address_is_never_asked_for_and_never_changed() {
        let hop = Hop { mac: MacAddr([2, 0, 0, 0, 0, 2]), port: PORT };
        let neighbor = Arc::new(Neighbor::fixed([10, 0, 0, 2].into(), hop));
        let mut resolver = Resolver::default();
        resolver.adopt(std::slice::from_ref(&neighbor), &[], at(0));
        assert!(asked_at(&mut resolver, 0..=100).is_empty());
        resolver.hear(&answer(neighbor.address(), [2, 0, 0, 0, 0, 9]), PORT, at(1));
        assert_eq!(neighbor.hop(), Some(hop));
    }

    #[test]
    fn an_address_is_announced_twice_and_not_again_after_a_reload() {
        let own = [Announcement { address: [10, 0, 0, 10].into(), port: None }];
        let mut resolver = Resolver::default();
        resolver.adopt(&[], &own, at(0));
        assert_eq!(asked_at(&mut resolver, 0..=60), [0, 2]);
        resolver.adopt(&[], &own, at(61));
        assert!(asked_at(&mut resolver, 61..=100).is_empty());
    }

    #[test]
    fn packets_that_wait_hasten_the_question_but_never_beyond_one_a_second() {
        let mut resolver = Resolver::default();
        let neighbors = neighbors(1);
        resolver.adopt(&neighbors, &[], at(0));
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
    fn resolved() -> (Resolver, Arc<Neighbor>) {
        let mut resolver = Resolver::default();
        let neighbors = neighbors(1);
        resolver.adopt(&neighbors, &[], at(0));
        sent(&mut resolver, at(0));
        let neighbor = Arc::clone(&neighbors[0]);
        resolver.hear(&answer(neighbor.address(), [2, 0, 0, 0, 0, 2]), PORT, at(0));
        (resolver, neighbor)
    }

    #[test]
    fn a_probe_asks_everybody_once_and_only_what_is_heard_afterwards_answers_it() {
        let (mut resolver, neighbor) = resolved();
        let from = neighbor.address();
        resolver.hear(&answer(from, [2, 0, 0, 0, 0, 2]), PORT, at(9));
        let probe = neighbor.want_probe();
        assert!(!neighbor.is_sent(probe));
        let questions = sent_after(&mut resolver, 1, at(10));
        assert!(matches!(questions[..], [Outgoing::Request { known: None, .. }]), "{questions:?}");
        assert_eq!(sent_after(&mut resolver, 1, at(11)), []);
        assert!(
            neighbor.is_sent(probe) && !neighbor.is_answered(probe),
            "it was heard before, and that does not count"
        );
        resolver.hear(&answer(from, [2, 0, 0, 0, 0, 9]), PORT, at(12));
        assert!(neighbor.is_answered(probe));
        assert_eq!(neighbor.hop().unwrap().mac, MacAddr([2, 0, 0, 0, 0, 9]), "a new card in the same host is found");
    }

    #[test]
    fn the_question_at_the_start_is_the_first_probe_whether_it_was_answered_already_or_is_later() {
        for answered_before in [true, false] {
            let mut resolver = Resolver::default();
            let neighbors = neighbors(1);
            let [neighbor] = &neighbors[..] else { panic!() };
            let hear = |resolver: &mut Resolver| {
                resolver.hear(&answer(neighbor.address(), [2, 0, 0, 0, 0, 2]), PORT, at(0));
            };
            resolver.adopt(&neighbors, &[], at(0));
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
                    resolver.hear(&answer(neighbor.address(), [2, 0, 0, 0, 0, 2]), PORT, at(second));
                }
            }
            assert_eq!(questions, 60);
        }
    }
}
