//! The quick way of a segment and the whole way, side by side: what one takes in, the other takes in alike.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Numbers that are near each other more often than not, so that bounds are met from both sides.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..200_000_u32, 1 => any::<u32>()].prop_map(|number| number.wrapping_sub(100_000))
}

/// A window, and now and then none that was seen.
fn window() -> impl Strategy<Value = u16> {
    prop_oneof![1 => Just(0), 8 => any::<u16>()]
}

fn track() -> impl Strategy<Value = Track> {
    let state = prop_oneof![8 => Just(State::Established), 1 => select(&State::ALL[1..8])];
    let scales = (0..15_u8, 0..15_u8).prop_map(|(original, reply)| reply << 4 | original);
    ([number(), number()], [number(), number()], [window(), window()], scales, any::<u8>(), state).prop_map(
        |(ends, max_ends, max_windows, scales, facts, state)| Track {
            ends,
            max_ends,
            max_windows,
            scales,
            facts,
            state,
            protocol: Protocol::Tcp,
        },
    )
}

fn segment() -> impl Strategy<Value = Segment> {
    (number(), number(), any::<u16>(), 0..3000_u16).prop_map(|(seq, ack, window, payload_len)| Segment {
        flags: Segment::ACK,
        seq,
        ack,
        window,
        payload_len,
        window_scale: None,
    })
}

/// All that a track says.
fn said(track: &Track) -> String {
    format!("{track:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_quick_way_takes_in_what_the_whole_way_takes_in_and_alike(
        track in track(),
        segment in segment(),
        direction in select(&[Direction::Original, Direction::Reply]),
    ) {
        let (mut quick, mut whole) = (track, track);
        let passes = quick.pass_segment(direction, &segment);
        let observed = whole.observe_segment(direction, &segment);
        prop_assert_eq!(passes, track.state == State::Established && observed == Observed::ORDINARY);
        prop_assert_eq!(said(&quick), said(if passes { &whole } else { &track }));
    }
}

#[test]
fn what_is_half_the_circle_away_is_left_to_the_whole_way() {
    let mut track = Track {
        max_ends: [1 << 31, 0],
        max_windows: [1000, 1000],
        facts: fact::BOTH_ACKED,
        ..Track::blank(Protocol::Tcp, State::Established)
    };
    let before = said(&track);
    let segment = Segment { flags: Segment::ACK, seq: 0, ack: 0, window: 1000, payload_len: 0, window_scale: None };
    assert!(!track.pass_segment(Direction::Original, &segment));
    assert_eq!(said(&track), before);
    assert_eq!(track.observe_segment(Direction::Original, &segment), Observed::ORDINARY);
}
