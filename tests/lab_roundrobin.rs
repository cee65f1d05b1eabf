//! The lab "round robin behind one service address", as its clients and servers see it: docs/labs/roundrobin.md.
#![cfg(feature = "dpdk")]

mod support;

use support::{
    LIMIT, LONG,
    capture::Capture,
    lab::{Lab, Version},
    leat::Leat,
    wait_for,
};

const LAB: &str = "roundrobin";
const CONFIGURATION: &str = "roundrobin.toml";
const VIP: &str = "10.0.0.254";
const LEAT: &str = "00:00:00:00:00:fe";
const CLIENTS: [u8; 4] = [1, 2, 3, 4];
const SERVERS: [u8; 3] = [5, 6, 7];

#[test]
fn every_server_is_asked_for_once_before_any_client_speaks_and_a_late_one_until_it_answers() {
    let lab = Lab::up(LAB);
    lab.exec("h7", &["ip", "address", "del", "10.0.0.7/24", "dev", "eth0"]).success();
    let (client, late) = (lab.capture("h1", "eth0"), lab.capture("h7", "eth0"));
    let leat = lab.leat("lb", CONFIGURATION, &[]);

    let questions = late.wait_for(3, "arp[6:2] == 1 and arp dst host 10.0.0.7", &["-e", "-t"]);
    for question in &questions {
        assert!(question.starts_with(&format!("{LEAT} > ff:ff:ff:ff:ff:ff")), "{questions:?}");
        assert!(question.contains(&format!("who-has 10.0.0.7 tell {VIP}")), "{questions:?}");
    }
    // What is known is asked for again, but of itself alone.
    for known in ["10.0.0.5", "10.0.0.6"] {
        let broadcast = format!("arp[6:2] == 1 and ether broadcast and arp dst host {known}");
        assert_eq!(late.wait_for(1, &broadcast, &[]).len(), 1);
    }
    assert_eq!(known_servers(&leat), ["10.0.0.5 00:00:00:00:00:05", "10.0.0.6 00:00:00:00:00:06"]);

    lab.exec("h7", &["ip", "address", "add", "10.0.0.7/24", "dev", "eth0"]).success();
    wait_for("the late server", LIMIT, || (known_servers(&leat).len() == 3).then_some(()));
    assert_eq!(known_servers(&leat)[2], "10.0.0.7 00:00:00:00:00:07");
    let spoken = client.stop().render(&["ether src 00:00:00:00:00:01"]);
    assert_eq!(spoken, [""; 0], "no client has said anything until then");
}

#[test]
fn new_clients_go_to_the_servers_in_turn_and_each_keeps_its_server_longer_than_its_connections_last() {
    let lab = Lab::up(LAB);
    let leat = lab.leat("lb", CONFIGURATION, &[]);
    wait_for("all servers", LIMIT, || (known_servers(&leat).len() == 3).then_some(()));
    let clients = CLIENTS.map(|client| lab.capture(&host(client), "eth0"));

    let in_turn = [(1, 5), (2, 6), (3, 7), (4, 5)];
    assert_eq!(round(&lab), in_turn, "strictly in turn");
    assert_eq!(round(&lab), in_turn, "every client keeps its server");
    assert!(leat.connections() > 0);
    wait_for("the end of idle connections", LONG, || (leat.connections() == 0).then_some(()));
    assert_eq!(round(&lab), in_turn, "the choice of server outlives the connections");

    for (client, capture) in CLIENTS.into_iter().zip(clients) {
        client_sees_only_the_service(client, capture);
    }
    // A bridge would keep frames that are addressed to it.
    let tap = lab.exec("lb", &["ip", "-o", "link", "show", "dev", "tapdpdk"]).success().stdout;
    assert!(!tap.contains(LEAT), "the kernel's end of the tap has an Ethernet address of its own: {tap}");
}

/// Every client pings the service twice, one client after the other; returns which server each one had, by what the
/// servers saw.
#[track_caller]
fn round(lab: &Lab) -> Vec<(u8, u8)> {
    let captures = SERVERS.map(|server| lab.capture(&host(server), "eth0"));
    for client in CLIENTS {
        let report = lab.exec(&host(client), &["ping", "-c", "2", "-i", "0.2", "-W", "20", VIP]).success().stdout;
        assert_eq!(report.matches(&format!("64 bytes from {VIP}: icmp_seq=")).count(), 2, "{report}");
    }
    let mut pairs = Vec::new();
    for (server, capture) in SERVERS.into_iter().zip(captures) {
        let recording = capture.stop();
        for client in CLIENTS {
            let requests = recording.render(&["-e", "-t", &format!("icmp[0] == 8 and src host 10.0.0.{client}")]);
            if requests.is_empty() {
                continue;
            }
            let start = format!("{LEAT} > 00:00:00:00:00:0{server}, ");
            let flow = format!(" 10.0.0.{client} > 10.0.0.{server}: ICMP echo request");
            assert_eq!(requests.len(), 2, "{requests:?}");
            assert!(requests.iter().all(|request| request.starts_with(&start) && request.contains(&flow)));
            pairs.push((client, server));
        }
        let strangers = format!("not ether src {LEAT} and not ether src 00:00:00:00:00:0{server}");
        assert_eq!(recording.render(&[&strangers]), [""; 0], "the server hears nobody but leat");
    }
    pairs.sort_unstable();
    pairs
}

#[track_caller]
fn client_sees_only_the_service(client: u8, capture: Capture) {
    let recording = capture.stop();
    let answers = recording.render(&["-t", "arp[6:2] == 2 and ether src 00:00:00:00:00:fe"]);
    assert!(answers.contains(&format!("ARP, Reply {VIP} is-at {LEAT}, length 28")), "{answers:?}");
    let strangers = format!("not ether src {LEAT} and not ether src 00:00:00:00:00:0{client}");
    assert_eq!(recording.render(&[&strangers]), [""; 0], "the client hears nobody but leat");
    let others = format!("ip and not (host {VIP} and host 10.0.0.{client})");
    assert_eq!(recording.render(&[&others]), [""; 0], "the client sees no server's address");
    assert_eq!(recording.render(&["icmp"]).len(), 12, "three rounds of two questions and two answers");
}

#[test]
fn a_server_learns_where_its_client_is_from_leat_and_is_no_client_itself() {
    let lab = Lab::up(LAB);
    let leat = lab.leat("lb", CONFIGURATION, &[]);
    wait_for("all servers", LIMIT, || (known_servers(&leat).len() == 3).then_some(()));
    let capture = lab.capture("h5", "eth0");
    lab.exec("h1", &["ping", "-c", "1", "-W", "20", VIP]).success();
    let neighbor = lab.exec("h5", &["ip", "neighbor", "show", "to", "10.0.0.1"]).success().stdout;
    assert!(neighbor.contains(&format!("lladdr {LEAT}")), "{neighbor}");
    let answers = capture.wait_for(1, "arp[6:2] == 2 and ether dst 00:00:00:00:00:05", &["-t"]);
    assert_eq!(answers, [format!("ARP, Reply 10.0.0.1 is-at {LEAT}, length 28")]);
    // Nobody stands in for an address that is no client's.
    lab.exec("h5", &["ping", "-c", "1", "-W", "1", "10.0.0.3"]).code_is(1);
    assert_eq!(capture.wait_for(1, "arp[6:2] == 2 and ether dst 00:00:00:00:00:05", &[]).len(), 1);

    assert_eq!(leat.dropped("backend_as_client"), 0);
    lab.exec("h5", &["ping", "-c", "1", "-W", "1", VIP]).code_is(1);
    assert_eq!(leat.dropped("backend_as_client"), 1);
    assert_eq!(
        capture.stop().render(&["icmp[0] == 8 and src host 10.0.0.5"]).len(),
        1,
        "its own question, not balanced"
    );
}

#[test]
fn the_demonstration_shows_all_of_it_and_leaves_nothing() {
    demonstration_shows_all_of_it(Version::V4);
}

#[test]
fn the_demonstration_shows_all_of_it_in_ipv6() {
    let shown = demonstration_shows_all_of_it(Version::V6);
    for server in SERVERS {
        let question = format!("2001:db8::254 > ff02::1:ff00:{server}: ICMP6, neighbor solicitation, who has");
        assert_eq!(shown.matches(&question).count(), SERVERS.len(), "{shown}");
    }
}

#[track_caller]
fn demonstration_shows_all_of_it(version: Version) -> String {
    let shown = Lab::down(LAB).demonstrate(version);
    for (client, server) in [(1, 5), (2, 6), (3, 7), (4, 5)] {
        let place = |number| format!("h{number} ({})", version.at(&format!("10.0.0.{number}")));
        let pair = format!("{} -> {}", place(client), place(server));
        assert_eq!(shown.matches(&pair).count(), 3, "{shown}");
    }
    assert!(shown.contains("backend_as_client 1"), "{shown}");
    shown
}

#[test]
fn what_a_killed_demonstration_left_is_gone_after_down() {
    let lab = Lab::down(LAB);
    let (mut demonstration, _binaries) = lab.start_demonstration();
    demonstration.wait_for_output("the first step's end", LIMIT, |stdout, _| stdout.contains("h7 hears"));
    demonstration.kill();
    assert_eq!(lab.namespaces().len(), 8, "the network outlives its script");
    lab.act(&["down"]).success();
    assert_eq!(lab.namespaces(), [""; 0]);
    lab.act(&["down"]).success();
}

#[test]
fn up_again_changes_nothing_that_is_whole_and_rebuilds_what_is_broken() {
    let lab = Lab::up(LAB);
    lab.act(&["status"]).success();
    // A mark that lives as long as the namespace.
    lab.exec("h3", &["ip", "link", "set", "lo", "alias", "the-first"]).success();
    let is_the_first = || lab.exec("h3", &["ip", "link", "show", "lo"]).success().stdout.contains("the-first");
    lab.act(&["up"]).success();
    assert!(is_the_first());

    lab.exec("lb", &["ip", "link", "del", "h3"]).success();
    lab.act(&["status"]).code_is(1);
    lab.act(&["up"]).success();
    assert!(!is_the_first());
    lab.act(&["status"]).success();
    lab.act(&["sideways"]).code_is(2);
    lab.act(&["exec", "h9", "true"]).code_is(1);
}

#[test]
fn a_network_asked_for_in_the_other_version_is_rebuilt_and_speaks_that_alone() {
    let lab = Lab::up(LAB);
    for (version, option) in [(Version::V6, &["up", "--ipv6"][..]), (Version::V4, &["up"])] {
        lab.act(option).success();
        let status = lab.act(&["status"]).success().stdout;
        let (own, other) = version.either(("10.0.0.", "2001:db8::"), ("2001:db8::", "10.0.0."));
        assert_eq!((status.matches(own).count(), status.matches(other).count()), (7, 0), "{status}");

        // A mark that lives as long as the namespace.
        lab.exec("h3", &["ip", "link", "set", "lo", "alias", "the-same"]).success();
        let is_the_same = || lab.exec("h3", &["ip", "link", "show", "lo"]).success().stdout.contains("the-same");
        lab.act(option).success();
        assert!(is_the_same());
        lab.exec("h3", &["ip", "address", "flush", "dev", "eth0"]).success();
        lab.act(&["status"]).code_is(1);
        lab.act(option).success();
        assert!(!is_the_same(), "an address is missed in either version");
    }
}

fn host(number: u8) -> String {
    format!("h{number}")
}

/// The servers whose Ethernet addresses leat has found, in their order.
fn known_servers(leat: &Leat) -> Vec<String> {
    let status = leat.status();
    let neighbors = status["neighbors"].as_array().expect("the status lists next hops");
    let text =
        |neighbor: &serde_json::Value| Some(format!("{} {}", neighbor["address"].as_str()?, neighbor["mac"].as_str()?));
    neighbors.iter().filter_map(text).collect()
}
