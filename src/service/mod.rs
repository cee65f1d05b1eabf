//! Services and their backends, as the packet path sees them: numbered, immutable, one snapshot at a time.
//!
//! The control side hands out the numbers and keeps them: a [`BackendId`] in a connection's record means the same
//! backend for as long as any connection has it, whatever is added or removed around it.

use std::net::Ipv4Addr;

/// Which service, as an index into the snapshot's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u16);

/// Which backend of which service, as an index into the snapshot's backends. The same host in two services has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u32);

impl ServiceId {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl BackendId {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a scheduler knows of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub backend: BackendId,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its port in host byte order; 0 in a service of protocol `any`.
    pub port: u16,
    /// Its share of new connections relative to the others; 0 gets none (drained).
    pub weight: u16,
    /// Whether it is alive.
    pub up: bool,
}
