//! ARP as the hosts on the bridge see it: leat asks, answers, announces, and follows those who move.
#![cfg(feature = "dpdk")]

mod support;

use std::path::Path;

use support::{
    LIMIT, LONG,
    capture::Capture,
    leat::{Leat, TAP},
    net::{B1, B2, CLIENT, Net, Role},
    process::{Process, command, run},
    servers::Nginx,
    tally, wait_for,
};

const ONE: &[&str] = &["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2"];

#[test]
fn leat_asks_for_every_backend_and_announces_its_vip_before_any_traffic() {
    let net = Net::up("announce");
    let capture = Capture::start(&net, CLIENT, "eth0");
    let own = ["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2", "--backend", "10.0.0.3"];
    let leat = Leat::start_in(&net, TAP, &own);
    let ends = format!("{} > ff:ff:ff:ff:ff:ff", leat.mac());

    for (role, target) in [(B1, "0x0a000002"), (B2, "0x0a000003")] {
        let asked = capture.wait_for(1, &format!("arp[6:2] == 1 and arp[24:4] == {target}"), &["-e", "-t"]);
        let question = format!("who-has {} tell 10.0.0.10", net.address(role));
        assert!(asked[0].starts_with(&ends) && asked[0].contains(&question), "{asked:?}");
    }
    // RFC 5227 §2.3: twice, two seconds apart, asking for the announced address itself.
    let announced = capture.wait_for(2, "arp[24:4] == 0x0a00000a and arp[14:4] == 0x0a00000a", &["-e", "-t"]);
    for announcement in &announced {
        let text = "who-has 10.0.0.10 tell 10.0.0.10";
        assert!(announcement.starts_with(&ends) && announcement.contains(text), "{announced:?}");
    }

    let neighbors = leat.status()["neighbors"].clone();
    for (index, role) in [B1, B2].into_iter().enumerate() {
        assert_eq!(neighbors[index]["mac"], net.mac(role), "both are known before any traffic: {neighbors}");
    }
}

#[test]
fn a_question_for_the_vip_is_answered_with_leats_address_and_for_others_not() {
    let net = Net::up("arping");
    let own = ["--vip", "any:10.0.0.10", "--local-address", "10.0.0.11", "--backend", "10.0.0.2"];
    let leat = Leat::start_in(&net, TAP, &own);
    let mac = leat.mac().to_uppercase();
    for address in ["10.0.0.10", "10.0.0.11"] {
        let report = net.exec(CLIENT, &["arping", "-c", "2", "-w", "20", "-I", "eth0", address]).success().stdout;
        assert_eq!(report.matches(&format!("reply from {address} [{mac}]")).count(), 2, "{report}");
    }
    // One answer each: the backend's own.
    let report = net.exec(CLIENT, &["arping", "-c", "2", "-w", "20", "-I", "eth0", "10.0.0.2"]).success().stdout;
    assert_eq!(report.matches("reply from").count(), 2, "{report}");
    assert!(!report.contains(&mac), "{report}");
    net.exec(CLIENT, &["arping", "-c", "1", "-w", "1", "-I", "eth0", "10.0.0.12"]).code_is(1);
}

const BIG: usize = 12_000_000;

/// A download that stops after 4 and after 8 million bytes, until its input gets a line; at the end it prints the sum.
/// Little of it is ahead of what was read, so a stop closes the client's window.
fn download_with_stops(net: &Net) -> Process {
    net.exec(CLIENT, &["sysctl", "-qw", "net.ipv4.tcp_rmem=4096 131072 131072"]).success();
    let stops = "head -c 4000000; read -r <&3; head -c 4000000; read -r <&3; cat";
    let fetch = format!("exec 3<&0; curl -sS --fail http://10.0.0.10:8080/big </dev/null | {{ {stops}; }} | sha256sum");
    net.spawn_with_input(CLIENT, &["bash", "-o", "pipefail", "-c", &fetch])
}

/// Waits until the client has closed its window: then it is the client who must speak next.
fn wait_for_stop(capture: &Capture) {
    capture.wait_for(1, "src host 10.0.0.1 and tcp[14:2] == 0 and tcp[tcpflags] & tcp-rst == 0", &[]);
}

#[track_caller]
fn assert_whole(mut download: Process, original: &Path) {
    let fetched = download.wait(LONG).success().stdout;
    let stored = run(command("sha256sum").arg("--").arg(original), LIMIT).success().stdout;
    assert_eq!(fetched.split(' ').next(), stored.split(' ').next());
}

/// Gives a host's interface another Ethernet address, as when a machine is replaced or an address fails over.
fn change_mac(net: &Net, role: Role, mac: &str) {
    net.exec(role, &["ip", "link", "set", "eth0", "address", mac]).success();
}

#[test]
fn a_backend_that_changes_its_mac_keeps_its_connections() {
    let net = Net::up("backend_moves");
    let server = Nginx::start_with_big(&net, B1, 8080, BIG);
    let leat = Leat::start_in(&net, TAP, ONE);
    let mut capture = Capture::start(&net, CLIENT, "eth0");
    let mut download = download_with_stops(&net);
    for mac in ["02:00:00:00:07:01", "02:00:00:00:07:02"] {
        wait_for_stop(&capture);
        change_mac(&net, B1, mac);
        capture = Capture::start(&net, CLIENT, "eth0");
        download.write(b"go on\n");
        // It asks for the VIP before it speaks again, and leat hears where it is now.
        wait_for("leat to follow", LIMIT, || (leat.status()["neighbors"][0]["mac"] == mac).then_some(()));
    }
    assert_whole(download, &server.big_file());
    assert_eq!(leat.backends()[0].2, 1, "all of it was one connection");
}

#[test]
fn a_client_that_changes_its_mac_keeps_its_connections() {
    let net = Net::up("client_moves");
    let server = Nginx::start_with_big(&net, B1, 8080, BIG);
    let leat = Leat::start_in(&net, TAP, ONE);
    let mut capture = Capture::start(&net, CLIENT, "eth0");
    let mut download = download_with_stops(&net);
    for mac in ["02:00:00:00:07:01", "02:00:00:00:07:02"] {
        wait_for_stop(&capture);
        change_mac(&net, CLIENT, mac);
        capture = Capture::start(&net, CLIENT, "eth0");
        // It opens its window again, and leat follows the segment that says so.
        download.write(b"go on\n");
        capture.wait_for(1, &format!("tcp and src host 10.0.0.10 and ether dst {mac}"), &[]);
    }
    assert_whole(download, &server.big_file());
    assert_eq!(leat.backends()[0].2, 1, "all of it was one connection");
}

#[test]
fn a_backend_that_does_not_answer_arp_hurts_no_other_and_is_served_when_it_comes() {
    let net = Net::up("absent");
    let _present = Nginx::start(&net, B1, 8080);
    let _later = Nginx::start(&net, B2, 8080);
    // rr gives every other connection to an address that nobody has.
    let own = ["--vip", "10.0.0.10:8080", "--scheduler", "rr", "--backend", "10.0.0.2", "--backend", "10.0.0.9"];
    let leat = Leat::start_in(&net, TAP, &own);

    let url = "http://10.0.0.10:8080/?[1-40]";
    let curl = ["curl", "-s", "-Z", "--parallel-immediate", "--parallel-max", "40", "--connect-timeout", "2", url];
    let answers = net.exec(CLIENT, &curl).stdout;
    assert_eq!(tally(answers.lines()), tally(vec!["backend 10.0.0.2"; 20]), "{answers}");
    assert!(leat.dropped("neighbor_queue_full") > 0, "only a few packets wait for one neighbour");
    wait_for("packets that waited in vain", LIMIT, || (leat.dropped("neighbor_unresolved") > 0).then_some(()));
    assert_eq!(leat.status()["neighbors"][1]["mac"], serde_json::Value::Null);

    net.exec(B2, &["ip", "address", "add", "10.0.0.9/24", "dev", "eth0"]).success();
    let url = "http://10.0.0.10:8080/?[1-20]";
    let curl = ["curl", "-sS", "--fail", "--connect-timeout", "30", "-H", "Connection: close", url];
    let answers = net.exec_within(CLIENT, &curl, LONG).success().stdout;
    let expected = [("backend 10.0.0.2".to_owned(), 10), ("backend 10.0.0.3".to_owned(), 10)].into();
    assert_eq!(tally(answers.lines()), expected, "nginx there knows itself as 10.0.0.3: {answers}");
}
