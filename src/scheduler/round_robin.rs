//! `rr`: strictly in turn, in configured order.

use super::ring::Ring;
use super::{Choice, Turn, Why};

/// The next after the last one. Who is down is skipped and loses its turn; nobody else's turn comes sooner or later
/// for it than by that one.
#[inline]
pub(super) fn choose(ring: &Ring, turn: &mut Turn) -> Option<Choice> {
    let (position, seat) = ring.once_around(turn).next()?;
    turn.took(seat);
    Some(Choice { backend: seat.backend, why: Why::Turn { position, of: ring.len() } })
}

#[cfg(test)]
mod tests {
    use crate::scheduler::Member;
    use crate::scheduler::fixtures::{flow, members, next, without_table};
    use crate::scheduler::{Algorithm, Turn};

    fn rr(members: &[Member]) -> crate::scheduler::Schedule {
        without_table(Algorithm::RoundRobin, members)
    }

    #[test]
    fn everyone_has_a_turn_in_configured_order_whatever_the_weight() {
        let mut members = members(&[1, 9, 5]);
        members.reverse();
        assert_eq!(next(&rr(&members), &mut Turn::default(), 7), [2, 1, 0, 2, 1, 0, 2]);
    }

    #[test]
    fn the_reason_names_the_place_among_those_who_can_be_chosen() {
        let mut turn = Turn::default();
        let schedule = rr(&members(&[1, 0, 1, 1]));
        let why: Vec<String> = (0..4)
            .map_while(|number| schedule.choose(&flow(number), &mut turn, |_| 0))
            .map(|choice| choice.why.to_string())
            .collect();
        assert_eq!(why, ["its turn, 1 of 3", "its turn, 2 of 3", "its turn, 3 of 3", "its turn, 1 of 3"]);
    }

    #[test]
    fn who_dies_is_skipped_and_who_returns_has_its_old_place() {
        let all = rr(&members(&[1; 4]));
        let mut turn = Turn::default();
        assert_eq!(next(&all, &mut turn, 2), [0, 1]);
        let without_two = all.with_liveness(|backend| backend.0 != 2);
        assert_eq!(next(&without_two, &mut turn, 4), [3, 0, 1, 3]);
        assert_eq!(next(&all, &mut turn, 4), [0, 1, 2, 3]);
        let without_last_chosen = all.with_liveness(|backend| backend.0 != 3);
        assert_eq!(next(&without_last_chosen, &mut turn, 3), [0, 1, 2]);
    }

    #[test]
    fn the_round_goes_on_where_it_was_when_members_come_and_go() {
        let five = members(&[1; 5]);
        let pick = |numbers: &[usize]| rr(&numbers.iter().map(|&number| five[number]).collect::<Vec<_>>());
        let mut turn = Turn::default();
        assert_eq!(next(&pick(&[0, 1, 2, 3]), &mut turn, 2), [0, 1]);
        // One before the last one is removed: nobody is skipped or served twice.
        assert_eq!(next(&pick(&[1, 2, 3]), &mut turn, 1), [2]);
        // The last one is removed: the one after it is next.
        assert_eq!(next(&pick(&[1, 3]), &mut turn, 1), [3]);
        // Some are added in front and behind.
        assert_eq!(next(&pick(&[0, 1, 2, 3, 4]), &mut turn, 3), [4, 0, 1]);
        // Far fewer than the place that was remembered.
        assert_eq!(next(&pick(&[4]), &mut turn, 2), [4, 4]);
    }
}
