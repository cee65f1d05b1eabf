//! Large datagrams between the versions of IP, with the kernels' own stacks at both ends, and dig with a large answer.
#![cfg(feature = "dpdk")]

mod support;

use std::fs;

use support::{
    LIMIT, LONG, TempDir,
    leat::{Leat, TAP},
    net::{B1, B2, CLIENT, Net, Role, Shape, Transport},
    process::Process,
};

/// By the client's version of IP: the VIP, and the backend of the other version.
const SIX: (&str, Role) = ("2001:db8::10", B1);
const FOUR: (&str, Role) = ("10.0.0.10", B2);

/// Services of UDP and TCP on port 5300 and 53, from each version to the other.
fn start(net: &Net, directory: &TempDir) -> Leat {
    let service = |vip: &str, port: u16, local: &str, backend: &str| {
        format!(
            "[[service]]\nvip = \"{vip}\"\nprotocol = \"udp\"\nport = {port}\nlocal_addresses = [\"{local}\"]\n\
             backend = [{{ address = \"{backend}\" }}]\n"
        )
    };
    let (four, six) = (net.address(SIX.1).to_string(), net.address_v6(FOUR.1).to_string());
    let text =
        [53, 5300].map(|port| service(SIX.0, port, "10.0.0.11", &four) + &service(FOUR.0, port, "2001:db8::11", &six));
    let file = directory.join("leat.toml");
    fs::write(&file, text.concat()).expect("a temporary directory can be written");
    Leat::start_in(net, TAP, &["-c", file.to_str().expect("a temporary path is text")])
}

/// Returns each datagram that comes to its address, turned round. With a second argument its kernel may cut what it sends without
/// knowing the way (IP_PMTUDISC_DONT), as name servers ask for.
const SERVER: &str = "
import socket, sys
kind = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
s = socket.socket(kind, socket.SOCK_DGRAM)
if len(sys.argv) > 2:
    s.setsockopt(*((41, 23, 0) if kind == socket.AF_INET6 else (0, 10, 0)))
s.bind((sys.argv[1], 5300))
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(data[::-1], peer)
";

/// Asks with a datagram of each length, and once more until there is an answer, as clients of UDP do: a kernel may have to learn
/// first what fits. Prints how many were answered.
const CLIENT_PROGRAM: &str = "
import os, socket, sys
vip, lengths = sys.argv[1], [int(length) for length in sys.argv[2:]]
kind = socket.AF_INET6 if ':' in vip else socket.AF_INET
for length in lengths:
    s = socket.socket(kind, socket.SOCK_DGRAM)
    if kind == socket.AF_INET:
        s.setsockopt(0, 10, 0)
    s.connect((vip, 5300))
    s.settimeout(2)
    data = os.urandom(length)
    while True:
        try:
            s.send(data)
            got = s.recv(65536)
            break
        except OSError:
            continue
    assert got == data[::-1], f'{len(got)} of {length} bytes'
print(len(lengths))
";

fn server(net: &Net, role: Role, address: &str, is_free: bool) -> Process {
    let words = ["python3", "-c", SERVER, address, "free"];
    let process = net.spawn(role, &words[..if is_free { 5 } else { 4 }]);
    net.wait_until_listening(role, Transport::Udp, 5300);
    process
}

#[test]
fn datagrams_of_any_length_cross_both_ways() {
    const LENGTHS: [&str; 12] =
        ["1", "1400", "1424", "1432", "1433", "1452", "1453", "1472", "1473", "4000", "9000", "20000"];
    let net = Net::up_as("cross_udp", Shape { ipv6: true, ..Shape::default() });
    let directory = TempDir::new("cross_udp");
    let leat = start(&net, &directory);
    for is_free in [true, false] {
        for (vip, backend) in [SIX, FOUR] {
            let of_four = vip == SIX.0;
            let address = if of_four { net.address(backend).to_string() } else { net.address_v6(backend).to_string() };
            let _server = server(&net, backend, &address, is_free);
            let words = [&["python3", "-c", CLIENT_PROGRAM, vip], &LENGTHS[..]].concat();
            let told = net.exec_within(CLIENT, &words, LONG).success().stdout;
            assert_eq!(told.trim(), LENGTHS.len().to_string(), "{vip}, {is_free}: {}", leat.stderr());
        }
        // Who lets his datagrams be cut has none refused; the other learns from one what fits.
        assert_eq!(leat.dropped("too_long") == 0, is_free);
    }
    for reason in
        ["fragment_crossing", "fragment_incomplete", "fragment_orphan", "headers_split", "no_buffer", "icmp_type"]
    {
        assert_eq!(leat.dropped(reason), 0, "{reason}");
    }
    leat.stop();
}

#[test]
fn dig_gets_an_answer_of_thousands_of_bytes_from_a_server_of_the_other_version() {
    let net = Net::up_as("cross_dns", Shape { ipv6: true, ..Shape::default() });
    let directory = TempDir::new("cross_dns");
    let texts: Vec<String> = (0..18).map(|number| format!("{number:02}{}", "x".repeat(198))).collect();
    let record = format!("--txt-record=big.leat.test,{}", texts.join(","));
    let servers = [SIX.1, FOUR.1].map(|role| {
        let base =
            ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--port=53"];
        let process = net.spawn(role, &[&base[..], &["--edns-packet-max=4096", "--pid-file=", &record]].concat());
        net.wait_until_listening(role, Transport::Udp, 53);
        process
    });
    let leat = start(&net, &directory);
    for (vip, _) in [SIX, FOUR] {
        let at = format!("@{vip}");
        let dig = [
            "dig",
            &at,
            "+notcp",
            "+ignore",
            "+bufsize=4096",
            "+short",
            "+tries=5",
            "+timeout=5",
            "TXT",
            "big.leat.test",
        ];
        let answer = support::wait_for("the answer", LIMIT, || {
            Some(net.exec_within(CLIENT, &dig, LONG).success().stdout).filter(|answer| !answer.is_empty())
        });
        for text in &texts {
            assert!(answer.contains(text), "{vip}: {answer}");
        }
    }
    leat.stop();
    drop(servers);
}
