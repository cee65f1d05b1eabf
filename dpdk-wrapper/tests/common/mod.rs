//! What the tests share. EAL starts once in a process, so each file has one test that starts it.

use std::process;

use dpdk_wrapper::Eal;

/// EAL without hugepages, devices of the machine, or files that another test could meet.
pub(crate) fn start(arguments: &[&str]) -> Eal {
    let prefix = format!("--file-prefix=dpdk-wrapper-{}", process::id());
    let usual = ["test", "--no-huge", "-m", "128", "--no-shconf", "--no-pci", "--no-telemetry", &prefix];
    Eal::init(usual.into_iter().chain(arguments.iter().copied())).expect("EAL starts")
}
