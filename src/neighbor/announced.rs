//! leat's own addresses, and how often the link was told of each.

use std::net::IpAddr;
use std::time::Duration;

use crate::counters::Counter;
use crate::id::PortId;
use crate::time::Instant;

/// Announcements of an address (RFC 5227 §1.1: ANNOUNCE_NUM), and the time between them (ANNOUNCE_INTERVAL).
const ANNOUNCEMENTS: u64 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

/// In IPv6 somebody who has the address already is asked for first, once, and has a second for the answer (RFC 4862 §5.1:
/// DupAddrDetectTransmits, RetransTimer).
const PROBES: u64 = 1;
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// An address of leat's own, and the port that it is announced on; all when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Announcement {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Option<PortId>,
}

/// An own address with what was announced of it. One that a new configuration has as well is not announced again.
#[derive(Debug)]
pub struct Announced {
    announcement: Announcement,
    /// Written by the first worker alone, as the next.
    sent: Counter,
    /// When the next is due, in nanoseconds since the start.
    due: Counter,
    /// How often it was asked for once more; written by the control side alone.
    again: Counter,
}

impl Announced {
    /// To be announced as soon as somebody looks.
    pub fn new(announcement: Announcement) -> Self {
        Self { announcement, sent: Counter::default(), due: Counter::default(), again: Counter::default() }
    }

    /// What is announced.
    pub const fn announcement(&self) -> Announcement {
        self.announcement
    }

    /// Has it announced once more, as soon as the snapshot's bell is rung. Only the control side may call it.
    pub fn announce_again(&self) {
        self.again.add(1);
    }

    /// When it is due next; nothing when it was announced often enough.
    pub(super) fn next(&self) -> Option<Instant> {
        let most = self.probes() + ANNOUNCEMENTS * (1 + self.again.value());
        (self.sent.value() < most).then(|| Instant::from_nanos(self.due.value()))
    }

    /// Whether it is not to be announced yet, but asked for.
    pub(super) fn is_probed_first(&self) -> bool {
        self.sent.value() < self.probes()
    }

    /// It is announced, or asked for, now.
    pub(super) fn announce(&self, now: Instant) {
        let interval = if self.is_probed_first() { PROBE_INTERVAL } else { ANNOUNCE_INTERVAL };
        self.sent.add(1);
        self.due.set((now + interval).as_nanos());
    }

    const fn probes(&self) -> u64 {
        if self.announcement.address.is_ipv6() { PROBES } else { 0 }
    }
}
