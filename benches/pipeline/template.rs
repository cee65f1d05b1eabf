//! The first bytes of a flow's packets, quickly made: all but addresses, ports and sequence numbers is ready beforehand.

use std::net::Ipv4Addr;

/// Ethernet, IPv4 and TCP or the longer part of UDP, without options.
pub(crate) const HEAD: usize = 54;

const ETHERNET: usize = 14;
const IP_CHECKSUM: usize = 24;
const ADDRESSES: usize = 26;
const PORTS: usize = 34;
const SEQUENCE: usize = 38;
const FLAGS: usize = 47;

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

/// Which transport the packets have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// A packet's head with everything in it that does not depend on the flow.
#[derive(Clone)]
pub(crate) struct Template {
    head: [u8; HEAD],
    /// The sum of the IPv4 header's words, without addresses and checksum.
    sum: u32,
}

impl Template {
    /// For frames of `frame_len` bytes, the FCS not counted.
    pub(crate) fn new(transport: Transport, frame_len: usize) -> Self {
        let total_len = (frame_len - ETHERNET) as u16;
        let mut head = [0; HEAD];
        head[..6].copy_from_slice(&LEAT);
        head[6..12].copy_from_slice(&STATION);
        head[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
        head[16..18].copy_from_slice(&total_len.to_be_bytes());
        head[22] = 64;
        match transport {
            Transport::Tcp => {
                head[23] = 6;
                head[46] = 5 << 4;
                head[48..50].copy_from_slice(&u16::MAX.to_be_bytes());
            }
            Transport::Udp => {
                head[23] = 17;
                head[38..40].copy_from_slice(&(total_len - 20).to_be_bytes());
                head[40..42].copy_from_slice(&0x1234_u16.to_be_bytes());
            }
        }
        let sum = head[ETHERNET..ADDRESSES].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
        Self { head, sum }
    }

    /// The head of a datagram.
    #[inline(always)]
    pub(crate) fn datagram(&self, tuple: Tuple) -> [u8; HEAD] {
        let mut head = self.head;
        let (source, destination) = (tuple.source.to_bits(), tuple.destination.to_bits());
        let mut sum = self.sum + (source >> 16) + (source & 0xffff) + (destination >> 16) + (destination & 0xffff);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        head[IP_CHECKSUM..][..2].copy_from_slice(&(!sum as u16).to_be_bytes());
        head[ADDRESSES..][..4].copy_from_slice(&source.to_be_bytes());
        head[ADDRESSES + 4..][..4].copy_from_slice(&destination.to_be_bytes());
        head[PORTS..][..2].copy_from_slice(&tuple.source_port.to_be_bytes());
        head[PORTS + 2..][..2].copy_from_slice(&tuple.destination_port.to_be_bytes());
        head
    }

    /// The head of a TCP segment.
    #[inline(always)]
    pub(crate) fn segment(&self, tuple: Tuple, flags: u8, sequence: u32, acknowledgment: u32) -> [u8; HEAD] {
        let mut head = self.datagram(tuple);
        head[SEQUENCE..][..4].copy_from_slice(&sequence.to_be_bytes());
        head[SEQUENCE + 4..][..4].copy_from_slice(&acknowledgment.to_be_bytes());
        head[FLAGS] = flags;
        head
    }
}

/// The tuple of a packet that was sent, as its receiver would answer it.
pub(crate) fn answer_to(frame: &[u8]) -> Tuple {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let address = |at: usize| Ipv4Addr::from_bits(u32::from(word(at)) << 16 | u32::from(word(at + 2)));
    Tuple {
        source: address(ADDRESSES + 4),
        destination: address(ADDRESSES),
        source_port: word(PORTS + 2),
        destination_port: word(PORTS),
    }
}
