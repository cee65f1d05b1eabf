//! What leat says itself: its answers to ARP and to pings, its questions and announcements, and what becomes of packets
//! that wait for a backend's Ethernet address.

use crate::support::{
    capture::render,
    frames::{
        B2, B3, BROADCAST, C1, Host, LEAT, Segment, VIP, arp_reply, arp_request, echo_request, syn, udp, with, with_ip,
    },
    leat::{pcap_run, pcap_run_until},
    verdict::{Row, check, drops},
};

const FIXED: &str = "--vip 10.0.0.10:8080 --backend 10.0.0.2,mac=02:00:00:00:00:02 \
    --local-address 10.0.0.11 --address 10.0.0.254/24";
const RESOLVED: &str = "--vip 10.0.0.10:8080 --backend 10.0.0.2";
const OWN: [u8; 4] = [10, 0, 0, 254];
const NOBODY: Host = C1.as_ip([0, 0, 0, 0]);

#[test]
fn arp_is_answered_for_every_address_of_leats_and_no_other() {
    check(&[
        Row {
            what: "VIP, local address, own address",
            own: FIXED,
            frames: [VIP, [10, 0, 0, 11], OWN].map(|target| arp_request(C1, target)).into(),
            out: &[
                "to 01: Reply 10.0.0.10 is-at 02:00:00:00:00:fe, length 46",
                "to 01: Reply 10.0.0.11 is-at 02:00:00:00:00:fe, length 46",
                "to 01: Reply 10.0.0.254 is-at 02:00:00:00:00:fe, length 46",
            ],
            drops: &[],
        },
        Row {
            what: "a question to leat alone, as hosts refresh what they know",
            own: FIXED,
            frames: vec![with(arp_request(C1, VIP), 0, &LEAT)],
            out: &["to 01: Reply 10.0.0.10 is-at 02:00:00:00:00:fe, length 46"],
            drops: &[],
        },
        Row {
            what: "a probe from nobody's address (RFC 5227)",
            own: FIXED,
            frames: vec![arp_request(NOBODY, VIP)],
            out: &["to 01: Reply 10.0.0.10 is-at 02:00:00:00:00:fe, length 46"],
            drops: &[],
        },
        Row {
            what: "somebody else's address",
            own: FIXED,
            frames: vec![arp_request(C1, B2.ip), arp_request(C1, [10, 0, 0, 99])],
            out: &[],
            drops: &[("arp_not_for_us", 2)],
        },
        Row {
            what: "a question to another station's Ethernet address",
            own: FIXED,
            frames: vec![with(arp_request(C1, VIP), 0, &[2, 0, 0, 0, 0, 9])],
            out: &[],
            drops: &[("not_for_us", 1)],
        },
        Row {
            what: "another station that claims the VIP",
            own: FIXED,
            frames: vec![
                arp_request(C1.as_ip(VIP), VIP),
                arp_reply(C1.as_ip(VIP), OWN),
                arp_request(C1.as_ip(OWN), VIP),
            ],
            out: &[],
            drops: &[("arp_conflict", 3)],
        },
        Row {
            what: "announcements of others, and leat's own that come back",
            own: FIXED,
            frames: vec![arp_request(C1, C1.ip), arp_reply(C1, C1.ip), arp_request(Host { mac: LEAT, ip: VIP }, VIP)],
            out: &[],
            drops: &[("arp_consumed", 3)],
        },
        Row {
            what: "ARP that is none: short, of another protocol, with long addresses, a third operation",
            own: FIXED,
            frames: vec![
                arp_request(C1, VIP)[..41].to_vec(),
                with(arp_request(C1, VIP), 16, &[0x86, 0xdd]),
                with(arp_request(C1, VIP), 18, &[8]),
                with(arp_request(C1, VIP), 20, &[0, 3]),
            ],
            out: &[],
            drops: &[("arp_malformed", 4)],
        },
        Row {
            what: "a sender with a group address",
            own: FIXED,
            frames: vec![arp_request(C1.as_mac(BROADCAST), VIP)],
            out: &[],
            drops: &[("ethernet_source", 1)],
        },
    ]);
}

/// Of net_pcap's port 0 that is a made-up one, in which the driver writes its name.
#[test]
fn without_a_mac_leat_has_the_ports_own() {
    let own: Vec<&str> = FIXED.split_whitespace().collect();
    let run = pcap_run(&[arp_request(C1, VIP), echo_request(C1, VIP, 7)], &own);
    assert_eq!(run.status["ports"][0]["mac"], "02:70:63:61:70:00");
    let replies = render(&run.output, &["-e", "-t", "arp[6:2] = 2"]);
    let reply = "02:70:63:61:70:00 > 02:00:00:00:00:01, ethertype ARP (0x0806), length 60: \
        Reply 10.0.0.10 is-at 02:70:63:61:70:00, length 46";
    assert_eq!(replies, [reply]);
    // The ping went to the address that other tests configure.
    assert_eq!(drops(&run.status), [("not_for_us".to_owned(), 1)].into());
}

#[test]
fn a_ping_is_answered_at_every_address_of_leats() {
    let damaged = {
        let mut frame = echo_request(C1, VIP, 77);
        *frame.last_mut().expect("a frame has bytes") ^= 1;
        frame
    };
    let ttl_1 = with_ip(echo_request(C1, VIP, 78), 22, &[1]);
    check(&[
        Row {
            what: "VIP, local address, own address",
            own: FIXED,
            frames: [VIP, [10, 0, 0, 11], OWN].map(|to| echo_request(C1, to, 77)).into(),
            out: &[
                "to 01: 10.0.0.10 > 10.0.0.1: ICMP echo reply, id 77, seq 1, length 22",
                "to 01: 10.0.0.11 > 10.0.0.1: ICMP echo reply, id 77, seq 1, length 22",
                "to 01: 10.0.0.254 > 10.0.0.1: ICMP echo reply, id 77, seq 1, length 22",
            ],
            drops: &[],
        },
        Row {
            what: "the last hop is no hop too many",
            own: FIXED,
            frames: vec![ttl_1],
            out: &["to 01: 10.0.0.10 > 10.0.0.1: ICMP echo reply, id 78, seq 1, length 22"],
            drops: &[],
        },
        Row {
            what: "padding is no part of the message",
            own: FIXED,
            frames: vec![[echo_request(C1, VIP, 79), vec![0xaa; 8]].concat()],
            out: &["to 01: 10.0.0.10 > 10.0.0.1: ICMP echo reply, id 79, seq 1, length 22"],
            drops: &[],
        },
        Row { what: "a wrong checksum", own: FIXED, frames: vec![damaged], out: &[], drops: &[("icmp_checksum", 1)] },
        Row {
            what: "other ICMP: a damaged port unreachable, timestamp, an echo with a code",
            own: FIXED,
            frames: [[3, 3], [13, 0], [8, 1]].map(|kind| with(echo_request(C1, VIP, 77), 34, &kind)).into(),
            out: &[],
            drops: &[("icmp_checksum", 1), ("icmp_type", 2)],
        },
    ]);
}

/// One announcement of each address and one question about each backend, to everybody, at once; what comes again comes
/// a second later or more.
#[test]
fn at_start_every_address_is_announced_and_every_backend_asked_for() {
    let own = format!(
        "--mac 02:00:00:00:00:fe {RESOLVED} --backend 10.0.0.3 --local-address 10.0.0.11 --address 10.0.0.254/24"
    );
    let own: Vec<&str> = own.split_whitespace().collect();
    let run = pcap_run_until(&["-l", "0"], &[], &own, |status| {
        status["ports"][0]["transmitted"].as_u64().is_some_and(|transmitted| transmitted >= 5)
    });
    let lines = render(&run.output, &["-e", "-t"]);
    let head = "02:00:00:00:00:fe > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: Request who-has";
    // In the name of the own address in whose prefix the backend lies.
    let said = [
        "10.0.0.10 tell 10.0.0.10",
        "10.0.0.11 tell 10.0.0.11",
        "10.0.0.254 tell 10.0.0.254",
        "10.0.0.2 tell 10.0.0.254",
        "10.0.0.3 tell 10.0.0.254",
    ];
    assert_eq!(lines[..5], said.map(|said| format!("{head} {said}, length 28")));
}

/// SYN, another client's SYN, its retransmission, the backend's ARP reply, and one more SYN of the first flow: what
/// waited does not leave after what came later.
#[test]
fn packets_wait_for_their_backend_and_leave_in_the_order_in_which_they_came() {
    let other = Host::new(4);
    let data = |port: u16, text: &'static [u8]| udp(C1, VIP, (port, 9999), text);
    let flags =
        |port: u16| format!("to 02: 10.0.0.10.{port} > 10.0.0.2.8080: Flags [S], seq 1000, win 64240, length 0");
    let (first, second) = (flags(34952), flags(40000));
    check(&[
        Row {
            what: "SYNs of two clients",
            own: RESOLVED,
            frames: vec![syn(C1, (34952, 8080)), syn(other, (40000, 8080)), arp_reply(B2, VIP), syn(C1, (34952, 8080))],
            out: &[&first, &second, &first],
            drops: &[("arp_consumed", 1)],
        },
        Row {
            what: "datagrams of one flow",
            own: "--vip udp:10.0.0.10:9999 --backend 10.0.0.2",
            frames: vec![
                data(34952, b"1"),
                data(34952, b"22"),
                arp_request(B2, [10, 0, 0, 99]),
                data(34952, b"333"),
                data(34952, b"4444"),
            ],
            out: &[
                "to 02: 10.0.0.10.34952 > 10.0.0.2.9999: UDP, length 1",
                "to 02: 10.0.0.10.34952 > 10.0.0.2.9999: UDP, length 2",
                "to 02: 10.0.0.10.34952 > 10.0.0.2.9999: UDP, length 3",
                "to 02: 10.0.0.10.34952 > 10.0.0.2.9999: UDP, length 4",
            ],
            drops: &[("arp_not_for_us", 1)],
        },
        Row {
            what: "more than may wait, some for a backend that is silent for now",
            own: "--vip udp:10.0.0.10:9999 --backend 10.0.0.2",
            frames: (0..10).map(|n| data(30000 + n, b"x")).chain([arp_reply(B2, VIP)]).collect(),
            out: &(30000..30008)
                .map(|port| format!("to 02: 10.0.0.10.{port} > 10.0.0.2.9999: UDP, length 1"))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
            drops: &[("arp_consumed", 1), ("neighbor_queue_full", 2)],
        },
    ]);
}

#[test]
fn a_packet_for_a_backend_that_stays_silent_is_dropped_and_counted() {
    let own: Vec<&str> = ["--mac", "02:00:00:00:00:fe"].into_iter().chain(RESOLVED.split(' ')).collect();
    let frames = [syn(C1, (34952, 8080)), syn(C1, (34953, 8080))];
    let run = pcap_run(&frames, &own);
    assert_eq!(drops(&run.status), [("neighbor_unresolved".to_owned(), 2)].into());
    assert_eq!(run.unaccounted(), None);
    let questions = render(&run.output, &["-t", "arp[24:4] = 0x0a000002"]);
    assert!(questions.len() >= 2, "it is asked again: {questions:?}");
    assert_eq!(questions[0], "ARP, Request who-has 10.0.0.2 tell 10.0.0.10, length 28");
    assert!(run.finished.stderr.contains("did not answer ARP"), "the operator is told: {}", run.finished);
}

#[test]
fn the_trace_follows_a_packet_through_its_wait() {
    let own = format!("--mac 02:00:00:00:00:fe {RESOLVED} --trace");
    let own: Vec<&str> = own.split_whitespace().collect();
    let frames: Vec<_> = (0..9).map(|n| syn(C1, (34952 + n, 8080))).chain([arp_reply(B2, VIP)]).collect();
    let said = pcap_run(&frames, &own).finished.stdout;
    let times = |what: &str| said.lines().filter(|line| line.trim() == what).count();
    assert_eq!(times("held until 10.0.0.2 answers ARP"), 8, "{said}");
    let full = "dropped: more packets than may wait for one next hop to answer ARP or neighbour discovery (neighbor_queue_full)";
    assert_eq!(times(full), 1, "{said}");
    assert_eq!(times("arp Reply: 10.0.0.2 at 02:00:00:00:00:02, about 10.0.0.10"), 1, "{said}");
    assert_eq!(times("sent on port 0 to 02:00:00:00:00:02"), 8, "{said}");
}

#[test]
fn what_is_held_at_the_end_is_given_up_without_a_word_too_many() {
    let own: Vec<&str> = ["--mac", "02:00:00:00:00:fe"].into_iter().chain(RESOLVED.split(' ')).collect();
    let run = pcap_run_until(&["-l", "0"], &[syn(C1, (34952, 8080))], &own, |_| true);
    assert_eq!(run.lines(), [""; 0]);
}

/// ARP of the backend says where it is, asked or not; its connections follow.
#[test]
fn a_backend_that_changes_its_ethernet_address_keeps_its_connections() {
    let elsewhere = B2.as_mac([2, 0, 0, 0, 0, 0x22]);
    let segment = |flags| Segment::new(C1, VIP, (34952, 8080), flags);
    check(&[Row {
        what: "a gratuitous ARP of the backend",
        own: RESOLVED,
        frames: vec![
            arp_reply(B2, VIP),
            segment("S").frame(),
            Segment::new(B2, VIP, (8080, 34952), "S.").seq(5000).ack(1001).frame(),
            arp_request(elsewhere, B2.ip),
            segment(".").seq(1001).ack(5001).frame(),
            // Not a backend's address: nobody's affair.
            arp_request(B3, B3.ip),
        ],
        out: &[
            "to 02: 10.0.0.10.34952 > 10.0.0.2.8080: Flags [S], seq 1000, win 64240, length 0",
            "to 01: 10.0.0.10.8080 > 10.0.0.1.34952: Flags [S.], seq 5000, ack 1001, win 64240, length 0",
            "to 22: 10.0.0.10.34952 > 10.0.0.2.8080: Flags [.], ack 5001, win 64240, length 0",
        ],
        drops: &[("arp_consumed", 3)],
    }]);
}
