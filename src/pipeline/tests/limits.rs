//! Backends that may have so many connections and no more.

use super::*;

/// Two backends with these limits.
fn limited(more: &str, limits: [u32; 2]) -> String {
    let mut toml = service(0, more);
    for (last, limit) in (2..).zip(limits) {
        toml += &format!(
            "[[service.backend]]\naddress = \"10.0.0.{last}\"\nport = 8080\nmac = \"02:00:00:00:00:{last:02x}\"\n\
             max_connections = {limit}\n"
        );
    }
    toml
}

#[test]
fn a_full_backend_gets_no_more_and_others_take_its_share_until_all_are_full() {
    for scheduler in ["maglev", "rr", "wrr", "lc", "wlc", "sh"] {
        for (workers, mode) in [(1, "fullnat"), (4, "fullnat"), (1, "nat")] {
            let more = format!("mode = \"{mode}\"\nscheduler = \"{scheduler}\"");
            let mut leat = Balancer::new(workers, &limited(&more, [3, 20]));
            let opened = (1..=200).filter(|n| leat.take(0, vec![syn(*n)], 1).len() == 1).count();
            assert_eq!((opened, leat.open()), (23, vec![3, 20]), "{scheduler} {mode} {workers}");
            assert_eq!(leat.dropped(DropReason::BackendsFull), 177);
            // One that is over makes a place for another.
            leat.wait(Duration::from_secs(250));
            assert_eq!(leat.take(0, vec![syn(201)], 1).len(), 1, "{scheduler}");
        }
    }
}

fn syn(client: u8) -> Vec<u8> {
    tcp(CLIENT_MAC, ([10, 0, 1, client], 4000), (VIP, 80), SYN, 100, 0, b"")
}

#[test]
fn persistence_does_not_overfill_a_backend_and_returns_to_it() {
    let mut leat = Balancer::new(1, &limited("persistence = \"1000s\"", [2, 2]));
    let mut open = |port: u16| {
        let frame = tcp(CLIENT_MAC, ([10, 0, 1, 1], port), (VIP, 80), SYN, 100, 0, b"");
        leat.one(frame).map(|frame| seen(&frame).key.dst)
    };
    let first = open(1001).unwrap();
    assert_eq!(open(1002), Some(first));
    let other = open(1003).unwrap();
    assert_ne!(other, first);
    assert_eq!(open(1004), Some(other));
    assert_eq!(open(1005), None);
}

#[test]
fn a_limit_that_a_reload_lowers_hurts_no_connection_that_is_there() {
    let mut leat = Balancer::new(1, &limited("", [10, 10]));
    let there: Vec<_> = (1..=20).filter_map(|n| leat.one(syn(n))).collect();
    assert_eq!(there.len(), 20);
    let config = config::file::load("test.toml", limited("", [1, 1]).as_bytes()).unwrap().config;
    leat.snapshot = leat.publisher.publish(&config, &leat.snapshot, leat.now).unwrap();
    leat.workers[0].adopt(&leat.snapshot);
    assert!(leat.one(syn(21)).is_none());
    for there in there {
        assert!(leat.one(answer(seen(&there), SYN | ACK, 500, 101)).is_some());
    }
}
