//! What stands in packets: one file a protocol, each a view over bytes.
//!
//! A view borrows exactly the bytes of its header, as an array: making one is the only bounds check there is, and no
//! accessor can panic. `new` gives `None` when the slice is too short for the fixed part of the header; everything
//! else that can be wrong with a packet is for the caller to judge. Numbers are in host byte order on this side of the
//! view and in network byte order in the bytes.

/// Declares `Header` and `HeaderMut`, the two views over a header of `HEADER_LEN` bytes.
macro_rules! views {
    () => {
        /// A header that is read, without what may follow its fixed part.
        #[derive(Clone, Copy, Debug)]
        pub struct Header<'a>(&'a [u8; HEADER_LEN]);

        impl<'a> Header<'a> {
            /// The header at the start of `bytes`.
            #[inline(always)]
            pub fn new(bytes: &'a [u8]) -> Option<Self> {
                bytes.first_chunk().map(Self)
            }
        }

        /// A header that is written, without what may follow its fixed part.
        #[derive(Debug)]
        pub struct HeaderMut<'a>(&'a mut [u8; HEADER_LEN]);

        impl<'a> HeaderMut<'a> {
            /// The header at the start of `bytes`.
            #[inline(always)]
            pub fn new(bytes: &'a mut [u8]) -> Option<Self> {
                bytes.first_chunk_mut().map(Self)
            }
        }
    };
}

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod icmpv6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod mld;
pub mod ndp;
pub mod tcp;
pub mod tcp_options;
pub mod udp;

pub use ethernet::MacAddr;

use checksum::Delta;

/// Reads two bytes at `at` in network byte order.
#[inline(always)]
const fn read_u16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Writes two bytes at `at` in network byte order.
#[inline(always)]
const fn write_u16<const N: usize>(bytes: &mut [u8; N], at: usize, value: u16) {
    let [high, low] = value.to_be_bytes();
    bytes[at] = high;
    bytes[at + 1] = low;
}

/// Reads four bytes at `at` as they lie in memory, for what is only compared or copied.
#[inline(always)]
const fn read_memory_u32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_ne_bytes(*chunk(bytes, at))
}

/// Reads eight bytes at `at` as they lie in memory.
#[inline(always)]
const fn read_memory_u64<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from_ne_bytes(*chunk(bytes, at))
}

/// The bytes at `at`, which are within the header: in one piece, so that they are read at once.
#[inline(always)]
const fn chunk<const M: usize, const N: usize>(bytes: &[u8; N], at: usize) -> &[u8; M] {
    bytes.split_at(at).1.first_chunk().expect("within the header")
}

/// Reads four bytes at `at` in network byte order.
#[inline(always)]
const fn read_u32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes four bytes at `at` in network byte order.
#[inline(always)]
const fn write_u32<const N: usize>(bytes: &mut [u8; N], at: usize, value: u32) {
    let [a, b, c, d] = value.to_be_bytes();
    bytes[at] = a;
    bytes[at + 1] = b;
    bytes[at + 2] = c;
    bytes[at + 3] = d;
}

/// Writes the ports of TCP or UDP, which stand first in both, as they lie in memory. Returns what that does to a checksum
/// over them.
#[inline(always)]
fn write_ports<const N: usize>(bytes: &mut [u8; N], ports: u32) -> Delta {
    let delta = Delta::NONE.replace_in_memory(read_memory_u32(bytes, 0).into(), ports.into());
    bytes[..4].copy_from_slice(&ports.to_ne_bytes());
    delta
}
