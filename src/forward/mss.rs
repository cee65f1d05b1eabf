//! Lowering the maximum segment size that a SYN announces (RFC 9293 §3.7.1), so that what comes back needs no
//! fragments on its way.

use crate::wire::{checksum::Delta, tcp};

/// Kind and length of the option.
const MSS: [u8; 2] = [2, 4];

/// Lowers the MSS that the SYN with the TCP header at `transport` in `frame` announces to `most`. A SYN that announces
/// none, which means 536, is left alone.
pub fn clamp(frame: &mut [u8], transport: usize, most: u16) {
    let Some(segment) = frame.get_mut(transport..) else { return };
    let Some(header_len) = tcp::Header::new(segment).map(tcp::Header::header_len) else { return };
    let Some(header) = segment.get_mut(..header_len) else { return };
    let Some(at) = tcp::option(header, MSS[0]).filter(|at| header[*at + 1] == MSS[1]) else { return };
    let at = at + 2;
    let old = u16::from_be_bytes([header[at], header[at + 1]]);
    if old <= most {
        return;
    }
    header[at..at + 2].copy_from_slice(&most.to_be_bytes());
    // A word at an odd offset counts with its bytes swapped (RFC 1071 §2, "byte order independence").
    let delta = match at % 2 {
        0 => Delta::NONE.replace(old, most),
        _ => Delta::NONE.replace(old.swap_bytes(), most.swap_bytes()),
    };
    if let Some(mut header) = tcp::HeaderMut::new(header) {
        header.adjust_checksum(delta);
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};

    use super::*;

    fn clamped(options: &[TcpOptionElement], most: u16) -> (Option<u16>, bool) {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1, 2, 3, 4)
            .syn()
            .options(options)
            .unwrap()
            .write(&mut frame, b"")
            .unwrap();
        clamp(&mut frame, 34, most);
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (&packet.net, &packet.transport) else {
            panic!("{packet:?}")
        };
        let mss = tcp.options_iterator().find_map(|option| match option {
            Ok(TcpOptionElement::MaximumSegmentSize(mss)) => Some(mss),
            _ => None,
        });
        let right = tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap();
        (mss, tcp.checksum() == right)
    }

    #[test]
    fn a_larger_mss_is_lowered_wherever_it_stands_and_a_smaller_one_stays() {
        use TcpOptionElement::{MaximumSegmentSize, Noop, SelectiveAcknowledgementPermitted, WindowScale};
        let rows: [(&[TcpOptionElement], u16, Option<u16>); 5] = [
            (&[MaximumSegmentSize(1460)], 1400, Some(1400)),
            (&[MaximumSegmentSize(1300)], 1400, Some(1300)),
            (&[Noop, MaximumSegmentSize(1460)], 1400, Some(1400)),
            (&[SelectiveAcknowledgementPermitted, WindowScale(7), MaximumSegmentSize(1460)], 536, Some(536)),
            (&[WindowScale(7)], 1400, None),
        ];
        for (options, most, expected) in rows {
            assert_eq!(clamped(options, most), (expected, true), "{options:?}");
        }
    }
}
