//! The lab "full NAT by 5-tuple hash on one tap port", as its client and backends see it: docs/labs/fullnat.md.
#![cfg(feature = "dpdk")]

mod support;

use support::{
    capture::Recording,
    lab::{Lab, Version},
    leat::Leat,
    tally,
};

const VIP: &str = "10.0.0.10";
const BACKENDS: [(&str, &str); 2] = [("b1", "10.0.0.2"), ("b2", "10.0.0.3")];

/// The lab's own command line.
fn start(lab: &Lab, version: Version) -> Leat {
    let (vip, [b1, b2]) = (version.place(VIP, 8080), BACKENDS.map(|(_, address)| version.at(address)));
    lab.leat_with("lb", &["--vip", &vip, "--backend", &b1, "--backend", &b2])
}

#[test]
fn client_and_backends_see_the_vip_and_leats_ethernet_address_and_nothing_of_each_other() {
    for version in Version::BOTH {
        both_sides_see_leat_alone(version);
    }
}

#[track_caller]
fn both_sides_see_leat_alone(version: Version) {
    let lab = Lab::up_in("fullnat", version);
    let backends = BACKENDS.map(|(host, address)| (host, version.at(address)));
    let _servers = backends.each_ref().map(|(host, address)| lab.nginx(host, address, 8080, 0));
    let leat = start(&lab, version);
    let (own, vip) = (version.at("10.0.0.1"), version.at(VIP));
    let client = lab.capture("client", "eth0");
    let backends = backends.map(|(host, address)| (address, lab.capture(host, "eth0")));

    let answers = lab.curl("client", &format!("{}:8080/?[1-40]", version.url(VIP)), &[]);
    let counts = tally(answers.lines());
    let both = BACKENDS.map(|(_, address)| format!("backend {}", version.at(address)));
    assert_eq!(counts.keys().collect::<Vec<_>>(), both.each_ref(), "{counts:?}");
    assert_eq!(counts.values().sum::<usize>(), 40);

    let of_leat = leat.mac();
    let client = client.stop();
    assert_eq!(client.render(&[&format!("tcp and not (host {own} and host {vip})")]), [""; 0]);
    assert_eq!(client.render(&[&format!("tcp and not ether host {of_leat}")]), [""; 0]);
    let mut ports = Vec::new();
    for (address, backend) in backends {
        let backend = backend.stop();
        assert_eq!(backend.render(&[&format!("tcp and not (host {address} and host {vip})")]), [""; 0]);
        assert_eq!(backend.render(&[&format!("tcp and not ether host {of_leat}")]), [""; 0]);
        ports.extend(sources(&backend, version, &vip));
    }
    let (mut own, mut seen) = (sources(&client, version, &own), ports);
    own.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, own, "the client's own port stays where it is free");
}

/// The source ports of the connections that `address` opened.
fn sources(recording: &Recording, version: Version, address: &str) -> Vec<String> {
    let syns = recording.render(&["-t", &format!("{} == tcp-syn and src host {address}", version.tcp_flags())]);
    let start = format!("{} {address}.", version.shown());
    let port = |line: &String| line.strip_prefix(&start)?.split(' ').next().map(str::to_owned);
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
        let leat = start(&lab, Version::V4);
        let ask =
            |number| lab.curl("client", "http://10.0.0.10:8080/", &["--local-port", &format!("{}", 40_000 + number)]);
        let answers: Vec<String> = (0..12).map(ask).collect();
        leat.stop().success();
        answers
    };
    let first = choices();
    assert_eq!(tally(first.iter().map(String::as_str)).len(), 2, "both serve: {first:?}");
    assert_eq!(choices(), first);
}
