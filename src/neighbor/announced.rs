//! leat's own addresses: how often the link was told of each, and whether somebody else has it.
//!
//! In IPv6 everybody is asked first (RFC 4862 §5.4). An address is used at once all the same, as RFC 4429 allows; until the time for
//! an answer is over it is *tentative*, and if somebody else claims it by then, it is *given up*.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Hop;
use crate::counters::Counter;
use crate::id::PortId;
use crate::time::Instant;
use crate::wire::mld::Version;

/// Announcements of an address (RFC 5227 §1.1: ANNOUNCE_NUM), and the time between them (ANNOUNCE_INTERVAL).
const ANNOUNCEMENTS: u64 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

/// In IPv6 somebody who has the address already is asked for first, once, and has a second for the answer (RFC 4862 §5.1:
/// DupAddrDetectTransmits, RetransTimer).
const PROBES: u64 = 1;
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The least time between two reports of its group to who asks (RFC 3810 §9.8: the time in which a last listener answers).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// An address of leat's own, and the port that it is announced on; all when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Announcement {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Option<PortId>,
    /// Whether it is given up where somebody else has it already. A VIP is not: that is how one instance takes over from another.
    pub gives_way: bool,
}

/// An own address with what was announced of it. One that a new configuration has as well is not announced again.
#[derive(Debug)]
pub struct Announced {
    announcement: Announcement,
    /// How often somebody who has it already is asked for before.
    probes: u64,
    /// Written by the first worker alone, as the next two.
    sent: Counter,
    /// When the next is due, in nanoseconds since the start.
    due: Counter,
    /// Who else has it, if it is given up.
    holder: AtomicU64,
    /// How often it was asked for once more; written by the control side alone.
    again: Counter,
    /// Which report of its group somebody waits for, in [`Version`]'s numbers and from 1 on, and when the last such was sent, in
    /// nanoseconds since the start. Written by the first worker alone.
    queried: Counter,
    reported: Counter,
}

impl Announced {
    /// To be announced as soon as somebody looks.
    pub fn new(announcement: Announcement) -> Self {
        let [sent, due, again, queried, reported] = [(); 5].map(|()| Counter::default());
        let probes = if announcement.address.is_ipv6() { PROBES } else { 0 };
        Self { announcement, probes, sent, due, holder: AtomicU64::new(0), again, queried, reported }
    }

    /// The same for one that leat has kept silent about because another instance has it, and that is to be leat's now: whoever has
    /// it is told at once, and not asked.
    pub fn taken_over(announcement: Announcement) -> Self {
        Self { probes: 0, ..Self::new(announcement) }
    }

    /// What is announced.
    pub const fn announcement(&self) -> Announcement {
        self.announcement
    }

    /// Has it announced once more, as soon as the snapshot's bell is rung. Only the control side may call it.
    pub fn announce_again(&self) {
        self.again.add(1);
    }

    /// Whether somebody else may turn out to have it, and it would be given up then.
    pub fn is_tentative(&self) -> bool {
        self.announcement.gives_way && self.sent.value() <= self.probes && self.probes > 0
    }

    /// Takes in that `holder` claims the address, or asks whether it may have it. Whether leat gives it up. Only the first worker may
    /// call it.
    pub fn claimed_by(&self, holder: Hop) -> bool {
        let is_given_up = self.is_tentative();
        if is_given_up {
            self.holder.store(holder.pack(), Relaxed);
        }
        is_given_up
    }

    /// Who has it in place of leat, if it is given up.
    pub fn holder(&self) -> Option<Hop> {
        Hop::unpack(self.holder.load(Relaxed))
    }

    /// Somebody who understands `version` asks whether leat listens to the address's group. Whether that is to be answered: once a
    /// second, for whoever asks. Only the first worker may call it.
    pub fn query(&self, version: Version, now: Instant) -> bool {
        let last = self.reported.value();
        if last != 0 && now.since(Instant::from_nanos(last)) < REPORT_INTERVAL {
            return false;
        }
        self.reported.set(now.as_nanos().max(1));
        self.queried.set(version as u64 + 1);
        true
    }

    /// Takes out the report that somebody waits for.
    pub(super) fn take_query(&self) -> Option<Version> {
        let version = match self.queried.value() {
            0 => return None,
            queried if queried == Version::V1 as u64 + 1 => Version::V1,
            _ => Version::V2,
        };
        self.queried.set(0);
        Some(version)
    }

    /// When it is due next; nothing when it was announced often enough, or is given up.
    pub(super) fn next(&self) -> Option<Instant> {
        let most = self.probes + ANNOUNCEMENTS * (1 + self.again.value());
        (self.sent.value() < most && self.holder().is_none()).then(|| Instant::from_nanos(self.due.value()))
    }

    /// Whether it is not to be announced yet, but asked for.
    pub(super) fn is_probed_first(&self) -> bool {
        self.sent.value() < self.probes
    }

    /// It is announced, or asked for, now.
    pub(super) fn announce(&self, now: Instant) {
        let interval = if self.is_probed_first() { PROBE_INTERVAL } else { ANNOUNCE_INTERVAL };
        self.sent.add(1);
        self.due.set((now + interval).as_nanos());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MacAddr;

    #[test]
    fn an_address_that_another_has_is_given_up_before_it_is_announced_and_never_later() {
        let holder = Hop { mac: MacAddr([2, 0, 0, 0, 0, 9]), port: PortId(1) };
        let rows = [
            // address, gives way, messages sent before the claim; given up
            ("2001:db8::fe", true, 0, true),
            ("2001:db8::fe", true, 1, true),
            ("2001:db8::fe", true, 2, false),
            ("2001:db8::10", false, 1, false),
            ("10.0.0.254", true, 0, false),
        ];
        for row @ (address, gives_way, sent, is_given_up) in rows {
            let announcement = Announcement { address: address.parse().unwrap(), port: None, gives_way };
            let announced = Announced::new(announcement);
            (0..sent).for_each(|_| announced.announce(Instant::ZERO));
            assert_eq!(announced.claimed_by(holder), is_given_up, "{row:?}");
            assert_eq!(announced.holder(), is_given_up.then_some(holder), "{row:?}");
            assert_eq!(announced.next().is_none(), is_given_up, "{row:?}");
        }
    }

    #[test]
    fn what_another_instance_leaves_to_this_one_is_announced_at_once_and_never_given_up() {
        let holder = Hop { mac: MacAddr([2, 0, 0, 0, 0, 9]), port: PortId(1) };
        for address in ["2001:db8::13", "10.0.0.13"] {
            let address = address.parse().unwrap();
            let announced = Announced::taken_over(Announcement { address, port: None, gives_way: true });
            assert!(!announced.is_probed_first() && !announced.claimed_by(holder));
            assert_eq!((announced.next(), announced.holder()), (Some(Instant::ZERO), None));
        }
    }
}
