//! Cutting a packet that may be cut and is too long (RFC 791 §3.2; RFC 8200 §4.5, where a translator is as good as a sender).

use crate::wire::ip::Fragment;
use crate::wire::{ethernet, ip, ipv4, ipv6};

/// The longest frame that can be cut: what one packet buffer holds.
pub const LONGEST_CUT: usize = 2176;

/// Gives away the packet in `frame` as fragments that fit into `mtu`, each as a whole frame. What is cut has no options, and of
/// extension headers a fragment header at most: a fragment becomes several. In IPv6 one that was whole gets `identification`; in
/// IPv4 each has its own already.
///
/// Gives nothing when the frame is longer than a packet buffer, is none that can be cut, or `mtu` leaves no room for data.
pub fn fragment(frame: &[u8], mtu: usize, identification: u32, mut give: impl FnMut(&[u8])) {
    let Some(Cuttable { head, is_v6, protocol, whole, data }) = Cuttable::of(frame, identification) else { return };
    let header_len = if is_v6 { ipv6::HEADER_LEN + ipv6::FRAGMENT_LEN } else { ipv4::HEADER_LEN };
    // The length of all fragments but the last is a multiple of 8.
    let room = mtu.saturating_sub(header_len) / 8 * 8;
    if room == 0 || frame.len() > LONGEST_CUT {
        return;
    }
    let mut buffer = [0; LONGEST_CUT];
    let start = ethernet::HEADER_LEN + header_len;
    let count = data.len().div_ceil(room);
    for (index, piece) in data.chunks(room).enumerate() {
        let len = start + piece.len();
        let (offset, more) = (whole.offset + (index * room) as u32, whole.more || index + 1 < count);
        let Some(place) = buffer.get_mut(start..len) else { return };
        place.copy_from_slice(piece);
        buffer[..head.len()].copy_from_slice(head);
        let network = &mut buffer[ethernet::HEADER_LEN..start];
        if is_v6 {
            ipv6::carry(network, protocol, piece.len() as u16);
            ipv6::insert_fragment(network, &Fragment { offset, more, ..whole });
        } else if let Some(mut ip) = ipv4::HeaderMut::new(network) {
            ip.set_fragment((header_len + piece.len()) as u16, (offset / 8) as u16, more);
        }
        give(&buffer[..len]);
    }
}

/// A packet that can be cut.
struct Cuttable<'a> {
    /// The headers of Ethernet and IP.
    head: &'a [u8],
    is_v6: bool,
    protocol: u8,
    /// Which piece it is itself.
    whole: Fragment,
    /// What it carries.
    data: &'a [u8],
}

impl<'a> Cuttable<'a> {
    fn of(frame: &'a [u8], identification: u32) -> Option<Self> {
        let packet = frame.get(ethernet::HEADER_LEN..)?;
        let header = ip::Header::new(packet)?;
        let upper = ip::Upper::of(packet)?;
        let is_v6 = matches!(header, ip::Header::V6(_));
        let header_len = if is_v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        let in_between = if is_v6 && upper.fragment.is_some() { ipv6::FRAGMENT_LEN } else { 0 };
        let data = packet.get(upper.at..header.packet_len())?;
        let whole = upper.fragment.unwrap_or(Fragment { offset: 0, more: false, identification });
        let head = frame.get(..ethernet::HEADER_LEN + header_len)?;
        (upper.at == header_len + in_between).then_some(Self { head, is_v6, protocol: upper.protocol, whole, data })
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    /// A datagram from an IPv4 host without DF, or from one of IPv6.
    fn datagram(is_v6: bool, len: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]);
        let builder = if is_v6 { builder.ipv6([1; 16], [2; 16], 64) } else { builder.ipv4([1; 4], [2; 4], 64) };
        let mut frame = Vec::new();
        builder.udp(1, 2).write(&mut frame, &payload).unwrap();
        if !is_v6 {
            frame[20] &= !0x40;
        }
        frame
    }

    /// What a fragment in IPv4 or IPv6 says of itself, and what it carries.
    fn read(frame: &[u8]) -> (usize, bool, u32, Vec<u8>) {
        if frame[12..14] == [0x86, 0xdd] {
            let (ip, rest) = etherparse::Ipv6Header::from_slice(&frame[14..]).unwrap();
            assert_eq!((usize::from(ip.payload_length), ip.next_header.0), (frame.len() - 54, 44));
            let (fragment, data) = etherparse::Ipv6FragmentHeader::from_slice(rest).unwrap();
            assert_eq!(fragment.next_header.0, 17);
            let offset = usize::from(fragment.fragment_offset.value()) * 8;
            return (offset, fragment.more_fragments, fragment.identification, data.to_vec());
        }
        let (ip, data) = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap();
        assert_eq!((usize::from(ip.total_len), ip.header_checksum), (frame.len() - 14, ip.calc_header_checksum()));
        let offset = usize::from(ip.fragment_offset.value()) * 8;
        (offset, ip.more_fragments, ip.identification.into(), data.to_vec())
    }

    fn cut(frame: &[u8], mtu: usize) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        fragment(frame, mtu, 7, |piece| pieces.push(piece.to_vec()));
        pieces
    }

    proptest! {
        /// Once, and what came of it once more, as on a way that grows narrower.
        #[test]
        fn fragments_fit_and_come_together_again(is_v6: bool, len in 0usize..2000, mtu in 0usize..1600, less in 0usize..400) {
            let frame = datagram(is_v6, len);
            let start = if is_v6 { 54 } else { 34 };
            let least = if is_v6 { 56 } else { 28 };
            let pieces = cut(&frame, mtu);
            prop_assert_eq!(pieces.is_empty(), mtu < least);
            let narrow = mtu.saturating_sub(less).max(least);
            let again: Vec<_> = pieces.iter().flat_map(|piece| cut(piece, narrow)).collect();
            for (pieces, mtu) in [(&pieces, mtu), (&again, narrow)] {
                let mut whole = Vec::new();
                for (number, piece) in pieces.iter().enumerate() {
                    let (offset, more, identification, data) = read(piece);
                    prop_assert!(piece.len() - 14 <= mtu);
                    prop_assert_eq!((offset, more), (whole.len(), number + 1 < pieces.len()));
                    prop_assert_eq!(identification, if is_v6 { 7 } else { 0 });
                    whole.extend(data);
                }
                prop_assert!(pieces.is_empty() || whole == frame[start..]);
            }
        }
    }
}
