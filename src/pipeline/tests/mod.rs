//! The packet path as its users see it: frames in, frames out, on one worker or several, without a port.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

mod adjusted;
mod clients;
mod crossing;
mod errors;
mod express;
mod fragments;
mod fullnat;
mod ipv6;
mod ipv6_fragments;
mod limits;
mod liveness;
mod modes;
mod ndp;
mod one_packet;
mod passed;
mod reload;
mod steering;
mod steering_ipv6;
mod syn_proxy;

use super::*;
use crate::config;
use crate::conntrack::Settings as ConntrackSettings;
use crate::control::Publisher;
use crate::counters::per_worker;
use crate::io::memory::{Frame, Recorder};
use crate::service::{Parts, Port};
use crate::steering::{PortShare, Steering};
use crate::wire::ip::Octets as _;

const LEAT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
const VIP: [u8; 4] = [10, 0, 0, 10];
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;

/// A balancer of one or more workers in memory.
struct Balancer {
    publisher: Publisher,
    snapshot: Snapshot,
    workers: Vec<Pipeline<Frame>>,
    counters: PerWorker<WorkerCounters>,
    now: Instant,
    narration: Vec<u8>,
    /// Whether it tells nobody what it does: then most packets take the express way.
    is_silent: bool,
    /// Whether there is no memory for what it would say itself, and no room in front of what comes.
    has_no_memory: bool,
}

/// What a TCP, UDP or echo packet says, as far as these tests care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Seen {
    destination: MacAddr,
    key: crate::flow::FlowKey,
}

impl Balancer {
    fn new(workers: u16, toml: &str) -> Self {
        Self::with_connections(workers, 10_000, toml)
    }

    fn with_connections(workers: u16, connections: usize, toml: &str) -> Self {
        Self::steered(&Steering::Modulo { workers }, connections, toml)
    }

    fn steered(steering: &Steering, connections: usize, toml: &str) -> Self {
        let workers = steering.workers();
        let config = config::file::load("test.toml", toml.as_bytes()).unwrap_or_else(|error| panic!("{error}")).config;
        let port = Port { id: PortId(0), name: "test".to_owned(), mac: LEAT, mtu: 1500, vlan: None };
        let mut publisher = Publisher::new(vec![port], usize::from(workers));
        let snapshot = publisher.publish(&config, &Snapshot::from(Parts::default()), Instant::ZERO).unwrap();
        let counters = per_worker(usize::from(workers));
        let hasher = FlowHasher::with_key((1, 2));
        let pipelines = (0..workers).map(|worker| {
            let share = PortShare::new(steering, WorkerId(worker)).unwrap();
            let mut pipeline = Pipeline::new(Settings {
                id: WorkerId(worker),
                steering: steering.clone(),
                hasher,
                conntrack: Conntrack::new(&ConntrackSettings {
                    connections,
                    ipv6: config.has_ipv6(),
                    hasher,
                    timeouts: config.timeouts,
                    share,
                }),
                persistence: Persistence::new(1000, hasher),
                flow_memory: FlowMemory::new(1000),
                clients: Persistence::new(1000, hasher),
                loads: ClientLoads::new(1000, hasher),
                cookies: Cookies::with_key((3, 4)),
                counters: Arc::clone(&counters),
                courier: Arc::default(),
            });
            pipeline.adopt(&snapshot);
            pipeline
        });
        let workers = pipelines.collect();
        Self {
            publisher,
            workers,
            counters,
            snapshot,
            now: Instant::ZERO,
            narration: Vec::new(),
            is_silent: false,
            has_no_memory: false,
        }
    }

    /// Takes `frames` in on `worker` as bursts of `size`, follows every hand-over, and returns what was sent.
    fn take(&mut self, worker: usize, frames: Vec<Vec<u8>>, size: usize) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        for chunk in frames.chunks(size) {
            let mut queue = VecDeque::from([(worker, chunk.to_vec(), false)]);
            while let Some((worker, frames, is_handed_over)) = queue.pop_front() {
                let frame = if self.has_no_memory { Frame::tight } else { Frame::new };
                let mut burst: Burst<Frame> = frames.into_iter().map(|bytes| frame(bytes, PortId(0))).collect();
                let mut output = Recorder { is_full: self.has_no_memory, ..Recorder::default() };
                let (snapshot, now) = (&self.snapshot, self.now);
                if self.is_silent {
                    let mut context = Context { snapshot, now, output: &mut output, tracer: &mut Silent };
                    match is_handed_over {
                        true => self.workers[worker].take_over(&mut burst, &mut context),
                        false => self.workers[worker].process(&mut burst, &mut context),
                    }
                } else {
                    let mut tracer = Narrator::new(&mut self.narration, worker as u32);
                    let mut context = Context { snapshot, now, output: &mut output, tracer: &mut tracer };
                    match is_handed_over {
                        true => self.workers[worker].take_over(&mut burst, &mut context),
                        false => self.workers[worker].process(&mut burst, &mut context),
                    }
                }
                assert!(burst.is_empty());
                sent.extend(output.transmitted.into_iter().map(|(_, frame)| frame.into_bytes()));
                queue.extend(
                    output.handed_over.into_iter().map(|(to, frame)| (to.index(), vec![frame.into_bytes()], true)),
                );
            }
        }
        sent
    }

    /// One frame in, at most one out.
    fn one(&mut self, frame: Vec<u8>) -> Option<Vec<u8>> {
        let mut sent = self.take(0, vec![frame], 1);
        assert!(sent.len() <= 1);
        sent.pop()
    }

    /// Lets time pass, with the upkeep that goes with it.
    fn wait(&mut self, time: Duration) {
        self.wait_and_see(time);
    }

    /// The same, and returns the IPv4 packets that were sent meanwhile.
    fn wait_and_see(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + Duration::from_millis(50);
            for worker in &mut self.workers {
                let mut output = Recorder { is_full: self.has_no_memory, ..Recorder::default() };
                let mut context =
                    Context { snapshot: &self.snapshot, now: self.now, output: &mut output, tracer: &mut Silent };
                worker.upkeep(&mut context);
                sent.extend(output.transmitted.into_iter().map(|(_, frame)| frame.into_bytes()));
            }
        }
        sent.retain(|frame| frame[12..14] == [8, 0]);
        sent
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.iter().map(|counters| counters.drops.value(reason)).sum()
    }

    fn open(&self) -> Vec<u64> {
        self.snapshot.backends().map(|(_, backend)| backend.open()).collect()
    }

    /// Opens a connection from `client` and returns its way to the backend.
    fn open_connection(&mut self, client: [u8; 4], port: u16) -> Option<Seen> {
        let syn = tcp(CLIENT_MAC, (client, port), (VIP, 80), SYN, 100, 0, b"");
        self.one(syn).map(|frame| seen(&frame))
    }
}

/// A service on VIP port 80 with backends 10.0.0.2 and up, `more` keys of the service, and static Ethernet addresses.
fn service(backends: u8, more: &str) -> String {
    let mut toml = format!("[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 80\n{more}\n");
    for last in 2..2 + backends {
        toml += &format!(
            "[[service.backend]]\naddress = \"10.0.0.{last}\"\nport = 8080\nmac = \"02:00:00:00:00:{last:02x}\"\n"
        );
    }
    toml
}

fn tcp(mac: [u8; 6], from: ([u8; 4], u16), to: ([u8; 4], u16), flags: u8, seq: u32, ack: u32, data: &[u8]) -> Vec<u8> {
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

fn seen(frame: &[u8]) -> Seen {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("not IPv4") };
    let (src_port, dst_port, protocol) = match packet.transport.as_ref().unwrap() {
        TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port(), crate::flow::Protocol::Tcp),
        TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port(), crate::flow::Protocol::Udp),
        other => panic!("{other:?}"),
    };
    let key = crate::flow::FlowKey {
        src: ip.header().source_addr().into(),
        dst: ip.header().destination_addr().into(),
        src_port,
        dst_port,
        protocol,
    };
    Seen { destination: MacAddr(frame[..6].try_into().unwrap()), key }
}

/// The backend's answer to a packet that it got.
fn answer(got: Seen, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let key = got.key.reversed();
    let (from, to) = ((key.src.octets(), key.src_port), (key.dst.octets(), key.dst_port));
    tcp(got.destination.0, from, to, flags, seq, ack, b"")
}
