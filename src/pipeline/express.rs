//! The third pass for nearly every packet: one of a known connection that needs nothing but to be passed on.
//!
//! What is done here, the way through [`finish`](Pipeline::finish) does as well and alike. That way can do everything; this
//! one asks first whether anything of it is needed, before it changes anything, and takes half of the instructions. A packet
//! that needs more goes back untouched. A traced packet is never asked: so traces are those of the other way, and a test
//! holds both against each other.

use super::classify::{Headers, Kind};
use super::known::link_of;
use super::{Context, Flow, LastPort, Pipeline, Tracer, hop};
use crate::conntrack::{Candidate, Direction, Family, Leaving, Segment};
use crate::flow::{PackedKey, PackedKey4, PackedKey6};
use crate::forward::{self, PLAIN_HEADERS, PLAIN_HEADERS_V6};
use crate::io::{Output, Packet};
use crate::service::Forwarding;
use crate::time::Tick;
use crate::wire::checksum::Delta;
use crate::wire::{ethernet, ipv4, tcp, udp};

/// What the express way needs to know of a version of IP.
pub(super) trait Version: Family {
    /// The start of a frame whose headers have no options.
    type Head: AsRef<[u8]> + AsMut<[u8]> + ?Sized;

    /// How many packets the second pass takes at a time.
    const GROUP: usize;

    /// The key, if it is of this version.
    fn of(key: &PackedKey) -> Option<&Self>;

    /// That start, if the frame is long enough.
    fn head(data: &mut [u8]) -> Option<&mut Self::Head>;

    /// The TCP header in it.
    fn tcp(head: &Self::Head) -> Option<tcp::Header<'_>>;

    /// What [`forward::translate`] does, to such headers. What that does to a checksum over the `addresses` is known in IPv6.
    fn translate(head: &mut Self::Head, to: &Self, addresses: Delta);
}

impl Version for PackedKey4 {
    type Head = [u8; PLAIN_HEADERS];

    const GROUP: usize = 4;

    #[inline(always)]
    fn of(key: &PackedKey) -> Option<&Self> {
        if let PackedKey::V4(key) = key { Some(key) } else { None }
    }

    #[inline(always)]
    fn head(data: &mut [u8]) -> Option<&mut Self::Head> {
        data.first_chunk_mut()
    }

    #[inline(always)]
    fn tcp(head: &Self::Head) -> Option<tcp::Header<'_>> {
        let (_, tcp) = head.split_at(ethernet::HEADER_LEN + ipv4::HEADER_LEN);
        tcp::Header::new(tcp)
    }

    #[inline(always)]
    fn translate(head: &mut Self::Head, to: &Self, _: Delta) {
        forward::translate_plain(head, to);
    }
}

impl Version for PackedKey6 {
    type Head = [u8];

    // Three lines are fetched for each.
    const GROUP: usize = 2;

    #[inline(always)]
    fn of(key: &PackedKey) -> Option<&Self> {
        if let PackedKey::V6(key) = key { Some(key) } else { None }
    }

    #[inline(always)]
    fn head(data: &mut [u8]) -> Option<&mut Self::Head> {
        (data.len() >= PLAIN_HEADERS_V6 + udp::HEADER_LEN).then_some(data)
    }

    #[inline(always)]
    fn tcp(head: &Self::Head) -> Option<tcp::Header<'_>> {
        head.get(PLAIN_HEADERS_V6..).and_then(tcp::Header::new)
    }

    #[inline(always)]
    fn translate(head: &mut Self::Head, to: &Self, addresses: Delta) {
        forward::translate_plain_v6(head, to, addresses);
    }
}

/// What the packets of a burst have in common: when they are taken in, and, nearly always, by which way out those in one direction
/// leave.
pub(super) struct Common {
    tick: Tick,
    to_backends: LastPort,
    to_clients: LastPort,
}

impl Common {
    /// That of a burst at `tick`.
    pub(super) fn new(tick: Tick) -> Self {
        Self { tick, to_backends: LastPort::default(), to_clients: LastPort::default() }
    }
}

impl<P: Packet> Pipeline<P> {
    /// Sends `packet`, whose [`Headers::is_plain`], or gives it back as it was. One that `TOUCHES` its client's entry, by which the
    /// client is known to be there, is for code of its own: so the rest need not keep in mind whether to.
    #[inline(always)]
    pub(super) fn express<const TOUCHES: bool, K: Version, O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        key: &K,
        flow: Flow<'_>,
        candidate: Candidate,
        common: &mut Common,
        context: &mut Context<'_, O, T>,
    ) -> Option<P> {
        let (headers, snapshot, tick) = (flow.headers, context.snapshot, common.tick);
        let (frame_len, ingress) = (packet.frame_len(), packet.ingress());
        let Some(head) = K::head(packet.data_mut()) else { return Some(packet) };
        let Some((mut met, direction)) = self.conntrack.expect(candidate, key) else { return Some(packet) };
        let Some(backend) = snapshot.backend(met.connection().backend()) else { return Some(packet) };
        if !backend.is_plain() || met.is_over(tick) {
            return Some(packet);
        }
        // Once a tick is often enough to say that the client is still there.
        if !TOUCHES && backend.remembers_clients && met.is_first_in_tick(tick) {
            return self.express_and_touch(packet, key, flow, candidate, common, context);
        }
        let link = met.connection().link();
        // What the connection itself says comes last: it takes the packet in at once. For each direction in code of its own, in which
        // every place in the record is known.
        let (hop, exit, leaving) = match direction {
            Direction::Original => {
                if link_of(head.as_ref(), ingress) != Some(link) {
                    return Some(packet);
                }
                if let Forwarding::Encapsulate(way) = &backend.forwarding {
                    let segment = segment::<K>(head, headers);
                    if met.pass::<K>(Direction::Original, segment.as_ref(), tick).is_none() {
                        return Some(packet);
                    }
                    if TOUCHES {
                        self.touch_client(snapshot, candidate.index(), tick);
                    }
                    self.encapsulate::<true, _, _>(packet, headers.packet_len(), flow.hash, way, backend, context);
                    return None;
                }
                let Some(hop) = backend.neighbor.hop().filter(|_| self.waiting.is_empty()) else { return Some(packet) };
                let exit = common.to_backends.turn_to(snapshot, hop.port);
                if frame_len > exit.longest {
                    return Some(packet);
                }
                let segment = segment::<K>(head, headers);
                (hop, exit, met.pass(Direction::Original, segment.as_ref(), tick))
            }
            Direction::Reply => {
                if snapshot.has_routes() {
                    return Some(packet);
                }
                let hop = hop(link);
                let exit = common.to_clients.turn_to(snapshot, hop.port);
                if frame_len > exit.longest {
                    return Some(packet);
                }
                let segment = segment::<K>(head, headers);
                (hop, exit, met.pass(Direction::Reply, segment.as_ref(), tick))
            }
        };
        let Some(Leaving { key: to, addresses }) = leaving else { return Some(packet) };
        if TOUCHES {
            self.touch_client(snapshot, candidate.index(), tick);
        }
        self.count_passed(backend, direction, frame_len);
        if let Forwarding::Translate = backend.forwarding {
            K::translate(head, &to, addresses);
        }
        forward::address(head.as_mut(), hop, exit.mac);
        context.output.transmit(packet, hop.port);
        None
    }

    /// The same for a packet that shows that its client is still there.
    #[inline(never)]
    fn express_and_touch<K: Version, O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        key: &K,
        flow: Flow<'_>,
        candidate: Candidate,
        common: &mut Common,
        context: &mut Context<'_, O, T>,
    ) -> Option<P> {
        self.express::<true, K, O, T>(packet, key, flow, candidate, common, context)
    }

    /// The same for a packet of either version, apart from the way that most of its burst take.
    #[inline(never)]
    pub(super) fn express_either<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        flow: Flow<'_>,
        candidate: Candidate,
        common: &mut Common,
        context: &mut Context<'_, O, T>,
    ) -> Option<P> {
        match &flow.headers.packed {
            PackedKey::V4(key) => self.express::<false, _, _, _>(packet, key, flow, candidate, common, context),
            PackedKey::V6(key) => self.express::<false, _, _, _>(packet, key, flow, candidate, common, context),
        }
    }
}

/// What the connection's state needs to know of a plain TCP segment; nothing for other protocols.
#[inline(always)]
fn segment<K: Version>(head: &K::Head, headers: &Headers) -> Option<Segment> {
    if headers.kind != Kind::Tcp {
        return None;
    }
    let tcp = K::tcp(head)?;
    Some(Segment {
        flags: Segment::ACK,
        seq: tcp.sequence(),
        ack: tcp.acknowledgment(),
        window: tcp.window(),
        payload_len: headers.transport_len.wrapping_sub(tcp.header_len() as u16),
        window_scale: None,
    })
}
