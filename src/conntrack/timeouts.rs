//! How long a connection without packets lives, by its state. The one place where a timeout has its name and default.

use std::time::Duration;

use super::State;
use crate::time::Tick;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Idle times after which a connection is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A SYN was seen and nothing else. RFC 5382 REQ-5: at least 4 minutes.
    pub tcp_syn_sent: Duration,
    /// The SYN was answered, the client's ACK is missing. RFC 5382 REQ-5: at least 4 minutes.
    pub tcp_syn_received: Duration,
    /// Both sides have agreed to talk. RFC 5382 REQ-5: at least 2 hours 4 minutes.
    pub tcp_established: Duration,
    /// One side has sent its FIN. RFC 5382 REQ-5: at least 4 minutes.
    pub tcp_closing: Duration,
    /// Both FINs were seen. Twice the maximum segment lifetime as the usual systems reckon it (RFC 9293 §3.6.1).
    pub tcp_time_wait: Duration,
    /// A RST in the window was seen. RFC 7857 §2.2 asks for 4 minutes; leat keeps the port for less.
    pub tcp_reset: Duration,
    /// A UDP flow that was never answered. RFC 4787 REQ-5: at least 2 minutes.
    pub udp_unreplied: Duration,
    /// A UDP flow with packets in both directions. RFC 4787 REQ-5 recommends 5 minutes.
    pub udp: Duration,
    /// A datagram that was scheduled by itself and is answered: how long another answer is awaited.
    pub udp_answered: Duration,
    /// An ICMP echo exchange. RFC 5508 REQ-2: at least 60 seconds.
    pub icmp: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_syn_sent: Duration::from_secs(4 * MINUTE),
            tcp_syn_received: Duration::from_secs(4 * MINUTE),
            tcp_established: Duration::from_secs(2 * HOUR + 4 * MINUTE),
            tcp_closing: Duration::from_secs(4 * MINUTE),
            tcp_time_wait: Duration::from_secs(MINUTE),
            tcp_reset: Duration::from_secs(10),
            udp_unreplied: Duration::from_secs(2 * MINUTE),
            udp: Duration::from_secs(5 * MINUTE),
            udp_answered: Duration::from_secs(5),
            icmp: Duration::from_secs(MINUTE),
        }
    }
}

impl Timeouts {
    /// The longest of them: after this, no connection of a client that is silent is left.
    pub fn longest(&self) -> Duration {
        State::ALL.iter().map(|state| self.of(*state)).max().unwrap_or_default()
    }

    /// How long a connection in `state` lives after its last packet; zero for a record without a connection.
    const fn of(&self, state: State) -> Duration {
        match state {
            State::Vacant => Duration::ZERO,
            State::SynSent => self.tcp_syn_sent,
            State::SynReceived => self.tcp_syn_received,
            State::Established => self.tcp_established,
            State::Closing | State::Parting => self.tcp_closing,
            State::TimeWait => self.tcp_time_wait,
            State::Reset => self.tcp_reset,
            State::Unreplied => self.udp_unreplied,
            State::Replied => self.udp,
            State::Echo => self.icmp,
            State::Answered => self.udp_answered,
        }
    }
}

/// [`Timeouts`] in ticks, one a state, as the packet path compares them.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeoutTicks([i32; State::ALL.len()]);

impl TimeoutTicks {
    pub(super) fn new(timeouts: &Timeouts) -> Self {
        Self(State::ALL.map(|state| match state {
            State::Vacant => i32::MAX,
            _ => i32::try_from(Tick::count(timeouts.of(state))).unwrap_or(i32::MAX),
        }))
    }

    /// Whether a connection in `state` that had its last packet at `last_seen` is to be forgotten at `now`. A record
    /// without a connection never is.
    ///
    /// A stamp tells only in which tick the packet came, so one tick is added: no timeout is cut short. A stamp that lies
    /// ahead of `now` is fresh: where a thread moves between CPUs, or a machine between hosts, the clock can step back.
    #[inline]
    pub(super) const fn expired(&self, state: State, last_seen: Tick, now: Tick) -> bool {
        now.since(last_seen).cast_signed() > self.0[state as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_steps_back_ends_no_connection() {
        let ticks = TimeoutTicks::new(&Timeouts::default());
        for stamp in [Tick(5), Tick(100), Tick(u32::MAX)] {
            let at = |ticks: i32| Tick(stamp.0.wrapping_add_signed(ticks));
            assert!(!ticks.expired(State::Echo, stamp, at(-1)));
            assert!(!ticks.expired(State::Echo, stamp, at(-20_000)));
            assert!(!ticks.expired(State::Echo, stamp, at(600)));
            assert!(ticks.expired(State::Echo, stamp, at(601)));
            assert!(ticks.expired(State::Echo, stamp, at(600_000_000)));
        }
    }
}
