//! What the schedulers' tests share: members, flows, and numbers that look random and are the same in every run.

use std::collections::HashMap;

use super::{Algorithm, Schedule, TableSize, Turn};
use crate::flow::{FlowKey, Protocol};
use crate::id::BackendId;
use crate::scheduler::Member;

/// SplitMix64 (Steele, Lea, Flood, OOPSLA'14).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Members of these weights, all up, numbered and addressed in this order.
pub(super) fn members(weights: &[u16]) -> Vec<Member> {
    weights.iter().zip(0..).map(|(&weight, number)| member(number, weight)).collect()
}

pub(super) fn member(number: u32, weight: u16) -> Member {
    let [_, _, high, low] = number.to_be_bytes();
    // Addresses that end in 1 to 250, as a person would number a rack.
    let rack = u16::from_be_bytes([high, low]) / 250;
    let last = (u16::from_be_bytes([high, low]) % 250) as u8 + 1;
    let [row, rack] = [(rack / 250) as u8, (rack % 250) as u8];
    Member { backend: BackendId(number), address: [10, row, rack, last].into(), port: 8_080, weight, up: true }
}

pub(super) fn schedule(algorithm: Algorithm, size: u64, seed: u64, members: &[Member]) -> Schedule {
    Schedule::new(algorithm, TableSize::new(size).unwrap(), seed, members).unwrap()
}

pub(super) fn without_table(algorithm: Algorithm, members: &[Member]) -> Schedule {
    Schedule::new(algorithm, TableSize::default(), 0, members).unwrap()
}

/// A client's flow to the VIP; `number` makes its address and port.
pub(super) fn flow(number: u64) -> FlowKey {
    let bits = Random(number).next();
    FlowKey {
        src: ((bits >> 16) as u32).to_be_bytes().into(),
        dst: [10, 0, 0, 10].into(),
        src_port: bits as u16,
        dst_port: 8_080,
        protocol: Protocol::Tcp,
    }
}

/// The numbers of the next `count` backends that `schedule` chooses, while nobody has a connection open.
pub(super) fn next(schedule: &Schedule, turn: &mut Turn, count: usize) -> Vec<u32> {
    (0..count).map_while(|_| schedule.choose(&flow(0), turn, |_| 0)).map(|choice| choice.backend.0).collect()
}

/// How often each occurs.
pub(super) fn tally<T: Eq + std::hash::Hash>(items: impl IntoIterator<Item = T>) -> HashMap<T, u32> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item).or_insert(0) += 1;
    }
    counts
}
