//! The members in their configured order, and where in it the next search starts: what `rr`, `lc` and `wlc` share.

use std::sync::Arc;

use super::Turn;
use crate::id::BackendId;
use crate::scheduler::Member;

/// A member that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) backend: BackendId,
    /// Above 0.
    pub(super) weight: u16,
    /// Its place among all members in configured order, whether they can be chosen or not.
    place: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Ring {
    /// All members in configured order, with their weights.
    all: Arc<[(BackendId, u16)]>,
    /// Those who can be chosen, in the same order.
    seats: Arc<[Seat]>,
}

impl Ring {
    pub(super) fn new(members: &[Member]) -> Self {
        let all = members.iter().map(|member| (member.backend, member.weight)).collect();
        Self::seat(all, members.iter().map(|member| member.up))
    }

    pub(super) fn with_liveness(&self, up: impl Fn(BackendId) -> bool) -> Self {
        Self::seat(Arc::clone(&self.all), self.all.iter().map(|&(backend, _)| up(backend)))
    }

    fn seat(all: Arc<[(BackendId, u16)]>, alive: impl Iterator<Item = bool>) -> Self {
        let seats = (0..)
            .zip(all.iter().zip(alive))
            .filter(|&(_, (&(_, weight), alive))| alive && weight > 0)
            .map(|(place, (&(backend, weight), _))| Seat { backend, weight, place })
            .collect();
        Self { all, seats }
    }

    /// Those who can be chosen, each with its number from 1, once around from the one whose turn it is.
    #[inline]
    pub(super) fn once_around(&self, turn: &Turn) -> impl Iterator<Item = (u32, Seat)> + '_ {
        let place = self.next_place(turn);
        let start = self.seats.partition_point(|seat| seat.place < place);
        let (before, after) = self.seats.split_at_checked(start).unwrap_or_default();
        let numbers = (start as u32 + 1..=self.len()).chain(1..=start as u32);
        numbers.zip(after.iter().chain(before).copied())
    }

    /// How many can be chosen.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.seats.len() as u32
    }

    /// The place after the one that was chosen last. Members may have come and gone since: then it is looked for, and
    /// if it is gone itself, whoever moved up into its place is next.
    #[inline]
    fn next_place(&self, turn: &Turn) -> u32 {
        let Some((backend, place)) = turn.last else {
            return 0;
        };
        let is_last = |&(other, _): &(BackendId, u16)| other == backend;
        if self.all.get(place as usize).is_some_and(is_last) {
            return place + 1;
        }
        self.all.iter().position(is_last).map_or(place, |place| place as u32 + 1)
    }
}

impl Turn {
    /// Remembers that it was this member's turn.
    #[inline]
    pub(super) fn took(&mut self, seat: Seat) {
        self.last = Some((seat.backend, seat.place));
    }
}
