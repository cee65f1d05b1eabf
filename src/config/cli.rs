//! The command line: EAL's options, `--`, leat's own.
//!
//! Without `--`, only `--help`, `--version` and `--check` with what follows it are leat's; all else is EAL's. A `--check`,
//! `--help` or `--version` before a `--` is leat's as well: EAL has no check and no version option of that name, and its
//! help is of no use without a service.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};

use super::convention::{Arguments, Instead, Program};
use super::draft::{Draft, DraftBackend, DraftExtras, DraftService};
use super::file::{self, Loaded};
use super::problem::{At, Failure, Place, Problems};
use super::{Config, validate, value};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Print this on standard output and exit with status 0.
    Help(String),
    /// leat's name, version and revision, on one line; who prints it adds DPDK's.
    Version(String),
    /// Print what would run ([`super::summary`]) and exit with status 0.
    Check(Run),
    /// Balance.
    Run(Run),
}

/// A whole, valid instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// EAL's arguments as they were given, without the program's name; [`super::eal::complete`] adds what is missing.
    pub eal: Vec<String>,
    /// What to do.
    pub config: Config,
    /// Whether to say for each packet what was decided and why.
    pub trace: bool,
    /// What is legal and yet likely not meant, a sentence each.
    pub warnings: Vec<String>,
    /// The file that the configuration came from, to read it again.
    pub file: Option<PathBuf>,
}

const PROGRAM: Program =
    Program { name: "leat", anywhere: &["--help", "--version", "--check"], with_options: &["--check"] };

/// leat's own options. The texts are the help.
#[derive(Debug, Parser)]
#[command(
    name = "leat",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("LEAT_REVISION"), ")"),
    about = "leat, a layer-4 load balancer that polls network ports through DPDK from user space",
    override_usage = "leat [EAL options] -- --vip ADDR:PORT --backend ADDR ... [options]\n       \
                      leat [EAL options] -- --config FILE [options]\n       \
                      leat --check [options]",
    after_help = EXAMPLES,
    no_binary_name = true,
    max_term_width = 110
)]
struct Options {
    /// Read everything from a TOML file (excludes the options under "Service")
    #[arg(short, long, value_name = "FILE", help_heading = "Configuration")]
    config: Option<PathBuf>,

    /// The virtual address: once, several services need a file. PROTO is tcp (default), udp, or any: every TCP and UDP
    /// port of ADDR, and ICMP echo, without a PORT
    #[arg(long, value_name = "[PROTO:]ADDR[:PORT]", help_heading = "Service")]
    vip: Vec<String>,

    /// A real server; repeat it for each. PORT defaults to the VIP's. weight is 0 to 65535 (default 1, 0 is drained);
    /// with mac= the address is never resolved
    #[arg(long, value_name = "ADDR[:PORT][,weight=N][,mac=MAC]", help_heading = "Service")]
    backend: Vec<String>,

    /// fullnat (default), nat, dr, ipip or gue
    #[arg(long, value_name = "MODE", help_heading = "Service")]
    mode: Option<String>,

    /// maglev (default), rr, wrr, lc, wlc or sh
    #[arg(long, value_name = "NAME", help_heading = "Service")]
    scheduler: Option<String>,

    /// Keep a client address on its backend for this long after its last packet
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, help_heading = "Service")]
    persistence: Option<String>,

    /// A source address towards the backends in fullnat, repeatable (default: the VIP)
    #[arg(long, value_name = "ADDR", help_heading = "Service")]
    local_address: Vec<String>,

    /// An own address of leat's, repeatable; ipip and gue need one
    #[arg(long, value_name = "ADDR/LEN", help_heading = "Service")]
    address: Vec<String>,

    /// Size of the connection table, per lcore (default 1048576)
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Service")]
    connections: Option<String>,

    /// The least number of packet buffers, when ports keep more of them than leat reckons with (default 0)
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Service")]
    buffers: Option<String>,

    /// Ethernet address to send from and answer ARP with (default: the port's); overrides the file
    #[arg(long, value_name = "MAC", help_heading = "Running")]
    mac: Option<String>,

    /// Where the API listens: unix:PATH or IP:PORT (default unix:/run/leat/leat.sock); overrides the file
    #[arg(long, value_name = "ADDR", help_heading = "Running")]
    api: Option<String>,

    /// The user to become once all ports are up (default: leat stays who it is); overrides the file
    #[arg(long, value_name = "NAME", help_heading = "Running")]
    user: Option<String>,

    /// Validate, print what would run, exit with status 0 or 2; needs neither root nor a port
    #[arg(long, help_heading = "Running")]
    check: bool,

    /// Say for each packet what was decided and why (slow; for learning and debugging)
    #[arg(long, help_heading = "Running")]
    trace: bool,
}

const EXAMPLES: &str = "\
Examples:
  leat -l 0 --vdev=net_tap0,iface=tapdpdk -- --vip 10.0.0.10:8080 --backend 10.0.0.2 --backend 10.0.0.3
      a whole balancer on one core and a tap port
  leat -l 1-4 -a 0000:01:00.0 -- --config /etc/leat/leat.toml
      four cores on a physical NIC, services from a file
  leat --check --config leat.toml
      is the file right, and what would run?

EAL options, most used (DPDK's Linux guide lists all of them):
  -l LIST          the CPUs to run on, each one a worker
  --vdev=DEVICE    a port made of software: net_tap0,iface=NAME; net_af_packet0,iface=NAME; net_pcap0,rx_pcap=FILE
  -a ADDRESS       a port of a PCI device
Without hugepages, and without an option about memory, leat adds --no-huge -m 512.";

const HOW_TO_START: &str = "write `leat [EAL options] -- --vip ADDR:PORT --backend ADDR ...`, or \
                            `leat [EAL options] -- -c FILE`; `leat --help` explains";

/// leat's own options, for the manual page.
pub fn command() -> clap::Command {
    Options::command()
}

/// Understands the arguments, without the program's name, and the file that they name, which `read_file` fetches
/// ([`file::read`] does). Touches nothing else.
///
/// # Errors
/// What is wrong with the arguments or the file: print it on standard error and exit with status 2.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    read_file: impl FnOnce(&Path) -> io::Result<Vec<u8>>,
) -> Result<Invocation, Failure> {
    let Arguments { eal, own } = PROGRAM.split(args, &Options::command())?;
    let Some(own) = own else {
        let what =
            if eal.is_empty() { "there is nothing to balance" } else { "there is no `--` with a service after it" };
        return Err(Failure::new(format_args!("{what}; {HOW_TO_START}")));
    };
    let options = match Options::try_parse_from(&own) {
        Ok(options) => options,
        Err(error) => {
            return PROGRAM.instead(&error).map(|instead| match instead {
                Instead::Help(text) => Invocation::Help(text),
                Instead::Version(text) => Invocation::Version(text),
            });
        }
    };
    let Loaded { mut config, warnings } = match &options.config {
        Some(path) => from_file(&options, path, read_file)?,
        None => from_options(&options)?,
    };
    override_settings(&options, &mut config)?;
    let run = Run { eal, config, trace: options.trace, warnings, file: options.config };
    Ok(if options.check { Invocation::Check(run) } else { Invocation::Run(run) })
}

fn from_file(
    options: &Options,
    path: &Path,
    read_file: impl FnOnce(&Path) -> io::Result<Vec<u8>>,
) -> Result<Loaded, Failure> {
    let excluded = [
        ("--vip", !options.vip.is_empty()),
        ("--backend", !options.backend.is_empty()),
        ("--mode", options.mode.is_some()),
        ("--scheduler", options.scheduler.is_some()),
        ("--persistence", options.persistence.is_some()),
        ("--local-address", !options.local_address.is_empty()),
        ("--address", !options.address.is_empty()),
        ("--connections", options.connections.is_some()),
        ("--buffers", options.buffers.is_some()),
    ];
    if let Some((name, _)) = excluded.iter().find(|(_, given)| *given) {
        return Err(Failure::new(format_args!(
            "{name} cannot be used with --config, which says it in the file; write it in {} or leave --config out",
            path.display()
        )));
    }
    let bytes = read_file(path).map_err(|error| {
        Failure::new(format_args!("{}: cannot be read: {error}; name a TOML file after --config", path.display()))
    })?;
    file::load(&path.display().to_string(), &bytes)
}

fn from_options(options: &Options) -> Result<Loaded, Failure> {
    let problems = Problems::default();
    let vip = match options.vip.as_slice() {
        [vip] => vip,
        [] if options.backend.is_empty() => {
            return Err(Failure::new(format_args!("there is nothing to balance; {HOW_TO_START}")));
        }
        [] => return Err(Failure::new("--backend needs a --vip to be a backend of; write --vip ADDR:PORT")),
        [_, second, ..] => {
            return Err(Failure::new(format_args!(
                "--vip {second}: the second --vip, and one is all the command line takes; write several services in a file, \
                 for --config"
            )));
        }
    };
    if options.backend.is_empty() {
        return Err(Failure::new(format_args!("--vip {vip}: there is no backend; write --backend ADDR at least once")));
    }
    let service = read_service(options, vip, &problems);
    let number = |name: &str, text: &Option<String>| {
        let text = text.as_ref()?;
        let place = argument(&format!("--{name}"), text);
        Some(At::new(problems.accept(value::number(name, text), &place, "")?, &place))
    };
    let connections = number("connections", &options.connections);
    let buffers = number("buffers", &options.buffers);
    problems.into_result()?;
    validate::validate(&Draft {
        connections,
        buffers,
        addresses: options.address.iter().map(|text| given("--address", text)).collect(),
        services: service.into_iter().collect(),
        ..Draft::default()
    })
}

fn read_service(options: &Options, vip: &str, problems: &Problems) -> Option<DraftService> {
    let place = argument("--vip", vip);
    let (protocol, rest) = split_protocol(vip);
    let endpoint = problems.accept(value::endpoint(rest), &place, "");
    let backends: Vec<_> = options.backend.iter().filter_map(|text| read_backend(text, problems)).collect();
    let (address, port) = endpoint?;
    Some(DraftService {
        context: String::new(),
        name: None,
        vip: At::new(address.to_owned(), &place),
        protocol: protocol.map(|name| At::new(name.to_owned(), &place)),
        port: port.map(|port| At::new(port, &place)),
        mode: options.mode.as_ref().map(|text| given("--mode", text)),
        scheduler: options.scheduler.as_ref().map(|text| given("--scheduler", text)),
        maglev_table_size: None,
        local_addresses: options.local_address.iter().map(|text| given("--local-address", text)).collect(),
        persistence: options.persistence.as_ref().map(|text| {
            let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let time = if bare { format!("{text}s") } else { text.clone() };
            At::new(time, &argument("--persistence", text))
        }),
        extras: DraftExtras::default(),
        backends,
        place,
    })
}

/// Takes `PROTO:` off. A word before a colon is a protocol if an address follows it: not in `fe80::1`, nor in
/// `localhost:80`.
fn split_protocol(vip: &str) -> (Option<&str>, &str) {
    match vip.split_once(':') {
        Some((word, rest))
            if !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && word.starts_with(|first: char| first.is_ascii_alphabetic())
                && (rest.contains('.') || rest.starts_with('[') || ["tcp", "udp", "any"].contains(&word)) =>
        {
            (Some(word), rest)
        }
        _ => (None, vip),
    }
}

fn read_backend(text: &str, problems: &Problems) -> Option<DraftBackend> {
    const KEYS: [&str; 2] = ["weight", "mac"];
    let place = argument("--backend", text);
    let mut parts = text.split(',');
    let endpoint = problems.accept(value::endpoint(parts.next().unwrap_or("")), &place, "");
    let (mut weight, mut mac) = (None, None);
    for part in parts {
        let fresh = match part.split_once('=') {
            Some(("weight", number)) => {
                let number = problems.accept(value::number("weight", number), &place, "")?;
                weight.replace(At::new(number, &place)).is_none()
            }
            Some(("mac", address)) => mac.replace(At::new(address.to_owned(), &place)).is_none(),
            _ => {
                let key = part.split('=').next().unwrap_or(part);
                let advice = match value::nearest(key, KEYS.into_iter()) {
                    Some(known) => format!("did you mean {known}=?"),
                    None => "after the address come weight=N and mac=MAC".to_owned(),
                };
                problems.report(&place, "", format_args!("{part:?} is not understood; {advice}"));
                return None;
            }
        };
        if !fresh {
            problems.report(&place, "", format_args!("{part:?} is the second of its kind; write it once"));
        }
    }
    let (address, port) = endpoint?;
    Some(DraftBackend {
        address: At::new(address.to_owned(), &place),
        port: port.map(|port| At::new(port, &place)),
        weight,
        max_connections: None,
        max_rate: None,
        mac,
    })
}

/// What the command line says goes, whether or not the file says it too.
fn override_settings(options: &Options, config: &mut Config) -> Result<(), Failure> {
    let problems = Problems::default();
    if let Some(text) = &options.mac
        && let Some(mac) = problems.accept(value::mac_setting(text), &argument("--mac", text), "")
    {
        config.mac = mac;
    }
    if let Some(text) = &options.user
        && let Some(user) = problems.accept(value::user(text), &argument("--user", text), "")
    {
        config.user = Some(user);
    }
    if let Some(text) = &options.api
        && let Some(api) = problems.accept(value::api(text), &argument("--api", text), "")
        && problems
            .accept(value::guarded(&api, config.api_token_file.is_some()), &argument("--api", text), "")
            .is_some()
    {
        config.api = api;
    }
    problems.into_result()
}

fn argument(option: &str, text: &str) -> Place {
    Place::Argument(format!("{option} {text}").into())
}

fn given(option: &str, text: &str) -> At<String> {
    At::new(text.to_owned(), &argument(option, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Options::command().debug_assert();
    }

    #[test]
    fn the_reference_has_every_option() {
        let reference = include_str!("../../docs/CONFIGURATION.md");
        for option in Options::command().get_arguments() {
            let name = option.get_long().unwrap();
            assert!(reference.contains(&format!("`--{name}` |")), "--{name}");
        }
    }

    #[test]
    fn the_file_is_asked_for_only_when_it_is_named() {
        let args = ["--", "--vip", "10.0.0.10:80", "--backend", "10.0.0.2"].map(OsString::from);
        parse(args, |path| panic!("{} was read", path.display())).unwrap();
    }

    #[test]
    fn a_protocol_is_told_from_what_only_looks_like_one() {
        for (vip, protocol) in [
            ("tcp:10.0.0.1:80", Some("tcp")),
            ("any:10.0.0.1", Some("any")),
            ("sctp:10.0.0.1:80", Some("sctp")),
            ("udp:[::1]:80", Some("udp")),
            ("tcp:oops", Some("tcp")),
            ("10.0.0.1:80", None),
            ("fe80::1", None),
            ("localhost:80", None),
            ("", None),
        ] {
            assert_eq!(split_protocol(vip).0, protocol, "{vip}");
        }
    }
}
