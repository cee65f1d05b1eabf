//! Initial sequence numbers of leat's own, for a source port that a backend may still have in TIME-WAIT.
//!
//! Different clients share the source ports of a local address. To a backend they are one host, and a host's next SYN on a
//! tuple in TIME-WAIT opens a connection if its sequence number lies beyond the last connection's, and its timestamp, where
//! both had some, is later (RFC 1122 §4.2.2.13, RFC 6191, RFC 7323 §5). Another client's is neither but by chance. So where a
//! port is taken again from a connection that the backend has closed first, the new one gets a number beyond the old one's, which is kept up by
//! a constant difference; and its timestamps get one that makes them later than the old one's last, or are left out where
//! that is not known.
//!
//! The number is that of RFC 6528 §3: a clock of 4 µs, here in steps of a tick, and a keyed hash of the tuple.

use super::adjustment::Adjustment;
use super::{ConnectionIndex, Conntrack, Direction};
use crate::flow::FlowKey;
use crate::time::Tick;
use crate::wire::tcp_options;

/// Steps of RFC 6528's clock in a tick: one each 4 µs.
const STEPS_PER_TICK: u32 = (Tick::NANOS / 4_000) as u32;

/// How far beyond the last connection's numbers the next one begins at least: a segment of that, with a window's worth of
/// data, that is still under way lies before it.
const DISTANCE: u32 = 1 << 17;

/// What a SYN says that may get another number.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a> {
    /// Whether it gets one of leat's in any case, and not only where the backend may need it.
    pub always: bool,
    /// The SYN's sequence number.
    pub sequence: u32,
    /// Its timestamp, if it has one.
    pub timestamp: Stamp<'a>,
    /// The connection that was on the preferred port, if it has been ended for this one.
    pub before: Option<Predecessor>,
}

/// Where a SYN's timestamp is, which few need to know.
#[derive(Clone, Copy, Debug)]
pub enum Stamp<'a> {
    /// In the options of this header, if at all.
    In(&'a [u8]),
    /// This one, or none.
    Is(Option<u32>),
}

impl Stamp<'_> {
    fn read(self) -> Option<u32> {
        match self {
            Self::In(header) => tcp_options::of(header).timestamps.map(|(value, _)| value),
            Self::Is(timestamp) => timestamp,
        }
    }
}

/// What a backend may remember of the last connection on a source port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// The number after its last, as the backend knows it.
    end: u32,
    /// The latest timestamp that the backend was sent; nothing if it was sent none. It is not known where nobody looked.
    latest_timestamp: Option<Option<u32>>,
}

impl Predecessor {
    /// The number after its last, as the backend knows it.
    pub const fn end(self) -> u32 {
        self.end
    }
}

impl Conntrack {
    /// What the backend of the connection at `index` may remember of it.
    pub fn predecessor(&self, index: ConnectionIndex) -> Predecessor {
        let (connection, adjustment) = (self.table.record(index), self.adjustment(index));
        Predecessor {
            end: connection.track.ends[Direction::Original as usize]
                .wrapping_add(adjustment.original_sequence)
                .wrapping_add(adjustment.inserted.into()),
            latest_timestamp: adjustment.remembers_timestamps.then_some(adjustment.latest_timestamp),
        }
    }

    /// Changes `adjustment` for a new connection with these numbers, which needs others, which the backend will know by the opposite of `reply` and
    /// which follows `before` on its source port, if that may still be in TIME-WAIT there.
    #[cold]
    pub(super) fn renumber(
        &self,
        numbers: Numbers<'_>,
        reply: &FlowKey,
        before: Option<Predecessor>,
        now: Tick,
        adjustment: &mut Adjustment,
    ) {
        let may_follow = before.is_some() || self.has_forgotten_resting(now);
        adjustment.remembers_timestamps = true;
        // Unlike the table's index, the number uses the hash's upper half: it tells nothing of that.
        let hash = self.hasher.hash(reply);
        let mut initial = ((hash >> 32) as u32).wrapping_add(now.0.wrapping_mul(STEPS_PER_TICK));
        if let Some(Predecessor { end, .. }) = before
            && initial.wrapping_sub(end).cast_signed() < DISTANCE.cast_signed()
        {
            initial = end.wrapping_add(DISTANCE).wrapping_add(hash as u32 & 0xffff);
        }
        adjustment.original_sequence = initial.wrapping_sub(numbers.sequence);
        let Some(timestamp) = numbers.timestamp.read().filter(|_| may_follow) else { return };
        match before.and_then(|before| before.latest_timestamp) {
            Some(Some(latest)) if latest.wrapping_sub(timestamp).cast_signed() >= 0 => {
                adjustment.original_timestamp = latest.wrapping_add(1).wrapping_sub(timestamp);
            }
            // After one without timestamps, any will do.
            Some(_) => {}
            None => adjustment.without_timestamps = true,
        }
    }
}
