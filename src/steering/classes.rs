//! Ports by what they add to the low bits of a hash that is linear in them: in closed form, both ways.
//!
//! The lowest *k* bits of the hash are a linear map of the port's 16 bits over GF(2). If the map has rank *k*, the ports
//! fall into 2ᵏ classes of 2¹⁶⁻ᵏ each, which are the cosets of its kernel. Gaussian elimination, from the port's lowest bit
//! up, sorts the port's bits into two kinds: 16 − k *free* ones, which number the ports of a class, and *k* others, which
//! follow from the class and the free bits above them. So the ports of a class, counted by their free bits, ascend.
//!
//! Ports below 1024 have their six highest bits zero. They are therefore among the first of their class: those whose free
//! bits among the six are zero. Each class spares so many, which makes all classes alike. Where the map has its full rank
//! on the lowest ten bits already, these are the ports below 1024 and no others; it has on most keys and tables, and each
//! rank that is missing there costs as many ports again.

use crate::flow::Linear;

/// The ports below 2 to this power are not given out: the well-known ones (RFC 6335 §6).
const WELL_KNOWN_BITS: u32 = 10;

/// All ports, by class. A class is a number below 2ᵏ: what its ports add to the hash.
#[derive(Clone, Debug)]
pub(super) struct PortClasses {
    /// From a port to its number within its class.
    number: Linear,
    /// From a number to the port of class 0 that has it.
    member: Linear,
    /// From a class to its port of number 0.
    first: Linear,
    /// Numbers below this are not given out.
    spared: u32,
    /// Ports of each class that are.
    len: u32,
}

/// The rank of a map is too low: some classes would have no port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RankDeficient {
    pub(super) rank: u32,
}

impl PortClasses {
    /// The classes by the lowest `bits` bits of `hash`.
    pub(super) fn new(hash: &Linear, bits: u32) -> Result<Self, RankDeficient> {
        let Elimination { solved, kernel } = Elimination::of(hash, bits);
        if solved.len() as u32 != bits {
            return Err(RankDeficient { rank: solved.len() as u32 });
        }
        let mut first = [0; 16];
        for row in &solved {
            first[row.image.trailing_zeros() as usize] = row.port.into();
        }
        let (mut number, mut member) = ([0; 16], [0; 16]);
        for (place, &port) in kernel.iter().enumerate() {
            number[port.ilog2() as usize] = 1 << place;
            member[place] = port.into();
        }
        let spared = 1 << kernel.iter().filter(|port| port.ilog2() < WELL_KNOWN_BITS).count();
        let (number, member, first) = (Linear::new(number), Linear::new(member), Linear::new(first));
        Ok(Self { number, member, first, spared, len: (1 << kernel.len()) - spared })
    }

    /// How many ports of each class can be given out.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// The number of `port` among those of its class that can be given out, if it is one.
    #[inline]
    pub(super) const fn number(&self, port: u16) -> Option<u32> {
        self.number.of(port).checked_sub(self.spared)
    }

    /// The port of `class` that has `number`, which is below [`Self::len`].
    #[inline]
    pub(super) const fn port(&self, class: u16, number: u32) -> u16 {
        (self.first.of(class) ^ self.member.of((number + self.spared) as u16)) as u16
    }
}

/// Whether, by however many low bits of `hash`, there are classes, and up to ten of them spare no port from 1024 up.
pub(super) fn deals_all_out(hash: &Linear) -> bool {
    let by_well_known = PortClasses::new(hash, WELL_KNOWN_BITS);
    by_well_known.is_ok_and(|classes| classes.spared == 1) && PortClasses::new(hash, 16).is_ok()
}

/// A port and what the hash makes of it.
#[derive(Clone, Copy)]
struct Row {
    image: u32,
    port: u16,
}

/// What Gaussian elimination finds out.
struct Elimination {
    /// Ports of which each has an image with a single bit, which no other has.
    solved: Vec<Row>,
    /// Ports whose image is 0. Each has a highest bit that no other and none of `solved` has; they ascend.
    kernel: Vec<u16>,
}

impl Elimination {
    fn of(hash: &Linear, bits: u32) -> Self {
        let mask = (1_u64 << bits) as u32 - 1;
        let mut solved: Vec<Row> = Vec::new();
        let mut kernel = Vec::new();
        for port in (0..16).map(|bit| 1 << bit) {
            let mut new = Row { image: hash.of(port) & mask, port };
            for row in &solved {
                new.reduce(row);
            }
            if new.image == 0 {
                kernel.push(new.port);
                continue;
            }
            for row in &mut solved {
                row.reduce(&new);
            }
            solved.push(new);
        }
        Self { solved, kernel }
    }
}

impl Row {
    /// Makes the highest bit of the image of `other` zero in this one's.
    fn reduce(&mut self, other: &Self) {
        if self.image >> other.image.ilog2() & 1 != 0 {
            self.image ^= other.image;
            self.port ^= other.port;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_classes_are_those_that_trying_all_ports_finds(images: [u32; 16], bits in 0..12_u32) {
            let (hash, mask) = (Linear::new(images), (1 << bits) - 1);
            let mut found = vec![Vec::new(); 1 << bits];
            for port in 0..=u16::MAX {
                found[(hash.of(port) & mask) as usize].push(port);
            }
            match PortClasses::new(&hash, bits) {
                Err(RankDeficient { rank }) => {
                    prop_assert!(rank < bits);
                    prop_assert_eq!(found.iter().filter(|ports| !ports.is_empty()).count(), 1 << rank);
                }
                Ok(classes) => {
                    let mut spared = 0;
                    for (class, ports) in found.iter().enumerate() {
                        let mine: Vec<u16> = (0..classes.len()).map(|n| classes.port(class as u16, n)).collect();
                        // In order, the first being left out.
                        prop_assert_eq!(&ports[ports.len() - mine.len()..], &mine);
                        prop_assert!(mine.iter().all(|&port| port >= 1024));
                        for (number, &port) in mine.iter().enumerate() {
                            prop_assert_eq!(classes.number(port), Some(number as u32));
                        }
                        for &port in &ports[..ports.len() - mine.len()] {
                            prop_assert_eq!(classes.number(port), None);
                            spared += 1;
                        }
                    }
                    let low = (0..1024).map(|port| hash.of(port) & mask).collect::<std::collections::HashSet<_>>().len();
                    prop_assert_eq!(spared, 1024 * (1 << bits) / low, "1024, and as many again for each rank missing");
                }
            }
        }
    }
}
