//! How many slots the table of `maglev` and `sh` has.

use std::fmt;

/// A table's size in slots: a prime, so that every member's order visits each slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableSize(u32);

/// A number that is no table's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableSizeError {
    /// Too few or too many.
    #[error("a table of {size} entries: the size is a prime from {} to {}", TableSize::MIN, TableSize::MAX)]
    OutOfRange {
        /// What was asked for.
        size: u64,
    },
    /// A product.
    #[error("a table of {size} entries: the size must be a prime; the nearest are {below} and {above}")]
    NotPrime {
        /// What was asked for.
        size: u64,
        /// The next smaller prime.
        below: TableSize,
        /// The next larger prime.
        above: TableSize,
    },
}

impl TableSize {
    /// The size of the worked example in Maglev's paper (NSDI'16, table 1): good for learning only.
    pub const MIN: Self = Self(7);

    /// The largest prime that leaves a hundred slots, which keep shares within 1%, for each of 65,536 members.
    pub const MAX: Self = Self(6_553_577);

    /// Checks `size`.
    ///
    /// # Errors
    ///
    /// When it is no prime, smaller than [`Self::MIN`] or larger than [`Self::MAX`].
    pub fn new(size: u64) -> Result<Self, TableSizeError> {
        let range = Self::MIN.0..=Self::MAX.0;
        let Some(number) = u32::try_from(size).ok().filter(|number| range.contains(number)) else {
            return Err(TableSizeError::OutOfRange { size });
        };
        if is_prime(number) {
            return Ok(Self(number));
        }
        // Both limits are primes: the search ends within them.
        let below = (Self::MIN.0..number).rev().find(|&other| is_prime(other)).map_or(Self::MIN, Self);
        let above = (number..Self::MAX.0).find(|&other| is_prime(other)).map_or(Self::MAX, Self);
        Err(TableSizeError::NotPrime { size, below, above })
    }

    /// The number of slots.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for TableSize {
    /// 65537, the smaller of the two sizes in Maglev's paper (NSDI'16 §5.3): within 1% of even for 1000 members.
    fn default() -> Self {
        Self(65_537)
    }
}

impl TryFrom<u64> for TableSize {
    type Error = TableSizeError;

    fn try_from(size: u64) -> Result<Self, TableSizeError> {
        Self::new(size)
    }
}

impl fmt::Display for TableSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// By trial division: the square root of the largest size is 2560.
fn is_prime(number: u32) -> bool {
    number > 1 && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_the_paper_and_both_limits_are_accepted() {
        for size in [7, 65_537, 655_373, 6_553_577] {
            assert_eq!(TableSize::new(size).map(|size| u64::from(size.get())), Ok(size));
        }
        assert_eq!(TableSize::new(u64::from(TableSize::default().get())), Ok(TableSize::default()));
    }

    #[test]
    fn a_wrong_size_is_answered_with_what_would_be_right() {
        let rows = [
            (0, "a table of 0 entries: the size is a prime from 7 to 6553577"),
            (5, "a table of 5 entries: the size is a prime from 7 to 6553577"),
            (6_553_579, "a table of 6553579 entries: the size is a prime from 7 to 6553577"),
            ((1 << 32) + 7, "a table of 4294967303 entries: the size is a prime from 7 to 6553577"),
            (65_536, "a table of 65536 entries: the size must be a prime; the nearest are 65521 and 65537"),
            (9, "a table of 9 entries: the size must be a prime; the nearest are 7 and 11"),
            (6_553_576, "a table of 6553576 entries: the size must be a prime; the nearest are 6553571 and 6553577"),
        ];
        for (size, message) in rows {
            assert_eq!(TableSize::new(size).unwrap_err().to_string(), message);
        }
    }
}
