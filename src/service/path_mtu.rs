//! What routers have said about the way to a backend (RFC 1191 §3).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::time::Tick;

/// How long a router is believed: RFC 1191 §6.3 suggests ten minutes before a larger size is tried again.
const BELIEVED: Duration = Duration::from_secs(600);

/// The smallest MTU that is believed (RFC 791: every link carries 68 bytes; below 576 nobody is).
const SMALLEST: u16 = 576;

/// The longest packet that arrives at one backend, as far as it is known. The first worker writes it, all read it.
#[derive(Debug, Default)]
pub struct PathMtu(AtomicU64);

impl PathMtu {
    /// The longest packet to send now on a port with `port_mtu`, in bytes of IPv4.
    #[inline(always)]
    pub fn at(&self, now: Tick, port_mtu: u16) -> u16 {
        match self.0.load(Relaxed) {
            0 => port_mtu,
            known => Self::believed(known, now).map_or(port_mtu, |mtu| mtu.min(port_mtu)),
        }
    }

    /// Notes that a router could not pass on more than `mtu` bytes. What is absurdly small is read as 576.
    pub fn learn(&self, mtu: u16, now: Tick) {
        self.0.store(u64::from(mtu.max(SMALLEST)) << 32 | u64::from(now.0), Relaxed);
    }

    const fn believed(known: u64, now: Tick) -> Option<u16> {
        if now.since(Tick(known as u32)) < Tick::count(BELIEVED) { Some((known >> 32) as u16) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_believed_for_ten_minutes_and_never_below_576() {
        let path = PathMtu::default();
        assert_eq!(path.at(Tick(0), 1500), 1500);
        path.learn(1400, Tick(10));
        assert_eq!(path.at(Tick(11), 1500), 1400);
        assert_eq!(path.at(Tick(11), 1300), 1300);
        assert_eq!(path.at(Tick(10 + 6000), 1500), 1500);
        path.learn(20, Tick(20));
        assert_eq!(path.at(Tick(21), 1500), 576);
    }
}
