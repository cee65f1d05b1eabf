//! The RST that a TCP segment is answered with where nobody is there any more.

use crate::io::Packet;
use crate::wire::{ethernet, ip, tcp};

/// The time to live of what leat itself says (RFC 1700).
const TTL: u8 = 64;

/// IANA protocol number of TCP.
const TCP: u8 = 6;

/// The longest IP packet of an answer.
const LONGEST: usize = ip::LONGEST_HEADER + tcp::HEADER_LEN;

/// Turns the TCP segment in `packet`, whose TCP header is at `transport` and which is followed by `payload_len` bytes, into
/// the RST that answers it (RFC 9293 §3.10.7.1), from whom it was to. Its Ethernet addresses are still to be set. Nothing
/// happens to a RST, which is never answered, or to what has no room; the answer says so.
pub fn reset<P: Packet>(packet: &mut P, transport: usize, payload_len: usize) -> bool {
    let mut answer = [0; LONGEST];
    let Some(len) = write(packet.data(), transport, payload_len, &mut answer) else { return false };
    let len = ethernet::HEADER_LEN + len;
    let Some(frame) = packet.data_mut().get_mut(ethernet::HEADER_LEN..len) else { return false };
    frame.copy_from_slice(&answer[..len - ethernet::HEADER_LEN]);
    packet.truncate(len);
    true
}

/// Writes the answer's IP packet, and returns its length.
fn write(frame: &[u8], transport: usize, payload_len: usize, answer: &mut [u8; LONGEST]) -> Option<usize> {
    let ip = frame.get(ethernet::HEADER_LEN..).and_then(ip::Header::new)?;
    let segment = frame.get(transport..).and_then(tcp::Header::new)?;
    let flags = segment.flags();
    if flags.contains(tcp::Flags::RST) {
        return None;
    }
    let (sequence, acknowledgment, answer_flags) = if flags.contains(tcp::Flags::ACK) {
        (segment.acknowledgment(), 0, tcp::Flags::RST)
    } else {
        // SYN and FIN count as a byte each.
        let controls = [tcp::Flags::SYN, tcp::Flags::FIN].into_iter().filter(|flag| flags.contains(*flag)).count();
        let len = (payload_len + controls) as u32;
        (0, segment.sequence().wrapping_add(len), tcp::Flags::RST.or(tcp::Flags::ACK))
    };
    let fields = ip::Fields {
        source: ip.destination(),
        destination: ip.source(),
        protocol: TCP,
        hops: TTL,
        payload_len: tcp::HEADER_LEN as u16,
        traffic_class: 0,
    };
    let header_len = fields.write(answer);
    let message = answer[header_len..].first_chunk_mut()?;
    let ports = (segment.destination_port(), segment.source_port());
    tcp::write(message, ports, (sequence, acknowledgment), answer_flags, 0);
    let sum = fields.pseudo_header().and_bytes(message).complement();
    message[16..18].copy_from_slice(&sum.to_be_bytes());
    Some(header_len + tcp::HEADER_LEN)
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

    use super::*;
    use crate::io::memory::Frame;

    /// Sequence and acknowledgment numbers and whether there is an ACK, of the RST that answers a segment with these flags.
    fn answered(flags: &str, payload: &[u8]) -> Option<(u32, u32, bool)> {
        let mut tcp = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 10], 9)
            .tcp(40000, 80, 1000, 500);
        for flag in flags.chars() {
            tcp = match flag {
                'S' => tcp.syn(),
                'A' => tcp.ack(7777),
                'F' => tcp.fin(),
                _ => tcp.rst(),
            };
        }
        let mut bytes = Vec::new();
        tcp.write(&mut bytes, payload).unwrap();
        let mut packet = Frame::new(bytes, crate::id::PortId(0));
        reset(&mut packet, 34, payload.len()).then(|| {
            let answer = packet.data().to_vec();
            let whole = SlicedPacket::from_ethernet(&answer).unwrap();
            let Some(etherparse::NetSlice::Ipv4(ip)) = &whole.net else { panic!("{whole:?}") };
            assert_eq!((ip.header().source(), ip.header().destination()), ([10, 0, 0, 10], [10, 0, 0, 1]));
            let Some(TransportSlice::Tcp(tcp)) = &whole.transport else { panic!("{whole:?}") };
            assert_eq!((tcp.source_port(), tcp.destination_port(), tcp.rst()), (80, 40000, true));
            assert_eq!(tcp.calc_checksum_ipv4([10, 0, 0, 10], [10, 0, 0, 1]).unwrap(), tcp.checksum());
            assert_eq!(crate::wire::checksum::of(&answer[14..34]), 0);
            (tcp.sequence_number(), tcp.acknowledgment_number(), tcp.ack())
        })
    }

    #[test]
    fn the_rst_is_one_that_the_sender_believes() {
        assert_eq!(answered("A", b"hello"), Some((7777, 0, false)));
        assert_eq!(answered("AF", b""), Some((7777, 0, false)));
        assert_eq!(answered("S", b""), Some((0, 1001, true)));
        assert_eq!(answered("F", b"abc"), Some((0, 1004, true)));
        assert_eq!(answered("RA", b""), None);
        assert_eq!(answered("R", b""), None);
    }
}
