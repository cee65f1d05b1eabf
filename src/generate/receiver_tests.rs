use super::*;
use crate::counters::per_worker;
use crate::flow::FlowKey;
use crate::forward::translate;
use crate::generate::flows::{Client, Flows};
use crate::generate::frame::tests::{KEY, destination, frame};
use crate::generate::measure::Figures;
use crate::generate::order::Order;
use crate::generate::plan::{Clients, NextHop, Protocol};
use crate::generate::sizes::Sizes;
use crate::wire::tcp::Flags;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const BALANCER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// Plays clients and the backend 10.0.0.2.
struct Bench {
    receiver: Receiver,
    counters: Arc<PerWorker<Counters>>,
    flows: Flows,
    protocol: Protocol,
}

impl Bench {
    fn new(protocol: Protocol, traffic: Traffic, answer: Answer) -> Self {
        let to = destination(protocol);
        let flows = Flows::new("198.18.0.0/24".parse().unwrap(), 1024, 2047, 100).unwrap();
        let clients = Clients {
            vip: to.address,
            port: to.port,
            protocol,
            flows,
            order: Order::Sequential,
            seed: 1,
            sizes: Sizes::new(&[(64, 1)]).unwrap(),
            traffic,
            rate: None,
            count: None,
            next_hop: NextHop::Mac(to.mac),
            wait: std::time::Duration::ZERO,
        };
        let plan =
            Plan { clients: Some(clients), backends: vec![BACKEND], answer, mac: None, duration: None, burst: 32 };
        let neighbors = Neighbors { clients: Some(flows), backends: vec![BACKEND], next_hop: Some(to.address) };
        let counters = Arc::new(per_worker(1));
        let receiver = Receiver::new(&plan, neighbors, KEY, Arc::clone(&counters), 0);
        Self { receiver, counters, flows, protocol }
    }

    fn packets(protocol: Protocol) -> Self {
        Self::new(protocol, Traffic::Packets { syns: 0, open_rate: None }, Answer::Back)
    }

    /// Flow 9's packet as a client sends it.
    fn sent(&self, flags: Flags) -> Vec<u8> {
        frame(self.protocol, 60, self.flows.client(9), 9, flags)
    }

    fn receive(&mut self, frame: &mut [u8]) -> Fate {
        self.receiver.receive(frame, OWN, SentAt(200))
    }

    fn figures(&self) -> Figures {
        Figures::read(&self.counters)
    }
}

/// What a fullnat balancer does: other addresses and ports, and the frame is sent on to `OWN`.
fn forward(protocol: Protocol, frame: &mut [u8], source: Client, destination: Client) {
    ethernet::HeaderMut::new(frame).unwrap().set_addresses(OWN, BALANCER);
    let to = FlowKey {
        src: source.address.into(),
        dst: destination.address.into(),
        src_port: source.port,
        dst_port: destination.port,
        protocol: protocol.into(),
    };
    translate(frame, ethernet::HEADER_LEN + ipv4::HEADER_LEN, &to.pack());
}

fn client(address: [u8; 4], port: u16) -> Client {
    Client { address: address.into(), port }
}

/// The whole way of flow 9's packet through a fullnat balancer, whose second half may go wrong.
fn round_trip(bench: &mut Bench, frame: &mut [u8], to: Client) -> Fate {
    let (vip, own) = (client([10, 0, 0, 10], 8080), client([10, 0, 0, 10], 5000));
    let protocol = bench.protocol;
    forward(protocol, frame, own, Client { address: BACKEND, port: 80 });
    assert_eq!(bench.receive(frame), Fate::Transmit { len: 60, is_sent: false });
    assert_eq!(frame[..6], BALANCER.0, "it goes back to where it came from");
    forward(protocol, frame, vip, to);
    bench.receive(frame)
}

#[test]
fn a_packet_through_a_balancer_is_right_and_timed() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut bench = Bench::packets(protocol);
        let (mut frame, to) = (bench.sent(Flags::PSH.or(Flags::ACK)), bench.flows.client(9));
        assert_eq!(round_trip(&mut bench, &mut frame, to), Fate::Discard);
        assert_eq!(bench.figures(), Figures { right: 1, right_bytes: 60, reflected: 1, ..Figures::default() });
        // From 100 to 200, in units of 16 ns.
        assert_eq!(bench.receiver.into_latency().summary().unwrap().max, 1600);
    }
}

#[test]
fn a_balancer_that_gives_an_answer_to_another_client_is_found_out() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut bench = Bench::packets(protocol);
        let (mut frame, to) = (bench.sent(Flags::PSH.or(Flags::ACK)), bench.flows.client(10));
        round_trip(&mut bench, &mut frame, to);
        assert_eq!(bench.figures(), Figures { misdirected: 1, reflected: 1, ..Figures::default() });
    }
}

#[test]
fn a_balancer_that_damages_a_packet_is_found_out() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut bench = Bench::packets(protocol);
        let (mut frame, to) = (bench.sent(Flags::PSH.or(Flags::ACK)), bench.flows.client(9));
        frame[59] ^= 1;
        round_trip(&mut bench, &mut frame, to);
        assert_eq!(bench.figures(), Figures { corrupt: 1, reflected: 1, ..Figures::default() });
    }
}

#[test]
fn a_packet_that_comes_twice_counts_once() {
    let mut bench = Bench::packets(Protocol::Udp);
    let (mut frame, to) = (bench.sent(Flags(0)), bench.flows.client(9));
    round_trip(&mut bench, &mut frame, to);
    assert_eq!(bench.receive(&mut frame), Fate::Discard);
    let figures = bench.figures();
    assert_eq!((figures.right, figures.duplicated, figures.returned()), (1, 1, 1));
}

#[test]
fn a_connection_is_taken_from_step_to_step_and_counted_at_its_end() {
    let mut bench = Bench::new(Protocol::Tcp, Traffic::Connections, Answer::Back);
    let (mut frame, to) = (bench.sent(Flags::SYN), bench.flows.client(9));
    for _ in 0..2 {
        assert_eq!(round_trip(&mut bench, &mut frame, to), Fate::Transmit { len: 60, is_sent: true });
    }
    assert_eq!(round_trip(&mut bench, &mut frame, to), Fate::Transmit { len: 60, is_sent: false });
    let figures = bench.figures();
    assert_eq!((figures.right, figures.reflected, figures.completed, figures.duplicated), (3, 3, 1, 0));
    forward(Protocol::Tcp, &mut frame, client([10, 0, 0, 10], 5000), Client { address: BACKEND, port: 80 });
    assert_eq!(bench.receive(&mut frame), Fate::Discard, "the backend has nothing to say to the last ACK");
    assert_eq!(bench.receiver.into_latency().summary().unwrap().max, 1600);
}

#[test]
fn what_reaches_a_backend_that_answers_directly_has_come_back() {
    let traffic = Traffic::Packets { syns: 0, open_rate: None };
    for (tunnel, expected) in [(false, 1), (true, 1)] {
        let mut bench = Bench::new(Protocol::Udp, traffic, Answer::Direct);
        let mut frame = bench.sent(Flags(0));
        ethernet::HeaderMut::new(&mut frame).unwrap().set_addresses(OWN, BALANCER);
        if tunnel {
            let outer = ipv4::Fields {
                type_of_service: 0,
                total_len: frame.len() as u16 - 14 + 20,
                identification: 0,
                dont_fragment: true,
                ttl: 64,
                protocol: 4,
                source: [10, 0, 0, 254].into(),
                destination: BACKEND,
            };
            let mut header = [0; 20];
            outer.write(&mut header);
            frame.splice(14..14, header);
        }
        assert_eq!(bench.receive(&mut frame), Fate::Discard);
        assert_eq!(bench.figures().right, expected);
    }
}

#[test]
fn a_backend_alone_returns_whatever_is_sent_to_it() {
    let plan =
        Plan { clients: None, backends: vec![BACKEND], answer: Answer::Back, mac: None, duration: None, burst: 32 };
    let neighbors = Neighbors { clients: None, backends: vec![BACKEND], next_hop: None };
    let counters = Arc::new(per_worker(1));
    let mut receiver = Receiver::new(&plan, neighbors, KEY, Arc::clone(&counters), 0);
    let mut frame = Bench::packets(Protocol::Udp).sent(Flags(0));
    assert_eq!(receiver.receive(&mut frame.clone(), OWN, SentAt(0)), Fate::Discard, "for another station");
    ethernet::HeaderMut::new(&mut frame).unwrap().set_addresses(OWN, BALANCER);
    assert_eq!(receiver.receive(&mut frame, OWN, SentAt(0)), Fate::Transmit { len: 60, is_sent: false });
    assert_eq!(Figures::read(&counters), Figures { reflected: 1, other: 1, ..Figures::default() });
}

#[test]
fn arp_and_strangers_frames_are_told_apart() {
    let mut bench = Bench::packets(Protocol::Udp);
    for mut frame in [vec![], vec![0; 13], [[0xff; 12].as_slice(), &[0x86, 0xdd], &[0; 46]].concat()] {
        assert_eq!(bench.receive(&mut frame), Fate::Discard);
    }
    assert_eq!(bench.figures(), Figures { other: 3, ..Figures::default() });
    let question = bench.receiver.neighbors.question(BALANCER).unwrap();
    let message = arp::Message::parse(&question[14..]).unwrap();
    let mut answer = [0; arp::FRAME_LEN];
    message.answered_by(BALANCER).write(&mut answer, OWN);
    assert_eq!(bench.receive(&mut answer), Fate::NextHop(BALANCER));
    let mut question = question;
    arp::Message { target: BACKEND, ..message }.write(&mut question, MacAddr::BROADCAST);
    assert_eq!(bench.receive(&mut question), Fate::Transmit { len: 42, is_sent: false });
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
        tcp in any::<bool>(), connections in any::<bool>(), direct in any::<bool>(), len in 60..200u16, flags in any::<u8>(),
        to_backend in any::<bool>(), changes in prop::collection::vec((0..200usize, any::<u8>()), 0..4), cut in 0..220usize,
    ) {
        let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
        let traffic =
            if connections { Traffic::Connections } else { Traffic::Packets { syns: 0, open_rate: None } };
        let mut bench = Bench::new(protocol, traffic, if direct { Answer::Direct } else { Answer::Back });
        let own = bench.flows.client(9);
        let mut frame = frame(protocol, len, own, 9, Flags(flags));
        let (vip, elsewhere) = (client([10, 0, 0, 10], 8080), Client { address: BACKEND, port: 80 });
        let (source, destination) = if to_backend { (vip, elsewhere) } else { (vip, own) };
        forward(protocol, &mut frame, source, destination);
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
