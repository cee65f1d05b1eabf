//! TCP (RFC 9293 §3.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |          source port          |       destination port        |
//! +-------------------------------+-------------------------------+
//! |                        sequence number                        |
//! +---------------------------------------------------------------+
//! |                    acknowledgment number                      |
//! +-------+-------+---------------+-------------------------------+
//! | offset|       |C E U A P R S F|            window             |
//! +-------+-------+---------------+-------------------------------+
//! |           checksum            |        urgent pointer         |
//! +-------------------------------+-------------------------------+
//! |                options, to offset × 4 bytes …                 |
//! ```

use std::fmt;

use super::{read_u16, read_u32, write_ports, write_u16, write_u32};
use crate::wire::checksum::Delta;

/// Bytes of the header without options.
pub const HEADER_LEN: usize = 20;

/// The control bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number counts.
    pub const ACK: Self = Self(0x10);

    /// Whether all bits of `other` are set.
    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    #[inline(always)]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this opens a connection: SYN, and neither ACK, RST nor FIN.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & 0x17 == Self::SYN.0
    }

    /// Whether it has ACK and neither SYN, FIN nor RST, as nearly every segment.
    #[inline(always)]
    pub const fn only_acknowledges(self) -> bool {
        self.0 & 0x17 == Self::ACK.0
    }

    /// Whether it has ACK and neither SYN nor RST.
    #[inline(always)]
    pub const fn only_acknowledges_or_ends(self) -> bool {
        self.0 & 0x16 == Self::ACK.0
    }

    /// Whether no TCP sends this: no control bit at all, or two that exclude each other.
    #[inline(always)]
    pub const fn is_nonsense(self) -> bool {
        let Self(bits) = self;
        bits & 0x17 == 0 || (bits & 0x02 != 0 && bits & 0x05 != 0) || bits & 0x05 == 0x05
    }
}

impl fmt::Display for Flags {
    /// As tcpdump writes them: `S`, `S.`, `P.`, `F.`, `R`, `.`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in
            [(0x01, "F"), (0x02, "S"), (0x04, "R"), (0x08, "P"), (0x10, "."), (0x20, "U"), (0x40, "E"), (0x80, "W")]
        {
            if self.0 & bit != 0 {
                f.write_str(letter)?;
            }
        }
        if self.0 == 0 { f.write_str("none") } else { Ok(()) }
    }
}

views!();

impl Header<'_> {
    /// Port of the sender.
    #[inline(always)]
    pub const fn source_port(self) -> u16 {
        read_u16(self.0, 0)
    }

    /// Port of the receiver.
    #[inline(always)]
    pub const fn destination_port(self) -> u16 {
        read_u16(self.0, 2)
    }

    /// Number of the first byte of data, or of the SYN.
    #[inline(always)]
    pub const fn sequence(self) -> u32 {
        read_u32(self.0, 4)
    }

    /// Number of the next byte that the sender expects.
    #[inline(always)]
    pub const fn acknowledgment(self) -> u32 {
        read_u32(self.0, 8)
    }

    /// Bytes of the header with its options; below 20 in a wrong one.
    #[inline(always)]
    pub const fn header_len(self) -> usize {
        (self.0[12] >> 4) as usize * 4
    }

    /// Control bits.
    #[inline(always)]
    pub const fn flags(self) -> Flags {
        Flags(self.0[13])
    }

    /// The window as it stands, not scaled.
    #[inline(always)]
    pub const fn window(self) -> u16 {
        read_u16(self.0, 14)
    }
}

impl HeaderMut<'_> {
    /// The same header, to read.
    #[inline(always)]
    pub const fn as_header(&self) -> Header<'_> {
        Header(self.0)
    }

    /// Sets both numbers and the control bits, and adjusts the checksum for them.
    #[inline(always)]
    pub fn set_numbers(&mut self, sequence: u32, acknowledgment: u32, flags: Flags) {
        let mut delta = Delta::NONE;
        for (at, new) in [(4, sequence), (8, acknowledgment)] {
            let [high, low] = [(new >> 16) as u16, new as u16];
            delta = delta.replace(read_u16(self.0, at), high).replace(read_u16(self.0, at + 2), low);
            write_u32(self.0, at, new);
        }
        let old = read_u16(self.0, 12);
        self.0[13] = flags.0;
        self.adjust_checksum(delta.replace(old, read_u16(self.0, 12)));
    }

    /// Adjusts the checksum for a change of something else.
    #[inline(always)]
    pub fn adjust_checksum(&mut self, change: Delta) {
        let checksum = change.apply(read_u16(self.0, 16));
        write_u16(self.0, 16, checksum);
    }

    /// Sets both ports, given as they lie in memory, and adjusts the checksum for them and for `addresses`, the change of
    /// the pseudo-header.
    #[inline(always)]
    pub fn forward(&mut self, ports: u32, addresses: Delta) {
        let ports = write_ports(self.0, ports);
        self.adjust_checksum(addresses.and(ports));
    }
}

/// Writes a whole header without options, its checksum 0.
#[inline]
pub fn write(header: &mut [u8; HEADER_LEN], ports: (u16, u16), numbers: (u32, u32), flags: Flags, window: u16) {
    *header = [0; HEADER_LEN];
    write_u16(header, 0, ports.0);
    write_u16(header, 2, ports.1);
    write_u32(header, 4, numbers.0);
    write_u32(header, 8, numbers.1);
    header[12] = (HEADER_LEN as u8 / 4) << 4;
    header[13] = flags.0;
    write_u16(header, 14, window);
}

/// The shift count of the window scale option in the header of a SYN, limited to 14 (RFC 7323 §2.3). `header` is the
/// whole header with its options; malformed options end the search.
pub fn window_scale(header: &[u8]) -> Option<u8> {
    let at = option(header, 3)?;
    (header[at + 1] == 3).then(|| header[at + 2].min(14))
}

/// Where the option of this kind begins in `header`, the whole header with its options. All the bytes that the option's
/// length names are there. Malformed options end the search.
pub fn option(header: &[u8], kind: u8) -> Option<usize> {
    let mut at = HEADER_LEN;
    loop {
        match header.get(at..)? {
            [] | [0, ..] => return None,
            [1, ..] => at += 1,
            options @ [found, len, ..] if *len >= 2 && usize::from(*len) <= options.len() => {
                if *found == kind {
                    return Some(at);
                }
                at += usize::from(*len);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_as_tcpdump_writes_them() {
        for (flags, text) in
            [(0x02, "S"), (0x12, "S."), (0x18, "P."), (0x11, "F."), (0x04, "R"), (0x10, "."), (0, "none")]
        {
            assert_eq!(Flags(flags).to_string(), text);
        }
    }

    #[test]
    fn a_written_header_is_what_etherparse_reads_and_changed_numbers_keep_its_checksum() {
        let mut header = [0xff; HEADER_LEN];
        write(&mut header, (1024, 80), (0xffff_fffe, 7), Flags::SYN, 8192);
        let parsed = etherparse::TcpHeaderSlice::from_slice(&header).unwrap();
        assert_eq!((parsed.source_port(), parsed.destination_port(), parsed.window_size()), (1024, 80, 8192));
        assert_eq!((parsed.sequence_number(), parsed.acknowledgment_number()), (0xffff_fffe, 7));
        assert!(parsed.syn() && !parsed.ack() && header.len() == usize::from(parsed.data_offset()) * 4);

        let checksum = super::super::checksum::of(&header);
        write_u16(&mut header, 16, checksum);
        HeaderMut::new(&mut header).unwrap().set_numbers(9, 0x8000_0000, Flags::ACK.or(Flags::FIN));
        assert_eq!(super::super::checksum::of(&header), 0);
        let read = Header::new(&header).unwrap();
        assert_eq!((read.sequence(), read.acknowledgment(), read.flags()), (9, 0x8000_0000, Flags(0x11)));
    }

    #[test]
    fn only_a_bare_syn_opens() {
        assert!(Flags(0x02).opens());
        assert!(Flags(0xc2).opens(), "ECN setup (RFC 3168 §6.1.1)");
        for flags in [0x12, 0x06, 0x03, 0x10, 0x00] {
            assert!(!Flags(flags).opens(), "{flags:#x}");
        }
    }

    #[test]
    fn scans_that_no_tcp_sends_are_nonsense() {
        for flags in [0x00, 0x03, 0x06, 0x07, 0x05, 0x20, 0x3f] {
            assert!(Flags(flags).is_nonsense(), "{flags:#x}");
        }
        for flags in [0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x01, 0xc2, 0x52] {
            assert!(!Flags(flags).is_nonsense(), "{flags:#x}");
        }
    }

    #[test]
    fn the_window_scale_is_found_where_linux_puts_it() {
        let header = |options: &[u8]| [&[0u8; 20][..], options].concat();
        let linux = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        assert_eq!(window_scale(&header(&linux)), Some(7));
        assert_eq!(window_scale(&header(&[3, 3, 200, 0])), Some(14));
        assert_eq!(window_scale(&header(&[2, 4, 5, 0xb4])), None);
        assert_eq!(window_scale(&header(&[2, 0, 3, 3, 7])), None, "an option without a length ends the search");
        assert_eq!(window_scale(&[0; 12]), None);
    }
}
