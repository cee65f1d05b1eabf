//! leat-gen in IPv6: its frames before scapy and tshark, its neighbour discovery before scapy and the kernel, and its
//! measurements of the real leat, in every mode, also where one side speaks IPv6 and the other IPv4.
#![cfg(feature = "dpdk")]

mod support;

use std::{fs, path::Path};

use support::{
    LIMIT, LONG, TempDir,
    generator::{
        self, GENERATOR, Memif, assert_whole, count, generate, generate_by, leat_on_memif, try_generate, with,
    },
    leat::{Leat, TAP},
    net::{CLIENT, Net, Role, Shape},
    pcap,
    process::{command, run},
    wait_for,
};

const VIP4: &str = "10.0.0.10";
const VIP6: &str = "2001:db8::10";
const B4: [&str; 4] = ["--backend", "10.0.0.2", "--backend", "10.0.0.3"];
const B6: [&str; 4] = ["--backend", "2001:db8::2", "--backend", "2001:db8::3"];

/// A service's address as it is written, with its port.
fn service(protocol: &str, vip: &str) -> String {
    if vip.contains(':') { format!("{protocol}:[{vip}]:80") } else { format!("{protocol}:{vip}:80") }
}

/// What scapy says.
#[track_caller]
fn scapy(words: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generate/judge.py");
    run(command("/usr/bin/python3").arg(script).args(words), LONG).success().stdout
}

#[test]
fn every_frame_is_the_one_that_scapy_builds_and_tshark_finds_its_checksums_right() {
    let directory = TempDir::new("generate");
    for (vip, clients) in [(VIP6, "2001:2::/48"), (VIP6, "fd00:7::/120"), (VIP4, "198.18.0.0/15")] {
        for (protocol, syns) in [("tcp", &["--syn-share", "30", "--open-rate", "0"][..]), ("udp", &[])] {
            let sent = directory.join("sent.pcap").display().to_string();
            let device = format!("--vdev=net_pcap0,tx_pcap={sent}");
            let vip_and_port = service(protocol, vip);
            let who = ["--vip", &vip_and_port, "--clients", clients, "--to-mac", "02:00:00:00:00:fe"];
            let what = ["--flows", "100", "--size", "imix", "--rate", "20k", "--count", "360"];
            let report = generate(&with(GENERATOR, &[&device]), &[&who[..], &what, syns].concat());
            assert_eq!(count(&report, "sent"), 360, "{report:#}");
            assert_eq!(scapy(&["packets", &sent, vip, clients, "80"]).trim(), "360 100", "{vip} {protocol}");

            let mut tshark = command("tshark");
            tshark.args([
                "-o",
                "tcp.check_checksum:TRUE",
                "-o",
                "udp.check_checksum:TRUE",
                "-r",
                &sent,
                "-T",
                "fields",
            ]);
            tshark.args(["-e", "frame.len", "-e", &format!("{protocol}.checksum.status")]);
            let seen = run(&mut tshark, LIMIT).success().stdout;
            let shortest = if vip.contains(':') { "80" } else { "60" };
            let lengths = |len: &str| seen.lines().filter(|line| *line == format!("{len}\t1")).count();
            assert_eq!([shortest, "590", "1514"].map(lengths), [210, 120, 30], "{vip} {protocol}: {seen}");
        }
    }
}

#[test]
fn it_asks_for_its_next_hop_by_solicitations_and_says_when_nobody_answers() {
    let directory = TempDir::new("generate");
    let sent = directory.join("sent.pcap").display().to_string();
    let device = format!("--vdev=net_pcap0,tx_pcap={sent}");
    for (own, target, group) in [
        (&["--vip", "[2001:db8::10]:80"][..], VIP6, "33:33:ff:00:00:10, ff02::1:ff00:10"),
        (&["--vip", "[2001:db8::10]:80", "--gateway", "fe80::9:1"], "fe80::9:1", "33:33:ff:09:00:01, ff02::1:ff09:1"),
    ] {
        let wait = ["--wait", "500ms", "--mac", "02:00:00:00:00:01"];
        let finished = try_generate(&with(GENERATOR, &[&device]), &[own, &wait[..]].concat()).code_is(1);
        let says = format!("{target} has not answered neighbour solicitations for 500ms");
        assert!(finished.stderr.contains(&says), "{finished}");
        let (ethernet, address) = group.split_once(", ").expect("there are two");
        let expected =
            format!("02:00:00:00:00:01 > {ethernet}, 2001:2::1 > {address}: who has {target}? tell 02:00:00:00:00:01");
        let seen = scapy(&["neighbors", &sent]);
        assert!(!seen.is_empty() && seen.lines().all(|line| line == expected), "{expected}\n{seen}");
    }
}

#[test]
fn it_answers_for_its_clients_and_backends_what_has_passed_no_router() {
    let directory = TempDir::new("generate");
    let file = |name: &str| directory.join(name).display().to_string();
    let (asked, answered) = (file("asked.pcap"), file("answered.pcap"));
    scapy(&["ask", &asked, "02:00:00:00:00:99"]);
    let device = format!("--vdev=net_pcap0,rx_pcap={asked},tx_pcap={answered}");
    let who = ["--vip", "udp:[2001:db8::10]:53", "--backend", "2001:db8::2", "--mac", "02:00:00:00:00:01"];
    let own = [&who[..], &["--gateway", "2001:db8::77", "--wait", "1h"]].concat();
    let mut generator = generator::start(&with(GENERATOR, &[&device]), &own);
    let expected = [
        "02:00:00:00:00:01 > 02:00:00:00:00:99, 2001:2::7 > 2001:db8::99: 2001:2::7 is at 02:00:00:00:00:01, R0 S1 O1",
        "02:00:00:00:00:01 > 02:00:00:00:00:99, 2001:db8::2 > 2001:db8::99: 2001:db8::2 is at 02:00:00:00:00:01, R0 S1 O1",
        "02:00:00:00:00:01 > 33:33:00:00:00:01, 2001:db8::2 > ff02::1: 2001:db8::2 is at 02:00:00:00:00:01, R0 S0 O1",
    ];
    // The last of these is also what is announced at the start; the question in between is its own.
    wait_for("three answers and an announcement", LIMIT, || {
        let frames = pcap::read(Path::new(&answered));
        let is_advertisement = |frame: &&pcap::Frame| frame.bytes.get(54) == Some(&136);
        (frames.iter().filter(is_advertisement).count() >= 4).then_some(())
    });
    generator.signal("TERM");
    generator.wait(LONG).success();
    let seen = scapy(&["neighbors", &answered]);
    let mut told: Vec<_> = seen.lines().filter(|line| line.contains(" is at ")).collect();
    told.sort_unstable();
    assert_eq!(told, [expected[0], expected[1], expected[2], expected[2]], "{seen}");
}

#[test]
fn fullnat_and_nat_are_measured_whichever_versions_their_two_sides_speak() {
    let rows = [
        ("fullnat", VIP6, B6, &[][..]),
        ("nat", VIP6, B6, &[]),
        ("nat", VIP4, B4, &[]),
        ("fullnat", VIP6, B4, &["--local-address", "10.0.0.11"]),
        ("fullnat", VIP4, B6, &["--local-address", "2001:db8::11"]),
    ];
    for (mode, vip, backends, more) in rows {
        for protocol in ["tcp", "udp"] {
            let vip_and_port = service(protocol, vip);
            let own = [&["--vip", &vip_and_port][..], &backends].concat();
            let (leat, memif) = leat_on_memif(&[&own[..], &["--mode", mode], more].concat());
            let what = ["--flows", "300", "--size", "imix", "--rate", "5k", "--count", "1500"];
            let report = generate(&with(GENERATOR, &[&memif.client("net_memif0")]), &[&own[..], &what].concat());
            assert_whole(&report, 1500);
            assert_eq!(count(&report, "reflected"), 1500, "{mode} {protocol} {vip} {backends:?}: {report:#}");
            assert_eq!(leat.backends().iter().map(|(_, _, opened)| opened).sum::<u64>(), 300, "{mode} {vip}");
            leat.stop().success();
        }
    }
}

#[test]
fn whole_connections_are_opened_used_and_closed_in_ipv6_and_across_the_versions() {
    for (vip, backends, more) in [
        (VIP6, B6, &[][..]),
        (VIP6, B4, &["--local-address", "10.0.0.11"]),
        (VIP4, B6, &["--local-address", "2001:db8::11"]),
    ] {
        let vip_and_port = service("tcp", vip);
        let own = [&["--vip", &vip_and_port][..], &backends].concat();
        let (leat, memif) = leat_on_memif(&[&own[..], more].concat());
        let connections = ["--connections", "--flows", "10k", "--rate", "2k", "--count", "500"];
        let report = generate(&with(GENERATOR, &[&memif.client("net_memif0")]), &[&own[..], &connections].concat());
        let figures = &report["connections"];
        assert_eq!((&figures["opened"], &figures["completed"]), (&500.into(), &500.into()), "{vip}: {report:#}");
        assert_whole(&report, 1500);
        let backends = leat.backends();
        assert_eq!(backends.iter().map(|(_, _, opened)| opened).sum::<u64>(), 500, "{backends:?}");
        assert_eq!(backends.iter().map(|(_, open, _)| open).sum::<u64>(), 0, "all are closed: {backends:?}");
        leat.stop().success();
    }
}

#[test]
fn several_lcores_share_the_flows_on_both_sides() {
    const THREE: &[&str] = &["--lcores", "0@0,1@1,2@0", "--no-pci"];
    for (backends, more) in [(B6, &[][..]), (B4, &["--local-address", "10.0.0.11"])] {
        let memif = Memif::new();
        let own = [&["--vip", "[2001:db8::10]:80"][..], &backends].concat();
        let leat = Leat::start(&with(THREE, &[&memif.server("net_memif0")]), &[&own[..], more].concat());
        let few = ["--flows", "301", "--rate", "3k", "--count", "1001", "--order", "random"];
        assert_whole(&generate(&with(THREE, &[&memif.client("net_memif0")]), &[&own[..], &few].concat()), 1001);
        leat.stop().success();
    }
}

#[test]
fn one_way_modes_are_measured_whichever_version_of_ip_is_in_which() {
    let directory = TempDir::new("generate");
    let file = directory.join("leat.toml").display().to_string();
    let tunnels = [(VIP4, B4), (VIP4, B6), (VIP6, B4), (VIP6, B6)];
    let modes = [("ipip", ""), ("gue", ""), ("gue", "gue_version = 1\n"), ("gue", "gue_checksum = true\n")];
    let rows = modes.into_iter().flat_map(|mode| tunnels.map(|tunnel| (mode, tunnel)));
    for ((mode, key), (vip, backends)) in rows.chain([(("dr", ""), (VIP6, B6))]) {
        let backend = |at: usize| format!("{{ address = \"{}\" }}", backends[at]);
        let text = format!(
            "[[interface]]\nport = \"net_memif0\"\naddresses = [\"10.0.0.254/24\", \"2001:db8::fe/64\"]\n\
             [[service]]\nvip = \"{vip}\"\nprotocol = \"tcp\"\nport = 80\nmode = \"{mode}\"\n{key}backend = [{}, {}]\n",
            backend(1),
            backend(3)
        );
        fs::write(&file, text).expect("a temporary directory can be written");
        let (leat, memif) = leat_on_memif(&["-c", &file]);
        let vip_and_port = service("tcp", vip);
        let own = [&["--vip", &vip_and_port, "--direct", "--rate", "5k", "--count", "1000"][..], &backends].concat();
        let report = generate(&with(GENERATOR, &[&memif.client("net_memif0")]), &own);
        assert_eq!(count(&report, "received"), 1000, "{mode} {key} from {vip} to {backends:?}: {report:#}");
        assert_whole(&report, 1000);
        leat.stop().success();
    }
}

/// A network with IPv6, and two taps for a generator on its bridge.
fn net_with_taps(label: &str) -> Net {
    let net = Net::up_as(label, Shape { clients: 1, backends: 1, ipv6: true, ..Shape::default() });
    for tap in ["gen0", "gen1"] {
        net.exec(Role::Lb, &["ip", "tuntap", "add", "dev", tap, "mode", "tap", "multi_queue"]).success();
        net.exec(Role::Lb, &["ip", "link", "set", tap, "master", "br0", "up"]).success();
    }
    net
}

#[test]
fn over_taps_on_a_bridge_everybody_is_found_by_neighbour_discovery() {
    let net = net_with_taps("generate_v6");
    let service = ["--vip", "[2001:db8::10]:80", "--backend", "2001:db8::77"];
    let leat = Leat::start_in(&net, TAP, &service);
    let eal = with(GENERATOR, &["--vdev=net_tap0,iface=gen0", "--vdev=net_tap1,iface=gen1"]);
    let own = [&service[..], &["--flows", "50", "--rate", "2k", "--count", "1000", "--size", "84,1500"]].concat();
    let report = generate_by(net.command(Role::Lb, generator::binary()), &eal, &own);
    assert_whole(&report, 1000);
    assert_eq!(count(&report, "reflected"), 1000, "{report:#}");
    leat.stop().success();
}

#[test]
fn the_kernel_answers_its_solicitations_and_believes_its_advertisements() {
    let net = net_with_taps("generate_ndp");
    let eal = with(GENERATOR, &["--vdev=net_tap0,iface=gen0"]);
    // A host of the network is the next hop; it has no use for what comes.
    let own = ["--vip", "udp:[2001:db8::10]:53", "--gateway", "2001:db8::1", "--rate", "1k", "--count", "10"];
    let report = generate_by(net.command(Role::Lb, generator::binary()), &eal, &own);
    assert_eq!(count(&report, "sent"), 10, "{report:#}");

    let mac = "02:00:00:00:07:07";
    let mut process = support::process::Process::spawn(
        net.command(Role::Lb, generator::binary())
            .args(&eal)
            .args(["--file-prefix", &support::unique("leat_gen"), "--", "--reflect", "--backend", "2001:db8::77"])
            .args(["--mac", mac]),
    );
    process.wait_for_output("'leat-gen: ready'", LONG, |_, stderr| stderr.contains("leat-gen: ready"));
    // Nobody answers this, but the kernel has to find the host.
    let known = wait_for("the kernel's neighbour", LIMIT, || {
        net.exec(CLIENT, &["ping", "-6", "-c", "1", "-W", "1", "2001:db8::77"]);
        let known = net.exec(CLIENT, &["ip", "-6", "neigh", "show", "2001:db8::77"]).success().stdout;
        known.contains("lladdr").then_some(known)
    });
    assert!(known.contains(mac), "{known}");
    process.signal("TERM");
    process.wait(LONG).success();
}
