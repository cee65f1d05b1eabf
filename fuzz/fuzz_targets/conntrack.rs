//! Connections with time that passes, against a model that knows nothing of tables, hashes or windows: what was opened is found
//! by both its keys, stands where RFC 9293 and RFC 4787 have it, lives as long as its timeout and no longer, and no two
//! connections that are open share a tuple at the backend.

#![no_main]

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use leat::conntrack::{
    Change, ClientLink, ConnectionIndex, Conntrack, Direction, OpenError, Opening, ReservedPorts, Segment, Settings,
    Source, State, Timeouts,
};
use leat::flow::{FlowHasher, FlowKey, Protocol};
use leat::id::{BackendId, WorkerId};
use leat::steering::{PortShare, Steering};
use leat::time::Tick;
use leat::wire::MacAddr;
use libfuzzer_sys::fuzz_target;

/// Every fourth client speaks IPv6, and of those every second has a backend of IPv4.
const fn is_v6(client: u8) -> bool {
    client.is_multiple_of(4)
}

/// The address that ends in `last`, of the client's version.
fn address(client: u8, last: u8) -> IpAddr {
    if is_v6(client) { IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()]) } else { IpAddr::from([10, 0, 0, last]) }
}

fn backend(client: u8) -> IpAddr {
    if client.is_multiple_of(8) { [10, 0, 0, 2].into() } else { address(client, 2) }
}

/// leat's addresses towards backends of either version.
fn locals() -> [IpAddr; 2] {
    [[10, 0, 0, 10].into(), address(0, 10)]
}

const CONNECTIONS: usize = 40;

/// One thing that happens. Clients have one port each.
#[derive(Arbitrary, Debug)]
enum Step {
    /// The client opens a connection, if it has none that is open.
    Open { client: u8, udp: bool },
    /// A segment with right numbers, or a datagram.
    Talk { client: u8, udp: bool, by_backend: bool, flags: u8, bytes: u8 },
    /// Somebody ends it.
    End { client: u8, udp: bool },
    /// Time passes, and everything is swept.
    Wait { tenths: u16, many: bool },
}

/// What the model knows of a connection.
#[derive(Clone, Copy)]
struct Known {
    index: ConnectionIndex,
    reply: FlowKey,
    state: State,
    seen: u64,
    /// Each side's next number, and whether it has sent its FIN.
    next: [u32; 2],
    fins: [bool; 2],
}

fn key(client: u8, udp: bool) -> FlowKey {
    let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
    FlowKey {
        src: address(client, 100 + client % 64),
        dst: address(client, 10),
        src_port: 4000 + u16::from(client % 3),
        dst_port: 80,
        protocol,
    }
}

fn lifetime(state: State, timeouts: &Timeouts) -> Duration {
    match state {
        State::SynSent => timeouts.tcp_syn_sent,
        State::SynReceived => timeouts.tcp_syn_received,
        State::Established => timeouts.tcp_established,
        State::Closing => timeouts.tcp_closing,
        State::TimeWait => timeouts.tcp_time_wait,
        State::Reset => timeouts.tcp_reset,
        State::Unreplied => timeouts.udp_unreplied,
        State::Replied => timeouts.udp,
        other => panic!("{other:?}"),
    }
}

fn segment(flags: u8, seq: u32, ack: u32, bytes: u8) -> Segment {
    Segment { flags, seq, ack, window: 60_000, payload_len: bytes.into(), window_scale: None }
}

struct Model {
    conntrack: Conntrack,
    known: HashMap<FlowKey, Known>,
    timeouts: Timeouts,
    /// In ticks.
    now: u64,
}

impl Model {
    fn new(ipv6: bool) -> Self {
        let timeouts = Timeouts::default();
        let share = PortShare::new(&Steering::Modulo { workers: 1 }, WorkerId(0)).expect("one worker");
        let hasher = FlowHasher::with_key((1, 2));
        let settings = Settings { connections: CONNECTIONS, ipv6, hasher, timeouts, share };
        let mut conntrack = Conntrack::new(&settings);
        let reserved = locals().map(|local| [Protocol::Tcp, Protocol::Udp].map(|protocol| (local, protocol, 80..=80)));
        conntrack.adopt(&Arc::new(ReservedPorts::new(reserved.into_iter().flatten())), &timeouts);
        Self { conntrack, known: HashMap::new(), timeouts, now: 1 << 20 }
    }

    const fn tick(&self) -> Tick {
        Tick(self.now as u32)
    }

    fn is_over(&self, known: &Known) -> bool {
        self.now - known.seen > u64::from(Tick::count(lifetime(known.state, &self.timeouts)))
    }

    fn open(&mut self, original: FlowKey, backend_address: IpAddr) {
        if self.known.contains_key(&original) {
            return;
        }
        let syn = segment(Segment::SYN, 1000, 0, 0);
        let opening = Opening {
            original,
            hash: self.conntrack.hash(&original),
            backend: BackendId(0),
            backend_address,
            backend_port: 8080,
            source: Source::Local { addresses: &locals(), preferred_port: Some(original.src_port) },
            link: ClientLink::new(MacAddr([2, 0, 0, 0, 0, 1]), 0),
            segment: (original.protocol == Protocol::Tcp).then_some(&syn),
            is_one_packet: false,
            numbers: None,
            adjustment: None,
            now: self.tick(),
        };
        match self.conntrack.open(&opening) {
            Ok(opened) => {
                if let Some(ended) = opened.ended {
                    let gone = self.known.remove(&ended.original_key()).expect("it was there");
                    let half_open = matches!(gone.state, State::SynSent | State::SynReceived | State::Unreplied);
                    let rests = matches!(gone.state, State::TimeWait | State::Reset);
                    assert!(half_open || rests || self.is_over(&gone), "{:?} had to go", gone.state);
                }
                let reply = self.conntrack.connection(opened.index).reply_key();
                let state = if original.protocol == Protocol::Tcp { State::SynSent } else { State::Unreplied };
                let known =
                    Known { index: opened.index, reply, state, seen: self.now, next: [1001, 9000], fins: [false; 2] };
                self.known.insert(original, known);
            }
            Err(OpenError::TableFull) => assert_eq!(self.known.len(), CONNECTIONS),
            Err(error) => panic!("{error}"),
        }
    }

    fn talk(&mut self, original: FlowKey, by_backend: bool, flags: u8, bytes: u8) {
        let Some(mut known) = self.known.get(&original).copied() else { return };
        if self.is_over(&known) {
            return;
        }
        let (direction, sender) = if by_backend { (Direction::Reply, 1) } else { (Direction::Original, 0) };
        let before = known.state;
        let segment = match (original.protocol, before) {
            (Protocol::Udp, State::Unreplied | State::Replied) => {
                if by_backend {
                    known.state = State::Replied;
                }
                None
            }
            (_, State::SynSent) => {
                // The backend answers, or refuses; the client has nothing to say but the same again.
                if !by_backend {
                    Some(segment(Segment::SYN, 1000, 0, 0))
                } else if flags & 1 != 0 {
                    known.state = State::Reset;
                    Some(segment(Segment::RST | Segment::ACK, 0, 1001, 0))
                } else {
                    (known.state, known.next[1]) = (State::SynReceived, 9001);
                    Some(segment(Segment::SYN | Segment::ACK, 9000, 1001, 0))
                }
            }
            (_, State::SynReceived | State::Established | State::Closing) => {
                let (next, other) = (known.next[sender], known.next[1 - sender]);
                if flags & 7 == 7 {
                    known.state = State::Reset;
                    Some(segment(Segment::RST, next, 0, 0))
                } else {
                    let bytes = if known.fins[sender] { 0 } else { bytes };
                    let fin = flags & 1 != 0 && !known.fins[sender];
                    if !by_backend && before == State::SynReceived {
                        known.state = State::Established;
                    }
                    known.next[sender] = next.wrapping_add(u32::from(bytes) + u32::from(fin));
                    known.fins[sender] |= fin;
                    known.state = match known.fins {
                        [true, true] => State::TimeWait,
                        [false, false] => known.state,
                        _ => State::Closing,
                    };
                    let flags = Segment::ACK | if fin { Segment::FIN } else { 0 };
                    Some(segment(flags, next, other, bytes))
                }
            }
            // What rests is not prolonged by what comes late.
            _ => return,
        };
        let tracked = self.conntrack.track(known.index, direction, segment.as_ref(), self.tick());
        assert!(tracked.in_window, "{before:?} {segment:?}");
        known.seen = self.now;
        let closed = matches!(known.state, State::TimeWait | State::Reset);
        assert_eq!(tracked.change, closed.then_some(Change::Closed));
        self.known.insert(original, known);
    }

    fn wait(&mut self, ticks: u64) {
        self.now += ticks;
        let mut ended = Vec::new();
        self.conntrack.sweep(self.tick(), CONNECTIONS + 1, |connection| ended.push(connection.original_key()));
        for original in ended {
            let known = self.known.remove(&original).expect("it was there");
            assert!(self.is_over(&known), "{:?} after {} ticks", known.state, self.now - known.seen);
        }
        assert!(self.known.values().all(|known| !self.is_over(known)), "all that is over is gone");
    }

    fn check(&self) {
        assert_eq!(self.conntrack.len(), self.known.len());
        let mut tuples = std::collections::HashSet::new();
        for (original, known) in &self.known {
            for (key, direction) in [(original, Direction::Original), (&known.reply, Direction::Reply)] {
                let found = self.conntrack.find(&key.pack(), self.conntrack.hash(key));
                assert_eq!(found, Some((known.index, direction)));
            }
            assert_eq!(self.conntrack.connection(known.index).state(), known.state);
            assert!(tuples.insert(known.reply), "{} is used twice", known.reply);
        }
    }
}

fuzz_target!(|input: (bool, Vec<Step>)| {
    let (ipv6, steps) = input;
    let mut model = Model::new(ipv6);
    for step in &steps {
        match *step {
            Step::Open { client, udp } => model.open(key(client, udp), backend(client)),
            Step::Talk { client, udp, by_backend, flags, bytes } => {
                model.talk(key(client, udp), by_backend, flags, bytes)
            }
            Step::End { client, udp } => {
                if let Some(known) = model.known.remove(&key(client, udp)) {
                    model.conntrack.end(known.index);
                }
            }
            Step::Wait { tenths, many } => model.wait(u64::from(tenths) * if many { 20 } else { 1 }),
        }
        model.check();
    }
});
