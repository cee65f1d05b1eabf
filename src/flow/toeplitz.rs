//! The Toeplitz hash, by which network cards choose a receive queue (receive-side scaling, RSS).
//!
//! It is the one of the NDIS specification, "RSS hashing functions": the 32 bits of the key that begin at bit *i* are xored
//! into the hash for each bit *i* that is set in the input. The input of TCP and UDP is source address, destination
//! address, source port, destination port, each as it stands in the packet. So the hash is linear over GF(2) in each of
//! its inputs. In IPv4 it needs the key's first 128 bits, in IPv6 its first 320.

use std::net::{IpAddr, Ipv6Addr};

use super::FlowKey;
use super::linear::Linear;

/// What hashing needs of a key: its first 40 bytes, or for IPv4 alone 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToeplitzKey {
    bytes: [u8; KEY_LEN],
    /// Whether it reaches over two addresses of IPv6 and two ports.
    is_long: bool,
}

/// Bytes of a key that reaches over IPv6's input, and over IPv4's.
const KEY_LEN: usize = 40;
const SHORT_KEY_LEN: usize = 16;

/// Bits of the input: two addresses and two ports.
const INPUT: usize = 96;
const INPUT_V6: usize = 288;

impl ToeplitzKey {
    /// The key that a card has; `None` if it is shorter than 16 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if let Some(bytes) = bytes.first_chunk() {
            return Some(Self { bytes: *bytes, is_long: true });
        }
        let first: &[u8; SHORT_KEY_LEN] = bytes.first_chunk()?;
        let mut bytes = [0; KEY_LEN];
        bytes[..SHORT_KEY_LEN].copy_from_slice(first);
        Some(Self { bytes, is_long: false })
    }

    /// What each bit of the input adds to the hash, the first byte's highest first, in IPv4.
    pub fn windows(self) -> impl Iterator<Item = u32> {
        (0..INPUT).map(move |at| self.window(at))
    }

    /// The same in IPv6; nothing if the key is too short.
    pub fn windows_v6(self) -> impl Iterator<Item = u32> {
        (0..if self.is_long { INPUT_V6 } else { 0 }).map(move |at| self.window(at))
    }

    /// The 32 bits that begin at bit `at`, from 0, the first byte's highest, to 288.
    fn window(self, at: usize) -> u32 {
        let bit = |at: usize| u32::from(self.bytes[at / 8] >> (7 - at % 8) & 1);
        (at..at + 32).fold(0, |bits, at| bits << 1 | bit(at))
    }

    /// The part of the hash that the 16 bits of the input from bit `at` on make.
    fn word(self, at: usize) -> Linear {
        Linear::new(std::array::from_fn(|bit| self.window(at + 15 - bit)))
    }
}

/// The hash with one key, prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toeplitz {
    v4: Parts<2>,
    /// If the key is long enough.
    v6: Option<Box<Parts<8>>>,
}

/// What each part of the input adds, with addresses of `N` words of 16 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts<const N: usize> {
    source: [Linear; N],
    destination: [Linear; N],
    source_port: Linear,
    destination_port: Linear,
}

impl<const N: usize> Parts<N> {
    fn new(key: ToeplitzKey) -> Self {
        Self {
            source: std::array::from_fn(|word| key.word(16 * word)),
            destination: std::array::from_fn(|word| key.word(16 * (N + word))),
            source_port: key.word(32 * N),
            destination_port: key.word(32 * N + 16),
        }
    }

    /// The hash of two addresses by their words, and two ports.
    #[inline]
    fn hash(&self, source: [u16; N], destination: [u16; N], ports: (u16, u16)) -> u32 {
        let of = |maps: &[Linear; N], words: [u16; N]| {
            maps.iter().zip(words).fold(0, |hash, (map, word)| hash ^ map.of(word))
        };
        of(&self.source, source)
            ^ of(&self.destination, destination)
            ^ self.source_port.of(ports.0)
            ^ self.destination_port.of(ports.1)
    }
}

impl Toeplitz {
    /// The hash with `key`.
    pub fn new(key: ToeplitzKey) -> Self {
        Self { v4: Parts::new(key), v6: key.is_long.then(|| Box::new(Parts::new(key))) }
    }

    /// The same for IPv4, and for IPv6 what [`Self::hash`] makes of it without a key.
    #[must_use]
    pub fn without_v6(self) -> Self {
        Self { v6: None, ..self }
    }

    /// Whether IPv6 is hashed as cards do.
    pub const fn has_v6(&self) -> bool {
        self.v6.is_some()
    }

    /// The hash of a packet's addresses and ports. An ICMP echo is hashed as if its identifier were a port; and where cards do not
    /// hash IPv6, or with too short a key, its addresses as if they had the 32 bits that their four words make when xored. No card
    /// does either, so such packets are handed over more often, and all lcores still agree on whose they are.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u32 {
        let FlowKey { src, dst, src_port, dst_port, .. } = *key;
        if let (Some(v6), IpAddr::V6(src), IpAddr::V6(dst)) = (&self.v6, src, dst) {
            return v6.hash(src.segments(), dst.segments(), (src_port, dst_port));
        }
        self.v4.hash(words(folded(src)), words(folded(dst)), (src_port, dst_port))
    }

    /// What source ports add to the hash: the hash of a packet of that version of which nothing else is set.
    #[inline]
    pub const fn source_port(&self, is_v6: bool) -> &Linear {
        match &self.v6 {
            Some(v6) if is_v6 => &v6.source_port,
            _ => &self.v4.source_port,
        }
    }

    /// What destination ports add to the hash.
    #[inline]
    pub const fn destination_port(&self, is_v6: bool) -> &Linear {
        match &self.v6 {
            Some(v6) if is_v6 => &v6.destination_port,
            _ => &self.v4.destination_port,
        }
    }
}

const fn words(address: u32) -> [u16; 2] {
    [(address >> 16) as u16, address as u16]
}

/// The 32 bits that stand for an address.
fn folded(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => folded_v6(address),
    }
}

fn folded_v6(address: Ipv6Addr) -> u32 {
    let bits = address.to_bits();
    (bits >> 96) as u32 ^ (bits >> 64) as u32 ^ (bits >> 32) as u32 ^ bits as u32
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

    /// The table for IPv6 of the same page.
    #[test]
    fn the_published_vectors_of_ipv6_come_out() {
        let rows = [
            (("3ffe:2501:200:3::1", 1766), ("3ffe:2501:200:1fff::7", 2794), 0x2cc1_8cd5, 0x4020_7d3d),
            (("ff02::1", 4739), ("3ffe:501:8::260:97ff:fe40:efab", 14230), 0x0f0c_461c, 0xdde5_1bbf),
            (
                ("fe80::200:f8ff:fe21:67cf", 38024),
                ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251),
                0x4b61_e985,
                0x02d1_feef,
            ),
        ];
        let toeplitz = toeplitz(&known::MICROSOFT);
        for ((dst, dst_port), (src, src_port), addresses, all) in rows {
            let [src, dst] = [src, dst].map(|text| text.parse().unwrap());
            let key = FlowKey { src, dst, src_port, dst_port, protocol: Protocol::Tcp };
            assert_eq!(toeplitz.hash(&key), all, "{key}");
            assert_eq!(toeplitz.hash(&FlowKey { src_port: 0, dst_port: 0, ..key }), addresses, "{key}");
        }
    }

    #[test]
    fn a_key_that_is_too_short_is_none_and_one_for_ipv4_alone_hashes_ipv6_otherwise() {
        assert_eq!(ToeplitzKey::new(&[1; 15]), None);
        let [long, short] = [&known::MICROSOFT[..], &known::MICROSOFT[..39]].map(toeplitz);
        assert!(long.has_v6() && !short.has_v6());
        assert_eq!(long.without_v6(), short);
        let v6 = FlowKey {
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8::2".parse().unwrap(),
            ..tcp([0; 4], 7, [0; 4], 9)
        };
        let folded = tcp([0x20, 0x01, 0x0d, 0xb9], 7, [0x20, 0x01, 0x0d, 0xba], 9);
        assert_eq!(short.hash(&v6), short.hash(&folded));
    }

    proptest! {
        #[test]
        fn the_symmetric_key_hashes_both_directions_alike(src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) {
            let (toeplitz, key) = (toeplitz(&known::SYMMETRIC), tcp(src, ports.0, dst, ports.1));
            prop_assert_eq!(toeplitz.hash(&key), toeplitz.hash(&key.reversed()));
        }

        #[test]
        fn it_does_so_in_ipv6(src: [u8; 16], dst: [u8; 16], ports: (u16, u16)) {
            let key = FlowKey { src: src.into(), dst: dst.into(), ..tcp([0; 4], ports.0, [0; 4], ports.1) };
            let toeplitz = toeplitz(&known::SYMMETRIC);
            prop_assert_eq!(toeplitz.hash(&key), toeplitz.hash(&key.reversed()));
            let without = toeplitz.hash(&FlowKey { src_port: 0, dst_port: 0, ..key });
            let of_ports = toeplitz.source_port(true).of(ports.0) ^ toeplitz.destination_port(true).of(ports.1);
            prop_assert_eq!(toeplitz.hash(&key), without ^ of_ports);
        }

        #[test]
        fn what_each_port_adds_is_its_own(bytes: [u8; 16], src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) {
            let toeplitz = toeplitz(&bytes);
            let without = toeplitz.hash(&tcp(src, 0, dst, 0));
            let with = without ^ toeplitz.source_port(false).of(ports.0) ^ toeplitz.destination_port(false).of(ports.1);
            prop_assert_eq!(toeplitz.hash(&tcp(src, ports.0, dst, ports.1)), with);
            prop_assert_eq!(toeplitz.hash(&tcp([0; 4], 0, [0; 4], ports.1)), toeplitz.destination_port(false).of(ports.1));
        }
    }
}
