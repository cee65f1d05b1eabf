//! Where one worker's packets go: its queues of the ports, the rings to other workers, and back to the pool.

use arrayvec::ArrayVec;
use dpdk_wrapper::{Lcore, Mbuf, Mempool, Producer, TxQueue, free_bulk};

use super::{HandOver, vlan};
use crate::counters::{DropReason, PerWorker, WorkerCounters};
use crate::id::{PortId, WorkerId};
use crate::io::{Output, Packet};
use crate::service::Vlan;

/// Packets that are kept for one port before they are sent together.
const BUFFER: usize = 64;

/// How a worker reaches a port.
pub(super) enum Way {
    /// By a queue of its own, with what is to be put into it next.
    Queue(TxQueue, Box<ArrayVec<Mbuf, BUFFER>>),
    /// With a tag in front, by the way of the device that the VLAN is on.
    Tagged(Vlan),
    /// Through another worker, because the port has fewer queues than there are workers.
    Through(WorkerId),
}

/// All ways out of one worker.
pub(super) struct Outlet {
    id: WorkerId,
    counters: PerWorker<WorkerCounters>,
    pool: Mempool,
    /// By [`PortId`].
    ways: Vec<Option<Way>>,
    /// By [`WorkerId`]; none to itself.
    rings: Vec<Option<Producer<HandOver>>>,
    garbage: ArrayVec<Mbuf, BUFFER>,
}

/// An outlet on the lcore that it belongs to.
pub(super) struct OnLcore<'a> {
    outlet: &'a mut Outlet,
    lcore: Lcore,
}

impl Outlet {
    pub(super) const fn new(
        id: WorkerId,
        counters: PerWorker<WorkerCounters>,
        pool: Mempool,
        ways: Vec<Option<Way>>,
        rings: Vec<Option<Producer<HandOver>>>,
    ) -> Self {
        Self { id, counters, pool, ways, rings, garbage: ArrayVec::new_const() }
    }

    /// The same, with the proof that the caller is its lcore.
    #[inline(always)]
    pub(super) fn on(&mut self, lcore: Lcore) -> OnLcore<'_> {
        OnLcore { outlet: self, lcore }
    }

    /// Puts `packet` into the buffer of `port`, or on its way to the worker that has one.
    #[inline(always)]
    pub(super) fn transmit(&mut self, lcore: Lcore, packet: Mbuf, port: PortId) {
        let Some(Some(Way::Queue(queue, buffer))) = self.ways.get_mut(port.index()) else {
            return self.transmit_elsewhere(lcore, packet, port);
        };
        if buffer.is_full() {
            send(&self.counters[self.id.index()], lcore, queue, buffer);
        }
        if let Err(error) = buffer.try_push(packet) {
            self.drop(error.element(), DropReason::TransmitFull);
        }
    }

    /// The same where this worker has no queue of the port.
    #[inline(never)]
    fn transmit_elsewhere(&mut self, lcore: Lcore, mut packet: Mbuf, port: PortId) {
        match self.ways.get(port.index()) {
            Some(&Some(Way::Through(worker))) => {
                if let Err(HandOver::Transmit(packet, _) | HandOver::Process(packet)) =
                    self.pass(HandOver::Transmit(packet, port), worker)
                {
                    self.drop(packet, DropReason::HandOverFull);
                }
            }
            Some(&Some(Way::Tagged(vlan))) => {
                if vlan::tag(&mut packet, vlan.tag) {
                    self.transmit(lcore, packet, vlan.device);
                } else {
                    self.drop(packet, DropReason::NoBuffer);
                }
            }
            // No snapshot names a port that is not there.
            Some(None | Some(Way::Queue(..))) | None => self.drop(packet, DropReason::TransmitFull),
        }
    }

    /// Sends what is buffered and frees what is dropped. What a port does not take now stays for the next time.
    pub(super) fn flush(&mut self, lcore: Lcore) {
        for way in &mut self.ways {
            if let Some(Way::Queue(queue, buffer)) = way
                && !buffer.is_empty()
            {
                send(&self.counters[self.id.index()], lcore, queue, buffer);
            }
        }
        if !self.garbage.is_empty() {
            free_bulk(&mut self.garbage);
        }
    }

    fn pass(&mut self, item: HandOver, to: WorkerId) -> Result<(), HandOver> {
        match self.rings.get_mut(to.index()) {
            Some(Some(ring)) => ring.push(item),
            Some(None) | None => Err(item),
        }
    }

    fn drop(&mut self, packet: Mbuf, reason: DropReason) {
        self.counters[self.id.index()].drops.add(reason, 1);
        self.discard(packet);
    }

    #[inline(always)]
    fn discard(&mut self, packet: Mbuf) {
        if self.garbage.is_full() {
            free_bulk(&mut self.garbage);
        }
        self.garbage.push(packet);
    }
}

/// Gives as much of `buffer` to the port as it takes.
#[inline(always)]
fn send(counters: &WorkerCounters, lcore: Lcore, queue: &mut TxQueue, buffer: &mut ArrayVec<Mbuf, BUFFER>) {
    let bytes = |buffer: &[Mbuf]| buffer.iter().map(|packet| packet.frame_len() as u64).sum::<u64>();
    let before = bytes(buffer);
    let sent = queue.tx_burst(lcore, buffer);
    counters.transmitted.add(sent as u64);
    counters.transmitted_bytes.add(before - bytes(buffer));
}

impl Output<Mbuf> for OnLcore<'_> {
    #[inline(always)]
    fn transmit(&mut self, packet: Mbuf, port: PortId) {
        self.outlet.transmit(self.lcore, packet, port);
    }

    fn hand_over(&mut self, packet: Mbuf, to: WorkerId) -> Result<(), Mbuf> {
        self.outlet.pass(HandOver::Process(packet), to).map_err(|item| match item {
            HandOver::Process(packet) | HandOver::Transmit(packet, _) => packet,
        })
    }

    #[inline(always)]
    fn discard(&mut self, packet: Mbuf) {
        self.outlet.discard(packet);
    }

    fn create(&mut self, frame: &[u8]) -> Option<Mbuf> {
        self.outlet.pool.copy(self.lcore, frame)
    }
}
