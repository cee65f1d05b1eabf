//! leatctl: a person's tool beside leat.
//!
//! Exit status 0; 1 for what is not there, or cannot be had; 2 for arguments or files that cannot be meant.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use leat::import;

/// A tool beside leat, a layer-4 load balancer
#[derive(Parser)]
#[command(name = "leatctl", version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("LEAT_REVISION"), ")"), max_term_width = 110)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Import(import::command::Command),
}

fn main() -> ExitCode {
    match Options::parse().command {
        Command::Import(command) => command.run(),
    }
}
