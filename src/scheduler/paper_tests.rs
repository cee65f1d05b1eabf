//! The setting of Maglev's paper (NSDI'16 §5.3): 1000 backends, tables of 65537 and 655373 slots, backends that fail.
//!
//! Printed figures: `cargo run --release --no-default-features --example scheduler_figures`.

use std::collections::HashSet;

use super::fixtures::{Random, members, schedule, tally};
use super::{Algorithm, Schedule};
use crate::id::BackendId;
use crate::scheduler::Member;

const SMALL: u64 = 65_537;
const LARGE: u64 = 655_373;

fn thousand() -> Vec<Member> {
    members(&[1; 1_000])
}

fn maglev(size: u64, members: &[Member]) -> Schedule {
    schedule(Algorithm::Maglev, size, 7, members)
}

fn entries(schedule: &Schedule) -> Vec<BackendId> {
    schedule.entries().collect()
}

/// `count` of the thousand, drawn with `seed`.
fn failed(count: usize, seed: u64) -> HashSet<BackendId> {
    let mut all: Vec<BackendId> = (0..1_000).map(BackendId).collect();
    Random(seed).shuffle(&mut all);
    all.into_iter().take(count).collect()
}

#[test]
fn the_base_table_is_within_one_percent_of_even() {
    for size in [SMALL, LARGE] {
        let counts = tally(maglev(size, &thousand()).entries());
        let even = size as f64 / 1_000.0;
        assert_eq!(counts.len(), 1_000);
        for (backend, count) in counts {
            let deviation = (f64::from(count) / even - 1.0).abs();
            assert!(deviation < 0.01, "backend {} has {count} of {size} slots: {deviation:.4} off", backend.0);
        }
    }
}

/// Filling the table anew for those who are left is what plain Maglev does. That ours then moves as many slots
/// between survivors as the paper's, by our measurement of it, shows that the population is the paper's.
#[test]
fn filled_anew_without_the_failed_the_table_churns_like_plain_maglev() {
    let before = entries(&maglev(SMALL, &thousand()));
    for (count, published) in [(1, 0.58), (10, 2.3), (100, 3.6), (500, 1.9)] {
        let samples = if count == 1 { 8 } else { 2 };
        let percent = (0..samples)
            .map(|seed| {
                let failed = failed(count, seed);
                let left: Vec<Member> =
                    thousand().into_iter().filter(|member| !failed.contains(&member.backend)).collect();
                let after = entries(&maglev(SMALL, &left));
                let moved = before.iter().zip(&after).filter(|&(old, new)| old != new && !failed.contains(old)).count();
                100.0 * moved as f64 / SMALL as f64
            })
            .sum::<f64>()
            / f64::from(samples as u32);
        assert!((percent / published - 1.0).abs() < 0.3, "{count} failed: {percent:.2}%, expected {published}%");
    }
}

#[test]
fn no_slot_of_a_survivor_moves_and_recovery_restores_the_base_table() {
    for (size, counts) in [(SMALL, &[1, 10, 100, 500, 999][..]), (LARGE, &[1, 500])] {
        let base = maglev(size, &thousand());
        for &count in counts {
            let failed = failed(count, 1);
            let degraded = base.with_liveness(|backend| !failed.contains(&backend));
            for (old, new) in base.entries().zip(degraded.entries()) {
                assert!(!failed.contains(&new));
                assert!(old == new || failed.contains(&old), "{count} failed: a slot of a survivor moved");
            }
            assert!(degraded.with_liveness(|_| true).entries().eq(base.entries()));
        }
    }
}

/// The orphaned slots go to survivors as if drawn by lot: the share of the fullest backend is that of the fullest of
/// as many urns. These bounds leave room for the luck of the draw; the document has the figures.
#[test]
fn survivors_share_what_the_failed_leave() {
    for (count, fullest, emptiest) in [(1, 1.08, 0.98), (10, 1.10, 0.97), (100, 1.25, 0.85), (500, 1.35, 0.70)] {
        let failed = failed(count, 2);
        let table = maglev(SMALL, &thousand()).with_liveness(|backend| !failed.contains(&backend));
        let counts = tally(table.entries());
        let even = SMALL as f64 / (1_000 - count) as f64;
        let most = f64::from(*counts.values().max().unwrap()) / even;
        let least = f64::from(*counts.values().min().unwrap()) / even;
        assert_eq!(counts.len(), 1_000 - count);
        assert!(most < fullest && least > emptiest, "{count} failed: {least:.3} to {most:.3} of even");
    }
}

/// Fails and revives at random, from a few at a time to most, and watches every slot in every step.
fn live_through(base: &Schedule, backends: usize, steps: usize, seed: u64) {
    let mut random = Random(seed);
    let mut up = vec![true; backends];
    let mut schedule = base.clone();
    let mut before = entries(base);
    for step in 0..steps {
        let was_up = up.clone();
        // Waves: some sequences mostly fail, some mostly revive.
        let mostly_fails = step / 16 % 2 == 0;
        for _ in 0..=random.below(backends / 8) {
            let backend = random.below(backends);
            up[backend] = (random.below(8) == 0) == mostly_fails;
        }
        if !up.contains(&true) {
            up[random.below(backends)] = true;
        }

        schedule = schedule.with_liveness(|backend| up[backend.index()]);
        let after = entries(&schedule);
        assert_eq!(after.len(), before.len());
        for (&old, &new) in before.iter().zip(&after) {
            assert!(up[new.index()], "step {step}: a slot belongs to a dead backend");
            let explained = old == new || !up[old.index()] || !was_up[new.index()];
            assert!(explained, "step {step}: a slot moved from {} to {}, who both lived on", old.0, new.0);
        }
        before = after;
    }
    assert!(schedule.with_liveness(|_| true).entries().eq(base.entries()), "recovery restores the base table");
}

#[test]
fn in_long_sequences_of_failures_no_slot_moves_between_two_that_stayed_alive() {
    live_through(&maglev(SMALL, &thousand()), 1_000, 48, 3);
    live_through(&maglev(1_009, &members(&[1; 40])), 40, 1_000, 4);
    // Weights far apart: a few rare survivors take the other way to find substitutes.
    let mut weights = [1; 40];
    weights[..4].fill(20_000);
    live_through(&maglev(10_007, &members(&weights)), 40, 200, 5);
}

#[test]
fn the_table_depends_on_who_is_up_and_not_on_how_that_came_about() {
    let mut random = Random(6);
    let weights: Vec<u16> = (0..60).map(|_| 1 + random.below(50) as u16).collect();
    let mut members = members(&weights);
    let base = schedule(Algorithm::SourceHash, 4_999, 8, &members);
    let mut lived_through = base.clone();
    for _ in 0..100 {
        for member in &mut members {
            member.up = random.below(3) > 0;
        }
        lived_through = lived_through.with_liveness(|backend| members[backend.index()].up);
        let made_new = schedule(Algorithm::SourceHash, 4_999, 8, &members);
        assert!(lived_through.entries().eq(made_new.entries()));
    }
}
