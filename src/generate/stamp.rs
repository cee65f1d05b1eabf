//! What each packet's payload says of it: its flow, its place among all packets of its sender, when it was sent, and a
//! check over these.
//!
//! ```text
//!  0       4       8       12      16
//! +-------+-------+-------+-------+---------
//! | flow  |number | time  | check | filler …        16 bytes of payload or more
//! +-------+-------+-------+-------+---------
//!  0       4   6
//! +-------+---+---------
//! | time  |chk| filler …                            6 to 15, such as TCP in a frame of 64 bytes
//! +-------+---+---------
//! ```
//!
//! All in network byte order. The check is keyed at random in each run: a packet of another generator, or of an earlier
//! run, is not taken for one of these. The check of the short form also covers the flow, which is not written: it is
//! verified with the flow that the packet's addresses name.

/// Bytes of the whole form.
pub const LONG: usize = 16;
/// Bytes of the short form, the least that a payload must have.
pub const SHORT: usize = 6;

/// When a packet was sent: a moment that comes again after 68 seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentAt(pub u32);

impl SentAt {
    /// Bits of a nanosecond's number that are left out: the unit is 16 ns.
    const SHIFT: u32 = 4;

    /// The moment `nanos` nanoseconds after some start.
    #[inline(always)]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self((nanos >> Self::SHIFT) as u32)
    }

    /// Nanoseconds from this moment to `later`, modulo 68 seconds and in steps of 16.
    #[inline(always)]
    pub const fn nanos_until(self, later: Self) -> u64 {
        (later.0.wrapping_sub(self.0) as u64) << Self::SHIFT
    }

    /// Whether this is a later moment than `other`, if they are not more than 34 seconds apart.
    #[inline(always)]
    pub const fn is_after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }
}

/// What is written of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its flow.
    pub flow: u32,
    /// How many its sender had sent before it, modulo 2³². The short form has no room for it.
    pub number: u32,
    /// When it was sent.
    pub sent: SentAt,
}

/// What a payload turned out to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The whole form, and its check is right.
    Long(Stamp),
    /// The short form: its check is right for the flow that was asked about.
    Short(SentAt),
    /// The check is not right.
    Wrong,
    /// Too short for a stamp.
    None,
}

/// What keeps runs apart.
#[derive(Clone, Copy, Debug)]
pub struct Key(pub u64);

impl Key {
    /// Writes `stamp` into the front of `payload`, in the form that fits. Without room nothing is written.
    #[inline(always)]
    pub fn write(self, stamp: &Stamp, payload: &mut [u8]) {
        if let Some(bytes) = payload.first_chunk_mut::<LONG>() {
            let [flow, number, sent] = [stamp.flow, stamp.number, stamp.sent.0].map(u64::from);
            let check = u64::from(self.check(stamp));
            bytes[..8].copy_from_slice(&(flow << 32 | number).to_be_bytes());
            bytes[8..].copy_from_slice(&(sent << 32 | check).to_be_bytes());
        } else if let Some(bytes) = payload.first_chunk_mut::<SHORT>() {
            bytes[..4].copy_from_slice(&stamp.sent.0.to_be_bytes());
            bytes[4..].copy_from_slice(&self.short_check(stamp.flow, stamp.sent).to_be_bytes());
        }
    }

    /// Reads what the front of `payload` says. `flow` is what the packet's addresses name, if they name one.
    #[inline(always)]
    pub fn read(self, payload: &[u8], flow: Option<u32>) -> Reading {
        if let Some(bytes) = payload.first_chunk::<LONG>() {
            let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            let stamp = Stamp { flow: word(0), number: word(4), sent: SentAt(word(8)) };
            return if self.check(&stamp) == word(12) { Reading::Long(stamp) } else { Reading::Wrong };
        }
        let Some(&[a, b, c, d, check @ ..]) = payload.first_chunk::<SHORT>() else { return Reading::None };
        let sent = SentAt(u32::from_be_bytes([a, b, c, d]));
        match flow {
            Some(flow) if self.short_check(flow, sent) == u16::from_be_bytes(check) => Reading::Short(sent),
            _ => Reading::Wrong,
        }
    }

    #[inline(always)]
    const fn check(self, stamp: &Stamp) -> u32 {
        let identity = (stamp.flow as u64) << 32 | stamp.number as u64;
        self.mix(identity, stamp.sent) as u32
    }

    #[inline(always)]
    const fn short_check(self, flow: u32, sent: SentAt) -> u16 {
        self.mix((flow as u64) << 32, sent) as u16
    }

    /// Two rounds of multiplication and folding: every bit of the input reaches the result's low bits.
    #[inline(always)]
    const fn mix(self, identity: u64, sent: SentAt) -> u64 {
        let a = (identity ^ self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let b = (a ^ a >> 32 ^ sent.0 as u64).wrapping_mul(0xd6e8_feb8_6659_fd93);
        b ^ b >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key(0x0123_4567_89ab_cdef);
    const STAMP: Stamp = Stamp { flow: 77, number: 12_345_678, sent: SentAt(0xffff_fff0) };

    #[test]
    fn what_is_written_is_read_in_both_forms() {
        let mut payload = [0; 18];
        KEY.write(&STAMP, &mut payload);
        assert_eq!(KEY.read(&payload, None), Reading::Long(STAMP));
        for len in SHORT..LONG {
            KEY.write(&STAMP, &mut payload[..len]);
            assert_eq!(KEY.read(&payload[..len], Some(77)), Reading::Short(STAMP.sent));
            assert_eq!(KEY.read(&payload[..len], Some(78)), Reading::Wrong, "another flow's packet");
            assert_eq!(KEY.read(&payload[..len], None), Reading::Wrong);
        }
        for len in 0..SHORT {
            KEY.write(&STAMP, &mut payload[..len]);
            assert_eq!(KEY.read(&payload[..len], Some(77)), Reading::None);
        }
    }

    #[test]
    fn no_bit_can_change_unnoticed() {
        for len in [LONG, SHORT] {
            for bit in 0..8 * len {
                let mut payload = vec![0; len];
                KEY.write(&STAMP, &mut payload);
                payload[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(KEY.read(&payload, Some(77)), Reading::Wrong, "bit {bit} of {len} bytes");
            }
        }
    }

    #[test]
    fn another_runs_packets_are_not_this_ones() {
        let mut payload = [0; LONG];
        Key(1).write(&STAMP, &mut payload);
        assert_eq!(Key(2).read(&payload, None), Reading::Wrong);
    }

    #[test]
    fn times_are_compared_across_the_wrap() {
        let (before, after) = (SentAt(0xffff_fff0), SentAt(0x10));
        assert_eq!(before.nanos_until(after), 512);
        assert!(after.is_after(before) && !before.is_after(after) && !after.is_after(after));
        assert_eq!(SentAt::from_nanos(1600), SentAt(100));
    }
}
