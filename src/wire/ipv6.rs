//! IPv6 (RFC 8200 §3).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+---------------+---------------------------------------+
//! |version| traffic class |              flow label               |
//! +-------+---------------+-------+---------------+---------------+
//! |        payload length         |  next header  |   hop limit   |
//! +-------------------------------+---------------+---------------+
//! |                                                               |
//! |                   source address (16 bytes)                   |
//! |                                                               |
//! +---------------------------------------------------------------+
//! |                                                               |
//! |                destination address (16 bytes)                 |
//! |                                                               |
//! +---------------------------------------------------------------+
//! |         extension headers, each with the next one's number …  |
//! ```

use std::net::Ipv6Addr;

use super::checksum::Delta;
use super::ip::{Fragment, Upper};
use super::{MacAddr, read_memory_u64, read_u16, read_u32, write_u16};

/// Source and destination of a packet, as they lie in memory: two words each.
pub type Addresses6 = [u64; 4];

/// Bytes of the header without extension headers.
pub const HEADER_LEN: usize = 40;

/// The least MTU that every link has (RFC 8200 §5).
pub const LEAST_MTU: u16 = 1280;

/// Extension headers (IANA, "IPv6 Extension Header Types").
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// How many extension headers are looked at, and how many bytes of them.
const MOST_EXTENSIONS: usize = 8;
const MOST_EXTENSION_BYTES: usize = 192;

views!();

impl Header<'_> {
    /// 6 in a right header.
    #[inline(always)]
    pub const fn version(self) -> u8 {
        self.0[0] >> 4
    }

    /// DSCP and ECN.
    #[inline(always)]
    pub const fn traffic_class(self) -> u8 {
        self.0[0] << 4 | self.0[1] >> 4
    }

    /// The flow label, 20 bits.
    #[inline(always)]
    pub const fn flow_label(self) -> u32 {
        read_u32(self.0, 0) & 0xf_ffff
    }

    /// Bytes after this header.
    #[inline(always)]
    pub const fn payload_len(self) -> u16 {
        read_u16(self.0, 4)
    }

    /// IANA number of what comes next.
    #[inline(always)]
    pub const fn next_header(self) -> u8 {
        self.0[6]
    }

    /// Routers that it may still pass.
    #[inline(always)]
    pub const fn hop_limit(self) -> u8 {
        self.0[7]
    }

    /// Where it says it comes from.
    #[inline(always)]
    pub fn source(self) -> Ipv6Addr {
        address(self.0, 8)
    }

    /// Where it goes.
    #[inline(always)]
    pub fn destination(self) -> Ipv6Addr {
        address(self.0, 24)
    }

    /// Source and destination, as they lie in memory.
    #[inline(always)]
    pub const fn addresses(self) -> Addresses6 {
        [
            read_memory_u64(self.0, 8),
            read_memory_u64(self.0, 16),
            read_memory_u64(self.0, 24),
            read_memory_u64(self.0, 32),
        ]
    }
}

fn address(header: &[u8; HEADER_LEN], at: usize) -> Ipv6Addr {
    let bytes: [u8; 16] = std::array::from_fn(|byte| header[at + byte]);
    bytes.into()
}

impl HeaderMut<'_> {
    /// The same header, to read.
    #[inline(always)]
    pub const fn as_header(&self) -> Header<'_> {
        Header(self.0)
    }

    /// Sets both addresses, given as they lie in memory, and takes one from the hop limit, which must not be 0. Returns what
    /// that does to a checksum with a pseudo-header (RFC 8200 §8.1).
    #[inline]
    pub fn forward(&mut self, addresses: Addresses6) -> Delta {
        let change = Delta::of_words(self.as_header().addresses(), addresses);
        self.forward_reckoned(addresses);
        change
    }

    /// The same where the caller knows what it would return.
    #[inline(always)]
    pub fn forward_reckoned(&mut self, addresses: Addresses6) {
        self.0[7] = self.0[7].wrapping_sub(1);
        self.set_addresses(addresses);
    }

    /// Sets both addresses, given as they lie in memory. Returns what that does to a checksum over them.
    #[inline]
    pub fn readdress(&mut self, addresses: Addresses6) -> Delta {
        let change = Delta::of_words(self.as_header().addresses(), addresses);
        self.set_addresses(addresses);
        change
    }

    #[inline(always)]
    fn set_addresses(&mut self, addresses: Addresses6) {
        for (place, word) in self.0[8..].as_chunks_mut().0.iter_mut().zip(addresses) {
            *place = word.to_ne_bytes();
        }
    }

    /// Sets the number of bytes after this header.
    #[inline]
    pub fn set_payload_len(&mut self, payload_len: u16) {
        write_u16(self.0, 4, payload_len);
    }

    /// Exchanges source and destination and sets the hop limit, for an answer written into the question's packet.
    pub fn answer(&mut self, hop_limit: u8) {
        let [a, b, c, d] = self.as_header().addresses();
        self.readdress([c, d, a, b]);
        self.0[7] = hop_limit;
    }
}

/// What a new header says.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// 20 bits.
    pub flow_label: u32,
    /// Bytes after the header.
    pub payload_len: u16,
    /// IANA number of what comes next.
    pub next_header: u8,
    /// Routers that it may pass.
    pub hop_limit: u8,
    /// Where it comes from.
    pub source: Ipv6Addr,
    /// Where it goes.
    pub destination: Ipv6Addr,
}

impl Fields {
    /// Writes the header.
    #[inline]
    pub fn write(&self, header: &mut [u8; HEADER_LEN]) {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        header[..4].copy_from_slice(&first.to_be_bytes());
        write_u16(header, 4, self.payload_len);
        header[6] = self.next_header;
        header[7] = self.hop_limit;
        header[8..24].copy_from_slice(&self.source.octets());
        header[24..40].copy_from_slice(&self.destination.octets());
    }
}

/// Length of a fragment header in bytes.
pub const FRAGMENT_LEN: usize = 8;

/// Sets the identification of the fragment `packet`.
pub fn set_identification(packet: &mut [u8], identification: u32) {
    // What a fragment carries begins behind its fragment header.
    let Some(end) = upper(packet).ok().filter(Upper::is_fragment).map(|upper| upper.at) else { return };
    if let Some(place) = packet.get_mut(end - 4..end) {
        place.copy_from_slice(&identification.to_be_bytes());
    }
}

/// Says in the header of `packet` that `len` bytes of `protocol` follow it.
pub fn carry(packet: &mut [u8], protocol: u8, len: u16) {
    if let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() {
        header[4..6].copy_from_slice(&len.to_be_bytes());
        header[6] = protocol;
    }
}

/// Writes a fragment header behind the header in `packet`, where there is room for it, and tells that header of it.
pub fn insert_fragment(packet: &mut [u8], fragment: &Fragment) {
    let Some((header, rest)) = packet.split_first_chunk_mut::<HEADER_LEN>() else { return };
    let Some(place) = rest.first_chunk_mut::<FRAGMENT_LEN>() else { return };
    let [a, b] = (fragment.offset as u16 | u16::from(fragment.more)).to_be_bytes();
    let [c, d, e, f] = fragment.identification.to_be_bytes();
    *place = [std::mem::replace(&mut header[6], FRAGMENT), 0, a, b, c, d, e, f];
    let payload_len = u16::from_be_bytes([header[4], header[5]]).saturating_add(FRAGMENT_LEN as u16);
    header[4..6].copy_from_slice(&payload_len.to_be_bytes());
}

/// Why nothing was found behind the extension headers of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongExtension {
    /// It ends before they do, or a length lies.
    Truncated,
    /// They are more than are looked at.
    TooMany,
    /// Its way is to be the sender's choice (RFC 5095), or it is not at its destination.
    Routing,
}

/// Finds what stands behind the extension headers of `packet`, an IPv6 packet from its first byte on.
///
/// Hop-by-hop options are first or nowhere (RFC 8200 §4.1). Options are not looked into: they are for the destination and for
/// routers that know them, and go on as they are.
///
/// # Errors
///
/// As [`WrongExtension`] says.
pub fn upper(packet: &[u8]) -> Result<Upper, WrongExtension> {
    let header = Header::new(packet).ok_or(WrongExtension::Truncated)?;
    let mut upper = Upper { protocol: header.next_header(), at: HEADER_LEN, fragment: None };
    for _ in 0..=MOST_EXTENSIONS {
        let extension = packet.get(upper.at..).unwrap_or_default();
        let len = match upper.protocol {
            HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING => {
                let [_, len, _, segments_left, ..] = *extension else { return Err(WrongExtension::Truncated) };
                // Type 0 is refused by RFC 5095, and any other that is not done with means somebody else.
                if upper.protocol == ROUTING && segments_left != 0 {
                    return Err(WrongExtension::Routing);
                }
                8 + 8 * usize::from(len)
            }
            FRAGMENT => {
                let Some(fragment) = extension.first_chunk::<FRAGMENT_LEN>() else {
                    return Err(WrongExtension::Truncated);
                };
                let word = read_u16(fragment, 2);
                if word & 0xfff9 != 0 {
                    upper.fragment = Some(Fragment {
                        offset: u32::from(word & 0xfff8),
                        more: word & 1 != 0,
                        identification: read_u32(fragment, 4),
                    });
                }
                FRAGMENT_LEN
            }
            _ => return Ok(upper),
        };
        if upper.protocol == HOP_BY_HOP && upper.at != HEADER_LEN {
            return Err(WrongExtension::TooMany);
        }
        if extension.len() < len {
            return Err(WrongExtension::Truncated);
        }
        upper.protocol = extension[0];
        upper.at += len;
        if upper.at > HEADER_LEN + MOST_EXTENSION_BYTES {
            return Err(WrongExtension::TooMany);
        }
        // What follows a fragment's header may be any byte of the whole.
        if upper.is_fragment() {
            return Ok(upper);
        }
    }
    Err(WrongExtension::TooMany)
}

/// Whether there is a fragment header, be it that of an atomic fragment, among the extension headers of `packet` before `end`,
/// where [`upper`] has found their end.
pub fn has_fragment_header(packet: &[u8], end: usize) -> bool {
    let Some(header) = Header::new(packet) else { return false };
    let (mut kind, mut at) = (header.next_header(), HEADER_LEN);
    while at < end && kind != FRAGMENT {
        let Some(&[next, len, ..]) = packet.get(at..) else { return false };
        (kind, at) = (next, at + 8 + 8 * usize::from(len));
    }
    at < end
}

/// Whether one station may have `address`, and be reached there through routers (RFC 4291 §2): not unspecified, loopback,
/// multicast, of one link alone, or an IPv4 address in disguise.
pub const fn is_station(address: Ipv6Addr) -> bool {
    !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !address.is_unicast_link_local()
        && address.to_ipv4_mapped().is_none()
}

/// The address that a port with this Ethernet address has on its own link (RFC 4291 §2.5.6, appendix A).
pub fn link_local(MacAddr([a, b, c, d, e, f]): MacAddr) -> Ipv6Addr {
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f].into()
}

/// The group in which `address` is asked for (RFC 4291 §2.7.1).
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a as u16, (b as u16) << 8 | c as u16)
}

#[cfg(test)]
mod tests {
    use etherparse::{Ipv6FlowLabel, Ipv6Header};

    use super::*;

    fn packet() -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        Fields {
            traffic_class: 0xb9,
            flow_label: 0xabcde,
            payload_len: 20,
            next_header: 6,
            hop_limit: 64,
            source: "2001:db8::1".parse().unwrap(),
            destination: "2001:db8:0:1::a".parse().unwrap(),
        }
        .write(&mut header);
        header
    }

    #[test]
    fn fields_stand_where_rfc_8200_puts_them() {
        let bytes = packet();
        let (judge, _) = Ipv6Header::from_slice(&bytes).unwrap();
        assert_eq!((judge.traffic_class, judge.flow_label), (0xb9, Ipv6FlowLabel::try_new(0xabcde).unwrap()));
        assert_eq!((judge.payload_length, judge.next_header.0, judge.hop_limit), (20, 6, 64));
        let header = Header::new(&bytes).unwrap();
        assert_eq!((header.version(), header.traffic_class(), header.flow_label()), (6, 0xb9, 0xabcde));
        assert_eq!((header.payload_len(), header.next_header(), header.hop_limit()), (20, 6, 64));
        assert_eq!((header.source(), header.destination()), (judge.source_addr(), judge.destination_addr()));
    }

    #[test]
    fn an_answer_goes_back() {
        let mut bytes = packet();
        let before = Header::new(&bytes).unwrap().source();
        HeaderMut::new(&mut bytes).unwrap().answer(255);
        let header = Header::new(&bytes).unwrap();
        assert_eq!((header.destination(), header.hop_limit()), (before, 255));
    }

    /// Extension headers, each with its number.
    type Extensions<'a> = &'a [(u8, &'a [u8])];

    /// `packet` with these extension headers, and then protocol 17.
    fn with(extensions: Extensions<'_>) -> Vec<u8> {
        let mut bytes = packet().to_vec();
        let mut numbers = extensions.iter().map(|(number, _)| *number).chain([17]);
        bytes[6] = numbers.next().unwrap();
        for ((_, extension), next) in extensions.iter().zip(numbers) {
            bytes.push(next);
            bytes.extend(*extension);
        }
        bytes.extend([0; 8]);
        bytes
    }

    const OPTIONS: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
    const LONG_OPTIONS: &[u8] = &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const ARRIVED: &[u8] = &[0, 2, 0, 0, 0, 0, 0];
    const ON_ITS_WAY: &[u8] = &[0, 0, 1, 0, 0, 0, 0];
    const ATOMIC: &[u8] = &[0, 0, 0, 1, 2, 3, 4];
    const FIRST: &[u8] = &[0, 0, 1, 1, 2, 3, 4];
    const LATER: &[u8] = &[0, 0, 0x10, 1, 2, 3, 4];

    #[test]
    fn extension_headers_are_walked() {
        let found = |at, is_fragment| Ok((at, is_fragment));
        let many = [(DESTINATION_OPTIONS, OPTIONS); 9];
        let long = [(DESTINATION_OPTIONS, LONG_OPTIONS); 8];
        let rows: [(Extensions<'_>, _); 10] = [
            (&[], found(40, false)),
            (&[(HOP_BY_HOP, OPTIONS)], found(48, false)),
            (&[(HOP_BY_HOP, LONG_OPTIONS), (DESTINATION_OPTIONS, OPTIONS)], found(64, false)),
            (&[(ROUTING, ARRIVED)], found(48, false)),
            (&[(ROUTING, ON_ITS_WAY)], Err(WrongExtension::Routing)),
            (&[(FRAGMENT, ATOMIC), (DESTINATION_OPTIONS, OPTIONS)], found(56, false)),
            (&[(FRAGMENT, FIRST)], found(48, true)),
            (&[(FRAGMENT, LATER)], found(48, true)),
            (&[(DESTINATION_OPTIONS, OPTIONS), (HOP_BY_HOP, OPTIONS)], Err(WrongExtension::TooMany)),
            (&many, Err(WrongExtension::TooMany)),
        ];
        for (extensions, expected) in rows {
            let got = upper(&with(extensions)).map(|upper| (upper.at, upper.is_fragment()));
            assert_eq!(got, expected, "{extensions:?}");
        }
        assert!(upper(&with(&long)).is_ok());
        let later = upper(&with(&[(HOP_BY_HOP, OPTIONS), (FRAGMENT, LATER)])).unwrap();
        let fragment = Fragment { offset: 16, more: false, identification: 0x0102_0304 };
        assert_eq!(later, Upper { protocol: 17, at: 56, fragment: Some(fragment) });
    }

    #[test]
    fn a_packet_that_ends_in_an_extension_header_is_told() {
        let whole = with(&[(HOP_BY_HOP, OPTIONS), (FRAGMENT, ATOMIC), (ROUTING, ARRIVED)]);
        for len in 0..whole.len() - 8 {
            assert_eq!(upper(&whole[..len]), Err(WrongExtension::Truncated), "{len}");
        }
    }

    #[test]
    fn groups_loopback_and_disguised_addresses_are_no_stations() {
        for text in ["::", "::1", "ff02::1", "fe80::1", "::ffff:10.0.0.1"] {
            assert!(!is_station(text.parse().unwrap()), "{text}");
        }
        assert!(is_station("2001:db8::1".parse().unwrap()) && is_station("fd00::1".parse().unwrap()));
    }

    #[test]
    fn an_address_is_asked_for_in_a_group_of_its_own() {
        let address = "4037::01:800:200e:8c6c".parse().unwrap();
        assert_eq!(solicited_node(address), "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap(), "RFC 4291's example");
    }
}
