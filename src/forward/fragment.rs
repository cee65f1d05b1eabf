//! Cutting an IPv4 packet that may be cut and is too long (RFC 791 §3.2).

use crate::wire::{ethernet, ipv4};

/// The longest frame that can be cut: what one packet buffer holds.
const LONGEST_FRAME: usize = 2176;

/// Gives away the IPv4 packet in `frame` as fragments that fit into `mtu`, each as a whole frame. Options stay in the
/// first fragment only when all of them fit there; leat cuts nothing but its own outer headers, which have none.
///
/// Gives nothing when the frame is longer than a packet buffer, is no IPv4 packet, or `mtu` leaves no room for data.
pub fn fragment(frame: &[u8], mtu: usize, mut give: impl FnMut(&[u8])) {
    let Some((head, data)) = split(frame) else { return };
    // The length of all fragments but the last is a multiple of 8.
    let room = mtu.saturating_sub(head.len() - ethernet::HEADER_LEN) / 8 * 8;
    if room == 0 || frame.len() > LONGEST_FRAME {
        return;
    }
    let mut buffer = [0; LONGEST_FRAME];
    let count = data.len().div_ceil(room);
    for (index, piece) in data.chunks(room).enumerate() {
        let len = head.len() + piece.len();
        buffer[..head.len()].copy_from_slice(head);
        buffer[head.len()..len].copy_from_slice(piece);
        if let Some(mut ip) = ipv4::HeaderMut::new(&mut buffer[ethernet::HEADER_LEN..head.len()]) {
            ip.set_fragment((len - ethernet::HEADER_LEN) as u16, (index * room / 8) as u16, index + 1 < count);
        }
        give(&buffer[..len]);
    }
}

/// The headers, and what they carry.
fn split(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let packet = frame.get(ethernet::HEADER_LEN..)?;
    let ip = ipv4::Header::new(packet)?;
    let end = ethernet::HEADER_LEN + usize::from(ip.total_len());
    let start = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
    (ip.header_len() == ipv4::HEADER_LEN).then_some((frame.get(..start)?, frame.get(start..end)?))
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fragments_fit_and_come_together_again(len in 0usize..2000, mtu in 0usize..1600) {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut frame = Vec::new();
            PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([1, 2, 3, 4], [5, 6, 7, 8], 64).udp(1, 2).write(&mut frame, &payload).unwrap();
            frame[20] &= !0x40;
            let mut whole = Vec::new();
            let mut last = None;
            fragment(&frame, mtu, |piece| {
                let (ip, data) = etherparse::Ipv4Header::from_slice(&piece[14..]).unwrap();
                assert!(piece.len() - 14 <= mtu);
                assert_eq!(usize::from(ip.total_len), piece.len() - 14);
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                assert_eq!(usize::from(ip.fragment_offset.value()) * 8, whole.len());
                whole.extend_from_slice(data);
                last = Some(!ip.more_fragments);
            });
            if mtu >= 28 {
                prop_assert_eq!(&whole, &frame[34..]);
                prop_assert_eq!(last, Some(true));
            } else {
                prop_assert!(whole.is_empty());
            }
        }
    }
}
