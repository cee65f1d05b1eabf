//! Packets on their way into a tunnel, those that do not fit, and what routers say about those that went.

use super::{Context, End, Note, Pipeline, Tracer, ip_of, mac};
use crate::conntrack::Direction;
use crate::counters::DropReason;
use crate::forward::{self, Complaint, IPIP, IPV6};
use crate::io::{Output, Packet};
use crate::neighbor::Hop;
use crate::service::{Backend, Encapsulation, Snapshot, Tunnel};
use crate::time::Tick;
use crate::wire::{icmp, icmpv6, ip, ipv4, ipv6, udp};

/// What routers that do not tell their MTU are taken to mean: the sizes of RFC 1191 §7.1 below Ethernet's.
const PLATEAUS: [u16; 3] = [1492, 1006, 576];

/// ICMP: destination unreachable, fragmentation needed.
const TOO_BIG: (u8, u8) = (3, 4);

/// ICMP: destination unreachable, by a host that knows no such protocol or has no such port open.
const PROTOCOL_UNREACHABLE: (u8, u8) = (3, 2);
const PORT_UNREACHABLE: (u8, u8) = (3, 3);

/// ICMPv6: the same two (RFC 4443 §3.1, §3.4).
const PORT_UNREACHABLE_V6: (u8, u8) = (1, 4);
const HEADER_UNKNOWN_V6: (u8, u8) = (4, 1);

/// IANA protocol number of UDP.
const UDP: u8 = 17;

impl<P: Packet> Pipeline<P> {
    /// Puts a client's packet, `len` bytes of IP of a flow with this hash, into the tunnel `way` and sends it to `backend`. Says
    /// whether it was passed on. With `COUNTS` it is counted then, without the instructions that it takes to ask; one that found no
    /// place to wait is, too.
    pub(super) fn encapsulate<const COUNTS: bool, O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        len: usize,
        hash: u64,
        way: &Encapsulation,
        backend: &Backend,
        context: &mut Context<'_, O, T>,
    ) -> bool {
        let hop = backend.neighbor.hop();
        let overhead = usize::from(way.overhead());
        let most = way.path_mtu.at(context.now.tick(), port_mtu(context.snapshot, hop));
        let fits = overhead + len <= usize::from(most);
        if !fits && dont_fragment(&packet, way) {
            let complaint = Complaint::TooBig(most.saturating_sub(overhead as u16));
            self.refuse(packet, complaint, DropReason::TooBigForTunnel, context);
            return false;
        }
        if COUNTS {
            // As the client sent it: it grows now.
            self.count_passed(backend, Direction::Original, packet.frame_len());
        }
        let identification = self.next_identification();
        if forward::encapsulate(&mut packet, way, len, hash, identification).is_err() {
            if COUNTS {
                self.take_back(backend, packet.frame_len());
            }
            let reason = if way.source.is_unspecified() { DropReason::NoTunnelSource } else { DropReason::NoBuffer };
            self.drop(packet, reason, context);
            return false;
        }
        match hop {
            Some(hop) if !fits => self.send_in_fragments(packet, most, hop, context),
            _ => self.send_in_turn(packet, &backend.neighbor, context),
        }
    }

    /// Cuts an encapsulated packet into pieces of `mtu` bytes (RFC 2003 §3.1: the outer packet is what is cut).
    #[cold]
    fn send_in_fragments<O: Output<P>, T: Tracer>(
        &mut self,
        mut packet: P,
        mtu: u16,
        hop: Hop,
        context: &mut Context<'_, O, T>,
    ) -> bool {
        forward::address(packet.data_mut(), hop, mac(context.snapshot, hop.port));
        let mut pieces = 0;
        let output = &mut *context.output;
        forward::fragment(packet.data(), usize::from(mtu), 0, |piece| {
            if let Some(piece) = output.create(piece) {
                output.transmit(piece, hop.port);
                pieces += 1;
            }
        });
        if pieces == 0 {
            self.drop(packet, DropReason::NoBuffer, context);
            return false;
        }
        if T::ENABLED {
            context.tracer.note(Note::Fragmented(pieces));
            context.tracer.ended(packet.data(), End::Transmitted(hop));
        }
        context.output.discard(packet);
        true
    }

    /// An identification that no other packet on its way has, of this worker or another.
    pub(super) fn next_identification(&mut self) -> u16 {
        self.identification = self.identification.wrapping_add(self.workers);
        self.identification
    }
}

/// The MTU of the port that `hop` is on; while that is not known, the smallest of all.
pub(super) fn port_mtu(snapshot: &Snapshot, hop: Option<Hop>) -> u16 {
    let on = |hop: Hop| snapshot.port(hop.port);
    match hop.and_then(on) {
        Some(port) => port.mtu,
        None => snapshot.ports().iter().map(|port| port.mtu).min().unwrap_or(u16::MAX),
    }
}

/// Whether a packet must not be cut, by whom ever: itself, or the packet that it travels in. Nothing that travels in IPv6 is. A packet
/// of IPv6 that is no longer than any link must carry is, in IPv4: its sender could not make shorter ones (RFC 4213 §3.2).
fn dont_fragment<P: Packet>(packet: &P, way: &Encapsulation) -> bool {
    let is_cuttable = match ip_of(packet) {
        Some(ip::Header::V4(ip)) => !ip.dont_fragment(),
        Some(ip @ ip::Header::V6(_)) => ip.packet_len() <= usize::from(ipv6::LEAST_MTU),
        None => false,
    };
    !is_cuttable || way.destination.is_ipv6()
}

/// What an ICMP error says about a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    /// No more than so many bytes pass.
    TooBig(u16),
    /// The backend takes no such packets.
    Refused,
}

/// The tunnel that the ICMP or ICMPv6 error `message` is about.
pub(super) fn about_tunnel<'a>(snapshot: &'a Snapshot, message: &[u8]) -> Option<&'a Encapsulation> {
    let quoted = message.get(icmp::HEADER_LEN..)?;
    let outer = ip::Header::new(quoted)?;
    let (protocol, at) = match outer {
        ip::Header::V4(outer) => (outer.protocol(), outer.header_len()),
        ip::Header::V6(outer) => (outer.next_header(), ipv6::HEADER_LEN),
    };
    let transport = quoted.get(at..).and_then(udp::Header::new);
    snapshot.tunnels(outer.source(), outer.destination()).find(|way| match way.tunnel {
        Tunnel::Ipip => matches!(protocol, IPIP | IPV6),
        Tunnel::Gue(gue) => protocol == UDP && transport.is_some_and(|udp| udp.destination_port() == gue.port),
    })
}

/// Takes in the error `message` about the tunnel `way`. It may set that backend's MTU; a client hears of it when it sends
/// too much again (RFC 2003 §5, "soft state"). Returns what it is to be counted as.
pub(super) fn hear(way: &Encapsulation, message: &[u8], now: Tick) -> DropReason {
    let report = if way.destination.is_ipv6() { report_v6(message) } else { report(message) };
    match report {
        Some(Report::TooBig(mtu)) => {
            way.path_mtu.learn(mtu, now);
            DropReason::IcmpConsumed
        }
        Some(Report::Refused) => DropReason::TunnelRefused,
        None => DropReason::IcmpError,
    }
}

/// What the ICMP error `message` about a tunnel says.
fn report(message: &[u8]) -> Option<Report> {
    let header = icmp::Header::new(message)?;
    let outer = message.get(icmp::HEADER_LEN..).and_then(ipv4::Header::new)?;
    match (header.kind(), header.code()) {
        TOO_BIG => Some(Report::TooBig(match header.next_hop_mtu() {
            0 => PLATEAUS.into_iter().find(|plateau| *plateau < outer.total_len())?,
            mtu => mtu,
        })),
        PROTOCOL_UNREACHABLE | PORT_UNREACHABLE => Some(Report::Refused),
        _ => None,
    }
}

/// What the ICMPv6 error `message` about a tunnel says.
fn report_v6(message: &[u8]) -> Option<Report> {
    let header = icmp::Header::new(message)?;
    match (header.kind(), header.code()) {
        (icmpv6::TOO_BIG, _) => Some(Report::TooBig(header.next_hop_mtu_v6())),
        PORT_UNREACHABLE_V6 | HEADER_UNKNOWN_V6 => Some(Report::Refused),
        _ => None,
    }
}
