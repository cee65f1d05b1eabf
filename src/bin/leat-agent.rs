//! leat-agent: takes the packets of leat's `ipip` and `gue` modes out of their tunnel on a backend.
//!
//! Exit status 0 after an orderly end, 1 when the system refuses, 2 for arguments that cannot be meant.

use std::process::ExitCode;

use clap::Parser as _;
use leat::agent::{Options, run};

fn main() -> ExitCode {
    let settings = match Options::try_parse().and_then(Options::settings) {
        Ok(settings) => settings,
        Err(error) => error.exit(),
    };
    if let Err(error) = leat::logging::init() {
        eprintln!("leat-agent: {error}");
        return ExitCode::from(2);
    }
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leat-agent: {error}");
            ExitCode::FAILURE
        }
    }
}
