use super::*;

use crate::conntrack::track::Direction::{Original, Reply};

const FIN: u8 = Segment::FIN;
const SYN: u8 = Segment::SYN;
const RST: u8 = Segment::RST;
const ACK: u8 = Segment::ACK;

/// What is expected of a segment: out of the window, in it, or in it with a change.
#[derive(Clone, Copy, Debug)]
enum Expect {
    Out,
    In,
    Closed,
    Restored,
    Reopen(bool),
}
use Expect::{Closed, In, Out, Reopen, Restored};

impl Expect {
    const fn observed(self) -> Observed {
        match self {
            Out => Observed::FOREIGN,
            In => Observed::ORDINARY,
            Closed => Observed { in_window: true, change: Some(Change::Closed) },
            Restored => Observed { in_window: true, change: Some(Change::Restored) },
            Reopen(keep_port) => Observed { in_window: false, change: Some(Change::Reopen { keep_port }) },
        }
    }
}

/// A segment with sequence and acknowledgement numbers relative to its sender's and its peer's first; then what it is
/// expected to be, and the state after it.
type Row = (Direction, u8, u32, u32, u16, Expect, State);

/// First sequence numbers that wrap in the middle of the tests' data.
const FIRST: [u32; 2] = [u32::MAX - 120, u32::MAX - 60];
const WINDOW: u16 = 1000;

fn syn(scale: Option<u8>) -> Segment {
    Segment { flags: SYN, seq: FIRST[0], ack: 0, window: WINDOW, payload_len: 0, window_scale: scale }
}

fn segment(row: &Row, scale: Option<u8>) -> Segment {
    let &(direction, flags, seq, ack, payload_len, ..) = row;
    let (sender, receiver) = (direction as usize, direction.opposite() as usize);
    Segment {
        flags,
        seq: FIRST[sender].wrapping_add(seq),
        ack: if flags & ACK == 0 { 0 } else { FIRST[receiver].wrapping_add(ack) },
        window: WINDOW,
        payload_len,
        window_scale: scale.filter(|_| flags & SYN != 0),
    }
}

fn run_on(track: &mut Track, scale: Option<u8>, rows: &[Row]) {
    for (number, row) in rows.iter().enumerate() {
        let observed = track.observe_segment(row.0, &segment(row, scale));
        assert_eq!(observed, row.5.observed(), "row {number}: {row:?}");
        assert_eq!(track.state(), row.6, "row {number}: {row:?}");
    }
}

/// Runs `rows` on a connection that has seen the client's SYN.
fn run(rows: &[Row]) {
    run_on(&mut Track::tcp(&syn(None), Sight::Both), None, rows);
}

/// Runs `rows` on an established connection that has exchanged 100 bytes each way.
fn run_established(rows: &[Row]) {
    let mut track = established();
    run_on(&mut track, None, rows);
}

fn established() -> Track {
    let mut track = Track::tcp(&syn(None), Sight::Both);
    run_on(
        &mut track,
        None,
        &[
            (Reply, SYN | ACK, 0, 1, 0, In, State::SynReceived),
            (Original, ACK, 1, 1, 0, In, State::Established),
            (Original, ACK, 1, 1, 100, In, State::Established),
            (Reply, ACK, 1, 101, 100, In, State::Established),
            (Original, ACK, 101, 101, 0, In, State::Established),
        ],
    );
    track
}

#[test]
fn the_client_closes_first() {
    run_established(&[
        (Original, FIN | ACK, 101, 101, 0, In, State::Closing),
        (Reply, ACK, 101, 102, 50, In, State::Closing),
        (Original, ACK, 102, 151, 0, In, State::Closing),
        (Reply, FIN | ACK, 151, 102, 0, Closed, State::TimeWait),
        (Original, ACK, 102, 152, 0, In, State::TimeWait),
    ]);
}

#[test]
fn the_backend_closes_first() {
    run_established(&[
        (Reply, FIN | ACK, 101, 101, 0, In, State::Closing),
        (Original, ACK, 101, 102, 0, In, State::Closing),
        (Original, FIN | ACK, 101, 102, 0, Closed, State::TimeWait),
        (Reply, ACK, 102, 102, 0, In, State::TimeWait),
        (Original, FIN | ACK, 101, 102, 0, In, State::TimeWait),
    ]);
}

#[test]
fn both_close_at_once() {
    run_established(&[
        (Original, FIN | ACK, 101, 101, 0, In, State::Closing),
        (Reply, FIN | ACK, 101, 101, 0, Closed, State::TimeWait),
        (Original, ACK, 102, 102, 0, In, State::TimeWait),
        (Reply, ACK, 102, 102, 0, In, State::TimeWait),
    ]);
}

#[test]
fn both_open_at_once() {
    run(&[
        (Reply, SYN, 0, 0, 0, In, State::SynReceived),
        (Original, SYN | ACK, 0, 1, 0, In, State::SynReceived),
        (Reply, SYN | ACK, 0, 1, 0, In, State::Established),
        (Original, ACK, 1, 1, 100, In, State::Established),
    ]);
}

#[test]
fn a_syn_sent_again_is_the_same_connection() {
    run(&[
        (Original, SYN, 0, 0, 0, In, State::SynSent),
        (Reply, SYN | ACK, 0, 1, 0, In, State::SynReceived),
        (Original, SYN, 0, 0, 0, In, State::SynReceived),
        (Reply, SYN | ACK, 0, 1, 0, In, State::SynReceived),
        (Original, ACK, 1, 1, 0, In, State::Established),
        (Reply, SYN | ACK, 0, 1, 0, Out, State::Established),
    ]);
}

#[test]
fn a_client_that_begins_anew_before_an_answer_is_tracked_anew() {
    run(&[
        (Original, SYN, 5000, 0, 0, In, State::SynSent),
        (Reply, SYN | ACK, 0, 1, 0, Out, State::SynSent),
        (Reply, SYN | ACK, 0, 5001, 0, In, State::SynReceived),
        (Original, SYN, 9000, 0, 0, Out, State::SynReceived),
        (Original, ACK, 5001, 1, 0, In, State::Established),
    ]);
}

#[test]
fn a_backend_with_syn_cookies_may_answer_anew() {
    run(&[
        (Reply, SYN | ACK, 0, 1, 0, In, State::SynReceived),
        (Reply, SYN | ACK, 70_000, 1, 0, In, State::SynReceived),
        (Original, ACK, 1, 70_001, 10, In, State::Established),
        (Reply, ACK, 70_001, 11, 10, In, State::Established),
    ]);
}

#[test]
fn nobody_establishes_a_connection_without_the_backends_answer() {
    run(&[
        (Original, ACK, 1, 1, 0, Out, State::SynSent),
        (Reply, ACK, 1, 1, 10, Out, State::SynSent),
        (Reply, FIN | ACK, 1, 1, 0, Out, State::SynSent),
        (Reply, SYN | ACK, 0, 2, 0, Out, State::SynSent),
        (Reply, SYN | ACK, 0, 0, 0, Out, State::SynSent),
    ]);
}

#[test]
fn a_refused_connection_is_over_soon() {
    run(&[
        (Reply, RST, 0, 0, 0, Out, State::SynSent),
        (Reply, RST | ACK, 0, 2, 0, Out, State::SynSent),
        (Reply, RST | ACK, 77, 1, 0, Closed, State::Reset),
        (Original, SYN, 0, 0, 0, Out, State::Reset), // The refused SYN, sent again meanwhile.
        (Original, SYN, 9000, 0, 0, Reopen(true), State::Reset),
    ]);
}

#[test]
fn a_client_may_give_up_before_an_answer() {
    run(&[(Original, RST, 2, 0, 0, Out, State::SynSent), (Original, RST, 1, 0, 0, Closed, State::Reset)]);
    run(&[
        (Reply, SYN | ACK, 0, 1, 0, In, State::SynReceived),
        (Original, RST, 1, 0, 0, Closed, State::Reset),
        (Original, ACK, 1, 1, 0, In, State::Reset),
    ]);
}

#[test]
fn a_blind_rst_out_of_the_window_changes_nothing() {
    for seq in [0, 100, 1102, 5000, 1 << 31, u32::MAX - 5000] {
        run_established(&[
            (Original, RST, seq, 0, 0, Out, State::Established),
            (Reply, RST, seq, 0, 0, Out, State::Established),
            (Reply, RST | ACK, seq, 101, 0, Out, State::Established),
        ]);
    }
}

#[test]
fn a_rst_in_the_window_ends_the_connection_from_either_side() {
    for direction in [Original, Reply] {
        for seq in [101, 600, 1101] {
            run_established(&[
                (direction, RST, seq, 0, 0, Closed, State::Reset),
                (direction, RST, seq, 0, 0, Out, State::Reset),
            ]);
        }
    }
}

#[test]
fn a_rst_with_a_syn_or_after_the_end_is_nothing() {
    run_established(&[
        (Original, RST | SYN, 101, 0, 0, Out, State::Established),
        (Original, FIN | SYN, 101, 0, 0, Out, State::Established),
        (Original, FIN | ACK, 101, 101, 0, In, State::Closing),
        (Reply, FIN | ACK, 101, 102, 0, Closed, State::TimeWait),
        (Original, RST, 102, 0, 0, Out, State::TimeWait),
    ]);
}

#[test]
fn a_forged_rst_is_undone_by_the_side_it_claimed_to_be_from() {
    run_established(&[
        (Original, RST, 300, 0, 0, Closed, State::Reset),
        (Reply, ACK, 101, 101, 50, In, State::Reset), // On its way already: proves nothing.
        (Original, ACK, 5000, 151, 10, Out, State::Reset),
        (Original, ACK, 101, 101, 10, Restored, State::Established),
        (Reply, ACK, 101, 111, 50, In, State::Established),
        (Reply, RST, 151, 0, 0, Closed, State::Reset),
        (Reply, ACK, 151, 111, 0, Restored, State::Established),
    ]);
}

#[test]
fn a_half_closed_connection_is_restored_as_half_closed() {
    run_established(&[
        (Original, FIN | ACK, 101, 101, 0, In, State::Closing),
        (Reply, RST, 300, 0, 0, Closed, State::Reset),
        (Reply, ACK, 101, 102, 10, Restored, State::Closing),
        (Reply, FIN | ACK, 111, 102, 0, Closed, State::TimeWait),
    ]);
}

#[test]
fn a_blind_syn_changes_nothing() {
    for seq in [0, 50, 101, 600, 70_000, 1 << 31] {
        for direction in [Original, Reply] {
            run_established(&[
                (direction, SYN, seq, 0, 0, Out, State::Established),
                (direction, SYN | ACK, seq, 101, 0, Out, State::Established),
            ]);
        }
    }
    run_established(&[
        (Original, FIN | ACK, 101, 101, 0, In, State::Closing),
        (Original, SYN, 70_000, 0, 0, Out, State::Closing),
    ]);
}

#[test]
fn a_blind_fin_or_data_changes_nothing() {
    for (seq, ack) in [(2000, 101), (1102, 101), (101, 102), (101, 101_u32.wrapping_sub(66_001)), (1 << 31, 101)] {
        for direction in [Original, Reply] {
            run_established(&[
                (direction, FIN | ACK, seq, ack, 0, Out, State::Established),
                (direction, ACK, seq, ack, 10, Out, State::Established),
            ]);
        }
    }
    run_established(&[
        (Original, FIN, 101, 0, 0, Out, State::Established),
        (Original, 0, 101, 0, 10, Out, State::Established),
    ]);
}

#[test]
fn a_new_syn_in_time_wait_opens_a_new_connection() {
    run_established(&[
        (Original, FIN | ACK, 101, 101, 0, In, State::Closing),
        (Reply, FIN | ACK, 101, 102, 0, Closed, State::TimeWait),
        (Reply, SYN, 70_000, 0, 0, Out, State::TimeWait),
        (Original, SYN | ACK, 70_000, 102, 0, Out, State::TimeWait),
        (Original, SYN, 70_000, 0, 0, Reopen(true), State::TimeWait),
        (Original, SYN, 102, 0, 0, Reopen(true), State::TimeWait),
        (Original, SYN, 50, 0, 0, Reopen(false), State::TimeWait),
    ]);
}

#[test]
fn retransmissions_and_data_beyond_a_hole_belong() {
    run_established(&[
        (Original, ACK, 301, 101, 100, In, State::Established), // 101..301 is lost.
        (Reply, ACK, 101, 101, 0, In, State::Established),
        (Original, ACK, 101, 101, 200, In, State::Established),
        (Original, ACK, 1, 101, 100, In, State::Established),
        (Reply, ACK, 101, 401, 0, In, State::Established),
    ]);
}

#[test]
fn a_keep_alive_belongs() {
    run_established(&[
        (Original, ACK, 100, 101, 0, In, State::Established),
        (Reply, ACK, 101, 101, 0, In, State::Established),
        (Reply, ACK, 100, 101, 1, In, State::Established),
        (Original, ACK, 101, 101, 0, In, State::Established),
    ]);
}

#[test]
fn probes_of_a_closed_window_belong() {
    let mut track = established();
    // The client fills the backend's window of 1000; the backend closes it.
    run_on(&mut track, None, &[(Original, ACK, 101, 101, 1000, In, State::Established)]);
    let closed = Segment { window: 0, ..segment(&(Reply, ACK, 101, 1101, 0, In, State::Established), None) };
    assert_eq!(track.observe_segment(Reply, &closed), Observed::ORDINARY);
    run_on(
        &mut track,
        None,
        &[
            (Original, ACK, 1101, 101, 1, In, State::Established), // One byte beyond the window.
            (Original, ACK, 1100, 101, 0, In, State::Established), // Linux: an old number and no data.
            (Original, ACK, 1300, 101, 1, Out, State::Established),
        ],
    );
    assert_eq!(track.observe_segment(Reply, &closed), Observed::ORDINARY);
    // It opens again.
    run_on(
        &mut track,
        None,
        &[(Reply, ACK, 101, 1102, 0, In, State::Established), (Original, ACK, 2000, 101, 100, In, State::Established)],
    );
}

#[test]
fn windows_are_scaled_when_both_syns_say_so() {
    let mut track = Track::tcp(&syn(Some(7)), Sight::Both);
    run_on(
        &mut track,
        Some(7),
        &[
            (Reply, SYN | ACK, 0, 1, 0, In, State::SynReceived),
            (Original, ACK, 1, 1, 0, In, State::Established),
            // The backend has offered 1000 in its SYN, which is never scaled, so nothing lies far ahead yet.
            (Original, ACK, 1002, 1, 10, Out, State::Established),
            (Original, ACK, 1, 1, 10, In, State::Established),
            // Now it offers 1000 << 7.
            (Reply, ACK, 1, 11, 0, In, State::Established),
            (Original, ACK, 11 + 128_000, 1, 10, In, State::Established),
            (Original, RST, 11 + 128_002, 0, 0, Out, State::Established),
            (Original, ACK, 11 + 128_001, 1, 10, Out, State::Established),
        ],
    );
}

#[test]
fn windows_are_not_scaled_when_only_one_syn_says_so() {
    let mut track = Track::tcp(&syn(Some(7)), Sight::Both);
    run_on(
        &mut track,
        None,
        &[
            (Reply, SYN | ACK, 0, 1, 0, In, State::SynReceived),
            (Original, ACK, 1, 1, 10, In, State::Established),
            (Reply, ACK, 1, 11, 10, In, State::Established),
            (Original, ACK, 1012, 1, 10, Out, State::Established),
            (Reply, ACK, 1002, 11, 10, Out, State::Established),
        ],
    );
}

#[test]
fn the_largest_shift_is_fourteen() {
    let mut track = Track::tcp(&syn(Some(200)), Sight::Both);
    run_on(
        &mut track,
        Some(15),
        &[(Reply, SYN | ACK, 0, 1, 0, In, State::SynReceived), (Original, ACK, 1, 1, 0, In, State::Established)],
    );
    assert_eq!([track.shift(ORIGINAL), track.shift(REPLY)], [14, 14]);
}

#[test]
fn data_in_the_syn_is_tracked() {
    // RFC 7413: the backend may take all of it or none.
    for acked in [1, 501] {
        let mut track = Track::tcp(&Segment { payload_len: 500, ..syn(None) }, Sight::Both);
        run_on(
            &mut track,
            None,
            &[
                (Reply, SYN | ACK, 0, 502, 0, Out, State::SynSent),
                (Reply, SYN | ACK, 0, acked, 0, In, State::SynReceived),
                (Reply, ACK, 1, acked, 300, In, State::SynReceived),
                (Original, ACK, acked, 1, 0, In, State::Established),
            ],
        );
    }
}

#[test]
fn a_long_transfer_stays_in_the_window_across_the_wrap() {
    let mut track = established();
    let (mut sent, mut acked) = (101_u32, 101_u32);
    // 10 GB: the numbers wrap twice. Every other segment is acknowledged.
    for _ in 0..200_000 {
        for _ in 0..2 {
            let data = (Reply, ACK, sent, 101, 500, In, State::Established);
            assert!(track.observe_segment(Reply, &segment(&data, None)).in_window, "{sent}");
            sent = sent.wrapping_add(500);
        }
        acked = acked.wrapping_add(1000);
        let ack = (Original, ACK, 101, acked, 0, In, State::Established);
        assert!(track.observe_segment(Original, &segment(&ack, None)).in_window, "{acked}");
    }
}

#[test]
fn a_connection_picked_up_in_its_middle_is_followed_from_there() {
    let first = segment(&(Original, ACK, 50_000, 90_000, 100, In, State::Established), None);
    let mut track = Track::tcp(&first, Sight::Both);
    assert_eq!(track.state(), State::Established);
    run_on(
        &mut track,
        None,
        &[
            (Reply, RST, 90_001, 0, 0, Out, State::Established), // No window is known: only the very next will do.
            // The backend is far ahead, and has more of the client than was seen.
            (Reply, ACK, 900_000, 50_900, 1000, In, State::Established),
            (Original, ACK, 50_100, 90_000, 800, In, State::Established),
            (Original, ACK, 50_900, 901_000, 0, In, State::Established),
            (Original, RST, 50_901, 0, 0, Out, State::Established),
            (Reply, FIN | ACK, 901_000, 50_900, 0, In, State::Closing),
            (Original, FIN | ACK, 50_900, 901_001, 0, Closed, State::TimeWait),
        ],
    );
}

#[test]
fn a_fin_can_be_all_that_is_left_of_a_connection() {
    let first = segment(&(Original, FIN | ACK, 50_000, 90_000, 0, In, State::Closing), None);
    let mut track = Track::tcp(&first, Sight::Both);
    assert_eq!(track.state(), State::Closing);
    run_on(&mut track, None, &[(Reply, FIN | ACK, 90_000, 50_001, 0, Closed, State::TimeWait)]);
}

#[test]
fn the_clients_half_alone_is_enough_where_the_backend_answers_directly() {
    let mut track = Track::tcp(&syn(Some(7)), Sight::OriginalOnly);
    run_on(
        &mut track,
        None,
        &[
            (Original, ACK, 1, 1, 0, In, State::Established),
            (Original, ACK, 1, 900_000, 100, In, State::Established),
            (Original, ACK, 201, 950_000, 100, In, State::Established),
            (Original, ACK, 101, 950_000, 100, In, State::Established),
            (Original, ACK, 201, 950_000, 100, In, State::Established),
            (Original, RST, 302, 0, 0, Out, State::Established),
            (Original, ACK, 1 << 31, 950_000, 100, Out, State::Established),
            (Original, FIN | ACK, 301, 950_000, 0, Closed, State::Parting),
            (Original, ACK, 302, 960_000, 0, In, State::Parting),
            (Original, SYN, 900_000, 0, 0, Reopen(true), State::Parting),
            (Original, RST, 302, 0, 0, In, State::Reset),
            (Original, SYN, 900_000, 0, 0, Reopen(true), State::Reset),
        ],
    );
}
