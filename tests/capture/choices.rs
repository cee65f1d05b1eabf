//! Which backend a new connection gets, and which source port towards it.

use crate::support::{
    frames::{B2, C1, C4, Host, LEAT, Segment, VIP, syn},
    leat::{PcapRun, pcap_run},
};

const BACKENDS: [&str; 3] =
    ["10.0.0.2,mac=02:00:00:00:00:02", "10.0.0.3,mac=02:00:00:00:00:03", "10.0.0.5,mac=02:00:00:00:00:05"];

/// A service with some backends, by their place in [`BACKENDS`], each with a weight.
fn run(frames: &[Vec<u8>], backends: &[(usize, u16)], more: &[&str]) -> PcapRun {
    let backends: Vec<String> =
        backends.iter().map(|(at, weight)| format!("{},weight={weight}", BACKENDS[*at])).collect();
    let mut own = vec!["--mac", "02:00:00:00:00:fe", "--vip", "10.0.0.10:8080"];
    for backend in &backends {
        own.extend(["--backend", backend]);
    }
    let run = pcap_run(frames, &[&own, more].concat());
    assert_eq!(run.unaccounted(), None);
    assert_eq!(run.wrong_checksums(), [""; 0]);
    run
}

/// The backend of each frame that left for one, by the last byte of its address.
fn chosen(run: &PcapRun) -> Vec<u8> {
    run.answers()
        .iter()
        .filter(|frame| frame[26..30] == VIP && frame[36..38] == [0x1f, 0x90])
        .map(|frame| frame[33])
        .collect()
}

/// The source port of each frame that left.
fn source_ports(run: &PcapRun) -> Vec<u16> {
    run.answers().iter().map(|frame| u16::from_be_bytes([frame[34], frame[35]])).collect()
}

/// SYNs of one client, from the ports 40000 on.
fn syns(count: u16) -> Vec<Vec<u8>> {
    (0..count).map(|n| syn(C1, (40_000 + n, 8080))).collect()
}

fn count(chosen: &[u8], backend: u8) -> usize {
    chosen.iter().filter(|one| **one == backend).count()
}

#[test]
fn rr_hands_out_backends_strictly_in_turn() {
    let run = run(&syns(7), &[(0, 1), (1, 1), (2, 1)], &["--scheduler", "rr"]);
    assert_eq!(chosen(&run), [2, 3, 5, 2, 3, 5, 2]);
}

#[test]
fn wrr_hands_out_backends_by_weight_in_every_round() {
    let run = run(&syns(12), &[(0, 3), (1, 1), (2, 2)], &["--scheduler", "wrr"]);
    for round in chosen(&run).chunks(6) {
        assert_eq!([2, 3, 5].map(|backend| count(round, backend)), [3, 1, 2], "{round:?}");
    }
}

/// Three connections, the second one's backend refuses: it has the fewest open ones, and is chosen again.
#[test]
fn lc_counts_the_connections_that_are_open_now() {
    let mut frames = syns(3);
    let refusal = |backend| Segment::new(Host::new(backend), VIP, (8080, 40_001), "R.").seq(0).ack(1001).frame();
    // Only one of them comes from the connection's own backend; the others are strays.
    frames.extend([2, 3, 5].map(refusal));
    frames.push(syn(C1, (41_000, 8080)));
    let run = run(&frames, &[(0, 1), (1, 1), (2, 1)], &["--scheduler", "lc"]);
    let chosen = chosen(&run);
    assert_eq!([2, 3, 5].map(|backend| count(&chosen[..3], backend)), [1, 1, 1], "{chosen:?}");
    assert_eq!(chosen[3], chosen[1], "{chosen:?}");
}

#[test]
fn wlc_counts_open_connections_by_weight() {
    let run = run(&syns(8), &[(0, 3), (1, 1)], &["--scheduler", "wlc"]);
    let chosen = chosen(&run);
    assert_eq!([2, 3].map(|backend| count(&chosen, backend)), [6, 2], "{chosen:?}");
}

#[test]
fn sh_sends_all_connections_of_a_client_to_one_backend() {
    let clients = [1, 4, 6, 7, 8, 9, 20, 21].map(Host::new);
    let frames: Vec<_> = clients.iter().flat_map(|client| (0..3).map(|n| syn(*client, (40_000 + n, 8080)))).collect();
    let chosen = chosen(&run(&frames, &[(0, 1), (1, 1), (2, 1)], &["--scheduler", "sh"]));
    for (client, backends) in clients.iter().zip(chosen.chunks(3)) {
        assert!(backends.iter().all(|backend| *backend == backends[0]), "{client:?}: {backends:?}");
    }
    let used: std::collections::HashSet<&u8> = chosen.iter().collect();
    assert!(used.len() > 1, "not all clients have one backend: {chosen:?}");
}

#[test]
fn maglev_chooses_alike_in_every_process_and_for_any_order_of_backends() {
    let chosen_with = |backends: &[(usize, u16)]| chosen(&run(&syns(60), backends, &["--scheduler", "maglev"]));
    let first = chosen_with(&[(0, 1), (1, 1), (2, 1)]);
    assert_eq!(first, chosen_with(&[(2, 1), (0, 1), (1, 1)]));
    assert!([2, 3, 5].iter().all(|backend| count(&first, *backend) >= 10), "{first:?}");
}

#[test]
fn no_scheduler_chooses_a_drained_backend() {
    for scheduler in ["maglev", "rr", "wrr", "lc", "wlc", "sh"] {
        let run = run(&syns(20), &[(0, 1), (1, 0), (2, 1)], &["--scheduler", scheduler]);
        let chosen = chosen(&run);
        assert_eq!((chosen.len(), count(&chosen, 3)), (20, 0), "{scheduler}: {chosen:?}");
    }
}

#[test]
fn persistence_keeps_a_clients_backend_over_its_connections() {
    let from = |client, port| syn(client, (port, 8080));
    let frames = [from(C1, 40_000), from(C4, 40_001), from(C1, 40_002), from(C4, 40_003), from(C1, 40_004)];
    let all = [(0, 1), (1, 1), (2, 1)];
    assert_eq!(chosen(&run(&frames, &all, &["--scheduler", "rr"])), [2, 3, 5, 2, 3], "without it");
    let persistent = run(&frames, &all, &["--scheduler", "rr", "--persistence", "300"]);
    assert_eq!(chosen(&persistent), [2, 3, 2, 3, 2]);
}

#[test]
fn a_client_keeps_its_port_where_it_is_free() {
    let ports = source_ports(&run(&syns(20), &[(0, 1)], &[]));
    assert_eq!(ports, (40_000..40_020).collect::<Vec<_>>());
}

#[test]
fn two_clients_with_one_port_get_two() {
    let frames: Vec<_> = (1..=50).map(|n| syn(Host { ip: [192, 0, 2, n], ..C1 }, (40_000, 8080))).collect();
    let mut ports = source_ports(&run(&frames, &[(0, 1)], &[]));
    assert_eq!(ports[0], 40_000);
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 50, "{ports:?}");
    assert!(ports.iter().all(|port| *port >= 1024), "{ports:?}");
}

/// To two backends the same source port says nothing about which connection it is.
#[test]
fn one_port_serves_two_clients_at_two_backends() {
    let frames = [syn(C1, (40_000, 8080)), syn(C4, (40_000, 8080))];
    let run = run(&frames, &[(0, 1), (1, 1)], &["--scheduler", "rr"]);
    assert_eq!((chosen(&run), source_ports(&run)), (vec![2, 3], vec![40_000, 40_000]));
}

/// A port below 1024 belongs to a service of somebody, and the VIP's own service port must reach leat's service.
#[test]
fn a_well_known_port_and_the_services_own_are_never_a_source() {
    let frames: Vec<_> = [1, 22, 80, 1023, 8080].iter().map(|port| syn(C1, (*port, 8080))).collect();
    let ports = source_ports(&run(&frames, &[(0, 1)], &[]));
    assert_eq!(ports.len(), 5, "{ports:?}");
    assert!(ports.iter().all(|port| *port >= 1024 && *port != 8080), "{ports:?}");
}

/// The client's port is free again when its connection has ended in the way of RFC 9293, and a SYN opens a new one.
#[test]
fn a_connection_that_was_closed_is_opened_again_on_the_same_port() {
    let client = |flags| Segment::new(C1, VIP, (40_000, 8080), flags);
    let backend = |flags| Segment::new(B2, VIP, (8080, 40_000), flags);
    let closed = [
        client("S").seq(1000).frame(),
        backend("S.").seq(5000).ack(1001).frame(),
        client(".").seq(1001).ack(5001).frame(),
        client("F.").seq(1001).ack(5001).frame(),
        backend("F.").seq(5001).ack(1002).frame(),
        client(".").seq(1002).ack(5002).frame(),
        client("S").seq(2_000_000).frame(),
    ];
    let run = run(&closed, &[(0, 1)], &[]);
    let sent = run.answers();
    let last = sent.last().expect("all were sent");
    assert_eq!((sent.len(), &last[34..38], &last[6..12]), (7, &[0x9c, 0x40, 0x1f, 0x90][..], &LEAT[..]));
    let backend = &run.status["services"][0]["backends"][0];
    assert_eq!((backend["opened"].as_u64(), backend["open"].as_u64()), (Some(2), Some(1)), "{backend}");
}
