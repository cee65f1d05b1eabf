//! The worker under load, and what becomes of its packets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use leat::conntrack::{ClientLoads, Conntrack, FlowMemory, Persistence, Settings as ConntrackSettings, Timeouts};
use leat::control::Mailbox;
use leat::counters::{DropReason, PerWorker, WorkerCounters, per_worker};
use leat::flow::FlowHasher;
use leat::id::{PortId, WorkerId};
use leat::io::memory::Frame;
use leat::io::{BURST, Burst, Output, Packet};
use leat::pipeline::{Context, Pipeline, Settings, Silent};
use leat::service::Snapshot;
use leat::steering::{PortShare, Steering};
use leat::syncookie::Cookies;
use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};

use super::packets::{FRAME, Segment, arp_answer, ends};

/// The packets of a burst that belong to known connections; in one of so many bursts, the last one opens another.
const KNOWN: usize = BURST - 1;
const NEW_EVERY: usize = 4;

/// The connection table, as large as leat's own when nothing is said.
const CONNECTIONS: usize = 1 << 20;

/// Where clients' packets come from.
const CLIENT: [u8; 6] = [2, 0, 0, 0, 1, 1];

type End = ([u8; 4], u16);

/// Takes packets away without asking the allocator, as a port does: what it does with the address space would be measured.
struct Sink {
    transmitted: Vec<Frame>,
    spare: Vec<Frame>,
}

impl Sink {
    /// Has enough spare frames, and not too many, for the next round.
    fn restock(&mut self) {
        self.spare.resize_with(2 * BURST, || Frame::new(vec![0; FRAME], PortId(0)));
    }
}

impl Output<Frame> for Sink {
    fn transmit(&mut self, packet: Frame, _: PortId) {
        self.transmitted.push(packet);
    }

    fn hand_over(&mut self, packet: Frame, _: WorkerId) -> Result<(), Frame> {
        Err(packet)
    }

    fn discard(&mut self, packet: Frame) {
        self.spare.push(packet);
    }

    fn create(&mut self, frame: &[u8]) -> Option<Frame> {
        let mut packet = self.spare.pop()?;
        packet.truncate(frame.len());
        packet.data_mut().get_mut(..frame.len())?.copy_from_slice(frame);
        Some(packet)
    }
}

/// How long one round took, in nanoseconds.
pub(super) struct Round {
    /// 1 while nothing is reloaded, then 2 and up, one number for each reload.
    pub(super) phase: u64,
    pub(super) cpu: u64,
    pub(super) wall: u64,
    /// What of `cpu` was upkeep.
    pub(super) upkeep_cpu: u64,
    /// Pages that were touched for the first time.
    pub(super) faults: i64,
    pub(super) takes_over: bool,
    pub(super) takeover_cpu: u64,
    pub(super) takeover_wall: u64,
    /// Whether no other thread had the CPU meanwhile, so that its caches are this thread's.
    pub(super) is_whole: bool,
}

/// A connection that is open, as its first packets have left leat.
struct Flow {
    /// A client's segment, and an answer to it.
    frames: [Vec<u8>; 2],
    /// From where to where leat sends each on.
    expected: [(End, End); 2],
}

pub(super) struct Load {
    pipeline: Pipeline<Frame>,
    snapshot: Arc<Snapshot>,
    mailbox: Mailbox<Snapshot>,
    counters: PerWorker<WorkerCounters>,
    output: Sink,
    started: Instant,
    services: usize,
    flows: Vec<Flow>,
    next_flow: usize,
    next_client: u32,
    questions: Vec<Vec<u8>>,
    rounds: Vec<Round>,
    sent: u64,
    lost: u64,
    misrouted: u64,
    opened: u64,
}

impl Load {
    pub(super) fn new(snapshot: Arc<Snapshot>, mailbox: Mailbox<Snapshot>, flows: usize, services: usize) -> Self {
        let hasher = FlowHasher::with_key((1, 2));
        let counters = per_worker(1);
        let mut pipeline = Pipeline::new(Settings {
            id: WorkerId::FIRST,
            steering: Steering::Modulo { workers: 1 },
            hasher,
            conntrack: Conntrack::new(&ConntrackSettings {
                connections: CONNECTIONS,
                ipv6: false,
                hasher,
                timeouts: Timeouts::default(),
                share: PortShare::new(&Steering::Modulo { workers: 1 }, WorkerId(0)).expect("one of one"),
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
        Self {
            pipeline,
            snapshot,
            mailbox,
            counters,
            output: Sink { transmitted: Vec::with_capacity(4 * BURST), spare: Vec::with_capacity(8 * BURST) },
            started: Instant::now(),
            services,
            flows: Vec::with_capacity(flows),
            next_flow: 0,
            next_client: 0,
            questions: Vec::new(),
            rounds: Vec::with_capacity(10_000_000),
            sent: 0,
            lost: 0,
            misrouted: 0,
            opened: 0,
        }
    }

    /// Finds the backends, and opens the connections.
    pub(super) fn begin(&mut self) {
        for _ in 0..2000 {
            self.output.restock();
            self.work(Burst::new());
            self.answer_questions();
            std::thread::sleep(std::time::Duration::from_micros(1000));
        }
        while self.flows.len() < self.flows.capacity() {
            let flow = self.open_flow();
            self.flows.push(flow);
        }
    }

    /// One round: a burst of what goes on, with a few new connections in it.
    pub(super) fn round(&mut self, phase: u64) {
        let mut burst = Burst::new();
        let first = self.next_flow;
        for place in 0..KNOWN {
            let flow = &self.flows[(first + place) % self.flows.len()];
            burst.push(Frame::new(flow.frames[place % 2].clone(), PortId(0)));
        }
        if self.rounds.len().is_multiple_of(NEW_EVERY) {
            let syn = self.syn();
            burst.push(Frame::new(syn.frame(CLIENT), PortId(0)));
        }
        let (switches, faults) = switches_and_faults();
        let (wall, cpu) = (Instant::now(), on_cpu());
        let upkeep_cpu = self.work(burst);
        let (takeover_wall, takeover_cpu) = (Instant::now(), on_cpu());
        let pipeline = &mut self.pipeline;
        let takes_over = self.mailbox.exchange(&mut self.snapshot, |old, new| {
            if !new.is_same_but_for_liveness(old) {
                pipeline.adopt(new);
            }
        });
        let (end_wall, end_cpu) = (Instant::now(), on_cpu());
        let (switches_after, faults_after) = switches_and_faults();
        self.rounds.push(Round {
            phase,
            cpu: end_cpu - cpu,
            upkeep_cpu,
            faults: faults_after - faults,
            wall: (end_wall - wall).as_nanos() as u64,
            takes_over,
            takeover_cpu: end_cpu - takeover_cpu,
            takeover_wall: (end_wall - takeover_wall).as_nanos() as u64,
            is_whole: switches_after == switches,
        });
        self.check(first);
        self.next_flow = (first + KNOWN) % self.flows.len();
        self.answer_questions();
    }

    /// What the pipeline does between two polls. Returns how long upkeep was on the CPU.
    fn work(&mut self, mut burst: Burst<Frame>) -> u64 {
        let now = leat::time::Instant::ZERO + self.started.elapsed();
        let Self { pipeline, snapshot, output, .. } = self;
        let context = &mut Context { snapshot, now, output, tracer: &mut Silent };
        pipeline.process(&mut burst, context);
        let start = on_cpu();
        pipeline.upkeep(context);
        on_cpu() - start
    }

    /// Looks at what came out: what is known must all be there, and go where it went before.
    fn check(&mut self, first: usize) {
        let mut sent: HashMap<(End, End), u64> = HashMap::new();
        self.output.restock();
        for frame in self.output.transmitted.drain(..) {
            let frame = frame.into_bytes();
            if frame[12..14] == [0x08, 0x06] {
                self.questions.push(frame);
            } else {
                *sent.entry(ends(&frame)).or_default() += 1;
            }
        }
        let mut missing = Vec::new();
        for place in 0..KNOWN {
            let expected = self.flows[(first + place) % self.flows.len()].expected[place % 2];
            self.sent += 1;
            match sent.get_mut(&expected) {
                Some(count) if *count > 0 => *count -= 1,
                _ => missing.push(expected),
            }
        }
        sent.retain(|_, count| *count > 0);
        // What has one end in common with a packet that is missing is that packet.
        let is_elsewhere = |(from, to): &&(End, End)| sent.keys().any(|ends| ends.0 == *from || ends.1 == *to);
        let misrouted = missing.iter().filter(is_elsewhere).count() as u64;
        self.misrouted += misrouted;
        self.lost += missing.len() as u64 - misrouted;
        self.opened += sent.len() as u64 - misrouted;
    }

    /// Answers as the backends do that were asked for.
    fn answer_questions(&mut self) {
        let (mut questions, mut transmitted) = (std::mem::take(&mut self.questions), Vec::new());
        transmitted.append(&mut self.output.transmitted);
        questions.extend(transmitted.into_iter().map(Frame::into_bytes));
        for answers in questions.iter().filter_map(|frame| arp_answer(frame)).collect::<Vec<_>>().chunks(BURST) {
            self.work(answers.iter().map(|answer| Frame::new(answer.clone(), PortId(0))).collect());
        }
        self.output.transmitted.clear();
    }

    /// Opens a connection, with an answer, and notes where both go.
    fn open_flow(&mut self) -> Flow {
        let syn = self.syn();
        let (client, vip) = (syn.from, syn.to);
        let out = self.one(syn.frame(CLIENT));
        let (local, backend) = ends(&out);
        let mac = [2, 1, backend.0[0], backend.0[1], backend.0[2], backend.0[3]];
        let answer = Segment { from: backend, to: local, seq: 500, is_syn: true, ack: Some(101) };
        let back = self.one(answer.frame(mac));
        let data = Segment { from: client, to: vip, seq: 101, is_syn: false, ack: Some(501) };
        let reply = Segment { from: backend, to: local, seq: 501, is_syn: false, ack: Some(101) };
        Flow { frames: [data.frame(CLIENT), reply.frame(mac)], expected: [(local, backend), ends(&back)] }
    }

    /// Sends one packet through, which must come out.
    fn one(&mut self, frame: Vec<u8>) -> Vec<u8> {
        self.output.transmitted.clear();
        self.output.restock();
        self.work(std::iter::once(Frame::new(frame, PortId(0))).collect());
        let mut sent = self.output.transmitted.drain(..).map(Frame::into_bytes);
        sent.find(|frame| frame[12..14] == [0x08, 0x00]).unwrap_or_else(|| {
            let drops = &self.counters[0].drops;
            let why: Vec<_> = DropReason::ALL.iter().filter(|reason| drops.value(**reason) > 0).collect();
            panic!("a packet was lost at the start: {why:?}")
        })
    }

    /// The SYN of another client, to the next service.
    fn syn(&mut self) -> Segment {
        self.next_client += 1;
        let client = self.next_client;
        let service = client as usize % self.services;
        let [_, b, c, d] = client.to_be_bytes();
        let vip = [20, 0, (service / 250) as u8, (service % 250 + 1) as u8];
        Segment {
            from: ([11, b, c, d], 4000 + (client >> 16) as u16),
            to: (vip, 80),
            seq: 100,
            is_syn: true,
            ack: None,
        }
    }

    pub(super) fn rounds(&self) -> &[Round] {
        &self.rounds
    }

    /// Packets of known connections that went in.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Those that did not come out.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Those that came out elsewhere.
    pub(super) const fn misrouted(&self) -> u64 {
        self.misrouted
    }

    /// Connections that were opened meanwhile.
    pub(super) const fn opened(&self) -> u64 {
        self.opened
    }
}

/// Nanoseconds that this thread has been on a CPU.
fn on_cpu() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has this clock");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// How often this thread has lost its CPU to another, and how many pages it has touched first.
fn switches_and_faults() -> (i64, i64) {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("a thread may ask for its own");
    (usage.involuntary_context_switches() + usage.voluntary_context_switches(), usage.minor_page_faults())
}
