//! Takes each new snapshot to every worker and to everyone else who reads.

use std::sync::Arc;

use super::mailbox::{Mailbox, Sender, mailbox};
use crate::service::{Current, Snapshot};

/// The way of snapshots to the workers.
#[derive(Debug)]
pub struct Delivery {
    current: Arc<Current>,
    senders: Vec<Sender<Snapshot>>,
}

impl Delivery {
    /// The ways to `workers` workers, which begin with `first`, and each worker's end.
    pub fn new(first: Arc<Snapshot>, workers: usize) -> (Self, Vec<Mailbox<Snapshot>>) {
        let (senders, mailboxes) = (0..workers).map(|_| mailbox()).unzip();
        (Self { current: Arc::new(Current::new(first)), senders }, mailboxes)
    }

    /// The snapshot that runs, for those who only read it.
    pub const fn current(&self) -> &Arc<Current> {
        &self.current
    }

    /// Has `snapshot` run from now on. Workers take it over within some milliseconds, each by itself.
    pub fn deliver(&mut self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        for sender in &mut self.senders {
            sender.send(Arc::clone(&snapshot));
        }
        self.current.store(snapshot);
    }

    /// Frees what workers have given back. To be called once in a while, at the latest when [`Self::is_settled`] is to
    /// become true.
    pub fn tend(&mut self) {
        for sender in &mut self.senders {
            sender.tend();
        }
    }

    /// Whether every worker has the current snapshot, and all older ones are freed.
    pub fn is_settled(&self) -> bool {
        self.senders.iter().all(Sender::is_settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Parts;

    #[test]
    fn a_snapshot_lives_until_the_last_worker_has_moved_on() {
        let first = Arc::new(Snapshot::from(Parts::default()));
        let weak = Arc::downgrade(&first);
        let mut held = [Arc::clone(&first), Arc::clone(&first)];
        let (mut delivery, mut mailboxes) = Delivery::new(first, 2);
        assert!(delivery.is_settled());

        delivery.deliver(Snapshot::from(Parts::default()));
        for (mailbox, held) in mailboxes.iter_mut().zip(&mut held) {
            assert!(weak.upgrade().is_some());
            assert!(!delivery.is_settled());
            mailbox.exchange(held, |_, _| {});
            delivery.tend();
        }
        assert!(weak.upgrade().is_none());
        assert!(delivery.is_settled());
        assert!(held.iter().all(|held| Arc::ptr_eq(held, &delivery.current().load())));
    }
}
