//! The express way and the whole way, side by side: what one does, the other does.

use proptest::prelude::*;

use super::*;
use crate::pipeline::classify::{Class, Classes};
use crate::pipeline::express::Common;
use crate::wire::ip::Octets as _;

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A client's packet.
    Client { flow: u8, ttl: u8, moved: bool, content: Content },
    /// A backend's answer to the last packet of the flow that it got, if it got one.
    Backend { flow: u8, ttl: u8, content: Content },
    /// Time passes.
    Wait { millis: u64 },
}

/// What a TCP segment says. Numbers are relative to where its sender stands. A datagram has the data alone.
#[derive(Clone, Debug)]
struct Content {
    flags: u8,
    seq: i32,
    ack: i32,
    window: u16,
    data: u8,
}

fn contents() -> impl Strategy<Value = Content> {
    let flags = prop_oneof![
        8 => Just(ACK),
        3 => Just(SYN),
        2 => Just(SYN | ACK),
        1 => Just(FIN | ACK),
        1 => Just(RST),
        1 => Just(RST | ACK),
        1 => Just(ACK | 0x08),
        1 => Just(0x08),
    ];
    let near = || prop_oneof![6 => Just(0), 2 => -3..4_i32, 1 => -200_000..200_000_i32];
    (flags, near(), near(), prop_oneof![Just(0), Just(1000), any::<u16>()], 0..40_u8)
        .prop_map(|(flags, seq, ack, window, data)| Content { flags, seq, ack, window, data })
}

fn events() -> impl Strategy<Value = Event> {
    let ttl = || prop_oneof![10 => Just(64), 1 => Just(1), 1 => Just(2), 1 => Just(0)];
    prop_oneof![
        8 => (0..6_u8, ttl(), prop::bool::weighted(0.1), contents())
            .prop_map(|(flow, ttl, moved, content)| Event::Client { flow, ttl, moved, content }),
        6 => (0..6_u8, ttl(), contents()).prop_map(|(flow, ttl, content)| Event::Backend { flow, ttl, content }),
        1 => prop_oneof![Just(20), Just(150), Just(70_000), Just(500_000)].prop_map(|millis| Event::Wait { millis }),
    ]
}

/// Where both sides of one flow stand.
#[derive(Clone, Copy, Default)]
struct Standing {
    client: u32,
    backend: u32,
    /// What the backend got last.
    got: Option<Seen>,
}

fn frame(
    is_tcp: bool,
    mac: [u8; 6],
    (from, to): (([u8; 4], u16), ([u8; 4], u16)),
    ttl: u8,
    (seq, ack): (u32, u32),
    content: &Content,
) -> Vec<u8> {
    let payload = vec![b'x'; usize::from(content.data)];
    let ip = PacketBuilder::ethernet2(mac, LEAT.0).ipv4(from.0, to.0, ttl);
    let mut frame = Vec::new();
    if is_tcp {
        let mut tcp = ip.tcp(from.1, to.1, seq, content.window);
        for (flag, set) in [(FIN, 0), (SYN, 1), (RST, 2), (0x08, 3)] {
            tcp = match (content.flags & flag != 0, set) {
                (false, _) => tcp,
                (true, 0) => tcp.fin(),
                (true, 1) => tcp.syn(),
                (true, 2) => tcp.rst(),
                (true, _) => tcp.psh(),
            };
        }
        let tcp = if content.flags & ACK != 0 { tcp.ack(ack) } else { tcp };
        tcp.write(&mut frame, &payload).unwrap();
    } else {
        ip.udp(from.1, to.1).write(&mut frame, &payload).unwrap();
        // As a port delivers it.
        frame.resize(frame.len().max(60), 0);
    }
    frame
}

/// The two balancers, and what is known of the flows through both.
struct Pair {
    whole: Balancer,
    express: Balancer,
    is_tcp: bool,
    is_one_way: bool,
    flows: [Standing; 6],
}

impl Pair {
    fn new(is_tcp: bool, more: &str) -> Self {
        let own = "[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\n";
        let toml = format!("[timeouts]\ntcp_established = \"5m\"\n{own}{}", service(3, more));
        // In the one-way modes backends listen where the VIP does, and what leaves is of no use to make answers.
        let is_one_way = ["dr", "ipip", "gue"].iter().any(|mode| more.contains(&format!("\"{mode}\"")));
        let toml = if is_one_way { toml.replace("port = 8080", "port = 80") } else { toml };
        let toml = if is_tcp { toml } else { toml.replacen("port = 80\n", "port = 80\nprotocol = \"udp\"\n", 1) };
        let (whole, mut express) = (Balancer::new(1, &toml), Balancer::new(1, &toml));
        express.is_silent = true;
        Self { whole, express, is_tcp, is_one_way, flows: Default::default() }
    }

    fn frame_of(&mut self, event: &Event) -> Option<(u8, Vec<u8>)> {
        match event {
            Event::Wait { .. } => None,
            Event::Client { flow, ttl, moved, content } => {
                let standing = &mut self.flows[usize::from(*flow)];
                let numbers = (
                    standing.client.wrapping_add_signed(content.seq),
                    standing.backend.wrapping_add_signed(content.ack),
                );
                standing.client = standing.client.wrapping_add(content.data.into());
                let mac = if *moved { [2, 0, 0, 0, 1, 9] } else { CLIENT_MAC };
                let ways = (([10, 0, 1, *flow], 1000 + u16::from(*flow)), (VIP, 80));
                Some((*flow, frame(self.is_tcp, mac, ways, *ttl, numbers, content)))
            }
            Event::Backend { flow, ttl, content } => {
                let standing = &mut self.flows[usize::from(*flow)];
                let got = standing.got?;
                let numbers = (
                    standing.backend.wrapping_add_signed(content.seq),
                    standing.client.wrapping_add_signed(content.ack),
                );
                standing.backend = standing.backend.wrapping_add(content.data.into());
                let key = got.key.reversed();
                let ways = ((key.src.octets(), key.src_port), (key.dst.octets(), key.dst_port));
                Some((*flow, frame(self.is_tcp, got.destination.0, ways, *ttl, numbers, content)))
            }
        }
    }

    /// Lets `events` happen to both, some packets in one burst.
    fn play(&mut self, events: &[Event]) {
        for group in events.chunks(5) {
            let frames: Vec<_> = group.iter().filter_map(|event| self.frame_of(event)).collect();
            let bytes: Vec<_> = frames.iter().map(|(_, frame)| frame.clone()).collect();
            let sent = self.whole.take(0, bytes.clone(), 64);
            assert_eq!(self.express.take(0, bytes, 64), sent);
            // leat's own word about a packet that has come to the end of its hops is no packet of a flow.
            let is_of_a_flow = |frame: &&Vec<u8>| frame[23] != 1;
            for frame in sent.iter().filter(is_of_a_flow).filter(|_| !self.is_one_way) {
                let seen = seen(frame);
                if seen.key.dst.octets()[..3] == [10, 0, 0] && seen.destination.0[..5] == [2, 0, 0, 0, 0] {
                    // To a backend; whose it is shows in the only thing that all modes leave: the order of the flows.
                    let flow = frames.iter().find(|(_, before)| before[34..36] == frame[34..36] || sent.len() == 1);
                    if let Some((flow, _)) = flow {
                        self.flows[usize::from(*flow)].got = Some(seen);
                    }
                }
            }
            for event in group {
                if let Event::Wait { millis } = event {
                    self.whole.wait(Duration::from_millis(*millis));
                    self.express.wait(Duration::from_millis(*millis));
                }
            }
        }
    }

    /// All that was counted on each side.
    fn counts(balancer: &Balancer) -> (Vec<u64>, Vec<[u64; 7]>) {
        let drops = DropReason::ALL.iter().map(|reason| balancer.dropped(*reason)).collect();
        let backends = balancer.snapshot.backends().map(|(_, backend)| {
            let it = &backend.counters[0];
            [
                &it.original_packets,
                &it.original_bytes,
                &it.reply_packets,
                &it.reply_bytes,
                &it.opened,
                &it.open,
                &it.connections,
            ]
            .map(|counter| counter.value())
        });
        (drops, backends.collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_express_way_does_what_the_whole_way_does(
        is_tcp: bool,
        mode in prop_oneof![3 => Just("fullnat"), 1 => Just("nat"), 1 => Just("dr"), 1 => Just("ipip"), 1 => Just("gue")],
        more in prop_oneof![
            3 => Just(""),
            1 => Just("persistence = \"100s\""),
            1 => Just("mss_clamp = 1000"),
            1 => Just("scheduler = \"rr\""),
        ],
        events in prop::collection::vec(events(), 1..120),
    ) {
        let mut more = format!("mode = \"{mode}\"\n{more}");
        if !is_tcp {
            more = more.replace("mss_clamp = 1000", "");
        }
        let mut pair = Pair::new(is_tcp, &more);
        pair.play(&events);
        prop_assert_eq!(Pair::counts(&pair.whole), Pair::counts(&pair.express));
    }
}

/// Whether the first worker passes `frame` on by the express way. It is not changed by the question.
fn is_expressed(balancer: &mut Balancer, frame: Vec<u8>) -> bool {
    let mut classes = Classes::<1>::default();
    let packet = Frame::new(frame, PortId(0));
    classes.classify(&packet, LEAT);
    let Class::Flow(headers) = classes.each()[0] else { panic!("{classes:?}") };
    let worker = &mut balancer.workers[0];
    let hash = worker.hasher.hash_packed(&headers.packed);
    let candidate = worker.conntrack.find_candidate(hash);
    let mut output = Recorder::default();
    let context =
        &mut Context { snapshot: &balancer.snapshot, now: balancer.now, output: &mut output, tracer: &mut Silent };
    let rest = headers.is_plain.then(|| {
        let (flow, tick) = (Flow { headers: &headers, hash }, balancer.now.tick());
        worker.express_either(packet, flow, candidate, &mut Common::new(tick), context)
    });
    matches!(rest, Some(None))
}

#[test]
fn segments_of_an_established_connection_take_the_express_way_and_its_syn_does_not() {
    let mut balancer = Balancer::new(1, &service(1, ""));
    let client = |flags, seq, ack| tcp(CLIENT_MAC, ([10, 0, 1, 1], 1000), (VIP, 80), flags, seq, ack, b"");
    assert!(!is_expressed(&mut balancer, client(SYN, 100, 0)));
    let got = balancer.open_connection([10, 0, 1, 1], 1000).unwrap();
    assert!(!is_expressed(&mut balancer, client(ACK, 101, 501)), "the handshake is not done");
    balancer.one(answer(got, SYN | ACK, 500, 101)).unwrap();
    balancer.one(client(ACK, 101, 501)).unwrap();
    assert!(is_expressed(&mut balancer, client(ACK, 101, 501)));
    assert!(is_expressed(&mut balancer, answer(got, ACK, 501, 101)));
    assert!(!is_expressed(&mut balancer, client(FIN | ACK, 101, 501)));
    assert!(!is_expressed(&mut balancer, client(RST, 101, 0)));
    assert!(!is_expressed(&mut balancer, client(ACK, 900_000, 501)), "out of the window");
}

#[test]
fn a_segment_in_the_window_keeps_its_client_at_its_backend_whichever_way_it_takes() {
    for is_silent in [false, true] {
        for (seq, is_kept) in [(101, true), (900_000, false)] {
            let keys = "scheduler = \"rr\"\npersistence = \"100s\"";
            let mut leat = Balancer::new(1, &format!("[timeouts]\ntcp_established = \"5m\"\n{}", service(3, keys)));
            leat.is_silent = is_silent;
            let client = [10, 0, 1, 1];
            let got = leat.open_connection(client, 1000).unwrap();
            leat.one(answer(got, SYN | ACK, 500, 101)).unwrap();
            let say = |seq| tcp(CLIENT_MAC, (client, 1000), (VIP, 80), ACK, seq, 501, b"");
            leat.one(say(101)).unwrap();
            for _ in 0..3 {
                leat.wait(Duration::from_secs(60));
                if is_kept && is_silent {
                    assert!(is_expressed(&mut leat, say(seq)));
                } else {
                    leat.one(say(seq)).unwrap();
                }
            }
            leat.wait(Duration::from_secs(60));
            let after = leat.open_connection(client, 1001).unwrap();
            assert_eq!(after.key.dst == got.key.dst, is_kept, "silent: {is_silent}, sequence number {seq}");
        }
    }
}
