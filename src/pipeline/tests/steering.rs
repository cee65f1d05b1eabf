//! Several workers behind a card with receive-side scaling of its own: what is handed over, and that it makes no difference.

use super::*;
use crate::flow::{FlowKey, Protocol, known};
use crate::steering::Rss;
use crate::wire::ip::Octets as _;

/// A card that hashes addresses of both versions of IP, and ports of TCP and UDP. It shares no code with leat: the hash is the loop of the
/// NDIS specification over the bytes of the frame.
pub(super) struct Card {
    pub(super) key: [u8; 40],
    pub(super) table: Vec<u16>,
}

impl Card {
    /// The queue that `frame` goes to.
    pub(super) fn queue(&self, frame: &[u8]) -> usize {
        // Where the addresses are, and how long both; the ports follow them.
        let (protocol, at, len) = match frame[14] >> 4 {
            4 => (frame[14 + 9], 14 + 12, 8),
            _ => (frame[14 + 6], 14 + 8, 32),
        };
        let ports = if matches!(protocol, 6 | 17) { 4 } else { 0 };
        let input = &frame[at..at + len + ports];
        let key_bit = |at: usize| u32::from(self.key[at / 8] >> (7 - at % 8) & 1);
        let mut leftmost = (0..32).fold(0, |bits, at| bits << 1 | key_bit(at));
        let mut result = 0_u32;
        for at in 0..8 * input.len() {
            if input[at / 8] >> (7 - at % 8) & 1 == 1 {
                result ^= leftmost;
            }
            leftmost = leftmost << 1 | key_bit(at + 32);
        }
        self.table[result as usize % self.table.len()].into()
    }

    /// What leat makes of what such a card tells.
    pub(super) fn steering(&self, workers: u16) -> Steering {
        Steering::Rss(Arc::new(Rss::new(&self.key, &self.table, workers).unwrap()))
    }
}

/// Numbers that look random (Steele, Lea and Flood, 2014), the same at each run.
pub(super) struct SplitMix(pub(super) u64);

impl SplitMix {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % end
    }
}

/// One entry after the other.
fn even(entries: usize, workers: u16) -> Vec<u16> {
    (0..workers).cycle().take(entries).collect()
}

/// The most of it for worker 0, and one entry each for all others but the last, in no order.
fn uneven(entries: usize, workers: u16) -> Vec<u16> {
    let mut random = SplitMix(entries as u64);
    let mut table: Vec<u16> = (0..entries).map(|_| if random.below(3) == 0 { workers - 1 } else { 0 }).collect();
    for worker in 1..workers {
        table[entries / 2 + usize::from(worker)] = worker;
    }
    table
}

const ANY_VIP: [u8; 4] = [10, 0, 0, 20];
const DIRECT_VIP: [u8; 4] = [10, 0, 0, 30];

/// A TCP and a UDP service, one for all ports of its VIP, all in `fullnat`, and one in `dr`.
fn services() -> String {
    let any = "protocol = \"any\"\nlocal_addresses = [\"10.0.0.11\"]";
    [
        service(3, ""),
        service(3, "protocol = \"udp\"").replace("web", "udp"),
        service(3, any)
            .replace("web", "any")
            .replace(".10\"", ".20\"")
            .replace("port = 80\n", "")
            .replace("port = 8080\n", ""),
        service(3, "mode = \"dr\"").replace("web", "direct").replace(".10\"", ".30\"").replace("port = 8080\n", ""),
    ]
    .concat()
}

/// Packets that clients send to begin with, each of another flow. Many have one source port.
fn flows(count: usize) -> Vec<FlowKey> {
    let mut random = SplitMix(4);
    let mut all = HashSet::new();
    let mut flows = Vec::new();
    while flows.len() < count {
        let protocol = if random.below(2) == 0 { Protocol::Tcp } else { Protocol::Udp };
        let (vip, port) = match random.below(6) {
            0..3 => (VIP, 80),
            3 | 4 => (ANY_VIP, 1 + random.below(65_535) as u16),
            _ if protocol == Protocol::Tcp => (DIRECT_VIP, 80),
            _ => continue,
        };
        let key = FlowKey {
            src: (0x0b00_0000 + random.below(1 << 24) as u32).to_be_bytes().into(),
            dst: vip.into(),
            src_port: if random.below(2) == 0 { 5555 } else { 1 + random.below(65_535) as u16 },
            dst_port: port,
            protocol,
        };
        if all.insert(key) {
            flows.push(key);
        }
    }
    flows
}

/// A packet with `key`: of TCP with `flags`, or a datagram.
fn packet(mac: [u8; 6], key: FlowKey, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let (from, to) = ((key.src.octets(), key.src_port), (key.dst.octets(), key.dst_port));
    if key.protocol == Protocol::Tcp {
        return tcp(mac, from, to, flags, seq, ack, b"");
    }
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(mac, LEAT.0).ipv4(from.0, to.0, 64).udp(from.1, to.1);
    builder.write(&mut frame, b"hello").unwrap();
    frame
}

/// What clients and backends saw.
#[derive(Debug)]
struct Outcome {
    /// By flow: the backend that it was sent to, and its port.
    chosen: Vec<(MacAddr, IpAddr, u16)>,
    /// Packets that workers gave to each other.
    handed_over: u64,
    /// Source ports that were the client's own.
    kept: usize,
    /// Workers that have connections.
    sharing: usize,
}

/// Has all `flows` served behind `card`: each is opened, answered, carried on, and some are ended, so that their source
/// ports are given out again.
fn serve(card: &Card, steering: &Steering, flows: &[FlowKey]) -> Outcome {
    let mut leat = Balancer::steered(steering, 4 * flows.len(), &services());
    let mut outcome = Outcome { chosen: Vec::new(), handed_over: 0, kept: 0, sharing: 0 };
    let mut open = HashSet::new();
    for (n, &key) in flows.iter().enumerate() {
        let arrive = |leat: &mut Balancer, frame: Vec<u8>| {
            let mut sent = leat.take(card.queue(&frame), vec![frame], 1);
            assert_eq!(sent.len(), 1, "{key}: {}", String::from_utf8_lossy(&leat.narration));
            leat.narration.clear();
            seen(&sent.remove(0))
        };
        let there = arrive(&mut leat, packet(CLIENT_MAC, key, SYN, 100, 0));
        outcome.chosen.push((there.destination, there.key.dst, there.key.dst_port));
        if key.dst == IpAddr::from(DIRECT_VIP) {
            let after = arrive(&mut leat, packet(CLIENT_MAC, key, ACK, 101, 501));
            assert_eq!((after, after.key), (there, key));
            continue;
        }
        assert!(open.insert(there.key), "two connections are {}", there.key);
        outcome.kept += usize::from(there.key.src_port == key.src_port);
        let back = arrive(&mut leat, packet(there.destination.0, there.key.reversed(), SYN | ACK, 500, 101));
        assert_eq!((back.destination, back.key), (MacAddr(CLIENT_MAC), key.reversed()));
        assert_eq!(arrive(&mut leat, packet(CLIENT_MAC, key, ACK, 101, 501)), there);
        if key.protocol == Protocol::Tcp && n % 3 == 0 {
            assert_eq!(arrive(&mut leat, packet(CLIENT_MAC, key, RST, 101, 0)), there);
            open.remove(&there.key);
        }
    }
    outcome.handed_over = leat.counters.iter().map(|counters| counters.handed_over.value()).sum();
    outcome.sharing = leat.workers.iter().filter(|worker| !worker.conntrack.is_empty()).count();
    outcome
}

/// Workers, and redirection tables for them.
pub(super) fn tables() -> [(u16, Vec<u16>); 6] {
    [(2, even(128, 2)), (3, even(128, 3)), (4, even(512, 4)), (7, even(64, 7)), (3, uneven(64, 3)), (7, uneven(512, 7))]
}

#[test]
fn nothing_is_handed_over_behind_a_card_that_tells_its_key_and_table() {
    let flows = flows(700);
    for key in [known::MICROSOFT, known::SYMMETRIC] {
        for (workers, table) in tables() {
            let card = Card { key, table };
            let aligned = serve(&card, &card.steering(workers), &flows);
            assert_eq!(aligned.handed_over, 0, "{workers} workers, {} entries", card.table.len());
            assert!(aligned.kept > 0 && aligned.sharing > 1, "{aligned:?}");
        }
    }
}

#[test]
fn who_is_served_by_whom_does_not_depend_on_how_packets_find_their_lcore() {
    let flows = flows(700);
    let (card, liar) = [known::MICROSOFT, known::SYMMETRIC].map(|key| Card { key, table: uneven(128, 4) }).into();
    let aligned = serve(&card, &card.steering(4), &flows);
    assert_eq!(aligned.handed_over, 0);
    let modulo = serve(&card, &Steering::Modulo { workers: 4 }, &flows);
    // A card that tells another key than the one that it hashes with.
    let misled = serve(&liar, &card.steering(4), &flows);
    for other in [modulo, misled] {
        assert_eq!(other.chosen, aligned.chosen);
        assert!(other.handed_over > flows.len() as u64, "{} are handed over", other.handed_over);
    }
}

#[test]
fn the_answers_of_a_service_with_persistence_are_not_handed_over() {
    let card = Card { key: known::MICROSOFT, table: even(128, 3) };
    let mut leat = Balancer::steered(&card.steering(3), 1000, &service(8, "scheduler = \"rr\"\npersistence = \"10s\""));
    let handed_over = |leat: &Balancer| leat.counters.iter().map(|counters| counters.handed_over.value()).sum::<u64>();
    for client in 0..20 {
        let mut backends = HashSet::new();
        for port in 4000..4010 {
            let syn = tcp(CLIENT_MAC, ([10, 0, 1, client], port), (VIP, 80), SYN, 100, 0, b"");
            let there = seen(&leat.take(card.queue(&syn), vec![syn], 1)[0]);
            backends.insert(there.key.dst);
            let before = handed_over(&leat);
            let back = answer(there, SYN | ACK, 500, 101);
            assert_eq!(leat.take(card.queue(&back), vec![back], 1).len(), 1);
            assert_eq!(handed_over(&leat), before);
        }
        assert_eq!(backends.len(), 1);
    }
    assert!(handed_over(&leat) > 0, "a client's packets go to the worker that remembers the client");
}

/// Echo messages have no ports for the card to hash, so they are handed over.
#[test]
fn a_ping_through_an_any_service_is_answered_whatever_the_card_makes_of_it() {
    let card = Card { key: known::MICROSOFT, table: even(128, 3) };
    let mut leat = Balancer::steered(&card.steering(3), 1000, &services());
    for id in 0..200 {
        let mut request = Vec::new();
        let builder = PacketBuilder::ethernet2(CLIENT_MAC, LEAT.0).ipv4([10, 0, 1, 1], ANY_VIP, 64);
        builder.icmpv4_echo_request(id, 1).write(&mut request, b"hello").unwrap();
        let there = leat.take(card.queue(&request), vec![request], 1).remove(0);
        let (mac, id_there) = (&there[..6], [there[38], there[39]]);
        let mut reply = Vec::new();
        let builder = PacketBuilder::ethernet2(mac.try_into().unwrap(), LEAT.0);
        let builder = builder.ipv4(there[30..34].try_into().unwrap(), there[26..30].try_into().unwrap(), 64);
        builder.icmpv4_echo_reply(u16::from_be_bytes(id_there), 1).write(&mut reply, b"hello").unwrap();
        let back = leat.take(card.queue(&reply), vec![reply], 1).remove(0);
        assert_eq!((&back[26..30], &back[30..34]), (&ANY_VIP[..], &[10, 0, 1, 1][..]));
        assert_eq!([back[38], back[39]], id.to_be_bytes());
    }
}
