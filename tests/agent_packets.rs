//! What leat-agent does with each kind of packet, in the real binary: crafted packets in, the statistics and the
//! host's own stack as witnesses.
#![cfg(feature = "dpdk")]

mod support;

use std::net::Ipv4Addr;

use etherparse::{IpNumber, Ipv4Header, PacketBuilder};
use support::{
    LIMIT,
    agent::Agent,
    capture::Capture,
    net::{B1, B2, CLIENT, Net},
    tunnel::{GUE, Sender, Wrap},
    wait_for,
};

const VIP: [u8; 4] = [20, 0, 0, 1];
const CLIENT_ADDRESS: [u8; 4] = [10, 0, 0, 1];

/// An echo request from the client to the VIP.
fn echo() -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(CLIENT_ADDRESS, VIP, 64).icmpv4_echo_request(7, 1).write(&mut packet, b"hello").unwrap();
    packet
}

fn datagram(port: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(CLIENT_ADDRESS, VIP, 64).udp(40000, port).write(&mut packet, b"hello").unwrap();
    packet
}

/// The echo request with a header that was changed, its checksum made right again.
fn changed(change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let echo = echo();
    let (mut header, payload) = Ipv4Header::from_slice(&echo).unwrap();
    change(&mut header);
    if !header.options.is_empty() {
        header.total_len += header.options.len() as u16;
    }
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes(), payload].concat()
}

fn with(at: usize, byte: u8) -> Vec<u8> {
    let mut packet = echo();
    packet[at] = byte;
    packet
}

fn drops(agent: &mut Agent, tunnel: &str, reason: &str) -> u64 {
    agent.report().drops.get(&(tunnel.to_owned(), reason.to_owned())).copied().unwrap_or(0)
}

fn wait_for_drops(agent: &mut Agent, tunnel: &str, reason: &str, count: u64) {
    wait_for(&format!("{count} drops of {tunnel} for {reason}"), LIMIT, || {
        (drops(agent, tunnel, reason) >= count).then_some(())
    });
}

#[test]
fn every_packet_that_must_not_get_in_is_dropped_and_counted_by_its_reason() {
    let net = Net::up("agent_drops");
    let mut agent = Agent::start(&net, B1, &["--vip", "20.0.0.1", "--from", "10.0.0.3"]);
    let backend = net.address(B1);

    let inner: Vec<(&str, Vec<u8>)> = vec![
        ("inner_truncated", echo()[..19].to_vec()),
        ("inner_version", with(0, 0x65)),
        ("inner_header_length", with(0, 0x44)),
        ("inner_length", echo()[..32].to_vec()),
        ("inner_checksum", with(8, 63)),
        ("inner_source_route", changed(|header| header.options = [131, 3, 4, 0].into())),
        ("foreign_vip", changed(|header| header.destination = [20, 0, 0, 2])),
        ("foreign_vip", changed(|header| header.destination = backend.octets())),
        ("inner_source", changed(|header| header.source = VIP)),
        ("inner_source", changed(|header| header.source = backend.octets())),
        ("inner_source", changed(|header| header.source = [127, 0, 0, 1])),
        ("nested_tunnel", changed(|header| header.protocol = IpNumber(4))),
        ("nested_tunnel", changed(|header| header.protocol = IpNumber(41))),
        ("nested_tunnel", changed(|header| header.protocol = IpNumber(47))),
        ("nested_tunnel", datagram(6080)),
    ];
    for (tunnel, wrap) in [("ipip-4in4", Wrap::Ipip), ("gue-ipv4", Wrap::Gue(GUE))] {
        let sender = Sender::new(&net, B2, backend, wrap);
        let mut expected = std::collections::BTreeMap::new();
        for (reason, packet) in &inner {
            sender.send(packet);
            *expected.entry(*reason).or_insert(0) += 1;
        }
        Sender::new(&net, B2, backend, wrap).with_traffic_class(0x03).send(&echo());
        expected.insert("congestion", 1);
        Sender::new(&net, CLIENT, backend, wrap).send(&echo());
        expected.insert("outer_source", 1);
        Sender::new(&net, B2, Ipv4Addr::new(10, 0, 0, 255), wrap).send(&echo());
        net.exec(B2, &["ip", "route", "replace", "20.0.0.1", "via", "10.0.0.2"]).success();
        Sender::new(&net, B2, VIP, wrap).send(&echo());
        expected.insert("outer_destination", 2);

        for (reason, count) in expected {
            wait_for_drops(&mut agent, tunnel, reason, count);
            assert_eq!(drops(&mut agent, tunnel, reason), count, "{tunnel} {reason}");
        }
    }

    let gue: [(&str, [u8; 4], &[u8]); 6] = [
        ("gue_version", [0x80, 4, 0, 0], &echo()),
        ("gue_control", [0x20, 4, 0, 0], &echo()),
        ("gue_flags", [0, 4, 0, 1], &echo()),
        ("gue_protocol", [0, 47, 0, 0], &echo()),
        ("gue_protocol", [0x50, 0, 0, 0], &echo()),
        ("gue_truncated", [0x1f, 4, 0, 0], &echo()),
    ];
    for (_, header, packet) in gue {
        Sender::new(&net, B2, backend, Wrap::Gue(header)).send(packet);
    }
    Sender::new(&net, B2, backend, Wrap::Bare).send(&[0, 4, 0]);
    for (reason, count) in
        [("gue_version", 1), ("gue_control", 1), ("gue_flags", 1), ("gue_protocol", 2), ("gue_truncated", 2)]
    {
        wait_for_drops(&mut agent, "gue-ipv4", reason, count);
        assert_eq!(drops(&mut agent, "gue-ipv4", reason), count, "{reason}");
    }

    let report = agent.report();
    for (tunnel, received) in [("ipip-4in4", 19), ("gue-ipv4", 26)] {
        assert_eq!(report.tunnels[tunnel], (received, 0), "{report:?}");
        let dropped: u64 = report.drops.iter().filter(|((of, _), _)| of == tunnel).map(|(_, count)| count).sum();
        assert_eq!(dropped, received, "{report:?}");
    }
    agent.stop().success();
}

#[test]
fn a_packet_that_may_get_in_does_by_every_tunnel_and_is_answered_from_the_vip() {
    let net = Net::up("agent_ways");
    let mut agent = Agent::start(&net, B1, &["--vip", "20.0.0.1"]);
    let answers = Capture::start(&net, CLIENT, "eth0");
    let padded = [&echo()[..], &[0xff; 9]].concat();
    let behind_private_data = [&[0xaa; 8][..], &echo()].concat();
    let ways: [(&str, Wrap, &[u8]); 6] = [
        ("ipip-4in4", Wrap::Ipip, &echo()),
        ("ipip-4in4", Wrap::Ipip, &padded),
        ("gue-ipv4", Wrap::Gue(GUE), &echo()),
        ("gue-ipv4", Wrap::Gue([2, 4, 0, 0]), &behind_private_data),
        ("gue-ipv4", Wrap::Bare, &echo()),
        ("gue-ipv4", Wrap::Gue(GUE), &padded),
    ];
    for (count, (_, wrap, packet)) in ways.iter().enumerate() {
        Sender::new(&net, B2, net.address(B1), *wrap).send(packet);
        let seen = answers.wait_for(count + 1, "icmp[icmptype] == icmp-echoreply", &["-v"]);
        let last = seen.last().unwrap();
        assert!(last.contains("20.0.0.1 > 10.0.0.1: ICMP echo reply, id 7, seq 1, length 13"), "{wrap:?}: {last}");
    }
    let report = agent.report();
    assert_eq!((report.tunnels["ipip-4in4"], report.tunnels["gue-ipv4"]), ((2, 2), (4, 4)));
    assert!(report.drops.is_empty(), "{report:?}");
    agent.stop().success();
}

#[test]
fn a_tunnel_that_was_not_asked_for_is_not_received() {
    let net = Net::up("agent_only");
    let unreachable = |arguments: &[&str], wrap: Wrap, filter: &str| {
        let agent = Agent::start(&net, B1, &[&["--vip", "20.0.0.1"], arguments].concat());
        let capture = Capture::start(&net, B2, "eth0");
        Sender::new(&net, B2, net.address(B1), wrap).send(&echo());
        capture.wait_for(1, filter, &[]);
        agent.stop().success();
    };
    let port = "icmp[icmptype] == icmp-unreach and icmp[icmpcode] == 3";
    let protocol = "icmp[icmptype] == icmp-unreach and icmp[icmpcode] == 2";
    unreachable(&["--ipip"], Wrap::Gue(GUE), port);
    unreachable(&["--gue"], Wrap::Ipip, protocol);
    unreachable(&["--gue", "7000"], Wrap::Gue(GUE), port);
}

#[test]
fn the_host_sends_no_icmp_about_packets_that_the_agent_receives() {
    let net = Net::up("agent_quiet");
    let mut agent = Agent::start(&net, B1, &["--vip", "20.0.0.1"]);
    let capture = Capture::start(&net, B2, "eth0");
    for wrap in [Wrap::Ipip, Wrap::Gue(GUE)] {
        let sender = Sender::new(&net, B2, net.address(B1), wrap);
        sender.send(&echo());
        sender.send(&changed(|header| header.destination = [20, 0, 0, 2]));
    }
    wait_for_drops(&mut agent, "ipip-4in4", "foreign_vip", 1);
    wait_for_drops(&mut agent, "gue-ipv4", "foreign_vip", 1);
    // What comes after it on the same wire shows that it would have been seen.
    net.exec(B1, &["ping", "-c", "1", "-W", "5", &net.address(B2).to_string()]).success();
    capture.wait_for(1, "icmp[icmptype] == icmp-echo", &[]);
    let unreachable = capture.stop().render(&["icmp[icmptype] == icmp-unreach and src host 10.0.0.2"]);
    assert!(unreachable.is_empty(), "{unreachable:?}");
    agent.stop().success();
}

#[test]
fn congestion_on_the_way_reaches_the_receiver_and_the_dscp_is_the_clients() {
    let net = Net::up("agent_ecn");
    let agent = Agent::start(&net, B1, &["--vip", "20.0.0.1"]);
    let capture = Capture::start(&net, B1, "leat0");
    for (count, wrap) in [Wrap::Ipip, Wrap::Gue(GUE)].into_iter().enumerate() {
        let capable = changed(|header| {
            header.dscp = 10.try_into().unwrap();
            header.ecn = 2.try_into().unwrap();
        });
        Sender::new(&net, B2, net.address(B1), wrap).with_traffic_class(46 << 2 | 3).send(&capable);
        let seen = capture.wait_for(count + 1, "dst host 20.0.0.1", &["-v"]);
        let last = seen.last().unwrap();
        assert!(last.contains("tos 0x2b,CE") && !last.contains("bad cksum"), "{wrap:?}: {last}");
    }
    agent.stop().success();
}

#[test]
fn a_checksum_that_a_network_card_was_to_finish_is_finished() {
    let net = Net::up("agent_open_checksum");
    let agent = Agent::start(&net, B1, &["--vip", "20.0.0.1"]);
    let mut server = net.spawn(B1, &["nc", "-u", "-l", "20.0.0.1", "5000"]);
    net.wait_until_listening(B1, support::net::Transport::Udp, 5000);
    for (wrap, text) in [(Wrap::Ipip, b"by ipip\n"), (Wrap::Gue(GUE), b"by gue!\n")] {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(CLIENT_ADDRESS, VIP, 64).udp(40000, 5000).write(&mut packet, text).unwrap();
        // The pseudo-header alone: 10.0.0.1, 20.0.0.1, protocol 17, 16 bytes.
        let sum = 0x0a00_u16 + 0x0001 + 0x1400 + 0x0001 + 17 + 16;
        packet[26..28].copy_from_slice(&sum.to_be_bytes());
        Sender::new(&net, B2, net.address(B1), wrap).send(&packet);
    }
    server.wait_for_output("both datagrams", LIMIT, |stdout, _| {
        stdout.contains("by ipip\n") && stdout.contains("by gue!\n")
    });
    agent.stop().success();
}

#[test]
fn what_the_device_does_not_take_is_counted_and_it_recovers() {
    let net = Net::up("agent_down");
    let mut agent = Agent::start(&net, B1, &["--vip", "20.0.0.1"]);
    let sender = Sender::new(&net, B2, net.address(B1), Wrap::Ipip);
    net.exec(B1, &["ip", "link", "set", "leat0", "down"]).success();
    sender.send(&echo());
    wait_for_drops(&mut agent, "ipip-4in4", "delivery_failed", 1);
    net.exec(B1, &["ip", "link", "set", "leat0", "up"]).success();
    let answers = Capture::start(&net, CLIENT, "eth0");
    sender.send(&echo());
    answers.wait_for(1, "icmp[icmptype] == icmp-echoreply", &[]);
    agent.stop().success();
}

#[test]
fn what_comes_faster_than_it_is_read_is_counted() {
    let net = Net::up("agent_flood");
    let mut agent = Agent::start(&net, B1, &["--vip", "20.0.0.1"]);
    for (tunnel, wrap) in [("ipip-4in4", Wrap::Ipip), ("gue-ipv4", Wrap::Gue(GUE))] {
        agent.signal("STOP");
        let sender = Sender::new(&net, B2, net.address(B1), wrap);
        let packet = changed(|header| header.destination = [20, 0, 0, 2]);
        let long = [&packet[..], &[0; 1300]].concat();
        const SENT: u64 = 20_000;
        for _ in 0..SENT {
            // The sender's own queue may be full.
            let _ = sender.try_send(&long);
        }
        agent.signal("CONT");
        wait_for_drops(&mut agent, tunnel, "receive_queue_full", 1);
        wait_for("the rest to be read", LIMIT, || {
            let missed = drops(&mut agent, tunnel, "receive_queue_full");
            (drops(&mut agent, tunnel, "foreign_vip") + missed >= SENT * 9 / 10).then_some(())
        });
    }
    agent.stop().success();
}

#[test]
fn packets_that_come_by_another_interface_are_left_to_the_host() {
    let net = Net::up("agent_interface");
    net.exec(B1, &["ip", "link", "add", "in0", "type", "veth", "peer", "name", "in1"]).success();
    let mut agent = Agent::start(&net, B1, &["--vip", "20.0.0.1", "--interface", "in0"]);
    let capture = Capture::start(&net, B2, "eth0");
    Sender::new(&net, B2, net.address(B1), Wrap::Ipip).send(&echo());
    Sender::new(&net, B2, net.address(B1), Wrap::Gue(GUE)).send(&echo());
    capture.wait_for(2, "icmp[icmptype] == icmp-unreach", &[]);
    assert_eq!(agent.report().tunnels.values().copied().collect::<Vec<_>>(), [(0, 0); 4]);
    agent.stop().success();

    let mut agent = Agent::start(&net, B1, &["--vip", "20.0.0.1", "--interface", "eth0"]);
    Sender::new(&net, B2, net.address(B1), Wrap::Ipip).send(&echo());
    wait_for("the packet to be delivered", LIMIT, || (agent.report().tunnels["ipip-4in4"] == (1, 1)).then_some(()));
    agent.stop().success();
}
