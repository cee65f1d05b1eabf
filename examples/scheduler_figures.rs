//! Measures the schedulers and prints the tables of `docs/SCHEDULERS.md`.
//!
//! `cargo run --release --no-default-features --example scheduler_figures`

use std::collections::HashSet;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use leat::flow::{FlowKey, Protocol};
use leat::id::BackendId;
use leat::scheduler::Member;
use leat::scheduler::{Algorithm, Schedule, TableSize, Turn};
use siphasher::sip::SipHasher13;

const BACKENDS: u32 = 1_000;
const SIZES: [u64; 2] = [65_537, 655_373];
const FAILED: [usize; 5] = [0, 1, 10, 100, 500];
const DRAWS: u64 = 10;

fn main() {
    let members = thousand();
    println!("## Evenness: 1000 equal backends, slots of a living backend against an even share\n");
    println!("| table | failed | fewest | most | standard deviation |\n|---|---|---|---|---|");
    for size in SIZES {
        let table = maglev(size, &members);
        for count in FAILED {
            let Spread { least, most, deviation } = spread(&table, count);
            println!("| {size} | {count} | {least:+.2}% | {most:+.2}% | {deviation:.2}% |");
        }
    }

    println!("\n## Slots that move between two living backends\n");
    println!("| table | failed | leat | table filled anew |\n|---|---|---|---|");
    for size in SIZES {
        let table = maglev(size, &members);
        for count in &FAILED[1..] {
            let (ours, plain) = moved(&table, size, &members, *count);
            println!("| {size} | {count} | {ours:.2}% | {plain:.2}% |");
        }
    }

    println!("\n## wrr: farthest from the exact share, over 2500 random sets of 2 to 11 weights from 1 to 199\n");
    println!("{:.2} turns", (0..2_500).map(farthest_from_share).fold(0.0, f64::max));

    println!("\n## Time to prepare a table for 1000 backends: median of 11\n");
    println!("| table | new | 1 down | 500 down | 990 down | 998 down |\n|---|---|---|---|---|---|");
    for size in SIZES {
        let table = maglev(size, &members);
        let new = median(|| drop(black_box(maglev(size, &members))));
        let down = [1, 500, 990, 998].map(|count| {
            let failed = draw(count, 0);
            median(|| drop(black_box(table.with_liveness(|backend| !failed.contains(&backend)))))
        });
        println!("| {size} | {new:.1?} | {:.1?} | {:.1?} | {:.1?} | {:.1?} |", down[0], down[1], down[2], down[3]);
    }

    println!("\n## Time to choose, nanoseconds: median of 11 runs over 100,000 flows\n");
    println!("| scheduler | 2 backends | 10 | 1000 | 1000, one down |\n|---|---|---|---|---|");
    let flows: Vec<FlowKey> = (0..100_000).map(flow).collect();
    for algorithm in Algorithm::ALL {
        let cost = |count: usize, down: Option<BackendId>| {
            let schedule = Schedule::new(algorithm, TableSize::default(), 0, &members[..count])
                .expect("1000 backends fit in the default table")
                .with_liveness(|backend| Some(backend) != down);
            let mut turn = Turn::default();
            let run = median(|| {
                for flow in &flows {
                    black_box(schedule.choose(black_box(flow), &mut turn, |backend| u64::from(backend.0 % 7)));
                }
            });
            run.as_secs_f64() * 1e9 / flows.len() as f64
        };
        let costs = [cost(2, None), cost(10, None), cost(1_000, None), cost(1_000, Some(BackendId(500)))];
        println!("| `{algorithm}` | {:.0} | {:.0} | {:.0} | {:.0} |", costs[0], costs[1], costs[2], costs[3]);
    }
}

fn thousand() -> Vec<Member> {
    (0..BACKENDS)
        .map(|number| Member {
            backend: BackendId(number),
            address: Ipv4Addr::new(10, 0, (number / 250) as u8, (number % 250) as u8 + 1).into(),
            port: 8_080,
            // For wrr and wlc: not all alike. The tables of maglev are made with equal weights.
            weight: 1 + (number % 5) as u16,
            up: true,
        })
        .collect()
}

/// A table of 65537 or 655373 slots over these members with equal weights.
fn maglev(size: u64, members: &[Member]) -> Schedule {
    let equal: Vec<Member> = members.iter().map(|&member| Member { weight: 1, ..member }).collect();
    let size = TableSize::new(size).expect("the sizes of the paper are primes");
    Schedule::new(Algorithm::Maglev, size, 7, &equal).expect("1000 backends fit in either table")
}

fn flow(number: u32) -> FlowKey {
    let bits = random(number, 0);
    FlowKey {
        src: Ipv4Addr::from_bits((bits >> 16) as u32).into(),
        dst: Ipv4Addr::new(10, 0, 0, 10).into(),
        src_port: bits as u16,
        dst_port: 8_080,
        protocol: Protocol::Tcp,
    }
}

fn random(number: u32, draw: u64) -> u64 {
    SipHasher13::new_with_keys(draw, 0).hash(&number.to_be_bytes())
}

/// `count` backends that fail together.
fn draw(count: usize, draw: u64) -> HashSet<BackendId> {
    let mut all: Vec<u32> = (0..BACKENDS).collect();
    all.sort_by_key(|&number| random(number, draw));
    all.into_iter().take(count).map(BackendId).collect()
}

/// Shares of the living against an even one, in percent: the extremes of all draws, the deviation over all.
struct Spread {
    least: f64,
    most: f64,
    deviation: f64,
}

fn spread(table: &Schedule, count: usize) -> Spread {
    let mut shares = vec![];
    for number in 0..DRAWS {
        let failed = draw(count, number);
        let table = table.with_liveness(|backend| !failed.contains(&backend));
        let mut slots = vec![0_u32; BACKENDS as usize];
        table.entries().for_each(|backend| slots[backend.index()] += 1);
        let even = table.entries().count() as f64 / (BACKENDS as usize - count) as f64;
        let living = slots.into_iter().zip((0..).map(BackendId)).filter(|(_, backend)| !failed.contains(backend));
        shares.extend(living.map(|(slots, _)| 100.0 * (f64::from(slots) / even - 1.0)));
    }
    Spread {
        least: shares.iter().copied().fold(f64::INFINITY, f64::min),
        most: shares.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        deviation: (shares.iter().map(|share| share * share).sum::<f64>() / shares.len() as f64).sqrt(),
    }
}

/// Slots that moved between living backends, in percent of the table: by leat, and if the table were filled anew with
/// those who are left.
fn moved(table: &Schedule, size: u64, members: &[Member], count: usize) -> (f64, f64) {
    let (mut ours, mut plain) = (0, 0);
    for number in 0..DRAWS {
        let failed = draw(count, number);
        let left: Vec<Member> = members.iter().copied().filter(|member| !failed.contains(&member.backend)).collect();
        let moved_in = |other: &Schedule| {
            table.entries().zip(other.entries()).filter(|(old, new)| old != new && !failed.contains(old)).count()
        };
        ours += moved_in(&table.with_liveness(|backend| !failed.contains(&backend)));
        plain += moved_in(&maglev(size, &left));
    }
    let percent = |slots: usize| 100.0 * slots as f64 / (size * DRAWS) as f64;
    (percent(ours), percent(plain))
}

/// By how many turns a backend is ahead of its share or behind it at worst within a round of `wrr`.
fn farthest_from_share(draw: u64) -> f64 {
    let mut members = thousand();
    members.truncate(2 + (random(0, draw) % 10) as usize);
    for (member, number) in members.iter_mut().zip(1..) {
        member.weight = 1 + (random(number, draw) % 199) as u16;
    }
    let schedule = Schedule::new(Algorithm::WeightedRoundRobin, TableSize::default(), 0, &members)
        .expect("a schedule without a table takes 11 backends");
    let round: u32 = members.iter().map(|member| u32::from(member.weight)).sum();
    let (mut turn, flow) = (Turn::default(), flow(0));
    let mut served = vec![0_u32; members.len()];
    let mut farthest = 0.0;
    for turns in 1..=round {
        if let Some(choice) = schedule.choose(&flow, &mut turn, |_| 0) {
            served[choice.backend.index()] += 1;
        }
        for (member, &served) in members.iter().zip(&served) {
            let share = f64::from(turns) * f64::from(member.weight) / f64::from(round);
            farthest = f64::max(farthest, (f64::from(served) - share).abs());
        }
    }
    farthest
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..11)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}
