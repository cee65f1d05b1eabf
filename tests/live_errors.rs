//! ICMP errors through leat and by leat, as the kernel's own stack takes them.
#![cfg(feature = "dpdk")]

mod support;

use std::fs;

use support::{
    TempDir,
    leat::{Leat, TAP},
    net::{B1, CLIENT, Net, Role, Shape},
    servers::Nginx,
};

const OTHER: Role = Role::Client(2);

/// The first client is a router, whose way to the network 192.0.2.0/24 behind it, where the other is, has an MTU of 1400.
fn behind_a_narrow_router(label: &str) -> Net {
    let net = Net::up_as(label, Shape { clients: 2, ..Shape::default() });
    let router = ["net.ipv4.ip_forward=1", "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.eth0.send_redirects=0"];
    for setting in router {
        net.exec(CLIENT, &["sysctl", "-qw", setting]).success();
    }
    net.exec(CLIENT, &["ip", "route", "add", "192.0.2.0/24", "via", "10.0.0.2", "mtu", "lock", "1400"]).success();
    net.exec(OTHER, &["ip", "address", "add", "192.0.2.7/32", "dev", "lo"]).success();
    net.exec(OTHER, &["ip", "route", "add", "10.0.0.10/32", "via", "10.0.0.1", "src", "192.0.2.7"]).success();
    net
}

#[test]
fn a_download_passes_a_link_that_is_narrower_than_both_ends_know() {
    // 10.0.0.1 and 10.0.0.2 are clients here.
    for mode in ["fullnat", "dr"] {
        let net = behind_a_narrow_router("errors_mtu");
        let backend = net.address(B1).to_string();
        if mode == "dr" {
            net.exec(B1, &["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2"])
                .success();
            net.exec(B1, &["ip", "address", "add", "10.0.0.10/32", "dev", "lo"]).success();
            net.exec(B1, &["ip", "route", "add", "192.0.2.0/24", "via", "10.0.0.1"]).success();
        }
        let _server = Nginx::start_with_big(&net, B1, 8080, 1_000_000);
        let leat = Leat::start_in(&net, TAP, &["--mode", mode, "--vip", "10.0.0.10:8080", "--backend", &backend]);
        let page = ["curl", "-sS", "-o", "/dev/null", "-w", "%{size_download}", "--max-time", "20"];
        let finished = net.exec(OTHER, &[&page[..], &["http://10.0.0.10:8080/big"]].concat()).success();
        assert_eq!(finished.stdout, "1000000", "{mode}");
        // The backend's kernel has learnt it from the router's error: of its flow with leat, or with the client itself.
        let client = if mode == "dr" { "192.0.2.7" } else { "10.0.0.10" };
        let from = if mode == "dr" { vec!["from", "10.0.0.10"] } else { vec![] };
        let route = net.exec(B1, &[&["ip", "route", "get", client][..], &from].concat()).success().stdout;
        assert!(route.contains("mtu 1400"), "{mode}: {route}");
        let drops = &leat.status()["workers"][0]["drops"];
        assert!(drops["icmp_error"].is_null(), "{mode}: {drops}");
    }
}

/// Sends a datagram that lives `ttl` hops and prints what the kernel says comes of it, and who said so.
const ASK: &str = "
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 11, 1)
s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(sys.argv[1]))
s.settimeout(10)
s.connect(('10.0.0.10', 53))
s.send(b'anybody there?')
try:
    print(s.recv(100))
except OSError as e:
    _, ancillary, _, _ = s.recvmsg(100, 1000, socket.MSG_ERRQUEUE)
    said = next(data for level, kind, data in ancillary if kind == 11)
    print(type(e).__name__, e.errno, 'from', socket.inet_ntoa(said[20:24]))
";

#[test]
fn a_client_learns_at_once_that_nothing_listens_and_where_its_packet_ended() {
    for (mode, own) in [("fullnat", ""), ("nat", "[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\n")] {
        let net = Net::up_as("errors_udp", Shape { backends: 1, isolated: mode == "nat", ..Shape::default() });
        let backend = net.address(B1).to_string();
        let directory = TempDir::new("errors_udp");
        let file = directory.join("leat.toml");
        let text = format!(
            "{own}[[service]]\nvip = \"10.0.0.10\"\nprotocol = \"udp\"\nport = 53\nmode = \"{mode}\"\n\
             backend = [{{ address = \"{backend}\" }}]\n"
        );
        fs::write(&file, text).expect("a temporary directory can be written");
        let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a path is text")]);
        let ask = |ttl| net.exec(CLIENT, &["python3", "-c", ASK, ttl]).success().stdout;
        // Nobody listens on the backend: its kernel says so, and the client takes it as its own error, from the VIP.
        assert_eq!(ask("64"), "ConnectionRefusedError 111 from 10.0.0.10\n", "{mode}");
        // leat is the first hop.
        let leat_is = if own.is_empty() { "10.0.0.10" } else { "10.0.0.254" };
        assert_eq!(ask("1"), format!("OSError 113 from {leat_is}\n"), "{mode}");
        assert_eq!(leat.status()["workers"][0]["drops"]["ipv4_ttl"], 1, "{mode}");
    }
}
