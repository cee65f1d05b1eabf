//! leat-gen against leat, over shared memory between two processes and over taps on a bridge: at a low rate everything
//! comes back, and right.
#![cfg(feature = "dpdk")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt};

use support::{
    LIMIT, LONG, TempDir,
    generator::{
        self, GENERATOR, LEAT, Memif, assert_whole, count, generate, generate_by, leat_on_memif, try_generate, with,
    },
    leat::{Leat, TAP},
    net::{Net, Role, Shape},
    process::{Finished, command, run},
    repository, unique,
};

const BACKENDS: [&str; 4] = ["--backend", "10.0.0.2", "--backend", "10.0.0.3"];

#[test]
fn all_packets_come_back_right_through_fullnat() {
    let own = [&["--vip", "10.0.0.10:80"][..], &BACKENDS].concat();
    let (leat, memif) = leat_on_memif(&own);
    let device = memif.client("net_memif0");
    let eal = with(GENERATOR, &[&device]);
    let run = |own_too: &[&str]| generate(&eal, &[&own, own_too].concat());

    let report = run(&["--flows", "100", "--rate", "5k", "--count", "3000"]);
    assert_whole(&report, 3000);
    assert_eq!((&report["opening"]["sent"], &report["opening"]["answered"]), (&100.into(), &100.into()), "{report:#}");
    assert_eq!(count(&report, "reflected"), 3100 - 100, "{report:#}");
    let latency = &report["latency_ns"];
    assert!(latency["min"].as_u64() > Some(0) && latency["max"].as_u64() >= latency["p50"].as_u64(), "{report:#}");

    let many = ["--flows", "5k", "--client-ports", "2000-2999", "--open-rate", "5k"];
    let mixed = ["--size", "imix", "--order", "random", "--syn-share", "10", "--rate", "5k", "--count", "3000"];
    assert_whole(&run(&[&many[..], &mixed].concat()), 3000);

    let status = leat.status();
    let opened: u64 = leat.backends().iter().map(|(_, _, opened)| opened).sum();
    assert!(opened >= 5_000, "{opened} connections: {status:#}");
    leat.stop().success();
}

#[test]
fn whole_connections_are_opened_used_and_closed() {
    let own = [&["--vip", "10.0.0.10:80"][..], &BACKENDS].concat();
    let (leat, memif) = leat_on_memif(&own);
    let device = memif.client("net_memif0");
    let connections = ["--connections", "--flows", "10k", "--rate", "2k", "--count", "500"];
    let report = generate(&with(GENERATOR, &[&device]), &[&own[..], &connections].concat());
    assert_eq!((&report["connections"]["opened"], &report["connections"]["completed"]), (&500.into(), &500.into()));
    assert_whole(&report, 1500);
    let figures = leat.backends();
    assert_eq!(figures.iter().map(|(_, _, opened)| opened).sum::<u64>(), 500, "{figures:?}");
    assert_eq!(figures.iter().map(|(_, open, _)| open).sum::<u64>(), 0, "all are closed: {figures:?}");
}

#[test]
fn backends_may_be_played_by_another_process() {
    let (clients, backends) = (Memif::new(), Memif::new());
    let (to_clients, to_backends) = (clients.server("net_memif0"), backends.server("net_memif1"));
    let service = ["--vip", "udp:10.0.0.10:53"];
    let leat = Leat::start(&with(LEAT, &[&to_clients, &to_backends]), &[&service[..], &BACKENDS].concat());
    let mut reflector = generator::start(
        &with(GENERATOR, &[&backends.client("net_memif0")]),
        &["--reflect", "--backend", "10.0.0.2", "--backend", "10.0.0.3"],
    );
    let rate = ["--rate", "5k", "--count", "2000", "--order", "zipf"];
    let report = generate(&with(GENERATOR, &[&clients.client("net_memif0")]), &[&service[..], &rate].concat());
    assert_whole(&report, 2000);
    assert_eq!(count(&report, "reflected"), 0, "not here");
    reflector.signal("TERM");
    let reflected = generator::report(&reflector.wait(LIMIT).success());
    assert_eq!((count(&reflected, "reflected"), count(&reflected, "sent")), (2000, 0), "{reflected:#}");
    leat.stop().success();
}

#[test]
fn several_lcores_share_the_flows_on_both_sides() {
    const THREE: &[&str] = &["--lcores", "0@0,1@1,2@0", "--no-pci"];
    let memif = Memif::new();
    let own = [&["--vip", "10.0.0.10:80"][..], &BACKENDS].concat();
    let leat = Leat::start(&with(THREE, &[&memif.server("net_memif0")]), &own);
    let device = memif.client("net_memif0");
    let few = ["--flows", "301", "--rate", "3k", "--count", "1001", "--order", "random"];
    assert_whole(&generate(&with(THREE, &[&device]), &[&own[..], &few].concat()), 1001);
    // Fewer flows than lcores: who has none has nothing to do.
    let one = ["--flows", "1", "--rate", "3k", "--count", "301"];
    assert_whole(&generate(&with(THREE, &[&device]), &[&own[..], &one].concat()), 301);
    leat.stop().success();
}

#[test]
fn one_way_modes_are_measured_where_the_packet_reaches_its_backend() {
    for (mode, more) in
        [("dr", &[][..]), ("ipip", &["--address", "10.0.0.254/24"]), ("gue", &["--address", "10.0.0.254/24"])]
    {
        let service = ["--vip", "10.0.0.10:80"];
        let (leat, memif) = leat_on_memif(&[&service[..], &BACKENDS, &["--mode", mode], more].concat());
        let device = memif.client("net_memif0");
        let own = [&service[..], &BACKENDS, &["--direct", "--rate", "5k", "--count", "2000"]].concat();
        let report = generate(&with(GENERATOR, &[&device]), &own);
        assert_whole(&report, 2000);
        leat.stop().success();
    }
}

#[test]
fn over_taps_on_a_bridge_everybody_is_found_by_arp() {
    let net = Net::up_as("generate", Shape { clients: 1, backends: 1, ..Shape::default() });
    for tap in ["gen0", "gen1"] {
        net.exec(Role::Lb, &["ip", "tuntap", "add", "dev", tap, "mode", "tap", "multi_queue"]).success();
        net.exec(Role::Lb, &["ip", "link", "set", tap, "master", "br0", "up"]).success();
    }
    let service = ["--vip", "10.0.0.10:80", "--backend", "10.0.0.77"];
    let leat = Leat::start_in(&net, TAP, &service);
    let eal = with(GENERATOR, &["--vdev=net_tap0,iface=gen0", "--vdev=net_tap1,iface=gen1"]);
    let own = [&service[..], &["--flows", "50", "--rate", "2k", "--count", "1000", "--size", "64,1518"]].concat();
    let report = generate_by(net.command(Role::Lb, generator::binary()), &eal, &own);
    assert_whole(&report, 1000);
    assert_eq!(count(&report, "reflected"), 1000, "{report:#}");
    leat.stop().success();
}

#[test]
fn a_signal_ends_it_with_its_report() {
    for signal in ["INT", "TERM"] {
        let own = ["--vip", "10.0.0.10:80", "--to-mac", "02:00:00:00:00:fe", "--open-rate", "0", "--rate", "10k"];
        let mut endless = generator::start(&with(GENERATOR, &["--vdev=net_null0,no-rx=1"]), &own);
        std::thread::sleep(std::time::Duration::from_millis(300));
        endless.signal(signal);
        let report = generator::report(&endless.wait(LONG).success());
        assert_eq!(count(&report, "lost"), count(&report, "sent"), "{report:#}");
        assert_eq!(
            report["lost_percent"].as_f64().map(f64::ceil),
            Some(if count(&report, "sent") > 0 { 100.0 } else { 0.0 })
        );
    }
}

#[test]
fn what_cannot_be_reached_ends_it_with_status_1() {
    let vip = ["--vip", "10.0.0.10:80", "--wait", "100ms"];
    let memif = Memif::new();
    for (devices, says) in [
        (&["--vdev=net_null0,no-rx=1"][..], "10.0.0.10 has not answered ARP for 100ms"),
        (&[&memif.server("net_memif0")], "port net_memif0 has had no link for 100ms"),
        (&["--vdev=net_pcap0,rx_pcap=/nonexistent/file"], "--vdev=net_pcap0: EAL could not open this device"),
        (&[], "there is no port"),
        (&["--vdev=net_null0", "--vdev=net_null1", "--vdev=net_null2"], "there are 3 ports"),
    ] {
        let finished = try_generate(&with(GENERATOR, devices), &vip).code_is(1);
        assert!(finished.stderr.contains(says), "{finished}");
        assert!(finished.stdout.is_empty(), "{finished}");
    }
}

/// Runs scripts/pktgen/run.sh with this leat-gen, and this folder before all others in the PATH.
fn run_script(path: &str, arguments: &[&str]) -> Finished {
    let mut script = command(repository().join("scripts/pktgen/run.sh"));
    script.args(arguments).env("LEAT_GEN", generator::binary());
    script.env("PATH", format!("{path}:{}", std::env::var("PATH").expect("there is a PATH")));
    run(&mut script, LONG)
}

#[test]
fn the_script_measures_with_leat_gen_where_there_is_no_pktgen() {
    for (vip, backend, version) in
        [("udp:10.0.0.10:53", "10.0.0.2", &[][..]), ("udp:[2001:db8::10]:53", "2001:db8::2", &["--ipv6"])]
    {
        let (clients, backends) = (Memif::new(), Memif::new());
        let devices = [clients.server("net_memif0"), backends.server("net_memif1")];
        let leat = Leat::start(
            &with(LEAT, &[&devices[0], &devices[1]]),
            &["--vip", vip, "--backend", backend, "--mode", "dr"],
        );
        let prefix = unique("leat_gen");
        let eal = [&clients.client("net_memif0"), &backends.client("net_memif1"), "--file-prefix", &prefix];
        let own = [version, &["--seconds", "1", "--flows", "100", "--"]].concat();
        let report = run_script("/nowhere", &[&own[..], GENERATOR, &eal].concat()).success().stdout;
        let packets = |line: &str| {
            let found = report.lines().find_map(|text| text.trim().strip_prefix(line)?.split_whitespace().next());
            found.and_then(|count| count.parse::<u64>().ok()).unwrap_or_else(|| panic!("no {line} in {report}"))
        };
        assert!(packets("received") > 0 && packets("misdirected") + packets("corrupt") == 0, "{report}");
        leat.stop().success();
    }
}

#[test]
fn the_script_prefers_pktgen_and_tells_it_what_to_send() {
    let directory = TempDir::new("pktgen");
    let pktgen = directory.join("pktgen");
    fs::write(&pktgen, "#!/bin/sh\necho \"arguments: $*\"\nenv | grep ^LEAT_ | sort\n").expect("it can be written");
    fs::set_permissions(&pktgen, fs::Permissions::from_mode(0o755)).expect("it can be made executable");
    let path = directory.path().to_str().expect("a temporary path is text");
    let own = ["--vip", "10.0.0.12:5353", "--to-mac", "02:00:00:00:00:fe", "--flows", "77", "--map", "2.0,3.1"];
    let printed = run_script(path, &[&own[..], &["--", "-l", "1-3"]].concat()).success().stdout;
    for part in [
        "arguments: -l 1-3 -- -P -m 2.0,3.1 -f /",
        "scripts/pktgen/leat.lua",
        "LEAT_VIP=10.0.0.12",
        "LEAT_PORT=5353",
        "LEAT_MAC=02:00:00:00:00:fe",
        "LEAT_BACKEND=10.0.0.2",
        "LEAT_FLOWS=77",
        "LEAT_SIZE=64",
        "LEAT_SECONDS=10",
    ] {
        assert!(printed.contains(part), "{part} in: {printed}");
    }
    let own = ["--ipv6", "--to-mac", "02:00:00:00:00:fe"];
    let printed = run_script(path, &[&own[..], &["--", "-l", "1-3"]].concat()).success().stdout;
    for part in ["LEAT_VIP=2001:db8::10\n", "LEAT_PORT=53\n", "LEAT_BACKEND=2001:db8::2\n", "LEAT_SIZE=84\n"] {
        assert!(printed.contains(part), "{part} in: {printed}");
    }
    for (own, says) in [
        (&["--vip", "[2001:db8::10]:53"][..], "write it as 10.0.0.10:53, or add --ipv6"),
        (&["--ipv6", "--vip", "10.0.0.10:53"], "write it as [2001:db8::10]:53"),
        (&["--ipv6", "--vip", "[2001:db8::10]"], "write it as [2001:db8::10]:53"),
    ] {
        let refused = run_script(path, &[own, &["--", "-l", "1-3"]].concat()).code_is(2);
        assert!(refused.stderr.contains(says), "{refused}");
    }
    let refused = run_script(path, &["--", "-l", "1-3"]).code_is(2);
    assert!(refused.stderr.contains("Pktgen needs --to-mac"), "{refused}");
    let refused = run_script(path, &["--flows", "1"]).code_is(2);
    assert!(refused.stderr.contains("no EAL options after --"), "{refused}");
}
