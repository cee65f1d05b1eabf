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
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::tcp::{self, Flags};
use crate::wire::{ipv4, ipv6, udp};

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

/// Turns `frame`, an Ethernet frame with an IPv4 or IPv6 packet of TCP or UDP for a backend, into the backend's answer. `false`,
/// and the frame may be half done, when it deserves none: an acknowledgement without more, a RST, or what is not whole.
///
/// A damaged packet stays damaged: checksums are only adjusted.
#[inline]
pub fn echo(frame: &mut [u8]) -> bool {
    let Some((transport, segment)) = turn_round(frame) else { return false };
    let Some(transport) = frame.get_mut(transport..) else { return false };
    if !swap_ports(transport) {
        return false;
    }
    // UDP is done with.
    let Some(segment) = segment else { return true };
    let Some(mut header) = tcp::HeaderMut::new(transport) else { return false };
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
    let Some((transport_at, Some(segment))) = turn_round(frame) else { return Next::Nothing };
    let Some((head, transport)) = frame.split_at_mut_checked(transport_at) else { return Next::Nothing };
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
    let end = transport_at + segment.header_len;
    set_packet_len(head, end - ethernet::HEADER_LEN);
    Next::SendLast(end.max(SHORTEST_FRAME))
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

/// Exchanges the Ethernet and the IP addresses. Returns where in the frame the transport header begins, and what stands in it
/// if it is TCP's.
#[inline(always)]
fn turn_round(frame: &mut [u8]) -> Option<(usize, Option<Segment>)> {
    let header = ethernet::Header::new(frame)?;
    let (destination, source): (MacAddr, MacAddr) = (header.source(), header.destination());
    let is_v6 = header.ether_type() == EtherType::IPV6;
    ethernet::HeaderMut::new(frame)?.set_addresses(destination, source);
    let packet = frame.get_mut(ethernet::HEADER_LEN..)?;
    let Carried { protocol, at, end } = if is_v6 { carried_v6(packet)? } else { carried_v4(packet)? };
    let transport = packet.get(at..end)?;
    let segment = match protocol {
        TCP => {
            let header = tcp::Header::new(transport)?;
            let header_len = header.header_len();
            let payload_len = transport.len().checked_sub(header_len.max(tcp::HEADER_LEN))? as u16;
            let (sequence, acknowledgment) = (header.sequence(), header.acknowledgment());
            Some(Segment { sequence, acknowledgment, flags: header.flags(), header_len, payload_len })
        }
        UDP => {
            udp::Header::new(transport)?;
            None
        }
        _ => return None,
    };
    // A sum does not depend on the order of what is summed, so no checksum changes.
    if is_v6 {
        swap_halves(packet.get_mut(8..40)?)
    } else {
        swap_halves(packet.get_mut(12..20)?)
    }
    Some((ethernet::HEADER_LEN + at, segment))
}

/// What stands behind the headers of a packet.
struct Carried {
    protocol: u8,
    /// From where.
    at: usize,
    /// To where.
    end: usize,
}

#[inline(always)]
fn carried_v4(packet: &[u8]) -> Option<Carried> {
    let ip = ipv4::Header::new(packet)?;
    let carried = Carried { protocol: ip.protocol(), at: ip.header_len(), end: usize::from(ip.total_len()) };
    (carried.at >= ipv4::HEADER_LEN && !ip.is_fragment()).then_some(carried)
}

#[inline(always)]
fn carried_v6(packet: &[u8]) -> Option<Carried> {
    let upper = ipv6::upper(packet).ok().filter(|upper| !upper.is_fragment())?;
    let end = ipv6::HEADER_LEN + usize::from(ipv6::Header::new(packet)?.payload_len());
    Some(Carried { protocol: upper.protocol, at: upper.at, end })
}

#[inline(always)]
fn swap_halves(addresses: &mut [u8]) {
    let (source, destination) = addresses.split_at_mut(addresses.len() / 2);
    source.swap_with_slice(destination);
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

/// Sets the length of the packet whose frame begins with `head`, that of its headers with it.
fn set_packet_len(head: &mut [u8], len: usize) {
    let Some((ethernet, ip)) = head.split_first_chunk_mut::<{ ethernet::HEADER_LEN }>() else { return };
    if ethernet::Header::new(ethernet).is_some_and(|header| header.ether_type() == EtherType::IPV6) {
        if let Some(mut header) = ipv6::HeaderMut::new(ip) {
            header.set_payload_len((len - ipv6::HEADER_LEN) as u16);
        }
    } else if let Some(mut header) = ipv4::HeaderMut::new(ip) {
        header.set_total_len(len as u16);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::generate::frame::tests::{BOTH, Ip, KEY, destination, frame};
    use crate::generate::judge::{Judge, Verdict, Way};
    use crate::wire::{checksum, ip::pseudo_header};
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    /// Makes lengths and checksums of a TCP segment right after a change on purpose.
    pub(in crate::generate) fn fix(ip: Ip, frame: &mut [u8]) {
        let at = ip.transport();
        let len = (frame.len() - at) as u16;
        if ip == Ip::V4 {
            frame[16..18].copy_from_slice(&(len + 20).to_be_bytes());
            frame[24..26].fill(0);
            let sum = checksum::of(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        } else {
            frame[18..20].copy_from_slice(&len.to_be_bytes());
        }
        let header = crate::wire::ip::Header::new(&frame[14..]).unwrap();
        let pseudo = pseudo_header(header.source(), header.destination(), 6, len);
        frame[at + 16..at + 18].fill(0);
        let sum = pseudo.and_bytes(&frame[at..]).complement();
        frame[at + 16..at + 18].copy_from_slice(&sum.to_be_bytes());
    }

    fn judge(ip: Ip, protocol: Protocol, frame: &[u8], way: Way) -> Verdict {
        let to = destination(ip, protocol);
        let judge = Judge { flows: ip.flows(1000), address: to.address, port: to.port, protocol, key: KEY };
        judge.judge(&frame[14..], way)
    }

    #[test]
    fn what_a_backend_echoes_comes_back_right() {
        for ip in BOTH {
            let shortest = ip.shortest();
            for (protocol, len) in
                [(Protocol::Tcp, shortest), (Protocol::Tcp, 1514), (Protocol::Udp, shortest), (Protocol::Udp, 591)]
            {
                let mut frame = frame(ip, protocol, len, 9, Flags::PSH.or(Flags::ACK));
                assert!(echo(&mut frame));
                let verdict = judge(ip, protocol, &frame, Way::ToClient);
                assert!(matches!(verdict, Verdict::Right { flow: 9, .. }), "{ip:?} {protocol:?} {len}: {verdict:?}");
                assert_eq!(frame[..12], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xfe]);
            }
        }
    }

    #[test]
    fn a_damaged_packet_comes_back_damaged() {
        for ip in BOTH {
            let mut frame = frame(ip, Protocol::Udp, ip.shortest(), 9, Flags(0));
            frame[ip.transport() + 16] ^= 1;
            assert!(echo(&mut frame));
            assert_eq!(judge(ip, Protocol::Udp, &frame, Way::ToClient), Verdict::Corrupt);
        }
    }

    /// Flags, sequence and acknowledgement relative to both sides' first numbers, and bytes of payload.
    fn seen(ip: Ip, frame: &[u8], from_client: bool) -> (String, u32, u32, usize) {
        let packet_len = crate::wire::ip::Header::new(&frame[14..]).unwrap().packet_len();
        let header = tcp::Header::new(&frame[ip.transport()..]).unwrap();
        let (client, backend) = (1000, backend_sequence(1000));
        let (own, other) = if from_client { (client, backend) } else { (backend, client) };
        let acknowledgment = if header.acknowledgment() == 0 { 0 } else { header.acknowledgment().wrapping_sub(other) };
        let payload_len = packet_len + 14 - ip.transport() - 20;
        (header.flags().to_string(), header.sequence().wrapping_sub(own), acknowledgment, payload_len)
    }

    #[test]
    fn a_whole_connection_follows_from_its_first_segment() {
        for ip in BOTH {
            let mut frame = frame(ip, Protocol::Tcp, ip.shortest(), 9, Flags::SYN);
            let mut conversation = vec![seen(ip, &frame, true)];
            let end = loop {
                assert!(echo(&mut frame));
                let verdict = judge(ip, Protocol::Tcp, &frame, Way::ToClient);
                assert!(matches!(verdict, Verdict::Right { flow: 9, .. }), "{conversation:?}: {verdict:?}");
                conversation.push(seen(ip, &frame, false));
                let next = next(&mut frame);
                conversation.push(seen(ip, &frame, true));
                if next != Next::Send {
                    break next;
                }
                assert!(matches!(judge(ip, Protocol::Tcp, &frame, Way::ToService), Verdict::Right { .. }));
            };
            let Next::SendLast(len) = end else { panic!("{end:?}") };
            assert_eq!(len, (ip.transport() + 20).max(60));
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
            let parsed = SlicedPacket::from_ethernet(&frame[..len]).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = parsed.transport else { panic!("no TCP") };
            let expected = match parsed.net.unwrap() {
                NetSlice::Ipv4(ip) => {
                    let header = ip.header().to_header();
                    assert_eq!(header.header_checksum, header.calc_header_checksum());
                    tcp.to_header().calc_checksum_ipv4(&header, tcp.payload())
                }
                NetSlice::Ipv6(ip) => tcp.to_header().calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()),
                other => panic!("{other:?}"),
            };
            assert_eq!(Ok(tcp.checksum()), expected);
            assert!(!echo(&mut frame.clone()), "the last acknowledgement is not answered");
        }
    }

    #[test]
    fn what_deserves_no_answer_gets_none() {
        for ip in BOTH {
            let shortest = ip.shortest();
            for flags in [Flags::ACK, Flags::RST, Flags::RST.or(Flags::ACK), Flags(0)] {
                let mut frame = frame(ip, Protocol::Tcp, shortest, 9, flags);
                assert!(!echo(&mut frame.clone()), "{flags}");
                assert_eq!(next(&mut frame), Next::Nothing, "{flags}");
            }
            let whole = frame(ip, Protocol::Tcp, shortest, 9, Flags::SYN);
            for len in 0..usize::from(shortest) {
                assert!(!echo(&mut whole.clone()[..len]), "{len} bytes");
                assert_eq!(next(&mut whole.clone()[..len]), Next::Nothing, "{len} bytes");
            }
            let mut udp = frame(ip, Protocol::Udp, shortest, 9, Flags(0));
            assert_eq!(next(&mut udp), Next::Nothing);
        }
    }
}
