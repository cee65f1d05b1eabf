//! What a reload costs a worker under load: how long it pauses, and whether a connection is hurt.
//!
//! One worker's pipeline in memory, with 1,000 services of 4 backends and 2 local addresses each, in `fullnat`. Known
//! connections run through it in both directions, new ones are opened all the time, and meanwhile the configuration is
//! changed at random, again and again, by another thread, as the control side does it. Each round of the worker is what the
//! real one does between two polls: a burst of 64, upkeep, a look for a new snapshot. Making the packets and looking at
//! what came out is not part of it.
//!
//! `cargo bench --no-default-features --bench reload -- [--csv] [--reloads N] [--services N] [--flows N]`
//!
//! Times are those of the thread on its CPU, since it may share that with others; the time on the wall is printed beside it.
//! Whole rounds in which another thread had the CPU are left out of the former: they find its caches cold. `takeover` is the
//! part of a round that takes a snapshot over, `longest_round` the longest from one reload to the next.

mod load;
mod packets;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use leat::config::{Config, file};
use leat::control::{Delivery, Publisher, Running};
use leat::id::PortId;
use leat::service::{Parts, Port, Snapshot};
use leat::wire::MacAddr;
use load::{Load, Round};

/// leat's Ethernet address.
const LEAT: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

/// Backends and local addresses of each service.
const BACKENDS: usize = 4;

/// The time between two reloads, and the time in which nothing is reloaded, for comparison.
const BETWEEN: Duration = Duration::from_millis(150);
const QUIET: Duration = Duration::from_secs(3);

/// Numbers of the phases of a run: nothing is reloaded; the first reload, and each next one has the next number.
const QUIETLY: u64 = 1;
const RELOADING: u64 = 2;

/// What is asked of leat.
const GOAL: u64 = 100_000;

struct Options {
    csv: bool,
    reloads: usize,
    services: usize,
    flows: usize,
}

fn main() {
    let options = options();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut plan: Vec<ServicePlan> = (0..options.services).map(ServicePlan::new).collect();
    let first = config(&plan);

    let port = Port { id: PortId(0), name: "memory".to_owned(), mac: MacAddr(LEAT), mtu: 1500, vlan: None };
    let mut publisher = Publisher::new(vec![port], 1);
    let now = leat::time::Instant::ZERO;
    let begun = Instant::now();
    let snapshot =
        publisher.publish(&first, &Snapshot::from(Parts::default()), now).expect("a configuration that fits");
    let built = begun.elapsed();
    let snapshot = Arc::new(snapshot);
    let (delivery, mut mailboxes) = Delivery::new(Arc::clone(&snapshot), 1);
    let mut running = Running::new(first, publisher, delivery, std::sync::Arc::default(), now);

    let (stop, phase) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut load = Load::new(snapshot, mailboxes.remove(0), options.flows, options.services);
    let mut applied = Vec::new();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            load.begin();
            phase.store(QUIETLY, SeqCst);
            while !stop.load(SeqCst) {
                load.round(phase.load(SeqCst));
            }
            load
        });
        while phase.load(SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(QUIET);
        for reload in 0..options.reloads {
            change(&mut plan, &mut random);
            let config = config(&plan);
            let now = leat::time::Instant::ZERO + begun.elapsed();
            phase.store(RELOADING + reload as u64, SeqCst);
            let start = Instant::now();
            running.apply(config, now).expect("a configuration that fits");
            applied.push(start.elapsed());
            while start.elapsed() < BETWEEN || !running.is_idle() {
                std::thread::sleep(Duration::from_millis(5));
                running.tend(leat::time::Instant::ZERO + begun.elapsed());
            }
        }
        stop.store(true, SeqCst);
        let load = worker.join().expect("the worker has not panicked");
        report(&options, built, &applied, &load);
    });
}

/// What one service is like now.
struct ServicePlan {
    number: usize,
    backends: Vec<(usize, u16)>,
    scheduler: &'static str,
    is_there: bool,
}

impl ServicePlan {
    fn new(number: usize) -> Self {
        let backends = (0..BACKENDS).map(|backend| (backend, 1)).collect();
        Self { number, backends, scheduler: SCHEDULERS[number % SCHEDULERS.len()], is_there: true }
    }
}

const SCHEDULERS: [&str; 4] = ["rr", "wlc", "wrr", "maglev"];

/// Changes every fiftieth service or so: one backend comes, one goes, weights and schedulers change, whole services go and
/// come back.
fn change(plan: &mut [ServicePlan], random: &mut Random) {
    for _ in 0..plan.len().div_ceil(50) {
        let service = &mut plan[random.below(plan.len())];
        match random.below(5) {
            0 => service.is_there = !service.is_there,
            1 => service.scheduler = SCHEDULERS[random.below(SCHEDULERS.len())],
            2 if service.backends.len() > 1 => drop(service.backends.remove(0)),
            3 => {
                let free = (0..250).find(|number| service.backends.iter().all(|(other, _)| other != number));
                service.backends.extend(free.map(|number| (number, 1)));
            }
            _ => service.backends.iter_mut().for_each(|(_, weight)| *weight = 1 + random.below(9) as u16),
        }
    }
}

/// The plan as a configuration file says it.
fn config(plan: &[ServicePlan]) -> Config {
    let mut toml = String::new();
    for service in plan.iter().filter(|service| service.is_there) {
        let number = service.number;
        let (high, low) = (number / 250, number % 250 + 1);
        toml += &format!(
            "[[service]]\nvip = \"20.0.{high}.{low}\"\nport = 80\nscheduler = \"{}\"\nmaglev_table_size = 1009\n\
             local_addresses = [\"20.1.{high}.{low}\", \"20.2.{high}.{low}\"]\n",
            service.scheduler
        );
        for (backend, weight) in &service.backends {
            toml += &format!(
                "[[service.backend]]\naddress = \"30.{high}.{low}.{}\"\nport = 8080\nweight = {weight}\n",
                backend + 1
            );
        }
    }
    file::load("reload", toml.as_bytes()).unwrap_or_else(|failure| panic!("{failure}")).config
}

/// Prints what was measured.
fn report(options: &Options, built: Duration, applied: &[Duration], load: &Load) {
    let rounds = load.rounds();
    let whole = || rounds.iter().filter(|round| round.is_whole);
    let takeovers = || rounds.iter().filter(|round| round.takes_over);
    let longest_of_each = |of: &dyn Fn(&Round) -> u64, is_wanted: &dyn Fn(&Round) -> bool| {
        let mut longest = vec![0; options.reloads];
        for round in rounds.iter().filter(|round| round.phase >= RELOADING && is_wanted(round)) {
            let longest = &mut longest[(round.phase - RELOADING) as usize];
            *longest = (*longest).max(of(round));
        }
        sorted(longest)
    };
    let figures = [
        ("takeover", sorted(takeovers().map(|round| round.takeover_cpu))),
        ("takeover_wall", sorted(takeovers().map(|round| round.takeover_wall))),
        ("round_with_takeover", sorted(takeovers().filter(|round| round.is_whole).map(|round| round.cpu))),
        ("longest_round", longest_of_each(&|round| round.cpu, &|round| round.is_whole)),
        ("longest_round_wall", longest_of_each(&|round| round.wall, &|_| true)),
        ("round_while_reloading", sorted(whole().filter(|round| round.phase >= RELOADING).map(|round| round.cpu))),
        ("round_while_quiet", sorted(whole().filter(|round| round.phase == QUIETLY).map(|round| round.cpu))),
    ];
    let applied = sorted(applied.iter().map(|time| time.as_nanos() as u64));
    if options.csv {
        println!("what,mode,direction,flows,frame,round,value,unit");
        let line = |what: &str, round: &str, value: u64, unit: &str| {
            println!("reload_{what},fullnat,both,{},{},{round},{value},{unit}", options.flows, packets::FRAME);
        };
        for (what, values) in figures.iter().chain([&("apply", applied)]) {
            for share in [50.0, 99.0, 99.9, 100.0] {
                line(what, &format!("p{share}"), percentile(values, share), "ns");
            }
        }
        line("lost", "all", load.lost(), "packets");
        line("misrouted", "all", load.misrouted(), "packets");
        return;
    }
    println!(
        "{} services × {BACKENDS} backends × 2 local addresses, {} connections, {} reloads; first snapshot built in {} ms",
        options.services,
        options.flows,
        options.reloads,
        built.as_millis()
    );
    println!("{:<34}{:>10}{:>10}{:>10}{:>10}{:>10}", "nanoseconds", "number", "median", "99%", "99.9%", "longest");
    for (what, values) in figures.iter().chain([&("apply", applied)]) {
        print!("{what:<34}{:>10}", values.len());
        for share in [50.0, 99.0, 99.9, 100.0] {
            print!("{:>10}", percentile(values, share));
        }
        println!();
    }
    let median = |at: usize| percentile(&figures[at].1, 50.0).max(1) as f64;
    println!("a round while reloading takes {:.2} × one while nothing is reloaded (medians)", median(5) / median(6));
    let late =
        |at: usize| figures[at].1.iter().filter(|time| **time > GOAL).count() as f64 / figures[at].1.len() as f64;
    println!("rounds above {GOAL} ns: {:.4}% while reloading, {:.4}% while not", 100.0 * late(5), 100.0 * late(6));
    println!(
        "known connections: {} packets, {} lost, {} misrouted; {} new connections opened",
        load.sent(),
        load.lost(),
        load.misrouted(),
        load.opened()
    );
    let mut worst: Vec<&Round> = whole().filter(|round| round.phase >= RELOADING).collect();
    worst.sort_unstable_by_key(|round| std::cmp::Reverse(round.cpu));
    println!("the longest rounds on the CPU, in nanoseconds:");
    for Round { phase, cpu, upkeep_cpu, takeover_cpu, faults, .. } in worst.iter().take(12) {
        let reload = phase - RELOADING;
        println!("  reload {reload}: {cpu}: upkeep {upkeep_cpu}, takeover {takeover_cpu}, {faults} page faults");
    }
    let pause = percentile(&figures[0].1, 100.0);
    println!("goal: no takeover above {GOAL} ns, no packet lost: {}", verdict(pause <= GOAL && load.lost() == 0));
}

const fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "missed" }
}

fn sorted(values: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable();
    values
}

fn percentile(sorted: &[u64], share: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share / 100.0).round() as usize).copied().unwrap_or_default()
}

/// A generator of xorshift type, from a fixed seed: every run makes the same changes.
struct Random(u64);

impl Random {
    const fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

fn options() -> Options {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).map_or(default, |value| {
            value.parse().unwrap_or_else(|_| panic!("{name} takes a number, and {value:?} is none"))
        })
    };
    Options {
        csv: arguments.iter().any(|argument| argument == "--csv"),
        reloads: number("--reloads", 100),
        services: number("--services", 1000),
        flows: number("--flows", 16_384),
    }
}
