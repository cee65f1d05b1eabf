//! TCP through leat with real programs: nc, curl, wrk, nginx and iperf3, in namespaces joined by a bridge.
#![cfg(feature = "dpdk")]

mod support;

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use support::{
    LIMIT, LONG, TempDir,
    capture::Capture,
    connections::Connections,
    leat::{Leat, TAP},
    net::{B1, B2, CLIENT, Net},
    process::{command, run},
    servers::{self, Nginx},
    tally, wait_for,
};

/// The README's service, on the tap.
const WEB: &[&str] = &["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2", "--backend", "10.0.0.3"];

/// Reasons to drop that a quiet bridge gives by itself: what it floods, and ARP that was read.
const EXPECTED_DROPS: &[&str] =
    &["not_for_us", "broadcast", "arp_consumed", "arp_not_for_us", "ether_type", "arp_conflict"];

/// Insists that no packet of any connection was dropped.
#[track_caller]
fn assert_nothing_lost(leat: &Leat) {
    let status = leat.status();
    for worker in status["workers"].as_array().expect("the status lists workers") {
        let drops = worker["drops"].as_object().expect("drops are a table");
        let lost: Vec<_> = drops.iter().filter(|(reason, _)| !EXPECTED_DROPS.contains(&reason.as_str())).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
    for port in status["ports"].as_array().expect("the status lists ports") {
        for figure in ["missed", "receive_errors", "transmit_errors", "no_buffer"] {
            assert_eq!(port[figure], 0, "{port}");
        }
    }
}

#[test]
fn a_conversation_by_nc_passes_with_nothing_changed_but_addresses() {
    let net = Net::up("conversation");
    let leat = Leat::start_in(&net, TAP, WEB);
    let mut servers = [B1, B2].map(|role| (role, servers::nc(&net, role, 8080)));
    let client_side = Capture::start(&net, CLIENT, "eth0");
    let backend_sides = [B1, B2].map(|role| (role, Capture::start(&net, role, "eth0")));

    let mut client = net.spawn_with_input(CLIENT, &["nc", "-N", "-p", "34952", "10.0.0.10", "8080"]);
    client.write(b"Hello, server\n");
    let greeted = wait_for("the greeting on a backend", LIMIT, || {
        servers.iter().position(|(_, server)| server.stdout() == "Hello, server\n")
    });
    let (chosen, server) = &mut servers[greeted];
    server.write(b"Hello, client, and welcome\n");
    client.wait_for_output("answer", LIMIT, |stdout, _| stdout == "Hello, client, and welcome\n");
    client.wait(LIMIT).success();
    server.wait(LIMIT).success();

    let backend = net.address(*chosen).to_string();
    let mut recordings = Vec::new();
    for (role, capture) in backend_sides {
        if role == *chosen {
            capture.wait_for(2, "tcp[tcpflags] & tcp-fin != 0", &[]);
            recordings.push(capture.stop());
        } else {
            let strayed = capture.stop().render(&["tcp"]);
            assert!(strayed.is_empty(), "a connection has one backend: {strayed:?}");
        }
    }
    client_side.wait_for(2, "tcp[tcpflags] & tcp-fin != 0", &[]);
    let (client_side, backend_side) = (client_side.stop(), recordings.remove(0));

    // Absolute sequence numbers, no times: what is left of a line is the segment. On one side a segment may pass one
    // of the other direction, so each direction is compared for itself.
    let segments = |recording: &support::capture::Recording, filter: &str| recording.render(&["-S", "-t", filter]);
    let sent = segments(&client_side, "tcp and src host 10.0.0.1");
    let arrived = segments(&backend_side, "tcp and dst port 8080");
    let translated: Vec<_> = sent
        .iter()
        .map(|line| line.replace("10.0.0.1.34952 > 10.0.0.10.8080", &format!("10.0.0.10.34952 > {backend}.8080")))
        .collect();
    assert_eq!(arrived, translated);
    assert!(sent[0].contains("Flags [S], seq ") && sent[0].contains("wscale"), "{}", sent[0]);
    assert!(sent.iter().any(|line| line.ends_with("length 14: HTTP") || line.ends_with("length 14")), "{sent:?}");

    let answered = segments(&backend_side, "tcp and src port 8080");
    let returned = segments(&client_side, "tcp and src host 10.0.0.10");
    let translated: Vec<_> = answered
        .iter()
        .map(|line| line.replace(&format!("{backend}.8080 > 10.0.0.10.34952"), "10.0.0.10.8080 > 10.0.0.1.34952"))
        .collect();
    assert_eq!(returned, translated);

    for recording in [&client_side, &backend_side] {
        for segment in recording.render(&["-v", "tcp"]) {
            assert!(segment.contains("(correct)") && !segment.contains("bad cksum"), "{segment}");
        }
    }
    let (lb, near, far) = (leat.mac(), net.mac(CLIENT), net.mac(*chosen));
    for (recording, filter, ends) in [
        (&client_side, "tcp and src host 10.0.0.1", format!("{near} > {lb}")),
        (&client_side, "tcp and dst host 10.0.0.1", format!("{lb} > {near}")),
        (&backend_side, "tcp and dst port 8080", format!("{lb} > {far}")),
        (&backend_side, "tcp and src port 8080", format!("{far} > {lb}")),
    ] {
        for segment in recording.render(&["-e", "-t", filter]) {
            assert!(segment.starts_with(&ends), "{ends}: {segment}");
        }
    }
    for (recording, filter, ttl) in
        [(&client_side, "tcp and dst host 10.0.0.1", "ttl 63,"), (&backend_side, "tcp and dst port 8080", "ttl 63,")]
    {
        for segment in recording.render(&["-v", filter]) {
            assert!(segment.contains(ttl), "a router takes one from the time to live: {segment}");
        }
    }
    assert_nothing_lost(&leat);
}

#[test]
fn a_thousand_http_requests_succeed_and_reach_both_backends() {
    let net = Net::up("thousand");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let leat = Leat::start_in(&net, TAP, WEB);

    let url = "http://10.0.0.10:8080/who?[1-1000]";
    let answers = net.exec(CLIENT, &["curl", "-sS", "--fail", "-H", "Connection: close", url]).success().stdout;
    let backends = tally(answers.lines().filter_map(|line| line.split(' ').next()));
    assert_eq!(backends.values().sum::<usize>(), 1000, "{backends:?}");
    // maglev by the 5-tuple: even within six standard deviations.
    assert!(backends.len() == 2 && backends.values().all(|count| (405..=595).contains(count)), "{backends:?}");
    let seen: BTreeSet<&str> = answers.lines().filter_map(|line| line.split(' ').nth(1)?.split(':').next()).collect();
    assert_eq!(seen, BTreeSet::from(["10.0.0.10"]), "a backend sees the VIP as its client");
    assert_eq!(leat.backends().iter().map(|(_, _, opened)| opened).sum::<u64>(), 1000);
    assert_nothing_lost(&leat);
}

#[test]
fn all_requests_of_one_connection_reach_one_backend() {
    let net = Net::up("keepalive");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let leat = Leat::start_in(&net, TAP, WEB);

    let mut used = BTreeSet::new();
    for _ in 0..40 {
        let url = "http://10.0.0.10:8080/who?[1-25]";
        let answers = net.exec(CLIENT, &["curl", "-sS", "--fail", url]).success().stdout;
        let requests: Vec<Vec<&str>> = answers.lines().map(|line| line.split(' ').collect()).collect();
        assert_eq!(requests.len(), 25, "{answers}");
        for (number, request) in requests.iter().enumerate() {
            assert_eq!(request[..3], requests[0][..3], "{answers}");
            assert_eq!(request[3], (number + 1).to_string(), "{answers}");
        }
        used.insert(requests[0][0].to_owned());
    }
    assert_eq!(used.len(), 2, "forty connections over two backends");
    assert_nothing_lost(&leat);
}

#[test]
fn wrk_sees_no_error() {
    let net = Net::up("wrk");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let leat = Leat::start_in(&net, TAP, WEB);
    let report = net.exec(CLIENT, &["wrk", "-t1", "-c100", "-d2s", "http://10.0.0.10:8080/"]).success().stdout;
    assert!(report.contains(" requests in "), "{report}");
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    assert!(leat.backends().iter().all(|(_, _, opened)| *opened > 0), "{:?}", leat.backends());
    assert_nothing_lost(&leat);
}

const BIG: usize = 200_000_000;

fn sha256(file: &Path) -> String {
    let printed = run(command("sha256sum").arg("--").arg(file), LIMIT).success().stdout;
    printed.split(' ').next().expect("sha256sum prints the sum first").to_owned()
}

#[test]
fn two_hundred_megabytes_come_down_and_go_up_whole() {
    let net = Net::up("big");
    let servers = [B1, B2].map(|role| Nginx::start_with_big(&net, role, 8080, BIG));
    let _leat = Leat::start_in(&net, TAP, WEB);
    let original = servers[0].big_file();
    let expected = sha256(&original);

    let fetch = "curl -sS --fail http://10.0.0.10:8080/big | sha256sum";
    let fetched = net.exec_within(CLIENT, &["bash", "-o", "pipefail", "-c", fetch], LONG).success().stdout;
    assert_eq!(fetched.split(' ').next(), Some(expected.as_str()));

    let file = original.to_str().expect("a temporary path is text");
    let url = "http://10.0.0.10:8080/upload/big";
    net.exec_within(CLIENT, &["curl", "-sS", "--fail", "-o", "/dev/null", "-T", file, url], LONG).success();
    let stored = servers.iter().find_map(|server| server.uploaded("big")).expect("one backend has the file");
    assert_eq!(sha256(&stored), expected);
}

#[test]
fn iperf3_moves_its_bytes_in_both_directions() {
    let net = Net::up("iperf3");
    let _servers = [B1, B2].map(|role| servers::iperf3(&net, role));
    // iperf3 has a connection for control and one for data, which belong to one backend.
    let own = ["--vip", "10.0.0.10:5201", "--backend", "10.0.0.2", "--backend", "10.0.0.3", "--persistence", "60"];
    let leat = Leat::start_in(&net, TAP, &own);
    for direction in [&[][..], &["-R"]] {
        let words = [&["iperf3", "-c", "10.0.0.10", "-n", "100M", "-J"], direction].concat();
        let report = net.exec_within(CLIENT, &words, LONG).success().stdout;
        let report: Value = serde_json::from_str(&report).expect("iperf3 -J prints JSON");
        assert_eq!(report["error"], Value::Null, "{report}");
        assert!(report["end"]["sum_sent"]["bytes"].as_u64() >= Some(100 << 20), "{}", report["end"]);
        assert!(report["end"]["sum_received"]["bytes"].as_u64() >= Some(95 << 20), "{}", report["end"]);
    }
    let used = leat.backends().iter().filter(|(_, _, opened)| *opened > 0).count();
    assert_eq!(used, 1, "persistence keeps a client on one backend: {:?}", leat.backends());
}

#[test]
fn a_full_table_hurts_no_connection_that_is_in_it() {
    let net = Net::up("full");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let leat = Leat::start_in(&net, TAP, &[WEB, &["--connections", "50"]].concat());
    let mut held = Connections::new(&net, CLIENT, "10.0.0.10", 8080);
    held.open(50);
    wait_for("a full table", LIMIT, || (leat.connections() == 50).then_some(()));

    let refused = net.exec(
        CLIENT,
        &["curl", "-s", "-Z", "--parallel-immediate", "--connect-timeout", "1", "http://10.0.0.10:8080/?[1-10]"],
    );
    assert_eq!(refused.stdout, "", "{refused}");
    assert!(leat.dropped("table_full") >= 10, "{}", leat.dropped("table_full"));
    for number in 0..50 {
        assert_eq!(held.who(number)[3], "1", "connection {number} is alive");
    }

    for number in 0..10 {
        held.close(number);
    }
    wait_for("the closed connections to rest", LIMIT, || {
        (leat.backends().iter().map(|(_, open, _)| open).sum::<u64>() == 40).then_some(())
    });
    held.open(10);
    for number in 10..60 {
        held.who(number);
    }
}

#[test]
fn leat_that_was_killed_starts_again_on_the_same_tap_and_socket() {
    let net = Net::up("killed");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let mut leat = Leat::start_in(&net, TAP, WEB);
    let fetch = ["curl", "-sS", "--fail", "--connect-timeout", "10", "http://10.0.0.10:8080/?[1-20]"];
    for _ in 0..2 {
        assert_eq!(net.exec(CLIENT, &fetch).success().stdout.lines().count(), 20);
        leat.crash_and_restart();
    }
    assert_eq!(net.exec(CLIENT, &fetch).success().stdout.lines().count(), 20);
    leat.stop().success();
}

/// A configuration file with short timeouts.
fn short_lived(directory: &TempDir) -> String {
    let file = directory.join("leat.toml");
    let text = r#"
        connections = 30
        [timeouts]
        tcp_syn_sent = "2s"
        tcp_established = "3s"
        tcp_closing = "2s"
        tcp_time_wait = "2s"
        tcp_reset = "2s"
        [[service]]
        vip = "10.0.0.10"
        port = 8080
        backend = [{ address = "10.0.0.2" }, { address = "10.0.0.3" }]
    "#;
    fs::write(&file, text).expect("a temporary directory can be written");
    file.to_str().expect("a temporary path is text").to_owned()
}

#[test]
fn connections_are_forgotten_when_their_time_is_over() {
    let net = Net::up("expiry");
    let directory = TempDir::new("expiry");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let leat = Leat::start_in(&net, TAP, &["-c", &short_lived(&directory)]);
    let all_gone = || {
        wait_for("an empty table", LIMIT, || (leat.connections() == 0).then_some(()));
        let open: u64 = leat.backends().iter().map(|(_, open, _)| open).sum();
        assert_eq!(open, 0);
    };

    // Those that were closed rest for a while.
    net.exec(CLIENT, &["curl", "-sS", "--fail", "-H", "Connection: close", "http://10.0.0.10:8080/?[1-20]"]).success();
    all_gone();

    // Silent ones go as well, and make room: the table holds 30.
    let mut silent = Connections::new(&net, CLIENT, "10.0.0.10", 8080);
    for _ in 0..3 {
        silent.open(25);
        all_gone();
    }
    // What comes for one of them now belongs to no connection.
    silent.ask_in_vain(0);
    wait_for("a segment of no connection", LIMIT, || (leat.dropped("no_connection") > 0).then_some(()));
    assert_eq!(leat.dropped("table_full"), 0);
}

#[test]
fn a_source_port_is_used_again_when_its_connection_is_forgotten() {
    let net = Net::up("port_again");
    let directory = TempDir::new("port_again");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let leat = Leat::start_in(&net, TAP, &["-c", &short_lived(&directory)]);
    for round in 0..2 {
        // nc waits for the server to close first: the client's port is free again at once. curl does not always wait.
        let ask = "printf 'GET /who HTTP/1.0\\r\\nHost: leat\\r\\n\\r\\n' | nc -w 10 -p 45678 10.0.0.10 8080";
        let who = net.exec(CLIENT, &["bash", "-c", ask]);
        let answer = who.success().stdout;
        assert!(answer.contains(" 10.0.0.10:45678 "), "round {round}: the client's own port is kept: {answer}");
        wait_for("an empty table", LIMIT, || (leat.connections() == 0).then_some(()));
    }
}

#[test]
fn strays_of_both_sides_are_dropped_and_counted() {
    let net = Net::up("strays");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let mut leat = Leat::start_in(&net, TAP, WEB);
    let mut held = Connections::new(&net, CLIENT, "10.0.0.10", 8080);
    held.open(1);
    held.who(0);
    // What leat knew of the connection is gone; client and backend still believe in it.
    leat.crash_and_restart();
    held.ask_in_vain(0);
    wait_for("the client's segment of no connection", LIMIT, || (leat.dropped("no_connection") > 0).then_some(()));

    // The backend speaks to the VIP of its own accord.
    let speak = "exec 3<>/dev/udp/10.0.0.10/40000; echo hello >&3";
    net.exec(B1, &["bash", "-c", speak]).success();
    wait_for("the backend's stray", LIMIT, || (leat.dropped("stray_reply") > 0).then_some(()));
}
