//! A live balancer asked by leatctl: which connections it has, where a flow would go, what becomes of packets.
#![cfg(feature = "dpdk")]

mod support;

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use support::{
    LIMIT, TempDir,
    connections::Connections,
    leat::{Leat, TAP},
    net::{B1, B2, CLIENT, Net},
    process::{Finished, Process, command, run},
    servers::Nginx,
    wait_for,
};

/// Two lcores: half of the packets come to the one that does not own their flow.
const TWO_LCORES: &[&str] = &["--lcores", "0@0,1@1", "--no-pci", "--vdev=net_tap0,iface=tapdpdk"];

const WEB: &[&str] =
    &["--vip", "10.0.0.10:8080", "--backend", "10.0.0.2", "--backend", "10.0.0.3", "--scheduler", "rr"];

fn leatctl(leat: &Leat, arguments: &str) -> Command {
    let mut leatctl = command(env!("CARGO_BIN_EXE_leatctl"));
    leatctl.arg("--api").arg(format!("unix:{}", leat.api().display())).args(arguments.split_whitespace());
    leatctl
}

fn ask(leat: &Leat, arguments: &str) -> Finished {
    run(&mut leatctl(leat, arguments), LIMIT)
}

fn json(leat: &Leat, arguments: &str) -> Value {
    let finished = ask(leat, &format!("--json {arguments}")).success();
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{arguments}: {error}: {finished}"))
}

fn count(leat: &Leat, terms: &str) -> u64 {
    let printed = ask(leat, &format!("connections --count {terms}")).success().stdout;
    printed.trim().parse().unwrap_or_else(|error| panic!("{terms}: {error}: {printed}"))
}

/// Starts such a command that goes on, and waits until leat knows of it.
fn watch(leat: &Leat, arguments: &str) -> Process {
    let mut watching = Process::spawn(&mut leatctl(leat, arguments));
    watching.wait_for_output("the beginning", LIMIT, |_, stderr| stderr.contains("Ctrl-C ends it"));
    watching
}

#[test]
fn connections_are_listed_counted_found_by_terms_and_ended_one_by_one() {
    let net = Net::up("connections");
    let leat = Leat::start_in(&net, TWO_LCORES, WEB);
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    assert_eq!(count(&leat, ""), 0);
    let mut connections = Connections::new(&net, CLIENT, "10.0.0.10", 8080);
    connections.open(20);
    // Each lcore takes turns by itself, so it need not be half of them.
    let first = (0..20).filter(|number| connections.who(*number)[0] == "10.0.0.2").count() as u64;
    assert!((8..=12).contains(&first), "{first} of 20");

    for (terms, expected) in [
        ("", 20),
        ("client=10.0.0.1", 20),
        ("client=10.0.0.0/24 vip=10.0.0.10:8080", 20),
        ("backend=10.0.0.2", first),
        ("backend=10.0.0.2:8080 state=established", first),
        ("host=10.0.0.3", 20 - first),
        ("client=10.0.0.5", 0),
        ("protocol=udp", 0),
        ("state=time_wait", 0),
        ("service=tcp:10.0.0.10:8080", 20),
    ] {
        assert_eq!(count(&leat, terms), expected, "{terms}");
    }
    let answer = json(&leat, "connections --limit 7 backend=10.0.0.2");
    let listed = answer["connections"].as_array().expect("a list");
    assert_eq!((answer["matched"].as_u64(), listed.len()), (Some(first), 7));
    let one = &listed[0];
    assert_eq!([&one["backend"], &one["state"], &one["vip"]], ["10.0.0.2:8080", "established", "10.0.0.10:8080"]);
    let table = ask(&leat, "connections --limit 7 backend=10.0.0.2").success().stdout;
    assert!(
        table.contains("established") && table.ends_with(&format!("7 of {first}; --limit lists more\n")),
        "{table}"
    );

    // What was ended is nobody's: the client hears nothing any more, and all others go on.
    let client = one["client"].as_str().expect("an address");
    assert_eq!(ask(&leat, &format!("end client={client}")).success().stdout, "1 connection ended\n");
    assert_eq!(count(&leat, ""), 19);
    let again = ask(&leat, &format!("end client={client}")).code_is(1);
    assert!(again.stderr.contains("there is no such connection"), "{again}");
    let expected = format!("{} connections ended\n", 20 - first);
    assert_eq!(ask(&leat, "end backend=10.0.0.3").success().stdout, expected);
    assert_eq!(count(&leat, ""), first - 1);
    let open: Vec<u64> = leat.backends().iter().map(|(_, open, _)| *open).collect();
    assert_eq!(open, [first - 1, 0], "{:?}", leat.backends());
}

#[test]
fn terms_that_cannot_be_meant_are_refused_with_what_would_be_right() {
    let leat = Leat::start(&["-l", "0", "--no-pci", "--vdev=net_null0,no-rx=1"], WEB);
    for (arguments, code, expected) in [
        ("connections color=red", 2, "\"color\" is no term"),
        ("connections red", 2, "\"red\" is no term; write TERM=VALUE"),
        ("connections client=tree", 2, "client=tree: write ADDR"),
        ("connections client=10.0.0.1 client=10.0.0.2", 2, "client is given twice"),
        ("connections service=mail", 1, "there is no service \"mail\""),
        ("connections --limit 100001", 2, "limit=100001: write a number up to 100000"),
        ("end", 2, "say which connections are to be ended"),
        ("explain 10.0.0.1 10.0.0.10:8080", 2, "client=10.0.0.1: write ADDR:PORT"),
        ("explain 10.0.0.1:1 [2001:db8::10]:8080", 2, "are of two versions of IP"),
        ("explain [fe80::1%1]:1 [2001:db8::10]:8080", 2, "or [2001:db8::1]:80"),
        ("explain [::ffff:10.0.0.1]:1 10.0.0.10:8080", 2, "write ADDR:PORT"),
        ("connections client=::ffff:10.0.0.1", 2, "write it as 10.0.0.1"),
        ("explain 10.0.0.1:1 10.0.0.10:8080 --protocol sctp", 2, "protocol=sctp: there are tcp and udp"),
        ("trace state=established", 2, "packets have none"),
        ("trace --drop rain", 2, "drop=rain: write any, or a reason"),
        ("trace --count 0", 2, "count=0: write a number of packets"),
        ("trace service=mail", 1, "there is no service \"mail\""),
        ("capture -w /nothing/here.pcapng --for 1s", 1, "/nothing/here.pcapng: "),
        ("capture service=mail -w never.pcapng", 1, "there is no service \"mail\""),
    ] {
        let finished = ask(&leat, arguments).code_is(code);
        assert!(finished.stderr.contains(expected), "{arguments}: {finished}");
    }
    assert!(!Path::new("never.pcapng").exists(), "a question that is refused leaves no file");
}

#[test]
fn explain_names_the_backend_that_the_flow_then_gets() {
    let net = Net::up("explain");
    let leat = Leat::start_in(&net, TWO_LCORES, &[&WEB[..6], &["--scheduler", "maglev"]].concat());
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let mut seen = Vec::new();
    for port in 40001..40009 {
        let question = format!("explain 10.0.0.1:{port} 10.0.0.10:8080");
        let told = json(&leat, &question);
        assert_eq!([&told["outcome"], &told["scheduler"], &told["mode"]], ["new", "maglev", "fullnat"], "{told}");
        assert!(told["why"].as_str().is_some_and(|why| why.contains("→ slot ")), "{told}");
        let url = "http://10.0.0.10:8080/who";
        let local = format!("{port}");
        let answer = net.exec(CLIENT, &["curl", "-s", "-m", "10", "--local-port", &local, url]).success().stdout;
        let who = answer.split_whitespace().next().expect("nginx says who it is");
        assert_eq!(told["backend"], format!("{who}:8080"), "{told}");
        let known = json(&leat, &question);
        assert_eq!([&known["outcome"], &known["backend"]], [&Value::from("known"), &told["backend"]], "{known}");
        assert_eq!(known["connection"]["client"], format!("10.0.0.1:{port}"));
        seen.push(who.to_owned());
    }
    assert!(seen.contains(&"10.0.0.2".to_owned()) && seen.contains(&"10.0.0.3".to_owned()), "{seen:?}");

    for (arguments, expected) in [
        ("explain 10.0.0.1:40001 10.0.0.10:81", "dropped: no service of VIP 10.0.0.10 has tcp port 81"),
        ("explain 10.0.0.1:40001 10.0.0.77:80", "dropped: 10.0.0.77 is no VIP of a service"),
        ("explain 127.0.0.1:40001 10.0.0.10:8080", "dropped: "),
    ] {
        let told = ask(&leat, arguments).success().stdout;
        assert!(told.contains(expected), "{arguments}: {told}");
    }
    for backend in ["10.0.0.2", "10.0.0.3"] {
        ask(&leat, &format!("drain tcp:10.0.0.10:8080 {backend}")).success();
    }
    let told = ask(&leat, "explain 10.0.0.1:50000 10.0.0.10:8080").success().stdout;
    assert!(told.contains("dropped: ") && told.contains("no_backend"), "{told}");
}

#[test]
fn a_trace_tells_of_the_packets_asked_for_and_of_no_others() {
    let net = Net::up("trace");
    let leat = Leat::start_in(&net, TAP, WEB);
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let mut all = watch(&leat, "trace client=10.0.0.1:40001");
    let mut other = watch(&leat, "trace client=10.0.0.9");
    let mut drops = watch(&leat, "trace --drop no_service --count 1");
    let url = "http://10.0.0.10:8080/who";
    for port in ["40001", "40002"] {
        net.exec(CLIENT, &["curl", "-s", "-m", "10", "--local-port", port, url]).success();
    }
    // Nobody answers there.
    net.exec(CLIENT, &["curl", "-s", "-m", "1", "http://10.0.0.10:81/"]).code_is(28);

    let (told, _) = all.wait_for_output("the last segment", LIMIT, |stdout, _| stdout.contains("TimeWait"));
    assert!(told.contains("its turn, ") && told.contains("source towards the backend: 10.0.0.10:40001"), "{told}");
    assert!(told.contains("known connection, reply direction"), "replies belong to it, too: {told}");
    assert!(!told.contains("40002"), "{told}");
    let dropped = drops.wait(LIMIT).success().stdout;
    assert!(dropped.contains("10.0.0.10:81") && dropped.contains("(no_service)"), "{dropped}");
    assert_eq!(other.stdout(), "");
    for watching in [&mut all, &mut other] {
        watching.signal("INT");
        watching.wait(LIMIT).success();
    }
    // Nobody watches any more, and everything goes on.
    net.exec(CLIENT, &["curl", "-s", "-m", "10", url]).success();
}

#[test]
fn a_capture_opens_in_wireshark_with_each_packet_before_and_after_and_why() {
    let net = Net::up("pcapng");
    let leat = Leat::start_in(&net, TAP, WEB);
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let directory = TempDir::new("capture");
    let file = directory.join("web.pcapng");
    let mut capture = watch(&leat, &format!("capture client=10.0.0.1 vip=10.0.0.10:8080 -w {}", file.display()));
    net.exec(CLIENT, &["curl", "-s", "-m", "10", "--local-port", "40001", "http://10.0.0.10:8080/who"]).success();
    net.exec(CLIENT, &["ping", "-c", "1", "-W", "5", "10.0.0.10"]).success();
    let read = |fields: &str| {
        let mut tshark = command("tshark");
        tshark.arg("-r").arg(&file).args(["-T", "fields", "-E", "separator=|"]);
        tshark.args(fields.split_whitespace().flat_map(|field| ["-e", field]));
        run(&mut tshark, LIMIT).success().stdout
    };
    let is_whole = || {
        fs::metadata(&file).is_ok()
            && read("tcp.flags.fin").lines().filter(|fin| fin.starts_with(['1', 'T'])).count() >= 4
    };
    wait_for("both FINs, before and after", LIMIT, || is_whole().then_some(()));
    capture.signal("INT");
    let finished = capture.wait(LIMIT).success();
    assert!(finished.stderr.contains("web.pcapng: ") && finished.stderr.contains(" frames"), "{finished}");

    let packets = read("frame.interface_name ip.src ip.dst tcp.srcport frame.comment");
    let first: Vec<_> = packets.lines().take(2).collect();
    assert!(first[0].starts_with("net_tap0|10.0.0.1|10.0.0.10|40001|port 0, lcore 0: tcp"), "{packets}");
    assert!(first[0].contains("its turn, "), "{packets}");
    let backend = first[1].split('|').nth(2).expect("an address");
    assert!(["10.0.0.2", "10.0.0.3"].contains(&backend), "{packets}");
    let expected = format!("service tcp:10.0.0.10:8080, backend {backend}:8080, sent on port 0 to ");
    assert!(first[1].contains(&expected), "{packets}");
    assert!(!packets.contains("icmp"), "a ping was not asked for: {packets}");
    let checked = run(
        command("tshark").arg("-r").arg(&file).args([
            "-o",
            "tcp.check_checksum:TRUE",
            "-Y",
            "tcp.checksum.status == 0",
        ]),
        LIMIT,
    );
    assert_eq!(checked.success().stdout, "", "no checksum is wrong");
}

#[test]
fn a_full_disk_ends_a_capture_with_a_clear_error_and_a_file_that_opens() {
    let net = Net::up("full_disk");
    let leat = Leat::start_in(&net, TAP, WEB);
    let directory = TempDir::new("full");
    let mount = directory.path().display().to_string();
    // A disk of its own, seen by the commands of this one shell only.
    let arguments = format!("--api unix:{} capture -w {mount}/small.pcapng", leat.api().display());
    let script = format!(
        "mount -t tmpfs -o size=64k none {mount} && {{ {} {arguments}; echo status $?; tshark -r {mount}/small.pcapng >{mount}.list && echo opens; wc -l <{mount}.list; rm {mount}.list; }}",
        env!("CARGO_BIN_EXE_leatctl"),
    );
    let mut capture = Process::spawn(command("unshare").args(["--mount", "sh", "-c", &script]));
    capture.wait_for_output("the beginning", LIMIT, |_, stderr| stderr.contains("Ctrl-C ends it"));
    net.exec(CLIENT, &["ping", "-q", "-c", "300", "-i", "0.002", "-W", "5", "10.0.0.10"]).success();
    let finished = capture.wait(LIMIT).success();
    assert!(finished.stderr.contains("small.pcapng: No space left on device"), "{finished}");
    assert!(finished.stdout.starts_with("status 1\nopens\n"), "{finished}");
    net.exec(CLIENT, &["ping", "-c", "1", "-W", "5", "10.0.0.10"]).success();
}
