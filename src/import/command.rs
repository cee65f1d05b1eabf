//! `leatctl import`: its arguments, files and exit status.
//!
//! The file goes to standard output or to `-o`, the list of what has no counterpart to standard error. Exit status 0; 1
//! when nothing can be imported; 2 when the arguments are wrong, or a file cannot be read, understood or written.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::note::{failure, printable};
use super::{Disk, Imported, Wishes};
use crate::config::{Failure, file, value};

/// What standard input is called in messages.
const STDIN: &str = "stdin";

/// Turn a configuration of IPVS or keepalived into leat's
#[derive(Args, Debug)]
pub struct Command {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// What `ipvsadm -S -n` prints
    Ipvsadm(Common),
    /// A keepalived.conf: its virtual servers, real servers and checkers
    Keepalived {
        #[command(flatten)]
        common: Common,

        /// Which machine's lines are meant where some begin with @ID (keepalived's own option of this name)
        #[arg(short = 'i', long, value_name = "ID")]
        config_id: Option<String>,
    },
}

#[derive(Args, Debug)]
struct Common {
    /// The file to import, or - for standard input
    file: PathBuf,

    /// Write leat's configuration to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// An own address for leat, repeatable: tunnels (ipip, gue) need one as their source
    #[arg(long, value_name = "ADDR/LEN", value_parser = address)]
    address: Vec<IpNet>,

    /// The port that has these addresses: a DPDK device's name or a number
    #[arg(long, value_name = "PORT", default_value = "0", requires = "address")]
    port: String,
}

fn address(text: &str) -> Result<IpNet, String> {
    value::host_prefix("address", text)
}

impl Command {
    /// Does it, says what was lost on the way, and gives the program's exit status.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.import() {
            Ok(status) => status,
            Err(failure) => {
                say(&failure.message);
                ExitCode::from(2)
            }
        }
    }

    fn import(self) -> Result<ExitCode, Failure> {
        let (common, config_id, is_ipvsadm) = match self.from {
            From::Ipvsadm(common) => (common, None, true),
            From::Keepalived { common, config_id } => (common, config_id, false),
        };
        let Common { file, output, address, port } = common;
        if let Some(output) = &output {
            refuse_to_overwrite(&file, output)?;
        }
        let wishes = Wishes { addresses: address, port, config_id };
        let (name, bytes) = read(&file)?;
        let imported = if is_ipvsadm {
            super::ipvsadm(&name, &bytes, &wishes)?
        } else {
            let path = if name == STDIN { Path::new("") } else { &file };
            super::keepalived(&name, path, &bytes, &Disk, &wishes)?
        };
        imported.notes.iter().for_each(|note| say(note));
        if imported.services == 0 {
            say(&format!("leatctl: {}: nothing in it can be imported", printable(&name)));
            return Ok(ExitCode::FAILURE);
        }
        write(output.as_deref(), &imported.toml)?;
        say(&summary(&imported));
        Ok(ExitCode::SUCCESS)
    }
}

fn read(file: &Path) -> Result<(String, Vec<u8>), Failure> {
    let (name, bytes) = if file == Path::new("-") {
        let mut bytes = Vec::new();
        let read = io::stdin().take(file::MAX_SIZE as u64 + 1).read_to_end(&mut bytes);
        (STDIN.to_owned(), read.map(|_| bytes))
    } else {
        (file.display().to_string(), file::read(file))
    };
    let bytes = bytes.map_err(|error| {
        failure(format_args!("{name}: cannot be read: {error}; name a file, or - for standard input"))
    })?;
    Ok((name, bytes))
}

/// The input is worth more than the output.
fn refuse_to_overwrite(file: &Path, output: &Path) -> Result<(), Failure> {
    match (fs::canonicalize(file), fs::canonicalize(output)) {
        (Ok(one), Ok(other)) if one == other => Err(failure(format_args!(
            "--output {} is the file that is to be imported; write another name",
            output.display()
        ))),
        _ => Ok(()),
    }
}

fn write(output: Option<&Path>, text: &str) -> Result<(), Failure> {
    let (name, written) = match output {
        Some(path) => (path.display().to_string(), fs::write(path, text)),
        None => {
            let mut stdout = io::stdout().lock();
            ("standard output".to_owned(), stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
        }
    };
    match written {
        // A reader that has gone away has read enough.
        Err(error) if output.is_none() && error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => {
            written.map_err(|error| failure(format_args!("{name}: cannot be written: {error}; write another --output")))
        }
    }
}

fn summary(imported: &Imported) -> String {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let lost = match imported.notes.len() {
        0 => "everything has a counterpart".to_owned(),
        notes => format!("{} above", count(notes, "remark")),
    };
    format!(
        "leatctl: {} with {} imported; {lost}",
        count(imported.services, "service"),
        count(imported.backends, "backend")
    )
}

/// Nobody may be listening.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
