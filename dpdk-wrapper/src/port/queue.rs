//! The queues of a started port.

use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk_sys as sys;

use super::{Device, PortId};
use crate::{Lcore, Mbuf, mbuf};

/// The queues of a started port, by number. While one of them exists, the port cannot be stopped.
#[derive(Debug)]
pub struct Queues {
    /// The RX queues.
    pub rx: Vec<RxQueue>,
    /// The TX queues.
    pub tx: Vec<TxQueue>,
}

impl Queues {
    pub(super) fn new(device: &Arc<Device>, rx: u16, tx: u16) -> Self {
        Self {
            rx: (0..rx).map(|queue| RxQueue { queue, device: Arc::clone(device) }).collect(),
            tx: (0..tx).map(|queue| TxQueue { queue, device: Arc::clone(device) }).collect(),
        }
    }
}

/// A queue of packets that a port received.
#[derive(Debug)]
pub struct RxQueue {
    queue: u16,
    device: Arc<Device>,
}

impl RxQueue {
    /// Adds packets that the port received to `burst`, as many as there are and as it has room for, without waiting.
    /// Returns how many. Some drivers give nothing to a room for less than 32.
    #[inline]
    pub fn rx_burst<const N: usize>(&mut self, _: Lcore, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        // SAFETY: the port is started while this queue exists, which is borrowed mutably: nobody else polls it. There
        // is room for so many pointers at that place.
        let receive = |place, room| unsafe { sys::rte_eth_rx_burst(self.device.id.0, self.queue, place, room) };
        // SAFETY: the driver hands over as many mbufs as it says.
        unsafe { mbuf::fill(burst, N, receive) }
    }

    /// The number of the queue in its port.
    pub fn index(&self) -> u16 {
        self.queue
    }

    /// The port that it belongs to.
    pub fn port(&self) -> PortId {
        self.device.id
    }
}

/// A queue of packets that a port is to send.
#[derive(Debug)]
pub struct TxQueue {
    queue: u16,
    device: Arc<Device>,
}

impl TxQueue {
    /// Hands packets from the front of `burst` to the port, as many as its queue has room for, without waiting. Those
    /// left move up, in order: they can be offered again, or dropped. Returns how many were handed over.
    #[inline]
    pub fn tx_burst<const N: usize>(&mut self, _: Lcore, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        // SAFETY: the port is started while this queue exists, which is borrowed mutably: nobody else sends on it. So
        // many mbufs are at that place, and are owned.
        let send = |place, count| unsafe { sys::rte_eth_tx_burst(self.device.id.0, self.queue, place, count) };
        // SAFETY: the driver owns as many mbufs from the front as it says, and leaves the others alone.
        unsafe { mbuf::take(burst, send) }
    }

    /// The number of the queue in its port.
    pub fn index(&self) -> u16 {
        self.queue
    }

    /// The port that it belongs to.
    pub fn port(&self) -> PortId {
        self.device.id
    }
}
