//! `lc` and `wlc`: the member that has the fewest connections open now, as it is or for its weight.
//!
//! Ties go in turn: the search starts after the member that was chosen last and keeps the first of the best. So idle
//! members are filled as `rr` would. Each choice asks for the count of every member once.

use super::ring::{Ring, Seat};
use super::{Choice, Turn, Why};
use crate::id::BackendId;

/// The member with the fewest open connections. Weights do not matter, except that 0 is drained.
#[inline]
pub(super) fn choose(ring: &Ring, turn: &mut Turn, open: impl Fn(BackendId) -> u64) -> Option<Choice> {
    // Of equals `min_by_key` keeps the first.
    let counted = ring.once_around(turn).map(|(_, seat)| (open(seat.backend), seat));
    let (open, seat) = counted.min_by_key(|&(open, _)| open)?;
    turn.took(seat);
    Some(Choice { backend: seat.backend, why: Why::LeastOpen { open } })
}

/// The member for which (open + 1) / weight is smallest: the connection to be placed counts, so that of idle members
/// the heaviest is first. IPVS calls the rule that counts it "shortest expected delay".
#[inline]
pub(super) fn choose_weighted(ring: &Ring, turn: &mut Turn, open: impl Fn(BackendId) -> u64) -> Option<Choice> {
    // a / v < b / w where a × w < b × v. The products of 64 and 16 bits need more than 64.
    let load = |open: u64, other: Seat| (u128::from(open) + 1) * u128::from(other.weight);
    let counted = ring.once_around(turn).map(|(_, seat)| (open(seat.backend), seat));
    // Of equals `min_by` keeps the first.
    let (open, seat) = counted.min_by(|&(a, first), &(b, second)| load(a, second).cmp(&load(b, first)))?;
    turn.took(seat);
    Some(Choice { backend: seat.backend, why: Why::LeastOpenForWeight { open, weight: seat.weight } })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::id::BackendId;
    use crate::scheduler::fixtures::{flow, members, next, tally, without_table};
    use crate::scheduler::{Algorithm, Schedule, Turn, Why};

    fn lc(weights: &[u16]) -> Schedule {
        without_table(Algorithm::LeastConnections, &members(weights))
    }

    fn wlc(weights: &[u16]) -> Schedule {
        without_table(Algorithm::WeightedLeastConnections, &members(weights))
    }

    /// Opens `count` connections one after another and says who got them.
    fn fill(schedule: &Schedule, turn: &mut Turn, open: &mut [u64], count: usize) -> Vec<u32> {
        (0..count)
            .map_while(|_| {
                let choice = schedule.choose(&flow(0), turn, |backend| open[backend.index()])?;
                open[choice.backend.index()] += 1;
                Some(choice.backend.0)
            })
            .collect()
    }

    #[test]
    fn a_backend_whose_connections_close_is_chosen_again() {
        let schedule = lc(&[1, 1]);
        let (mut turn, mut open) = (Turn::default(), [0, 0]);
        fill(&schedule, &mut turn, &mut open, 200);
        assert_eq!(open, [100, 100]);
        open[1] = 0;
        let chosen = fill(&schedule, &mut turn, &mut open, 100);
        assert!(chosen.iter().all(|&backend| backend == 1));
        let mut next_two = fill(&schedule, &mut turn, &mut open, 2);
        next_two.sort_unstable();
        assert_eq!(next_two, [0, 1]);
    }

    #[test]
    fn ties_go_in_turn() {
        assert_eq!(next(&lc(&[1, 5, 0, 1]), &mut Turn::default(), 7), [0, 1, 3, 0, 1, 3, 0]);
        let mut turn = Turn::default();
        assert_eq!(next(&wlc(&[2, 2, 2]), &mut turn, 4), [0, 1, 2, 0]);
        let without_one = wlc(&[2, 2, 2]).with_liveness(|backend| backend.0 != 1);
        assert_eq!(next(&without_one, &mut turn, 3), [2, 0, 2]);
    }

    #[test]
    fn connections_that_stay_open_come_to_rest_in_proportion_to_the_weights() {
        let schedule = wlc(&[5, 1, 4]);
        let (mut turn, mut open) = (Turn::default(), [0, 0, 0]);
        assert_eq!(fill(&schedule, &mut turn, &mut open, 1), [0], "of idle members the heaviest is first");
        fill(&schedule, &mut turn, &mut open, 999);
        assert_eq!(open, [500, 100, 400]);
    }

    #[test]
    fn the_reason_is_the_count_that_won() {
        let open = |backend: BackendId| [9, 4, 7][backend.index()];
        let why = |schedule: Schedule| schedule.choose(&flow(0), &mut Turn::default(), open).unwrap().why;
        assert_eq!(why(lc(&[1, 1, 2])), Why::LeastOpen { open: 4 });
        assert_eq!(why(wlc(&[1, 1, 2])), Why::LeastOpenForWeight { open: 7, weight: 2 });
    }

    #[test]
    fn each_member_that_can_be_chosen_is_counted_once() {
        for schedule in [lc(&[1, 2, 0, 3]), wlc(&[1, 2, 0, 3])] {
            let asked = std::cell::RefCell::new(vec![]);
            schedule.choose(&flow(0), &mut Turn::default(), |backend| {
                asked.borrow_mut().push(backend.0);
                0
            });
            assert_eq!(tally(asked.into_inner()), tally([0, 1, 3]));
        }
    }

    proptest! {
        #[test]
        fn nobody_has_fewer_than_the_chosen(
            open in prop::collection::vec(prop_oneof![0..5_u64, u64::MAX - 1..=u64::MAX], 1..10),
            weights in prop::collection::vec(prop_oneof![1..4_u16, Just(u16::MAX)], 10),
        ) {
            let weights = &weights[..open.len()];
            let count = |backend: BackendId| open[backend.index()];

            let chosen = lc(weights).choose(&flow(0), &mut Turn::default(), count).unwrap().backend;
            prop_assert!(open.iter().all(|&other| count(chosen) <= other));

            let chosen = wlc(weights).choose(&flow(0), &mut Turn::default(), count).unwrap().backend;
            let load = |member: usize| u128::from(open[member]) + 1;
            let weight = |member: usize| u128::from(weights[member]);
            for other in 0..open.len() {
                prop_assert!(load(chosen.index()) * weight(other) <= load(other) * weight(chosen.index()));
            }
        }
    }
}
