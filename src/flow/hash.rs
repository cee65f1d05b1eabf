//! The connection table's hash of a flow key: keyed at random in each process, so that no stranger can choose
//! packets that collide.
//!
//! Where the processor has AES instructions it is [`AesHash`], otherwise SipHash-1-3 (Aumasson, Bernstein, "SipHash: a
//! fast short-input PRF", 2012), which costs several times as much.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use super::{FlowKey, Packed, PackedKey};
use crate::arch::AesHash;

/// A keyed hash over flow keys. Every lcore of a process has the same key, so they agree on which lcore owns a flow.
#[derive(Clone, Copy, Debug)]
pub struct FlowHasher(Way);

#[derive(Clone, Copy, Debug)]
enum Way {
    Aes(AesHash),
    Sip { key: (u64, u64) },
}

impl FlowHasher {
    /// A hasher with a key from the operating system's random source.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self::with_key((getrandom::u64()?, getrandom::u64()?)))
    }

    /// A hasher with a chosen key, for tests that must repeat.
    pub fn with_key(key: (u64, u64)) -> Self {
        let derived = |number| sip(key, &[[number, 0]]);
        let keys = [0, 2, 4, 6, 8].map(|number| [derived(number), derived(number + 1)]);
        Self(AesHash::new(keys).map_or(Way::Sip { key }, Way::Aes))
    }

    /// One for a processor without AES instructions.
    #[cfg(test)]
    const fn without_aes(key: (u64, u64)) -> Self {
        Self(Way::Sip { key })
    }

    /// The hash of `key`, in its own direction: a reply hashes differently from its original.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.hash_packed(&key.pack())
    }

    /// The hash of `key`, as [`Self::hash`] has it.
    #[inline]
    pub fn hash_packed(&self, key: &PackedKey) -> u64 {
        match key {
            PackedKey::V4(key) => self.hash_blocks(&key.blocks()),
            PackedKey::V6(key) => self.hash_blocks(&key.blocks()),
        }
    }

    /// Puts the hash of each key into its place: many at once take much less time than one by one.
    #[inline]
    pub fn hash_each<'a, K: Packed + 'a>(&self, items: impl Iterator<Item = (&'a mut u64, &'a K)>) {
        let items = items.map(|(place, key)| (place, key.blocks()));
        match &self.0 {
            Way::Aes(aes) => aes.hash_each(items),
            Way::Sip { key } => items.for_each(|(place, blocks)| *place = sip(*key, blocks.as_ref())),
        }
    }

    /// The hash of an address alone, for what belongs to a client and not to one of its flows.
    #[inline]
    pub fn hash_address(&self, address: IpAddr) -> u64 {
        match address {
            IpAddr::V4(address) => self.hash_blocks(&[[u64::from(address.to_bits()), ADDRESS_ALONE]]),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                self.hash_blocks(&[[(bits >> 64) as u64, bits as u64], [0, ADDRESS_ALONE]])
            }
        }
    }

    #[inline]
    fn hash_blocks(&self, blocks: &[[u64; 2]]) -> u64 {
        match &self.0 {
            Way::Aes(aes) => aes.hash(blocks),
            Way::Sip { key } => sip(*key, blocks),
        }
    }
}

/// The last word for an address alone. No flow has it: its protocol would be 0.
const ADDRESS_ALONE: u64 = 0;

#[inline]
fn sip(key: (u64, u64), blocks: &[[u64; 2]]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key.0, key.1);
    for word in blocks.as_flattened() {
        hasher.write_u64(*word);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Protocol;

    fn key(src_port: u16) -> FlowKey {
        FlowKey {
            src: [10, 0, 0, 1].into(),
            dst: [10, 0, 0, 10].into(),
            src_port,
            dst_port: 8080,
            protocol: Protocol::Tcp,
        }
    }

    fn both() -> [FlowHasher; 2] {
        [FlowHasher::with_key((1, 2)), FlowHasher::without_aes((1, 2))]
    }

    #[test]
    fn every_field_of_the_key_counts() {
        for hasher in both() {
            let base = key(1000);
            let others = [
                FlowKey { src: [10, 0, 0, 2].into(), ..base },
                FlowKey { dst: [10, 0, 0, 11].into(), ..base },
                FlowKey { src_port: 1001, ..base },
                FlowKey { dst_port: 8081, ..base },
                FlowKey { protocol: Protocol::Udp, ..base },
                base.reversed(),
            ];
            for other in others {
                assert_ne!(hasher.hash(&base), hasher.hash(&other), "{other}");
            }
            let address = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
            let base = FlowKey { src: address(1), dst: address(10), ..base };
            let others = [
                FlowKey { src: [0x2001, 0xdb9, 0, 0, 0, 0, 0, 1].into(), ..base },
                FlowKey { src: address(2), ..base },
                FlowKey { dst: address(11), ..base },
                FlowKey { src_port: 1001, ..base },
                FlowKey { protocol: Protocol::Udp, ..base },
                base.reversed(),
            ];
            for other in others {
                assert_ne!(hasher.hash(&base), hasher.hash(&other), "{other}");
            }
            assert_ne!(hasher.hash_address(address(1)), hasher.hash_address(address(2)));
        }
    }

    #[test]
    fn two_processes_hash_differently() {
        let (a, b) = (FlowHasher::random().unwrap(), FlowHasher::random().unwrap());
        assert_ne!(a.hash(&key(1)), b.hash(&key(1)));
    }

    #[test]
    fn many_at_once_hash_like_one_by_one() {
        for hasher in both() {
            let keys: Vec<_> = (1..200).map(key).collect();
            let packed = keys.iter().map(|key| match key.pack() {
                PackedKey::V4(key) => key,
                PackedKey::V6(_) => panic!(),
            });
            let packed: Vec<_> = packed.collect();
            let mut hashes = vec![0; keys.len()];
            hasher.hash_each(hashes.iter_mut().zip(&packed));
            assert_eq!(hashes, keys.iter().map(|key| hasher.hash(key)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn clients_that_count_their_ports_up_spread_over_the_table() {
        for hasher in both() {
            // What an index of 2¹² buckets looks at, and what its tags are made of.
            let (mut buckets, mut tags) = (vec![0_u32; 1 << 12], [0_u32; 256]);
            for client in 0..16 {
                for port in 1..=16_384 {
                    let hash = hasher.hash(&FlowKey { src: [10, 0, 0, client].into(), ..key(port) });
                    buckets[(hash >> 52) as usize] += 1;
                    tags[hash as usize & 0xff] += 1;
                }
            }
            // 64 to a bucket, 1,024 to a tag; random numbers stay within eight standard deviations of that.
            assert!(buckets.iter().all(|count| (4..=128).contains(count)), "{:?}", buckets.iter().max());
            assert!(tags.iter().all(|count| (768..=1280).contains(count)), "{tags:?}");
        }
    }
}
