//! Packets as they come: told, or written to a file.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::connections::Terms;
use super::{Client, Common, Failure, time};

/// Which packets, and how many.
#[derive(Args, Debug)]
pub struct Packets {
    #[command(flatten)]
    terms: Terms,
    /// Only dropped ones: any, or a reason as `leatctl drops` shows it
    #[arg(long, value_name = "REASON")]
    drop: Option<String>,
    /// So many, and no more
    #[arg(long)]
    count: Option<u64>,
    /// For so long, such as 30s, and no longer
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    time: Option<Duration>,
}

/// `leatctl capture`.
#[derive(Args, Debug)]
pub struct Capture {
    #[command(flatten)]
    packets: Packets,
    /// The file, in the format pcapng; - is standard output
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    file: PathBuf,
}

impl Packets {
    fn query(&self) -> Result<String, Failure> {
        let mut more = Vec::new();
        more.extend(self.drop.as_ref().map(|reason| ("drop", reason.clone())));
        more.extend(self.count.map(|count| ("count", count.to_string())));
        more.extend(self.time.map(|time| ("time", format!("{}s", time.as_secs()))));
        self.terms.query(&more)
    }
}

/// `leatctl trace`.
pub fn trace(common: &Common, packets: &Packets) -> Result<ExitCode, Failure> {
    let path = format!("/api/v1/trace{}", packets.query()?);
    let mut output = io::stdout();
    Client::new(common)?.stream(&path, interrupted()?.as_ref(), begun, |piece| {
        let written = output.write_all(piece).and_then(|()| output.flush());
        written.map_err(|error| Failure::Unwritable(format!("standard output: {error}")))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `leatctl capture`.
pub fn capture(common: &Common, capture: &Capture) -> Result<ExitCode, Failure> {
    let path = format!("/api/v1/capture{}", capture.packets.query()?);
    let client = Client::new(common)?;
    let is_stdout = capture.file.as_os_str() == "-";
    let name = if is_stdout { "standard output".to_owned() } else { capture.file.display().to_string() };
    let mut target = Target { name, file: None, whole: 0, blocks: Blocks::default() };
    // The file is made when leat has said yes: a question that is refused leaves none behind.
    client.stream(&path, interrupted()?.as_ref(), begun, |piece| {
        if target.file.is_none() && !is_stdout {
            target.file = Some(File::create(&capture.file).map_err(|error| target.failure(&error))?);
        }
        target.write(piece)
    })?;
    let Blocks { packets, missing, .. } = target.blocks;
    let lost = if missing > 0 { format!(", and {missing} more that came too fast") } else { String::new() };
    eprintln!("{}: {packets} frames{lost}", target.name);
    Ok(ExitCode::SUCCESS)
}

/// Says that it has begun: nothing may come for long.
fn begun() {
    eprintln!("leatctl: listening for packets; Ctrl-C ends it");
}

/// Whether somebody has pressed Ctrl-C.
fn interrupted() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(|error| Failure::Unusable(error.to_string()))?;
    }
    Ok(flag)
}

/// Where a capture goes.
struct Target {
    name: String,
    /// The file; standard output if there is none.
    file: Option<File>,
    /// Bytes up to the end of the last whole block.
    whole: u64,
    blocks: Blocks,
}

impl Target {
    fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let written = match &mut self.file {
            Some(file) => file.write_all(piece),
            None => io::stdout().write_all(piece).and_then(|()| io::stdout().flush()),
        };
        if let Err(error) = written {
            // What is there shall be a file that can be opened.
            if let Some(file) = &self.file {
                let _ = file.set_len(self.whole);
            }
            return Err(self.failure(&error));
        }
        self.blocks.take_in(piece);
        self.whole = self.blocks.whole;
        Ok(())
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::Unwritable(format!("{}: {error}", self.name))
    }
}

/// The blocks of a capture as they pass by.
#[derive(Default)]
struct Blocks {
    /// Frames among them.
    packets: u64,
    /// Packets that leat could not tell of.
    missing: u64,
    /// Bytes up to the end of the last whole block.
    whole: u64,
    /// What came after that.
    begun: Vec<u8>,
}

impl Blocks {
    fn take_in(&mut self, piece: &[u8]) {
        self.begun.extend_from_slice(piece);
        let mut rest = self.begun.as_slice();
        let word = |bytes: &[u8], at: usize| {
            bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
        };
        while rest.len() >= 8 {
            let (kind, len) = (word(rest, 0), word(rest, 4) as usize);
            let Some((block, after)) = rest.split_at_checked(len.max(12)) else { break };
            match kind {
                6 => self.packets += 1,
                // The count of what was dropped is the first option.
                5 => self.missing = u64::from(word(block, 24)),
                _ => {}
            }
            self.whole += block.len() as u64;
            rest = after;
        }
        self.begun = rest.to_vec();
    }
}
