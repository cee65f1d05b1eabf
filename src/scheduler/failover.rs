//! Who stands in for a slot's owner that is down.
//!
//! Plain Maglev fills the table anew without the dead member, and slots of the living change hands too. Here the base
//! table stays, and every slot has its own fixed order of preference over the members: the owners, in the base table,
//! of the slots `s`, `s + k`, `s + 2k`, … (mod M). The stride `k` is one of 256; which one is drawn by the slot's
//! number. M is prime, so the walk meets every slot and thus every member, and first its own owner. The slots of the
//! base table are in proportion to the weights, and so are the places in these orders.
//!
//! A slot belongs to the first member in its order that is up. Hence it changes hands only when its owner dies or one
//! before its owner returns, and who owns it depends only on who is up, not on how that came about.

use super::hash::SchedulerHash;
use super::table_size::TableSize;

const STRIDES: usize = 256;

/// The orders of preference of all slots, as strides.
#[derive(Debug)]
pub(super) struct Orders {
    lengths: [u32; STRIDES],
    of_slot: Box<[u8]>,
}

/// The table as it stands while some members are down.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Substitutes {
    /// The member of each slot.
    pub(super) members: Box<[u16]>,
    /// How many places of the slot's order were passed over before that member; at most `u16::MAX`.
    pub(super) passed_over: Box<[u16]>,
}

impl Orders {
    pub(super) fn new(hash: SchedulerHash, size: TableSize) -> Self {
        let mut lengths = [0; STRIDES];
        for (number, length) in (0..=u8::MAX).zip(&mut lengths) {
            *length = 1 + (hash.stride(number) % u64::from(size.get() - 1)) as u32;
        }
        Self { lengths, of_slot: (0..size.get()).map(|slot| hash.stride_of_slot(slot)).collect() }
    }

    /// The table for those who are `alive`, by their index in `owners`. At least one owner must be.
    pub(super) fn substitutes(&self, owners: &[u16], alive: &[bool]) -> Substitutes {
        let living = owners.iter().filter(|&&owner| alive[usize::from(owner)]).count();
        // A walk meets a living owner after `owners.len() / living` steps on average. When that is more than there
        // are strides, it is cheaper to go once around the table with each stride.
        if owners.len() / living > STRIDES { self.by_circling(owners, alive) } else { self.by_walking(owners, alive) }
    }

    /// Each slot walks along its order until it meets a member that is up.
    fn by_walking(&self, owners: &[u16], alive: &[bool]) -> Substitutes {
        let mut table = Substitutes::unchanged(owners);
        for (slot, &stride) in self.of_slot.iter().enumerate() {
            let length = self.lengths[usize::from(stride)] as usize;
            let mut place = slot;
            let mut steps = 0;
            while !alive[usize::from(owners[place])] {
                place += length;
                if place >= owners.len() {
                    place -= owners.len();
                }
                steps += 1;
            }
            table.set(slot, owners[place], steps);
        }
        table
    }

    /// Goes around the whole table backwards with each stride, and so always knows the next that is up: the same
    /// result as walking, at a cost that does not depend on how few are up.
    fn by_circling(&self, owners: &[u16], alive: &[bool]) -> Substitutes {
        let mut table = Substitutes::unchanged(owners);
        let is_alive = |slot: usize| alive[usize::from(owners[slot])];
        let Some(start) = (0..owners.len()).find(|&slot| is_alive(slot)) else {
            return table;
        };
        for (stride, &length) in (0..=u8::MAX).zip(&self.lengths) {
            let mut slot = start;
            let mut next = owners[start];
            let mut steps = 0;
            for _ in 1..owners.len() {
                slot = slot.checked_sub(length as usize).unwrap_or(slot + owners.len() - length as usize);
                steps += 1;
                if is_alive(slot) {
                    next = owners[slot];
                    steps = 0;
                } else if self.of_slot[slot] == stride {
                    table.set(slot, next, steps);
                }
            }
        }
        table
    }
}

impl Substitutes {
    fn unchanged(owners: &[u16]) -> Self {
        Self { members: owners.into(), passed_over: vec![0; owners.len()].into_boxed_slice() }
    }

    fn set(&mut self, slot: usize, member: u16, passed_over: u32) {
        self.members[slot] = member;
        self.passed_over[slot] = u16::try_from(passed_over).unwrap_or(u16::MAX);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Owners of a table where all members but the first are rare, and who of them is up: at least one.
    fn tables() -> impl Strategy<Value = (Vec<u16>, Vec<bool>)> {
        let sizes = prop::sample::select(vec![7_usize, 13, 251, 1_009]);
        (sizes, 1..=7_u16).prop_flat_map(|(size, members)| {
            let member = prop_oneof![20 => Just(0), 1 => 0..members];
            let owners = prop::collection::vec(member, size).prop_map(move |mut owners| {
                (0..members).zip(&mut owners).for_each(|(member, owner)| *owner = member);
                owners
            });
            let alive = prop::collection::vec(any::<bool>(), usize::from(members));
            (owners, alive, 0..usize::from(members)).prop_map(|(owners, mut alive, survivor)| {
                alive[survivor] = true;
                (owners, alive)
            })
        })
    }

    proptest! {
        #[test]
        fn both_ways_of_finding_a_substitute_agree((owners, alive) in tables(), seed in any::<u64>()) {
            let size = TableSize::new(owners.len() as u64).unwrap();
            let orders = Orders::new(SchedulerHash::new(seed), size);
            prop_assert_eq!(orders.by_walking(&owners, &alive), orders.by_circling(&owners, &alive));
        }
    }

    #[test]
    fn one_rare_survivor_gets_the_whole_table() {
        let size = TableSize::new(65_537).unwrap();
        let mut owners = vec![0_u16; 65_537];
        owners[40_000] = 1;
        let table = Orders::new(SchedulerHash::new(1), size).substitutes(&owners, &[false, true]);
        assert!(table.members.iter().all(|&member| member == 1));
        assert_eq!(table.passed_over.iter().filter(|&&steps| steps == 0).count(), 1, "all but its own slot walked");
    }

    #[test]
    fn a_walk_too_long_to_tell_is_told_as_the_longest() {
        let mut table = Substitutes::unchanged(&[0]);
        table.set(0, 1, 65_536);
        assert_eq!(table.passed_over[0], u16::MAX);
    }
}
