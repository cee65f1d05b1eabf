//! Fragments with any spans, in any order, against a model that keeps every byte: what goes on is exactly one packet, each byte of it
//! once, and every fragment has one fate.

#![no_main]

use std::time::Duration;

use leat::fragment::{Fate, FragmentKey, Gathering, Span};
use leat::time::Instant;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Vec<(u8, u8, u8, bool, u8)>| {
    let mut gathering = Gathering::default();
    let mut now = Instant::ZERO;
    // Which fragments are held, by their numbers, as a model of what is in there.
    let mut held: Vec<(u32, Span, usize)> = Vec::new();
    for (number, (identification, start, units, more, wait)) in input.into_iter().enumerate() {
        now = now + Duration::from_millis(u64::from(wait) * 50);
        let identification = u32::from(identification % 8);
        let start = u32::from(start) * 8;
        let span = Span { start, end: start + 8 * (1 + u32::from(units)), more };
        let key = FragmentKey { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), identification, protocol: 17 };
        held.push((identification, span, number));
        let mut end = 0;
        let mut leave = |gone: usize, fate: Fate| {
            let at = held.iter().position(|(_, _, number)| *number == gone).expect("it was held, and has one fate");
            let (_, span, _) = held.remove(at);
            if let Fate::Whole(told) = fate {
                assert_eq!((told, span.start), (span, end));
                end = if span.more { span.end } else { 0 };
            }
        };
        gathering.expire(Some(now), &mut leave);
        gathering.take_in(number, key, span, now, &mut leave);
        assert_eq!(end, 0, "a packet goes on as a whole");
        assert_eq!(held.is_empty(), gathering.is_empty());
    }
    let mut count = 0;
    gathering.expire(None, |_, _| count += 1);
    assert_eq!(count, held.len());
});
