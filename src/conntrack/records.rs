//! Where a table keeps its records, and with them the wide lines of those whose addresses are of IPv6.

use std::ops;

use super::connection::{Family, NOT_WIDE, Record};
use super::lines::{LazyLines, Line};
use crate::arch;

/// Records under numbers from 0 on, as many as were added.
// A discriminant of its own is compared in fewer instructions than one in a capacity.
#[derive(Debug)]
#[repr(u8)]
pub(super) enum Records {
    /// For IPv4: records side by side. Wide lines are elsewhere, and take no memory before the first of them is used.
    Apart { records: Vec<Record>, wide: LazyLines },
    /// For IPv6: each record beside its wide line, so that one translation of an address serves both.
    Paired(Vec<Pair>),
}

/// A record and its wide line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
pub(super) struct Pair {
    record: Record,
    /// Means nothing unless the record is wide.
    wide: Line,
}

impl Records {
    /// Room for `capacity` of them, most of which will be of IPv6, or of IPv4. All of the memory that those take is there
    /// from the start.
    pub(super) fn new(capacity: usize, ipv6: bool) -> Self {
        if ipv6 {
            Self::Paired(committed(capacity))
        } else {
            Self::Apart { records: committed(capacity), wide: LazyLines::zeroed(capacity) }
        }
    }

    /// How many there are, vacant ones included.
    #[inline(always)]
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Apart { records, .. } => records.len(),
            Self::Paired(pairs) => pairs.len(),
        }
    }

    /// Record number `at`, if there is one.
    #[inline(always)]
    pub(super) fn get(&self, at: usize) -> Option<&Record> {
        match self {
            Self::Apart { records, .. } => records.get(at),
            Self::Paired(pairs) => pairs.get(at).map(|pair| &pair.record),
        }
    }

    /// Record number `at`, to be changed, with its wide line if it has one.
    #[inline(always)]
    pub(super) fn both(&mut self, at: usize) -> (&mut Record, &Line) {
        match self {
            Self::Apart { records, wide } => {
                let record = &mut records[at];
                let wide = if record.is_wide() { wide.line(at) } else { &NOT_WIDE };
                (record, wide)
            }
            Self::Paired(pairs) => {
                let Pair { record, wide } = &mut pairs[at];
                (record, wide)
            }
        }
    }

    /// Record number `at`, if there is one, to be changed, with the line in which one of this family has its addresses.
    #[inline(always)]
    pub(super) fn family<K: Family>(&mut self, at: usize) -> Option<(&mut Record, &Line)> {
        match self {
            Self::Apart { records, wide } => {
                Some((records.get_mut(at)?, if K::PLAIN == 0 { &NOT_WIDE } else { wide.line(at) }))
            }
            Self::Paired(pairs) => pairs.get_mut(at).map(|pair| (&mut pair.record, &pair.wide)),
        }
    }

    /// Wide line number `at`.
    #[inline(always)]
    pub(super) fn wide(&self, at: usize) -> &Line {
        match self {
            Self::Apart { wide, .. } => wide.line(at),
            Self::Paired(pairs) => &pairs[at].wide,
        }
    }

    /// Adds a record, within the capacity, and its wide line if it has one.
    pub(super) fn push(&mut self, record: Record, wide: &Line) {
        match self {
            Self::Apart { records, wide: lines } => {
                if record.is_wide() {
                    *lines.line_mut(records.len()) = *wide;
                }
                records.push(record);
            }
            Self::Paired(pairs) => pairs.push(Pair { record, wide: *wide }),
        }
    }

    /// Replaces record number `at`, and the wide line if the new one has one.
    pub(super) fn set(&mut self, at: usize, record: Record, wide: &Line) {
        match self {
            Self::Apart { records, wide: lines } => {
                if record.is_wide() {
                    *lines.line_mut(at) = *wide;
                }
                records[at] = record;
            }
            Self::Paired(pairs) => {
                if record.is_wide() {
                    pairs[at].wide = *wide;
                }
                pairs[at].record = record;
            }
        }
    }

    /// Fetches record number `at`, if there is one.
    #[inline(always)]
    pub(super) fn prefetch(&self, at: usize) {
        match self {
            Self::Apart { records, .. } => arch::prefetch_element(records, at),
            Self::Paired(pairs) => arch::prefetch_element(pairs, at),
        }
    }

    /// Fetches wide line number `at`, if there is one.
    #[inline(always)]
    pub(super) fn prefetch_wide(&self, at: usize) {
        match self {
            Self::Apart { records, wide } if at < records.len() => arch::prefetch_read(wide.line(at)),
            Self::Paired(pairs) if at < pairs.len() => arch::prefetch_read(&pairs[at].wide),
            _ => {}
        }
    }
}

impl ops::Index<usize> for Records {
    type Output = Record;

    #[inline(always)]
    fn index(&self, at: usize) -> &Record {
        match self {
            Self::Apart { records, .. } => &records[at],
            Self::Paired(pairs) => &pairs[at].record,
        }
    }
}

impl ops::IndexMut<usize> for Records {
    #[inline(always)]
    fn index_mut(&mut self, at: usize) -> &mut Record {
        match self {
            Self::Apart { records, .. } => &mut records[at],
            Self::Paired(pairs) => &mut pairs[at].record,
        }
    }
}

/// An empty vector, with the memory for `capacity` elements there from now on.
fn committed<T>(capacity: usize) -> Vec<T> {
    let mut elements = Vec::with_capacity(capacity);
    arch::commit(elements.spare_capacity_mut());
    elements
}
