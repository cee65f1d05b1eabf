//! EAL: once in a process, on several lcores, cleaned up at its end.

mod common;

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use dpdk_wrapper::{Clock, Eal, LcoreError, reset_affinity};

#[test]
fn eal_runs_closures_on_its_lcores_and_ends() {
    assert!(reset_affinity().is_err(), "nothing is recorded before EAL starts");
    let cpus_before = cpus_of_this_thread();

    let eal = common::start(&["--lcores", "0@0,1@1"]);
    assert_eq!(Eal::init(["again"]).unwrap_err().errno(), libc::EALREADY);
    assert!(dpdk_wrapper::version().starts_with("DPDK "));

    lcores_are_told(&eal);
    all_lcores_run_at_once_and_may_borrow(&eal);
    a_panic_is_told_and_hurts_no_other_lcore(&eal);
    threads_get_their_cpus_back(&cpus_before);
    the_clock_runs(&eal);

    eal.shutdown().expect("nothing is left over");
}

fn lcores_are_told(eal: &Eal) {
    let lcores = eal.lcores();
    let told: Vec<_> = lcores.iter().map(|lcore| (lcore.id.index(), lcore.is_main, lcore.cpus.clone())).collect();
    assert_eq!(told, [(0, true, vec![0]), (1, false, vec![1])]);
    assert_eq!(eal.main_lcore().id(), lcores[0].id);
}

fn all_lcores_run_at_once_and_may_borrow(eal: &Eal) {
    let meeting = Barrier::new(2);
    let results = eal.run(|lcore| {
        let (id, meeting) = (lcore.id, &meeting);
        move |here| {
            meeting.wait();
            assert_eq!(here.id(), id);
            (cpus_of_this_thread(), id.index() * 10)
        }
    });
    let values: Vec<_> = results.into_iter().map(|(id, result)| (id.index(), result.unwrap())).collect();
    assert_eq!(values, [(0, (vec![0], 0)), (1, (vec![1], 10))]);
}

fn a_panic_is_told_and_hurts_no_other_lcore(eal: &Eal) {
    for unlucky in [1, 0] {
        let is_other_done = AtomicBool::new(false);
        let results = eal.run(|lcore| {
            let (index, is_other_done) = (lcore.id.index(), &is_other_done);
            move |_| {
                assert!(index != unlucky, "lcore {index} is unlucky");
                is_other_done.store(true, Ordering::Relaxed);
            }
        });
        assert!(is_other_done.into_inner());
        for (id, result) in results {
            match result {
                Ok(()) => assert_ne!(id.index(), unlucky),
                Err(error) => {
                    assert_eq!(error, LcoreError::Panicked(format!("lcore {unlucky} is unlucky")));
                    assert_eq!(id.index(), unlucky);
                }
            }
        }
    }
    assert!(eal.run(|_| |_| ()).iter().all(|(_, result)| result.is_ok()), "both run again after their panics");
}

fn threads_get_their_cpus_back(before: &[usize]) {
    let (inherited, reset) = thread::spawn(|| {
        let inherited = cpus_of_this_thread();
        reset_affinity().unwrap();
        (inherited, cpus_of_this_thread())
    })
    .join()
    .unwrap();
    assert_eq!(inherited, [0], "a thread starts on the main lcore's CPU");
    assert_eq!(reset, before);
}

fn the_clock_runs(eal: &Eal) {
    let clock = Clock::new(eal).unwrap();
    let (first, second) = (clock.cycles(), clock.cycles());
    assert!(second > first);
    assert_eq!(clock.nanos(clock.hz()).div_ceil(1000), 1_000_000);
}

/// As the kernel tells it, in a form of its own: "0-1,4".
fn cpus_of_this_thread() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    list.trim()
        .split(',')
        .flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse().unwrap()..=last.parse::<usize>().unwrap()
        })
        .collect()
}
