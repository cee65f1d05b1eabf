//! Which lcore a port's packets come to, as leat says it: whether it follows the port's RSS.
#![cfg(feature = "dpdk")]

mod support;

use serde_json::Value;
use support::{leat::Leat, require_root};

const SERVICE: &[&str] = &["--vip", "10.0.0.10:80", "--backend", "10.0.0.2", "--connections", "1000"];

/// Ports that receive nothing, and keep the hash key and the redirection table that they are given.
const NULL: [&str; 2] = ["net_null0,no-rx=1", "net_null1,no-rx=1"];

/// Starts leat on `lcores` with `ports`, and returns how each port goes together with the steering, and the log.
#[track_caller]
fn steering(lcores: &str, ports: &[&str]) -> (Vec<String>, String) {
    require_root();
    let ports: Vec<String> = ports.iter().map(|port| format!("--vdev={port}")).collect();
    let mut eal = vec!["--lcores", lcores, "--no-huge", "-m", "256", "--no-shconf", "--no-pci"];
    eal.extend(ports.iter().map(String::as_str));
    let leat = Leat::start(&eal, SERVICE);
    let status = leat.status();
    let name = |port: &Value| port["steering"].as_str().unwrap_or_else(|| panic!("{port}")).to_owned();
    let names = status["ports"].as_array().expect("the status lists ports").iter().map(name).collect();
    let log = leat.stderr();
    leat.stop().success();
    (names, log)
}

#[test]
fn a_port_that_takes_a_hash_key_and_a_table_is_followed() {
    let (names, log) = steering("0@0,1@0,2@0", &[NULL[0]]);
    assert_eq!(names, ["rss"]);
    assert!(
        log.contains("port net_null0: its RSS brings TCP and UDP to the lcores that own their connections"),
        "{log}"
    );
    assert!(!log.contains("packets of IPv6 for another lcore"), "in IPv6 as well: {log}");
}

#[test]
fn a_second_port_is_asked_to_do_as_the_first_and_one_that_cannot_hands_over() {
    let (names, log) = steering("0@0,1@0", &[NULL[0], NULL[1], "net_ring0"]);
    assert_eq!(names, ["rss", "rss", "hand-over"]);
    let why = "port net_ring0: packets for another lcore are handed over, because it does not hash the ports of both";
    assert!(log.contains(why), "{log}");
}

#[test]
fn without_rss_ports_are_dealt_out_by_their_remainder() {
    let (names, log) = steering("0@0,1@0", &["net_ring0"]);
    assert_eq!(names, ["port mod lcores"]);
    assert!(log.contains("port net_ring0: packets for another lcore are handed over"), "{log}");
}

#[test]
fn one_lcore_needs_no_steering_and_says_nothing_about_it() {
    let (names, log) = steering("0@0", &[NULL[0]]);
    assert_eq!(names, ["one lcore"]);
    assert!(!log.contains("RSS") && !log.contains("handed over"), "{log}");
}
