//! Changing the numbers of a TCP segment that two sides count differently: sequence and acknowledgement numbers, the edges of
//! selective acknowledgements (RFC 2018 §3), timestamps (RFC 7323 §3), the window. The checksum is adjusted for just that.

use crate::wire::checksum::Delta;
use crate::wire::tcp;
use crate::wire::tcp_options::{self, kind};

/// What is added to each number, on the circle that it is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// To the sequence number.
    pub sequence: u32,
    /// To the acknowledgement number and the edges of selective acknowledgements, where there are any.
    pub acknowledgment: u32,
    /// To the sender's timestamp.
    pub timestamp: u32,
    /// To the echo of the receiver's timestamp; 0 stays 0, which echoes nothing.
    pub echo: u32,
    /// By how many bits the window is shifted to the left, or below 0 to the right: the receiver reads it with another scale
    /// than the sender writes it.
    pub window: i8,
    /// Whether selective acknowledgements are left out.
    pub without_sack: bool,
    /// Whether timestamps are left out.
    pub without_timestamps: bool,
    /// Whether a cookie of TCP Fast Open is left out (RFC 7413 §4.1.1), so that the receiver leaves data in a SYN alone.
    pub without_fast_open: bool,
}

/// Changes the segment whose TCP header, which is whole, is at `transport` in `frame`.
pub fn shift(frame: &mut [u8], transport: usize, shift: &Shift) {
    let Some(segment) = frame.get_mut(transport..) else { return };
    let Some((len, flags, window)) =
        tcp::Header::new(segment).map(|header| (header.header_len(), header.flags(), header.window()))
    else {
        return;
    };
    let Some(header) = segment.get_mut(..len).filter(|header| header.len() >= tcp::HEADER_LEN) else { return };
    let acknowledges = flags.contains(tcp::Flags::ACK);
    let mut delta = add(header, 4, shift.sequence);
    if acknowledges {
        delta = delta.and(add(header, 8, shift.acknowledgment));
    }
    // The window of a SYN is never scaled (RFC 7323 §2.2).
    if shift.window != 0 && !flags.contains(tcp::Flags::SYN) {
        let rescaled = rescale(window, shift.window);
        header[14..16].copy_from_slice(&rescaled.to_be_bytes());
        delta = delta.replace(window, rescaled);
    }
    for (at, kind, len) in tcp_options::each(header) {
        match kind {
            kind::SACK if shift.without_sack => delta = delta.and(erase(header, at, len)),
            kind::SACK => {
                for edge in (at + 2..at + len).step_by(4).filter(|edge| edge + 4 <= at + len) {
                    delta = delta.and(add(header, edge, shift.acknowledgment));
                }
            }
            kind::FAST_OPEN if shift.without_fast_open => delta = delta.and(erase(header, at, len)),
            kind::TIMESTAMPS if shift.without_timestamps => delta = delta.and(erase(header, at, len)),
            kind::TIMESTAMPS if len == 10 => {
                delta = delta.and(add(header, at + 2, shift.timestamp));
                if acknowledges && header[at + 6..at + 10] != [0; 4] {
                    delta = delta.and(add(header, at + 6, shift.echo));
                }
            }
            _ => {}
        }
    }
    if let Some(mut header) = tcp::HeaderMut::new(header) {
        header.adjust_checksum(delta);
    }
}

/// The window that says the same with a scale that differs by `shift` bits, as far as it can. One that is open stays so.
pub fn rescale(window: u16, shift: i8) -> u16 {
    let bits = u32::from(shift.unsigned_abs()).min(31);
    let moved = if shift >= 0 { u64::from(window) << bits } else { u64::from(window) >> bits };
    u16::try_from(moved).unwrap_or(u16::MAX).max(u16::from(window != 0))
}

/// The numbers that the segment at `transport` in `frame` has in its timestamps option.
pub fn timestamps(frame: &[u8], transport: usize) -> Option<(u32, u32)> {
    tcp_options::of(frame.get(transport..)?).timestamps
}

/// Lowers the largest segment that the SYN at `transport` in `frame` announces by `bytes`.
pub fn lower_mss(frame: &mut [u8], transport: usize, bytes: u16) {
    let announced = frame.get(transport..).map(tcp_options::of).and_then(|options| options.mss);
    if let Some(announced) = announced {
        super::clamp_mss(frame, transport, announced.saturating_sub(bytes));
    }
}

/// Adds `difference` to the number of 32 bits at `at`, and returns what that does to a checksum.
fn add(bytes: &mut [u8], at: usize, difference: u32) -> Delta {
    let Some(place) = bytes.get_mut(at..).and_then(|bytes| bytes.first_chunk_mut()) else { return Delta::NONE };
    let old = u32::from_be_bytes(*place);
    let new = old.wrapping_add(difference);
    *place = new.to_be_bytes();
    // A number at an odd offset covers the halves of three words. Turned by a byte, it adds the same to a sum (RFC 1071 §2).
    let turn = if at.is_multiple_of(2) { 0 } else { 8 };
    Delta::NONE.replace_pair(old.rotate_right(turn), new.rotate_right(turn))
}

/// Puts an option that says nothing in place of that of `len` bytes at `at`, and returns what that does to a checksum.
fn erase(bytes: &mut [u8], at: usize, len: usize) -> Delta {
    let mut delta = Delta::NONE;
    for (at, byte) in bytes.iter_mut().enumerate().skip(at).take(len) {
        let old = std::mem::replace(byte, kind::NO_OPERATION);
        let word = |byte: u8| if at.is_multiple_of(2) { u16::from(byte) << 8 } else { u16::from(byte) };
        delta = delta.replace(word(old), word(kind::NO_OPERATION));
    }
    delta
}

#[cfg(test)]
mod tests {
    use etherparse::TcpOptionElement::{Noop, SelectiveAcknowledgement, Timestamp, WindowScale};
    use etherparse::{PacketBuilder, TcpOptionElement, TcpSlice};
    use proptest::prelude::*;

    use super::*;
    use crate::forward::judge;

    fn frame(numbers: (u32, u32, u16), acknowledges: bool, options: &[TcpOptionElement], payload: &[u8]) -> Vec<u8> {
        let (sequence, acknowledgment, window) = numbers;
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let mut builder = builder.tcp(1, 2, sequence, window);
        if acknowledges {
            builder = builder.ack(acknowledgment);
        }
        let mut frame = Vec::new();
        builder.options(options).unwrap().write(&mut frame, payload).unwrap();
        frame
    }

    /// What `look` sees of the segment, whose checksums are right.
    fn see(frame: &[u8], look: impl FnOnce(&TcpSlice<'_>)) {
        judge::see(frame, |_, tcp| look(tcp));
    }

    proptest! {
        #[test]
        fn every_number_is_shifted_wherever_its_option_stands(
            numbers in any::<(u32, u32, u16)>(), first in any::<(u32, u32)>(), second in any::<Option<(u32, u32)>>(),
            stamps in any::<(u32, u32)>(), padding in 0usize..4, acknowledges in any::<bool>(),
            by in any::<(u32, u32, u32, u32)>(), payload in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let mut options = vec![Noop; padding];
            options.push(Timestamp(stamps.0, stamps.1));
            options.push(SelectiveAcknowledgement(first, [second, None, None]));
            let mut bytes = frame(numbers, acknowledges, &options, &payload);
            let change = Shift { sequence: by.0, acknowledgment: by.1, timestamp: by.2, echo: by.3, ..Shift::default() };
            shift(&mut bytes, 34, &change);
            let plus = |(left, right): (u32, u32)| (left.wrapping_add(by.1), right.wrapping_add(by.1));
            let echo = if acknowledges && stamps.1 != 0 { stamps.1.wrapping_add(by.3) } else { stamps.1 };
            see(&bytes, |tcp| {
                assert_eq!(tcp.sequence_number(), numbers.0.wrapping_add(by.0));
                if acknowledges {
                    assert_eq!(tcp.acknowledgment_number(), numbers.1.wrapping_add(by.1));
                }
                let found: Vec<_> = tcp.options_iterator().map(Result::unwrap).filter(|option| *option != Noop).collect();
                let expected = [
                    Timestamp(stamps.0.wrapping_add(by.2), echo),
                    SelectiveAcknowledgement(plus(first), [second.map(plus), None, None]),
                ];
                assert_eq!(found, expected);
                assert_eq!(tcp.payload(), payload);
            });
        }

        #[test]
        fn what_is_left_out_leaves_the_rest_as_it_was(
            numbers in any::<(u32, u32, u16)>(), edges in any::<(u32, u32)>(), padding in 0usize..4,
        ) {
            let mut options = vec![Noop; padding];
            options.extend([Timestamp(7, 8), SelectiveAcknowledgement(edges, [None; 3]), WindowScale(7)]);
            let mut bytes = frame(numbers, true, &options, b"hello");
            let len = bytes.len();
            shift(&mut bytes, 34, &Shift { without_sack: true, without_timestamps: true, ..Shift::default() });
            prop_assert_eq!(bytes.len(), len);
            see(&bytes, |tcp| {
                let found: Vec<_> = tcp.options_iterator().map(Result::unwrap).filter(|option| *option != Noop).collect();
                assert_eq!(found, [WindowScale(7)]);
                assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number(), tcp.window_size()), numbers);
            });
        }

        #[test]
        fn no_segment_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), seq in any::<u32>()) {
            let mut frame = bytes.clone();
            shift(&mut frame, 34, &Shift { sequence: seq, timestamp: 1, window: -3, ..Shift::default() });
            prop_assert_eq!(frame.len(), bytes.len());
        }
    }

    #[test]
    fn a_window_says_the_same_with_another_scale_as_far_as_it_can() {
        assert_eq!(rescale(1000, 0), 1000);
        assert_eq!(rescale(1000, 3), 8000);
        assert_eq!(rescale(60_000, 3), u16::MAX);
        assert_eq!(rescale(1000, -3), 125);
        assert_eq!(rescale(3, -3), 1, "it is not closed");
        assert_eq!((rescale(0, 3), rescale(0, -3)), (0, 0));
        let mut bytes = frame((1, 2, 1000), true, &[], b"");
        shift(&mut bytes, 34, &Shift { window: 2, ..Shift::default() });
        see(&bytes, |tcp| assert_eq!(tcp.window_size(), 4000));
    }
}
