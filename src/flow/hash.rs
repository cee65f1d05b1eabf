//! The connection table's hash of a flow key: keyed at random in each process, so that no stranger can choose
//! packets that collide.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::FlowKey;

/// A keyed hash over flow keys. Every lcore of a process has the same key, so they agree on which lcore owns a flow.
#[derive(Clone, Copy, Debug)]
pub struct FlowHasher {
    key: (u64, u64),
}

impl FlowHasher {
    /// A hasher with a key from the operating system's random source.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self { key: (getrandom::u64()?, getrandom::u64()?) })
    }

    /// A hasher with a chosen key, for tests that must repeat.
    pub const fn with_key(key: (u64, u64)) -> Self {
        Self { key }
    }

    /// The hash of `key`, in its own direction: a reply hashes differently from its original.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        let addresses = (u64::from(key.src.to_bits()) << 32) | u64::from(key.dst.to_bits());
        let rest = (u64::from(key.src_port) << 32) | (u64::from(key.dst_port) << 16) | u64::from(key.protocol.number());
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write_u64(addresses);
        hasher.write_u64(rest);
        hasher.finish()
    }

    /// The hash of an address alone, for what belongs to a client and not to one of its flows.
    #[inline]
    pub fn hash_address(&self, address: std::net::Ipv4Addr) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write_u32(address.to_bits());
        hasher.finish()
    }
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

    #[test]
    fn every_field_of_the_key_counts() {
        let hasher = FlowHasher::with_key((1, 2));
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
    }

    #[test]
    fn two_processes_hash_differently() {
        let (a, b) = (FlowHasher::random().unwrap(), FlowHasher::random().unwrap());
        assert_ne!(a.hash(&key(1)), b.hash(&key(1)));
    }
}
