//! Source ports that are taken again while their backend may have them in TIME-WAIT.

use super::*;
use crate::conntrack::{Numbers, Stamp};

fn syn(seq: u32) -> Segment {
    Segment { flags: Segment::SYN, seq, ack: 0, window: 1000, payload_len: 0, window_scale: None }
}

/// Opens a connection of `client`, lets both sides end it after `bytes`, and returns its adjustment, if it had one, and the
/// number after its last as the backend knows it.
fn live(
    conntrack: &mut Conntrack,
    client: u32,
    seq: u32,
    timestamp: Option<u32>,
    bytes: u16,
    now: Tick,
) -> (Option<Adjustment>, u32) {
    let original = key(Protocol::Tcp, client, 5000);
    let numbers = Some(Numbers { always: false, sequence: seq, timestamp: Stamp::Is(timestamp), before: None });
    let first = syn(seq);
    let opening = Opening { numbers, now, ..opening(conntrack, original, Some(&first)) };
    let Opened { index, .. } = conntrack.open(&opening).unwrap();
    let adjustment = conntrack.connection(index).is_adjusted().then(|| conntrack.adjustment(index));
    let own = seq.wrapping_add(1);
    let talk = [
        (Direction::Reply, Segment { flags: Segment::SYN | Segment::ACK, seq: 900, ack: own, ..syn(0) }),
        (Direction::Original, Segment { flags: Segment::ACK, seq: own, ack: 901, payload_len: bytes, ..syn(0) }),
        (
            Direction::Reply,
            Segment { flags: Segment::FIN | Segment::ACK, seq: 901, ack: own.wrapping_add(bytes.into()), ..syn(0) },
        ),
        (
            Direction::Original,
            Segment { flags: Segment::FIN | Segment::ACK, seq: own.wrapping_add(bytes.into()), ack: 902, ..syn(0) },
        ),
    ];
    for (direction, segment) in talk {
        conntrack.track(index, direction, Some(&segment), now);
    }
    assert_eq!(conntrack.connection(index).state(), State::TimeWait);
    let difference = adjustment.map_or(0, |adjustment| adjustment.original_sequence);
    (adjustment, own.wrapping_add(u32::from(bytes) + 1).wrapping_add(difference))
}

/// Whether a backend in TIME-WAIT takes a SYN with this number on a tuple whose last number it expects (RFC 1122 §4.2.2.13).
fn is_beyond(number: u32, last: u32) -> bool {
    number.wrapping_sub(last).cast_signed() > 0
}

#[test]
fn a_port_that_rests_is_taken_again_with_a_number_beyond_the_last_ones() {
    for first in [0, 1 << 30, 2 << 30, 3 << 30_u32] {
        let mut conntrack = worker(5000, 16_384, 100);
        let mut lasts = Vec::new();
        for client in 0..4 {
            let (adjustment, last) = live(&mut conntrack, client, first, None, 500, START);
            assert_eq!(adjustment, None, "a fresh port has the client's own numbers");
            lasts.push(last);
        }
        // All four rest. Whatever number a client begins with, the backend gets one beyond, in the order in which they rested.
        for client in 4..100_u32 {
            let seq = client.wrapping_mul(0x9e37_79b9);
            let (adjustment, last) = live(&mut conntrack, client, seq, None, 500, START);
            let number = seq.wrapping_add(adjustment.unwrap().original_sequence);
            let before = lasts[client as usize % 4];
            assert!(is_beyond(number, before), "{number} after {before}");
            lasts[client as usize % 4] = last;
        }
    }
}

#[test]
fn timestamps_go_on_where_they_are_known_and_are_left_out_where_not() {
    let mut conntrack = worker(5000, 16_384, 100);
    for client in 0..4 {
        live(&mut conntrack, client, 100, Some(4_000_000_000), 500, START);
    }
    // What the last connections' timestamps were, nobody knows.
    for client in 4..8 {
        assert!(live(&mut conntrack, client, 100, Some(7), 500, START).0.unwrap().without_timestamps);
    }
    // They had none, so any will do. From here on they are known.
    for client in 8..12 {
        let (adjustment, _) = live(&mut conntrack, client, 100, Some(7), 500, START);
        let adjustment = adjustment.unwrap();
        assert!(!adjustment.without_timestamps && adjustment.original_timestamp == 0);
        assert!(adjustment.remembers_timestamps);
    }
    // As the packet path does it.
    let resting: Vec<_> = conntrack.records(0, 100).map(|(index, _)| index).collect();
    for index in resting {
        let adjustment = Adjustment { latest_timestamp: Some(5_000), ..conntrack.adjustment(index) };
        conntrack.adjust(index, &adjustment);
    }
    for (client, timestamp, expected) in [(12, 7, 5_001), (13, 4_999, 5_001), (14, 5_000, 5_001), (15, 6_000, 6_000)] {
        let adjustment = live(&mut conntrack, client, 100, Some(timestamp), 500, START).0.unwrap();
        assert_eq!(timestamp.wrapping_add(adjustment.original_timestamp), expected);
    }
}

#[test]
fn after_a_full_table_has_forgotten_what_rests_every_connection_counts_as_on_a_port_that_does() {
    let mut conntrack = worker(0, 1, 20);
    for client in 0..20 {
        assert_eq!(live(&mut conntrack, client, 100, Some(7), 500, START).0, None);
    }
    live(&mut conntrack, 20, 100, Some(7), 500, START);
    let (adjustment, _) = live(&mut conntrack, 21, 100, Some(7), 500, START);
    let adjustment = adjustment.unwrap();
    assert!(adjustment.original_sequence != 0 && adjustment.without_timestamps);
}
