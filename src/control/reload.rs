//! Reading the configuration again, for whoever asks for it: a signal today.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{ApplyError, Difference, Running};
use crate::config::cli::{self, Invocation};
use crate::config::{Failure, file};
use crate::time::Instant;

/// Why nothing was reloaded. Everything runs as before.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration came from the command line.
    #[error("leat was started without --config, so there is nothing to reload")]
    NoFile,
    /// The file, or an argument, is wrong.
    #[error(transparent)]
    Config(#[from] Failure),
    /// The file is right, and cannot take the place of what runs.
    #[error("leat: {}: {error}", .file.display())]
    Apply {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: ApplyError,
    },
}

/// What was reloaded.
#[derive(Debug)]
pub struct Reloaded {
    /// The file.
    pub file: PathBuf,
    /// What that has changed.
    pub difference: Difference,
    /// What is legal and yet likely not meant, a sentence each.
    pub warnings: Vec<String>,
}

/// Reads the file that `arguments` name, those that leat was started with, and has it run. What they say beside the file
/// holds as it did at the start.
///
/// # Errors
///
/// As [`ReloadError`] says.
pub fn reload(
    running: &mut Running,
    arguments: impl IntoIterator<Item = OsString>,
    now: Instant,
) -> Result<Reloaded, ReloadError> {
    let Invocation::Run(run) = cli::parse(arguments, file::read)? else { return Err(ReloadError::NoFile) };
    let file = run.file.ok_or(ReloadError::NoFile)?;
    match running.apply(run.config, now) {
        Ok(difference) => Ok(Reloaded { file, difference, warnings: run.warnings }),
        Err(error) => Err(ReloadError::Apply { file, error }),
    }
}
