//! What is counted for a backend: what was passed on, in either direction, and nothing that was dropped instead.

use super::ipv6::{CLIENT, VIP6, udp6};
use super::ipv6_fragments::cut4;
use super::*;

const LOCAL4: [u8; 4] = [10, 0, 0, 11];
const BACKEND4: [u8; 4] = [10, 0, 0, 2];

/// Packets and bytes from clients to the one backend, and from it to clients.
fn passed(leat: &Balancer) -> [(u64, u64); 2] {
    let (_, backend) = leat.snapshot.backends().next().unwrap();
    let sum = |of: fn(&crate::counters::BackendCounters) -> u64| backend.counters.iter().map(|it| of(it)).sum();
    [
        (sum(|it| it.original_packets.value()), sum(|it| it.original_bytes.value())),
        (sum(|it| it.reply_packets.value()), sum(|it| it.reply_bytes.value())),
    ]
}

/// A datagram of IPv4 with a payload of `len` bytes.
fn datagram(from: ([u8; 4], u16), to: ([u8; 4], u16), len: usize, dont_fragment: bool) -> Vec<u8> {
    let mut ip = etherparse::Ipv4Header::new(len as u16 + 8, 9, etherparse::IpNumber::UDP, from.0, to.0).unwrap();
    ip.dont_fragment = dont_fragment;
    let headers = etherparse::IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default());
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(CLIENT_MAC, LEAT.0).ip(headers);
    builder.udp(from.1, to.1).write(&mut frame, &vec![7; len]).unwrap();
    frame
}

fn from_client(len: usize, dont_fragment: bool) -> Vec<u8> {
    datagram(([10, 0, 0, 1], 4000), (VIP, 80), len, dont_fragment)
}

/// A service of UDP for clients of IPv6, with a backend of IPv4.
fn crossing() -> String {
    format!(
        "[[service]]\nvip = \"{VIP6}\"\nlocal_addresses = [\"10.0.0.11\"]\nprotocol = \"udp\"\nport = 53\n\
         backend = [{{ address = \"10.0.0.2\", mac = \"02:00:00:00:00:02\" }}]\n"
    )
}

#[test]
fn what_is_too_long_for_a_tunnel_is_not_counted_for_its_backend() {
    for (mode, is_silent) in [("ipip", false), ("ipip", true), ("gue", false), ("gue", true)] {
        let own = "[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\n";
        let more = format!("mode = \"{mode}\"\nprotocol = \"udp\"");
        let mut leat = Balancer::new(1, &(own.to_owned() + &service(1, &more).replace("port = 8080", "port = 80")));
        leat.is_silent = is_silent;
        let count = |leat: &Balancer| passed(leat)[0];
        // The first packet of a connection may be the one that does not fit.
        leat.one(from_client(1472, true)).unwrap();
        assert_eq!((leat.dropped(DropReason::TooBigForTunnel), count(&leat)), (1, (0, 0)), "{mode}");
        leat.one(from_client(100, true)).unwrap();
        leat.one(from_client(100, true)).unwrap();
        assert_eq!(count(&leat), (2, 2 * 142), "{mode}");
        leat.one(from_client(1472, true)).unwrap();
        assert_eq!((leat.dropped(DropReason::TooBigForTunnel), count(&leat)), (2, (2, 2 * 142)), "{mode}");
        assert_eq!(leat.take(0, vec![from_client(1472, false)], 1).len(), 2);
        assert_eq!(count(&leat), (3, 2 * 142 + 1514), "{mode}: what is cut was passed, as one packet");
        leat.has_no_memory = true;
        assert_eq!(leat.one(from_client(100, true)), None);
        assert_eq!((leat.dropped(DropReason::NoBuffer), count(&leat)), (1, (3, 2 * 142 + 1514)), "{mode}");
    }
}

#[test]
fn what_cannot_cross_is_not_counted_for_its_backend() {
    let mut leat = Balancer::new(1, &crossing());
    let there = seen(&leat.one(udp6((CLIENT, 4000), (VIP6, 53), b"question")).unwrap());
    let answer = |len, dont_fragment| datagram((BACKEND4, 53), (LOCAL4, there.key.src_port), len, dont_fragment);
    let question = (1, 14 + 40 + 8 + 8);
    assert_eq!(passed(&leat), [question, (0, 0)]);
    // It would be 20 bytes longer than its way takes, and may not be cut: its sender is told.
    leat.one(answer(1472, true)).unwrap();
    assert_eq!((leat.dropped(DropReason::TooLong), passed(&leat)), (1, [question, (0, 0)]));
    // A checksum over all fragments would be needed.
    let mut bare = answer(1600, false);
    bare[40..42].fill(0);
    assert!(leat.take(0, cut4(&bare, 5, &[1448, 160]), 2).is_empty());
    assert_eq!((leat.dropped(DropReason::FragmentCrossing), passed(&leat)), (1, [question, (0, 0)]));
    leat.has_no_memory = true;
    assert!(leat.take(0, vec![answer(1472, false)], 1).is_empty());
    assert_eq!((leat.dropped(DropReason::NoBuffer), passed(&leat)), (1, [question, (0, 0)]));
    leat.has_no_memory = false;

    leat.one(answer(100, true)).unwrap();
    assert_eq!(passed(&leat), [question, (1, 142)]);
    assert_eq!(leat.take(0, vec![answer(1472, false)], 1).len(), 2);
    assert_eq!(passed(&leat), [question, (2, 142 + 1514)]);
    let pieces = cut4(&answer(1600, false), 6, &[1448, 160]);
    let bytes: usize = pieces.iter().map(Vec::len).sum();
    assert_eq!(leat.take(0, pieces, 2).len(), 2);
    assert_eq!(passed(&leat), [question, (4, 142 + 1514 + bytes as u64)]);
}

#[test]
fn what_is_longer_than_the_port_takes_is_not_counted_for_its_backend() {
    for is_silent in [false, true] {
        let mut leat = Balancer::new(1, &service(1, "protocol = \"udp\""));
        leat.is_silent = is_silent;
        leat.one(from_client(100, true)).unwrap();
        assert_eq!(leat.one(from_client(1473, true)), None);
        assert_eq!((leat.dropped(DropReason::TooLong), passed(&leat)), (1, [(1, 142), (0, 0)]));
    }
}

#[test]
fn what_finds_no_place_to_wait_for_a_silent_backend_is_not_counted_for_it() {
    let toml = service(1, "protocol = \"udp\"").replace("mac = \"02:00:00:00:00:02\"\n", "");
    let mut leat = Balancer::new(1, &toml);
    for _ in 0..10 {
        assert_eq!(leat.one(from_client(100, true)), None);
    }
    assert_eq!((leat.dropped(DropReason::NeighborQueueFull), passed(&leat)[0]), (2, (8, 8 * 142)));
}
