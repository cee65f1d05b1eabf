//! leat against others who know what a packet must look like: scapy, which builds each itself, and the kernel's NAT, through
//! which the same conversations go.
#![cfg(feature = "dpdk")]

mod support;

use std::{fs, path::Path};

use support::{
    LIMIT, LONG, TempDir,
    leat::{Leat, TAP, pcap_run},
    net::{B1, B2, CLIENT, Net},
    pcap,
    process::{command, run},
};

fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential").join(name).display().to_string()
}

#[test]
fn every_packet_is_the_one_that_scapy_builds() {
    let directory = TempDir::new("scapy");
    let file = |name: &str| directory.join(name).display().to_string();
    let judge = |words: &[&str]| {
        run(command("/usr/bin/python3").arg(script("scapy_judge.py")).args(words), LONG).success().stdout
    };
    for client in ["4", "6"] {
        judge(&["make", "1", "150", &file("in.pcap"), client]);
        let frames: Vec<_> = pcap::read(Path::new(&file("in.pcap"))).into_iter().map(|frame| frame.bytes).collect();
        for backend in ["4", "6"] {
            for mode in ["fullnat", "nat", "dr", "ipip", "gue"] {
                if client != backend && matches!(mode, "nat" | "dr") {
                    continue;
                }
                fs::write(directory.join("leat.toml"), services(mode, client, backend)).expect("it can be written");
                let leat = pcap_run(&frames, &["-c", &file("leat.toml")]);
                let sent = leat.output.display().to_string();
                let right = judge(&["judge", mode, &file("in.pcap"), &sent, backend]);
                assert_eq!(right.trim(), frames.len().to_string(), "{mode}, from IPv{client} to IPv{backend}");
            }
        }
    }
}

/// RFC 7915, where packets grow too long or come in pieces, and routers complain.
#[test]
fn what_is_too_long_in_pieces_or_wrong_crosses_as_scapy_says() {
    let directory = TempDir::new("scapy_crossing");
    let file = |name: &str| directory.join(name).display().to_string();
    let judge = |words: &[&str]| {
        run(command("/usr/bin/python3").arg(script("scapy_crossing.py")).args(words), LONG).success().stdout
    };
    let service = |vip: &str, local: &str, backend: &str| {
        format!(
            "[[service]]\nvip = \"{vip}\"\nprotocol = \"udp\"\nport = 9999\nlocal_addresses = [\"{local}\"]\n\
             [[service.backend]]\naddress = \"{backend}\"\nmac = \"02:00:00:00:00:02\"\n"
        )
    };
    let text = [
        "mac = \"02:00:00:00:00:fe\"\n".to_owned(),
        service("2001:db8::10", "10.0.0.11", "10.0.0.2"),
        service("10.0.0.10", "2001:db8::11", "2001:db8::2"),
    ];
    fs::write(directory.join("leat.toml"), text.concat()).expect("it can be written");
    for seed in ["1", "2", "3"] {
        judge(&["make", seed, &file("in.pcap")]);
        let frames: Vec<_> = pcap::read(Path::new(&file("in.pcap"))).into_iter().map(|frame| frame.bytes).collect();
        let leat = pcap_run(&frames, &["-c", &file("leat.toml")]);
        assert!(leat.wrong_checksums().is_empty());
        assert_eq!(judge(&["judge", seed, &leat.output.display().to_string()]).trim(), "160", "seed {seed}");
    }
}

/// A service of TCP and one of UDP in `mode`, for clients of one version and a backend of one.
fn services(mode: &str, client: &str, backend: &str) -> String {
    let (tcp, udp) = if matches!(mode, "fullnat" | "nat") { (9090, 9953) } else { (8080, 5300) };
    let vip = if client == "4" { "10.0.0.10" } else { "2001:db8::10" };
    let (address, local) = if backend == "4" { ("10.0.0.2", "10.0.0.11") } else { ("2001:db8::2", "2001:db8::11") };
    let local = if mode == "fullnat" && client != backend {
        format!("local_addresses = [\"{local}\"]\n")
    } else {
        String::new()
    };
    let service = |protocol: &str, port: u16, to: u16| {
        format!(
            "[[service]]\nvip = \"{vip}\"\nprotocol = \"{protocol}\"\nport = {port}\nmode = \"{mode}\"\n{local}\
             [[service.backend]]\naddress = \"{address}\"\nport = {to}\nmac = \"02:00:00:00:00:02\"\n"
        )
    };
    format!(
        "mac = \"02:00:00:00:00:fe\"\n[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\", \"2001:db8::fe/64\"]\n{}{}",
        service("tcp", 8080, tcp),
        service("udp", 5300, udp)
    )
}

#[test]
fn conversations_arrive_as_through_the_kernels_nat() {
    let net = Net::up("kernel_nat");
    let toml = "[[service]]\nvip = \"10.0.0.10\"\nport = 8080\nbackend = [{ address = \"10.0.0.2\", port = 9090 }]\n\
                [[service]]\nvip = \"10.0.0.10\"\nprotocol = \"udp\"\nport = 5300\nbackend = [{ address = \"10.0.0.2\", port = 9953 }]\n";
    let directory = TempDir::new("kernel_nat");
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).expect("a temporary directory can be written");
        path.display().to_string()
    };
    let leat = Leat::start_in(&net, TAP, &["-c", &file("leat.toml", toml)]);
    // The second backend's host is the other balancer.
    let rules = "table ip nat {\n chain pre {\n type nat hook prerouting priority dstnat\n\
                 ip daddr 10.0.0.11 tcp dport 8080 dnat to 10.0.0.2:9090\n ip daddr 10.0.0.11 udp dport 5300 dnat to 10.0.0.2:9953\n }\n\
                 chain post {\n type nat hook postrouting priority srcnat\n ip daddr 10.0.0.2 snat to 10.0.0.11\n }\n}\n";
    let silence =
        "table ip quiet {\n chain in {\n type filter hook input priority 0\n ip protocol != icmp drop\n }\n}\n";
    net.exec(B2, &["ip", "address", "add", "10.0.0.11/24", "dev", "eth0"]).success();
    for setting in
        ["net.ipv4.ip_forward=1", "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.eth0.send_redirects=0"]
    {
        net.exec(B2, &["sysctl", "-qw", setting]).success();
    }
    net.exec(B2, &["nft", "-f", &file("nat", rules)]).success();
    // The kernels of the two ends say nothing themselves.
    for role in [CLIENT, B1] {
        net.exec(role, &["nft", "-f", &file("quiet", silence)]).success();
        // And everybody knows where everybody is.
        for (address, mac) in [("10.0.0.3", net.mac(B2)), ("10.0.0.11", net.mac(B2)), ("10.0.0.10", leat.mac())] {
            net.exec(role, &["ip", "neighbor", "replace", address, "lladdr", &mac, "dev", "eth0"]).success();
        }
    }
    net.exec(B2, &["ping", "-c", "1", "-W", "5", "10.0.0.1"]).success();
    net.exec(B2, &["ping", "-c", "1", "-W", "5", "10.0.0.2"]).success();
    support::wait_for("leat to find the backend", LIMIT, || {
        let status = leat.status();
        let known = status["neighbors"].as_array()?.iter().any(|it| !it["mac"].is_null());
        known.then_some(())
    });
    for seed in ["1", "2"] {
        let mut judge = command("/usr/bin/python3");
        judge
            .arg(script("kernel.py"))
            .args([net.namespace(CLIENT), net.namespace(B1), leat.mac(), net.mac(B2)])
            .arg(seed);
        let arrived = run(&mut judge, LONG).success().stdout;
        assert!(arrived.trim().parse::<u32>().is_ok_and(|arrived| arrived > 100), "{arrived} packets arrived");
    }
}
