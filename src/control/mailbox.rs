//! How a new value comes to a worker that never waits, and how the old one comes back to be freed.
//!
//! ```text
//! control:  Sender ── next ──────▶ Mailbox  :worker
//!                  ◀── retired ──
//! ```
//!
//! Each way is one word that is swapped in one step: no lock, no loop. The worker frees nothing: what it held travels
//! back, and the sender drops it. At most one value is under way: a sender puts the next one in only after the last one
//! has come back, or when it gets the last one back unseen. So the way back is always empty when the worker needs it, and
//! a worker that is late sees the newest value only.

use std::fmt;
use std::sync::Arc;

use crossbeam::atomic::AtomicCell;

/// A place for one value, or for none.
type Slot<T> = AtomicCell<Option<Arc<T>>>;

// A cell of any other size would be guarded by a lock.
const _: () = assert!(Slot::<u8>::is_lock_free());

/// What both ends share.
struct Slots<T> {
    next: Slot<T>,
    retired: Slot<T>,
}

impl<T> fmt::Debug for Slots<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // To look at what is inside would be to take it out.
        f.debug_struct("Slots").finish_non_exhaustive()
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct Mailbox<T>(Arc<Slots<T>>);

/// The control side's end.
#[derive(Debug)]
pub struct Sender<T> {
    slots: Arc<Slots<T>>,
    /// What the worker is to get as soon as nothing is under way.
    waiting: Option<Arc<T>>,
    is_under_way: bool,
}

/// Both ends of a new, empty one.
pub fn mailbox<T>() -> (Sender<T>, Mailbox<T>) {
    let slots = Arc::new(Slots { next: AtomicCell::default(), retired: AtomicCell::default() });
    (Sender { slots: Arc::clone(&slots), waiting: None, is_under_way: false }, Mailbox(slots))
}

impl<T> Mailbox<T> {
    /// Replaces `held` by what has come, if anything has, and sends the old value back. Before that `adopt` sees both,
    /// the old one first. Returns whether anything has come.
    #[inline]
    pub fn exchange(&mut self, held: &mut Arc<T>, adopt: impl FnOnce(&T, &T)) -> bool {
        let Some(new) = self.0.next.take() else { return false };
        adopt(held, &new);
        // Nothing is there to be dropped: see the sender.
        self.0.retired.store(Some(std::mem::replace(held, new)));
        true
    }
}

impl<T> Sender<T> {
    /// Sends `value`, now or when [`Self::tend`] finds that it can be sent. An older one that has not been seen by then is
    /// not seen any more.
    pub fn send(&mut self, value: Arc<T>) {
        self.waiting = Some(value);
        self.tend();
    }

    /// Frees what has come back, and sends what waits.
    pub fn tend(&mut self) {
        if self.slots.retired.take().is_some() {
            self.is_under_way = false;
        }
        if self.waiting.is_none() {
            return;
        }
        if self.is_under_way && self.slots.next.take().is_none() {
            // The worker has it in its hands.
            return;
        }
        self.slots.next.store(self.waiting.take());
        self.is_under_way = true;
    }

    /// Whether the worker has what was sent last, and all that it had before is freed.
    pub const fn is_settled(&self) -> bool {
        self.waiting.is_none() && !self.is_under_way
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::thread::{self, ThreadId};

    use super::*;

    fn exchange(mailbox: &mut Mailbox<u32>, held: &mut Arc<u32>) -> Option<(u32, u32)> {
        let mut seen = None;
        mailbox.exchange(held, |old, new| seen = Some((*old, *new)));
        seen
    }

    #[test]
    fn the_old_value_is_freed_by_the_sender_after_the_worker_has_moved_on_and_not_before() {
        let (mut sender, mut mailbox) = mailbox();
        let mut held = Arc::new(1);
        let first = Arc::downgrade(&held);
        assert_eq!(exchange(&mut mailbox, &mut held), None);
        sender.send(Arc::new(2));
        sender.tend();
        assert!(first.upgrade().is_some(), "the worker still uses it");
        assert!(!sender.is_settled());
        assert_eq!(exchange(&mut mailbox, &mut held), Some((1, 2)));
        assert_eq!(*held, 2);
        assert!(first.upgrade().is_some(), "the worker does not free it");
        sender.tend();
        assert!(first.upgrade().is_none());
        assert!(sender.is_settled());
    }

    #[test]
    fn a_worker_that_is_late_sees_only_the_newest() {
        let (mut sender, mut mailbox) = mailbox();
        let mut held = Arc::new(0);
        let unseen = Arc::new(1);
        let weak = Arc::downgrade(&unseen);
        sender.send(unseen);
        sender.send(Arc::new(2));
        assert!(weak.upgrade().is_none(), "nobody will ever see it");
        assert_eq!(exchange(&mut mailbox, &mut held), Some((0, 2)));
        assert_eq!(exchange(&mut mailbox, &mut held), None);
    }

    #[test]
    fn what_is_sent_while_the_last_has_not_come_back_is_sent_later() {
        let (mut sender, mut mailbox) = mailbox();
        let mut held = Arc::new(0);
        sender.send(Arc::new(1));
        // The worker has taken it out, and has not yet put the old one in.
        let taken = mailbox.0.next.take();
        sender.send(Arc::new(2));
        assert!(mailbox.0.next.take().is_none());
        mailbox.0.retired.store(taken);
        sender.tend();
        assert_eq!(exchange(&mut mailbox, &mut held), Some((0, 2)));
    }

    /// Says on which thread it was dropped.
    struct Watched<'a>(u32, &'a Mutex<Vec<ThreadId>>);

    impl Drop for Watched<'_> {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(thread::current().id());
        }
    }

    #[test]
    fn across_threads_every_value_is_freed_once_and_on_the_control_side() {
        const LAST: u32 = 2_000;
        let dropped = Mutex::new(Vec::new());
        let (mut sender, mut mailbox) = mailbox();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let mut held = Arc::new(Watched(0, &dropped));
                while !is_over.load(Relaxed) {
                    mailbox.exchange(&mut held, |old, new| assert!(old.0 < new.0));
                    thread::yield_now();
                }
                held
            });
            for number in 1..=LAST {
                sender.send(Arc::new(Watched(number, &dropped)));
                thread::yield_now();
            }
            while !sender.is_settled() {
                sender.tend();
                thread::yield_now();
            }
            is_over.store(true, Relaxed);
            let held = worker.join().unwrap();
            assert_eq!(held.0, LAST);
        });
        let dropped = dropped.lock().unwrap();
        assert_eq!(dropped.len() as u32, LAST + 1);
        assert!(dropped.iter().all(|thread| *thread == thread::current().id()));
    }
}
