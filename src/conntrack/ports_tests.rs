use super::*;

use std::collections::VecDeque;

use std::sync::Arc;

use proptest::prelude::*;

use crate::id::WorkerId;
use crate::steering::{Rss, Steering};

fn share(worker: u16, workers: u16) -> PortShare {
    PortShare::new(&Steering::Modulo { workers }, WorkerId(worker)).unwrap()
}

fn key(last: u8) -> PoolKey {
    PoolKey {
        local: [10, 0, 0, 10].into(),
        protocol: Protocol::Tcp,
        backend: [10, 0, 0, last].into(),
        backend_port: 80,
    }
}

/// A pool with nodes of its own.
struct Alone {
    pool: Pool,
    share: PortShare,
    nodes: Vec<Links>,
}

impl Alone {
    fn new(share: PortShare, start: u64) -> Self {
        Self {
            pool: Pool::new(Place { slab: 0, first: 0 }, &share, &key(2), start),
            nodes: vec![0; share.len() + 1],
            share,
        }
    }

    fn with_nodes(&mut self) -> PoolMut<'_> {
        PoolMut { pool: &mut self.pool, share: &self.share, base: Base::default(), nodes: &mut self.nodes }
    }
}

fn drain(pool: &mut Alone) -> Vec<u16> {
    std::iter::from_fn(|| pool.with_nodes().take_oldest()).collect()
}

#[test]
fn a_worker_beyond_the_ports_has_none_and_says_so() {
    // 65535 % 65535 is 0, so worker 0 has a port and worker 1 would need port 1.
    let share = share(1, u16::MAX);
    assert!(share.is_empty());
    let mut pool = Alone::new(share, 12345);
    assert_eq!(pool.with_nodes().take_oldest(), None);
    assert!(!pool.with_nodes().take(2000));
}

#[test]
fn the_queue_begins_where_the_hash_says_and_goes_round() {
    let mut pool = Alone::new(share(0, 1), 64_512 * 3 + 64_510);
    let ports = drain(&mut pool);
    assert_eq!(ports.len(), 64_512);
    assert_eq!(ports[..4], [65_534, 65_535, 1024, 1025]);
    assert_eq!(pool.with_nodes().take_oldest(), None);
}

#[test]
fn the_port_that_has_rested_longest_is_taken_first() {
    let mut pool = Alone::new(share(3, 4), 99);
    drain(&mut pool);
    for port in [2003, 1027, 40_003] {
        pool.with_nodes().give_back(port);
    }
    assert!(!pool.with_nodes().take(5003), "in use");
    assert_eq!(drain(&mut pool), [2003, 1027, 40_003]);
}

#[test]
fn a_reserved_port_is_never_given_out() {
    let mut pool = Alone::new(share(0, 1), 0);
    pool.with_nodes().reserve_only(&[8080, 80, 443]);
    assert!(!pool.with_nodes().take(8080));
    assert!(!pool.with_nodes().is_waiting(8080));
    pool.with_nodes().give_back(8080);
    let ports = drain(&mut pool);
    assert_eq!(ports.len(), 64_511);
    assert!(!ports.contains(&8080));
}

#[test]
fn a_service_added_on_a_port_in_use_gets_it_when_the_connection_ends() {
    let mut pool = Alone::new(share(0, 1), 0);
    assert!(pool.with_nodes().take(9000));
    pool.with_nodes().reserve_only(&[9000, 9001]);
    pool.with_nodes().give_back(9000);
    assert!(!pool.with_nodes().is_waiting(9000) && !pool.with_nodes().is_waiting(9001));
    assert_eq!((pool.pool.waiting(), pool.pool.in_use), (64_510, 0));

    pool.with_nodes().reserve_only(&[9001]);
    assert!(pool.with_nodes().is_waiting(9000) && !pool.with_nodes().is_waiting(9001));
    pool.with_nodes().reserve_only(&[]);
    assert_eq!(pool.pool.waiting(), 64_512);
    assert_eq!(drain(&mut pool)[64_510..], [9000, 9001]);
}

#[test]
fn a_service_added_and_removed_leaves_a_port_with_its_connection() {
    let mut pool = Alone::new(share(0, 1), 0);
    assert!(pool.with_nodes().take(9000));
    pool.with_nodes().reserve_only(&[9000]);
    pool.with_nodes().reserve_only(&[]);
    assert!(!pool.with_nodes().is_waiting(9000));
    pool.with_nodes().give_back(9000);
    assert!(pool.with_nodes().is_waiting(9000));
}

#[test]
fn a_resting_connection_that_goes_on_has_its_port_again() {
    let mut pool = Alone::new(share(0, 1), 0);
    assert!(pool.with_nodes().take(9000));
    pool.with_nodes().give_back(9000);
    pool.with_nodes().reclaim(9000);
    assert!(!pool.with_nodes().is_waiting(9000));

    pool.with_nodes().give_back(9000);
    pool.with_nodes().reserve_only(&[9000]);
    pool.with_nodes().reclaim(9000);
    assert_eq!(pool.pool.in_use, 1);
    pool.with_nodes().reserve_only(&[]);
    assert!(!pool.with_nodes().is_waiting(9000), "the connection still has it");
    pool.with_nodes().give_back(9000);
    assert!(pool.with_nodes().is_waiting(9000));
}

#[test]
fn pools_that_no_backend_needs_go_once_they_are_unused() {
    let mut pools = Pools::new(share(0, 1), FlowHasher::with_key((1, 2)));
    for last in 1..=3 {
        pools.ensure(&key(last), 80, &reserved(&[8080]));
    }
    let keep_one = |pools: &mut Pools| (0..SHARDS).for_each(|shard| pools.retain(shard, |pool| *pool == key(1)));
    assert!(pools.pool_mut(&key(2), 80).unwrap().take(5000));
    keep_one(&mut pools);
    assert!(pools.pool(&key(1)).is_some() && pools.pool(&key(2)).is_some() && pools.pool(&key(3)).is_none());
    pools.pool_mut(&key(2), 80).unwrap().give_back(5000);
    keep_one(&mut pools);
    assert!(pools.pool(&key(2)).is_none());
    // Their memory is used again, and whole: all ports but what is reserved now.
    let reserved = reserved(&[9090]);
    for last in 4..=5 {
        let mut pool = pools.ensure(&key(last), 80, &reserved);
        let ports: std::collections::BTreeSet<u16> = std::iter::from_fn(|| pool.take_oldest()).collect();
        assert_eq!(ports, (1024..=u16::MAX).filter(|port| *port != 9090).collect());
    }
    assert_eq!(pools.slabs.taken, 3, "two of three are old");
}

#[test]
fn a_pool_learns_at_its_next_use_what_is_reserved_now() {
    let key = key(2);
    let mut pools = Pools::new(share(0, 1), FlowHasher::with_key((1, 2)));
    assert!(!pools.ensure(&key, 80, &reserved(&[8080])).is_waiting(8080));
    let mut pool = pools.ensure(&key, 80, &reserved(&[9090]));
    assert!(pool.take(8080) && !pool.is_waiting(9090));
}

/// These TCP ports of the local address that all pools here have.
fn reserved(ports: &[u16]) -> ReservedPorts {
    ReservedPorts::new(ports.iter().map(|&port| ([10, 0, 0, 10].into(), Protocol::Tcp, port..=port)))
}

/// Pools of worker 1 of 3 on a port that hashes with the standard key and has 128 entries in its redirection table.
fn pools_by_rss() -> (Pools, Steering) {
    let table: Vec<u16> = (0..3).cycle().take(128).collect();
    let steering = Steering::Rss(Arc::new(Rss::new(&crate::flow::known::MICROSOFT, &table, 3).unwrap()));
    let share = PortShare::new(&steering, WorkerId(1)).unwrap();
    (Pools::new(share, FlowHasher::with_key((1, 2))), steering)
}

#[test]
fn every_port_that_a_pool_gives_out_brings_its_answers_to_the_worker() {
    let (mut pools, steering) = pools_by_rss();
    let whole = PoolKey { backend_port: 0, ..key(3) };
    for pool in [key(2), whole] {
        pools.ensure(&pool, 80, &reserved(&[8080]));
    }
    let mut given = Vec::new();
    for (pool, backend_ports) in [(key(2), vec![80]), (whole, vec![80, 443, 5000])] {
        for n in 0.. {
            let backend_port = backend_ports[n % backend_ports.len()];
            let Some(port) = pools.pool_mut(&pool, backend_port).unwrap().take_oldest() else { break };
            let answer = FlowKey { src_port: backend_port, dst_port: port, ..pool.answers() };
            assert_eq!(steering.owner_of_reply(&answer), WorkerId(1), "{answer}");
            assert!(port >= 1024 && port != 8080);
            given.push((pool, backend_port, port));
        }
    }
    let (fixed, floating) = given.split_at(given.iter().position(|(pool, ..)| *pool == whole).unwrap());
    // 43 of the 128 entries are the worker's, each with 504 ports; 8080 may be one of those.
    assert!((43 * 504 - 1..=43 * 504).contains(&fixed.len()) && floating.len() >= 43 * 504 - 1);
    for (pool, backend_port, port) in given {
        pools.pool_mut(&pool, backend_port).unwrap().give_back(port);
    }
    (0..SHARDS).for_each(|shard| pools.retain(shard, |_| false));
    assert!(pools.pool(&key(2)).is_none() && pools.pool(&whole).is_none(), "all ports came back");
}

/// With each port of the backend, another node stands for it.
#[test]
fn a_reserved_port_is_passed_over_in_a_pool_for_all_ports_of_a_backend() {
    let (mut pools, _) = pools_by_rss();
    let whole = PoolKey { backend_port: 0, ..key(3) };
    pools.ensure(&whole, 80, &reserved(&[]));
    for backend_port in 1..100 {
        let port = pools.pool_mut(&whole, backend_port).unwrap().take_oldest().unwrap();
        pools.pool_mut(&whole, backend_port).unwrap().give_back(port);
        pools.ensure(&whole, 80, &reserved(&[port]));
        let mut pool = pools.pool_mut(&whole, backend_port).unwrap();
        assert!(!pool.is_waiting(port) && !pool.take(port));
        // A resting connection keeps what it had.
        pool.reclaim(port);
        assert_eq!(pool.pool.in_use, 1);
        pool.give_back(port);
        let given: Vec<u16> = std::iter::from_fn(|| pool.take_oldest()).collect();
        assert_eq!((given.len(), given.contains(&port)), (43 * 504 - 1, false));
        for port in given {
            pool.give_back(port);
        }
        pools.ensure(&whole, 80, &reserved(&[]));
        assert!(pools.pool_mut(&whole, backend_port).unwrap().is_waiting(port));
    }
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
    fn the_queue_is_the_one_that_a_simple_list_would_be(start: u64, steps in prop::collection::vec(step(), 1..200)) {
        let share = share(7, 2000);
        let mut pool = Alone::new(share.clone(), start);
        let mut waiting: VecDeque<u16> =
            (0..share.len() as u32).map(|number| share.port(number, Base::default())).collect();
        waiting.rotate_left((start % share.len() as u64) as usize);
        let mut in_use: Vec<u16> = Vec::new();
        let mut reserved: Vec<u16> = Vec::new();
        for step in steps {
            match step {
                Step::TakeOldest => {
                    let expected = waiting.pop_front();
                    in_use.extend(expected);
                    prop_assert_eq!(pool.with_nodes().take_oldest(), expected);
                }
                Step::Take(port) => {
                    let place = waiting.iter().position(|&p| p == port);
                    prop_assert_eq!(pool.with_nodes().is_waiting(port), place.is_some());
                    prop_assert_eq!(pool.with_nodes().take(port), place.is_some());
                    if let Some(place) = place {
                        in_use.extend(waiting.remove(place));
                    }
                }
                Step::GiveBack(port) => {
                    pool.with_nodes().give_back(port);
                    if let Some(place) = in_use.iter().position(|&p| p == port) {
                        in_use.remove(place);
                        if !reserved.contains(&port) {
                            waiting.push_back(port);
                        }
                    }
                }
                Step::Reserve(port) => {
                    if !reserved.contains(&port) {
                        reserved.push(port);
                    }
                    pool.with_nodes().reserve_only(&reserved);
                    waiting.retain(|&p| p != port);
                }
                Step::Unreserve(port) => {
                    let was_reserved = reserved.contains(&port);
                    reserved.retain(|&p| p != port);
                    pool.with_nodes().reserve_only(&reserved);
                    if was_reserved && share.number(port, Base::default()).is_some() && !in_use.contains(&port) {
                        waiting.push_back(port);
                    }
                }
            }
            prop_assert_eq!(pool.pool.waiting(), waiting.len());
            prop_assert_eq!(pool.pool.in_use, in_use.len());
        }
        prop_assert_eq!(drain(&mut pool), Vec::from(waiting));
    }
}
