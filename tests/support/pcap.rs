//! Captures as files, in the classic pcap format (draft-ietf-opsawg-pcap): written with microseconds, read with
//! either precision in either byte order, since net_pcap writes nanoseconds.

use std::{fs, path::Path, time::Duration};

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
const SNAPSHOT_LENGTH: u32 = 262_144;

/// One captured Ethernet frame, without its check sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Since the epoch.
    pub time: Duration,
    pub bytes: Vec<u8>,
}

/// Writes frames one millisecond apart, from the epoch on.
pub fn write(path: &Path, frames: &[Vec<u8>]) {
    let mut file = Vec::new();
    for word in [MICROSECONDS, 2 | 4 << 16, 0, 0, SNAPSHOT_LENGTH, ETHERNET] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for (index, bytes) in frames.iter().enumerate() {
        let time = Duration::from_millis(index as u64);
        let length = u32::try_from(bytes.len()).expect("a frame is short");
        let seconds = u32::try_from(time.as_secs()).expect("a capture is short");
        for word in [seconds, time.subsec_micros(), length, length] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(bytes);
    }
    fs::write(path, file).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// Reads every frame of a capture.
///
/// # Panics
/// When the file is none, or ends within a frame.
pub fn read(path: &Path) -> Vec<Frame> {
    let file = fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    parse(&file).unwrap_or_else(|| panic!("{} is no classic pcap file, or a truncated one", path.display()))
}

fn parse(file: &[u8]) -> Option<Vec<Frame>> {
    let magic = u32::from_le_bytes(file.first_chunk().copied()?);
    let (swapped, nanoseconds) = match (magic, magic.swap_bytes()) {
        (MICROSECONDS, _) => (false, false),
        (NANOSECONDS, _) => (false, true),
        (_, MICROSECONDS) => (true, false),
        (_, NANOSECONDS) => (true, true),
        _ => return None,
    };
    let word = |at: usize| {
        let bytes = *file.get(at..)?.first_chunk()?;
        Some(if swapped { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };

    let mut frames = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let (seconds, fraction, length) = (word(at)?, word(at + 4)?, word(at + 8)? as usize);
        let fraction = if nanoseconds { fraction } else { fraction.checked_mul(1000)? };
        let bytes = file.get(at + 16..)?.get(..length)?.to_vec();
        frames.push(Frame { time: Duration::new(seconds.into(), fraction), bytes });
        at += 16 + length;
    }
    Some(frames)
}
