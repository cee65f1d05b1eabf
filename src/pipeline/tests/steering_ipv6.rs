//! The same in IPv6 and between the versions, whose packets the card hashes over other bits.

use super::ipv6::{tcp6, udp6};
use super::steering::{Card, SplitMix, tables};
use super::*;
use crate::flow::{FlowKey, Protocol, known};
use crate::pipeline::headline::flow_of;
use crate::wire::ip::Octets as _;

/// By VIP: which local addresses the backends of a service see. Within IPv6, for one port and for all; and across, both ways.
const SERVICES: [(&str, &str, &[&str]); 4] = [
    ("2001:db8::10", "port = 80", &["2001:db8::2", "2001:db8::3", "2001:db8::4"]),
    ("2001:db8::20", "protocol = \"any\"\nlocal_addresses = [\"2001:db8::11\"]", &["2001:db8::2", "2001:db8::3"]),
    ("2001:db8::30", "port = 80\nlocal_addresses = [\"10.0.0.11\", \"10.0.0.12\"]", &["10.0.0.2", "10.0.0.3"]),
    ("10.0.0.10", "port = 80\nlocal_addresses = [\"2001:db8::12\"]", &["2001:db8::2", "2001:db8::3"]),
];

fn services() -> String {
    let service = |(vip, keys, backends): (&str, &str, &[&str])| {
        let backends = backends.iter().enumerate().map(|(number, address)| {
            format!("[[service.backend]]\naddress = \"{address}\"\nmac = \"02:00:00:00:00:{:02x}\"\n", number + 2)
        });
        format!("[[service]]\nvip = \"{vip}\"\n{keys}\n{}", backends.collect::<String>())
    };
    SERVICES.map(service).concat()
}

/// A client's first packet of another flow each, of any service.
fn flows(count: usize) -> Vec<FlowKey> {
    let mut random = SplitMix(6);
    let flow = |_| {
        let (vip, keys, _) = SERVICES[random.below(4) as usize];
        let dst: IpAddr = vip.parse().unwrap();
        let whole = keys.contains("any");
        let low = random.below(1 << 32);
        let src = match dst {
            IpAddr::V4(_) => IpAddr::from((0x0b00_0000 | low as u32 & 0xff_ffff).to_be_bytes()),
            IpAddr::V6(_) => IpAddr::from((0x2001_0db8_0001_u128 << 80 | u128::from(low)).to_be_bytes()),
        };
        FlowKey {
            src,
            dst,
            src_port: if random.below(2) == 0 { 5555 } else { 1 + random.below(65_535) as u16 },
            dst_port: if whole { 1 + random.below(65_535) as u16 } else { 80 },
            protocol: if whole && random.below(2) == 0 { Protocol::Udp } else { Protocol::Tcp },
        }
    };
    (0..count).map(flow).collect::<HashSet<_>>().into_iter().collect()
}

fn packet(key: &FlowKey, flags: u8, numbers: (u32, u32)) -> Vec<u8> {
    let [src, dst] = [key.src, key.dst].map(|address| address.to_string());
    let (from, to) = ((&src[..], key.src_port), (&dst[..], key.dst_port));
    match (key.src.is_ipv6(), key.protocol) {
        (true, Protocol::Udp) => udp6(from, to, b"hello"),
        (true, _) => tcp6(from, to, flags, numbers, b""),
        (false, _) => {
            let (from, to) = ((key.src.octets(), key.src_port), (key.dst.octets(), key.dst_port));
            tcp(CLIENT_MAC, from, to, flags, numbers.0, numbers.1, b"")
        }
    }
}

/// Opens, answers and carries on each of `flows` behind `card`, and ends some. How many packets were handed over, and how many workers
/// have connections.
fn serve(card: &Card, steering: &Steering, flows: &[FlowKey]) -> (u64, usize) {
    let mut leat = Balancer::steered(steering, 4 * flows.len(), &services());
    let mut open = HashSet::new();
    for (number, key) in flows.iter().enumerate() {
        let mut arrive = |frame: Vec<u8>| {
            let sent = leat.take(card.queue(&frame), vec![frame], 1);
            assert_eq!(sent.len(), 1, "{key}: {}", String::from_utf8_lossy(&leat.narration));
            leat.narration.clear();
            flow_of(&sent[0]).unwrap()
        };
        let there = arrive(packet(key, SYN, (100, 0)));
        assert!(open.insert(there), "two connections are {there}");
        assert_eq!(arrive(packet(&there.reversed(), SYN | ACK, (500, 101))), key.reversed());
        assert_eq!(arrive(packet(key, ACK, (101, 501))), there);
        if key.protocol == Protocol::Tcp && number % 3 == 0 {
            assert_eq!(arrive(packet(key, RST, (101, 0))), there);
            open.remove(&there);
        }
    }
    let handed_over = leat.counters.iter().map(|counters| counters.handed_over.value()).sum();
    (handed_over, leat.workers.iter().filter(|worker| !worker.conntrack.is_empty()).count())
}

#[test]
fn nothing_of_ipv6_is_handed_over_behind_a_card_that_tells_its_key_and_table() {
    let flows = flows(400);
    for key in [known::MICROSOFT, known::SYMMETRIC, crate::steering::random_key().unwrap()] {
        for (workers, table) in tables() {
            let card = Card { key, table };
            let (handed_over, sharing) = serve(&card, &card.steering(workers), &flows);
            assert_eq!(handed_over, 0, "{workers} workers, {} entries", card.table.len());
            assert!(sharing > 1);
        }
    }
}

#[test]
fn a_card_that_does_not_hash_ipv6_as_it_says_costs_hand_overs_and_no_connection() {
    let flows = flows(400);
    for (workers, table) in tables().into_iter().take(3) {
        let card = Card { key: known::MICROSOFT, table };
        let short = crate::steering::Rss::new(&card.key[..16], &card.table, workers).unwrap();
        let without = crate::steering::Rss::new(&card.key, &card.table, workers).unwrap().without_v6();
        for steering in [Steering::Rss(Arc::new(short)), Steering::Rss(Arc::new(without)), Steering::Modulo { workers }]
        {
            assert!(serve(&card, &steering, &flows).0 > 0);
        }
    }
}
