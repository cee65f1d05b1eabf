//! The ground that every test with a network stands on, proven with the kernel's own stack and without leat: that
//! `scripts/netns.sh` makes what it says, repairs it and leaves nothing behind, and that the harness in `support`
//! stops what it starts.
#![cfg(feature = "dpdk")]

mod support;

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    process::Command,
    thread,
    time::Duration,
};

use support::{
    LIMIT, TempDir,
    capture::{Capture, render},
    leat::{http_get, received},
    net::{B1, B2, CLIENT, Net, Role, Shape, namespaces, script},
    pcap,
    process::{Process, command, is_alive, run, wait_until_gone},
    require_root,
    servers::{self, Nginx},
    unique,
};

#[test]
fn hosts_reach_each_other_by_address_and_by_ethernet_address() {
    let net = Net::up("reach");
    assert_eq!([CLIENT, B1, B2].map(|role| net.address(role).to_string()), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    for (from, to) in [(CLIENT, B1), (CLIENT, B2), (B1, B2), (B2, CLIENT)] {
        let address = net.address(to).to_string();
        net.exec(from, &["ping", "-c", "1", "-W", "5", &address]).success();
        let neighbor = net.exec(from, &["ip", "neighbor", "show", "to", &address]).success().stdout;
        assert!(neighbor.contains(&format!("lladdr {}", net.mac(to))), "{from} to {to}: {neighbor}");
    }
}

#[test]
fn clients_come_first_then_backends_and_10_to_19_stay_free() {
    let net = Net::up_as("many", Shape { clients: 3, backends: 8, ..Shape::default() });
    let hosts = [
        (Role::Client(2), "10.0.0.2"),
        (Role::Backend(1), "10.0.0.4"),
        (Role::Backend(6), "10.0.0.9"),
        (Role::Backend(7), "10.0.0.20"),
        (Role::Backend(8), "10.0.0.21"),
    ];
    for (role, address) in hosts {
        assert_eq!(net.address(role).to_string(), address);
        net.exec(CLIENT, &["ping", "-c", "1", "-W", "5", address]).success();
        let own = net.exec(role, &["ip", "-4", "-o", "address", "show", "dev", "eth0"]).success().stdout;
        assert!(own.contains(&format!(" {address}/24 ")), "{role}: {own}");
    }
}

#[test]
fn http_reaches_the_backend_that_was_asked() {
    let net = Net::up("http");
    let servers = [B1, B2].map(|role| Nginx::start_with_big(&net, role, 8080, 1_000_003));
    for (role, server) in [B1, B2].into_iter().zip(&servers) {
        let url = format!("http://{}:8080", net.address(role));
        let home = net.exec(CLIENT, &["curl", "-sS", "--fail", &url]).success();
        assert_eq!(home.stdout, format!("backend {}\n", net.address(role)));

        let who = format!("{url}/who");
        let twice = net.exec(CLIENT, &["curl", "-sS", "--fail", &who, &who]).success().stdout;
        let requests: Vec<Vec<&str>> = twice.lines().map(|line| line.split(' ').collect()).collect();
        let [first, second] = &requests[..] else { panic!("two answers: {twice}") };
        assert!(first[1].starts_with("10.0.0.1:"), "{twice}");
        assert_eq!(first[..3], second[..3], "one connection carries both requests: {twice}");
        assert_eq!((first[3], second[3]), ("1", "2"));

        let big = format!("{url}/big");
        let fetch = format!("curl -sS --fail {big} | sha256sum");
        let fetched = net.exec(CLIENT, &["sh", "-c", &fetch]).success().stdout;
        let stored = run(command("sha256sum").arg("-z").arg(server.big_file()), LIMIT).success().stdout;
        assert_eq!(fetched.split(' ').next(), stored.split(' ').next());
    }
}

#[test]
fn dns_answers_over_udp_and_tcp() {
    let net = Net::up("dns");
    let _servers = [B1, B2].map(|role| servers::dnsmasq(&net, role));
    for role in [B1, B2] {
        let at = format!("@{}", net.address(role));
        for transport in ["+notcp", "+tcp"] {
            let fixed = net.exec(CLIENT, &["dig", &at, transport, "+short", "leat.test"]).success();
            assert_eq!(fixed.stdout, "192.0.2.53\n");
            let own = net.exec(CLIENT, &["dig", &at, transport, "+short", "TXT", "backend.leat.test"]).success();
            assert_eq!(own.stdout, format!("\"{}\"\n", net.address(role)));
        }
    }
}

#[test]
fn nc_talks_both_ways_and_iperf3_measures() {
    let net = Net::up("nc");
    let mut server = servers::nc(&net, B1, 8080);
    let mut client = net.spawn_with_input(CLIENT, &["nc", "-N", "10.0.0.2", "8080"]);
    client.write(b"Hello, backend\n");
    server.wait_for_output("greeting", LIMIT, |stdout, _| stdout == "Hello, backend\n");
    server.write(b"Hello, client\n");
    client.wait_for_output("answer", LIMIT, |stdout, _| stdout == "Hello, client\n");
    client.wait(LIMIT).success();
    server.wait(LIMIT).success();

    let _iperf3 = servers::iperf3(&net, B2);
    let report = net.exec(CLIENT, &["iperf3", "-c", "10.0.0.3", "-n", "1M", "-J"]).success().stdout;
    let report: serde_json::Value = serde_json::from_str(&report).expect("iperf3 -J prints JSON");
    // What the receiver counts may be less: it stops reading when the sender says that it is done.
    assert_eq!(report["end"]["sum_sent"]["bytes"], 1 << 20, "{report}");
}

/// With offload a capture shows checksums that are not written yet, and segments longer than the MTU.
#[test]
fn every_frame_on_the_bridge_is_as_a_wire_would_carry_it() {
    let net = Net::up("checksums");
    let _nginx = Nginx::start_with_big(&net, B1, 8080, 300_000);
    let _dns = servers::dnsmasq(&net, B1);
    let captures = [(CLIENT, "eth0"), (Role::Lb, "client"), (Role::Lb, "b1"), (B1, "eth0")].map(|(role, interface)| {
        let capture = Capture::start(&net, role, interface);
        (role, interface, capture)
    });
    net.exec(CLIENT, &["curl", "-sS", "--fail", "-o", "/dev/null", "http://10.0.0.2:8080/big"]).success();
    net.exec(CLIENT, &["dig", "@10.0.0.2", "+short", "leat.test"]).success();

    for (role, interface, capture) in captures {
        capture.wait_for(2, "tcp[tcpflags] & tcp-fin != 0", &[]);
        capture.wait_for(2, "udp port 53", &[]);
        let recording = capture.stop();
        let segments = recording.render(&["-v", "tcp"]);
        assert!(segments.len() > 100, "{role} {interface}: {} segments of 300,000 bytes", segments.len());
        for segment in segments {
            assert!(segment.contains("(correct)"), "{role} {interface}: {segment}");
        }
        for datagram in recording.render(&["-vv", "udp"]) {
            assert!(datagram.contains("[udp sum ok]"), "{role} {interface}: {datagram}");
        }
        let long = recording.render(&["greater", "1515"]);
        assert!(long.is_empty(), "{role} {interface}: {long:?}");
    }
}

#[test]
fn nothing_but_the_tests_own_packets_is_heard() {
    let net = Net::up("quiet");
    let capture = Capture::start(&net, CLIENT, "eth0");
    net.exec(B1, &["ping", "-c", "1", "-W", "5", "10.0.0.3"]).success();
    net.exec(CLIENT, &["ping", "-c", "1", "-W", "5", "10.0.0.2"]).success();
    capture.wait_for(2, "icmp", &[]);
    let strangers = capture.stop().render(&["not arp and not (icmp and host 10.0.0.1)"]);
    assert!(strangers.is_empty(), "{strangers:?}");
}

#[test]
fn leats_port_is_a_bridged_tap_with_many_queues() {
    let net = Net::up("tap");
    let link = net.exec(Role::Lb, &["ip", "-d", "-o", "link", "show", "dev", "tapdpdk"]).success().stdout;
    for property in ["master br0", "tun type tap", "multi_queue", "persist on"] {
        assert!(link.contains(property), "{property}: {link}");
    }
}

#[test]
fn leats_port_is_one_end_of_a_veth_if_asked() {
    let net = Net::up_as("veth", Shape { veth: true, ..Shape::default() });
    let end = net.exec(Role::Lb, &["ip", "-o", "link", "show", "dev", "vethdpdk"]).success().stdout;
    assert!(end.contains("vethdpdk@vethbr") && end.contains("LOWER_UP") && !end.contains("master"), "{end}");
    net.exec(Role::Lb, &["ip", "link", "show", "dev", "tapdpdk"]).code_is(1);

    // What the bridge floods reaches it.
    let capture = Capture::start(&net, Role::Lb, "vethdpdk");
    net.exec(CLIENT, &["ping", "-c", "1", "-W", "1", "10.0.0.10"]);
    let requests = capture.wait_for(1, "arp", &["-t"]);
    assert!(requests[0].contains("who-has 10.0.0.10 tell 10.0.0.1"), "{requests:?}");
}

#[test]
fn isolated_hosts_hear_leats_port_and_no_other_host() {
    let net = Net::up_as("isolated", Shape { isolated: true, ..Shape::default() });
    net.up_again();
    // Nothing has the tap open, so the bridge has nowhere to send what b1 says.
    let capture = Capture::start(&net, B2, "eth0");
    net.exec(B1, &["ping", "-c", "1", "-W", "1", "10.0.0.3"]).code_is(1);
    net.exec(Role::Lb, &["ip", "address", "add", "10.0.0.10/24", "dev", "br0"]).success();
    net.exec(B1, &["ping", "-c", "1", "-W", "5", "10.0.0.10"]).success();
    net.exec(B2, &["ping", "-c", "1", "-W", "5", "10.0.0.10"]).success();
    capture.wait_for(1, "icmp", &[]);
    assert_eq!(capture.stop().render(&["host 10.0.0.2"]), [] as [&str; 0]);
}

#[test]
fn a_second_up_changes_nothing_and_another_shape_rebuilds() {
    let mut net = Net::up("again");
    let mut sleeper = net.spawn(B1, &["sleep", "1000"]);
    net.up_again();
    assert!(sleeper.is_running(), "a whole network was rebuilt");

    net.reshape(Shape { backends: 3, ..Shape::default() });
    net.exec(CLIENT, &["ping", "-c", "1", "-W", "5", "10.0.0.4"]).success();
    assert!(!sleeper.is_running(), "a process outlived its namespace");
}

#[test]
fn up_mends_what_is_broken() {
    let net = Net::up("broken");
    let breaks: &[&[&str]] = &[
        &["ip", "-n", &net.namespace(Role::Lb), "link", "delete", "tapdpdk"],
        &["ip", "-n", &net.namespace(CLIENT), "link", "delete", "eth0"],
        &["ip", "-n", &net.namespace(B1), "address", "flush", "dev", "eth0"],
        &["ip", "-n", &net.namespace(B2), "link", "set", "eth0", "down"],
        &["ip", "-n", &net.namespace(Role::Lb), "link", "set", "b2", "nomaster"],
        &["ip", "netns", "delete", &net.namespace(B2)],
        &["ip", "netns", "delete", &net.namespace(Role::Lb)],
    ];
    for words in breaks {
        run(command(words[0]).args(&words[1..]), LIMIT).success();
        run(script(net.name()).arg("status"), LIMIT).code_is(1);
        net.up_again();
        run(script(net.name()).arg("status"), LIMIT).success();
        for address in ["10.0.0.2", "10.0.0.3"] {
            net.exec(CLIENT, &["ping", "-c", "1", "-W", "5", address]).success();
        }
        net.exec(Role::Lb, &["ip", "link", "show", "dev", "tapdpdk"]).success();
    }
}

#[test]
fn status_shows_addresses_of_ipv6_and_up_puts_back_one_that_is_gone() {
    let net = Net::up_as("broken6", Shape { ipv6: true, ..Shape::default() });
    let status = || run(script(net.name()).arg("status"), LIMIT);
    assert!(status().success().stdout.contains(&format!(" {} ", net.address_v6(B1))));
    net.exec(B1, &["ip", "-6", "address", "flush", "dev", "eth0", "scope", "global"]).success();
    status().code_is(1);
    net.up_again();
    assert!(status().success().stdout.contains(&format!(" {} ", net.address_v6(B1))));
}

#[test]
fn down_ends_all_processes_and_leaves_no_namespace() {
    let net = Net::up("down");
    let name = net.name().to_owned();
    let left_behind = net.exec(B1, &["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"]).success().stdout;
    let stubborn = net.exec(B2, &["sh", "-c", "(trap '' TERM; sleep 1000) >/dev/null 2>&1 & echo $!"]).success().stdout;
    let pids = [left_behind, stubborn].map(|pid| pid.trim().parse().expect("a process id"));
    assert!(pids.into_iter().all(is_alive));

    drop(net);
    for pid in pids {
        wait_until_gone(pid, LIMIT);
    }
    let left: Vec<String> = namespaces().into_iter().filter(|ns| ns.contains(&name)).collect();
    assert!(left.is_empty(), "{left:?}");
    run(script(&name).arg("down"), LIMIT).success();
    run(script(&name).arg("status"), LIMIT).code_is(1);
}

#[test]
fn what_a_killed_test_left_is_found_by_its_name() {
    require_root();
    let mut killed = Process::spawn(&mut command("true"));
    let dead = killed.id();
    killed.wait(LIMIT);
    let mine = Net::up("living");
    let orphan = format!("orphan_{dead}");
    run(script(&orphan).arg("up"), LIMIT).success();

    run(script("unused").args(["down", "--orphans"]), LIMIT).success();
    run(script(&orphan).arg("status"), LIMIT).code_is(1);
    run(script(mine.name()).arg("status"), LIMIT).success();
}

#[test]
fn runs_with_one_name_wait_for_each_other() {
    require_root();
    let name = unique("race");
    let mut ups: Vec<Process> = (0..4).map(|_| Process::spawn(script(&name).arg("up"))).collect();
    for up in &mut ups {
        up.wait(LIMIT).success();
    }
    run(script(&name).arg("status"), LIMIT).success();

    let mut mixed: Vec<Process> =
        ["down", "up", "down", "up"].map(|action| Process::spawn(script(&name).arg(action))).into();
    for run in &mut mixed {
        run.wait(LIMIT).success();
    }
    run(script(&name).arg("down"), LIMIT).success();
    run(script(&name).arg("status"), LIMIT).code_is(1);
}

#[test]
fn the_first_namespace_stays_as_it_is() {
    require_root();
    let links = || run(command("ip").args(["-br", "link"]), LIMIT).success().stdout;
    let names = |links: &str| -> Vec<String> {
        links.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    };
    let before = names(&links());
    let _tap = Net::up("first");
    let _veth = Net::up_as("first", Shape { veth: true, ..Shape::default() });
    let added: Vec<String> = names(&links()).into_iter().filter(|name| !before.contains(name)).collect();
    assert!(added.is_empty(), "{added:?}");
}

#[test]
fn netns_refuses_what_it_does_not_understand() {
    require_root();
    let refused: &[(&[&str], &str)] = &[
        (&[], "say what to do"),
        (&["--name", "a-b", "up"], "--name 'a-b'"),
        (&["--name", "", "up"], "--name needs a value"),
        (&["up", "--clients", "0"], "--clients '0'"),
        (&["up", "--backends", "many"], "--backends 'many'"),
        (&["up", "down"], "both 'up' and 'down'"),
        (&["sideways"], "unknown argument 'sideways'"),
        (&["exec", "client"], "exec needs a role and a command"),
    ];
    for (arguments, message) in refused {
        let refusal = run(Command::new(support::repository().join("scripts/netns.sh")).args(*arguments), LIMIT);
        assert!(refusal.stderr.contains(message), "{refusal}");
        refusal.code_is(2);
    }
    let nobody = run(script(&unique("nobody")).args(["exec", "client", "true"]), LIMIT);
    assert!(nobody.stderr.contains("there is no 'client'"), "{nobody}");
    nobody.code_is(1);
}

#[test]
fn a_process_that_hangs_is_killed_with_its_children() {
    let mut hanging = Process::spawn(command("sh").args(["-c", "trap '' TERM; sleep 1000 & echo $!; wait"]));
    let (child, _) = hanging.wait_for_output("process id", LIMIT, |stdout, _| stdout.ends_with('\n'));
    let child = child.trim().parse().expect("a process id");
    let outcome = std::panic::catch_unwind(move || hanging.wait(Duration::from_millis(50)));
    let message = *outcome.expect_err("it does not end").downcast::<String>().expect("a panic has a message");
    assert!(message.contains("still running after 50ms"), "{message}");
    wait_until_gone(child, LIMIT);
}

#[test]
fn an_http_answer_on_a_unix_socket_is_understood() {
    let directory = TempDir::new("http");
    let socket = directory.join("api.sock");
    let listener = UnixListener::bind(&socket).expect("a temporary directory can hold a socket");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the test connects");
        let mut request = [0; 1024];
        let length = stream.read(&mut request).expect("the test asks");
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnope\n").expect("the test listens");
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    assert_eq!(http_get(&socket, "/api/v1/nothing"), (404, "nope\n".to_owned()));
    let request = server.join().expect("the server does not panic");
    assert!(
        request.starts_with("GET /api/v1/nothing HTTP/1.1\r\nHost: ") && request.ends_with("\r\n\r\n"),
        "{request}"
    );
}

#[test]
fn frames_received_are_summed_over_workers() {
    let status = serde_json::json!({ "workers": [{ "received": 3 }, { "received": 4 }] });
    assert_eq!(received(&status), 7);
}

#[test]
fn a_capture_that_was_written_is_read_the_same() {
    let directory = TempDir::new("pcap");
    let file = directory.join("some.pcap");
    let arp = b"\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01\
        \x02\x00\x00\x00\x00\x01\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x0a"
        .to_vec();
    pcap::write(&file, &[arp.clone(), vec![], vec![7; 1514]]);

    let frames = pcap::read(&file);
    assert_eq!(frames.iter().map(|frame| frame.bytes.len()).collect::<Vec<_>>(), [42, 0, 1514]);
    assert_eq!((frames[0].bytes.as_slice(), frames[2].time), (arp.as_slice(), Duration::from_millis(2)));
    assert_eq!(render(&file, &["-t", "arp"]), ["ARP, Request who-has 10.0.0.10 tell 10.0.0.1, length 28"]);
}

#[test]
fn captures_with_nanoseconds_and_of_either_byte_order_are_read() {
    let directory = TempDir::new("pcap");
    for big_endian in [false, true] {
        for (magic, fraction) in [(0xa1b2_c3d4_u32, 5_000_u32), (0xa1b2_3c4d, 5_000_000)] {
            let words = [magic, 0, 0, 0, 65_535, 1, 9, fraction, 3, 3];
            let encode = |word: u32| if big_endian { word.to_be_bytes() } else { word.to_le_bytes() };
            let mut bytes: Vec<u8> = words.into_iter().flat_map(encode).collect();
            bytes.extend_from_slice(b"abc");
            let file = directory.join("any.pcap");
            std::fs::write(&file, bytes).expect("a temporary directory can be written");
            let frame = pcap::Frame { time: Duration::new(9, 5_000_000), bytes: b"abc".to_vec() };
            assert_eq!(pcap::read(&file), [frame]);
        }
    }
}
