//! Memory that is there before it is needed, in pages as large as the kernel gives.
//!
//! A table of some hundred megabytes in pages of 4 KiB has more of them than the processor can keep translations for:
//! nearly every look at it waits for the page tables first. With pages of 2 MiB it does not.

/// Asks the kernel for huge pages behind `memory`, and has it provide all of them now: the first use of a page would
/// otherwise make somebody wait until it is found and cleared. What the memory holds stays as it is.
///
/// Where the kernel cannot or will not, pages are ordinary ones, or come when they are used.
pub fn commit<T>(memory: &mut [T]) {
    #[cfg(target_os = "linux")]
    for advice in [libc::MADV_HUGEPAGE, libc::MADV_POPULATE_WRITE] {
        advise(memory, advice);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// Advises the kernel on the whole pages in `memory`, by advice that does not change what memory holds.
#[cfg(target_os = "linux")]
fn advise<T>(memory: &mut [T], advice: libc::c_int) {
    const PAGE: usize = 4096;
    debug_assert!([libc::MADV_HUGEPAGE, libc::MADV_POPULATE_WRITE].contains(&advice));
    let range = memory.as_mut_ptr_range();
    // Advice is for whole pages. Those at the edges are other people's too, and can do without.
    let start = range.start.addr().next_multiple_of(PAGE);
    let end = range.end.addr() / PAGE * PAGE;
    let Some(len) = end.checked_sub(start).filter(|len| *len > 0) else { return };
    let first = memory.as_mut_ptr().cast::<libc::c_void>().wrapping_byte_add(start - range.start.addr());
    // SAFETY: the range lies within `memory`, and the advice does not change what memory holds.
    unsafe { libc::madvise(first, len, advice) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_what_it_holds() {
        for len in [0, 1, 100, 5000, 3_000_000] {
            let mut memory: Vec<u32> = (0..len).collect();
            commit(&mut memory);
            assert!(memory.iter().copied().eq(0..len));
        }
    }
}
