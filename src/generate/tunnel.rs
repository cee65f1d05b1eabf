//! Packets in tunnels, as a balancer sends them to backends that answer past it: IP in IP (RFC 2003, RFC 2473) and GUE,
//! whichever version of IP is in which.

use crate::agent::{Version, gue};
use crate::wire::checksum::{self, Sum};
use crate::wire::ethernet::EtherType;
use crate::wire::{ipv4, ipv6, udp};

/// IANA's numbers of IPv4 and of IPv6 in another packet, and of UDP.
const IPV4_INSIDE: u8 = 4;
const IPV6_INSIDE: u8 = 41;
const UDP: u8 = 17;

/// IANA's port of GUE.
const GUE_PORT: u16 = 6080;

/// What a packet turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened<'a> {
    /// A tunnel's, with this packet of this version inside.
    Inside(EtherType, &'a [u8]),
    /// A tunnel's, and a checksum of the headers that the balancer has written is wrong: no backend would take it.
    Damaged,
    /// No tunnel's.
    Nothing,
}

/// Opens `packet`, which is of IPv4 or of IPv6 as `ether_type` says.
#[inline(always)]
pub fn open(ether_type: EtherType, packet: &[u8]) -> Opened<'_> {
    let outer = match ether_type {
        EtherType::IPV4 => outer_v4(packet),
        _ => outer_v6(packet),
    };
    outer.and_then(inside).unwrap_or(Opened::Nothing)
}

/// What the header of a packet that may be a tunnel's says.
struct Outer<'a> {
    protocol: u8,
    payload: &'a [u8],
    is_right: bool,
    /// For a datagram.
    pseudo_header: Sum,
}

#[inline(always)]
fn outer_v4(packet: &[u8]) -> Option<Outer<'_>> {
    let ip = ipv4::Header::new(packet)?;
    let protocol = ip.protocol();
    if !matches!(protocol, IPV4_INSIDE | IPV6_INSIDE | UDP) {
        return None;
    }
    let (header, payload) =
        packet.get(..usize::from(ip.total_len()))?.split_at_checked(ip.header_len().max(ipv4::HEADER_LEN))?;
    Some(Outer {
        protocol,
        payload,
        is_right: ipv4::checksum_is_right(header),
        pseudo_header: checksum::pseudo_header(ip.source(), ip.destination(), protocol, payload.len() as u16),
    })
}

#[inline(always)]
fn outer_v6(packet: &[u8]) -> Option<Outer<'_>> {
    let ip = ipv6::Header::new(packet)?;
    let upper = ipv6::upper(packet).ok().filter(|upper| !upper.is_fragment())?;
    let payload = packet.get(upper.at..ipv6::HEADER_LEN + usize::from(ip.payload_len()))?;
    Some(Outer {
        protocol: upper.protocol,
        payload,
        is_right: true,
        pseudo_header: checksum::pseudo_header_v6(ip.addresses(), upper.protocol, payload.len() as u32),
    })
}

#[inline(always)]
fn inside(outer: Outer<'_>) -> Option<Opened<'_>> {
    let (ether_type, packet) = match outer.protocol {
        IPV4_INSIDE => (EtherType::IPV4, outer.payload),
        IPV6_INSIDE => (EtherType::IPV6, outer.payload),
        UDP if udp::Header::new(outer.payload)?.destination_port() == GUE_PORT => {
            // A tunnel may leave its checksum out, in IPv6 as well (RFC 6935 §5).
            if outer.payload[6..8] != [0, 0] && outer.pseudo_header.and_bytes(outer.payload).complement() != 0 {
                return Some(Opened::Damaged);
            }
            inside_gue(&outer.payload[udp::HEADER_LEN..])?
        }
        _ => return None,
    };
    Some(if outer.is_right { Opened::Inside(ether_type, packet) } else { Opened::Damaged })
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
    use super::Opened::{Damaged, Inside, Nothing};
    use super::{EtherType, Opened, open};

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

    /// What a packet is, whose version is in its first byte.
    fn opened(packet: &[u8]) -> Opened<'_> {
        let is_v6 = packet.first().is_some_and(|first| first >> 4 == 6);
        open(if is_v6 { EtherType::IPV6 } else { EtherType::IPV4 }, packet)
    }

    #[test]
    fn both_tunnels_and_both_versions_of_gue_are_opened_whichever_version_of_ip_is_in_which() {
        for (outside, inside) in [(false, false), (false, true), (true, false), (true, true)] {
            let (number, ether_type) = if inside { (41, EtherType::IPV6) } else { (4, EtherType::IPV4) };
            let whole = packet(inside, b"hello", None, 53);
            let found = Inside(ether_type, &whole);
            let version_0 = [&[0, number, 0, 0][..], &whole].concat();
            let private = [&[1, number, 0, 0, 9, 9, 9, 9][..], &whole].concat();
            assert_eq!(opened(&packet(outside, &whole, Some(number), 0)), found);
            assert_eq!(opened(&packet(outside, &version_0, None, 6080)), found);
            assert_eq!(opened(&packet(outside, &private, None, 6080)), found);
            assert_eq!(opened(&packet(outside, &whole, None, 6080)), found);
        }
    }

    #[test]
    fn what_is_no_tunnel_has_nothing_inside() {
        for is_v6 in [false, true] {
            let whole = packet(is_v6, b"hello", None, 53);
            assert_eq!(opened(&whole), Nothing);
            assert_eq!(opened(&packet(is_v6, &whole, Some(47), 0)), Nothing);
            assert_eq!(opened(&packet(is_v6, &[0x20, 4, 0, 0], None, 6080)), Nothing, "a control message");
            assert_eq!(opened(&packet(is_v6, &[0x20, 41, 0, 0], None, 6080)), Nothing, "a control message");
            assert_eq!(opened(&packet(is_v6, &[0, 41, 0, 1], None, 6080)), Nothing, "a flag");
            let tunnel = packet(is_v6, &whole, Some(41), 0);
            for len in 0..tunnel.len() {
                assert_eq!(opened(&tunnel[..len]), Nothing, "{len} bytes");
            }
        }
    }

    #[test]
    fn a_tunnel_with_a_wrong_checksum_is_damaged_and_one_without_is_not() {
        for is_v6 in [false, true] {
            let (udp, whole) = (if is_v6 { 40 } else { 20 }, packet(is_v6, b"hello", None, 53));
            let gue = packet(is_v6, &whole, None, 6080);
            for at in [udp + 1, udp + 7, gue.len() - 1] {
                let mut damaged = gue.clone();
                damaged[at] ^= 1;
                assert_eq!(opened(&damaged), Damaged, "byte {at}");
            }
            let mut without = gue.clone();
            without[udp + 6..udp + 8].fill(0);
            assert!(matches!(opened(&without), Inside(..)));
        }
        let whole = packet(false, b"hello", None, 53);
        for mut tunnel in [packet(false, &whole, Some(4), 0), packet(false, &whole, None, 6080)] {
            // The time to live.
            tunnel[8] ^= 1;
            assert_eq!(opened(&tunnel), Damaged);
        }
    }
}
