//! Ports without hardware: DPDK's ring driver, which loops each TX queue back to the RX queue of the same number, and
//! its null driver, which has settings for receive-side scaling.

mod common;

use arrayvec::ArrayVec;
use dpdk_wrapper::{
    Eal, Lcore, Mbuf, Mempool, MempoolConfig, Port, PortConfig, PortId, Queues, RssConfig, RxQueue, TxQueue,
};

#[test]
fn ports_give_out_queues_that_belong_to_one_holder() {
    let eal = common::start(&["--lcores", "0@0,1@1", "--vdev=net_ring0", "--vdev=net_null0"]);
    let pool = Mempool::new(&eal, "ports", &MempoolConfig { mbufs: 8191, ..MempoolConfig::default() }).unwrap();

    ports_are_found_and_taken_once(&eal);
    let mut ring = eal.port_named("net_ring0").unwrap();
    let mut null = eal.port(PortId(1)).unwrap();
    a_port_tells_what_it_is(&ring, &null);
    wrong_configurations_leave_the_port_as_it_was(&mut ring, &pool);

    queues_are_separate_and_counted(&eal, &mut ring, &pool);
    what_a_full_queue_does_not_take_stays_in_order(&eal, &mut ring, &pool);
    each_lcore_polls_a_queue_of_its_own(&eal, &mut ring, &pool);
    hash_and_redirection_are_set_and_read_back(&mut null, &pool);
    a_port_without_rss_says_so(&mut ring, &pool);
    a_queue_outlives_its_port(&eal, ring, &pool);

    null.stop().unwrap();
    drop((null, pool));
    eal.shutdown().expect("all mbufs are back, and all ports closed");
}

fn ports_are_found_and_taken_once(eal: &Eal) {
    assert_eq!(eal.ports(), [PortId(0), PortId(1)]);
    assert_eq!(eal.port_named("net_tap9").unwrap_err().errno(), libc::ENODEV);
    assert!(eal.has_port("net_ring0") && !eal.has_port("net_tap9"));
    assert_eq!(eal.port_named("nul\0").unwrap_err().errno(), libc::EINVAL);
    let missing = eal.port(PortId(7)).unwrap_err();
    assert_eq!(missing.to_string(), "there is no port 7: No such device");
}

fn a_port_tells_what_it_is(ring: &Port, null: &Port) {
    let (ring, null) = (ring.info().unwrap(), null.info().unwrap());
    assert_eq!((ring.name.as_str(), ring.driver.as_str()), ("net_ring0", "net_ring"));
    assert_eq!((null.name.as_str(), null.driver.as_str()), ("net_null0", "net_null"));
    assert!(ring.max_rx_queues >= 2 && ring.max_tx_queues >= 2);
    assert!(ring.hash_functions.is_empty());
    assert!(!null.hash_functions.is_empty() && null.table_len > 0);
}

fn wrong_configurations_leave_the_port_as_it_was(port: &mut Port, pool: &Mempool) {
    let pools = [pool];
    let rows = [
        PortConfig { rx_queues: 0, ..PortConfig::default() },
        PortConfig { tx_queues: 0, ..PortConfig::default() },
        PortConfig { rx_queues: 500, ..PortConfig::default() },
        PortConfig { mtu: Some(10), ..PortConfig::default() },
    ];
    for config in rows {
        assert!(port.start(&config, &pools).is_err(), "{config:?}");
    }
    assert!(port.start(&PortConfig::default(), &[]).is_err(), "no pool to receive into");
    port.stop().expect("it never started");
}

fn queues_are_separate_and_counted(eal: &Eal, port: &mut Port, pool: &Mempool) {
    let lcore = eal.main_lcore();
    let mut queues = start(port, 2, pool);
    assert_eq!(queues.rx.iter().map(RxQueue::index).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(queues.tx.iter().map(TxQueue::index).collect::<Vec<_>>(), [0, 1]);
    assert!(queues.rx.iter().all(|queue| queue.port() == port.id()));
    assert!(queues.tx.iter().all(|queue| queue.port() == port.id()));

    for (tx, packets) in queues.tx.iter_mut().zip([10, 5]) {
        let mut burst: ArrayVec<Mbuf, 32> = numbered(lcore, pool, 0..packets);
        assert_eq!(tx.tx_burst(lcore, &mut burst), packets as usize);
        assert!(burst.is_empty());
    }
    for (rx, packets) in queues.rx.iter_mut().zip([10, 5]) {
        let mut burst = ArrayVec::<Mbuf, 32>::new();
        assert_eq!(rx.rx_burst(lcore, &mut burst), packets as usize);
        assert_eq!(numbers(&burst), (0..packets).collect::<Vec<_>>());
        assert_eq!(rx.rx_burst(lcore, &mut burst), 0);
        assert_eq!(burst.len(), packets as usize, "nothing was lost of what was there");
    }
    assert_eq!(pool.in_use(), 0);

    let stats = port.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets, stats.tx_errors), (15, 15, 0));
    let by_queue: Vec<_> =
        port.queue_stats().unwrap().iter().map(|queue| (queue.rx_packets, queue.tx_packets)).collect();
    assert_eq!(by_queue[..2], [(Some(10), Some(10)), (Some(5), Some(5))]);
    assert_eq!(port.extended_stats().unwrap()["rx_good_packets"], 15);
    assert!(port.link().unwrap().is_up);

    assert_eq!(port.stop().unwrap_err().errno(), libc::EBUSY, "queues exist");
    assert_eq!(port.start(&PortConfig::default(), &[pool]).unwrap_err().errno(), libc::EBUSY);
    assert!(eal.port(port.id()).is_err(), "it is taken");
    drop(queues);
    assert!(port.start(&PortConfig::default(), &[pool]).is_err(), "it is started without queues, too");
    port.stop().unwrap();
    port.stop().expect("stopping twice does nothing");
}

fn what_a_full_queue_does_not_take_stays_in_order(eal: &Eal, port: &mut Port, pool: &Mempool) {
    let lcore = eal.main_lcore();
    let Queues { mut rx, mut tx } = start(port, 1, pool);
    let mut sent = 0;
    let left: ArrayVec<Mbuf, 100> = loop {
        let mut burst = numbered(lcore, pool, sent..sent + 100);
        sent += tx[0].tx_burst(lcore, &mut burst) as u32;
        if !burst.is_empty() {
            break burst;
        }
    };
    assert!(left.len() < 100, "the queue takes a part of a burst");
    assert_eq!(numbers(&left), (sent..sent + left.len() as u32).collect::<Vec<_>>());
    assert_eq!(pool.in_use(), sent as usize + left.len(), "each has one owner");

    // A burst that is partly filled keeps what it has.
    let mut received: ArrayVec<Mbuf, 100> = numbered(lcore, pool, 7777..7800);
    assert_eq!(rx[0].rx_burst(lcore, &mut received), 77);
    assert_eq!(numbers(&received), (7777..7800).chain(0..77).collect::<Vec<_>>());
    let mut count = 77;
    loop {
        received.clear();
        match rx[0].rx_burst(lcore, &mut received) {
            0 => break,
            more => count += more,
        }
    }
    assert_eq!(count, sent as usize);
    drop(left);
    assert_eq!(pool.in_use(), 0);
    drop((rx, tx));
    port.stop().unwrap();
}

fn each_lcore_polls_a_queue_of_its_own(eal: &Eal, port: &mut Port, pool: &Mempool) {
    const PACKETS: u32 = 3000;
    let mut queues: Vec<_> = {
        let Queues { rx, tx } = start(port, 2, pool);
        rx.into_iter().zip(tx).collect()
    };
    let results = eal.run(|_| {
        let (mut rx, mut tx) = queues.pop().unwrap();
        let pool = pool.clone();
        move |lcore| {
            let (mut sent, mut received) = (0, Vec::new());
            while received.len() < PACKETS as usize {
                let mut burst: ArrayVec<Mbuf, 32> = numbered(lcore, &pool, sent..PACKETS.min(sent + 32));
                sent += tx.tx_burst(lcore, &mut burst) as u32;
                burst.clear();
                rx.rx_burst(lcore, &mut burst);
                received.extend(numbers(&burst));
            }
            received
        }
    });
    for (_, received) in results {
        assert_eq!(received.unwrap(), (0..PACKETS).collect::<Vec<_>>());
    }
    assert_eq!(pool.in_use(), 0);
    port.stop().expect("the queues went with their closures");
}

fn hash_and_redirection_are_set_and_read_back(port: &mut Port, pool: &Mempool) {
    let info = port.info().unwrap();
    let key: Vec<u8> = (1..=40).collect();
    let with_key = |key: &[u8]| RssConfig { key: Some(key.to_owned()), ..RssConfig::default() };
    let config = |key: &[u8]| PortConfig { rx_queues: 2, tx_queues: 2, rss: with_key(key), ..PortConfig::default() };
    let short = port.start(&config(&key[1..]), &[pool]).unwrap_err().to_string();
    assert_eq!(short, "port 1 takes a hash key of 40 bytes, and this one has 39: Invalid argument");

    let queues = port.start(&config(&key), &[pool]).unwrap();
    port.set_hash(&with_key(&key)).unwrap();
    assert!(port.set_hash(&with_key(&key[1..])).is_err());
    let rss = port.rss().unwrap();
    assert_eq!(rss.key, Some(key));
    assert_eq!(rss.functions, Some(RssConfig::default().functions & info.hash_functions));
    assert!(!rss.functions.unwrap().is_empty());
    assert_eq!(rss.table.unwrap().len(), info.table_len);

    let table: Vec<u16> = [0, 1, 1].into_iter().cycle().take(info.table_len).collect();
    port.set_redirection_table(&table).unwrap();
    assert_eq!(port.rss().unwrap().table, Some(table.clone()));
    let wrong = port.set_redirection_table(&table[1..]).unwrap_err().to_string();
    assert_eq!(wrong, "port 1 has a redirection table of 128 entries, not 127: Invalid argument");
    drop(queues);
}

fn a_port_without_rss_says_so(port: &mut Port, pool: &Mempool) {
    let queues = start(port, 2, pool);
    let rss = port.rss().unwrap();
    assert_eq!((rss.functions, rss.key, rss.table), (None, None, None));
    assert!(port.set_redirection_table(&[0; 128]).unwrap_err().is_unsupported());
    drop(queues);
    port.stop().unwrap();
}

fn a_queue_outlives_its_port(eal: &Eal, mut port: Port, pool: &Mempool) {
    let lcore = eal.main_lcore();
    let mut queues = start(&mut port, 1, pool);
    drop(port);
    let mut burst: ArrayVec<Mbuf, 8> = numbered(lcore, pool, 0..8);
    assert_eq!(queues.tx[0].tx_burst(lcore, &mut burst), 8);
    assert_eq!(queues.rx[0].rx_burst(lcore, &mut burst), 8);
    assert_eq!(numbers(&burst), (0..8).collect::<Vec<_>>());
    assert_eq!(eal.ports().len(), 2, "it is still there");
    drop(queues);
    assert_eq!(eal.ports().len(), 1, "it was closed with its last queue");
}

fn start(port: &mut Port, queues: u16, pool: &Mempool) -> Queues {
    let config = PortConfig { rx_queues: queues, tx_queues: queues, ..PortConfig::default() };
    port.start(&config, &[pool]).unwrap()
}

/// Packets that hold one number each.
fn numbered<const N: usize>(lcore: Lcore, pool: &Mempool, numbers: std::ops::Range<u32>) -> ArrayVec<Mbuf, N> {
    numbers.map(|number| pool.copy(lcore, &number.to_be_bytes()).unwrap()).collect()
}

fn numbers(burst: &[Mbuf]) -> Vec<u32> {
    burst.iter().map(|mbuf| u32::from_be_bytes(mbuf.data().try_into().unwrap())).collect()
}
