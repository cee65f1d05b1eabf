//! Lists of CPUs as the kernel and EAL write them: `0-3,8`.

use std::collections::BTreeSet;
use std::fmt;

/// Numbers from here on are no CPU's, and a range up to them is not worth its memory.
const END: usize = 1 << 16;

/// CPUs, or lcores, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(BTreeSet<usize>);

impl CpuList {
    /// Reads `0-3,8`; nothing for what is not such a list. An empty text is an empty list.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Some(Self::default());
        }
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number < END);
        let mut cpus = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            // EAL takes ranges either way.
            cpus.extend(first.min(last)..=first.max(last));
        }
        Some(Self(cpus))
    }

    /// Reads EAL's hexadecimal mask of `-c`.
    pub fn from_mask(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        if digits.is_empty() || digits.len() > END / 4 {
            return None;
        }
        let mut cpus = BTreeSet::new();
        for (place, digit) in digits.chars().rev().enumerate() {
            let digit = digit.to_digit(16)?;
            cpus.extend((0..4).filter(|bit| digit & (1 << bit) != 0).map(|bit| place * 4 + bit));
        }
        Some(Self(cpus))
    }

    /// Whether it has this one.
    pub fn contains(&self, cpu: usize) -> bool {
        self.0.contains(&cpu)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, upwards.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<usize> for CpuList {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl fmt::Display for CpuList {
    /// As the kernel writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for cpu in self.iter() {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => runs.push((cpu, cpu)),
            }
        }
        for (at, (first, last)) in runs.into_iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match last == first {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written_as_the_kernel_does() {
        for (text, written) in [("0-3,8\n", "0-3,8"), ("", ""), ("3,1,2", "1-3"), ("4-2", "2-4"), ("7", "7")] {
            assert_eq!(CpuList::parse(text).unwrap().to_string(), written, "{text:?}");
        }
        for wrong in ["a", "1-", "1,,2", "-1", "0-4000000000", "1-2-3"] {
            assert_eq!(CpuList::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn masks_are_hexadecimal() {
        assert_eq!(CpuList::from_mask("0x1f").unwrap().to_string(), "0-4");
        assert_eq!(CpuList::from_mask("100000001").unwrap().to_string(), "0,32");
        assert_eq!(CpuList::from_mask("0xg"), None);
        assert_eq!(CpuList::from_mask("0x"), None);
    }
}
