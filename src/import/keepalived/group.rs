//! `virtual_server_group`: addresses, ranges of addresses and firewall marks that share their real servers.

use std::net::IpAddr;

use super::super::found::Vip;
use super::super::note::{Fate, Note, Place};
use super::tree::Directive;
use super::values;
use crate::config::Failure;

/// Addresses of a group; leat has numbers for as many services.
const MOST: usize = u16::MAX as usize;

/// A group.
#[derive(Debug)]
pub(super) struct Group<'d> {
    pub(super) name: &'d str,
    pub(super) place: Place,
    pub(super) vips: Vec<Vip>,
    pub(super) notes: Vec<Note>,
    /// Whether a virtual server has named it.
    pub(super) is_used: bool,
}

pub(super) fn read(directive: &Directive) -> Result<Group<'_>, Failure> {
    let name = directive.value()?;
    let mut group = Group { name, place: directive.place.clone(), vips: Vec::new(), notes: Vec::new(), is_used: false };
    for entry in &directive.block {
        let about = || format!("virtual_server_group {name}: {}", entry.shown());
        let left_out = |reason: String| Note::new(&entry.place, about(), Fate::LeftOut, reason);
        if entry.keyword() == "fwmark" {
            entry.number(0, u32::MAX)?;
            group.notes.push(left_out("a firewall mark has no counterpart; write its addresses and ports".to_owned()));
            continue;
        }
        let port = values::port(entry, entry.values().first())?;
        let addresses = match range(entry)? {
            Ok(addresses) => addresses,
            Err(reason) => {
                group.notes.push(left_out(reason));
                continue;
            }
        };
        if addresses.count().is_none_or(|count| count + group.vips.len() > MOST) {
            group.notes.push(left_out(format!(
                "with it the group has more than {MOST} addresses, which is as many as leat takes"
            )));
            continue;
        }
        group.vips.extend(addresses.all().map(|address| Vip { place: entry.place.clone(), address, port }));
    }
    Ok(group)
}

/// Addresses of one version, from one to another.
struct Range {
    is_v4: bool,
    first: u128,
    last: u128,
}

impl Range {
    /// How many there are, if that is a number to work with.
    fn count(&self) -> Option<usize> {
        usize::try_from(self.last - self.first).ok()?.checked_add(1)
    }

    fn all(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let is_v4 = self.is_v4;
        (self.first..=self.last).map(move |bits| match is_v4 {
            true => IpAddr::from((bits as u32).to_be_bytes()),
            false => IpAddr::from(bits.to_be_bytes()),
        })
    }
}

/// The addresses of `A`, `A-LAST`, `A-B` or `A/LENGTH`; or why leat has none such. LAST is what the last byte ends with, in IPv6 the
/// last 16 bits, in hexadecimal as the rest of the address.
fn range(entry: &Directive) -> Result<Result<Range, String>, Failure> {
    let text = entry.keyword();
    let (start, rest) = text.find(['-', '/']).map_or((text, ""), |at| text.split_at(at));
    let (is_v4, first) = match values::address(start) {
        Ok(IpAddr::V4(address)) => (true, address.to_bits().into()),
        Ok(IpAddr::V6(address)) => (false, address.to_bits()),
        Err(reason) => return Ok(Err(reason)),
    };
    let wrong = |what: &str| {
        let examples = match is_v4 {
            true => "192.0.2.3-10, 192.0.2.3-192.0.2.10 or 192.0.2.0/28",
            false => "2001:db8::3-1f, 2001:db8::3-2001:db8::1f or 2001:db8::/120",
        };
        entry.place.failure(format_args!("{text} {what}; write {examples}"))
    };
    let last = if let Some(length) = rest.strip_prefix('/') {
        let bits = if is_v4 { 32 } else { 128 };
        let length: u32 = values::number(&entry.place, "prefix length", length, 1, bits)?;
        let hosts = u128::MAX.checked_shr(128 - bits + length).unwrap_or(0);
        if first & hosts != 0 {
            return Err(wrong("has bits set beyond its prefix"));
        }
        first | hosts
    } else if let Some(last) = rest.strip_prefix('-') {
        match last.parse::<IpAddr>() {
            Ok(IpAddr::V4(last)) if is_v4 => last.to_bits().into(),
            Ok(IpAddr::V6(last)) if !is_v4 => last.to_bits(),
            Ok(_) => return Err(wrong("begins in one version of IP and ends in the other")),
            Err(_) if is_v4 => {
                first & !0xff | u128::from(values::number(&entry.place, "the end of the range", last, 0_u32, 255)?)
            }
            Err(_) => match u16::from_str_radix(last, 16) {
                Ok(last) => first & !0xffff | u128::from(last),
                Err(_) => return Err(wrong("has no end: that is the last group of an address, 0 to ffff")),
            },
        }
    } else {
        first
    };
    if last < first {
        return Err(wrong("ends before it begins"));
    }
    Ok(Ok(Range { is_v4, first, last }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_both_versions_are_counted_without_going_through_them() {
        let range = |is_v4, first, last| Range { is_v4, first, last };
        assert_eq!(range(true, 5, 5).count(), Some(1));
        assert_eq!(range(true, 0xffff_fff0, 0xffff_ffff).all().last(), Some([255, 255, 255, 255].into()));
        assert_eq!(range(false, 0, u128::MAX).count(), None);
        assert_eq!(range(false, u128::MAX, u128::MAX).all().count(), 1);
    }
}
