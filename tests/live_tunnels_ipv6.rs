//! Tunnels of leat to backends that run the real leat-agent, with IPv6 inside, outside, or both: curl, dig, ping and uploads.
//!
//! The kernel's own tunnels would be another receiver to try leat against, but the kernels that these tests run on have none that
//! knows IPv6 (ip6tnl, sit and fou are modules that are not there).
#![cfg(feature = "dpdk")]

mod support;

use std::fs;

use support::{
    LIMIT, TempDir,
    agent::Agent,
    capture::Capture,
    leat::{Leat, TAP},
    net::{B1, B2, CLIENT, Net, Role, Shape},
    servers::{self, Nginx},
    tally, wait_for,
};

const VIP: &str = "10.0.0.10";
const VIP_6: &str = "2001:db8::10";
/// A VIP of all protocols, whose backends answer a ping.
const ALL_6: &str = "2001:db8::12";
/// The same in IPv4.
const ALL: &str = "10.0.0.12";
const BACKENDS: [Role; 2] = [B1, B2];

fn up(label: &str) -> Net {
    Net::up_as(label, Shape { ipv6: true, ..Shape::default() })
}

/// Starts leat with services of both versions, in a mode and more of the service's keys.
fn start(net: &Net, directory: &TempDir, mode: &str, backends: &[&str]) -> Leat {
    let service = |vip: &str, protocol: &str, port: &str| {
        let backends: Vec<_> = backends.iter().map(|address| format!("{{ address = \"{address}\" }}")).collect();
        let backends = backends.join(", ");
        format!(
            "[[service]]\nvip = \"{vip}\"\nprotocol = \"{protocol}\"\n{port}{mode}scheduler = \"rr\"\nbackend = [{backends}]\n"
        )
    };
    let text = [
        "[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\", \"2001:db8::fe/64\"]\n".to_owned(),
        service(VIP, "tcp", "port = 8080\n"),
        service(VIP, "udp", "port = 53\n"),
        service(VIP_6, "tcp", "port = 8080\n"),
        service(VIP_6, "udp", "port = 53\n"),
        service(ALL_6, "any", ""),
        service(ALL, "any", ""),
    ]
    .concat();
    let file = directory.join("leat.toml");
    fs::write(&file, text).expect("a temporary directory can be written");
    Leat::start_in(net, TAP, &["-c", file.to_str().expect("a temporary path is text")])
}

fn agent(net: &Net, role: Role, more: &[&str]) -> Agent {
    let own =
        ["--vip", VIP, "--vip", VIP_6, "--vip", ALL, "--vip", ALL_6, "--from", "10.0.0.254", "--from", "2001:db8::fe"];
    Agent::start(net, role, &[&own[..], more].concat())
}

/// What `curl` prints for each of `count` requests, over as many connections.
fn curl(net: &Net, host: &str, path: &str, count: usize) -> String {
    let url = format!("http://{host}:8080/{path}?[1-{count}]");
    let words = ["curl", "-sS", "--max-time", "20", "--no-keepalive", "-H", "Connection: close", &url];
    net.exec(CLIENT, &words).success().stdout
}

/// The upload of a file to a VIP: it arrives as it was, on one of the backends.
fn upload(net: &Net, host: &str, name: &str, file: &std::path::Path, servers: &[Nginx]) {
    let url = format!("http://{host}:8080/upload/{name}");
    let file_text = file.to_str().expect("a temporary path is text");
    net.exec(CLIENT, &["curl", "-sSf", "--max-time", "25", "-T", file_text, &url]).success();
    let uploaded = servers.iter().find_map(|server| server.uploaded(name)).expect("it arrived somewhere");
    assert!(fs::read(uploaded).expect("it can be read") == fs::read(file).expect("it is there"), "{host}");
}

#[test]
fn programs_reach_backends_of_both_versions_by_every_tunnel() {
    let net = up("tunnel6_programs");
    let servers: Vec<_> = BACKENDS
        .into_iter()
        .flat_map(|role| [Nginx::start_with_big(&net, role, 8080, 1_000_000), Nginx::start_v6(&net, role, 8080, 0)])
        .collect();
    let _dns = BACKENDS.map(|role| servers::dnsmasq(&net, role));
    let directory = TempDir::new("tunnel6_programs");
    let modes = [
        ("mode = \"ipip\"\n", "ipip", ["ipip-4in4", "ipip-6in4"], ["ipip-4in6", "ipip-6in6"]),
        ("mode = \"gue\"\n", "gue0", ["gue-ipv4"; 2], ["gue-ipv6"; 2]),
        ("mode = \"gue\"\ngue_version = 1\n", "gue1", ["gue-ipv4"; 2], ["gue-ipv6"; 2]),
        ("mode = \"gue\"\ngue_checksum = true\n", "sum", ["gue-ipv4"; 2], ["gue-ipv6"; 2]),
    ];
    for (mode, name, by_4, by_6) in modes {
        let mut agents = BACKENDS.map(|role| agent(&net, role, &[]));
        // One backend is reached over IPv4, the other over IPv6, and both get both inside.
        let leat = start(&net, &directory, mode, &["10.0.0.2", "2001:db8::3"]);

        for (host, expected) in [
            (VIP, ["backend 10.0.0.2", "backend 10.0.0.3"]),
            ("[2001:db8::10]", ["backend 2001:db8::2", "backend 2001:db8::3"]),
        ] {
            let answers = curl(&net, host, "", 20);
            let backends = tally(answers.lines());
            assert_eq!(backends.keys().collect::<Vec<_>>(), expected, "{mode}: {answers}");
            assert!(backends.values().all(|&count| count == 10), "{mode}: {answers}");
        }
        let seen = curl(&net, "[2001:db8::10]", "who", 2);
        assert_eq!(seen.matches(" 2001:db8::1:").count(), 2, "{mode}: servers see the client itself: {seen}");

        for (address, backends) in [(VIP, 2), (VIP_6, 2)] {
            let question = format!("@{address} +notcp +short +tries=1 +timeout=10 TXT backend.leat.test\n").repeat(10);
            let questions = directory.join("questions");
            fs::write(&questions, question).expect("a temporary directory can be written");
            let answers = net.exec(CLIENT, &["dig", "-f", questions.to_str().expect("text")]).success().stdout;
            let tally = tally(answers.lines());
            assert_eq!((tally.values().sum::<usize>(), tally.len()), (10, backends), "{mode}: {answers}");
        }

        let ping = net.exec(CLIENT, &["ping", "-6", "-c", "4", "-w", "20", "-i", "0.2", "-s", "1000", ALL_6]);
        assert!(ping.status.success(), "{mode}: {ping:?}");

        // Full segments do not fit into the tunnel: leat tells the client so. Two, so that each backend gets one.
        for host in [VIP, "[2001:db8::10]"] {
            for number in 0..2 {
                upload(&net, host, &format!("{name}-{}-{number}", host.len()), &servers[0].big_file(), &servers);
            }
        }

        let reports = agents.each_mut().map(Agent::report);
        for (report, kinds) in reports.iter().zip([by_4, by_6]) {
            for (kind, &(received, delivered)) in &report.tunnels {
                let is_used = kinds.contains(&kind.as_str());
                assert_eq!((received == delivered, received > 20), (true, is_used), "{mode} {kind}: {report:?}");
            }
            assert!(report.drops.is_empty(), "{mode}: {report:?}");
        }
        for reason in ["tunnel_refused", "no_backend", "neighbor_unresolved", "no_buffer", "too_long"] {
            assert_eq!(leat.dropped(reason), 0, "{mode}: {reason}");
        }
        leat.stop();
        for agent in agents {
            agent.stop().success();
        }
    }
}

#[test]
fn with_mss_a_clients_segments_fit_into_each_tunnel() {
    let net = up("tunnel6_mss");
    let servers: Vec<_> = BACKENDS
        .into_iter()
        .flat_map(|role| [Nginx::start_with_big(&net, role, 8080, 1_000_000), Nginx::start_v6(&net, role, 8080, 0)])
        .collect();
    let directory = TempDir::new("tunnel6_mss");
    let rows = [
        ("mode = \"ipip\"\n", ["10.0.0.2", "10.0.0.3"], 1440),
        ("mode = \"gue\"\n", ["10.0.0.2", "10.0.0.3"], 1428),
        ("mode = \"ipip\"\n", ["2001:db8::2", "2001:db8::3"], 1420),
        ("mode = \"gue\"\n", ["2001:db8::2", "2001:db8::3"], 1408),
    ];
    for (row, (mode, backends, mss)) in rows.into_iter().enumerate() {
        let agents = BACKENDS.map(|role| agent(&net, role, &["--mss", &mss.to_string()]));
        let leat = start(&net, &directory, mode, &backends);
        let capture = Capture::start(&net, CLIENT, "eth0");
        for host in [VIP, "[2001:db8::10]"] {
            upload(&net, host, &format!("{row}-{}", host.len()), &servers[0].big_file(), &servers);
        }
        let accepted = capture.wait_for(1, "src host 10.0.0.10 and tcp[13] == 0x12", &[]);
        assert!(accepted[0].contains(&format!("mss {mss},")), "{accepted:?}");
        let accepted = capture.wait_for(1, "src host 2001:db8::10 and ip6[53] == 0x12", &[]);
        assert!(accepted[0].contains(&format!("mss {},", mss - 20)), "{accepted:?}");
        assert_eq!(leat.dropped("too_big_for_tunnel"), 0, "{mode} {backends:?}");
        leat.stop();
        for agent in agents {
            agent.stop().success();
        }
    }
}

#[test]
fn fragments_of_the_outer_packet_and_of_the_inner_one_arrive() {
    let net = up("tunnel6_pieces");
    let directory = TempDir::new("tunnel6_pieces");
    for mode in ["mode = \"ipip\"\n", "mode = \"gue\"\n"] {
        let mut agents = BACKENDS.map(|role| agent(&net, role, &[]));
        let leat = start(&net, &directory, mode, &["10.0.0.2", "2001:db8::3"]);
        // What the client has learnt of the way in the other mode.
        for version in ["-4", "-6"] {
            net.exec(CLIENT, &["ip", version, "route", "flush", "cache"]).success();
        }
        let capture = Capture::start(&net, B1, "eth0");
        // 3000 bytes are fragments already when the client sends them. Those that the tunnel makes too long are lost, and the
        // client is told, and cuts smaller; so are some that come before leat knows the backends' Ethernet addresses. Backends
        // take turns: two good pings in a row are one from each. 1500 bytes of IPv4 that may be cut become an outer packet in
        // two pieces on their way to the first backend; over IPv6, to the second, nothing is cut, and the client is told.
        for ping in [["ping", "-6", "-s", "3000", ALL_6], ["ping", "-Mdont", "-s", "1472", ALL]] {
            let mut in_a_row = 0;
            wait_for("two good pings", LIMIT, || {
                let answer = net.exec(CLIENT, &[&ping[..], &["-c", "3", "-i", "0.2", "-W", "2"]].concat()).stdout;
                in_a_row = if answer.contains(" 3 received") { in_a_row + 1 } else { 0 };
                (in_a_row == 2).then_some(())
            });
        }
        capture.wait_for(2, "src host 10.0.0.254 and ip[6:2] & 0x3fff != 0", &[]);
        for report in agents.each_mut().map(Agent::report) {
            let received: u64 = report.tunnels.values().map(|(received, _)| received).sum();
            assert!(received >= 9 + 3 && report.drops.is_empty(), "{mode}: {report:?}");
        }
        leat.stop();
        for agent in agents {
            agent.stop().success();
        }
    }
}

#[test]
fn a_backend_serves_again_when_its_agent_is_started_after_a_crash() {
    let net = up("tunnel6_crash");
    let _server = Nginx::start_v6(&net, B1, 8080, 0);
    let directory = TempDir::new("tunnel6_crash");
    let leat = start(&net, &directory, "mode = \"gue\"\n", &["2001:db8::2"]);
    let first = agent(&net, B1, &["--mss", "1408"]);
    assert_eq!(curl(&net, "[2001:db8::10]", "", 3), "backend 2001:db8::2\n".repeat(3));
    first.kill();
    let url = "http://[2001:db8::10]:8080/";
    let refused = net.exec(CLIENT, &["curl", "-sS", "--max-time", "2", url]);
    assert!(!refused.status.success(), "{refused:?}");
    wait_for("leat to notice", LIMIT, || (leat.dropped("tunnel_refused") > 0).then_some(()));
    let second = agent(&net, B1, &[]);
    assert_eq!(curl(&net, "[2001:db8::10]", "", 3), "backend 2001:db8::2\n".repeat(3));
    second.stop().success();
    leat.stop();
}
