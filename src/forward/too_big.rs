//! Telling a client that its packet is too big (RFC 792, RFC 1191 §4).

use crate::wire::{MacAddr, checksum, ethernet, ipv4};

/// The most of an ICMP error's packet (RFC 1812 §4.3.2.3).
const LONGEST: usize = 576;

/// Bytes of the ICMP header: type, code, checksum, unused, next-hop MTU.
const ICMP_LEN: usize = 8;

/// Destination unreachable.
const UNREACHABLE: u8 = 3;
/// Fragmentation needed and DF set.
const FRAGMENTATION_NEEDED: u8 = 4;

/// IANA protocol number.
const ICMP: u8 = 1;

/// The longest frame that [`fragmentation_needed`] writes.
pub const LONGEST_FRAME: usize = ethernet::HEADER_LEN + LONGEST;

/// Writes a frame that says of the IPv4 packet in `frame`: it needs to be cut to `mtu` bytes and must not be. It comes
/// from the packet's destination and goes back to its source, and quotes as much of it as fits. Returns the length;
/// `None` when `frame` holds no packet.
pub fn fragmentation_needed(frame: &[u8], mtu: u16, into: &mut [u8; LONGEST_FRAME]) -> Option<usize> {
    let ethernet = ethernet::Header::new(frame)?;
    let packet = frame.get(ethernet::HEADER_LEN..)?;
    let ip = ipv4::Header::new(packet)?;
    let quoted = packet.get(..usize::from(ip.total_len()).min(packet.len()))?;
    let quoted = &quoted[..quoted.len().min(LONGEST - ipv4::HEADER_LEN - ICMP_LEN)];
    let total = ipv4::HEADER_LEN + ICMP_LEN + quoted.len();

    let (header, rest) = into.split_at_mut(ethernet::HEADER_LEN);
    let (outer, message) = rest.split_first_chunk_mut()?;
    let mut header = ethernet::HeaderMut::new(header)?;
    header.set_addresses(ethernet.source(), MacAddr::default());
    header.set_ether_type(ethernet::EtherType::IPV4);
    ipv4::Fields {
        // Internetwork control, as RFC 1812 §4.3.2.5 recommends for errors.
        type_of_service: 0xc0,
        total_len: total as u16,
        identification: 0,
        dont_fragment: true,
        ttl: 64,
        protocol: ICMP,
        source: ip.destination(),
        destination: ip.source(),
    }
    .write(outer);
    let message = &mut message[..ICMP_LEN + quoted.len()];
    let [high, low] = mtu.to_be_bytes();
    message[..ICMP_LEN].copy_from_slice(&[UNREACHABLE, FRAGMENTATION_NEEDED, 0, 0, 0, 0, high, low]);
    message[ICMP_LEN..].copy_from_slice(quoted);
    let sum = checksum::of(message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(ethernet::HEADER_LEN + total)
}

#[cfg(test)]
mod tests {
    use etherparse::{
        Icmpv4Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice, icmpv4::DestUnreachableHeader,
    };

    use super::*;

    #[test]
    fn the_client_hears_from_the_vip_and_finds_its_own_packet_quoted() {
        for payload in [0, 100, 1472] {
            let mut frame = Vec::new();
            PacketBuilder::ethernet2([1; 6], [2; 6])
                .ipv4([10, 0, 0, 1], [10, 0, 0, 10], 64)
                .udp(4000, 53)
                .write(&mut frame, &vec![7; payload])
                .unwrap();
            let mut buffer = [0; LONGEST_FRAME];
            let len = fragmentation_needed(&frame, 1480, &mut buffer).unwrap();
            let packet = SlicedPacket::from_ethernet(&buffer[..len]).unwrap();
            let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Icmpv4(icmp))) = (&packet.net, &packet.transport)
            else {
                panic!("{packet:?}")
            };
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!((header.source, header.destination), ([10, 0, 0, 10], [10, 0, 0, 1]));
            let expected = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1480 };
            assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(expected));
            assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
            assert!(icmp.payload().len() >= 28 && frame[14..].starts_with(icmp.payload()));
            assert!(len <= 14 + 576);
            assert_eq!(buffer[..6], [1; 6], "back to where it came from");
        }
    }
}
