//! What leat-agent does with packets of IPv6, in and around tunnels, in the real binary: crafted packets in; the statistics, the
//! host's own stack, and scapy as witnesses.
//!
//! That leat itself wraps as the kernel's own tunnels unwrap is not shown here: the kernels that the tests run on have neither
//! ip6tnl, sit nor fou. leat's tunnels are held against scapy in `differential`, and the agent is here.
#![cfg(feature = "dpdk")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    path::Path,
    time::Instant,
};

use etherparse::{IpNumber, Ipv6Header, PacketBuilder};
use support::{
    LIMIT, LONG, TempDir,
    agent::Agent,
    capture::Capture,
    net::{B1, B2, CLIENT, Net, Shape, Transport},
    pcap,
    process::run,
    tunnel::{GUE, GUE_6, Sender, Wrap},
    wait_for,
};

const VIP: &str = "20.0.0.1";
const VIP_6: &str = "2001:db8::10";
const CLIENT_6: &str = "2001:db8::1";

fn up(label: &str) -> Net {
    Net::up_as(label, Shape { ipv6: true, ..Shape::default() })
}

fn octets(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().expect("an address").octets()
}

/// An echo request from the client to the VIP.
fn echo() -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [20, 0, 0, 1], 64)
        .icmpv4_echo_request(7, 1)
        .write(&mut packet, b"hello")
        .unwrap();
    packet
}

/// The same in IPv6.
fn echo_6() -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ipv6(octets(CLIENT_6), octets(VIP_6), 64);
    builder.icmpv6_echo_request(7, 1).write(&mut packet, b"hello").unwrap();
    packet
}

/// The echo request of IPv6 with a header that was changed. No checksum is about what that changes, but ICMP's.
fn changed(change: impl FnOnce(&mut Ipv6Header)) -> Vec<u8> {
    let echo = echo_6();
    let (mut header, payload) = Ipv6Header::from_slice(&echo).unwrap();
    change(&mut header);
    [&header.to_bytes(), payload].concat()
}

/// A packet from the client to the VIP that carries this.
fn carrying(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let header = changed(|header| {
        header.next_header = IpNumber(next_header);
        header.payload_length = payload.len() as u16;
    });
    [&header[..40], payload].concat()
}

fn from(source: &str) -> Vec<u8> {
    changed(|header| header.source = octets(source))
}

fn drops(agent: &mut Agent, tunnel: &str, reason: &str) -> u64 {
    agent.report().drops.get(&(tunnel.to_owned(), reason.to_owned())).copied().unwrap_or(0)
}

#[track_caller]
fn wait_for_drops(agent: &mut Agent, tunnel: &str, reason: &str, count: u64) {
    wait_for(&format!("{count} drops of {tunnel} for {reason}"), LIMIT, || {
        (drops(agent, tunnel, reason) >= count).then_some(())
    });
    assert_eq!(drops(agent, tunnel, reason), count, "{tunnel} {reason}");
}

/// The kinds of tunnels with IPv6 inside: name, over which version, and how it is sent.
const AROUND_IPV6: [(&str, bool, Wrap); 4] = [
    ("ipip-6in4", false, Wrap::Ipip6),
    ("ipip-6in6", true, Wrap::Ipip6),
    ("gue-ipv4", false, Wrap::Gue(GUE_6)),
    ("gue-ipv6", true, Wrap::Gue(GUE_6)),
];

#[test]
fn every_packet_that_must_not_get_in_is_dropped_and_counted_by_its_reason() {
    let net = up("agent6_drops");
    let own = ["--vip", VIP, "--vip", VIP_6, "--from", "10.0.0.3", "--from", "2001:db8::3"];
    let mut agent = Agent::start(&net, B1, &own);
    let (backend, backend_6): (IpAddr, IpAddr) = (net.address(B1).into(), net.address_v6(B1).into());
    let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let datagram = [0x9c, 0x40, 0x17, 0xc0, 0, 8, 0, 0];

    let inner: Vec<(&str, Vec<u8>)> = vec![
        ("inner_truncated", echo_6()[..39].to_vec()),
        ("inner_version", [&[0x45], &echo_6()[1..]].concat()),
        ("inner_length", echo_6()[..50].to_vec()),
        ("inner_extension", carrying(60, &[58, 9, 0, 0, 0, 0, 0, 0])),
        ("inner_extension", carrying(44, &[60, 0, 0, 1, 1, 2, 3, 4, 41, 0, 1, 4, 0, 0, 0, 0])),
        ("inner_source_route", carrying(43, &[58, 2, 0, 1, 0, 0, 0, 0].repeat(3))),
        ("foreign_vip", changed(|header| header.destination = octets("2001:db8::11"))),
        ("foreign_vip", changed(|header| header.destination = octets("2001:db8::2"))),
        ("foreign_vip", changed(|header| header.destination = octets("ff02::1"))),
        ("inner_source", from(VIP_6)),
        ("inner_source", from("2001:db8::2")),
        ("inner_source", from("::1")),
        ("inner_source", from("::")),
        ("inner_source", from("ff02::1")),
        ("inner_source", from("fe80::1")),
        ("inner_source", from("::ffff:10.0.0.1")),
        ("nested_tunnel", carrying(4, &echo())),
        ("nested_tunnel", carrying(41, &echo_6())),
        ("nested_tunnel", carrying(47, &[0; 8])),
        ("nested_tunnel", carrying(60, &[&options(41)[..], &echo_6()].concat())),
        ("nested_tunnel", carrying(17, &datagram)),
        ("neighbor_discovery", carrying(58, &[136, 0, 0, 0].repeat(6))),
    ];
    let mut expected: BTreeMap<_, u64> = BTreeMap::new();
    for (reason, _) in &inner {
        *expected.entry(*reason).or_default() += 1;
    }
    expected.extend([("congestion", 1), ("outer_source", 1), ("outer_destination", 1)]);
    net.exec(B2, &["ip", "route", "replace", VIP, "via", "10.0.0.2"]).success();
    net.exec(B2, &["ip", "-6", "route", "replace", VIP_6, "via", "2001:db8::2"]).success();
    for (tunnel, is_over_6, wrap) in AROUND_IPV6 {
        let (to, vip): (IpAddr, IpAddr) =
            if is_over_6 { (backend_6, VIP_6.parse().unwrap()) } else { (backend, VIP.parse().unwrap()) };
        let sender = Sender::new(&net, B2, to, wrap);
        for (_, packet) in &inner {
            sender.send(packet);
        }
        Sender::new(&net, B2, to, wrap).with_traffic_class(3).send(&echo_6());
        Sender::new(&net, CLIENT, to, wrap).send(&echo_6());
        Sender::new(&net, B2, vip, wrap).send(&echo_6());
        for (reason, count) in &expected {
            wait_for_drops(&mut agent, tunnel, reason, *count);
        }
    }
    // A tunnel is of the version that it says, not of that which is inside.
    for (tunnel, wrap) in [("ipip-4in6", Wrap::Ipip), ("gue-ipv6", Wrap::Gue(GUE))] {
        let before = drops(&mut agent, tunnel, "inner_version");
        Sender::new(&net, B2, backend_6, wrap).send(&echo_6());
        wait_for_drops(&mut agent, tunnel, "inner_version", before + 1);
    }

    let report = agent.report();
    for (tunnel, (received, delivered)) in &report.tunnels {
        let dropped: u64 = report.drops.iter().filter(|((of, _), _)| of == tunnel).map(|(_, count)| count).sum();
        assert_eq!((*delivered, dropped), (0, *received), "{tunnel}: {report:?}");
    }
    agent.stop().success();
}

#[test]
fn who_sends_a_tunnel_packet_cannot_be_the_host_itself() {
    let net = up("agent6_outer");
    let mut agent = Agent::start(&net, B1, &["--vip", VIP_6]);
    let backend = net.address_v6(B1);
    let sender = Sender::new(&net, B2, backend, Wrap::AsItIs);
    let outer = |source: &str| {
        let inner = echo_6();
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv6(octets(source), backend.octets(), 64);
        builder.write(&mut packet, IpNumber(41), &inner).unwrap();
        packet
    };
    // The kernel lets all of these pass.
    for source in ["2001:db8::2", VIP_6, "fe80::9"] {
        sender.send(&outer(source));
    }
    wait_for_drops(&mut agent, "ipip-6in6", "outer_source", 3);

    // Addresses come and go.
    net.exec(B1, &["ip", "address", "add", "2001:db8:5::7/128", "dev", "lo"]).success();
    wait_for("the new address to be known", LIMIT, || {
        sender.send(&outer("2001:db8:5::7"));
        (drops(&mut agent, "ipip-6in6", "outer_source") > 3).then_some(())
    });
    let sender = Sender::new(&net, B2, backend, Wrap::Ipip6);
    let before = drops(&mut agent, "ipip-6in6", "inner_source");
    sender.send(&from("2001:db8:5::7"));
    wait_for_drops(&mut agent, "ipip-6in6", "inner_source", before + 1);
    net.exec(B1, &["ip", "address", "delete", "2001:db8:5::7/128", "dev", "lo"]).success();
    let delivered = agent.report().tunnels["ipip-6in6"].1;
    wait_for("the old address to be forgotten", LIMIT, || {
        sender.send(&from("2001:db8:5::7"));
        (agent.report().tunnels["ipip-6in6"].1 > delivered).then_some(())
    });
    agent.stop().success();
}

#[test]
fn a_packet_that_may_get_in_does_by_every_tunnel_and_is_answered_from_the_vip() {
    let net = up("agent6_ways");
    let mut agent = Agent::start(&net, B1, &["--vip", VIP, "--vip", VIP_6]);
    let answers = Capture::start(&net, CLIENT, "eth0");
    let (backend, backend_6): (IpAddr, IpAddr) = (net.address(B1).into(), net.address_v6(B1).into());
    let padded = [&echo_6()[..], &[0xff; 9]].concat();
    let behind_private_data = [&[0xaa; 8][..], &echo_6()].concat();
    let ways: [(&str, IpAddr, Wrap, &[u8]); 14] = [
        ("ipip-4in4", backend, Wrap::Ipip, &echo()),
        ("ipip-6in4", backend, Wrap::Ipip6, &echo_6()),
        ("ipip-4in6", backend_6, Wrap::Ipip, &echo()),
        ("ipip-6in6", backend_6, Wrap::Ipip6, &echo_6()),
        ("ipip-6in6", backend_6, Wrap::Ipip6, &padded),
        ("gue-ipv4", backend, Wrap::Gue(GUE), &echo()),
        ("gue-ipv4", backend, Wrap::Gue(GUE_6), &echo_6()),
        ("gue-ipv4", backend, Wrap::Bare, &echo_6()),
        ("gue-ipv6", backend_6, Wrap::Gue(GUE), &echo()),
        ("gue-ipv6", backend_6, Wrap::Gue(GUE_6), &echo_6()),
        ("gue-ipv6", backend_6, Wrap::Gue([2, 41, 0, 0]), &behind_private_data),
        ("gue-ipv6", backend_6, Wrap::Bare, &echo()),
        ("gue-ipv6", backend_6, Wrap::Bare, &padded),
        // No checksum at all.
        ("gue-ipv6", backend_6, Wrap::Sum(0), &echo_6()),
    ];
    let mut expected: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut count = [0; 2];
    for (tunnel, to, wrap, packet) in ways {
        Sender::new(&net, B2, to, wrap).send(packet);
        let is_6 = matches!(packet[0] >> 4, 6 | 0xa);
        count[usize::from(is_6)] += 1;
        let (filter, answer) = match is_6 {
            false => ("icmp[icmptype] == icmp-echoreply", "20.0.0.1 > 10.0.0.1: ICMP echo reply, id 7, seq 1"),
            true => (
                "icmp6 and ip6[40] == 129",
                "2001:db8::10 > 2001:db8::1: [icmp6 sum ok] ICMP6, echo reply, id 7, seq 1",
            ),
        };
        let seen = answers.wait_for(count[usize::from(is_6)], filter, &["-v"]);
        assert!(seen.last().unwrap().contains(answer), "{tunnel} {wrap:?}: {seen:?}");
        let figures = expected.entry(tunnel).or_default();
        *figures = (figures.0 + 1, figures.1 + 1);
    }
    let report = agent.report();
    assert!(report.tunnels.iter().map(|(tunnel, figures)| (tunnel.as_str(), *figures)).eq(expected), "{report:?}");
    assert!(report.drops.is_empty(), "{report:?}");
    agent.stop().success();
}

#[test]
fn a_wrong_checksum_around_gue_is_dropped_and_counted() {
    let net = up("agent6_sum");
    let mut agent = Agent::start(&net, B1, &["--vip", VIP, "--vip", VIP_6]);
    let (backend, backend_6): (IpAddr, IpAddr) = (net.address(B1).into(), net.address_v6(B1).into());
    for (tunnel, to) in [("gue-ipv4", backend), ("gue-ipv6", backend_6)] {
        // A sum is right for one of two, at most.
        for sum in [0x1234, 0x1235] {
            Sender::new(&net, B2, to, Wrap::Sum(sum)).send(&echo_6());
        }
        // What comes after them is delivered: they have been seen.
        Sender::new(&net, B2, to, Wrap::Bare).send(&echo_6());
        wait_for("the right one", LIMIT, || (agent.report().tunnels[tunnel] == (1, 1)).then_some(()));
        let report = agent.report();
        let counted: BTreeMap<_, _> = report.drops.iter().filter(|((of, _), _)| of == tunnel).collect();
        assert_eq!(counted.len(), 1, "{report:?}");
        assert_eq!(drops(&mut agent, tunnel, "outer_checksum"), 2, "{report:?}");
    }
    agent.stop().success();
}

#[test]
fn a_checksum_that_a_network_card_was_to_finish_is_finished() {
    let net = up("agent6_open");
    let agent = Agent::start(&net, B1, &["--vip", VIP_6]);
    let mut server = net.spawn(B1, &["nc", "-6", "-u", "-l", VIP_6, "5000"]);
    net.wait_until_listening(B1, Transport::Udp, 5000);
    for (wrap, text) in [(Wrap::Ipip6, b"by ipip\n"), (Wrap::Gue(GUE_6), b"by gue!\n")] {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv6(octets(CLIENT_6), octets(VIP_6), 64);
        builder.udp(40000, 5000).write(&mut packet, text).unwrap();
        // The pseudo-header alone: 2001:db8::1, 2001:db8::10, protocol 17, 16 bytes.
        let sum = 2 * (0x2001_u16 + 0x0db8) + 0x0001 + 0x0010 + 17 + 16;
        packet[46..48].copy_from_slice(&sum.to_be_bytes());
        Sender::new(&net, B2, net.address_v6(B1), wrap).send(&packet);
    }
    server.wait_for_output("both datagrams", LIMIT, |stdout, _| {
        stdout.contains("by ipip\n") && stdout.contains("by gue!\n")
    });
    agent.stop().success();
}

#[test]
fn kinds_of_tunnels_without_a_vip_of_what_they_carry_are_left_to_the_host() {
    let net = up("agent6_only");
    for (vip, kinds) in [
        (VIP, ["gue-ipv4", "gue-ipv6", "ipip-4in4", "ipip-4in6"]),
        (VIP_6, ["gue-ipv4", "gue-ipv6", "ipip-6in4", "ipip-6in6"]),
    ] {
        let mut agent = Agent::start(&net, B1, &["--vip", vip]);
        let report = agent.report();
        assert!(report.tunnels.keys().eq(kinds), "{report:?}");
        agent.stop().success();
    }
    // So the host says itself that it does not know them: "protocol unreachable", "unknown next header".
    let agent = Agent::start(&net, B1, &["--vip", VIP, "--ipip"]);
    let capture = Capture::start(&net, B2, "eth0");
    Sender::new(&net, B2, net.address(B1), Wrap::Ipip6).send(&echo_6());
    capture.wait_for(1, "icmp[icmptype] == icmp-unreach and icmp[icmpcode] == 2", &[]);
    Sender::new(&net, B2, net.address_v6(B1), Wrap::Ipip6).send(&echo_6());
    capture.wait_for(1, "icmp6 and ip6[40] == 4 and ip6[41] == 1", &[]);
    Sender::new(&net, B2, net.address_v6(B1), Wrap::Bare).send(&echo_6());
    capture.wait_for(1, "icmp6 and ip6[40] == 1 and ip6[41] == 4", &[]);
    agent.stop().success();
}

#[test]
fn the_host_sends_no_icmp_about_packets_that_the_agent_receives() {
    let net = up("agent6_quiet");
    let mut agent = Agent::start(&net, B1, &["--vip", VIP_6]);
    let capture = Capture::start(&net, B2, "eth0");
    for (tunnel, is_over_6, wrap) in AROUND_IPV6 {
        let to: IpAddr = if is_over_6 { net.address_v6(B1).into() } else { net.address(B1).into() };
        let sender = Sender::new(&net, B2, to, wrap);
        sender.send(&echo_6());
        sender.send(&changed(|header| header.destination = octets("2001:db8::11")));
        wait_for_drops(&mut agent, tunnel, "foreign_vip", 1);
    }
    // What comes after it on the same wire shows that it would have been seen.
    for (ping, address) in [("-4", "10.0.0.3"), ("-6", "2001:db8::3")] {
        net.exec(B1, &["ping", ping, "-c", "1", "-W", "5", address]).success();
    }
    capture.wait_for(1, "icmp6 and ip6[40] == 128", &[]);
    let seen = capture.stop();
    let errors = seen.render(&["(icmp[icmptype] == icmp-unreach and src host 10.0.0.2) or (icmp6 and ip6[40] < 128)"]);
    assert!(errors.is_empty(), "{errors:?}");
    agent.stop().success();
}

#[test]
fn vips_of_both_versions_outlive_that_the_device_goes_down() {
    let net = up("agent6_down");
    let mut agent = Agent::start(&net, B1, &["--vip", VIP, "--vip", VIP_6]);
    let senders = [(Wrap::Ipip, echo()), (Wrap::Ipip6, echo_6())]
        .map(|(wrap, packet)| (Sender::new(&net, B2, net.address_v6(B1), wrap), packet));
    net.exec(B1, &["ip", "link", "set", "leat0", "down"]).success();
    senders.iter().for_each(|(sender, packet)| sender.send(packet));
    for tunnel in ["ipip-4in6", "ipip-6in6"] {
        wait_for_drops(&mut agent, tunnel, "delivery_failed", 1);
    }
    net.exec(B1, &["ip", "link", "set", "leat0", "up"]).success();
    let answers = Capture::start(&net, CLIENT, "eth0");
    senders.iter().for_each(|(sender, packet)| sender.send(packet));
    answers.wait_for(1, "icmp[icmptype] == icmp-echoreply", &[]);
    answers.wait_for(1, "icmp6 and ip6[40] == 129", &[]);
    agent.stop().success();
}

#[test]
fn what_comes_faster_than_it_is_read_is_counted_over_ipv6_too() {
    let net = up("agent6_flood");
    let mut agent = Agent::start(&net, B1, &["--vip", VIP_6]);
    for (tunnel, wrap) in [("ipip-6in6", Wrap::Ipip6), ("gue-ipv6", Wrap::Gue(GUE_6))] {
        agent.signal("STOP");
        let sender = Sender::new(&net, B2, net.address_v6(B1), wrap);
        let packet = changed(|header| header.destination = octets("2001:db8::11"));
        let long = [&packet[..], &[0; 1300]].concat();
        const SENT: u64 = 20_000;
        for _ in 0..SENT {
            // The sender's own queue may be full.
            let _ = sender.try_send(&long);
        }
        agent.signal("CONT");
        wait_for("some to be counted as too late", LIMIT, || {
            (drops(&mut agent, tunnel, "receive_queue_full") >= 1).then_some(())
        });
        wait_for("the rest to be read", LIMIT, || {
            let missed = drops(&mut agent, tunnel, "receive_queue_full");
            (drops(&mut agent, tunnel, "foreign_vip") + missed >= SENT * 9 / 10).then_some(())
        });
        assert_eq!(drops(&mut agent, tunnel, "outer_checksum"), 0);
    }
    agent.stop().success();
}

#[test]
fn what_comes_out_of_every_tunnel_is_what_scapy_takes_out() {
    const COUNT: usize = 600;
    let net = up("agent6_scapy");
    let mut agent = Agent::start(&net, B1, &["--vip", VIP, "--vip", VIP_6]);
    // With room for all of them, however late tcpdump comes to look: it takes as much for each packet as it might show.
    let mut tcpdump = net.command(B1, "tcpdump");
    tcpdump.args(["--snapshot-length=2048", "--buffer-size=16384"]);
    let device = Capture::start_by(tcpdump, "leat0");
    let directory = TempDir::new("agent6_scapy");
    let file = directory.join("expected.pcap");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/scapy_tunnels.py");
    let mut scapy = net.command(B2, "/usr/bin/python3");
    scapy.arg(script).args(["7", &COUNT.to_string(), "eth0"]).arg(&file);
    let said = run(&mut scapy, LONG).success().stdout;
    let expected: BTreeMap<String, (u64, u64)> = said
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let number = |at: usize| words[at].parse().expect("a number");
            (words[0].to_owned(), (number(1), number(2)))
        })
        .collect();
    assert_eq!(expected.len(), 6, "{said}");
    let limit = Instant::now() + LIMIT;
    let report = loop {
        let report = agent.report();
        let received: u64 = report.tunnels.values().map(|(received, _)| received).sum();
        if received >= COUNT as u64 || Instant::now() > limit {
            break report;
        }
    };
    assert_eq!(report.tunnels, expected, "{report:?}");
    assert!(report.drops.keys().all(|(_, reason)| reason == "congestion"), "{report:?}");

    let delivered: u64 = expected.values().map(|(_, delivered)| delivered).sum();
    device.wait_for(delivered as usize, "dst host 20.0.0.1 or dst host 2001:db8::10", &[]);
    let packets = |path: &Path| pcap::read(path).into_iter().map(|frame| frame.bytes);
    let wanted: BTreeSet<Vec<u8>> = packets(&file).collect();
    let got: BTreeSet<Vec<u8>> =
        packets(device.stop().file()).filter(|packet| packet.ends_with(b"!") && packet.len() > 20).collect();
    assert_eq!(wanted.len() as u64, delivered, "each of scapy's packets is another one");
    let missing: Vec<_> = wanted.difference(&got).collect();
    let other: Vec<_> = got.difference(&wanted).collect();
    assert!(missing.is_empty() && other.is_empty(), "missing {missing:02x?}\nin place of them {other:02x?}");
    agent.stop().success();
}
