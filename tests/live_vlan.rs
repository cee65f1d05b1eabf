//! VLANs: each is a port of its own, with real programs on tagged interfaces.
#![cfg(feature = "dpdk")]

mod support;

use std::fs;

use support::{
    LIMIT, TempDir,
    capture::Capture,
    leat::{Leat, TAP},
    net::{B1, CLIENT, Net, Role, Shape},
    process::Process,
    servers::Nginx,
    wait_for,
};

/// An interface of a host on a VLAN: what it sends leaves eth0 with a tag, and what has that tag comes in on it. Not every kernel has
/// such interfaces itself.
const TAGGED: &str = "
import fcntl, os, select, socket, struct, sys
tag, name = int(sys.argv[1]), sys.argv[2]
tap = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tap, 0x400454ca, struct.pack('16sH', name.encode(), 0x1002))  # TUNSETIFF: IFF_TAP | IFF_NO_PI
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(('eth0', 3))
wire.setsockopt(263, 8, 1)  # PACKET_AUXDATA: the kernel takes the tag off and says so there
print('up', flush=True)
while True:
    ready, _, _ = select.select([tap, wire], [], [])
    if tap in ready:
        frame = os.read(tap, 65536)
        wire.send(frame[:12] + struct.pack('!HH', 0x8100, tag) + frame[12:])
    if wire in ready:
        frame, said, _, address = wire.recvmsg(65536, 64)
        status, _, _, _, _, tci, _ = struct.unpack('IIIHHHH', said[0][2])
        if address[2] != socket.PACKET_OUTGOING and status & 0x10 and tci & 0xfff == tag:
            os.write(tap, frame)
";

fn tagged(net: &Net, role: Role, tag: &str, address: &str) -> Process {
    let name = format!("vlan{tag}");
    let mut tagger = net.spawn(role, &["python3", "-c", TAGGED, tag, &name]);
    tagger.wait_for_output("up", LIMIT, |stdout, _| stdout.contains("up"));
    net.exec(role, &["ip", "link", "set", &name, "address", &net.mac(role), "mtu", "1496", "up"]).success();
    if address.contains(':') {
        for setting in ["accept_dad=0", "disable_ipv6=0"] {
            net.exec(role, &["sysctl", "-qw", &format!("net.ipv6.conf.{name}.{setting}")]).success();
        }
    }
    net.exec(role, &["ip", "address", "add", address, "dev", &name]).success();
    tagger
}

#[test]
fn clients_and_backends_on_two_vlans_of_one_port_talk_and_nobody_else_is_heard() {
    let net = Net::up_as("vlan", Shape { backends: 1, ..Shape::default() });
    let _taggers = [
        tagged(&net, CLIENT, "100", "10.1.0.1/24"),
        tagged(&net, CLIENT, "300", "10.3.0.1/24"),
        tagged(&net, B1, "200", "10.2.0.2/24"),
    ];
    net.exec(CLIENT, &["ip", "route", "add", "10.1.0.10/32", "dev", "vlan300", "metric", "200"]).success();
    let _server = Nginx::start_with_big(&net, B1, 8080, 1_000_000);
    let directory = TempDir::new("vlan");
    let file = directory.join("leat.toml");
    let toml = "[[interface]]\nport = \"net_tap0\"\nvlan = 100\naddresses = [\"10.1.0.254/24\"]\n\
                [[interface]]\nport = \"net_tap0\"\nvlan = 200\naddresses = [\"10.2.0.254/24\"]\n\
                [[service]]\nvip = \"10.1.0.10\"\nport = 8080\nlocal_addresses = [\"10.2.0.11\"]\n\
                health = { type = \"tcp\", interval = \"500ms\" }\nbackend = [{ address = \"10.2.0.2\" }]\n";
    fs::write(&file, toml).expect("a temporary directory can be written");
    let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a path is text")]);
    let captures = [CLIENT, B1].map(|role| Capture::start(&net, role, "eth0"));
    let up = || leat.status()["services"][0]["backends"][0]["health"]["reason"] != "not probed yet";
    wait_for("the backend to be probed on its VLAN", LIMIT, || up().then_some(()));
    let fetch = |device: &str, path: &str| {
        let url = format!("http://10.1.0.10:8080{path}");
        net.exec(
            CLIENT,
            &[
                "curl",
                "-sS",
                "--interface",
                device,
                "--max-time",
                "3",
                "-o",
                "/dev/null",
                "-w",
                "%{size_download}",
                &url,
            ],
        )
    };
    assert_eq!(fetch("vlan100", "/big").success().stdout, "1000000");
    net.exec(CLIENT, &["ping", "-c", "2", "-W", "3", "-I", "vlan100", "10.1.0.254"]).success();
    // Another VLAN is not leat's, and neither is what has no tag.
    assert!(!fetch("vlan300", "/").status.success());
    net.exec(CLIENT, &["ip", "address", "add", "10.1.0.2/24", "dev", "eth0"]).success();
    assert!(!fetch("eth0", "/").status.success());
    let [client, backend] = captures.map(Capture::stop);
    // The bridge floods what it does not know: only unicast frames of leat's tell.
    let sent = |recording: &support::capture::Recording, tag: &str| {
        recording.render(&[&format!("ether src {} and vlan {tag} and not arp", leat.mac())]).len()
    };
    assert!(sent(&client, "100") > 100 && sent(&client, "200") == 0);
    assert!(sent(&backend, "200") > 100 && sent(&backend, "100") == 0);
    let ports = leat.status()["ports"].as_array().map(Vec::len);
    assert_eq!(ports, Some(1), "one device, whatever VLANs it has");
    leat.stop().success();
}

#[test]
fn neighbours_of_ipv6_are_found_on_the_vlan_that_they_are_on() {
    let net = Net::up_as("v6_vlan", Shape { backends: 1, ipv6: true, ..Shape::default() });
    let _taggers = [
        tagged(&net, CLIENT, "100", "2001:db8:1::1/64"),
        tagged(&net, CLIENT, "300", "2001:db8:3::1/64"),
        tagged(&net, B1, "200", "2001:db8:2::2/64"),
    ];
    let _server = Nginx::start_v6(&net, B1, 8080, 1_000_000);
    let directory = TempDir::new("v6_vlan");
    let file = directory.join("leat.toml");
    let toml = "[[interface]]\nport = \"net_tap0\"\nvlan = 100\naddresses = [\"2001:db8:1::fe/64\"]\n\
                [[interface]]\nport = \"net_tap0\"\nvlan = 200\naddresses = [\"2001:db8:2::fe/64\"]\n\
                [[service]]\nvip = \"2001:db8:1::10\"\nport = 8080\nlocal_addresses = [\"2001:db8:2::11\"]\n\
                health = { type = \"arp\", interval = \"500ms\" }\nbackend = [{ address = \"2001:db8:2::2\" }]\n";
    fs::write(&file, toml).expect("a temporary directory can be written");
    let captures = [CLIENT, B1].map(|role| Capture::start(&net, role, "eth0"));
    let leat = Leat::start_in(&net, TAP, &["-c", file.to_str().expect("a path is text")]);
    wait_for("the backend to answer a solicitation on its VLAN", LIMIT, || {
        let reason = leat.status()["services"][0]["backends"][0]["health"]["reason"].clone();
        (reason == "answers neighbour solicitation").then_some(())
    });
    let limits = ["curl", "-6", "-sS", "--max-time", "3", "-o", "/dev/null", "-w", "%{size_download}", "--interface"];
    let fetch = |device: &str| net.exec(CLIENT, &[&limits[..], &[device, "http://[2001:db8:1::10]:8080/big"]].concat());
    assert_eq!(fetch("vlan100").success().stdout, "1000000");
    net.exec(CLIENT, &["ping", "-6", "-c", "2", "-W", "3", "-I", "vlan100", "2001:db8:1::fe"]).success();
    // Another VLAN is not leat's, whatever is asked for there.
    net.exec(CLIENT, &["ip", "-6", "route", "add", "2001:db8:1::10/128", "dev", "vlan300", "metric", "2000"]).success();
    assert!(!fetch("vlan300").status.success());
    let [client, backend] = captures.map(Capture::stop);
    // Everybody hears the bridge's flood: only the tag tells.
    let solicited = |recording: &support::capture::Recording, tag: &str| {
        let questions = format!("ether src {} and vlan {tag} and icmp6", leat.mac());
        recording.render(&[&questions]).iter().filter(|line| line.contains("who has 2001:db8:2::2")).count()
    };
    for recording in [&client, &backend] {
        assert!(solicited(recording, "200") > 0, "the backend is asked for on its VLAN");
        assert_eq!(solicited(recording, "100"), 0, "and on no other");
    }
    leat.stop().success();
}
