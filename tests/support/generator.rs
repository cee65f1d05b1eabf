//! leat-gen: the real binary, run to its end or left running.

use std::process::Command;

use serde_json::Value;

use super::{
    LONG, TempDir,
    leat::Leat,
    process::{Finished, Process, command, run},
    unique,
};

/// leat's side: one lcore.
pub const LEAT: &[&str] = &["-l", "0", "--no-pci"];
/// leat-gen's side.
pub const GENERATOR: &[&str] = &["-l", "1", "--no-pci"];

/// EAL's options with those for devices.
pub fn with<'a>(eal: &[&'a str], devices: &[&'a str]) -> Vec<&'a str> {
    eal.iter().chain(devices).copied().collect()
}

/// A leat and the EAL options of a generator, with shared memory between them.
pub fn leat_on_memif(own: &[&str]) -> (Leat, Memif) {
    let memif = Memif::new();
    let leat = Leat::start(&with(LEAT, &[&memif.server("net_memif0")]), own);
    (leat, memif)
}

/// The program itself.
pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_leat-gen")
}

/// Runs leat-gen in no namespace; it must end well. Returns its report.
#[track_caller]
pub fn generate(eal: &[&str], own: &[&str]) -> Value {
    generate_by(command(binary()), eal, own)
}

/// [`generate`] with the command that runs [`binary`] in some namespace.
#[track_caller]
pub fn generate_by(command: Command, eal: &[&str], own: &[&str]) -> Value {
    let finished = run(&mut completed(command, eal, own), LONG).success();
    report(&finished)
}

/// Starts leat-gen, which must become ready, and goes on.
#[track_caller]
pub fn start(eal: &[&str], own: &[&str]) -> Process {
    let mut process = spawn(eal, own);
    process
        .wait_for_output("'leat-gen: ready'", LONG, |_, stderr| stderr.lines().any(|line| line == "leat-gen: ready"));
    process
}

/// Starts leat-gen, whether or not it becomes ready.
pub fn spawn(eal: &[&str], own: &[&str]) -> Process {
    Process::spawn(&mut completed(command(binary()), eal, own))
}

/// Runs leat-gen to an end that need not be a good one.
#[track_caller]
pub fn try_generate(eal: &[&str], own: &[&str]) -> Finished {
    run(&mut completed(command(binary()), eal, own), LONG)
}

/// The report that a finished leat-gen has printed.
#[track_caller]
pub fn report(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("the report is JSON: {error}\n{finished}"))
}

/// A packet count of a report.
#[track_caller]
pub fn count(report: &Value, name: &str) -> u64 {
    let value = match name {
        "sent" | "received" => &report[name]["packets"],
        _ => &report[name],
    };
    value.as_u64().unwrap_or_else(|| panic!("no {name} in {report}"))
}

/// Everything came back, and right.
#[track_caller]
pub fn assert_whole(report: &Value, sent: u64) {
    assert_eq!((count(report, "sent"), count(report, "received")), (sent, sent), "{report:#}");
    for wrong in ["lost", "misdirected", "corrupt", "duplicated", "reordered"] {
        assert_eq!(count(report, wrong), 0, "{wrong}: {report:#}");
    }
}

/// A socket for net_memif, and the device arguments of its two sides.
#[derive(Debug)]
pub struct Memif {
    directory: TempDir,
}

impl Memif {
    pub fn new() -> Self {
        Self { directory: TempDir::new("memif") }
    }

    /// EAL's argument for the side that listens.
    pub fn server(&self, device: &str) -> String {
        self.device(device, "server")
    }

    /// EAL's argument for the side that connects.
    pub fn client(&self, device: &str) -> String {
        self.device(device, "client")
    }

    fn device(&self, device: &str, role: &str) -> String {
        let socket = self.directory.join("memif.sock");
        format!("--vdev={device},role={role},socket={},socket-abstract=no", socket.display())
    }
}

fn completed(mut command: Command, eal: &[&str], own: &[&str]) -> Command {
    command.args(eal).args(["--file-prefix", &unique("leat_gen"), "--"]).args(own).args(["--json", "--quiet"]);
    command
}
