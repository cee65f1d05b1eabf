//! Flows as a port's receive-side scaling deals them out.

use super::classes::{PortClasses, RankDeficient, deals_all_out};
use crate::flow::{FlowKey, Toeplitz, ToeplitzKey};
use crate::id::WorkerId;

/// A port's receive-side scaling as leat can follow it: the hash of a packet's addresses and ports, and the redirection table
/// by which the low bits of the hash choose the receive queue, which is the worker of the same number.
#[derive(Clone, Debug)]
pub struct Rss {
    key: ToeplitzKey,
    toeplitz: Toeplitz,
    classes: PortClasses,
    /// Those of IPv6, where the hash is the port's.
    classes_v6: Option<PortClasses>,
    /// By entry: of a length that is a power of two, and as short as it can be.
    table: Box<[WorkerId]>,
    workers: u16,
}

/// A hash key for cards, that nobody knows and that deals every port from 1024 up out, whatever the redirection table.
///
/// # Errors
///
/// When the operating system has no randomness to give.
pub fn random_key() -> Result<[u8; 40], getrandom::Error> {
    loop {
        let mut bytes = [0; 40];
        getrandom::fill(&mut bytes)?;
        // About every fourth is one in IPv4, and of those every fourth in IPv6.
        let toeplitz = ToeplitzKey::new(&bytes).map(Toeplitz::new);
        let deals = |is_v6| toeplitz.as_ref().is_some_and(|it| deals_all_out(it.destination_port(is_v6)));
        if deals(false) && deals(true) {
            return Ok(bytes);
        }
    }
}

/// Why leat cannot follow a port's receive-side scaling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RssError {
    /// The key does not reach over two addresses and two ports.
    #[error("its hash key has {0} bytes, and 16 is the least")]
    ShortKey(usize),
    /// No number of low bits chooses among so many entries.
    #[error("its redirection table has {0} entries, which is no power of two up to 32768")]
    TableLen(usize),
    /// An entry names a queue that no worker has.
    #[error("its redirection table names queue {0}, which no lcore has")]
    Queue(u16),
    /// A worker would have no source port.
    #[error("no entry of its redirection table leads to lcore {0} of {1}")]
    Idle(u16, u16),
    /// Some entries have no port that leads to them.
    #[error("with its hash key, the ports' bits have rank {rank} in the hash, where {bits} is needed")]
    Rank {
        /// The rank.
        rank: u32,
        /// That of a key that would do.
        bits: u32,
    },
    /// With this key, whether a port is below 1024 decides too much about where it leads.
    #[error("with its hash key, no source ports from 1024 up are left for some lcores")]
    LowPorts,
}

impl Rss {
    /// What a port does that hashes with `key` and whose redirection table is `table`, on which `workers` take packets from
    /// it, each from the queue of its number.
    ///
    /// # Errors
    ///
    /// When source ports cannot be dealt out accordingly.
    pub fn new(key: &[u8], table: &[u16], workers: u16) -> Result<Self, RssError> {
        let short = RssError::ShortKey(key.len());
        let key = ToeplitzKey::new(key).ok_or(short)?;
        if !table.len().is_power_of_two() || table.len() > 1 << 15 {
            return Err(RssError::TableLen(table.len()));
        }
        if let Some(&queue) = table.iter().find(|queue| **queue >= workers) {
            return Err(RssError::Queue(queue));
        }
        if let Some(idle) = (0..workers).find(|worker| !table.contains(worker)) {
            return Err(RssError::Idle(idle, workers));
        }
        let table: Box<[WorkerId]> = shortest(table).iter().map(|queue| WorkerId(*queue)).collect();
        let toeplitz = Toeplitz::new(key);
        let bits = table.len().ilog2();
        let classes = PortClasses::new(toeplitz.destination_port(false), bits)
            .map_err(|RankDeficient { rank }| RssError::Rank { rank, bits })?;
        if classes.len() == 0 {
            return Err(RssError::LowPorts);
        }
        let classes_v6 = PortClasses::new(toeplitz.destination_port(true), bits).ok();
        // Both have the same number of ports, and it is not to fall for one of them.
        let classes_v6 = classes_v6.filter(|v6| toeplitz.has_v6() && 2 * v6.len() > classes.len());
        let toeplitz = if classes_v6.is_some() { toeplitz } else { toeplitz.without_v6() };
        Ok(Self { key, toeplitz, classes, classes_v6, table, workers })
    }

    /// The same for a port that does not hash the ports of IPv6's packets.
    #[must_use]
    pub fn without_v6(self) -> Self {
        Self { toeplitz: self.toeplitz.without_v6(), classes_v6: None, ..self }
    }

    /// Whether packets of IPv6 come to their owners, too.
    pub const fn has_v6(&self) -> bool {
        self.classes_v6.is_some()
    }

    /// The worker that the port delivers a packet with `key` to.
    #[inline]
    pub fn owner(&self, key: &FlowKey) -> WorkerId {
        self.table[usize::from(self.low(self.toeplitz.hash(key)))]
    }

    /// How many workers there are.
    pub const fn workers(&self) -> u16 {
        self.workers
    }

    /// Whether a port that does `other` delivers each packet to the same worker.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let are_alike = |(a, b)| self.low(a) == self.low(b);
        // Where the first does not, it does not matter what the others do.
        let in_v6 =
            !self.has_v6() || other.has_v6() && self.key.windows_v6().zip(other.key.windows_v6()).all(are_alike);
        self.table == other.table && self.key.windows().zip(other.key.windows()).all(are_alike) && in_v6
    }

    /// The entries of the table that lead to `worker`.
    pub(super) fn entries_of(&self, worker: WorkerId) -> impl Iterator<Item = u16> {
        (0..).zip(&self.table).filter(move |(_, owner)| **owner == worker).map(|(entry, _)| entry)
    }

    /// How many entries the table has.
    pub(super) fn entries(&self) -> usize {
        self.table.len()
    }

    /// The classes of ports in IPv4 or IPv6.
    #[inline]
    pub(super) const fn classes(&self, is_v6: bool) -> &PortClasses {
        match &self.classes_v6 {
            Some(classes) if is_v6 => classes,
            _ => &self.classes,
        }
    }

    /// How many ports of each class can be given out, in either version.
    pub(super) fn class_len(&self) -> u32 {
        self.classes(false).len().min(self.classes(true).len())
    }

    /// The entry that a packet with `key` leads to.
    pub(super) fn entry(&self, key: &FlowKey) -> u16 {
        self.low(self.toeplitz.hash(key))
    }

    /// What a source port changes about the entry, by xor.
    #[inline]
    pub(super) fn of_source_port(&self, port: u16, is_v6: bool) -> u16 {
        self.low(self.toeplitz.source_port(is_v6).of(port))
    }

    /// What a destination port changes about the entry, by xor: its class.
    #[inline]
    pub(super) fn of_destination_port(&self, port: u16, is_v6: bool) -> u16 {
        self.low(self.toeplitz.destination_port(is_v6).of(port))
    }

    /// The bits of a hash that choose the entry.
    #[inline]
    fn low(&self, hash: u32) -> u16 {
        hash as u16 & (self.table.len() - 1) as u16
    }
}

/// The shortest table that, repeated, is `table`, whose length is a power of two. Fewer bits of the hash matter then.
fn shortest(mut table: &[u16]) -> &[u16] {
    while let (front, back) = table.split_at(table.len() / 2)
        && !front.is_empty()
        && front == back
    {
        table = front;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::known::{MICROSOFT, SYMMETRIC};

    fn round_robin(entries: usize, workers: u16) -> Vec<u16> {
        (0..workers).cycle().take(entries).collect()
    }

    /// The two keys are what most cards have; leat can follow both, whatever the table.
    #[test]
    fn the_microsoft_and_the_symmetric_key_have_full_rank() {
        for key in [&MICROSOFT, &SYMMETRIC] {
            for entries in [8, 64, 128, 512, 1024, 2048] {
                for workers in [2, 3, 4, 7] {
                    let rss = Rss::new(key, &round_robin(entries, workers), workers).unwrap();
                    assert!(rss.has_v6());
                    let ports = rss.class_len() as usize * rss.entries();
                    assert!(ports >= 62_464, "{entries} entries, {workers} workers: {ports} ports are dealt out");
                }
            }
        }
    }

    #[test]
    fn every_port_is_dealt_out_with_a_key_of_leats_own() {
        for _ in 0..20 {
            let key = random_key().unwrap();
            for entries in [2, 64, 128, 512, 1024] {
                let rss = Rss::new(&key, &round_robin(entries, 2), 2).unwrap();
                assert!(rss.has_v6());
                assert_eq!(rss.class_len() as usize * rss.entries(), 64_512);
            }
            assert!(Rss::new(&key, &round_robin(1 << 12, 3), 3).is_ok());
        }
        assert_ne!(random_key().unwrap(), random_key().unwrap());
    }

    #[test]
    fn what_cannot_be_followed_is_told_apart() {
        let fair = round_robin(128, 3);
        let rows = [
            (&MICROSOFT[..15], &fair[..], 3, RssError::ShortKey(15)),
            (&MICROSOFT, &fair[..127], 3, RssError::TableLen(127)),
            (&MICROSOFT, &[], 3, RssError::TableLen(0)),
            (&MICROSOFT, &fair, 2, RssError::Queue(2)),
            (&MICROSOFT, &fair, 4, RssError::Idle(3, 4)),
            (&[0; 40], &fair, 3, RssError::Rank { rank: 0, bits: 7 }),
            (&[0xff; 40], &fair, 3, RssError::Rank { rank: 1, bits: 7 }),
            (&[0x55; 40], &fair, 3, RssError::Rank { rank: 2, bits: 7 }),
        ];
        for (key, table, workers, error) in rows {
            assert_eq!(Rss::new(key, table, workers).unwrap_err(), error);
        }
        let why = RssError::Rank { rank: 2, bits: 7 }.to_string();
        assert_eq!(why, "with its hash key, the ports' bits have rank 2 in the hash, where 7 is needed");
    }

    /// Six bits choose the entry. If they hang on the six highest bits of the port alone, one entry in 64 gets all ports
    /// below 1024 and nothing else.
    #[test]
    fn a_key_by_which_some_entry_gets_only_low_ports_is_refused() {
        let with_bit = |bit: usize| {
            let mut key = [0; 16];
            key[bit / 8] = 0x80 >> (bit % 8);
            Rss::new(&key, &round_robin(64, 3), 3)
        };
        // Of the hash's six lowest bits, the port's highest bit reads the key's bits 106 to 111, the lowest 121 to 126.
        assert_eq!(with_bit(111).unwrap_err(), RssError::LowPorts);
        assert!(with_bit(121).is_ok());
    }

    #[test]
    fn a_table_that_repeats_itself_needs_fewer_bits() {
        assert_eq!(shortest(&round_robin(128, 4)), [0, 1, 2, 3]);
        assert_eq!(shortest(&round_robin(128, 3)).len(), 128);
        assert_eq!(shortest(&[5]), [5]);
        // Two low bits have rank 2 with this key, and seven have not.
        assert!(Rss::new(&[0x55; 40], &round_robin(128, 2), 2).is_ok());
    }

    #[test]
    fn ports_agree_when_all_that_counts_is_the_same() {
        let rss = |key: &[u8], table: &[u16]| Rss::new(key, table, 4).unwrap();
        let one = rss(&MICROSOFT, &round_robin(128, 4));
        let short = rss(&MICROSOFT[..16], &round_robin(512, 4));
        assert!(one.agrees_with(&rss(&MICROSOFT, &round_robin(512, 4))) && short.agrees_with(&one));
        assert!(!one.agrees_with(&short), "it does not follow in IPv6");
        assert!(one.clone().without_v6().agrees_with(&short));
        assert!(!one.agrees_with(&rss(&SYMMETRIC, &round_robin(128, 4))));
        let mut other = round_robin(128, 4);
        other.swap(0, 1);
        assert!(!one.agrees_with(&rss(&MICROSOFT, &other)));
        // The last bit of the input reads the key's bits 95 to 126.
        for (flip, agrees) in [(1, true), (2, false)] {
            let mut almost = MICROSOFT;
            almost[15] ^= flip;
            let other = rss(&almost, &round_robin(128, 4));
            assert_eq!(one.clone().without_v6().agrees_with(&other), agrees);
            assert!(!one.agrees_with(&other), "in IPv6 the next bits of the input read them");
        }
    }
}
