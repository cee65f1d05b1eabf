//! The lab "HTTP round robin with liveness", as its clients see it: docs/labs/liveness.md.
#![cfg(feature = "dpdk")]

mod support;

use std::{collections::BTreeSet, fs};

use support::{
    LIMIT, LONG, TempDir,
    lab::{Lab, Version},
    leat::Leat,
    servers::Nginx,
    wait_for,
};

const LAB: &str = "liveness";
const CONFIGURATION: &str = "liveness.toml";
const URL: &str = "http://10.0.1.1/";
const H1: &str = "backend 10.0.0.1\n";
const H2: &str = "backend 10.0.0.2\n";

/// Two servers, and leat, which knows both. The network goes last.
struct Running {
    leat: Leat,
    _servers: [Nginx; 2],
    lab: Lab,
}

fn start() -> Running {
    let lab = Lab::up(LAB);
    let servers = [("h1", "10.0.0.1"), ("h2", "10.0.0.2")].map(|(host, address)| lab.nginx(host, address, 80, 0));
    let leat = lab.leat("lb", CONFIGURATION, &[]);
    wait_for("both servers' Ethernet addresses", LIMIT, || {
        let status = leat.status();
        let neighbors = status["neighbors"].as_array()?;
        neighbors.iter().all(|neighbor| neighbor["mac"].is_string()).then_some(())
    });
    Running { leat, _servers: servers, lab }
}

impl Running {
    /// What two rounds of all four clients are answered, a connection each.
    #[track_caller]
    fn answers(&self) -> Vec<String> {
        let clients = ["h3", "h4", "h5", "h6"];
        clients.iter().chain(&clients).map(|client| self.lab.curl(client, URL, &[])).collect()
    }

    #[track_caller]
    fn assert_alternating(&self) {
        let answers = self.answers();
        let both = [H1, H2, H1, H2, H1, H2, H1, H2];
        assert!(answers == both || answers[1..] == both[..7] && answers[0] == H2, "strictly in turn: {answers:?}");
    }

    /// Lines that leat has logged with this text.
    fn logged(&self, text: &str) -> usize {
        self.leat.stderr().lines().filter(|line| line.contains(text)).count()
    }

    #[track_caller]
    fn wait_for_log(&self, text: &str, count: usize) {
        wait_for(&format!("{text:?} in the log, {count} times"), LONG, || (self.logged(text) >= count).then_some(()));
    }
}

#[test]
fn connections_alternate_a_dead_server_gets_none_and_one_that_returns_gets_its_share() {
    let running = start();
    let lab = &running.lab;
    running.assert_alternating();
    running.assert_alternating();

    lab.act(&["unplug", "h1"]).success();
    // Nobody knows yet: one of the two goes to h1, and its SYN is sent again until leat gives it to the other.
    for client in ["h3", "h4"] {
        assert_eq!(lab.curl(client, URL, &[]), H2);
    }
    running.wait_for_log("server down: service web, backend 10.0.0.1:80", 1);
    assert_eq!(running.answers(), [H2; 8], "nothing fails after detection");

    lab.act(&["plug", "h1"]).success();
    running.wait_for_log("server up: service web, backend 10.0.0.1:80", 1);
    running.assert_alternating();
    assert_eq!((running.logged("server down"), running.logged("server up")), (1, 1), "once per change");
}

#[test]
fn with_no_server_up_packets_are_dropped_and_the_log_says_so_until_one_is_back() {
    let running = start();
    let lab = &running.lab;
    lab.act(&["unplug", "h1"]).success();
    lab.act(&["unplug", "h2"]).success();
    running.wait_for_log("server down", 2);
    running.wait_for_log("no server is up", 1);
    let before = running.leat.dropped("no_backend");
    lab.exec("h3", &["curl", "-sS", "--max-time", "1", URL]).code_is(28);
    assert!(running.leat.dropped("no_backend") > before);

    lab.act(&["plug", "h2"]).success();
    running.wait_for_log("server up: service web, backend 10.0.0.2:80", 1);
    assert_eq!(running.answers(), [H2; 8]);
    assert_eq!(running.logged("no server is up"), 1, "once");
    assert_eq!((running.logged("server down"), running.logged("server up")), (2, 1), "once per change");
}

#[test]
fn a_flow_that_returns_finds_its_old_server_if_that_is_still_up() {
    let running = start();
    let lab = &running.lab;
    let flow = |port: &str| lab.curl("h3", URL, &["--local-port", port]);
    let first = flow("40000");
    let (old, other) = if first == H1 { (H1, H2) } else { (H2, H1) };
    assert_eq!(flow("40000"), old, "it is not given to the next server");
    assert_eq!(flow("40001"), other, "as another flow of the same client is");

    let host = if old == H1 { "h1" } else { "h2" };
    lab.act(&["unplug", host]).success();
    running.wait_for_log("server down", 1);
    assert_eq!(flow("40000"), other, "unless it is down");
    lab.act(&["plug", host]).success();
    running.wait_for_log("server up", 1);
    assert_eq!([flow("40000"), flow("40000")], [other, other], "and then it stays where it is");
}

/// Ten servers, two of which are there: all are asked once in five seconds, and never five within one.
#[test]
fn servers_are_probed_once_every_five_seconds_and_never_more_than_four_a_second() {
    let lab = Lab::up(LAB);
    let folder = TempDir::new("liveness");
    let file = folder.join("ten.toml");
    let servers: Vec<String> =
        (1..=2).chain(101..=108).map(|last| format!("{{ address = \"10.0.0.{last}\" }}")).collect();
    let toml = format!(
        "[[service]]\nvip = \"10.0.1.1\"\nport = 80\nmode = \"nat\"\nscheduler = \"rr\"\n\
         health = {{ type = \"arp\", interval = \"5s\", timeout = \"3s\" }}\nbackend = [{}]\n",
        servers.join(", ")
    );
    fs::write(&file, toml).expect("a temporary directory can be written");
    let capture = lab.capture("h3", "eth0");
    let leat = lab.leat_with("lb", &["--config", file.to_str().expect("UTF-8")]);
    let question = "arp[6:2] == 1 and not arp dst host 10.0.1.1";
    wait_for("eight servers that are down", LONG, || (leat.stderr().matches("server down").count() == 8).then_some(()));
    // What is asked before that has to do with finding the servers as well.
    let before = capture.wait_for(10, question, &[]).len();
    let after = capture.wait_for(before + 15, question, &["-tt"]).split_off(before);
    assert_eq!(leat.stderr().matches("server down").count(), 8, "{}", leat.stderr());

    let probes: Vec<(f64, &str)> = after.iter().map(|line| (seconds(line), target(line))).collect();
    for five in probes.windows(5) {
        let span = five[4].0 - five[0].0;
        assert!(span > 0.9, "five within {span} seconds: {five:?}");
    }
    for (number, (time, server)) in probes.iter().enumerate() {
        let next = probes[number + 1..].iter().find(|(_, other)| other == server);
        if let Some((next, _)) = next {
            assert!(next - time > 4.0, "{server} twice within {} seconds: {probes:?}", next - time);
        }
    }
    let asked: BTreeSet<&str> = probes.iter().map(|(_, server)| *server).collect();
    assert_eq!(asked.len(), 10, "each has its turn: {probes:?}");
}

/// When tcpdump saw it.
fn seconds(line: &str) -> f64 {
    line.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or_else(|| panic!("no time: {line}"))
}

/// Whom a question is about.
fn target(line: &str) -> &str {
    let rest = line.split_once("who-has ").unwrap_or_else(|| panic!("no question: {line}")).1;
    rest.split([' ', ',']).next().expect("a first word")
}

#[test]
fn the_demonstration_shows_all_of_it_and_leaves_nothing() {
    demonstration_shows_all_of_it(Version::V4);
}

#[test]
fn the_demonstration_shows_all_of_it_in_ipv6() {
    let shown = demonstration_shows_all_of_it(Version::V6);
    assert!(shown.contains("2001:db8:0:1::1 > ff02::1:ff00:2: ICMP6, neighbor solicitation, who has 2001:db8::2"));
}

#[track_caller]
fn demonstration_shows_all_of_it(version: Version) -> String {
    let shown = Lab::down(LAB).demonstrate(version);
    assert!(shown.contains("no_backend"), "{shown}");
    assert_eq!(shown.matches("server down").count(), 3, "{shown}");
    assert_eq!(shown.matches("server up").count(), 1, "{shown}");
    let down = format!("server down: service web, backend {}", version.place("10.0.0.1", 80));
    assert_eq!(shown.matches(&down).count(), 2, "{shown}");
    shown
}
