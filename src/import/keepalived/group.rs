//! `virtual_server_group`: addresses, ranges of addresses and firewall marks that share their real servers.

use std::net::{IpAddr, Ipv4Addr};

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
        if addresses.clone().count() + group.vips.len() > MOST {
            group.notes.push(left_out(format!(
                "with it the group has more than {MOST} addresses, which is as many as leat takes"
            )));
            continue;
        }
        group.vips.extend(addresses.map(|address| Vip {
            place: entry.place.clone(),
            address: IpAddr::V4(address.into()),
            port,
        }));
    }
    Ok(group)
}

/// The addresses of `A`, `A-LAST`, `A-B` or `A/LENGTH`, as numbers; or why leat has none such.
#[allow(
    clippy::type_complexity,
    reason = "a mistake of the file, and a thing that leat does not have, are not the same"
)]
fn range(entry: &Directive) -> Result<Result<std::ops::RangeInclusive<u32>, String>, Failure> {
    let text = entry.keyword();
    let wrong = |what: &str| {
        entry.place.failure(format_args!("{text} {what}; write 192.0.2.3-10, 192.0.2.3-192.0.2.10 or 192.0.2.0/28"))
    };
    let (first, rest) = text.find(['-', '/']).map_or((text, ""), |at| text.split_at(at));
    let first = match values::address(first) {
        Ok(IpAddr::V4(address)) => address.to_bits(),
        Ok(IpAddr::V6(_)) => return Ok(Err("IPv6 addresses in groups are not in this version".to_owned())),
        Err(reason) => return Ok(Err(reason)),
    };
    let last = if let Some(length) = rest.strip_prefix('/') {
        let length: u32 = values::number(&entry.place, "prefix length", length, 1, 32)?;
        let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
        if first & hosts != 0 {
            return Err(wrong("has bits set beyond its prefix"));
        }
        first | hosts
    } else if let Some(last) = rest.strip_prefix('-') {
        match last.parse::<Ipv4Addr>() {
            Ok(last) => last.to_bits(),
            Err(_) => first & !0xff | values::number(&entry.place, "the end of the range", last, 0_u32, 255)?,
        }
    } else {
        first
    };
    if last < first {
        return Err(wrong("ends before it begins"));
    }
    Ok(Ok(first..=last))
}
