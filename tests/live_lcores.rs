//! Several lcores behind one tap: every connection works whichever lcore its packets arrive on.
#![cfg(feature = "dpdk")]

mod support;

use std::collections::BTreeSet;

use support::{
    LIMIT, LONG,
    leat::{Leat, sum},
    net::{B1, B2, CLIENT, Net, Role, Shape},
    process::Process,
    servers::{self, Nginx},
    tally,
};

/// Two lcores, each on a CPU of its own.
const TWO: &[&str] = &["-l", "0-1", "--no-pci", "--vdev=net_tap0,iface=tapdpdk"];

/// Four lcores that take turns on two CPUs.
const FOUR: &[&str] = &["--lcores", "0@0,1@0,2@1,3@1", "--no-pci", "--vdev=net_tap0,iface=tapdpdk"];

const WEB: &[&str] = &["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2", "--backend", "10.0.0.3"];

/// Packets of connections that were lost inside leat.
#[track_caller]
fn assert_nothing_lost(leat: &Leat) {
    for reason in ["hand_over_full", "transmit_full", "stray_reply", "no_connection", "neighbor_unresolved"] {
        assert_eq!(leat.dropped(reason), 0, "{reason}");
    }
}

/// Traffic of all kinds through leat on these lcores.
fn everything_works_on(lcores: &[&str], count: usize) {
    let net = Net::up("lcores");
    let servers = [B1, B2].map(|role| Nginx::start_with_big(&net, role, 8080, 20_000_000));
    let leat = Leat::start_in(&net, lcores, WEB);

    let url = "http://10.0.0.10:8080/who?[1-400]";
    let curl = ["curl", "-sS", "--fail", "-H", "Connection: close", "-Z", "--parallel-max", "40", url];
    let answers = net.exec_within(CLIENT, &curl, LONG).success().stdout;
    let backends = tally(answers.lines().filter_map(|line| line.split(' ').next()));
    assert_eq!((backends.len(), backends.values().sum::<usize>()), (2, 400), "{backends:?}");

    let wrk = ["wrk", "-t1", "-c50", "-d2s", "--timeout", "20s", "http://10.0.0.10:8080/"];
    let report = net.exec_within(CLIENT, &wrk, LONG).success().stdout;
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");

    let fetch = "curl -sS --fail http://10.0.0.10:8080/big | cmp - \"$0\"";
    let original = servers[0].big_file();
    let compare = ["bash", "-o", "pipefail", "-c", fetch, original.to_str().expect("a temporary path is text")];
    net.exec_within(CLIENT, &compare, LONG).success();

    let status = leat.status();
    let workers = status["workers"].as_array().expect("the status lists workers");
    assert_eq!(workers.len(), count);
    for worker in workers {
        assert!(worker["polls"].as_u64() > Some(0) && worker["transmitted"].as_u64() > Some(0), "{worker}");
    }
    assert_eq!(status["ports"][0]["steering"], "port mod lcores", "a tap does not tell how it spreads packets");
    let (given, taken) = (sum(&status, "handed_over"), sum(&status, "taken_over"));
    assert!(given > 0 && given.abs_diff(taken) < 1000, "{given} packets handed over, {taken} taken");
    assert_nothing_lost(&leat);
    leat.stop().success();
}

#[test]
fn two_lcores_serve_many_connections_at_once() {
    everything_works_on(TWO, 2);
}

#[test]
fn four_lcores_on_two_cpus_serve_many_connections_at_once() {
    everything_works_on(FOUR, 4);
}

#[test]
fn dns_over_udp_works_on_four_lcores() {
    let net = Net::up("lcores_dns");
    let _servers = [B1, B2].map(|role| servers::dnsmasq(&net, role));
    let own = ["--vip", "udp:10.0.0.10:53", "--backend", "10.0.0.2", "--backend", "10.0.0.3"];
    let leat = Leat::start_in(&net, FOUR, &own);
    let ask = "for i in {1..100}; do echo '@10.0.0.10 +notcp +short +tries=1 +timeout=10 leat.test'; done | dig -f -";
    let answers = net.exec(CLIENT, &["bash", "-c", ask]).success().stdout;
    assert_eq!(answers, "192.0.2.53\n".repeat(100));
    assert_nothing_lost(&leat);
}

#[test]
fn an_any_service_is_pinged_on_four_lcores() {
    let net = Net::up("lcores_ping");
    let own = ["--vip", "any:10.0.0.10", "--local-address", "10.0.0.11", "--backend", "10.0.0.2"];
    let leat = Leat::start_in(&net, FOUR, &own);
    for _ in 0..10 {
        net.exec(CLIENT, &["ping", "-c", "2", "-i", "0.01", "-W", "10", "10.0.0.10"]).success();
    }
    assert_nothing_lost(&leat);
}

/// Both clients' packets would be one tuple at the backend if each kept its port.
#[test]
fn two_clients_with_one_source_port_never_meet_at_the_backend() {
    let net = Net::up_as("same_port", Shape { clients: 2, backends: 1, ..Shape::default() });
    let _server = Nginx::start(&net, B1, 8080);
    let leat = Leat::start_in(&net, FOUR, &["--vip", "10.0.0.10:8080", "--backend", "10.0.0.3"]);

    let mut held: Vec<Process> = Vec::new();
    let mut seen = BTreeSet::new();
    for port in 40_000..40_016 {
        for client in [Role::Client(1), Role::Client(2)] {
            let mut nc = net.spawn_with_input(client, &["nc", "-p", &port.to_string(), "10.0.0.10", "8080"]);
            nc.write(b"GET /who HTTP/1.1\r\nHost: leat\r\n\r\n");
            let (answer, _) =
                nc.wait_for_output("answer", LIMIT, |stdout, _| stdout.contains("\r\n\r\n10.0.0.3 10.0.0.10:"));
            let body = answer.lines().last().expect("an answer has lines");
            let peer = body.split(' ').nth(1).expect("whom nginx sees is the second word").to_owned();
            assert!(seen.insert(peer), "two connections at once from {body}: {seen:?}");
            held.push(nc);
        }
    }
    // All of them are open at the same time, and still answer.
    assert_eq!(seen.len(), 32);
    for nc in &mut held {
        nc.write(b"GET / HTTP/1.1\r\nHost: leat\r\n\r\n");
        nc.wait_for_output("second answer", LIMIT, |stdout, _| stdout.ends_with("backend 10.0.0.3\n"));
    }
    assert_nothing_lost(&leat);
}
