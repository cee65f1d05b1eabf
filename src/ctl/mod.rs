//! leatctl: what it asks a running leat, over the API, and how it shows the answers.
//!
//! Exit status 0; 1 when leat does not answer, or what was asked for is not there or cannot be done now; 2 when what was asked
//! cannot be meant.

pub mod change;
mod client;
pub mod connections;
pub mod show;
pub mod top;
pub mod watch;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

pub use client::Client;

use crate::config::{ApiAddress, value};

/// What all questions to a running leat have in common.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Where leat's API listens: unix:PATH or IP:PORT
    #[arg(long, global = true, value_name = "ADDR", default_value = "unix:/run/leat/leat.sock", value_parser = api)]
    api: ApiAddress,

    /// A file with the token that leat wants to be shown where its API is on TCP
    #[arg(long, global = true, value_name = "FILE", env = "LEAT_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

fn api(text: &str) -> Result<ApiAddress, String> {
    value::api(text)
}

/// A time such as 5m.
fn time(text: &str) -> Result<Duration, String> {
    value::duration("time", text)
}

/// Why there is no answer to show.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// leat cannot be reached.
    #[error("no leat answers at {api}: {error}; is it running, and is this its --api?")]
    Unreachable {
        /// Where it was tried.
        api: String,
        /// What the operating system or the protocol says.
        error: String,
    },
    /// It refuses.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// Its words.
        message: String,
    },
    /// Something here cannot be read.
    #[error("{0}")]
    Unusable(String),
    /// Something here cannot be written.
    #[error("{0}")]
    Unwritable(String),
    /// What was waited for did not come.
    #[error("{0}")]
    Late(String),
}

impl Failure {
    /// Says it, and with which exit status that ends.
    pub fn end(&self) -> ExitCode {
        for line in self.to_string().lines() {
            eprintln!("leatctl: {line}");
        }
        match self {
            Self::Unusable(_) | Self::Refused { code: 400 | 413 | 422, .. } => ExitCode::from(2),
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Unwritable(_) | Self::Late(_) => ExitCode::from(1),
        }
    }
}

/// Prints `answer`: as JSON if so asked, else as `table` shows it.
fn print(common: &Common, answer: &Value, table: impl FnOnce(&Value) -> String) -> ExitCode {
    let text = if common.json { format!("{answer:#}\n") } else { table(answer) };
    // A reader that has gone away has read enough.
    let _ = write!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}
