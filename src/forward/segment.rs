//! TCP segments of leat's own: those that open a connection in another's place, and what is told a backend about its client.

use std::net::IpAddr;

use crate::flow::FlowKey;
use crate::io::Packet;
use crate::wire::checksum::Delta;
use crate::wire::tcp_options::{self, Options};
use crate::wire::{ethernet, ip, ipv4, ipv6, tcp};

/// The time to live of what leat itself says (RFC 1700).
const TTL: u8 = 64;

/// IANA protocol number of TCP.
const TCP: u8 = 6;

/// The most bytes of payload.
const LONGEST_PAYLOAD: usize = super::LONGEST_PROXY_HEADER;

/// The longest frame that [`Segment::write`] writes.
pub const LONGEST_SEGMENT: usize =
    ethernet::HEADER_LEN + ip::LONGEST_HEADER + tcp::HEADER_LEN + tcp_options::LONGEST + LONGEST_PAYLOAD;

/// A segment to be written.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Where it comes from and goes to.
    pub key: FlowKey,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgment: u32,
    /// Control bits.
    pub flags: tcp::Flags,
    /// The window, as it stands in the header.
    pub window: u16,
    /// Its options.
    pub options: Options,
    /// At most as many bytes as a PROXY header has.
    pub payload: &'a [u8],
}

impl Segment<'_> {
    /// Writes a frame, whose Ethernet addresses are still to be set, and returns its length.
    pub fn write(&self, into: &mut [u8; LONGEST_SEGMENT]) -> usize {
        let mut options = [0; tcp_options::LONGEST];
        let options_len = self.options.write(&mut options);
        let payload = &self.payload[..self.payload.len().min(LONGEST_PAYLOAD)];
        let header_len = tcp::HEADER_LEN + options_len;
        let tcp_len = header_len + payload.len();
        let (head, rest) = into.split_at_mut(ethernet::HEADER_LEN);
        if let Some(mut header) = ethernet::HeaderMut::new(head) {
            header.set_ether_type(ethernet::EtherType::of(self.key.src));
        }
        let fields = ip::Fields {
            traffic_class: 0,
            payload_len: tcp_len as u16,
            protocol: TCP,
            hops: TTL,
            source: self.key.src,
            destination: self.key.dst,
        };
        let ip_len = fields.write(rest);
        let message = &mut rest[ip_len..][..tcp_len];
        if let Some(header) = message.first_chunk_mut() {
            let ports = (self.key.src_port, self.key.dst_port);
            tcp::write(header, ports, (self.sequence, self.acknowledgment), self.flags, self.window);
            header[12] = (header_len as u8 / 4) << 4;
        }
        message[tcp::HEADER_LEN..header_len].copy_from_slice(&options[..options_len]);
        message[header_len..].copy_from_slice(payload);
        let sum = fields.pseudo_header().and_bytes(message).complement();
        message[16..18].copy_from_slice(&sum.to_be_bytes());
        ethernet::HEADER_LEN + ip_len + tcp_len
    }

    /// Where its transport header is, in a frame that was written.
    pub const fn transport(&self) -> usize {
        ethernet::HEADER_LEN + ip::header_len(self.key.src)
    }
}

/// Bytes of the option that [`add_client_address`] adds for this client: kind, length, port and address.
pub const fn client_address_len(client: IpAddr) -> usize {
    match client {
        IpAddr::V4(_) => 8,
        IpAddr::V6(_) => 20,
    }
}

/// The most bytes that a TCP header can have.
const LONGEST_HEADER: usize = tcp::HEADER_LEN + tcp_options::LONGEST;

/// Adds an option of this kind that holds port and address of the client to the segment whose TCP header, which is whole, is
/// at `transport`: as the TOA modules of the Linux world read it. Returns whether there was room; if not, it is as it was.
pub fn add_client_address<P: Packet>(packet: &mut P, transport: usize, kind: u8, client: (IpAddr, u16)) -> bool {
    let len = client_address_len(client.0);
    let Some(header_len) = packet.data().get(transport..).and_then(tcp::Header::new).map(tcp::Header::header_len)
    else {
        return false;
    };
    let end = transport + header_len;
    if header_len + len > LONGEST_HEADER || packet.data().len() < end || !packet.prepend(len) {
        return false;
    }
    let frame = packet.data_mut();
    frame.copy_within(len..len + end, 0);
    let option = &mut frame[end..end + len];
    option[..2].copy_from_slice(&[kind, len as u8]);
    option[2..4].copy_from_slice(&client.1.to_be_bytes());
    match client.0 {
        IpAddr::V4(address) => option[4..].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => option[4..].copy_from_slice(&address.octets()),
    }
    let mut delta = Delta::NONE;
    for word in option.chunks_exact(2) {
        delta = delta.replace(0, u16::from_be_bytes([word[0], word[1]]));
    }
    // The pseudo-header has the length of the segment.
    delta = delta.and(grow(&mut frame[ethernet::HEADER_LEN..], len as u16));
    let segment = &mut frame[transport..];
    let old = u16::from_be_bytes([segment[12], segment[13]]);
    segment[12] = ((header_len + len) as u8 / 4) << 4 | segment[12] & 0xf;
    delta = delta.replace(old, u16::from_be_bytes([segment[12], segment[13]]));
    if let Some(mut header) = tcp::HeaderMut::new(segment) {
        header.adjust_checksum(delta);
    }
    true
}

/// Makes the IP packet `packet` longer by `bytes`, as its header says. Returns what that does to a checksum with a
/// pseudo-header.
fn grow(packet: &mut [u8], bytes: u16) -> Delta {
    let (before, after) = match packet.first().map(|first| first >> 4) {
        Some(6) => {
            let Some(mut ip) = ipv6::HeaderMut::new(packet) else { return Delta::NONE };
            let before = ip.as_header().payload_len();
            ip.set_payload_len(before.saturating_add(bytes));
            (before, before.saturating_add(bytes))
        }
        _ => {
            let Some(mut ip) = ipv4::HeaderMut::new(packet) else { return Delta::NONE };
            let (before, header_len) = (ip.as_header().total_len(), ip.as_header().header_len() as u16);
            ip.set_total_len(before.saturating_add(bytes));
            (before.wrapping_sub(header_len), before.saturating_add(bytes).wrapping_sub(header_len))
        }
    };
    Delta::NONE.replace(before, after)
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, TcpOptionElement};
    use proptest::prelude::*;

    use super::*;
    use crate::flow::Protocol;
    use crate::forward::judge;
    use crate::id::PortId;
    use crate::io::memory::Frame;

    fn assert_whole(frame: &[u8]) -> etherparse::TcpHeader {
        judge::see(frame, |_, tcp| tcp.to_header())
    }

    proptest! {
        #[test]
        fn a_segment_is_what_etherparse_reads(
            numbers in any::<(u32, u32, u16)>(), payload in prop::collection::vec(any::<u8>(), 0..=64),
            timestamps in any::<Option<(u32, u32)>>(),
        ) {
            let key = FlowKey {
                src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), src_port: 4000, dst_port: 80, protocol: Protocol::Tcp,
            };
            let options = Options { mss: Some(1460), timestamps, ..Options::default() };
            let (sequence, acknowledgment, window) = numbers;
            let flags = tcp::Flags::SYN.or(tcp::Flags::ACK);
            let segment = Segment { key, sequence, acknowledgment, flags, window, options, payload: &payload };
            let mut frame = [0xff; LONGEST_SEGMENT];
            let len = segment.write(&mut frame);
            let read = assert_whole(&frame[..len]);
            prop_assert_eq!((read.sequence_number, read.acknowledgment_number, read.window_size), numbers);
            prop_assert!(read.syn && read.ack && !read.fin && !read.rst);
            prop_assert!(frame[..len].ends_with(&payload));
        }

        #[test]
        fn the_client_address_is_an_option_behind_the_others(
            options in 0usize..=40, payload in prop::collection::vec(any::<u8>(), 0..1400), padding in 0usize..7,
        ) {
            let mut bytes = Vec::new();
            let noops = vec![TcpOptionElement::Noop; options];
            PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(1, 2, 3, 4).ack(5)
                .options(&noops).unwrap().write(&mut bytes, &payload).unwrap();
            bytes.resize(bytes.len() + padding, 0);
            let before = assert_whole(&bytes);
            let mut packet = Frame::new(bytes.clone(), PortId(0));
            let grew = add_client_address(&mut packet, 34, 254, ([192, 0, 2, 1].into(), 40_000));
            let after = packet.into_bytes();
            prop_assert_eq!(grew, before.header_len() + 8 <= 60);
            if !grew {
                prop_assert_eq!(after, bytes);
                return Ok(());
            }
            let header = assert_whole(&after);
            let option = [254, 8, 156, 64, 192, 0, 2, 1];
            prop_assert_eq!(header.options.as_slice(), &[before.options.as_slice(), &option].concat()[..]);
            prop_assert_eq!(&after[34 + header.header_len()..], &bytes[34 + before.header_len()..]);
        }
    }
}
