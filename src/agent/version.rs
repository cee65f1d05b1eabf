//! The two versions of IP, as outer and inner packets have them.

use std::net::IpAddr;

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Version {
    /// That of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// That which stands in the first four bits of a packet.
    #[inline(always)]
    pub const fn of_packet(first_byte: u8) -> Option<Self> {
        match first_byte >> 4 {
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }

    /// IANA's number of its packets as what another protocol carries (RFC 2003, RFC 2473).
    pub const fn protocol(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 41,
        }
    }

    /// That whose packets have this number.
    #[inline(always)]
    pub const fn of_protocol(protocol: u8) -> Option<Self> {
        match protocol {
            4 => Some(Self::V4),
            41 => Some(Self::V6),
            _ => None,
        }
    }
}
