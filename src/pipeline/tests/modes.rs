//! What each of the other modes writes, and what it refuses.

use etherparse::{Icmpv4Type, icmpv4::DestUnreachableHeader};

use super::*;
use crate::wire::arp::{FRAME_LEN, Message, Operation};

const OWN: &str = "[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\n";
const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 34952);
const BACKEND_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// A service in `mode`, with more keys, whose backends listen on its own port.
fn in_mode(mode: &str, backends: u8, more: &str) -> String {
    service(backends, &format!("mode = \"{mode}\"\n{more}")).replace("port = 8080", "port = 80")
}

fn syn() -> Vec<u8> {
    tcp(CLIENT_MAC, CLIENT, (VIP, 80), SYN, 100, 0, b"")
}

/// A datagram of a client's, of `len` bytes of IPv4.
fn datagram(len: usize, dont_fragment: bool) -> Vec<u8> {
    let mut ip = etherparse::Ipv4Header::new((len - 20) as u16, 9, etherparse::IpNumber::UDP, CLIENT.0, VIP).unwrap();
    ip.dont_fragment = dont_fragment;
    let headers = etherparse::IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default());
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(CLIENT_MAC, LEAT.0)
        .ip(headers)
        .udp(4000, 80)
        .write(&mut frame, &vec![7; len - 28])
        .unwrap();
    frame
}

fn arp(operation: Operation, from: (MacAddr, [u8; 4]), target: [u8; 4]) -> Vec<u8> {
    let mut frame = [0; FRAME_LEN];
    let message = Message {
        operation,
        sender_mac: from.0,
        sender: from.1.into(),
        target_mac: MacAddr::default(),
        target: target.into(),
    };
    message.write(&mut frame, MacAddr::BROADCAST);
    frame.to_vec()
}

#[test]
fn nat_changes_the_destination_there_and_the_source_back() {
    for workers in [1, 4] {
        let mut leat = Balancer::new(workers, &service(1, "mode = \"nat\""));
        let sent = leat.take(0, vec![syn()], 1);
        let there = seen(&sent[0]);
        assert_eq!(there.key.to_string(), "tcp 10.0.0.1:34952 > 10.0.0.2:8080");
        assert_eq!(there.destination, BACKEND_MAC);
        for worker in 0..usize::from(workers) {
            let back = leat.take(worker, vec![answer(there, SYN | ACK, 500, 101)], 1);
            let back = seen(&back[0]);
            assert_eq!(back.key.to_string(), "tcp 10.0.0.10:80 > 10.0.0.1:34952", "wherever the answer arrives");
            assert_eq!(back.destination, MacAddr(CLIENT_MAC));
        }
    }
}

#[test]
fn nat_balances_pings_of_a_service_for_everything() {
    let toml = service(2, "mode = \"nat\"\nprotocol = \"any\"\nscheduler = \"rr\"")
        .replace("port = 80\n", "")
        .replace("port = 8080\n", "");
    let mut leat = Balancer::new(1, &toml);
    for (client, backend) in [(1, 2), (2, 3), (3, 2)] {
        let mut ping = Vec::new();
        let builder = PacketBuilder::ethernet2(CLIENT_MAC, LEAT.0).ipv4([10, 0, 1, client], VIP, 64);
        builder.icmpv4_echo_request(77, 1).write(&mut ping, b"ping").unwrap();
        let there = leat.one(ping).unwrap();
        assert_eq!((&there[26..30], &there[30..34]), (&[10, 0, 1, client][..], &[10, 0, 0, backend][..]));
        let mut pong = Vec::new();
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, backend], LEAT.0).ipv4(
            [10, 0, 0, backend],
            [10, 0, 1, client],
            64,
        );
        builder.icmpv4_echo_reply(77, 1).write(&mut pong, b"ping").unwrap();
        let back = leat.one(pong).unwrap();
        assert_eq!((&back[26..30], &back[30..34]), (&VIP[..], &[10, 0, 1, client][..]));
    }
}

#[test]
fn nat_stands_in_for_clients_when_backends_ask_and_for_nobody_else() {
    let more = "mode = \"nat\"\nproxy_arp = [\"10.0.5.0/24\"]";
    let backend = (BACKEND_MAC, [10, 0, 0, 2]);
    let host = (MacAddr([2, 0, 0, 0, 7, 7]), [10, 0, 0, 77]);
    let rows = [
        ("a client that leat knows", backend, CLIENT.0, true),
        ("an address where clients are", backend, [10, 0, 5, 9], true),
        ("an address that nobody knows", backend, [10, 0, 0, 99], false),
        ("another backend", backend, [10, 0, 0, 3], false),
        ("a host that is no backend asks", host, CLIENT.0, false),
        ("a host's own probe", (BACKEND_MAC, [0, 0, 0, 0]), CLIENT.0, false),
        ("an announcement", backend, [10, 0, 0, 2], false),
        ("the VIP itself", host, VIP, true),
    ];
    for workers in [1, 4] {
        let mut leat = Balancer::new(workers, &service(2, more));
        leat.take(0, vec![syn()], 1);
        for (name, from, target, is_answered) in rows {
            let sent = leat.take(0, vec![arp(Operation::Request, from, target)], 1);
            let answers: Vec<_> = sent.iter().map(|frame| Message::parse(&frame[14..]).unwrap()).collect();
            let expected = Message {
                operation: Operation::Reply,
                sender_mac: LEAT,
                sender: target.into(),
                target_mac: from.0,
                target: from.1.into(),
            };
            assert_eq!(answers, if is_answered { vec![expected] } else { vec![] }, "{name}, {workers} workers");
        }
    }
}

#[test]
fn a_host_that_answers_a_backend_itself_is_noticed() {
    let mut leat = Balancer::new(1, &service(2, "mode = \"nat\""));
    let mut overheard = arp(Operation::Reply, (MacAddr(CLIENT_MAC), CLIENT.0), [10, 0, 0, 2]);
    overheard[..6].copy_from_slice(&BACKEND_MAC.0);
    assert_eq!(leat.one(overheard.clone()), None);
    assert_eq!(leat.dropped(DropReason::ArpPastLeat), 1);
    let between_others = arp(Operation::Reply, (MacAddr(CLIENT_MAC), CLIENT.0), [10, 0, 0, 99]);
    overheard[14..].copy_from_slice(&between_others[14..]);
    assert_eq!(leat.one(overheard), None);
    assert_eq!(leat.dropped(DropReason::NotForUs), 1);
}

#[test]
fn a_backends_own_traffic_is_not_routed_and_its_stray_answers_are_dropped() {
    let mut leat = Balancer::new(1, &service(2, "mode = \"nat\""));
    let from_backend = |port, to| tcp(BACKEND_MAC.0, ([10, 0, 0, 2], port), to, SYN, 1, 0, b"");
    assert_eq!(leat.one(from_backend(40_000, ([192, 0, 2, 1], 443))), None);
    assert_eq!(leat.dropped(DropReason::NotRouted), 1);
    assert_eq!(leat.one(from_backend(8080, CLIENT)), None);
    assert_eq!(leat.dropped(DropReason::StrayReply), 1);
    assert_eq!(leat.one(from_backend(40_000, (VIP, 80))), None);
    assert_eq!(leat.dropped(DropReason::BackendAsClient), 1);
}

#[test]
fn one_client_port_cannot_meet_one_backend_twice_in_nat() {
    let two = service(1, "mode = \"nat\"")
        + &service(1, "mode = \"nat\"").replace("web", "other").replace("10.0.0.10", "10.0.0.11");
    let mut leat = Balancer::new(1, &two);
    assert!(leat.one(syn()).is_some());
    assert_eq!(leat.one(tcp(CLIENT_MAC, CLIENT, ([10, 0, 0, 11], 80), SYN, 1, 0, b"")), None);
    assert_eq!(leat.dropped(DropReason::TupleInUse), 1);
}

#[test]
fn dr_changes_the_ethernet_addresses_and_nothing_else() {
    let mut leat = Balancer::new(1, &in_mode("dr", 1, ""));
    for frame in [syn(), tcp(CLIENT_MAC, CLIENT, (VIP, 80), ACK, 101, 501, b"data")] {
        let sent = leat.one(frame.clone()).unwrap();
        assert_eq!(sent[14..], frame[14..]);
        assert_eq!((&sent[..6], &sent[6..12]), (&BACKEND_MAC.0[..], &LEAT.0[..]));
    }
}

#[test]
fn ipip_and_gue_carry_the_packet_whole() {
    for (mode, more, overhead) in [("ipip", "", 20), ("gue", "", 32), ("gue", "gue_version = 1", 28)] {
        let mut leat = Balancer::new(1, &(OWN.to_owned() + &in_mode(mode, 1, more)));
        let frame = syn();
        let sent = leat.one(frame.clone()).unwrap();
        assert_eq!(sent[14 + overhead..], frame[14..], "{mode} {more}");
        assert_eq!((&sent[26..30], &sent[30..34]), (&[10, 0, 0, 254][..], &[10, 0, 0, 2][..]));
        assert_eq!(&sent[..6], &BACKEND_MAC.0);
    }
}

#[test]
fn outer_headers_have_identifications_of_their_own() {
    let mut leat = Balancer::new(4, &(OWN.to_owned() + &in_mode("ipip", 1, "")));
    let mut identifications = HashSet::new();
    for n in 0..200 {
        let syn = tcp(CLIENT_MAC, ([10, 0, 1, n], 4000), (VIP, 80), SYN, 100, 0, b"");
        for sent in leat.take(0, vec![syn], 1) {
            assert!(identifications.insert([sent[18], sent[19]]));
        }
    }
    assert_eq!(identifications.len(), 200);
}

#[test]
fn a_packet_too_big_for_the_tunnel_is_refused_to_the_client_or_cut() {
    for (mode, fits) in [("ipip", 1480), ("gue", 1468)] {
        let toml = OWN.to_owned() + &in_mode(mode, 1, "protocol = \"udp\"");
        let mut leat = Balancer::new(1, &toml);
        assert!(leat.one(datagram(fits, true)).unwrap().len() == 1514);
        let told = leat.one(datagram(fits + 1, true)).unwrap();
        let packet = SlicedPacket::from_ethernet(&told).unwrap();
        let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Icmpv4(icmp))) = (&packet.net, &packet.transport) else {
            panic!("{packet:?}")
        };
        let expected = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: fits as u16 };
        assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(expected));
        assert_eq!((ip.header().source(), ip.header().destination()), (VIP, CLIENT.0));
        assert_eq!((&told[..6], &told[6..12]), (&CLIENT_MAC[..], &LEAT.0[..]));
        assert_eq!(leat.dropped(DropReason::TooBigForTunnel), 1);

        let pieces = leat.take(0, vec![datagram(1500, false)], 1);
        assert_eq!(pieces.len(), 2);
        let mut whole = Vec::new();
        for piece in &pieces {
            assert!(piece.len() <= 1514);
            assert_eq!((&piece[..6], &piece[6..12]), (&BACKEND_MAC.0[..], &LEAT.0[..]));
            whole.extend_from_slice(&piece[34..]);
        }
        assert!(whole.ends_with(&datagram(1500, false)[14..]));
    }
}

#[test]
fn a_router_that_cannot_pass_a_tunnel_packet_is_heard_and_the_client_is_told() {
    let mut leat = Balancer::new(1, &(OWN.to_owned() + &in_mode("ipip", 1, "protocol = \"udp\"")));
    let sent = leat.one(datagram(1480, true)).unwrap();
    let mut message = vec![3, 4, 0, 0, 0, 0, 0x05, 0x78];
    message.extend_from_slice(&sent[14..14 + 28]);
    let sum = crate::wire::checksum::of(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut error = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 9, 9], LEAT.0)
        .ipv4([10, 0, 0, 200], [10, 0, 0, 254], 64)
        .icmpv4_raw(3, 4, [0, 0, 0x05, 0x78])
        .write(&mut error, &message[8..])
        .unwrap();
    assert_eq!(leat.one(error), None);
    assert_eq!(leat.dropped(DropReason::IcmpConsumed), 1);
    let told = leat.one(datagram(1480, true)).unwrap();
    assert_eq!(&told[34..42], &[3, 4, told[36], told[37], 0, 0, 0x05, 0x78 - 20], "1400 bytes less the outer header");
    assert!(leat.one(datagram(1380, true)).is_some());
}

#[test]
fn a_backend_that_does_not_unpack_is_noticed() {
    for (mode, code) in [("ipip", 2), ("gue", 3)] {
        let mut leat = Balancer::new(1, &(OWN.to_owned() + &in_mode(mode, 1, "")));
        let sent = leat.one(syn()).unwrap();
        let unreachable = |quoted: &[u8]| {
            let mut error = Vec::new();
            let builder = PacketBuilder::ethernet2(BACKEND_MAC.0, LEAT.0).ipv4([10, 0, 0, 2], [10, 0, 0, 254], 64);
            builder.icmpv4_raw(3, code, [0; 4]).write(&mut error, quoted).unwrap();
            error
        };
        assert_eq!(leat.one(unreachable(&sent[14..14 + 28])), None);
        assert_eq!(leat.dropped(DropReason::TunnelRefused), 1, "{mode}");
        assert_eq!(leat.one(unreachable(&syn()[14..14 + 28])), None);
        assert_eq!(leat.dropped(DropReason::IcmpError), 1, "{mode}: about no packet of leat's");
    }
}

#[test]
fn what_comes_back_inside_a_tunnel_is_dropped() {
    for mode in ["ipip", "gue"] {
        let mut leat = Balancer::new(1, &(OWN.to_owned() + &in_mode(mode, 1, "")));
        let mut back = leat.one(syn()).unwrap();
        back[..6].copy_from_slice(&LEAT.0);
        assert_eq!(leat.one(back), None);
        assert_eq!(leat.dropped(DropReason::Tunnel), 1, "{mode}");
    }
    let mut leat = Balancer::new(1, &(OWN.to_owned() + &in_mode("gue", 1, "")));
    let mut gue = Vec::new();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], LEAT.0).ipv4([10, 0, 0, 2], [10, 0, 0, 254], 64);
    builder.udp(50_000, 6080).write(&mut gue, &[0, 4, 0, 0, 0x45]).unwrap();
    assert_eq!(leat.one(gue), None);
    assert_eq!(leat.dropped(DropReason::Tunnel), 1);
}

#[test]
fn one_way_modes_take_in_connections_that_another_instance_began() {
    let middle = || tcp(CLIENT_MAC, CLIENT, (VIP, 80), ACK, 5000, 1, b"data");
    let mut leat = Balancer::new(1, &in_mode("dr", 2, ""));
    assert!(leat.one(middle()).is_some());
    assert_eq!(leat.open().iter().sum::<u64>(), 1);
    let mut leat = Balancer::new(1, &in_mode("dr", 2, "no_connection = \"drop\""));
    assert_eq!(leat.one(middle()), None);
    assert_eq!(leat.dropped(DropReason::NoConnection), 1);
}

/// Found by the fuzz target `packets`: it was counted as open for ever.
#[test]
fn a_connection_that_is_taken_over_with_its_last_segment_does_not_count_as_open() {
    let mut leat = Balancer::new(1, &in_mode("dr", 1, ""));
    assert!(leat.one(tcp(CLIENT_MAC, CLIENT, (VIP, 80), ACK | FIN, 101, 501, b"")).is_some());
    assert_eq!(leat.open(), [0]);
    leat.wait(Duration::from_secs(250));
    assert_eq!(leat.open(), [0]);
}

#[test]
fn one_way_modes_see_the_end_by_the_clients_half_alone() {
    let mut leat = Balancer::new(1, &in_mode("dr", 1, ""));
    leat.one(syn()).unwrap();
    leat.one(tcp(CLIENT_MAC, CLIENT, (VIP, 80), ACK, 101, 501, b"")).unwrap();
    assert_eq!(leat.open(), [1]);
    leat.one(tcp(CLIENT_MAC, CLIENT, (VIP, 80), ACK | FIN, 101, 501, b"")).unwrap();
    assert_eq!(leat.open(), [0]);
    assert!(leat.one(tcp(CLIENT_MAC, CLIENT, (VIP, 80), ACK, 102, 900_501, b"")).is_some(), "the backend still speaks");
}

#[test]
fn the_mss_of_syns_is_lowered_in_both_directions_where_both_pass() {
    let mss_of = |frame: &[u8]| {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("not TCP") };
        tcp.options_iterator().find_map(|option| match option {
            Ok(etherparse::TcpOptionElement::MaximumSegmentSize(mss)) => Some(mss),
            _ => None,
        })
    };
    let with_mss = |from: [u8; 6], ips: ([u8; 4], [u8; 4]), ports: (u16, u16), ack: Option<u32>| {
        let builder =
            PacketBuilder::ethernet2(from, LEAT.0).ipv4(ips.0, ips.1, 64).tcp(ports.0, ports.1, 100, 1000).syn();
        let builder = if let Some(ack) = ack { builder.ack(ack) } else { builder };
        let mut frame = Vec::new();
        let option = etherparse::TcpOptionElement::MaximumSegmentSize(1460);
        builder.options(&[option]).unwrap().write(&mut frame, b"").unwrap();
        frame
    };
    let mut leat = Balancer::new(1, &service(1, "mode = \"nat\"\nmss_clamp = 1400"));
    let there = leat.one(with_mss(CLIENT_MAC, (CLIENT.0, VIP), (CLIENT.1, 80), None)).unwrap();
    assert_eq!(mss_of(&there), Some(1400));
    let back = leat.one(with_mss(BACKEND_MAC.0, ([10, 0, 0, 2], CLIENT.0), (8080, CLIENT.1), Some(101))).unwrap();
    assert_eq!(mss_of(&back), Some(1400));
}
