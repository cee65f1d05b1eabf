//! IPv4 (RFC 791).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+---------------+-------------------------------+
//! |version|  IHL  | DSCP and ECN  |          total length         |
//! +-------+-------+---------------+-----+-------------------------+
//! |        identification         |flags|     fragment offset     |
//! +---------------+---------------+-----+-------------------------+
//! |  time to live |   protocol    |        header checksum        |
//! +---------------+---------------+-------------------------------+
//! |                        source address                         |
//! +---------------------------------------------------------------+
//! |                      destination address                      |
//! +---------------------------------------------------------------+
//! |                 options, to IHL × 4 bytes …                   |
//! ```

use std::net::Ipv4Addr;

use super::checksum::{self, Delta};
use super::{read_memory_u64, read_u16, read_u32, write_u16, write_u32};

/// Bytes of the header without options.
pub const HEADER_LEN: usize = 20;

/// Option types that let a sender choose the way (RFC 791 §3.1): loose and strict source routing.
const SOURCE_ROUTES: [u8; 2] = [131, 137];

/// What it does to the header checksum that the time to live is one less.
const ONE_HOP: Delta = Delta::NONE.replace(0x0100, 0);

views!();

impl Header<'_> {
    /// 4 in a right header.
    #[inline(always)]
    pub const fn version(self) -> u8 {
        self.0[0] >> 4
    }

    /// Bytes of the header with its options; below 20 in a wrong one.
    #[inline(always)]
    pub const fn header_len(self) -> usize {
        (self.0[0] & 0x0f) as usize * 4
    }

    /// DSCP and ECN.
    #[inline(always)]
    pub const fn type_of_service(self) -> u8 {
        self.0[1]
    }

    /// Whether routers must not cut it.
    #[inline(always)]
    pub const fn dont_fragment(self) -> bool {
        self.0[6] & 0x40 != 0
    }

    /// Bytes of header and payload.
    #[inline(always)]
    pub const fn total_len(self) -> u16 {
        read_u16(self.0, 2)
    }

    /// Which fragments belong together.
    #[inline(always)]
    pub const fn identification(self) -> u16 {
        read_u16(self.0, 4)
    }

    /// Where the payload of a fragment lies in that of the whole packet, in units of 8 bytes.
    #[inline(always)]
    pub const fn fragment_offset(self) -> u16 {
        read_u16(self.0, 6) & 0x1fff
    }

    /// Whether it is a fragment and not the last one.
    #[inline(always)]
    pub const fn more_fragments(self) -> bool {
        self.0[6] & 0x20 != 0
    }

    /// Whether it is one piece of a larger packet: more follow, or it is not the first.
    #[inline(always)]
    pub const fn is_fragment(self) -> bool {
        u16::from_ne_bytes([self.0[6], self.0[7]]) & 0x3fff_u16.to_be() != 0
    }

    /// Whether it is a piece of a larger packet and not the first one: its payload begins without a header.
    #[inline(always)]
    pub const fn is_later_fragment(self) -> bool {
        self.fragment_offset() != 0
    }

    /// Routers that it may still pass.
    #[inline(always)]
    pub const fn ttl(self) -> u8 {
        self.0[8]
    }

    /// IANA number of what it carries.
    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        self.0[9]
    }

    /// The header checksum as it stands.
    #[inline(always)]
    pub const fn checksum(self) -> u16 {
        read_u16(self.0, 10)
    }

    /// Whether the checksum is right, for a header without options.
    #[inline(always)]
    pub fn checksum_is_right(self) -> bool {
        checksum::is_right(self.0)
    }

    /// Where it says it comes from.
    #[inline(always)]
    pub const fn source(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(read_u32(self.0, 12))
    }

    /// Where it goes.
    #[inline(always)]
    pub const fn destination(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(read_u32(self.0, 16))
    }

    /// Source and destination, as they lie in memory.
    #[inline(always)]
    pub const fn addresses(self) -> u64 {
        read_memory_u64(self.0, 12)
    }
}

impl HeaderMut<'_> {
    /// The same header, to read.
    #[inline(always)]
    pub const fn as_header(&self) -> Header<'_> {
        Header(self.0)
    }

    /// Sets both addresses, given as they lie in memory, takes one from the time to live (which must not be 0), and adjusts
    /// the header checksum. Returns what the changed addresses do to a checksum with a pseudo-header (RFC 9293 §3.1).
    #[inline(always)]
    pub fn forward(&mut self, addresses: u64) -> Delta {
        let old = self.as_header();
        let change = Delta::NONE.replace_in_memory(old.addresses(), addresses);
        write_u16(self.0, 10, change.and(ONE_HOP).apply(old.checksum()));
        self.0[8] = self.0[8].wrapping_sub(1);
        self.0[12..20].copy_from_slice(&addresses.to_ne_bytes());
        change
    }

    /// Sets both addresses, given as they lie in memory, and adjusts the header checksum. Returns what all that does to a
    /// checksum over the header, its own checksum included.
    pub fn readdress(&mut self, addresses: u64) -> Delta {
        let old = self.as_header();
        let (before, change) = (old.checksum(), Delta::NONE.replace_in_memory(old.addresses(), addresses));
        let after = change.apply(before);
        write_u16(self.0, 10, after);
        self.0[12..20].copy_from_slice(&addresses.to_ne_bytes());
        change.replace(before, after)
    }

    /// Lets routers cut it, under this identification, and adjusts the header checksum.
    pub fn allow_fragments(&mut self, identification: u16) {
        let old = read_u16(self.0, 6);
        let checksum = Delta::NONE.replace(old, 0).apply(self.as_header().checksum());
        write_u16(self.0, 6, 0);
        write_u16(self.0, 10, checksum);
        self.set_identification(identification);
    }

    /// Sets the identification and adjusts the header checksum.
    pub fn set_identification(&mut self, identification: u16) {
        let old = self.as_header();
        let checksum = Delta::NONE.replace(old.identification(), identification).apply(old.checksum());
        write_u16(self.0, 4, identification);
        write_u16(self.0, 10, checksum);
    }

    /// Sets the length of the packet, and adjusts the checksum for it.
    #[inline]
    pub fn set_total_len(&mut self, total_len: u16) {
        let delta = Delta::NONE.replace(self.as_header().total_len(), total_len);
        write_u16(self.0, 2, total_len);
        let checksum = delta.apply(self.as_header().checksum());
        write_u16(self.0, 10, checksum);
    }

    /// Makes it the header of a fragment: of `total_len` bytes, `offset` × 8 bytes into the whole, with more to follow or
    /// not. The header has no options.
    pub fn set_fragment(&mut self, total_len: u16, offset: u16, more: bool) {
        write_u16(self.0, 2, total_len);
        write_u16(self.0, 6, offset | if more { 0x2000 } else { 0 });
        write_u16(self.0, 10, 0);
        write_u16(self.0, 10, checksum::of(self.0));
    }

    /// Exchanges source and destination and sets the time to live, for an answer written into the question's packet.
    pub fn answer(&mut self, ttl: u8) {
        let (source, destination) = (read_u32(self.0, 12), read_u32(self.0, 16));
        write_u32(self.0, 12, destination);
        write_u32(self.0, 16, source);
        let old = read_u16(self.0, 8);
        self.0[8] = ttl;
        let checksum = Delta::NONE.replace(old, read_u16(self.0, 8)).apply(self.as_header().checksum());
        write_u16(self.0, 10, checksum);
    }
}

/// What a new header says; it has no options.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// DSCP and ECN.
    pub type_of_service: u8,
    /// Bytes of header and payload.
    pub total_len: u16,
    /// Which fragments belong together.
    pub identification: u16,
    /// Whether routers must not cut it.
    pub dont_fragment: bool,
    /// Routers that it may pass.
    pub ttl: u8,
    /// IANA number of what it carries.
    pub protocol: u8,
    /// Where it comes from.
    pub source: Ipv4Addr,
    /// Where it goes.
    pub destination: Ipv4Addr,
}

impl Fields {
    /// Writes the header, with its checksum.
    #[inline]
    pub fn write(&self, header: &mut [u8; HEADER_LEN]) {
        header[0] = 0x45;
        header[1] = self.type_of_service;
        write_u16(header, 2, self.total_len);
        write_u16(header, 4, self.identification);
        write_u16(header, 6, if self.dont_fragment { 0x4000 } else { 0 });
        header[8] = self.ttl;
        header[9] = self.protocol;
        write_u16(header, 10, 0);
        write_u32(header, 12, self.source.to_bits());
        write_u32(header, 16, self.destination.to_bits());
        write_u16(header, 10, checksum::of(header));
    }
}

/// Whether one station may have `address` (RFC 1122 §3.2.1.3): not this network, loopback, multicast or reserved.
pub const fn is_station(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..)
}

/// Whether the checksum of `header`, options included, is right.
pub fn checksum_is_right(header: &[u8]) -> bool {
    checksum::of(header) == 0
}

/// Whether the options of `header` ask for a source route, or are malformed: both are refused.
pub fn has_source_route(header: &[u8]) -> bool {
    let mut options = header.get(HEADER_LEN..).unwrap_or_default();
    loop {
        match options {
            // The end of the list, told or reached.
            [] | [0, ..] => return false,
            [1, rest @ ..] => options = rest,
            [kind, ..] if SOURCE_ROUTES.contains(kind) => return true,
            [_, len, ..] if *len >= 2 && usize::from(*len) <= options.len() => options = &options[usize::from(*len)..],
            _ => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 20] =
        [0x45, 0x00, 0x00, 0x3c, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0x0a, 0x6c, 10, 0, 0, 1, 10, 0, 0, 10];

    #[test]
    fn fields_stand_where_rfc_791_puts_them() {
        let header = Header::new(&PACKET).unwrap();
        assert_eq!((header.version(), header.header_len(), header.total_len()), (4, 20, 60));
        assert_eq!((header.identification(), header.ttl(), header.protocol()), (0x1c46, 64, 6));
        assert_eq!((header.source(), header.destination()), ([10, 0, 0, 1].into(), [10, 0, 0, 10].into()));
        assert!(!header.is_fragment(), "don't-fragment alone is no fragment");
        assert!(checksum_is_right(&PACKET));
    }

    #[test]
    fn forwarding_keeps_the_header_checksum_right() {
        let mut packet = PACKET;
        HeaderMut::new(&mut packet).unwrap().forward(u64::from_ne_bytes([10, 0, 0, 10, 10, 0, 0, 2]));
        let (parsed, _) = etherparse::Ipv4Header::from_slice(&packet).unwrap();
        assert_eq!(parsed.header_checksum, parsed.calc_header_checksum());
        assert_eq!((parsed.source, parsed.destination, parsed.time_to_live), ([10, 0, 0, 10], [10, 0, 0, 2], 63));
    }

    #[test]
    fn first_middle_and_last_fragments_are_recognised() {
        let rows = [([0x20, 0], true, false), ([0x20, 5], true, true), ([0, 5], true, true), ([0x40, 0], false, false)];
        for (bytes, fragment, later) in rows {
            let mut packet = PACKET;
            packet[6..8].copy_from_slice(&bytes);
            let header = Header::new(&packet).unwrap();
            assert_eq!((header.is_fragment(), header.is_later_fragment()), (fragment, later), "{bytes:?}");
        }
    }

    #[test]
    fn source_routes_are_found_behind_other_options() {
        let with = |options: &[u8]| [&PACKET[..], options].concat();
        assert!(!has_source_route(&PACKET));
        assert!(!has_source_route(&with(&[1, 1, 7, 3, 4, 0, 131, 0])), "what follows the end of the list is padding");
        assert!(has_source_route(&with(&[1, 7, 3, 4, 131, 3, 4, 0])));
        assert!(has_source_route(&with(&[137, 3, 4, 0])));
        assert!(has_source_route(&with(&[7, 0, 0, 0])), "an option without a length ends nowhere");
        assert!(has_source_route(&with(&[7, 9, 0, 0])), "an option longer than the header");
    }
}
