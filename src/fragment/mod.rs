//! Fragments of IP packets (RFC 791 §3.2, RFC 8200 §4.5), kept until their packet is whole.
//!
//! Only the first fragment has ports, and fragments may come in any order. So all of a packet's are held, and go on together, in
//! the order of their places, when none is missing: as a host would take them. They are not joined. What overlaps, reaches
//! beyond the longest packet, or contradicts what is already there takes its whole packet with it (RFC 5722 asks that of IPv6;
//! RFC 1858 and RFC 3128 say what overlaps are good for). What does not become whole in time, or is the oldest when room is
//! needed, is given up.
//!
//! Memory is bounded by [`MOST_HELD`] fragments; a look at each of them costs no more than a few hundred nanoseconds, so they lie in one
//! list.

use std::net::IpAddr;
use std::time::Duration;

use crate::time::Instant;
use crate::wire::{ip, ipv4};

/// How many fragments are held at once, on one worker: five packets of the longest there are, or 128 that are cut in two.
pub const MOST_HELD: usize = 256;

/// How long after its first fragment a packet must be whole: what RFC 791 §3.2 begins with. RFC 8200 would have a host wait for a
/// minute.
const PATIENCE: Duration = Duration::from_secs(15);

/// The most bytes that one packet carries behind its header, of IPv4 and of IPv6.
const LONGEST_PAYLOAD: u32 = u16::MAX as u32 - ipv4::HEADER_LEN as u32;
const LONGEST_PAYLOAD_V6: u32 = u16::MAX as u32;

/// What the fragments of one packet have in common (RFC 791 §2.3, RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Identification; in IPv4 of 16 bits.
    pub identification: u32,
    /// IANA number of the protocol; 0 in IPv6, where it does not count.
    pub protocol: u8,
}

impl FragmentKey {
    /// What the fragment `packet`, from its IP header on, has in common with the others, and which part of the whole it carries:
    /// nothing, when no host makes such a fragment. Nothing at all, when it is no fragment.
    pub fn read(packet: &[u8]) -> Option<(Self, Option<Span>)> {
        let (header, upper) = (ip::Header::new(packet)?, ip::Upper::of(packet)?);
        let fragment = upper.fragment?;
        let (protocol, longest) = match header {
            ip::Header::V4(_) => (upper.protocol, LONGEST_PAYLOAD),
            ip::Header::V6(_) => (0, LONGEST_PAYLOAD_V6),
        };
        let (src, dst) = (header.source(), header.destination());
        let key = Self { src, dst, identification: fragment.identification, protocol };
        let len = header.packet_len().checked_sub(upper.at).map(|len| len as u32);
        Some((key, len.and_then(|len| Span::new(fragment.offset, len, fragment.more, longest))))
    }
}

/// Which part of a packet's payload a fragment carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it starts, in bytes.
    pub start: u32,
    /// Where it ends, in bytes: the first that it has not.
    pub end: u32,
    /// Whether more follows.
    pub more: bool,
}

impl Span {
    /// `None` when no host makes such a fragment.
    fn new(start: u32, len: u32, more: bool, longest: u32) -> Option<Self> {
        let span = Self { start, end: start + len, more };
        let is_cut_right = !span.more || len.is_multiple_of(8);
        (len > 0 && is_cut_right && span.end <= longest).then_some(span)
    }

    const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Whether both can be of one packet: the last one's end is the packet's.
    const fn agrees_with(&self, other: &Self) -> bool {
        (self.more || other.end <= self.end && other.more) && (other.more || self.end <= other.end && self.more)
    }
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its packet is whole: it goes on. The one that carries the packet's start comes first, the last one last.
    Whole(Span),
    /// It was here before.
    Duplicate,
    /// It, or another one of its packet, cannot be true.
    Malformed,
    /// Its packet was given up before it was whole.
    Incomplete,
}

struct Held<P> {
    key: FragmentKey,
    span: Span,
    /// When the first of its packet came.
    since: Instant,
    packet: P,
}

/// One worker's fragments.
pub struct Gathering<P> {
    held: Vec<Held<P>>,
}

impl<P> Default for Gathering<P> {
    fn default() -> Self {
        Self { held: Vec::with_capacity(MOST_HELD) }
    }
}

impl<P> Gathering<P> {
    /// A place without room, which takes no memory: to stand in while the real one is at work.
    pub const fn closed() -> Self {
        Self { held: Vec::new() }
    }

    /// Whether no fragment is held.
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes in a fragment. `give` gets each one that is not held any more, with what became of it: nothing if this one waits for
    /// others.
    pub fn take_in(&mut self, packet: P, key: FragmentKey, span: Span, now: Instant, mut give: impl FnMut(P, Fate)) {
        let mut since = now;
        let (mut held_bytes, mut whole_bytes) = (0, (!span.more).then_some(span.end));
        for other in self.held.iter().filter(|other| other.key == key) {
            if other.span == span {
                return give(packet, Fate::Duplicate);
            }
            if other.span.overlaps(&span) || !other.span.agrees_with(&span) {
                give(packet, Fate::Malformed);
                return self.give_up(key, Fate::Malformed, &mut give);
            }
            since = other.since;
            held_bytes += other.span.end - other.span.start;
            whole_bytes = whole_bytes.or((!other.span.more).then_some(other.span.end));
        }
        if self.held.len() >= MOST_HELD.min(self.held.capacity())
            && let Some(oldest) = self.held.iter().min_by_key(|other| other.since)
        {
            let oldest = oldest.key;
            self.give_up(oldest, Fate::Incomplete, &mut give);
            if oldest == key {
                return give(packet, Fate::Incomplete);
            }
        }
        self.held.push(Held { key, span, since, packet });
        // None overlaps another, so as many bytes as there are in all are all the bytes.
        if whole_bytes == Some(held_bytes + span.end - span.start) {
            self.give_in_order(key, &mut give);
        }
    }

    /// Gives up the packets that had their time at `now`; without a time, all.
    pub fn expire(&mut self, now: Option<Instant>, mut give: impl FnMut(P, Fate)) {
        let is_over = |held: &mut Held<P>| now.is_none_or(|now| now.since(held.since) >= PATIENCE);
        self.held.extract_if(.., is_over).for_each(|held| give(held.packet, Fate::Incomplete));
    }

    fn give_up(&mut self, key: FragmentKey, fate: Fate, give: &mut impl FnMut(P, Fate)) {
        self.held.extract_if(.., |held| held.key == key).for_each(|held| give(held.packet, fate));
    }

    fn give_in_order(&mut self, key: FragmentKey, give: &mut impl FnMut(P, Fate)) {
        let mut start = 0;
        while let Some(at) = self.held.iter().position(|held| held.key == key && held.span.start == start) {
            let Held { span, packet, .. } = self.held.swap_remove(at);
            start = span.end;
            give(packet, Fate::Whole(span));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: FragmentKey = FragmentKey {
        src: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
        dst: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 10)),
        identification: 7,
        protocol: 17,
    };

    fn span(start: u32, end: u32, more: bool) -> Span {
        Span { start, end, more }
    }

    /// Takes in these spans, numbered from 0, and returns what became of each, in the order in which that was known.
    fn take_in(gathering: &mut Gathering<usize>, key: FragmentKey, spans: &[Span], now: Instant) -> Vec<(usize, Fate)> {
        let mut fates = Vec::new();
        for (number, span) in spans.iter().enumerate() {
            gathering.take_in(number, key, *span, now, |packet, fate| fates.push((packet, fate)));
        }
        fates
    }

    proptest! {
        #[test]
        fn in_whatever_order_they_come_they_leave_in_the_order_of_their_places(
            lens in prop::collection::vec(1..40_u32, 1..40),
            order in any::<prop::sample::Index>(),
            seed: u64,
        ) {
            let mut spans = Vec::new();
            let mut start = 0;
            for (number, len) in lens.iter().enumerate() {
                let more = number + 1 < lens.len();
                let end = start + if more { len * 8 } else { *len };
                spans.push(span(start, end, more));
                start = end;
            }
            let mut shuffled = spans.clone();
            let mut state = seed | 1;
            for at in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                shuffled.swap(at, (state >> 33) as usize % (at + 1));
            }
            // One of them twice, while it is held.
            let twice = shuffled[order.index(shuffled.len())];
            let mut gathering = Gathering::default();
            let mut given = Vec::new();
            for (number, span) in shuffled.iter().enumerate() {
                gathering.take_in(number, KEY, *span, Instant::ZERO, |packet, fate| given.push((packet, fate)));
                if *span == twice && number + 1 < shuffled.len() {
                    gathering.take_in(999, KEY, *span, Instant::ZERO, |packet, fate| {
                        assert_eq!((packet, fate), (999, Fate::Duplicate));
                    });
                }
            }
            let places: Vec<_> = given.iter().map(|(_, fate)| *fate).collect();
            prop_assert_eq!(places, spans.iter().map(|span| Fate::Whole(*span)).collect::<Vec<_>>());
            prop_assert!(gathering.is_empty());
        }

        #[test]
        fn whatever_comes_each_fragment_has_one_fate_and_what_is_whole_covers_its_packet_once(
            events in prop::collection::vec((0..4_u16, 0..6_u32, 1..4_u32, any::<bool>(), 0..3_u64), 1..400),
        ) {
            let mut gathering = Gathering::default();
            let mut now = Instant::ZERO;
            let (mut gone, mut end) = (0, 0);
            let count = events.len();
            for (identification, start, len, more, wait) in events {
                now = now + Duration::from_secs(wait);
                let mut check = |_: (), fate| {
                    gone += 1;
                    if let Fate::Whole(span) = fate {
                        assert_eq!(span.start, end);
                        end = if span.more { span.end } else { 0 };
                    } else {
                        assert_eq!(end, 0, "a packet goes on as a whole");
                    }
                };
                gathering.expire(Some(now), &mut check);
                gathering.take_in((), FragmentKey { identification: identification.into(), ..KEY }, span(start * 8, (start + len) * 8, more), now, check);
                assert_eq!(end, 0);
            }
            gathering.expire(None, |(), fate| {
                assert_eq!(fate, Fate::Incomplete);
                gone += 1;
            });
            prop_assert_eq!(gone, count);
        }
    }

    #[test]
    fn an_overlap_or_a_contradiction_takes_the_whole_packet() {
        let rows = [
            ("teardrop: inside of another", [span(0, 24, true), span(8, 16, true)]),
            ("over another's end", [span(0, 24, true), span(16, 32, false)]),
            ("RFC 3128: over the first", [span(0, 8, true), span(0, 24, true)]),
            ("beyond the last", [span(8, 16, false), span(16, 24, true)]),
            ("two last ones", [span(8, 16, false), span(24, 30, false)]),
            ("two last ones, the later first", [span(24, 30, false), span(8, 16, false)]),
        ];
        for (name, spans) in rows {
            let mut gathering = Gathering::default();
            let fates = take_in(&mut gathering, KEY, &spans, Instant::ZERO);
            assert_eq!(fates, [(1, Fate::Malformed), (0, Fate::Malformed)], "{name}");
            assert!(gathering.is_empty());
        }
    }

    #[test]
    fn packets_do_not_mix_and_time_runs_from_the_first_fragment() {
        let mut gathering = Gathering::default();
        let other = FragmentKey { identification: 8, ..KEY };
        assert_eq!(take_in(&mut gathering, KEY, &[span(0, 8, true)], Instant::ZERO), []);
        let later = Instant::ZERO + Duration::from_secs(10);
        assert_eq!(take_in(&mut gathering, other, &[span(8, 9, false)], later), []);
        assert_eq!(take_in(&mut gathering, KEY, &[span(16, 24, true)], later), []);
        let mut expired = 0;
        gathering.expire(Some(Instant::ZERO + PATIENCE), |_, fate| {
            assert_eq!(fate, Fate::Incomplete);
            expired += 1;
        });
        assert_eq!(expired, 2, "both of the first packet's");
        let whole = take_in(&mut gathering, other, &[span(0, 8, true)], later);
        assert_eq!(whole.len(), 2);
    }

    #[test]
    fn a_flood_of_halves_pushes_out_the_oldest_and_a_whole_packet_still_passes() {
        let mut gathering = Gathering::default();
        let mut given_up = 0;
        for number in 0..10_000_u32 {
            let now = Instant::ZERO + Duration::from_micros(number.into());
            let key = FragmentKey { identification: number, ..KEY };
            gathering.take_in(0, key, span(0, 8, true), now, |_, fate| {
                assert_eq!(fate, Fate::Incomplete);
                given_up += 1;
            });
        }
        assert_eq!(given_up, 10_000 - MOST_HELD);
        let key = FragmentKey { protocol: 6, ..KEY };
        let fates = take_in(
            &mut gathering,
            key,
            &[span(8, 9, false), span(0, 8, true)],
            Instant::ZERO + Duration::from_secs(1),
        );
        let whole = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Whole(_))).count();
        assert_eq!(whole, 2, "{fates:?}");
    }

    #[test]
    fn what_no_host_sends_is_no_fragment() {
        let of = |offset: u16, more: bool, payload: u16| {
            let mut bytes = [0; ipv4::HEADER_LEN];
            bytes[0] = 0x45;
            bytes[2..4].copy_from_slice(&(payload + 20).to_be_bytes());
            bytes[6..8].copy_from_slice(&(offset | if more { 0x2000 } else { 0 }).to_be_bytes());
            FragmentKey::read(&bytes).and_then(|(_, span)| span)
        };
        assert_eq!(of(0, true, 1480), Some(span(0, 1480, true)));
        assert_eq!(of(185, false, 1), Some(span(1480, 1481, false)));
        assert_eq!(of(0, true, 1479), None, "cut at no multiple of 8");
        assert_eq!(of(185, false, 0), None, "empty");
        assert_eq!(of(8189, false, 3), Some(span(65512, 65515, false)), "the longest packet");
        assert_eq!(of(8189, false, 4), None, "the ping of death");
    }
}
