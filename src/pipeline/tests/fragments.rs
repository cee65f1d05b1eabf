//! Packets in pieces: what the receiver puts together is what the sender cut, whoever gets which piece first.

use super::*;
use crate::wire::ip::Octets as _;

const OWN: &str = "[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\n";
const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 4000);

fn udp_service(mode: &str, backends: u8) -> String {
    let toml = service(backends, &format!("mode = \"{mode}\"\nprotocol = \"udp\""));
    let one_way = ["dr", "ipip", "gue"].contains(&mode);
    OWN.to_owned() + &if one_way { toml.replace("port = 8080", "port = 80") } else { toml }
}

fn datagram(mac: [u8; 6], from: ([u8; 4], u16), to: ([u8; 4], u16), len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac, LEAT.0).ipv4(from.0, to.0, 64).udp(from.1, to.1).write(&mut frame, &payload).unwrap();
    frame
}

/// Cuts the packet in `frame` as a host does, with `identification`, `len` bytes of payload in each piece.
fn cut(frame: &[u8], identification: u16, len: usize) -> Vec<Vec<u8>> {
    let (ip, payload) = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap();
    let count = payload.len().div_ceil(len);
    let piece = |(number, part): (usize, &[u8])| {
        let mut ip = ip.clone();
        ip.identification = identification;
        ip.dont_fragment = false;
        ip.more_fragments = number + 1 < count;
        ip.fragment_offset = etherparse::IpFragOffset::try_new((number * len / 8) as u16).unwrap();
        ip.set_payload_len(part.len()).unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        let mut piece = frame[..14].to_vec();
        ip.write(&mut piece).unwrap();
        piece.extend_from_slice(part);
        piece
    };
    payload.chunks(len).enumerate().map(piece).collect()
}

/// What a host makes of `pieces`, all of one packet: a frame with the whole of it, and its identification.
fn join(pieces: &[Vec<u8>]) -> (Vec<u8>, u16) {
    let mut pieces: Vec<_> =
        pieces.iter().map(|piece| (etherparse::Ipv4Header::from_slice(&piece[14..]).unwrap(), piece)).collect();
    pieces.sort_by_key(|((ip, _), _)| ip.fragment_offset.value());
    let first = pieces[0].0.0.clone();
    let mut payload = Vec::new();
    for ((ip, part), _) in &pieces {
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        assert_eq!(
            (ip.identification, ip.source, ip.destination),
            (first.identification, first.source, first.destination)
        );
        assert_eq!(usize::from(ip.fragment_offset.value()) * 8, payload.len());
        payload.extend_from_slice(part);
    }
    assert!(!pieces.last().unwrap().0.0.more_fragments);
    let mut ip = first.clone();
    ip.identification = 0;
    ip.more_fragments = false;
    ip.set_payload_len(payload.len()).unwrap();
    ip.header_checksum = ip.calc_header_checksum();
    let mut frame = pieces[0].1[..14].to_vec();
    ip.write(&mut frame).unwrap();
    frame.extend_from_slice(&payload);
    (frame, first.identification)
}

/// All orders of three.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Takes in `pieces` in this order, each on another worker.
fn scatter(leat: &mut Balancer, pieces: &[Vec<u8>], order: [usize; 3]) -> Vec<Vec<u8>> {
    let workers = leat.workers.len();
    let mut sent = Vec::new();
    for (number, at) in order.into_iter().enumerate() {
        sent.extend(leat.take(number % workers, vec![pieces[at].clone()], 1));
    }
    sent
}

/// Whether the UDP checksum in `frame` is right over all of the datagram.
fn udp_checksum_is_right(frame: &[u8]) -> bool {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (&packet.net, &packet.transport) else {
        panic!("{packet:?}")
    };
    let header = ip.header().to_header();
    udp.checksum() == udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap()
}

#[test]
fn a_datagram_in_pieces_arrives_whole_in_both_directions_whatever_comes_first_and_where() {
    for mode in ["fullnat", "nat"] {
        for workers in [1, 4] {
            let mut leat = Balancer::new(workers, &udp_service(mode, 2));
            for (identification, order) in (100..).zip(ORDERS) {
                let client = ([10, 0, 0, 1], 4000 + identification);
                let question = datagram(CLIENT_MAC, client, (VIP, 80), 3000);
                let sent = scatter(&mut leat, &cut(&question, identification, 1480), order);
                assert_eq!(sent.len(), 3, "{mode} {workers} {order:?}");
                let (there, _) = join(&sent);
                assert!(udp_checksum_is_right(&there) && there.ends_with(&question[42..]));
                let key = seen(&there).key;
                assert_eq!((key.dst_port, there[22]), (8080, 63));

                let answer = datagram(
                    there[..6].try_into().unwrap(),
                    (key.dst.octets(), key.dst_port),
                    (key.src.octets(), key.src_port),
                    3500,
                );
                let sent = scatter(&mut leat, &cut(&answer, identification, 1480), order);
                let (back, _) = join(&sent);
                assert_eq!(seen(&back).key.to_string(), format!("udp 10.0.0.10:80 > 10.0.0.1:{}", client.1));
                assert!(udp_checksum_is_right(&back) && back.ends_with(&answer[42..]));
                assert_eq!(back[..6], CLIENT_MAC);
            }
            // A datagram that is whole goes the same way as one in pieces.
            let whole = datagram(CLIENT_MAC, ([10, 0, 0, 1], 4100), (VIP, 80), 100);
            assert_eq!(leat.open().iter().sum::<u64>(), 6);
            assert_eq!(leat.take(0, vec![whole], 1).len(), 1);
            assert_eq!(
                leat.open().iter().sum::<u64>(),
                6,
                "{mode}: it belongs to the connection that its pieces have opened"
            );
        }
    }
}

#[test]
fn one_way_modes_leave_pieces_as_they_are() {
    for (mode, overhead) in [("dr", 0), ("ipip", 20), ("gue", 32)] {
        for workers in [1, 4] {
            let mut leat = Balancer::new(workers, &udp_service(mode, 3));
            for (identification, order) in (100..).zip(ORDERS) {
                let pieces = cut(&datagram(CLIENT_MAC, CLIENT, (VIP, 80), 2000), identification, 800);
                let sent = scatter(&mut leat, &pieces, order);
                assert_eq!(sent.len(), 3);
                for (sent, piece) in sent.iter().zip(&pieces) {
                    assert_eq!(sent[14 + overhead..], piece[14..], "{mode}");
                }
                assert!(sent.iter().all(|piece| piece[..6] == sent[0][..6]), "{mode}: one backend gets them all");
            }
        }
    }
}

#[test]
fn pieces_of_two_clients_with_one_identification_do_not_mix_at_the_backend() {
    for workers in [1, 4] {
        let mut leat = Balancer::new(workers, &udp_service("fullnat", 1));
        let mut identifications = HashSet::new();
        for client in 1..200 {
            let frame = datagram(CLIENT_MAC, ([10, 0, 1, client], 4000), (VIP, 80), 3000);
            let sent = scatter(&mut leat, &cut(&frame, 7, 1480), [0, 1, 2]);
            assert!(identifications.insert(join(&sent).1), "{client}");
        }
    }
}

#[test]
fn a_ping_in_pieces_is_balanced_like_one_that_is_whole() {
    let toml = service(1, "protocol = \"any\"\nlocal_addresses = [\"10.0.0.11\"]")
        .replace("port = 80\n", "")
        .replace("port = 8080\n", "");
    let mut leat = Balancer::new(1, &toml);
    let mut ping = Vec::new();
    let payload = [5; 3000];
    PacketBuilder::ethernet2(CLIENT_MAC, LEAT.0)
        .ipv4(CLIENT.0, VIP, 64)
        .icmpv4_echo_request(77, 1)
        .write(&mut ping, &payload)
        .unwrap();
    let (there, _) = join(&scatter(&mut leat, &cut(&ping, 7, 1480), [1, 0, 2]));
    let packet = SlicedPacket::from_ethernet(&there).unwrap();
    let Some(TransportSlice::Icmpv4(icmp)) = packet.transport else { panic!("{packet:?}") };
    assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
    assert_eq!((&there[26..30], &there[30..34]), (&[10, 0, 0, 11][..], &[10, 0, 0, 2][..]));
}

#[test]
fn a_tcp_segment_in_pieces_counts_with_all_of_its_bytes() {
    let mut leat = Balancer::new(1, &service(1, ""));
    let syn = tcp(CLIENT_MAC, CLIENT, (VIP, 80), SYN, 100, 0, b"");
    let there = leat.one(syn).unwrap();
    leat.one(answer(seen(&there), SYN | ACK, 500, 101));
    leat.one(tcp(CLIENT_MAC, CLIENT, (VIP, 80), ACK, 101, 501, b"")).unwrap();
    let last = tcp(CLIENT_MAC, CLIENT, (VIP, 80), ACK | FIN, 101, 501, &[3; 900]);
    assert_eq!(scatter(&mut leat, &cut(&last, 7, 400), [2, 0, 1]).len(), 3);
    // The backend acknowledges all 900 bytes and the FIN, and ends its half: the connection is over.
    leat.one(answer(seen(&there), ACK | FIN, 501, 1002)).unwrap();
    leat.one(tcp(CLIENT_MAC, CLIENT, (VIP, 80), ACK, 1002, 502, b"")).unwrap();
    assert_eq!(leat.open(), [0]);
    let index = leat.workers[0].conntrack.records(0, 10).next().unwrap().0;
    assert_eq!(leat.workers[0].conntrack.connection(index).state(), crate::conntrack::State::TimeWait);
}

#[test]
fn pieces_that_cannot_be_joined_go_nowhere_and_are_counted() {
    use DropReason as D;
    let with = |piece: &[u8], at: usize, bytes: &[u8]| {
        let mut frame = piece.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame[24..26].fill(0);
        let sum = crate::wire::checksum::of(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let pieces = cut(&datagram(CLIENT_MAC, CLIENT, (VIP, 80), 2000), 7, 800);
    let other_service = cut(&datagram(CLIENT_MAC, CLIENT, (VIP, 81), 2000), 7, 800);
    // Seven bytes of UDP's header in the first, which is enough for the ports alone.
    let tiny = cut(&datagram(CLIENT_MAC, CLIENT, (VIP, 80), 8), 7, 8);
    let tiny_tcp = cut(&tcp(CLIENT_MAC, CLIENT, (VIP, 80), SYN, 1, 0, &[0; 40]), 7, 8);
    let strange = with(&pieces[0], 30, &[10, 9, 9, 9]);
    type Row = (&'static str, Vec<Vec<u8>>, &'static [(D, u64)]);
    let rows: [Row; 7] = [
        ("one missing", vec![pieces[0].clone(), pieces[2].clone()], &[(D::FragmentIncomplete, 2)]),
        (
            "one twice",
            vec![pieces[1].clone(), pieces[1].clone()],
            &[(D::FragmentDuplicate, 1), (D::FragmentIncomplete, 1)],
        ),
        ("teardrop", vec![pieces[0].clone(), with(&pieces[1], 20, &[0x20, 50])], &[(D::FragmentMalformed, 2)]),
        ("the ping of death", vec![with(&pieces[2], 20, &[0x1f, 0xff])], &[(D::FragmentMalformed, 1)]),
        ("to nobody here", vec![strange], &[(D::NotOurAddress, 1)]),
        ("to no service", other_service, &[(D::NoService, 1), (D::FragmentOrphan, 2)]),
        ("a header in two pieces", tiny_tcp.clone(), &[(D::TcpTruncated, 1), (D::FragmentOrphan, 7)]),
    ];
    for workers in [1, 4] {
        for (name, frames, expected) in &rows {
            let toml = service(1, "protocol = \"udp\"")
                + &service(1, "").replace("web", "tcp").replace("10.0.0.10", "10.0.0.20");
            let toml = toml.replace("10.0.0.20", "10.0.0.10");
            let mut leat = Balancer::new(workers, &toml);
            assert_eq!(leat.take(0, frames.clone(), 64), Vec::<Vec<u8>>::new(), "{name}");
            leat.wait(Duration::from_secs(16));
            for (reason, count) in *expected {
                assert_eq!(leat.dropped(*reason), *count, "{name}, {}, {workers} workers", reason.name());
            }
            let all: u64 = D::ALL.iter().map(|reason| leat.dropped(*reason)).sum();
            assert_eq!(all, frames.len() as u64, "{name}");
        }
    }
    let mut leat = Balancer::new(1, &udp_service("fullnat", 1));
    assert_eq!(leat.take(0, tiny, 64).len(), 2, "UDP's header and its payload in two pieces");
}

#[test]
fn pieces_of_a_packet_at_its_last_hop_end_here() {
    let mut leat = Balancer::new(1, &udp_service("fullnat", 1));
    let mut frame = datagram(CLIENT_MAC, CLIENT, (VIP, 80), 2000);
    frame[22] = 1;
    let sent = scatter(&mut leat, &cut(&frame, 7, 800), [0, 1, 2]);
    assert_eq!(sent.len(), 1, "its sender hears of it once");
    assert_eq!(sent[0][34], 11);
    assert_eq!(leat.dropped(DropReason::Ipv4Ttl) + leat.dropped(DropReason::FragmentOrphan), 3);
}

#[test]
fn leat_has_nothing_left_of_pieces_when_it_ends() {
    let mut leat = Balancer::new(1, &udp_service("fullnat", 1));
    let pieces = cut(&datagram(CLIENT_MAC, CLIENT, (VIP, 80), 2000), 7, 800);
    assert!(leat.take(0, vec![pieces[0].clone(), pieces[1].clone()], 1).is_empty());
    let mut output = Recorder::default();
    let (snapshot, now) = (&leat.snapshot, leat.now);
    leat.workers[0].close(&mut Context { snapshot, now, output: &mut output, tracer: &mut Silent });
    assert_eq!(leat.dropped(DropReason::FragmentIncomplete), 2);
}

#[test]
fn pieces_that_could_not_be_translated_go_through_a_tunnel_of_the_other_version() {
    let toml = "[[interface]]\nport = 0\naddresses = [\"2001:db8::fe/64\"]\n[[service]]\nvip = \"10.0.0.10\"\nprotocol = \"udp\"\n\
                port = 80\nmode = \"ipip\"\n[[service.backend]]\naddress = \"2001:db8::2\"\nmac = \"02:00:00:00:00:02\"\n";
    let mut leat = Balancer::new(1, toml);
    let mut question = datagram(CLIENT_MAC, CLIENT, (VIP, 80), 2000);
    // Without a checksum, which IPv6 would not allow.
    question[40..42].fill(0);
    let pieces = cut(&question, 7, 1000);
    let sent = scatter(&mut leat, &pieces, [2, 0, 1]);
    assert_eq!(sent.len(), 3);
    for (sent, piece) in sent.iter().zip(&pieces) {
        assert_eq!(sent[12..14], [0x86, 0xdd]);
        assert_eq!(sent[54..], piece[14..], "the piece itself, behind the header of IPv6");
    }
}
