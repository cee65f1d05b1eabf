//! An orderly end: what workers have passed to each other still goes out.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// How often one packet can be passed on: to the worker that keeps next hops, from there to the one that knows the client,
/// from there to the one that has the port; and one more, to be sure.
const STAGES: usize = 4;

/// Where all workers are on their way to the end.
///
/// A worker comes to a stage when it has worked off what it had. When all have come to it, all that was passed on before
/// is in the rings: it is worked off, and may be passed on once more before the next stage.
#[derive(Debug)]
pub(super) struct Ending {
    workers: usize,
    arrived: [AtomicUsize; STAGES],
}

impl Ending {
    /// For so many workers.
    pub(super) fn of(workers: usize) -> Self {
        Self { workers, arrived: Default::default() }
    }

    /// Ends one worker. `drain` works off what is there; `is_late` gives up on workers that do not come.
    pub(super) fn take_part(&self, mut drain: impl FnMut(), is_late: impl Fn() -> bool) {
        for arrived in &self.arrived {
            arrived.fetch_add(1, SeqCst);
            loop {
                let all_are_here = arrived.load(SeqCst) == self.workers;
                drain();
                if all_are_here || is_late() {
                    break;
                }
                std::thread::yield_now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::thread;

    use super::*;

    #[test]
    fn a_packet_that_is_passed_on_thrice_is_still_worked_off() {
        for _ in 0..50 {
            let ending = Ending::of(4);
            let inboxes: [Mutex<Vec<u32>>; 4] = Default::default();
            let done = Mutex::new(0);
            thread::scope(|scope| {
                for worker in 0..4 {
                    let (ending, inboxes, done) = (&ending, &inboxes, &done);
                    scope.spawn(move || {
                        inboxes[(worker + 1) % 4].lock().unwrap().push(2);
                        let drain = || {
                            let items = std::mem::take(&mut *inboxes[worker].lock().unwrap());
                            for hops_left in items {
                                match hops_left {
                                    0 => *done.lock().unwrap() += 1,
                                    left => inboxes[(worker + 1) % 4].lock().unwrap().push(left - 1),
                                }
                            }
                        };
                        ending.take_part(drain, || false);
                    });
                }
            });
            assert_eq!(done.into_inner().unwrap(), 4);
        }
    }

    #[test]
    fn a_worker_that_never_comes_is_not_waited_for() {
        Ending::of(2).take_part(|| (), || true);
    }
}
