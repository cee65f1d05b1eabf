//! Pools and mbufs: every way that an mbuf can go ends in its pool, and lengths are kept.

mod common;

use std::thread;

use arrayvec::ArrayVec;
use dpdk_wrapper::{ChecksumStatus, Eal, Mbuf, Mempool, MempoolConfig, free_bulk};

const MBUFS: usize = 127;

#[test]
fn mbufs_return_to_their_pool_and_keep_their_lengths() {
    let eal = common::start(&["-l", "0"]);
    let config = MempoolConfig { mbufs: MBUFS as u32, cache: 16, ..MempoolConfig::default() };
    let pool = Mempool::new(&eal, "mbufs", &config).unwrap();
    assert_eq!((pool.in_use(), pool.available(), pool.buffer_len()), (0, MBUFS, 2048));

    let checks: [fn(&Eal, &Mempool); 7] = [
        dropping_one_returns_it,
        freeing_in_bulk_returns_all,
        a_dropped_burst_returns_all,
        an_empty_pool_gives_none,
        another_thread_may_free,
        headers_come_and_go_at_the_front,
        the_end_grows_and_shrinks,
    ];
    for (index, check) in checks.iter().enumerate() {
        check(&eal, &pool);
        assert_eq!((pool.in_use(), pool.available()), (0, MBUFS), "after check {index}");
    }

    pools_that_cannot_be_are_refused(&eal);
    let same = pool.clone();
    assert_eq!(eal.shutdown().unwrap_err().errno(), libc::EBUSY, "a pool is left");
    assert_eq!(same.available(), MBUFS, "and still works");
}

fn dropping_one_returns_it(eal: &Eal, pool: &Mempool) {
    let mbuf = pool.alloc(eal.main_lcore()).unwrap();
    assert_eq!(pool.in_use(), 1);
    assert_eq!((mbuf.packet_len(), mbuf.segment_count(), mbuf.data().len()), (0, 1, 0));
    assert_eq!((mbuf.port(), mbuf.rss_hash(), mbuf.stripped_vlan()), (None, None, None));
    assert_eq!((mbuf.ip_checksum(), mbuf.l4_checksum()), (ChecksumStatus::Unknown, ChecksumStatus::Unknown));
}

fn freeing_in_bulk_returns_all(eal: &Eal, pool: &Mempool) {
    let mut burst = ArrayVec::<Mbuf, 64>::new();
    assert_eq!(pool.alloc_bulk(eal.main_lcore(), 40, &mut burst), 40);
    assert_eq!(pool.alloc_bulk(eal.main_lcore(), 40, &mut burst), 24, "as many as there is room for");
    assert_eq!((burst.len(), pool.in_use()), (64, 64));
    free_bulk(&mut burst);
    assert!(burst.is_empty());
    free_bulk(&mut burst);
}

fn a_dropped_burst_returns_all(eal: &Eal, pool: &Mempool) {
    let mut burst = ArrayVec::<Mbuf, 64>::new();
    pool.alloc_bulk(eal.main_lcore(), 64, &mut burst);
    drop(burst.remove(3));
    assert_eq!(pool.in_use(), 63);
}

fn an_empty_pool_gives_none(eal: &Eal, pool: &Mempool) {
    let lcore = eal.main_lcore();
    let all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc(lcore)).collect();
    assert_eq!((all.len(), pool.available()), (MBUFS, 0));
    assert!(pool.copy(lcore, b"x").is_none());
    assert_eq!(pool.alloc_bulk(lcore, 8, &mut ArrayVec::<Mbuf, 8>::new()), 0);
}

fn another_thread_may_free(eal: &Eal, pool: &Mempool) {
    let lcore = eal.main_lcore();
    let mbuf = pool.copy(lcore, b"one").unwrap();
    let mut burst = ArrayVec::<Mbuf, 8>::new();
    pool.alloc_bulk(lcore, 8, &mut burst);
    let length = thread::spawn(move || {
        free_bulk(&mut burst);
        mbuf.packet_len()
    });
    assert_eq!(length.join().unwrap(), 3);
}

fn headers_come_and_go_at_the_front(eal: &Eal, pool: &Mempool) {
    let mut mbuf = pool.copy(eal.main_lcore(), b"payload").unwrap();
    assert_eq!(mbuf.headroom(), 128);

    mbuf.prepend(4).unwrap().copy_from_slice(b"head");
    assert_eq!((mbuf.data(), mbuf.packet_len(), mbuf.headroom()), (&b"headpayload"[..], 11, 124));
    assert_eq!(mbuf.trim_front(5).unwrap(), b"ayload");
    mbuf.data_mut()[0] = b'A';
    assert_eq!((mbuf.data(), mbuf.packet_len(), mbuf.headroom()), (&b"Ayload"[..], 6, 129));

    assert!(mbuf.prepend(130).is_none() && mbuf.prepend(1 << 16).is_none() && mbuf.trim_front(7).is_none());
    assert_eq!((mbuf.data(), mbuf.packet_len(), mbuf.headroom()), (&b"Ayload"[..], 6, 129), "nothing was done");
    assert_eq!(mbuf.prepend(129).unwrap().len(), 129);
    assert_eq!((mbuf.packet_len(), mbuf.headroom()), (135, 0));
}

fn the_end_grows_and_shrinks(eal: &Eal, pool: &Mempool) {
    let lcore = eal.main_lcore();
    let mut mbuf = pool.copy(lcore, b"body").unwrap();
    mbuf.append(4).unwrap().copy_from_slice(b"tail");
    assert_eq!((mbuf.data(), mbuf.packet_len(), mbuf.tailroom()), (&b"bodytail"[..], 8, 2040));
    mbuf.trim_back(7).unwrap();
    assert_eq!((mbuf.data(), mbuf.packet_len(), mbuf.tailroom()), (&b"b"[..], 1, 2047));

    assert!(mbuf.append(2048).is_none() && mbuf.append(1 << 16).is_none() && mbuf.trim_back(2).is_none());
    assert_eq!((mbuf.data(), mbuf.packet_len()), (&b"b"[..], 1), "nothing was done");

    assert_eq!(pool.copy(lcore, &[7; 2048]).unwrap().data(), [7; 2048]);
    assert!(pool.copy(lcore, &[7; 2049]).is_none());
}

fn pools_that_cannot_be_are_refused(eal: &Eal) {
    let usual = MempoolConfig { mbufs: MBUFS as u32, cache: 16, ..MempoolConfig::default() };
    let rows = [
        ("too_small", MempoolConfig { data_room: 100, ..usual.clone() }, libc::EINVAL),
        ("cache", MempoolConfig { cache: 100, ..usual.clone() }, libc::EINVAL),
        ("memory", MempoolConfig { mbufs: 10_000_000, ..usual.clone() }, libc::ENOMEM),
        ("a_name_that_is_longer_than_dpdk_can_keep", usual.clone(), libc::ENAMETOOLONG),
        ("nul\0", usual, libc::EINVAL),
    ];
    for (name, config, errno) in rows {
        let error = Mempool::new(eal, name, &config).unwrap_err();
        assert_eq!(error.errno(), errno, "{name:?}: {error}");
    }
}
