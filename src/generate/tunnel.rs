//! Packets in tunnels, as a balancer sends them to backends that answer past it: IP in IP (RFC 2003, RFC 2473) and GUE,
//! whichever version of IP is in which.

use crate::agent::{Version, gue};
use crate::wire::ethernet::EtherType;
use crate::wire::{ipv4, ipv6, udp};

/// IANA's numbers of IPv4 and of IPv6 in another packet, and of UDP.
const IPV4_INSIDE: u8 = 4;
const IPV6_INSIDE: u8 = 41;
const UDP: u8 = 17;

/// IANA's port of GUE.
const GUE_PORT: u16 = 6080;

/// The packet inside of `packet`, which is of IPv4 or of IPv6 as `ether_type` says, and its version; `None` when there is none.
#[inline(always)]
pub fn inner(ether_type: EtherType, packet: &[u8]) -> Option<(EtherType, &[u8])> {
    let (protocol, payload) = match ether_type {
        EtherType::IPV4 => carried_v4(packet)?,
        _ => carried_v6(packet)?,
    };
    match protocol {
        IPV4_INSIDE => Some((EtherType::IPV4, payload)),
        IPV6_INSIDE => Some((EtherType::IPV6, payload)),
        UDP if udp::Header::new(payload)?.destination_port() == GUE_PORT => inside_gue(payload.get(udp::HEADER_LEN..)?),
        _ => None,
    }
}

/// The protocol of what a packet carries, and its bytes, if it can be a tunnel's.
#[inline(always)]
fn carried_v4(packet: &[u8]) -> Option<(u8, &[u8])> {
    let ip = ipv4::Header::new(packet)?;
    if !matches!(ip.protocol(), IPV4_INSIDE | IPV6_INSIDE | UDP) {
        return None;
    }
    Some((ip.protocol(), packet.get(ip.header_len()..usize::from(ip.total_len()))?))
}

/// See [`carried_v4`].
#[inline(always)]
fn carried_v6(packet: &[u8]) -> Option<(u8, &[u8])> {
    let end = ipv6::HEADER_LEN + usize::from(ipv6::Header::new(packet)?.payload_len());
    let upper = ipv6::upper(packet).ok().filter(|upper| !upper.is_fragment())?;
    Some((upper.protocol, packet.get(upper.at..end)?))
}

/// The packet in the payload of a UDP datagram.
#[inline(always)]
fn inside_gue(payload: &[u8]) -> Option<(EtherType, &[u8])> {
    let inner = gue::inner(payload).ok()?;
    let ether_type = match inner.version {
        Version::V4 => EtherType::IPV4,
        Version::V6 => EtherType::IPV6,
    };
    Some((ether_type, payload.get(inner.offset..)?))
}

#[cfg(test)]
mod tests {
    use super::EtherType;

    use etherparse::{IpNumber, PacketBuilder};

    /// A packet of either version that carries `inner` as `protocol`, or as a datagram to `port`.
    fn packet(is_v6: bool, inner: &[u8], protocol: Option<u8>, port: u16) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = if is_v6 {
            PacketBuilder::ipv6([0x20; 16], [0xfd; 16], 64)
        } else {
            PacketBuilder::ipv4([10, 0, 0, 10], [10, 0, 0, 2], 64)
        };
        match protocol {
            Some(number) => builder.write(&mut packet, IpNumber(number), inner).unwrap(),
            None => builder.udp(40_000, port).write(&mut packet, inner).unwrap(),
        }
        packet
    }

    /// What is inside of a packet, by its first byte.
    fn inner(packet: &[u8]) -> Option<(EtherType, &[u8])> {
        let is_v6 = packet.first().is_some_and(|first| first >> 4 == 6);
        super::inner(if is_v6 { EtherType::IPV6 } else { EtherType::IPV4 }, packet)
    }

    #[test]
    fn both_tunnels_and_both_versions_of_gue_are_opened_whichever_version_of_ip_is_in_which() {
        for (outside, inside) in [(false, false), (false, true), (true, false), (true, true)] {
            let (number, ether_type) = if inside { (41, EtherType::IPV6) } else { (4, EtherType::IPV4) };
            let whole = packet(inside, b"hello", None, 53);
            let found = Some((ether_type, &whole[..]));
            let version_0 = [&[0, number, 0, 0][..], &whole].concat();
            let private = [&[1, number, 0, 0, 9, 9, 9, 9][..], &whole].concat();
            assert_eq!(inner(&packet(outside, &whole, Some(number), 0)), found);
            assert_eq!(inner(&packet(outside, &version_0, None, 6080)), found);
            assert_eq!(inner(&packet(outside, &private, None, 6080)), found);
            assert_eq!(inner(&packet(outside, &whole, None, 6080)), found);
        }
    }

    #[test]
    fn what_is_no_tunnel_has_nothing_inside() {
        for is_v6 in [false, true] {
            let whole = packet(is_v6, b"hello", None, 53);
            assert_eq!(inner(&whole), None);
            assert_eq!(inner(&packet(is_v6, &whole, Some(47), 0)), None);
            assert_eq!(inner(&packet(is_v6, &[0x20, 4, 0, 0], None, 6080)), None, "a control message");
            assert_eq!(inner(&packet(is_v6, &[0x20, 41, 0, 0], None, 6080)), None, "a control message");
            assert_eq!(inner(&packet(is_v6, &[0, 41, 0, 1], None, 6080)), None, "a flag");
            let tunnel = packet(is_v6, &whole, Some(41), 0);
            for len in 0..tunnel.len() {
                assert_eq!(inner(&tunnel[..len]), None, "{len} bytes");
            }
        }
    }
}
