//! `wrr`: in turn, as often as the weight says, and no member's turns in one lump.
//!
//! Put the members side by side on a ring, each as long as its weight (divided by what all weights have in common);
//! let W be the length of all. From one choice to the next, go on by a fixed step and choose whom you are on. A step
//! that has no divisor in common with W meets each of the W points once in a round, so every W choices in a row are
//! exactly in proportion. A step near the golden section of W spreads the points that fall on one member over the
//! round: of all rotations, those by the golden ratio leave the most even gaps (Knuth, TAOCP vol. 3, §6.4, theorem S
//! and what follows it). In between, a member is a few turns ahead of its exact share or behind it, never a lump.
//!
//! A choice costs a multiplication and a binary search, and needs one number as its memory, where the usual smooth
//! weighted round robin needs one for each member and looks at all of them.

use std::sync::Arc;

use super::{Choice, Turn, Why};
use crate::id::BackendId;
use crate::scheduler::Member;

#[derive(Clone, Debug)]
pub(super) struct WeightedTurns {
    /// All members in configured order, with their weights.
    all: Arc<[(BackendId, u16)]>,
    /// Those who can be chosen, each with the point on the ring where it ends, in configured order.
    ends: Arc<[(u32, BackendId)]>,
    /// The length of the ring, and of a round.
    total: u32,
    step: u32,
}

impl WeightedTurns {
    pub(super) fn new(members: &[Member]) -> Self {
        let all = members.iter().map(|member| (member.backend, member.weight)).collect();
        Self::lay_out(all, members.iter().map(|member| member.up))
    }

    pub(super) fn with_liveness(&self, up: impl Fn(BackendId) -> bool) -> Self {
        Self::lay_out(Arc::clone(&self.all), self.all.iter().map(|&(backend, _)| up(backend)))
    }

    /// At most 65,535 members of weight 65,535: a ring's length fits in 32 bits.
    fn lay_out(all: Arc<[(BackendId, u16)]>, alive: impl Iterator<Item = bool>) -> Self {
        let open: Vec<(BackendId, u32)> = all
            .iter()
            .zip(alive)
            .filter(|&(&(_, weight), alive)| alive && weight > 0)
            .map(|(&(backend, weight), _)| (backend, u32::from(weight)))
            .collect();
        let common = open.iter().fold(0, |common, &(_, weight)| greatest_common_divisor(common, weight)).max(1);
        let mut total = 0;
        let ends = open
            .iter()
            .map(|&(backend, weight)| {
                total += weight / common;
                (total, backend)
            })
            .collect();
        // Equal weights: all turns are alike, so take them in configured order.
        let step = if total as usize == open.len() { 1 } else { golden_step(total) };
        Self { all, ends, total, step }
    }

    #[inline]
    pub(super) fn choose(&self, turn: &mut Turn) -> Option<Choice> {
        let position = turn.position.checked_rem(self.total)?;
        turn.position = position + 1;
        let point = (u64::from(position) * u64::from(self.step) % u64::from(self.total)) as u32;
        let member = self.ends.partition_point(|&(end, _)| end <= point);
        let &(_, backend) = self.ends.get(member)?;
        Some(Choice { backend, why: Why::Turn { position: position + 1, of: self.total } })
    }
}

/// The best step for a ring of length `total`: of those near the golden section that have no divisor in common with
/// it, the one whose quotient step / total has the smallest sum of partial quotients as a continued fraction, which
/// bounds the discrepancy.
fn golden_step(total: u32) -> u32 {
    /// 2³² / φ.
    const GOLDEN: u64 = 0x9e37_79b9;
    /// Any 40 numbers in a row have one that is coprime to a number of 32 bits.
    const REACH: u32 = 64;

    let ideal = ((u64::from(total) * GOLDEN) >> 32) as u32;
    (ideal.saturating_sub(REACH).max(1)..=ideal.saturating_add(REACH).min(total - 1))
        .filter_map(|step| Some((partial_quotients(step, total)?, step.abs_diff(ideal), step)))
        .min()
        .map_or(1, |(_, _, step)| step)
}

/// The sum of the partial quotients of `step` / `total`; none when they have a divisor in common.
fn partial_quotients(step: u32, total: u32) -> Option<u64> {
    let (mut small, mut large) = (step, total);
    let mut sum = 0;
    while small > 0 {
        sum += u64::from(large / small);
        (small, large) = (large % small, small);
    }
    (large == 1).then_some(sum)
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{golden_step, partial_quotients};
    use crate::scheduler::fixtures::{members, next, tally, without_table};
    use crate::scheduler::{Algorithm, Schedule, Turn};

    fn wrr(weights: &[u16]) -> Schedule {
        without_table(Algorithm::WeightedRoundRobin, &members(weights))
    }

    /// The longest run of one backend.
    fn longest_run(chosen: &[u32]) -> usize {
        chosen.chunk_by(|a, b| a == b).map(<[u32]>::len).max().unwrap_or(0)
    }

    #[test]
    fn a_heavy_backend_does_not_take_all_its_turns_at_once() {
        let chosen = next(&wrr(&[5, 1, 1]), &mut Turn::default(), 70);
        assert_eq!(tally(chosen.iter().copied()), [(0, 50), (1, 10), (2, 10)].into());
        assert!(longest_run(&chosen) < 5, "{chosen:?}");

        let chosen = next(&wrr(&[3, 2]), &mut Turn::default(), 50);
        assert!(longest_run(&chosen) <= 2, "{chosen:?}");
    }

    #[test]
    fn equal_weights_are_served_in_configured_order() {
        assert_eq!(next(&wrr(&[7, 7, 0, 7]), &mut Turn::default(), 6), [0, 1, 3, 0, 1, 3]);
    }

    #[test]
    fn a_round_is_as_short_as_the_weights_allow() {
        let mut turn = Turn::default();
        let schedule = wrr(&[300, 100]);
        let choice = schedule.choose(&crate::scheduler::fixtures::flow(0), &mut turn, |_| 0).unwrap();
        assert_eq!(choice.why.to_string(), "its turn, 1 of 4");
    }

    #[test]
    fn the_proportions_hold_among_those_who_are_left() {
        let schedule = wrr(&[5, 1, 2]).with_liveness(|backend| backend.0 != 0);
        let mut turn = Turn { position: u32::MAX, ..Turn::default() };
        let chosen = next(&schedule, &mut turn, 30);
        assert_eq!(tally(chosen), [(1, 10), (2, 20)].into());
    }

    #[test]
    fn the_largest_ring_still_fits() {
        let chosen = next(&wrr(&[u16::MAX, u16::MAX - 1].repeat(32_767)), &mut Turn::default(), 100);
        assert_eq!(chosen.len(), 100);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_round_is_exactly_in_proportion(
            weights in prop::collection::vec(0..40_u16, 1..12),
            start in any::<u32>(),
        ) {
            let total: usize = weights.iter().copied().map(usize::from).sum();
            let mut turn = Turn { position: start, ..Turn::default() };
            let chosen = next(&wrr(&weights), &mut turn, total);
            let counts = tally(chosen);
            for (&weight, number) in weights.iter().zip(0..) {
                prop_assert_eq!(counts.get(&number).copied().unwrap_or(0), u32::from(weight));
            }
        }

        #[test]
        fn nobody_runs_far_ahead_or_behind_its_share(weights in prop::collection::vec(1..200_u16, 2..12)) {
            let total: i64 = weights.iter().copied().map(i64::from).sum();
            let chosen = next(&wrr(&weights), &mut Turn::default(), 2 * total as usize);
            let mut served = vec![0_i64; weights.len()];
            for (&backend, turns) in chosen.iter().zip(1..) {
                served[backend as usize] += 1;
                for (&weight, &served) in weights.iter().zip(&served) {
                    // By how many turns, times the total.
                    let lead = served * total - i64::from(weight) * turns;
                    prop_assert!(lead.abs() < 6 * total, "{} turns off", lead as f64 / total as f64);
                }
            }
        }

        #[test]
        fn every_ring_has_a_step_that_visits_all_of_it(total in 2..=u32::MAX) {
            prop_assert!(partial_quotients(golden_step(total), total).is_some());
        }
    }
}
