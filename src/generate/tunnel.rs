//! Packets in tunnels, as a balancer sends them to backends that answer past it: IP in IP (RFC 2003) and GUE.

use crate::agent::{Version, gue};
use crate::wire::{ipv4, udp};

/// IANA's numbers of IPv4 in IPv4 and of UDP.
const IPV4_IN_IPV4: u8 = 4;
const UDP: u8 = 17;

/// IANA's port of GUE.
const GUE_PORT: u16 = 6080;

/// The IPv4 packet inside of `packet`, an IPv4 packet; `None` when there is none.
#[inline]
pub fn inner(packet: &[u8]) -> Option<&[u8]> {
    let ip = ipv4::Header::new(packet)?;
    let payload = packet.get(ip.header_len()..usize::from(ip.total_len()))?;
    match ip.protocol() {
        IPV4_IN_IPV4 => Some(payload),
        UDP if udp::Header::new(payload)?.destination_port() == GUE_PORT => {
            let payload = payload.get(udp::HEADER_LEN..)?;
            payload.get(gue::inner(payload).ok().filter(|inner| inner.version == Version::V4)?.offset..)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use etherparse::PacketBuilder;

    fn packet(inner: &[u8], protocol: Option<u8>, port: u16) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4([10, 0, 0, 10], [10, 0, 0, 2], 64);
        match protocol {
            Some(number) => builder.write(&mut packet, number.into(), inner).unwrap(),
            None => builder.udp(40_000, port).write(&mut packet, inner).unwrap(),
        }
        packet
    }

    #[test]
    fn both_tunnels_and_both_versions_of_gue_are_opened() {
        let whole = packet(b"hello", None, 53);
        let version_0 = [&[0, 4, 0, 0][..], &whole].concat();
        assert_eq!(inner(&packet(&whole, Some(4), 0)), Some(&whole[..]));
        assert_eq!(inner(&packet(&version_0, None, 6080)), Some(&whole[..]));
        assert_eq!(inner(&packet(&whole, None, 6080)), Some(&whole[..]));
    }

    #[test]
    fn what_is_no_tunnel_has_nothing_inside() {
        let whole = packet(b"hello", None, 53);
        assert_eq!(inner(&whole), None);
        assert_eq!(inner(&packet(&whole, Some(47), 0)), None);
        assert_eq!(inner(&packet(&[0x20, 4, 0, 0], None, 6080)), None, "a control message");
        let tunnel = packet(&whole, Some(4), 0);
        for len in 0..tunnel.len() {
            assert_eq!(inner(&tunnel[..len]), None, "{len} bytes");
        }
    }
}
