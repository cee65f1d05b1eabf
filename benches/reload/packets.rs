//! The packets of the load: TCP segments of clients, answers of backends, and ARP answers.

use etherparse::PacketBuilder;

use super::LEAT;

/// Bytes of each frame, without the checksum at its end.
pub(super) const FRAME: usize = 60;

/// Ethernet, IPv4 and TCP headers, and what is left of a frame.
const PAYLOAD: usize = FRAME - 14 - 20 - 20;

/// Where addresses stand in a frame.
const SOURCE: std::ops::Range<usize> = 26..30;
const DESTINATION: std::ops::Range<usize> = 30..34;

/// One TCP segment.
pub(super) struct Segment {
    pub(super) from: ([u8; 4], u16),
    pub(super) to: ([u8; 4], u16),
    pub(super) seq: u32,
    /// A SYN, alone or with what it acknowledges; otherwise data.
    pub(super) is_syn: bool,
    pub(super) ack: Option<u32>,
}

impl Segment {
    pub(super) fn frame(&self, mac: [u8; 6]) -> Vec<u8> {
        let Self { from, to, seq, is_syn, ack } = *self;
        let mut builder = PacketBuilder::ethernet2(mac, LEAT).ipv4(from.0, to.0, 64).tcp(from.1, to.1, seq, 60_000);
        if is_syn {
            builder = builder.syn();
        }
        if let Some(ack) = ack {
            builder = builder.ack(ack);
        }
        let mut frame = Vec::new();
        builder.write(&mut frame, if is_syn { &[] } else { &[0; PAYLOAD] }).expect("a vector takes everything");
        frame.resize(FRAME, 0);
        frame
    }
}

/// Source and destination address, and ports.
pub(super) fn ends(frame: &[u8]) -> (([u8; 4], u16), ([u8; 4], u16)) {
    let address = |range: std::ops::Range<usize>| <[u8; 4]>::try_from(&frame[range]).expect("four bytes");
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    ((address(SOURCE), port(34)), (address(DESTINATION), port(36)))
}

/// The ARP answer of whoever is asked for in `frame`; nothing when it is no such question.
pub(super) fn arp_answer(frame: &[u8]) -> Option<Vec<u8>> {
    let is_question = frame.get(12..14)? == [0x08, 0x06] && frame.get(20..22)? == [0, 1];
    let (sender, target) = (frame.get(28..32)?, frame.get(38..42)?);
    if !is_question || sender == target {
        return None;
    }
    let mac = [2, 1, target[0], target[1], target[2], target[3]];
    let mut answer = [&LEAT[..], &mac, &frame[12..20], &[0, 2], &mac, target, &LEAT, sender].concat();
    answer.resize(FRAME, 0);
    Some(answer)
}
