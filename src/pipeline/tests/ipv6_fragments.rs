//! IPv6 packets in fragments.

use etherparse::{Icmpv6Type, Ipv4Header};

use super::ipv6::{CLIENT, VIP6, address, builder, service6, tcp6, told, udp6};
use super::*;

/// `packet`, an IPv6 frame, cut in pieces whose payloads are `lengths` long.
pub(super) fn cut(frame: &[u8], identification: u32, lengths: &[usize]) -> Vec<Vec<u8>> {
    let (head, payload) = frame.split_at(54);
    let mut start = 0;
    lengths
        .iter()
        .enumerate()
        .map(|(number, len)| {
            let more = u16::from(number + 1 < lengths.len());
            let mut piece = head.to_vec();
            let next = std::mem::replace(&mut piece[20], 44);
            piece[18..20].copy_from_slice(&(*len as u16 + 8).to_be_bytes());
            piece.extend([next, 0]);
            piece.extend((start as u16 | more).to_be_bytes());
            piece.extend(identification.to_be_bytes());
            piece.extend(&payload[start..start + len]);
            start += len;
            piece
        })
        .collect()
}

/// The packet of which these are the fragments, in order.
pub(super) fn joined(fragments: &[Vec<u8>]) -> Vec<u8> {
    let mut whole = fragments[0][..54].to_vec();
    whole[20] = fragments[0][54];
    for fragment in fragments {
        let offset = u16::from_be_bytes([fragment[56], fragment[57]]) & 0xfff8;
        assert_eq!(usize::from(offset), whole.len() - 54);
        assert_eq!(fragment[58..62], fragments[0][58..62]);
        whole.extend(&fragment[62..]);
    }
    let len = (whole.len() - 54) as u16;
    whole[18..20].copy_from_slice(&len.to_be_bytes());
    whole
}

#[test]
fn fragments_in_any_order_follow_their_first_and_get_an_identification_of_leats_own() {
    let payload: Vec<u8> = (0..3000_u32).map(|number| (number * 7) as u8).collect();
    for (workers, order) in [(1, [0, 1, 2]), (2, [2, 0, 1]), (4, [1, 2, 0])] {
        let mut leat = Balancer::new(workers, &service6("protocol = \"udp\"\nport = 53"));
        let question = udp6((CLIENT, 4000), (VIP6, 53), &payload);
        let pieces = cut(&question, 7, &[1448, 1448, 112]);
        let pieces: Vec<_> = order.iter().map(|at| pieces[*at].clone()).collect();
        let sent = leat.take(0, pieces, 1);
        assert_eq!(sent.len(), 3);
        assert_ne!(sent[0][58..62], 7_u32.to_be_bytes());
        let there = told(&joined(&sent));
        assert_eq!((there.from, there.hop_limit, &there.payload), (address(VIP6), 63, &payload));
        let answer = udp6((&there.to.to_string(), 53), (VIP6, there.ports.0), &payload);
        let back = leat.take(0, cut(&answer, 9, &[1448, 1448, 112]), 3);
        let back = told(&joined(&back));
        assert_eq!((back.to, back.ports, &back.payload), (address(CLIENT), (53, 4000), &payload));
    }
}

#[test]
fn fragments_that_overlap_take_their_packet_with_them() {
    let question = udp6((CLIENT, 4000), (VIP6, 53), &[7; 992]);
    let mut pieces = cut(&question, 7, &[496, 504]);
    let mut overlapping = pieces.remove(1);
    overlapping[56..58].copy_from_slice(&488_u16.to_be_bytes());
    let mut leat = Balancer::new(1, &service6("protocol = \"udp\"\nport = 53"));
    assert!(leat.take(0, vec![pieces.remove(0), overlapping], 2).is_empty());
    assert_eq!(leat.dropped(DropReason::FragmentMalformed), 2);
}

#[test]
fn a_fragmented_datagram_of_a_one_packet_service_stays_together() {
    let payload = [7; 2000];
    for mode in ["dr", "ipip"] {
        let more = format!("protocol = \"udp\"\nport = 53\nmode = \"{mode}\"\none_packet = true");
        let own = "[[interface]]\nport = 0\naddresses = [\"2001:db8::fe/64\"]\n";
        let mut leat = Balancer::new(1, &format!("{own}{}", service6(&more)));
        let sent = leat.take(0, cut(&udp6((CLIENT, 4000), (VIP6, 53), &payload), 7, &[1400, 608]), 1);
        assert_eq!(sent.len(), 2, "{mode}");
        assert_eq!(sent[0][..6], sent[1][..6], "{mode}");
    }
}

#[test]
fn a_packet_too_big_about_a_first_fragment_reaches_the_backend_that_sent_it() {
    let mut leat = Balancer::new(1, &service6("protocol = \"udp\"\nport = 53"));
    let there = told(&leat.one(udp6((CLIENT, 4000), (VIP6, 53), b"question")).unwrap());
    let answer = udp6((&there.to.to_string(), 53), (VIP6, there.ports.0), &[7; 2000]);
    let back = leat.take(0, cut(&answer, 9, &[1448, 560]), 2);
    let mut error = Vec::new();
    let too_big = Icmpv6Type::PacketTooBig { mtu: 1400 };
    builder("2001:db8:9::9", VIP6).icmpv6(too_big).write(&mut error, &back[0][14..1200]).unwrap();
    let told_backend = leat.one(error).unwrap();
    let packet = SlicedPacket::from_ethernet(&told_backend).unwrap();
    let (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) = (&packet.net, &packet.transport) else {
        panic!("{packet:?}")
    };
    let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
    assert_eq!((to, icmp.icmp_type()), (there.to, too_big));
    assert!(icmp.is_checksum_valid(from.octets(), to.octets()));
}

#[test]
fn a_packet_that_no_sender_could_make_shorter_is_cut_within_ipv4() {
    let toml =
        service6("port = 80\nmode = \"ipip\"").replace("2001:db8::2", "10.0.0.2").replace("2001:db8::3", "10.0.0.3");
    let own = "[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\n";
    let mut leat = Balancer::new(1, &format!("{own}{toml}"));
    let outer = leat.one(tcp6((CLIENT, 40000), (VIP6, 80), SYN, (100, 0), b"")).unwrap();
    let mut error = Vec::new();
    let next_hop_mtu = etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1280 };
    PacketBuilder::ethernet2(CLIENT_MAC, LEAT.0)
        .ipv4([10, 0, 9, 9], outer[26..30].try_into().unwrap(), 64)
        .icmpv4(etherparse::Icmpv4Type::DestinationUnreachable(next_hop_mtu))
        .write(&mut error, &outer[14..])
        .unwrap();
    assert!(leat.one(error).is_none());
    assert_eq!(leat.dropped(DropReason::IcmpConsumed), 1);
    let payload = [7; 1280 - 60];
    let sent = leat.take(0, vec![tcp6((CLIENT, 40000), (VIP6, 80), SYN, (100, 0), &payload)], 1);
    assert_eq!(sent.len(), 2);
    assert!(joined4(&sent).ends_with(&payload));
}

/// `frame`, of IPv4, cut in pieces whose payloads are `lengths` long.
pub(super) fn cut4(frame: &[u8], identification: u16, lengths: &[usize]) -> Vec<Vec<u8>> {
    let (ip, payload) = Ipv4Header::from_slice(&frame[14..]).unwrap();
    let mut start = 0;
    let pieces = lengths.iter().enumerate().map(|(number, len)| {
        let mut ip = Ipv4Header {
            identification,
            dont_fragment: false,
            more_fragments: number + 1 < lengths.len(),
            fragment_offset: (start as u16 / 8).try_into().unwrap(),
            total_len: 20 + *len as u16,
            ..ip.clone()
        };
        ip.header_checksum = ip.calc_header_checksum();
        let piece = [&frame[..14], &ip.to_bytes(), &payload[start..start + len]].concat();
        start += len;
        piece
    });
    pieces.collect()
}

/// The packet of which these are the fragments, of IPv4, in order.
pub(super) fn joined4(fragments: &[Vec<u8>]) -> Vec<u8> {
    let (first, _) = Ipv4Header::from_slice(&fragments[0][14..]).unwrap();
    let mut payload = Vec::new();
    for (number, fragment) in fragments.iter().enumerate() {
        let (ip, piece) = Ipv4Header::from_slice(&fragment[14..]).unwrap();
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        assert_eq!((ip.identification, ip.dont_fragment), (first.identification, false));
        assert_eq!(usize::from(ip.fragment_offset.value()) * 8, payload.len());
        assert_eq!(ip.more_fragments, number + 1 < fragments.len());
        assert_eq!(fragment.len(), 14 + usize::from(ip.total_len));
        payload.extend(piece);
    }
    let mut ip = Ipv4Header { more_fragments: false, total_len: 20 + payload.len() as u16, ..first };
    ip.header_checksum = ip.calc_header_checksum();
    [&fragments[0][..14], &ip.to_bytes(), &payload].concat()
}

#[test]
fn a_first_fragment_is_of_its_flow_to_who_looks_for_it_and_a_later_one_has_no_ports() {
    let pieces = cut(&udp6((CLIENT, 4000), (VIP6, 53), &[7; 992]), 7, &[496, 504]);
    let ports = |frame: &[u8]| crate::pipeline::headline::flow_of(frame).map(|flow| (flow.src_port, flow.dst_port));
    assert_eq!(ports(&pieces[0]), Some((4000, 53)));
    assert_eq!(ports(&pieces[1]), Some((0, 0)));
}
