//! What tcpdump sees on an interface, and how it renders a capture.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    LIMIT, TempDir,
    net::{Net, Role},
    process::{Finished, Process, command, run},
    wait_for,
};

/// A running tcpdump. Every packet is in its file as soon as tcpdump has seen it.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    recording: Recording,
}

impl Capture {
    /// Captures on an interface of the role's namespace; returns once tcpdump listens.
    pub fn start(net: &Net, role: Role, interface: &str) -> Self {
        Self::start_by(net.command(role, "tcpdump"), interface)
    }

    /// [`start`](Self::start) with the command that runs tcpdump in some namespace.
    pub fn start_by(mut tcpdump: Command, interface: &str) -> Self {
        let directory = TempDir::new("capture");
        let file = directory.join("capture.pcap");
        // As root it may write where it is told to, and keeps the parent-death signal, which a change of user clears.
        tcpdump.args(["-Z", "root", "--immediate-mode", "-U", "-i", interface, "-w"]).arg(&file);
        let mut process = Process::spawn(&mut tcpdump);
        process.wait_for_output("listening tcpdump", LIMIT, |_, stderr| stderr.contains("listening on"));
        Self { process, recording: Recording { file, _directory: directory } }
    }

    /// Waits until at least `count` captured packets match a filter, and renders those.
    #[track_caller]
    pub fn wait_for(&self, count: usize, filter: &str, flags: &[&str]) -> Vec<String> {
        let arguments: Vec<&str> = flags.iter().copied().chain([filter]).collect();
        wait_for(&format!("{count} packets that match '{filter}'"), LIMIT, || {
            let printed = print(&self.recording.file, &arguments);
            // tcpdump may be in the middle of writing the last packet: the ones before it are whole.
            let printed = if printed.stderr.contains("truncated dump file") { printed } else { printed.success() };
            let lines = packets(&printed.stdout);
            (lines.len() >= count).then_some(lines)
        })
    }

    /// Ends the capture.
    pub fn stop(mut self) -> Recording {
        self.process.stop(LIMIT).success();
        self.recording
    }
}

/// A finished capture; its file goes with the value.
#[derive(Debug)]
pub struct Recording {
    file: PathBuf,
    _directory: TempDir,
}

impl Recording {
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What [`render`] makes of it.
    #[track_caller]
    pub fn render(&self, arguments: &[&str]) -> Vec<String> {
        render(&self.file, arguments)
    }
}

/// `tcpdump -nn -r FILE` with further flags (`-e -t -S -v`) and a filter: one line for each packet, those that
/// tcpdump breaks in several joined by a space.
#[track_caller]
pub fn render(file: &Path, arguments: &[&str]) -> Vec<String> {
    packets(&print(file, arguments).success().stdout)
}

fn print(file: &Path, arguments: &[&str]) -> Finished {
    run(command("tcpdump").args(["-nn", "-r"]).arg(file).args(arguments), LIMIT)
}

fn packets(printed: &str) -> Vec<String> {
    let mut packets: Vec<String> = Vec::new();
    for line in printed.lines() {
        match packets.last_mut() {
            Some(packet) if line.starts_with([' ', '\t']) => {
                packet.push(' ');
                packet.push_str(line.trim());
            }
            _ => packets.push(line.to_owned()),
        }
    }
    packets
}
