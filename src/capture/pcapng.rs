//! Packets as a capture file in the format pcapng (draft-ietf-opsawg-pcapng), as Wireshark, tshark and tcpdump read it.
//!
//! Each packet is written as it came, and once more as it left, each with a comment. What is written at one time is always whole
//! blocks, so a file is right wherever it ends.

use crate::inquiry::Record;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// Ethernet, of the link types that there are.
const ETHERNET: u16 = 1;

const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const TIME_RESOLUTION: u16 = 9;
const INTERFACE_DROPPED: u16 = 5;
const PACKET_FLAGS: u16 = 2;

/// A packet's direction, in its flags.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Makes the blocks of one file.
#[derive(Clone, Debug)]
pub struct Pcapng {
    /// DPDK's numbers of the ports, in the order of their interface blocks.
    ports: Vec<u16>,
    missing: u64,
}

impl Pcapng {
    /// A file of packets of these ports, each with its number and its name; and what the file begins with.
    pub fn begin(ports: &[(u16, String)]) -> (Self, Vec<u8>) {
        let mut bytes = Vec::new();
        block(&mut bytes, SECTION_HEADER, |body| {
            body.extend(0x1a2b_3c4d_u32.to_le_bytes());
            body.extend(1_u16.to_le_bytes());
            body.extend(0_u16.to_le_bytes());
            // Nobody knows yet how long the section gets.
            body.extend(u64::MAX.to_le_bytes());
            option(body, APPLICATION, concat!("leat ", env!("CARGO_PKG_VERSION")).as_bytes());
            option(body, END_OF_OPTIONS, &[]);
        });
        for (_, name) in ports {
            block(&mut bytes, INTERFACE_DESCRIPTION, |body| {
                body.extend(ETHERNET.to_le_bytes());
                body.extend(0_u16.to_le_bytes());
                body.extend((Record::MOST_BYTES as u32).to_le_bytes());
                option(body, INTERFACE_NAME, name.as_bytes());
                // Nanoseconds.
                option(body, TIME_RESOLUTION, &[9]);
                option(body, END_OF_OPTIONS, &[]);
            });
        }
        (Self { ports: ports.iter().map(|(number, _)| *number).collect(), missing: 0 }, bytes)
    }

    /// Puts what became of one packet, which came at `time` in nanoseconds since 1970, behind `bytes`.
    pub fn packet(&self, bytes: &mut Vec<u8>, record: &Record, time: u64) {
        self.frame(bytes, record.ingress, time, (&record.before, record.before_len), INBOUND, record.story.trim_end());
        if let Some(egress) = record.egress {
            self.frame(bytes, egress.0, time, (&record.after, record.after_len), OUTBOUND, &record.verdict);
        }
    }

    /// Notes behind `bytes` that so many more packets are missing, as of `time`.
    pub fn missing(&mut self, bytes: &mut Vec<u8>, packets: u64, time: u64) {
        self.missing += packets;
        block(bytes, INTERFACE_STATISTICS, |body| {
            // Of whichever port they were: the first has to stand for all.
            body.extend(0_u32.to_le_bytes());
            body.extend(((time >> 32) as u32).to_le_bytes());
            body.extend((time as u32).to_le_bytes());
            option(body, INTERFACE_DROPPED, &self.missing.to_le_bytes());
            option(body, END_OF_OPTIONS, &[]);
        });
    }

    fn frame(&self, bytes: &mut Vec<u8>, port: u16, time: u64, frame: (&[u8], u32), direction: u32, comment: &str) {
        let (frame, len) = frame;
        let Some(interface) = self.ports.iter().position(|known| *known == port) else { return };
        block(bytes, ENHANCED_PACKET, |body| {
            body.extend((interface as u32).to_le_bytes());
            body.extend(((time >> 32) as u32).to_le_bytes());
            body.extend((time as u32).to_le_bytes());
            body.extend((frame.len() as u32).to_le_bytes());
            body.extend(len.to_le_bytes());
            padded(body, frame);
            option(body, COMMENT, comment.as_bytes());
            option(body, PACKET_FLAGS, &direction.to_le_bytes());
            option(body, END_OF_OPTIONS, &[]);
        });
    }
}

/// A block of this type with what `fill` writes in it.
fn block(bytes: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend(kind.to_le_bytes());
    bytes.extend([0; 4]);
    fill(bytes);
    let len = (bytes.len() - start + 4) as u32;
    bytes.extend(len.to_le_bytes());
    bytes[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    padded(body, value);
}

/// All of a block begins at multiples of four bytes.
fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PortId;

    #[test]
    fn every_block_says_its_length_at_both_ends() {
        let (mut file, mut bytes) = Pcapng::begin(&[(0, "net_tap0".to_owned()), (3, "net_null0".to_owned())]);
        let record = Record {
            ingress: 0,
            before: vec![1; 61],
            before_len: 61,
            egress: Some(PortId(3)),
            after: vec![2; 64],
            after_len: 3000,
            story: "port 0: it came\n".to_owned(),
            verdict: "sent".to_owned(),
            ..Record::default()
        };
        file.packet(&mut bytes, &record, 1_700_000_000_123_456_789);
        file.packet(&mut bytes, &Record { egress: None, ..record }, 5);
        file.missing(&mut bytes, 7, 6);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (mut at, mut kinds) = (0, Vec::new());
        while at < bytes.len() {
            let len = word(at + 4) as usize;
            assert_eq!((len % 4, word(at + len - 4) as usize), (0, len));
            kinds.push(word(at));
            at += len;
        }
        assert_eq!(kinds, [SECTION_HEADER, 1, 1, 6, 6, 6, 5]);
    }
}
