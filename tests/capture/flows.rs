//! Packets of connections and services: what is balanced, and what is dropped, under which name.

use crate::support::{
    TempDir,
    frames::{B2, B3, C1, C4, Host, Segment, VIP, echo_reply, echo_request, syn, udp, with, with_ip},
    leat::pcap_run,
    verdict::{Row, check, drops},
};

const TCP: &str = "--vip 10.0.0.10:8080 --backend 10.0.0.2,mac=02:00:00:00:00:02";
const UDP: &str = "--vip udp:10.0.0.10:9999 --backend 10.0.0.2:7777,mac=02:00:00:00:00:02";
const ANY: &str = "--vip any:10.0.0.10 --local-address 10.0.0.11 --backend 10.0.0.2,mac=02:00:00:00:00:02";
const LOCAL: [u8; 4] = [10, 0, 0, 11];

const SYN_OUT: &str = "to 02: 10.0.0.10.34952 > 10.0.0.2.8080: Flags [S], seq 1000, win 64240, length 0";
const SYN_ACK_OUT: &str = "to 01: 10.0.0.10.8080 > 10.0.0.1.34952: Flags [S.], seq 5000, ack 1001, win 64240, length 0";
const ACK_OUT: &str = "to 02: 10.0.0.10.34952 > 10.0.0.2.8080: Flags [.], ack 5001, win 64240, length 0";

fn client(flags: &str) -> Segment<'_> {
    Segment::new(C1, VIP, (34952, 8080), flags)
}

fn backend(flags: &str) -> Segment<'_> {
    Segment::new(B2, VIP, (8080, 34952), flags)
}

/// SYN, SYN-ACK, ACK.
fn handshake() -> [Vec<u8>; 3] {
    [client("S").frame(), backend("S.").seq(5000).ack(1001).frame(), client(".").seq(1001).ack(5001).frame()]
}

#[test]
fn a_tcp_service_takes_what_opens_or_continues_a_connection() {
    check(&[
        Row { what: "a SYN opens", own: TCP, frames: vec![syn(C1, (34952, 8080))], out: &[SYN_OUT], drops: &[] },
        Row {
            what: "a SYN that is sent again is the same connection",
            own: TCP,
            frames: vec![client("S").frame(), client("S").frame()],
            out: &[SYN_OUT, SYN_OUT],
            drops: &[],
        },
        Row {
            what: "a SYN, its retransmission and its answer side by side",
            own: TCP,
            frames: [&handshake()[..1], &handshake()[..]].concat(),
            out: &[SYN_OUT, SYN_OUT, SYN_ACK_OUT, ACK_OUT],
            drops: &[],
        },
        Row {
            what: "a backend that refuses is heard",
            own: TCP,
            frames: vec![client("S").frame(), backend("R.").seq(0).ack(1001).frame()],
            out: &[SYN_OUT, "to 01: 10.0.0.10.8080 > 10.0.0.1.34952: Flags [R.], seq 0, ack 1001, win 64240, length 0"],
            drops: &[],
        },
        Row {
            what: "a backend on another port",
            own: "--vip 10.0.0.10:80 --backend 10.0.0.2:8080,mac=02:00:00:00:00:02",
            frames: vec![
                Segment::new(C1, VIP, (34952, 80), "S").frame(),
                Segment::new(B2, VIP, (8080, 34952), "S.").seq(5000).ack(1001).frame(),
            ],
            out: &[
                SYN_OUT,
                "to 01: 10.0.0.10.80 > 10.0.0.1.34952: Flags [S.], seq 5000, ack 1001, win 64240, length 0",
            ],
            drops: &[],
        },
        Row {
            what: "a client's segment without SYN and without a connection",
            own: TCP,
            frames: [".", "P.", "F.", "R", "R.", "S."].map(|flags| client(flags).frame()).into(),
            out: &[],
            drops: &[("no_connection", 6)],
        },
        Row {
            what: "a backend's stray segment",
            own: TCP,
            frames: [".", "P.", "F.", "R", "S."].map(|flags| backend(flags).frame()).into(),
            out: &[],
            drops: &[("stray_reply", 5)],
        },
        Row {
            what: "another backend's answer is a stray, too",
            own: "--vip 10.0.0.10:8080 --backend 10.0.0.2,mac=02:00:00:00:00:02 --backend 10.0.0.3,mac=02:00:00:00:00:03",
            frames: vec![client("S").frame(), Segment::new(B3, VIP, (8080, 34952), "S.").seq(5000).ack(1001).frame()],
            out: &[SYN_OUT],
            drops: &[("stray_reply", 1)],
        },
        Row {
            what: "a backend that is a client of its own service",
            own: TCP,
            frames: vec![
                syn(B2, (40_000, 8080)),
                Segment::new(B2, VIP, (8080, 40_000), "S.").seq(5000).ack(1001).frame(),
            ],
            out: &[
                "to 02: 10.0.0.10.40000 > 10.0.0.2.8080: Flags [S], seq 1000, win 64240, length 0",
                "to 02: 10.0.0.10.8080 > 10.0.0.2.40000: Flags [S.], seq 5000, ack 1001, win 64240, length 0",
            ],
            drops: &[],
        },
        Row {
            what: "a port without a service",
            own: TCP,
            frames: vec![syn(C1, (34952, 8081)), udp(C1, VIP, (34952, 8080), b"x")],
            out: &[],
            drops: &[("no_service", 2)],
        },
        Row {
            what: "an address that is not leat's",
            own: TCP,
            frames: vec![
                Segment::new(C1, [10, 0, 0, 99], (34952, 8080), "S").frame(),
                echo_request(C1, [10, 0, 0, 99], 1),
            ],
            out: &[],
            drops: &[("not_our_address", 2)],
        },
        Row {
            what: "only backends that are drained",
            own: "--vip 10.0.0.10:8080 --backend 10.0.0.2,weight=0,mac=02:00:00:00:00:02",
            frames: vec![client("S").frame()],
            out: &[],
            drops: &[("no_backend", 1)],
        },
        Row {
            what: "port 0",
            own: TCP,
            frames: vec![syn(C1, (0, 8080)), syn(C1, (34952, 0))],
            out: &[],
            drops: &[("port_zero", 2)],
        },
        Row {
            what: "flags that no TCP sends",
            own: TCP,
            frames: vec![client("SF").frame(), client("SR").frame(), client("").frame(), client("FR").frame()],
            out: &[],
            drops: &[("tcp_flags", 4)],
        },
    ]);
}

/// The client's Ethernet address is where the last packet came from that can be the client's.
#[test]
fn replies_follow_a_client_whose_router_changes_and_no_stranger() {
    let moved = C1.as_mac([2, 0, 0, 0, 0, 0x77]);
    let ack = |from, seq| Segment::new(from, VIP, (34952, 8080), ".").seq(seq).ack(5001).frame();
    let answer = backend(".").seq(5001).ack(1001).frame();
    let answer_to =
        |last| format!("to {last}: 10.0.0.10.8080 > 10.0.0.1.34952: Flags [.], ack 1001, win 64240, length 0");
    let stranger = "to 02: 10.0.0.10.34952 > 10.0.0.2.8080: Flags [.], ack 5001, win 64240, length 0";
    let mut frames = handshake().to_vec();
    frames.extend([ack(moved, 1001), answer.clone()]);
    let through_router = [SYN_OUT, SYN_ACK_OUT, ACK_OUT, ACK_OUT, &answer_to("77")];
    let mut with_stranger = handshake().to_vec();
    with_stranger.extend([ack(moved, 900_000_000), answer]);
    let past_stranger = [SYN_OUT, SYN_ACK_OUT, ACK_OUT, stranger, &answer_to("01")];
    check(&[
        Row { what: "a router takes over", own: TCP, frames, out: &through_router, drops: &[] },
        Row { what: "a stranger's segment", own: TCP, frames: with_stranger, out: &past_stranger, drops: &[] },
    ]);
}

#[test]
fn a_udp_service_translates_both_directions() {
    let request = udp(C1, VIP, (34952, 9999), b"hello");
    let answer = udp(B2, VIP, (7777, 34952), b"hello yourself");
    let out = [
        "to 02: 10.0.0.10.34952 > 10.0.0.2.7777: UDP, length 5",
        "to 01: 10.0.0.10.9999 > 10.0.0.1.34952: UDP, length 14",
    ];
    let stray = udp(B2, VIP, (7777, 34953), b"hello");
    check(&[
        Row {
            what: "a question and its answer",
            own: UDP,
            frames: vec![request.clone(), answer],
            out: &out,
            drops: &[],
        },
        Row {
            what: "an answer to nobody",
            own: UDP,
            frames: vec![request, stray],
            out: &out[..1],
            drops: &[("stray_reply", 1)],
        },
        Row {
            what: "TCP to a UDP service",
            own: UDP,
            frames: vec![syn(C1, (34952, 9999))],
            out: &[],
            drops: &[("no_service", 1)],
        },
    ]);
}

/// 0 says that the sender made none (RFC 768); one that comes out as 0 is written as ffff.
#[test]
fn a_udp_checksum_of_0_stays_0_and_none_becomes_0() {
    let unsummed = |frame: Vec<u8>| with(frame, 40, &[0, 0]);
    let request = unsummed(udp(C1, VIP, (34952, 9999), b"hello"));
    let answer = unsummed(udp(B2, VIP, (7777, 34952), b"hello yourself"));
    // Such a payload that the datagram's sum, as the backend gets it, is all ones.
    let as_it_leaves = |payload: u16| {
        let leat = Host { ip: VIP, ..B2 };
        udp(leat, B2.ip, (34953, 7777), &payload.to_be_bytes())
    };
    let payload = (0..=u16::MAX).find(|payload| as_it_leaves(*payload)[40..42] == [0xff, 0xff]).expect("there is one");
    let critical = udp(C1, VIP, (34953, 9999), &payload.to_be_bytes());

    let own: Vec<&str> = ["--mac", "02:00:00:00:00:fe"].into_iter().chain(UDP.split(' ')).collect();
    let run = pcap_run(&[request, answer, critical], &own);
    let sums: Vec<&[u8]> = run.answers().iter().map(|frame| &frame[40..42]).collect();
    assert_eq!(sums, [[0, 0], [0, 0], [0xff, 0xff]]);
    assert_eq!(run.wrong_checksums(), [""; 0]);
}

#[test]
fn an_any_service_takes_every_port_and_echo() {
    let tcp = |ports, flags| Segment::new(C1, VIP, ports, flags);
    check(&[
        Row {
            what: "TCP on several ports, the destination port kept",
            own: ANY,
            frames: vec![
                tcp((34952, 80), "S").frame(),
                tcp((34953, 443), "S").frame(),
                Segment::new(B2, LOCAL, (80, 34952), "S.").seq(5000).ack(1001).frame(),
            ],
            out: &[
                "to 02: 10.0.0.11.34952 > 10.0.0.2.80: Flags [S], seq 1000, win 64240, length 0",
                "to 02: 10.0.0.11.34953 > 10.0.0.2.443: Flags [S], seq 1000, win 64240, length 0",
                "to 01: 10.0.0.10.80 > 10.0.0.1.34952: Flags [S.], seq 5000, ack 1001, win 64240, length 0",
            ],
            drops: &[],
        },
        Row {
            what: "UDP",
            own: ANY,
            frames: vec![udp(C1, VIP, (34952, 9999), b"hello"), udp(B2, LOCAL, (9999, 34952), b"hello yourself")],
            out: &[
                "to 02: 10.0.0.11.34952 > 10.0.0.2.9999: UDP, length 5",
                "to 01: 10.0.0.10.9999 > 10.0.0.1.34952: UDP, length 14",
            ],
            drops: &[],
        },
        Row {
            what: "echo, the identifier kept",
            own: ANY,
            frames: vec![echo_request(C1, VIP, 5000), echo_reply(B2, LOCAL, 5000)],
            out: &[
                "to 02: 10.0.0.11 > 10.0.0.2: ICMP echo request, id 5000, seq 1, length 22",
                "to 01: 10.0.0.10 > 10.0.0.1: ICMP echo reply, id 5000, seq 1, length 22",
            ],
            drops: &[],
        },
        Row {
            what: "an echo reply to nobody, from a backend and from a client",
            own: ANY,
            frames: vec![echo_reply(B2, LOCAL, 5000), echo_reply(C1, VIP, 5000)],
            out: &[],
            drops: &[("no_service", 1), ("stray_reply", 1)],
        },
        Row {
            what: "another protocol",
            own: ANY,
            frames: vec![with_ip(udp(C1, VIP, (1, 2), b"GRE, says its header"), 23, &[47])],
            out: &[],
            drops: &[("protocol", 1)],
        },
    ]);
}

/// The identifier is to an echo what the source port is to a datagram: two clients with one cannot share it.
#[test]
fn two_clients_that_ping_with_one_identifier_get_two() {
    let own: Vec<&str> = ["--mac", "02:00:00:00:00:fe"].into_iter().chain(ANY.split(' ')).collect();
    let run = pcap_run(&[echo_request(C1, VIP, 5000), echo_request(C4, VIP, 5000), echo_reply(B2, LOCAL, 5000)], &own);
    let id = |frame: &[u8]| u16::from_be_bytes([frame[38], frame[39]]);
    let sent = run.answers();
    let [first, second, answer] = sent[..] else { panic!("{:?}", run.lines()) };
    assert_eq!((id(first), id(answer)), (5000, 5000));
    assert!(id(second) != 5000 && id(second) >= 1024, "{}", id(second));
    assert_eq!((&answer[30..34], &answer[..6]), (&C1.ip[..], &C1.mac[..]), "the first client's answer is its own");
    assert_eq!(run.wrong_checksums(), [""; 0]);
}

#[test]
fn an_exact_service_wins_over_any() {
    let directory = TempDir::new("exact");
    let file = directory.join("leat.toml");
    let configuration = r#"
        mac = "02:00:00:00:00:fe"
        [[service]]
        vip = "10.0.0.10"
        protocol = "any"
        local_addresses = ["10.0.0.11"]
        [[service.backend]]
        address = "10.0.0.2"
        mac = "02:00:00:00:00:02"
        [[service]]
        vip = "10.0.0.10"
        port = 8080
        local_addresses = ["10.0.0.11"]
        [[service.backend]]
        address = "10.0.0.3"
        mac = "02:00:00:00:00:03"
    "#;
    std::fs::write(&file, configuration).expect("a temporary directory can be written");
    let frames = [syn(C1, (34952, 8080)), syn(C1, (34952, 8081)), udp(C1, VIP, (34952, 8080), b"x")];
    let run = pcap_run(&frames, &["-c", file.to_str().expect("a path of letters")]);
    assert_eq!(
        run.lines(),
        [
            "to 03: 10.0.0.11.34952 > 10.0.0.3.8080: Flags [S], seq 1000, win 64240, length 0",
            "to 02: 10.0.0.11.34952 > 10.0.0.2.8081: Flags [S], seq 1000, win 64240, length 0",
            "to 02: 10.0.0.11.34952 > 10.0.0.2.8080: UDP, length 1",
        ]
    );
}

#[test]
fn a_full_table_hurts_new_connections_only() {
    let own = ["--mac", "02:00:00:00:00:fe", "--connections", "8"];
    let own: Vec<&str> = own.into_iter().chain(TCP.split(' ')).collect();
    let mut frames = handshake().to_vec();
    frames.extend((0..20).map(|n| syn(C4, (40000 + n, 8080))));
    frames.push(client("P.").seq(1001).ack(5001).payload(b"still here").frame());
    frames.push(backend(".").seq(5001).ack(1011).frame());
    let run = pcap_run(&frames, &own);
    assert_eq!(drops(&run.status), [].into(), "half-open ones make room for others");
    assert_eq!(run.status["workers"][0]["half_open_evicted"], 13);
    let lines = run.lines();
    assert_eq!(
        lines[lines.len() - 2..],
        [
            "to 02: 10.0.0.10.34952 > 10.0.0.2.8080: Flags [P.], seq 1001:1011, ack 5001, win 64240, length 10: HTTP",
            "to 01: 10.0.0.10.8080 > 10.0.0.1.34952: Flags [.], ack 1011, win 64240, length 0",
        ]
    );
    assert_eq!(run.unaccounted(), None);
}

#[test]
fn half_open_connections_give_up_their_source_ports_and_others_do_not() {
    let own = ["--mac", "02:00:00:00:00:fe"];
    let own: Vec<&str> = own.into_iter().chain(TCP.split(' ')).collect();
    let mut frames = handshake().to_vec();
    // With the connection of the handshake there are ten more than ports: 1024 to 65535, without the service's own.
    frames.extend((0..64_520u32).map(|n| {
        let [_, _, high, low] = n.to_be_bytes();
        syn(Host { ip: [10, 1, high, low], ..C4 }, (40_000, 8080))
    }));
    frames.push(client("P.").seq(1001).ack(5001).payload(b"still here").frame());
    let run = pcap_run(&frames, &own);
    assert_eq!(drops(&run.status), [].into());
    assert_eq!(run.status["workers"][0]["half_open_evicted"], 10);
    let last = run.lines().pop().expect("a line for each frame");
    assert!(last.ends_with("seq 1001:1011, ack 5001, win 64240, length 10: HTTP"), "{last}");
}

#[test]
fn source_ports_that_are_gone_are_said() {
    let own = ["--mac", "02:00:00:00:00:fe"];
    let own: Vec<&str> = own.into_iter().chain(UDP.split(' ')).collect();
    // Each client keeps its own port, and is answered: all there are but the service's own.
    let mut frames = Vec::new();
    for port in (1024..=u16::MAX).filter(|port| *port != 9999) {
        frames.push(udp(C1, VIP, (port, 9999), b"x"));
        frames.push(udp(B2, VIP, (7777, port), b"y"));
    }
    frames.extend((0..10).map(|n| udp(C4, VIP, (40_000 + n, 9999), b"x")));
    let run = pcap_run(&frames, &own);
    assert_eq!(drops(&run.status), [("ports_exhausted".to_owned(), 10)].into());
    assert!(run.finished.stderr.contains("(ports_exhausted)"), "{}", run.finished.stderr);
}
