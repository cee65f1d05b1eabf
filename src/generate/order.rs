//! Which flow the next packet belongs to: in turn, at random, or at random with few flows having most of the packets.

/// How flows follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// 0, 1, 2, and so on, and from the beginning again.
    Sequential,
    /// All equally often, in no order.
    Random,
    /// Flow `n` about as often as 1 ÷ (n + 1) to the power of this exponent, which is above 0: Zipf's law, from its
    /// continuous form, whose distribution can be inverted in one step.
    Zipf(f64),
}

/// Flow numbers without end, the same ones for the same seed.
#[derive(Clone, Debug)]
pub struct Picker {
    order: Order,
    count: u32,
    next: u32,
    random: Random,
}

impl Picker {
    /// Picks among the flows 0 to `count` - 1, of which there is at least one.
    pub const fn new(order: Order, count: u32, seed: u64) -> Self {
        Self { order, count, next: 0, random: Random(seed) }
    }

    /// The next packet's flow.
    #[inline(always)]
    pub fn pick(&mut self) -> u32 {
        match self.order {
            Order::Sequential => {
                let flow = self.next;
                self.next = if flow + 1 == self.count { 0 } else { flow + 1 };
                flow
            }
            Order::Random => self.random.below(self.count),
            Order::Zipf(exponent) => self.zipf(exponent),
        }
    }

    /// Inverts the distribution with density x^-s on 1 to count + 1.
    fn zipf(&mut self, exponent: f64) -> u32 {
        let share = self.random.fraction();
        let end = f64::from(self.count) + 1.0;
        let rest = 1.0 - exponent;
        let rank = if rest.abs() < 1e-6 {
            (share * end.ln()).exp()
        } else {
            (share * (end.powf(rest) - 1.0) + 1.0).powf(rest.recip())
        };
        // Rounding may reach the open end.
        (rank as u32 - 1).min(self.count - 1)
    }
}

/// Numbers that look random: SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Any 64 bits.
    #[inline(always)]
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, to within a bias of `bound` ÷ 2³².
    #[inline(always)]
    pub const fn below(&mut self, bound: u32) -> u32 {
        (((self.bits() >> 32) * bound as u64) >> 32) as u32
    }

    /// A number from 0 to 1, without 1.
    #[inline(always)]
    fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(order: Order, count: u32, picks: usize) -> Vec<usize> {
        let mut picker = Picker::new(order, count, 7);
        let mut counts = vec![0; count as usize];
        for _ in 0..picks {
            counts[picker.pick() as usize] += 1;
        }
        counts
    }

    #[test]
    fn in_turn_means_each_once_before_any_twice() {
        let mut picker = Picker::new(Order::Sequential, 3, 0);
        let flows: Vec<_> = (0..7).map(|_| picker.pick()).collect();
        assert_eq!(flows, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn at_random_all_flows_are_about_equally_frequent() {
        let counts = counts(Order::Random, 10, 100_000);
        // Six standard deviations are 569.
        assert!(counts.iter().all(|count| (9_400..=10_600).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_flows() {
        let flows = |seed| {
            let mut picker = Picker::new(Order::Random, 1 << 20, seed);
            (0..8).map(|_| picker.pick()).collect::<Vec<_>>()
        };
        assert_eq!(flows(1), flows(1));
        assert_ne!(flows(1), flows(2));
    }

    #[test]
    fn a_skewed_order_prefers_the_first_flows_and_reaches_the_last() {
        for exponent in [0.5, 1.0, 1.2] {
            let counts = counts(Order::Zipf(exponent), 100, 200_000);
            // With the exponent 1, flow n has ln((n + 2) ÷ (n + 1)) ÷ ln 101 of the packets: flow 0 has 15%, flow 9 2%.
            assert!(counts[0] > 2 * counts[9] && counts[9] > counts[60], "{exponent}: {counts:?}");
            assert!(counts[99] > 0, "{exponent}: {counts:?}");
        }
        let share = counts(Order::Zipf(1.0), 100, 200_000)[0] as f64 / 200_000.0;
        assert!((share - 2f64.ln() / 101f64.ln()).abs() < 0.01, "{share}");
    }

    #[test]
    fn one_flow_is_a_legal_number_of_flows() {
        for order in [Order::Sequential, Order::Random, Order::Zipf(1.0), Order::Zipf(2.0)] {
            assert_eq!(counts(order, 1, 50), [50], "{order:?}");
        }
    }
}
