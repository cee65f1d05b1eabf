//! leat-gen: sends packets of chosen flows through a load balancer, and measures what comes back.
//!
//! ```text
//!            plan (what the command line says)
//!              │
//!  clients   sender ── order → flows → frame (sizes, stamp) ──▶ port ──▶ the balancer ──▶ port ── converse ── backends
//!            receiver ◀── judge (stamp, addresses, checksums) ◀── port ◀─────────────────┘ ◀───────┘
//!              │
//!            measure → report
//! ```
//!
//! Each packet says in its payload which flow it is of and when it was sent ([`stamp`]), so that nothing is remembered of
//! what is under way, and a hundred million flows cost no memory. [`converse`] holds what backends, and clients with whole
//! TCP connections, answer: it follows from the packet alone, too.
//!
//! Everything but `engine`, which polls the ports, is a function of bytes and of the time that it is given.

pub mod cli;
pub mod converse;
#[cfg(feature = "dpdk")]
pub mod engine;
pub mod flows;
pub mod frame;
pub mod judge;
pub mod measure;
pub mod neighbors;
pub mod order;
pub mod pace;
pub mod plan;
pub mod receiver;
pub mod report;
pub mod sender;
pub mod sizes;
pub mod stamp;
pub mod track;
pub mod tunnel;
mod values;
