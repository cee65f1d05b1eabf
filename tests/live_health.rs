//! Health checks by ping, TCP and HTTP against real servers that die, return, refuse and answer wrongly.
#![cfg(feature = "dpdk")]

mod support;

use std::{collections::BTreeSet, fs};

use serde_json::Value;
use support::{
    LIMIT, TempDir,
    capture::Capture,
    leat::{Leat, TAP},
    net::{B1, B2, CLIENT, Net, Role, Shape},
    process::Process,
    servers::{self, Nginx},
    wait_for,
};

/// Two lcores: half of the answers come to the one that has no way to the checkers.
const TWO_LCORES: &[&str] = &["--lcores", "0@0,1@1", "--no-pci", "--vdev=net_tap0,iface=tapdpdk"];

/// leat with one service over both backends.
struct Lab {
    leat: Leat,
    _directory: TempDir,
    net: Net,
}

impl Lab {
    fn new(net: Net, eal: &[&str], head: &str, keys: &str, health: &str) -> Self {
        let directory = TempDir::new("health");
        let file = directory.join("leat.toml");
        let text = format!(
            "{head}[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 8080\nscheduler = \"rr\"\n{keys}\n\
             health = {{ interval = \"300ms\", {health} }}\n\
             backend = [{{ address = \"{}\" }}, {{ address = \"{}\" }}]\n",
            net.address(B1),
            net.address(B2)
        );
        fs::write(&file, text).expect("a temporary directory can be written");
        let leat = Leat::start_in(&net, eal, &["--config", &file.display().to_string()]);
        Self { leat, _directory: directory, net }
    }

    fn health(&self, backend: usize) -> Value {
        self.leat.status()["services"][0]["backends"][backend]["health"].clone()
    }

    /// Waits until a backend, by its place in the file, is so for this reason.
    #[track_caller]
    fn wait_for(&self, backend: usize, state: &str, reason: &str) {
        let mut last = Value::Null;
        let is_so = || {
            last = self.health(backend);
            (last["state"] == state && last["reason"].as_str().is_some_and(|it| it.starts_with(reason))).then_some(())
        };
        wait_for(&format!("backend {backend} to be {state}: {reason}"), LIMIT, is_so);
    }

    /// What curl says, which must go well.
    #[track_caller]
    fn curl(&self) -> String {
        let url = "http://10.0.0.10:8080/";
        self.net.exec(CLIENT, &["curl", "-sS", "--fail", "--max-time", "20", url]).success().stdout.trim().to_owned()
    }

    /// The lines of the log about servers, without time and level.
    fn log(&self) -> Vec<String> {
        let stderr = self.leat.stderr();
        let lines = stderr.lines().filter_map(|line| Some(line.split_once("] ")?.1));
        lines.filter(|line| line.contains("server ")).map(str::to_owned).collect()
    }
}

/// A server by Python that answers every request with this status and body.
fn answering(net: &Net, role: Role, status: u16, body: &str) -> Process {
    let script = format!(
        "import http.server\n\
         class Answer(http.server.BaseHTTPRequestHandler):\n\
         \x20   def do_GET(self):\n\
         \x20       self.send_response({status}); self.end_headers(); self.wfile.write(b'{body} ' + self.path.encode())\n\
         \x20   def log_message(self, *arguments): pass\n\
         http.server.ThreadingHTTPServer(('', 8080), Answer).serve_forever()\n"
    );
    let server = net.spawn(role, &["python3", "-c", &script]);
    net.wait_until_listening(role, support::net::Transport::Tcp, 8080);
    server
}

#[test]
fn a_server_that_is_killed_gets_no_new_connections_and_returns_when_it_listens_again() {
    let net = Net::up("health_tcp");
    let servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let lab = Lab::new(net, TWO_LCORES, "", "", "type = \"tcp\"");
    lab.wait_for(0, "up", "accepts connections");
    lab.wait_for(1, "up", "accepts connections");
    let [first, _second] = servers;
    first.kill();
    lab.wait_for(0, "down", "connection refused");
    let answers: Vec<_> = (0..4).map(|_| lab.curl()).collect();
    assert_eq!(answers, ["backend 10.0.0.3"; 4]);
    let _first = Nginx::start(&lab.net, B1, 8080);
    lab.wait_for(0, "up", "accepts connections");
    // Each lcore takes turns by itself: three on either are enough to see both.
    let answers: BTreeSet<_> = (0..6).map(|_| lab.curl()).collect();
    assert_eq!(answers, BTreeSet::from(["backend 10.0.0.2".to_owned(), "backend 10.0.0.3".to_owned()]));
    assert_eq!(
        lab.log(),
        [
            "server down: service web, backend 10.0.0.2:8080: connection refused",
            "server up: service web, backend 10.0.0.2:8080: accepts connections"
        ]
    );
    // A host that says nothing at all.
    lab.net.exec(B2, &["ip", "link", "set", "eth0", "down"]).success();
    lab.wait_for(1, "down", "no answer to SYN for 300ms");
    assert_eq!(lab.health(0)["changes"], 2);
}

#[test]
fn a_probe_leaves_nothing_behind_on_the_server() {
    let net = Net::up("health_rest");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let capture = Capture::start(&net, B1, "eth0");
    let lab = Lab::new(net, TAP, "", "", "type = \"tcp\"");
    capture.wait_for(3, "tcp[tcpflags] & tcp-rst != 0", &[]);
    let lines = capture.stop().render(&["-n", "tcp"]);
    assert!(
        lines.iter().all(|line| line.contains("10.0.0.10.6")),
        "from the VIP, by one of the highest ports: {lines:?}"
    );
    let left = lab.net.exec(B1, &["ss", "-Htan", "state", "established", "state", "time-wait"]).success().stdout;
    assert!(!left.contains("10.0.0.10"), "{left}");
    assert_eq!(lab.leat.connections(), 0, "probes are no connections");
    assert!(lab.leat.dropped("probe_consumed") > 0);
}

#[test]
fn http_is_judged_by_status_and_body() {
    let net = Net::up("health_http");
    let mut good = answering(&net, B1, 200, "all is well");
    let mut bad = answering(&net, B2, 503, "overloaded");
    let http = "type = \"http\", path = \"/health?deep\", status = \"200-299\", body = \"well /health?deep\"";
    let lab = Lab::new(net, TAP, "", "", http);
    lab.wait_for(0, "up", "answers HTTP");
    lab.wait_for(1, "down", "status 503");
    bad.kill();
    lab.wait_for(1, "down", "status 503");
    let mut other = answering(&lab.net, B2, 200, "something else");
    // It stays down: the reason is that of the change.
    std::thread::sleep(std::time::Duration::from_millis(900));
    assert_eq!(lab.health(1)["state"], "down");
    other.kill();
    let _back = answering(&lab.net, B2, 204, "still well");
    lab.wait_for(1, "up", "answers HTTP");
    good.kill();
    lab.wait_for(0, "down", "connection refused");
    // Somebody who takes connections and says nothing; and somebody who speaks otherwise.
    let mut mute = lab.net.spawn(B1, &["nc", "-lk", "-p", "8080"]);
    std::thread::sleep(std::time::Duration::from_millis(900));
    assert_eq!(lab.health(0)["state"], "down");
    mute.kill();
}

#[test]
fn a_server_that_takes_connections_and_never_answers_is_down() {
    let net = Net::up("health_mute");
    let _mute =
        net.spawn(B1, &["python3", "-c", "import socket,time\ns=socket.create_server(('',8080))\ntime.sleep(600)"]);
    let _smtp = net.spawn(
        B2,
        &["python3", "-c", "import socket\ns=socket.create_server(('',8080))\nwhile True:\n c,_=s.accept(); c.sendall(b'220 mail\\r\\n'); c.close()"],
    );
    for role in [B1, B2] {
        net.wait_until_listening(role, support::net::Transport::Tcp, 8080);
    }
    let lab = Lab::new(net, TAP, "", "", "type = \"http\", fall = 2");
    lab.wait_for(0, "down", "no answer to HTTP for 300ms, 2 times in a row");
    lab.wait_for(1, "down", "an answer that is not HTTP: ");
}

#[test]
fn a_ping_says_whether_the_host_is_there() {
    let net = Net::up("health_ping");
    let lab = Lab::new(net, TWO_LCORES, "", "mode = \"nat\"", "type = \"icmp\"");
    lab.wait_for(0, "up", "answers ping");
    lab.wait_for(1, "up", "answers ping");
    lab.net.exec(B1, &["sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1"]).success();
    lab.wait_for(0, "down", "no answer to ping for 300ms");
    lab.net.exec(B1, &["sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=0"]).success();
    lab.wait_for(0, "up", "answers ping");
    assert_eq!(lab.health(1)["changes"], 0);
}

#[test]
fn an_own_address_asks_where_there_is_one() {
    let net = Net::up("health_own");
    let _servers = [B1, B2].map(|role| Nginx::start(&net, role, 8080));
    let capture = Capture::start(&net, B1, "eth0");
    let own = "[[interface]]\nport = \"net_tap0\"\naddresses = [\"10.0.0.15/24\"]\n";
    let lab = Lab::new(net, TAP, own, "mode = \"nat\"", "type = \"tcp\"");
    lab.wait_for(0, "up", "accepts connections");
    capture.wait_for(1, "tcp[tcpflags] & tcp-rst != 0", &[]);
    let lines = capture.stop().render(&["-n", "tcp"]);
    assert!(lines.iter().all(|line| line.contains(" 10.0.0.15.")), "{lines:?}");
}

/// Makes a backend hold the VIP as `dr` wants it.
fn hold_vip(net: &Net, role: Role) {
    net.exec(role, &["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2"]).success();
    net.exec(role, &["ip", "address", "add", "10.0.0.10/32", "dev", "lo"]).success();
}

#[test]
fn in_dr_the_server_is_asked_at_the_vip_as_clients_ask_it() {
    let net = Net::up("health_dr");
    for role in [B1, B2] {
        hold_vip(&net, role);
    }
    // One listens on the VIP only, the other on its own address only, where no client of dr comes.
    let listen = |role, address: &str| net.spawn(role, &["python3", "-m", "http.server", "--bind", address, "8080"]);
    let _first = listen(B1, "10.0.0.10");
    let _second = listen(B2, "10.0.0.3");
    for role in [B1, B2] {
        net.wait_until_listening(role, support::net::Transport::Tcp, 8080);
    }
    let own = "[[interface]]\nport = \"net_tap0\"\naddresses = [\"10.0.0.15/24\"]\n";
    let lab = Lab::new(net, TWO_LCORES, own, "mode = \"dr\"", "type = \"http\"");
    lab.wait_for(0, "up", "answers HTTP");
    lab.wait_for(1, "down", "connection refused");
}

#[test]
fn through_a_tunnel_the_probe_travels_as_clients_packets_do() {
    for mode in ["ipip", "gue"] {
        let net = Net::up("health_tunnel");
        hold_vip(&net, B1);
        let _agent = support::agent::Agent::start(&net, B1, &["--vip", "10.0.0.10"]);
        let _server = net.spawn(B1, &["python3", "-m", "http.server", "--bind", "10.0.0.10", "8080"]);
        net.wait_until_listening(B1, support::net::Transport::Tcp, 8080);
        let own = "[[interface]]\nport = \"net_tap0\"\naddresses = [\"10.0.0.15/24\"]\n";
        let lab = Lab::new(net, TAP, own, &format!("mode = \"{mode}\""), "type = \"tcp\"");
        lab.wait_for(0, "up", "accepts connections");
        // It does not unpack tunnels.
        lab.wait_for(1, "down", "no answer to SYN for 300ms");
    }
}

#[test]
fn with_reset_a_client_hears_at_once_that_its_server_is_gone() {
    for mode in ["fullnat", "nat"] {
        let shape = Shape { isolated: mode == "nat", ..Shape::default() };
        let net = Net::up_as("health_reset", shape);
        let servers = [B1, B2].map(|role| servers::nc(&net, role, 8080));
        let keys = format!("mode = \"{mode}\"\non_failure = \"reset\"");
        let lab = Lab::new(net, TWO_LCORES, "", &keys, "type = \"icmp\"");
        // It holds a connection, says something each time that it is told to, and listens on when that has failed.
        let script = "import socket,sys\ns=socket.create_connection(('10.0.0.10',8080),10)\nprint('open',flush=True)\n\
                      try:\n for line in sys.stdin:\n  s.sendall(line.encode())\n  print('sent',flush=True)\nexcept OSError as e: print(type(e).__name__,flush=True)\nsys.stdin.read()\n";
        let mut client = lab.net.spawn_with_input(CLIENT, &["python3", "-c", script]);
        client.wait_for_output("open", LIMIT, |stdout, _| stdout.contains("open\n"));
        client.write(b"hello\n");
        let chosen = wait_for("the greeting", LIMIT, || servers.iter().position(|server| server.stdout() == "hello\n"));
        let role = [B1, B2][chosen];
        lab.net.exec(role, &["ip", "link", "set", "eth0", "down"]).success();
        lab.wait_for(chosen, "down", "no answer to ping");
        client.write(b"are you there?\n");
        wait_for("the reset", LIMIT, || {
            client.write(b"again\n");
            client.stdout().contains("Error").then_some(())
        });
        let said = client.stdout();
        assert!(said.contains("ConnectionResetError") || said.contains("BrokenPipeError"), "{mode}: {said}");
        assert_eq!(lab.leat.connections(), 0, "{mode}: nothing is left of it");
    }
}

#[test]
fn with_no_connection_reset_a_stray_segment_is_answered_with_a_rst() {
    let net = Net::up("stray_reset");
    let _servers = [B1, B2].map(|role| servers::nc(&net, role, 8080));
    let mut lab = Lab::new(net, TAP, "", "no_connection = \"reset\"", "type = \"icmp\"");
    let mut client = lab.net.spawn_with_input(CLIENT, &["nc", "10.0.0.10", "8080"]);
    client.write(b"hello\n");
    wait_for("the connection", LIMIT, || (lab.leat.connections() == 1).then_some(()));
    // leat forgets everything.
    lab.leat.crash_and_restart();
    client.write(b"again\n");
    let finished = client.wait(LIMIT);
    assert!(!finished.stdout.contains("hello"), "{finished}");
}

#[test]
fn below_the_panic_share_all_servers_are_used() {
    let net = Net::up("health_panic");
    let _server = Nginx::start(&net, B1, 8080);
    let lab = Lab::new(net, TAP, "", "panic = 60", "type = \"tcp\"");
    lab.wait_for(1, "down", "connection refused");
    let line = "service web: only 1 of 2 servers are up, so all of them are used (panic)";
    wait_for("the line", LIMIT, || lab.leat.stderr().contains(line).then_some(()));
    // In turn: one answers, the other refuses.
    let url = "http://10.0.0.10:8080/";
    let mut codes: Vec<_> =
        (0..4).map(|_| lab.net.exec(CLIENT, &["curl", "-sS", "--max-time", "10", url]).status.code()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(0), Some(7), Some(7)]);
    let _back = Nginx::start(&lab.net, B2, 8080);
    lab.wait_for(1, "up", "accepts connections");
    let line = "service web: enough servers are up again";
    wait_for("the line", LIMIT, || lab.leat.stderr().contains(line).then_some(()));
    (0..4).for_each(|_| drop(lab.curl()));
}

#[test]
fn a_host_that_was_never_there_is_down_and_no_clients_packets_suffer() {
    let net = Net::up("health_never");
    net.exec(B1, &["ip", "link", "set", "eth0", "down"]).success();
    let _server = Nginx::start(&net, B2, 8080);
    let lab = Lab::new(net, TAP, "", "", "type = \"tcp\"");
    lab.wait_for(0, "down", "no answer to SYN for 300ms");
    lab.wait_for(1, "up", "accepts connections");
    wait_for("probes without a way", LIMIT, || (lab.leat.dropped("probe_unsent") > 0).then_some(()));
    assert_eq!(lab.leat.dropped("neighbor_unresolved") + lab.leat.dropped("neighbor_queue_full"), 0);
    assert_eq!([lab.curl(), lab.curl()], ["backend 10.0.0.3"; 2]);
}

#[test]
fn a_thousand_servers_are_asked_every_second_and_none_is_missed() {
    let net = Net::up("health_many");
    // One host is all of them.
    let addresses: Vec<String> = (0..1000).map(|n| format!("10.1.{}.{}", n / 250, 1 + n % 250)).collect();
    let batch: String = addresses.iter().map(|address| format!("address add {address}/32 dev eth0\n")).collect();
    let directory = TempDir::new("health_many");
    let (batch_file, file) = (directory.join("batch"), directory.join("leat.toml"));
    fs::write(&batch_file, batch).expect("a temporary directory can be written");
    net.exec(B1, &["ip", "-batch", &batch_file.display().to_string()]).success();
    let _server = Nginx::start(&net, B1, 8080);
    let _listener = net.spawn(
        B1,
        &[
            "python3",
            "-c",
            "import socket\ns=socket.create_server(('',80),backlog=4096)\nwhile True:\n c,_=s.accept(); c.close()",
        ],
    );
    net.wait_until_listening(B1, support::net::Transport::Tcp, 80);
    let backends: Vec<_> =
        addresses.iter().map(|it| format!("{{ address = \"{it}\", mac = \"{}\" }}", net.mac(B1))).collect();
    let text = format!(
        "[[service]]\nname = \"many\"\nvip = \"10.0.0.11\"\nport = 80\nhealth = {{ type = \"tcp\", interval = \"1s\", fall = 3 }}\n\
         backend = [{}]\n[[service]]\nvip = \"10.0.0.10\"\nport = 8080\nbackend = [{{ address = \"10.0.0.2\" }}]\n",
        backends.join(", ")
    );
    fs::write(&file, text).expect("a temporary directory can be written");
    let leat = Leat::start_in(&net, TAP, &["--config", &file.display().to_string()]);
    let proven = || {
        let status = leat.status();
        let backends = status["services"][0]["backends"].as_array().expect("a list").clone();
        backends.iter().filter(|it| it["health"]["reason"] == "accepts connections").count()
    };
    wait_for("all to be proven", LIMIT, || (proven() == 1000).then_some(()));
    let consumed = leat.dropped("probe_consumed");
    let url = "http://10.0.0.10:8080/";
    for _ in 0..20 {
        net.exec(CLIENT, &["curl", "-sS", "--fail", "--max-time", "10", url]).success();
    }
    // Each takes an answer to its SYN.
    wait_for("another round", LIMIT, || (leat.dropped("probe_consumed") >= consumed + 2000).then_some(()));
    assert_eq!(proven(), 1000);
    let status = leat.status();
    let changes: u64 = status["services"][0]["backends"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| it["health"]["changes"].as_u64().expect("a number"))
        .sum();
    assert_eq!(changes, 0);
}
