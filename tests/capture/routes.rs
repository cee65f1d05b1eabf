//! `[[interface]]` with addresses, a gateway and routes: where packets leave that go beyond the wire.

use crate::support::{
    TempDir,
    capture::render,
    frames::{C1, Host, Segment, VIP, arp_reply, arp_request, echo_request},
    leat::{PcapRun, pcap_run},
};

/// The backend 10.1.0.2 is behind the gateway, clients of 198.51.100.0/24 behind a router; 10.0.0.0/24 is connected.
const CONFIGURATION: &str = r#"
    mac = "02:00:00:00:00:fe"

    [[interface]]
    port = "net_pcap0"
    addresses = ["10.0.0.254/24"]
    gateway = "10.0.0.20"
    routes = [{ to = "198.51.100.0/24", via = "10.0.0.21" }]

    [[service]]
    vip = "10.0.0.10"
    port = 8080

      [[service.backend]]
      address = "10.1.0.2"
"#;
const GATEWAY: Host = Host { mac: [2, 0, 0, 0, 0, 0x20], ip: [10, 0, 0, 20] };
const ROUTER: Host = Host { mac: [2, 0, 0, 0, 0, 0x21], ip: [10, 0, 0, 21] };
const OWN: [u8; 4] = [10, 0, 0, 254];

fn run(configuration: &str, frames: &[Vec<u8>]) -> PcapRun {
    let directory = TempDir::new("routes");
    let file = directory.join("leat.toml");
    std::fs::write(&file, configuration).expect("a temporary directory can be written");
    let run = pcap_run(frames, &["-c", file.to_str().expect("a path of letters")]);
    assert_eq!((run.unaccounted(), run.wrong_checksums()), (None, vec![]));
    run
}

/// A SYN of a client through some station's Ethernet address, and the answer of the backend behind the gateway.
fn exchange(client: Host, port: u16) -> [Vec<u8>; 2] {
    let backend = GATEWAY.as_ip([10, 1, 0, 2]);
    [
        Segment::new(client, VIP, (port, 8080), "S").frame(),
        Segment::new(backend, VIP, (8080, port), "S.").seq(5000).ack(1001).frame(),
    ]
}

fn to_backend(port: u16) -> String {
    format!("to 20: 10.0.0.10.{port} > 10.1.0.2.8080: Flags [S], seq 1000, win 64240, length 0")
}

fn to_client(last: &str, client: &str) -> String {
    format!("to {last}: 10.0.0.10.8080 > {client}: Flags [S.], seq 5000, ack 1001, win 64240, length 0")
}

#[test]
fn a_backend_behind_a_gateway_is_sent_to_through_it_and_replies_take_the_routes() {
    // Behind the router, but its packets come in through the gateway, as with asymmetric routing.
    let routed = GATEWAY.as_ip([198, 51, 100, 7]);
    // Anywhere else: the gateway, whoever brought the packet.
    let stranger = ROUTER.as_ip([203, 0, 113, 7]);
    // On the wire: straight back.
    let neighbor = C1;
    let mut frames = vec![arp_reply(GATEWAY, OWN), arp_reply(ROUTER, OWN)];
    frames.extend(exchange(routed, 40_001));
    frames.extend(exchange(stranger, 40_002));
    frames.extend(exchange(neighbor, 40_003));
    let run = run(CONFIGURATION, &frames);
    assert_eq!(
        run.lines(),
        [
            to_backend(40_001),
            to_client("21", "198.51.100.7.40001"),
            to_backend(40_002),
            to_client("20", "203.0.113.7.40002"),
            to_backend(40_003),
            to_client("01", "10.0.0.1.40003"),
        ]
    );
    let neighbors = &run.status["neighbors"];
    let known = |at: usize| (neighbors[at]["address"].as_str(), neighbors[at]["mac"].as_str());
    assert_eq!(known(0), (Some("10.0.0.20"), Some("02:00:00:00:00:20")), "{neighbors}");
    assert_eq!(known(1), (Some("10.0.0.21"), Some("02:00:00:00:00:21")), "{neighbors}");
}

#[test]
fn replies_wait_for_their_router_and_leave_in_order() {
    let client = GATEWAY.as_ip([198, 51, 100, 7]);
    let [syn, syn_ack] = exchange(client, 40_001);
    let again = syn_ack.clone();
    let run = run(CONFIGURATION, &[arp_reply(GATEWAY, OWN), syn, syn_ack, arp_reply(ROUTER, OWN), again]);
    let answer = to_client("21", "198.51.100.7.40001");
    assert_eq!(run.lines(), [to_backend(40_001), answer.clone(), answer]);
}

/// The routers are asked for in the name of the interface's address, which alone lies in their network.
#[test]
fn routers_are_asked_for_at_start_and_backends_behind_them_are_not() {
    let run = run(CONFIGURATION, &[]);
    let said = render(&run.output, &["-t", "arp"]);
    let wanted = [
        "10.0.0.10 tell 10.0.0.10",
        "10.0.0.254 tell 10.0.0.254",
        "10.0.0.20 tell 10.0.0.254",
        "10.0.0.21 tell 10.0.0.254",
    ];
    for what in wanted {
        assert!(said.contains(&format!("ARP, Request who-has {what}, length 28")), "{what}: {said:?}");
    }
    assert!(said.iter().all(|line| wanted.iter().any(|what| line.contains(what))), "{said:?}");
}

#[test]
fn the_interfaces_own_address_answers_arp_and_pings() {
    let run = run(CONFIGURATION, &[arp_request(C1, OWN), echo_request(C1, OWN, 7)]);
    assert_eq!(
        run.lines(),
        [
            "to 01: Reply 10.0.0.254 is-at 02:00:00:00:00:fe, length 46",
            "to 01: 10.0.0.254 > 10.0.0.1: ICMP echo reply, id 7, seq 1, length 22",
        ]
    );
}

#[test]
fn without_an_interface_a_reply_goes_back_the_way_the_request_came() {
    let mirrored = CONFIGURATION
        .lines()
        .filter(|line| {
            !["[[interface]]", "port = \"", "addresses", "gateway", "routes"]
                .iter()
                .any(|key| line.trim().starts_with(key))
        })
        .collect::<Vec<_>>()
        .join("\n");
    let mut frames = vec![arp_request(GATEWAY.as_ip([10, 1, 0, 2]), VIP)];
    frames.extend(exchange(ROUTER.as_ip([203, 0, 113, 7]), 40_002));
    let run = run(&mirrored, &frames);
    assert_eq!(
        run.lines(),
        [
            "to 20: Reply 10.0.0.10 is-at 02:00:00:00:00:fe, length 46".to_owned(),
            to_backend(40_002),
            to_client("21", "203.0.113.7.40002"),
        ]
    );
}
