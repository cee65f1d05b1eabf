//! The loop of one lcore.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread;

use arrayvec::ArrayVec;
use dpdk_wrapper::{Clock, Lcore, Mbuf, Mempool, RxQueue, TxQueue, free_bulk};

use super::{Phase, Shared};
use crate::generate::frame::Destination;
use crate::generate::measure::Latency;
use crate::generate::neighbors::Neighbors;
use crate::generate::pace::Pacer;
use crate::generate::plan::{Clients, Traffic};
use crate::generate::receiver::{Fate, Receiver};
use crate::generate::sender::{Sender, Share};
use crate::generate::stamp::{Key, SentAt};
use crate::io::{BURST, Burst, Packet};
use crate::wire::MacAddr;

/// Packets that wait for one queue. While fewer than a burst fit, nothing more is received or made.
const WAITING: usize = 2 * BURST;

/// The clients' side.
const CLIENTS: usize = 0;

/// Polls that moved nothing, one after the other, before another thread may have the CPU: the balancer may need it.
const IDLE_POLLS: u32 = 32;

/// Time between two questions for the next hop.
const ASK_EVERY: u64 = 200_000_000;

/// One lcore's queues of one port.
pub(super) struct Side {
    rx: RxQueue,
    tx: TxQueue,
    mac: MacAddr,
    waiting: Box<ArrayVec<Mbuf, WAITING>>,
}

impl Side {
    pub(super) fn new(rx: RxQueue, tx: TxQueue, mac: MacAddr) -> Self {
        Self { rx, tx, mac, waiting: Box::default() }
    }
}

/// One lcore's whole work.
pub(super) struct Worker {
    pub(super) index: usize,
    /// [`CLIENTS`] is the clients', the last one the backends'.
    pub(super) sides: Vec<Side>,
    pub(super) receiver: Receiver,
    pub(super) neighbors: Neighbors,
    pub(super) clients: Option<Clients>,
    /// Made when the next hop is known.
    pub(super) sender: Option<Sender>,
    pub(super) burst: usize,
    pub(super) key: Key,
    pub(super) pool: Mempool,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    pub(super) started: u64,
}

/// What is to be sent in a phase.
struct Task {
    phase: Phase,
    pacer: Pacer,
    /// Packets that are still to be made.
    left: u64,
    began: u64,
}

impl Worker {
    /// Works until the conductor stops it. To be called on its lcore.
    pub(super) fn run(mut self, lcore: Lcore) -> Latency {
        let _ends_with_it = StopOnPanic(Arc::clone(&self.shared));
        let mut phase = Phase::Prepare;
        let mut task = None;
        let mut next_question = 0;
        // One announces for all.
        let mut unannounced = if self.index == 0 { self.neighbors.backends.clone() } else { Vec::new() }.into_iter();
        let mut idle_polls = 0;
        self.stage().is_up.set(1);
        loop {
            let now = self.clock.cycles();
            let wanted = self.shared.phase();
            if wanted != phase {
                phase = wanted;
                self.finish(task.take(), now);
                match phase {
                    Phase::Open | Phase::Measure => task = self.begin(phase, now),
                    Phase::Stop => break,
                    Phase::Prepare | Phase::Settle | Phase::Drain => {}
                }
            }
            let mut moved = self.receive(lcore);
            if self.sides.last().is_some_and(|side| !side.waiting.is_full())
                && let Some(address) = unannounced.next()
            {
                self.announce(lcore, address);
            }
            if phase == Phase::Prepare && self.nanos(now) >= next_question {
                next_question = self.nanos(now) + ASK_EVERY;
                self.ask(lcore);
            }
            if let Some(task) = &mut task {
                moved += self.send(lcore, task, now);
            }
            moved += self.flush(lcore);
            if task.as_ref().is_some_and(|task| task.left == 0) && self.sides[CLIENTS].waiting.is_empty() {
                self.finish(task.take(), now);
            }
            idle_polls = if moved > 0 { 0 } else { idle_polls + 1 };
            if idle_polls == IDLE_POLLS {
                thread::yield_now();
                idle_polls = 0;
            }
        }
        self.receiver.into_latency()
    }

    /// What this lcore has to send in `phase`; nothing, and it is finished, when none of the flows are its own.
    fn begin(&mut self, phase: Phase, now: u64) -> Option<Task> {
        if phase == Phase::Measure {
            self.receiver.begin();
        }
        let task = self.task(phase, now);
        if task.is_none() {
            self.stage().finished.set(phase as u64);
        }
        task
    }

    fn task(&mut self, phase: Phase, now: u64) -> Option<Task> {
        let clients = self.clients.as_ref()?;
        let share = Share { index: self.index as u32, of: self.shared.stages.len() as u32 };
        let to = Destination {
            source_mac: self.sides[CLIENTS].mac,
            mac: self.shared.next_hop()?,
            address: clients.vip,
            port: clients.port,
            protocol: clients.protocol,
        };
        if self.sender.is_none() {
            self.sender = Sender::new(clients, &to, self.key, share);
        }
        let sender = self.sender.as_ref()?;
        let senders = share.of.min(clients.flows.count());
        let own = |count: u64| Share { of: senders, ..share }.part(count);
        let (rate, left) = match (phase, clients.traffic) {
            (Phase::Open, Traffic::Packets { open_rate, .. }) => (open_rate, sender.flows()),
            _ => (clients.rate, clients.count.map_or(u64::MAX, own)),
        };
        let rate = rate.map(|rate| rate / f64::from(senders));
        let pacer = Pacer::new(rate, self.clock.hz(), self.burst, now);
        Some(Task { phase, pacer, left, began: now })
    }

    /// Says that all of a task is sent, or was to be.
    fn finish(&self, task: Option<Task>, now: u64) {
        let Some(Task { phase, began, .. }) = task else { return };
        if phase == Phase::Measure {
            self.stage().sending_nanos.set(self.clock.nanos(now.saturating_sub(began)));
        }
        self.stage().finished.set(phase as u64);
    }

    /// Makes as many packets as may leave now.
    #[inline(always)]
    fn send(&mut self, lcore: Lcore, task: &mut Task, now: u64) -> usize {
        let sent = SentAt::from_nanos(self.nanos(now));
        let (Some(sender), Some(side)) = (&mut self.sender, self.sides.get_mut(CLIENTS)) else { return 0 };
        let room = self.burst.min(side.waiting.remaining_capacity());
        let room = usize::try_from(task.left).map_or(room, |left| left.min(room));
        let count = if room > 0 { task.pacer.take(now, room) } else { 0 };
        if count == 0 {
            return 0;
        }
        let mut fresh = Burst::<Mbuf>::new();
        let made = self.pool.alloc_bulk(lcore, count, &mut fresh);
        let mut bytes = 0;
        for mut packet in fresh.drain(..) {
            let len = sender.next_len();
            // Buffers are longer than any frame.
            let Some(frame) = packet.append(len) else { continue };
            match task.phase {
                Phase::Open => sender.write_opening(frame, sent),
                _ => sender.write_next(frame, sent),
            }
            bytes += len as u64;
            side.waiting.push(packet);
        }
        task.left -= made as u64;
        let counters = &self.shared.counters[self.index];
        counters.sent.add(made as u64);
        counters.sent_bytes.add(bytes);
        if self.clients.as_ref().is_some_and(|clients| clients.traffic == Traffic::Connections) {
            counters.opened.add(made as u64);
        }
        made
    }

    /// Takes one burst from each port and sees to it.
    #[inline(always)]
    fn receive(&mut self, lcore: Lcore) -> usize {
        let mut received = 0;
        let mut burst = Burst::<Mbuf>::new();
        let mut garbage = Burst::<Mbuf>::new();
        for (at, side) in self.sides.iter_mut().enumerate() {
            // Every packet may have an answer.
            if side.waiting.remaining_capacity() < BURST || side.rx.rx_burst(lcore, &mut burst) == 0 {
                continue;
            }
            received += burst.len();
            burst.iter().for_each(Mbuf::prefetch);
            let now = SentAt::from_nanos(self.clock.nanos(self.clock.cycles().wrapping_sub(self.started)));
            for mut packet in burst.drain(..) {
                match self.receiver.receive(packet.data_mut(), side.mac, now) {
                    Fate::Discard => garbage.push(packet),
                    Fate::Answer => {
                        side.waiting.extend(self.pool.copy(lcore, self.receiver.answer()));
                        garbage.push(packet);
                    }
                    Fate::NextHop(mac) => {
                        // A balancer tells its service's address on all its ports, and each has another one.
                        if at == CLIENTS {
                            self.shared.set_next_hop(mac);
                        }
                        garbage.push(packet);
                    }
                    Fate::Transmit { len, is_sent } => {
                        packet.truncate(len);
                        if is_sent {
                            let counters = &self.shared.counters[self.index];
                            counters.sent.add(1);
                            counters.sent_bytes.add(len as u64);
                        }
                        side.waiting.push(packet);
                    }
                }
            }
            free_bulk(&mut garbage);
        }
        received
    }

    /// Gives the ports what waits for them, as much as they take.
    #[inline(always)]
    fn flush(&mut self, lcore: Lcore) -> usize {
        let mut taken = 0;
        for side in &mut self.sides {
            if !side.waiting.is_empty() {
                taken += side.tx.tx_burst(lcore, &mut side.waiting);
            }
        }
        taken
    }

    /// Asks for the next hop, for all lcores.
    fn ask(&mut self, lcore: Lcore) {
        if self.index != 0 || self.shared.next_hop().is_some() {
            return;
        }
        let side = &mut self.sides[CLIENTS];
        let question = self.neighbors.question(side.mac).and_then(|frame| self.pool.copy(lcore, &frame));
        if let Some(question) = question
            && !side.waiting.is_full()
        {
            side.waiting.push(question);
        }
    }

    /// Tells where a backend is, on the backends' port.
    fn announce(&mut self, lcore: Lcore, address: IpAddr) {
        let Some(side) = self.sides.last_mut() else { return };
        if let Some(packet) = self.pool.copy(lcore, &Neighbors::announcement(address, side.mac)) {
            side.waiting.push(packet);
        }
    }

    fn stage(&self) -> &super::Stage {
        &self.shared.stages[self.index]
    }

    #[inline(always)]
    fn nanos(&self, cycles: u64) -> u64 {
        self.clock.nanos(cycles.wrapping_sub(self.started))
    }
}

/// Ends everybody's work when this lcore's ends by a panic: nobody shall wait for it.
struct StopOnPanic(Arc<Shared>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.set_phase(Phase::Stop);
        }
    }
}
