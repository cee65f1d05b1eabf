//! The header of an IP packet of either version, where both are treated alike.

use std::net::IpAddr;

use super::checksum::{self, Sum};
use super::{ipv4, ipv6};

/// The longest header without options.
pub const LONGEST_HEADER: usize = ipv6::HEADER_LEN;

/// A header that is read.
#[derive(Clone, Copy, Debug)]
pub enum Header<'a> {
    /// Of IPv4.
    V4(ipv4::Header<'a>),
    /// Of IPv6.
    V6(ipv6::Header<'a>),
}

impl<'a> Header<'a> {
    /// The header at the start of `packet`, by its version.
    #[inline]
    pub fn new(packet: &'a [u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => ipv4::Header::new(packet).map(Self::V4),
            6 => ipv6::Header::new(packet).map(Self::V6),
            _ => None,
        }
    }

    /// Where it says it comes from.
    pub fn source(self) -> IpAddr {
        match self {
            Self::V4(header) => header.source().into(),
            Self::V6(header) => header.source().into(),
        }
    }

    /// Where it goes.
    pub fn destination(self) -> IpAddr {
        match self {
            Self::V4(header) => header.destination().into(),
            Self::V6(header) => header.destination().into(),
        }
    }

    /// Routers that it may still pass.
    pub const fn hops_left(self) -> u8 {
        match self {
            Self::V4(header) => header.ttl(),
            Self::V6(header) => header.hop_limit(),
        }
    }

    /// Bytes of header and payload.
    pub const fn packet_len(self) -> usize {
        match self {
            Self::V4(header) => header.total_len() as usize,
            Self::V6(header) => ipv6::HEADER_LEN + header.payload_len() as usize,
        }
    }
}

/// What stands behind the header of a packet, and in IPv6 behind its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// IANA number of the protocol.
    pub protocol: u8,
    /// Where its header starts in the packet; in a fragment that is not the first, where what that carries does.
    pub at: usize,
    /// Which piece of a larger packet this is, if it is one. One that is a piece by name alone, an atomic fragment, is not
    /// (RFC 6946).
    pub fragment: Option<Fragment>,
}

/// Which piece of a larger packet one is (RFC 791 §3.1, RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where what it carries lies in what the whole packet carries, in bytes; a multiple of 8.
    pub offset: u32,
    /// Whether more follows.
    pub more: bool,
    /// Which fragments belong together; in IPv4 of 16 bits.
    pub identification: u32,
}

impl Upper {
    /// What the packet carries, from its first byte on; nothing, if that cannot be told.
    pub fn of(packet: &[u8]) -> Option<Self> {
        match Header::new(packet)? {
            Header::V4(header) if header.header_len() < ipv4::HEADER_LEN => None,
            Header::V4(header) => Some(Self {
                protocol: header.protocol(),
                at: header.header_len(),
                fragment: header.is_fragment().then(|| Fragment {
                    offset: u32::from(header.fragment_offset()) * 8,
                    more: header.more_fragments(),
                    identification: header.identification().into(),
                }),
            }),
            Header::V6(_) => ipv6::upper(packet).ok(),
        }
    }

    /// Whether the packet is one piece of a larger one.
    pub const fn is_fragment(&self) -> bool {
        self.fragment.is_some()
    }

    /// Whether the packet is one piece of a larger one and not the first: what it carries begins without a header.
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }
}

/// Bytes of the header, without options or extension headers, of a packet from or to `address`.
pub const fn header_len(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => ipv4::HEADER_LEN,
        IpAddr::V6(_) => ipv6::HEADER_LEN,
    }
}

/// What a new header says, that of a packet which is never cut.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Bytes after the header.
    pub payload_len: u16,
    /// What comes next, by the number that it has in the packet's version.
    pub protocol: u8,
    /// Routers that it may pass.
    pub hops: u8,
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes, in the same version.
    pub destination: IpAddr,
}

impl Fields {
    /// Bytes of the header.
    pub const fn header_len(&self) -> usize {
        header_len(self.source)
    }

    /// Writes the header to the start of `packet`, if there is room, and returns its length.
    pub fn write(&self, packet: &mut [u8]) -> usize {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let fields = ipv4::Fields {
                    type_of_service: self.traffic_class,
                    total_len: ipv4::HEADER_LEN as u16 + self.payload_len,
                    identification: 0,
                    dont_fragment: true,
                    ttl: self.hops,
                    protocol: self.protocol,
                    source,
                    destination,
                };
                if let Some(header) = packet.first_chunk_mut() {
                    fields.write(header);
                }
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let fields = ipv6::Fields {
                    traffic_class: self.traffic_class,
                    flow_label: 0,
                    payload_len: self.payload_len,
                    next_header: self.protocol,
                    hop_limit: self.hops,
                    source,
                    destination,
                };
                if let Some(header) = packet.first_chunk_mut() {
                    fields.write(header);
                }
            }
            _ => debug_assert!(false, "{self:?} is of two versions"),
        }
        self.header_len()
    }

    /// The sum over the pseudo-header of what comes next.
    pub fn pseudo_header(&self) -> Sum {
        pseudo_header(self.source, self.destination, self.protocol, self.payload_len)
    }
}

/// The sum over the pseudo-header of a protocol: of RFC 9293 §3.1 and RFC 768, or of RFC 8200 §8.1.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: u16) -> Sum {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => checksum::pseudo_header(source, destination, protocol, length),
        (source, destination) => {
            let words = [source, destination].map(|address| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            });
            let fixed = u32::from(protocol) + u32::from(length);
            Sum::ZERO.and_bytes(words.as_flattened()).and_number(fixed)
        }
    }
}

/// Whether `address` is a station's that is reached on its own link alone (RFC 4291 §2.5.6). IPv4's (RFC 3927) are not meant.
pub const fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Whether one station may have `address`: see [`ipv4::is_station`] and [`ipv6::is_station`].
pub const fn is_station(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => ipv4::is_station(address),
        IpAddr::V6(address) => ipv6::is_station(address),
    }
}

/// For tests in which all addresses are of IPv4.
#[cfg(test)]
pub(crate) trait Octets {
    /// The four bytes of an address of IPv4.
    fn octets(&self) -> [u8; 4];
}

#[cfg(test)]
impl Octets for IpAddr {
    fn octets(&self) -> [u8; 4] {
        match self {
            Self::V4(address) => address.octets(),
            Self::V6(address) => panic!("{address} is of IPv6"),
        }
    }
}
