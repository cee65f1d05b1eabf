//! IPv6 through leat with real programs: curl, ping, dig, iperf3, nc, and the kernel's own neighbour discovery.
#![cfg(feature = "dpdk")]

mod support;

use std::fs;

use support::{
    LIMIT, TempDir,
    capture::Capture,
    leat::{Leat, TAP},
    net::{B1, B2, CLIENT, Net, Role, Shape},
    servers::{self, Nginx},
    tally,
};

const VIP: &str = "2001:db8::10";
const BACKENDS: [Role; 2] = [B1, B2];

fn up(label: &str, isolated: bool) -> Net {
    Net::up_as(label, Shape { ipv6: true, isolated, ..Shape::default() })
}

/// Runs `ip -6` in a namespace.
#[track_caller]
fn ip6(net: &Net, role: Role, words: &[&str]) {
    net.exec(role, &[&["ip", "-6"], words].concat()).success();
}

fn arguments<'a>(mode: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let backends = ["--backend", "[2001:db8::2]:8080", "--backend", "[2001:db8::3]:8080"];
    let port = if mode == "dr" { "[2001:db8::10]:8080" } else { "[2001:db8::10]:80" };
    [&["--mode", mode, "--vip", port], &backends[..], more].concat()
}

/// What `curl` prints for each of `count` requests to the VIP, over as many connections.
fn curl(net: &Net, port: u16, path: &str, count: usize) -> String {
    let url = format!("http://[{VIP}]:{port}/{path}?[1-{count}]");
    net.exec(CLIENT, &["curl", "-6", "-sS", "--no-keepalive", "-H", "Connection: close", &url]).success().stdout
}

#[test]
fn curl_reaches_all_backends_in_each_mode_that_needs_no_tunnel() {
    for mode in ["fullnat", "nat", "dr"] {
        let net = up(&format!("v6_{mode}"), mode == "nat");
        let _servers = BACKENDS.map(|role| Nginx::start_v6(&net, role, 8080, 0));
        for role in BACKENDS {
            match mode {
                // In nat leat is the backends' way to everybody; its own address is their router.
                "nat" => {
                    ip6(&net, role, &["route", "del", "2001:db8::/64", "dev", "eth0"]);
                    ip6(&net, role, &["route", "add", "2001:db8::fe", "dev", "eth0"]);
                    ip6(&net, role, &["route", "add", "default", "via", "2001:db8::fe"]);
                }
                "dr" => ip6(&net, role, &["address", "add", "2001:db8::10/128", "dev", "lo", "nodad"]),
                _ => {}
            }
        }
        let leat = Leat::start_in(&net, TAP, &arguments(mode, &["--address", "2001:db8::fe/64"]));
        let port = if mode == "dr" { 8080 } else { 80 };
        let answers = curl(&net, port, "", 100);
        let backends = tally(answers.lines());
        assert_eq!(backends.values().sum::<usize>(), 100, "{mode}: {answers}");
        assert_eq!(backends.len(), 2, "{mode}: {backends:?}");
        let seen = curl(&net, port, "who", 1);
        let source = if mode == "fullnat" { VIP } else { "2001:db8::1" };
        assert!(seen.contains(&format!(" {source}:")), "{mode}: {seen}");
        assert_eq!(leat.backends().iter().map(|(_, _, opened)| opened).sum::<u64>(), 101, "{mode}");
        for reason in ["no_backend", "neighbor_unresolved", "stray_reply", "ndp_malformed", "ndp_conflict"] {
            assert_eq!(leat.dropped(reason), 0, "{mode}: {reason}");
        }
        leat.stop();
    }
}

#[test]
fn ten_megabytes_each_way_arrive_as_they_were_and_tcpdump_finds_every_checksum_right() {
    const LENGTH: usize = 10_000_000;
    let net = up("v6_bulk", false);
    let server = Nginx::start_v6(&net, B1, 8080, LENGTH);
    let own = ["--vip", "[2001:db8::10]:80", "--backend", "[2001:db8::2]:8080"];
    let leat = Leat::start_in(&net, TAP, &own);
    let capture = Capture::start(&net, B1, "eth0");
    let directory = TempDir::new("v6_bulk");
    let copy = directory.join("copy");
    let url = |path: &str| format!("http://[{VIP}]/{path}");
    let copy_path = copy.to_str().expect("a temporary path is text");
    net.exec(CLIENT, &["curl", "-sS", "-o", copy_path, &url("big")]).success();
    assert!(fs::read(&copy).expect("it was written") == fs::read(server.big_file()).expect("it is there"));
    net.exec(CLIENT, &["curl", "-sSf", "-T", copy_path, &url("upload/copy")]).success();
    let uploaded = server.uploaded("copy").expect("it arrived");
    assert!(fs::read(uploaded).expect("it can be read") == fs::read(&copy).expect("it is there"));
    let lines = capture.stop().render(&["-v", "ip6"]);
    assert!(lines.len() > 1000, "{}", lines.len());
    assert!(!lines.iter().any(|line| line.contains("incorrect")));
    leat.stop();
}

#[test]
fn dig_ping_and_iperf3_speak_ipv6() {
    let net = up("v6_programs", false);
    let _dns = BACKENDS.map(|role| servers::dnsmasq(&net, role));
    let _iperf = servers::iperf3(&net, B1);
    let directory = TempDir::new("v6_programs");
    let file = directory.join("leat.toml");
    let service = |vip: &str, protocol: &str, port: &str, backends: &[u8]| {
        let backends: Vec<_> = backends.iter().map(|last| format!("{{ address = \"2001:db8::{last}\" }}")).collect();
        format!("[[service]]\nvip = \"{vip}\"\nprotocol = \"{protocol}\"\n{port}backend = [{}]\n", backends.join(", "))
    };
    let text = [
        service(VIP, "udp", "port = 53\n", &[2, 3]),
        service(VIP, "tcp", "port = 5201\n", &[2]),
        service("2001:db8::12", "any", "local_addresses = [\"2001:db8::11\"]\n", &[2]),
    ]
    .concat();
    fs::write(&file, text).expect("a temporary directory can be written");
    let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a temporary path is text")]);

    let question = format!("@{VIP} +notcp +short +tries=1 +timeout=10 TXT backend.leat.test\n").repeat(60);
    let questions = directory.join("questions");
    fs::write(&questions, question).expect("a temporary directory can be written");
    let answers = net.exec(CLIENT, &["dig", "-f", questions.to_str().expect("text")]).success().stdout;
    let backends = tally(answers.lines());
    assert_eq!((backends.values().sum::<usize>(), backends.len()), (60, 2), "{answers}");

    // The VIP of one protocol answers itself; that of all has its backend answer.
    for address in [VIP, "2001:db8::12"] {
        let ping = net.exec(CLIENT, &["ping", "-6", "-c", "3", "-i", "0.2", "-s", "1000", address]).success().stdout;
        assert!(ping.contains(" 3 received"), "{ping}");
    }
    assert_eq!(leat.dropped("icmp_checksum"), 0);

    for reverse in [&[][..], &["-R"]] {
        let iperf = [&["iperf3", "-6", "-c", VIP, "-n", "20M"], reverse].concat();
        net.exec(CLIENT, &iperf).success();
    }
    leat.stop();
}

#[test]
fn a_backend_with_a_new_card_is_found_and_the_kernel_keeps_leat_in_its_neighbours() {
    let net = up("v6_neighbours", false);
    let _server = Nginx::start_v6(&net, B1, 8080, 0);
    let own = ["--vip", "[2001:db8::10]:80", "--backend", "[2001:db8::2]:8080", "--address", "2001:db8::fe/64"];
    let leat = Leat::start_in(&net, TAP, &own);
    assert_eq!(curl(&net, 80, "", 1), "backend 2001:db8::2\n");
    let mac = leat.mac();
    let neighbours = net.exec(CLIENT, &["ip", "-6", "neighbour", "show", VIP]).success().stdout;
    assert!(neighbours.contains(&mac), "{neighbours}");
    // The kernel asks by unicast whether leat is still there.
    ip6(&net, CLIENT, &["neighbour", "change", VIP, "dev", "eth0", "nud", "probe"]);
    support::wait_for("leat confirmed", LIMIT, || {
        let neighbours = net.exec(CLIENT, &["ip", "-6", "neighbour", "show", VIP]).success().stdout;
        neighbours.contains("REACHABLE").then_some(())
    });
    net.exec(B1, &["ip", "link", "set", "eth0", "address", "02:00:00:00:00:77"]).success();
    ip6(&net, B1, &["address", "replace", "2001:db8::2/64", "dev", "eth0", "nodad"]);
    // It tells the link itself, as hosts do when they come up.
    net.exec(B1, &["ping", "-6", "-c", "1", "-W", "2", VIP]).success();
    assert_eq!(curl(&net, 80, "", 1), "backend 2001:db8::2\n");
    leat.stop();
}

#[test]
fn health_checks_of_each_kind_notice_a_backend_that_goes_and_comes() {
    let net = up("v6_health", false);
    let directory = TempDir::new("v6_health");
    for (kind, unanswered) in [("icmp", "ping"), ("tcp", "SYN"), ("http", "SYN"), ("arp", "neighbour solicitation")] {
        let file = directory.join(&format!("{kind}.toml"));
        let text = format!(
            "[[interface]]\nport = 0\naddresses = [\"2001:db8::fe/64\"]\n[[service]]\nvip = \"{VIP}\"\nport = 80\n\
             health = {{ type = \"{kind}\", interval = \"1s\", timeout = \"1s\", rise = 1, fall = 2 }}\n\
             backend = [{{ address = \"2001:db8::2\", port = 8080 }}, {{ address = \"2001:db8::3\", port = 8080 }}]\n"
        );
        fs::write(&file, text).expect("a temporary directory can be written");
        let _servers = BACKENDS.map(|role| Nginx::start_v6(&net, role, 8080, 0));
        let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a temporary path is text")]);
        let are = |wanted: [&str; 2]| {
            support::wait_for(&format!("the backends to be {wanted:?} by {kind}"), LIMIT, || {
                let status = leat.status();
                let backends = status["services"][0]["backends"].as_array().expect("backends").clone();
                backends.iter().map(|backend| &backend["health"]["state"]).eq(wanted).then_some(())
            });
        };
        are(["up", "up"]);
        net.exec(B2, &["ip", "link", "set", "eth0", "down"]).success();
        are(["up", "down"]);
        // The status knows first; the line is written when the workers have been told.
        let line = format!(
            "server down: service tcp:[{VIP}]:80, backend [2001:db8::3]:8080: no answer to {unanswered} for 1s, 2 times in a row"
        );
        support::wait_for(&line, LIMIT, || leat.stderr().contains(&line).then_some(()));
        let url = format!("http://[{VIP}]/?[1-10]");
        let close = ["--max-time", "5", "-H", "Connection: close"];
        let answers = net.exec(CLIENT, &[&["curl", "-6", "-sS"], &close[..], &[&url]].concat());
        assert!(answers.status.success(), "{kind}: {}\n{}", answers.stderr, leat.stderr());
        assert_eq!(tally(answers.stdout.lines()).len(), 1);
        net.exec(B2, &["ip", "link", "set", "eth0", "up"]).success();
        ip6(&net, B2, &["address", "replace", "2001:db8::3/64", "dev", "eth0", "nodad"]);
        are(["up", "up"]);
        leat.stop();
    }
}

#[test]
fn a_handshake_in_the_backends_place_leads_to_a_connection_like_any_other() {
    const LENGTH: usize = 3_000_000;
    let net = up("v6_syn_proxy", false);
    let server = Nginx::start_v6(&net, B1, 8080, LENGTH);
    let directory = TempDir::new("v6_syn_proxy");
    let (file, copy) = (directory.join("leat.toml"), directory.join("copy"));
    let copy_path = copy.to_str().expect("a temporary path is text");
    let text = format!(
        "[[service]]\nvip = \"{VIP}\"\nport = 80\nsyn_proxy = \"always\"\n\
         backend = [{{ address = \"2001:db8::2\", port = 8080 }}]\n"
    );
    fs::write(&file, text).expect("a temporary directory can be written");
    let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a temporary path is text")]);
    assert_eq!(curl(&net, 80, "", 20), "backend 2001:db8::2\n".repeat(20));
    let url = format!("http://[{VIP}]/");
    net.exec(CLIENT, &["curl", "-6", "-sSf", "-o", copy_path, &format!("{url}big")]).success();
    let sent = fs::read(server.big_file()).expect("it is there");
    assert!(fs::read(&copy).expect("it was written") == sent, "down");
    net.exec(CLIENT, &["curl", "-6", "-sSf", "-T", copy_path, &format!("{url}upload/copy")]).success();
    let uploaded = server.uploaded("copy").expect("it has arrived");
    assert!(fs::read(uploaded).expect("it is there") == sent, "up");
    let worker = &leat.status()["workers"][0];
    assert!(worker["cookies_sent"].as_u64() >= Some(22), "{worker}");
    assert_eq!((&worker["cookies_redeemed"], &worker["cookies_refused"]), (&22.into(), &0.into()), "{worker}");
    leat.stop().success();
}

#[test]
fn both_versions_are_served_at_once_by_one_leat() {
    let net = up("v6_both", false);
    let _six = Nginx::start_v6(&net, B1, 8080, 0);
    let _four = Nginx::start(&net, B2, 8080);
    let directory = TempDir::new("v6_both");
    let file = directory.join("leat.toml");
    let text = "[[service]]\nvip = \"2001:db8::10\"\nport = 80\nbackend = [{ address = \"2001:db8::2\", port = 8080 }]\n\
                [[service]]\nvip = \"10.0.0.10\"\nport = 80\nbackend = [{ address = \"10.0.0.3\", port = 8080 }]\n";
    fs::write(&file, text).expect("a temporary directory can be written");
    let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a temporary path is text")]);
    for _ in 0..5 {
        assert_eq!(curl(&net, 80, "", 1), "backend 2001:db8::2\n");
        let four = net.exec(CLIENT, &["curl", "-sS", "http://10.0.0.10/"]).success().stdout;
        assert_eq!(four, "backend 10.0.0.3\n");
    }
    for service in 0..2 {
        assert_eq!(leat.status()["services"][service]["total"]["opened"], 5);
    }
    leat.stop();
}

#[test]
fn ipv6_can_come_with_a_reload() {
    let net = up("v6_reload", false);
    let _six = Nginx::start_v6(&net, B1, 8080, 0);
    let _four = Nginx::start(&net, B2, 8080);
    let directory = TempDir::new("v6_reload");
    let file = directory.join("leat.toml");
    let four = "[[service]]\nvip = \"10.0.0.10\"\nport = 80\nbackend = [{ address = \"10.0.0.3\", port = 8080 }]\n";
    let six =
        "[[service]]\nvip = \"2001:db8::10\"\nport = 80\nbackend = [{ address = \"2001:db8::2\", port = 8080 }]\n";
    fs::write(&file, four).expect("a temporary directory can be written");
    let mut leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a temporary path is text")]);
    let over_four = || net.exec(CLIENT, &["curl", "-sS", "http://10.0.0.10/"]).success().stdout;
    assert_eq!(over_four(), "backend 10.0.0.3\n");
    fs::write(&file, format!("{four}{six}")).expect("a temporary directory can be written");
    leat.signal("HUP");
    support::wait_for("the reload", LIMIT, || leat.stderr().contains("reloaded").then_some(()));
    assert_eq!(curl(&net, 80, "", 20), "backend 2001:db8::2\n".repeat(20));
    assert_eq!(over_four(), "backend 10.0.0.3\n");
    leat.stop();
}

#[test]
fn each_version_reaches_backends_of_the_other() {
    const LENGTH: usize = 3_000_000;
    let net = up("v6_cross", false);
    let four = Nginx::start_with_big(&net, B1, 8080, LENGTH);
    let _six = Nginx::start_v6(&net, B2, 8080, LENGTH);
    let _dns = [B1, B2].map(|role| servers::dnsmasq(&net, role));
    let directory = TempDir::new("v6_cross");
    let file = directory.join("leat.toml");
    let service = |vip: &str, port: u16, protocol: &str, local: &str, backend: &str| {
        format!(
            "[[service]]\nvip = \"{vip}\"\nport = {port}\nprotocol = \"{protocol}\"\nlocal_addresses = [\"{local}\"]\n\
             backend = [{{ address = \"{backend}\", port = {} }}]\n",
            if port == 80 { 8080 } else { port }
        )
    };
    let any = |vip: &str, local: &str, backend: &str| {
        format!(
            "[[service]]\nvip = \"{vip}\"\nprotocol = \"any\"\nlocal_addresses = [\"{local}\"]\n\
             backend = [{{ address = \"{backend}\" }}]\n"
        )
    };
    let text = [
        service(VIP, 80, "tcp", "10.0.0.11", "10.0.0.2"),
        service(VIP, 53, "udp", "10.0.0.11", "10.0.0.2"),
        service("10.0.0.10", 80, "tcp", "2001:db8::11", "2001:db8::3"),
        service("10.0.0.10", 53, "udp", "2001:db8::11", "2001:db8::3"),
        any("2001:db8::12", "10.0.0.13", "10.0.0.2"),
        any("10.0.0.12", "2001:db8::13", "2001:db8::3"),
    ]
    .concat();
    fs::write(&file, text).expect("a temporary directory can be written");
    let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a temporary path is text")]);

    assert_eq!(curl(&net, 80, "", 20), "backend 10.0.0.2\n".repeat(20));
    let answers = net.exec(CLIENT, &["curl", "-sS", "http://10.0.0.10/?[1-20]"]).success().stdout;
    assert_eq!(answers, "backend 2001:db8::3\n".repeat(20));

    let copy = directory.join("copy");
    let copy_path = copy.to_str().expect("a temporary path is text");
    for url in [format!("http://[{VIP}]/"), "http://10.0.0.10/".to_owned()] {
        net.exec(CLIENT, &["curl", "-sS", "-o", copy_path, &format!("{url}big")]).success();
        assert!(fs::read(&copy).expect("it was written") == fs::read(four.big_file()).expect("it is there"), "{url}");
        net.exec(CLIENT, &["curl", "-sSf", "-T", copy_path, &format!("{url}upload/copy")]).success();
    }
    for (vip, expected) in [(VIP, "\"10.0.0.2\"\n"), ("10.0.0.10", "\"10.0.0.3\"\n")] {
        let server = format!("@{vip}");
        let dig = ["dig", &server, "+notcp", "+short", "+tries=1", "TXT", "backend.leat.test"];
        assert_eq!(net.exec(CLIENT, &dig).success().stdout, expected);
    }
    for address in ["2001:db8::12", "10.0.0.12"] {
        let ping = net.exec(CLIENT, &["ping", "-c", "3", "-i", "0.2", "-s", "1000", address]).success().stdout;
        assert!(ping.contains(" 3 received"), "{ping}");
    }
    // The backend has no such port: its ICMP error comes back in the client's version.
    for address in ["2001:db8::12", "10.0.0.12"] {
        let url = if address.contains(':') { format!("http://[{address}]:9/") } else { format!("http://{address}:9/") };
        let curl = net.exec(CLIENT, &["curl", "-sS", &url]);
        assert!(curl.stderr.contains("Connection refused") || curl.stderr.contains("Failed to connect"), "{curl:?}");
        let trace = net.exec(CLIENT, &["nc", "-u", "-z", "-v", "-w", "1", address, "9"]);
        assert!(!trace.stderr.contains("succeeded"), "{trace:?}");
    }
    for reason in ["icmp_checksum", "icmp_error", "icmp_type", "headers_split", "no_buffer"] {
        assert_eq!(leat.dropped(reason), 0, "{reason}");
    }
    leat.stop();
}

#[test]
fn leatctl_names_addresses_of_ipv6_as_people_write_them() {
    let net = up("v6_ctl", false);
    let _servers = BACKENDS.map(|role| Nginx::start_v6(&net, role, 8080, 0));
    let directory = TempDir::new("v6_ctl");
    let file = directory.join("leat.toml");
    let text = format!(
        "[[service]]\nname = \"web\"\nvip = \"{VIP}\"\nport = 80\nbackend = [{{ address = \"2001:db8::2\", port = 8080 }}]\n"
    );
    fs::write(&file, text).expect("a temporary directory can be written");
    let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a temporary path is text")]);
    let ctl = |words: &[&str]| {
        let api = format!("unix:{}", leat.api().display());
        let mut leatctl = support::process::command(env!("CARGO_BIN_EXE_leatctl"));
        support::process::run(leatctl.args(words).args(["--api", &api]), LIMIT).success().stdout
    };
    ctl(&["add", "web", "[2001:db8::3]:8080"]);
    ctl(&["drain", "web", "[2001:db8::2]:8080"]);
    assert_eq!(tally(curl(&net, 80, "", 10).lines()).get("backend 2001:db8::3"), Some(&10));
    ctl(&["enable", "web", "2001:db8::2"]);
    let shown = ctl(&["backends"]);
    assert!(shown.contains("[2001:db8::2]:8080") && shown.contains("[2001:db8::3]:8080"), "{shown}");
    assert!(ctl(&["services"]).contains("[2001:db8::10]:80"));
    let connections = ctl(&["connections", "client=2001:db8::/64", "vip=[2001:db8::10]:80"]);
    assert!(connections.contains("[2001:db8::1]:") && connections.contains("time_wait"), "{connections}");
    let explained = ctl(&["explain", "[2001:db8::1]:40000", "[2001:db8::10]:80"]);
    let chosen =
        ["2001:db8::2", "2001:db8::3"].into_iter().find(|backend| explained.contains(&format!("[{backend}]:8080")));
    let chosen = chosen.unwrap_or_else(|| panic!("{explained}"));
    let url = format!("http://[{VIP}]/");
    let answer = net.exec(CLIENT, &["curl", "-sS", "--local-port", "40000", &url]).success().stdout;
    assert_eq!(answer, format!("backend {chosen}\n"));
    ctl(&["remove", "web", "[2001:db8::3]:8080"]);
    leat.stop();
}
