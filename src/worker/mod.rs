//! The loop that each lcore runs, to completion: poll, process, send.
//!
//! A [`Worker`] owns everything that it writes: its queues of the ports, its ends of the rings, its [`Pipeline`]. It
//! shares the snapshot and the clock, which it only reads, and its counters, which others only read. A new snapshot comes
//! through its [`Mailbox`]; the old one goes back the same way, to be freed elsewhere.

mod align;
mod deploy;
mod ending;
mod outlet;
mod vlan;

pub use deploy::{DeployError, Deployment, deploy};
pub(crate) use deploy::{mac_for, virtual_ports};

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arrayvec::ArrayVec;
use dpdk_wrapper::{Clock, Consumer, Lcore, Mbuf, RxQueue};

use crate::capture::{Spied, Spy};
use crate::control::Mailbox;
use crate::counters::{PerWorker, WorkerCounters};
use crate::id::{PortId, WorkerId};
use crate::inquiry::{Inquiry, Line, Question};
use crate::io::{BURST, Burst};
use crate::pipeline::{Context, Narrator, Pipeline, Silent, Tracer};
use crate::service::{Snapshot, Vlan};
use crate::time::Instant;
use ending::Ending;
use outlet::Outlet;

/// How long workers wait for each other at the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// What one worker passes to another.
enum HandOver {
    /// A packet as it came in, of a flow that the receiver owns.
    Process(Mbuf),
    /// A finished packet for a port on which the sender has no queue.
    Transmit(Mbuf, PortId),
}

/// One lcore's whole work.
pub struct Worker {
    id: WorkerId,
    queues: Vec<RxQueue>,
    /// The VLANs that are ports of their own, with their numbers.
    vlans: Vec<(PortId, Vlan)>,
    inbox: Vec<Consumer<HandOver>>,
    outlet: Outlet,
    pipeline: Pipeline<Mbuf>,
    snapshot: Arc<Snapshot>,
    mailbox: Mailbox<Snapshot>,
    counters: PerWorker<WorkerCounters>,
    clock: Clock,
    started: u64,
    ending: Arc<Ending>,
    line: Arc<Line>,
    /// The question that it works on.
    inquiry: Option<Box<Inquiry>>,
}

/// Polls that found nothing, one after the other, before the worker lets another thread have its CPU.
///
/// Where the CPU is the worker's own, this call now and then costs nothing that anybody notices. Where it is not, be it
/// with another lcore or with the programs whose packets these are, the worker would otherwise sit out its time slice of
/// some milliseconds, looking for a packet that cannot be sent before it ends.
const IDLE_POLLS: u32 = 32;

impl Worker {
    /// Works until `stop`, with a word on standard output about each packet if `trace`. To be called on its lcore.
    pub fn run(mut self, lcore: Lcore, stop: &AtomicBool, trace: bool) {
        self.pipeline.adopt(&self.snapshot);
        if trace {
            self.poll_until(lcore, stop, &mut Narrator::new(io::stdout(), lcore.id().index() as u32));
        } else {
            self.poll_until(lcore, stop, &mut Silent);
        }
        // What is still in the rings and buffers goes out, so that nobody loses a packet to an orderly end.
        let ending = Arc::clone(&self.ending);
        let (clock, late) = (self.clock, self.clock.cycles() + self.clock.cycles_in(PATIENCE.as_nanos() as u64));
        let drain = || {
            while self.take_over(lcore, self.now(), &mut Silent) > 0 {
                self.outlet.flush(lcore);
            }
            let now = self.now();
            let mut output = self.outlet.on(lcore);
            let context = &mut Context { snapshot: &self.snapshot, now, output: &mut output, tracer: &mut Silent };
            self.pipeline.close(context);
            self.outlet.flush(lcore);
        };
        ending.take_part(drain, || clock.cycles() > late);
    }

    fn poll_until<T: Tracer>(&mut self, lcore: Lcore, stop: &AtomicBool, tracer: &mut T) {
        let mut idle_polls = 0;
        // When the round before began, if it found packets.
        let mut busy_since = None;
        let mut spy = Spy::new(self.id.index(), lcore.id().index() as u32);
        while !stop.load(Relaxed) {
            let cycles = self.clock.cycles();
            let now = Instant::from_nanos(self.clock.nanos(cycles.wrapping_sub(self.started)));
            if let Some(since) = busy_since.take() {
                self.counters[self.id.index()].busy_cycles.add(cycles.wrapping_sub(since));
            }
            let (received, is_time) = if spy.is_asked() {
                spy.at(now);
                self.round(lcore, now, &mut Spied { other: tracer, spy: &mut spy })
            } else {
                self.round(lcore, now, tracer)
            };
            if is_time {
                self.move_on();
                self.answer(&mut spy, now);
            }
            self.outlet.flush(lcore);
            let counters = &self.counters[self.id.index()];
            counters.polls.add(1);
            if received > 0 {
                counters.busy_polls.add(1);
                busy_since = Some(cycles);
                idle_polls = 0;
            } else {
                idle_polls += 1;
            }
            if idle_polls == IDLE_POLLS {
                std::thread::yield_now();
                idle_polls = 0;
            }
        }
    }

    /// Takes what has come through all passes, and does what is due. Returns how many packets that were, and whether it was
    /// time for a round of upkeep.
    #[inline(always)]
    fn round<T: Tracer>(&mut self, lcore: Lcore, now: Instant, tracer: &mut T) -> (usize, bool) {
        let received = self.receive(lcore, now, tracer) + self.take_over(lcore, now, tracer);
        let mut output = self.outlet.on(lcore);
        let context = &mut Context { snapshot: &self.snapshot, now, output: &mut output, tracer };
        (received, self.pipeline.upkeep(context))
    }

    /// Works a little on what it was asked, if anything.
    fn answer(&mut self, spy: &mut Spy, now: Instant) {
        if spy.is_asked() {
            spy.dismiss();
        }
        let Some(mut inquiry) = self.inquiry.take().or_else(|| self.line.next()) else { return };
        let is_awaited = self.line.is_awaited(inquiry.number);
        let is_done = match &mut inquiry.question {
            Question::Survey(survey) => !is_awaited || self.pipeline.survey(survey, &self.snapshot, now),
            Question::Explain { flow, outlook } => {
                *outlook = self.pipeline.outlook(flow, &self.snapshot, now);
                true
            }
            Question::Watch { watch, accepted } => {
                *accepted = spy.begin(watch, now);
                true
            }
        };
        if is_done {
            self.line.give_back(inquiry);
        } else {
            self.inquiry = Some(inquiry);
        }
    }

    /// Takes over a new snapshot, if there is one, and notes how long that took.
    fn move_on(&mut self) {
        let (pipeline, clock) = (&mut self.pipeline, self.clock);
        let start = clock.cycles();
        let is_new = self.mailbox.exchange(&mut self.snapshot, |old, new| {
            if !new.is_same_but_for_liveness(old) {
                pipeline.adopt(new);
            }
        });
        if is_new {
            let longest = &self.counters[self.id.index()].longest_pause;
            longest.set(longest.value().max(clock.nanos(clock.cycles().wrapping_sub(start))));
        }
    }

    /// Takes one burst from each queue.
    fn receive<T: Tracer>(&mut self, lcore: Lcore, now: Instant, tracer: &mut T) -> usize {
        let mut total = 0;
        let mut burst = Burst::<Mbuf>::new();
        for queue in &mut self.queues {
            let received = queue.rx_burst(lcore, &mut burst);
            if received == 0 {
                continue;
            }
            total += received;
            let counters = &self.counters[self.id.index()];
            counters.received.add(received as u64);
            counters.received_bytes.add(burst.iter().map(|mbuf| mbuf.packet_len() as u64).sum());
            if !self.vlans.is_empty() {
                vlan::untag(&mut burst, &self.vlans);
            }
            let mut output = self.outlet.on(lcore);
            self.pipeline
                .process(&mut burst, &mut Context { snapshot: &self.snapshot, now, output: &mut output, tracer });
        }
        total
    }

    /// Takes what other workers have passed on.
    fn take_over<T: Tracer>(&mut self, lcore: Lcore, now: Instant, tracer: &mut T) -> usize {
        let mut total = 0;
        let mut passed = ArrayVec::<HandOver, BURST>::new();
        let mut burst = Burst::<Mbuf>::new();
        for ring in &mut self.inbox {
            total += ring.pop_burst(&mut passed);
            for item in passed.drain(..) {
                match item {
                    HandOver::Process(mbuf) => burst.push(mbuf),
                    HandOver::Transmit(mbuf, port) => self.outlet.transmit(lcore, mbuf, port),
                }
            }
            self.counters[self.id.index()].taken_over.add(burst.len() as u64);
            let mut output = self.outlet.on(lcore);
            self.pipeline
                .take_over(&mut burst, &mut Context { snapshot: &self.snapshot, now, output: &mut output, tracer });
        }
        total
    }

    #[inline(always)]
    fn now(&self) -> Instant {
        Instant::from_nanos(self.clock.nanos(self.clock.cycles().wrapping_sub(self.started)))
    }
}
