//! Generic UDP Encapsulation (draft-ietf-intarea-gue-09 §3), the receiver's side.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---+-+---------+---------------+-------------------------------+
//! | 0 |C|  hlen   | proto / ctype |             flags             |
//! +---+-+---------+---------------+-------------------------------+
//! |       fields that flags announce, private data: hlen × 4 bytes …
//! ```
//!
//! Version 1 has no header at all: its two bits are the first ones of the IP packet's own version, 4 or 6.

use super::{DropReason, Version};

/// Bytes of the fixed part of the header of version 0.
pub const HEADER_LEN: usize = 4;

/// What a UDP payload carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Where in the payload the inner packet begins.
    pub offset: usize,
    /// Of which version it is said to be.
    pub version: Version,
}

/// Finds the inner packet in a UDP payload.
///
/// A flag changes what follows or how it is to be read, and none is known here, so any of them ends the packet
/// (§3.4). Private data, which no flag announces, is skipped.
///
/// # Errors
/// Why the packet is to be dropped.
#[inline(always)]
pub fn inner(payload: &[u8]) -> Result<Inner, DropReason> {
    let first = *payload.first().ok_or(DropReason::GueTruncated)?;
    match first >> 6 {
        0 => {}
        1 => {
            let version = Version::of_packet(first).ok_or(DropReason::GueProtocol)?;
            return Ok(Inner { offset: 0, version });
        }
        _ => return Err(DropReason::GueVersion),
    }
    let [_, protocol, flags @ ..]: [u8; HEADER_LEN] = *payload.first_chunk().ok_or(DropReason::GueTruncated)?;
    if first & 0x20 != 0 {
        return Err(DropReason::GueControl);
    }
    if flags != [0, 0] {
        return Err(DropReason::GueFlags);
    }
    let version = Version::of_protocol(protocol).ok_or(DropReason::GueProtocol)?;
    let offset = HEADER_LEN + usize::from(first & 0x1f) * 4;
    if offset > payload.len() {
        return Err(DropReason::GueTruncated);
    }
    Ok(Inner { offset, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    type Found = Result<(usize, Version), DropReason>;

    #[test]
    fn headers_and_where_the_packet_behind_them_begins() {
        use DropReason as D;
        use Version::{V4, V6};
        let rows: &[(&str, &[u8], Found)] = &[
            ("version 0", &[0, 4, 0, 0, 0x45], Ok((4, V4))),
            ("version 0 with nothing behind", &[0, 4, 0, 0], Ok((4, V4))),
            ("private data", &[2, 4, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x45], Ok((12, V4))),
            ("private data that is not all there", &[2, 4, 0, 0, 1, 2, 3, 4, 5, 6, 7], Err(D::GueTruncated)),
            ("version 1", &[0x45, 0, 0, 20], Ok((0, V4))),
            ("version 1 around IPv6", &[0x60, 0, 0, 0], Ok((0, V6))),
            ("version 1 around IPv6 with a traffic class", &[0x6f, 0, 0, 0], Ok((0, V6))),
            ("version 1 around neither", &[0x50, 0, 0, 0], Err(D::GueProtocol)),
            ("version 1 around neither either", &[0x70, 0, 0, 0], Err(D::GueProtocol)),
            ("version 2", &[0x80, 4, 0, 0], Err(D::GueVersion)),
            ("version 3", &[0xc0, 4, 0, 0], Err(D::GueVersion)),
            ("nothing", &[], Err(D::GueTruncated)),
            ("half a header", &[0, 4, 0], Err(D::GueTruncated)),
            ("a control message", &[0x20, 1, 0, 0], Err(D::GueControl)),
            ("the first flag", &[0, 4, 0x80, 0], Err(D::GueFlags)),
            ("the last flag", &[0, 4, 0, 1], Err(D::GueFlags)),
            ("IPv6", &[0, 41, 0, 0], Ok((4, V6))),
            ("IPv6 behind private data", &[1, 41, 0, 0, 1, 2, 3, 4, 0x60], Ok((8, V6))),
            ("no protocol at all", &[0, 59, 0, 0], Err(D::GueProtocol)),
        ];
        for (what, payload, expected) in rows {
            let found = inner(payload).map(|inner| (inner.offset, inner.version));
            assert_eq!(found, *expected, "{what}");
        }
    }

    proptest! {
        #[test]
        fn the_packet_begins_within_the_payload_whatever_comes(payload: Vec<u8>) {
            if let Ok(inner) = inner(&payload) {
                prop_assert!(inner.offset <= payload.len());
            }
        }
    }
}
