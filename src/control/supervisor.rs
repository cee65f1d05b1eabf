//! What systemd is told, where it has started leat: that leat is ready, reloads, stops, and that its workers go on.
//!
//! The protocol is that of sd_notify(3): datagrams to a socket that `NOTIFY_SOCKET` names. Without one nothing is said. With
//! `WATCHDOG_USEC` systemd wants a sign of life: it gets one only when **every** worker has polled since the last, so that one
//! that hangs ends in a restart, whatever the control side thinks of itself.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::counters::{PerWorker, WorkerCounters};

/// The one who speaks to systemd.
#[derive(Debug)]
pub struct Supervisor {
    watchdog: Option<Watchdog>,
}

impl Supervisor {
    /// One that says what `NOTIFY_SOCKET` and `WATCHDOG_USEC` ask for.
    pub fn from_environment(now: Instant) -> Self {
        // Two signs in the time that one is waited for, as sd_watchdog_enabled(3) advises.
        let watchdog = sd_notify::watchdog_enabled().map(|patience| Watchdog::new(patience / 2, now));
        Self { watchdog }
    }

    /// Every worker polls.
    pub fn ready(&self) {
        say(&[NotifyState::Ready, NotifyState::Status("balancing")]);
    }

    /// The file is read again; [`Self::ready`] says when that is over.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => say(&[NotifyState::Reloading, now]),
            Err(_) => say(&[NotifyState::Reloading]),
        }
    }

    /// leat ends.
    pub fn stopping(&self) {
        say(&[NotifyState::Stopping]);
    }

    /// Gives the sign of life, if it is due and true.
    pub fn tend(&mut self, counters: &PerWorker<WorkerCounters>, now: Instant) {
        let Some(watchdog) = &mut self.watchdog else { return };
        if watchdog.look(counters.iter().map(|worker| worker.polls.value()), now) {
            say(&[NotifyState::Watchdog]);
        }
    }

    /// How long [`Self::tend`] may be put off.
    pub fn patience(&self) -> Option<Duration> {
        self.watchdog.as_ref().map(|watchdog| watchdog.every / 2)
    }
}

fn say(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        log::warn!("systemd cannot be told how leat is: {error}");
    }
}

/// Whether it is time for a sign of life, and whether all workers live.
#[derive(Debug)]
struct Watchdog {
    every: Duration,
    next: Instant,
    polls: Vec<u64>,
}

impl Watchdog {
    const fn new(every: Duration, now: Instant) -> Self {
        Self { every, next: now, polls: Vec::new() }
    }

    /// Whether a sign is to be given at `now`, when the workers have polled so often.
    fn look(&mut self, polls: impl Iterator<Item = u64>, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let polls: Vec<_> = polls.collect();
        // Who has not moved since the last sign is waited for: it may do so in a moment.
        let all_moved = polls.iter().enumerate().all(|(at, polls)| self.polls.get(at) != Some(polls));
        if all_moved {
            self.polls = polls;
            self.next = now + self.every;
        }
        all_moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_that_hangs_withholds_the_sign_until_it_goes_on() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watchdog = Watchdog::new(Duration::from_secs(5), start);
        assert!(watchdog.look([10, 20].into_iter(), at(0)));
        assert!(!watchdog.look([11, 21].into_iter(), at(4)), "it is not due");
        assert!(watchdog.look([12, 22].into_iter(), at(5)));
        assert!(!watchdog.look([13, 22].into_iter(), at(10)), "the second hangs");
        assert!(!watchdog.look([900, 22].into_iter(), at(20)));
        assert!(watchdog.look([901, 23].into_iter(), at(21)), "it was only slow");
        assert!(!watchdog.look([902, 24].into_iter(), at(22)));
    }
}
