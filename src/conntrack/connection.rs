//! The record of one connection: one cache line, and in IPv6 a second one.

use std::ops::Deref;

use super::Tracked;
use super::lines::Line;
use super::ports::PoolKey;
use super::tcp::Segment;
use super::timeouts::TimeoutTicks;
use super::track::{Change, Direction, Observed, State, Track};
use crate::flow::{FlowKey, Packed, PackedKey, PackedKey4, PackedKey6, Protocol};
use crate::id::BackendId;
use crate::time::Tick;
use crate::wire::MacAddr;
use crate::wire::checksum::Delta;
use crate::wire::ipv6::Addresses6;

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
pub struct Connection {
    record: Record,
    /// Means nothing unless the record is wide.
    wide: Line,
}

impl Deref for Connection {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

/// What is known of one connection, but for IPv6 addresses: those stand in a line of their own, the *wide* one, under the same
/// number.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Record {
    /// By [`Direction`], source and destination of arriving packets, as they lie in a [`PackedKey4`]: `C`, `V`; `B`, `L`. In
    /// a wide connection the [`Delta`] between the addresses of its arriving and its leaving packets.
    addresses: [u64; 2],
    /// By [`Direction`], source and destination of arriving packets, as they lie in a [`PackedKey`]: `c`, `v`; `b`, `l`.
    ports: [u32; 2],
    pub(super) track: Track,
    pub(super) last_seen: Tick,
    pub(super) backend: BackendId,
    /// The [`ClientLink`], and in the highest byte the [`Path`] and three bits.
    way: u64,
}

/// The place of the [`Path`] in the word of the way.
const PATH_SHIFT: u32 = 56;
const PATH_MASK: u64 = 3;
/// Its addresses are in the wide line.
const IS_WIDE: u64 = 1 << 60;
/// Its client speaks one version of IP and its backend the other.
const IS_CROSSING: u64 = 1 << 59;
/// The client's next packet does not belong to it: only answers do.
const IS_ONE_PACKET: u64 = 1 << 61;
/// There is an [`Adjustment`](super::Adjustment) for the connection.
const IS_ADJUSTED: u64 = 1 << 62;
/// There is an [`Errand`](super::Errand) to be done for it.
const HAS_ERRAND: u64 = 1 << 63;

const _: () = assert!(size_of::<Record>() == 64);

/// What a connection is besides its keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) track: Track,
    pub(super) last_seen: Tick,
    pub(super) backend: BackendId,
    pub(super) link: ClientLink,
    pub(super) path: Path,
    pub(super) is_one_packet: bool,
}

/// A key as a record is compared with, by family.
pub trait Family: Packed {
    /// The bits of the way that stand so in a connection of this family's that needs nothing but to be passed on.
    const PLAIN: u64;

    /// The key of arriving packets in `direction` of such a connection.
    fn read(record: &Record, wide: &Line, direction: Direction) -> Self;

    /// The same as an answer to such packets has it.
    fn reversed(self) -> Self;

    /// Of either family.
    fn pack(self) -> PackedKey;
}

impl Family for PackedKey4 {
    const PLAIN: u64 = 0;

    #[inline(always)]
    fn read(record: &Record, _: &Line, direction: Direction) -> Self {
        record.key4(direction)
    }

    #[inline(always)]
    fn reversed(self) -> Self {
        Self::reversed(self)
    }

    #[inline(always)]
    fn pack(self) -> PackedKey {
        PackedKey::V4(self)
    }
}

impl Family for PackedKey6 {
    const PLAIN: u64 = IS_WIDE;

    #[inline(always)]
    fn read(record: &Record, wide: &Line, direction: Direction) -> Self {
        let ports = record.ports[direction as usize];
        Self::from_memory(wide_addresses(wide, direction), ports, record.track.protocol)
    }

    #[inline(always)]
    fn reversed(self) -> Self {
        Self::reversed(self)
    }

    #[inline(always)]
    fn pack(self) -> PackedKey {
        PackedKey::V6(self)
    }
}

/// The addresses of arriving packets in `direction`.
#[inline(always)]
const fn wide_addresses(wide: &Line, direction: Direction) -> Addresses6 {
    let (sides, _) = wide.as_chunks();
    sides[direction as usize]
}

/// The wide line of a connection that has none.
pub(super) const NOT_WIDE: Line = [0; 8];

impl Connection {
    /// The connection with these keys; the protocol is that of its track.
    pub(super) const fn new(original: &FlowKey, reply: &FlowKey, standing: Standing) -> Self {
        let (original, reply) = (original.pack(), reply.pack());
        let Standing { track, last_seen, backend, link, path, is_one_packet } = standing;
        let way = link.0 | (path as u64) << PATH_SHIFT | if is_one_packet { IS_ONE_PACKET } else { 0 };
        let ports = [original.ports(), reply.ports()];
        if let (PackedKey::V4(original), PackedKey::V4(reply)) = (original, reply) {
            let addresses = [original.addresses(), reply.addresses()];
            return Self { record: Record { addresses, ports, track, last_seen, backend, way }, wide: NOT_WIDE };
        }
        let crosses = matches!(original, PackedKey::V4(_)) || matches!(reply, PackedKey::V4(_));
        let way = way | IS_WIDE | if crosses { IS_CROSSING } else { 0 };
        let (original, reply) = (original.wide_addresses(), reply.wide_addresses());
        // A sum is the same whichever of two addresses comes first.
        let addresses = [Delta::of_words(original, reply).bits(), Delta::of_words(reply, original).bits()];
        let record = Record { addresses, ports, track, last_seen, backend, way };
        let ([a, b, c, d], [e, f, g, h]) = (original, reply);
        Self { record, wide: [a, b, c, d, e, f, g, h] }
    }

    /// The connection of a record with its wide line, if it has one.
    pub(super) const fn of(record: &Record, wide: &Line) -> Self {
        Self { record: *record, wide: *wide }
    }

    /// Its two parts.
    pub(super) const fn parts(&self) -> (&Record, &Line) {
        (&self.record, &self.wide)
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
        self.record.key(&self.wide, direction)
    }

    /// The source port towards the backend.
    #[inline]
    pub(super) const fn local_port(&self) -> u16 {
        self.reply_key().dst_port
    }

    /// The pool that its source port belongs to, if it is from one.
    pub(super) const fn pool(&self) -> Option<PoolKey> {
        let answers = self.reply_key();
        let backend_port = match self.record.path() {
            Path::Local => answers.src_port,
            Path::LocalToAnyPort => 0,
            Path::Client | Path::OneWay => return None,
        };
        Some(PoolKey { local: answers.dst, protocol: answers.protocol, backend: answers.src, backend_port })
    }
}

impl Record {
    /// A record without a connection; `next` is the free list's.
    pub(super) const fn vacant(next: u32) -> Self {
        Self {
            addresses: [0; 2],
            ports: [0; 2],
            track: Track::blank(Protocol::Tcp, State::Vacant),
            last_seen: Tick(0),
            backend: BackendId(next),
            way: (Path::OneWay as u64) << PATH_SHIFT,
        }
    }

    /// The 5-tuple of arriving packets in `direction`, of one that is not wide.
    #[inline(always)]
    const fn key4(&self, direction: Direction) -> PackedKey4 {
        let at = direction as usize;
        PackedKey4::from_memory(self.addresses[at], self.ports[at], self.track.protocol)
    }

    /// What becomes of a checksum over the addresses of a packet in `direction`, in a wide connection.
    #[inline(always)]
    pub(super) const fn readdressing(&self, direction: Direction) -> Delta {
        Delta::from_bits(self.addresses[direction as usize])
    }

    /// The 5-tuple of arriving packets in `direction`.
    #[inline(always)]
    pub(super) const fn key(&self, wide: &Line, direction: Direction) -> PackedKey {
        if self.is_wide() {
            let ports = self.ports[direction as usize];
            PackedKey::from_wide(wide_addresses(wide, direction), ports, self.track.protocol)
        } else {
            PackedKey::V4(self.key4(direction))
        }
    }

    /// Whether its addresses are in the wide line.
    #[inline(always)]
    pub const fn is_wide(&self) -> bool {
        self.way & IS_WIDE != 0
    }

    /// Whether its client speaks one version of IP and its backend the other.
    #[inline(always)]
    pub const fn is_crossing(&self) -> bool {
        self.way & IS_CROSSING != 0
    }

    /// Whether both its sides are of this family, and nothing of its segments is changed but addresses and ports.
    #[inline(always)]
    pub(super) const fn is_plain<K: Family>(&self) -> bool {
        self.way & (IS_WIDE | IS_CROSSING | IS_ADJUSTED) == K::PLAIN
    }

    /// Whether its backend may have it in TIME-WAIT.
    pub const fn rests_at_backend(&self) -> bool {
        self.track.rests_at_backend()
    }

    /// Its protocol.
    #[inline]
    pub const fn protocol(&self) -> Protocol {
        self.track.protocol
    }

    /// Where it stands.
    #[inline]
    pub const fn state(&self) -> State {
        self.track.state
    }

    /// The shift of windows that its client's SYN offered, if it did.
    pub const fn offered_window_scale(&self) -> Option<u8> {
        self.track.offered_scale(Direction::Original)
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
        Path::ALL[(self.way >> PATH_SHIFT & PATH_MASK) as usize]
    }

    /// Whether the backend's answers come by.
    #[inline]
    pub const fn has_replies(&self) -> bool {
        self.way >> PATH_SHIFT & PATH_MASK != Path::OneWay as u64
    }

    /// Whether its segments are changed by more than addresses and ports.
    #[inline(always)]
    pub const fn is_adjusted(&self) -> bool {
        self.way & IS_ADJUSTED != 0
    }

    /// Whether leat has to do something for it.
    #[inline(always)]
    pub const fn has_errand(&self) -> bool {
        self.way & HAS_ERRAND != 0
    }

    /// Whether only answers belong to it, because each of the client's datagrams is scheduled by itself.
    #[inline]
    pub const fn is_one_packet(&self) -> bool {
        self.way & IS_ONE_PACKET != 0
    }

    /// Notes whether its segments are changed, and whether leat has to do something for it.
    pub(super) const fn set_adjusted(&mut self, is_adjusted: bool, has_errand: bool) {
        self.way &= !(IS_ADJUSTED | HAS_ERRAND);
        if is_adjusted {
            self.way |= IS_ADJUSTED;
        }
        if has_errand {
            self.way |= HAS_ERRAND;
        }
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

    /// Takes in a packet at `now`, of TCP with this `segment`, if it is one of those that nearly all are: within bounds, and it
    /// changes no state. Otherwise changes nothing.
    #[inline(always)]
    pub(super) fn pass(&mut self, direction: Direction, segment: Option<&Segment>, now: Tick) -> bool {
        let passes = match segment {
            Some(segment) => self.track.pass_segment(direction, segment),
            None => self.track.is_passed_by_datagram(direction),
        };
        if passes {
            self.last_seen = now;
        }
        passes
    }
}
