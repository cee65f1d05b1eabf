//! What is counted, and by whom.
//!
//! Each counter has exactly one writer, the worker it belongs to, and any number of readers: so an increment is a
//! load, an addition and a store, without a locked instruction. Sums over workers are made when somebody looks.

mod drops;

pub(crate) use drops::drop_reasons;
pub use drops::{DropCounters, DropReason};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam::utils::CachePadded;

use crate::time::Tick;

/// A number that one worker writes and anyone reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`. Only the counter's one writer may call it.
    #[inline(always)]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Takes `amount` away, for what can become fewer. Only the counter's one writer may call it.
    #[inline(always)]
    pub fn subtract(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(amount), Relaxed);
    }

    /// Replaces the value, for what is measured and not counted. Only the counter's one writer may call it.
    #[inline(always)]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value now.
    #[inline(always)]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one worker counts of its own doing.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Packets taken from ports.
    pub received: Counter,
    /// Bytes of those, from the Ethernet header to the end of the payload.
    pub received_bytes: Counter,
    /// Packets given to ports.
    pub transmitted: Counter,
    /// Bytes of those.
    pub transmitted_bytes: Counter,
    /// Packets given to other workers, which own their connections.
    pub handed_over: Counter,
    /// Packets taken from other workers.
    pub taken_over: Counter,
    /// Packets that leat made itself: ARP requests and announcements.
    pub originated: Counter,
    /// Rounds of the loop.
    pub polls: Counter,
    /// Rounds that found at least one packet.
    pub busy_polls: Counter,
    /// Cycles of the time stamp counter that such rounds took.
    pub busy_cycles: Counter,
    /// Connections in the table now, in whatever state.
    pub connections: Counter,
    /// Connections that were ended to give their source port to a new one.
    pub ports_reused: Counter,
    /// Half-open connections that made room for others before their time was over.
    pub half_open_evicted: Counter,
    /// SYNs that were answered with a cookie.
    pub cookies_sent: Counter,
    /// Cookies of leat's that clients have acknowledged.
    pub cookies_redeemed: Counter,
    /// Acknowledgements that were of no cookie of leat's, or of one that is too old.
    pub cookies_refused: Counter,
    /// The longest time between two polls that taking over a new configuration, or news of who is alive, has cost, in
    /// nanoseconds.
    pub longest_pause: Counter,
    /// Dropped packets by reason.
    pub drops: DropCounters,
}

/// What one worker counts for one backend of one service.
#[derive(Debug, Default)]
pub struct BackendCounters {
    /// Packets towards the backend that were passed on, and not dropped. One that waits for the way to be found counts as such.
    pub original_packets: Counter,
    /// Bytes of those, as the client sent them.
    pub original_bytes: Counter,
    /// Packets from the backend, likewise.
    pub reply_packets: Counter,
    /// Bytes of those, as the backend sent them.
    pub reply_bytes: Counter,
    /// Connections that were opened since the start.
    pub opened: Counter,
    /// Connections that are open now.
    pub open: Counter,
    /// Connections in its table now, in whatever state.
    pub connections: Counter,
    /// What this worker knows of the rate of new ones.
    pub window: Window,
}

/// What one worker counts for one service.
#[derive(Debug, Default)]
pub struct ServiceCounters {
    /// Connections that were opened since the start.
    pub opened: Counter,
    /// Connections that are open now.
    pub open: Counter,
    /// What this worker knows of the rate of new ones.
    pub window: Window,
}

/// A second in which something is counted over all workers, as one of them sees it. It is that worker's alone.
#[derive(Debug, Default)]
pub struct Window {
    /// The tick in which it began.
    since: Counter,
    /// What had been counted then.
    before: Counter,
}

impl Window {
    /// Whether fewer than `most` were counted within this second, when `counted` is the count of all workers now.
    pub fn has_room(&self, most: u32, counted: u64, now: Tick) -> bool {
        if now.since(Tick(self.since.value() as u32)) >= Tick::PER_SECOND {
            self.since.set(now.0.into());
            self.before.set(counted);
        }
        counted.wrapping_sub(self.before.value()) < most.into()
    }
}

/// One backend's counters, a part for each worker.
pub type PerWorker<T> = Arc<[CachePadded<T>]>;

/// Counters for `workers` workers, all zero.
pub fn per_worker<T: Default>(workers: usize) -> PerWorker<T> {
    (0..workers).map(|_| CachePadded::default()).collect()
}
