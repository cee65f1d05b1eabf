//! How many connections each client has in each service, and how many it opened of late: for limits.
//!
//! A table of fixed size, one line of four entries a bucket. A bucket that is full gives up an entry of a client that has no
//! connection open before one that has, so that no flood of addresses makes those forget who have many.

use std::net::IpAddr;

use super::lines::LazyLines;
use super::memory::{Key, SLOTS};
use crate::flow::FlowHasher;
use crate::id::ServiceId;
use crate::time::Tick;

/// What one client may have in one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections that are open at a time.
    pub connections: Option<u16>,
    /// New connections a second.
    pub rate: Option<u16>,
}

impl ClientLimits {
    /// Whether there is any.
    pub const fn is_any(self) -> bool {
        self.connections.is_some() || self.rate.is_some()
    }
}

/// Which limit a client has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// [`ClientLimits::connections`].
    Connections,
    /// [`ClientLimits::rate`].
    Rate,
}

/// The clients' loads of one worker.
#[derive(Debug)]
pub struct ClientLoads {
    lines: LazyLines,
    buckets: u32,
    hasher: FlowHasher,
    /// Whether there ever was an entry.
    is_used: bool,
}

#[derive(Clone, Copy)]
struct Load {
    /// When the window of `opened` began.
    since: Tick,
    opened: u16,
    open: u16,
}

impl Load {
    const fn read(value: u64) -> Self {
        Self { since: Tick((value >> 32) as u32), opened: (value >> 16) as u16, open: value as u16 }
    }

    const fn write(self) -> u64 {
        (self.since.0 as u64) << 32 | (self.opened as u64) << 16 | self.open as u64
    }

    /// As it is at `now`.
    const fn at(self, now: Tick) -> Self {
        if now.since(self.since) < Tick::PER_SECOND { self } else { Self { since: now, opened: 0, ..self } }
    }
}

impl ClientLoads {
    /// A table for about `entries` clients; at least one bucket.
    pub fn new(entries: usize, hasher: FlowHasher) -> Self {
        let buckets = u32::try_from(entries.div_ceil(SLOTS).max(1)).expect("fewer than 2³² buckets");
        Self { lines: LazyLines::zeroed(buckets as usize), buckets, hasher, is_used: false }
    }

    /// Whether `client` may open a connection to `service` at `now`.
    ///
    /// # Errors
    ///
    /// The limit that it has reached.
    pub fn admits(&self, service: ServiceId, client: IpAddr, limits: ClientLimits, now: Tick) -> Result<(), Reached> {
        let key = Key::of_client(&self.hasher, service, client);
        let line = self.lines.line(key.bucket(self.buckets));
        let Some(slot) = key.slot(line) else { return Ok(()) };
        let load = Load::read(line[2 * slot + 1]).at(now);
        if limits.connections.is_some_and(|most| load.open >= most) {
            return Err(Reached::Connections);
        }
        if limits.rate.is_some_and(|most| load.opened >= most) {
            return Err(Reached::Rate);
        }
        Ok(())
    }

    /// Notes that `client` has opened a connection to `service`.
    pub fn opened(&mut self, service: ServiceId, client: IpAddr, now: Tick) {
        self.is_used = true;
        let key = Key::of_client(&self.hasher, service, client);
        let (owner, line) = (key.owner, self.lines.line_mut(key.bucket(self.buckets)));
        let rank = |slot: &usize| {
            let (held_by, load) = (line[2 * slot], Load::read(line[2 * slot + 1]));
            let is_recent = now.since(load.since) < Tick::PER_SECOND;
            (held_by != owner, held_by != 0, load.open, is_recent)
        };
        let slot = (0..SLOTS).min_by_key(rank).unwrap_or_default();
        let load = if line[2 * slot] == owner {
            Load::read(line[2 * slot + 1]).at(now)
        } else {
            Load { since: now, opened: 0, open: 0 }
        };
        line[2 * slot] = owner;
        line[2 * slot + 1] =
            Load { opened: load.opened.saturating_add(1), open: load.open.saturating_add(1), ..load }.write();
    }

    /// Notes that a connection of `client` to `service` is open again.
    pub fn restored(&mut self, service: ServiceId, client: IpAddr) {
        self.change(service, client, |load| Load { open: load.open.saturating_add(1), ..load });
    }

    /// Notes that a connection of `client` to `service` is open no longer. One whose opening was not noted, or is forgotten,
    /// changes nothing.
    pub fn closed(&mut self, service: ServiceId, client: IpAddr) {
        self.change(service, client, |load| Load { open: load.open.saturating_sub(1), ..load });
    }

    fn change(&mut self, service: ServiceId, client: IpAddr, change: impl Fn(Load) -> Load) {
        if !self.is_used {
            return;
        }
        let key = Key::of_client(&self.hasher, service, client);
        let line = self.lines.line_mut(key.bucket(self.buckets));
        if let Some(slot) = key.slot(line) {
            line[2 * slot + 1] = change(Load::read(line[2 * slot + 1])).write();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: ServiceId = ServiceId(0);
    const NOW: Tick = Tick(u32::MAX - 5); // The clock wraps within every test.

    fn loads(entries: usize) -> ClientLoads {
        ClientLoads::new(entries, FlowHasher::with_key((1, 2)))
    }

    fn client(number: u32) -> IpAddr {
        (0x0a00_0000 + number).to_be_bytes().into()
    }

    #[test]
    fn a_client_has_as_many_open_as_it_may() {
        let limits = ClientLimits { connections: Some(3), rate: None };
        let mut loads = loads(100);
        for _ in 0..3 {
            assert_eq!(loads.admits(WEB, client(1), limits, NOW), Ok(()));
            loads.opened(WEB, client(1), NOW);
        }
        assert_eq!(loads.admits(WEB, client(1), limits, NOW), Err(Reached::Connections));
        assert_eq!(loads.admits(ServiceId(1), client(1), limits, NOW), Ok(()), "another service");
        assert_eq!(loads.admits(WEB, client(2), limits, NOW), Ok(()), "another client");
        loads.closed(WEB, client(1));
        assert_eq!(loads.admits(WEB, client(1), limits, NOW), Ok(()));
        loads.restored(WEB, client(1));
        assert_eq!(loads.admits(WEB, client(1), limits, NOW), Err(Reached::Connections));
    }

    #[test]
    fn a_client_opens_as_many_a_second_as_it_may() {
        let limits = ClientLimits { connections: None, rate: Some(2) };
        let mut loads = loads(100);
        for second in 0..3 {
            let now = Tick(NOW.0.wrapping_add(10 * second));
            for _ in 0..2 {
                assert_eq!(loads.admits(WEB, client(1), limits, now), Ok(()));
                loads.opened(WEB, client(1), now);
                loads.closed(WEB, client(1));
            }
            assert_eq!(loads.admits(WEB, client(1), limits, Tick(now.0.wrapping_add(9))), Err(Reached::Rate));
        }
    }

    #[test]
    fn a_flood_of_addresses_does_not_make_it_forget_who_has_connections() {
        let limits = ClientLimits { connections: Some(1), rate: None };
        let mut loads = loads(4);
        loads.opened(WEB, client(1), NOW);
        for number in 2..1000 {
            loads.opened(WEB, client(number), NOW);
            loads.closed(WEB, client(number));
        }
        assert_eq!(loads.admits(WEB, client(1), limits, NOW), Err(Reached::Connections));
        loads.closed(WEB, client(7));
        assert_eq!(loads.admits(WEB, client(1), limits, NOW), Err(Reached::Connections), "not one of its own");
    }
}
