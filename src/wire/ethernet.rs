//! Ethernet II.
//!
//! ```text
//!  0                   6                   12      14
//! +-------------------+-------------------+-------+----------
//! |    destination    |      source       | type  | payload…
//! +-------------------+-------------------+-------+----------
//! ```

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::{read_memory_u64, read_u16, write_u16};

/// Bytes of the header.
pub const HEADER_LEN: usize = 14;

/// What the payload is, from the registry of IEEE 802 numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtherType(pub u16);

impl EtherType {
    /// RFC 894.
    pub const IPV4: Self = Self(0x0800);
    /// RFC 826.
    pub const ARP: Self = Self(0x0806);
    /// IEEE 802.1Q.
    pub const VLAN: Self = Self(0x8100);
    /// IEEE 802.1ad.
    pub const SERVICE_VLAN: Self = Self(0x88a8);
    /// RFC 2464.
    pub const IPV6: Self = Self(0x86dd);

    /// That of packets with addresses like this one.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::IPV4,
            IpAddr::V6(_) => Self::IPV6,
        }
    }
}

views!();

impl Header<'_> {
    /// Who it is for.
    #[inline(always)]
    pub const fn destination(self) -> MacAddr {
        MacAddr::from_word(read_memory_u64(self.0, 0))
    }

    /// Who sent it.
    #[inline(always)]
    pub const fn source(self) -> MacAddr {
        MacAddr::from_word(read_memory_u64(self.0, 6))
    }

    /// What it carries.
    #[inline(always)]
    pub const fn ether_type(self) -> EtherType {
        EtherType(read_u16(self.0, 12))
    }
}

impl HeaderMut<'_> {
    /// Sets both addresses.
    #[inline(always)]
    pub fn set_addresses(&mut self, destination: MacAddr, source: MacAddr) {
        self.0[..6].copy_from_slice(&destination.0);
        self.0[6..12].copy_from_slice(&source.0);
    }

    /// Sets the type of the payload.
    #[inline(always)]
    pub fn set_ether_type(&mut self, ether_type: EtherType) {
        write_u16(self.0, 12, ether_type.0);
    }
}

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address that is the first six of eight bytes, as they lie in memory.
    #[inline(always)]
    const fn from_word(word: u64) -> Self {
        let [a, b, c, d, e, f, _, _] = word.to_ne_bytes();
        Self([a, b, c, d, e, f])
    }

    /// Whether it can be the address of one station: neither a group address nor all zeros.
    pub const fn is_unicast(self) -> bool {
        let Self([a, b, c, d, e, f]) = self;
        a & 1 == 0 && (a | b | c | d | e | f) != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// Text that is not six pairs of hexadecimal digits with colons between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ethernet address: write it as 02:00:00:00:00:01")]
pub struct ParseMacError;

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or(ParseMacError)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(ParseMacError);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        if parts.next().is_some() { Err(ParseMacError) } else { Ok(Self(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_people_write_them() {
        let mac: MacAddr = "02:00:5e:10:00:fE".parse().unwrap();
        assert_eq!(mac, MacAddr([0x02, 0x00, 0x5e, 0x10, 0x00, 0xfe]));
        assert_eq!(mac.to_string(), "02:00:5e:10:00:fe");
        for bad in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:fe:00",
            "2:00:5e:10:00:fe",
            "02-00-5e-10-00-fe",
            "0g:00:00:00:00:00",
            "+2:00:00:00:00:00",
        ] {
            assert_eq!(bad.parse::<MacAddr>(), Err(ParseMacError), "{bad}");
        }
    }

    #[test]
    fn groups_and_zero_are_no_station() {
        assert!(MacAddr([0x02, 0, 0, 0, 0, 1]).is_unicast());
        assert!(!MacAddr::BROADCAST.is_unicast());
        assert!(!MacAddr([0x01, 0, 0x5e, 0, 0, 1]).is_unicast());
        assert!(!MacAddr::default().is_unicast());
    }

    #[test]
    fn header_fields_stand_where_ethernet_puts_them() {
        let mut frame = [0u8; 14];
        let mut header = HeaderMut::new(&mut frame).unwrap();
        header.set_addresses(MacAddr([1, 2, 3, 4, 5, 6]), MacAddr([7, 8, 9, 10, 11, 12]));
        header.set_ether_type(EtherType::ARP);
        assert_eq!(frame, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x08, 0x06]);
        let header = Header::new(&frame).unwrap();
        assert_eq!(
            (header.destination(), header.source()),
            (MacAddr([1, 2, 3, 4, 5, 6]), MacAddr([7, 8, 9, 10, 11, 12]))
        );
        assert!(Header::new(&frame[..13]).is_none());
    }
}
