//! What the machine offers and the language does not: fetching a cache line early, comparing many bytes at once, AES
//! rounds, huge pages. Each has a plain counterpart for the machines that lack it.
//!
//! The only module of this crate that may hold `unsafe` code.
#![allow(unsafe_code)]

mod aes;
mod pages;

pub use aes::AesHash;
pub use pages::commit;

/// Asks for the cache line in which `value` begins, to be read soon. Only speed depends on it.
#[inline(always)]
pub fn prefetch_read<T: ?Sized>(value: &T) {
    prefetch_address(std::ptr::from_ref(value).cast());
}

#[inline(always)]
fn prefetch_address(address: *const i8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch neither faults nor changes memory, whatever the address; SSE is part of every x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address);
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: PRFM neither faults nor changes memory or flags, whatever the address.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Asks for the cache line in which `slice[index]` begins. It need not be there: that does nothing, or fetches in vain.
#[inline(always)]
pub fn prefetch_element<T>(slice: &[T], index: usize) {
    prefetch_address(slice.as_ptr().wrapping_add(index).cast());
}

/// Which of 16 bytes equal `byte`: bit `i` of the answer is byte `i`.
#[inline(always)]
pub fn matching_bytes(bytes: &[u8; 16], byte: u8) -> u16 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the function needs SSE2, which is part of every x86-64.
    unsafe {
        matching_bytes_sse2(bytes, byte)
    }
    #[cfg(not(target_arch = "x86_64"))]
    matching_bytes_portable(bytes, byte)
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn matching_bytes_sse2(bytes: &[u8; 16], byte: u8) -> u16 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: these are 16 bytes that may be read, and the instruction asks for no alignment.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()))) as u16
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn matching_bytes_portable(bytes: &[u8; 16], byte: u8) -> u16 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // Bit 8i times one of these bits lands on bit 56 + i, and no two products meet below: no carry disturbs it.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mask = |word: u64| {
        let difference = word ^ (u64::from(byte) * 0x0101_0101_0101_0101);
        let zeros = !(((difference & LOW) + LOW) | difference | LOW);
        (((zeros >> 7).wrapping_mul(GATHER)) >> 56) as u16
    };
    let (words, _) = bytes.as_chunks();
    mask(u64::from_le_bytes(words[0])) | mask(u64::from_le_bytes(words[1])) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ways_of_comparing_agree_with_a_loop(bytes: [u8; 16], pick in 0..16_usize, other: u8) {
            for byte in [bytes[pick], other, 0, 0x80] {
                let expected = bytes.iter().enumerate().fold(0, |mask, (i, b)| mask | u16::from(*b == byte) << i);
                prop_assert_eq!(matching_bytes(&bytes, byte), expected);
                prop_assert_eq!(matching_bytes_portable(&bytes, byte), expected);
            }
        }
    }
}
