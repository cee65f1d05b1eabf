//! Time on the CPU: unlike the time on the wall it does not count what other programs had the CPU for.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds that this thread has been on a CPU.
pub(crate) fn on_cpu() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// Bytes of memory that this process has in use.
pub(crate) fn resident_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has this file");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has this line");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    kib << 10
}
