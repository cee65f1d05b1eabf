use std::sync::Arc;

use super::*;
use crate::counters::per_worker;
use crate::flow::FlowKey;
use crate::forward::{cross, translate};
use crate::generate::flows::Flows;
use crate::generate::frame::tests::{BOTH, Ip, KEY, destination, frame};
use crate::generate::measure::Figures;
use crate::generate::order::Order;
use crate::generate::plan::{Clients, NextHop, Protocol};
use crate::generate::sizes::{self, Sizes};
use crate::io::memory::Frame as InMemory;
use crate::wire::tcp::Flags;
use crate::wire::{arp, ip};
use proptest::prelude::*;

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const BALANCER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
const PACKETS: Traffic = Traffic::Packets { syns: 0, open_rate: None };

/// An address and a port.
type End = (IpAddr, u16);

/// Plays clients of one version and a backend of one.
struct Bench {
    receiver: Receiver,
    counters: PerWorker<Counters>,
    flows: Flows,
    protocol: Protocol,
    clients: Ip,
    backend: Ip,
}

/// The versions of clients and backend, and the protocol.
const KINDS: [(Ip, Ip, Protocol); 8] = [
    (Ip::V4, Ip::V4, Protocol::Tcp),
    (Ip::V4, Ip::V4, Protocol::Udp),
    (Ip::V6, Ip::V6, Protocol::Tcp),
    (Ip::V6, Ip::V6, Protocol::Udp),
    (Ip::V6, Ip::V4, Protocol::Tcp),
    (Ip::V6, Ip::V4, Protocol::Udp),
    (Ip::V4, Ip::V6, Protocol::Tcp),
    (Ip::V4, Ip::V6, Protocol::Udp),
];

impl Bench {
    fn new((clients, backend, protocol): (Ip, Ip, Protocol), traffic: Traffic, answer: Answer) -> Self {
        let to = destination(clients, protocol);
        let (flows, range) = (clients.flows(100), sizes::range(clients == Ip::V6, false));
        let plan = Plan {
            clients: Some(Clients {
                vip: to.address,
                port: to.port,
                protocol,
                flows,
                order: Order::Sequential,
                seed: 1,
                sizes: Sizes::new(&[(100, 1)], &range).unwrap(),
                traffic,
                rate: None,
                count: None,
                next_hop: NextHop::Mac(to.mac),
                wait: std::time::Duration::ZERO,
            }),
            backends: vec![backend.backend()],
            answer,
            mac: None,
            duration: None,
            burst: 32,
        };
        let neighbors = Neighbors { clients: Some(flows), backends: plan.backends.clone(), next_hop: Some(to.address) };
        let counters = per_worker(1);
        let receiver = Receiver::new(&plan, neighbors, KEY, Arc::clone(&counters), 0);
        Self { receiver, counters, flows, protocol, clients, backend }
    }

    fn packets(kind: (Ip, Ip, Protocol)) -> Self {
        Self::new(kind, PACKETS, Answer::Back)
    }

    /// Flow 9's packet as a client sends it.
    fn sent(&self, flags: Flags) -> Vec<u8> {
        frame(self.clients, self.protocol, self.clients.shortest(), 9, flags)
    }

    fn client(&self, number: u32) -> End {
        let client = self.flows.client(number);
        (self.flows.address(client), client.port)
    }

    fn service(&self) -> End {
        (self.clients.vip(), 8080)
    }

    fn receive(&mut self, frame: &mut [u8]) -> Fate {
        self.receiver.receive(frame, OWN, SentAt(200))
    }

    fn figures(&self) -> Figures {
        Figures::read(&self.counters)
    }
}

/// What a fullnat balancer does: other addresses and ports, perhaps of the other version, and the frame is sent on to `OWN`.
fn forward(protocol: Protocol, frame: &mut Vec<u8>, source: End, destination: End) {
    let to = FlowKey {
        src: source.0,
        dst: destination.0,
        src_port: source.1,
        dst_port: destination.1,
        protocol: protocol.into(),
    };
    let upper = ip::Upper::of(&frame[ethernet::HEADER_LEN..]).unwrap();
    let transport = ethernet::HEADER_LEN + upper.at;
    if ethernet::Header::new(frame).unwrap().ether_type() == EtherType::of(to.dst) {
        translate(frame, transport, &to.pack());
    } else {
        let mut packet = InMemory::new(std::mem::take(frame), crate::id::PortId(0));
        assert!(cross(&mut packet, transport, &to.pack(), 7).is_ok());
        *frame = packet.into_bytes();
    }
    ethernet::HeaderMut::new(frame).unwrap().set_addresses(OWN, BALANCER);
}

/// The whole way of flow 9's packet through a fullnat balancer, whose second half may go wrong.
fn round_trip(bench: &mut Bench, frame: &mut Vec<u8>, to: End) -> Fate {
    let (protocol, backend, vip) = (bench.protocol, bench.backend, bench.service());
    forward(protocol, frame, (backend.stranger(), 5000), (backend.backend(), 80));
    assert_eq!(bench.receive(frame), Fate::Transmit { len: frame.len(), is_sent: false });
    assert_eq!(frame[..6], BALANCER.0, "it goes back to where it came from");
    forward(protocol, frame, vip, to);
    bench.receive(frame)
}

#[test]
fn a_packet_through_a_balancer_is_right_and_timed() {
    for kind in KINDS {
        let mut bench = Bench::packets(kind);
        let (mut frame, to) = (bench.sent(Flags::PSH.or(Flags::ACK)), bench.client(9));
        assert_eq!(round_trip(&mut bench, &mut frame, to), Fate::Discard);
        let right_bytes = bench.clients.shortest().into();
        assert_eq!(bench.figures(), Figures { right: 1, right_bytes, reflected: 1, ..Figures::default() }, "{kind:?}");
        // From 100 to 200, in units of 16 ns.
        assert_eq!(bench.receiver.into_latency().summary().unwrap().max, 1600);
    }
}

#[test]
fn a_balancer_that_gives_an_answer_to_another_client_is_found_out() {
    for kind in KINDS {
        let mut bench = Bench::packets(kind);
        let (mut frame, to) = (bench.sent(Flags::PSH.or(Flags::ACK)), bench.client(10));
        round_trip(&mut bench, &mut frame, to);
        assert_eq!(bench.figures(), Figures { misdirected: 1, reflected: 1, ..Figures::default() }, "{kind:?}");
    }
}

#[test]
fn a_balancer_that_damages_a_packet_is_found_out() {
    for kind in KINDS {
        let mut bench = Bench::packets(kind);
        let (mut frame, to) = (bench.sent(Flags::PSH.or(Flags::ACK)), bench.client(9));
        *frame.last_mut().unwrap() ^= 1;
        round_trip(&mut bench, &mut frame, to);
        assert_eq!(bench.figures(), Figures { corrupt: 1, reflected: 1, ..Figures::default() }, "{kind:?}");
    }
}

#[test]
fn a_packet_that_comes_twice_counts_once() {
    for kind in KINDS.into_iter().filter(|kind| kind.2 == Protocol::Udp) {
        let mut bench = Bench::packets(kind);
        let (mut frame, to) = (bench.sent(Flags(0)), bench.client(9));
        round_trip(&mut bench, &mut frame, to);
        assert_eq!(bench.receive(&mut frame), Fate::Discard);
        let figures = bench.figures();
        assert_eq!((figures.right, figures.duplicated, figures.returned()), (1, 1, 1), "{kind:?}");
    }
}

#[test]
fn a_connection_is_taken_from_step_to_step_and_counted_at_its_end() {
    for kind in KINDS.into_iter().filter(|kind| kind.2 == Protocol::Tcp) {
        let mut bench = Bench::new(kind, Traffic::Connections, Answer::Back);
        let (mut frame, to) = (bench.sent(Flags::SYN), bench.client(9));
        for _ in 0..2 {
            let fate = round_trip(&mut bench, &mut frame, to);
            assert_eq!(fate, Fate::Transmit { len: frame.len(), is_sent: true }, "{kind:?}");
        }
        let Fate::Transmit { len, is_sent: false } = round_trip(&mut bench, &mut frame, to) else { panic!("{kind:?}") };
        assert_eq!(len, (kind.0.transport() + 20).max(60), "{kind:?}");
        frame.truncate(len);
        let figures = bench.figures();
        assert_eq!((figures.right, figures.reflected, figures.completed, figures.duplicated), (3, 3, 1, 0));
        forward(Protocol::Tcp, &mut frame, (kind.1.stranger(), 5000), (kind.1.backend(), 80));
        assert_eq!(bench.receive(&mut frame), Fate::Discard, "the backend has nothing to say to the last ACK");
        assert_eq!(bench.figures().reflected, 3);
        assert_eq!(bench.receiver.into_latency().summary().unwrap().max, 1600);
    }
}

#[test]
fn what_reaches_a_backend_that_answers_directly_has_come_back() {
    for (outside, inside) in BOTH.into_iter().flat_map(|outside| BOTH.map(|inside| (outside, inside))) {
        for has_tunnel in [false, true] {
            let mut bench = Bench::new((inside, outside, Protocol::Udp), PACKETS, Answer::Direct);
            let mut frame = bench.sent(Flags(0));
            if has_tunnel {
                let fields = ip::Fields {
                    traffic_class: 0,
                    payload_len: frame.len() as u16 - 14,
                    protocol: if inside == Ip::V4 { 4 } else { 41 },
                    hops: 64,
                    source: outside.stranger(),
                    destination: outside.backend(),
                };
                let mut header = vec![0; fields.header_len()];
                fields.write(&mut header);
                frame.splice(14..14, header);
                ethernet::HeaderMut::new(&mut frame).unwrap().set_ether_type(EtherType::of(outside.backend()));
            }
            ethernet::HeaderMut::new(&mut frame).unwrap().set_addresses(OWN, BALANCER);
            assert_eq!(bench.receive(&mut frame), Fate::Discard);
            assert_eq!(bench.figures().right, 1, "{inside:?} in {outside:?}: {has_tunnel}");
        }
    }
}

#[test]
fn a_tunnel_that_no_backend_would_take_is_corrupt() {
    let mut bench = Bench::new((Ip::V6, Ip::V4, Protocol::Udp), PACKETS, Answer::Direct);
    let mut frame = bench.sent(Flags(0));
    let (source, destination) = (Ip::V4.stranger(), Ip::V4.backend());
    let payload_len = frame.len() as u16 - 14;
    let mut header = [0; 20];
    ip::Fields { traffic_class: 0, payload_len, protocol: 41, hops: 64, source, destination }.write(&mut header);
    header[8] -= 1;
    frame.splice(14..14, header);
    ethernet::HeaderMut::new(&mut frame).unwrap().set_ether_type(EtherType::IPV4);
    ethernet::HeaderMut::new(&mut frame).unwrap().set_addresses(OWN, BALANCER);
    bench.receive(&mut frame);
    assert_eq!(bench.figures(), Figures { corrupt: 1, ..Figures::default() });
}

#[test]
fn a_packet_of_the_version_that_no_client_has_is_a_strangers() {
    for (ip, other) in [(Ip::V4, Ip::V6), (Ip::V6, Ip::V4)] {
        for answer in [Answer::Back, Answer::Direct] {
            let mut bench = Bench::new((ip, ip, Protocol::Udp), PACKETS, answer);
            let mut frame = Bench::packets((other, other, Protocol::Udp)).sent(Flags(0));
            ethernet::HeaderMut::new(&mut frame).unwrap().set_addresses(OWN, BALANCER);
            assert_eq!(bench.receive(&mut frame), Fate::Discard);
            assert_eq!(bench.figures(), Figures { other: 1, ..Figures::default() }, "{ip:?}");
        }
    }
}

#[test]
fn a_backend_alone_returns_whatever_is_sent_to_it() {
    for ip in BOTH {
        let backends = vec![ip.backend()];
        let plan = Plan { clients: None, backends, answer: Answer::Back, mac: None, duration: None, burst: 32 };
        let neighbors = Neighbors { clients: None, backends: plan.backends.clone(), next_hop: None };
        let counters = per_worker(1);
        let mut receiver = Receiver::new(&plan, neighbors, KEY, Arc::clone(&counters), 0);
        let mut frame = Bench::packets((ip, ip, Protocol::Udp)).sent(Flags(0));
        assert_eq!(receiver.receive(&mut frame.clone(), OWN, SentAt(0)), Fate::Discard, "for another station");
        ethernet::HeaderMut::new(&mut frame).unwrap().set_addresses(OWN, BALANCER);
        let expected = Fate::Transmit { len: frame.len(), is_sent: false };
        assert_eq!(receiver.receive(&mut frame, OWN, SentAt(0)), expected);
        assert_eq!(Figures::read(&counters), Figures { reflected: 1, other: 1, ..Figures::default() });
    }
}

#[test]
fn neighbours_questions_and_strangers_frames_are_told_apart() {
    for ip in BOTH {
        let mut bench = Bench::packets((ip, ip, Protocol::Udp));
        let listener_report = [[0x33, 0x33, 0, 0, 0, 0x16].as_slice(), &[2; 6], &[0x86, 0xdd, 0x60], &[0; 59]].concat();
        for mut frame in
            [vec![], vec![0; 13], [[0xff; 12].as_slice(), &[0x86, 0xdd], &[0; 46]].concat(), listener_report]
        {
            assert_eq!(bench.receive(&mut frame), Fate::Discard);
        }
        assert_eq!(bench.figures(), Figures { other: 4, ..Figures::default() });
        // The balancer asks for the backend, and has itself been asked for.
        let balancer = Neighbors { clients: None, backends: vec![ip.vip()], next_hop: None };
        let asking = Neighbors { next_hop: Some(ip.backend()), ..bench.receiver.neighbors.clone() };
        let question = bench.receiver.neighbors.question(OWN).unwrap();
        let Heard::Question(mut answer) = balancer.hear(&question, BALANCER) else { panic!("{ip:?}") };
        assert_eq!(bench.receive(&mut answer), Fate::NextHop(BALANCER));
        let mut question = asking.question(BALANCER).unwrap();
        assert_eq!(bench.receive(&mut question), Fate::Answer);
        assert_eq!(asking.hear(bench.receiver.answer(), BALANCER), Heard::NextHop(OWN));
        assert_eq!(bench.figures().other, 4, "{ip:?}");
    }
    let arp = Neighbors::announcement(Ip::V4.backend(), OWN);
    assert_eq!(arp.len(), arp::FRAME_LEN);
}

#[test]
fn a_clock_that_lags_on_another_cpu_makes_no_time_of_a_minute() {
    assert_eq!(time(SentAt(100), SentAt(200)), 1600);
    assert_eq!(time(SentAt(200), SentAt(190)), 0);
    assert_eq!(time(SentAt(u32::MAX), SentAt(0)), 16);
    assert_eq!(time(SentAt(5), SentAt(5)), 0);
}

proptest! {
    /// Frames that are almost right, and frames that are nothing at all.
    #[test]
    fn no_frame_makes_it_panic(
        kind in prop::sample::select(&KINDS[..]), connections in any::<bool>(), direct in any::<bool>(), len in 80..200u16,
        flags in any::<u8>(), to_backend in any::<bool>(),
        changes in prop::collection::vec((0..200usize, any::<u8>()), 0..4), cut in 0..220usize,
    ) {
        let traffic = if connections { Traffic::Connections } else { PACKETS };
        let mut bench = Bench::new(kind, traffic, if direct { Answer::Direct } else { Answer::Back });
        let (own, vip, protocol) = (bench.client(9), bench.service(), kind.2);
        let mut frame = frame(kind.0, protocol, len, 9, Flags(flags));
        if to_backend {
            forward(protocol, &mut frame, (kind.1.stranger(), 5000), (kind.1.backend(), 80));
        } else {
            forward(protocol, &mut frame, vip, own);
        }
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        frame.truncate(cut);
        let len = frame.len();
        if let Fate::Transmit { len: sent, .. } = bench.receive(&mut frame) {
            prop_assert!(sent <= len.max(60));
        }
    }
}
