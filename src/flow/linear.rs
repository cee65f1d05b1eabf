//! Maps from 16 bits to 32 that are linear over GF(2): what a map makes of two words xored is what it makes of each, xored.

/// Such a map, as a table for each four bits of the word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear([[u32; 16]; 4]);

impl Linear {
    /// The map that makes `images[i]` of the word in which bit `i` alone is set; bit 0 is the lowest.
    pub fn new(images: [u32; 16]) -> Self {
        let xor_of = |nibble: usize, value: usize| {
            (0..4).filter(|bit| value >> bit & 1 != 0).fold(0, |sum, bit| sum ^ images[4 * nibble + bit])
        };
        Self(std::array::from_fn(|nibble| std::array::from_fn(|value| xor_of(nibble, value))))
    }

    /// What the map makes of `word`.
    #[inline]
    pub const fn of(&self, word: u16) -> u32 {
        let word = word as usize;
        self.0[0][word & 15] ^ self.0[1][word >> 4 & 15] ^ self.0[2][word >> 8 & 15] ^ self.0[3][word >> 12]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_word_is_made_of_its_bits(images: [u32; 16], word: u16) {
            let expected = (0..16).filter(|bit| word >> bit & 1 != 0).fold(0, |sum, bit| sum ^ images[bit]);
            prop_assert_eq!(Linear::new(images).of(word), expected);
        }
    }
}
