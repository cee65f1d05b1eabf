//! Configurations of IPVS and keepalived, as leat's own: text in, a TOML file and a list of what has no counterpart out.
//!
//! ```text
//! ipvsadm -S -n ──── ipvsadm ────┐
//!                                ├─▶ Found ── settle ──▶ Planned ── admit ── emit ──▶ leat.toml, notes
//! keepalived.conf ── keepalived ─┘
//! ```
//!
//! Each reader turns its text into virtual servers as they were meant there (`found`). `settle` finds what comes nearest
//! in leat: one mode, one health check and one scheduler for each service. `admit` asks leat's own validator, so that the
//! file is one that leat accepts; what it refuses stands in the file as a comment. Whatever is lost or changed on the way
//! becomes a note with the line that it is about.
//!
//! `docs/IMPORT.md` says what becomes of what. The sources are ipvsadm(8) and keepalived.conf(5) of keepalived 2.3. Nothing
//! here writes a file or opens a socket; files that a keepalived.conf includes are read through [`Files`].

pub mod command;

mod admit;
mod check;
mod emit;
mod found;
mod ipvsadm;
mod keepalived;
mod note;
mod port_names;
mod schedulers;
mod settle;

pub use keepalived::{Disk, Files};

use std::path::Path;

use ipnet::IpNet;

use crate::config::{Failure, file};
use emit::Head;
use settle::Item;

/// What the input does not say, and a user may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Own addresses for leat, each a host address with its prefix length: the tunnel modes need one.
    pub addresses: Vec<IpNet>,
    /// The port that has these addresses: a device's name or a number; empty is port 0.
    pub port: String,
    /// keepalived's config-id, by which lines that begin with `@` are for one machine.
    pub config_id: Option<String>,
}

/// What became of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// A configuration file that leat's validator accepts.
    pub toml: String,
    /// What was left out or changed, or is to be done by hand: a line each, in the order of the input.
    pub notes: Vec<String>,
    /// Services in the file.
    pub services: usize,
    /// Backends in the file, over all services.
    pub backends: usize,
}

/// Imports what `ipvsadm -S` prints. `name` is what messages call the input.
///
/// # Errors
/// The line that is none of ipvsadm's, and why.
pub fn ipvsadm(name: &str, bytes: &[u8], wishes: &Wishes) -> Result<Imported, Failure> {
    let found = ipvsadm::read(name, &text(name, bytes)?)?;
    finish("ipvsadm", name, found, wishes)
}

/// Imports a keepalived.conf that is at `path`, from where `files` finds what it includes. `name` is what messages call it.
///
/// # Errors
/// The line that keepalived would not understand, and why.
pub fn keepalived(
    name: &str,
    path: &Path,
    bytes: &[u8],
    files: &dyn Files,
    wishes: &Wishes,
) -> Result<Imported, Failure> {
    let found = keepalived::read(name, path, text(name, bytes)?, files, wishes.config_id.as_deref())?;
    finish("keepalived", name, found, wishes)
}

/// Text as far as it is text: a comment in another encoding is no reason to refuse a file.
fn text(name: &str, bytes: &[u8]) -> Result<String, Failure> {
    if bytes.len() > file::MAX_SIZE {
        return Err(note::failure(format_args!(
            "{name}: larger than {} MiB, which no configuration needs; name another file",
            file::MAX_SIZE >> 20
        )));
    }
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn finish(from: &str, name: &str, found: Vec<found::Entry>, wishes: &Wishes) -> Result<Imported, Failure> {
    let mut items = settle::settle(found, wishes);
    let head = Head { from, name, wishes };
    admit::admit(&head, &mut items)?;
    let live = || items.iter().filter_map(Item::live);
    Ok(Imported {
        toml: emit::file(&head, &items),
        notes: items.iter().flat_map(Item::notes).map(ToString::to_string).collect(),
        services: live().count(),
        backends: live().map(|service| service.backends.len()).sum(),
    })
}
