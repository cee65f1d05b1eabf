//! An independent judge of what leat sends: etherparse.

use etherparse::{Ipv4Header, Ipv6Header, SlicedPacket, TransportSlice};

/// Whether the checksum of the IPv4 header at the start of `packet` is right, by etherparse's sum over its bytes: a header that etherparse
/// has read does not keep the reserved flag.
pub fn header_checksum_is_right(packet: &[u8]) -> bool {
    let len = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
    let header = packet.get(..len).unwrap_or_default();
    !header.is_empty() && sum_is_right(header)
}

/// Whether bytes that hold a checksum over all of them add up, as etherparse adds.
fn sum_is_right(bytes: &[u8]) -> bool {
    etherparse::checksum::Sum16BitWords::new().add_slice(bytes).ones_complement() == 0
}

/// Insists that a frame which leat sent is one that others take: with right checksums, those of the transport too where all that
/// came in had such.
pub(crate) fn check(frame: &[u8], is_sound: bool) {
    if frame[14] >> 4 == 6 {
        return check_v6(frame, is_sound);
    }
    let Ok((ip, payload)) = Ipv4Header::from_slice(&frame[14..]) else { panic!("leat has sent no IPv4: {frame:02x?}") };
    assert!(header_checksum_is_right(&frame[14..]), "{frame:02x?}");
    assert!(usize::from(ip.total_len) + 14 <= frame.len());
    let is_fragment = ip.more_fragments || ip.fragment_offset.value() != 0;
    if !is_sound || is_fragment {
        return;
    }
    if matches!(ip.protocol.0, 4 | 41) {
        let inner = [&frame[..14], payload].concat();
        return check(&inner, is_sound);
    }
    let packet = SlicedPacket::from_ethernet(frame).unwrap_or_else(|error| panic!("{error}: {frame:02x?}"));
    let right = match packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            tcp.checksum() == tcp.calc_checksum_ipv4(ip.source, ip.destination).unwrap_or(0)
        }
        Some(TransportSlice::Udp(udp)) => {
            udp.checksum() == 0 || udp.checksum() == udp.to_header().calc_checksum_ipv4(&ip, udp.payload()).unwrap_or(0)
        }
        // Not what etherparse makes of its type: that does not keep unused bytes.
        Some(TransportSlice::Icmpv4(_)) => sum_is_right(&payload[..usize::from(ip.total_len) - ip.header_len()]),
        _ => true,
    };
    assert!(right, "a wrong checksum: {frame:02x?}");
}

/// The same for a packet of IPv6.
fn check_v6(frame: &[u8], is_sound: bool) {
    let Ok((ip, payload)) = Ipv6Header::from_slice(&frame[14..]) else { panic!("leat has sent no IPv6: {frame:02x?}") };
    let end = 54 + usize::from(ip.payload_length);
    assert!(end <= frame.len());
    if !is_sound {
        return;
    }
    if matches!(ip.next_header.0, 4 | 41) {
        let inner = [&frame[..14], payload].concat();
        return check(&inner, is_sound);
    }
    // With Ethernet's padding etherparse might take more for payload.
    let packet = SlicedPacket::from_ip(&frame[14..end]).unwrap_or_else(|error| panic!("{error}: {frame:02x?}"));
    let right = match packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            tcp.checksum() == tcp.calc_checksum_ipv6(ip.source, ip.destination).unwrap_or(0)
        }
        Some(TransportSlice::Udp(udp)) => {
            udp.checksum() == udp.to_header().calc_checksum_ipv6(&ip, udp.payload()).unwrap_or(0)
        }
        Some(TransportSlice::Icmpv6(icmp)) => icmp.is_checksum_valid(ip.source, ip.destination),
        _ => true,
    };
    assert!(right, "a wrong checksum: {frame:02x?}");
}
