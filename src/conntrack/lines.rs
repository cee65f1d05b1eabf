//! Memory in whole cache lines, zeroed, and committed from the start.

use crate::arch;

/// One cache line of 64 bytes.
pub(super) type Line = [u64; 8];

/// A fixed number of cache lines.
#[derive(Debug)]
pub(super) struct Lines(Vec<Aligned>);

/// A line that begins where the processor's begin.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Aligned(Line);

impl Lines {
    /// `count` lines, all zero.
    pub(super) fn zeroed(count: usize) -> Self {
        let mut lines = Vec::with_capacity(count);
        arch::commit(lines.spare_capacity_mut());
        lines.resize(count, Aligned([0; 8]));
        Self(lines)
    }

    /// Line number `index`.
    #[inline(always)]
    pub(super) fn line(&self, index: usize) -> &Line {
        &self.0[index].0
    }

    /// Line number `index`, to be changed.
    #[inline]
    pub(super) fn line_mut(&mut self, index: usize) -> &mut Line {
        &mut self.0[index].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_begins_where_a_cache_line_begins() {
        for count in [1, 2, 3, 1000, 100_000] {
            let mut lines = Lines::zeroed(count);
            for index in [0, count - 1] {
                assert_eq!(std::ptr::from_ref(lines.line(index)).addr() % 64, 0);
                assert_eq!(*lines.line(index), [0; 8]);
                *lines.line_mut(index) = [index as u64; 8];
                assert_eq!(*lines.line(index), [index as u64; 8]);
            }
        }
    }
}
