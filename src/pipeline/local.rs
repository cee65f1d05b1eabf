//! What leat answers by itself: ARP for its addresses (RFC 826), and pings to them (RFC 1122 §3.2.2.6).
//!
//! An answer is written into the question's own packet, so it costs no memory and goes back where it came from.

use super::classify::Headers;
use super::known::NAT_CLIENTS;
use super::{Context, Note, Pipeline, Tracer, mac};
use crate::counters::DropReason;
use crate::id::{PortId, WorkerId};
use crate::io::{Output, Packet};
use crate::neighbor::Hop;
use crate::service::Snapshot;
use crate::wire::{MacAddr, arp, checksum, ethernet, icmp, ipv4};

/// The time to live of what leat itself says (RFC 1700).
const TTL: u8 = 64;

impl<P: Packet> Pipeline<P> {
    /// An ARP message. The first worker hears them all, because it is the one that keeps next hops.
    #[cold]
    pub(super) fn arp<O: Output<P>, T: Tracer>(&mut self, packet: P, context: &mut Context<'_, O, T>) {
        let payload = packet.data().get(ethernet::HEADER_LEN..).unwrap_or_default();
        let Some(message) = arp::Message::parse(payload) else {
            return self.drop(packet, DropReason::ArpMalformed, context);
        };
        context.tracer.note(Note::Arp(&message));
        let ingress = packet.ingress();
        let snapshot = context.snapshot;
        if !is_for_leat(packet.data(), mac(snapshot, ingress)) {
            let reason =
                if goes_past_leat(snapshot, &message) { DropReason::ArpPastLeat } else { DropReason::NotForUs };
            return self.drop(packet, reason, context);
        }
        let is_question = message.operation == arp::Operation::Request && !message.is_gratuitous();
        if is_question && asks_for_a_client(snapshot, &message, ingress) {
            return self.arp_for_a_client(packet, &message, context);
        }
        if self.id != WorkerId::FIRST {
            return self.hand_over(packet, WorkerId::FIRST, context);
        }
        if message.sender_mac == mac(snapshot, ingress) {
            return self.drop(packet, DropReason::ArpConsumed, context);
        }
        if snapshot.owns(message.sender, ingress) && !snapshot.is_silent(message.sender) {
            return self.drop(packet, DropReason::ArpConflict, context);
        }
        self.resolver.hear(snapshot.neighbors_at(message.sender), &message, ingress, context.now);
        if !is_question {
            let past_leat = goes_past_leat(snapshot, &message);
            let reason = if past_leat { DropReason::ArpPastLeat } else { DropReason::ArpConsumed };
            return self.drop(packet, reason, context);
        }
        if !snapshot.owns(message.target, ingress) || snapshot.is_silent(message.target) {
            return self.drop(packet, DropReason::ArpNotForUs, context);
        }
        self.answer_arp(packet, &message, "an ARP request for one of its addresses", context);
    }

    /// A backend of `nat` asks for an address that may be a client's: leat stands in for it (RFC 1027), so that answers
    /// come by. The worker that would have the client's connections knows whether it is one.
    fn arp_for_a_client<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        message: &arp::Message,
        context: &mut Context<'_, O, T>,
    ) {
        if self.id == WorkerId::FIRST {
            let neighbors = context.snapshot.neighbors_at(message.sender);
            self.resolver.hear(neighbors, message, packet.ingress(), context.now);
        }
        if !context.snapshot.is_in_proxy_range(message.target) {
            let owner = self.owner_of_client(message.target);
            if owner != self.id {
                return self.hand_over(packet, owner, context);
            }
            if self.clients.find(NAT_CLIENTS, message.target, context.now.tick()).is_none() {
                return self.drop(packet, DropReason::ArpNotForUs, context);
            }
        }
        self.answer_arp(packet, message, "an ARP request for a client of nat, in its place", context);
    }

    /// Turns the request in `packet` into its answer.
    fn answer_arp<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        message: &arp::Message,
        what: &str,
        context: &mut Context<'_, O, T>,
    ) {
        let port = packet.ingress();
        if !message.sender_mac.is_unicast() {
            return self.drop(packet, DropReason::EthernetSource, context);
        }
        let Some(frame) = packet.data_mut().first_chunk_mut() else {
            return self.drop(packet, DropReason::ArpMalformed, context);
        };
        message.answered_by(mac(context.snapshot, port)).write(frame, message.sender_mac);
        context.tracer.note(Note::Answered(what));
        self.count().originated.add(1);
        self.send(packet, Hop { mac: message.sender_mac, port }, context);
    }

    /// A ping to one of leat's addresses.
    #[cold]
    pub(super) fn echo<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        headers: &Headers,
        context: &mut Context<'_, O, T>,
    ) {
        let source = ethernet::Header::new(packet.data()).map(ethernet::Header::source);
        let Some(source) = source.filter(|source| source.is_unicast()) else {
            return self.drop(packet, DropReason::EthernetSource, context);
        };
        let transport = usize::from(headers.transport);
        let end = transport + usize::from(headers.transport_len);
        let frame = packet.data_mut();
        let Some(message) = frame.get_mut(transport..end) else {
            return self.drop(packet, DropReason::HeadersSplit, context);
        };
        if checksum::of(message) != 0 {
            return self.drop(packet, DropReason::IcmpChecksum, context);
        }
        if let Some(mut header) = icmp::HeaderMut::new(message) {
            header.answer();
        }
        if let Some(mut header) = frame.get_mut(ethernet::HEADER_LEN..).and_then(ipv4::HeaderMut::new) {
            header.answer(TTL);
        }
        context.tracer.note(Note::Answered("a ping to one of its addresses"));
        let port = packet.ingress();
        self.count().originated.add(1);
        self.send(packet, Hop { mac: source, port }, context);
    }
}

/// Whether a request can be a `nat` backend's for one of its clients: not a host's own probe, and not for a backend or
/// for leat.
fn asks_for_a_client(snapshot: &Snapshot, message: &arp::Message, ingress: PortId) -> bool {
    snapshot.is_nat_backend(message.sender)
        && !snapshot.is_backend(message.target)
        && !snapshot.owns(message.target, ingress)
}

/// Whether a frame is addressed to leat, or to all.
fn is_for_leat(frame: &[u8], mac: MacAddr) -> bool {
    let destination = ethernet::Header::new(frame).map(ethernet::Header::destination);
    destination.is_some_and(|destination| destination == mac || destination == MacAddr::BROADCAST)
}

/// Whether a host tells a `nat` backend its own address: the backend's answers will go there and not to leat.
fn goes_past_leat(snapshot: &Snapshot, message: &arp::Message) -> bool {
    message.operation == arp::Operation::Reply
        && snapshot.is_nat_backend(message.target)
        && !snapshot.is_backend(message.sender)
        && !snapshot.owns_anywhere(message.sender)
}
