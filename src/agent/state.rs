//! What must be restored on this host, in a file: so that an agent that was killed can be tidied up after by the next.
//!
//! The file is named after the network namespace, since the settings belong to that. It is written before the first
//! change and removed after the last one is undone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::sysctl::Setting;

const DIRECTORY: &str = "/run/leat";

/// What was, or is about to be, changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) settings: Vec<Changed>,
    /// Whether there are rules and routes of the agent's own.
    pub(super) routes: bool,
}

/// A setting that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Changed {
    pub(super) setting: Setting,
    /// What it was.
    pub(super) original: i32,
    /// What the agent made it.
    pub(super) value: i32,
}

/// The file.
#[derive(Clone, Debug)]
pub(super) struct StateFile(PathBuf);

impl StateFile {
    /// That of this process's network namespace.
    ///
    /// # Errors
    /// When /proc is not there.
    pub(super) fn of_this_namespace() -> io::Result<Self> {
        let namespace = fs::metadata("/proc/self/ns/net")?.ino();
        Ok(Self(Path::new(DIRECTORY).join(format!("agent-{namespace}.json"))))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What an agent that did not end properly has left; `None` when there is nothing.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub(super) fn load(&self) -> io::Result<Option<State>> {
        match fs::read(&self.0) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it; whoever reads sees all of it or nothing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn save(&self, state: &State) -> io::Result<()> {
        fs::create_dir_all(DIRECTORY)?;
        let new = self.0.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(state)?)?;
        fs::rename(new, &self.0)
    }

    /// # Errors
    /// When it is there and stays.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
