//! IPv6: the same balancer, other addresses. etherparse judges every frame.

use std::net::Ipv6Addr;

use etherparse::Icmpv6Type;

use super::*;
use crate::wire::icmpv6;

pub(super) const CLIENT: &str = "2001:db8:1::1";
pub(super) const VIP6: &str = "2001:db8::10";
pub(super) const BACKEND: &str = "2001:db8::2";

pub(super) fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// A service of both backends in `mode`, with more keys.
pub(super) fn service6(more: &str) -> String {
    let mut toml = format!("[[service]]\nname = \"web\"\nvip = \"{VIP6}\"\n{more}\n");
    for last in 2..4 {
        toml += &format!("[[service.backend]]\naddress = \"2001:db8::{last}\"\nmac = \"02:00:00:00:00:{last:02x}\"\n");
    }
    toml
}

/// What a packet is, as far as these tests care.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) from: Ipv6Addr,
    pub(super) to: Ipv6Addr,
    pub(super) hop_limit: u8,
    pub(super) ports: (u16, u16),
    pub(super) payload: Vec<u8>,
}

/// What etherparse reads in `frame`, whose checksum it finds right.
pub(super) fn told(frame: &[u8]) -> Told {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Ipv6(ip)) = &packet.net else { panic!("{packet:?}") };
    let header = ip.header();
    let (from, to) = (header.source_addr(), header.destination_addr());
    let (ports, payload) = match packet.transport.as_ref().unwrap() {
        TransportSlice::Tcp(tcp) => {
            assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv6(header.to_header().source, to.octets()).unwrap());
            ((tcp.source_port(), tcp.destination_port()), tcp.payload().to_vec())
        }
        TransportSlice::Udp(udp) => {
            let ports = (udp.source_port(), udp.destination_port());
            assert_eq!(udp.checksum(), udp.to_header().calc_checksum_ipv6(&header.to_header(), udp.payload()).unwrap());
            (ports, udp.payload().to_vec())
        }
        TransportSlice::Icmpv6(icmp) => {
            assert!(icmp.is_checksum_valid(from.octets(), to.octets()));
            let id = match icmp.icmp_type() {
                Icmpv6Type::EchoRequest(echo) => (echo.id, 0),
                Icmpv6Type::EchoReply(echo) => (0, echo.id),
                _ => (0, 0),
            };
            (id, icmp.payload().to_vec())
        }
        other => panic!("{other:?}"),
    };
    Told { from, to, hop_limit: header.hop_limit(), ports, payload }
}

pub(super) fn builder(from: &str, to: &str) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(CLIENT_MAC, LEAT.0).ipv6(address(from).octets(), address(to).octets(), 64)
}

pub(super) fn udp6(from: (&str, u16), to: (&str, u16), payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    builder(from.0, to.0).udp(from.1, to.1).write(&mut frame, payload).unwrap();
    frame
}

pub(super) fn tcp6(from: (&str, u16), to: (&str, u16), flags: u8, numbers: (u32, u32), payload: &[u8]) -> Vec<u8> {
    let mut builder = builder(from.0, to.0).tcp(from.1, to.1, numbers.0, 1000);
    if flags & SYN != 0 {
        builder = builder.syn();
    }
    if flags & ACK != 0 {
        builder = builder.ack(numbers.1);
    }
    if flags & RST != 0 {
        builder = builder.rst();
    }
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

#[test]
fn a_full_nat_conversation_is_translated_and_both_ways_of_the_path_agree() {
    let mut results = Vec::new();
    for is_silent in [false, true] {
        let mut leat = Balancer::new(1, &service6("port = 80"));
        leat.is_silent = is_silent;
        let syn = leat.one(tcp6((CLIENT, 40000), (VIP6, 80), SYN, (100, 0), b"")).unwrap();
        let first = told(&syn);
        assert_eq!((first.from, first.hop_limit, first.ports), (address(VIP6), 63, (40000, 80)));
        let backend = first.to.to_string();
        let got = |leat: &mut Balancer, frame| told(&leat.one(frame).unwrap());
        let reply = |flags, numbers, payload: &[u8]| tcp6((&backend, 80), (VIP6, 40000), flags, numbers, payload);
        let answer = got(&mut leat, reply(SYN | ACK, (500, 101), b""));
        assert_eq!((answer.from, answer.to, answer.ports), (address(VIP6), address(CLIENT), (80, 40000)));
        let client = |flags, numbers, payload: &[u8]| tcp6((CLIENT, 40000), (VIP6, 80), flags, numbers, payload);
        let mut all = vec![first, answer];
        all.push(got(&mut leat, client(ACK, (101, 501), b"")));
        all.push(got(&mut leat, client(ACK, (101, 501), b"GET / HTTP/1.0\r\n\r\n")));
        all.push(got(&mut leat, reply(ACK, (501, 119), b"HTTP/1.0 200 OK\r\n\r\n")));
        assert_eq!(all[3].payload, b"GET / HTTP/1.0\r\n\r\n");
        assert_eq!((all[4].to, &all[4].payload[..]), (address(CLIENT), &b"HTTP/1.0 200 OK\r\n\r\n"[..]));
        assert_eq!(leat.open().iter().sum::<u64>(), 1);
        results.push(all);
    }
    assert_eq!(results[0], results[1]);
}

#[test]
fn datagrams_of_every_length_find_their_backend_and_back() {
    let mut leat = Balancer::new(2, &service6("protocol = \"udp\"\nport = 53\nscheduler = \"rr\""));
    leat.is_silent = true;
    for (number, length) in [0, 1, 2, 11, 12, 13, 100, 1400].into_iter().enumerate() {
        let payload = vec![7; length];
        for worker in [0, 1] {
            let port = 4000 + number as u16;
            for _ in 0..2 {
                let sent = leat.take(worker, vec![udp6((CLIENT, port), (VIP6, 53), &payload)], 1);
                let there = told(&sent[0]);
                assert_eq!((there.from, &there.payload), (address(VIP6), &payload));
                let back = udp6((&there.to.to_string(), 53), (VIP6, there.ports.0), &payload);
                let back = told(&leat.take(worker, vec![back], 1)[0]);
                assert_eq!((back.to, back.ports, &back.payload), (address(CLIENT), (53, port), &payload));
            }
        }
    }
}

#[test]
fn in_nat_the_backend_sees_the_client_and_in_dr_the_packet_stays_as_it_is() {
    let mut leat = Balancer::new(1, &service6("port = 80\nmode = \"nat\""));
    let syn = told(&leat.one(tcp6((CLIENT, 40000), (VIP6, 80), SYN, (100, 0), b"")).unwrap());
    assert_eq!((syn.from, syn.ports), (address(CLIENT), (40000, 80)));
    let answer = tcp6((&syn.to.to_string(), 80), (CLIENT, 40000), SYN | ACK, (500, 101), b"");
    assert_eq!(told(&leat.one(answer).unwrap()).from, address(VIP6));

    let mut leat = Balancer::new(1, &service6("port = 80\nmode = \"dr\""));
    let syn = tcp6((CLIENT, 40000), (VIP6, 80), SYN, (100, 0), b"");
    let sent = leat.one(syn.clone()).unwrap();
    assert_eq!(sent[14..], syn[14..]);
    assert!([2, 3].contains(&sent[5]));
}

#[test]
fn every_pair_of_versions_goes_through_a_tunnel() {
    let own = "[[interface]]\nport = 0\naddresses = [\"2001:db8::fe/64\", \"10.0.0.254/24\"]\n";
    for (vip, client) in [(VIP6, CLIENT), ("10.0.0.10", "192.0.2.1")] {
        for backend in ["2001:db8::2", "10.0.0.2"] {
            for (mode, extra) in [("ipip", ""), ("gue", ""), ("gue", "gue_version = 1\n")] {
                let toml = format!(
                    "{own}[[service]]\nvip = \"{vip}\"\nport = 53\nprotocol = \"udp\"\nmode = \"{mode}\"\n{extra}\
                     [[service.backend]]\naddress = \"{backend}\"\nmac = \"02:00:00:00:00:02\"\n"
                );
                let mut leat = Balancer::new(1, &toml);
                let packet = match vip {
                    VIP6 => udp6((client, 4000), (VIP6, 53), b"question"),
                    _ => {
                        let mut frame = Vec::new();
                        let ends = ([192, 0, 2, 1], [10, 0, 0, 10]);
                        let builder = PacketBuilder::ethernet2(CLIENT_MAC, LEAT.0).ipv4(ends.0, ends.1, 64);
                        builder.udp(4000, 53).write(&mut frame, b"question").unwrap();
                        frame
                    }
                };
                let sent = leat.one(packet.clone()).unwrap();
                let outer = SlicedPacket::from_ethernet(&sent).unwrap();
                let (source, destination, protocol, payload) = match outer.net.as_ref().unwrap() {
                    NetSlice::Ipv4(ip) => {
                        let header = ip.header();
                        assert_eq!(header.to_header().calc_header_checksum(), header.header_checksum());
                        let ends = (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()));
                        (ends.0, ends.1, header.protocol().0, &sent[34..])
                    }
                    NetSlice::Ipv6(ip) => {
                        let header = ip.header();
                        let ends = (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()));
                        (ends.0, ends.1, header.next_header().0, &sent[54..])
                    }
                    other => panic!("{other:?}"),
                };
                let expected: IpAddr =
                    if backend.contains(':') { "2001:db8::fe" } else { "10.0.0.254" }.parse().unwrap();
                assert_eq!((source, destination), (expected, backend.parse().unwrap()), "{vip} {backend} {mode}");
                let inner = if vip == VIP6 { 41 } else { 4 };
                let content = match (mode, extra) {
                    ("ipip", _) => {
                        assert_eq!(protocol, inner);
                        payload
                    }
                    (_, "") => {
                        assert_eq!((protocol, &payload[8..12]), (17, &[0, inner, 0, 0][..]));
                        &payload[12..]
                    }
                    _ => {
                        assert_eq!(protocol, 17);
                        &payload[8..]
                    }
                };
                assert_eq!(content, &packet[14..], "{vip} {backend} {mode}");
                if protocol == 17 && destination.is_ipv6() {
                    told(&sent);
                }
            }
        }
    }
}

#[test]
fn a_ping_to_the_vip_is_answered_and_one_to_a_service_of_all_protocols_balanced() {
    let ping = |identifier: u16| {
        let mut frame = Vec::new();
        builder(CLIENT, VIP6).icmpv6_echo_request(identifier, 1).write(&mut frame, b"hello").unwrap();
        frame
    };
    let mut leat = Balancer::new(1, &service6("port = 80"));
    let answer = told(&leat.one(ping(77)).unwrap());
    assert_eq!(
        answer,
        Told { from: address(VIP6), to: address(CLIENT), hop_limit: 64, ports: (0, 77), payload: b"hello".to_vec() }
    );
    let mut damaged = ping(77);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(leat.one(damaged), None);
    assert_eq!(leat.dropped(DropReason::IcmpChecksum), 1);

    let mut leat = Balancer::new(1, &service6("protocol = \"any\"\nlocal_addresses = [\"2001:db8::11\"]"));
    let there = told(&leat.one(ping(77)).unwrap());
    assert_eq!(there.from, address("2001:db8::11"));
    let mut frame = Vec::new();
    let reply = builder(&there.to.to_string(), "2001:db8::11").icmpv6_echo_reply(there.ports.0, 1);
    reply.write(&mut frame, b"hello").unwrap();
    let back = told(&leat.one(frame).unwrap());
    assert_eq!((back.from, back.to, back.ports), (address(VIP6), address(CLIENT), (0, 77)));
}

/// An ICMPv6 error about `packet`, an IPv6 packet, from `from` to `to`.
fn error6(from: &str, to: &str, kind: Icmpv6Type, packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    builder(from, to).icmpv6(kind).write(&mut frame, packet).unwrap();
    frame
}

#[test]
fn an_error_from_the_backends_side_reaches_the_client_and_quotes_what_that_sent() {
    let mut leat = Balancer::new(1, &service6("protocol = \"udp\"\nport = 53"));
    let question = udp6((CLIENT, 4000), (VIP6, 53), &[7; 1000]);
    let there = leat.one(question.clone()).unwrap();
    let too_big = Icmpv6Type::PacketTooBig { mtu: 1280 };
    let got = leat.one(error6("2001:db8::99", VIP6, too_big, &there[14..])).unwrap();
    let seen = told(&got);
    assert_eq!((seen.from, seen.to), (address(VIP6), address(CLIENT)));
    let mut quoted = question[14..].to_vec();
    quoted[7] = 63;
    assert_eq!(seen.payload, quoted);
    assert_eq!(got[54..56], [icmpv6::TOO_BIG, 0]);

    // A router on the link may have no other address than a link-local one; the client has no use for it.
    let local = told(&leat.one(error6("fe80::99", VIP6, too_big, &there[14..])).unwrap());
    assert_eq!((local.from, local.payload), (address(VIP6), quoted));

    let mut damaged = error6("2001:db8::99", VIP6, too_big, &there[14..]);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(leat.one(damaged), None);
    assert_eq!(leat.dropped(DropReason::IcmpChecksum), 1);
    assert_eq!(leat.one(error6("2001:db8::99", VIP6, too_big, &question[14..])), None);
    assert_eq!(leat.dropped(DropReason::IcmpError), 1);
}

#[test]
fn a_hop_limit_that_ends_is_told_and_so_is_a_packet_too_big_for_its_tunnel() {
    let mut leat = Balancer::new(1, &service6("port = 80"));
    let mut last = tcp6((CLIENT, 40000), (VIP6, 80), SYN, (100, 0), b"");
    last[21] = 1;
    let got = leat.one(last.clone()).unwrap();
    assert_eq!(got[54..56], [icmpv6::TIME_EXCEEDED, 0]);
    assert_eq!((told(&got).to, &told(&got).payload[..]), (address(CLIENT), &last[14..]));
    assert_eq!(leat.dropped(DropReason::Ipv6HopLimit), 1);

    let toml = format!(
        "[[interface]]\nport = 0\naddresses = [\"2001:db8::fe/64\"]\n{}",
        service6("protocol = \"udp\"\nport = 53\nmode = \"ipip\"")
    );
    let mut leat = Balancer::new(1, &toml);
    let got = leat.one(udp6((CLIENT, 4000), (VIP6, 53), &[0; 1413])).unwrap();
    assert_eq!(got[54..62], [&[icmpv6::TOO_BIG, 0][..], &got[56..58], &1460_u32.to_be_bytes()].concat());
    assert_eq!(told(&got).payload.len(), 1280 - 48, "an error fits in the least MTU");
    assert!(leat.one(udp6((CLIENT, 4000), (VIP6, 53), &[0; 1412])).is_some());
}

#[test]
fn extension_headers_go_along_and_what_cannot_be_balanced_is_counted() {
    let mut leat = Balancer::new(1, &service6("protocol = \"udp\"\nport = 53"));
    let with = |next: u8, extension: &[u8]| {
        let mut frame = udp6((CLIENT, 4000), (VIP6, 53), b"question");
        frame[20] = next;
        frame.splice(54..54, extension.iter().copied());
        let len = (frame.len() - 54) as u16;
        frame[18..20].copy_from_slice(&len.to_be_bytes());
        frame
    };
    let options = [17, 0, 1, 4, 0, 0, 0, 0];
    for next in [0, 60] {
        let sent = leat.one(with(next, &options)).unwrap();
        assert_eq!(sent[54..62], options);
        let packet = SlicedPacket::from_ethernet(&sent).unwrap();
        let Some(TransportSlice::Udp(udp)) = &packet.transport else { panic!("{packet:?}") };
        let Some(NetSlice::Ipv6(ip)) = &packet.net else { panic!("{packet:?}") };
        let sum = udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).unwrap();
        assert_eq!((udp.checksum(), ip.header().source_addr()), (sum, address(VIP6)));
    }
    assert!(leat.one(with(44, &[17, 0, 0, 0, 0, 0, 0, 9])).is_some(), "an atomic fragment");
    let rows = [
        (with(43, &[17, 0, 0, 1, 0, 0, 0, 0]), DropReason::Ipv6Extension),
        (with(60, &[17, 9, 1, 4, 0, 0, 0, 0]), DropReason::Ipv6Extension),
        (with(50, &options), DropReason::Protocol),
        (with(4, &options), DropReason::Tunnel),
        (with(41, &options), DropReason::Tunnel),
        (udp6(("fe80::1", 1), (VIP6, 53), b""), DropReason::Ipv6Source),
        (udp6(("::ffff:10.0.0.1", 1), (VIP6, 53), b""), DropReason::Ipv6Source),
        (udp6((VIP6, 1), (VIP6, 53), b""), DropReason::Ipv6Source),
        (udp6((CLIENT, 1), ("2001:db8::77", 53), b""), DropReason::NotOurAddress),
        (udp6((CLIENT, 1), (VIP6, 54), b""), DropReason::NoService),
    ];
    for (frame, reason) in rows {
        let before = leat.dropped(reason);
        assert_eq!(leat.one(frame), None);
        assert_eq!(leat.dropped(reason), before + 1, "{reason:?}");
    }
}

#[test]
fn persistence_limits_lists_the_syn_proxy_and_headers_work_alike() {
    let client = |last: u16| format!("2001:db8:1::{last:x}");
    let syn = |from: &str, port| tcp6((from, port), (VIP6, 80), SYN, (100, 0), b"");

    let mut leat = Balancer::new(1, &service6("port = 80\nscheduler = \"rr\"\npersistence = \"5m\""));
    let backends: HashSet<_> = (1..9).map(|port| told(&leat.one(syn(CLIENT, port)).unwrap()).to).collect();
    assert_eq!(backends.len(), 1);
    let of_others: HashSet<_> = (2..9).map(|last| told(&leat.one(syn(&client(last), 1)).unwrap()).to).collect();
    assert_eq!(of_others.len(), 2);

    let mut leat = Balancer::new(1, &service6("port = 80\nclient_max_connections = 2"));
    assert_eq!((1..9).filter(|port| leat.one(syn(CLIENT, *port)).is_some()).count(), 2);
    assert!(leat.one(syn(&client(2), 1)).is_some());

    let lists = "[clients]\ndeny = [\"2001:db8:1::/48\"]\nallow = [\"2001:db8:1::2/128\"]\n";
    let mut leat = Balancer::new(1, &format!("{lists}{}", service6("port = 80")));
    assert!(leat.one(syn(CLIENT, 1)).is_none() && leat.one(syn(&client(2), 1)).is_some());
    assert_eq!(leat.dropped(DropReason::ClientDenied), 1);

    let mut leat = Balancer::new(1, &service6("port = 80\nsyn_proxy = \"always\"\nclient_address = \"proxy_v2\""));
    let answer = leat.one(syn(CLIENT, 40000)).unwrap();
    assert_eq!((told(&answer).to, answer[54 + 13]), (address(CLIENT), SYN | ACK));
    let cookie = u32::from_be_bytes(answer[58..62].try_into().unwrap());
    let ack = tcp6((CLIENT, 40000), (VIP6, 80), ACK, (101, cookie.wrapping_add(1)), b"");
    let syn = leat.one(ack).unwrap();
    assert_eq!((told(&syn).from, syn[54 + 13]), (address(VIP6), SYN));
    let backend = told(&syn).to.to_string();
    let number = u32::from_be_bytes(syn[58..62].try_into().unwrap()).wrapping_add(1);
    let sent = leat.take(0, vec![tcp6((&backend, 80), (VIP6, 40000), SYN | ACK, (500, number), b"")], 1);
    let header = sent.iter().map(|frame| told(frame)).find(|told| !told.payload.is_empty()).unwrap();
    assert_eq!((header.payload.len(), &header.payload[12..16]), (52, &[0x21, 0x21, 0, 36][..]));
    assert_eq!(header.payload[16..32], address(CLIENT).octets());
}

#[test]
fn endpoints_in_the_narration_of_a_packet_have_brackets() {
    let mut leat = Balancer::new(1, &service6("port = 80"));
    leat.one(tcp6((CLIENT, 34952), (VIP6, 80), SYN, (100, 0), b"")).unwrap();
    let text = String::from_utf8(leat.narration.clone()).unwrap();
    for expected in [
        "port 0, lcore 0: tcp [2001:db8:1::1]:34952 > [2001:db8::10]:80 [S] seq 100",
        "service web (tcp [2001:db8::10]:80, fullnat, maglev)",
        "source towards the backend: [2001:db8::10]:34952, the client's own port",
        "ip source: 2001:db8:1::1 → 2001:db8::10",
        "ip hop limit: 64 → 63",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
    }
}
