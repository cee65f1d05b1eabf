//! The CPU's time stamp counter as a clock: one instruction to read, one multiplication to convert.

use dpdk_sys as sys;

use crate::{Eal, Error};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Reads the time stamp counter, and converts its cycles to nanoseconds.
///
/// The counter runs at a fixed rate and alike on all CPUs wherever DPDK is at home ("invariant TSC").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    hz: u64,
    multiplier: u64,
    shift: u32,
}

impl Clock {
    /// The clock at the rate that EAL measured or was told.
    ///
    /// # Errors
    ///
    /// When EAL knows no rate, or one above 10¹⁸ Hz.
    pub fn new(_: &Eal) -> Result<Self, Error> {
        // SAFETY: only reads a variable that EAL, which the argument proves to be up, has set.
        let hz = unsafe { sys::rte_get_tsc_hz() };
        Self::with_hz(hz).ok_or_else(|| Error::new(format!("a time stamp counter of {hz} Hz"), libc::ERANGE))
    }

    /// The counter, in cycles.
    #[inline]
    pub fn cycles(&self) -> u64 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86_64 CPU has the instruction.
        let cycles = unsafe { core::arch::x86_64::_rdtsc() };
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: only reads a counter.
        let cycles = unsafe { sys::rte_get_tsc_cycles() };
        cycles
    }

    /// Cycles in a second.
    pub fn hz(&self) -> u64 {
        self.hz
    }

    /// How many whole nanoseconds `cycles` last, to within 10⁻⁹ of it for any rate above 1 Hz, and never too many.
    /// It saturates after 584 years.
    #[inline]
    pub fn nanos(&self, cycles: u64) -> u64 {
        let nanos = (u128::from(cycles) * u128::from(self.multiplier)) >> self.shift;
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// How many cycles cover `nanos` nanoseconds; saturating.
    pub fn cycles_in(&self, nanos: u64) -> u64 {
        let cycles = (u128::from(nanos) * u128::from(self.hz)).div_ceil(u128::from(NANOS_PER_SECOND));
        u64::try_from(cycles).unwrap_or(u64::MAX)
    }

    /// nanos = cycles × 10⁹ ÷ hz, the division replaced by a multiplication with 2^shift × 10⁹ ÷ hz and a shift. The
    /// largest shift that leaves the multiplier in 64 bits loses least.
    fn with_hz(hz: u64) -> Option<Self> {
        if hz == 0 || hz > NANOS_PER_SECOND * NANOS_PER_SECOND {
            return None;
        }
        (0..64).rev().find_map(|shift| {
            let multiplier = (u128::from(NANOS_PER_SECOND) << shift) / u128::from(hz);
            Some(Self { hz, multiplier: u64::try_from(multiplier).ok()?, shift })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_become_nanoseconds_at_every_rate() {
        const YEAR: u64 = 365 * 24 * 3600;
        for hz in [1, 1_000, 24_000_000, 999_999_937, 1_000_000_000, 2_100_000_000, 2_893_437_211, 5_700_000_000] {
            let clock = Clock::with_hz(hz).unwrap();
            for seconds in [1, 60, YEAR] {
                let exact = seconds * NANOS_PER_SECOND;
                let nanos = clock.nanos(seconds * hz);
                assert!(nanos <= exact && exact - nanos <= 1 + exact / 1_000_000_000, "{hz} Hz, {seconds} s: {nanos}");
            }
        }
    }

    #[test]
    fn conversion_saturates_and_never_wraps() {
        assert_eq!(Clock::with_hz(1).unwrap().nanos(u64::MAX), u64::MAX);
        assert_eq!(Clock::with_hz(5_000_000_000).unwrap().cycles_in(u64::MAX), u64::MAX);
        let fast = Clock::with_hz(4_000_000_000).unwrap();
        assert_eq!(fast.nanos(u64::MAX), u64::MAX / 4);
    }

    #[test]
    fn a_duration_is_covered_by_its_cycles() {
        let clock = Clock::with_hz(2_893_437_211).unwrap();
        assert_eq!(clock.cycles_in(NANOS_PER_SECOND), 2_893_437_211);
        assert_eq!(clock.cycles_in(1), 3);
        assert_eq!(clock.cycles_in(0), 0);
    }

    #[test]
    fn a_rate_that_makes_no_sense_is_refused() {
        assert_eq!(Clock::with_hz(0), None);
        assert_eq!(Clock::with_hz(u64::MAX), None);
    }
}
