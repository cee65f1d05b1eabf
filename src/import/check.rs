//! Health checks: keepalived's checkers in leat's terms, and the one that a service gets.

use std::time::Duration;

use super::note::Place;

/// What leat takes as the time between two probes, and as the time that an answer is awaited.
pub(super) const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60 * 60));

/// A checker of a real server.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) place: Place,
    /// What messages call it: `TCP_CHECK`.
    pub(super) title: String,
    pub(super) probe: Probe,
}

/// What leat is to do in its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Probe {
    pub(super) kind: Kind,
    /// In the range of [`INTERVALS`].
    pub(super) interval: Duration,
    /// In the range of [`INTERVALS`], and no more than the interval.
    pub(super) timeout: Duration,
    /// Missing answers in a row after which a backend is down: not 0.
    pub(super) fall: u8,
    /// Another than the backend's.
    pub(super) port: Option<u16>,
}

/// By what a backend is probed. The later one says more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A ping.
    Icmp,
    /// A TCP connection.
    Tcp,
    /// An HTTP request.
    Http { path: String, status: String, host: Option<String>, text: Option<String> },
}

impl Kind {
    /// The `type` of `health`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Http { .. } => "http",
        }
    }
}

/// Brings times into the range that leat takes. What had to change, in words.
pub(super) fn fit(interval: Duration, timeout: Duration) -> (Duration, Duration, Option<String>) {
    let show = crate::config::show_duration;
    let (low, high) = INTERVALS;
    let fit = interval.clamp(low, high);
    let wait = timeout.clamp(low, fit);
    let mut changes = Vec::new();
    if fit != interval {
        changes.push(format!("interval {} instead of {}", show(fit), show(interval)));
    }
    if wait != timeout {
        changes.push(format!("timeout {} instead of {}", show(wait), show(timeout)));
    }
    let note = format!(
        "{}: an interval is {} to {}, and a timeout no longer than it",
        changes.join(" and "),
        show(low),
        show(high)
    );
    (fit, wait, (!changes.is_empty()).then_some(note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_leat_does_not_take_are_brought_into_its_range() {
        let seconds = Duration::from_secs;
        assert_eq!(fit(seconds(6), seconds(3)), (seconds(6), seconds(3), None));
        let (interval, timeout, note) = fit(seconds(2), seconds(5));
        assert_eq!((interval, timeout), (seconds(2), seconds(2)));
        assert!(note.unwrap().starts_with("timeout 2s instead of 5s:"));
        let (interval, timeout, note) = fit(seconds(7200), Duration::ZERO);
        assert_eq!((interval, timeout), (seconds(3600), Duration::from_millis(100)));
        assert!(note.unwrap().starts_with("interval 1h instead of 2h and timeout 100ms instead of "));
    }
}
