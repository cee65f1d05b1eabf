//! The cost of a packet of a known flow.

use leat::io::{BURST, Burst};
use leat::service::Mode;

use crate::balancer::{Balancer, original};
use crate::clock::on_cpu;
use crate::frame::{Frame, Frames};
use crate::template::{Template, Transport, Tuple, answer_to};

/// Which way the packets go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Original,
    Reply,
}

/// The lengths of the frames, FCS not counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// The shortest of Ethernet.
    Short,
    /// The simple IMIX: seven of 64 bytes, four of 594, one of 1518, FCS counted.
    Imix,
}

impl Sizes {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Short => "60",
            Self::Imix => "imix",
        }
    }

    const fn lengths(self) -> &'static [usize] {
        match self {
            Self::Short => &[60],
            Self::Imix => &[60, 590, 60, 590, 60, 60, 1514, 60, 590, 60, 590, 60],
        }
    }
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// The sequence numbers with which clients and backends begin.
const CLIENT: u32 = 1000;
const BACKEND: u32 = 5000;

/// Bursts between two looks at the clock.
const STRETCH: usize = 64;

/// Flows that a packet path knows.
pub(crate) struct Known {
    balancer: Balancer,
    frames: Frames,
    transport: Transport,
    flows: u64,
    /// By flow: what its backend sends; empty where answers do not come by.
    answers: Vec<Tuple>,
}

/// Nanoseconds that one packet took.
pub(crate) struct Cost {
    /// To be made.
    pub(crate) make: f64,
    /// To go through the packet path.
    pub(crate) forward: f64,
}

impl Known {
    /// Opens `flows` flows.
    pub(crate) fn open(mode: Mode, transport: Transport, flows: u64) -> Self {
        let balancer = Balancer::new(mode, transport, flows as usize);
        let mut known = Self { balancer, frames: Frames::new(), transport, flows, answers: Vec::new() };
        if !mode.is_one_way() {
            known.answers.reserve_exact(flows as usize);
            leat::arch::commit(known.answers.spare_capacity_mut());
        }
        let mut first = 0;
        while first < flows {
            let last = flows.min(first + BURST as u64);
            match transport.is_v6() {
                false => known.open_burst::<false>(first..last, mode.is_one_way()),
                true => known.open_burst::<true>(first..last, mode.is_one_way()),
            }
            first = last;
        }
        assert_eq!(known.balancer.drops(), [], "every packet belongs to a flow");
        known
    }

    fn open_burst<const V6: bool>(&mut self, flows: std::ops::Range<u64>, one_way: bool) {
        let Self { balancer, frames, transport, answers, .. } = self;
        let len = transport.shortest();
        let template = Template::<V6>::new(*transport, len);
        let mut burst = Burst::new();
        for flow in flows.clone() {
            let tuple = original(flow);
            let head = match transport.is_tcp() {
                true => template.segment(tuple, SYN, CLIENT, 0),
                false => template.datagram(tuple),
            };
            head.put(frames, len, &mut burst);
        }
        frames.read_sent(
            |frames| balancer.process(&mut burst, frames),
            |frame| {
                if !one_way {
                    answers.push(answer_to(frame));
                }
            },
        );
        if !one_way {
            for answer in &answers[flows.start as usize..] {
                let head = match transport.is_tcp() {
                    true => template.segment(*answer, SYN | ACK, BACKEND, CLIENT + 1),
                    false => template.datagram(*answer),
                };
                head.put(frames, len, &mut burst);
            }
            balancer.process(&mut burst, frames);
        }
        if transport.is_tcp() {
            for flow in flows {
                template.segment(original(flow), ACK, CLIENT + 1, BACKEND + 1).put(frames, len, &mut burst);
            }
            balancer.process(&mut burst, frames);
        }
    }

    /// Bytes that this benchmark needs to know the flows' answers.
    pub(crate) const fn noted_bytes(&self) -> u64 {
        (self.answers.capacity() * size_of::<Tuple>()) as u64
    }

    /// Sends `packets` packets of flows chosen at random through the packet path.
    pub(crate) fn measure(&mut self, direction: Direction, sizes: Sizes, packets: u64) -> Cost {
        let before = self.frames.transmitted;
        let (make, _) = self.run(direction, sizes, packets, false);
        let (both, bursts) = self.run(direction, sizes, packets, true);
        let sent = bursts * BURST as u64;
        assert_eq!(self.frames.transmitted - before, sent, "every packet is sent on: {:?}", self.balancer.drops());
        Cost { make: make / sent as f64, forward: (both - make) / sent as f64 }
    }

    /// Sends `packets` packets in each direction that there is.
    pub(crate) fn walk(&mut self, mode: Mode, packets: u64) {
        self.run(Direction::Original, Sizes::Short, packets, true);
        if !mode.is_one_way() {
            self.run(Direction::Reply, Sizes::Short, packets, true);
        }
    }

    /// Makes packets, and sends them if so asked; the time on the CPU that it took, and how many bursts there were.
    fn run(&mut self, direction: Direction, sizes: Sizes, packets: u64, send: bool) -> (f64, u64) {
        match self.transport.is_v6() {
            false => self.run_as::<false>(direction, sizes, packets, send),
            true => self.run_as::<true>(direction, sizes, packets, send),
        }
    }

    fn run_as<const V6: bool>(&mut self, direction: Direction, sizes: Sizes, packets: u64, send: bool) -> (f64, u64) {
        let Self { balancer, frames, transport, flows, answers } = self;
        let lengths: Vec<_> = sizes.lengths().iter().map(|len| transport.shortest().max(*len)).collect();
        let templates: Vec<_> = lengths.iter().map(|len| Template::<V6>::new(*transport, *len)).collect();
        let (sequence, acknowledgment) = match direction {
            Direction::Original => (CLIENT + 1, BACKEND + 1),
            Direction::Reply => (BACKEND + 1, CLIENT + 1),
        };
        let (mut burst, mut picks, mut turn) = (Burst::<Frame>::new(), Picks::new(*flows), 0);
        let (mut tuples, mut spent) = (Vec::with_capacity(STRETCH * BURST), 0);
        let stretches = packets.div_ceil((STRETCH * BURST) as u64);
        for _ in 0..stretches {
            // What flows' packets say is looked up before, not meanwhile: a port's packets bring it along.
            tuples.clear();
            tuples.extend((0..STRETCH * BURST).map(|_| match direction {
                Direction::Original => original(picks.next()),
                Direction::Reply => answers[picks.next() as usize],
            }));
            let start = on_cpu();
            for tuples in tuples.chunks_exact(BURST) {
                for tuple in tuples {
                    turn = if turn + 1 == lengths.len() { 0 } else { turn + 1 };
                    let template = &templates[turn];
                    let head = match transport.is_tcp() {
                        true => template.segment(*tuple, ACK, sequence, acknowledgment),
                        false => template.datagram(*tuple),
                    };
                    head.put(frames, lengths[turn], &mut burst);
                }
                if send {
                    balancer.process(&mut burst, frames);
                } else {
                    frames.take_back(std::hint::black_box(&mut burst));
                }
            }
            spent += on_cpu() - start;
        }
        (spent as f64, stretches * STRETCH as u64)
    }
}

/// Flows at random.
struct Picks {
    flows: u64,
    random: u64,
}

impl Picks {
    const fn new(flows: u64) -> Self {
        Self { flows, random: 1 }
    }

    #[inline(always)]
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let bits = self.random ^ self.random >> 29;
        ((u128::from(bits) * u128::from(self.flows)) >> 64) as u64
    }
}
