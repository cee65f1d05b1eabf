//! How many full-NAT TCP connections a second are opened, used for one request, and closed.
//!
//! Many are under way at any time, each at another step; a burst has packets of all kinds, as it would have from a port. The
//! table is full of connections that rest after their end, as it is on a balancer under such a load: a large one, and one so small
//! that it stays in the caches, which shows how much of the time is not memory's.

use arrayvec::ArrayVec;
use leat::io::{BURST, Burst};
use leat::service::Mode;

use crate::balancer::{Balancer, original};
use crate::clock::on_cpu;
use crate::frame::{Frame, Frames};
use crate::template::{HEAD, Template, Transport, Tuple, answer_to};

/// Connections that go step by step together.
const COHORT: usize = 8;
/// Of the connections that the table holds, one in so many is under way.
const RESTING: usize = 32;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const CLIENT: u32 = 1000;
const BACKEND: u32 = 5000;
/// Bytes of the request and of its answer: as many as fill the shortest frame.
const DATA: u32 = 6;

/// A packet of a connection's life.
struct Step {
    from_backend: bool,
    flags: u8,
    sequence: u32,
    acknowledgment: u32,
    frame_len: usize,
}

const fn step(from_backend: bool, flags: u8, sequence: u32, acknowledgment: u32, frame_len: usize) -> Step {
    Step { from_backend, flags, sequence, acknowledgment, frame_len }
}

/// A connection's whole life: opened, a request, its answer, and the client closes first.
const LIFE: [Step; 8] = [
    step(false, SYN, CLIENT, 0, HEAD),
    step(true, SYN | ACK, BACKEND, CLIENT + 1, HEAD),
    step(false, ACK, CLIENT + 1, BACKEND + 1, HEAD),
    step(false, ACK, CLIENT + 1, BACKEND + 1, HEAD + DATA as usize),
    step(true, ACK, BACKEND + 1, CLIENT + 1 + DATA, HEAD + DATA as usize),
    step(false, FIN | ACK, CLIENT + 1 + DATA, BACKEND + 1 + DATA, HEAD),
    step(true, FIN | ACK, BACKEND + 1 + DATA, CLIENT + 2 + DATA, HEAD),
    step(false, ACK, CLIENT + 2 + DATA, BACKEND + 2 + DATA, HEAD),
];

#[derive(Clone)]
struct Cohort {
    /// Turns before it sets out.
    idle: usize,
    flow: u64,
    step: usize,
    answers: [Tuple; COHORT],
}

/// A packet path under a load of short connections.
pub(crate) struct Churn {
    balancer: Balancer,
    frames: Frames,
    cohorts: Vec<Cohort>,
    next_flow: u64,
    at: usize,
}

impl Churn {
    /// With a table for so many connections that is full.
    pub(crate) fn new(connections: usize) -> Self {
        let nobody = Cohort { idle: 0, flow: 0, step: LIFE.len(), answers: [original(0); COHORT] };
        let mut churn = Self {
            balancer: Balancer::new(Mode::Fullnat, Transport::Tcp, connections),
            frames: Frames::new(),
            cohorts: vec![nobody; connections / RESTING / COHORT],
            next_flow: 0,
            at: 0,
        };
        for (number, cohort) in churn.cohorts.iter_mut().enumerate() {
            // One after the other, so that each burst has packets of every step.
            cohort.idle = number % LIFE.len();
        }
        churn.run(connections as u64 * 9 / 8, true);
        churn
    }

    /// Connections a second of time on the CPU, the making of their packets not counted.
    pub(crate) fn measure(&mut self, connections: u64) -> f64 {
        // The same work without the packet path, on copies: what is then open stays as it is.
        let (cohorts, next_flow, at) = (self.cohorts.clone(), self.next_flow, self.at);
        let make = self.run(connections, false);
        (self.cohorts, self.next_flow, self.at) = (cohorts, next_flow, at);
        let drops = self.balancer.drops();
        let both = self.run(connections, true);
        assert_eq!(self.balancer.drops(), drops, "no packet is dropped");
        connections as f64 / ((both - make) / 1e9)
    }

    /// Takes `connections` connections' worth of steps; nanoseconds on the CPU.
    fn run(&mut self, connections: u64, send: bool) -> f64 {
        let short = Template::<false>::new(Transport::Tcp, HEAD);
        let long = Template::new(Transport::Tcp, HEAD + DATA as usize);
        let mut burst = Burst::<Frame>::new();
        let bursts = (connections * LIFE.len() as u64).div_ceil(BURST as u64);
        let start = on_cpu();
        for _ in 0..bursts {
            let mut opening = ArrayVec::<_, { BURST / COHORT }>::new();
            for part in 0..BURST / COHORT {
                let number = (self.at + part) % self.cohorts.len();
                let cohort = &mut self.cohorts[number];
                if cohort.idle > 0 {
                    cohort.idle -= 1;
                    continue;
                }
                if cohort.step == LIFE.len() {
                    cohort.step = 0;
                    cohort.flow = self.next_flow;
                    self.next_flow += COHORT as u64;
                }
                let step = &LIFE[cohort.step];
                let template = if step.frame_len == HEAD { &short } else { &long };
                for one in 0..COHORT {
                    let tuple =
                        if step.from_backend { cohort.answers[one] } else { original(cohort.flow + one as u64) };
                    let head = template.segment(tuple, step.flags, step.sequence, step.acknowledgment);
                    head.put(&mut self.frames, step.frame_len, &mut burst);
                }
                opening.push((cohort.step == 0).then_some(number));
                cohort.step += 1;
            }
            self.at = (self.at + BURST / COHORT) % self.cohorts.len();
            if send {
                self.send(&mut burst, &opening);
            } else {
                self.frames.take_back(std::hint::black_box(&mut burst));
            }
        }
        (on_cpu() - start) as f64
    }

    /// Sends `burst`, and notes how those of it that open a connection are to be answered: by cohort of the burst, which
    /// of all cohorts it is.
    fn send(&mut self, burst: &mut Burst<Frame>, opening: &[Option<usize>]) {
        let Self { balancer, frames, cohorts, .. } = self;
        let mut at = 0;
        frames.read_sent(
            |frames| balancer.process(burst, frames),
            |frame| {
                if let Some(cohort) = opening[at / COHORT] {
                    cohorts[cohort].answers[at % COHORT] = answer_to(frame);
                }
                at += 1;
            },
        );
    }
}
