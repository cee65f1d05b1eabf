//! What leat says in TCP beside passing on, as kernels and servers take it: handshakes in a backend's place, numbers of its
//! own, and who the client is.
#![cfg(feature = "dpdk")]

mod support;

use std::{fs, path::PathBuf, time::Instant};

use support::{
    LIMIT, LONG, TempDir,
    leat::{Leat, TAP},
    net::{B1, CLIENT, Net, Role, Shape},
    process::{command, run},
    servers::Nginx,
    wait_for,
};

/// As many clients as it takes to wear out the source ports of one local address: a client that opens a connection from the same
/// port again gets its old source port, too.
const MANY: [Role; 6] = [CLIENT, Role::Client(2), Role::Client(3), Role::Client(4), Role::Client(5), Role::Client(6)];

/// leat over one backend, with a service that has `more` keys.
struct Lab {
    leat: Leat,
    file: PathBuf,
    server: Nginx,
    directory: TempDir,
    net: Net,
}

impl Lab {
    fn new(label: &str, shape: Shape, backend_port: u16, more: &str) -> Self {
        Self::with(label, "", shape, backend_port, more)
    }

    /// The same, with some keys of the whole.
    fn with(label: &str, whole: &str, shape: Shape, backend_port: u16, more: &str) -> Self {
        let net = Net::up_as(label, shape);
        let server = Nginx::start_with_big(&net, B1, 8080, 3_000_000);
        let directory = TempDir::new(label);
        let file = directory.join("leat.toml");
        fs::write(&file, whole.to_owned() + &toml(&net, backend_port, more))
            .expect("a temporary directory can be written");
        let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a path is text")]);
        Self { leat, file, server, directory, net }
    }

    /// What the VIP serves under `path`.
    fn get(&self, path: &str) -> String {
        let address = format!("http://10.0.0.10:8080{path}");
        self.net.exec(CLIENT, &["curl", "-sS", "--max-time", "20", &address]).success().stdout
    }

    /// Insists that what goes up and what comes down through the VIP arrives whole.
    #[track_caller]
    fn assert_whole_both_ways(&self) {
        let (down, big) = (self.directory.join("down"), self.server.big_file());
        let text = |path: &PathBuf| path.to_str().expect("a path is text").to_owned();
        let (down, big) = (text(&down), text(&big));
        let limit = ["curl", "-sS", "--fail", "--max-time", "60"];
        let url = "http://10.0.0.10:8080";
        self.net.exec_within(CLIENT, &[&limit[..], &["-o", &down, &format!("{url}/big")]].concat(), LONG).success();
        self.net
            .exec_within(CLIENT, &[&limit[..], &["-T", &big, &format!("{url}/upload/it")]].concat(), LONG)
            .success();
        let up = text(&self.server.uploaded("it").expect("it has arrived"));
        for arrived in [down, up] {
            run(command("cmp").args([&big, &arrived]), LONG).success();
        }
    }

    /// Has one packet in so many get lost on its way to the backend, and to the client.
    fn lose_one_in(&self, many: u32) {
        let rules = format!(
            "table ip loss {{\n chain in {{\n type filter hook input priority 0\n numgen random mod {many} 0 drop\n }}\n}}\n"
        );
        let file = self.directory.join("loss.nft");
        fs::write(&file, rules).expect("a temporary directory can be written");
        for role in [B1, CLIENT] {
            self.net.exec(role, &["nft", "-f", file.to_str().expect("a path is text")]).success();
        }
    }
}

fn toml(net: &Net, backend_port: u16, more: &str) -> String {
    format!(
        "[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 8080\n{more}\n\
         backend = [{{ address = \"{}\", port = {backend_port} }}]\n",
        net.address(B1)
    )
}

fn one_backend() -> Shape {
    Shape { backends: 1, ..Shape::default() }
}

/// What the kernel of `role` has counted under `name` since it was started.
fn counted(net: &Net, role: Role, name: &str) -> u64 {
    let page = net.exec(role, &["nstat", "-asz", name]).success().stdout;
    let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{page}"));
    line.split_whitespace().nth(1).and_then(|figure| figure.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn nginx_reads_the_client_from_the_proxy_protocol_also_where_packets_get_lost() {
    for version in ["v1", "v2"] {
        let lab = Lab::new("proxy", one_backend(), 9080, &format!("client_address = \"proxy_{version}\""));
        let client = lab.net.address(CLIENT).to_string();
        let said = lab.get("/who");
        assert!(said.starts_with(&format!("{client}:")) && said.ends_with(" 10.0.0.10:8080\n"), "{said}");
        lab.lose_one_in(30);
        for _ in 0..20 {
            assert!(lab.get("/who").starts_with(&client));
        }
        lab.assert_whole_both_ways();
    }
}

#[test]
fn a_server_that_speaks_first_gets_the_proxy_header_before_it_does() {
    // Like a mail server: it waits for nothing but the header.
    const SERVER: &str = "
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('', 2525)); s.listen(5)
while True:
    c, _ = s.accept()
    header = c.recv(100)
    c.sendall(b'220 hello, ' + header)
    c.close()
";
    let lab = Lab::new("first", one_backend(), 2525, "client_address = \"proxy_v1\"");
    let _server = lab.net.spawn(B1, &["python3", "-c", SERVER]);
    lab.net.wait_until_listening(B1, support::net::Transport::Tcp, 2525);
    let client = "import socket; s = socket.create_connection(('10.0.0.10', 8080), 20); print(s.recv(200).decode())";
    let said = lab.net.exec(CLIENT, &["python3", "-c", client]).success().stdout;
    assert!(said.starts_with(&format!("220 hello, PROXY TCP4 {} 10.0.0.10 ", lab.net.address(CLIENT))), "{said}");
}

#[test]
fn a_kernel_takes_segments_with_the_clients_address_in_an_option() {
    let lab = Lab::new("toa", one_backend(), 8080, "client_address = \"toa\"");
    assert_eq!(lab.get("/"), format!("backend {}\n", lab.net.address(B1)));
    lab.assert_whole_both_ways();
}

#[test]
fn a_handshake_in_the_backends_place_leads_to_a_connection_like_any_other() {
    for (mode, more) in [("fullnat", ""), ("fullnat", "client_address = \"proxy_v2\""), ("nat", "")] {
        let shape = Shape { isolated: mode == "nat", ..one_backend() };
        let port = if more.is_empty() { 8080 } else { 9080 };
        let lab = Lab::new("syn_proxy", shape, port, &format!("syn_proxy = \"always\"\nmode = \"{mode}\"\n{more}"));
        let client = lab.net.address(CLIENT).to_string();
        assert!(lab.get("/who").contains(if mode == "nat" || !more.is_empty() { &client } else { "10.0.0.10" }));
        lab.assert_whole_both_ways();
        lab.lose_one_in(30);
        lab.assert_whole_both_ways();
        let worker = &lab.leat.status()["workers"][0];
        assert!(worker["cookies_redeemed"].as_u64() >= Some(5), "{worker}");
    }
}

#[test]
fn a_port_that_the_backend_refuses_is_refused_through_the_syn_proxy_too() {
    let lab = Lab::new("refused", one_backend(), 7777, "syn_proxy = \"always\"");
    let page = lab.net.exec(CLIENT, &["curl", "-sS", "--max-time", "10", "http://10.0.0.10:8080/"]);
    // Whether curl still counts itself as connecting when the RST comes is a matter of microseconds.
    let said = &page.stderr;
    assert!(said.contains("reset by peer") || said.contains("Failed to connect"), "{said}");
    assert!(!said.contains("timed out"), "{said}");
    assert_eq!(lab.leat.backends()[0].1, 0, "no connection is left open");
}

/// Each of these clients opens and uses connections one after the other, which the server closes first.
fn churn(net: &Net, seconds: &str) {
    let wrk = ["wrk", "-t", "1", "-c", "10", "-d", seconds, "-H", "Connection: close", "http://10.0.0.10:8080/"];
    let runs = MANY.map(|role| net.spawn(role, &wrk));
    for mut run in runs {
        let said = run.wait(LONG).success().stdout;
        assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    }
}

#[test]
fn a_source_port_that_the_backend_has_in_time_wait_is_taken_again_without_a_delay() {
    let mut lab = Lab::new("time_wait", Shape { clients: MANY.len() as u8, ..one_backend() }, 8080, "");
    // A client's own port is no limit here.
    for role in MANY {
        lab.net.exec(role, &["sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535"]).success();
    }
    let reused = |lab: &Lab| lab.leat.status()["workers"][0]["ports_reused"].as_u64().expect("a number");
    let late = |net: &Net| MANY.map(|role| counted(net, role, "TcpExtTCPSynRetrans")).into_iter().sum::<u64>();
    let begun = Instant::now();
    while reused(&lab) < 20_000 {
        assert!(begun.elapsed() < LONG, "{} ports were taken again", reused(&lab));
        churn(&lab.net, "5s");
    }
    assert_eq!(late(&lab.net), 0, "SYNs that had to be sent again");
    assert!(counted(&lab.net, B1, "TcpExtTW") > 60_000, "it is the backend that has them in TIME-WAIT");
    // With the clients' own numbers the same is late now and then: this is what it is about.
    fs::write(&lab.file, toml(&lab.net, 8080, "sequence_numbers = \"client\""))
        .expect("a temporary directory can be written");
    lab.leat.signal("HUP");
    wait_for("the log to speak of the reload", LIMIT, || lab.leat.stderr().contains("reloaded").then_some(()));
    churn(&lab.net, "5s");
    assert!(late(&lab.net) > 0);
}

/// Opens connections to the VIP one after the other and uses each for a line that comes back, among a hundred SYNs each of clients
/// that do not exist. Before that opens as many that stay, and uses them at the end. Prints how many of either were well.
const FLOOD: &str = "
import random, socket, struct, sys
count, mac = int(sys.argv[1]), bytes.fromhex(sys.argv[2].replace(':', ''))
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); raw.bind(('eth0', 0))
ours = raw.getsockname()[4]
vip = bytes([10, 0, 0, 10])
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def syn():
    source = bytes([10, 1, random.randrange(256), random.randrange(1, 255)])
    ip = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 40, 0, 0, 64, 6, 0, source, vip)
    ip = ip[:10] + struct.pack('!H', checksum(ip)) + ip[12:]
    tcp = struct.pack('!HHIIBBHHH', random.randrange(1024, 65536), 8080, random.randrange(2**32), 0, 0x50, 2, 1000, 0, 0)
    sum = checksum(source + vip + struct.pack('!HH', 6, 20) + tcp)
    return mac + ours + b'\\x08\\x00' + ip + tcp[:16] + struct.pack('!H', sum) + tcp[18:]
def use(s):
    s.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
    return s.recv(1000).startswith(b'HTTP/1.1 200')
connect = lambda: socket.create_connection(('10.0.0.10', 8080), 10)
stay = [connect() for _ in range(50)]
well = 0
for _ in range(count):
    for _ in range(100): raw.send(syn())
    try:
        s = connect(); well += use(s); s.close()
    except OSError as e: print(e, file=sys.stderr)
print(well, sum(use(s) for s in stay))
";

#[test]
fn a_flood_of_syns_larger_than_the_table_keeps_nobody_out_and_throws_nobody_out() {
    for proxy in ["off", "auto", "always"] {
        let lab = Lab::with("flood", "connections = 2000\n", one_backend(), 8080, &format!("syn_proxy = \"{proxy}\""));
        let flood = ["python3", "-c", FLOOD, "300", &lab.leat.mac()];
        let said = lab.net.exec_within(CLIENT, &flood, LONG).success();
        let numbers: Vec<u32> = said.stdout.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        assert!(numbers[0] >= 300 * 95 / 100, "{proxy}: {} of 300 got in\n{}", numbers[0], said.stderr);
        assert_eq!(numbers[1], 50, "{proxy}: of those that were there");
        let worker = &lab.leat.status()["workers"][0];
        match proxy {
            "off" => assert!(worker["half_open_evicted"].as_u64() > Some(20_000), "{worker}"),
            _ => {
                assert!(worker["cookies_sent"].as_u64() > Some(20_000), "{worker}");
                assert_eq!(worker["half_open_evicted"], 0, "{worker}");
            }
        }
    }
}
