//! Several lcores. net_pcap has one queue each way: the first lcore receives and sends everything, and hands over what
//! the others own. Which lcore owns a flow, and so which source port it gets, is random in each process; the packets
//! that leave are the same but for that.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::support::{
    frames::{B2, C1, C4, Host, Segment, VIP, arp_reply, arp_request, echo_request, syn, with},
    leat::{PcapRun, pcap_run_on, pcap_run_until},
    verdict::drops,
};

const ONE: &[&str] = &["-l", "0"];
const FOUR: &[&str] = &["--lcores", "0@0,1@0,2@1,3@1"];
const OWN: &[&str] = &[
    "--mac",
    "02:00:00:00:00:fe",
    "--vip",
    "10.0.0.10:8080",
    "--backend",
    "10.0.0.2,mac=02:00:00:00:00:02",
    "--backend",
    "10.0.0.3,mac=02:00:00:00:00:03",
];
const PACKETS: u32 = 6;

/// The flow and the number of the packet within it, which the payload says.
type Label = (u32, u32);

/// Clients 192.0.2.1 and so on, all from port 40000: SYN, then data, taking turns.
fn clients(count: u32) -> Vec<Vec<u8>> {
    let segment = |flow: u32, number: u32| {
        let ip = [192, 0, 2, u8::try_from(flow + 1).expect("fewer than 255 clients")];
        let payload = [flow.to_be_bytes(), number.to_be_bytes()].concat();
        let flags = if number == 0 { "S" } else { "P." };
        let seq = 1000 + number * 8;
        Segment::new(Host { ip, ..C1 }, VIP, (40_000, 8080), flags).seq(seq).ack(1).payload(&payload).frame()
    };
    (0..PACKETS).flat_map(|number| (0..count).map(move |flow| segment(flow, number))).collect()
}

fn label(frame: &[u8]) -> Label {
    let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"));
    (word(54), word(58))
}

/// The packets of each flow in the order in which they left, without what depends on the choice of a source port: that,
/// and the checksum.
fn flows(run: &PcapRun) -> BTreeMap<u32, Vec<Vec<u8>>> {
    let mut flows: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    for frame in run.answers() {
        let frame = with(with(frame.to_vec(), 34, &[0, 0]), 50, &[0, 0]);
        flows.entry(label(&frame).0).or_default().push(frame);
    }
    flows
}

/// As a backend tells connections apart: its own address, and the source's port.
fn tuples(run: &PcapRun) -> HashSet<([u8; 4], u16)> {
    let tuple = |frame: &&[u8]| {
        let backend = frame[30..34].try_into().expect("four bytes");
        (backend, u16::from_be_bytes([frame[34], frame[35]]))
    };
    run.answers().iter().map(tuple).collect()
}

/// One figure of all lcores together.
fn sum(status: &Value, field: &str) -> u64 {
    let workers = status["workers"].as_array().expect("the status lists workers");
    workers.iter().map(|worker| worker[field].as_u64().expect("a count")).sum()
}

#[test]
fn the_same_packets_leave_on_one_lcore_and_on_four() {
    let frames = clients(100);
    let (one, four) = (pcap_run_on(ONE, &frames, OWN), pcap_run_on(FOUR, &frames, OWN));
    for run in [&one, &four] {
        assert_eq!((run.unaccounted(), drops(&run.status)), (None, BTreeMap::new()));
        assert_eq!(run.wrong_checksums(), [""; 0]);
        for (flow, packets) in flows(run) {
            let numbers: Vec<u32> = packets.iter().map(|packet| label(packet).1).collect();
            assert_eq!(numbers, (0..PACKETS).collect::<Vec<_>>(), "flow {flow}: in order");
        }
    }
    assert_eq!(flows(&one), flows(&four));
    assert_eq!((sum(&one.status, "handed_over"), sum(&one.status, "taken_over")), (0, 0));
}

#[test]
fn clients_with_one_source_port_never_meet_in_one_tuple_at_a_backend() {
    let count = 200;
    let run = pcap_run_on(FOUR, &clients(count), OWN);
    assert_eq!((run.unaccounted(), drops(&run.status)), (None, BTreeMap::new()));
    let by_flow: HashSet<(u32, u16)> =
        run.answers().iter().map(|frame| (label(frame).0, u16::from_be_bytes([frame[34], frame[35]]))).collect();
    assert_eq!(by_flow.len(), count as usize, "each keeps its port");
    assert_eq!(tuples(&run).len(), count as usize, "no two share one at a backend");
    assert!(tuples(&run).iter().all(|(_, port)| *port >= 1024));
}

/// Every lcore has its part of the connections, and every packet for another one was handed over once.
#[test]
fn all_lcores_share_the_work() {
    let frames = clients(200);
    // A lcore counts its connections once in a while.
    let is_done = |status: &Value| status["buffers"]["in_use"] == 0 && sum(status, "connections") == 200;
    let run = pcap_run_until(FOUR, &frames, OWN, is_done);
    let workers = run.status["workers"].as_array().expect("the status lists workers");
    assert_eq!(workers.len(), 4);
    for worker in workers {
        // Of 200 random keys each of four lcores gets about 50.
        assert!(worker["connections"].as_u64() >= Some(10), "{worker}");
    }
    let [first, others @ ..] = &workers[..] else { unreachable!() };
    assert_eq!(first["received"], frames.len());
    assert!(first["transmitted"].as_u64() >= Some(frames.len() as u64), "the port's one queue is its own: {first}");
    for other in others {
        assert_eq!((&other["received"], &other["transmitted"]), (&0.into(), &0.into()), "{other}");
        let owned = other["connections"].as_u64().map(|connections| connections * u64::from(PACKETS));
        assert_eq!(other["taken_over"].as_u64(), owned, "{other}");
    }
    assert_eq!(sum(&run.status, "handed_over"), sum(&run.status, "taken_over"));
    let opened: u64 =
        (0..2).map(|n| run.status["services"][0]["backends"][n]["opened"].as_u64().expect("a count")).sum();
    assert_eq!(opened, 200);
}

/// The first lcore hears ARP, the others hold packets, too: what waited leaves before what came later, on each of them.
#[test]
fn packets_wait_on_every_lcore_and_leave_in_order() {
    let own = ["--mac", "02:00:00:00:00:fe", "--vip", "10.0.0.10:8080", "--backend", "10.0.0.2"];
    // Two packets of each flow: eight may wait on one lcore.
    let (early, late) = (clients(4)[..8].to_vec(), clients(4)[8..].to_vec());
    let frames = [early, vec![arp_reply(B2, VIP)], late].concat();
    let run = pcap_run_on(FOUR, &frames, &own);
    assert_eq!((run.unaccounted(), drops(&run.status)), (None, [("arp_consumed".to_owned(), 1)].into()));
    let flows = flows(&run);
    assert_eq!(flows.len(), 4);
    for (flow, packets) in flows {
        let numbers: Vec<u32> = packets.iter().map(|packet| label(packet).1).collect();
        assert_eq!(numbers, (0..PACKETS).collect::<Vec<_>>(), "flow {flow}");
    }
}

/// The owner of a reply follows from its port, also where there is no connection: each lcore drops its own strays.
#[test]
fn a_stray_reply_is_dropped_by_the_lcore_that_would_own_it() {
    let strays: Vec<_> =
        (0..40).map(|n| Segment::new(B2, VIP, (8080, 50_000 + n), ".").seq(1).ack(1).frame()).collect();
    let run = pcap_run_on(FOUR, &strays, OWN);
    assert_eq!(run.unaccounted(), None);
    for worker in run.status["workers"].as_array().expect("the status lists workers") {
        assert_eq!(worker["drops"], serde_json::json!({ "stray_reply": 10 }), "{worker}");
    }
}

#[test]
fn what_leat_answers_itself_is_answered_once() {
    let frames = [arp_request(C1, VIP), echo_request(C1, VIP, 7), echo_request(C4, VIP, 8), arp_request(C4, VIP)];
    let run = pcap_run_on(FOUR, &frames, OWN);
    let mut lines = run.lines();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "to 01: 10.0.0.10 > 10.0.0.1: ICMP echo reply, id 7, seq 1, length 22",
            "to 01: Reply 10.0.0.10 is-at 02:00:00:00:00:fe, length 46",
            "to 04: 10.0.0.10 > 10.0.0.4: ICMP echo reply, id 8, seq 1, length 22",
            "to 04: Reply 10.0.0.10 is-at 02:00:00:00:00:fe, length 46",
        ]
    );
}

/// With persistence it is the client's address that decides on the lcore, so that one place knows its backend.
#[test]
fn persistence_holds_over_lcores() {
    let own = [OWN, &["--scheduler", "rr", "--persistence", "300"]].concat();
    let clients: Vec<Host> = (1..=20).map(|n| Host { ip: [192, 0, 2, n], ..C1 }).collect();
    let frames: Vec<_> =
        (0..5).flat_map(|n| clients.iter().map(move |client| syn(*client, (40_000 + n, 8080)))).collect();
    let run = pcap_run_on(FOUR, &frames, &own);
    assert_eq!(run.unaccounted(), None);
    // A SYN carries no label: which client it is of says the trace.
    let traced = pcap_run_on(FOUR, &frames, &[&own[..], &["--trace"]].concat()).finished.stdout;
    let mut backends: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    let mut client = String::new();
    for line in traced.lines() {
        if let Some((_, packet)) = line.split_once(": tcp 192.0.2.") {
            client = packet.split(':').next().expect("an address").to_owned();
        }
        if let Some((_, backend)) = line.split_once("→ backend ") {
            backends
                .entry(client.clone())
                .or_default()
                .insert(backend.split(',').next().expect("an address").to_owned());
        }
    }
    assert_eq!(backends.len(), 20, "{backends:?}");
    assert!(backends.values().all(|backends| backends.len() == 1), "{backends:?}");
    assert!(backends.values().collect::<Vec<_>>().windows(2).any(|two| two[0] != two[1]), "{backends:?}");
}

#[test]
fn the_trace_says_who_hands_a_packet_over_and_who_takes_it() {
    let run = pcap_run_on(FOUR, &clients(40), &[OWN, &["--trace"]].concat());
    let said = &run.finished.stdout;
    let count = |what: &str| said.lines().filter(|line| line.contains(what)).count() as u64;
    assert!(sum(&run.status, "handed_over") > 0);
    assert_eq!(count(", which owns the flow"), sum(&run.status, "handed_over"), "{said}");
    let elsewhere = ["port 0, lcore 1: ", "port 0, lcore 2: ", "port 0, lcore 3: "].map(count);
    assert_eq!(elsewhere.iter().sum::<u64>(), sum(&run.status, "taken_over"), "{said}");
    assert_eq!(count("    sent on port 0 to 02:00:00:00:00:0"), 40 * u64::from(PACKETS), "{said}");
}
