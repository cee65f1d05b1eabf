//! The Internet checksum: whole (RFC 1071) for what leat writes itself, incremental (RFC 1624) for what it changes.
//!
//! A forwarded packet's transport checksum is only ever adjusted by what changed in the headers. A payload that was
//! damaged on its way stays recognisably damaged.

use std::net::Ipv4Addr;

use super::ipv6::Addresses6;

/// The checksum of `bytes`, ready for the header field; over bytes that include a right checksum it is 0.
#[inline(always)]
pub fn of(bytes: &[u8]) -> u16 {
    u16::from_be(!fold(sum(bytes)))
}

/// Whether bytes that include a checksum, and are not all 0, include the right one: they sum to a multiple of 2¹⁶ - 1, which
/// takes less to tell than to fold the sum.
#[inline(always)]
pub fn is_right(bytes: &[u8]) -> bool {
    sum(bytes).is_multiple_of(0xffff)
}

/// The sum of `bytes` as they lie in memory, to be folded. In which order the bytes of its words are makes no difference
/// to a sum but to the order of its own bytes (RFC 1071 §2).
#[inline(always)]
fn sum(bytes: &[u8]) -> u64 {
    // Two words at a time: 2³² is 1 modulo 2¹⁶ - 1, so it does not matter which half of a sum a word is added to.
    let (pairs, rest) = bytes.as_chunks::<4>();
    let mut sum: u64 = pairs.iter().map(|pair| u64::from(u32::from_ne_bytes(*pair))).sum();
    let (words, rest) = rest.as_chunks::<2>();
    for word in words {
        sum += u64::from(u16::from_ne_bytes(*word));
    }
    if let [last] = rest {
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum
}

/// A sum that is not finished, of words as they lie in memory.
#[derive(Clone, Copy, Debug)]
pub struct Sum(u64);

/// The sum over the pseudo-header of TCP or UDP over IPv4 (RFC 9293 §3.1, RFC 768).
pub fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: u16) -> Sum {
    let [source, destination] = [source, destination].map(|address| u64::from(address.to_bits().to_be()));
    Sum(source + destination + u64::from(u16::from(protocol).to_be()) + u64::from(length.to_be()))
}

/// The sum over the pseudo-header of a protocol over IPv6 (RFC 8200 §8.1); the addresses as they lie in memory.
pub fn pseudo_header_v6(addresses: Addresses6, protocol: u8, length: u32) -> Sum {
    let halves = addresses.iter().map(|word| (word >> 32) + (word & 0xffff_ffff)).sum::<u64>();
    Sum(halves + u64::from(u16::from(protocol).to_be()) + u64::from(length.to_be()))
}

impl Sum {
    /// Over nothing.
    pub const ZERO: Self = Self(0);

    /// Both sums.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Adds `bytes`; only the last that are added may be of odd length.
    #[must_use]
    #[inline]
    pub fn and_bytes(self, bytes: &[u8]) -> Self {
        Self(self.0 + sum(bytes))
    }

    /// Adds a number that stands at an even offset, as two words of 16 bits.
    #[must_use]
    #[inline(always)]
    pub const fn and_number(self, number: u32) -> Self {
        Self(self.0 + number.to_be() as u64)
    }

    /// The checksum of all, for IPv4 and TCP.
    #[inline(always)]
    pub const fn complement(self) -> u16 {
        u16::from_be(!fold(self.0))
    }

    /// The checksum of all, as UDP wants it: one that is 0 is written as 0xffff.
    #[inline(always)]
    pub fn finish(self) -> u16 {
        match self.complement() {
            0 => 0xffff,
            sum => sum,
        }
    }
}

/// What a set of header changes does to a checksum over them (RFC 1624, equation 3).
///
/// ```
/// use leat::wire::checksum::{Delta, of};
///
/// let (before, after) = ([0x12, 0x34, 0x56, 0x78], [0x12, 0x34, 0xab, 0xcd]);
/// let delta = Delta::NONE.replace(0x5678, 0xabcd);
/// assert_eq!(delta.apply(of(&before)), of(&after));
/// ```
///
/// It sums words as they lie in memory, so that nothing that is read from a packet or written into it is turned round.
///
/// The number stays far below 2⁶⁴: each change adds less than 2³⁴.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// Nothing changed.
    pub const NONE: Self = Self(0);

    /// One 16-bit word, at an even offset, changed from `old` to `new`.
    #[inline(always)]
    pub const fn replace(self, old: u16, new: u16) -> Self {
        self.and(Self(!old.to_be() as u64 + new.to_be() as u64))
    }

    /// Two such words that stand side by side, as one number.
    #[inline(always)]
    pub const fn replace_pair(self, old: u32, new: u32) -> Self {
        self.replace_in_memory(old.to_be() as u64, new.to_be() as u64)
    }

    /// Up to four such words that stand side by side, as they lie in memory.
    #[inline(always)]
    pub const fn replace_in_memory(self, old: u64, new: u64) -> Self {
        let (sum, carry) = (!old).overflowing_add(new);
        // 2⁶⁴ and 2³² are 1 modulo 2¹⁶ - 1: the carry and the upper half count as they are.
        self.and(Self((sum >> 32) + (sum & 0xffff_ffff) + carry as u64))
    }

    /// Both addresses of an IPv6 header changed, given as they lie in memory.
    #[inline]
    pub const fn of_words(old: Addresses6, new: Addresses6) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (old, new);
        Self::NONE.replace_in_memory(a, e).replace_in_memory(b, f).replace_in_memory(c, g).replace_in_memory(d, h)
    }

    /// The same change, of these [`Self::bits`].
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// What it is kept as.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// An address changed from `old` to `new`.
    #[inline(always)]
    pub const fn replace_address(self, old: Ipv4Addr, new: Ipv4Addr) -> Self {
        self.replace_pair(old.to_bits(), new.to_bits())
    }

    /// Both changes.
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The new checksum field for the old one.
    #[inline(always)]
    pub const fn apply(self, checksum: u16) -> u16 {
        u16::from_be(!fold(self.0 + !checksum.to_be() as u64))
    }
}

/// Adds the carries back in until 16 bits are left: the upper half of a number plus itself with the halves exchanged is
/// the sum of its halves, with the carry of the lower half in it.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624_section_4_where_older_formulas_give_0xffff() {
        assert_eq!(Delta::NONE.replace(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn an_odd_last_byte_is_padded_with_zero() {
        assert_eq!(of(&[0x12, 0x34, 0x56]), of(&[0x12, 0x34, 0x56, 0x00]));
    }

    proptest! {
        #[test]
        fn a_whole_sum_agrees_with_etherparse(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let expected = etherparse::checksum::Sum16BitWords::new().add_slice(&bytes).ones_complement().to_be();
            prop_assert_eq!(of(&bytes), expected);
        }

        #[test]
        fn incremental_agrees_with_a_full_sum_by_etherparse(
            mut words in prop::collection::vec(any::<u16>(), 1..40),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u16>()), 1..8),
        ) {
            // A first word that stays keeps the sum away from the two zeros of ones' complement.
            words.insert(0, 0x4500);
            let sum = |words: &[u16]| {
                words.iter().fold(etherparse::checksum::Sum16BitWords::new(), |sum, word| sum.add_2bytes(word.to_be_bytes()))
                    .ones_complement().to_be()
            };
            let before = sum(&words);
            let mut delta = Delta::NONE;
            for (index, new) in changes {
                let at = 1 + index.index(words.len() - 1);
                if at % 2 == 0 && at + 1 < words.len() {
                    let pair = |words: &[u16]| u32::from(words[at]) << 16 | u32::from(words[at + 1]);
                    let old = pair(&words);
                    words[at] = new;
                    words[at + 1] ^= new;
                    delta = delta.replace_pair(old, pair(&words));
                } else {
                    delta = delta.replace(words[at], new);
                    words[at] = new;
                }
            }
            prop_assert_eq!(delta.apply(before), sum(&words));
        }
    }
}
