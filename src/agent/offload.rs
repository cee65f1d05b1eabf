//! Checksums that the kernel has left open.
//!
//! Generic receive offload joins the segments in arriving tunnel packets (`ipip_gro_receive`), and a veth passes on
//! what its sender wanted a network card to finish. Either way the transport checksum of the inner packet then holds
//! the sum over the pseudo-header alone; the kernel remembers that it is to be trusted, but cannot say so to a raw
//! socket. Given back through a plain TUN device it would count as damaged. So it is finished here.

use crate::wire::ip::{self, Upper};
use crate::wire::{checksum, tcp, udp};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Finishes the transport checksum of a whole, checked packet, if it holds the pseudo-header's sum and nothing else.
///
/// One complete checksum in 65,536 looks that way by accident. It is right or wrong then as it was, if it was right;
/// a damaged packet would get by, as one in 65,536 gets by the checksum itself.
#[inline(always)]
pub fn finish_checksum(packet: &mut [u8]) {
    let (Some(header), Some(upper)) = (ip::Header::new(packet), Upper::of(packet)) else { return };
    let (checksum_at, transport_header_len) = match upper.protocol {
        TCP => (16, tcp::HEADER_LEN),
        UDP => (6, udp::HEADER_LEN),
        _ => return,
    };
    if upper.is_fragment() || packet.len() < upper.at + transport_header_len {
        return;
    }
    let at = upper.at + checksum_at;
    let len = (packet.len() - upper.at) as u16;
    // Not complemented, as it is left there.
    let open = !ip::pseudo_header(header.source(), header.destination(), upper.protocol, len).complement();
    if u16::from_be_bytes([packet[at], packet[at + 1]]) != open {
        return;
    }
    // The field's own value stands for the pseudo-header in this sum.
    let checksum = match (checksum::of(&packet[upper.at..]), upper.protocol) {
        // In UDP 0 says that there is none (RFC 768), or is wrong (RFC 8200 §8.1).
        (0, UDP) => 0xffff,
        (checksum, _) => checksum,
    };
    [packet[at], packet[at + 1]] = checksum.to_be_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    const SOURCE: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const DESTINATION: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];

    fn built(is_v6: bool, udp: bool, payload: &[u8]) -> Vec<u8> {
        let builder = match is_v6 {
            false => PacketBuilder::ipv4([192, 0, 2, 1], [20, 0, 0, 1], 64),
            true => PacketBuilder::ipv6(SOURCE, DESTINATION, 64),
        };
        let mut packet = Vec::new();
        if udp {
            builder.udp(4000, 53).write(&mut packet, payload).unwrap();
        } else {
            builder.tcp(4000, 80, 7, 1000).write(&mut packet, payload).unwrap();
        }
        packet
    }

    /// As the kernel leaves it, with `CHECKSUM_PARTIAL`: the sum over the pseudo-header by itself.
    fn left_open(mut packet: Vec<u8>, udp: bool) -> Vec<u8> {
        let is_v6 = packet[0] >> 4 == 6;
        let header_len = if is_v6 { 40 } else { 20 };
        let len = (packet.len() - header_len) as u16;
        let addresses = if is_v6 { &packet[8..40] } else { &packet[12..20] };
        let sum = etherparse::checksum::Sum16BitWords::new()
            .add_slice(addresses)
            .add_2bytes([0, if udp { 17 } else { 6 }])
            .add_2bytes(len.to_be_bytes());
        let at = header_len + if udp { 6 } else { 16 };
        packet[at..at + 2].copy_from_slice(&(!sum.ones_complement()).to_ne_bytes());
        packet
    }

    proptest! {
        #[test]
        fn an_open_checksum_is_finished_and_a_finished_one_is_left_alone(is_v6: bool, udp: bool, payload: Vec<u8>) {
            let whole = built(is_v6, udp, &payload);
            let mut packet = left_open(whole.clone(), udp);
            finish_checksum(&mut packet);
            prop_assert_eq!(&packet, &whole);
            finish_checksum(&mut packet);
            prop_assert_eq!(&packet, &whole);
        }

        #[test]
        fn damage_stays_recognisable(is_v6: bool, udp: bool, payload: [u8; 40], at in 0..40_usize, flip in 1..=255_u8) {
            let mut packet = built(is_v6, udp, &payload);
            // One complete checksum in 65,536 looks as if it was open.
            prop_assume!(packet != left_open(packet.clone(), udp));
            let at = packet.len() - 40 + at;
            packet[at] ^= flip;
            let damaged = packet.clone();
            finish_checksum(&mut packet);
            prop_assert_eq!(packet, damaged);
        }

        #[test]
        fn no_bytes_make_it_panic(mut packet: Vec<u8>) {
            finish_checksum(&mut packet);
        }
    }

    #[test]
    fn fragments_and_other_protocols_are_left_alone() {
        for (at, bytes) in [(6, [0x20, 0]), (6, [0, 5]), (8, [64, 132])] {
            let mut packet = left_open(built(false, false, b"hello"), false);
            packet[at..at + 2].copy_from_slice(&bytes);
            let before = packet.clone();
            finish_checksum(&mut packet);
            assert_eq!(packet, before);
        }
    }
}
