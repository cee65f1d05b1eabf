//! The CPUs that the process may run on, as they were before EAL pinned its threads.
//!
//! `rte_eal_init` pins the calling thread to the main lcore's CPU, and every thread that is started later inherits
//! that: an ordinary thread would share one CPU with a loop that never sleeps.

use std::{io, mem, sync::OnceLock};

use crate::Error;

static BEFORE_EAL: OnceLock<libc::cpu_set_t> = OnceLock::new();

/// Lets the calling thread run on every CPU that the process could use before [`Eal::init`](crate::Eal::init). Call
/// it first thing in every ordinary thread that is started later.
///
/// # Errors
///
/// When EAL was never started, or the kernel refuses (all those CPUs went offline, or a cgroup took them away).
pub fn reset_affinity() -> Result<(), Error> {
    const WHAT: &str = "cannot give the thread its CPUs back";
    let cpus = BEFORE_EAL.get().ok_or_else(|| Error::new(WHAT, libc::EINVAL))?;
    // SAFETY: reads one cpu_set_t of the size given; thread 0 is the calling one.
    let code = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), cpus) };
    if code == 0 { Ok(()) } else { Err(Error::new(WHAT, last_os_error())) }
}

/// Records the calling thread's CPUs, for [`reset_affinity`]; the first record stays.
pub(crate) fn record() -> Result<(), Error> {
    // SAFETY: a cpu_set_t is an array of integers, for which zeros are a valid value.
    let mut cpus = unsafe { mem::zeroed() };
    // SAFETY: writes at most one cpu_set_t of the size given; thread 0 is the calling one.
    let code = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut cpus) };
    if code != 0 {
        return Err(Error::new("cannot read the process's CPUs", last_os_error()));
    }
    BEFORE_EAL.get_or_init(|| cpus);
    Ok(())
}

/// The numbers of the CPUs in a set.
pub(crate) fn cpus(set: &libc::cpu_set_t) -> Vec<usize> {
    (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the number is below the set's size.
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, set) })
        .collect()
}

fn last_os_error() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
