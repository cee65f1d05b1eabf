//! How long the next frame is.
//!
//! Lengths are those of RFC 2544: with the 4 bytes of Ethernet's frame check sequence, which no buffer holds. So 64 is the
//! shortest frame, and takes 60 bytes of a buffer. In IPv6, whose header is 20 bytes longer, frames begin at 84: what they
//! carry is then as long as in IPv4.

use std::ops::RangeInclusive;

use crate::wire::{ipv4, ipv6};

/// The shortest and the longest frame without VLAN, check sequence included (RFC 2544 §9.1).
const SHORTEST: u16 = 64;
const LONGEST: u16 = 1518;

/// By how many bytes a header of IPv6 is longer than one of IPv4.
const LONGER: u16 = (ipv6::HEADER_LEN - ipv4::HEADER_LEN) as u16;

/// The frames that there can be: from clients of IPv6 or IPv4, to a balancer that makes packets of IPv6 of those of IPv4 or
/// not.
pub const fn range(is_v6: bool, grows: bool) -> RangeInclusive<u16> {
    match (is_v6, grows) {
        (true, _) => SHORTEST + LONGER..=LONGEST,
        (false, true) => SHORTEST..=LONGEST - LONGER,
        (false, false) => SHORTEST..=LONGEST,
    }
}

/// Bytes of the frame check sequence.
const CHECK_SEQUENCE: u16 = 4;

/// The most frames of one round through a mix.
const MOST_SLOTS: usize = 1024;

/// Frame lengths that follow each other in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The different lengths in buffers, without check sequence.
    distinct: Vec<u16>,
    /// One round: indices into `distinct`.
    round: Vec<u8>,
}

/// Why a mix of sizes is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// A length that no frame has.
    #[error("size {0} is out of range; write {low} to {high}, the check sequence's 4 bytes included", low = .1.start(), high = .1.end())]
    Size(u64, RangeInclusive<u16>),
    /// A weight of 0.
    #[error("a weight of 0 means never; leave the size out")]
    Never,
    /// Too many frames until the mix repeats.
    #[error("the weights add up to more than {MOST_SLOTS}; write smaller ones")]
    TooLong,
}

impl Sizes {
    /// The simple Internet mix: 7 of the shortest, 64 bytes, 4 of 594 and 1 of the longest, 1518.
    pub fn imix(range: &RangeInclusive<u16>) -> [(u64, u64); 3] {
        [((*range.start()).into(), 7), (594, 4), ((*range.end()).into(), 1)]
    }

    /// Frames of these lengths, which are in `range`, each so often as its weight says, spread over the round. There is at
    /// least one.
    ///
    /// # Errors
    /// As [`MixError`] says.
    pub fn new(mix: &[(u64, u64)], range: &RangeInclusive<u16>) -> Result<Self, MixError> {
        let mut distinct = Vec::new();
        let mut slots: Vec<(u64, u64, u8)> = Vec::new();
        for &(size, weight) in mix {
            let known = u16::try_from(size).ok().filter(|size| range.contains(size));
            let size = known.ok_or_else(|| MixError::Size(size, range.clone()))?;
            if weight == 0 {
                return Err(MixError::Never);
            }
            if weight > (MOST_SLOTS - slots.len()) as u64 {
                return Err(MixError::TooLong);
            }
            // Frame i of w stands at (i + ½) ÷ w of the round; as a fraction with 32 bits.
            slots.extend((0..weight).map(|at| (((2 * at + 1) << 32) / (2 * weight), weight, distinct.len() as u8)));
            distinct.push(size - CHECK_SEQUENCE);
        }
        slots.sort_unstable();
        Ok(Self { distinct, round: slots.into_iter().map(|(_, _, index)| index).collect() })
    }

    /// The different lengths that occur, in bytes of a buffer.
    pub fn distinct(&self) -> &[u16] {
        &self.distinct
    }

    /// The index in [`Self::distinct`] of frame `number`'s length.
    #[inline(always)]
    pub fn index(&self, number: u64) -> usize {
        match self.round.as_slice() {
            [only] => usize::from(*only),
            round => usize::from(round[(number % round.len() as u64) as usize]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(mix: &[(u64, u64)]) -> Vec<u16> {
        let sizes = Sizes::new(mix, &range(false, false)).unwrap();
        (0..sizes.round.len() as u64).map(|number| sizes.distinct()[sizes.index(number)]).collect()
    }

    #[test]
    fn imix_has_each_size_in_its_share_and_not_in_one_lump() {
        let round = round(&Sizes::imix(&range(false, false)));
        let count = |size| round.iter().filter(|found| **found == size).count();
        assert_eq!((count(60), count(590), count(1514), round.len()), (7, 4, 1, 12));
        let longest_run = round.chunk_by(|a, b| a == b).map(<[u16]>::len).max();
        assert!(longest_run <= Some(3), "{round:?}");
    }

    #[test]
    fn one_size_is_every_size() {
        assert_eq!(round(&[(128, 1)]), [124]);
        let sizes = Sizes::new(&[(128, 3)], &range(false, false)).unwrap();
        assert!((0..7).all(|number| sizes.index(number) == 0));
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        let v4 = range(false, false);
        for (mix, error) in [
            (&[(63, 1)][..], MixError::Size(63, v4.clone())),
            (&[(64, 1), (1519, 1)], MixError::Size(1519, v4.clone())),
            (&[(64, 1), (1 << 40, 1)], MixError::Size(1 << 40, v4.clone())),
            (&[(64, 0)], MixError::Never),
            (&[(64, 1000), (128, 25)], MixError::TooLong),
            (&[(64, u64::MAX)], MixError::TooLong),
        ] {
            assert_eq!(Sizes::new(mix, &v4), Err(error), "{mix:?}");
        }
    }

    #[test]
    fn a_longer_header_takes_its_place_from_what_a_frame_may_be() {
        for (range, low, high) in [
            (range(false, false), 64, 1518),
            (range(false, true), 64, 1498),
            (range(true, false), 84, 1518),
            (range(true, true), 84, 1518),
        ] {
            let fits = |size| Sizes::new(&[(size, 1)], &range).is_ok();
            assert_eq!([low - 1, low, high, high + 1].map(fits), [false, true, true, false], "{range:?}");
            assert!(Sizes::new(&Sizes::imix(&range), &range).is_ok());
        }
    }
}
