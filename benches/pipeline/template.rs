//! The first bytes of a flow's packets, quickly made: all but addresses, ports and sequence numbers is ready beforehand.

use std::net::Ipv4Addr;

use leat::io::Burst;

use crate::frame::{Frame, Frames};

/// Ethernet, IPv4 and TCP or the longer part of UDP, without options.
pub(crate) const HEAD: usize = 54;
/// The same with IPv6.
const HEAD_V6: usize = 74;

const ETHERNET: usize = 14;
const IP_CHECKSUM: usize = 24;

/// Where things are in a head, of IPv4 and of IPv6. Addresses of IPv6 end in an IPv4 address.
const fn source(v6: bool) -> usize {
    if v6 { 34 } else { 26 }
}

const fn destination(v6: bool) -> usize {
    if v6 { 50 } else { 30 }
}

const fn ports(v6: bool) -> usize {
    if v6 { 54 } else { 34 }
}

/// What addresses of IPv6 begin with: 2001:db8::/96.
const PREFIX: [u8; 12] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0];

/// leat's Ethernet address.
pub(crate) const LEAT: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
const STATION: [u8; 6] = [2, 0, 0, 0, 1, 1];

/// The addresses and ports of a packet.
#[derive(Clone, Copy)]
pub(crate) struct Tuple {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

/// Which transport the packets have, over which version of IP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
    Tcp6,
    Udp6,
}

impl Transport {
    pub(crate) const ALL: [(&str, Self); 4] =
        [("udp", Self::Udp), ("tcp", Self::Tcp), ("udp6", Self::Udp6), ("tcp6", Self::Tcp6)];

    pub(crate) const fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::Tcp6)
    }

    pub(crate) const fn is_v6(self) -> bool {
        matches!(self, Self::Tcp6 | Self::Udp6)
    }

    /// The shortest frame that its packets have in these benchmarks.
    pub(crate) const fn shortest(self) -> usize {
        if self.is_v6() { HEAD_V6 } else { 60 }
    }
}

/// A packet's head with everything in it that does not depend on the flow.
#[derive(Clone)]
pub(crate) struct Template<const V6: bool> {
    head: [u8; HEAD_V6],
    /// The sum of the IPv4 header's words, without addresses and checksum.
    sum: u32,
}

impl<const V6: bool> Template<V6> {
    /// For frames of `frame_len` bytes, the FCS not counted.
    pub(crate) fn new(transport: Transport, frame_len: usize) -> Self {
        let total_len = (frame_len - ETHERNET) as u16;
        let mut head = [0; HEAD_V6];
        head[..6].copy_from_slice(&LEAT);
        head[6..12].copy_from_slice(&STATION);
        let (protocol, ports) = (if transport.is_tcp() { 6 } else { 17 }, ports(V6));
        if V6 {
            head[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
            head[18..20].copy_from_slice(&(total_len - 40).to_be_bytes());
            head[20..22].copy_from_slice(&[protocol, 64]);
            head[22..34].copy_from_slice(&PREFIX);
            head[38..50].copy_from_slice(&PREFIX);
        } else {
            head[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
            head[16..18].copy_from_slice(&total_len.to_be_bytes());
            head[22..24].copy_from_slice(&[64, protocol]);
        }
        if transport.is_tcp() {
            head[ports + 12] = 5 << 4;
            head[ports + 14..ports + 16].copy_from_slice(&u16::MAX.to_be_bytes());
        } else {
            let length = total_len - (ports - ETHERNET) as u16;
            head[ports + 4..ports + 6].copy_from_slice(&length.to_be_bytes());
            head[ports + 6..ports + 8].copy_from_slice(&0x1234_u16.to_be_bytes());
        }
        let sum =
            head[ETHERNET..source(false)].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
        Self { head, sum }
    }

    /// The head of a datagram.
    #[inline(always)]
    pub(crate) fn datagram(&self, tuple: Tuple) -> Head<V6> {
        let mut head = self.head;
        let (from, to) = (tuple.source.to_bits(), tuple.destination.to_bits());
        if !V6 {
            let mut sum = self.sum + (from >> 16) + (from & 0xffff) + (to >> 16) + (to & 0xffff);
            sum = (sum & 0xffff) + (sum >> 16);
            sum = (sum & 0xffff) + (sum >> 16);
            head[IP_CHECKSUM..][..2].copy_from_slice(&(!sum as u16).to_be_bytes());
        }
        head[source(V6)..][..4].copy_from_slice(&from.to_be_bytes());
        head[destination(V6)..][..4].copy_from_slice(&to.to_be_bytes());
        head[ports(V6)..][..2].copy_from_slice(&tuple.source_port.to_be_bytes());
        head[ports(V6) + 2..][..2].copy_from_slice(&tuple.destination_port.to_be_bytes());
        Head(head)
    }

    /// The head of a TCP segment.
    #[inline(always)]
    pub(crate) fn segment(&self, tuple: Tuple, flags: u8, sequence: u32, acknowledgment: u32) -> Head<V6> {
        let Head(mut head) = self.datagram(tuple);
        head[ports(V6) + 4..][..4].copy_from_slice(&sequence.to_be_bytes());
        head[ports(V6) + 8..][..4].copy_from_slice(&acknowledgment.to_be_bytes());
        head[ports(V6) + 13] = flags;
        Head(head)
    }
}

/// The head of a packet.
pub(crate) struct Head<const V6: bool>([u8; HEAD_V6]);

impl<const V6: bool> Head<V6> {
    /// Adds a frame of `len` bytes with this head to `burst`.
    #[inline(always)]
    pub(crate) fn put(&self, frames: &mut Frames, len: usize, burst: &mut Burst<Frame>) {
        match self.0.first_chunk::<HEAD>() {
            Some(head) if !V6 => frames.make(head, len, burst),
            _ => frames.make(&self.0, len, burst),
        }
    }
}

/// The tuple of a packet that was sent, as its receiver would answer it.
pub(crate) fn answer_to(frame: &[u8]) -> Tuple {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let address = |at: usize| Ipv4Addr::from_bits(u32::from(word(at)) << 16 | u32::from(word(at + 2)));
    let v6 = word(12) == 0x86dd;
    Tuple {
        source: address(destination(v6)),
        destination: address(source(v6)),
        source_port: word(ports(v6) + 2),
        destination_port: word(ports(v6)),
    }
}
