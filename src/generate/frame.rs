//! Frames of flows, written into buffers: headers, a stamp, and a filler whose bytes are known.
//!
//! What all frames of one length have in common is made once, with the sum over it. A frame then costs a copy of its
//! headers, its few own fields, and the additions to two checksums (RFC 1071 §2: sums can be added in any order).

use std::net::Ipv4Addr;

use super::flows::Client;
use super::plan::Protocol;
use super::stamp::{self, Key, Stamp};
use crate::wire::checksum::{self, Sum};
use crate::wire::ethernet::{self, EtherType, MacAddr};
use crate::wire::tcp::Flags;
use crate::wire::{ipv4, tcp, udp};

/// Bytes of the longest headers that are written.
const LONGEST_HEADERS: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + tcp::HEADER_LEN;

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
const TTL: u8 = 64;

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
    pub address: Ipv4Addr,
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
    len: usize,
    headers: [u8; LONGEST_HEADERS],
    headers_len: usize,
    /// Over the IPv4 header without the source address.
    ip_sum: Sum,
    /// Over the pseudo-header, the transport header and the filler, without source, numbers and stamp.
    transport_sum: Sum,
}

impl Template {
    /// Frames of `len` bytes, 60 to 1514.
    pub fn new(to: &Destination, len: u16) -> Self {
        let len = usize::from(len);
        let headers_len = headers_len(to.protocol);
        let transport_len = (len - ethernet::HEADER_LEN - ipv4::HEADER_LEN) as u16;
        let mut headers = [0; LONGEST_HEADERS];
        let (ethernet_header, rest) = headers.split_at_mut(ethernet::HEADER_LEN);
        if let Some(mut header) = ethernet::HeaderMut::new(ethernet_header) {
            header.set_addresses(to.mac, to.source_mac);
            header.set_ether_type(EtherType::IPV4);
        }
        let (ip_header, transport) = rest.split_at_mut(ipv4::HEADER_LEN);
        if let Some(header) = ip_header.first_chunk_mut() {
            ipv4::Fields {
                type_of_service: 0,
                total_len: transport_len + ipv4::HEADER_LEN as u16,
                identification: 0,
                dont_fragment: true,
                ttl: TTL,
                protocol: to.protocol.number(),
                source: Ipv4Addr::UNSPECIFIED,
                destination: to.address,
            }
            .write(header);
            header[10..12].fill(0);
        }
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
        let pseudo = checksum::pseudo_header(Ipv4Addr::UNSPECIFIED, to.address, to.protocol.number(), transport_len);
        Self {
            protocol: to.protocol,
            len,
            headers,
            headers_len,
            ip_sum: Sum::ZERO.and_bytes(&headers[ethernet::HEADER_LEN..][..ipv4::HEADER_LEN]),
            transport_sum: pseudo
                .and_bytes(&headers[ethernet::HEADER_LEN + ipv4::HEADER_LEN..headers_len])
                .and_bytes(filler),
        }
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
        let Some((head, payload)) = frame.split_at_mut_checked(self.headers_len) else { return };
        match self.protocol {
            // Both lengths are known here, and copied without a loop.
            Protocol::Udp => copy_headers::<{ headers_len(Protocol::Udp) }>(head, &self.headers),
            Protocol::Tcp => copy_headers::<{ headers_len(Protocol::Tcp) }>(head, &self.headers),
        }
        let stamp_len = stamp_len(payload.len());
        let end = payload.len().min(FILLER_LEN);
        payload[stamp_len..end].copy_from_slice(&FILLER[stamp_len..end]);
        key.write(stamp, payload);

        let address = from.address.to_bits();
        let Some(header) = head[ethernet::HEADER_LEN..].first_chunk_mut::<{ ipv4::HEADER_LEN }>() else { return };
        header[10..12].copy_from_slice(&self.ip_sum.and_number(address).complement().to_be_bytes());
        header[12..16].copy_from_slice(&address.to_be_bytes());

        let stamp_sum = self.transport_sum.and_bytes(&payload[..stamp_len]);
        let sum = stamp_sum.and_number(address).and_number(from.port.into());
        let transport = &mut head[ethernet::HEADER_LEN + ipv4::HEADER_LEN..];
        match self.protocol {
            Protocol::Udp => {
                let Some(header) = transport.first_chunk_mut::<{ udp::HEADER_LEN }>() else { return };
                header[..2].copy_from_slice(&from.port.to_be_bytes());
                header[6..8].copy_from_slice(&sum.finish().to_be_bytes());
            }
            Protocol::Tcp => {
                let Some(header) = transport.first_chunk_mut::<{ tcp::HEADER_LEN }>() else { return };
                let Numbers { sequence, acknowledgment, flags } = numbers;
                header[..2].copy_from_slice(&from.port.to_be_bytes());
                header[4..8].copy_from_slice(&sequence.to_be_bytes());
                header[8..12].copy_from_slice(&acknowledgment.to_be_bytes());
                header[13] = flags.0;
                let sum = sum.and_number(sequence).and_number(acknowledgment).and_number(flags.0.into());
                header[16..18].copy_from_slice(&sum.complement().to_be_bytes());
            }
        }
    }
}

#[inline(always)]
fn copy_headers<const N: usize>(to: &mut [u8], from: &[u8; LONGEST_HEADERS]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
        *to = *from;
    }
}

/// Bytes of Ethernet's, IPv4's and the transport's headers.
pub(super) const fn headers_len(protocol: Protocol) -> usize {
    let transport = match protocol {
        Protocol::Udp => udp::HEADER_LEN,
        Protocol::Tcp => tcp::HEADER_LEN,
    };
    ethernet::HEADER_LEN + ipv4::HEADER_LEN + transport
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
    use crate::generate::stamp::SentAt;
    use proptest::prelude::*;

    pub(in crate::generate) const KEY: Key = Key(99);

    pub(in crate::generate) fn destination(protocol: Protocol) -> Destination {
        Destination {
            source_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mac: MacAddr([2, 0, 0, 0, 0, 0xfe]),
            address: [10, 0, 0, 10].into(),
            port: 8080,
            protocol,
        }
    }

    pub(in crate::generate) fn frame(protocol: Protocol, len: u16, from: Client, flow: u32, flags: Flags) -> Vec<u8> {
        let template = Template::new(&destination(protocol), len);
        let mut frame = vec![0xa5; template.frame_len()];
        let numbers = Numbers { sequence: 1000, acknowledgment: 0, flags };
        template.write(&mut frame, from, numbers, &Stamp { flow, number: 5, sent: SentAt(100) }, KEY);
        frame
    }

    proptest! {
        #[test]
        fn every_frame_is_right_by_an_independent_judge(
            tcp in any::<bool>(), len in 60..=1514u16, address in any::<u32>(), port in 1..=u16::MAX,
            sequence in any::<u32>(), acknowledgment in any::<u32>(), flow in any::<u32>(), sent in any::<u32>(),
        ) {
            let to = destination(if tcp { Protocol::Tcp } else { Protocol::Udp });
            let template = Template::new(&to, len);
            let mut frame = vec![0xa5; usize::from(len)];
            let from = Client { address: address.into(), port };
            let numbers = Numbers { sequence, acknowledgment, flags: Flags::PSH.or(Flags::ACK) };
            let stamp = Stamp { flow, number: 1, sent: SentAt(sent) };
            template.write(&mut frame, from, numbers, &stamp, KEY);

            let parsed = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(etherparse::NetSlice::Ipv4(ip)) = &parsed.net else { panic!("not IPv4") };
            let header = ip.header().to_header();
            prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
            prop_assert_eq!((header.source, header.destination), (from.address.octets(), to.address.octets()));
            let payload = match parsed.transport {
                Some(etherparse::TransportSlice::Tcp(found)) => {
                    let header = found.to_header();
                    prop_assert_eq!(Ok(header.checksum), header.calc_checksum_ipv4(&ip.header().to_header(), found.payload()));
                    prop_assert_eq!((header.source_port, header.destination_port), (port, to.port));
                    prop_assert_eq!((header.sequence_number, header.acknowledgment_number), (sequence, acknowledgment));
                    found.payload().to_vec()
                }
                Some(etherparse::TransportSlice::Udp(found)) => {
                    let header = found.to_header();
                    prop_assert_eq!(Ok(header.checksum), header.calc_checksum_ipv4(&ip.header().to_header(), found.payload()));
                    prop_assert_eq!((header.source_port, header.destination_port), (port, to.port));
                    found.payload().to_vec()
                }
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(payload.len(), template.payload_len());
            prop_assert!(filler_is_whole(&payload));
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
