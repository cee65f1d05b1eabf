//! What identifies a flow: protocol, addresses and ports, as they stand in a packet.

mod hash;
mod linear;
mod packed;
mod toeplitz;

pub use hash::FlowHasher;
pub use linear::Linear;
pub use packed::{Packed, PackedKey, PackedKey4, PackedKey6};
#[cfg(test)]
pub(crate) use toeplitz::known;
pub use toeplitz::{Toeplitz, ToeplitzKey};

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::wire::{icmp, icmpv6};

/// The protocols that leat balances, with their IANA numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// ICMP echo, or in IPv6 ICMPv6 echo: the identifier stands where TCP and UDP have their ports (RFC 5508 §3.1).
    Icmp = 1,
    /// RFC 9293.
    Tcp = 6,
    /// RFC 768.
    Udp = 17,
}

impl Protocol {
    /// The number in the IPv4 header's protocol field.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Which one a number stands for in a packet of IPv4, or of IPv6.
    pub const fn of(number: u8, is_v6: bool) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            icmp::PROTOCOL if !is_v6 => Some(Self::Icmp),
            icmpv6::PROTOCOL if is_v6 => Some(Self::Icmp),
            _ => None,
        }
    }

    /// The number before its header in an IPv6 packet.
    pub const fn next_header(self) -> u8 {
        match self {
            Self::Icmp => icmpv6::PROTOCOL,
            Self::Tcp | Self::Udp => self as u8,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// The 5-tuple of one packet. Ports are in host byte order, and both addresses are of one family.
///
/// For ICMP echo the identifier is the port of the side that asks, and the other side's port is 0: a request has it
/// in `src_port`, a reply in `dst_port`, so that a reply's key is the request's, reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port, or the identifier of an ICMP echo request.
    pub src_port: u16,
    /// Destination port, or the identifier of an ICMP echo reply.
    pub dst_port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

impl FlowKey {
    /// The key that an answer to this packet has.
    pub const fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, src_port: self.dst_port, dst_port: self.src_port, protocol: self.protocol }
    }
}

/// An address with a port in host byte order, as people write it: without a port that is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint(pub IpAddr, pub u16);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (address, 0) => address.fmt(f),
            (IpAddr::V4(address), port) => write!(f, "{address}:{port}"),
            (IpAddr::V6(address), port) => write!(f, "[{address}]:{port}"),
        }
    }
}

/// What [`Endpoint`] writes, of an address that is text already.
pub fn endpoint(address: &str, port: u16) -> String {
    match port {
        0 => address.to_owned(),
        _ if address.contains(':') => format!("[{address}]:{port}"),
        _ => format!("{address}:{port}"),
    }
}

/// Takes apart what [`endpoint`] writes: an address, of which nothing is looked at, and a port if there is one. `None` if what stands
/// for the port is none.
pub fn split_endpoint(text: &str) -> Option<(&str, Option<u16>)> {
    let (address, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, rest)) => (address, Some(rest.strip_prefix(':')?)),
        // With more than one colon it is an address of IPv6 alone.
        None => match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => (address, Some(port)),
            _ => (text, None),
        },
    };
    match port {
        None => Some((address, None)),
        Some(port) => Some((address, Some(port.parse().ok()?))),
    }
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src, dst, src_port, dst_port, protocol } = *self;
        match protocol {
            Protocol::Icmp => write!(f, "icmp {src} > {dst} id {}", src_port.max(dst_port)),
            _ => write!(f, "{protocol} {} > {}", SocketAddr::new(src, src_port), SocketAddr::new(dst, dst_port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_as_it_is_written() {
        for (address, port) in [("10.0.0.1", 80), ("10.0.0.1", 0), ("2001:db8::1", 80), ("2001:db8::1", 0)] {
            let written = endpoint(address, port);
            assert_eq!(written, Endpoint(address.parse().unwrap(), port).to_string());
            assert_eq!(split_endpoint(&written), Some((address, (port != 0).then_some(port))));
        }
        assert_eq!(split_endpoint("[2001:db8::1]"), Some(("2001:db8::1", None)));
        assert_eq!(split_endpoint("[2001:db8::/32]:53"), Some(("2001:db8::/32", Some(53))));
        for wrong in ["10.0.0.1:http", "10.0.0.1:", "[2001:db8::1]80", "[2001:db8::1]:", "10.0.0.1:70000"] {
            assert_eq!(split_endpoint(wrong), None, "{wrong}");
        }
    }
}
