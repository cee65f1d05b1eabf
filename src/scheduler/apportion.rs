//! How many slots of the table each member gets: in proportion to its weight, by whole slots.
//!
//! Hamilton's method of largest remainders: everyone gets the whole part of its exact share, and the slots left over
//! go one by one to the largest fractions; equal fractions by the members' order. So no count is a whole slot away
//! from the exact share. One exception: who would get nothing gets one slot, and the others share the rest.

/// The count of slots for each of `weights`, in their order. The counts add up to `size` if there is any weight.
///
/// All weights are above 0, and there are at most `size` of them.
pub(super) fn apportion(weights: &[u16], size: u32) -> Vec<u32> {
    let mut counts = vec![1; weights.len()];
    let mut lightest_first: Vec<usize> = (0..weights.len()).collect();
    lightest_first.sort_by_key(|&member| weights[member]);

    // Who gets the one slot in spite of its weight. The heaviest is never among them: its share of what is left is
    // at least the average, which is at least one slot.
    let mut slots = u64::from(size);
    let mut weight: u64 = weights.iter().copied().map(u64::from).sum();
    let tiny = lightest_first
        .iter()
        .take_while(|&&member| {
            let own = u64::from(weights[member]);
            let is_tiny = own * slots < weight;
            if is_tiny {
                slots -= 1;
                weight -= own;
            }
            is_tiny
        })
        .count();

    let mut left = slots;
    let mut by_remainder = Vec::with_capacity(weights.len() - tiny);
    for &member in &lightest_first[tiny..] {
        let exact = u64::from(weights[member]) * slots;
        let whole = exact / weight;
        counts[member] = whole as u32;
        left -= whole;
        by_remainder.push((std::cmp::Reverse(exact % weight), member));
    }
    by_remainder.sort_unstable();
    for &(_, member) in by_remainder.iter().take(left as usize) {
        counts[member] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_tables_are_shared_as_one_would_by_hand() {
        let rows: [(&[u16], u32, &[u32]); 7] = [
            (&[], 7, &[]),
            (&[9], 7, &[7]),
            (&[1, 1, 1], 7, &[3, 2, 2]),
            (&[5, 1, 1], 7, &[5, 1, 1]),
            (&[1, 2, 4], 13, &[2, 4, 7]),
            // The exact share of the light ones is next to nothing; they get their slot.
            (&[65_535, 1, 1], 7, &[5, 1, 1]),
            (&[1, 65_535, 1, 1, 1, 1, 1], 7, &[1, 1, 1, 1, 1, 1, 1]),
        ];
        for (weights, size, counts) in rows {
            assert_eq!(apportion(weights, size), counts, "{weights:?} over {size}");
        }
    }

    proptest! {
        #[test]
        fn nobody_is_a_whole_slot_from_its_share_or_left_without(
            weights in prop::collection::vec(prop_oneof![1..20_u16, 1..=u16::MAX], 1..200),
            size in 200..70_000_u32,
        ) {
            let counts = apportion(&weights, size);
            prop_assert_eq!(counts.iter().sum::<u32>(), size);
            prop_assert!(counts.iter().all(|&count| count >= 1));

            let total: u64 = weights.iter().copied().map(u64::from).sum();
            let nobody_is_tiny = weights.iter().all(|&weight| u64::from(weight) * u64::from(size) >= total);
            if nobody_is_tiny {
                for (&weight, &count) in weights.iter().zip(&counts) {
                    let exact = u64::from(weight) * u64::from(size);
                    prop_assert!((u64::from(count) * total).abs_diff(exact) < total);
                }
            }
        }

        #[test]
        fn a_heavier_member_never_gets_fewer_slots(
            weights in prop::collection::vec(1..=u16::MAX, 1..100),
            size in 100..2_000_u32,
        ) {
            let counts = apportion(&weights, size);
            let mut pairs: Vec<_> = weights.into_iter().zip(counts).collect();
            pairs.sort_unstable();
            prop_assert!(pairs.windows(2).all(|pair| pair[0].0 == pair[1].0 || pair[0].1 <= pair[1].1));
        }
    }
}
