//! What the fuzz targets share: a balancer of one worker or several in memory that is fed steps, and keeps account of every
//! packet.

mod judge;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use etherparse::{IpFragOffset, Ipv4Header, NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};
use leat::config;
use leat::conntrack::{ClientLoads, Conntrack, FlowMemory, Persistence, Settings as ConntrackSettings};
use leat::control::Publisher;
use leat::counters::{PerWorker, WorkerCounters, per_worker};
use leat::flow::FlowHasher;
use leat::id::{PortId, WorkerId};
use leat::io::memory::Frame;
use leat::io::{Burst, Output};
use leat::pipeline::{Context, Pipeline, Settings, Silent};
use leat::service::{Parts, Port, Snapshot};
use leat::steering::{PortShare, Steering};
use leat::syncookie::Cookies;
use leat::time::Instant;
use leat::wire::MacAddr;

use judge::check;
pub use judge::header_checksum_is_right;

const LEAT: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
/// Few, so that a table becomes full.
const CONNECTIONS: usize = 48;
/// More than any timeout, in steps that let the sweep go round.
const LONG: Duration = Duration::from_secs(8000);

/// One thing that happens.
#[derive(Arbitrary, Clone, Debug)]
pub enum Step {
    /// Any bytes as a frame, to leat's Ethernet address or not.
    Bytes(Vec<u8>, bool),
    /// A packet of a client's.
    Client(Shape),
    /// A packet of a backend's: the answer to the last packet that one got, or to nobody.
    Backend(Shape),
    /// An ICMP error about the packet that was sent last.
    Error { kind: u8, code: u8, quoted: u8, from: u8 },
    /// The packet in pieces, one of them left out or sent twice.
    Pieces { shape: Shape, size: u8, without: u8, twice: u8, is_reversed: bool },
    /// Time passes.
    Wait { millis: u16, many: bool },
    /// Another configuration.
    Reload(u8),
}

/// What a packet looks like.
#[derive(Arbitrary, Clone, Debug)]
pub struct Shape {
    client: u8,
    port: u8,
    protocol: u8,
    flags: u8,
    sequence: i16,
    acknowledgment: i16,
    ttl: u8,
    payload: u8,
    /// Whether its numbers are what the packet that it answers lets one expect.
    is_apt: bool,
    /// Which options a TCP segment has, by bits.
    options: u8,
    /// A byte is changed afterwards: where, and by what.
    damage: Option<(u8, u8)>,
    worker: u8,
}

/// The configurations, of which a run takes some.
fn configuration(number: u8) -> String {
    let mode = ["fullnat", "nat", "dr", "ipip", "gue"][usize::from(number % 5)];
    let protocol = ["tcp", "udp"][usize::from(number / 5 % 2)];
    let more = [
        "",
        "persistence = \"60s\"",
        "scheduler = \"rr\"",
        "no_connection = \"reset\"",
        "flow_memory = \"60s\"",
        "mss_clamp = 1000",
        "syn_proxy = \"always\"",
        "syn_proxy = \"always\"\nclient_address = \"proxy_v1\"\nsequence_numbers = \"own\"",
        "syn_proxy = \"auto\"\nclient_address = \"toa\"",
        "sequence_numbers = \"own\"",
        "client_address = \"proxy_v2\"",
        "max_connections = 20\nmax_rate = 10",
        "client_max_connections = 2\nclient_max_rate = 3",
    ][usize::from(number / 10 % 13)];
    let is_tcp = protocol == "tcp";
    let more: String = more
        .lines()
        .filter(|line| match line.split(' ').next() {
            Some("client_address" | "sequence_numbers") => is_tcp && mode == "fullnat",
            Some("syn_proxy") => is_tcp && matches!(mode, "fullnat" | "nat"),
            Some("mss_clamp" | "no_connection") => is_tcp,
            _ => true,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let more = if !is_tcp && number % 3 == 0 && mode != "nat" { more + "one_packet = true\n" } else { more };
    // A small one is made quickly.
    let table = "maglev_table_size = 251\n";
    let table = if more.contains("scheduler") { "" } else { table };
    let clients = if number >= 200 { "[clients]\ndeny = [\"10.0.1.0/28\"]\nallow = [\"10.0.1.4/32\"]\n" } else { "" };
    let port = if matches!(mode, "fullnat" | "nat") { 8080 } else { 80 };
    let backends: String = (2..5)
        .map(|last| {
            format!(
                "[[service.backend]]\naddress = \"10.0.0.{last}\"\nport = {port}\nmac = \"02:00:00:00:00:{last:02x}\"\n"
            )
        })
        .collect();
    format!(
        "{clients}[[interface]]\nport = 0\naddresses = [\"10.0.0.254/16\", \"2001:db8::fe/32\"]\n\
         [[service]]\nname = \"one\"\nvip = \"10.0.0.10\"\nport = 80\nmode = \"{mode}\"\nprotocol = \"{protocol}\"\n{table}{more}\n{backends}\
         [[service]]\nname = \"all\"\nvip = \"10.0.0.11\"\nprotocol = \"any\"\nlocal_addresses = [\"10.0.0.12\"]\nmaglev_table_size = 251\n\
         [[service.backend]]\naddress = \"10.0.0.9\"\n{}",
        configuration_v6(mode, protocol, port, &format!("{table}{more}"))
    )
}

/// The same services in IPv6, and one from each version to the other.
fn configuration_v6(mode: &str, protocol: &str, port: u16, more: &str) -> String {
    let backends: String = (2..5)
        .map(|last| {
            format!(
                "[[service.backend]]\naddress = \"2001:db8::{last}\"\nport = {port}\nmac = \"02:00:00:00:06:{last:02x}\"\n"
            )
        })
        .collect();
    let crossing = |vip: &str, local: &str, backend: &str| {
        let more = if mode == "fullnat" { more } else { "maglev_table_size = 251\n" };
        format!(
            "[[service]]\nvip = \"{vip}\"\nport = 80\nprotocol = \"{protocol}\"\nlocal_addresses = [\"{local}\"]\n{more}\n\
             [[service.backend]]\naddress = \"{backend}\"\nmac = \"02:00:00:00:07:01\"\n"
        )
    };
    format!(
        "[[service]]\nvip = \"2001:db8::10\"\nport = 80\nmode = \"{mode}\"\nprotocol = \"{protocol}\"\n{more}\n{backends}\
         [[service]]\nvip = \"2001:db8::11\"\nprotocol = \"any\"\nlocal_addresses = [\"2001:db8::12\", \"10.0.0.15\"]\n\
         maglev_table_size = 251\n[[service.backend]]\naddress = \"2001:db8::9\"\n[[service.backend]]\naddress = \"10.0.0.9\"\n{}{}",
        crossing("2001:db8::14", "10.0.0.16", "10.0.0.8"),
        crossing("10.0.0.14", "2001:db8::16", "2001:db8::8"),
    )
}

/// Where packets go; all are counted.
#[derive(Default)]
struct Tally {
    sent: Vec<Vec<u8>>,
    passed: Vec<(usize, Vec<u8>)>,
    gone: usize,
    created: usize,
}

impl Output<Frame> for Tally {
    fn transmit(&mut self, packet: Frame, _port: PortId) {
        self.sent.push(packet.into_bytes());
    }

    fn hand_over(&mut self, packet: Frame, to: WorkerId) -> Result<(), Frame> {
        self.passed.push((to.index(), packet.into_bytes()));
        Ok(())
    }

    fn discard(&mut self, _packet: Frame) {
        self.gone += 1;
    }

    fn create(&mut self, frame: &[u8]) -> Option<Frame> {
        self.created += 1;
        Some(Frame::new(frame.to_vec(), PortId(0)))
    }
}

/// A balancer in memory.
pub struct Balancer {
    publisher: Publisher,
    snapshot: Snapshot,
    workers: Vec<Pipeline<Frame>>,
    counters: PerWorker<WorkerCounters>,
    now: Instant,
    given: usize,
    accounted: usize,
    /// Whether all that came in so far had right checksums.
    is_sound: bool,
    last: Option<Vec<u8>>,
}

impl Balancer {
    /// With `workers` workers and configuration number `number`.
    pub fn new(workers: u16, number: u8) -> Self {
        let config =
            config::file::load("fuzz", configuration(number).as_bytes()).unwrap_or_else(|it| panic!("{it}")).config;
        let port = Port { id: PortId(0), name: "memory".to_owned(), mac: MacAddr(LEAT), mtu: 1500, vlan: None };
        let mut publisher = Publisher::new(vec![port], usize::from(workers));
        let snapshot = publisher.publish(&config, &Snapshot::from(Parts::default()), Instant::ZERO).expect("it fits");
        let steering = Steering::Modulo { workers };
        // The same in each run, or nothing could be repeated.
        let hasher = FlowHasher::with_key((1, 2));
        let counters = per_worker(usize::from(workers));
        let pipelines = (0..workers).map(|worker| {
            let share = PortShare::new(&steering, WorkerId(worker)).expect("few workers");
            let mut pipeline = Pipeline::new(Settings {
                id: WorkerId(worker),
                steering: steering.clone(),
                hasher,
                conntrack: Conntrack::new(&ConntrackSettings {
                    connections: CONNECTIONS,
                    ipv6: config.has_ipv6(),
                    hasher,
                    timeouts: config.timeouts,
                    share,
                }),
                persistence: Persistence::new(16, hasher),
                flow_memory: FlowMemory::new(16),
                clients: Persistence::new(16, hasher),
                loads: ClientLoads::new(16, hasher),
                cookies: Cookies::with_key((3, 4)),
                counters: Arc::clone(&counters),
                courier: Arc::default(),
            });
            pipeline.adopt(&snapshot);
            pipeline
        });
        let workers = pipelines.collect();
        let now = Instant::ZERO;
        Self { publisher, snapshot, workers, counters, now, given: 0, accounted: 0, is_sound: true, last: None }
    }

    /// Lets one thing happen.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Bytes(bytes, is_for_leat) => {
                let mut frame = bytes.clone();
                if *is_for_leat && frame.len() >= 6 {
                    frame[..6].copy_from_slice(&LEAT);
                }
                self.is_sound = false;
                self.take(0, frame);
            }
            Step::Client(shape) => {
                let frame = self.client(shape);
                self.take(shape.worker.into(), frame);
            }
            Step::Backend(shape) => {
                if let Some(frame) = self.answer(shape) {
                    self.take(shape.worker.into(), frame);
                }
            }
            Step::Error { kind, code, quoted, from } => {
                if let Some(frame) = self.error(*kind, *code, *quoted, *from) {
                    self.take((*from).into(), frame);
                }
            }
            Step::Pieces { shape, size, without, twice, is_reversed } => {
                let frame = self.client(shape);
                let mut pieces = pieces(&frame, 8 * (1 + usize::from(*size)));
                if *is_reversed {
                    pieces.reverse();
                }
                for (number, piece) in pieces.into_iter().enumerate() {
                    let times =
                        usize::from(number != usize::from(*without)) + usize::from(number == usize::from(*twice));
                    for _ in 0..times {
                        self.take(shape.worker.into(), piece.clone());
                    }
                }
            }
            Step::Wait { millis, many } => {
                let times = if *many { 1000 } else { 1 };
                self.pass(Duration::from_millis(u64::from(*millis) * times));
            }
            Step::Reload(number) => self.reload(*number),
        }
    }

    /// Lets all come to rest, and insists that nothing is left.
    pub fn finish(mut self) {
        for _ in 0..8 {
            self.pass(LONG);
        }
        for worker in 0..self.workers.len() {
            let mut output = Tally::default();
            let mut context =
                Context { snapshot: &self.snapshot, now: self.now, output: &mut output, tracer: &mut Silent };
            self.workers[worker].close(&mut context);
            self.settle(output);
        }
        assert_eq!(self.given, self.accounted, "every packet was sent or dropped, once");
        for (_, backend) in self.snapshot.backends() {
            assert_eq!(
                (backend.open(), backend.connections()),
                (0, 0),
                "no connection is left, and so no port is in use"
            );
        }
        assert_eq!(self.counters.iter().map(|worker| worker.connections.value()).sum::<u64>(), 0);
    }

    fn take(&mut self, worker: usize, frame: Vec<u8>) {
        let worker = worker % self.workers.len();
        self.given += 1;
        let mut queue = VecDeque::from([(worker, frame, false)]);
        let mut hops = 0;
        while let Some((worker, frame, is_handed_over)) = queue.pop_front() {
            let mut burst = Burst::new();
            burst.push(Frame::new(frame, PortId(0)));
            let mut output = Tally::default();
            let mut context =
                Context { snapshot: &self.snapshot, now: self.now, output: &mut output, tracer: &mut Silent };
            match is_handed_over {
                true => self.workers[worker].take_over(&mut burst, &mut context),
                false => self.workers[worker].process(&mut burst, &mut context),
            }
            queue.extend(output.passed.drain(..).map(|(to, frame)| (to, frame, true)));
            self.settle(output);
            hops += 1;
            assert!(hops < 2000, "packets go round between workers");
        }
    }

    /// Keeps account of what a worker gave away, and looks at what it sent.
    fn settle(&mut self, output: Tally) {
        self.given += output.created;
        self.accounted += output.sent.len() + output.gone;
        assert!(output.passed.is_empty());
        for frame in output.sent {
            // What is said to neighbours goes to groups, or is not IP.
            if matches!(frame[12..14], [8, 0] | [0x86, 0xdd]) {
                check(&frame, self.is_sound);
                if frame[0] & 1 == 0 {
                    self.last = Some(frame);
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for worker in 0..self.workers.len() {
            let mut output = Tally::default();
            let mut context =
                Context { snapshot: &self.snapshot, now: self.now, output: &mut output, tracer: &mut Silent };
            self.workers[worker].upkeep(&mut context);
            self.settle(output);
        }
    }

    fn reload(&mut self, number: u8) {
        let config =
            config::file::load("fuzz", configuration(number).as_bytes()).unwrap_or_else(|it| panic!("{it}")).config;
        // Some changes take a restart.
        if let Ok(next) = self.publisher.publish(&config, &self.snapshot, self.now) {
            self.snapshot = next;
            for worker in &mut self.workers {
                worker.adopt(&self.snapshot);
            }
        }
    }

    fn client(&mut self, shape: &Shape) -> Vec<u8> {
        let is_v6 = shape.client & 0x40 != 0;
        let (source, port) = (shape.client % 32, 4000 + u16::from(shape.port % 4));
        let from = (if is_v6 { v6(0x100 + u16::from(source)) } else { [10, 0, 1, source].into() }, port);
        let vip = |last: u8| if is_v6 { format!("2001:db8::{last}").parse().expect("an address") } else { [10, 0, 0, last].into() };
        let to = match shape.client & 0x80 == 0 {
            true if shape.port & 0x40 != 0 => (vip(14), 80),
            true => (vip(10), 80),
            false => (vip(11), 5000 + u16::from(shape.port % 2)),
        };
        self.packet([2, 0, 0, 0, 1, shape.client % 3], from, to, shape, None)
    }

    /// What the receiver of the last packet says to it.
    fn answer(&mut self, shape: &Shape) -> Option<Vec<u8>> {
        let last = self.last.clone()?;
        let packet = SlicedPacket::from_ethernet(&last).ok()?;
        let (sender, receiver) = match packet.net.as_ref()? {
            NetSlice::Ipv4(ip) => (IpAddr::V4(ip.header().source_addr()), IpAddr::V4(ip.header().destination_addr())),
            NetSlice::Ipv6(ip) => (IpAddr::V6(ip.header().source_addr()), IpAddr::V6(ip.header().destination_addr())),
            NetSlice::Arp(_) => return None,
        };
        let ports = match packet.transport.as_ref()? {
            TransportSlice::Tcp(tcp) => (tcp.destination_port(), tcp.source_port()),
            TransportSlice::Udp(udp) => (udp.destination_port(), udp.source_port()),
            _ => (0, 0),
        };
        let (from, to) = ((receiver, ports.0), (sender, ports.1));
        let apt = match packet.transport.as_ref()? {
            TransportSlice::Tcp(tcp) if shape.is_apt => {
                let len = tcp.payload().len() as u32 + u32::from(tcp.syn()) + u32::from(tcp.fin());
                let seq = if tcp.ack() { tcp.acknowledgment_number() } else { 5000 };
                Some((seq, tcp.sequence_number().wrapping_add(len)))
            }
            _ => None,
        };
        Some(self.packet(last[..6].try_into().ok()?, from, to, shape, apt))
    }

    fn packet(
        &mut self,
        mac: [u8; 6],
        from: (IpAddr, u16),
        to: (IpAddr, u16),
        shape: &Shape,
        apt: Option<(u32, u32)>,
    ) -> Vec<u8> {
        let hops = if shape.ttl == 0 { 1 } else { 64 };
        let builder = PacketBuilder::ethernet2(mac, LEAT);
        let is_v6 = from.0.is_ipv6();
        let builder = match (from.0, to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => builder.ipv4(from.octets(), to.octets(), hops),
            (from, to) => builder.ipv6(octets(from), octets(to), hops),
        };
        let payload = vec![shape.payload; usize::from(shape.payload)];
        let mut frame = Vec::new();
        match shape.protocol % 8 {
            0 if is_v6 => builder.icmpv6_echo_request(from.1, 1).write(&mut frame, &payload),
            1 if is_v6 => builder.icmpv6_echo_reply(to.1, 1).write(&mut frame, &payload),
            0 => builder.icmpv4_echo_request(from.1, 1).write(&mut frame, &payload),
            1 => builder.icmpv4_echo_reply(to.1, 1).write(&mut frame, &payload),
            2 | 3 | 4 => builder.udp(from.1, to.1).write(&mut frame, &payload),
            _ => {
                let (seq, ack) = apt.unwrap_or((
                    1000_u32.wrapping_add_signed(shape.sequence.into()),
                    1000_u32.wrapping_add_signed(shape.acknowledgment.into()),
                ));
                let mut tcp = builder.tcp(from.1, to.1, seq, 1000);
                if shape.flags & 1 != 0 {
                    tcp = tcp.fin();
                }
                if shape.flags & 2 != 0 {
                    tcp = tcp.syn();
                }
                if shape.flags & 4 != 0 {
                    tcp = tcp.rst();
                }
                if shape.flags & 16 != 0 {
                    tcp = tcp.ack(ack);
                }
                tcp.options(&options(shape, ack)).expect("they fit").write(&mut frame, &payload)
            }
        }
        .expect("short packets can be built");
        if let Some((at, by)) = shape.damage {
            let at = 12 + usize::from(at) % (frame.len() - 12);
            frame[at] ^= by;
            self.is_sound &= by == 0;
        }
        frame
    }

    fn error(&mut self, kind: u8, code: u8, quoted: u8, from: u8) -> Option<Vec<u8>> {
        let last = self.last.clone()?;
        let quoted = last.get(14..last.len().min(14 + usize::from(quoted)))?;
        let mut frame = Vec::new();
        if last[12] == 0x86 {
            let to: [u8; 16] = last[22..38].try_into().ok()?;
            PacketBuilder::ethernet2([2, 0, 0, 0, 9, 9], LEAT)
                .ipv6(octets(v6(0x200 + u16::from(from))), to, 64)
                .icmpv6_raw([1, 2, 3, 4, 1][usize::from(kind % 5)], code, [0, 0, 5, kind])
                .write(&mut frame, quoted)
                .ok()?;
            return Some(frame);
        }
        let to: [u8; 4] = last[26..30].try_into().ok()?;
        PacketBuilder::ethernet2([2, 0, 0, 0, 9, 9], LEAT)
            .ipv4([10, 0, 0, from], to, 64)
            .icmpv4_raw([3, 4, 5, 11, 12][usize::from(kind % 5)], code, [0, 0, 2, kind])
            .write(&mut frame, quoted)
            .ok()?;
        Some(frame)
    }
}

/// 2001:db8:: with this end.
fn v6(last: u16) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The options of a segment that acknowledges `ack`.
fn options(shape: &Shape, ack: u32) -> Vec<TcpOptionElement> {
    use TcpOptionElement::*;
    let all = [
        Noop,
        MaximumSegmentSize(1000 + u16::from(shape.options)),
        SelectiveAcknowledgementPermitted,
        WindowScale(shape.options % 16),
        Timestamp(u32::from(shape.port) << 24 | u32::from(shape.options), ack),
        SelectiveAcknowledgement((ack.wrapping_add(10), ack.wrapping_add(20)), [None; 3]),
        Noop,
    ];
    all.into_iter().enumerate().filter(|(bit, _)| shape.options >> bit & 1 != 0).map(|(_, option)| option).collect()
}

/// Cuts the packet in `frame` into pieces of `size` bytes of payload.
fn pieces(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    if frame[12] == 0x86 && frame.len() > 54 {
        let payload = &frame[54..];
        let count = payload.len().div_ceil(size).max(1);
        let piece = |(number, part): (usize, &[u8])| {
            let mut piece = frame[..54].to_vec();
            let next = std::mem::replace(&mut piece[20], 44);
            piece[18..20].copy_from_slice(&(part.len() as u16 + 8).to_be_bytes());
            piece.extend([next, 0]);
            piece.extend(((number * size) as u16 | u16::from(number + 1 < count)).to_be_bytes());
            piece.extend([0, 0, 0, 7]);
            piece.extend(part);
            piece
        };
        return payload.chunks(size).enumerate().map(piece).collect();
    }
    let Ok((ip, payload)) = Ipv4Header::from_slice(&frame[14..]) else { return vec![frame.to_vec()] };
    let count = payload.len().div_ceil(size).max(1);
    let piece = |(number, part): (usize, &[u8])| {
        let mut ip = ip.clone();
        ip.dont_fragment = false;
        ip.more_fragments = number + 1 < count;
        ip.fragment_offset = IpFragOffset::try_new((number * size / 8) as u16).expect("short packets");
        ip.set_payload_len(part.len()).expect("short packets");
        ip.header_checksum = ip.calc_header_checksum();
        let mut piece = frame[..14].to_vec();
        ip.write(&mut piece).expect("a vector takes all");
        piece.extend_from_slice(part);
        piece
    };
    payload.chunks(size).enumerate().map(piece).collect()
}
