//! The TCP options of a SYN, and the timestamps of every segment (RFC 9293 §3.2, RFC 7323, RFC 2018).

use super::tcp::{self, HEADER_LEN};

/// Kinds of options.
pub mod kind {
    /// The end of all options.
    pub const END: u8 = 0;
    /// One byte of nothing.
    pub const NO_OPERATION: u8 = 1;
    /// The largest segment that the sender takes.
    pub const MSS: u8 = 2;
    /// By how many bits the sender's windows are shifted.
    pub const WINDOW_SCALE: u8 = 3;
    /// The sender understands selective acknowledgements.
    pub const SACK_PERMITTED: u8 = 4;
    /// Selective acknowledgements.
    pub const SACK: u8 = 5;
    /// The sender's clock, and the receiver's as the sender saw it last.
    pub const TIMESTAMPS: u8 = 8;
    /// A cookie of TCP Fast Open.
    pub const FAST_OPEN: u8 = 34;
}

/// The most bytes of options that a header can have.
pub const LONGEST: usize = 40;

/// The largest shift of a window (RFC 7323 §2.3).
const LARGEST_SHIFT: u8 = 14;

/// The options that leat understands, all numbers in host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The largest segment that the sender takes, in bytes.
    pub mss: Option<u16>,
    /// The shift of the sender's windows, at most 14.
    pub window_scale: Option<u8>,
    /// Whether the sender understands selective acknowledgements.
    pub sack_permitted: bool,
    /// The sender's clock, and the echo of the receiver's.
    pub timestamps: Option<(u32, u32)>,
}

impl Options {
    /// The options in `header`, a whole header. Of an option that is there twice the first counts; malformed ones end the
    /// reading.
    pub fn read(header: &[u8]) -> Self {
        let mut options = Self::default();
        for (at, kind, len) in each(header) {
            match (kind, &header[at + 2..at + len]) {
                (kind::MSS, &[high, low]) if options.mss.is_none() => {
                    options.mss = Some(u16::from_be_bytes([high, low]));
                }
                (kind::WINDOW_SCALE, &[shift]) if options.window_scale.is_none() => {
                    options.window_scale = Some(shift.min(LARGEST_SHIFT));
                }
                (kind::SACK_PERMITTED, []) => options.sack_permitted = true,
                (kind::TIMESTAMPS, &[a, b, c, d, e, f, g, h]) if options.timestamps.is_none() => {
                    options.timestamps = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
                }
                _ => {}
            }
        }
        options
    }

    /// Writes them as Linux orders them, and returns how many bytes they take: a multiple of four.
    pub fn write(&self, into: &mut [u8; LONGEST]) -> usize {
        let mut len = 0;
        let mut put = |bytes: &[u8]| {
            into[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
        };
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            put(&[kind::MSS, 4, high, low]);
        }
        match (self.sack_permitted, self.timestamps.is_some()) {
            (true, true) => put(&[kind::SACK_PERMITTED, 2]),
            (true, false) => put(&[kind::NO_OPERATION, kind::NO_OPERATION, kind::SACK_PERMITTED, 2]),
            (false, true) => put(&[kind::NO_OPERATION, kind::NO_OPERATION]),
            (false, false) => {}
        }
        if let Some((value, echo)) = self.timestamps {
            put(&[kind::TIMESTAMPS, 10]);
            put(&value.to_be_bytes());
            put(&echo.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            put(&[kind::NO_OPERATION, kind::WINDOW_SCALE, 3, shift]);
        }
        len
    }
}

/// Where each option of `header`, a whole header, begins, its kind, and its length of at least two bytes. Malformed options end
/// the list.
pub fn each(header: &[u8]) -> impl Iterator<Item = (usize, u8, usize)> + use<> {
    // A header has at most 60 bytes: what is read is copied, so that the caller may change the header meanwhile.
    let mut copy = [0; HEADER_LEN + LONGEST];
    let end = header.len().min(copy.len());
    copy[..end].copy_from_slice(&header[..end]);
    let mut at = HEADER_LEN;
    std::iter::from_fn(move || {
        while at < end && copy[at] == kind::NO_OPERATION {
            at += 1;
        }
        match *copy.get(at..end)? {
            [found, len, ..] if found != kind::END && len >= 2 && at + usize::from(len) <= end => {
                let option = (at, found, usize::from(len));
                at += option.2;
                Some(option)
            }
            _ => None,
        }
    })
}

/// The options of the segment that begins with `message`, whose header must be whole.
pub fn of(message: &[u8]) -> Options {
    let len = tcp::Header::new(message).map_or(0, tcp::Header::header_len);
    message.get(..len).map_or_else(Options::default, Options::read)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(options: &[u8]) -> Vec<u8> {
        [&[0; HEADER_LEN][..], options].concat()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_by_leat_and_by_etherparse(
            mss in any::<Option<u16>>(), window_scale in prop::option::of(0u8..=14), sack_permitted in any::<bool>(),
            timestamps in any::<Option<(u32, u32)>>(),
        ) {
            use etherparse::TcpOptionElement::{MaximumSegmentSize, Noop, SelectiveAcknowledgementPermitted, Timestamp, WindowScale};
            let options = Options { mss, window_scale, sack_permitted, timestamps };
            let mut bytes = [0xff; LONGEST];
            let len = options.write(&mut bytes);
            prop_assert_eq!(len % 4, 0);
            prop_assert_eq!(Options::read(&header(&bytes[..len])), options);
            let expected: Vec<_> = mss.map(MaximumSegmentSize).into_iter()
                .chain(sack_permitted.then_some(SelectiveAcknowledgementPermitted))
                .chain(timestamps.map(|(value, echo)| Timestamp(value, echo)))
                .chain(window_scale.map(WindowScale)).collect();
            let read: Vec<_> = etherparse::TcpOptionsIterator::from_slice(&bytes[..len]).map(Result::unwrap)
                .filter(|option| *option != Noop).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn no_bytes_make_it_panic_or_read_beyond_the_header(options in prop::collection::vec(any::<u8>(), 0..60)) {
            let header = header(&options);
            let _ = Options::read(&header);
            prop_assert!(each(&header).all(|(at, _, len)| at + len <= header.len()));
        }
    }
}
