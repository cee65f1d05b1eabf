//! ICMP errors: those that routers and hosts send about packets of leat's, and leat's own.
//!
//! An error about a packet of a connection is passed on to whoever sent that packet (RFC 5508 §4), through the same rewriting
//! backwards; in the one-way modes it goes as it is to the backend that has the flow. It finds its connection, and the worker
//! that has it, by the quoted packet, and changes nothing about either: anybody can send an ICMP error. One about a tunnel
//! packet is for leat itself.

use std::net::IpAddr;

use super::known::link;
use super::unknown::{hops_ended, wrong_source};
use super::{Context, Note, Pipeline, Tracer, hop, ip_of, mac};
use crate::conntrack::{ConnectionIndex, Direction};
use crate::counters::DropReason;
use crate::flow::FlowKey;
use crate::forward::{self, Complaint, LONGEST_COMPLAINT};
use crate::id::WorkerId;
use crate::io::{Output, Packet};
use crate::neighbor::Hop;
use crate::service::{Mode, Snapshot};
use crate::wire::{checksum, ethernet, icmp, icmpv6, ip};

impl<P: Packet> Pipeline<P> {
    /// An ICMP error, whose message starts at `message`.
    #[cold]
    pub(super) fn icmp_error<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        message: u8,
        context: &mut Context<'_, O, T>,
    ) {
        let snapshot = context.snapshot;
        let error = match Error::read(packet.data(), message.into()) {
            Ok(error) => error,
            Err(reason) => return self.drop(packet, reason, context),
        };
        if let Some(way) = super::tunnel::about_tunnel(snapshot, error.message) {
            if self.id != WorkerId::FIRST {
                return self.hand_over(packet, WorkerId::FIRST, context);
            }
            let reason = super::tunnel::hear(way, error.message, context.now.tick());
            return self.drop(packet, reason, context);
        }
        // It goes the way of an answer to the packet that it is about, and it came to where that came from.
        let quoted = forward::quoted(error.message).filter(|quoted| quoted.src == error.outer.destination());
        let Some(answer) = quoted.map(|quoted| quoted.reversed()) else {
            return self.drop(packet, DropReason::IcmpError, context);
        };
        let source = error.outer.source();
        // A router on the link may have no other address (RFC 4443 §2.2).
        let is_host = ip::is_station(source) || ip::is_link_local(source);
        if !is_host || snapshot.owns_anywhere(source) {
            return self.drop(packet, wrong_source(source), context);
        }
        let hash = self.hasher.hash(&answer);
        if let Some((index, direction)) = self.conntrack.find(&answer.pack(), hash)
            && !self.conntrack.is_over(self.conntrack.record(index), context.now.tick())
        {
            return self.pass_error(packet, message, index, direction, context);
        }
        match self.owner_of(&answer, hash, snapshot) {
            Some(owner) if owner != self.id => self.hand_over(packet, owner, context),
            _ => self.drop(packet, DropReason::IcmpError, context),
        }
    }

    /// Passes on an error that goes in `direction` of the connection at `index`. `message` is where it starts.
    fn pass_error<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        message: u8,
        index: ConnectionIndex,
        direction: Direction,
        context: &mut Context<'_, O, T>,
    ) {
        let snapshot = context.snapshot;
        let connection = self.conntrack.connection(index);
        let Some(backend) = snapshot.backend(connection.backend()) else {
            return self.drop(packet, DropReason::NoBackend, context);
        };
        let Some(outer) = ip_of(&packet) else {
            return self.drop(packet, DropReason::FrameTruncated, context);
        };
        let (source, ttl) = (outer.source(), outer.hops_left());
        if T::ENABLED {
            self.tell(index, direction, backend, true, context);
            context.tracer.note(Note::Error);
        }
        if connection.has_replies() {
            if ttl <= 1 {
                return self.drop(packet, hops_ended(source), context);
            }
            // The packet that it is about, as it was before leat rewrote it.
            let about = connection.key(direction.opposite()).unpack();
            // Nobody needs to know what lies behind leat, or has a way there (RFC 5508 §4.2, REQ-5). In nat a backend's way to all
            // the world leads by leat, and it may know who complains.
            let is_nat = snapshot.service(backend.service).is_some_and(|service| service.mode == Mode::Nat);
            let is_known = is_nat && direction == Direction::Original && ip::is_station(source);
            let source = if is_known { source } else { about.dst };
            // What the client sent is quoted as the backend knows it, and the other way round.
            let adjustment = self.conntrack.adjustment(index);
            let recount = |number: u32| match direction {
                Direction::Reply => adjustment.as_client_counts(number),
                Direction::Original => number.wrapping_sub(adjustment.reply_sequence),
            };
            if connection.is_crossing() {
                let about = about.pack();
                let Some(crossed) = self.cross_error(packet, message, source, &about, recount, context) else { return };
                packet = crossed;
            } else {
                forward::translate_error(packet.data_mut(), message.into(), source, &about, recount);
            }
        }
        self.send_along(packet, &connection, direction, backend, context);
    }

    /// The worker that has the connection whose packets in either direction have `key`, if it can be anybody's.
    pub(super) fn owner_of(&self, key: &FlowKey, hash: u64, snapshot: &Snapshot) -> Option<WorkerId> {
        if let Some(service) = snapshot.service_for(key).and_then(|id| snapshot.service(id)) {
            return Some(self.owner_of_original(key, hash, service));
        }
        if snapshot.is_local(key.dst) && snapshot.is_backend(key.src) {
            return Some(self.steering.owner_of_reply(key));
        }
        snapshot.nat_answers(key).map(|_| self.owner_of_client(key.dst))
    }

    /// Drops a packet whose time to live ends here, and tells its sender so (RFC 1812 §5.3.1).
    #[cold]
    pub(super) fn expire<O: Output<P>, T: Tracer>(&mut self, packet: P, context: &mut Context<'_, O, T>) {
        let reason = ip_of(&packet).map_or(DropReason::FrameTruncated, |ip| hops_ended(ip.source()));
        self.refuse(packet, Complaint::TimeExceeded, reason, context);
    }

    /// Drops a packet for `reason` and tells its sender what is wrong with it, unless enough was told of late.
    #[cold]
    pub(super) fn refuse<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        complaint: Complaint,
        reason: DropReason,
        context: &mut Context<'_, O, T>,
    ) {
        if let (Some(link), Some(sender)) = (link(&packet), ip_of(&packet).map(ip::Header::source))
            && let Some(error) = self.complaint(&packet, complaint, context)
        {
            context.tracer.note(Note::Complained(complaint));
            self.count().originated.add(1);
            let router = context.snapshot.route(sender);
            self.send_quietly(error, router.map_or(Some(hop(link)), |router| router.hop()), context);
        }
        self.drop(packet, reason, context);
    }

    /// The ICMP error about `packet`, if it may be sent.
    fn complaint<O: Output<P>, T>(
        &mut self,
        packet: &P,
        complaint: Complaint,
        context: &mut Context<'_, O, T>,
    ) -> Option<P> {
        let source = speaker(packet, complaint, context.snapshot)?;
        let mut frame = [0; LONGEST_COMPLAINT];
        let len = forward::complain(packet.data(), complaint, source, &mut frame)?;
        if !self.errors.allows(context.now) {
            return None;
        }
        context.output.create(frame.get(..len)?)
    }

    /// Sends leat's own word, in the middle of telling about another packet.
    pub(super) fn send_quietly<O: Output<P>, T>(
        &mut self,
        mut packet: P,
        hop: Option<Hop>,
        context: &mut Context<'_, O, T>,
    ) {
        let Some(hop) = hop else {
            self.count().drops.add(DropReason::NeighborUnresolved, 1);
            return context.output.discard(packet);
        };
        forward::address(packet.data_mut(), hop, mac(context.snapshot, hop.port));
        context.output.transmit(packet, hop.port);
    }
}

/// An ICMP error that is whole, and has a right checksum (RFC 5508 §4.1, REQ-3).
struct Error<'a> {
    outer: ip::Header<'a>,
    /// From the ICMP header on.
    message: &'a [u8],
}

impl<'a> Error<'a> {
    fn read(frame: &'a [u8], message: usize) -> Result<Self, DropReason> {
        let outer = frame.get(ethernet::HEADER_LEN..).and_then(ip::Header::new).ok_or(DropReason::FrameTruncated)?;
        let end = ethernet::HEADER_LEN + outer.packet_len();
        let message = frame.get(message..end).ok_or(DropReason::HeadersSplit)?;
        let (sum, is_error) = match outer {
            ip::Header::V4(_) => {
                (checksum::of(message), icmp::Header::new(message).is_some_and(icmp::Header::is_error))
            }
            ip::Header::V6(outer) => {
                (icmpv6::checksum(outer, message), message.first().copied().is_some_and(icmpv6::is_error))
            }
        };
        if sum != 0 {
            return Err(DropReason::IcmpChecksum);
        }
        debug_assert!(is_error);
        Ok(Self { outer, message })
    }
}

/// As whom leat complains: as a router on the way it has an own address, if any; else it is the one that was spoken to.
fn speaker<P: Packet>(packet: &P, complaint: Complaint, snapshot: &Snapshot) -> Option<IpAddr> {
    let ip = ip_of(packet)?;
    let spoken_to = Some(ip.destination()).filter(|address| snapshot.owns_anywhere(*address));
    let own = snapshot.own_address(packet.ingress(), ip.destination().is_ipv6());
    match complaint {
        Complaint::TimeExceeded => own.or(spoken_to),
        Complaint::TooBig(_) => spoken_to.or(own),
    }
}
