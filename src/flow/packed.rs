//! A 5-tuple as it lies in a packet: what the packet path compares, hashes and writes without turning a byte.
//!
//! The two families have a key each, which say the same by the same names ([`Packed`]); [`PackedKey`] is either.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{FlowKey, Protocol};
use crate::wire::ipv6::Addresses6;

/// A key of one family.
pub trait Packed: Copy + Eq {
    /// All that it says, in blocks for a hash.
    type Blocks: AsRef<[[u64; 2]]>;

    /// All that it says, in blocks for a hash.
    fn blocks(&self) -> Self::Blocks;
}

/// What a [`FlowKey`] of one family says, in the order of a packet's bytes. `A` is both addresses.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PackedTuple<A> {
    addresses: A,
    ports: u32,
    protocol: Protocol,
}

/// The key of a packet of IPv4.
///
/// Source and destination address stand side by side in an IPv4 header, and source and destination port in TCP and UDP
/// (RFC 791 §3.1, RFC 9293 §3.1, RFC 768). Each pair is one number here, read and written as memory has it.
pub type PackedKey4 = PackedTuple<u64>;

/// The key of a packet of IPv6 (RFC 8200 §3).
pub type PackedKey6 = PackedTuple<Addresses6>;

/// What a [`FlowKey`] says, in the order of a packet's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedKey {
    /// Of IPv4.
    V4(PackedKey4),
    /// Of IPv6.
    V6(PackedKey6),
}

impl<A: Copy> PackedTuple<A> {
    /// The key of a packet that has these addresses and ports, read as they lie in memory.
    #[inline(always)]
    pub const fn from_memory(addresses: A, ports: u32, protocol: Protocol) -> Self {
        Self { addresses, ports, protocol }
    }

    /// Source and destination address, as they lie in memory.
    #[inline(always)]
    pub const fn addresses(&self) -> A {
        self.addresses
    }

    /// Source and destination port, as they lie in memory.
    #[inline(always)]
    pub const fn ports(&self) -> u32 {
        self.ports
    }

    /// Protocol.
    #[inline(always)]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }
}

impl PackedKey4 {
    /// The key that an answer to this packet has.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        // Each pair's halves change places, whichever of them memory has first.
        let (addresses, ports) = (self.addresses.rotate_left(32), self.ports.rotate_left(16));
        Self { addresses, ports, ..self }
    }

    /// The same, to think with.
    #[inline]
    pub const fn unpack(self) -> FlowKey {
        let [a, b, c, d, e, f, g, h] = self.addresses.to_ne_bytes();
        let (src_port, dst_port) = unpack_ports(self.ports);
        FlowKey {
            src: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            dst: IpAddr::V4(Ipv4Addr::new(e, f, g, h)),
            src_port,
            dst_port,
            protocol: self.protocol,
        }
    }
}

impl PackedKey6 {
    /// The key that an answer to this packet has.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        let [a, b, c, d] = self.addresses;
        Self { addresses: [c, d, a, b], ports: self.ports.rotate_left(16), ..self }
    }

    /// The same, to think with.
    #[inline]
    pub const fn unpack(self) -> FlowKey {
        let [a, b, c, d] = self.addresses;
        let (src_port, dst_port) = unpack_ports(self.ports);
        FlowKey {
            src: IpAddr::V6(address([a, b])),
            dst: IpAddr::V6(address([c, d])),
            src_port,
            dst_port,
            protocol: self.protocol,
        }
    }
}

/// The ports of a number as it lies in memory: source and destination.
#[inline]
const fn unpack_ports(ports: u32) -> (u16, u16) {
    let [a, b, c, d] = ports.to_ne_bytes();
    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

/// The address of two words as they lie in memory.
const fn address([first, second]: [u64; 2]) -> Ipv6Addr {
    let bits = (u64::from_be(first) as u128) << 64 | u64::from_be(second) as u128;
    Ipv6Addr::from_bits(bits)
}

/// The words of an address, as they lie in memory. One of IPv4 is written in IPv6's way (RFC 4291 §2.5.5.2).
#[inline]
const fn words(address: IpAddr) -> [u64; 2] {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    [((bits >> 64) as u64).to_be(), (bits as u64).to_be()]
}

impl PackedKey {
    /// The key of these addresses, which may be of IPv4, written in IPv6's way.
    pub const fn from_wide(addresses: Addresses6, ports: u32, protocol: Protocol) -> Self {
        let key = PackedKey6 { addresses, ports, protocol };
        let FlowKey { src: IpAddr::V6(src), dst: IpAddr::V6(dst), .. } = key.unpack() else { return Self::V6(key) };
        match (src.to_ipv4_mapped(), dst.to_ipv4_mapped()) {
            (Some(src), Some(dst)) => FlowKey { src: IpAddr::V4(src), dst: IpAddr::V4(dst), ..key.unpack() }.pack(),
            _ => Self::V6(key),
        }
    }

    /// Its addresses, those of IPv4 written in IPv6's way.
    pub const fn wide_addresses(&self) -> Addresses6 {
        match self {
            Self::V4(key) => {
                let key = key.unpack();
                let ([a, b], [c, d]) = (words(key.src), words(key.dst));
                [a, b, c, d]
            }
            Self::V6(key) => key.addresses,
        }
    }

    /// Source and destination port, as they lie in memory.
    #[inline(always)]
    pub const fn ports(&self) -> u32 {
        match self {
            Self::V4(key) => key.ports,
            Self::V6(key) => key.ports,
        }
    }

    /// Protocol.
    #[inline(always)]
    pub const fn protocol(&self) -> Protocol {
        match self {
            Self::V4(key) => key.protocol,
            Self::V6(key) => key.protocol,
        }
    }

    /// The key that an answer to this packet has.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::V4(key) => Self::V4(key.reversed()),
            Self::V6(key) => Self::V6(key.reversed()),
        }
    }

    /// The same, to think with.
    #[inline]
    pub const fn unpack(self) -> FlowKey {
        match self {
            Self::V4(key) => key.unpack(),
            Self::V6(key) => key.unpack(),
        }
    }
}

impl PartialEq for PackedKey4 {
    /// Without a branch for each field: where keys are compared, they nearly always agree.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let small = (self.ports ^ other.ports) | u32::from(self.protocol as u8 ^ other.protocol as u8);
        (self.addresses ^ other.addresses) | u64::from(small) == 0
    }
}

impl Eq for PackedKey4 {}

impl PartialEq for PackedKey6 {
    /// Without a branch for each field, as well.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let small = (self.ports ^ other.ports) | u32::from(self.protocol as u8 ^ other.protocol as u8);
        let ([a, b, c, d], [e, f, g, h]) = (self.addresses, other.addresses);
        (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) | u64::from(small) == 0
    }
}

impl Eq for PackedKey6 {}

impl Packed for PackedKey4 {
    type Blocks = [[u64; 2]; 1];

    #[inline(always)]
    fn blocks(&self) -> Self::Blocks {
        [[self.addresses, u64::from(self.ports) | (self.protocol as u64) << 32]]
    }
}

impl Packed for PackedKey6 {
    type Blocks = [[u64; 2]; 3];

    #[inline(always)]
    fn blocks(&self) -> Self::Blocks {
        let [a, b, c, d] = self.addresses;
        [[a, b], [c, d], [u64::from(self.ports), self.protocol as u64]]
    }
}

impl FlowKey {
    /// The same, as it lies in a packet.
    #[inline]
    pub const fn pack(&self) -> PackedKey {
        let ([i, j], [k, l]) = (self.src_port.to_be_bytes(), self.dst_port.to_be_bytes());
        let (ports, protocol) = (u32::from_ne_bytes([i, j, k, l]), self.protocol);
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let ([a, b, c, d], [e, f, g, h]) = (src.octets(), dst.octets());
                let addresses = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
                PackedKey::V4(PackedKey4 { addresses, ports, protocol })
            }
            (src, dst) => {
                let ([a, b], [c, d]) = (words(src), words(dst));
                PackedKey::V6(PackedKey6 { addresses: [a, b, c, d], ports, protocol })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> FlowKey {
        FlowKey {
            src: [10, 1, 2, 3].into(),
            dst: [172, 16, 5, 4].into(),
            src_port: 0x1234,
            dst_port: 0x5678,
            protocol: Protocol::Tcp,
        }
    }

    fn key6() -> FlowKey {
        FlowKey { src: "2001:db8::1:2".parse().unwrap(), dst: "2001:db8:a::b".parse().unwrap(), ..key() }
    }

    #[test]
    fn packing_keeps_all_that_a_key_says() {
        for key in [key(), key6()] {
            assert_eq!(key.pack().unpack(), key);
            assert_eq!(key.pack().reversed().unpack(), key.reversed());
            let packed = key.pack();
            assert_eq!(PackedKey::from_wide(packed.wide_addresses(), packed.ports(), packed.protocol()), packed);
        }
    }

    #[test]
    fn the_numbers_are_a_packets_bytes() {
        let PackedKey::V4(packed) = key().pack() else { panic!() };
        assert_eq!(packed.addresses().to_ne_bytes(), [10, 1, 2, 3, 172, 16, 5, 4]);
        assert_eq!(packed.ports().to_ne_bytes(), [0x12, 0x34, 0x56, 0x78]);
        let PackedKey::V6(packed) = key6().pack() else { panic!() };
        let bytes: Vec<u8> = packed.addresses().iter().flat_map(|word| word.to_ne_bytes()).collect();
        let source = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2];
        assert_eq!(bytes[..16], source);
        assert_eq!(bytes[16..], [0x20, 0x01, 0x0d, 0xb8, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b]);
    }

    #[test]
    fn keys_that_differ_in_one_field_are_not_the_same() {
        for (base, address) in [(key(), IpAddr::from([10, 1, 2, 4])), (key6(), "2001:db8::1:3".parse().unwrap())] {
            let others = [
                FlowKey { src: address, ..base },
                FlowKey { dst: address, ..base },
                FlowKey { src_port: 0x1235, ..base },
                FlowKey { dst_port: 0x5679, ..base },
                FlowKey { protocol: Protocol::Udp, ..base },
            ];
            for other in others {
                assert_ne!(base.pack(), other.pack(), "{other}");
                let blocks = |key: FlowKey| match key.pack() {
                    PackedKey::V4(key) => key.blocks().to_vec(),
                    PackedKey::V6(key) => key.blocks().to_vec(),
                };
                assert_ne!(blocks(base), blocks(other), "{other}");
            }
        }
    }
}
