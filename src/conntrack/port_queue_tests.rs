use super::*;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use crate::flow::Protocol;
use crate::id::WorkerId;
use crate::steering::Steering;

const KEY: PoolKey = PoolKey {
    local: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10)),
    protocol: Protocol::Tcp,
    backend: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
    backend_port: 80,
};

fn share(worker: u16, workers: u16) -> PortShare {
    PortShare::new(&Steering::Modulo { workers }, WorkerId(worker)).unwrap()
}

/// A pool with memory of its own.
struct Alone {
    pool: Pool,
    share: PortShare,
    slabs: Slabs,
}

impl Alone {
    fn new(share: PortShare, start: u64) -> Self {
        let mut slabs = Slabs::new(words(share.len()));
        Self { pool: Pool::new(slabs.take(), &share, &KEY, start), share, slabs }
    }

    fn whole(&mut self) -> PoolMut<'_> {
        self.pool.with(&mut self.slabs, &self.share, KEY.backend_port)
    }
}

fn drain(pool: &mut Alone) -> Vec<u16> {
    std::iter::from_fn(|| pool.whole().take_oldest()).collect()
}

#[test]
fn a_worker_beyond_the_ports_has_none_and_says_so() {
    // 65535 % 65535 is 0, so worker 0 has a port and worker 1 would need port 1.
    let share = share(1, u16::MAX);
    assert!(share.is_empty());
    let mut pool = Alone::new(share, 12345);
    assert_eq!(pool.whole().take_oldest(), None);
    assert!(!pool.whole().take(2000));
}

#[test]
fn the_queue_begins_where_the_hash_says_and_goes_round() {
    let mut pool = Alone::new(share(0, 1), 64_512 * 3 + 64_510);
    let ports = drain(&mut pool);
    assert_eq!(ports.len(), 64_512);
    assert_eq!(ports[..4], [65_534, 65_535, 1024, 1025]);
    assert_eq!(pool.whole().take_oldest(), None);
}

#[test]
fn the_port_that_has_rested_longest_is_taken_first() {
    let mut pool = Alone::new(share(3, 4), 99);
    drain(&mut pool);
    for port in [2003, 1027, 40_003] {
        pool.whole().give_back(port);
    }
    assert!(!pool.whole().take(5003), "in use");
    assert_eq!(drain(&mut pool), [2003, 1027, 40_003]);
}

/// As it is where each client's own port is tried first.
#[test]
fn a_port_that_was_taken_by_its_number_goes_to_the_end_as_well() {
    let mut pool = Alone::new(share(3, 4), 0);
    let first = 1027;
    assert!(pool.whole().take(first) && pool.whole().take(first + 8));
    pool.whole().give_back(first);
    let ports = drain(&mut pool);
    assert_eq!(ports[..3], [first + 4, first + 12, first + 16]);
    assert_eq!(ports[16_125..], [u16::MAX, first]);
    assert_eq!(ports.len(), 16_127, "one is in use still");
}

#[test]
fn a_port_of_a_moment_ago_waits_behind_those_that_were_never_used() {
    let mut pool = Alone::new(share(0, 1), 0);
    for port in 1024..=30_000 {
        assert!(pool.whole().take(port));
    }
    for port in (1024..=30_000).rev() {
        pool.whole().give_back(port);
    }
    assert_eq!(pool.whole().take_oldest(), Some(30_001));
    let ports = drain(&mut pool);
    assert_eq!(ports[..2], [30_002, 30_003]);
    assert_eq!(ports.len(), 64_511);
}

#[test]
fn ports_that_came_back_a_moment_ago_keep_no_search_busy_for_long() {
    let mut pool = Alone::new(share(0, 1), 0);
    for port in 1024..=u16::MAX {
        assert!(pool.whole().take(port));
    }
    for port in (1024..=u16::MAX).rev() {
        pool.whole().give_back(port);
    }
    let front = pool.pool.front;
    assert_eq!(pool.whole().take_oldest(), Some(1024 + MOST_SENT_BACK as u16));
    assert_eq!(pool.pool.front - front, 1 + MOST_SENT_BACK as u32);
    assert_eq!(drain(&mut pool).into_iter().collect::<BTreeSet<_>>().len(), 64_511);
}

/// A port that was thrown out of the queue while it was in use comes back to the right place, and stays there.
#[test]
fn an_entry_that_was_thrown_away_leaves_no_mark() {
    let mut pool = Alone::new(share(3, 4), 0);
    let first = 1027;
    assert!(pool.whole().take(first));
    pool.whole().give_back(first);
    assert!(pool.whole().take(first));
    assert_eq!(pool.whole().take_oldest(), Some(first + 4));
    pool.whole().give_back(first);
    pool.whole().give_back(first + 4);
    let ports = drain(&mut pool);
    assert_eq!(ports[16_126..], [first, first + 4]);
}

#[test]
fn a_reserved_port_is_never_given_out() {
    let mut pool = Alone::new(share(0, 1), 0);
    pool.whole().reserve_only(&[8080, 80, 443]);
    assert!(!pool.whole().take(8080));
    assert!(!pool.whole().is_waiting(8080));
    pool.whole().give_back(8080);
    let ports = drain(&mut pool);
    assert_eq!(ports.len(), 64_511);
    assert!(!ports.contains(&8080));
}

#[test]
fn a_service_added_on_a_port_in_use_gets_it_when_the_connection_ends() {
    let mut pool = Alone::new(share(0, 1), 0);
    assert!(pool.whole().take(9000));
    pool.whole().reserve_only(&[9000, 9001]);
    pool.whole().give_back(9000);
    assert!(!pool.whole().is_waiting(9000) && !pool.whole().is_waiting(9001));
    assert_eq!((pool.pool.waiting(), pool.pool.in_use), (64_510, 0));

    pool.whole().reserve_only(&[9001]);
    assert!(pool.whole().is_waiting(9000) && !pool.whole().is_waiting(9001));
    pool.whole().reserve_only(&[]);
    assert_eq!(pool.pool.waiting(), 64_512);
    assert_eq!(drain(&mut pool)[64_510..], [9000, 9001]);
}

#[test]
fn a_service_added_and_removed_leaves_a_port_with_its_connection() {
    let mut pool = Alone::new(share(0, 1), 0);
    assert!(pool.whole().take(9000));
    pool.whole().reserve_only(&[9000]);
    pool.whole().reserve_only(&[]);
    assert!(!pool.whole().is_waiting(9000));
    pool.whole().give_back(9000);
    assert!(pool.whole().is_waiting(9000));
}

#[test]
fn a_resting_connection_that_goes_on_has_its_port_again() {
    let mut pool = Alone::new(share(0, 1), 0);
    assert!(pool.whole().take(9000));
    pool.whole().give_back(9000);
    pool.whole().reclaim(9000);
    assert!(!pool.whole().is_waiting(9000));

    pool.whole().give_back(9000);
    pool.whole().reserve_only(&[9000]);
    pool.whole().reclaim(9000);
    assert_eq!(pool.pool.in_use, 1);
    pool.whole().reserve_only(&[]);
    assert!(!pool.whole().is_waiting(9000), "the connection still has it");
    pool.whole().give_back(9000);
    assert!(pool.whole().is_waiting(9000));
}

/// A port that waits, as a test knows it.
#[derive(Clone, Copy)]
struct Waiting {
    /// When it began to wait.
    since: usize,
    /// Whether its place in the queue is that of its time: it was not taken by its number since it was last taken from the front.
    is_in_place: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    TakeOldest,
    Take(u16),
    GiveBack(u16),
    Reserve(u16),
    Unreserve(u16),
}

fn step() -> impl Strategy<Value = Step> {
    // The part of one worker of 2000, 32 ports; a port below 1024 and other workers' are tried as well.
    let port = || (0..33_u16, 0..10_u16).prop_map(|(part, off)| part * 2000 + 7 + off / 9);
    prop_oneof![
        4 => Just(Step::TakeOldest),
        2 => port().prop_map(Step::Take),
        6 => port().prop_map(Step::GiveBack),
        1 => port().prop_map(Step::Reserve),
        1 => port().prop_map(Step::Unreserve),
    ]
}

proptest! {
    #[test]
    fn no_port_is_given_out_before_one_that_has_waited_longer(start: u64, steps in prop::collection::vec(step(), 1..300)) {
        let share = share(7, 2000);
        let mut pool = Alone::new(share.clone(), start);
        let len = share.len();
        let port = |number: usize| share.port(number as u32, Base::default());
        let clock = Cell::new(0);
        let now = || { clock.set(clock.get() + 1); clock.get() };
        let in_order = (0..len).map(|at| (at + (start % len as u64) as usize) % len);
        let mut waiting: BTreeMap<u16, Waiting> =
            in_order.map(|number| (port(number), Waiting { since: now(), is_in_place: true })).collect();
        // Whether one was taken by its number.
        let mut in_use: BTreeMap<u16, bool> = BTreeMap::new();
        let mut reserved: BTreeSet<u16> = BTreeSet::new();
        for step in steps {
            match step {
                Step::TakeOldest => match pool.whole().take_oldest() {
                    None => prop_assert!(waiting.is_empty()),
                    Some(port) => {
                        let taken = waiting.remove(&port);
                        prop_assert!(taken.is_some(), "{} does not wait", port);
                        let longer = |other: &Waiting| other.is_in_place && other.since < taken.unwrap().since;
                        prop_assert!(!waiting.values().any(longer), "{} came before one that had waited longer", port);
                        in_use.insert(port, false);
                    }
                },
                Step::Take(port) => {
                    let waits = waiting.remove(&port).is_some();
                    prop_assert_eq!(pool.whole().is_waiting(port), waits);
                    prop_assert_eq!(pool.whole().take(port), waits);
                    if waits {
                        in_use.insert(port, true);
                    }
                }
                Step::GiveBack(port) => {
                    pool.whole().give_back(port);
                    if let Some(by_number) = in_use.remove(&port).filter(|_| !reserved.contains(&port)) {
                        waiting.insert(port, Waiting { since: now(), is_in_place: !by_number });
                    }
                }
                Step::Reserve(port) => {
                    reserved.insert(port);
                    pool.whole().reserve_only(&reserved.iter().copied().collect::<Vec<_>>());
                    waiting.remove(&port);
                }
                Step::Unreserve(port) => {
                    let was_reserved = reserved.remove(&port);
                    pool.whole().reserve_only(&reserved.iter().copied().collect::<Vec<_>>());
                    if was_reserved && share.number(port, Base::default()).is_some() && !in_use.contains_key(&port) {
                        waiting.insert(port, Waiting { since: now(), is_in_place: false });
                    }
                }
            }
            prop_assert_eq!(pool.pool.waiting(), waiting.len());
            prop_assert_eq!(pool.pool.in_use(), in_use.len());
        }
        prop_assert_eq!(drain(&mut pool).into_iter().collect::<BTreeSet<_>>(), waiting.into_keys().collect());
    }
}
