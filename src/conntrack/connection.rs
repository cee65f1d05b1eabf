//! The record of one connection: one cache line.

use std::net::Ipv4Addr;

use super::ports::PoolKey;
use super::track::{Direction, State, Track};
use crate::flow::{FlowKey, Protocol};
use crate::id::BackendId;
use crate::time::Tick;
use crate::wire::MacAddr;

/// An index into one lcore's connections. It names a connection for as long as that lives; later it may name another, so
/// whoever keeps it asks [`Conntrack::is`](super::Conntrack::is) before trusting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionIndex(pub(super) u32);

/// The way back to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLink {
    /// Ethernet address that the client's packets come from.
    pub mac: MacAddr,
    /// Number of the port that they come in on.
    pub port: u8,
}

/// By whose address a backend knows a connection, and whether its answers come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Path {
    /// A local address of leat's, with a source port of the pool for this port of the backend.
    Local,
    /// A local address of leat's, with a source port of the pool for all ports of the backend.
    LocalToAnyPort,
    /// The client's own, and answers come by.
    Client,
    /// The client's own, and answers go past leat.
    OneWay,
}

/// One connection of a client with a backend. Ports are in host byte order.
///
/// The client sends `C:c → V:v`, the backend gets `L:l → B:b`; answers go the opposite way. Where the backend knows the
/// client itself, `L:l` is `C:c`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Connection {
    pub(super) client: Ipv4Addr,
    pub(super) vip: Ipv4Addr,
    pub(super) backend_address: Ipv4Addr,
    pub(super) local: Ipv4Addr,
    pub(super) client_port: u16,
    pub(super) vip_port: u16,
    pub(super) backend_port: u16,
    pub(super) local_port: u16,
    pub(super) track: Track,
    pub(super) last_seen: Tick,
    pub(super) backend: BackendId,
    pub(super) link: ClientLink,
    pub(super) path: Path,
}

const _: () = assert!(size_of::<Connection>() == 64);

impl Connection {
    /// A record without a connection; `next` is the free list's.
    pub(super) const fn vacant(next: u32) -> Self {
        Self {
            client: Ipv4Addr::UNSPECIFIED,
            vip: Ipv4Addr::UNSPECIFIED,
            backend_address: Ipv4Addr::UNSPECIFIED,
            local: Ipv4Addr::UNSPECIFIED,
            client_port: 0,
            vip_port: 0,
            backend_port: 0,
            local_port: 0,
            track: Track::blank(Protocol::Tcp, State::Vacant),
            last_seen: Tick(0),
            backend: BackendId(next),
            link: ClientLink { mac: MacAddr([0; 6]), port: 0 },
            path: Path::OneWay,
        }
    }

    /// The 5-tuple of the client's packets: `C:c → V:v`.
    #[inline]
    pub const fn original_key(&self) -> FlowKey {
        FlowKey {
            src: self.client,
            dst: self.vip,
            src_port: self.client_port,
            dst_port: self.vip_port,
            protocol: self.track.protocol,
        }
    }

    /// The 5-tuple of the backend's answers as they arrive: `B:b → L:l`.
    #[inline]
    pub const fn reply_key(&self) -> FlowKey {
        FlowKey {
            src: self.backend_address,
            dst: self.local,
            src_port: self.backend_port,
            dst_port: self.local_port,
            protocol: self.track.protocol,
        }
    }

    /// The 5-tuple of arriving packets in `direction`.
    #[inline]
    pub const fn key(&self, direction: Direction) -> FlowKey {
        match direction {
            Direction::Original => self.original_key(),
            Direction::Reply => self.reply_key(),
        }
    }

    /// Whether packets with `key` belong to this connection, in `direction`.
    #[inline]
    pub(super) fn is(&self, direction: Direction, key: &FlowKey) -> bool {
        self.track.state != State::Vacant && self.key(direction) == *key
    }

    /// Where it stands.
    #[inline]
    pub const fn state(&self) -> State {
        self.track.state
    }

    /// Whether it counts as open, see [`State::is_open`].
    #[inline]
    pub const fn is_open(&self) -> bool {
        self.track.state.is_open()
    }

    /// Its backend.
    #[inline]
    pub const fn backend(&self) -> BackendId {
        self.backend
    }

    /// When its last valid packet came.
    #[inline]
    pub const fn last_seen(&self) -> Tick {
        self.last_seen
    }

    /// The way back to its client.
    #[inline]
    pub const fn link(&self) -> ClientLink {
        self.link
    }

    /// Which way its packets take.
    #[inline]
    pub const fn path(&self) -> Path {
        self.path
    }

    /// Whether the backend's answers come by.
    #[inline]
    pub const fn has_replies(&self) -> bool {
        !matches!(self.path, Path::OneWay)
    }

    /// The pool that its source port belongs to, if it is from one.
    pub(super) const fn pool(&self) -> Option<PoolKey> {
        let backend_port = match self.path {
            Path::Local => self.backend_port,
            Path::LocalToAnyPort => 0,
            Path::Client | Path::OneWay => return None,
        };
        Some(PoolKey { local: self.local, protocol: self.track.protocol, backend: self.backend_address, backend_port })
    }
}
