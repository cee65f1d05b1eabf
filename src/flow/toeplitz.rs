//! The Toeplitz hash, by which network cards choose a receive queue (receive-side scaling, RSS).
//!
//! It is the one of the NDIS specification, "RSS hashing functions": the 32 bits of the key that begin at bit *i* are xored
//! into the hash for each bit *i* that is set in the input. The input of TCP and UDP over IPv4 is source address,
//! destination address, source port, destination port, each as it stands in the packet. So the hash is linear over GF(2)
//! in each of its inputs, and needs the key's first 128 bits only.

use std::net::IpAddr;

use super::FlowKey;
use super::linear::Linear;

/// What hashing IPv4 needs of a key: its first 16 bytes. Cards have keys of 40 bytes or more; the rest is for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToeplitzKey(u128);

/// Bits of the input: two addresses and two ports.
const INPUT: u32 = 96;

impl ToeplitzKey {
    /// The key that a card has; `None` if it is shorter than 16 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|first| Self(u128::from_be_bytes(*first)))
    }

    /// The bytes that count, in the card's order.
    pub const fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// What each bit of the input adds to the hash, the first byte's highest first.
    pub fn windows(self) -> impl Iterator<Item = u32> {
        (0..INPUT).map(move |at| self.window(at))
    }

    /// The 32 bits that begin at bit `at`, from 0, the first byte's highest, to 96.
    const fn window(self, at: u32) -> u32 {
        (self.0 >> (INPUT - at)) as u32
    }

    /// The part of the hash that the 16 bits of the input from bit `at` on make.
    fn word(self, at: u32) -> Linear {
        Linear::new(std::array::from_fn(|bit| self.window(at + 15 - bit as u32)))
    }
}

/// The hash with one key, prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toeplitz {
    source: [Linear; 2],
    destination: [Linear; 2],
    source_port: Linear,
    destination_port: Linear,
}

impl Toeplitz {
    /// The hash with `key`.
    pub fn new(key: ToeplitzKey) -> Self {
        Self {
            source: [key.word(0), key.word(16)],
            destination: [key.word(32), key.word(48)],
            source_port: key.word(64),
            destination_port: key.word(80),
        }
    }

    /// The hash of a packet's addresses and ports. An ICMP echo is hashed as if its identifier were a port, and IPv6 addresses
    /// as if they had the 32 bits that their four words make when xored: no card does either, so such packets are handed over
    /// more often, and all lcores still agree on whose they are.
    #[inline]
    pub const fn hash(&self, key: &FlowKey) -> u32 {
        let FlowKey { src, dst, src_port, dst_port, .. } = *key;
        let (src, dst) = (folded(src), folded(dst));
        self.source[0].of((src >> 16) as u16)
            ^ self.source[1].of(src as u16)
            ^ self.destination[0].of((dst >> 16) as u16)
            ^ self.destination[1].of(dst as u16)
            ^ self.source_port.of(src_port)
            ^ self.destination_port.of(dst_port)
    }

    /// What source ports add to the hash: the hash of a packet of which nothing else is set.
    #[inline]
    pub const fn source_port(&self) -> &Linear {
        &self.source_port
    }

    /// What destination ports add to the hash.
    #[inline]
    pub const fn destination_port(&self) -> &Linear {
        &self.destination_port
    }
}

/// The 32 bits that stand for an address.
const fn folded(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            (bits >> 96) as u32 ^ (bits >> 64) as u32 ^ (bits >> 32) as u32 ^ bits as u32
        }
    }
}

/// Keys that are known to the world.
#[cfg(test)]
pub(crate) mod known {
    /// The one that the NDIS specification verifies implementations with, and many drivers' default.
    pub(crate) const MICROSOFT: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
        0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
        0xbe, 0xac, 0x01, 0xfa,
    ];

    /// 0x6d5a again and again: both directions of a flow have the same hash (Woo and Park, 2012).
    pub(crate) const SYMMETRIC: [u8; 40] = {
        let mut key = [0; 40];
        let mut at = 0;
        while at < key.len() {
            key[at] = if at.is_multiple_of(2) { 0x6d } else { 0x5a };
            at += 1;
        }
        key
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::Protocol;

    fn toeplitz(key: &[u8]) -> Toeplitz {
        Toeplitz::new(ToeplitzKey::new(key).unwrap())
    }

    fn tcp(src: [u8; 4], src_port: u16, dst: [u8; 4], dst_port: u16) -> FlowKey {
        FlowKey { src: src.into(), dst: dst.into(), src_port, dst_port, protocol: Protocol::Tcp }
    }

    #[test]
    fn the_published_vectors_come_out() {
        // Destination, source, hash of the addresses, hash with the ports: the table of "Verifying the RSS hash calculation".
        let rows = [
            (([161, 142, 100, 80], 1766), ([66, 9, 149, 187], 2794), 0x323e_8fc2, 0x51cc_c178),
            (([65, 69, 140, 83], 4739), ([199, 92, 111, 2], 14230), 0xd718_262a, 0xc626_b0ea),
            (([12, 22, 207, 184], 38024), ([24, 19, 198, 95], 12898), 0xd2d0_a5de, 0x5c2b_394a),
            (([209, 142, 163, 6], 2217), ([38, 27, 205, 30], 48228), 0x8298_9176, 0xafc7_327f),
            (([202, 188, 127, 2], 1303), ([153, 39, 163, 191], 44251), 0x5d18_09c5, 0x10e8_28a2),
        ];
        let toeplitz = toeplitz(&known::MICROSOFT);
        for ((dst, dst_port), (src, src_port), addresses, all) in rows {
            assert_eq!(toeplitz.hash(&tcp(src, src_port, dst, dst_port)), all, "{src:?}");
            // Ports of 0 add nothing, so this is the hash of the addresses alone.
            assert_eq!(toeplitz.hash(&tcp(src, 0, dst, 0)), addresses, "{src:?}");
        }
    }

    #[test]
    fn a_key_that_is_too_short_is_none() {
        assert_eq!(ToeplitzKey::new(&[1; 15]), None);
        assert_eq!(ToeplitzKey::new(&known::MICROSOFT).unwrap().bytes(), known::MICROSOFT[..16]);
    }

    proptest! {
        #[test]
        fn the_symmetric_key_hashes_both_directions_alike(src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) {
            let (toeplitz, key) = (toeplitz(&known::SYMMETRIC), tcp(src, ports.0, dst, ports.1));
            prop_assert_eq!(toeplitz.hash(&key), toeplitz.hash(&key.reversed()));
        }

        #[test]
        fn what_each_port_adds_is_its_own(bytes: [u8; 16], src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) {
            let toeplitz = toeplitz(&bytes);
            let without = toeplitz.hash(&tcp(src, 0, dst, 0));
            let with = without ^ toeplitz.source_port().of(ports.0) ^ toeplitz.destination_port().of(ports.1);
            prop_assert_eq!(toeplitz.hash(&tcp(src, ports.0, dst, ports.1)), with);
            prop_assert_eq!(toeplitz.hash(&tcp([0; 4], 0, [0; 4], ports.1)), toeplitz.destination_port().of(ports.1));
        }
    }
}
