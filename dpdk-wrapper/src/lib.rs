//! A safe API over the parts of DPDK that leat uses: EAL and lcores, pools of packet buffers, ports with their
//! queues, rings between lcores, answers on the telemetry socket, and the time stamp counter.
//!
//! What DPDK leaves to discipline, types carry here:
//!
//! - An [`Mbuf`] is owned. It is sent, handed over or freed exactly once.
//! - An [`RxQueue`] or a [`TxQueue`] is a value of its own that cannot be used from two threads at once, and a port
//!   cannot be stopped while one of its queues exists.
//! - What takes from a [`Mempool`] asks for an [`Lcore`], a token that exists only on lcores: DPDK's pools are not
//!   made for threads that are preempted in the middle of taking, so ordinary threads get copies instead.
//! - EAL is cleaned up only when nothing that lives in its memory is left ([`Eal::shutdown`]).
//!
//! All `unsafe` code that this takes is in this crate.

mod affinity;
mod clock;
mod eal;
mod error;
mod lcore;
mod mbuf;
mod mempool;
mod port;
mod ring;
mod segment;
mod telemetry;

pub use affinity::reset_affinity;
pub use clock::Clock;
pub use eal::{Eal, version};
pub use error::Error;
pub use lcore::{Lcore, LcoreError, LcoreId, LcoreInfo};
pub use mbuf::{ChecksumStatus, Mbuf, free_bulk};
pub use mempool::{Mempool, MempoolConfig};
pub use port::{
    DescriptorLimits, HashFunctions, Link, Port, PortConfig, PortId, PortInfo, PortStats, QueueStats, Queues, Rss,
    RssConfig, RxOffloads, RxQueue, TxOffloads, TxQueue,
};
pub use ring::{Consumer, Producer, ring};
pub use telemetry::{Telemetry, TelemetryDict, TelemetryValue};
