//! The headers of a packet that may be anything: every fault has a reason of its own.
//!
//! What [`ordinary`](super::classify) takes for itself in the first pass reads alike here.

use super::classify::{Headers, Kind, NETWORK};
use crate::counters::DropReason;
use crate::flow::{FlowKey, Protocol};
use crate::forward;
use crate::wire::ethernet::{self, EtherType};
use crate::wire::{icmp, icmpv6, ipv4, ipv6, mld, tcp, udp};

/// The headers of a fragment that is the first of its packet, and was classified before.
///
/// # Errors
///
/// What is wrong with it: the transport's header must be in it whole (RFC 1858 §3.1), and it must be no ICMP error.
pub(super) fn first_fragment(data: &[u8], frame_len: usize) -> Result<Headers, DropReason> {
    let is_v6 = ethernet::Header::new(data).is_some_and(|header| header.ether_type() == EtherType::IPV6);
    let parsed = if is_v6 { parse_v6(data, frame_len, true) } else { parse(data, frame_len, true) };
    parsed.map_err(|other| match other {
        Other::IcmpError { .. } => DropReason::IcmpError,
        Other::Ndp { .. } => DropReason::IcmpType,
        Other::Fragment => DropReason::FragmentMalformed,
        Other::Wrong(reason) => reason,
    })
}

/// What a packet is that is not one of a flow.
pub(super) enum Other {
    /// An ICMP or ICMPv6 error; where it starts in the frame.
    IcmpError {
        message: u8,
    },
    /// A message of neighbour or multicast listener discovery; where it starts in the frame.
    Ndp {
        message: u8,
    },
    Fragment,
    Wrong(DropReason),
}

impl From<DropReason> for Other {
    fn from(reason: DropReason) -> Self {
        Self::Wrong(reason)
    }
}

/// The headers of the IPv4 packet in `data`, the first piece of a frame of `frame_len` bytes. With `is_first_fragment` it is
/// taken as it is, though more of it is elsewhere.
pub(super) fn parse(data: &[u8], frame_len: usize, is_first_fragment: bool) -> Result<Headers, Other> {
    // A header that the frame has and the first piece has not was split by the port, not truncated by the sender.
    let missing = |until: usize, truncated| if frame_len >= until { DropReason::HeadersSplit } else { truncated };

    let packet = data.get(NETWORK..).unwrap_or_default();
    let Some(ip) = ipv4::Header::new(packet) else {
        return Err(missing(NETWORK + ipv4::HEADER_LEN, DropReason::Ipv4Truncated).into());
    };
    if ip.version() != 4 {
        return Err(DropReason::Ipv4Version.into());
    }
    let header_len = ip.header_len();
    let total_len = usize::from(ip.total_len());
    if header_len < ipv4::HEADER_LEN {
        return Err(DropReason::Ipv4HeaderLength.into());
    }
    if total_len < header_len || NETWORK + total_len > frame_len {
        // Which of the two lengths lies cannot be told when they disagree; the header's own comes first.
        let header_fits = NETWORK + header_len <= frame_len;
        let reason = if header_fits { DropReason::Ipv4TotalLength } else { DropReason::Ipv4HeaderLength };
        return Err(reason.into());
    }
    let Some(header) = packet.get(..header_len) else { return Err(DropReason::HeadersSplit.into()) };
    if !ipv4::checksum_is_right(header) {
        return Err(DropReason::Ipv4Checksum.into());
    }
    if header_len > ipv4::HEADER_LEN && ipv4::has_source_route(header) {
        return Err(DropReason::Ipv4SourceRoute.into());
    }
    if ip.is_fragment() && !is_first_fragment {
        return Err(Other::Fragment);
    }

    let upper = Upper {
        protocol: match ip.protocol() {
            icmp::PROTOCOL => Message::Icmp,
            forward::IPIP => return Err(DropReason::Tunnel.into()),
            number => Message::of(number)?,
        },
        at: NETWORK + header_len,
        len: total_len - header_len,
        is_first_fragment,
    };
    let Transport { kind, ports: (src_port, dst_port), is_syn, is_plain } = upper.parse(data, frame_len)?;
    let key = FlowKey {
        src: ip.source().into(),
        dst: ip.destination().into(),
        src_port,
        dst_port,
        protocol: kind.protocol(),
    };
    Ok(Headers {
        packed: key.pack(),
        transport: upper.at as u8,
        ttl: ip.ttl(),
        kind,
        is_syn,
        is_plain: is_plain && header_len == ipv4::HEADER_LEN && ip.ttl() > 1,
        transport_len: upper.len as u16,
    })
}

/// The headers of the IPv6 packet in `data`, as [`parse`] reads those of IPv4.
pub(super) fn parse_v6(data: &[u8], frame_len: usize, is_first_fragment: bool) -> Result<Headers, Other> {
    let packet = data.get(NETWORK..).unwrap_or_default();
    let Some(ip) = ipv6::Header::new(packet) else {
        let is_there = frame_len >= NETWORK + ipv6::HEADER_LEN;
        return Err(if is_there { DropReason::HeadersSplit } else { DropReason::Ipv6Truncated }.into());
    };
    if ip.version() != 6 {
        return Err(DropReason::Ipv6Version.into());
    }
    let end = ipv6::HEADER_LEN + usize::from(ip.payload_len());
    if NETWORK + end > frame_len {
        return Err(DropReason::Ipv6Length.into());
    }
    let upper = match ipv6::upper(packet.get(..end).unwrap_or(packet)) {
        Ok(upper) => upper,
        Err(ipv6::WrongExtension::Truncated) if packet.len() < end => return Err(DropReason::HeadersSplit.into()),
        Err(_) => return Err(DropReason::Ipv6Extension.into()),
    };
    if upper.is_fragment() && !is_first_fragment {
        return Err(Other::Fragment);
    }
    let message = (NETWORK + upper.at) as u8;
    if upper.protocol == icmpv6::PROTOCOL
        && let Some(kind) = packet.get(upper.at)
    {
        if icmpv6::is_neighbor_discovery(*kind) || mld::is_query(*kind) {
            return Err(Other::Ndp { message });
        }
        if icmpv6::is_error(*kind) && end >= upper.at + icmp::HEADER_LEN {
            return Err(Other::IcmpError { message });
        }
    }
    let is_bare = upper.at == ipv6::HEADER_LEN;
    let upper = Upper {
        protocol: match upper.protocol {
            icmpv6::PROTOCOL => Message::Icmpv6,
            forward::IPIP | forward::IPV6 => return Err(DropReason::Tunnel.into()),
            number => Message::of(number)?,
        },
        at: message.into(),
        len: end - upper.at,
        is_first_fragment,
    };
    let Transport { kind, ports: (src_port, dst_port), is_syn, is_plain } = upper.parse(data, frame_len)?;
    let key = FlowKey {
        src: ip.source().into(),
        dst: ip.destination().into(),
        src_port,
        dst_port,
        protocol: kind.protocol(),
    };
    Ok(Headers {
        packed: key.pack(),
        transport: message,
        ttl: ip.hop_limit(),
        kind,
        is_syn,
        is_plain: is_plain && is_bare && ip.hop_limit() > 1,
        transport_len: upper.len as u16,
    })
}

/// What an IP packet carries.
#[derive(Clone, Copy)]
enum Message {
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
}

impl Message {
    /// What the number stands for in either version.
    const fn of(number: u8) -> Result<Self, Other> {
        match number {
            6 => Ok(Self::Tcp),
            17 => Ok(Self::Udp),
            _ => Err(Other::Wrong(DropReason::Protocol)),
        }
    }
}

/// Where in a frame a message is.
struct Upper {
    protocol: Message,
    /// Where it starts.
    at: usize,
    /// How long it is.
    len: usize,
    /// Whether it goes on in other fragments.
    is_first_fragment: bool,
}

/// What a message's header says.
struct Transport {
    kind: Kind,
    /// Those of its source and destination.
    ports: (u16, u16),
    is_syn: bool,
    is_plain: bool,
}

impl Upper {
    /// The header of the message in `data`, the first piece of a frame of `frame_len` bytes.
    fn parse(&self, data: &[u8], frame_len: usize) -> Result<Transport, Other> {
        let message = data.get(self.at..).unwrap_or_default();
        let absent = |needed: usize, truncated| {
            // A header that the frame has and the first piece has not was split by the port, not truncated by the sender.
            let is_split = self.len >= needed && frame_len >= self.at + needed;
            if is_split { DropReason::HeadersSplit } else { truncated }
        };
        let (mut is_syn, mut is_plain) = (false, false);
        let (kind, ports) = match self.protocol {
            Message::Tcp => {
                let Some(tcp) = tcp::Header::new(message).filter(|_| self.len >= tcp::HEADER_LEN) else {
                    return Err(absent(tcp::HEADER_LEN, DropReason::TcpTruncated).into());
                };
                if tcp.header_len() < tcp::HEADER_LEN || tcp.header_len() > self.len {
                    return Err(DropReason::TcpHeaderLength.into());
                }
                if message.len() < tcp.header_len() {
                    return Err(DropReason::HeadersSplit.into());
                }
                if tcp.flags().is_nonsense() {
                    return Err(DropReason::TcpFlags.into());
                }
                is_syn = tcp.flags().contains(tcp::Flags::SYN);
                is_plain = tcp.flags().only_acknowledges();
                (Kind::Tcp, (tcp.source_port(), tcp.destination_port()))
            }
            Message::Udp => {
                let Some(udp) = udp::Header::new(message).filter(|_| self.len >= udp::HEADER_LEN) else {
                    return Err(absent(udp::HEADER_LEN, DropReason::UdpTruncated).into());
                };
                let length = usize::from(udp.length());
                if length < udp::HEADER_LEN || length > self.len && !self.is_first_fragment {
                    return Err(DropReason::UdpLength.into());
                }
                is_plain = true;
                (Kind::Udp, (udp.source_port(), udp.destination_port()))
            }
            Message::Icmp | Message::Icmpv6 => {
                let Some(icmp) = icmp::Header::new(message).filter(|_| self.len >= icmp::HEADER_LEN) else {
                    return Err(absent(icmp::HEADER_LEN, DropReason::IcmpTruncated).into());
                };
                match (self.protocol, icmp.kind(), icmp.code()) {
                    (Message::Icmp, icmp::ECHO_REQUEST, 0) | (Message::Icmpv6, icmpv6::ECHO_REQUEST, 0) => {
                        (Kind::EchoRequest, (icmp.identifier(), 0))
                    }
                    (Message::Icmp, icmp::ECHO_REPLY, 0) | (Message::Icmpv6, icmpv6::ECHO_REPLY, 0) => {
                        (Kind::EchoReply, (0, icmp.identifier()))
                    }
                    (Message::Icmp, ..) if icmp.is_error() => return Err(Other::IcmpError { message: self.at as u8 }),
                    _ => return Err(DropReason::IcmpType.into()),
                }
            }
        };
        if kind.protocol() != Protocol::Icmp && (ports.0 == 0 || ports.1 == 0) {
            return Err(DropReason::PortZero.into());
        }
        Ok(Transport { kind, ports, is_syn, is_plain })
    }
}
