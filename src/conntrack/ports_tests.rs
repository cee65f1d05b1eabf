use super::*;

use std::sync::Arc;

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

/// With each port of the backend, another number stands for it.
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
        assert!(!pool.is_waiting(port));
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

#[test]
fn the_last_port_that_waits_is_found_behind_a_reserved_one_in_a_pool_for_all_ports_of_a_backend() {
    let (mut pools, _) = pools_by_rss();
    let whole = PoolKey { backend_port: 0, ..key(3) };
    let reserved_port = pools.ensure(&whole, 80, &reserved(&[])).take_oldest().unwrap();
    pools.pool_mut(&whole, 80).unwrap().give_back(reserved_port);
    let mut pool = pools.ensure(&whole, 80, &reserved(&[reserved_port]));
    let last = std::iter::from_fn(|| pool.take_oldest()).last().unwrap();
    pool.give_back(last);
    assert!(pool.take(last));
    pool.give_back(last);
    assert_eq!(pool.take_oldest(), Some(last));
    assert_eq!(pool.take_oldest(), None);
}
