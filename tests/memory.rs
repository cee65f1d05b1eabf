//! How much memory leat wants of EAL, and what it says when there is less.
#![cfg(feature = "dpdk")]

mod support;

use support::{
    leat::{Leat, run_leat},
    require_root, unique,
};

const SERVICE: &[&str] = &["--vip", "10.0.0.10:80", "--backend", "10.0.0.2", "--connections", "1000"];

#[test]
fn sixteen_lcores_start_with_the_memory_that_leat_takes_where_there_are_no_hugepages() {
    require_root();
    let lcores: Vec<String> = (0..16).map(|lcore| format!("{lcore}@0")).collect();
    let without_hugepages = ["--no-huge", "-m", "512", "--no-shconf", "--no-pci", "--vdev=net_null0,no-rx=1"];
    let leat = Leat::start(&[&["--lcores", &lcores.join(",")], &without_hugepages[..]].concat(), SERVICE);
    assert_eq!(leat.status()["workers"].as_array().map(Vec::len), Some(16));
    leat.stop().success();
}

#[test]
fn too_little_memory_is_told_in_one_line_that_says_what_to_do() {
    require_root();
    let prefix = unique("memory");
    let socket = format!("unix:/tmp/{prefix}.sock");
    let eal =
        ["-l", "0", "--no-huge", "-m", "5", "--no-shconf", "--no-pci", "--vdev=net_null0", "--file-prefix", &prefix];
    let finished = run_leat(&[&eal[..], &["--", "--api", &socket], SERVICE].concat()).code_is(1);
    let last = finished.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("leat: cannot make the pool"), "{finished}");
    assert!(last.ends_with("give EAL more memory, as hugepages or by -m, or fewer lcores"), "{finished}");
}
