//! What the resolver sends, and when.

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
            Outgoing::Request { target, sender, known: None, port: None } if sender == IpAddr::from([10, 0, 0, 10]) => {
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
    let own = [Arc::new(Announced::new(Announcement { address: [10, 0, 0, 10].into(), port: None, gives_way: false }))];
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
    assert!(neighbor.is_sent(probe) && !neighbor.is_answered(probe), "it was heard before, and that does not count");
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
