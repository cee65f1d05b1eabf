use super::*;

use std::collections::VecDeque;

use proptest::prelude::*;

fn share(worker: u16, workers: u16) -> PortShare {
    PortShare::new(worker, workers).unwrap()
}

/// A pool with nodes of its own.
struct Alone {
    pool: Pool,
    nodes: Vec<Links>,
}

impl Alone {
    fn new(share: PortShare, start: u64) -> Self {
        Self { pool: Pool::new(Place { slab: 0, first: 0 }, share, start), nodes: vec![0; share.len() + 1] }
    }

    fn with_nodes(&mut self) -> PoolMut<'_> {
        PoolMut { pool: &mut self.pool, nodes: &mut self.nodes }
    }
}

fn drain(pool: &mut Alone) -> Vec<u16> {
    std::iter::from_fn(|| pool.with_nodes().take_oldest()).collect()
}

#[test]
fn every_port_from_1024_belongs_to_exactly_one_worker() {
    for workers in [1, 2, 3, 4, 7, 64, 1000, u16::MAX] {
        let shares: Vec<_> = (0..workers.min(100)).map(|worker| share(worker, workers)).collect();
        for (worker, share) in shares.iter().enumerate() {
            let ports: Vec<u16> = (0..share.len() as u32).map(|part| share.port(part)).collect();
            let expected: Vec<u16> = (FIRST_PORT..=u16::MAX).filter(|port| port % workers == worker as u16).collect();
            assert_eq!(ports, expected, "{worker} of {workers}");
            assert!(
                (0..=u16::MAX)
                    .all(|port| share.contains(port) == (port >= FIRST_PORT && port % workers == worker as u16))
            );
        }
    }
    assert_eq!(PortShare::new(4, 4), None);
    assert_eq!(PortShare::new(0, 0), None);
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
    let key = |last| PoolKey {
        local: [10, 0, 0, 10].into(),
        protocol: Protocol::Tcp,
        backend: [10, 0, 0, last].into(),
        backend_port: 80,
    };
    let mut pools = Pools::new(share(0, 1), FlowHasher::with_key((1, 2)));
    let reserved = ReservedPorts::new([([10, 0, 0, 10].into(), Protocol::Tcp, 8080)]);
    for last in 1..=3 {
        pools.ensure(&key(last), &reserved);
    }
    let keep_one = |pools: &mut Pools| (0..SHARDS).for_each(|shard| pools.retain(shard, |pool| *pool == key(1)));
    assert!(pools.pool_mut(&key(2)).unwrap().take(5000));
    keep_one(&mut pools);
    assert!(pools.pool(&key(1)).is_some() && pools.pool(&key(2)).is_some() && pools.pool(&key(3)).is_none());
    pools.pool_mut(&key(2)).unwrap().give_back(5000);
    keep_one(&mut pools);
    assert!(pools.pool(&key(2)).is_none());
    // Their memory is used again, and whole: all ports but what is reserved now.
    let reserved = ReservedPorts::new([([10, 0, 0, 10].into(), Protocol::Tcp, 9090)]);
    for last in 4..=5 {
        let mut pool = pools.ensure(&key(last), &reserved);
        let ports: std::collections::BTreeSet<u16> = std::iter::from_fn(|| pool.take_oldest()).collect();
        assert_eq!(ports, (FIRST_PORT..=u16::MAX).filter(|port| *port != 9090).collect());
    }
    assert_eq!(pools.slabs.taken, 3, "two of three are old");
}

#[test]
fn a_pool_learns_at_its_next_use_what_is_reserved_now() {
    let key = PoolKey {
        local: [10, 0, 0, 10].into(),
        protocol: Protocol::Tcp,
        backend: [10, 0, 0, 2].into(),
        backend_port: 80,
    };
    let mut pools = Pools::new(share(0, 1), FlowHasher::with_key((1, 2)));
    let reserved = |port| ReservedPorts::new([(key.local, key.protocol, port)]);
    assert!(!pools.ensure(&key, &reserved(8080)).is_waiting(8080));
    let mut pool = pools.ensure(&key, &reserved(9090));
    assert!(pool.take(8080) && !pool.is_waiting(9090));
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
        let mut pool = Alone::new(share, start);
        let mut waiting: VecDeque<u16> = (0..share.len() as u32).map(|part| share.port(part)).collect();
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
                    if was_reserved && share.contains(port) && !in_use.contains(&port) {
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
