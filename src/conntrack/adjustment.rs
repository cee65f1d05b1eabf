//! What leat changes in the TCP segments of one connection beside addresses and ports, where it does: the two sides count
//! sequence numbers, timestamps or windows differently, or the backend hears of something that the client has not sent.
//!
//! Most connections have none of this. A connection's record says whether it has; the rest lies in a line of its own, under
//! the same number, in memory that costs nothing before it is used.

use super::lines::{LazyLines, Line};
use crate::time::Tick;

/// What is still to be done for a connection, and done again until it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Errand {
    /// Nothing.
    #[default]
    None,
    /// The client's handshake, which leat has answered, is to be made with the backend.
    Open,
    /// The backend is to be told who the client is, by bytes before the client's first.
    Introduce,
}

/// How a connection's segments differ between its client and its backend. All numbers of segments are the client's, but where
/// it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adjustment {
    /// Added to the client's sequence numbers on their way to the backend.
    pub original_sequence: u32,
    /// Added to the backend's sequence numbers on their way to the client.
    pub reply_sequence: u32,
    /// Added to the client's timestamps on their way to the backend.
    pub original_timestamp: u32,
    /// Added to the backend's timestamps on their way to the client.
    pub reply_timestamp: u32,
    /// Whether [`Self::latest_timestamp`] is kept, for the next connection on the same source port.
    pub remembers_timestamps: bool,
    /// The latest timestamp that the backend was sent, as it got it; nothing if it was sent none.
    pub latest_timestamp: Option<u32>,
    /// The number of the client's first byte.
    pub first: u32,
    /// How many bytes the backend gets before the client's first and has not acknowledged. Once it has, they are counted in
    /// [`Self::original_sequence`].
    pub inserted: u16,
    /// Whether they are the binary form of the PROXY protocol's header.
    pub introduces_in_binary: bool,
    /// The kind of the option that holds the client's address in segments that begin with its first byte, or 0.
    pub option: u8,
    /// By how many bits the client's windows are shifted for the backend.
    pub original_window: i8,
    /// By how many bits the backend's windows are shifted for the client.
    pub reply_window: i8,
    /// Whether the client's timestamps are taken out of its SYN, so that none of them use them.
    pub without_timestamps: bool,
    /// What is to be done.
    pub errand: Errand,
    /// How often it was tried.
    pub tries: u8,
    /// When it was last tried.
    pub tried: Tick,
    /// What the client's last segment before that acknowledged.
    pub acknowledgment: u32,
    /// Its window, as it stands in the header.
    pub window: u16,
    /// Its timestamps, if it had some.
    pub timestamps: Option<(u32, u32)>,
    /// The largest segment that the client takes, for the SYN of [`Errand::Open`].
    pub mss: u16,
    /// Whether it understands selective acknowledgements.
    pub sack_permitted: bool,
}

impl Adjustment {
    /// Whether segments have to be changed, now or later.
    pub fn is_needed(&self) -> bool {
        let Self { original_sequence, reply_sequence, original_timestamp, reply_timestamp, .. } = *self;
        [original_sequence, reply_sequence, original_timestamp, reply_timestamp] != [0; 4]
            || [self.original_window, self.reply_window] != [0; 2]
            || self.without_timestamps
            || self.remembers_timestamps
            || self.inserted != 0
            || self.option != 0
            || self.errand != Errand::None
    }

    /// The client's number for what the backend counts as `number` in the client's direction. What stands before the client's
    /// first byte, and is not acknowledged yet, is that byte to the client.
    pub fn as_client_counts(&self, number: u32) -> u32 {
        let number = number.wrapping_sub(self.original_sequence);
        let from_first = number.wrapping_sub(self.first).cast_signed();
        if self.inserted == 0 || from_first <= 0 {
            number
        } else if from_first < self.inserted.into() {
            self.first
        } else {
            number.wrapping_sub(self.inserted.into())
        }
    }

    /// The backend's number for what the client counts as `number` in its own direction.
    pub fn as_backend_counts(&self, number: u32) -> u32 {
        let is_before = number.wrapping_sub(self.first).cast_signed() < 0;
        let inserted = if self.inserted == 0 || is_before { 0 } else { self.inserted };
        number.wrapping_add(self.original_sequence).wrapping_add(inserted.into())
    }

    const HAS_LATEST: u64 = 1;
    const HAS_TIMESTAMPS: u64 = 2;
    const WITHOUT_TIMESTAMPS: u64 = 4;
    const SACK_PERMITTED: u64 = 8;
    const REMEMBERS_TIMESTAMPS: u64 = 16;
    const INTRODUCES_IN_BINARY: u64 = 32;

    fn write(&self, line: &mut Line) {
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let (value, echo) = self.timestamps.unwrap_or_default();
        let flags = [
            (Self::HAS_LATEST, self.latest_timestamp.is_some()),
            (Self::HAS_TIMESTAMPS, self.timestamps.is_some()),
            (Self::WITHOUT_TIMESTAMPS, self.without_timestamps),
            (Self::SACK_PERMITTED, self.sack_permitted),
            (Self::REMEMBERS_TIMESTAMPS, self.remembers_timestamps),
            (Self::INTRODUCES_IN_BINARY, self.introduces_in_binary),
        ];
        let flags = flags.into_iter().filter(|(_, is_set)| *is_set).fold(0, |all, (bit, _)| all | bit);
        let bytes = [
            self.option,
            self.original_window.cast_unsigned(),
            self.reply_window.cast_unsigned(),
            self.errand as u8,
            self.tries,
            0,
            0,
            0,
        ];
        *line = [
            pair(self.original_sequence, self.reply_sequence),
            pair(self.original_timestamp, self.reply_timestamp),
            pair(self.latest_timestamp.unwrap_or_default(), self.first),
            pair(self.tried.0, self.acknowledgment),
            pair(value, echo),
            u64::from(self.inserted) | u64::from(self.window) << 16 | u64::from(self.mss) << 32 | flags << 48,
            u64::from_le_bytes(bytes),
            0,
        ];
    }

    fn read(line: &Line) -> Self {
        let [sequences, stamps, latest, tried, timestamps, shorts, bytes, _] = *line;
        let (high, low) = (|word: u64| (word >> 32) as u32, |word: u64| word as u32);
        let has = |flag: u64| shorts >> 48 & flag != 0;
        let [option, original_window, reply_window, errand, tries, ..] = bytes.to_le_bytes();
        Self {
            original_sequence: high(sequences),
            reply_sequence: low(sequences),
            original_timestamp: high(stamps),
            reply_timestamp: low(stamps),
            latest_timestamp: has(Self::HAS_LATEST).then_some(high(latest)),
            first: low(latest),
            inserted: shorts as u16,
            option,
            original_window: original_window.cast_signed(),
            reply_window: reply_window.cast_signed(),
            without_timestamps: has(Self::WITHOUT_TIMESTAMPS),
            errand: match errand {
                0 => Errand::None,
                1 => Errand::Open,
                _ => Errand::Introduce,
            },
            tries,
            tried: Tick(high(tried)),
            acknowledgment: low(tried),
            window: (shorts >> 16) as u16,
            timestamps: has(Self::HAS_TIMESTAMPS).then_some((high(timestamps), low(timestamps))),
            mss: (shorts >> 32) as u16,
            sack_permitted: has(Self::SACK_PERMITTED),
            remembers_timestamps: has(Self::REMEMBERS_TIMESTAMPS),
            introduces_in_binary: has(Self::INTRODUCES_IN_BINARY),
        }
    }
}

/// The adjustments of a table's connections, by the numbers of their records.
#[derive(Debug)]
pub(super) struct Adjustments(LazyLines);

impl Adjustments {
    /// Room for those of `connections`.
    pub(super) fn new(connections: usize) -> Self {
        Self(LazyLines::zeroed(connections))
    }

    pub(super) fn get(&self, at: usize) -> Adjustment {
        Adjustment::read(self.0.line(at))
    }

    pub(super) fn set(&mut self, at: usize, adjustment: &Adjustment) {
        adjustment.write(self.0.line_mut(at));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_away_is_found_again(
            numbers in any::<[u32; 8]>(), shorts in any::<[u16; 3]>(), bytes in any::<(u8, i8, i8, u8)>(),
            latest_timestamp in any::<Option<u32>>(), timestamps in any::<Option<(u32, u32)>>(), bits in any::<[bool; 4]>(),
            errand in prop_oneof![Just(Errand::None), Just(Errand::Open), Just(Errand::Introduce)],
        ) {
            let adjustment = Adjustment {
                original_sequence: numbers[0],
                reply_sequence: numbers[1],
                original_timestamp: numbers[2],
                reply_timestamp: numbers[3],
                latest_timestamp,
                first: numbers[4],
                inserted: shorts[0],
                option: bytes.0,
                original_window: bytes.1,
                reply_window: bytes.2,
                without_timestamps: bits[0],
                errand,
                tries: bytes.3,
                tried: Tick(numbers[5]),
                acknowledgment: numbers[6],
                window: shorts[1],
                timestamps,
                mss: shorts[2],
                sack_permitted: bits[1],
                remembers_timestamps: bits[2],
                introduces_in_binary: bits[3],
            };
            let mut adjustments = Adjustments::new(3);
            adjustments.set(1, &adjustment);
            prop_assert_eq!(adjustments.get(1), adjustment);
            prop_assert_eq!(adjustments.get(0), Adjustment::default());
            prop_assert_eq!(adjustments.get(2), Adjustment::default());
        }
    }
}
