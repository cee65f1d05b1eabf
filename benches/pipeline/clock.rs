//! Time on the CPU, which unlike the time on the wall does not count what other programs had the CPU for; and memory.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds that this thread has been on a CPU.
pub(crate) fn on_cpu() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// Bytes of memory that this process has in use.
pub(crate) fn resident_memory() -> u64 {
    bytes("/proc/self/status", "VmRSS:")
}

/// Bytes of memory that can be had.
pub(crate) fn available_memory() -> u64 {
    bytes("/proc/meminfo", "MemAvailable:")
}

/// The number of bytes that the kernel's `file` has under `name`.
fn bytes(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).expect("Linux has this file");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("it has this line");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    kib << 10
}
