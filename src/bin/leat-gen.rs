//! The packet generator: reads its arguments, starts DPDK, runs its plan, and prints the report.
//!
//! Exit status 0 after an orderly end, whatever was lost on the way; 1 when EAL or a device fails, or the next hop does
//! not answer; 2 for arguments that cannot be meant.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use crossbeam::channel::{Receiver, unbounded};
use dpdk_wrapper::Eal;
use leat::config::{Failure, eal};
use leat::generate::cli::{self, Invocation, Run};
use leat::generate::engine;
use leat::generate::report::Report;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Free hugepages below this are as good as none: the packet buffers would not fit.
const ENOUGH_HUGEPAGES: u64 = 128 << 20;

fn main() -> ExitCode {
    if let Err(error) = leat::logging::init() {
        eprintln!("leat-gen: {error}");
        return ExitCode::from(2);
    }
    let run = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Help(text)) => return print(&text),
        Ok(Invocation::Version(text)) => return print(&format!("{text}, {}\n", dpdk_wrapper::version())),
        Ok(Invocation::Run(run)) => run,
        Err(failure) => return refuse(&failure),
    };
    let free = eal::free_hugepage_bytes(Path::new(eal::HUGEPAGES));
    let completed = match eal::complete(run.eal.clone(), free >= ENOUGH_HUGEPAGES, std::process::id()) {
        Ok(completed) => completed,
        Err(failure) => return refuse(&failure.said_by("leat-gen")),
    };
    match generate(&run, completed) {
        Ok(report) => print(&if run.json { report.json() } else { report.table() }),
        Err(error) => {
            eprintln!("leat-gen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    // A reader that has gone away has read enough.
    let _ = write!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn refuse(failure: &Failure) -> ExitCode {
    eprintln!("{failure}");
    ExitCode::from(2)
}

/// Runs the plan from start to end.
fn generate(run: &Run, completed: eal::Completed) -> Result<Report, Box<dyn Error>> {
    for note in &completed.notes {
        log::warn!("{note}");
    }
    let signals = listen_for_signals()?;
    let arguments: Vec<String> = std::iter::once("leat-gen".to_owned()).chain(completed.args).collect();
    let eal = Eal::init(arguments.iter().map(String::as_str))?;
    let report = engine::run(&eal, &run.plan, &arguments, signals, run.quiet)?;
    if let Err(error) = eal.shutdown() {
        log::warn!("{error}");
    }
    Ok(report)
}

/// Signals, from before EAL starts: one that comes in between is not lost.
fn listen_for_signals() -> std::io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (sender, receiver) = unbounded();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}
