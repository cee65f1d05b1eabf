//! Pings and their answers (RFC 792, RFC 4443 §4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
};

/// The time to live of what leat itself says (RFC 1700).
const TTL: u8 = 64;

/// What a request carries.
const DATA: &[u8] = b"leat health check";

/// An echo request with this identifier, as an IP packet.
pub(super) fn request(source: IpAddr, destination: IpAddr, identifier: u16) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => request_v4(source, destination, identifier),
        (IpAddr::V6(source), IpAddr::V6(destination)) => request_v6(source, destination, identifier),
        _ => Vec::new(),
    }
}

fn request_v4(source: Ipv4Addr, destination: Ipv4Addr, identifier: u16) -> Vec<u8> {
    let message = Icmpv4Repr::EchoRequest { ident: identifier, seq_no: 1, data: DATA };
    let header = Ipv4Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Icmp,
        payload_len: message.buffer_len(),
        hop_limit: TTL,
    };
    let checksums = ChecksumCapabilities::default();
    let mut bytes = vec![0; header.buffer_len() + message.buffer_len()];
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
    header.emit(&mut packet, &checksums);
    message.emit(&mut Icmpv4Packet::new_unchecked(packet.payload_mut()), &checksums);
    bytes
}

fn request_v6(source: Ipv6Addr, destination: Ipv6Addr, identifier: u16) -> Vec<u8> {
    let message = Icmpv6Repr::EchoRequest { ident: identifier, seq_no: 1, data: DATA };
    let header = Ipv6Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: TTL,
    };
    let mut bytes = vec![0; header.buffer_len() + message.buffer_len()];
    let mut packet = Ipv6Packet::new_unchecked(&mut bytes);
    header.emit(&mut packet);
    let mut icmp = Icmpv6Packet::new_unchecked(packet.payload_mut());
    message.emit(&source, &destination, &mut icmp, &ChecksumCapabilities::default());
    bytes
}

/// To whom and with which identifier an echo reply comes; nothing for any other packet, or a damaged one.
pub(super) fn reply(packet: &[u8]) -> Option<(IpAddr, u16)> {
    let checksums = ChecksumCapabilities::default();
    if let Ok(packet) = Ipv4Packet::new_checked(packet)
        && packet.version() == 4
    {
        let message = Icmpv4Packet::new_checked(packet.payload()).ok()?;
        let is_echo = packet.next_header() == IpProtocol::Icmp;
        return match Icmpv4Repr::parse(&message, &checksums).ok()? {
            Icmpv4Repr::EchoReply { ident, .. } if is_echo => Some((packet.dst_addr().into(), ident)),
            _ => None,
        };
    }
    let packet = Ipv6Packet::new_checked(packet).ok()?;
    if packet.next_header() != IpProtocol::Icmpv6 {
        return None;
    }
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    match Icmpv6Repr::parse(&source, &destination, &message, &checksums).ok()? {
        Icmpv6Repr::EchoReply { ident, .. } => Some((destination.into(), ident)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv4Type, PacketBuilder, SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn a_ping_is_what_others_take_for_one() {
        let bytes = request([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 64512);
        let packet = SlicedPacket::from_ip(&bytes).unwrap();
        let Some(TransportSlice::Icmpv4(icmp)) = packet.transport else { panic!("{packet:?}") };
        let Icmpv4Type::EchoRequest(header) = icmp.icmp_type() else { panic!("{icmp:?}") };
        assert_eq!((header.id, header.seq), (64512, 1));
        assert_eq!(crate::wire::checksum::of(&bytes[..20]), 0);
        assert_eq!(crate::wire::checksum::of(&bytes[20..]), 0);
    }

    #[test]
    fn only_a_whole_reply_counts() {
        let mut bytes = Vec::new();
        let reply_to = |bytes: &[u8]| reply(bytes);
        PacketBuilder::ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64)
            .icmpv4_echo_reply(64513, 1)
            .write(&mut bytes, b"x")
            .unwrap();
        assert_eq!(reply_to(&bytes), Some(([10, 0, 0, 1].into(), 64513)));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(reply_to(&bytes), None);
        assert_eq!(reply_to(&request([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 7)), None);
        assert_eq!(reply_to(&bytes[..10]), None);
    }
}
