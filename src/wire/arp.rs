//! ARP for IPv4 over Ethernet (RFC 826).
//!
//! ```text
//!  0       2       4   5   6           8
//! +-------+-------+---+---+-----------+--------------------+------------+--------------------+------------+
//! |   1   | 0x0800| 6 | 4 | operation | sender's MAC       | sender's IP| target's MAC       | target's IP|
//! +-------+-------+---+---+-----------+--------------------+------------+--------------------+------------+
//! ```

use std::net::Ipv4Addr;

use super::ethernet::{self, EtherType, MacAddr};

/// Bytes of a message.
pub const LEN: usize = 28;

/// Bytes of a frame with a message, without Ethernet's padding.
pub const FRAME_LEN: usize = ethernet::HEADER_LEN + LEN;

/// The fixed start: hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
const PREFIX: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// What a message wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target's address?
    Request,
    /// The sender has the sender's address.
    Reply,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Question or answer.
    pub operation: Operation,
    /// Who speaks.
    pub sender_mac: MacAddr,
    /// The speaker's address; 0.0.0.0 in a probe (RFC 5227 §1.1).
    pub sender: Ipv4Addr,
    /// Who is spoken to; zeros in a request.
    pub target_mac: MacAddr,
    /// The address that is asked for, or that of the asker.
    pub target: Ipv4Addr,
}

impl Message {
    /// The message in `payload`, the bytes after the Ethernet header; `None` when it is short or not IPv4 over Ethernet.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; LEN] = payload.first_chunk()?;
        if bytes[..6] != PREFIX {
            return None;
        }
        let operation = match bytes[6..8] {
            [0, 1] => Operation::Request,
            [0, 2] => Operation::Reply,
            _ => return None,
        };
        let mac = |at: usize| MacAddr(std::array::from_fn(|i| bytes[at + i]));
        let address = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        Some(Self { operation, sender_mac: mac(8), sender: address(14), target_mac: mac(18), target: address(24) })
    }

    /// Whether it tells everybody the sender's own address (RFC 5227 §3: an announcement has sender and target equal).
    pub fn is_gratuitous(&self) -> bool {
        self.sender == self.target
    }

    /// The answer to this request: `mac` has the target's address.
    #[must_use]
    pub fn answered_by(&self, mac: MacAddr) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        }
    }

    /// Writes the whole frame, addressed to `destination`.
    pub fn write(&self, frame: &mut [u8; FRAME_LEN], destination: MacAddr) {
        let (header, message) = frame.split_at_mut(ethernet::HEADER_LEN);
        if let Some(mut header) = ethernet::HeaderMut::new(header) {
            header.set_addresses(destination, self.sender_mac);
            header.set_ether_type(EtherType::ARP);
        }
        message[..6].copy_from_slice(&PREFIX);
        message[6..8].copy_from_slice(match self.operation {
            Operation::Request => &[0, 1],
            Operation::Reply => &[0, 2],
        });
        message[8..14].copy_from_slice(&self.sender_mac.0);
        message[14..18].copy_from_slice(&self.sender.octets());
        message[18..24].copy_from_slice(&self.target_mac.0);
        message[24..28].copy_from_slice(&self.target.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_etherparse_reads() {
        let request = Message {
            operation: Operation::Request,
            sender_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            sender: [10, 0, 0, 10].into(),
            target_mac: MacAddr::default(),
            target: [10, 0, 0, 2].into(),
        };
        let mut frame = [0; FRAME_LEN];
        request.write(&mut frame, MacAddr::BROADCAST);
        let parsed = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(etherparse::NetSlice::Arp(arp)) = parsed.net else { panic!("not ARP: {parsed:?}") };
        assert_eq!(arp.operation(), etherparse::ArpOperation::REQUEST);
        assert_eq!((arp.sender_hw_addr(), arp.sender_protocol_addr()), (&[2, 0, 0, 0, 0, 1][..], &[10, 0, 0, 10][..]));
        assert_eq!((arp.target_hw_addr(), arp.target_protocol_addr()), (&[0; 6][..], &[10, 0, 0, 2][..]));
        assert_eq!(Message::parse(&frame[14..]), Some(request));
    }

    #[test]
    fn what_is_not_ipv4_over_ethernet_is_no_message() {
        let mut frame = [0; FRAME_LEN];
        let message = Message {
            operation: Operation::Reply,
            sender_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            sender: [10, 0, 0, 10].into(),
            target_mac: MacAddr([2, 0, 0, 0, 0, 2]),
            target: [10, 0, 0, 2].into(),
        };
        message.write(&mut frame, message.target_mac);
        for (at, value) in [(0, 9), (1, 6), (2, 9), (3, 6), (4, 8), (5, 16), (6, 1), (7, 3), (7, 0)] {
            let mut bad = frame;
            bad[14 + at] = value;
            assert_eq!(Message::parse(&bad[14..]), None, "byte {at} = {value}");
        }
        for len in 0..LEN {
            assert_eq!(Message::parse(&frame[14..14 + len]), None, "{len} bytes");
        }
    }
}
