//! leat, a layer-4 load balancer that polls network ports through DPDK from user space.
//!
//! Modules depend on each other in one direction only, in the order in which a packet meets them:
//!
//! ```text
//! wire → flow → steering → {scheduler, service, conntrack, neighbor} → forward → pipeline → worker → the binary
//! ```
//!
//! `config` turns the command line or a file into a validated [`config::Config`]; `control` makes snapshots of it
//! for the workers; `health` says which backends are alive; `metrics` sums the workers' counters. Nothing but the `dpdk`
//! half of [`io`] and the binary needs DPDK.
#![deny(unsafe_code)]

pub mod agent;
pub mod arch;
pub mod capture;
pub mod config;
pub mod conntrack;
pub mod control;
pub mod counters;
pub mod courier;
pub mod ctl;
pub mod diagnosis;
pub mod flow;
pub mod forward;
pub mod fragment;
pub mod generate;
pub mod health;
pub mod id;
pub mod import;
pub mod inquiry;
pub mod io;
pub mod logging;
pub mod metrics;
pub mod neighbor;
pub mod pipeline;
pub mod privileges;
pub mod scheduler;
pub mod service;
pub mod steering;
pub mod syncookie;
pub mod time;
pub mod wire;
#[cfg(feature = "dpdk")]
pub mod worker;
