//! The checker with the first worker's resolver beside it: backends that answer, or not, and what is made of it.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::config::HealthKind;
use crate::id::PortId;
use crate::neighbor::{Outgoing, Resolver, Targets};
use crate::wire::MacAddr;

const STEP: Duration = Duration::from_millis(20);

pub(super) const EVERY_5_S: Health = Health {
    kind: HealthKind::Arp,
    interval: Duration::from_secs(5),
    timeout: Duration::from_secs(3),
    rise: 1,
    fall: 1,
    start_delay: Duration::ZERO,
    jitter: Duration::ZERO,
    port: None,
    http: None,
};

/// A control thread, a first worker, and a link with hosts on it.
struct Link {
    /// The address that ends in a byte.
    host: fn(u8) -> IpAddr,
    checker: Checker,
    resolver: Resolver,
    neighbors: Vec<Arc<Neighbor>>,
    bell: Arc<Bell>,
    /// Hosts that answer nothing.
    dead: HashSet<IpAddr>,
    worker_stands_still: bool,
    now: Instant,
    /// The second of each question, and who was asked for.
    questions: Vec<(f64, u8)>,
    /// The second of each change, the backend, and whether it is up.
    changes: Vec<(f64, u32, bool)>,
}

impl Link {
    /// Backends, each at the neighbour with this last byte.
    fn new(backends: &[(u8, Health)]) -> Self {
        Self::of_hosts(|last| [10, 0, 0, last].into(), backends)
    }

    fn of_hosts(host: fn(u8) -> IpAddr, backends: &[(u8, Health)]) -> Self {
        let mut neighbors: Vec<Arc<Neighbor>> = Vec::new();
        let mut subjects = Vec::new();
        for ((last, health), number) in backends.iter().zip(0..) {
            let address = host(*last);
            let known = neighbors.iter().find(|neighbor| neighbor.address() == address).cloned();
            let neighbor = known.unwrap_or_else(|| {
                let neighbor = Arc::new(Neighbor::new(address, host(1), None, 1));
                neighbors.push(Arc::clone(&neighbor));
                neighbor
            });
            let target = Target::Neighbor(neighbor);
            subjects.push(Subject { backend: BackendId(number), target, health: health.clone() });
        }
        let bell = Arc::new(Bell::default());
        Self {
            host,
            checker: Checker::new(subjects, Arc::clone(&bell), Arc::default(), Instant::ZERO),
            resolver: Resolver::default(),
            neighbors,
            bell,
            dead: HashSet::new(),
            worker_stands_still: false,
            now: Instant::ZERO,
            questions: Vec::new(),
            changes: Vec::new(),
        }
    }

    fn kill(&mut self, last: u8) {
        self.dead.insert((self.host)(last));
    }

    fn revive(&mut self, last: u8) {
        self.dead.remove(&(self.host)(last));
    }

    fn run_until(&mut self, second: f64) {
        while self.seconds() < second {
            self.step();
        }
    }

    fn step(&mut self) {
        if !self.worker_stands_still {
            let mut asked = Vec::new();
            let targets = Targets { neighbors: &self.neighbors, own: &[] };
            // It looks once a millisecond, each time at a part of them.
            for _ in 0..STEP.as_millis() {
                self.resolver.poll(targets, self.now, self.bell.rings(), |outgoing| {
                    let Outgoing::Request { target, .. } = outgoing else { panic!("{outgoing:?}") };
                    asked.push(target);
                });
            }
            for target in asked {
                self.questions.push((self.seconds(), last_byte(target)));
                if !self.dead.contains(&target) {
                    self.hear(target);
                }
            }
        }
        for Change { backend, is_up, .. } in self.checker.poll(self.now) {
            self.changes.push((self.seconds(), backend.0, is_up));
        }
        self.now = self.now + STEP;
    }

    fn hear(&self, from: IpAddr) {
        let at = |neighbor: &&Arc<Neighbor>| neighbor.address() == from;
        let neighbors: Vec<_> = self.neighbors.iter().filter(at).cloned().collect();
        self.resolver.hear(&neighbors, MacAddr([2, 0, 0, 0, 0, last_byte(from)]), PortId(0), self.now);
    }

    fn seconds(&self) -> f64 {
        self.now.as_nanos() as f64 / 1e9
    }

    fn health(&self, backend: u32) -> BackendHealth {
        self.checker.report().of(BackendId(backend)).unwrap()
    }
}

fn last_byte(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    }
}

#[test]
fn two_servers_are_asked_for_once_each_at_the_start_and_then_once_in_five_seconds() {
    let mut link = Link::new(&[(2, EVERY_5_S), (3, EVERY_5_S)]);
    link.run_until(61.0);
    let of = |last| link.questions.iter().filter(|(_, asked)| *asked == last).map(|(at, _)| *at).collect::<Vec<_>>();
    for last in [2, 3] {
        let times = of(last);
        assert!(times[0] < 0.1 && times[1] > 2.5, "{times:?}");
        assert!(times[1..].windows(2).all(|pair| (pair[1] - pair[0] - 5.0).abs() < 0.05), "{times:?}");
    }
    assert_eq!(link.changes, []);
    assert_eq!(link.health(0).reason, Reason::Answers(Question::Arp));
}

#[test]
fn a_dead_server_is_down_within_an_interval_and_a_timeout_and_up_again_at_its_first_answer() {
    let mut link = Link::new(&[(2, EVERY_5_S), (3, EVERY_5_S)]);
    link.run_until(20.0);
    link.kill(2);
    link.run_until(50.0);
    let [(at, 0, false)] = link.changes[..] else { panic!("{:?}", link.changes) };
    assert!((23.0..28.1).contains(&at), "{at}");
    let health = link.health(0);
    assert_eq!((health.is_up, health.changes), (false, 1));
    assert_eq!(health.reason.to_string(), "no answer to ARP for 3s");
    link.revive(2);
    link.run_until(80.0);
    let [_, (at, 0, true)] = link.changes[..] else { panic!("{:?}", link.changes) };
    assert!((50.0..55.1).contains(&at), "{at}");
    assert_eq!((link.health(0).is_up, link.health(0).changes), (true, 2));
    assert_eq!(link.health(1).changes, 0);
}

#[test]
fn a_server_of_ipv6_is_said_to_answer_no_neighbour_solicitations() {
    let host = |last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)]);
    let mut link = Link::of_hosts(host, &[(2, EVERY_5_S)]);
    link.run_until(10.0);
    assert_eq!(link.health(0).reason.to_string(), "answers neighbour solicitation");
    link.kill(2);
    link.run_until(20.0);
    assert_eq!(link.health(0).reason.to_string(), "no answer to neighbour solicitation for 3s");
}

#[test]
fn a_server_that_was_never_there_is_taken_as_up_until_its_first_probe_has_failed() {
    let mut link = Link::new(&[(2, EVERY_5_S)]);
    link.kill(2);
    link.run_until(2.9);
    assert_eq!((link.health(0).is_up, link.health(0).reason), (true, Reason::Unproven));
    link.run_until(3.2);
    assert!(!link.health(0).is_up);
}

#[test]
fn single_losses_count_only_as_the_settings_say() {
    let patient = Health { fall: 3, rise: 2, ..EVERY_5_S };
    let mut link = Link::new(&[(2, patient), (2, EVERY_5_S)]);
    link.run_until(21.0);
    link.kill(2);
    // Long enough for one or two probes, not for three.
    link.run_until(30.0);
    link.revive(2);
    link.run_until(60.0);
    let of = |link: &Link, backend| {
        link.changes.iter().filter(|change| change.1 == backend).map(|change| change.2).collect::<Vec<_>>()
    };
    assert!(of(&link, 0).is_empty());
    assert_eq!(of(&link, 1), [false, true]);
    link.kill(2);
    link.run_until(90.0);
    assert_eq!(of(&link, 0), [false]);
    assert_eq!(link.health(0).reason.to_string(), "no answer to ARP for 3s, 3 times in a row");
    link.revive(2);
    link.run_until(120.0);
    assert_eq!(of(&link, 0), [false, true]);
}

#[test]
fn services_that_share_a_server_and_its_settings_share_its_probes() {
    let hasty = Health { interval: Duration::from_secs(2), timeout: Duration::from_secs(1), ..EVERY_5_S };
    let mut link = Link::new(&[(2, EVERY_5_S), (2, EVERY_5_S), (2, hasty)]);
    assert_eq!(link.checker.arp.targets(), 2);
    link.run_until(40.0);
    link.kill(2);
    link.run_until(60.0);
    let mut down: Vec<_> = link.changes.iter().map(|(_, backend, is_up)| (*backend, *is_up)).collect();
    assert_eq!(down[0], (2, false), "who asks more often knows sooner");
    down.sort_unstable();
    assert_eq!(down, [(0, false), (1, false), (2, false)]);
}

#[test]
fn a_hundred_servers_of_which_half_are_dead_see_four_questions_a_second_and_all_are_judged() {
    let backends: Vec<_> = (2..102).map(|last| (last, EVERY_5_S)).collect();
    let mut link = Link::new(&backends);
    link.run_until(60.0);
    for last in 2..52 {
        link.kill(last);
    }
    let before = link.questions.len();
    link.run_until(120.0);
    let after = &link.questions[before..];
    assert!(after.windows(5).all(|five| five[4].0 - five[0].0 > 1.0), "{after:?}");
    let mut down: Vec<_> = link.changes.iter().map(|(_, backend, is_up)| (*backend, *is_up)).collect();
    down.sort_unstable();
    assert_eq!(down, (0..50).map(|backend| (backend, false)).collect::<Vec<_>>());
}

#[test]
fn a_worker_that_stands_still_makes_no_server_look_dead() {
    let mut link = Link::new(&[(2, EVERY_5_S)]);
    link.run_until(20.0);
    link.worker_stands_still = true;
    link.run_until(60.0);
    link.worker_stands_still = false;
    link.run_until(80.0);
    assert_eq!(link.changes, []);
}

#[test]
fn an_answer_from_before_the_probe_does_not_count() {
    let mut link = Link::new(&[(2, EVERY_5_S)]);
    link.run_until(20.0);
    link.kill(2);
    // It says something by itself just before each probe, and nothing afterwards.
    while link.seconds() < 40.0 {
        let asked = link.questions.len();
        link.hear([10, 0, 0, 2].into());
        while link.questions.len() == asked {
            link.step();
        }
        let until = link.seconds() + 3.2;
        link.run_until(until);
    }
    assert!(matches!(link.changes[..], [(_, 0, false)]), "{:?}", link.changes);
    assert_eq!(link.neighbors.len(), 1);
}

#[test]
fn a_new_set_of_backends_changes_nothing_about_those_that_stay() {
    let mut link = Link::new(&[(2, EVERY_5_S), (3, EVERY_5_S), (4, EVERY_5_S)]);
    link.run_until(20.0);
    link.kill(3);
    link.run_until(40.0);
    assert!(matches!(link.changes[..], [(_, 1, false)]), "{:?}", link.changes);
    let health = link.health(1);
    let before = link.questions.len();
    // Backend 0 goes, 3 comes at the same host as 1; 1 has another limit, and stays down.
    let patient = Health { rise: 2, ..EVERY_5_S };
    let subject = |backend, at: usize, health| Subject {
        backend: BackendId(backend),
        target: Target::Neighbor(Arc::clone(&link.neighbors[at])),
        health,
    };
    let subjects = vec![subject(1, 1, patient.clone()), subject(3, 1, patient), subject(2, 2, EVERY_5_S)];
    link.checker.adopt(subjects, link.now);
    assert_eq!(link.health(1), health);
    assert_eq!(link.checker.report().of(BackendId(0)), None);
    assert_eq!(link.health(3).reason, Reason::Unproven);
    link.run_until(44.9);
    let asked: Vec<u8> = link.questions[before..].iter().map(|(_, last)| *last).collect();
    assert_eq!(asked.iter().filter(|last| **last == 4).count(), 1, "its turn has not changed: {asked:?}");
    assert_eq!(asked.iter().filter(|last| **last == 2).count(), 0, "{asked:?}");
    link.run_until(60.0);
    link.revive(3);
    link.run_until(80.0);
    let after: Vec<_> = link.changes[1..].iter().map(|(_, backend, is_up)| (*backend, *is_up)).collect();
    assert_eq!(after, [(3, false), (1, true), (3, true)]);
}
