//! What leat answers by itself: ARP for its addresses (RFC 826), and pings to them (RFC 1122 §3.2.2.6).
//!
//! An answer is written into the question's own packet, so it costs no memory and goes back where it came from.

use super::classify::Headers;
use super::{Context, Note, Pipeline, Tracer, mac};
use crate::counters::DropReason;
use crate::id::WorkerId;
use crate::io::{Output, Packet};
use crate::neighbor::Hop;
use crate::wire::{arp, checksum, ethernet, icmp, ipv4};

/// The time to live of what leat itself says (RFC 1700).
const TTL: u8 = 64;

impl<P: Packet> Pipeline<P> {
    /// An ARP message. The first worker hears them all, because it is the one that keeps next hops.
    #[cold]
    pub(super) fn arp<O: Output<P>, T: Tracer>(&mut self, mut packet: P, context: &mut Context<'_, O, T>) {
        if self.id != WorkerId::FIRST {
            return self.hand_over(packet, WorkerId::FIRST, context);
        }
        let payload = packet.data().get(ethernet::HEADER_LEN..).unwrap_or_default();
        let Some(message) = arp::Message::parse(payload) else {
            return self.drop(packet, DropReason::ArpMalformed, context);
        };
        context.tracer.note(Note::Arp(&message));
        let ingress = packet.ingress();
        let mac = mac(context.snapshot, ingress);
        if message.sender_mac == mac {
            return self.drop(packet, DropReason::ArpConsumed, context);
        }
        if context.snapshot.owns(message.sender, ingress) {
            return self.drop(packet, DropReason::ArpConflict, context);
        }
        self.resolver.hear(&message, ingress, context.now);
        if message.operation == arp::Operation::Reply || message.is_gratuitous() {
            return self.drop(packet, DropReason::ArpConsumed, context);
        }
        if !context.snapshot.owns(message.target, ingress) || !message.sender_mac.is_unicast() {
            return self.drop(packet, DropReason::ArpNotForUs, context);
        }
        let Some(frame) = packet.data_mut().first_chunk_mut() else {
            return self.drop(packet, DropReason::ArpMalformed, context);
        };
        message.answered_by(mac).write(frame, message.sender_mac);
        context.tracer.note(Note::Answered("an ARP request for one of its addresses"));
        self.count().originated.add(1);
        self.send(packet, Hop { mac: message.sender_mac, port: ingress }, context);
    }

    /// A ping to one of leat's addresses.
    #[cold]
    pub(super) fn echo<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        headers: &Headers,
        context: &mut Context<'_, O, T>,
    ) {
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
        let Some(source) = ethernet::Header::new(packet.data()).map(ethernet::Header::source) else {
            return self.drop(packet, DropReason::FrameTruncated, context);
        };
        context.tracer.note(Note::Answered("a ping to one of its addresses"));
        let port = packet.ingress();
        self.count().originated.add(1);
        self.send(packet, Hop { mac: source, port }, context);
    }
}
