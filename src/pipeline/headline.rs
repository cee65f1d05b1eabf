//! The header fields of a frame, for people: how a packet reads in one line, and what a rewrite changed.

use std::fmt;

use crate::flow::{FlowKey, Protocol};
use crate::wire::ethernet::{self, EtherType};
use crate::wire::{arp, icmp, ipv4, tcp, tcp_options, udp};

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
    if ethernet.ether_type() != EtherType::IPV4 {
        return None;
    }
    let packet = frame.get(ethernet::HEADER_LEN..)?;
    let ip = ipv4::Header::new(packet)?;
    let message = packet.get(ip.header_len()..)?;
    let (protocol, src_port, dst_port) = match ip.protocol() {
        6 if ip.is_later_fragment() => (Protocol::Tcp, 0, 0),
        17 if ip.is_later_fragment() => (Protocol::Udp, 0, 0),
        1 if ip.is_later_fragment() => (Protocol::Icmp, 0, 0),
        6 | 17 => {
            let ports = udp::Header::new(message)?;
            let protocol = if ip.protocol() == 6 { Protocol::Tcp } else { Protocol::Udp };
            (protocol, ports.source_port(), ports.destination_port())
        }
        1 => {
            let icmp = icmp::Header::new(message)?;
            match icmp.kind() {
                icmp::ECHO_REQUEST => (Protocol::Icmp, icmp.identifier(), 0),
                icmp::ECHO_REPLY => (Protocol::Icmp, 0, icmp.identifier()),
                _ => (Protocol::Icmp, 0, 0),
            }
        }
        _ => return None,
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
    let word = |at: usize| message.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    if ip.is_fragment() {
        fields.push(("ip identification", ip.identification().to_string()));
        let (protocol, id, offset) = (ip.protocol(), ip.identification(), u32::from(ip.fragment_offset()) * 8);
        let more = if ip.more_fragments() { "+" } else { "" };
        return format!("ip {source} > {destination} fragment, protocol {protocol}, id {id}, offset {offset}{more}");
    }
    match (ip.protocol(), tcp::Header::new(message), udp::Header::new(message), icmp::Header::new(message)) {
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
            let (from, to, flags) = (tcp.source_port(), tcp.destination_port(), tcp.flags());
            format!("tcp {source}:{from} > {destination}:{to} [{flags}] seq {}", tcp.sequence())
        }
        (17, _, Some(udp), _) => {
            fields.push(("udp source port", udp.source_port().to_string()));
            fields.push(("udp destination port", udp.destination_port().to_string()));
            fields.push(("udp checksum", format!("{:#06x}", word(6))));
            format!("udp {source}:{} > {destination}:{}", udp.source_port(), udp.destination_port())
        }
        (1, _, _, Some(icmp)) => {
            fields.push(("icmp type", icmp.kind().to_string()));
            fields.push(("icmp identifier", icmp.identifier().to_string()));
            fields.push(("icmp checksum", format!("{:#06x}", word(2))));
            let (kind, id) = (icmp.kind(), icmp.identifier());
            match kind {
                icmp::ECHO_REQUEST => format!("icmp {source} > {destination} echo request, id {id}"),
                icmp::ECHO_REPLY => format!("icmp {source} > {destination} echo reply, id {id}"),
                _ => {
                    let line = format!("icmp {source} > {destination} type {kind}, code {}", icmp.code());
                    match crate::forward::quoted(message) {
                        Some(quoted) if icmp.is_error() => {
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
