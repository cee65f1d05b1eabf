//! Packets on their way into a tunnel, those that do not fit, and what routers say about those that went.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::known::link;
use super::{Context, End, Flow, Note, Pipeline, Tracer, mac};
use crate::counters::DropReason;
use crate::forward::{self, IPIP, LONGEST_ERROR};
use crate::id::{PortId, WorkerId};
use crate::io::{Output, Packet};
use crate::neighbor::{Hop, Neighbor};
use crate::service::{Encapsulation, Forwarding, Snapshot, Tunnel};
use crate::wire::{ethernet, icmp, ipv4, udp};

/// What routers that do not tell their MTU are taken to mean: the sizes of RFC 1191 §7.1 below Ethernet's.
const PLATEAUS: [u16; 3] = [1492, 1006, 576];

/// ICMP: destination unreachable, fragmentation needed.
const TOO_BIG: (u8, u8) = (3, 4);

/// ICMP: destination unreachable, by a host that knows no such protocol or has no such port open.
const PROTOCOL_UNREACHABLE: (u8, u8) = (3, 2);
const PORT_UNREACHABLE: (u8, u8) = (3, 3);

/// IANA protocol number of UDP.
const UDP: u8 = 17;

impl<P: Packet> Pipeline<P> {
    /// Puts a client's packet into the tunnel `way` and sends it to `neighbor`.
    pub(super) fn encapsulate<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        flow: Flow<'_>,
        way: &Encapsulation,
        neighbor: &Arc<Neighbor>,
        context: &mut Context<'_, O, T>,
    ) {
        let hop = neighbor.hop();
        let len = flow.headers.packet_len();
        let overhead = usize::from(way.tunnel.overhead());
        let most = way.path_mtu.at(context.now.tick(), port_mtu(context.snapshot, hop));
        let fits = overhead + len <= usize::from(most);
        if !fits && dont_fragment(&packet) {
            return self.refuse_too_big(packet, most.saturating_sub(overhead as u16), context);
        }
        let identification = self.next_identification();
        if forward::encapsulate(&mut packet, way, len, flow.hash, identification).is_err() {
            return self.drop(packet, DropReason::NoBuffer, context);
        }
        match hop {
            Some(hop) if !fits => self.send_in_fragments(packet, most, hop, context),
            _ => self.send_in_turn(packet, neighbor, context),
        }
    }

    /// Drops a packet that does not fit into `mtu` and must not be cut, and tells its client so.
    #[cold]
    fn refuse_too_big<O: Output<P>, T: Tracer>(&mut self, packet: P, mtu: u16, context: &mut Context<'_, O, T>) {
        if self.errors.allows(context.now) {
            let mut frame = [0; LONGEST_ERROR];
            let len = forward::fragmentation_needed(packet.data(), mtu, &mut frame).unwrap_or_default();
            let client = packet.data().get(ethernet::HEADER_LEN..).and_then(ipv4::Header::new);
            if let (Some(link), Some(client)) = (link(&packet), client.map(ipv4::Header::source))
                && let Some(error) = context.output.create(&frame[..len])
            {
                context.tracer.note(Note::TooBig(mtu));
                self.count().originated.add(1);
                let hop = Hop { mac: link.mac(), port: PortId(link.port().into()) };
                self.send_quietly(error, client, hop, context);
            }
        }
        self.drop(packet, DropReason::TooBigForTunnel, context);
    }

    /// Sends leat's own word to a client, in the middle of telling about a packet of the client's.
    fn send_quietly<O: Output<P>, T>(
        &mut self,
        mut error: P,
        client: Ipv4Addr,
        link: Hop,
        context: &mut Context<'_, O, T>,
    ) {
        let router = context.snapshot.route(client);
        let Some(hop) = router.map_or(Some(link), |router| router.hop()) else {
            self.count().drops.add(DropReason::NeighborUnresolved, 1);
            return context.output.discard(error);
        };
        forward::address(error.data_mut(), hop, mac(context.snapshot, hop.port));
        context.output.transmit(error, hop.port);
    }

    /// Cuts an encapsulated packet into pieces of `mtu` bytes (RFC 2003 §3.1: the outer packet is what is cut).
    #[cold]
    fn send_in_fragments<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        mtu: u16,
        hop: Hop,
        context: &mut Context<'_, O, T>,
    ) {
        forward::address(packet.data_mut(), hop, mac(context.snapshot, hop.port));
        let mut pieces = 0;
        let output = &mut *context.output;
        forward::fragment(packet.data(), usize::from(mtu), |piece| {
            if let Some(piece) = output.create(piece) {
                output.transmit(piece, hop.port);
                pieces += 1;
            }
        });
        if pieces == 0 {
            return self.drop(packet, DropReason::NoBuffer, context);
        }
        if T::ENABLED {
            context.tracer.note(Note::Fragmented(pieces));
            context.tracer.ended(packet.data(), End::Transmitted(hop));
        }
        context.output.discard(packet);
    }

    /// An ICMP error, whose message starts at `message`. One about a tunnel may set that backend's MTU; the client hears
    /// of it when it sends too much again (RFC 2003 §5, "soft state").
    #[cold]
    pub(super) fn icmp_error<O: Output<P>, T: Tracer>(
        &mut self,
        packet: P,
        message: u8,
        context: &mut Context<'_, O, T>,
    ) {
        if self.id != WorkerId::FIRST {
            return self.hand_over(packet, WorkerId::FIRST, context);
        }
        let reason = match about_tunnel(context.snapshot, &packet, usize::from(message)) {
            Some((way, Report::TooBig(mtu))) => {
                way.path_mtu.learn(mtu, context.now.tick());
                DropReason::IcmpConsumed
            }
            Some((_, Report::Refused)) => DropReason::TunnelRefused,
            None => DropReason::IcmpError,
        };
        self.drop(packet, reason, context);
    }

    /// An identification that no other packet on its way has, of this worker or another.
    fn next_identification(&mut self) -> u16 {
        self.identification = self.identification.wrapping_add(self.workers);
        self.identification
    }
}

/// The MTU of the port that `hop` is on; while that is not known, the smallest of all.
fn port_mtu(snapshot: &Snapshot, hop: Option<Hop>) -> u16 {
    let on = |hop: Hop| snapshot.port(hop.port);
    match hop.and_then(on) {
        Some(port) => port.mtu,
        None => snapshot.ports().iter().map(|port| port.mtu).min().unwrap_or(u16::MAX),
    }
}

fn dont_fragment<P: Packet>(packet: &P) -> bool {
    packet.data().get(ethernet::HEADER_LEN..).and_then(ipv4::Header::new).is_some_and(ipv4::Header::dont_fragment)
}

/// What an ICMP error says about a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    /// No more than so many bytes pass.
    TooBig(u16),
    /// The backend takes no such packets.
    Refused,
}

/// The tunnel that the ICMP error in `packet` is about, and what it says; nothing unless it quotes a packet of leat's.
fn about_tunnel<'a, P: Packet>(
    snapshot: &'a Snapshot,
    packet: &P,
    message: usize,
) -> Option<(&'a Encapsulation, Report)> {
    let message = packet.data().get(message..)?;
    let header = icmp::Header::new(message)?;
    let quoted = message.get(icmp::HEADER_LEN..)?;
    let outer = ipv4::Header::new(quoted)?;
    let report = match (header.kind(), header.code()) {
        TOO_BIG => Report::TooBig(match header.next_hop_mtu() {
            0 => PLATEAUS.into_iter().find(|plateau| *plateau < outer.total_len())?,
            mtu => mtu,
        }),
        PROTOCOL_UNREACHABLE | PORT_UNREACHABLE => Report::Refused,
        _ => return None,
    };
    let ways = snapshot.backends().filter_map(|(_, backend)| match &backend.forwarding {
        Forwarding::Encapsulate(way) => Some(way),
        Forwarding::Translate | Forwarding::Direct => None,
    });
    let mut ways = ways.filter(|way| (way.source, way.destination) == (outer.source(), outer.destination()));
    let transport = quoted.get(outer.header_len()..).and_then(udp::Header::new);
    let way = ways.find(|way| match way.tunnel {
        Tunnel::Ipip => outer.protocol() == IPIP,
        Tunnel::Gue(gue) => outer.protocol() == UDP && transport.is_some_and(|udp| udp.destination_port() == gue.port),
    })?;
    Some((way, report))
}
