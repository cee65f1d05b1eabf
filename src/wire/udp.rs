//! UDP (RFC 768).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |          source port          |       destination port        |
//! +-------------------------------+-------------------------------+
//! |            length             |           checksum            |
//! +-------------------------------+-------------------------------+
//! ```

use super::checksum::Delta;
use super::{read_memory_u32, read_u16, write_ports, write_u16};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

views!();

impl Header<'_> {
    /// Port of the sender; 0 when it wants no answer.
    #[inline(always)]
    pub const fn source_port(self) -> u16 {
        read_u16(self.0, 0)
    }

    /// Port of the receiver.
    #[inline(always)]
    pub const fn destination_port(self) -> u16 {
        read_u16(self.0, 2)
    }

    /// Both ports, as they lie in memory.
    #[inline(always)]
    pub const fn ports(self) -> u32 {
        read_memory_u32(self.0, 0)
    }

    /// Whether a port is 0.
    #[inline(always)]
    pub const fn has_zero(self) -> bool {
        let ports = self.ports();
        ports as u16 == 0 || ports >> 16 == 0
    }

    /// Bytes of header and payload.
    #[inline(always)]
    pub const fn length(self) -> u16 {
        read_u16(self.0, 4)
    }
}

impl HeaderMut<'_> {
    /// Sets both ports, given as they lie in memory, and adjusts the checksum for them and for `addresses`, the change of
    /// the pseudo-header. A checksum of 0 says that there is none, and stays; one that becomes 0 is sent as 0xffff.
    #[inline(always)]
    pub fn forward(&mut self, ports: u32, addresses: Delta) {
        let delta = addresses.and(write_ports(self.0, ports));
        let old = read_u16(self.0, 6);
        if old != 0 {
            let new = delta.apply(old);
            write_u16(self.0, 6, if new == 0 { 0xffff } else { new });
        }
    }
}

/// Writes a whole header. `length` is that of header and payload, and a `checksum` of 0 says that there is none.
#[inline]
pub fn write(header: &mut [u8; HEADER_LEN], source: u16, destination: u16, length: u16, checksum: u16) {
    write_u16(header, 0, source);
    write_u16(header, 2, destination);
    write_u16(header, 4, length);
    write_u16(header, 6, checksum);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ports as they lie in memory.
    fn memory(source: u16, destination: u16) -> u32 {
        (u32::from(source) << 16 | u32::from(destination)).to_be()
    }

    #[test]
    fn a_datagram_without_checksum_keeps_none() {
        let mut datagram = [0x30, 0x39, 0, 53, 0, 8, 0, 0];
        HeaderMut::new(&mut datagram).unwrap().forward(memory(4000, 5353), Delta::NONE.replace(1, 2));
        assert_eq!(datagram, [0x0f, 0xa0, 0x14, 0xe9, 0, 8, 0, 0]);
    }

    #[test]
    fn a_checksum_that_becomes_zero_is_sent_as_all_ones() {
        // Ports 0 → 1 take the checksum from 1 to 0.
        let mut datagram = [0, 0, 0, 53, 0, 8, 0, 1];
        HeaderMut::new(&mut datagram).unwrap().forward(memory(1, 53), Delta::NONE);
        assert_eq!(datagram[6..], [0xff, 0xff]);
    }
}
