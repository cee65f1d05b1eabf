//! The shape of the command lines of leat's programs that run on DPDK: EAL's options, `--`, the program's own.
//!
//! A few options, such as `--help`, are the program's own before `--` too; all else there is EAL's. What stands on the
//! wrong side is refused by name, because EAL and clap would each only say that they do not know it.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::eal;
use super::problem::Failure;

/// A program and what it needs to say about its command line.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its name.
    pub(crate) name: &'static str,
    /// The options that are its own wherever they stand, with what follows them where there is no `--`.
    pub(crate) anywhere: &'static [&'static str],
    /// Of those, the ones before which no other option of its own may stand.
    pub(crate) with_options: &'static [&'static str],
}

/// Arguments, apart.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// EAL's.
    pub(crate) eal: Vec<String>,
    /// The program's own; `None` when there is no `--` and none of the options that need none.
    pub(crate) own: Option<Vec<String>>,
}

/// What clap says when it does not return options.
#[derive(Debug)]
pub(crate) enum Instead {
    /// The help.
    Help(String),
    /// The version.
    Version(String),
}

impl Program {
    /// A failure with a single complaint, in this program's name.
    pub(crate) fn failure(&self, complaint: impl std::fmt::Display) -> Failure {
        Failure { message: format!("{}: {complaint}", self.name) }
    }

    /// Takes the arguments apart, without the program's name. `command` has the program's own options.
    pub(crate) fn split(
        &self,
        args: impl IntoIterator<Item = OsString>,
        command: &clap::Command,
    ) -> Result<Arguments, Failure> {
        let mut args = args.into_iter().map(|arg| self.utf8(arg)).collect::<Result<Vec<_>, _>>()?;
        let is_own = |arg: &String| self.anywhere.contains(&arg.as_str());
        if let Some(dashes) = args.iter().position(|arg| arg == "--") {
            let mut own = args.split_off(dashes);
            own.remove(0);
            let (early, eal): (Vec<_>, Vec<_>) = args.into_iter().partition(is_own);
            self.refuse_misplaced(&eal, command)?;
            own.splice(0..0, early);
            return Ok(Arguments { eal, own: Some(own) });
        }
        if let Some(first) = args.iter().position(is_own) {
            let own = args.split_off(first);
            if self.with_options.contains(&own[0].as_str()) {
                self.refuse_misplaced(&args, command)?;
            }
            return Ok(Arguments { eal: args, own: Some(own) });
        }
        self.refuse_misplaced(&args, command)?;
        Ok(Arguments { eal: args, own: None })
    }

    /// What clap returned in place of options. Help and version come out of it as errors, and so do errors.
    pub(crate) fn instead(&self, error: &clap::Error) -> Result<Instead, Failure> {
        let text = error.to_string();
        let text = text.trim_end();
        match error.kind() {
            ErrorKind::DisplayHelp => return Ok(Instead::Help(text.to_owned())),
            ErrorKind::DisplayVersion => return Ok(Instead::Version(text.to_owned())),
            _ => {}
        }
        let Self { name, .. } = self;
        if let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg) {
            let spelling = arg.split('=').next().unwrap_or(arg);
            if error.kind() == ErrorKind::UnknownArgument && eal::knows(spelling) {
                return Err(self.failure(format_args!(
                    "{spelling} is EAL's and stands where {name}'s options are; write it before `--`: \
                     {name} {spelling} ... -- [options]"
                )));
            }
        }
        Err(self.failure(text.strip_prefix("error: ").unwrap_or(text)))
    }

    fn utf8(&self, arg: OsString) -> Result<String, Failure> {
        arg.into_string().map_err(|arg| {
            self.failure(format_args!("argument {:?} is not UTF-8 text; write it in UTF-8", arg.to_string_lossy()))
        })
    }

    /// Refuses an option of the program's own where EAL's are.
    fn refuse_misplaced(&self, eal: &[String], command: &clap::Command) -> Result<(), Failure> {
        let Self { name, .. } = self;
        for arg in eal {
            let spelling = arg.split('=').next().unwrap_or(arg);
            let mut own = command.get_arguments().filter_map(|option| option.get_long());
            if spelling.strip_prefix("--").is_some_and(|name| own.any(|long| long == name)) && !eal::knows(spelling) {
                return Err(self.failure(format_args!(
                    "{spelling} is {name}'s and stands where EAL's options are; write it after `--`: \
                     {name} [EAL options] -- {spelling} ..."
                )));
            }
        }
        Ok(())
    }
}
