//! The base table: which member owns each slot while all are up.
//!
//! Maglev's population (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI'16 §3.4):
//! each member has an order of all slots, `(offset + j × skip) mod M`, and they take turns; at its turn a member takes
//! the first slot of its order that is still free. With equal weights this is the paper's algorithm to the letter.
//!
//! Weights enter by the number of turns. [`apportion`](super::apportion) says how many slots a member gets in all;
//! there are as many rounds as the heaviest gets slots, and who gets `t` slots in `R` rounds has its k-th turn
//! (from 0) in round `⌊k × R / t⌋`: everyone's first is in the first round, and the rest are spread evenly.

use std::net::IpAddr;

use super::hash::SchedulerHash;
use super::table_size::TableSize;

/// A slot without an owner. No member has this number: there are at most 65,535, counted from 0.
const FREE: u16 = u16::MAX;

/// A member as the population sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) address: IpAddr,
    /// Host byte order.
    pub(super) port: u16,
    /// How many slots it gets.
    pub(super) slots: u32,
}

/// Gives every slot an owner, by its index in `candidates`, whose slots add up to `size`.
///
/// The order of `candidates` is the order of turns within a round: the same set must come in the same order always.
pub(super) fn populate(hash: SchedulerHash, size: TableSize, candidates: &[Candidate]) -> Box<[u16]> {
    let mut owners = vec![FREE; size.get() as usize].into_boxed_slice();
    let mut orders: Vec<Order> = candidates.iter().map(|candidate| Order::new(hash, size, candidate)).collect();
    for (_round, member) in turns(candidates) {
        let order = &mut orders[usize::from(member)];
        while owners[order.slot as usize] != FREE {
            order.advance(size);
        }
        owners[order.slot as usize] = member;
    }
    owners
}

/// All turns of all members as (round, member), in the order in which they are taken.
fn turns(candidates: &[Candidate]) -> Vec<(u32, u16)> {
    let rounds = candidates.iter().map(|candidate| u64::from(candidate.slots)).max().unwrap_or(0);
    let mut turns = Vec::with_capacity(candidates.iter().map(|candidate| candidate.slots as usize).sum());
    for (candidate, member) in candidates.iter().zip(0..) {
        let slots = u64::from(candidate.slots);
        turns.extend((0..slots).map(|turn| ((turn * rounds / slots) as u32, member)));
    }
    turns.sort_unstable();
    turns
}

/// A member's order of the slots, and how far it has come.
struct Order {
    slot: u32,
    skip: u32,
}

impl Order {
    fn new(hash: SchedulerHash, size: TableSize, candidate: &Candidate) -> Self {
        let size = u64::from(size.get());
        let offset = hash.offset(candidate.address, candidate.port) % size;
        let skip = 1 + hash.skip(candidate.address, candidate.port) % (size - 1);
        Self { slot: offset as u32, skip: skip as u32 }
    }

    fn advance(&mut self, size: TableSize) {
        self.slot += self.skip;
        if self.slot >= size.get() {
            self.slot -= size.get();
        }
    }
}
