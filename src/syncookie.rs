//! SYN cookies: a SYN-ACK whose sequence number holds all that is to be remembered of its SYN, so that nothing is kept until the
//! client proves to be there (RFC 4987 §3.6; D. J. Bernstein, 1996).
//!
//! Of the 32 bits, 24 are a keyed hash (SipHash-2-4) over the flow, the client's initial sequence number, the period of time and
//! the other 8. Those are what the client offered: the largest segment as one of eight, the window scale, and whether it
//! understands selective acknowledgements; they are hidden by 8 more bits of the hash. A cookie is good in its period and in
//! the next one.

use std::hash::Hasher as _;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::flow::FlowKey;
use crate::time::Instant;
use crate::wire::tcp_options::Options;

/// How long a period is: a cookie is good for this long at least, and for twice as long at most.
pub const PERIOD: Duration = Duration::from_secs(32);

/// The segment sizes that a cookie can hold, in bytes: the usual ones (RFC 9293 §3.7.1; tunnels; jumbo frames).
const SIZES: [u16; 8] = [216, 536, 1220, 1360, 1400, 1440, 1460, 8960];

/// What a segment size is when a SYN says nothing (RFC 9293 §3.7.1).
const DEFAULT_MSS: u16 = 536;

/// In place of a window scale: the SYN had none.
const NO_SCALE: u8 = 15;

/// What a client's SYN offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The largest segment that it takes, rounded down, in bytes.
    pub mss: u16,
    /// The shift of its windows, at most 14.
    pub window_scale: Option<u8>,
    /// Whether it understands selective acknowledgements.
    pub sack_permitted: bool,
}

impl Offer {
    /// What the options of a SYN offer, as far as a cookie can hold it.
    pub fn of(options: &Options) -> Self {
        let &Options { mss, window_scale, sack_permitted, .. } = options;
        Self { mss: mss.unwrap_or(DEFAULT_MSS), window_scale, sack_permitted }
    }

    fn pack(self) -> u8 {
        let size = SIZES.iter().rposition(|size| *size <= self.mss).unwrap_or(0) as u8;
        size << 5 | self.window_scale.map_or(NO_SCALE, |scale| scale.min(14)) << 1 | u8::from(self.sack_permitted)
    }

    fn unpack(bits: u8) -> Self {
        let scale = bits >> 1 & 0xf;
        Self {
            mss: SIZES[usize::from(bits >> 5)],
            window_scale: (scale != NO_SCALE).then_some(scale),
            sack_permitted: bits & 1 != 0,
        }
    }
}

/// Makes cookies and knows its own again. All workers have the same key.
#[derive(Clone, Copy, Debug)]
pub struct Cookies {
    key: (u64, u64),
}

impl Cookies {
    /// With a key from the operating system's random source.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self::with_key((getrandom::u64()?, getrandom::u64()?)))
    }

    /// With a chosen key, for tests that must repeat.
    pub const fn with_key(key: (u64, u64)) -> Self {
        Self { key }
    }

    /// The cookie for the client's SYN with the initial sequence number `initial`.
    pub fn make(&self, key: &FlowKey, initial: u32, offer: Offer, now: Instant) -> u32 {
        self.cookie(key, initial, period(now), offer.pack())
    }

    /// What the client had offered that acknowledges `cookie`; `None` if it is not one of leat's, or too old.
    pub fn read(&self, key: &FlowKey, initial: u32, cookie: u32, now: Instant) -> Option<Offer> {
        let this = period(now);
        [Some(this), this.checked_sub(1)].into_iter().flatten().find_map(|period| {
            let offer = cookie as u8 ^ self.hash(key, initial, period, None) as u8;
            (self.cookie(key, initial, period, offer) == cookie).then(|| Offer::unpack(offer))
        })
    }

    fn cookie(&self, key: &FlowKey, initial: u32, period: u64, offer: u8) -> u32 {
        let hidden = offer ^ self.hash(key, initial, period, None) as u8;
        (self.hash(key, initial, period, Some(offer)) as u32) << 8 | u32::from(hidden)
    }

    fn hash(&self, key: &FlowKey, initial: u32, period: u64, offer: Option<u8>) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        let packed = key.pack();
        for word in packed.wide_addresses() {
            hasher.write_u64(word);
        }
        hasher.write_u64(u64::from(packed.ports()));
        hasher.write_u64(period << 32 | u64::from(initial));
        hasher.write_u16(offer.map_or(0, |offer| 0x100 | u16::from(offer)));
        hasher.finish()
    }
}

const fn period(now: Instant) -> u64 {
    now.as_nanos() / PERIOD.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::Protocol;

    const COOKIES: Cookies = Cookies::with_key((1, 2));

    fn key(src_port: u16) -> FlowKey {
        let (src, dst) = ([10, 0, 0, 1].into(), [10, 0, 0, 10].into());
        FlowKey { src, dst, src_port, dst_port: 80, protocol: Protocol::Tcp }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    proptest! {
        #[test]
        fn a_cookie_brings_back_what_was_offered(
            port in any::<u16>(), initial in any::<u32>(), mss in any::<Option<u16>>(), sack_permitted in any::<bool>(),
            window_scale in prop::option::of(0u8..=14), made in 0u64..1000, age in 0u64..32,
        ) {
            let offer = Offer::of(&Options { mss, window_scale, sack_permitted, timestamps: None });
            let cookie = COOKIES.make(&key(port), initial, offer, at(made));
            let read = COOKIES.read(&key(port), initial, cookie, at(made + age)).unwrap();
            prop_assert_eq!((read.window_scale, read.sack_permitted), (window_scale, sack_permitted));
            prop_assert!(read.mss <= mss.unwrap_or(536).max(216) && SIZES.contains(&read.mss));
        }
    }

    #[test]
    fn the_usual_sizes_are_kept_whole() {
        for mss in SIZES {
            let offer = Offer { mss, window_scale: None, sack_permitted: false };
            assert_eq!(Offer::unpack(offer.pack()).mss, mss);
        }
    }

    #[test]
    fn a_cookie_is_good_for_one_flow_one_syn_and_a_minute() {
        let offer = Offer { mss: 1460, window_scale: Some(7), sack_permitted: true };
        let cookie = COOKIES.make(&key(4000), 77, offer, at(0));
        let read = |port, initial, cookie, seconds| COOKIES.read(&key(port), initial, cookie, at(seconds)).is_some();
        assert!(read(4000, 77, cookie, 0) && read(4000, 77, cookie, 63));
        assert!(!read(4000, 77, cookie, 64), "too old");
        assert!(!read(4001, 77, cookie, 0), "another's");
        assert!(!read(4000, 78, cookie, 0), "of another SYN");
        assert!(Cookies::with_key((1, 3)).read(&key(4000), 77, cookie, at(0)).is_none(), "another leat's");
    }

    #[test]
    fn whoever_guesses_is_right_once_in_millions() {
        let accepted = (0..1_000_000_u32)
            .filter(|guess| COOKIES.read(&key(4000), 77, guess.wrapping_mul(0x9e37_79b9), at(1000)).is_some());
        assert!(accepted.count() <= 3);
    }
}
