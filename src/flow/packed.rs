//! A 5-tuple as it lies in a packet: what the packet path compares, hashes and writes without turning a byte.

use std::net::Ipv4Addr;

use super::{FlowKey, Protocol};

/// What a [`FlowKey`] says, in the order of a packet's bytes.
///
/// Source and destination address stand side by side in an IPv4 header, and source and destination port in TCP and UDP
/// (RFC 791 §3.1, RFC 9293 §3.1, RFC 768). Each pair is one number here, read and written as memory has it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PackedKey {
    addresses: u64,
    ports: u32,
    protocol: Protocol,
}

impl PackedKey {
    /// The key of a packet that has these addresses and ports, read as they lie in memory.
    #[inline(always)]
    pub const fn from_memory(addresses: u64, ports: u32, protocol: Protocol) -> Self {
        Self { addresses, ports, protocol }
    }

    /// Source and destination address, as they lie in memory.
    #[inline(always)]
    pub const fn addresses(&self) -> u64 {
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

    /// The key that an answer to this packet has.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        // Each pair's halves change places, whichever of them memory has first.
        let (addresses, ports) = (self.addresses.rotate_left(32), self.ports.rotate_left(16));
        Self { addresses, ports, ..self }
    }

    /// All that it says, in two words, for a hash.
    #[inline(always)]
    pub(crate) const fn words(&self) -> [u64; 2] {
        [self.addresses, self.ports as u64 | (self.protocol as u64) << 32]
    }

    /// The same, to think with.
    #[inline]
    pub const fn unpack(self) -> FlowKey {
        let [a, b, c, d, e, f, g, h] = self.addresses.to_ne_bytes();
        let [i, j, k, l] = self.ports.to_ne_bytes();
        FlowKey {
            src: Ipv4Addr::new(a, b, c, d),
            dst: Ipv4Addr::new(e, f, g, h),
            src_port: u16::from_be_bytes([i, j]),
            dst_port: u16::from_be_bytes([k, l]),
            protocol: self.protocol,
        }
    }
}

impl PartialEq for PackedKey {
    /// Without a branch for each field: where keys are compared, they nearly always agree.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let small = (self.ports ^ other.ports) | u32::from(self.protocol as u8 ^ other.protocol as u8);
        (self.addresses ^ other.addresses) | u64::from(small) == 0
    }
}

impl Eq for PackedKey {}

impl FlowKey {
    /// The same, as it lies in a packet.
    #[inline]
    pub const fn pack(&self) -> PackedKey {
        let ([a, b, c, d], [e, f, g, h]) = (self.src.octets(), self.dst.octets());
        let ([i, j], [k, l]) = (self.src_port.to_be_bytes(), self.dst_port.to_be_bytes());
        PackedKey {
            addresses: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            ports: u32::from_ne_bytes([i, j, k, l]),
            protocol: self.protocol,
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

    #[test]
    fn packing_keeps_all_that_a_key_says() {
        assert_eq!(key().pack().unpack(), key());
        assert_eq!(key().pack().reversed().unpack(), key().reversed());
    }

    #[test]
    fn the_numbers_are_a_packets_bytes() {
        let packed = key().pack();
        assert_eq!(packed.addresses().to_ne_bytes(), [10, 1, 2, 3, 172, 16, 5, 4]);
        assert_eq!(packed.ports().to_ne_bytes(), [0x12, 0x34, 0x56, 0x78]);
    }

    #[test]
    fn keys_that_differ_in_one_field_are_not_the_same() {
        let base = key();
        let others = [
            FlowKey { src: [10, 1, 2, 4].into(), ..base },
            FlowKey { dst: [172, 16, 5, 5].into(), ..base },
            FlowKey { src_port: 0x1235, ..base },
            FlowKey { dst_port: 0x5679, ..base },
            FlowKey { protocol: Protocol::Udp, ..base },
        ];
        for other in others {
            assert_ne!(base.pack(), other.pack(), "{other}");
            assert_ne!(base.pack().words(), other.pack().words(), "{other}");
        }
    }
}
