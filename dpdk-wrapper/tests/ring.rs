//! Rings: order, fullness, ownership, and two lcores.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use arrayvec::ArrayVec;
use dpdk_wrapper::{Eal, Mbuf, Mempool, MempoolConfig, ring};

#[test]
fn rings_hand_values_over_in_order_and_own_what_they_hold() {
    let eal = common::start(&["--lcores", "0@0,1@1"]);
    a_full_ring_gives_the_value_back(&eal);
    bursts_keep_their_order_whatever_the_size_of_a_value(&eal);
    what_is_left_in_a_ring_is_dropped_with_it(&eal);
    two_lcores_hand_mbufs_over(&eal);
    for capacity in [0, 1 << 30, usize::MAX] {
        assert_eq!(ring::<u64>(&eal, capacity, None).unwrap_err().errno(), libc::EINVAL, "{capacity}");
    }
    assert_eq!(ring::<u64>(&eal, (1 << 30) - 1, None).unwrap_err().errno(), libc::ENOMEM);
    eal.shutdown().expect("no ring is left over");
}

fn a_full_ring_gives_the_value_back(eal: &Eal) {
    let (mut producer, mut consumer) = ring::<String>(eal, 3, None).unwrap();
    assert!(producer.is_empty() && consumer.pop().is_none());
    for value in ["a", "b", "c"] {
        producer.push(value.to_owned()).unwrap();
    }
    assert_eq!(producer.push("d".to_owned()), Err("d".to_owned()));
    assert_eq!((producer.len(), consumer.len()), (3, 3));
    assert_eq!(consumer.pop().unwrap(), "a");
    producer.push("e".to_owned()).unwrap();
    assert_eq!(std::iter::from_fn(|| consumer.pop()).collect::<String>(), "bce");
}

/// Values smaller than a word, of odd sizes, with and without alignment, and larger than a cache line: both ways that
/// a burst can go, and across the end of the ring's memory.
fn bursts_keep_their_order_whatever_the_size_of_a_value(eal: &Eal) {
    round_trips(eal, |n| n as u8);
    round_trips(eal, |n| [n as u8; 3]);
    round_trips(eal, |n| n as u32);
    round_trips(eal, |n| n);
    round_trips(eal, |n| [n as u8; 13]);
    round_trips(eal, |n| (n as u32, n as u8));
    round_trips(eal, |n| [n; 2]);
    round_trips(eal, |n| [n; 20]);
    round_trips(eal, |n| n.to_string());
}

fn round_trips<T: Send + PartialEq + std::fmt::Debug>(eal: &Eal, value: impl Fn(u64) -> T) {
    let (mut producer, mut consumer) = ring(eal, 10, None).unwrap();
    let (mut next_in, mut next_out) = (0, 0);
    let mut waiting = ArrayVec::<T, 7>::new();
    for _ in 0..50 {
        while !waiting.is_full() {
            waiting.push(value(next_in));
            next_in += 1;
        }
        let room = 10 - producer.len();
        assert_eq!(producer.push_burst(&mut waiting), room.min(7));
        assert_eq!(waiting.len(), 7 - room.min(7));

        let mut out = ArrayVec::<T, 4>::new();
        assert_eq!(consumer.pop_burst(&mut out), 4);
        assert_eq!(consumer.pop_burst(&mut out), 0, "no room is left");
        for popped in out {
            assert_eq!(popped, value(next_out));
            next_out += 1;
        }
    }
}

fn what_is_left_in_a_ring_is_dropped_with_it(eal: &Eal) {
    let drops = Arc::new(AtomicUsize::new(0));
    for producer_goes_first in [true, false] {
        drops.store(0, Ordering::Relaxed);
        let (mut producer, mut consumer) = ring::<CountsDrops>(eal, 8, None).unwrap();
        for _ in 0..8 {
            producer.push(CountsDrops(Arc::clone(&drops))).ok().unwrap();
        }
        assert!(producer.push(CountsDrops(Arc::clone(&drops))).is_err());
        assert_eq!(drops.load(Ordering::Relaxed), 1, "only the one that was given back");
        drop(consumer.pop());
        assert_eq!(drops.load(Ordering::Relaxed), 2, "and the one that was taken out");

        let ends: [Box<dyn FnOnce()>; 2] = [Box::new(|| drop(producer)), Box::new(|| drop(consumer))];
        let [first, last] = ends;
        let (first, last) = if producer_goes_first { (first, last) } else { (last, first) };
        first();
        assert_eq!(drops.load(Ordering::Relaxed), 2, "one end keeps the others");
        last();
        assert_eq!(drops.load(Ordering::Relaxed), 9, "each once");
    }
}

struct CountsDrops(Arc<AtomicUsize>);

impl Drop for CountsDrops {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The usual use: packets go to the lcore that owns their connection, which frees them.
fn two_lcores_hand_mbufs_over(eal: &Eal) {
    const PACKETS: u64 = 20_000;
    let pool = Mempool::new(eal, "ring", &MempoolConfig { mbufs: 1023, ..MempoolConfig::default() }).unwrap();
    let (producer, consumer) = ring::<Mbuf>(eal, 64, None).unwrap();
    let (mut producer, mut consumer) = (Some(producer), Some(consumer));
    let results = eal.run(|lcore| {
        let producer = if lcore.is_main { producer.take() } else { None };
        let consumer = if lcore.is_main { None } else { consumer.take() };
        let pool = pool.clone();
        move |lcore| {
            let mut sent = 0;
            if let Some(mut producer) = producer {
                let mut burst = ArrayVec::<Mbuf, 16>::new();
                while sent < PACKETS || !burst.is_empty() {
                    while sent < PACKETS && !burst.is_full() {
                        let Some(mbuf) = pool.copy(lcore, &sent.to_be_bytes()) else { break };
                        burst.push(mbuf);
                        sent += 1;
                    }
                    producer.push_burst(&mut burst);
                    std::thread::yield_now();
                }
            }
            let mut received = 0;
            if let Some(mut consumer) = consumer {
                let mut burst = ArrayVec::<Mbuf, 32>::new();
                while received < PACKETS {
                    consumer.pop_burst(&mut burst);
                    for mbuf in burst.drain(..) {
                        assert_eq!(mbuf.data(), received.to_be_bytes());
                        received += 1;
                    }
                    std::thread::yield_now();
                }
            }
            (sent, received)
        }
    });
    let counts: Vec<_> = results.into_iter().map(|(_, result)| result.unwrap()).collect();
    assert_eq!(counts, [(PACKETS, 0), (0, PACKETS)]);
    drop((producer, consumer));
    assert_eq!(pool.in_use(), 0);
}
