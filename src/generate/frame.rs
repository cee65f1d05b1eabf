//! Frames of flows, written into buffers: headers, a stamp, and a filler whose bytes are known.
//!
//! What all frames of one length have in common is made once, with the sum over it. A frame then costs a copy of its
//! headers, its few own fields, and the additions to two checksums (RFC 1071 §2: sums can be added in any order).

use std::net::IpAddr;

use super::flows::Client;
use super::plan::Protocol;
use super::stamp::{self, Key, Stamp};
use crate::wire::checksum::Sum;
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::tcp::Flags;
use crate::wire::{ip, ipv4, ipv6, tcp, udp};

/// Bytes of the longest headers that are written.
const LONGEST_HEADERS: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + tcp::HEADER_LEN;

/// Bytes of filler: more than the longest payload.
const FILLER_LEN: usize = 1536;

/// What stands in a payload behind the stamp: byte `n` of the payload is byte `n` of this.
static FILLER: [u8; FILLER_LEN] = {
    let mut filler = [0; FILLER_LEN];
    let mut at = 0;
    while at < FILLER_LEN {
        // Neighbouring words differ, so that words that change places are noticed, which a checksum does not.
        filler[at] = (at as u8).wrapping_mul(37) ^ (at >> 8) as u8;
        at += 1;
    }
    filler
};

/// The routers that a frame may pass.
const HOPS: u8 = 64;

/// The window that every TCP segment offers.
const WINDOW: u16 = 65_535;

/// Where frames go to, and how they begin.
#[derive(Clone, Copy, Debug)]
pub struct Destination {
    /// Source of the frames.
    pub source_mac: MacAddr,
    /// Next hop.
    pub mac: MacAddr,
    /// The service's address.
    pub address: IpAddr,
    /// The service's port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// What TCP says besides ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgment: u32,
    /// Control bits.
    pub flags: Flags,
}

/// Frames of one length for one service.
#[derive(Clone, Debug)]
pub struct Template {
    protocol: Protocol,
    is_v6: bool,
    len: usize,
    headers: [u8; LONGEST_HEADERS],
    headers_len: usize,
    /// Over the IPv4 header without the source address.
    ip_sum: Sum,
    /// Over the pseudo-header, the transport header and the filler, without source, numbers and stamp; with what all clients
    /// have in their addresses.
    transport_sum: Sum,
}

impl Template {
    /// Frames of `len` bytes, 60 to 1514 and in IPv6 80 to 1514, from clients whose addresses are those of `network` but
    /// for their last 32 bits, which are 0 in it. It is of the service's version.
    pub fn new(to: &Destination, network: IpAddr, len: u16) -> Self {
        let len = usize::from(len);
        let (ip_len, headers_len) = (ip::header_len(to.address), headers_len(to.address, to.protocol));
        let transport_len = (len - ethernet::HEADER_LEN - ip_len) as u16;
        let mut headers = [0; LONGEST_HEADERS];
        let (ethernet_header, rest) = headers.split_at_mut(ethernet::HEADER_LEN);
        if let Some(mut header) = ethernet::HeaderMut::new(ethernet_header) {
            header.set_addresses(to.mac, to.source_mac);
            header.set_ether_type(EtherType::of(to.address));
        }
        let (ip_header, transport) = rest.split_at_mut(ip_len);
        let fields = ip::Fields {
            traffic_class: 0,
            payload_len: transport_len,
            protocol: to.protocol.number(),
            hops: HOPS,
            source: network,
            destination: to.address,
        };
        fields.write(ip_header);
        let is_v6 = to.address.is_ipv6();
        if !is_v6 {
            ip_header[10..12].fill(0);
        }
        let ip_sum = Sum::ZERO.and_bytes(ip_header);
        match to.protocol {
            Protocol::Udp => {
                if let Some(header) = transport.first_chunk_mut() {
                    udp::write(header, 0, to.port, transport_len, 0);
                }
            }
            Protocol::Tcp => {
                if let Some(header) = transport.first_chunk_mut() {
                    tcp::write(header, (0, to.port), (0, 0), Flags(0), WINDOW);
                }
            }
        }
        let payload_len = len - headers_len;
        let filler = &FILLER[stamp_len(payload_len)..payload_len];
        let transport = &headers[ethernet::HEADER_LEN + ip_len..headers_len];
        let transport_sum = fields.pseudo_header().and_bytes(transport).and_bytes(filler);
        Self { protocol: to.protocol, is_v6, len, headers, headers_len, ip_sum, transport_sum }
    }

    /// Bytes of each frame, without check sequence.
    #[inline(always)]
    pub const fn frame_len(&self) -> usize {
        self.len
    }

    /// Bytes of each payload.
    #[inline(always)]
    pub const fn payload_len(&self) -> usize {
        self.len - self.headers_len
    }

    /// Writes a frame into `frame`, which is [`Self::frame_len`] bytes long. A shorter one is left as it is.
    #[inline(always)]
    pub fn write(&self, frame: &mut [u8], from: Client, numbers: Numbers, stamp: &Stamp, key: Key) {
        // All lengths are known here, and headers are copied without a loop.
        match (self.is_v6, self.protocol) {
            (false, Protocol::Tcp) => self.write_as::<{ TCP_V4 }>(frame, from, numbers, stamp, key),
            (false, Protocol::Udp) => self.write_as::<{ UDP_V4 }>(frame, from, numbers, stamp, key),
            (true, Protocol::Tcp) => self.write_as::<{ TCP_V6 }>(frame, from, numbers, stamp, key),
            (true, Protocol::Udp) => self.write_as::<{ UDP_V6 }>(frame, from, numbers, stamp, key),
        }
    }

    /// Writes a frame with `HEADERS` bytes of headers, by which they are told apart.
    #[inline(always)]
    fn write_as<const HEADERS: usize>(
        &self,
        frame: &mut [u8],
        from: Client,
        numbers: Numbers,
        stamp: &Stamp,
        key: Key,
    ) {
        let Some((head, payload)) = frame.split_first_chunk_mut::<HEADERS>() else { return };
        let Some(headers) = self.headers.first_chunk::<HEADERS>() else { return };
        *head = *headers;
        let stamp_len = stamp_len(payload.len());
        let end = payload.len().min(FILLER_LEN);
        payload[stamp_len..end].copy_from_slice(&FILLER[stamp_len..end]);
        key.write(stamp, payload);

        let (ip, transport) = if const { HEADERS == TCP_V4 || HEADERS == UDP_V4 } {
            let (ip, transport) = head[ethernet::HEADER_LEN..].split_at_mut(ipv4::HEADER_LEN);
            ip[10..12].copy_from_slice(&self.ip_sum.and_number(from.host).complement().to_be_bytes());
            (&mut ip[12..16], transport)
        } else {
            let (ip, transport) = head[ethernet::HEADER_LEN..].split_at_mut(ipv6::HEADER_LEN);
            (&mut ip[20..24], transport)
        };
        ip.copy_from_slice(&from.host.to_be_bytes());

        let stamp_sum = self.transport_sum.and_bytes(&payload[..stamp_len]);
        let sum = stamp_sum.and_number(from.host).and_number(from.port.into());
        transport[..2].copy_from_slice(&from.port.to_be_bytes());
        if const { HEADERS == UDP_V4 || HEADERS == UDP_V6 } {
            transport[6..8].copy_from_slice(&sum.finish().to_be_bytes());
        } else {
            let Numbers { sequence, acknowledgment, flags } = numbers;
            transport[4..8].copy_from_slice(&sequence.to_be_bytes());
            transport[8..12].copy_from_slice(&acknowledgment.to_be_bytes());
            transport[13] = flags.0;
            let sum = sum.and_number(sequence).and_number(acknowledgment).and_number(flags.0.into());
            transport[16..18].copy_from_slice(&sum.complement().to_be_bytes());
        }
    }
}

/// Bytes of all headers, of each kind of frame. No two are the same.
const TCP_V4: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + tcp::HEADER_LEN;
const UDP_V4: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN;
const TCP_V6: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + tcp::HEADER_LEN;
const UDP_V6: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + udp::HEADER_LEN;

/// Bytes of Ethernet's, the transport's and between them the headers of a packet to `address`.
pub(super) const fn headers_len(address: IpAddr, protocol: Protocol) -> usize {
    match (address, protocol) {
        (IpAddr::V4(_), Protocol::Tcp) => TCP_V4,
        (IpAddr::V4(_), Protocol::Udp) => UDP_V4,
        (IpAddr::V6(_), Protocol::Tcp) => TCP_V6,
        (IpAddr::V6(_), Protocol::Udp) => UDP_V6,
    }
}

/// Whether what follows the stamp in `payload` is as it was written.
#[inline(always)]
pub(super) fn filler_is_whole(payload: &[u8]) -> bool {
    let stamp_len = stamp_len(payload.len());
    FILLER.get(stamp_len..payload.len()).is_some_and(|filler| *filler == payload[stamp_len..])
}

/// Bytes that the stamp takes of a payload.
#[inline(always)]
const fn stamp_len(payload_len: usize) -> usize {
    if payload_len >= stamp::LONG {
        stamp::LONG
    } else if payload_len >= stamp::SHORT {
        stamp::SHORT
    } else {
        0
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::generate::flows::Flows;
    use crate::generate::stamp::SentAt;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    pub(in crate::generate) const KEY: Key = Key(99);

    /// The two versions, and what each has of what tests need.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::generate) enum Ip {
        V4,
        V6,
    }

    pub(in crate::generate) const BOTH: [Ip; 2] = [Ip::V4, Ip::V6];

    impl Ip {
        fn pick<T>(self, v4: T, v6: T) -> T {
            match self {
                Self::V4 => v4,
                Self::V6 => v6,
            }
        }

        fn address(self, v4: &str, v6: &str) -> IpAddr {
            self.pick(v4, v6).parse().unwrap()
        }

        pub(in crate::generate) fn vip(self) -> IpAddr {
            self.address("10.0.0.10", "2001:db8::10")
        }

        pub(in crate::generate) fn backend(self) -> IpAddr {
            self.address("10.0.0.2", "2001:db8::2")
        }

        pub(in crate::generate) fn stranger(self) -> IpAddr {
            self.address("192.0.2.1", "2001:db8:9::1")
        }

        pub(in crate::generate) fn flows(self, count: u32) -> Flows {
            let prefix = self.pick("198.18.0.0/24", "2001:db8:1::/120").parse().unwrap();
            Flows::new(prefix, 1024, 2047, count).unwrap()
        }

        /// Where the transport header begins in a frame.
        pub(in crate::generate) fn transport(self) -> usize {
            ethernet::HEADER_LEN + self.pick(ipv4::HEADER_LEN, ipv6::HEADER_LEN)
        }

        /// Bytes of the shortest frame, without check sequence.
        pub(in crate::generate) fn shortest(self) -> u16 {
            self.pick(60, 80)
        }
    }

    pub(in crate::generate) fn destination(ip: Ip, protocol: Protocol) -> Destination {
        Destination {
            source_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mac: MacAddr([2, 0, 0, 0, 0, 0xfe]),
            address: ip.vip(),
            port: 8080,
            protocol,
        }
    }

    pub(in crate::generate) fn frame(ip: Ip, protocol: Protocol, len: u16, flow: u32, flags: Flags) -> Vec<u8> {
        let flows = ip.flows(1000);
        let template = Template::new(&destination(ip, protocol), flows.network(), len);
        let mut frame = vec![0xa5; template.frame_len()];
        let numbers = Numbers { sequence: 1000, acknowledgment: 0, flags };
        template.write(&mut frame, flows.client(flow), numbers, &Stamp { flow, number: 5, sent: SentAt(100) }, KEY);
        frame
    }

    /// The payload of a frame whose checksums etherparse finds right, and its TCP header; the addresses and ports are those.
    fn judged(frame: &[u8], from: (IpAddr, u16), to: (IpAddr, u16)) -> (Vec<u8>, Option<etherparse::TcpHeader>) {
        let parsed = SlicedPacket::from_ethernet(frame).unwrap();
        let (addresses, checksum) = match parsed.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                let checksum = match parsed.transport.as_ref().unwrap() {
                    TransportSlice::Tcp(tcp) => tcp.to_header().calc_checksum_ipv4(&header, tcp.payload()),
                    TransportSlice::Udp(udp) => udp.to_header().calc_checksum_ipv4(&header, udp.payload()),
                    other => panic!("{other:?}"),
                };
                let (source, destination) = (header.source, header.destination);
                ((IpAddr::from(source), IpAddr::from(destination)), checksum)
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header().to_header();
                assert_eq!(header.hop_limit, 64);
                let checksum = match parsed.transport.as_ref().unwrap() {
                    TransportSlice::Tcp(tcp) => tcp.to_header().calc_checksum_ipv6(&header, tcp.payload()),
                    TransportSlice::Udp(udp) => udp.to_header().calc_checksum_ipv6(&header, udp.payload()),
                    other => panic!("{other:?}"),
                };
                ((header.source.into(), header.destination.into()), checksum)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(addresses, (from.0, to.0));
        match parsed.transport.unwrap() {
            TransportSlice::Tcp(tcp) => {
                assert_eq!(Ok(tcp.checksum()), checksum);
                assert_eq!((tcp.source_port(), tcp.destination_port()), (from.1, to.1));
                (tcp.payload().to_vec(), Some(tcp.to_header()))
            }
            TransportSlice::Udp(udp) => {
                assert_eq!(Ok(udp.checksum()), checksum);
                assert_ne!(udp.checksum(), 0, "IPv6 has no datagrams without a checksum");
                assert_eq!((udp.source_port(), udp.destination_port()), (from.1, to.1));
                (udp.payload().to_vec(), None)
            }
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn every_frame_is_right_by_an_independent_judge(
            is_v6 in any::<bool>(), tcp in any::<bool>(), len in 80..=1514u16, host in any::<u32>(), port in 1..=u16::MAX,
            sequence in any::<u32>(), acknowledgment in any::<u32>(), flow in any::<u32>(), sent in any::<u32>(),
        ) {
            let ip = if is_v6 { Ip::V6 } else { Ip::V4 };
            let len = if is_v6 { len } else { len - 20 };
            let (to, flows) = (destination(ip, if tcp { Protocol::Tcp } else { Protocol::Udp }), ip.flows(1000));
            let template = Template::new(&to, flows.network(), len);
            let mut frame = vec![0xa5; usize::from(len)];
            let from = Client { host, port };
            let numbers = Numbers { sequence, acknowledgment, flags: Flags::PSH.or(Flags::ACK) };
            let stamp = Stamp { flow, number: 1, sent: SentAt(sent) };
            template.write(&mut frame, from, numbers, &stamp, KEY);

            let (payload, header) = judged(&frame, (flows.address(from), port), (to.address, to.port));
            if let Some(header) = header {
                prop_assert_eq!((header.sequence_number, header.acknowledgment_number), (sequence, acknowledgment));
            }
            prop_assert_eq!(payload.len(), template.payload_len());
            prop_assert!(filler_is_whole(&payload));
        }
    }

    #[test]
    fn a_udp_checksum_that_comes_to_zero_is_sent_as_all_ones() {
        for ip in BOTH {
            let (to, flows) = (destination(ip, Protocol::Udp), ip.flows(1000));
            let template = Template::new(&to, flows.network(), ip.shortest());
            let stamp = Stamp { flow: 1, number: 1, sent: SentAt(1) };
            let numbers = Numbers { sequence: 0, acknowledgment: 0, flags: Flags(0) };
            let field = ip.transport() + 6;
            // One of all ports takes the sum to where its complement is 0.
            let is_found = (1..=u16::MAX).any(|port| {
                let mut frame = vec![0; template.frame_len()];
                template.write(&mut frame, Client { host: 7, port }, numbers, &stamp, KEY);
                assert_ne!(frame[field..field + 2], [0, 0]);
                frame[field..field + 2] == [0xff, 0xff]
            });
            assert!(is_found, "{ip:?}");
        }
    }

    #[test]
    fn words_that_change_places_are_noticed() {
        let mut payload = FILLER[..64].to_vec();
        assert!(filler_is_whole(&payload));
        payload.swap(20, 22);
        payload.swap(21, 23);
        assert!(!filler_is_whole(&payload));
    }
}
