//! ICMP errors, as those see them who get them: about their own packets, from whom they know.

use super::*;
use crate::wire::ip::Octets as _;

const OWN: &str = "[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\n";
const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 34952);
const ROUTER: [u8; 4] = [192, 0, 2, 1];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];
const BACKEND: [u8; 4] = [10, 0, 0, 2];
const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// What somebody at `from` says about the packet in `frame`: fragmentation needed, quoting `len` bytes of it.
fn error(from: [u8; 4], frame: &[u8], len: usize) -> Vec<u8> {
    let quoted = &frame[14..frame.len().min(14 + len)];
    let mut error = Vec::new();
    PacketBuilder::ethernet2(ROUTER_MAC, LEAT.0)
        .ipv4(from, frame[26..30].try_into().unwrap(), 64)
        .icmpv4_raw(3, 4, [0, 0, 5, 120])
        .write(&mut error, quoted)
        .unwrap();
    error
}

/// An ICMP error as its receiver reads it: from, to, type and code, and the quoted packet. Its checksums are right.
fn read(frame: &[u8]) -> ([u8; 4], [u8; 4], (u8, u8), Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Icmpv4(icmp))) = (&packet.net, &packet.transport) else {
        panic!("{packet:?}")
    };
    assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
    assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
    (ip.header().source(), ip.header().destination(), (icmp.type_u8(), icmp.code_u8()), icmp.payload().to_vec())
}

/// A packet's IPv4 part as it is after one more router.
fn a_hop_later(frame: &[u8]) -> Vec<u8> {
    let (mut ip, rest) = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap();
    ip.time_to_live -= 1;
    ip.header_checksum = ip.calc_header_checksum();
    let mut packet = Vec::new();
    ip.write(&mut packet).unwrap();
    packet.extend_from_slice(rest);
    packet
}

fn client_data() -> Vec<u8> {
    tcp(CLIENT_MAC, CLIENT, (VIP, 80), ACK, 101, 501, &[7; 600])
}

/// An open connection: what the client's and the backend's data look like when they leave leat, the latter beside what it was.
struct Exchange {
    leat: Balancer,
    there: Vec<u8>,
    answered: Vec<u8>,
    back: Vec<u8>,
}

fn exchange(workers: u16, toml: &str) -> Exchange {
    let mut leat = Balancer::new(workers, toml);
    let mut pass = |frame: Vec<u8>| leat.take(0, vec![frame], 1).remove(0);
    let syn = pass(tcp(CLIENT_MAC, CLIENT, (VIP, 80), SYN, 100, 0, b""));
    pass(answer(seen(&syn), SYN | ACK, 500, 101));
    let there = pass(client_data());
    let key = seen(&syn).key;
    let answered =
        tcp(BACKEND_MAC, (key.dst.octets(), key.dst_port), (key.src.octets(), key.src_port), ACK, 501, 101, &[9; 600]);
    let back = pass(answered.clone());
    Exchange { leat, there, answered, back }
}

#[test]
fn the_client_hears_of_its_own_packet_and_from_the_vip_alone() {
    for (mode, workers) in [("fullnat", 1), ("fullnat", 4), ("nat", 1), ("nat", 4)] {
        for (from, len) in [(ROUTER, 28), (ROUTER, 548), (BACKEND, 640)] {
            let Exchange { mut leat, there, .. } = exchange(workers, &service(1, &format!("mode = \"{mode}\"")));
            for worker in 0..workers {
                let sent = leat.take(worker.into(), vec![error(from, &there, len)], 1);
                assert_eq!(sent.len(), 1, "{mode} {workers}");
                let (source, destination, kind, quoted) = read(&sent[0]);
                assert_eq!((source, destination, kind), (VIP, CLIENT.0, (3, 4)), "{mode} {workers}");
                assert_eq!(quoted, a_hop_later(&client_data())[..len], "{mode} {workers}");
                assert_eq!((&sent[0][..6], sent[0][22]), (&CLIENT_MAC[..], 63));
                assert_eq!(sent[0][40..42], [5, 120], "the MTU is the router's");
            }
        }
    }
}

#[test]
fn the_backend_hears_of_its_own_packet() {
    for (mode, workers, seen_from) in [("fullnat", 1, VIP), ("fullnat", 4, VIP), ("nat", 1, ROUTER), ("nat", 4, ROUTER)]
    {
        let Exchange { mut leat, answered, back, .. } = exchange(workers, &service(1, &format!("mode = \"{mode}\"")));
        for worker in 0..workers {
            let sent = leat.take(worker.into(), vec![error(ROUTER, &back, 548)], 1);
            let (source, destination, kind, quoted) = read(&sent[0]);
            assert_eq!((source, destination, kind), (seen_from, BACKEND, (3, 4)), "{mode} {workers}");
            assert_eq!(quoted, a_hop_later(&answered)[..548], "{mode} {workers}");
            assert_eq!(sent[0][..6], BACKEND_MAC);
        }
    }
}

#[test]
fn in_one_way_modes_the_backend_of_the_flow_gets_the_error_as_it_is() {
    for (mode, overhead) in [("dr", 0), ("ipip", 20), ("gue", 32)] {
        for workers in [1, 4] {
            let toml = OWN.to_owned() + &service(3, &format!("mode = \"{mode}\"")).replace("port = 8080", "port = 80");
            let mut leat = Balancer::new(workers, &toml);
            let syn = tcp(CLIENT_MAC, CLIENT, (VIP, 80), SYN, 100, 0, b"");
            let there = leat.take(0, vec![syn], 1).remove(0);
            let answer = tcp(BACKEND_MAC, (VIP, 80), CLIENT, ACK, 501, 101, &[9; 600]);
            for worker in 0..workers {
                let error = error(ROUTER, &answer, 28);
                let sent = leat.take(worker.into(), vec![error.clone()], 1);
                assert_eq!(sent[0][..6], there[..6], "{mode}: the backend that has the connection");
                assert_eq!(sent[0][14 + overhead..], error[14..], "{mode}");
            }
        }
    }
}

#[test]
fn pings_and_datagrams_have_their_errors_too() {
    let toml = service(1, "protocol = \"any\"\nlocal_addresses = [\"10.0.0.11\"]")
        .replace("port = 80\n", "")
        .replace("port = 8080\n", "");
    let mut leat = Balancer::new(1, &toml);
    let builder = || PacketBuilder::ethernet2(CLIENT_MAC, LEAT.0).ipv4(CLIENT.0, VIP, 64);
    let (mut ping, mut datagram) = (Vec::new(), Vec::new());
    builder().icmpv4_echo_request(77, 1).write(&mut ping, b"are you there").unwrap();
    builder().udp(4000, 53).write(&mut datagram, b"who is there").unwrap();
    for frame in [ping, datagram] {
        let there = leat.one(frame.clone()).unwrap();
        let told = leat.one(error(BACKEND, &there, 548)).unwrap();
        let (source, destination, _, quoted) = read(&told);
        assert_eq!((source, destination), (VIP, CLIENT.0));
        assert_eq!(quoted, a_hop_later(&frame));
    }
}

#[test]
fn an_error_changes_nothing_about_its_connection() {
    let Exchange { mut leat, there, .. } = exchange(1, &service(1, ""));
    let before = leat.open();
    for _ in 0..3 {
        assert!(leat.one(error(ROUTER, &there, 548)).is_some());
    }
    assert_eq!(leat.open(), before);
    // It is not kept alive by them either: the time of an established connection runs from its last packet.
    for _ in 0..80 {
        leat.wait(Duration::from_secs(100));
        leat.one(error(ROUTER, &there, 548));
    }
    assert_eq!(leat.open(), [0]);
    assert_eq!(leat.one(error(ROUTER, &there, 548)), None);
}

#[test]
fn what_nobody_here_has_sent_and_what_is_damaged_goes_nowhere() {
    let Exchange { mut leat, there, .. } = exchange(1, &service(1, ""));
    let with = |at: usize, byte: u8, frame: &[u8]| {
        let mut frame = frame.to_vec();
        frame[at] ^= byte;
        frame
    };
    let rows = [
        ("a damaged quote", with(60, 1, &error(ROUTER, &there, 548)), DropReason::IcmpChecksum),
        ("7 bytes of TCP", error(ROUTER, &there, 27), DropReason::IcmpError),
        ("another port", error(ROUTER, &with(36, 1, &there), 28), DropReason::IcmpError),
        ("another backend", error(ROUTER, &with(33, 1, &there), 28), DropReason::IcmpError),
        ("the client's packet as it came", error(ROUTER, &client_data(), 28), DropReason::IcmpError),
        ("from leat's own address", error(VIP, &there, 28), DropReason::Ipv4Source),
        ("from a multicast group", error([224, 0, 0, 1], &there, 28), DropReason::Ipv4Source),
    ];
    for (name, frame, reason) in rows {
        let before = leat.dropped(reason);
        assert_eq!(leat.one(frame), None, "{name}");
        assert_eq!(leat.dropped(reason), before + 1, "{name}");
    }
    // To somebody else than the quoted packet's sender.
    let mut astray = error(ROUTER, &there, 28);
    astray[26..34].copy_from_slice(&[192, 0, 2, 1, 10, 0, 0, 1]);
    astray[24..26].fill(0);
    let sum = crate::wire::checksum::of(&astray[14..34]);
    astray[24..26].copy_from_slice(&sum.to_be_bytes());
    let before = leat.dropped(DropReason::IcmpError);
    assert_eq!(leat.one(astray), None);
    assert_eq!(leat.dropped(DropReason::IcmpError), before + 1);
}

#[test]
fn an_error_about_another_tunnels_packet_cannot_go_round_between_workers() {
    let one_way = service(1, "mode = \"gue\"").replace("port = 8080", "port = 80");
    let toml = OWN.to_owned()
        + &one_way
        + &service(1, "mode = \"nat\"\nprotocol = \"udp\"").replace("web", "dns").replace("10.0.0.10", "10.0.0.12");
    let mut leat = Balancer::new(4, &toml);
    let mut gue = Vec::new();
    let builder = PacketBuilder::ethernet2(LEAT.0, BACKEND_MAC).ipv4([10, 0, 0, 254], BACKEND, 64);
    builder.udp(50_000, 6080).write(&mut gue, &[0; 40]).unwrap();
    for worker in 0..4 {
        assert!(leat.take(worker, vec![error(ROUTER, &gue, 548)], 1).is_empty());
    }
    assert_eq!(leat.dropped(DropReason::IcmpConsumed), 4);
}

#[test]
fn where_leat_is_a_hop_a_sender_is_told_that_its_packet_ended_there() {
    let last_hop = |frame: &[u8], ttl: u8| {
        let (mut ip, rest) = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap();
        ip.time_to_live = ttl;
        ip.header_checksum = ip.calc_header_checksum();
        let mut changed = frame[..14].to_vec();
        ip.write(&mut changed).unwrap();
        changed.extend_from_slice(rest);
        changed
    };
    let syn = tcp(CLIENT_MAC, ([10, 0, 0, 7], 999), (VIP, 80), SYN, 100, 0, b"");
    for (mode, own) in [("fullnat", ""), ("fullnat", OWN), ("nat", OWN)] {
        let toml = own.to_owned() + &service(1, &format!("mode = \"{mode}\""));
        let Exchange { mut leat, answered, .. } = exchange(1, &toml);
        let leat_is = if own.is_empty() { VIP } else { [10, 0, 0, 254] };
        for (frame, mac) in [(&syn, CLIENT_MAC), (&client_data(), CLIENT_MAC), (&answered, BACKEND_MAC)] {
            for ttl in [0, 1] {
                let frame = last_hop(frame, ttl);
                let told = leat.one(frame.clone()).unwrap();
                let (source, destination, kind, quoted) = read(&told);
                assert_eq!(
                    (source, destination, kind),
                    (leat_is, frame[26..30].try_into().unwrap(), (11, 0)),
                    "{mode}"
                );
                assert!(quoted.len() >= 28 && frame[14..].starts_with(&quoted));
                assert_eq!(told[..6], mac);
            }
        }
        assert_eq!(leat.dropped(DropReason::Ipv4Ttl), 6);
        // Errors have their hops counted as well, and nobody is told about them.
        let there = leat.one(client_data()).unwrap();
        assert_eq!(leat.one(last_hop(&error(ROUTER, &there, 28), 1)), None);
    }
    // The backend's answers to clients of nat are to no address of leat's: without an own one it has nothing to say.
    let Exchange { mut leat, answered, .. } = exchange(1, &service(1, "mode = \"nat\""));
    assert_eq!(leat.one(last_hop(&answered, 1)), None);
    // The one-way modes are no hop.
    let mut leat = Balancer::new(1, &service(1, "mode = \"dr\"").replace("port = 8080", "port = 80"));
    assert_eq!(leat.one(last_hop(&syn, 1)).unwrap()[22], 1);
}
