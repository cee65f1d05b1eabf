//! Clients of one version of IP, backends of the other.

use super::ipv6::{BACKEND, CLIENT, VIP6, address, builder, tcp6, told, udp6};
use super::ipv6_fragments::{cut, cut4, joined, joined4};
use super::*;
use crate::wire::icmpv6;

/// A service of VIP `vip` with a backend of the other version, on the same port.
fn crossing(vip: &str, local: &str, backend: &str, more: &str) -> String {
    format!(
        "[[service]]\nvip = \"{vip}\"\nlocal_addresses = [\"{local}\"]\n{more}\n\
         [[service.backend]]\naddress = \"{backend}\"\nmac = \"02:00:00:00:00:02\"\n"
    )
}

const LOCAL4: [u8; 4] = [10, 0, 0, 11];
const BACKEND4: [u8; 4] = [10, 0, 0, 2];

#[test]
fn a_client_of_ipv6_talks_with_a_backend_of_ipv4() {
    let mut leat = Balancer::new(1, &crossing(VIP6, "10.0.0.11", "10.0.0.2", "port = 80"));
    let client = |flags, numbers, payload: &[u8]| tcp6((CLIENT, 40000), (VIP6, 80), flags, numbers, payload);
    let backend = |flags, seq, ack, payload: &[u8]| {
        tcp([2, 0, 0, 0, 0, 2], (BACKEND4, 80), (LOCAL4, 40000), flags, seq, ack, payload)
    };
    let there = |frame: &[u8]| {
        forward::judge::see(frame, |ip, tcp| {
            assert_eq!((ip.source, ip.destination), (LOCAL4, BACKEND4));
            (tcp.sequence_number(), tcp.acknowledgment_number(), tcp.payload().to_vec())
        })
    };
    assert_eq!(there(&leat.one(client(SYN, (100, 0), b"")).unwrap()), (100, 0, vec![]));
    let answer = told(&leat.one(backend(SYN | ACK, 500, 101, b"")).unwrap());
    assert_eq!((answer.from, answer.to, answer.ports), (address(VIP6), address(CLIENT), (80, 40000)));
    there(&leat.one(client(ACK, (101, 501), b"")).unwrap());
    assert_eq!(there(&leat.one(client(ACK, (101, 501), b"hello")).unwrap()).2, b"hello");
    assert_eq!(told(&leat.one(backend(ACK, 501, 106, b"world")).unwrap()).payload, b"world");
    assert_eq!(leat.open(), [1]);

    // What is too long in IPv6 is said so, in IPv4, with 20 bytes less.
    let long = backend(ACK, 506, 106, &[7; 1460]);
    let error = leat.one(long).unwrap();
    let packet = SlicedPacket::from_ethernet(&error).unwrap();
    let Some(TransportSlice::Icmpv4(icmp)) = &packet.transport else { panic!("{packet:?}") };
    let expected = etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1480 };
    assert_eq!(icmp.icmp_type(), etherparse::Icmpv4Type::DestinationUnreachable(expected));
    assert_eq!(leat.dropped(DropReason::TooLong), 1);
    assert!(leat.one(backend(ACK, 506, 106, &[7; 1440])).is_some());

    // A router on the way to the backend has less room.
    let sent = client(ACK, (106, 506), &[9; 1000]);
    let got = leat.one(sent.clone()).unwrap();
    let mut error = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], LEAT.0)
        .ipv4([192, 0, 2, 1], LOCAL4, 64)
        .icmpv4_raw(3, 4, [0, 0, 5, 0xdc - 120])
        .write(&mut error, &got[14..14 + 28])
        .unwrap();
    let error = leat.one(error).unwrap();
    assert_eq!(error[54..56], [icmpv6::TOO_BIG, 0]);
    let error = told(&error);
    assert_eq!((error.from, error.to), (address(VIP6), address(CLIENT)));
    assert_eq!(error.payload[8..40], sent[22..54], "the quote has the client's own addresses");
    assert_eq!(error.payload[40..48], sent[54..62], "and its ports and number");
}

#[test]
fn a_client_of_ipv4_asks_and_pings_a_backend_of_ipv6() {
    let toml = crossing("10.0.0.10", "2001:db8::11", BACKEND, "protocol = \"any\"");
    let mut leat = Balancer::new(1, &toml);
    let from_client = |builder: etherparse::PacketBuilderStep<etherparse::IpHeaders>, payload: &[u8]| {
        let mut frame = Vec::new();
        builder.udp(4000, 53).write(&mut frame, payload).unwrap();
        frame
    };
    let v4 = || PacketBuilder::ethernet2(CLIENT_MAC, LEAT.0).ipv4([192, 0, 2, 1], VIP, 64);
    let mut question = from_client(v4(), b"question");
    // Without a checksum, which IPv4 allows.
    question[40..42].fill(0);
    let there = told(&leat.one(question).unwrap());
    assert_eq!((there.from, there.to), (address("2001:db8::11"), address(BACKEND)));
    let answer = leat.one(udp6((BACKEND, 53), ("2001:db8::11", there.ports.0), b"answer")).unwrap();
    let packet = SlicedPacket::from_ethernet(&answer).unwrap();
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (&packet.net, &packet.transport) else { panic!() };
    assert_eq!((ip.header().source(), ip.header().destination()), (VIP, [192, 0, 2, 1]));
    assert_eq!((udp.source_port(), udp.destination_port(), udp.payload()), (53, 4000, &b"answer"[..]));

    let mut ping = Vec::new();
    v4().icmpv4_echo_request(77, 1).write(&mut ping, b"hello").unwrap();
    let there = told(&leat.one(ping).unwrap());
    assert_eq!((there.from, &there.payload[..]), (address("2001:db8::11"), &b"hello"[..]));
    let mut reply = Vec::new();
    builder(BACKEND, "2001:db8::11").icmpv6_echo_reply(there.ports.0, 1).write(&mut reply, b"hello").unwrap();
    let back = leat.one(reply).unwrap();
    let packet = SlicedPacket::from_ethernet(&back).unwrap();
    let Some(TransportSlice::Icmpv4(icmp)) = &packet.transport else { panic!("{packet:?}") };
    assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
    assert!(matches!(icmp.icmp_type(), etherparse::Icmpv4Type::EchoReply(echo) if echo.id == 77));
}

#[test]
fn the_syn_proxy_proxy_headers_and_own_numbers_cross_too() {
    let more = "port = 80\nsyn_proxy = \"always\"\nclient_address = \"proxy_v1\"\nsequence_numbers = \"own\"";
    let mut leat = Balancer::new(1, &crossing(VIP6, "10.0.0.11", "10.0.0.2", more));
    let client = |flags, numbers, payload: &[u8]| tcp6((CLIENT, 40000), (VIP6, 80), flags, numbers, payload);
    let answer = leat.one(client(SYN, (100, 0), b"")).unwrap();
    let cookie = u32::from_be_bytes(answer[58..62].try_into().unwrap()).wrapping_add(1);
    let syn = leat.one(client(ACK, (101, cookie), b"")).unwrap();
    let seq = forward::judge::see(&syn, |ip, tcp| {
        assert_eq!((ip.destination, tcp.syn(), tcp.ack()), (BACKEND4, true, false));
        tcp.sequence_number()
    });
    let syn_ack = tcp([2, 0, 0, 0, 0, 2], (BACKEND4, 80), (LOCAL4, 40000), SYN | ACK, 500, seq.wrapping_add(1), b"");
    let sent = leat.take(0, vec![syn_ack], 1);
    let header = format!("PROXY TCP6 {CLIENT} {VIP6} 40000 80\r\n");
    let lengths: Vec<_> = sent.iter().map(|frame| (frame[12], frame.len())).collect();
    assert!(sent.iter().any(|frame| frame.ends_with(header.as_bytes())), "{lengths:?}");
    let window = sent.iter().find(|frame| frame[12] == 0x86).unwrap();
    assert_eq!((told(window).to, u32::from_be_bytes(window[58..62].try_into().unwrap())), (address(CLIENT), cookie));
    let data = leat.one(client(ACK, (101, cookie), b"GET")).unwrap();
    forward::judge::see(&data, |_, tcp| {
        let expected = seq.wrapping_add(1 + header.len() as u32);
        assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number(), tcp.payload()), (expected, 501, &b"GET"[..]));
    });
}

#[test]
fn fragments_cross_both_ways() {
    let payload: Vec<u8> = (0..3000_u32).map(|number| (number * 7) as u8).collect();
    for (workers, order) in [(1, [0, 1, 2]), (2, [2, 0, 1]), (4, [1, 2, 0])] {
        let keys = "protocol = \"udp\"\nport = 53";
        let mut leat = Balancer::new(workers, &crossing(VIP6, "10.0.0.11", "10.0.0.2", keys));
        let question = udp6((CLIENT, 4000), (VIP6, 53), &payload);
        let pieces = cut(&question, 7, &[1448, 1448, 112]);
        let sent = leat.take(0, order.iter().map(|at| pieces[*at].clone()).collect(), 1);
        let there = seen(&joined4(&sent));
        assert_eq!((there.key.src, there.key.dst), ("10.0.0.11".parse().unwrap(), "10.0.0.2".parse().unwrap()));
        assert_eq!((there.key.dst_port, &joined4(&sent)[42..]), (53, &payload[..]));

        let mut answer = Vec::new();
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], LEAT.0).ipv4(BACKEND4, LOCAL4, 64);
        builder.udp(53, there.key.src_port).write(&mut answer, &payload).unwrap();
        let back = leat.take(0, cut4(&answer, 9, &[1448, 1448, 112]), 3);
        assert_eq!(back.len(), 3);
        let back = told(&joined(&back));
        assert_eq!((back.from, back.to, back.hop_limit), (address(VIP6), address(CLIENT), 63));
        assert_eq!((back.ports, &back.payload), ((53, 4000), &payload));

        // 1,500 bytes would be 1,528: each is cut into two, of which none is longer than every link takes.
        let full = cut4(&answer, 10, &[1480, 1480, 48]);
        let back = leat.take(0, full.clone(), 3);
        assert_eq!(back.iter().map(|frame| frame.len() - 14).collect::<Vec<_>>(), [1280, 296, 1280, 296, 96]);
        let back = told(&joined(&back));
        assert_eq!((back.to, back.ports, &back.payload), (address(CLIENT), (53, 4000), &payload));

        // Where the sender wants none cut, it hears what fits, with room for the other header.
        let mut with_df: Vec<Vec<u8>> = full;
        for frame in &mut with_df {
            let mut header = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap().0;
            (header.dont_fragment, header.identification) = (true, 12);
            header.header_checksum = header.calc_header_checksum();
            frame[14..34].copy_from_slice(&header.to_bytes());
        }
        let complaint = leat.take(0, with_df, 3);
        let frame = &complaint[0];
        assert_eq!((frame[23], frame[34], frame[35], &frame[40..42]), (1, 3, 4, &1472_u16.to_be_bytes()[..]));

        // A checksum over all of it would be needed, and leat has a piece at a time.
        let mut bare = answer.clone();
        bare[40..42].fill(0);
        assert!(leat.take(0, cut4(&bare, 11, &[1448, 1448, 112]), 3).is_empty());
        assert_eq!(leat.dropped(DropReason::FragmentCrossing), 1);
    }
}

#[test]
fn a_segment_that_gets_a_toa_option_crosses_whole() {
    let more = "port = 80\nclient_address = \"toa\"";
    let mut leat = Balancer::new(1, &crossing(VIP6, "10.0.0.11", "10.0.0.2", more));
    let client = |flags, numbers, payload: &[u8]| tcp6((CLIENT, 40000), (VIP6, 80), flags, numbers, payload);
    leat.one(client(SYN, (100, 0), b"")).unwrap();
    leat.one(tcp([2, 0, 0, 0, 0, 2], (BACKEND4, 80), (LOCAL4, 40000), SYN | ACK, 500, 101, b"")).unwrap();
    for payload in [&b""[..], b"GET"] {
        let sent = leat.one(client(ACK, (101, 501), payload)).unwrap();
        assert_eq!(sent.len(), 14 + 20 + 40 + payload.len());
        forward::judge::see(&sent, |ip, tcp| {
            assert_eq!((usize::from(ip.total_len), tcp.options().len()), (60 + payload.len(), 20));
            assert_eq!(tcp.payload(), payload);
        });
    }
}

/// RFC 7915 §4: without DF it is the translator that cuts.
#[test]
fn a_datagram_without_df_that_is_too_long_in_ipv6_is_cut() {
    let mut leat = Balancer::new(1, &crossing(VIP6, "10.0.0.11", "10.0.0.2", "protocol = \"udp\"\nport = 53"));
    let there = seen(&leat.one(udp6((CLIENT, 4000), (VIP6, 53), b"question")).unwrap());
    let answer = |len: usize, has_df: bool, has_checksum: bool| {
        let payload: Vec<u8> = (0..len).map(|number| (number * 7) as u8).collect();
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], LEAT.0);
        let header = etherparse::Ipv4Header {
            dont_fragment: has_df,
            ..etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber::UDP, BACKEND4, LOCAL4).unwrap()
        };
        let builder = builder.ip(etherparse::IpHeaders::Ipv4(header, Default::default()));
        builder.udp(53, there.key.src_port).write(&mut frame, &payload).unwrap();
        if !has_checksum {
            frame[40..42].fill(0);
        }
        (frame, payload)
    };
    let mut identifications = HashSet::new();
    for has_checksum in [true, false] {
        for len in [1453, 1460, 1472] {
            let (frame, payload) = answer(len, false, has_checksum);
            let back = leat.take(0, vec![frame], 1);
            assert_eq!((back.len(), back[0].len()), (2, 14 + 1280), "{len}");
            assert!(identifications.insert(back[0][58..62].to_vec()));
            let back = told(&joined(&back));
            assert_eq!((back.from, back.to, back.hop_limit), (address(VIP6), address(CLIENT), 63));
            assert_eq!((back.ports, back.payload), ((53, 4000), payload));
        }
        // What fits the port goes whole.
        let (frame, payload) = answer(1452, false, has_checksum);
        assert_eq!(told(&leat.one(frame).unwrap()).payload, payload);
    }
    let refused = leat.one(answer(1453, true, true).0).unwrap();
    assert_eq!((refused[34], refused[35], &refused[40..42]), (3, 4, &1480_u16.to_be_bytes()[..]));
    assert_eq!(leat.dropped(DropReason::TooLong), 1);

    leat.has_no_memory = true;
    assert!(leat.take(0, vec![answer(1472, false, true).0], 1).is_empty());
    assert_eq!(leat.dropped(DropReason::NoBuffer), 1);
}
