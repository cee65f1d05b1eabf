//! The whole binary as a function from a capture to a capture: frames go in through net_pcap, and what comes out is
//! judged by tcpdump and etherparse, never by leat's own code.
//!
//! net_pcap hands over its whole capture as soon as the port is up. So a backend has a `mac=` where its packets must not
//! wait, and its answers are written beforehand: to the client's own port, which leat keeps where it is free.
#![cfg(feature = "dpdk")]

#[path = "../support/mod.rs"]
mod support;

mod choices;
mod conversation;
mod damage;
mod flows;
mod lcores;
mod local;
mod routes;
