//! The record of one connection: one cache line.

use super::Tracked;
use super::ports::PoolKey;
use super::tcp::Segment;
use super::timeouts::TimeoutTicks;
use super::track::{Change, Direction, Observed, State, Track};
use crate::flow::{FlowKey, PackedKey, Protocol};
use crate::id::BackendId;
use crate::time::Tick;
use crate::wire::MacAddr;

/// An index into one lcore's connections. It names a connection for as long as that lives; later it may name another, so
/// whoever keeps it asks [`Conntrack::is`](super::Conntrack::is) before trusting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionIndex(pub(super) u32);

impl ConnectionIndex {
    /// The number of its record.
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

/// The way back to the client: the Ethernet address that its packets come from, and the number of the port that they come
/// in on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientLink(u64);

impl ClientLink {
    /// The bits of a link in its word: the address in the order of its bytes, then the port.
    const MASK: u64 = (1 << 56) - 1;

    /// The way to `mac` through port number `port`.
    #[inline(always)]
    pub const fn new(mac: MacAddr, port: u8) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self(u64::from_le_bytes([a, b, c, d, e, f, port, 0]))
    }

    /// The Ethernet address.
    #[inline(always)]
    pub const fn mac(self) -> MacAddr {
        let [a, b, c, d, e, f, _, _] = self.0.to_le_bytes();
        MacAddr([a, b, c, d, e, f])
    }

    /// The port's number.
    #[inline(always)]
    pub const fn port(self) -> u8 {
        (self.0 >> 48) as u8
    }
}

impl std::fmt::Debug for ClientLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientLink").field("mac", &self.mac()).field("port", &self.port()).finish()
    }
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

impl Path {
    /// In the order of their numbers.
    const ALL: [Self; 4] = [Self::Local, Self::LocalToAnyPort, Self::Client, Self::OneWay];
}

/// One connection of a client with a backend. Ports are in host byte order.
///
/// The client sends `C:c → V:v`, the backend gets `L:l → B:b`; answers go the opposite way. Where the backend knows the
/// client itself, `L:l` is `C:c`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Connection {
    /// By [`Direction`], source and destination of arriving packets, as they lie in a [`PackedKey`]: `C`, `V`; `B`, `L`.
    addresses: [u64; 2],
    /// By [`Direction`], source and destination of arriving packets, as they lie in a [`PackedKey`]: `c`, `v`; `b`, `l`.
    ports: [u32; 2],
    pub(super) track: Track,
    pub(super) last_seen: Tick,
    pub(super) backend: BackendId,
    /// The [`ClientLink`], and in the highest byte the [`Path`].
    way: u64,
}

const _: () = assert!(size_of::<Connection>() == 64);

/// What a connection is besides its keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) track: Track,
    pub(super) last_seen: Tick,
    pub(super) backend: BackendId,
    pub(super) link: ClientLink,
    pub(super) path: Path,
}

impl Connection {
    /// The connection with these keys; the protocol is that of its track.
    pub(super) const fn new(original: &FlowKey, reply: &FlowKey, standing: Standing) -> Self {
        let (original, reply) = (original.pack(), reply.pack());
        let Standing { track, last_seen, backend, link, path } = standing;
        Self {
            addresses: [original.addresses(), reply.addresses()],
            ports: [original.ports(), reply.ports()],
            track,
            last_seen,
            backend,
            way: link.0 | (path as u64) << 56,
        }
    }

    /// A record without a connection; `next` is the free list's.
    pub(super) const fn vacant(next: u32) -> Self {
        Self {
            addresses: [0; 2],
            ports: [0; 2],
            track: Track::blank(Protocol::Tcp, State::Vacant),
            last_seen: Tick(0),
            backend: BackendId(next),
            way: (Path::OneWay as u64) << 56,
        }
    }

    /// The 5-tuple of the client's packets: `C:c → V:v`.
    #[inline]
    pub const fn original_key(&self) -> FlowKey {
        self.key(Direction::Original).unpack()
    }

    /// The 5-tuple of the backend's answers as they arrive: `B:b → L:l`.
    #[inline]
    pub const fn reply_key(&self) -> FlowKey {
        self.key(Direction::Reply).unpack()
    }

    /// The 5-tuple of arriving packets in `direction`.
    #[inline(always)]
    pub const fn key(&self, direction: Direction) -> PackedKey {
        let at = direction as usize;
        PackedKey::from_memory(self.addresses[at], self.ports[at], self.track.protocol)
    }

    /// Whether packets with `key` belong to this connection, in `direction`.
    #[inline(always)]
    pub(super) fn is(&self, direction: Direction, key: &PackedKey) -> bool {
        // A vacant record has ports of 0, which no TCP segment that is looked for has.
        self.key(direction) == *key
    }

    /// The source port towards the backend.
    #[inline]
    pub(super) const fn local_port(&self) -> u16 {
        self.reply_key().dst_port
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
        ClientLink(self.way & ClientLink::MASK)
    }

    /// Which way its packets take.
    #[inline]
    pub const fn path(&self) -> Path {
        Path::ALL[(self.way >> 56) as usize & 3]
    }

    /// Whether the backend's answers come by.
    #[inline]
    pub const fn has_replies(&self) -> bool {
        self.way >> 56 != Path::OneWay as u64
    }

    /// Notes where the client's packets come from now.
    #[inline]
    pub(super) const fn set_link(&mut self, link: ClientLink) {
        self.way = link.0 | self.way & !ClientLink::MASK;
    }

    /// Whether its time is over.
    #[inline(always)]
    pub(super) const fn is_over(&self, timeouts: &TimeoutTicks, now: Tick) -> bool {
        timeouts.expired(self.track.state, self.last_seen, now)
    }

    /// Takes in one of its packets, as [`Conntrack::track`](super::Conntrack::track) says.
    #[inline(always)]
    pub(super) fn take_in(&mut self, direction: Direction, segment: Option<&Segment>, now: Tick) -> Tracked {
        let Observed { in_window, change } = self.track.observe(direction, segment);
        let prolongs = in_window && (self.state().is_prolonged() || change == Some(Change::Closed));
        let first_in_tick = prolongs && self.last_seen != now;
        if first_in_tick {
            self.last_seen = now;
        }
        Tracked { in_window, change, first_in_tick }
    }

    /// Whether `segment`, or a datagram where there is none, is one of those that nearly all are: within bounds, and it
    /// changes no state.
    #[inline(always)]
    pub(super) fn is_passed_by(&self, direction: Direction, segment: Option<&Segment>) -> bool {
        match segment {
            Some(segment) => self.track.is_passed_by_segment(direction, segment),
            None => self.track.is_passed_by_datagram(direction),
        }
    }

    /// Takes in a packet that [`Self::is_passed_by`] said yes to.
    #[inline(always)]
    pub(super) fn pass(&mut self, direction: Direction, segment: Option<&Segment>, now: Tick) {
        if let Some(segment) = segment {
            self.track.pass_segment(direction, segment);
        }
        self.last_seen = now;
    }

    /// The pool that its source port belongs to, if it is from one.
    pub(super) const fn pool(&self) -> Option<PoolKey> {
        let answers = self.reply_key();
        let backend_port = match self.path() {
            Path::Local => answers.src_port,
            Path::LocalToAnyPort => 0,
            Path::Client | Path::OneWay => return None,
        };
        Some(PoolKey { local: answers.dst, protocol: answers.protocol, backend: answers.src, backend_port })
    }
}
