//! ICMP (RFC 792): echo, and messages that are errors.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |     type      |     code      |           checksum            |
//! +---------------+---------------+-------------------------------+
//! |      identifier (echo)        |    sequence number (echo)     |
//! +-------------------------------+-------------------------------+
//! ```

use super::checksum::Delta;
use super::{read_u16, read_u32, write_u16};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

/// Type of an echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 8;
/// IANA protocol number.
pub const PROTOCOL: u8 = 1;

views!();

impl Header<'_> {
    /// What kind of message it is.
    #[inline(always)]
    pub const fn kind(self) -> u8 {
        self.0[0]
    }

    /// The variant of its kind; 0 in every echo.
    #[inline(always)]
    pub const fn code(self) -> u8 {
        self.0[1]
    }

    /// Identifier of an echo message.
    #[inline(always)]
    pub const fn identifier(self) -> u16 {
        read_u16(self.0, 4)
    }

    /// The MTU in "fragmentation needed"; 0 from a router that does not tell (RFC 1191 §4).
    #[inline(always)]
    pub const fn next_hop_mtu(self) -> u16 {
        read_u16(self.0, 6)
    }

    /// The MTU in ICMPv6's "packet too big" (RFC 4443 §3.2), which has 32 bits: more than any packet has is the most. Less than
    /// every link carries is believed of nobody (RFC 8201 §4).
    pub const fn next_hop_mtu_v6(self) -> u16 {
        match read_u32(self.0, 4) {
            ..1280 => 1280,
            mtu @ 1280..=0xffff => mtu as u16,
            _ => u16::MAX,
        }
    }

    /// Whether it reports an error about another packet (RFC 1122 §3.2.2).
    #[inline(always)]
    pub const fn is_error(self) -> bool {
        matches!(self.kind(), 3 | 4 | 5 | 11 | 12)
    }
}

impl HeaderMut<'_> {
    /// Sets the identifier of an echo message and adjusts the checksum, which covers no pseudo-header.
    #[inline(always)]
    pub fn set_identifier(&mut self, identifier: u16) {
        let checksum = Delta::NONE.replace(read_u16(self.0, 4), identifier).apply(read_u16(self.0, 2));
        write_u16(self.0, 4, identifier);
        write_u16(self.0, 2, checksum);
    }

    /// Adjusts the checksum for a change of what it covers.
    pub fn adjust(&mut self, change: Delta) {
        write_u16(self.0, 2, change.apply(read_u16(self.0, 2)));
    }

    /// Turns an echo request into its reply, of type `reply`: the rest comes back as it was (RFC 792, RFC 4443 §4.2).
    pub fn answer(&mut self, reply: u8) {
        let old = read_u16(self.0, 0);
        self.0[0] = reply;
        let checksum = Delta::NONE.replace(old, read_u16(self.0, 0)).apply(read_u16(self.0, 2));
        write_u16(self.0, 2, checksum);
    }
}
