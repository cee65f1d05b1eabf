//! leatctl: a person's tool beside leat.
//!
//! Exit status 0; 1 for what is not there, or cannot be had; 2 for arguments or files that cannot be meant.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use leat::ctl::{Common, Failure, change, connections, show, top, watch};
use leat::import;

/// Looks at a running leat and changes it
#[derive(Parser)]
#[command(name = "leatctl", version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("LEAT_REVISION"), ")"), max_term_width = 110)]
struct Options {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// leat in a few lines
    Status,
    /// The services and what goes through them
    Services(show::OfService),
    /// The backends, their health and what goes to them
    Backends(show::OfService),
    /// What the lcores do
    Lcores,
    /// The ports and what they count
    Ports,
    /// The next hops
    Neighbors,
    /// Dropped packets by reason; docs/DROPS.md explains them
    Drops,
    /// What happens now: rates, load and drops, renewed every second
    Top(top::Top),
    /// The connections for which all terms hold, such as client=10.0.0.1 service=web
    Connections(connections::Connections),
    /// End the connections for which all terms hold; what comes of them later belongs to none
    End(connections::Terms),
    /// Say which backend a flow gets, and why
    Explain(connections::Explain),
    /// Say of each packet for which all terms hold what is decided, and why
    Trace(watch::Packets),
    /// Write such packets to a file, before and after, with comments: for Wireshark
    Capture(watch::Capture),
    /// Change a backend's weight
    Set(change::Set),
    /// Add a backend to a service
    Add(change::Add),
    /// Remove a backend or a service; connections that it has go on
    Remove(change::Remove),
    /// No new connections for a backend
    Drain(change::Drain),
    /// New connections again for a backend that was drained
    Enable(change::Backend),
    /// The VIPs, and whether leat answers for them
    Vips,
    /// Announce or withdraw a VIP, or all of them
    Vip(change::Vip),
    /// Have leat read its file again
    Reload,
    /// Say what a file would change
    Check(change::OfFile),
    /// Have a file run
    Apply(change::OfFile),
    /// Print the configuration that runs, as a file
    Config,
    Import(import::command::Command),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of leatctl or of another of leat's programs, in roff
    Man {
        /// The program
        #[arg(default_value = "leatctl")]
        program: Program,
    },
}

fn main() -> ExitCode {
    let Options { common, command } = Options::parse();
    let done = match command {
        Command::Status => show::status(&common),
        Command::Services(of) => show::services(&common, &of),
        Command::Backends(of) => show::backends(&common, &of),
        Command::Lcores => show::lcores(&common),
        Command::Ports => show::ports(&common),
        Command::Neighbors => show::neighbors(&common),
        Command::Drops => show::drops(&common),
        Command::Top(wanted) => top::top(&common, &wanted),
        Command::Connections(wanted) => connections::list(&common, &wanted),
        Command::End(terms) => connections::end(&common, &terms),
        Command::Explain(flow) => connections::explain(&common, &flow),
        Command::Trace(packets) => watch::trace(&common, &packets),
        Command::Capture(capture) => watch::capture(&common, &capture),
        Command::Set(set) => change::set(&common, &set),
        Command::Add(add) => change::add(&common, &add),
        Command::Remove(remove) => change::remove(&common, &remove),
        Command::Drain(drain) => change::drain(&common, &drain),
        Command::Enable(backend) => change::enable(&common, &backend),
        Command::Vips => show::vips(&common),
        Command::Vip(wanted) => change::vip(&common, &wanted),
        Command::Reload => change::reload(&common),
        Command::Check(of) => change::check(&common, &of),
        Command::Apply(of) => change::apply(&common, &of),
        Command::Config => change::config(&common),
        Command::Import(command) => Ok(command.run()),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Options::command(), "leatctl", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { program } => manual(program),
    };
    done.unwrap_or_else(|failure| failure.end())
}

/// Whom a manual page is about.
#[derive(Clone, Copy, ValueEnum)]
enum Program {
    Leatctl,
    Leat,
    LeatAgent,
    LeatGen,
}

/// A program's page; after leatctl's own, those of its commands.
fn manual(program: Program) -> Result<ExitCode, Failure> {
    let mut pages = Vec::new();
    let unusable = |error: std::io::Error| Failure::Unusable(error.to_string());
    let command = match program {
        Program::Leatctl => Options::command(),
        Program::Leat => leat::config::cli::command(),
        Program::LeatAgent => leat::agent::Options::command(),
        Program::LeatGen => leat::generate::cli::command(),
    };
    clap_mangen::Man::new(command.clone()).render(&mut pages).map_err(unusable)?;
    for sub in command.get_subcommands() {
        let name = format!("leatctl-{}", sub.get_name());
        clap_mangen::Man::new(sub.clone()).title(name).render(&mut pages).map_err(unusable)?;
    }
    // A reader that has gone away has read enough.
    let _ = std::io::stdout().write_all(&pages);
    Ok(ExitCode::SUCCESS)
}
