//! Fragments: each packet's are gathered, and when it is whole they go on one after the other, the way of the first.
//!
//! All fragments of a packet are gathered by one worker, which their addresses, identification and protocol tell. When they are
//! whole, that worker knows the ports, and by them the worker that has the connection. It passes them on in order, without
//! another packet's in between, so the receiver need not remember more than one packet for each worker: how the last first
//! fragment went.
//!
//! Where leat translates, clients' packets leave from addresses that they share, and so must not have their own
//! identifications: two of them could be the same, and the receiver would mix them (RFC 6864 §5.3). They get new ones.

use super::careful;
use super::classify::Headers;
use super::crossing::Onward;
use super::known::segment;
use super::unknown::hops_ended;
use super::{Context, End, Flow, Note, Pipeline, Tracer, hop, ip_of, ipv4_mut, ipv6_mut};
use crate::conntrack::{ConnectionIndex, Direction, Segment};
use crate::counters::DropReason;
use crate::flow::{FlowKey, PackedKey, Protocol};
use crate::forward;
use crate::fragment::{Fate, FragmentKey, Gathering, Span};
use crate::id::WorkerId;
use crate::io::{Output, Packet};
use crate::service::Snapshot;
use crate::time::Instant;
use crate::wire::{ethernet, ip, ipv4, ipv6};

/// How a packet's first fragment went.
#[derive(Clone, Copy)]
pub(super) struct Lead {
    /// Whose way the others go.
    packet: FragmentKey,
    index: ConnectionIndex,
    direction: Direction,
    /// The key that the connection was found by: it may be another's by now.
    key: PackedKey,
    /// The first fragment's TCP header, and how long it is.
    segment: Option<(Segment, u16)>,
    /// The identification that it left with, if not its own.
    identification: Option<u32>,
}

impl<P: Packet> Pipeline<P> {
    /// A fragment.
    #[cold]
    pub(super) fn fragment<O: Output<P>, T: Tracer>(&mut self, packet: P, context: &mut Context<'_, O, T>) {
        let Some((key, span)) = read(&packet) else {
            return self.drop(packet, DropReason::FragmentMalformed, context);
        };
        if !is_wanted(&key, context.snapshot) {
            return self.drop(packet, DropReason::NotOurAddress, context);
        }
        let Some(span) = span else {
            return self.drop(packet, DropReason::FragmentMalformed, context);
        };
        let gatherer = self.gatherer(&key);
        if gatherer == self.id {
            return self.gather(packet, key, span, context);
        }
        if self.is_taking_over {
            // It has been with the gatherer, and its packet is whole.
            return self.pass_fragment(packet, key, span, gatherer, context);
        }
        self.hand_over(packet, gatherer, context);
    }

    /// The worker that gathers the packet's fragments.
    fn gatherer(&self, key: &FragmentKey) -> WorkerId {
        // Any key will do that all fragments have, and others have not.
        let ports = (key.identification as u16, (key.identification >> 16) as u16 ^ u16::from(key.protocol));
        let (src, dst) = (key.src, key.dst);
        let key = FlowKey { src, dst, src_port: ports.0, dst_port: ports.1, protocol: Protocol::Icmp };
        self.steering.owner_of_hash(self.hasher.hash(&key))
    }

    fn gather<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        key: FragmentKey,
        span: Span,
        context: &mut Context<'_, O, T>,
    ) {
        if T::ENABLED {
            context.tracer.ended(packet.data(), End::Gathered);
        }
        let mut gathering = std::mem::replace(&mut self.gathering, Gathering::closed());
        let mut owner = self.id;
        gathering.take_in(packet, key, span, context.now, |packet, fate| {
            self.leave(packet, fate, &mut owner, context);
        });
        self.gathering = gathering;
    }

    /// Gives up the fragments that wait for others in vain.
    #[inline]
    pub(super) fn expire_fragments<O: Output<P>, T: Tracer>(&mut self, context: &mut Context<'_, O, T>) {
        if !self.gathering.is_empty() {
            self.give_up_fragments(Some(context.now), context);
        }
    }

    /// Gives up what waits for others, at the end.
    pub fn close<O: Output<P>, T: Tracer>(&mut self, context: &mut Context<'_, O, T>) {
        self.give_up_fragments(None, context);
    }

    #[cold]
    fn give_up_fragments<O: Output<P>, T: Tracer>(&mut self, now: Option<Instant>, context: &mut Context<'_, O, T>) {
        let mut gathering = std::mem::replace(&mut self.gathering, Gathering::closed());
        let mut owner = self.id;
        gathering.expire(now, |packet, fate| self.leave(packet, fate, &mut owner, context));
        self.gathering = gathering;
    }

    /// A fragment that was held is not any more. `owner` is the worker that has the connection of the packet that comes fragment by
    /// fragment.
    fn leave<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        fate: Fate,
        owner: &mut WorkerId,
        context: &mut Context<'_, O, T>,
    ) {
        if T::ENABLED {
            context.tracer.arrived(packet.data(), packet.ingress());
            context.tracer.note(Note::Gathered);
        }
        match fate {
            Fate::Whole(span) => {
                if span.start == 0 {
                    *owner = self.owner_of_whole(&packet, context.snapshot);
                }
                if *owner != self.id {
                    return self.hand_over(packet, *owner, context);
                }
                match read(&packet) {
                    Some((key, _)) => self.pass_fragment(packet, key, span, self.id, context),
                    None => self.drop(packet, DropReason::FragmentMalformed, context),
                }
            }
            Fate::Duplicate => self.drop(packet, DropReason::FragmentDuplicate, context),
            Fate::Malformed => self.drop(packet, DropReason::FragmentMalformed, context),
            Fate::Incomplete => self.drop(packet, DropReason::FragmentIncomplete, context),
        }
    }

    /// The worker that has the connection of the packet that begins with this fragment; this one if that is nobody's.
    fn owner_of_whole(&self, first: &P, snapshot: &Snapshot) -> WorkerId {
        let Ok(headers) = careful::first_fragment(first.data(), first.frame_len()) else { return self.id };
        let hash = self.hasher.hash_packed(&headers.packed);
        if self.conntrack.find(&headers.packed, hash).is_some() {
            return self.id;
        }
        self.owner_of(&headers.key(), hash, snapshot).unwrap_or(self.id)
    }

    /// Passes on a fragment of a packet that is whole and was gathered by `gatherer`.
    fn pass_fragment<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        key: FragmentKey,
        span: Span,
        gatherer: WorkerId,
        context: &mut Context<'_, O, T>,
    ) {
        if span.start == 0 {
            return self.lead(packet, key, gatherer, context);
        }
        let lead = self.leads.get(gatherer.index()).copied().flatten();
        match lead.filter(|lead| lead.packet == key) {
            Some(lead) => {
                if !span.more {
                    self.note_lead(gatherer, None);
                }
                self.follow_lead(packet, lead, span, context);
            }
            None => self.drop(packet, DropReason::FragmentOrphan, context),
        }
    }

    /// Passes on a packet's first fragment, as if it were the packet, and notes how it went.
    fn lead<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        key: FragmentKey,
        gatherer: WorkerId,
        context: &mut Context<'_, O, T>,
    ) {
        self.note_lead(gatherer, None);
        let headers = match careful::first_fragment(packet.data(), packet.frame_len()) {
            Ok(headers) => headers,
            Err(reason) => return self.drop(packet, reason, context),
        };
        let hash = self.hasher.hash_packed(&headers.packed);
        let known = self.conntrack.find(&headers.packed, hash);
        let may_cross =
            forward::crosses_in_fragments(packet.data(), headers.transport.into(), headers.packed.protocol());
        let identification = self.translates(&headers, known, context.snapshot).then(|| {
            self.fragment_identification = self.fragment_identification.wrapping_add(self.workers.into());
            self.fragment_identification
        });
        set_identification(&mut packet, identification);
        let segment = segment(&packet, &headers).map(|it| (it, headers.transport_len.saturating_sub(it.payload_len)));
        match known {
            Some((index, direction)) => {
                self.known(packet, Flow { headers: &headers, hash }, index, direction, context);
            }
            None => {
                self.opened = None;
                self.unknown(packet, Flow { headers: &headers, hash }, super::unknown::Beginning::New, context);
            }
        }
        // One that is of this packet alone is not found by it.
        let is_of_this = |index: &ConnectionIndex| self.conntrack.is(*index, Direction::Original, &headers.packed);
        let opened = self.opened.filter(is_of_this).map(|index| (index, Direction::Original));
        if let Some((index, direction)) = self.conntrack.find(&headers.packed, hash).or(opened)
            && (may_cross || !self.crosses(index))
        {
            let lead = Lead { packet: key, index, direction, key: headers.packed, segment, identification };
            self.note_lead(gatherer, Some(lead));
        }
    }

    /// Whether packets of a connection go on in the other version. Those in a tunnel do not, though it may be of the other.
    fn crosses(&self, index: ConnectionIndex) -> bool {
        let connection = self.conntrack.connection(index);
        connection.has_replies() && connection.is_crossing()
    }

    fn note_lead(&mut self, gatherer: WorkerId, lead: Option<Lead>) {
        if let Some(place) = self.leads.get_mut(gatherer.index()) {
            *place = lead;
        }
    }

    /// Whether packets of this flow, with its connection if that is `known`, leave with other addresses than they came with.
    fn translates(&self, headers: &Headers, known: Option<(ConnectionIndex, Direction)>, snapshot: &Snapshot) -> bool {
        match known {
            Some((index, _)) => self.conntrack.connection(index).has_replies(),
            None => {
                let service = snapshot.service_for(&headers.key()).and_then(|id| snapshot.service(id));
                service.is_some_and(|service| service.mode.translates())
            }
        }
    }

    /// Passes on a later fragment the way of the first.
    fn follow_lead<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        lead: Lead,
        span: Span,
        context: &mut Context<'_, O, T>,
    ) {
        let Lead { index, direction, .. } = lead;
        if !self.conntrack.is(index, direction, &lead.key) {
            return self.drop(packet, DropReason::FragmentOrphan, context);
        }
        if !span.more {
            self.take_in_whole(&lead, span, context);
        }
        let connection = self.conntrack.connection(index);
        let Some(backend) = context.snapshot.backend(connection.backend()) else {
            return self.drop(packet, DropReason::NoBackend, context);
        };
        if T::ENABLED {
            self.tell(index, direction, backend, true, context);
        }
        let frame_len = packet.frame_len();
        if connection.has_replies() {
            if let Some(ip) = ip_of(&packet).filter(|ip| ip.hops_left() <= 1) {
                let reason = hops_ended(ip.source());
                return self.drop(packet, reason, context);
            }
            set_identification(&mut packet, lead.identification);
            let to = connection.key(direction.opposite()).reversed();
            if connection.is_crossing() {
                let Some(carried) = carried_at(&packet) else {
                    return self.drop(packet, DropReason::FragmentMalformed, context);
                };
                let onward = match direction {
                    Direction::Original => Onward::Backend(&backend.neighbor),
                    Direction::Reply => Onward::Client(hop(connection.link())),
                };
                if self.cross(packet, carried, &to, onward, context) {
                    self.count_passed(backend, direction, frame_len);
                }
                return;
            }
            match to {
                PackedKey::V4(to) => ipv4_mut(&mut packet).map(|mut ip| ip.forward(to.addresses())),
                PackedKey::V6(to) => ipv6_mut(&mut packet).map(|mut ip| ip.forward(to.addresses())),
            };
        }
        if self.send_along(packet, &connection, direction, backend, context) {
            self.count_passed(backend, direction, frame_len);
        }
    }

    /// Tells the connection that more bytes of TCP have passed than were in the first fragment.
    fn take_in_whole<O, T>(&mut self, lead: &Lead, last: Span, context: &Context<'_, O, T>) {
        let Some((first, header_len)) = lead.segment else { return };
        let mut segment = Segment { payload_len: (last.end as u16).saturating_sub(header_len), ..first };
        if lead.direction == Direction::Reply {
            let adjustment = self.conntrack.adjustment(lead.index);
            segment.seq = segment.seq.wrapping_add(adjustment.reply_sequence);
            segment.ack = adjustment.as_client_counts(segment.ack);
        }
        let was_opening = self.conntrack.connection(lead.index).state().is_opening();
        let change = self.conntrack.track(lead.index, lead.direction, Some(&segment), context.now.tick()).change;
        let backend = context.snapshot.backend(self.conntrack.connection(lead.index).backend());
        let Some(backend) = backend else { return };
        if let Some(change) = change {
            self.count_change(lead.index, backend, change, context.snapshot);
        }
        if was_opening {
            self.note_opened(lead.index, backend);
        }
    }
}

/// Whether fragments like this may be for leat to pass on: they come to one of its addresses, or from a backend of `nat`.
fn is_wanted(key: &FragmentKey, snapshot: &Snapshot) -> bool {
    snapshot.owns_anywhere(key.dst) || snapshot.is_nat_backend(key.src)
}

fn read<P: Packet>(packet: &P) -> Option<(FragmentKey, Option<Span>)> {
    packet.data().get(ethernet::HEADER_LEN..).and_then(FragmentKey::read)
}

/// Where in the frame what a fragment carries begins.
fn carried_at<P: Packet>(packet: &P) -> Option<usize> {
    let upper = packet.data().get(ethernet::HEADER_LEN..).and_then(ip::Upper::of)?;
    Some(ethernet::HEADER_LEN + upper.at)
}

/// Gives a fragment another identification, in IPv4 the lower half of this one.
fn set_identification<P: Packet>(packet: &mut P, identification: Option<u32>) {
    let Some(identification) = identification else { return };
    let Some(data) = packet.data_mut().get_mut(ethernet::HEADER_LEN..) else { return };
    match ip::Header::new(data) {
        Some(ip::Header::V4(_)) => {
            if let Some(mut header) = ipv4::HeaderMut::new(data) {
                header.set_identification(identification as u16);
            }
        }
        Some(ip::Header::V6(_)) => {
            ipv6::set_identification(data, identification);
        }
        None => {}
    }
}
