//! keepalived.conf: text in, its virtual servers out (keepalived.conf(5), keepalived 2.3).
//!
//! ```text
//! text ── lines ──▶ lines ── tree ──▶ directives ── server, group, checker ──▶ virtual servers
//! ```
//!
//! What keepalived would refuse is a failure with its line; what leat has no counterpart for is a note.

mod checker;
mod files;
mod group;
mod lines;
mod repeat;
mod server;
mod tree;
mod values;

pub use files::{Disk, Files};

use std::collections::HashMap;
use std::path::Path;

use super::found::Entry;
use super::note::{Fate, Note};
use crate::config::Failure;
use group::Group;
use tree::Directive;

/// Every virtual server of a file and of what it includes.
pub(super) fn read(
    name: &str,
    path: &Path,
    text: String,
    files: &dyn Files,
    config_id: Option<&str>,
) -> Result<Vec<Entry>, Failure> {
    let lines::Read { lines, notes } = lines::Lines::all(name, path, text, files, config_id)?;
    let mut entries: Vec<Entry> = notes.into_iter().map(Entry::Note).collect();
    let directives = tree::parse(&lines)?;
    // A group may stand after the virtual server that uses it.
    let mut groups: HashMap<&str, Group<'_>> = HashMap::new();
    for directive in directives.iter().filter(|directive| directive.keyword() == "virtual_server_group") {
        let group = group::read(directive)?;
        if groups.contains_key(group.name) {
            let about = format!("virtual_server_group {}", group.name);
            entries.push(Entry::Note(Note::new(
                &directive.place,
                about,
                Fate::LeftOut,
                "there is one of this name already",
            )));
            continue;
        }
        groups.insert(group.name, group);
    }
    for directive in &directives {
        match directive.keyword() {
            "virtual_server_group" => {}
            "virtual_server" => entries.extend(server::read(directive, &mut groups)?),
            _ => entries.push(Entry::Note(other(directive))),
        }
    }
    let mut unused: Vec<&Group<'_>> = groups.values().filter(|group| !group.is_used).collect();
    unused.sort_by_key(|group| group.place.line);
    entries.extend(unused.into_iter().map(|group| {
        let about = format!("virtual_server_group {}", group.name);
        Entry::Note(Note::new(&group.place, about, Fate::LeftOut, "no virtual server uses it"))
    }));
    Ok(entries)
}

/// A block of keepalived's that is not about balancing.
fn other(directive: &Directive) -> Note {
    let reason = match directive.keyword() {
        "vrrp_instance" => {
            "VRRP has no counterpart; leat announces the VIPs of its services itself, and routers can choose between two leats"
        }
        word if word.starts_with("vrrp_") => "VRRP has no counterpart",
        "global_defs" => "keepalived's own settings; leat has a log and an API instead of mail",
        "SSL" => "leat's health checks do not speak TLS",
        "static_ipaddress" | "static_routes" | "static_rules" => {
            "of the host's network; leat's own is in [[interface]]"
        }
        _ => "not about virtual servers, or unknown",
    };
    Note::new(&directive.place, directive.words.join(" "), Fate::LeftOut, reason)
}
