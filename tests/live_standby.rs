//! A pair of leats, one of which stands by; and ports whose links go down and up.
#![cfg(feature = "dpdk")]

mod support;

use std::{fs, time::Duration};

use support::{
    LIMIT, TempDir,
    capture::Capture,
    leat::{Leat, TAP},
    net::{B1, B2, CLIENT, Net, Role, Shape},
    process::{Finished, command, run},
    servers::Nginx,
    wait_for,
};

/// The second leat's lcore and tap.
const SECOND_TAP: &[&str] = &["-l", "1", "--no-pci", "--vdev=net_tap1,iface=tapdpdk2"];

const SERVICE: &str = "[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 8080\n\
                       backend = [{ address = \"10.0.0.2\" }, { address = \"10.0.0.3\" }]\n";

fn ctl(leat: &Leat, arguments: &str) -> Finished {
    let mut leatctl = command(env!("CARGO_BIN_EXE_leatctl"));
    leatctl.arg("--api").arg(format!("unix:{}", leat.api().display())).args(arguments.split_whitespace());
    run(&mut leatctl, LIMIT)
}

/// A leat with a configuration of its own.
fn start(net: &Net, eal: &[&str], directory: &TempDir, head: &str, mac: &str) -> Leat {
    let file = directory.join("leat.toml");
    fs::write(&file, format!("mac = \"{mac}\"\n{head}{SERVICE}")).expect("a temporary directory can be written");
    Leat::start_in(net, eal, &["-c", file.to_str().expect("the path is text")])
}

/// Asks the client's neighbours who has the VIP, and returns who says so.
fn holders(net: &Net) -> Vec<String> {
    let said = net.exec(CLIENT, &["arping", "-I", "eth0", "-c", "2", "-w", "3", "10.0.0.10"]).stdout.to_lowercase();
    let mut macs: Vec<_> =
        said.lines().filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())).collect();
    macs.sort();
    macs.dedup();
    macs
}

fn curl(net: &Net) -> Finished {
    net.exec(CLIENT, &["curl", "-sS", "--fail", "--max-time", "10", "http://10.0.0.10:8080/"])
}

fn opened(leat: &Leat) -> u64 {
    leat.status()["services"][0]["total"]["opened"].as_u64().expect("a number")
}

const FIRST: &str = "02:00:00:00:0a:01";
const SECOND: &str = "02:00:00:00:0a:02";

#[test]
fn a_standby_takes_over_when_it_is_told_and_clients_go_on() {
    let net = Net::up("pair");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let lb = |words: &[&str]| net.exec(Role::Lb, words).success();
    lb(&["ip", "tuntap", "add", "dev", "tapdpdk2", "mode", "tap", "multi_queue"]);
    lb(&["ip", "link", "set", "tapdpdk2", "master", "br0", "up"]);
    let directories = [TempDir::new("first"), TempDir::new("second")];
    let first = start(&net, TAP, &directories[0], "", FIRST);
    let second = start(&net, SECOND_TAP, &directories[1], "standby = true\n", SECOND);

    assert_eq!(holders(&net), [FIRST], "a standby is silent");
    for _ in 0..4 {
        curl(&net).success();
    }
    assert_eq!((opened(&first), opened(&second)), (4, 0));
    let vips = ctl(&second, "vips").success().stdout;
    assert!(vips.contains("10.0.0.10  withdrawn  web"), "{vips}");
    assert!(ctl(&second, "services").success().stdout.contains("10.0.0.10:8080 (withdrawn)"));

    // It knows the way to its backends all the same: it asks for them in nobody's name.
    wait_for("the standby's neighbours", LIMIT, || {
        let neighbors = second.status()["neighbors"].clone();
        neighbors.as_array().is_some_and(|all| all.iter().all(|it| it["mac"].is_string())).then_some(())
    });
    let entry = net.exec(B1, &["ip", "neigh", "show", "10.0.0.10"]).success().stdout;
    assert!(!entry.contains(SECOND), "no backend takes the standby for the VIP: {entry}");

    // A reload keeps it silent.
    ctl(&second, "reload").success();
    assert_eq!(holders(&net), [FIRST]);

    assert_eq!(ctl(&first, "vip withdraw 10.0.0.10").success().stdout, "VIP 10.0.0.10 is withdrawn\n");
    assert_eq!(ctl(&second, "vip announce").success().stdout, "every VIP is announced\n");
    assert_eq!(ctl(&second, "vip announce").success().stdout, "every VIP is announced already\n");
    // What the client's table says is the second's by now: it was told.
    wait_for("the client to hear of it", LIMIT, || {
        net.exec(CLIENT, &["ip", "neigh", "show", "10.0.0.10"]).stdout.contains(SECOND).then_some(())
    });
    for _ in 0..4 {
        curl(&net).success();
    }
    assert_eq!((opened(&first), opened(&second)), (4, 4));
    assert_eq!(holders(&net), [SECOND]);
    net.exec(CLIENT, &["ping", "-c", "1", "-W", "5", "10.0.0.10"]).success();

    // The other one dies, and comes back as what it was: both would speak now, if it were not told.
    first.kill();
    curl(&net).success();
    let refused = ctl(&second, "vip withdraw 10.0.0.99").code_is(1);
    assert!(refused.stderr.contains("VIP 10.0.0.99 is no VIP of a service"), "{refused}");
    ctl(&second, "vip withdraw tree").code_is(2);
    let log = second.stderr();
    assert!(log.contains("changed by the API: every VIP is announced"), "{log}");
}

#[test]
fn a_link_that_goes_and_comes_back_is_told_of_and_the_vips_are_announced_again() {
    let net = Net::up("link");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let directory = TempDir::new("link");
    let leat = start(&net, TAP, &directory, "", FIRST);
    curl(&net).success();
    let link = |state: &str| net.exec(Role::Lb, &["ip", "link", "set", "tapdpdk", state]).success();
    link("down");
    wait_for("the link to be seen down", LIMIT, || leat.stderr().contains("its link is down").then_some(()));
    assert_eq!(leat.status()["ports"][0]["link_up"], false);
    // The client forgets leat, and hears of it again without asking.
    net.exec(CLIENT, &["ip", "neigh", "flush", "dev", "eth0"]).success();
    net.exec(CLIENT, &["sysctl", "-qw", "net.ipv4.conf.eth0.arp_accept=1"]).success();
    std::thread::sleep(Duration::from_millis(1100));
    link("up");
    wait_for("the link to be seen up", LIMIT, || leat.stderr().contains("its link is up").then_some(()));
    wait_for("the announcement", LIMIT, || {
        net.exec(CLIENT, &["ip", "neigh", "show", "10.0.0.10"]).stdout.contains(FIRST).then_some(())
    });
    curl(&net).success();
    assert_eq!(leat.stderr().matches("its link is").count(), 2, "one line for each: {}", leat.stderr());
}

/// Both have the same local addresses, and for a moment both use them: the one that takes over must not take that for a conflict, and
/// give them up.
#[test]
fn a_standby_takes_over_in_ipv6_at_once_and_with_its_local_addresses() {
    let net = Net::up_as("pair6", Shape { ipv6: true, ..Shape::default() });
    let _server = Nginx::start_v6(&net, B1, 8080, 0);
    let lb = |words: &[&str]| net.exec(Role::Lb, words).success();
    lb(&["ip", "tuntap", "add", "dev", "tapdpdk2", "mode", "tap", "multi_queue"]);
    lb(&["ip", "link", "set", "tapdpdk2", "master", "br0", "up"]);
    let directories = [TempDir::new("first6"), TempDir::new("second6")];
    let service = format!(
        "[[service]]\nname = \"web\"\nvip = \"2001:db8::10\"\nport = 8080\nlocal_addresses = [\"2001:db8::13\"]\n\
         backend = [{{ address = \"{}\" }}]\n",
        net.address_v6(B1)
    );
    let start = |eal, directory: &TempDir, head: &str, mac: &str| {
        let file = directory.join("leat.toml");
        fs::write(&file, format!("mac = \"{mac}\"\n{head}{service}")).expect("a temporary directory can be written");
        Leat::start_in(&net, eal, &["-c", file.to_str().expect("the path is text")])
    };
    let first = start(TAP, &directories[0], "", FIRST);
    let second = start(SECOND_TAP, &directories[1], "standby = true\n", SECOND);
    let curl = || net.exec(CLIENT, &["curl", "-6", "-sS", "--fail", "-m", "10", "http://[2001:db8::10]:8080/"]);
    wait_for("an answer by the first", LIMIT, || (curl().status.success()).then_some(()));

    let capture = Capture::start(&net, CLIENT, "eth0");
    ctl(&second, "vip announce").success();
    let told = format!("icmp6 and ether src {SECOND}");
    let said = capture.wait_for(4, &told, &["-e"]);
    assert!(said.iter().all(|line| line.contains("neighbor advertisement")), "whoever has it is not asked: {said:?}");
    ctl(&first, "vip withdraw").success();
    let before = opened(&second);
    curl().success();
    assert_eq!(opened(&second), before + 1);
    assert_eq!(second.status()["given_up"], serde_json::json!([]));
}
