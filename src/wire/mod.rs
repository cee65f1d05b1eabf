//! What stands in packets: one file a protocol, each a view over bytes.
//!
//! A view borrows exactly the bytes of its header, as an array: making one is the only bounds check there is, and no
//! accessor can panic. `new` gives `None` when the slice is too short for the fixed part of the header; everything
//! else that can be wrong with a packet is for the caller to judge. Numbers are in host byte order on this side of the
//! view and in network byte order in the bytes.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod tcp;
pub mod udp;

pub use ethernet::MacAddr;

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
