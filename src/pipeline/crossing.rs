//! Connections whose client speaks one version of IP and whose backend the other.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::tunnel::port_mtu;
use super::{Context, Note, Pipeline, Tracer};
use crate::counters::DropReason;
use crate::flow::PackedKey;
use crate::forward::{self, Complaint, LONGEST_CUT, NoCrossing};
use crate::io::{Output, Packet};
use crate::neighbor::{Hop, Neighbor};
use crate::wire::{ethernet, ipv4, ipv6};

/// By how much a packet of IPv6 is longer.
const DIFFERENCE: u16 = (ipv6::HEADER_LEN - ipv4::HEADER_LEN) as u16;

/// By how much a packet may grow before it is cut: the header of IPv6 and that of a fragment, less that of IPv4.
const ROOM: usize = DIFFERENCE as usize + ipv6::FRAGMENT_LEN;

/// The most fragments that one packet is cut into.
const MOST_PIECES: usize = 8;

/// Where a packet goes on to.
#[derive(Clone, Copy)]
pub(super) enum Onward<'a> {
    /// To a backend.
    Backend(&'a Arc<Neighbor>),
    /// To a client, whose packets come from there.
    Client(Hop),
}

impl<P: Packet> Pipeline<P> {
    /// Makes a packet, whose transport header is at `transport`, one of the version of `to`, with its addresses and ports, and sends it
    /// on. What is too long then is cut, if that may be, or its sender is told what fits (RFC 7915 §4, §5.1). Says whether it was passed
    /// on.
    #[cold]
    pub(super) fn cross<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        transport: usize,
        to: &PackedKey,
        onward: Onward<'_>,
        context: &mut Context<'_, O, T>,
    ) -> bool {
        let Some(transport_len) = forward::carried_len(packet.data(), transport) else {
            self.drop(packet, DropReason::HeadersSplit, context);
            return false;
        };
        let hop = match onward {
            Onward::Backend(neighbor) => neighbor.hop(),
            Onward::Client(link) => context.snapshot.route(to.unpack().dst).map_or(Some(link), |router| router.hop()),
        };
        let mtu = port_mtu(context.snapshot, hop);
        let is_fragment = forward::is_fragment(packet.data());
        let len = forward::crossed_len(to, transport_len, is_fragment) - ethernet::HEADER_LEN;
        let is_too_long = len > usize::from(mtu);
        if is_too_long {
            let is_in_one_piece = packet.data().len() == packet.frame_len() && packet.frame_len() <= LONGEST_CUT - ROOM;
            if !is_in_one_piece || !forward::may_be_cut(packet.data(), to, len) {
                let fits = match to {
                    PackedKey::V6(_) if is_fragment => mtu.saturating_sub(DIFFERENCE + ipv6::FRAGMENT_LEN as u16),
                    PackedKey::V6(_) => mtu.saturating_sub(DIFFERENCE),
                    PackedKey::V4(_) => mtu.saturating_add(DIFFERENCE).max(ipv6::LEAST_MTU),
                };
                self.refuse(packet, Complaint::TooBig(fits), DropReason::TooLong, context);
                return false;
            }
        }
        let identification = self.next_identification();
        let reason = match forward::cross(&mut packet, transport, to, identification) {
            Ok(()) if is_too_long => return self.send_in_pieces(packet, mtu, to, onward, context),
            Ok(()) => return self.send_onward(packet, to, onward, context),
            Err(NoCrossing::NoRoom) => DropReason::NoBuffer,
            Err(NoCrossing::Fragment) => DropReason::FragmentCrossing,
            Err(NoCrossing::NoChecksum) => DropReason::UdpChecksum,
            Err(NoCrossing::Split) => DropReason::HeadersSplit,
        };
        self.drop(packet, reason, context);
        false
    }

    fn send_onward<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        to: &PackedKey,
        onward: Onward<'_>,
        context: &mut Context<'_, O, T>,
    ) -> bool {
        match onward {
            Onward::Backend(neighbor) => self.send_in_turn(packet, neighbor, context),
            Onward::Client(link) => self.send_by_route(packet, to.unpack().dst, link, context),
        }
    }

    /// Cuts a packet that has crossed and is too long. No router cuts it further in IPv6, so there its fragments are as short as every
    /// link takes them.
    fn send_in_pieces<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        mtu: u16,
        to: &PackedKey,
        onward: Onward<'_>,
        context: &mut Context<'_, O, T>,
    ) -> bool {
        let most = if matches!(to, PackedKey::V6(_)) { mtu.min(ipv6::LEAST_MTU) } else { mtu };
        self.fragment_identification = self.fragment_identification.wrapping_add(self.workers.into());
        let mut pieces = ArrayVec::<P, MOST_PIECES>::new();
        let mut is_whole = true;
        let output = &mut *context.output;
        forward::fragment(packet.data(), most.into(), self.fragment_identification, |piece| {
            let created = if pieces.is_full() { None } else { output.create(piece) };
            is_whole &= created.is_some();
            pieces.extend(created);
        });
        if pieces.is_empty() || !is_whole {
            pieces.into_iter().for_each(|piece| context.output.discard(piece));
            self.drop(packet, DropReason::NoBuffer, context);
            return false;
        }
        let (count, ingress) = (pieces.len(), packet.ingress());
        context.output.discard(packet);
        // One of them stands for the packet.
        self.count().originated.add(count as u64 - 1);
        let mut is_passed = true;
        for (number, piece) in pieces.into_iter().enumerate() {
            if T::ENABLED {
                if number > 0 {
                    context.tracer.arrived(piece.data(), ingress);
                }
                context.tracer.note(Note::Fragmented(count));
            }
            is_passed &= self.send_onward(piece, to, onward, context);
        }
        is_passed
    }

    /// The ICMP error in `packet`, whose message starts at `message`, in the other version of IP: from `source`, about the packet
    /// with the 5-tuple `about`. Nothing, if there is no such error.
    #[cold]
    pub(super) fn cross_error<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        message: u8,
        source: std::net::IpAddr,
        about: &PackedKey,
        recount: impl Fn(u32) -> u32,
        context: &mut Context<'_, O, T>,
    ) -> Option<P> {
        let mut frame = [0; forward::LONGEST_COMPLAINT];
        let len = forward::cross_error(packet.data(), message.into(), source, about, recount, &mut frame);
        let Some(len) = len else {
            self.drop(packet, DropReason::IcmpType, context);
            return None;
        };
        let Some(error) = context.output.create(&frame[..len]) else {
            self.drop(packet, DropReason::NoBuffer, context);
            return None;
        };
        context.output.discard(packet);
        Some(error)
    }
}
