//! Packets that leat's own programs exchange with backends, between a control thread and the worker that has the ports.
//!
//! ```text
//! control: send ──▶ sent ──▶ worker: collect     (an IPv4 packet for a backend, by the way of its clients' packets)
//! control: receive ◀── delivered ◀── worker: deliver
//! ```
//!
//! Nobody waits and nobody allocates: there are so many letters and no more. One that finds no room is lost, as packets are.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam::queue::ArrayQueue;

use crate::id::BackendId;

/// Letters for each way.
const LETTERS: usize = 1024;

/// The longest packet, in bytes: with the outer headers of any tunnel around it, it fits through an Ethernet.
pub const LONGEST: usize = 1400;

/// The source ports that these packets have, and the identifiers of their pings: no connection gets them at the addresses that
/// such packets leave from.
pub const PORTS: RangeInclusive<u16> = 64512..=65535;

/// One packet.
#[derive(Debug)]
struct Letter {
    backend: BackendId,
    len: usize,
    bytes: [u8; LONGEST],
}

/// Letters on one way, and those that are free.
#[derive(Debug)]
struct Way {
    free: ArrayQueue<Box<Letter>>,
    full: ArrayQueue<Box<Letter>>,
}

/// Both ways. One control thread and the first worker use it.
#[derive(Debug)]
pub struct Courier {
    out: Way,
    back: Way,
    sent: AtomicU64,
    collected: AtomicU64,
}

impl Way {
    fn new() -> Self {
        let (free, full) = (ArrayQueue::new(LETTERS), ArrayQueue::new(LETTERS));
        for _ in 0..LETTERS {
            // There is room for so many.
            let _ = free.push(Box::new(Letter { backend: BackendId(0), len: 0, bytes: [0; LONGEST] }));
        }
        Self { free, full }
    }

    fn put(&self, backend: BackendId, packet: &[u8]) -> bool {
        if packet.len() > LONGEST {
            return false;
        }
        let Some(mut letter) = self.free.pop() else { return false };
        letter.backend = backend;
        letter.len = packet.len();
        letter.bytes[..packet.len()].copy_from_slice(packet);
        // There are as many places as letters.
        self.full.push(letter).is_ok()
    }

    fn take<R>(&self, read: impl FnOnce(BackendId, &[u8]) -> R) -> Option<R> {
        if self.full.is_empty() {
            return None;
        }
        let letter = self.full.pop()?;
        let result = read(letter.backend, &letter.bytes[..letter.len]);
        let _ = self.free.push(letter);
        Some(result)
    }
}

impl Default for Courier {
    fn default() -> Self {
        Self { out: Way::new(), back: Way::new(), sent: AtomicU64::new(0), collected: AtomicU64::new(0) }
    }
}

impl Courier {
    /// The control thread's: has the IPv4 packet `packet` go to `backend`. Its number, if there was room for it.
    pub fn send(&self, backend: BackendId, packet: &[u8]) -> Option<u64> {
        self.out.put(backend, packet).then(|| self.sent.fetch_add(1, Relaxed) + 1)
    }

    /// The control thread's: whether the worker has taken the packet of this number.
    pub fn is_collected(&self, number: u64) -> bool {
        self.collected.load(Relaxed) >= number
    }

    /// The control thread's: the next packet that has come.
    pub fn receive<R>(&self, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.back.take(|_, packet| read(packet))
    }

    /// The worker's: the next packet to be sent, and to whom.
    #[inline]
    pub fn collect<R>(&self, read: impl FnOnce(BackendId, &[u8]) -> R) -> Option<R> {
        let result = self.out.take(read)?;
        self.collected.store(self.collected.load(Relaxed) + 1, Relaxed);
        Some(result)
    }

    /// The worker's: hands in an IPv4 packet that has come. Whether there was room for it.
    pub fn deliver(&self, packet: &[u8]) -> bool {
        self.back.put(BackendId(0), packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_arrive_in_order_and_what_finds_no_room_is_lost() {
        let courier = Courier::default();
        let numbers: Vec<_> = (0..LETTERS as u32 + 1).map(|to| courier.send(BackendId(to), &[1, 2])).collect();
        assert_eq!((numbers[0], numbers[LETTERS - 1], numbers[LETTERS]), (Some(1), Some(LETTERS as u64), None));
        assert!(!courier.is_collected(1));
        assert_eq!(courier.collect(|backend, packet| (backend, packet.to_vec())), Some((BackendId(0), vec![1, 2])));
        assert!(courier.is_collected(1) && !courier.is_collected(2));
        assert_eq!(courier.send(BackendId(7), &[0; LONGEST + 1]), None);
        assert!(courier.deliver(&[3]) && courier.receive(<[u8]>::to_vec) == Some(vec![3]));
        assert_eq!(courier.receive(<[u8]>::len), None);
    }
}
