//! The hash index: from a flow key's hash to the few records that may have that key.
//!
//! A bucket is one cache line: twelve one-byte tags, a counter, and twelve 32-bit values. A tag of 0 marks a vacant
//! slot, so zeroed memory is an empty index. An entry lives in its home bucket, or, when that is full, in one other
//! that its tag and home give; from there the tag leads back (partial-key cuckoo hashing: Fan, Andersen, Kaminsky,
//! Mitzenmacher, "Cuckoo Filter", CoNEXT 2014), so an entry moves without a look at its record. The counter says how
//! many entries of this home live elsewhere: while it is 0, a look at the home alone is enough. Removing an entry
//! leaves nothing behind.
//!
//! Home before elsewhere keeps almost every lookup at one line. Where both buckets are full, one entry of theirs moves to
//! its other bucket, or one makes room for it there: 24 and then 288 buckets are tried.

use super::lines::lines_of;
use crate::arch;

/// Entries in one bucket.
const SLOTS: usize = 12;
const ALL_SLOTS: u16 = (1 << SLOTS) - 1;
/// Entries for each bucket, in tenths, when as many are in as the index is made for. 80% of the slots: with that, a
/// connection's record (64 bytes), its two entries (13.3) and its source port's place in a queue (2.5) stay within 80 bytes.
const PLANNED_TENTHS: usize = 96;
/// Buckets beyond the plan, so that a small index fits its entries as surely as a large one.
const SPARE_BUCKETS: usize = 16;
/// Bit of a stored value: the entry is not in its home bucket.
const ELSEWHERE: u32 = 1;

/// Both of the entry's buckets are full, and no entry in them could be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What a look at one bucket says about an entry: the value that it may have, or one of the two that no entry has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hint(u32);

impl Hint {
    /// It is not in its home bucket, but may be in the other.
    pub(super) const ELSEWHERE: Self = Self(u32::MAX - 1);
    /// It is not there.
    pub(super) const ABSENT: Self = Self(u32::MAX);

    /// The value that it may have. It is above all that there are where there is none.
    #[inline(always)]
    pub(super) const fn value(self) -> u32 {
        self.0
    }
}

/// From hashes to values below 2³¹. Several entries may have the same hash; the caller tells them apart.
#[derive(Debug)]
pub(super) struct Index {
    lines: Vec<Bucket>,
    buckets: u32,
}

/// One cache line of the index.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// A tag for each slot, and in the last four bytes how many entries of this home live in their other bucket.
    tags: [u8; 16],
    /// The stored values, by slot.
    values: [u32; SLOTS],
}

impl Index {
    /// An index that has room for `entries`. Past that it takes on until two buckets and all around them are full.
    pub(super) fn new(entries: usize) -> Self {
        let buckets = buckets_for(entries) + SPARE_BUCKETS;
        let buckets = u32::try_from(buckets).expect("fewer than 2³² buckets");
        Self { lines: lines_of(Bucket::VACANT, buckets as usize), buckets }
    }

    /// Fetches the line that a lookup of `hash` begins with.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        arch::prefetch_element(&self.lines, self.home(hash) as usize);
    }

    /// Fetches both lines in which an entry of `hash` can be.
    #[inline]
    pub(super) fn prefetch_both(&self, hash: u64) {
        let home = self.home(hash);
        arch::prefetch_read(self.line(home));
        arch::prefetch_read(self.line(self.other(home, tag(hash))));
    }

    /// What the home bucket of `hash` says, which should have been fetched. Where it says that the entry may be in the other
    /// bucket, that is fetched.
    #[inline(always)]
    pub(super) fn look(&self, hash: u64) -> Hint {
        let (home, tag) = (self.home(hash), tag(hash));
        let line = self.line(home);
        let matches = line.matching(tag);
        if matches == 0 {
            return if line.entries_elsewhere() == 0 { Hint::ABSENT } else { self.send_elsewhere(home, tag) };
        }
        line.hint(matches)
    }

    #[cold]
    fn send_elsewhere(&self, home: u32, tag: u8) -> Hint {
        arch::prefetch_element(&self.lines, self.other(home, tag) as usize);
        Hint::ELSEWHERE
    }

    /// What the other bucket of `hash` says, after [`Self::look`] said that the entry may be there.
    #[cold]
    pub(super) fn look_elsewhere(&self, hash: u64) -> Hint {
        let (home, tag) = (self.home(hash), tag(hash));
        let line = self.line(self.other(home, tag));
        match line.matching(tag) {
            0 => Hint::ABSENT,
            matches => line.hint(matches),
        }
    }

    /// The first value under `hash` that `accept` takes.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        let (home, tag) = (self.home(hash), tag(hash));
        let line = self.line(home);
        let mut search = |line: &Bucket| {
            let mut matches = line.matching(tag);
            while matches != 0 {
                let value = line.values[matches.trailing_zeros() as usize] >> 1;
                if accept(value) {
                    return Some(value);
                }
                matches &= matches - 1;
            }
            None
        };
        if let Some(value) = search(line) {
            return Some(value);
        }
        if line.entries_elsewhere() == 0 {
            return None;
        }
        search(self.line(self.other(home, tag)))
    }

    /// Adds `value` under `hash`.
    ///
    /// # Errors
    ///
    /// [`Full`]: there was no room; nothing has changed.
    pub(super) fn insert(&mut self, hash: u64, value: u32) -> Result<(), Full> {
        let (home, tag) = (self.home(hash), tag(hash));
        let other = self.other(home, tag);
        if let Some(slot) = self.line(home).vacancy() {
            self.put(home, slot, tag, value << 1);
            return Ok(());
        }
        if let Some(slot) = self.line(other).vacancy() {
            self.put_elsewhere(home, other, slot, tag, value);
            return Ok(());
        }
        for depth in 0..=1 {
            if let Some(slot) = self.make_room(home, depth) {
                self.put(home, slot, tag, value << 1);
                return Ok(());
            }
            // A bucket can be its own other: then there is nothing more to try.
            if other == home {
                continue;
            }
            if let Some(slot) = self.make_room(other, depth) {
                self.put_elsewhere(home, other, slot, tag, value);
                return Ok(());
            }
        }
        Err(Full)
    }

    /// Removes `value` under `hash`; whether it was there.
    pub(super) fn remove(&mut self, hash: u64, value: u32) -> bool {
        let (home, tag) = (self.home(hash), tag(hash));
        if let Some(slot) = self.line(home).slot_of(tag, value << 1) {
            self.put(home, slot, 0, 0);
            return true;
        }
        let other = self.other(home, tag);
        let Some(slot) = self.line(other).slot_of(tag, value << 1 | ELSEWHERE) else { return false };
        self.put(other, slot, 0, 0);
        self.count_elsewhere(home, -1);
        true
    }

    /// Makes a slot of a full bucket vacant by moving its entry to that entry's other bucket; with a `depth` of 1 also
    /// where that one is full and an entry there must move first. The slot's old content is left for the caller to
    /// overwrite.
    fn make_room(&mut self, bucket: u32, depth: u32) -> Option<usize> {
        for slot in 0..SLOTS {
            let target = self.other(bucket, self.line(bucket).tags[slot]);
            if target == bucket {
                continue;
            }
            let room = match self.line(target).vacancy() {
                // `bucket` stays full meanwhile, so nothing moves into it.
                None if depth > 0 => self.make_room(target, depth - 1),
                room => room,
            };
            let Some(room) = room else { continue };
            let (tag, value) = (self.line(bucket).tags[slot], self.line(bucket).values[slot]);
            self.put(target, room, tag, value ^ ELSEWHERE);
            if value & ELSEWHERE == 0 {
                self.count_elsewhere(bucket, 1);
            } else {
                self.count_elsewhere(target, -1);
            }
            return Some(slot);
        }
        None
    }

    fn put_elsewhere(&mut self, home: u32, other: u32, slot: usize, tag: u8, value: u32) {
        self.put(other, slot, tag, value << 1 | ELSEWHERE);
        self.count_elsewhere(home, 1);
    }

    fn put(&mut self, bucket: u32, slot: usize, tag: u8, stored: u32) {
        let line = &mut self.lines[bucket as usize];
        line.tags[slot] = tag;
        line.values[slot] = stored;
    }

    fn count_elsewhere(&mut self, bucket: u32, change: i32) {
        let line = &mut self.lines[bucket as usize];
        let count = line.entries_elsewhere().wrapping_add_signed(change);
        line.tags[SLOTS..].copy_from_slice(&count.to_ne_bytes());
    }

    #[inline(always)]
    fn line(&self, bucket: u32) -> &Bucket {
        &self.lines[bucket as usize]
    }

    /// The bucket of an entry's first choice: the hash's upper half, scaled to the number of buckets.
    #[inline(always)]
    const fn home(&self, hash: u64) -> u32 {
        self.scale((hash >> 32) as u32)
    }

    /// The other bucket of an entry with `tag` in `bucket`: its own inverse, for any number of buckets.
    #[inline]
    const fn other(&self, bucket: u32, tag: u8) -> u32 {
        let sum = self.scale((tag as u32).wrapping_mul(0x9e37_79b1));
        if sum >= bucket { sum - bucket } else { sum + (self.buckets - bucket) }
    }

    #[inline(always)]
    const fn scale(&self, bits: u32) -> u32 {
        ((bits as u64 * self.buckets as u64) >> 32) as u32
    }
}

/// How many buckets an index is planned to have for so many entries.
pub(super) const fn buckets_for(entries: usize) -> usize {
    (entries * 10).div_ceil(PLANNED_TENTHS)
}

/// The tag of a hash: its low byte, but never 0.
#[inline]
const fn tag(hash: u64) -> u8 {
    let byte = hash as u8;
    byte + (byte == 0) as u8
}

impl Bucket {
    const VACANT: Self = Self { tags: [0; 16], values: [0; SLOTS] };

    /// The slots whose tag is `tag`, one bit each.
    #[inline(always)]
    fn matching(&self, tag: u8) -> u16 {
        arch::matching_bytes(&self.tags, tag) & ALL_SLOTS
    }

    /// The value of the first of the slots that `matches` names. Other entries with the same tag are rare: they may wait.
    #[inline(always)]
    fn hint(&self, matches: u16) -> Hint {
        Hint(self.values[matches.trailing_zeros() as usize] >> 1)
    }

    #[inline]
    fn vacancy(&self) -> Option<usize> {
        let vacant = self.matching(0);
        (vacant != 0).then(|| vacant.trailing_zeros() as usize)
    }

    fn slot_of(&self, tag: u8, value: u32) -> Option<usize> {
        let matches = self.matching(tag);
        (0..SLOTS).find(|&slot| matches >> slot & 1 == 1 && self.values[slot] == value)
    }

    /// How many entries of this home live in their other bucket.
    #[inline(always)]
    const fn entries_elsewhere(&self) -> u32 {
        let [.., a, b, c, d] = self.tags;
        u32::from_ne_bytes([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64: well spread, and the same in every run.
    fn hash_of(number: u64) -> u64 {
        let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    #[test]
    fn the_other_bucket_of_the_other_bucket_is_the_first() {
        for entries in [1, 7, 1000, 54_321] {
            let index = Index::new(entries);
            for number in 0..1000 {
                let (home, tag) = (index.home(hash_of(number)), tag(hash_of(number)));
                assert_eq!(index.other(index.other(home, tag), tag), home);
            }
        }
    }

    #[test]
    fn a_million_entries_fit_well_before_the_first_is_refused() {
        let mut index = Index::new(1_000_000);
        let slots = index.buckets as usize * SLOTS;
        let fitted = (0..slots as u32).take_while(|&n| index.insert(hash_of(n.into()), n).is_ok()).count();
        let fill = fitted as f64 / slots as f64;
        println!("first refusal at {:.2}% of {slots} slots", fill * 100.0);
        assert!(fill > 0.97, "first refusal at {fill}");
        for number in 0..fitted as u32 {
            assert_eq!(index.find(hash_of(number.into()), |value| value == number), Some(number));
        }
    }

    #[test]
    fn almost_every_entry_is_in_its_home_bucket_at_half_fill() {
        let mut index = Index::new(200_000);
        for number in 0..100_000_u32 {
            index.insert(hash_of(number.into()), number).unwrap();
        }
        let elsewhere: u32 = (0..index.buckets).map(|bucket| index.line(bucket).entries_elsewhere()).sum();
        assert!(elsewhere < 500, "{elsewhere} of 100000");
    }

    #[test]
    fn an_emptied_index_is_as_new() {
        let mut index = Index::new(10_000);
        for round in 0..3_u64 {
            for number in 0..10_000_u32 {
                index.insert(hash_of(round << 32 | u64::from(number)), number).unwrap();
            }
            for number in 0..10_000_u32 {
                assert!(index.remove(hash_of(round << 32 | u64::from(number)), number));
            }
            for bucket in 0..index.buckets {
                assert_eq!(index.line(bucket).matching(0), ALL_SLOTS);
                assert_eq!(index.line(bucket).entries_elsewhere(), 0);
            }
        }
    }

    #[test]
    fn equal_hashes_share_two_buckets_and_then_no_more_fit() {
        let mut index = Index::new(1000);
        let mut fitted = 0;
        while index.insert(hash_of(1), fitted).is_ok() {
            fitted += 1;
        }
        assert_eq!(fitted, 2 * SLOTS as u32);
        assert_eq!(index.find(hash_of(1), |value| value == fitted - 1), Some(fitted - 1));
        assert_eq!(index.find(hash_of(1), |value| value == fitted), None);
        assert!(!index.remove(hash_of(1), fitted));
    }
}
