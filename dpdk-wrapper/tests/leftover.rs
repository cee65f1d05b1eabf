//! Mbufs that outlive everything else keep their memory.

mod common;

use dpdk_wrapper::{Eal, Mempool, MempoolConfig};

#[test]
fn an_mbuf_that_outlives_eal_stays_readable() {
    let eal = common::start(&["-l", "0"]);
    let pool = pool(&eal);
    let mbuf = pool.copy(eal.main_lcore(), b"still here").unwrap();

    drop(pool);
    let error = eal.shutdown().unwrap_err().to_string();
    assert_eq!(
        error,
        "EAL's memory must stay: 1 mbufs of the pool \"left_0\" are not returned: Device or resource busy"
    );

    assert_eq!(mbuf.data(), b"still here");
    drop(mbuf);
}

fn pool(eal: &Eal) -> Mempool {
    Mempool::new(eal, "left", &MempoolConfig { mbufs: 127, cache: 8, ..MempoolConfig::default() }).unwrap()
}
