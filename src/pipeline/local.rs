//! What leat answers by itself: ARP and neighbour solicitations for its addresses (RFC 826, RFC 4861), and pings to them (RFC 1122 §3.2.2.6).
//!
//! An answer is written into the question's own packet, so it costs no memory and goes back where it came from; but for that to
//! a neighbour solicitation, which is longer than some questions.

use std::net::IpAddr;
use std::ops::Range;

use super::classify::Headers;
use super::known::NAT_CLIENTS;
use super::{Context, End, Note, Pipeline, Tracer, mac};
use crate::counters::DropReason;
use crate::flow::PackedKey;
use crate::id::{PortId, WorkerId};
use crate::io::{Output, Packet};
use crate::neighbor::{Advertised, Announced, Hop};
use crate::service::Snapshot;
use crate::wire::{MacAddr, arp, checksum, ethernet, icmp, icmpv6, ip, ipv4, ipv6, mld, ndp};

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
        if is_question && asks_for_a_client(snapshot, message.sender.into(), message.target.into(), ingress) {
            return self.arp_for_a_client(packet, &message, context);
        }
        if self.id != WorkerId::FIRST {
            return self.hand_over(packet, WorkerId::FIRST, context);
        }
        if message.sender_mac == mac(snapshot, ingress) {
            return self.drop(packet, DropReason::ArpConsumed, context);
        }
        let (sender, target) = (message.sender.into(), message.target.into());
        if snapshot.owns(sender, ingress) && !snapshot.is_silent(sender) {
            return self.drop(packet, DropReason::ArpConflict, context);
        }
        self.resolver.hear(snapshot.neighbors_at(sender), message.sender_mac, ingress, context.now);
        if !is_question {
            let past_leat = goes_past_leat(snapshot, &message);
            let reason = if past_leat { DropReason::ArpPastLeat } else { DropReason::ArpConsumed };
            return self.drop(packet, reason, context);
        }
        if !snapshot.owns(target, ingress) || snapshot.is_silent(target) {
            return self.drop(packet, DropReason::ArpNotForUs, context);
        }
        self.answer_arp(packet, &message, "an ARP request for one of its addresses", context);
    }

    /// A message of neighbour discovery, which starts at `message` of the frame. As with ARP, the first worker hears them all.
    #[cold]
    pub(super) fn ndp<O: Output<P>, T: Tracer>(&mut self, packet: P, message: usize, context: &mut Context<'_, O, T>) {
        let kind = packet.data().get(message).copied();
        if kind.is_some_and(mld::is_query) {
            return self.listeners_query(packet, message, context);
        }
        if kind.is_some_and(|kind| !ndp::is_about_neighbors(kind)) {
            // Routers' advertisements and redirections are not trusted.
            return self.drop(packet, DropReason::NdpConsumed, context);
        }
        let payload = packet.data().get(ethernet::HEADER_LEN..).unwrap_or_default();
        let Some(message) = ndp::Message::parse(payload, message - ethernet::HEADER_LEN) else {
            return self.drop(packet, DropReason::NdpMalformed, context);
        };
        context.tracer.note(Note::Ndp(&message));
        let (snapshot, ingress) = (context.snapshot, packet.ingress());
        let target = IpAddr::V6(message.target);
        if !is_for_leat(packet.data(), mac(snapshot, ingress)) && !is_for_a_group(packet.data()) {
            let reason =
                if is_told_past_leat(snapshot, &message) { DropReason::NdpPastLeat } else { DropReason::NotForUs };
            return self.drop(packet, reason, context);
        }
        if message.kind == ndp::Kind::Solicitation
            && asks_for_a_client(snapshot, message.source.into(), target, ingress)
        {
            return self.ndp_for_a_client(packet, &message, context);
        }
        if self.id != WorkerId::FIRST {
            return self.hand_over(packet, WorkerId::FIRST, context);
        }
        let is_given_up = || snapshot.announced_at(target).is_some_and(|announced| announced.holder().is_some());
        let is_own = snapshot.owns(target, ingress) && !snapshot.is_silent(target) && !is_given_up();
        // In that name leat asks where it has no other: who answers may ask back.
        let is_ours = is_own || message.target == ipv6::link_local(mac(snapshot, ingress));
        if message.link == Some(mac(snapshot, ingress)) {
            return self.drop(packet, DropReason::NdpConsumed, context);
        }
        match message.kind {
            ndp::Kind::Advertisement { is_solicited, overrides, .. } => {
                if is_ours {
                    return self.ndp_claim(packet, &message, context);
                }
                // A router that is one no longer stays the next hop: the configuration says who it is.
                let said = Advertised { link: message.link, is_solicited, overrides };
                self.resolver.advertised(snapshot.neighbors_at(target), said, ingress, context.now);
                self.drop(packet, DropReason::NdpConsumed, context);
            }
            ndp::Kind::Solicitation => {
                let source = IpAddr::V6(message.source);
                if let Some(link) = message.link {
                    let said = Advertised::by_asking(link);
                    self.resolver.advertised(snapshot.neighbors_at(source), said, ingress, context.now);
                }
                if !is_ours {
                    return self.drop(packet, DropReason::NdpNotForUs, context);
                }
                // Somebody else asks whether he may have it, while leat does the same (RFC 4862 §5.4.3).
                let is_rival = message.source.is_unspecified();
                if is_rival && snapshot.announced_at(target).is_some_and(Announced::is_tentative) {
                    return self.ndp_claim(packet, &message, context);
                }
                // Before it is sure of an address, leat takes it from nobody (RFC 4429 §3.3).
                let is_tentative = snapshot.announced_at(target).is_some_and(Announced::is_tentative);
                self.answer_ndp(
                    packet,
                    &message,
                    !is_tentative,
                    "a neighbour solicitation for one of its addresses",
                    context,
                );
            }
        }
    }

    /// A switch or a router asks who listens to which groups. leat does to those in which its addresses are asked for; the first
    /// worker says so, a few at a time.
    fn listeners_query<O: Output<P>, T: Tracer>(&mut self, packet: P, message: usize, context: &mut Context<'_, O, T>) {
        let payload = packet.data().get(ethernet::HEADER_LEN..).unwrap_or_default();
        let Some(query) = mld::Query::parse(payload, message - ethernet::HEADER_LEN) else {
            return self.drop(packet, DropReason::NdpMalformed, context);
        };
        if self.id != WorkerId::FIRST {
            return self.hand_over(packet, WorkerId::FIRST, context);
        }
        self.resolver.query(&query, context.snapshot.announced(), context.now);
        self.drop(packet, DropReason::NdpConsumed, context);
    }

    /// The same as [`Self::arp_for_a_client`] in IPv6, where that is called a proxy (RFC 4861 §7.2.8).
    fn ndp_for_a_client<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        message: &ndp::Message,
        context: &mut Context<'_, O, T>,
    ) {
        if let (WorkerId::FIRST, Some(link)) = (self.id, message.link) {
            let neighbors = context.snapshot.neighbors_at(message.source.into());
            self.resolver.advertised(neighbors, Advertised::by_asking(link), packet.ingress(), context.now);
        }
        let target = message.target.into();
        match self.stands_in_for(target, context) {
            Ok(true) => {
                let what = "a neighbour solicitation for a client of nat, in its place";
                self.answer_ndp(packet, message, false, what, context);
            }
            Ok(false) => self.drop(packet, DropReason::NdpNotForUs, context),
            Err(owner) => self.hand_over(packet, owner, context),
        }
    }

    /// Whether leat answers for `target` in its place, because that is a client of `nat`; or the worker that knows.
    fn stands_in_for<O, T>(&self, target: IpAddr, context: &Context<'_, O, T>) -> Result<bool, WorkerId> {
        if context.snapshot.is_in_proxy_range(target) {
            return Ok(true);
        }
        let owner = self.owner_of_client(target);
        if owner != self.id {
            return Err(owner);
        }
        Ok(self.clients.find(NAT_CLIENTS, target, context.now.tick()).is_some())
    }

    /// Somebody else has one of leat's addresses, or is about to.
    fn ndp_claim<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        message: &ndp::Message,
        context: &mut Context<'_, O, T>,
    ) {
        let port = packet.ingress();
        let sender = ethernet::Header::new(packet.data()).map(ethernet::Header::source).unwrap_or_default();
        if context.snapshot.ports().iter().any(|port| port.mac == sender) {
            // Its own question, which has come back, perhaps by another port.
            return self.drop(packet, DropReason::NdpConsumed, context);
        }
        if let Some(announced) = context.snapshot.announced_at(message.target.into()) {
            announced.claimed_by(Hop { mac: message.link.unwrap_or(sender), port });
        }
        self.drop(packet, DropReason::NdpConflict, context);
    }

    /// Answers a solicitation, so that it overrides what was known or not. Its packet may be too short for the answer, which gets one
    /// of its own.
    fn answer_ndp<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        message: &ndp::Message,
        overrides: bool,
        what: &str,
        context: &mut Context<'_, O, T>,
    ) {
        let (port, asker) = (packet.ingress(), ethernet::Header::new(packet.data()).map(ethernet::Header::source));
        let Some(asker) = asker.filter(|asker| asker.is_unicast()) else {
            return self.drop(packet, DropReason::EthernetSource, context);
        };
        let own = mac(context.snapshot, port);
        let mut frame = [0; ndp::FRAME_LEN];
        let answer = if overrides { message.answered_by(own) } else { message.answered_modestly_by(own) };
        let len = answer.write(&mut frame, own, message.link.unwrap_or(asker));
        context.tracer.note(Note::Answered(what));
        let Some(sent) = context.output.create(&frame[..len]) else {
            return self.drop(packet, DropReason::NoBuffer, context);
        };
        self.count().originated.add(1);
        if T::ENABLED {
            let mac = ethernet::Header::new(&frame).map(ethernet::Header::destination).unwrap_or_default();
            context.tracer.ended(sent.data(), End::Transmitted(Hop { mac, port }));
        }
        context.output.transmit(sent, port);
        context.output.discard(packet);
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
            let neighbors = context.snapshot.neighbors_at(message.sender.into());
            self.resolver.hear(neighbors, message.sender_mac, packet.ingress(), context.now);
        }
        match self.stands_in_for(message.target.into(), context) {
            Ok(true) => self.answer_arp(packet, message, "an ARP request for a client of nat, in its place", context),
            Ok(false) => self.drop(packet, DropReason::ArpNotForUs, context),
            Err(owner) => self.hand_over(packet, owner, context),
        }
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
        if frame.len() < end {
            return self.drop(packet, DropReason::HeadersSplit, context);
        }
        let is_right = match headers.packed {
            PackedKey::V4(_) => answer_echo(frame, transport..end),
            PackedKey::V6(_) => answer_echo_v6(frame, transport..end),
        };
        if !is_right {
            return self.drop(packet, DropReason::IcmpChecksum, context);
        }
        context.tracer.note(Note::Answered("a ping to one of its addresses"));
        let port = packet.ingress();
        self.count().originated.add(1);
        self.send(packet, Hop { mac: source, port }, context);
    }
}

/// Turns the echo request in this part of `frame` into its answer, if its checksum is right.
fn answer_echo(frame: &mut [u8], message: Range<usize>) -> bool {
    let Some(message) = frame.get_mut(message) else { return false };
    if checksum::of(message) != 0 {
        return false;
    }
    if let Some(mut header) = icmp::HeaderMut::new(message) {
        header.answer(icmp::ECHO_REPLY);
    }
    if let Some(mut header) = frame.get_mut(ethernet::HEADER_LEN..).and_then(ipv4::HeaderMut::new) {
        header.answer(TTL);
    }
    true
}

/// The same, in IPv6.
fn answer_echo_v6(frame: &mut [u8], message: Range<usize>) -> bool {
    let Some((head, message)) = frame.get_mut(..message.end).and_then(|all| all.split_at_mut_checked(message.start))
    else {
        return false;
    };
    let Some(mut header) = head.get_mut(ethernet::HEADER_LEN..).and_then(ipv6::HeaderMut::new) else { return false };
    if icmpv6::checksum(header.as_header(), message) != 0 {
        return false;
    }
    // That both addresses change places changes no sum.
    header.answer(TTL);
    if let Some(mut header) = icmp::HeaderMut::new(message) {
        header.answer(icmpv6::ECHO_REPLY);
    }
    true
}

/// Whether a request can be a `nat` backend's for one of its clients: not a host's own probe, and not for a backend or
/// for leat. A link-local address is no client's: who has one is on the backend's own link, often its router.
fn asks_for_a_client(snapshot: &Snapshot, sender: IpAddr, target: IpAddr, ingress: PortId) -> bool {
    snapshot.is_nat_backend(sender)
        && !snapshot.is_backend(target)
        && !snapshot.owns(target, ingress)
        && !ip::is_link_local(target)
}

/// Whether a frame is addressed to leat, or to all.
fn is_for_leat(frame: &[u8], mac: MacAddr) -> bool {
    let destination = ethernet::Header::new(frame).map(ethernet::Header::destination);
    destination.is_some_and(|destination| destination == mac || destination == MacAddr::BROADCAST)
}

/// Whether a frame is addressed to a group, as questions for neighbours are.
fn is_for_a_group(frame: &[u8]) -> bool {
    ethernet::Header::new(frame).is_some_and(|header| header.destination().0[0] & 1 != 0)
}

/// Whether a host tells a `nat` backend its own address: the backend's answers will go there and not to leat.
fn goes_past_leat(snapshot: &Snapshot, message: &arp::Message) -> bool {
    message.operation == arp::Operation::Reply
        && snapshot.is_nat_backend(message.target.into())
        && !snapshot.is_backend(message.sender.into())
        && !snapshot.owns_anywhere(message.sender.into())
}

/// The same, by neighbour discovery.
fn is_told_past_leat(snapshot: &Snapshot, message: &ndp::Message) -> bool {
    matches!(message.kind, ndp::Kind::Advertisement { .. })
        && snapshot.is_nat_backend(message.destination.into())
        && !snapshot.is_backend(message.target.into())
        && !snapshot.owns_anywhere(message.target.into())
}
