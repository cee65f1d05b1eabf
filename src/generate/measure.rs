//! What is counted while traffic runs, and how long packets took.
//!
//! Counters are shared: each lcore writes its own, and who watches reads them all. The times are the lcore's alone until
//! its end; recording one writes to memory that is there already.

use hdrhistogram::Histogram;

use crate::counters::{Counter, PerWorker};

/// The longest time that is told apart, in nanoseconds: all that a stamp can tell.
const LONGEST: u64 = 1 << 36;

/// Significant decimal digits of a time.
const DIGITS: u8 = 3;

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// What one lcore counts.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
        }

        /// All lcores' counts at one moment, or of a span of time.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Figures {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Figures {
            /// The sum over all lcores now.
            pub fn read(counters: &PerWorker<Counters>) -> Self {
                let mut sum = Self::default();
                for counters in counters.iter() {
                    $(sum.$name += counters.$name.value();)*
                }
                sum
            }

            /// What has been added since `earlier`.
            #[must_use]
            pub const fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name - earlier.$name,)* }
            }
        }
    };
}

figures! {
    /// Packets given to ports that are expected to come back.
    sent;
    /// Bytes of those, without frame check sequence.
    sent_bytes;
    /// Connections begun.
    opened;
    /// Connections that went through all their steps.
    completed;
    /// Packets that came back whole, with their flow's addresses, for the first time.
    right;
    /// Bytes of those.
    right_bytes;
    /// Packets that came back with addresses or ports of another flow, or of none.
    misdirected;
    /// Packets that came back damaged.
    corrupt;
    /// Packets that came back again.
    duplicated;
    /// Packets that came back after one of the same flow that was sent later.
    reordered;
    /// Packets that were returned in the backends' name.
    reflected;
    /// Frames that were nothing of these, and not ARP.
    other;
}

impl Figures {
    /// Packets that were sent and have come back in some state.
    pub const fn returned(&self) -> u64 {
        self.right + self.misdirected + self.corrupt
    }

    /// Packets that were sent and have not come back.
    pub const fn missing(&self) -> u64 {
        self.sent.saturating_sub(self.returned())
    }
}

/// How long packets, or whole connections, took.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    /// No times yet.
    fn default() -> Self {
        // These bounds are within what the histogram takes.
        Self(Histogram::new_with_max(LONGEST, DIGITS).unwrap_or_else(|_| unreachable!("the bounds are constants")))
    }
}

impl Latency {
    /// Notes one time.
    #[inline(always)]
    pub fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// Forgets all times.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Takes over another lcore's times.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// What is worth saying about all of them; `None` when there are none.
    pub fn summary(&self) -> Option<Times> {
        let at = |quantile| self.0.value_at_quantile(quantile);
        (!self.0.is_empty()).then(|| Times {
            min: self.0.min(),
            mean: self.0.mean() as u64,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
        })
    }
}

/// Times in nanoseconds. `p99` is one that 99% do not exceed. To three digits, and in steps of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Times {
    pub min: u64,
    pub mean: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::per_worker;

    #[test]
    fn the_summary_of_a_known_distribution_is_known() {
        let mut latency = Latency::default();
        assert_eq!(latency.summary(), None);
        (1..=100_000).for_each(|nanos| latency.record(nanos));
        let times = latency.summary().unwrap();
        let near = |found: u64, expected: u64| found.abs_diff(expected) <= expected / 1000;
        assert!(near(times.p50, 50_000) && near(times.p90, 90_000) && near(times.p99, 99_000), "{times:?}");
        assert!(near(times.p999, 99_900) && near(times.mean, 50_000), "{times:?}");
        assert!(times.min == 1 && near(times.max, 100_000), "{times:?}");
    }

    #[test]
    fn lcores_times_add_up_and_the_longest_does_not_overflow() {
        let (mut one, mut other) = (Latency::default(), Latency::default());
        one.record(100);
        other.record(u64::MAX);
        one.add(&other);
        let times = one.summary().unwrap();
        assert!(times.min == 100 && times.max >= LONGEST, "{times:?}");
        one.reset();
        assert_eq!(one.summary(), None);
    }

    #[test]
    fn what_is_missing_is_what_came_back_in_no_state() {
        let counters = per_worker::<Counters>(2);
        counters[0].sent.add(100);
        counters[1].right.add(90);
        let before = Figures::read(&counters);
        counters[1].corrupt.add(3);
        counters[0].misdirected.add(2);
        counters[0].duplicated.add(5);
        let now = Figures::read(&counters);
        assert_eq!((now.returned(), now.missing()), (95, 5));
        assert_eq!(now.since(&before), Figures { corrupt: 3, misdirected: 2, duplicated: 5, ..Figures::default() });
    }
}
