//! The header fields of a frame, for people: how a packet reads in one line, and what a rewrite changed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::flow::{FlowKey, Protocol};
use crate::wire::ethernet::{self, EtherType};
use crate::wire::{arp, icmp, icmpv6, ip, ipv4, ipv6, ndp, tcp, tcp_options, udp};

/// The fields of a frame that leat may change, as text, and a line about it. Works on any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Headline {
    line: String,
    fields: Vec<(&'static str, String)>,
}

impl Headline {
    /// Reads the headers of `frame` as far as they go.
    pub(super) fn of(frame: &[u8]) -> Self {
        let mut fields = Vec::new();
        let line = match ethernet::Header::new(frame) {
            None => "not an Ethernet frame".to_owned(),
            Some(header) => {
                fields.push(("ethernet source", header.source().to_string()));
                fields.push(("ethernet destination", header.destination().to_string()));
                let payload = &frame[ethernet::HEADER_LEN..];
                match header.ether_type() {
                    EtherType::IPV4 => read_ipv4(payload, &mut fields),
                    EtherType::IPV6 => read_ipv6(payload, &mut fields),
                    EtherType::ARP => read_arp(payload),
                    EtherType(other) => format!("EtherType {other:#06x} from {}", header.source()),
                }
            }
        };
        Self { line: format!("{line}, {} bytes", frame.len()), fields }
    }

    /// What is different in `after`, a field a line.
    pub(super) fn changes<'a>(&'a self, after: &'a Self) -> impl Iterator<Item = String> + 'a {
        self.fields.iter().filter_map(|(name, old)| {
            let (_, new) = after.fields.iter().find(|(other, _)| other == name)?;
            (old != new).then(|| format!("{name}: {old} → {new}"))
        })
    }
}

impl fmt::Display for Headline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// The 5-tuple of `frame`, as far as it has one; an ICMP message that is no echo has ports of 0, and so has a fragment that is
/// not the first.
pub fn flow_of(frame: &[u8]) -> Option<FlowKey> {
    let ethernet = ethernet::Header::new(frame)?;
    if !matches!(ethernet.ether_type(), EtherType::IPV4 | EtherType::IPV6) {
        return None;
    }
    let packet = frame.get(ethernet::HEADER_LEN..)?;
    let ip = ip::Header::new(packet)?;
    let upper = ip::Upper::of(packet)?;
    let message = packet.get(upper.at..)?;
    let protocol = Protocol::of(upper.protocol, matches!(ip, ip::Header::V6(_)))?;
    let (src_port, dst_port) = match protocol {
        _ if upper.is_later_fragment() => (0, 0),
        Protocol::Tcp | Protocol::Udp => {
            let ports = udp::Header::new(message)?;
            (ports.source_port(), ports.destination_port())
        }
        Protocol::Icmp => {
            let icmp = icmp::Header::new(message)?;
            match icmp.kind() {
                icmp::ECHO_REQUEST | icmpv6::ECHO_REQUEST => (icmp.identifier(), 0),
                icmp::ECHO_REPLY | icmpv6::ECHO_REPLY => (0, icmp.identifier()),
                _ => (0, 0),
            }
        }
    };
    Some(FlowKey { src: ip.source(), dst: ip.destination(), src_port, dst_port, protocol })
}

fn read_arp(payload: &[u8]) -> String {
    match arp::Message::parse(payload) {
        None => "malformed ARP".to_owned(),
        Some(arp::Message { operation: arp::Operation::Request, sender, target, .. }) => {
            format!("arp who has {target}, tell {sender}")
        }
        Some(arp::Message { sender, sender_mac, .. }) => format!("arp {sender} is at {sender_mac}"),
    }
}

fn read_ipv4(packet: &[u8], fields: &mut Vec<(&'static str, String)>) -> String {
    let Some(ip) = ipv4::Header::new(packet) else { return "truncated IPv4".to_owned() };
    let (source, destination) = (ip.source(), ip.destination());
    fields.push(("ip source", source.to_string()));
    fields.push(("ip destination", destination.to_string()));
    fields.push(("ip ttl", ip.ttl().to_string()));
    fields.push(("ip checksum", format!("{:#06x}", ip.checksum())));
    let message = packet.get(ip.header_len()..).unwrap_or_default();
    if ip.is_fragment() {
        fields.push(("ip identification", ip.identification().to_string()));
        let (protocol, id, offset) = (ip.protocol(), ip.identification(), u32::from(ip.fragment_offset()) * 8);
        let more = if ip.more_fragments() { "+" } else { "" };
        return format!("ip {source} > {destination} fragment, protocol {protocol}, id {id}, offset {offset}{more}");
    }
    read_message(ip.protocol(), source.into(), destination.into(), message, fields)
}

fn read_ipv6(packet: &[u8], fields: &mut Vec<(&'static str, String)>) -> String {
    let Some(ip) = ipv6::Header::new(packet) else { return "truncated IPv6".to_owned() };
    let (source, destination) = (ip.source(), ip.destination());
    fields.push(("ip source", source.to_string()));
    fields.push(("ip destination", destination.to_string()));
    fields.push(("ip hop limit", ip.hop_limit().to_string()));
    let Ok(upper) = ipv6::upper(packet) else {
        return format!("ip6 {source} > {destination} with extension headers that lead nowhere");
    };
    let message = packet.get(upper.at..).unwrap_or_default();
    if upper.is_fragment() {
        return format!("ip6 {source} > {destination} fragment, protocol {}", upper.protocol);
    }
    if upper.protocol == icmpv6::PROTOCOL
        && let Some(message) = ndp::Message::parse(packet, upper.at)
    {
        let ndp::Message { kind, target, link, .. } = message;
        let link = link.map_or_else(String::new, |link| format!(" at {link}"));
        return match kind {
            ndp::Kind::Solicitation => format!("ndp {source}{link} asks who has {target}"),
            ndp::Kind::Advertisement { .. } => format!("ndp {target} is{link}"),
        };
    }
    read_message(upper.protocol, source.into(), destination.into(), message, fields)
}

/// What an IP packet carries.
fn read_message(
    protocol: u8,
    from: IpAddr,
    to: IpAddr,
    message: &[u8],
    fields: &mut Vec<(&'static str, String)>,
) -> String {
    let word = |at: usize| message.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let with = |from_port: u16, to_port: u16| {
        format!("{} > {}", SocketAddr::new(from, from_port), SocketAddr::new(to, to_port))
    };
    let (source, destination) = (from, to);
    match (protocol, tcp::Header::new(message), udp::Header::new(message), icmp::Header::new(message)) {
        (6, Some(tcp), ..) => {
            fields.push(("tcp source port", tcp.source_port().to_string()));
            fields.push(("tcp destination port", tcp.destination_port().to_string()));
            fields.push(("tcp flags", tcp.flags().to_string()));
            fields.push(("tcp sequence number", tcp.sequence().to_string()));
            fields.push(("tcp acknowledgment number", tcp.acknowledgment().to_string()));
            fields.push(("tcp window", tcp.window().to_string()));
            fields.push(("tcp header", format!("{} bytes", tcp.header_len())));
            let options = tcp_options::of(message);
            let or_none = |option: Option<String>| option.unwrap_or_else(|| "none".to_owned());
            fields.push(("tcp mss", or_none(options.mss.map(|mss| mss.to_string()))));
            let timestamps = options.timestamps.map(|(value, echo)| format!("{value} echo {echo}"));
            fields.push(("tcp timestamps", or_none(timestamps)));
            fields.push(("tcp checksum", format!("{:#06x}", word(16))));
            let ends = with(tcp.source_port(), tcp.destination_port());
            format!("tcp {ends} [{}] seq {}", tcp.flags(), tcp.sequence())
        }
        (17, _, Some(udp), _) => {
            fields.push(("udp source port", udp.source_port().to_string()));
            fields.push(("udp destination port", udp.destination_port().to_string()));
            fields.push(("udp checksum", format!("{:#06x}", word(6))));
            format!("udp {}", with(udp.source_port(), udp.destination_port()))
        }
        (icmp::PROTOCOL | icmpv6::PROTOCOL, _, _, Some(icmp)) => {
            fields.push(("icmp type", icmp.kind().to_string()));
            fields.push(("icmp identifier", icmp.identifier().to_string()));
            fields.push(("icmp checksum", format!("{:#06x}", word(2))));
            let (kind, id) = (icmp.kind(), icmp.identifier());
            let is_error = if from.is_ipv6() { icmpv6::is_error(kind) } else { icmp.is_error() };
            match kind {
                icmpv6::ECHO_REQUEST if from.is_ipv6() => {
                    format!("icmp {source} > {destination} echo request, id {id}")
                }
                icmpv6::ECHO_REPLY if from.is_ipv6() => format!("icmp {source} > {destination} echo reply, id {id}"),
                icmp::ECHO_REQUEST => format!("icmp {source} > {destination} echo request, id {id}"),
                icmp::ECHO_REPLY => format!("icmp {source} > {destination} echo reply, id {id}"),
                _ => {
                    let line = format!("icmp {source} > {destination} type {kind}, code {}", icmp.code());
                    match crate::forward::quoted(message) {
                        Some(quoted) if is_error => {
                            fields.push(("quoted packet", quoted.to_string()));
                            format!("{line} about {quoted}")
                        }
                        _ => line,
                    }
                }
            }
        }
        (protocol, ..) => format!("ip {source} > {destination}, protocol {protocol}"),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn udp(source_port: u16) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 10], 64)
            .udp(source_port, 53)
            .write(&mut frame, b"hello")
            .unwrap();
        frame
    }

    #[test]
    fn a_packet_reads_in_one_line() {
        assert_eq!(Headline::of(&udp(4000)).to_string(), "udp 10.0.0.1:4000 > 10.0.0.10:53, 47 bytes");
        assert_eq!(Headline::of(&[0; 3]).to_string(), "not an Ethernet frame, 3 bytes");
        let mut arp = [0; arp::FRAME_LEN];
        arp::Message {
            operation: arp::Operation::Request,
            sender_mac: crate::wire::MacAddr([2, 0, 0, 0, 0, 1]),
            sender: [10, 0, 0, 1].into(),
            target_mac: crate::wire::MacAddr::default(),
            target: [10, 0, 0, 10].into(),
        }
        .write(&mut arp, crate::wire::MacAddr::BROADCAST);
        assert_eq!(Headline::of(&arp).to_string(), "arp who has 10.0.0.10, tell 10.0.0.1, 42 bytes");
    }

    #[test]
    fn only_what_changed_is_told() {
        let (before, after) = (Headline::of(&udp(4000)), Headline::of(&udp(4001)));
        let changes: Vec<_> = before.changes(&after).collect();
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert_eq!(changes[0], "udp source port: 4000 → 4001");
        assert!(changes[1].starts_with("udp checksum: 0x"), "{changes:?}");
    }

    #[test]
    fn bytes_cut_anywhere_read_as_something() {
        for len in 0..udp(1).len() {
            assert!(!Headline::of(&udp(1)[..len]).to_string().is_empty());
        }
    }
}
