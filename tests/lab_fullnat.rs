//! The lab "full NAT by 5-tuple hash on one tap port", as its client and backends see it: docs/labs/fullnat.md.
#![cfg(feature = "dpdk")]

mod support;

use support::{capture::Recording, lab::Lab, leat::Leat, tally};

const URL: &str = "http://10.0.0.10:8080/";
const BACKENDS: [(&str, &str); 2] = [("b1", "10.0.0.2"), ("b2", "10.0.0.3")];

/// The lab's own command line.
fn start(lab: &Lab) -> Leat {
    let service = ["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2", "--backend", "10.0.0.3"];
    lab.leat_with("lb", &service)
}

#[test]
fn client_and_backends_see_the_vip_and_leats_ethernet_address_and_nothing_of_each_other() {
    let lab = Lab::up("fullnat");
    let _servers = BACKENDS.map(|(host, address)| lab.nginx(host, address, 8080, 0));
    let leat = start(&lab);
    let client = lab.capture("client", "eth0");
    let backends = BACKENDS.map(|(host, address)| (address, lab.capture(host, "eth0")));

    let answers = lab.curl("client", &format!("{URL}?[1-40]"), &[]);
    let counts = tally(answers.lines());
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["backend 10.0.0.2", "backend 10.0.0.3"], "{counts:?}");
    assert_eq!(counts.values().sum::<usize>(), 40);

    let of_leat = leat.mac();
    let client = client.stop();
    assert_eq!(client.render(&["tcp and not (host 10.0.0.1 and host 10.0.0.10)"]), [""; 0]);
    assert_eq!(client.render(&[&format!("tcp and not ether host {of_leat}")]), [""; 0]);
    let mut ports = Vec::new();
    for (address, backend) in backends {
        let backend = backend.stop();
        assert_eq!(backend.render(&[&format!("tcp and not (host {address} and host 10.0.0.10)")]), [""; 0]);
        assert_eq!(backend.render(&[&format!("tcp and not ether host {of_leat}")]), [""; 0]);
        ports.extend(sources(&backend, "10.0.0.10"));
    }
    let (mut own, mut seen) = (sources(&client, "10.0.0.1"), ports);
    own.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, own, "the client's own port stays where it is free");
}

/// The source ports of the connections that `address` opened.
fn sources(recording: &Recording, address: &str) -> Vec<String> {
    let syns = recording.render(&["-t", &format!("tcp[tcpflags] == tcp-syn and src host {address}")]);
    let port = |line: &String| line.strip_prefix(&format!("IP {address}."))?.split(' ').next().map(str::to_owned);
    let mut ports: Vec<String> = syns.iter().filter_map(port).collect();
    ports.dedup();
    ports
}

#[test]
fn a_flow_goes_to_the_same_backend_by_its_hash_even_after_a_restart() {
    let lab = Lab::up("fullnat");
    let _servers = BACKENDS.map(|(host, address)| lab.nginx(host, address, 8080, 0));
    // A port that is asked for by its number is free again at once.
    lab.exec("client", &["sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=0"]).success();
    let choices = || {
        let leat = start(&lab);
        let ask = |number| lab.curl("client", URL, &["--local-port", &format!("{}", 40_000 + number)]);
        let answers: Vec<String> = (0..12).map(ask).collect();
        leat.stop().success();
        answers
    };
    let first = choices();
    assert_eq!(tally(first.iter().map(String::as_str)).len(), 2, "both serve: {first:?}");
    assert_eq!(choices(), first);
}
