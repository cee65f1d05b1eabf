//! Explicit congestion notification at a tunnel's end (RFC 6040 §4.2).
//!
//! A router on the way marks the outer header; what it said must reach the receiver in the inner one. The rest of the
//! traffic class, the DSCP, is the inner packet's own: the outer one ends here (the pipe model of RFC 2983), as with
//! the kernel's tunnels.

use super::Version;
use crate::wire::checksum::Delta;

/// The two ECN bits of a traffic class (RFC 3168 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// Its sender does not know ECN.
    NotEct,
    /// Its sender knows ECN, codepoint 1.
    Ect1,
    /// Its sender knows ECN, codepoint 0.
    Ect0,
    /// Congestion was experienced.
    Ce,
}

impl Ecn {
    /// Those of a traffic class.
    #[inline(always)]
    pub const fn of(traffic_class: u8) -> Self {
        match traffic_class & 0b11 {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0b00,
            Self::Ect1 => 0b01,
            Self::Ect0 => 0b10,
            Self::Ce => 0b11,
        }
    }
}

/// What the inner packet carries on with, figure 4 of RFC 6040; `None`: it must be dropped.
#[inline(always)]
pub const fn decapsulated(inner: Ecn, outer: Ecn) -> Option<Ecn> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => None,
        (Ecn::NotEct, _) => Some(Ecn::NotEct),
        (Ecn::Ce, _) | (_, Ecn::Ce) => Some(Ecn::Ce),
        (Ecn::Ect0, Ecn::Ect1) => Some(Ecn::Ect1),
        (inner, _) => Some(inner),
    }
}

/// Writes the ECN bits of a whole header, and adjusts its checksum where it has one.
#[inline(always)]
pub fn write(header: &mut [u8], version: Version, ecn: Ecn) {
    // The traffic class is the second byte in IPv4, and in IPv6 the four bits before and the four behind its boundary.
    let shift = match version {
        Version::V4 => 0,
        Version::V6 => 4,
    };
    let Some([first, second, ..]) = header.first_chunk::<4>() else { return };
    let old = u16::from_be_bytes([*first, *second]);
    let new = old & !(0b11 << shift) | u16::from(ecn.bits()) << shift;
    if new == old {
        return;
    }
    header[1] = new as u8;
    if version == Version::V4
        && let Some(place) = header.get_mut(10..12)
    {
        let checksum = Delta::NONE.replace(old, new).apply(u16::from_be_bytes([place[0], place[1]]));
        place.copy_from_slice(&checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::Ecn::{Ce, Ect0, Ect1, NotEct};
    use super::*;
    use crate::wire::ipv4;

    #[test]
    fn figure_4_of_rfc_6040() {
        // Inner, then what comes of outer Not-ECT, ECT(0), ECT(1) and CE.
        let rows = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, expected) in rows {
            assert_eq!([NotEct, Ect0, Ect1, Ce].map(|outer| decapsulated(inner, outer)), expected, "inner {inner:?}");
        }
    }

    #[test]
    fn a_mark_leaves_the_dscp_and_keeps_the_checksum_right() {
        for from in 0..=255 {
            for to in [NotEct, Ect1, Ect0, Ce] {
                let mut header = etherparse::Ipv4Header::new(0, 64, 6.into(), [10, 0, 0, 1], [10, 0, 0, 9]).unwrap();
                (header.dscp, header.ecn) = ((from >> 2).try_into().unwrap(), (from & 3).try_into().unwrap());
                header.header_checksum = header.calc_header_checksum();
                let mut bytes = header.to_bytes();

                write(&mut bytes, Version::V4, to);
                let (read, _) = etherparse::Ipv4Header::from_slice(&bytes).unwrap();
                assert_eq!((read.dscp.value(), Ecn::of(read.ecn.value())), (from >> 2, to));
                assert!(ipv4::checksum_is_right(&bytes), "{from:#04x} to {to:?}");
            }
        }
    }
    #[test]
    fn a_mark_in_ipv6_leaves_dscp_and_flow_label() {
        for from in 0..=255 {
            for to in [NotEct, Ect1, Ect0, Ce] {
                let flow_label = 0xfedcb.try_into().unwrap();
                let header = etherparse::Ipv6Header { traffic_class: from, flow_label, ..Default::default() };
                let mut bytes = header.to_bytes();
                write(&mut bytes, Version::V6, to);
                let (read, _) = etherparse::Ipv6Header::from_slice(&bytes).unwrap();
                assert_eq!((read.traffic_class >> 2, Ecn::of(read.traffic_class)), (from >> 2, to));
                assert_eq!(etherparse::Ipv6Header { traffic_class: from, ..read }, header);
            }
        }
    }
}
