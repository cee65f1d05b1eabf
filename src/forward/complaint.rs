//! ICMP errors of leat's own: telling a sender why its packet went no further (RFC 792, RFC 1191 §4, RFC 1812 §4.3.2,
//! RFC 4443 §3).

use std::net::IpAddr;

use crate::wire::{MacAddr, checksum, ethernet, icmp, icmpv6, ip, ipv6};

/// The most of an ICMP error's packet (RFC 1812 §4.3.2.3), and of an ICMPv6 error's (RFC 4443 §2.4).
const LONGEST: usize = 576;
const LONGEST_V6: usize = ipv6::LEAST_MTU as usize;

/// The longest frame that [`complain`] writes.
pub const LONGEST_COMPLAINT: usize = ethernet::HEADER_LEN + LONGEST_V6;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// It needs to be cut to so many bytes, and must not be.
    TooBig(u16),
    /// The routers that it may pass ended on the way.
    TimeExceeded,
}

impl Complaint {
    /// Type, code and the rest of the ICMP header.
    const fn header(self, is_v6: bool) -> [u8; icmp::HEADER_LEN] {
        match (self, is_v6) {
            (Self::TooBig(mtu), false) => {
                let [high, low] = mtu.to_be_bytes();
                [3, 4, 0, 0, 0, 0, high, low]
            }
            (Self::TooBig(mtu), true) => {
                // No link is narrower, and a sender that hears of one is not to believe it (RFC 8201 §4).
                let mtu = if mtu < ipv6::LEAST_MTU { ipv6::LEAST_MTU } else { mtu };
                let [high, low] = mtu.to_be_bytes();
                [icmpv6::TOO_BIG, 0, 0, 0, 0, 0, high, low]
            }
            (Self::TimeExceeded, false) => [11, 0, 0, 0, 0, 0, 0, 0],
            (Self::TimeExceeded, true) => [icmpv6::TIME_EXCEEDED, 0, 0, 0, 0, 0, 0, 0],
        }
    }
}

/// Writes a frame that goes back to the sender of the IP packet in `frame`, comes from `source`, says what is wrong, and
/// quotes as much of the packet as fits. Returns the length; `None` when `frame` holds no packet, or one that nobody may
/// complain about.
pub fn complain(
    frame: &[u8],
    complaint: Complaint,
    source: IpAddr,
    into: &mut [u8; LONGEST_COMPLAINT],
) -> Option<usize> {
    let ethernet = ethernet::Header::new(frame)?;
    let packet = frame.get(ethernet::HEADER_LEN..)?;
    let ip = ip::Header::new(packet)?;
    if !may_be_complained_about(packet, ip) {
        return None;
    }
    let is_v6 = matches!(ip, ip::Header::V6(_));
    let mut fields = ip::Fields {
        // Internetwork control, as RFC 1812 §4.3.2.5 recommends for errors.
        traffic_class: 0xc0,
        payload_len: 0,
        protocol: if is_v6 { icmpv6::PROTOCOL } else { icmp::PROTOCOL },
        hops: 64,
        source,
        destination: ip.source(),
    };
    let most = if is_v6 { LONGEST_V6 } else { LONGEST };
    let quoted = packet.get(..ip.packet_len().min(packet.len()))?;
    let quoted = &quoted[..quoted.len().min(most - fields.header_len() - icmp::HEADER_LEN)];
    fields.payload_len = (icmp::HEADER_LEN + quoted.len()) as u16;

    let (header, rest) = into.split_at_mut(ethernet::HEADER_LEN);
    let mut header = ethernet::HeaderMut::new(header)?;
    header.set_addresses(ethernet.source(), MacAddr::default());
    header.set_ether_type(ethernet::EtherType::of(source));
    let header_len = fields.write(rest);
    let message = &mut rest[header_len..][..icmp::HEADER_LEN + quoted.len()];
    message[..icmp::HEADER_LEN].copy_from_slice(&complaint.header(is_v6));
    message[icmp::HEADER_LEN..].copy_from_slice(quoted);
    let sum = if is_v6 { fields.pseudo_header().and_bytes(message).complement() } else { checksum::of(message) };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(ethernet::HEADER_LEN + header_len + message.len())
}

/// RFC 1122 §3.2.2 and RFC 4443 §2.4: no error about an error, about a fragment that is not the first, or to an address that is
/// not one station's.
fn may_be_complained_about(packet: &[u8], ip: ip::Header<'_>) -> bool {
    let is_error = match ip {
        ip::Header::V4(ip) => {
            ip.protocol() == icmp::PROTOCOL
                && packet.get(ip.header_len()..).and_then(icmp::Header::new).is_none_or(icmp::Header::is_error)
                || ip.is_later_fragment()
        }
        ip::Header::V6(_) => ipv6::upper(packet).is_ok_and(|upper| {
            let kind = packet.get(upper.at).copied();
            upper.protocol == icmpv6::PROTOCOL && kind.is_none_or(icmpv6::is_error)
        }),
    };
    !is_error && ip::is_station(ip.source())
}

#[cfg(test)]
mod tests {
    use etherparse::{
        Icmpv4Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice, icmpv4::DestUnreachableHeader,
    };

    use super::*;
    use crate::wire::ip::Octets as _;

    const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 10));

    #[test]
    fn nobody_complains_about_an_error_a_later_fragment_or_to_no_station() {
        let complained =
            |frame: &[u8]| complain(frame, Complaint::TimeExceeded, VIP, &mut [0; LONGEST_COMPLAINT]).is_some();
        let builder = |from: [u8; 4]| PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(from, VIP.octets(), 1);
        let icmp = |kind: u8| {
            let mut frame = Vec::new();
            builder([10, 0, 0, 1]).icmpv4_raw(kind, 0, [0; 4]).write(&mut frame, &[0; 28]).unwrap();
            frame
        };
        assert!(complained(&icmp(8)) && complained(&icmp(0)));
        assert!([3, 4, 5, 11, 12].into_iter().all(|kind| !complained(&icmp(kind))));
        let udp = |from: [u8; 4], offset: u8| {
            let mut frame = Vec::new();
            builder(from).udp(1, 2).write(&mut frame, b"").unwrap();
            frame[20..22].copy_from_slice(&[0x20, offset]);
            frame
        };
        assert!(complained(&udp([10, 0, 0, 1], 0)));
        assert!(!complained(&udp([10, 0, 0, 1], 1)));
        assert!(
            [[0, 0, 0, 1], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]].into_iter().all(|from| !complained(&udp(from, 0)))
        );
    }

    #[test]
    fn the_client_hears_from_the_vip_and_finds_its_own_packet_quoted() {
        for payload in [0, 100, 1472] {
            let mut frame = Vec::new();
            PacketBuilder::ethernet2([1; 6], [2; 6])
                .ipv4([10, 0, 0, 1], [10, 0, 0, 10], 64)
                .udp(4000, 53)
                .write(&mut frame, &vec![7; payload])
                .unwrap();
            let mut buffer = [0; LONGEST_COMPLAINT];
            let len = complain(&frame, Complaint::TooBig(1480), VIP, &mut buffer).unwrap();
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
