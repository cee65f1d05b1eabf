//! Memory in whole cache lines, zeroed, and committed from the start.
//!
//! A vector is aligned for its elements only; one line more than asked leaves room to begin at a line's start.

use crate::arch;

/// Words in a line.
const WORDS: usize = 8;

/// One cache line of 64 bytes.
pub(super) type Line = [u64; WORDS];

/// A fixed number of cache lines.
#[derive(Debug)]
pub(super) struct Lines {
    words: Vec<u64>,
    /// Where the first line begins in `words`.
    first: usize,
}

impl Lines {
    /// `count` lines, all zero.
    pub(super) fn zeroed(count: usize) -> Self {
        let mut words = vec![0_u64; (count + 1) * WORDS];
        arch::commit(&mut words);
        let misaligned = words.as_ptr().addr() / size_of::<u64>() % WORDS;
        Self { words, first: (WORDS - misaligned) % WORDS }
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
            let mut lines = Lines::zeroed(count);
            for index in [0, count - 1] {
                assert_eq!(std::ptr::from_ref(lines.line(index)).addr() % 64, 0);
                assert_eq!(*lines.line(index), [0; WORDS]);
                *lines.line_mut(index) = [index as u64; WORDS];
                assert_eq!(*lines.line(index), [index as u64; WORDS]);
            }
        }
    }
}
