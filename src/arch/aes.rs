//! A keyed hash of blocks of 16 bytes out of AES rounds, on processors that have an instruction for one.
//!
//! The first block is whitened with one secret key and taken through four rounds, each with a secret key of its own; each further
//! block is added to what came out and taken through the same rounds (as Daemen and Rijmen, "The Pelican MAC Function", 2005).
//! Over four rounds no difference between two inputs leads to any one difference between the outputs with a probability
//! above about 2⁻¹¹³ (Park, Sung, Lee, Lim, "Improving the Upper Bound on the Maximum Differential and the Maximum
//! Linear Hull Probability for SPN Structures and AES", FSE 2003): who does not know the keys cannot choose inputs that
//! collide. It is no random function, and nothing derived from it may be shown to strangers.

/// The keys of the hash. One exists only where the processor can compute it.
#[derive(Clone, Copy)]
pub struct AesHash {
    #[cfg(target_arch = "x86_64")]
    keys: Keys,
    #[cfg(not(target_arch = "x86_64"))]
    never: std::convert::Infallible,
}

/// The whitening key and one for each round.
type Keys = [[u64; 2]; 5];

#[cfg(target_arch = "x86_64")]
impl AesHash {
    /// The hash with these keys; `None` where the processor has no AES instructions.
    pub fn new(keys: Keys) -> Option<Self> {
        std::arch::is_x86_feature_detected!("aes").then_some(Self { keys })
    }

    /// The hash of some blocks. How many they are is not part of it.
    #[inline]
    pub fn hash(&self, blocks: &[[u64; 2]]) -> u64 {
        // SAFETY: a value of this type exists only where the processor has AES instructions.
        unsafe { four_rounds(&self.keys, blocks) }
    }

    /// Puts the hash of the blocks of each item into its place: one after the other without waiting for any.
    #[inline]
    pub fn hash_each<'a, B: AsRef<[[u64; 2]]>>(&self, items: impl Iterator<Item = (&'a mut u64, B)>) {
        // SAFETY: a value of this type exists only where the processor has AES instructions.
        unsafe { four_rounds_each(&self.keys, items) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl AesHash {
    /// `None`: this machine's AES instructions, if it has some, are not used.
    pub fn new(_: Keys) -> Option<Self> {
        None
    }

    /// Never called.
    pub fn hash(&self, _: &[[u64; 2]]) -> u64 {
        match self.never {}
    }

    /// Never called.
    pub fn hash_each<'a, B>(&self, _: impl Iterator<Item = (&'a mut u64, B)>) {
        match self.never {}
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "aes")]
fn four_rounds_each<'a, B: AsRef<[[u64; 2]]>>(keys: &Keys, items: impl Iterator<Item = (&'a mut u64, B)>) {
    for (place, blocks) in items {
        *place = four_rounds(keys, blocks.as_ref());
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "aes")]
#[inline]
fn four_rounds(keys: &Keys, blocks: &[[u64; 2]]) -> u64 {
    use std::arch::x86_64::{_mm_aesenc_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_xor_si128};
    let vector = |words: [u64; 2]| _mm_set_epi64x(words[1].cast_signed(), words[0].cast_signed());
    let [whitening, rounds @ ..] = keys;
    let state = blocks.iter().fold(vector(*whitening), |state, block| {
        let state = _mm_xor_si128(vector(*block), state);
        rounds.iter().fold(state, |state, key| _mm_aesenc_si128(state, vector(*key)))
    });
    _mm_cvtsi128_si64(state).cast_unsigned()
}

impl std::fmt::Debug for AesHash {
    /// Without the keys, which are secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AesHash").finish_non_exhaustive()
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// The bytes of a block of FIPS 197, which are written in the order in which they lie in memory.
    const fn block(bytes: u128) -> [u64; 2] {
        let bytes = bytes.swap_bytes();
        [bytes as u64, (bytes >> 64) as u64]
    }

    #[test]
    fn the_rounds_are_those_of_aes() {
        // FIPS 197, appendix B: the state at the start of round 1, the round keys 1 to 4, the state at the start of round 5.
        let start = block(0x193d_e3be_a0f4_e22b_9ac6_8d2a_e9f8_4808);
        let keys = [
            [0, 0],
            block(0xa0fa_fe17_8854_2cb1_23a3_3939_2a6c_7605),
            block(0xf2c2_95f2_7a96_b943_5935_807a_7359_f67f),
            block(0x3d80_477d_4716_fe3e_1e23_7e44_6d7a_883b),
            block(0xef44_a541_a852_5b7f_b671_253b_db0b_ad00),
        ];
        let Some(hash) = AesHash::new(keys) else { return };
        let end = block(0xe092_7fe8_c863_63c0_d9b1_3550_85b8_be01);
        assert_eq!(hash.hash(&[start]), end[0]);
        assert_ne!(hash.hash(&[start, [0, 0]]), end[0]);
    }

    #[test]
    fn many_at_once_hash_like_one_by_one() {
        let Some(hash) = AesHash::new([[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]) else { return };
        let blocks: Vec<_> = (0..100).map(|number| [[number, number << 40], [3, number], [number, 0]]).collect();
        let mut hashes = vec![0; blocks.len()];
        hash.hash_each(hashes.iter_mut().zip(blocks.iter().copied()));
        assert_eq!(hashes, blocks.iter().map(|blocks| hash.hash(blocks)).collect::<Vec<_>>());
    }
}
