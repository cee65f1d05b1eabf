//! Memory in whole cache lines: committed from the start, or zeroed and where it is used first.

use crate::arch;

/// `count` values that fill a cache line each, all of which are there from the start.
pub(super) fn lines_of<T: Clone>(value: T, count: usize) -> Vec<T> {
    const { assert!(size_of::<T>() == 64 && align_of::<T>() == 64) };
    let mut lines = Vec::with_capacity(count);
    arch::commit(lines.spare_capacity_mut());
    lines.resize(count, value);
    lines
}

/// One cache line of 64 bytes.
pub(super) type Line = [u64; 8];

/// A fixed number of cache lines, for what may never be used: a page costs nothing before somebody writes to it.
///
/// A large vector of zeros comes from the operating system without being written. It is aligned for its elements only; one
/// line more than asked leaves room to begin at a line's start.
#[derive(Debug)]
pub(super) struct LazyLines {
    words: Vec<u64>,
    /// Where the first line begins in `words`.
    first: usize,
}

impl LazyLines {
    /// `count` lines, all zero.
    pub(super) fn zeroed(count: usize) -> Self {
        let line = size_of::<Line>() / size_of::<u64>();
        let words = vec![0_u64; (count + 1) * line];
        let misaligned = words.as_ptr().addr() / size_of::<u64>() % line;
        Self { words, first: (line - misaligned) % line }
    }

    /// Line number `index`.
    #[inline]
    pub(super) fn line(&self, index: usize) -> &Line {
        let (lines, _) = self.words[self.first..].as_chunks();
        &lines[index]
    }

    /// Line number `index`, to be changed.
    #[inline]
    pub(super) fn line_mut(&mut self, index: usize) -> &mut Line {
        let (lines, _) = self.words[self.first..].as_chunks_mut();
        &mut lines[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_begins_where_a_cache_line_begins() {
        for count in [1, 2, 3, 1000, 100_000] {
            let mut lines = LazyLines::zeroed(count);
            for index in [0, count - 1] {
                let line = lines.line_mut(index);
                assert_eq!(std::ptr::from_ref(line).addr() % 64, 0);
                assert_eq!(*line, [0; 8]);
                *line = [index as u64; 8];
                assert_eq!(lines.line(index), &[index as u64; 8]);
            }
        }
    }
}
