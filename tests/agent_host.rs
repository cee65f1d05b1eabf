//! What leat-agent does to its host, and that all of it is undone, however it ends.
#![cfg(feature = "dpdk")]

mod support;

use std::process::Command;

use support::{
    LIMIT,
    agent::{Agent, binary},
    capture::Capture,
    net::{B1, CLIENT, Net, Shape},
    process::{Finished, run},
    wait_for,
};

const VIP: &str = "20.0.0.1";
const VIP_6: &str = "2001:db8::10";
/// The table of `--mss`, "leat" as a number.
const TABLE: &str = "1818583412";

/// All that the agent may change on a host: settings, links, addresses, routes, rules.
fn everything(net: &Net) -> String {
    let words: [&[&str]; 7] = [
        &["sysctl", "-a", "-r", r"^net\.ipv[46]\.conf\."],
        &["ip", "-o", "link"],
        &["ip", "-o", "address"],
        &["ip", "route", "show", "table", "all"],
        &["ip", "rule"],
        &["ip", "-6", "route", "show", "table", "all"],
        &["ip", "-6", "rule"],
    ];
    words.map(|words| net.exec(B1, words).success().stdout).concat()
}

/// A network with IPv6 beside IPv4.
fn up_6(label: &str) -> Net {
    Net::up_as(label, Shape { ipv6: true, ..Shape::default() })
}

fn setting(net: &Net, name: &str) -> String {
    net.exec(B1, &["sysctl", "-n", name]).success().stdout.trim().to_owned()
}

fn vip_is_here(net: &Net) -> bool {
    net.exec(B1, &["ip", "-4", "-o", "address"]).success().stdout.contains(VIP)
}

/// Runs it to its end, which must be a refusal.
fn refusal(net: &Net, arguments: &[&str]) -> Finished {
    let mut command: Command = net.command(B1, binary());
    run(command.args(arguments), LIMIT).code_is(1)
}

fn state_file(net: &Net) -> std::path::PathBuf {
    let name = net.exec(B1, &["readlink", "/proc/self/ns/net"]).success().stdout;
    let inode = name.trim().trim_start_matches("net:[").trim_end_matches(']');
    format!("/run/leat/agent-{inode}.json").into()
}

#[test]
fn a_host_is_after_the_end_what_it_was_before() {
    let net = up_6("agent_undo");
    // Not what a kernel starts with, so that "restored" differs from "reset".
    net.exec(B1, &["sysctl", "-qw", "net.ipv4.conf.all.arp_announce=1"]).success();
    for signal in ["TERM", "INT", "HUP"] {
        let before = everything(&net);
        let agent = Agent::start(&net, B1, &["--vip", VIP, "--vip", "20.0.0.2", "--vip", VIP_6, "--mss", "1428"]);
        assert_eq!(setting(&net, "net.ipv4.conf.all.arp_ignore"), "1");
        assert_eq!(setting(&net, "net.ipv4.conf.all.arp_announce"), "2");
        let addresses = net.exec(B1, &["ip", "-o", "-4", "address", "show", "dev", "leat0"]).success().stdout;
        assert!(addresses.contains("inet 20.0.0.1/32 scope host"), "{addresses}");
        assert!(addresses.contains("inet 20.0.0.2/32 scope host"), "{addresses}");
        let addresses = net.exec(B1, &["ip", "-o", "-6", "address", "show", "dev", "leat0"]).success().stdout;
        assert_eq!(addresses.lines().count(), 1, "no address but the VIP: {addresses}");
        assert!(
            addresses.contains("inet6 2001:db8::10/128 scope global nodad deprecated noprefixroute")
                && addresses.contains("valid_lft forever preferred_lft 0sec"),
            "{addresses}"
        );
        let rules = net.exec(B1, &["ip", "-6", "rule"]).success().stdout;
        assert!(rules.contains(&format!("from {VIP_6} lookup {TABLE}")), "{rules}");
        assert!(state_file(&net).exists());

        agent.end(signal).success();
        assert_eq!(everything(&net), before, "after SIG{signal}");
        assert!(!state_file(&net).exists());
    }
}

#[test]
fn what_a_killed_agent_left_is_mended_by_the_next_one() {
    let net = up_6("agent_killed");
    let before = everything(&net);
    Agent::start(&net, B1, &["--vip", VIP, "--vip", VIP_6, "--mss", "1428"]).kill();
    assert!(!vip_is_here(&net), "device and VIP go with the process");
    assert_eq!(setting(&net, "net.ipv4.conf.all.arp_ignore"), "1", "settings stay");

    // Killed twice: the changed values must not be taken for the originals.
    Agent::start(&net, B1, &["--vip", VIP]).kill();
    let agent = Agent::start(&net, B1, &["--vip", VIP]);
    assert!(agent.stderr().contains("did not end properly"), "{}", agent.stderr());
    assert_eq!(setting(&net, "net.ipv4.conf.all.arp_ignore"), "1");
    let rules = net.exec(B1, &["ip", "rule"]).success().stdout;
    assert!(!rules.contains(TABLE), "the first one's rule, which this one did not ask for: {rules}");
    let routes = net.exec(B1, &["ip", "-6", "route", "show", "table", TABLE]).stdout;
    assert!(routes.is_empty(), "{routes}");

    agent.stop().success();
    assert_eq!(everything(&net), before);
}

#[test]
fn a_setting_that_somebody_changed_meanwhile_is_left_alone() {
    let net = Net::up("agent_meanwhile");
    let agent = Agent::start(&net, B1, &["--vip", VIP]);
    net.exec(B1, &["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=8"]).success();
    let finished = agent.stop().success();
    assert!(finished.stderr.contains("net.ipv4.conf.all.arp_ignore was 0, was made 1, and is 8 now"), "{finished}");
    assert_eq!(setting(&net, "net.ipv4.conf.all.arp_ignore"), "8");
    assert_eq!(setting(&net, "net.ipv4.conf.all.arp_announce"), "0");
}

#[test]
fn settings_that_are_stricter_already_stay() {
    let net = Net::up("agent_stricter");
    net.exec(B1, &["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=2", "net.ipv4.conf.all.arp_announce=2"]).success();
    let agent = Agent::start(&net, B1, &["--vip", VIP]);
    assert_eq!(setting(&net, "net.ipv4.conf.all.arp_ignore"), "2");
    agent.stop().success();
    assert_eq!(setting(&net, "net.ipv4.conf.all.arp_ignore"), "2");
}

#[test]
fn what_is_in_the_way_is_said_and_nothing_is_changed() {
    let net = up_6("agent_refused");
    let refused = |arguments: &[&str], message: &str| {
        let before = everything(&net);
        let finished = refusal(&net, &[&["--vip", VIP], arguments].concat());
        assert!(finished.stderr.contains(message), "{finished}");
        assert_eq!(everything(&net), before, "{arguments:?}");
    };
    refused(&["--device", "eth0"], "there is an interface eth0 already");
    refused(&["--interface", "eth7"], "there is no interface eth7");

    let mut listener = net.spawn(B1, &["nc", "-u", "-l", "6080"]);
    net.wait_until_listening(B1, support::net::Transport::Udp, 6080);
    refused(&[], "UDP port 6080 is taken");
    Agent::start(&net, B1, &["--vip", VIP, "--ipip"]).stop().success();
    listener.kill();

    net.exec(B1, &["ip", "address", "add", "20.0.0.1/32", "dev", "eth0"]).success();
    refused(&[], "20.0.0.1 is on eth0, which answers ARP for it");
    net.exec(B1, &["ip", "address", "delete", "20.0.0.1/32", "dev", "eth0"]).success();

    net.exec(B1, &["ip", "address", "add", "2001:db8::10/128", "dev", "eth0", "nodad"]).success();
    refused(&["--vip", VIP_6], "2001:db8::10 is on eth0, which answers neighbour discovery for it");
    net.exec(B1, &["ip", "address", "delete", "2001:db8::10/128", "dev", "eth0"]).success();

    // GUE's port is one of each version.
    let mut listener = net.spawn(B1, &["nc", "-6", "-u", "-l", "6080"]);
    net.wait_until_listening(B1, support::net::Transport::Udp, 6080);
    refused(&["--vip", VIP_6], "UDP port 6080 is taken");
    listener.kill();

    // On lo it is no harm, and not the agent's to remove.
    net.exec(B1, &["ip", "address", "add", "20.0.0.1/32", "dev", "lo"]).success();
    Agent::start(&net, B1, &["--vip", VIP]).stop().success();
    assert!(vip_is_here(&net));

    let nobody = ["setpriv", "--reuid", "65534", "--clear-groups", binary(), "--vip", VIP];
    let finished = net.exec(B1, &nobody).code_is(1);
    assert!(finished.stderr.contains("leat-agent runs as root"), "{finished}");
}

#[test]
fn a_second_agent_in_a_namespace_is_refused_and_the_first_goes_on() {
    let net = Net::up("agent_second");
    let mut agent = Agent::start(&net, B1, &["--vip", VIP]);
    let finished = refusal(&net, &["--vip", "20.0.0.2", "--device", "leat1", "--gue", "7000"]);
    assert!(finished.stderr.contains("another leat-agent is running in this network namespace"), "{finished}");
    assert_eq!(setting(&net, "net.ipv4.conf.all.arp_ignore"), "1");
    agent.report();

    // In another namespace there is room for another.
    Agent::start(&net, CLIENT, &["--vip", VIP]).stop().success();
    agent.stop().success();
}

#[test]
fn a_device_that_somebody_removes_ends_the_agent_which_says_so() {
    let net = Net::up("agent_device");
    let mut command = net.command(B1, binary());
    let mut agent = support::process::Process::spawn(command.args(["--vip", VIP]));
    agent.wait_for_output("'ready'", LIMIT, |stdout, _| stdout.contains("leat-agent: ready\n"));
    net.exec(B1, &["ip", "link", "delete", "leat0"]).success();
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [20, 0, 0, 1], 64).udp(1, 9).write(&mut packet, &[]).unwrap();
    support::tunnel::Sender::new(&net, CLIENT, net.address(B1), support::tunnel::Wrap::Ipip).send(&packet);
    let finished = agent.wait(LIMIT).code_is(1);
    assert!(finished.stderr.contains("receiving ipip-4in4"), "{finished}");
    assert_eq!(setting(&net, "net.ipv4.conf.all.arp_ignore"), "0");
}

#[test]
fn nobody_hears_by_arp_that_the_host_has_the_vip() {
    let net = Net::up("agent_arp");
    let agent = Agent::start(&net, B1, &["--vip", VIP]);
    net.exec(CLIENT, &["arping", "-q", "-c", "1", "-w", "5", "-I", "eth0", "10.0.0.2"]).success();
    net.exec(CLIENT, &["arping", "-q", "-c", "2", "-w", "2", "-I", "eth0", VIP]).code_is(1);

    // Nor when the host itself asks, to send from the VIP.
    let capture = Capture::start(&net, CLIENT, "eth0");
    net.exec(B1, &["ip", "neighbor", "flush", "dev", "eth0"]).success();
    net.exec(B1, &["ping", "-c", "1", "-W", "1", "-I", VIP, "10.0.0.1"]);
    let asked = capture.wait_for(1, "arp[6:2] == 1 and ether src 02:00:00:00:00:02", &[]);
    assert!(asked.iter().all(|line| line.contains("who-has 10.0.0.1 tell 10.0.0.2")), "{asked:?}");
    drop(capture);

    agent.stop().success();
    // The question was a good one: with the VIP there and nothing else done, the host answers.
    net.exec(B1, &["ip", "address", "add", "20.0.0.1/32", "dev", "lo"]).success();
    net.exec(CLIENT, &["arping", "-q", "-c", "1", "-w", "5", "-I", "eth0", VIP]).success();
}

#[test]
fn nobody_hears_by_neighbour_discovery_that_the_host_has_the_vip() {
    let net = up_6("agent_nd");
    // What the kernel says about an address that comes would be seen.
    net.exec(B1, &["sysctl", "-qw", "net.ipv6.conf.all.ndisc_notify=1", "net.ipv6.conf.default.ndisc_notify=1"])
        .success();
    let capture = Capture::start(&net, CLIENT, "eth0");
    let agent = Agent::start(&net, B1, &["--vip", VIP_6]);
    let ping = |address: &str, code| {
        net.exec(CLIENT, &["ping", "-6", "-c", "2", "-i", "0.2", "-W", "2", address]).code_is(code);
    };
    ping("2001:db8::2", 0);
    ping(VIP_6, 1);
    let neighbours = net.exec(CLIENT, &["ip", "-6", "neighbour", "show", VIP_6]).success().stdout;
    assert!(!neighbours.contains("lladdr"), "{neighbours}");

    // Nor when the host itself asks, to send from the VIP: what asks does so by another address.
    net.exec(B1, &["ip", "-6", "neighbour", "flush", "dev", "eth0"]).success();
    net.exec(B1, &["ping", "-6", "-c", "1", "-W", "1", "-I", VIP_6, "2001:db8::1"]);
    capture.wait_for(1, "icmp6 and ip6[40] == 135 and ether src 02:00:00:00:00:02", &[]);

    // Without a word of which, the host speaks from its own address, though that is not the newer one.
    let route = net.exec(B1, &["ip", "-6", "route", "get", "2001:db8::1"]).success().stdout;
    assert!(route.contains(" src 2001:db8::2 "), "{route}");
    net.exec(B1, &["ping", "-6", "-c", "1", "-W", "5", "2001:db8::1"]).success();
    agent.stop().success();
    let told =
        capture.stop().render(&["-v", "ether src 02:00:00:00:00:02 and icmp6 and ip6[40] >= 133 and ip6[40] <= 137"]);
    assert!(!told.is_empty());
    for line in told {
        let source = line.split_once(" > ").expect("source > destination").0;
        assert!(!source.ends_with(VIP_6) && !line.contains(&format!("tgt is {VIP_6}")), "{line}");
    }

    // The question was a good one: with the VIP there and nothing else done, the host answers.
    net.exec(B1, &["ip", "address", "add", "2001:db8::10/128", "dev", "eth0", "nodad"]).success();
    ping(VIP_6, 0);
}

#[test]
fn the_routes_of_mss_follow_the_hosts_routes() {
    let net = Net::up("agent_routes");
    net.exec(B1, &["ip", "route", "add", "default", "via", "10.0.0.1"]).success();
    net.exec(B1, &["ip", "route", "add", "10.8.0.0/24", "via", "10.0.0.3", "mtu", "1300", "metric", "7"]).success();
    let agent = Agent::start(&net, B1, &["--vip", VIP, "--mss", "1428"]);
    let table = || {
        let shown = net.exec(B1, &["ip", "route", "show", "table", TABLE]).success().stdout;
        let mut lines: Vec<_> =
            shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        lines.sort();
        lines
    };
    let connected = "10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.2 advmss 1428".to_owned();
    let default = "default via 10.0.0.1 dev eth0 advmss 1428".to_owned();
    let narrow = "10.8.0.0/24 via 10.0.0.3 dev eth0 metric 7 mtu 1300 advmss 1260".to_owned();
    assert_eq!(table(), [connected.clone(), narrow.clone(), default.clone()]);
    let rules = net.exec(B1, &["ip", "rule"]).success().stdout;
    assert!(rules.contains(&format!("from 20.0.0.1 lookup {TABLE}")), "{rules}");

    net.exec(B1, &["ip", "route", "replace", "default", "via", "10.0.0.3"]).success();
    net.exec(B1, &["ip", "route", "delete", "10.8.0.0/24"]).success();
    net.exec(B1, &["ip", "route", "add", "unreachable", "10.9.0.0/24"]).success();
    let expected =
        vec![connected, "default via 10.0.0.3 dev eth0 advmss 1428".to_owned(), "unreachable 10.9.0.0/24".to_owned()];
    wait_for("the copy to follow", LIMIT, || (table() == expected).then_some(()));

    // An interface that goes down takes its routes along, and the one that comes back is copied again.
    net.exec(B1, &["ip", "link", "set", "eth0", "down"]).success();
    net.exec(B1, &["ip", "link", "set", "eth0", "up"]).success();
    let expected = vec![expected[0].clone(), expected[2].clone()];
    wait_for("the copy after the interface is back", LIMIT, || (table() == expected).then_some(()));

    agent.stop().success();
    assert!(table().is_empty());
    let rules = net.exec(B1, &["ip", "rule"]).success().stdout;
    assert!(!rules.contains(TABLE), "{rules}");
}

#[test]
fn the_routes_of_mss_follow_the_hosts_routes_in_ipv6() {
    let net = up_6("agent_routes_6");
    let ip = |words: &[&str]| net.exec(B1, &[&["ip", "-6"], words].concat()).success().stdout;
    ip(&["route", "add", "default", "via", "2001:db8::1"]);
    ip(&["route", "add", "2001:db8:8::/48", "via", "2001:db8::3", "mtu", "1300", "metric", "7"]);
    let both = ["nexthop", "via", "2001:db8::1", "dev", "eth0", "nexthop", "via", "2001:db8::3", "dev", "eth0"];
    ip(&[&["route", "add", "2001:db8:7::/48"], &both[..]].concat());
    let agent = Agent::start(&net, B1, &["--vip", VIP_6, "--mss", "1428"]);
    let table = || {
        let shown = ip(&["route", "show", "table", TABLE]);
        let mut lines: Vec<_> =
            shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        lines.sort();
        lines.join("\n")
    };
    let connected = "2001:db8::/64 dev eth0 proto kernel metric 256 advmss 1408 pref medium";
    let link = "fe80::/64 dev eth0 proto kernel metric 256 advmss 1408 pref medium";
    let narrow = "2001:db8:8::/48 via 2001:db8::3 dev eth0 metric 7 mtu 1300 advmss 1240 pref medium";
    let default = "default via 2001:db8::1 dev eth0 metric 1024 advmss 1408 pref medium";
    let first = table();
    for route in [connected, link, narrow, default] {
        assert!(first.lines().any(|line| line == route), "no '{route}' in\n{first}");
    }
    assert!(first.contains("2001:db8:7::/48 metric 1024 advmss 1408"), "{first}");
    assert!(first.contains("nexthop via 2001:db8::1") && first.contains("nexthop via 2001:db8::3"), "{first}");

    ip(&["route", "replace", "default", "via", "2001:db8::3"]);
    ip(&["route", "delete", "2001:db8:8::/48"]);
    ip(&["route", "delete", "2001:db8:7::/48"]);
    ip(&["route", "add", "unreachable", "2001:db8:9::/48"]);
    wait_for("the copy to follow", LIMIT, || {
        let now = table();
        let has = |text: &str| now.contains(text);
        let is_there = has("default via 2001:db8::3") && has("unreachable 2001:db8:9::/48") && has(connected);
        (is_there && !has("2001:db8:8::") && !has("2001:db8:7::") && !has("via 2001:db8::1")).then_some(())
    });
    agent.stop().success();
    assert_eq!(ip(&["route", "show", "table", "all"]).matches(TABLE).count(), 0);
    let rules = ip(&["rule"]);
    assert!(!rules.contains(TABLE), "{rules}");
}
