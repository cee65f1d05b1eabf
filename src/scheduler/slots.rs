//! The table of `maglev` and `sh`, ready to be looked into: a hash, a modulo, one read.
//!
//! The base table depends on the members, their weights and the seed, and is shared by all schedules that differ only
//! in who is up. While all are up it is the one that is read; otherwise a second table of the same form is, with the
//! substitutes already in place.

use std::cmp::Reverse;
use std::sync::Arc;

use super::ScheduleError;
use super::apportion::apportion;
use super::choice::Slot;
use super::failover::{Orders, Substitutes};
use super::hash::SchedulerHash;
use super::maglev::{self, Candidate};
use super::table_size::TableSize;
use crate::id::BackendId;
use crate::scheduler::Member;

#[derive(Clone, Debug)]
pub(super) struct SlotTable {
    base: Arc<Base>,
    live: Live,
}

/// What liveness does not change.
#[derive(Debug)]
struct Base {
    hash: SchedulerHash,
    size: TableSize,
    /// Those with a weight above 0, in canonical order. What follows numbers them so.
    members: Box<[BackendId]>,
    owners: Box<[u16]>,
    orders: Orders,
}

#[derive(Clone, Debug)]
enum Live {
    All,
    Some(Arc<Substitutes>),
    None,
}

impl SlotTable {
    pub(super) fn new(hash: SchedulerHash, size: TableSize, members: &[Member]) -> Result<Self, ScheduleError> {
        let members = canonical(members);
        if members.len() > size.get() as usize {
            return Err(ScheduleError::TableTooSmall { members: members.len(), size });
        }
        let base = Arc::new(Base::new(hash, size, &members));
        let alive: Vec<bool> = members.iter().map(|member| member.up).collect();
        let live = base.live(&alive);
        Ok(Self { base, live })
    }

    pub(super) fn with_liveness(&self, up: impl Fn(BackendId) -> bool) -> Self {
        let alive: Vec<bool> = self.base.members.iter().map(|&backend| up(backend)).collect();
        Self { base: Arc::clone(&self.base), live: self.base.live(&alive) }
    }

    #[inline]
    pub(super) fn hash(&self) -> SchedulerHash {
        self.base.hash
    }

    /// Who has the slot that `hash` falls on. The modulo favours the low slots by one part in 2⁶⁴ / M: nothing.
    #[inline]
    pub(super) fn look_up(&self, hash: u64) -> Option<(BackendId, Slot)> {
        let Base { size, members, owners, .. } = &*self.base;
        let number = (hash % u64::from(size.get())) as u32;
        let owner = *owners.get(number as usize)?;
        let (member, passed_over) = match &self.live {
            Live::All => (owner, 0),
            Live::Some(substitutes) => {
                let member = *substitutes.members.get(number as usize)?;
                let moved = member != owner;
                (member, if moved { *substitutes.passed_over.get(number as usize)? } else { 0 })
            }
            Live::None => return None,
        };
        let owner = *members.get(usize::from(owner))?;
        let backend = *members.get(usize::from(member))?;
        Some((backend, Slot { hash, number, size: size.get(), owner, passed_over }))
    }

    /// Who has each slot, in the slots' order; nothing when nobody can be chosen.
    pub(super) fn entries(&self) -> impl Iterator<Item = BackendId> + '_ {
        let entries: &[u16] = match &self.live {
            Live::All => &self.base.owners,
            Live::Some(substitutes) => &substitutes.members,
            Live::None => &[],
        };
        entries.iter().map(|&member| self.base.members[usize::from(member)])
    }
}

impl Base {
    /// `members` are in canonical order, none of weight 0, and no more than `size`.
    fn new(hash: SchedulerHash, size: TableSize, members: &[Member]) -> Self {
        let weights: Vec<u16> = members.iter().map(|member| member.weight).collect();
        let candidates: Vec<Candidate> = members
            .iter()
            .zip(apportion(&weights, size.get()))
            .map(|(member, slots)| Candidate { address: member.address, port: member.port, slots })
            .collect();
        Self {
            hash,
            size,
            members: members.iter().map(|member| member.backend).collect(),
            owners: maglev::populate(hash, size, &candidates),
            orders: Orders::new(hash, size),
        }
    }

    /// The table for those members who are `alive`.
    fn live(&self, alive: &[bool]) -> Live {
        if !alive.contains(&true) {
            Live::None
        } else if !alive.contains(&false) {
            Live::All
        } else {
            Live::Some(Arc::new(self.orders.substitutes(&self.owners, alive)))
        }
    }
}

/// The members that take part, in an order that does not depend on how they were listed.
///
/// By address and port. Two of the same address and port, which a configuration should not have, are told apart by
/// weight, the heavier first, and then by number: they cannot change what anyone sees from outside.
fn canonical(members: &[Member]) -> Vec<Member> {
    let mut members: Vec<Member> = members.iter().copied().filter(|member| member.weight > 0).collect();
    members.sort_unstable_by_key(|member| (member.address, member.port, Reverse(member.weight), member.backend));
    members
}
