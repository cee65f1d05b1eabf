//! One TCP connection from its SYN on, packet by packet.

use etherparse::TcpOptionElement::{
    self, MaximumSegmentSize, Noop, SelectiveAcknowledgementPermitted, Timestamp, WindowScale,
};

use crate::support::{
    capture::render,
    frames::{B2, B3, C1, C4, Host, Segment, VIP, syn},
    leat::{PcapRun, pcap_run},
};

const MAC: [&str; 2] = ["--mac", "02:00:00:00:00:fe"];
const ONE_BACKEND: &[&str] = &["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2,mac=02:00:00:00:00:02"];
const TWO_BACKENDS: &[&str] = &[
    "--vip",
    "10.0.0.10:8080",
    "--backend",
    "10.0.0.2,mac=02:00:00:00:00:02",
    "--backend",
    "10.0.0.3,mac=02:00:00:00:00:03",
];

/// Each line is what went in but for the Ethernet addresses, the IP addresses, the ports' owner, the checksums, and the
/// time to live: leat is a hop on the way and takes 1 off it, so that packets which go round in a loop die.
#[test]
fn a_connection_is_rendered_by_tcpdump_as_it_came_but_for_its_addresses() {
    let run = run(&conversation(B2), ONE_BACKEND);
    let lines = render(&run.output, &["-e", "-t", "-S", "-vv", "tcp"]);
    let to_backend = "02:00:00:00:00:fe > 02:00:00:00:00:02, ethertype IPv4 (0x0800), ";
    let to_client = "02:00:00:00:00:fe > 02:00:00:00:00:01, ethertype IPv4 (0x0800), ";
    let ip = "(tos 0x0, ttl 63, id 0, offset 0, flags [DF], proto TCP (6), ";
    let request = "10.0.0.10.34952 > 10.0.0.2.8080: ";
    let answer = "10.0.0.10.8080 > 10.0.0.1.34952: ";
    let expected = [
        format!(
            "{to_backend}length 74: {ip}length 60) {request}Flags [S], cksum 0xf156 (correct), seq 24681012, win 64240, \
             options [mss 1460,sackOK,TS val 1000 ecr 0,nop,wscale 7], length 0"
        ),
        format!(
            "{to_client}length 74: {ip}length 60) {answer}Flags [S.], cksum 0x0e43 (correct), seq 777000, \
             ack 24681013, win 64240, options [mss 1460,sackOK,TS val 2000 ecr 1000,nop,wscale 7], length 0"
        ),
        format!(
            "{to_backend}length 66: {ip}length 52) {request}Flags [.], cksum 0x3d0d (correct), seq 24681013, \
             ack 777001, win 64240, options [nop,nop,TS val 1001 ecr 2000], length 0"
        ),
        format!(
            "{to_backend}length 80: {ip}length 66) {request}Flags [P.], cksum 0xaaa3 (correct), \
             seq 24681013:24681027, ack 777001, win 64240, options [nop,nop,TS val 1001 ecr 2000], length 14: HTTP"
        ),
        format!(
            "{to_client}length 66: {ip}length 52) {answer}Flags [.], cksum 0x3cff (correct), seq 777001, \
             ack 24681027, win 64240, options [nop,nop,TS val 2001 ecr 1001], length 0"
        ),
        format!(
            "{to_client}length 80: {ip}length 66) {answer}Flags [P.], cksum 0xb2a4 (correct), seq 777001:777015, \
             ack 24681027, win 64240, options [nop,nop,TS val 2002 ecr 1001], length 14: HTTP"
        ),
        format!(
            "{to_backend}length 66: {ip}length 52) {request}Flags [.], cksum 0x3cee (correct), seq 24681027, \
             ack 777015, win 64240, options [nop,nop,TS val 1002 ecr 2002], length 0"
        ),
    ];
    assert_eq!(lines, expected);
    assert_eq!(run.wrong_checksums(), [""; 0]);
    assert_eq!(run.unaccounted(), None);
}

/// From the sequence number on, but for the checksum, nobody has touched a byte.
#[test]
fn sequence_numbers_options_and_payload_are_untouched_byte_for_byte() {
    let frames = conversation(B2);
    let run = run(&frames, ONE_BACKEND);
    let sent = run.answers();
    assert_eq!(sent.len(), frames.len());
    for (came, left) in frames.iter().zip(sent) {
        assert_eq!(came.len(), left.len());
        assert_eq!((&came[38..50], &came[52..]), (&left[38..50], &left[52..]));
    }
}

/// Which backend it is says the schedulers' hash, which is frozen: this flow's slot of the table of 65537 belongs to
/// 10.0.0.2, and the other client's to 10.0.0.3, in every process and on every machine.
#[test]
fn of_two_backends_the_frozen_hash_chooses_the_same_one_every_time() {
    let mut frames = conversation(B2);
    frames.push(syn(C4, (40000, 8080)));
    for _ in 0..2 {
        let run = run(&frames, TWO_BACKENDS);
        let addresses: Vec<String> = run.lines().iter().map(|line| addresses(line)).collect();
        let (request, answer) = ("to 02: 10.0.0.10.34952 > 10.0.0.2.8080", "to 01: 10.0.0.10.8080 > 10.0.0.1.34952");
        let other = "to 03: 10.0.0.10.40000 > 10.0.0.3.8080";
        assert_eq!(addresses, [request, answer, request, request, answer, answer, request, other]);
        assert_eq!(run.unaccounted(), None);
    }
}

#[test]
fn the_status_counts_the_connection_and_its_packets_in_both_directions() {
    let status = run(&conversation(B2), TWO_BACKENDS).status;
    let [chosen, other] = [0, 1].map(|n| &status["services"][0]["backends"][n]);
    let figures = ["opened", "open", "original_packets", "original_bytes", "reply_packets", "reply_bytes"];
    assert_eq!(figures.map(|name| chosen[name].as_u64()), [1, 1, 4, 286, 3, 220].map(Some), "{status}");
    assert_eq!(figures.map(|name| other[name].as_u64()), [0; 6].map(Some), "{status}");
    let port = ["received", "received_bytes"].map(|name| status["ports"][0][name].as_u64());
    assert_eq!(port, [7, 506].map(Some), "{status}");
}

#[test]
fn the_trace_tells_the_whole_story_of_a_connection() {
    let run = traced(&conversation(B2), TWO_BACKENDS);
    let blocks = blocks(&run);
    assert_eq!(blocks.len(), 7, "{blocks:#?}");
    assert_eq!(
        blocks[0],
        [
            "port 0, lcore 0: tcp 10.0.0.1:34952 > 10.0.0.10:8080 [S] seq 24681012, 74 bytes",
            "service tcp:10.0.0.10:8080 (tcp 10.0.0.10:8080, fullnat, maglev)",
            "new connection: hash 0x67208285f64a121a → slot 14134 of 65537 → backend 10.0.0.2:8080",
            "source towards the backend: 10.0.0.10:34952, the client's own port",
            "ethernet source: 02:00:00:00:00:01 → 02:00:00:00:00:fe",
            "ethernet destination: 02:00:00:00:00:fe → 02:00:00:00:00:02",
            "ip source: 10.0.0.1 → 10.0.0.10",
            "ip destination: 10.0.0.10 → 10.0.0.2",
            "ip ttl: 64 → 63",
            "ip checksum: 0x26b2 → 0x27b1",
            "tcp checksum: 0xf157 → 0xf156",
            "sent on port 0 to 02:00:00:00:00:02",
        ]
    );
    assert_eq!(
        blocks[1],
        [
            "port 0, lcore 0: tcp 10.0.0.2:8080 > 10.0.0.10:34952 [S.] seq 777000, 74 bytes",
            "service tcp:10.0.0.10:8080 (tcp 10.0.0.10:8080, fullnat, maglev)",
            "known connection, reply direction: tcp 10.0.0.1:34952 > 10.0.0.10:8080, \
             answered as tcp 10.0.0.2:8080 > 10.0.0.10:34952, now SynReceived",
            "ethernet source: 02:00:00:00:00:02 → 02:00:00:00:00:fe",
            "ethernet destination: 02:00:00:00:00:fe → 02:00:00:00:00:01",
            "ip source: 10.0.0.2 → 10.0.0.10",
            "ip destination: 10.0.0.10 → 10.0.0.1",
            "ip ttl: 64 → 63",
            "ip checksum: 0x26b1 → 0x27b2",
            "tcp checksum: 0x0e42 → 0x0e43",
            "sent on port 0 to 02:00:00:00:00:01",
        ]
    );
    for (block, flags) in blocks[2..].iter().zip(["[.]", "[P.]", "[.]", "[P.]", "[.]"]) {
        assert!(block[0].contains(flags), "{block:#?}");
        assert!(block[2].starts_with("known connection, ") && block[2].ends_with("now Established"), "{block:#?}");
    }
}

#[test]
fn the_trace_says_why_a_packet_was_dropped() {
    let stray = Segment::new(C1, VIP, (34952, 8080), ".").frame();
    let run = traced(&[stray, vec![0x45; 7]], ONE_BACKEND);
    assert_eq!(
        blocks(&run),
        [
            vec![
                "port 0, lcore 0: tcp 10.0.0.1:34952 > 10.0.0.10:8080 [.] seq 1000, 54 bytes",
                "service tcp:10.0.0.10:8080 (tcp 10.0.0.10:8080, fullnat, maglev)",
                "dropped: a client's TCP segment without SYN that belongs to no connection (no_connection)",
            ],
            vec![
                "port 0, lcore 0: not an Ethernet frame, 7 bytes",
                "dropped: shorter than an Ethernet header (frame_truncated)",
            ],
        ]
    );
}

#[test]
fn what_leaves_is_the_same_with_and_without_a_trace() {
    let mut frames = conversation(B2);
    frames.extend([syn(C4, (40000, 8080)), syn(C4, (40001, 8081)), vec![0; 60], vec![0xff; 13]]);
    frames.extend(conversation(B3));
    let (silent, traced) = (run(&frames, TWO_BACKENDS), traced(&frames, TWO_BACKENDS));
    assert_eq!(silent.answers(), traced.answers());
    assert_eq!(silent.status["workers"][0]["drops"], traced.status["workers"][0]["drops"]);
    assert!(!silent.finished.stdout.contains("dropped: "), "{}", silent.finished);
}

fn run(frames: &[Vec<u8>], own: &[&str]) -> PcapRun {
    pcap_run(frames, &[&MAC, own].concat())
}

fn traced(frames: &[Vec<u8>], own: &[&str]) -> PcapRun {
    pcap_run(frames, &[&MAC, own, &["--trace"]].concat())
}

/// What the trace says, a block of lines for each packet.
fn blocks(run: &PcapRun) -> Vec<Vec<&str>> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    // The tables of the end begin with leat's version.
    for line in run.finished.stdout.lines().take_while(|line| !line.starts_with("leat ")) {
        match (line.strip_prefix("    "), blocks.last_mut()) {
            (Some(line), Some(block)) => block.push(line),
            _ if line.starts_with("port ") => blocks.push(vec![line]),
            _ => {}
        }
    }
    blocks
}

/// `to HOST: SOURCE > DESTINATION` of a line.
fn addresses(line: &str) -> String {
    let end = line.find(": Flags").unwrap_or_else(|| panic!("no segment: {line}"));
    line[..end].to_owned()
}

fn handshake_options(value: u32, echo: u32) -> [TcpOptionElement; 5] {
    [MaximumSegmentSize(1460), SelectiveAcknowledgementPermitted, Timestamp(value, echo), Noop, WindowScale(7)]
}

/// SYN, SYN-ACK, ACK, 14 bytes to the backend, their ACK, 14 bytes to the client, their ACK.
fn conversation(backend: Host) -> Vec<Vec<u8>> {
    let client = |flags| Segment::new(C1, VIP, (34952, 8080), flags);
    let backend = |flags| Segment::new(backend, VIP, (8080, 34952), flags);
    let times = |value, echo| [Noop, Noop, Timestamp(value, echo)];
    [
        client("S").seq(24_681_012).options(&handshake_options(1000, 0)).frame(),
        backend("S.").seq(777_000).ack(24_681_013).options(&handshake_options(2000, 1000)).frame(),
        client(".").seq(24_681_013).ack(777_001).options(&times(1001, 2000)).frame(),
        client("P.").seq(24_681_013).ack(777_001).options(&times(1001, 2000)).payload(b"Hello, server\n").frame(),
        backend(".").seq(777_001).ack(24_681_027).options(&times(2001, 1001)).frame(),
        backend("P.").seq(777_001).ack(24_681_027).options(&times(2002, 1001)).payload(b"Hello, client\n").frame(),
        client(".").seq(24_681_027).ack(777_015).options(&times(1002, 2002)).frame(),
    ]
    .into()
}
