//! Somebody who wants to hear of some packets, and the way that what is told of them takes.
//!
//! ```text
//! worker: free ─▶ record, filled in ─▶ full
//! API:    free ◀─ record, read ◀────── full
//! ```
//!
//! There are so many records and no more: when the reader is slow, packets are not told of, and that is counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crossbeam::queue::ArrayQueue;

use super::Filter;
use crate::counters::DropReason;
use crate::id::PortId;

/// Records of each worker.
const RECORDS: usize = 512;

/// Which drops are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Whatever became of it.
    Any,
    /// It was dropped, for whatever reason.
    Dropped,
    /// It was dropped for this reason.
    DroppedFor(DropReason),
}

/// What one packet was and what became of it.
#[derive(Debug, Default)]
pub struct Record {
    /// When it came, in nanoseconds of the worker's clock.
    pub nanos: u64,
    /// The number of the worker's lcore.
    pub lcore: u32,
    /// The port that it came in on.
    pub ingress: u16,
    /// As it came, without what lies beyond [`Record::MOST_BYTES`].
    pub before: Vec<u8>,
    /// Its length then.
    pub before_len: u32,
    /// The port that it left on, if it did.
    pub egress: Option<PortId>,
    /// As it left.
    pub after: Vec<u8>,
    /// Its length then.
    pub after_len: u32,
    /// What was found out and decided, as `--trace` says it: lines.
    pub story: String,
    /// Its service and backend and what became of it: one line.
    pub verdict: String,
}

impl Record {
    /// Bytes that are kept of a frame.
    pub const MOST_BYTES: usize = 2048;

    /// Becomes the same as `other`, in the memory that it has.
    fn copy(&mut self, other: &Self) {
        let Self { nanos, lcore, ingress, before, before_len, egress, after, after_len, story, verdict } = other;
        (self.nanos, self.lcore, self.ingress, self.egress) = (*nanos, *lcore, *ingress, *egress);
        (self.before_len, self.after_len) = (*before_len, *after_len);
        self.before.clone_from(before);
        self.after.clone_from(after);
        self.story.clone_from(story);
        self.verdict.clone_from(verdict);
    }
}

/// The way from one worker to the reader.
#[derive(Debug)]
pub struct Channel {
    free: ArrayQueue<Box<Record>>,
    full: ArrayQueue<Box<Record>>,
    untold: AtomicU64,
    /// The time of day at the zero of the worker's clock, in nanoseconds since 1970.
    epoch: AtomicU64,
}

/// Somebody who wants to hear of packets.
#[derive(Debug)]
pub struct Watch {
    /// Of which.
    pub filter: Filter,
    /// And of them those that this became of.
    pub fate: Fate,
    channels: Vec<Channel>,
    is_over: AtomicBool,
}

impl Default for Channel {
    fn default() -> Self {
        let (free, full) = (ArrayQueue::new(RECORDS), ArrayQueue::new(RECORDS));
        for _ in 0..RECORDS {
            // There is room for so many.
            let _ = free.push(Box::default());
        }
        Self { free, full, untold: AtomicU64::new(0), epoch: AtomicU64::new(0) }
    }
}

impl Channel {
    /// The worker's side: notes which time of day its clock's zero was.
    pub fn set_epoch(&self, nanos: u64) {
        self.epoch.store(nanos, Relaxed);
    }

    /// The worker's side: tells what `record` says, or counts that it could not.
    pub fn tell(&self, record: &Record) {
        match self.free.pop() {
            None => drop(self.untold.fetch_add(1, Relaxed)),
            Some(mut room) => {
                room.copy(record);
                // There are as many places as records.
                let _ = self.full.push(room);
            }
        }
    }

    /// The reader's side: the next record, if there is one, as long as `read` looks at it.
    pub fn read<R>(&self, read: impl FnOnce(&Record) -> R) -> Option<R> {
        let record = self.full.pop()?;
        let result = read(&record);
        let _ = self.free.push(record);
        Some(result)
    }

    /// The reader's side: how many packets could not be told of since it was last asked.
    pub fn take_untold(&self) -> u64 {
        self.untold.swap(0, Relaxed)
    }

    /// The reader's side: the time of day of a record, in nanoseconds since 1970.
    pub fn time_of(&self, record: &Record) -> u64 {
        self.epoch.load(Relaxed) + record.nanos
    }
}

impl Watch {
    /// One with a channel for each of `workers` workers.
    pub fn new(filter: Filter, fate: Fate, workers: usize) -> Self {
        let channels = (0..workers).map(|_| Channel::default()).collect();
        Self { filter, fate, channels, is_over: AtomicBool::new(false) }
    }

    /// The ways from the workers, in their order.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Says that nobody reads any more.
    pub fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    /// Whether nobody reads any more.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slow_reader_misses_is_counted() {
        let channel = Channel::default();
        channel.set_epoch(1_000);
        for nanos in 0..RECORDS as u64 + 3 {
            channel.tell(&Record { nanos, story: "it came".to_owned(), ..Record::default() });
        }
        assert_eq!((channel.take_untold(), channel.take_untold()), (3, 0));
        let read = || channel.read(|record| (channel.time_of(record), record.story.clone()));
        assert_eq!(read(), Some((1_000, "it came".to_owned())));
        for nanos in 1..RECORDS as u64 {
            assert_eq!(read().map(|(time, _)| time), Some(1_000 + nanos));
        }
        assert_eq!(read(), None);
        channel.tell(&Record::default());
        assert!(read().is_some());
    }
}
