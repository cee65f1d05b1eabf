//! Packets that answer packets, written over them: the backends' half, and the clients' half of a whole TCP connection.
//!
//! Nobody remembers anything. Each side's next segment follows from the one that it answers (RFC 9293 §3.4): its sequence
//! number is the other's acknowledgement, its acknowledgement the end of the other's segment. The payload, with the stamp
//! in it, goes back and forth unchanged.
//!
//! ```text
//!  client                              backend
//!    │ SYN, payload ───────────────────▶ │
//!    │ ◀──────────── SYN ACK, payload    │  [`echo`]
//!    │ PSH ACK, payload ───────────────▶ │  [`next`]
//!    │ ◀──────────── PSH ACK, payload    │
//!    │ FIN ACK, payload ───────────────▶ │
//!    │ ◀──────────── FIN ACK, payload    │
//!    │ ACK ────────────────────────────▶ │  nothing to answer
//! ```

use super::plan::Protocol;
use crate::wire::checksum::Delta;
use crate::wire::ethernet::{self, MacAddr};
use crate::wire::tcp::{self, Flags};
use crate::wire::{ipv4, udp};

/// What separates a backend's first sequence number from its client's.
const BACKEND_OFFSET: u32 = 0x4000_0000;

/// The first sequence number of the backend that a client with this one talks to, if the backend is [`echo`].
#[inline(always)]
pub const fn backend_sequence(client: u32) -> u32 {
    client.wrapping_add(BACKEND_OFFSET)
}

/// How a client goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The frame is now the next one to send, and an answer to it is expected.
    Send,
    /// The frame is now the last one of its connection, to be sent; it is this many bytes long. Nothing answers it.
    SendLast(usize),
    /// There is nothing to say.
    Nothing,
}

/// Turns `frame`, an Ethernet frame with an IPv4 packet of TCP or UDP for a backend, into the backend's answer. `false`,
/// and the frame may be half done, when it deserves none: an acknowledgement without more, a RST, or what is not whole.
///
/// A damaged packet stays damaged: checksums are only adjusted.
#[inline]
pub fn echo(frame: &mut [u8]) -> bool {
    let Some((ip_len, segment)) = turn_round(frame) else { return false };
    let Some((ip, transport)) = frame[ethernet::HEADER_LEN..].split_at_mut_checked(ip_len) else { return false };
    let (true, Some(ip)) = (swap_ports(transport), ipv4::Header::new(ip)) else { return false };
    if ip.protocol() != TCP {
        return true;
    }
    let (Some(mut header), Some(segment)) = (tcp::HeaderMut::new(transport), segment) else { return false };
    if segment.flags.contains(Flags::RST) || !segment.flags.intersects(CALLS) {
        return false;
    }
    let is_syn = segment.flags.contains(Flags::SYN);
    let sequence = if is_syn { backend_sequence(segment.sequence) } else { segment.acknowledgment };
    header.set_numbers(sequence, segment.end(), Flags(segment.flags.0 | Flags::ACK.0));
    true
}

/// Turns `frame`, a frame with a backend's answer to a client, into the client's next one.
#[inline]
pub fn next(frame: &mut [u8]) -> Next {
    let Some((ip_len, Some(segment))) = turn_round(frame) else { return Next::Nothing };
    let Some((ip, transport)) = frame[ethernet::HEADER_LEN..].split_at_mut_checked(ip_len) else {
        return Next::Nothing;
    };
    if !swap_ports(transport) {
        return Next::Nothing;
    }
    let Some(mut header) = tcp::HeaderMut::new(transport) else { return Next::Nothing };
    let flags = segment.flags;
    if flags.contains(Flags::RST) || !flags.contains(Flags::ACK) || !flags.intersects(CALLS) {
        return Next::Nothing;
    }
    let (answer, is_last) = if flags.contains(Flags::SYN) {
        (Flags::PSH.or(Flags::ACK), false)
    } else if flags.contains(Flags::FIN) {
        (Flags::ACK, true)
    } else {
        (Flags::FIN.or(Flags::ACK), false)
    };
    header.set_numbers(segment.acknowledgment, segment.end(), answer);
    if !is_last {
        return Next::Send;
    }
    // Without the payload, or the backend would have something to answer.
    let (_, payload) = transport.split_at_mut(segment.header_len);
    let payload = &mut payload[..usize::from(segment.payload_len)];
    let shorter = Delta::NONE.replace(segment.payload_len, 0);
    let without = payload.chunks(2).fold(shorter, |delta, word| {
        delta.replace(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]), 0)
    });
    payload.fill(0);
    if let Some(mut header) = tcp::HeaderMut::new(transport) {
        // The pseudo-header's length is that of the segment.
        header.adjust_checksum(without);
    }
    set_total_len(ip, ip_len + segment.header_len);
    Next::SendLast((ethernet::HEADER_LEN + ip_len + segment.header_len).max(SHORTEST_FRAME))
}

const TCP: u8 = Protocol::Tcp.number();
const UDP: u8 = Protocol::Udp.number();

/// The control bits that ask for an answer.
const CALLS: Flags = Flags::SYN.or(Flags::FIN).or(Flags::PSH);

/// Bytes of the shortest frame, without check sequence.
const SHORTEST_FRAME: usize = 60;

/// What a TCP segment said before it was changed.
struct Segment {
    sequence: u32,
    acknowledgment: u32,
    flags: Flags,
    header_len: usize,
    payload_len: u16,
}

impl Segment {
    /// The number behind its last (RFC 9293 §3.4: SYN and FIN take one each).
    #[inline(always)]
    fn end(&self) -> u32 {
        let controls = u32::from(self.flags.contains(Flags::SYN)) + u32::from(self.flags.contains(Flags::FIN));
        self.sequence.wrapping_add(u32::from(self.payload_len)).wrapping_add(controls)
    }
}

/// Exchanges the Ethernet and the IPv4 addresses. Returns the length of the IPv4 header, and what stands in the TCP
/// header if there is one.
#[inline(always)]
fn turn_round(frame: &mut [u8]) -> Option<(usize, Option<Segment>)> {
    let header = ethernet::Header::new(frame)?;
    let (destination, source): (MacAddr, MacAddr) = (header.source(), header.destination());
    ethernet::HeaderMut::new(frame)?.set_addresses(destination, source);
    let packet = frame.get_mut(ethernet::HEADER_LEN..)?;
    let ip = ipv4::Header::new(packet)?;
    let (ip_len, total_len, protocol) = (ip.header_len(), usize::from(ip.total_len()), ip.protocol());
    if ip_len < ipv4::HEADER_LEN || ip.is_fragment() || !matches!(protocol, TCP | UDP) {
        return None;
    }
    let transport = packet.get(ip_len..total_len)?;
    let segment = if protocol == TCP {
        let header = tcp::Header::new(transport)?;
        let header_len = header.header_len();
        let payload_len = transport.len().checked_sub(header_len.max(tcp::HEADER_LEN))? as u16;
        let (sequence, acknowledgment) = (header.sequence(), header.acknowledgment());
        Some(Segment { sequence, acknowledgment, flags: header.flags(), header_len, payload_len })
    } else {
        udp::Header::new(transport)?;
        None
    };
    // A sum does not depend on the order of what is summed, so no checksum changes.
    let (source, destination) = packet.get_mut(12..20)?.split_at_mut(4);
    source.swap_with_slice(destination);
    Some((ip_len, segment))
}

#[inline(always)]
fn swap_ports(transport: &mut [u8]) -> bool {
    let Some(&mut [ref mut a, ref mut b, ref mut c, ref mut d]) = transport.first_chunk_mut::<4>() else {
        return false;
    };
    std::mem::swap(a, c);
    std::mem::swap(b, d);
    true
}

fn set_total_len(ip: &mut [u8], total_len: usize) {
    if let Some(bytes) = ip.first_chunk_mut::<{ ipv4::HEADER_LEN }>() {
        let old = u16::from_be_bytes([bytes[2], bytes[3]]);
        let checksum = u16::from_be_bytes([bytes[10], bytes[11]]);
        let checksum = Delta::NONE.replace(old, total_len as u16).apply(checksum);
        bytes[2..4].copy_from_slice(&(total_len as u16).to_be_bytes());
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::generate::flows::{Client, Flows};
    use crate::generate::frame::tests::{KEY, destination, frame};
    use crate::generate::judge::{Judge, Verdict, Way};
    use crate::wire::checksum;

    /// Makes lengths and checksums right after a change on purpose.
    pub(in crate::generate) fn fix(frame: &mut [u8]) {
        let len = (frame.len() - 14) as u16;
        frame[16..18].copy_from_slice(&len.to_be_bytes());
        frame[24..26].fill(0);
        let sum = checksum::of(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        let ip = ipv4::Header::new(&frame[14..]).unwrap();
        let pseudo = checksum::pseudo_header(ip.source(), ip.destination(), 6, len - 20);
        frame[50..52].fill(0);
        let sum = pseudo.and_bytes(&frame[34..]).complement();
        frame[50..52].copy_from_slice(&sum.to_be_bytes());
    }

    fn flows() -> Flows {
        Flows::new("198.18.0.0/24".parse().unwrap(), 1024, 2047, 1000).unwrap()
    }

    fn judge(protocol: Protocol, frame: &[u8], way: Way) -> Verdict {
        let to = destination(protocol);
        Judge { flows: flows(), address: to.address, port: to.port, protocol, key: KEY }.judge(&frame[14..], way)
    }

    fn client() -> Client {
        flows().client(9)
    }

    #[test]
    fn what_a_backend_echoes_comes_back_right() {
        for (protocol, len) in [(Protocol::Tcp, 60), (Protocol::Tcp, 1514), (Protocol::Udp, 60), (Protocol::Udp, 591)] {
            let mut frame = frame(protocol, len, client(), 9, Flags::PSH.or(Flags::ACK));
            assert!(echo(&mut frame));
            let verdict = judge(protocol, &frame, Way::ToClient);
            assert!(matches!(verdict, Verdict::Right { flow: 9, .. }), "{protocol:?} {len}: {verdict:?}");
            assert_eq!(frame[..12], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xfe]);
        }
    }

    #[test]
    fn a_damaged_packet_comes_back_damaged() {
        let mut frame = frame(Protocol::Udp, 60, client(), 9, Flags(0));
        frame[50] ^= 1;
        assert!(echo(&mut frame));
        assert_eq!(judge(Protocol::Udp, &frame, Way::ToClient), Verdict::Corrupt);
    }

    /// Flags, sequence and acknowledgement relative to both sides' first numbers, and bytes of payload.
    fn seen(frame: &[u8], from_client: bool) -> (String, u32, u32, usize) {
        let total_len = usize::from(ipv4::Header::new(&frame[14..]).unwrap().total_len());
        let header = tcp::Header::new(&frame[34..]).unwrap();
        let (client, backend) = (1000, backend_sequence(1000));
        let (own, other) = if from_client { (client, backend) } else { (backend, client) };
        let acknowledgment = if header.acknowledgment() == 0 { 0 } else { header.acknowledgment().wrapping_sub(other) };
        (header.flags().to_string(), header.sequence().wrapping_sub(own), acknowledgment, total_len - 40)
    }

    #[test]
    fn a_whole_connection_follows_from_its_first_segment() {
        let mut frame = frame(Protocol::Tcp, 60, client(), 9, Flags::SYN);
        let mut conversation = vec![seen(&frame, true)];
        let end = loop {
            assert!(echo(&mut frame));
            let verdict = judge(Protocol::Tcp, &frame, Way::ToClient);
            assert!(matches!(verdict, Verdict::Right { flow: 9, .. }), "{conversation:?}: {verdict:?}");
            conversation.push(seen(&frame, false));
            let next = next(&mut frame);
            conversation.push(seen(&frame, true));
            if next != Next::Send {
                break next;
            }
            assert!(matches!(judge(Protocol::Tcp, &frame, Way::ToService), Verdict::Right { .. }));
        };
        assert_eq!(end, Next::SendLast(60));
        let rows = [
            ("S", 0, 0, 6),
            ("S.", 0, 7, 6),
            ("P.", 7, 7, 6),
            ("P.", 7, 13, 6),
            ("F.", 13, 13, 6),
            ("F.", 13, 20, 6),
            (".", 20, 20, 0),
        ];
        assert_eq!(conversation, rows.map(|(flags, seq, ack, len)| (flags.to_owned(), seq, ack, len)));
        let parsed = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
        let (Some(etherparse::NetSlice::Ipv4(ip)), Some(etherparse::TransportSlice::Tcp(tcp))) =
            (parsed.net, parsed.transport)
        else {
            panic!("no TCP")
        };
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!(Ok(tcp.checksum()), tcp.to_header().calc_checksum_ipv4(&header, tcp.payload()));
        assert!(!echo(&mut frame.clone()), "the last acknowledgement is not answered");
    }

    #[test]
    fn what_deserves_no_answer_gets_none() {
        for flags in [Flags::ACK, Flags::RST, Flags::RST.or(Flags::ACK), Flags(0)] {
            let mut frame = frame(Protocol::Tcp, 60, client(), 9, flags);
            assert!(!echo(&mut frame.clone()), "{flags}");
            assert_eq!(next(&mut frame), Next::Nothing, "{flags}");
        }
        let whole = frame(Protocol::Tcp, 60, client(), 9, Flags::SYN);
        for len in 0..60 {
            assert!(!echo(&mut whole.clone()[..len]), "{len} bytes");
            assert_eq!(next(&mut whole.clone()[..len]), Next::Nothing, "{len} bytes");
        }
        let mut udp = frame(Protocol::Udp, 60, client(), 9, Flags(0));
        assert_eq!(next(&mut udp), Next::Nothing);
    }
}
