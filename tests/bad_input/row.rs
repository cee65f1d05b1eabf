//! The shapes of rows.

use leat::config::cli::Run;

/// What a user typed: `args` separated by spaces, and what is in `leat.toml` in the current directory, if it is there.
pub(crate) struct Row {
    pub(crate) args: &'static str,
    pub(crate) file: Option<&'static str>,
    /// Each stands in the message.
    pub(crate) says: &'static [&'static str],
}

pub(crate) const fn args(args: &'static str, says: &'static [&'static str]) -> Row {
    Row { args, file: None, says }
}

pub(crate) const fn toml(file: &'static str, says: &'static [&'static str]) -> Row {
    Row { args: "-l 0 -- -c leat.toml", file: Some(file), says }
}

pub(crate) const fn both(args: &'static str, file: &'static str, says: &'static [&'static str]) -> Row {
    Row { args, file: Some(file), says }
}

/// Legal input, and facts about what comes out.
pub(crate) type Good = (&'static str, Option<&'static str>, fn(&Run) -> bool);
