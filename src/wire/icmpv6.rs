//! ICMPv6 (RFC 4443): echo, and messages that are errors. The header is that of [ICMP](super::icmp); the checksum is over the
//! pseudo-header as well.

use super::checksum::{self, Delta};
use super::ipv6;

pub use super::icmp::{HEADER_LEN, Header, HeaderMut};

/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Type of an echo reply.
pub const ECHO_REPLY: u8 = 129;
/// IANA protocol number.
pub const PROTOCOL: u8 = 58;

/// Destination unreachable.
pub const UNREACHABLE: u8 = 1;
/// Packet too big.
pub const TOO_BIG: u8 = 2;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 3;

/// Whether messages of type `kind` report errors about other packets (RFC 4443 §2.1).
pub const fn is_error(kind: u8) -> bool {
    kind < 128
}

/// Whether messages of type `kind` are of neighbour discovery (RFC 4861 §4).
pub const fn is_neighbor_discovery(kind: u8) -> bool {
    matches!(kind, 133..=137)
}

/// The checksum over `message`, in a packet with this header; 0 if the message has a right one in it.
pub fn checksum(header: ipv6::Header<'_>, message: &[u8]) -> u16 {
    let pseudo_header = checksum::pseudo_header_v6(header.addresses(), PROTOCOL, message.len() as u32);
    pseudo_header.and_bytes(message).complement()
}

impl HeaderMut<'_> {
    /// Sets the identifier of an ICMPv6 echo and adjusts the checksum for it and for `addresses`, the change of the
    /// pseudo-header.
    #[inline(always)]
    pub fn forward(&mut self, identifier: u16, addresses: Delta) {
        self.set_identifier(identifier);
        self.adjust(addresses);
    }
}
