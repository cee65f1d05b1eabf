//! Packets that wait for their next hop to answer.
//!
//! RFC 1122 §2.3.2.2 asks for at least one packet to be kept; a few let a burst of a new connection through whole.

use std::sync::Arc;
use std::time::Duration;

use super::{Hop, Neighbor};
use crate::time::Instant;

/// How many packets wait for one next hop.
const PER_NEIGHBOR: usize = 8;

/// How many packets wait in all, on one worker.
const TOTAL: usize = 512;

/// How long a packet waits.
const PATIENCE: Duration = Duration::from_secs(3);

struct Entry<P> {
    packet: P,
    neighbor: Arc<Neighbor>,
    since: Instant,
}

/// One worker's waiting packets, in the order in which they came.
pub struct Waiting<P> {
    entries: Vec<Entry<P>>,
}

/// What became of a packet that waited.
#[derive(Debug)]
pub enum Outcome<P> {
    /// Its next hop is known now.
    Resolved(P, Hop),
    /// It waited for too long.
    Expired(P),
}

impl<P> Default for Waiting<P> {
    fn default() -> Self {
        Self { entries: Vec::with_capacity(TOTAL) }
    }
}

impl<P> Waiting<P> {
    /// A place without room, which takes no memory: to stand in while the real one is emptied.
    pub const fn closed() -> Self {
        Self { entries: Vec::new() }
    }

    /// Whether no packet waits.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether one more packet can wait for `neighbor`.
    pub fn has_room_for(&self, neighbor: &Arc<Neighbor>) -> bool {
        let waiting = self.entries.iter().filter(|entry| Arc::ptr_eq(&entry.neighbor, neighbor)).count();
        waiting < PER_NEIGHBOR && self.entries.len() < TOTAL.min(self.entries.capacity())
    }

    /// Keeps `packet` until `neighbor` is known.
    ///
    /// # Errors
    ///
    /// The packet itself, when too many wait already.
    pub fn push(&mut self, packet: P, neighbor: &Arc<Neighbor>, now: Instant) -> Result<(), P> {
        if !self.has_room_for(neighbor) {
            return Err(packet);
        }
        self.entries.push(Entry { packet, neighbor: Arc::clone(neighbor), since: now });
        Ok(())
    }

    /// Gives away every packet whose wait is over, oldest first.
    pub fn release(&mut self, now: Instant, mut give: impl FnMut(Outcome<P>)) {
        let over = |entry: &mut Entry<P>| entry.neighbor.hop().is_some() || now.since(entry.since) >= PATIENCE;
        for entry in self.entries.extract_if(.., over) {
            give(match entry.neighbor.hop() {
                Some(hop) => Outcome::Resolved(entry.packet, hop),
                None => Outcome::Expired(entry.packet),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PortId;
    use crate::wire::MacAddr;

    fn neighbor(last: u8) -> Arc<Neighbor> {
        Arc::new(Neighbor::new([10, 0, 0, last].into(), [10, 0, 0, 10].into(), None, 1))
    }

    fn release(waiting: &mut Waiting<u32>, now: Instant) -> (Vec<u32>, Vec<u32>) {
        let (mut resolved, mut expired) = (Vec::new(), Vec::new());
        waiting.release(now, |outcome| match outcome {
            Outcome::Resolved(packet, _) => resolved.push(packet),
            Outcome::Expired(packet) => expired.push(packet),
        });
        (resolved, expired)
    }

    #[test]
    fn packets_leave_in_order_when_their_next_hop_answers() {
        let (here, silent) = (neighbor(2), neighbor(3));
        let mut waiting = Waiting::default();
        for packet in [1, 2, 3] {
            waiting.push(packet, &here, Instant::ZERO).unwrap();
            waiting.push(packet + 10, &silent, Instant::ZERO).unwrap();
        }
        assert_eq!(release(&mut waiting, Instant::ZERO), (vec![], vec![]));
        here.learn(Hop { mac: MacAddr([2, 0, 0, 0, 0, 2]), port: PortId(0) });
        assert_eq!(release(&mut waiting, Instant::ZERO), (vec![1, 2, 3], vec![]));
        assert_eq!(release(&mut waiting, Instant::ZERO + PATIENCE), (vec![], vec![11, 12, 13]));
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_silent_next_hop_holds_a_few_packets_and_no_more() {
        let mut waiting = Waiting::default();
        let (one, other) = (neighbor(2), neighbor(3));
        for packet in 0..8 {
            waiting.push(packet, &one, Instant::ZERO).unwrap();
        }
        assert_eq!(waiting.push(8, &one, Instant::ZERO), Err(8));
        assert_eq!(waiting.push(9, &other, Instant::ZERO), Ok(()), "one silent neighbour does not hurt another");
    }

    #[test]
    fn memory_is_bounded_whatever_the_number_of_silent_next_hops() {
        let mut waiting = Waiting::default();
        for packet in 0..TOTAL as u32 {
            waiting.push(packet, &neighbor(2), Instant::ZERO).unwrap();
        }
        assert_eq!(waiting.push(0, &neighbor(2), Instant::ZERO), Err(0));
    }
}
