//! Connections whose client speaks one version of IP and whose backend the other.

use super::{Context, Pipeline, Tracer};
use crate::counters::DropReason;
use crate::flow::PackedKey;
use crate::forward::{self, Complaint, NoCrossing};
use crate::io::{Output, Packet};
use crate::neighbor::Hop;
use crate::wire::{ethernet, ipv4, ipv6};

/// By how much a packet of IPv6 is longer.
const DIFFERENCE: u16 = (ipv6::HEADER_LEN - ipv4::HEADER_LEN) as u16;

impl<P: Packet> Pipeline<P> {
    /// Makes a packet, whose transport header is at `transport`, one of the version of `to`, with its addresses and ports, on its way to `hop`. Nothing, if it cannot be.
    #[cold]
    pub(super) fn cross<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        transport: usize,
        to: &PackedKey,
        hop: Option<Hop>,
        context: &mut Context<'_, O, T>,
    ) -> Option<P> {
        let port = hop.and_then(|hop| context.snapshot.port(hop.port));
        if let (PackedKey::V6(_), Some(port)) = (to, port)
            && let is_fragment = forward::is_fragment(packet.data())
            && let Some(transport_len) = forward::carried_len(packet.data(), transport)
            && forward::crossed_len(to, transport_len, is_fragment) > ethernet::HEADER_LEN + usize::from(port.mtu)
        {
            // Its sender is to make shorter ones (RFC 7915 §4).
            let difference = DIFFERENCE + if is_fragment { ipv6::FRAGMENT_LEN as u16 } else { 0 };
            let complaint = Complaint::TooBig(port.mtu.saturating_sub(difference));
            self.refuse(packet, complaint, DropReason::TooLong, context);
            return None;
        }
        let identification = self.next_identification();
        let crossed = forward::cross(&mut packet, transport, to, identification);
        let reason = match crossed {
            Ok(()) => return Some(packet),
            Err(NoCrossing::NoRoom) => DropReason::NoBuffer,
            Err(NoCrossing::Fragment) => DropReason::FragmentCrossing,
            Err(NoCrossing::Split) => DropReason::HeadersSplit,
        };
        self.drop(packet, reason, context);
        None
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
