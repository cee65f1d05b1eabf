use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::flow::FlowKey;
use crate::id::PortId;
use crate::io::memory::Frame;

/// A packet with this key.
fn frame(key: &FlowKey, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]);
    let builder = match (key.src, key.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => builder.ipv4(src.octets(), dst.octets(), 64),
        (IpAddr::V6(src), IpAddr::V6(dst)) => builder.ipv6(src.octets(), dst.octets(), 64),
        _ => panic!("{key}"),
    };
    let mut frame = Vec::new();
    match key.protocol {
        Protocol::Tcp => builder.tcp(key.src_port, key.dst_port, 7, 1000).write(&mut frame, payload),
        Protocol::Udp => builder.udp(key.src_port, key.dst_port).write(&mut frame, payload),
        Protocol::Icmp if key.src.is_ipv4() && key.dst_port == 0 => {
            builder.icmpv4_echo_request(key.src_port, 1).write(&mut frame, payload)
        }
        Protocol::Icmp if key.src.is_ipv4() => builder.icmpv4_echo_reply(key.dst_port, 1).write(&mut frame, payload),
        Protocol::Icmp if key.dst_port == 0 => builder.icmpv6_echo_request(key.src_port, 1).write(&mut frame, payload),
        Protocol::Icmp => builder.icmpv6_echo_reply(key.dst_port, 1).write(&mut frame, payload),
    }
    .unwrap();
    frame
}

/// The key, hops left and payload of `frame`, whose checksums etherparse finds right.
fn judged(frame: &[u8]) -> (FlowKey, u8, Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (src, dst, hops, v6) = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(usize::from(header.total_len), frame.len() - 14);
            (ip.header().source_addr().into(), ip.header().destination_addr().into(), header.time_to_live, None)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            assert_eq!(usize::from(header.payload_length), frame.len() - 54);
            (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()), header.hop_limit, Some(header))
        }
        other => panic!("{other:?}"),
    };
    let v4 = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => panic!(),
    };
    let (src_port, dst_port, protocol, payload) = match packet.transport.as_ref().unwrap() {
        TransportSlice::Tcp(tcp) => {
            let sum = match &v6 {
                Some(header) => tcp.calc_checksum_ipv6(header.source, header.destination).unwrap(),
                None => tcp.calc_checksum_ipv4(v4(src), v4(dst)).unwrap(),
            };
            assert_eq!(tcp.checksum(), sum);
            (tcp.source_port(), tcp.destination_port(), Protocol::Tcp, tcp.payload().to_vec())
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            let sum = match &v6 {
                Some(ip) => header.calc_checksum_ipv6(ip, udp.payload()).unwrap(),
                None => header.calc_checksum_ipv4_raw(v4(src), v4(dst), udp.payload()).unwrap(),
            };
            assert_eq!(udp.checksum(), sum);
            (udp.source_port(), udp.destination_port(), Protocol::Udp, udp.payload().to_vec())
        }
        TransportSlice::Icmpv4(icmp) => {
            assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
            let (from, to) = match icmp.icmp_type() {
                Icmpv4Type::EchoRequest(echo) => (echo.id, 0),
                Icmpv4Type::EchoReply(echo) => (0, echo.id),
                other => panic!("{other:?}"),
            };
            (from, to, Protocol::Icmp, icmp.payload().to_vec())
        }
        TransportSlice::Icmpv6(icmp) => {
            let header = v6.unwrap();
            assert!(icmp.is_checksum_valid(header.source, header.destination));
            let (from, to) = match icmp.icmp_type() {
                Icmpv6Type::EchoRequest(echo) => (echo.id, 0),
                Icmpv6Type::EchoReply(echo) => (0, echo.id),
                other => panic!("{other:?}"),
            };
            (from, to, Protocol::Icmp, icmp.payload().to_vec())
        }
        other => panic!("{other:?}"),
    };
    (FlowKey { src, dst, src_port, dst_port, protocol }, hops, payload)
}

fn addresses(is_v6: bool) -> impl Strategy<Value = (IpAddr, IpAddr)> {
    (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(move |(a, b)| {
        let address = |bytes: [u8; 16]| match is_v6 {
            true => IpAddr::V6(Ipv6Addr::from(bytes)),
            false => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        };
        (address(a), address(b))
    })
}

fn keys() -> impl Strategy<Value = (FlowKey, FlowKey)> {
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Icmp)];
    (any::<bool>(), protocol, any::<[u16; 4]>(), any::<bool>()).prop_flat_map(|(is_v6, protocol, ports, is_reply)| {
        (addresses(is_v6), addresses(!is_v6)).prop_map(move |(from, to)| {
            let key = |(src, dst): (IpAddr, IpAddr), from_port: u16, to_port: u16| {
                let (src_port, dst_port) = match (protocol, is_reply) {
                    (Protocol::Icmp, false) => (from_port.max(1), 0),
                    (Protocol::Icmp, true) => (0, from_port.max(1)),
                    _ => (from_port, to_port),
                };
                FlowKey { src, dst, src_port, dst_port, protocol }
            };
            (key(from, ports[0], ports[1]), key(to, ports[2], ports[3]))
        })
    })
}

/// `frame`, whose transport header is at `at`, with the key `to`.
fn crossed(frame: Vec<u8>, at: usize, to: &FlowKey) -> Result<Vec<u8>, NoCrossing> {
    let mut packet = Frame::new(frame, PortId(0));
    cross(&mut packet, at, &to.pack(), 9).map(|()| packet.into_bytes())
}

const fn transport(key: &FlowKey) -> usize {
    if key.src.is_ipv4() { 34 } else { 54 }
}

proptest! {
    #[test]
    fn checksums_stay_right_and_payloads_as_they_were(
        (from, to) in keys(), payload in prop::collection::vec(any::<u8>(), 0..1400), padding in 0..20_usize,
    ) {
        let mut before = frame(&from, &payload);
        let (at, len) = (transport(&from), before.len() - transport(&from));
        before.resize(before.len() + padding, 0xaa);
        let after = crossed(before, at, &to).unwrap();
        let (key, hops, carried) = judged(&after);
        prop_assert_eq!((key, hops, carried), (to, 63, payload));
        prop_assert_eq!(after.len(), crossed_len(&to.pack(), len as u16, false));
        if to.src.is_ipv4() {
            // Up to what every link of IPv6 takes, it may be cut.
            let may_be_cut = after.len() - 14 <= 1260;
            prop_assert_eq!((after[18..20].to_vec(), after[20] & 0x40 == 0), (vec![0, if may_be_cut { 9 } else { 0 }], may_be_cut));
        }
    }

    #[test]
    fn an_error_quotes_what_its_receiver_sent(
        (from, to) in keys(), payload in prop::collection::vec(any::<u8>(), 0..1300), kind in 0..4_usize,
    ) {
        // `to` is what was sent, in the other version than the quoted `from`.
        let quoted = frame(&from, &payload)[14..].to_vec();
        let mut error = Vec::new();
        let (outer, expected) = match (from.src, from.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let (kind, code, rest, new) = [
                    (3, 3, [0; 4], [1, 4, 0, 0, 0, 0]), (3, 1, [0; 4], [1, 0, 0, 0, 0, 0]),
                    (11, 0, [0; 4], [3, 0, 0, 0, 0, 0]), (3, 4, [0, 0, 5, 0xa0], [2, 0, 0, 0, 5, 0xb4]),
                ][kind];
                let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(dst.octets(), src.octets(), 60);
                builder.icmpv4_raw(kind, code, rest).write(&mut error, &quoted).unwrap();
                (34, new)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let (kind, code, rest, new) = [
                    (1, 4, [0; 4], [3, 3, 0, 0, 0, 0]), (1, 0, [0; 4], [3, 1, 0, 0, 0, 0]),
                    (3, 0, [0; 4], [11, 0, 0, 0, 0, 0]), (2, 0, [0, 0, 5, 0xb4], [3, 4, 0, 0, 5, 0xa0]),
                ][kind];
                let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv6(dst.octets(), src.octets(), 60);
                builder.icmpv6_raw(kind, code, rest).write(&mut error, &quoted).unwrap();
                (54, new)
            }
            _ => unreachable!(),
        };
        let mut into = [0; crate::forward::LONGEST_COMPLAINT];
        let len = cross_error(&error, outer, to.dst, &to.pack(), |number| number, &mut into).unwrap();
        let got = &into[..len];
        let packet = SlicedPacket::from_ethernet(got).unwrap();
        let at = match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                prop_assert_eq!(IpAddr::V4(ip.header().destination_addr()), to.src);
                prop_assert_eq!(IpAddr::V4(ip.header().source_addr()), to.dst);
                prop_assert_eq!(checksum::of(&got[14..34]), 0);
                prop_assert_eq!(checksum::of(&got[34..]), 0);
                34
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header().to_header();
                prop_assert_eq!((header.source_addr(), header.destination_addr()), match (to.dst, to.src) {
                    (IpAddr::V6(source), IpAddr::V6(destination)) => (source, destination),
                    _ => unreachable!(),
                });
                let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!() };
                prop_assert!(icmp.is_checksum_valid(header.source, header.destination));
                54
            }
            _ => unreachable!(),
        };
        prop_assert_eq!(&got[at..at + 2], &expected[..2]);
        prop_assert_eq!(&got[at + 4..at + 8], &expected[2..]);
        // The quote is the start of the packet with the key `to`.
        let sent = frame(&to, &payload);
        let quote = &got[at + 8..];
        let header = transport(&to) - 14;
        prop_assert_eq!(&quote[header..], &sent[14 + header..][..quote.len() - header]);
        let addresses = if to.src.is_ipv4() { 12..20 } else { 8..40 };
        prop_assert_eq!(&quote[addresses.clone()], &sent[14..][addresses]);
    }
}

fn udp_keys() -> (FlowKey, FlowKey) {
    let v4 = FlowKey {
        src: [10, 0, 0, 2].into(),
        dst: [10, 0, 0, 11].into(),
        src_port: 53,
        dst_port: 4000,
        protocol: Protocol::Udp,
    };
    let address = |last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
    (v4, FlowKey { src: address(0x10), dst: address(1), ..v4 })
}

#[test]
fn a_datagram_without_a_checksum_gets_one_in_ipv6() {
    let (v4, v6) = udp_keys();
    let mut datagram = frame(&v4, b"an answer");
    datagram[40..42].fill(0);
    let (key, _, payload) = judged(&crossed(datagram, 34, &FlowKey { dst_port: 77, ..v6 }).unwrap());
    assert_eq!((key.dst_port, &payload[..]), (77, &b"an answer"[..]));
}

/// In IPv6 its receiver has to discard it (RFC 8200 §8.1); in IPv4 it would look as if its sender had wanted no checksum.
#[test]
fn a_datagram_of_ipv6_without_a_checksum_does_not_become_a_right_one_of_ipv4() {
    let (v4, v6) = udp_keys();
    let mut datagram = frame(&v6, b"an answer");
    datagram[60..62].fill(0);
    let mut packet = Frame::new(datagram.clone(), PortId(0));
    assert_eq!(cross(&mut packet, 54, &v4.pack(), 1), Err(NoCrossing::NoChecksum));
    assert_eq!(packet.data(), datagram);
}

/// The field has 32 bits in ICMPv6 and 16 in ICMP, where 0 would say that the router does not tell.
#[test]
fn an_mtu_that_no_packet_reaches_or_no_link_of_ipv6_has_is_not_passed_on() {
    let (v4, v6) = udp_keys();
    let quoted = &frame(&v6, b"hello")[14..];
    for (mtu, expected) in
        [(0, 1260), (100, 1260), (1280, 1260), (1500, 1480), (0x1_0000, 65_515), (0x1_0500, 65_515), (u32::MAX, 65_515)]
    {
        let mut error = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv6([0x20; 16], [0x21; 16], 64)
            .icmpv6(Icmpv6Type::PacketTooBig { mtu })
            .write(&mut error, quoted)
            .unwrap();
        let mut into = [0; crate::forward::LONGEST_COMPLAINT];
        cross_error(&error, 54, v4.dst, &v4.pack(), |number| number, &mut into).unwrap();
        assert_eq!((&into[34..36], &into[38..42]), (&[3, 4][..], &u32::to_be_bytes(expected)[..]), "{mtu}");
    }
}

#[test]
fn what_lies_behind_a_datagram_without_a_checksum_does_not_count() {
    let (v4, v6) = udp_keys();
    let mut datagram = frame(&v4, b"an answer");
    datagram[40..42].fill(0);
    datagram.extend([7; 4]);
    datagram[17] += 4;
    let mut after = crossed(datagram, 34, &v6).unwrap();
    assert_eq!(after[after.len() - 4..], [7; 4]);
    after.truncate(after.len() - 4);
    after[19] -= 4;
    assert_eq!(judged(&after).0, v6);
}

#[test]
fn an_error_about_a_packet_longer_than_ipv4_has_does_not_cross() {
    let (v4, v6) = udp_keys();
    let mut quoted = frame(&v6, b"hello")[14..].to_vec();
    quoted[4..6].copy_from_slice(&[0xff; 2]);
    let mut error = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6([0x20; 16], [0x21; 16], 64)
        .icmpv6_raw(1, 4, [0; 4])
        .write(&mut error, &quoted)
        .unwrap();
    let mut into = [0; super::super::LONGEST_COMPLAINT];
    assert_eq!(cross_error(&error, 54, v4.src, &v4.pack(), |it| it, &mut into), None);
}

#[test]
fn options_and_extension_headers_stay_behind() {
    let (v4, v6) = udp_keys();
    let mut with_options = frame(&v4, b"hello");
    with_options[14] = 0x47;
    with_options.splice(34..34, [1; 8]);
    with_options[17] += 8;
    assert_eq!(judged(&crossed(with_options, 42, &v6).unwrap()).0, v6);
    let mut longest = frame(&v4, b"hello");
    longest[14] = 0x4f;
    longest.splice(34..34, [1; 40]);
    longest[17] += 40;
    assert_eq!(judged(&crossed(longest, 74, &v6).unwrap()).0, v6);
    let mut with_extension = frame(&v6, b"hello");
    with_extension[20] = 60;
    with_extension.splice(54..54, [17, 0, 1, 4, 0, 0, 0, 0]);
    with_extension[19] += 8;
    assert_eq!(judged(&crossed(with_extension, 62, &v4).unwrap()).0, v4);
}

#[test]
fn a_fragment_without_a_checksum_and_what_is_not_there_do_not_cross() {
    let (v4, v6) = udp_keys();
    let mut fragment = frame(&v4, b"hello");
    fragment[20] = 0x20;
    fragment[40..42].fill(0);
    assert_eq!(crossed(fragment, 34, &v6), Err(NoCrossing::Fragment));
    assert_eq!(crossed(vec![0; 20], 34, &v6), Err(NoCrossing::Split));
    let mut cut = frame(&v4, b"hello");
    cut[40..42].fill(0);
    cut.truncate(44);
    assert_eq!(crossed(cut, 34, &v6), Err(NoCrossing::Split));
}

/// The figures of RFC 7915 §4.2 and §5.2, byte by byte.
#[test]
fn the_field_that_is_wrong_in_one_version_is_found_in_the_other_or_the_error_does_not_cross() {
    let (v4, v6) = udp_keys();
    let mut into = [0; super::super::LONGEST_COMPLAINT];
    let quoted = frame(&v4, b"hello")[14..].to_vec();
    let mut of_v4 = |kind: u8, code: u8, rest: [u8; 4]| {
        let mut error = Vec::new();
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, 0, 0, 11], [10, 0, 0, 2], 60);
        builder.icmpv4_raw(kind, code, rest).write(&mut error, &quoted).unwrap();
        let len = cross_error(&error, 34, v6.dst, &v6.pack(), |it| it, &mut into)?;
        assert!(len > 62);
        Some(into[54..62].to_vec())
    };
    let fields = [Some(0), Some(1), Some(4), Some(4), None, None, None, None, Some(7), Some(6), None, None];
    let addresses = [[Some(8); 4], [Some(24); 4]].concat();
    let rows = fields.into_iter().chain(addresses).chain([None, None]);
    for (pointer, expected) in (0..).zip(rows) {
        for code in [0, 2] {
            let got = of_v4(12, code, [pointer, 0, 0, 0]).map(|head| (head[0], head[1], head[4..].to_vec()));
            assert_eq!(got, expected.map(|to| (4, 0, vec![0, 0, 0, to])), "{pointer}");
        }
        assert_eq!(of_v4(12, 1, [pointer, 0, 0, 0]), None);
        assert_eq!(of_v4(12, 3, [pointer, 0, 0, 0]), None);
    }
    for kind in [4, 5] {
        assert_eq!(of_v4(kind, 0, [0; 4]), None, "source quench, redirect");
    }

    let quoted = frame(&v6, b"hello")[14..].to_vec();
    let mut of_v6 = |code: u8, rest: [u8; 4]| {
        let mut error = Vec::new();
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv6([0x20; 16], [0x21; 16], 60);
        builder.icmpv6_raw(4, code, rest).write(&mut error, &quoted).unwrap();
        let len = cross_error(&error, 54, v4.dst, &v4.pack(), |it| it, &mut into)?;
        assert!(len > 42);
        Some(into[34..42].to_vec())
    };
    let fields = [Some(0), Some(1), None, None, Some(2), Some(2), Some(9), Some(8)];
    let addresses = [[Some(12); 16], [Some(16); 16]].concat();
    let rows = fields.into_iter().chain(addresses).chain([None, None]);
    for (pointer, expected) in (0_u32..).zip(rows) {
        let got = of_v6(0, pointer.to_be_bytes()).map(|head| (head[0], head[1], head[4..].to_vec()));
        assert_eq!(got, expected.map(|to| (12, 0, vec![to, 0, 0, 0])), "{pointer}");
    }
    assert_eq!(of_v6(0, [1, 0, 0, 6]), None, "far beyond");
    assert_eq!(of_v6(1, [0, 0, 0, 6]).map(|head| head[..2].to_vec()), Some(vec![3, 2]), "a header that is not known");
    assert_eq!(of_v6(2, [0, 0, 0, 40]), None, "an option");
}

#[test]
fn a_router_of_ipv4_that_does_not_tell_its_mtu_is_taken_to_have_a_usual_one() {
    let (v4, v6) = udp_keys();
    for (len, expected) in [(1500_u16, 1512), (1492, 1280), (1300, 1280), (9000, 8186)] {
        let mut quoted = frame(&v4, b"hello")[14..].to_vec();
        quoted[2..4].copy_from_slice(&len.to_be_bytes());
        let mut error = Vec::new();
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, 0, 0, 11], [10, 0, 0, 2], 60);
        builder.icmpv4_raw(3, 4, [0; 4]).write(&mut error, &quoted).unwrap();
        let mut into = [0; super::super::LONGEST_COMPLAINT];
        cross_error(&error, 34, v6.dst, &v6.pack(), |it| it, &mut into).unwrap();
        assert_eq!((into[54], u32::from_be_bytes(into[58..62].try_into().unwrap())), (2, expected), "{len}");
    }
}
