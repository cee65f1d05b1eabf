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
    /// By [`Direction`], source and destination of arriving packets: `C`, `V`; `B`, `L`.
    pub(super) addresses: [[Ipv4Addr; 2]; 2],
    /// By [`Direction`], source and destination of arriving packets: `c`, `v`; `b`, `l`.
    pub(super) ports: [[u16; 2]; 2],
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
            addresses: [[Ipv4Addr::UNSPECIFIED; 2]; 2],
            ports: [[0; 2]; 2],
            track: Track::blank(Protocol::Tcp, State::Vacant),
            last_seen: Tick(0),
            backend: BackendId(next),
            link: ClientLink { mac: MacAddr([0; 6]), port: 0 },
            path: Path::OneWay,
        }
    }

    /// The 5-tuple of the client's packets: `C:c → V:v`.
    #[inline(always)]
    pub const fn original_key(&self) -> FlowKey {
        self.key(Direction::Original)
    }

    /// The 5-tuple of the backend's answers as they arrive: `B:b → L:l`.
    #[inline(always)]
    pub const fn reply_key(&self) -> FlowKey {
        self.key(Direction::Reply)
    }

    /// The 5-tuple of arriving packets in `direction`.
    #[inline(always)]
    pub const fn key(&self, direction: Direction) -> FlowKey {
        let [src, dst] = self.addresses[direction as usize];
        let [src_port, dst_port] = self.ports[direction as usize];
        FlowKey { src, dst, src_port, dst_port, protocol: self.track.protocol }
    }

    /// Whether packets with `key` belong to this connection, in `direction`.
    #[inline(always)]
    pub(super) fn is(&self, direction: Direction, key: &FlowKey) -> bool {
        // A vacant record has ports of 0, which no TCP segment that is looked for has.
        self.key(direction).is_the_same_as(key)
    }

    /// The source port towards the backend.
    #[inline]
    pub(super) const fn local_port(&self) -> u16 {
        self.ports[Direction::Reply as usize][1]
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
        let answers = self.reply_key();
        let backend_port = match self.path {
            Path::Local => answers.src_port,
            Path::LocalToAnyPort => 0,
            Path::Client | Path::OneWay => return None,
        };
        Some(PoolKey { local: answers.dst, protocol: answers.protocol, backend: answers.src, backend_port })
    }
}
