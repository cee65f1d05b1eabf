//! Backends, services and clients that may have so many connections and no more.

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

/// How many of these SYNs reach a backend.
fn admitted(leat: &mut Balancer, clients: &[[u8; 4]], ports: std::ops::Range<u16>) -> usize {
    let each = clients.iter().flat_map(|client| ports.clone().map(|port| (*client, port)));
    let each: Vec<_> = each.collect();
    each.into_iter().filter(|(client, port)| leat.open_connection(*client, *port).is_some()).count()
}

/// Has the connection from this port end by the client's RST.
fn reset(leat: &mut Balancer, client: [u8; 4], port: u16) {
    leat.one(tcp(CLIENT_MAC, (client, port), (VIP, 80), RST, 101, 0, b""));
}

const CLIENTS: [[u8; 4]; 3] = [[10, 9, 0, 1], [10, 9, 0, 2], [10, 9, 0, 3]];

#[test]
fn a_service_has_as_many_connections_as_it_may_whatever_backend_has_them() {
    for workers in [1, 3] {
        let mut leat = Balancer::new(workers, &service(2, "max_connections = 10"));
        assert_eq!(admitted(&mut leat, &CLIENTS, 4000..4010), 10);
        assert_eq!(leat.dropped(DropReason::ServiceFull), 20);
        // One leaves, and its place is another's.
        reset(&mut leat, CLIENTS[0], 4000);
        assert_eq!(admitted(&mut leat, &CLIENTS, 5000..5005), 1);
    }
}

#[test]
fn a_service_and_a_backend_open_as_many_a_second_as_they_may() {
    let mut leat = Balancer::new(1, &service(2, "max_rate = 10"));
    for second in 0..3 {
        let ports = 4000 + 100 * second..4010 + 100 * second;
        assert_eq!(admitted(&mut leat, &CLIENTS, ports), 10);
        leat.wait(Duration::from_secs(1));
    }
    assert_eq!(leat.dropped(DropReason::ServiceRate), 60);

    // The first backend's share goes to the other, and then there is none.
    let toml = service(2, "").replacen("port = 8080", "port = 8080\nmax_rate = 5", 1);
    let mut leat = Balancer::new(1, &toml);
    assert_eq!(admitted(&mut leat, &CLIENTS, 4000..4010), 30);
    assert_eq!(leat.open(), [5, 25]);
    leat.wait(Duration::from_secs(1));
    admitted(&mut leat, &CLIENTS, 5000..5010);
    assert_eq!(leat.open(), [10, 50]);
}

#[test]
fn a_client_has_as_many_connections_as_it_may_whatever_lcore_they_arrive_on() {
    for workers in [1, 3] {
        let mut leat = Balancer::new(workers, &service(2, "client_max_connections = 4"));
        assert_eq!(admitted(&mut leat, &CLIENTS, 4000..4010), 12);
        assert_eq!(leat.dropped(DropReason::ClientFull), 18);
        let tried = tcp(CLIENT_MAC, (CLIENTS[0], 6000), (VIP, 80), SYN, 100, 0, b"");
        for worker in 0..usize::from(workers) {
            assert_eq!(leat.take(worker, vec![tried.clone()], 1).len(), 0);
        }
        // Ending by a RST, by silence, and by both FINs each make room.
        reset(&mut leat, CLIENTS[0], 4000);
        assert_eq!(admitted(&mut leat, &CLIENTS[..1], 5000..5010), 1);
        leat.wait(Duration::from_secs(260));
        assert_eq!(admitted(&mut leat, &CLIENTS, 4000..4010), 12);
    }
}

#[test]
fn a_client_opens_as_many_connections_a_second_as_it_may() {
    let mut leat = Balancer::new(1, &service(2, "client_max_rate = 4"));
    for second in 0..3 {
        assert_eq!(admitted(&mut leat, &CLIENTS, 4000 + 100 * second..4010 + 100 * second), 12);
        leat.wait(Duration::from_secs(1));
    }
    assert_eq!(leat.dropped(DropReason::ClientRate), 54);
}

#[test]
fn limits_that_a_reload_brings_count_what_is_open_already_for_services() {
    let mut leat = Balancer::new(1, &service(2, ""));
    assert_eq!(admitted(&mut leat, &CLIENTS, 4000..4010), 30);
    leat.reload(&service(2, "max_connections = 31\nclient_max_connections = 1"));
    assert_eq!(admitted(&mut leat, &CLIENTS, 5000..5010), 1);
    leat.reload(&service(2, "max_connections = 5"));
    assert_eq!((admitted(&mut leat, &CLIENTS, 6000..6010), leat.open().iter().sum::<u64>()), (0, 31));
}
