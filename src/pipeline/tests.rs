//! The packet path as its users see it: frames in, frames out, on one worker or several, without a port.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

use super::*;
use crate::config;
use crate::conntrack::{PortShare, Settings as ConntrackSettings};
use crate::control::publish;
use crate::counters::per_worker;
use crate::io::memory::{Frame, Recorder};
use crate::service::Port;

const LEAT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
pub(super) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub(super) const VIP: [u8; 4] = [10, 0, 0, 10];
pub(super) const SYN: u8 = 0x02;
pub(super) const ACK: u8 = 0x10;
pub(super) const FIN: u8 = 0x01;
pub(super) const RST: u8 = 0x04;

/// A balancer of one or more workers in memory.
pub(super) struct Balancer {
    pub(super) snapshot: Snapshot,
    workers: Vec<Pipeline<Frame>>,
    counters: Arc<PerWorker<WorkerCounters>>,
    now: Instant,
    narration: Vec<u8>,
}

/// What a TCP, UDP or echo packet says, as far as these tests care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    pub(super) destination: MacAddr,
    pub(super) key: crate::flow::FlowKey,
}

impl Balancer {
    pub(super) fn new(workers: u16, toml: &str) -> Self {
        Self::with_connections(workers, 10_000, toml)
    }

    fn with_connections(workers: u16, connections: usize, toml: &str) -> Self {
        let config = config::file::load("test.toml", toml.as_bytes()).unwrap_or_else(|error| panic!("{error}")).config;
        let port = Port { id: PortId(0), name: "test".to_owned(), mac: LEAT, mtu: 1500 };
        let snapshot = publish(&config, vec![port], usize::from(workers)).unwrap();
        let counters = Arc::new(per_worker(usize::from(workers)));
        let hasher = FlowHasher::with_key((1, 2));
        let pipelines = (0..workers).map(|worker| {
            let share = PortShare::new(worker, workers).unwrap();
            let mut pipeline = Pipeline::new(Settings {
                id: WorkerId(worker),
                workers,
                hasher,
                conntrack: Conntrack::new(&ConntrackSettings { connections, hasher, timeouts: config.timeouts, share }),
                persistence: Persistence::new(1000, hasher),
                flow_memory: FlowMemory::new(1000),
                clients: Persistence::new(1000, hasher),
                client_idle: 6000,
                counters: Arc::clone(&counters),
            });
            pipeline.adopt(&snapshot, Instant::ZERO);
            pipeline
        });
        let workers = pipelines.collect();
        Self { workers, counters, snapshot, now: Instant::ZERO, narration: Vec::new() }
    }

    /// Takes `frames` in on `worker` as bursts of `size`, follows every hand-over, and returns what was sent.
    pub(super) fn take(&mut self, worker: usize, frames: Vec<Vec<u8>>, size: usize) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        for chunk in frames.chunks(size) {
            let mut queue = VecDeque::from([(worker, chunk.to_vec())]);
            while let Some((worker, frames)) = queue.pop_front() {
                let mut burst: Burst<Frame> = frames.into_iter().map(|bytes| Frame::new(bytes, PortId(0))).collect();
                let mut output = Recorder::default();
                let mut tracer = Narrator::new(&mut self.narration, worker as u32);
                let mut context =
                    Context { snapshot: &self.snapshot, now: self.now, output: &mut output, tracer: &mut tracer };
                self.workers[worker].process(&mut burst, &mut context);
                assert!(burst.is_empty());
                sent.extend(output.transmitted.into_iter().map(|(_, frame)| frame.into_bytes()));
                queue.extend(output.handed_over.into_iter().map(|(to, frame)| (to.index(), vec![frame.into_bytes()])));
            }
        }
        sent
    }

    /// One frame in, at most one out.
    pub(super) fn one(&mut self, frame: Vec<u8>) -> Option<Vec<u8>> {
        let mut sent = self.take(0, vec![frame], 1);
        assert!(sent.len() <= 1);
        sent.pop()
    }

    /// Lets time pass, with the upkeep that goes with it.
    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + Duration::from_millis(50);
            for worker in &mut self.workers {
                let mut output = Recorder::default();
                let mut context =
                    Context { snapshot: &self.snapshot, now: self.now, output: &mut output, tracer: &mut Silent };
                worker.upkeep(&mut context);
            }
        }
    }

    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.iter().map(|counters| counters.drops.value(reason)).sum()
    }

    pub(super) fn open(&self) -> Vec<u64> {
        self.snapshot.backends().iter().map(crate::service::Backend::open).collect()
    }

    /// Opens a connection from `client` and returns its way to the backend.
    pub(super) fn open_connection(&mut self, client: [u8; 4], port: u16) -> Option<Seen> {
        let syn = tcp(CLIENT_MAC, (client, port), (VIP, 80), SYN, 100, 0, b"");
        self.one(syn).map(|frame| seen(&frame))
    }
}

/// A service on VIP port 80 with backends 10.0.0.2 and up, `more` keys of the service, and static Ethernet addresses.
pub(super) fn service(backends: u8, more: &str) -> String {
    let mut toml = format!("[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 80\n{more}\n");
    for last in 2..2 + backends {
        toml += &format!(
            "[[service.backend]]\naddress = \"10.0.0.{last}\"\nport = 8080\nmac = \"02:00:00:00:00:{last:02x}\"\n"
        );
    }
    toml
}

pub(super) fn tcp(
    mac: [u8; 6],
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    flags: u8,
    seq: u32,
    ack: u32,
    data: &[u8],
) -> Vec<u8> {
    let mut builder = PacketBuilder::ethernet2(mac, LEAT.0).ipv4(from.0, to.0, 64).tcp(from.1, to.1, seq, 1000);
    if flags & SYN != 0 {
        builder = builder.syn();
    }
    if flags & ACK != 0 {
        builder = builder.ack(ack);
    }
    if flags & FIN != 0 {
        builder = builder.fin();
    }
    if flags & RST != 0 {
        builder = builder.rst();
    }
    let mut frame = Vec::new();
    builder.write(&mut frame, data).unwrap();
    frame
}

pub(super) fn seen(frame: &[u8]) -> Seen {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("not IPv4") };
    let (src_port, dst_port, protocol) = match packet.transport.as_ref().unwrap() {
        TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port(), crate::flow::Protocol::Tcp),
        TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port(), crate::flow::Protocol::Udp),
        other => panic!("{other:?}"),
    };
    let key = crate::flow::FlowKey {
        src: ip.header().source_addr(),
        dst: ip.header().destination_addr(),
        src_port,
        dst_port,
        protocol,
    };
    Seen { destination: MacAddr(frame[..6].try_into().unwrap()), key }
}

/// The backend's answer to a packet that it got.
pub(super) fn answer(got: Seen, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let key = got.key.reversed();
    let (from, to) = ((key.src.octets(), key.src_port), (key.dst.octets(), key.dst_port));
    tcp(got.destination.0, from, to, flags, seq, ack, b"")
}

#[test]
fn the_conversation_of_one_connection() {
    let mut leat = Balancer::new(1, &service(1, ""));
    let client = ([10, 0, 0, 1], 34952);
    let there = leat.open_connection(client.0, client.1).unwrap();
    assert_eq!(there.key.to_string(), "tcp 10.0.0.10:34952 > 10.0.0.2:8080");
    assert_eq!(there.destination, MacAddr([2, 0, 0, 0, 0, 2]));
    let back = seen(&leat.one(answer(there, SYN | ACK, 500, 101)).unwrap());
    assert_eq!(back.key.to_string(), "tcp 10.0.0.10:80 > 10.0.0.1:34952");
    assert_eq!(back.destination, MacAddr(CLIENT_MAC));
    let data = leat.one(tcp(CLIENT_MAC, client, (VIP, 80), ACK, 101, 501, b"hello")).unwrap();
    assert_eq!(seen(&data), there);
    assert!(data.ends_with(b"hello"));
}

#[test]
fn packets_of_one_burst_leave_as_if_they_had_come_one_by_one() {
    // Every connection's SYN, its retransmission, the backend's answer, data, an end and a new start, side by side, from
    // clients that share source ports, with garbage in between.
    let mut frames = Vec::new();
    for n in 0..40u8 {
        let client = ([10, 0, 1, n], 4000 + u16::from(n % 4));
        let there = Seen {
            destination: MacAddr([2, 0, 0, 0, 0, 2]),
            key: crate::flow::FlowKey {
                src: VIP.into(),
                dst: [10, 0, 0, 2].into(),
                src_port: client.1,
                dst_port: 8080,
                protocol: crate::flow::Protocol::Tcp,
            },
        };
        let syn = tcp(CLIENT_MAC, client, (VIP, 80), SYN, 100, 0, b"");
        frames.extend([
            syn.clone(),
            syn,
            answer(there, SYN | ACK, 500, 101),
            vec![0; usize::from(n)],
            tcp(CLIENT_MAC, client, (VIP, 80), ACK, 101, 501, b"data"),
            tcp(CLIENT_MAC, client, (VIP, 80), RST, 105, 0, b""),
            answer(there, ACK, 501, 105),
            tcp(CLIENT_MAC, client, (VIP, 80), SYN, 9_000, 0, b""),
        ]);
    }
    let mut outputs =
        [1, 3, 64].map(|size| Balancer::new(1, &service(1, "")).take(0, frames.clone(), size)).into_iter();
    let one_by_one = outputs.next().unwrap();
    assert!(one_by_one.len() > 200, "{} frames left", one_by_one.len());
    assert!(outputs.all(|output| output == one_by_one));
}

#[test]
fn clients_with_the_same_source_port_never_meet_at_the_backend_whatever_lcore_they_arrive_on() {
    let mut leat = Balancer::new(4, &service(1, ""));
    let mut tuples = HashMap::new();
    for n in 0..1000u16 {
        let client = [10, 1, (n >> 8) as u8, n as u8];
        let syn = tcp(CLIENT_MAC, (client, 5555), (VIP, 80), SYN, 100, 0, b"");
        let sent = leat.take(usize::from(n) % 4, vec![syn], 1);
        let there = seen(&sent[0]);
        assert_eq!(tuples.insert(there.key, client), None, "{} is used twice", there.key);
        // The answer finds its client whatever lcore it arrives on.
        let back = leat.take(usize::from(n / 4) % 4, vec![answer(there, SYN | ACK, 1, 101)], 1);
        assert_eq!(seen(&back[0]).key.dst, Ipv4Addr::from(client));
    }
    assert!(leat.counters.iter().all(|counters| counters.handed_over.value() > 0));
    assert_eq!(leat.dropped(DropReason::StrayReply), 0);
}

#[test]
fn rr_hands_out_backends_in_turn() {
    let mut leat = Balancer::new(1, &service(3, "scheduler = \"rr\""));
    let chosen: Vec<_> =
        (0..7).map(|n| leat.open_connection([10, 0, 1, n], 4000).unwrap().key.dst.octets()[3]).collect();
    assert_eq!(chosen, [2, 3, 4, 2, 3, 4, 2]);
}

#[test]
fn lc_returns_to_a_backend_whose_connections_were_closed() {
    let mut leat = Balancer::new(1, &service(2, "scheduler = \"lc\""));
    let mut of_first = Vec::new();
    for n in 0..200u16 {
        let there = leat.open_connection([10, 0, 1, n as u8], 4000 + n).unwrap();
        leat.one(answer(there, SYN | ACK, 500, 101)).unwrap();
        if there.key.dst.octets()[3] == 2 {
            of_first.push((n, there));
        }
    }
    assert_eq!(leat.open(), [100, 100]);
    for (n, there) in of_first {
        let client = ([10, 0, 1, n as u8], 4000 + n);
        leat.one(tcp(CLIENT_MAC, client, (VIP, 80), ACK | FIN, 101, 501, b"")).unwrap();
        leat.one(answer(there, ACK | FIN, 501, 102)).unwrap();
    }
    assert_eq!(leat.open(), [0, 100]);
    for n in 0..50 {
        assert_eq!(leat.open_connection([10, 0, 2, n], 4000).unwrap().key.dst.octets()[3], 2);
    }
    assert_eq!(leat.open(), [50, 100]);
}

#[test]
fn a_client_keeps_its_backend_for_as_long_as_it_persists_on_any_lcore() {
    let mut leat = Balancer::new(4, &service(8, "scheduler = \"rr\"\npersistence = \"10s\""));
    let backend_of = |leat: &mut Balancer, client: u8, port: u16| {
        let syn = tcp(CLIENT_MAC, ([10, 0, 1, client], port), (VIP, 80), SYN, 100, 0, b"");
        seen(&leat.take(usize::from(port) % 4, vec![syn], 1)[0]).key.dst
    };
    for client in 0..8 {
        let first = backend_of(&mut leat, client, 4000);
        for port in 4001..4009 {
            assert_eq!(backend_of(&mut leat, client, port), first);
        }
    }
    leat.wait(Duration::from_secs(9));
    let kept = backend_of(&mut leat, 0, 5000);
    leat.wait(Duration::from_secs(9));
    assert_eq!(backend_of(&mut leat, 0, 5001), kept, "the last packet counts, not the first");
    leat.wait(Duration::from_secs(11));
    let after: HashSet<_> = (0..8).map(|client| backend_of(&mut leat, client, 6000)).collect();
    assert!(after.len() > 1);
    assert!((0..8).any(|client| backend_of(&mut leat, client, 6001) != kept));
}

#[test]
fn the_reply_follows_a_client_that_moves_and_no_stranger_can_pull_it_away() {
    let mut leat = Balancer::new(1, &service(1, ""));
    let client = ([10, 0, 0, 1], 34952);
    let there = leat.open_connection(client.0, client.1).unwrap();
    leat.one(answer(there, SYN | ACK, 500, 101)).unwrap();
    let moved = [2, 0, 0, 0, 1, 2];
    let stranger = [2, 0, 0, 0, 9, 9];
    leat.one(tcp(stranger, client, (VIP, 80), ACK, 900_000, 501, b"out of the window")).unwrap();
    assert_eq!(seen(&leat.one(answer(there, ACK, 501, 101)).unwrap()).destination, MacAddr(CLIENT_MAC));
    leat.one(tcp(moved, client, (VIP, 80), ACK, 101, 501, b"in the window")).unwrap();
    assert_eq!(seen(&leat.one(answer(there, ACK, 501, 114)).unwrap()).destination, MacAddr(moved));
}

#[test]
fn a_strangers_reset_ends_nothing_and_the_clients_own_does() {
    let mut leat = Balancer::new(1, &service(1, ""));
    let client = ([10, 0, 0, 1], 34952);
    let there = leat.open_connection(client.0, client.1).unwrap();
    leat.one(answer(there, SYN | ACK, 500, 101)).unwrap();
    leat.one(tcp(CLIENT_MAC, client, (VIP, 80), ACK, 101, 501, b"")).unwrap();
    leat.one(tcp(CLIENT_MAC, client, (VIP, 80), RST, 900_000, 0, b""));
    assert_eq!(leat.open(), [1]);
    leat.wait(Duration::from_secs(60));
    assert!(leat.one(answer(there, ACK, 501, 101)).is_some(), "the connection lives");
    leat.one(tcp(CLIENT_MAC, client, (VIP, 80), RST, 101, 0, b"")).unwrap();
    assert_eq!(leat.open(), [0]);
    leat.wait(Duration::from_secs(12));
    assert_eq!(leat.one(answer(there, ACK, 501, 101)), None);
    assert_eq!(leat.dropped(DropReason::StrayReply), 1);
}

#[test]
fn a_full_table_refuses_new_connections_and_hurts_none_that_is_there() {
    let mut leat = Balancer::with_connections(1, 100, &service(1, "\n"));
    let there: Vec<_> = (0..100).map(|n| leat.open_connection([10, 0, 1, n], 4000).unwrap()).collect();
    assert_eq!(leat.open_connection([10, 0, 2, 1], 4000), None);
    assert_eq!(leat.dropped(DropReason::TableFull), 1);
    for there in there {
        assert!(leat.one(answer(there, SYN | ACK, 500, 101)).is_some());
    }
    leat.wait(Duration::from_secs(4 * 60 + 2));
    assert!(leat.open_connection([10, 0, 2, 1], 4000).is_some(), "expired connections make room");
}

#[test]
fn source_ports_end_at_64511_and_come_back_with_time() {
    let mut leat = Balancer::with_connections(2, 50_000, &service(1, "").replace("port = 80\n", "port = 8080\n"));
    let syn = |n: u32| {
        let client = [10, 1 + (n >> 16) as u8, (n >> 8) as u8, n as u8];
        tcp(CLIENT_MAC, (client, 5555), (VIP, 8080), SYN, 100, 0, b"")
    };
    let mut tuples = HashSet::new();
    // Clients land on either worker by their hash; more of them than ports fill both parts.
    for n in 0..70_000 {
        for frame in leat.take(0, vec![syn(n)], 1) {
            assert!(tuples.insert(seen(&frame).key.src_port));
        }
    }
    assert_eq!(tuples.len(), 64_511);
    assert!(!tuples.contains(&8080), "the service's own port is nobody's source");
    assert_eq!(leat.dropped(DropReason::PortsExhausted), 70_000 - 64_511);
    leat.wait(Duration::from_secs(4 * 60 + 2));
    assert_eq!(leat.take(0, vec![syn(80_000)], 1).len(), 1);
}

#[test]
fn the_narration_of_a_packet_tells_what_was_decided_and_why() {
    let mut leat = Balancer::new(1, &service(2, ""));
    let there = leat.open_connection([10, 0, 0, 1], 34952).unwrap();
    leat.one(answer(there, SYN | ACK, 500, 101)).unwrap();
    leat.one(tcp(CLIENT_MAC, ([10, 0, 0, 9], 1), (VIP, 80), ACK, 1, 1, b""));
    let text = String::from_utf8(leat.narration.clone()).unwrap();
    for expected in [
        "port 0, lcore 0: tcp 10.0.0.1:34952 > 10.0.0.10:80 [S] seq 100",
        "service web (tcp 10.0.0.10:80, fullnat, maglev)",
        "new connection: hash 0x",
        " of 65537 → backend 10.0.0.",
        "source towards the backend: 10.0.0.10:34952, the client's own port",
        "ip source: 10.0.0.1 → 10.0.0.10",
        "ip ttl: 64 → 63",
        "tcp destination port: 80 → 8080",
        "known connection, reply direction",
        "sent on port 0 to 02:00:00:00:01:01",
        "dropped: a client's TCP segment without SYN that belongs to no connection (no_connection)",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
    }
}
