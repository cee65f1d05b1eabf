//! Services and their backends, as the packet path sees them: numbered, immutable, one snapshot at a time.

use std::net::Ipv4Addr;

pub use crate::id::{BackendId, ServiceId};

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
