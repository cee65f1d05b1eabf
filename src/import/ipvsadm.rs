//! What `ipvsadm -S` prints, and `ipvsadm -R` reads: a command on each line, `-A` for a virtual server and `-a` for a real
//! server of one (ipvsadm(8), version 1.31).
//!
//! Options are popt's: long ones with `=` or a space before their value, short ones together, or with their value.
//! Versions before 1.28 print ` pe NAME` and ` ops` without dashes. Hosts' names are not looked up; ports' names that are
//! well known are understood.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::rc::Rc;

use super::found::{At, Entry, Forward, RealServer, Vip, VirtualServer};
use super::note::{Fate, Note, Place};
use super::port_names;
use crate::config::{Failure, value};
use crate::service::ServiceProtocol;

/// How long `-p` without a time lasts, in seconds.
const DEFAULT_PERSISTENCE: u64 = 300;

/// Every virtual server of the text.
pub(super) fn read(name: &str, text: &str) -> Result<Vec<Entry>, Failure> {
    let file: Rc<str> = name.into();
    let mut table = Table::default();
    for (index, line) in text.lines().enumerate() {
        let place = Place { file: Rc::clone(&file), line: index + 1 };
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        let mut words = line.split_whitespace().peekable();
        let is_program = |word: &&str| *word == "ipvsadm" || word.ends_with("/ipvsadm");
        if words.next_if(is_program).is_some() && words.peek().is_none() {
            continue;
        }
        let options = options(&place, words)?;
        if !options.is_empty() {
            table.command(&place, &options)?;
        }
    }
    Ok(table.entries)
}

/// What options there are, and whether they take a value.
const OPTIONS: &[(&str, Option<char>, Takes)] = &[
    ("add-service", Some('A'), Takes::Nothing),
    ("edit-service", Some('E'), Takes::Nothing),
    ("delete-service", Some('D'), Takes::Nothing),
    ("clear", Some('C'), Takes::Nothing),
    ("list", Some('L'), Takes::Nothing),
    ("list", Some('l'), Takes::Nothing),
    ("zero", Some('Z'), Takes::Nothing),
    ("add-server", Some('a'), Takes::Nothing),
    ("edit-server", Some('e'), Takes::Nothing),
    ("delete-server", Some('d'), Takes::Nothing),
    ("restore", Some('R'), Takes::Nothing),
    ("save", Some('S'), Takes::Nothing),
    ("set", None, Takes::Nothing),
    ("start-daemon", None, Takes::Value),
    ("stop-daemon", None, Takes::Value),
    ("tcp-service", Some('t'), Takes::Value),
    ("udp-service", Some('u'), Takes::Value),
    ("sctp-service", None, Takes::Value),
    ("fwmark-service", Some('f'), Takes::Value),
    ("scheduler", Some('s'), Takes::Value),
    ("persistent", Some('p'), Takes::Number),
    ("netmask", Some('M'), Takes::Value),
    ("real-server", Some('r'), Takes::Value),
    ("masquerading", Some('m'), Takes::Nothing),
    ("ipip", Some('i'), Takes::Nothing),
    ("gatewaying", Some('g'), Takes::Nothing),
    ("tun-type", None, Takes::Value),
    ("tun-port", None, Takes::Value),
    ("tun-nocsum", None, Takes::Nothing),
    ("tun-csum", None, Takes::Nothing),
    ("tun-remcsum", None, Takes::Nothing),
    ("weight", Some('w'), Takes::Value),
    ("u-threshold", Some('x'), Takes::Value),
    ("l-threshold", Some('y'), Takes::Value),
    ("numeric", Some('n'), Takes::Nothing),
    ("mcast-interface", None, Takes::Value),
    ("mcast-group", None, Takes::Value),
    ("mcast-port", None, Takes::Value),
    ("mcast-ttl", None, Takes::Value),
    ("sync-maxlen", None, Takes::Value),
    ("syncid", None, Takes::Value),
    ("ipv6", Some('6'), Takes::Nothing),
    ("ops", Some('o'), Takes::Nothing),
    ("pe", None, Takes::Value),
    ("sched-flags", Some('b'), Takes::Value),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    /// A number, if one follows.
    Number,
}

/// An option by its long name, and its value.
struct Given<'l> {
    name: &'static str,
    value: &'l str,
}

/// The options of a line, and as `""` the words that are none.
fn options<'l>(
    place: &Place,
    mut words: std::iter::Peekable<impl Iterator<Item = &'l str>>,
) -> Result<Vec<Given<'l>>, Failure> {
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let unknown = |what: &str| {
            place.failure(format_args!(
                "ipvsadm has no option {what}; write what `ipvsadm -S -n` prints, such as -A -t 10.0.0.1:80"
            ))
        };
        if let Some(long) = word.strip_prefix("--") {
            let (long, value) = long.split_once('=').map_or((long, None), |(long, value)| (long, Some(value)));
            let known = OPTIONS.iter().find(|(name, ..)| *name == long).ok_or_else(|| unknown(word))?;
            options.push(given(place, word, *known, value, &mut words)?);
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            for (at, letter) in letters.char_indices() {
                let known = OPTIONS.iter().find(|(_, short, _)| *short == Some(letter)).ok_or_else(|| unknown(word))?;
                let rest = letters.get(at + letter.len_utf8()..).filter(|rest| !rest.is_empty());
                if known.2 == Takes::Nothing {
                    options.push(Given { name: known.0, value: "" });
                } else {
                    options.push(given(place, word, *known, rest, &mut words)?);
                    break;
                }
            }
        } else if word == "ops" {
            options.push(Given { name: "ops", value: "" });
        } else if word == "pe" {
            options.push(given(place, word, ("pe", None, Takes::Value), None, &mut words)?);
        } else {
            options.push(Given { name: "", value: word });
        }
    }
    Ok(options)
}

fn given<'l>(
    place: &Place,
    word: &str,
    (name, _, takes): (&'static str, Option<char>, Takes),
    attached: Option<&'l str>,
    words: &mut std::iter::Peekable<impl Iterator<Item = &'l str>>,
) -> Result<Given<'l>, Failure> {
    let value = match (takes, attached) {
        (Takes::Nothing, None) => Some(""),
        (Takes::Nothing, Some(_)) => {
            return Err(place.failure(format_args!("{word}: --{name} takes no value; leave it out")));
        }
        (_, Some(value)) => Some(value),
        (Takes::Value, None) => words.next(),
        (Takes::Number, None) => {
            words.next_if(|next| next.starts_with(|letter: char| letter.is_ascii_digit())).or(Some(""))
        }
    };
    let value = value.ok_or_else(|| place.failure(format_args!("{word} has no value after it; write one")))?;
    Ok(Given { name, value })
}

/// The virtual servers so far.
#[derive(Default)]
struct Table {
    entries: Vec<Entry>,
    /// Where each is, by what its lines call it; `None` has no counterpart, which was said.
    known: HashMap<Key, Option<usize>>,
}

/// What tells virtual servers apart: the option and the address as text of one form.
type Key = (&'static str, String);

impl Table {
    fn command(&mut self, place: &Place, options: &[Given<'_>]) -> Result<(), Failure> {
        let first = &options[0];
        match first.name {
            "add-service" => self.add_service(place, &options[1..]),
            "add-server" => self.add_server(place, &options[1..]),
            "" => Err(place.failure(format_args!(
                "{:?} is no command of ipvsadm's; write what `ipvsadm -S -n` prints, such as -A -t 10.0.0.1:80 -s wlc",
                first.value
            ))),
            name => {
                let reason = "only -A and -a say what a table holds, and they are all that ipvsadm -S prints";
                self.entries.push(Entry::Note(Note::new(place, format_args!("--{name}"), Fate::LeftOut, reason)));
                Ok(())
            }
        }
    }

    fn add_service(&mut self, place: &Place, options: &[Given<'_>]) -> Result<(), Failure> {
        let service = service(place, options)?;
        let title = service.title();
        let mut server = VirtualServer {
            place: place.clone(),
            title,
            name: None,
            vips: Vec::new(),
            protocol: service.protocol(),
            scheduler: None,
            hashes_port: false,
            persistence: None,
            one_packet: None,
            servers: Vec::new(),
            notes: Vec::new(),
        };
        read_service(place, options, &mut server)?;
        if self.known.contains_key(&service.key) {
            self.entries.push(Entry::Note(Note::new(
                place,
                server.title,
                Fate::LeftOut,
                "it is there already, further up",
            )));
            return Ok(());
        }
        let index = match service.vip {
            Ok((address, port)) => {
                if port == 0 && server.persistence.is_none() {
                    let reason = "every port of an address needs -p in ipvsadm; write a port, or -p";
                    return Err(place.failure(format_args!("{}: {reason}", server.title)));
                }
                server.vips.push(Vip { place: place.clone(), address, port });
                self.entries.push(Entry::Server(Box::new(server)));
                Some(self.entries.len() - 1)
            }
            Err(reason) => {
                self.entries.push(Entry::Note(Note::new(place, server.title, Fate::LeftOut, reason)));
                None
            }
        };
        self.known.insert(service.key, index);
        Ok(())
    }

    fn add_server(&mut self, place: &Place, options: &[Given<'_>]) -> Result<(), Failure> {
        let service = service(place, options)?;
        let Some(known) = self.known.get(&service.key) else {
            return Err(place.failure(format_args!(
                "there is no virtual server {} to add a real server to; write its -A before",
                service.title()
            )));
        };
        let Some(server) = known.and_then(|index| self.entries.get_mut(index)) else { return Ok(()) };
        let Entry::Server(server) = server else { return Ok(()) };
        read_server(place, options, server)
    }
}

/// The virtual server that a line is about.
struct Service {
    key: Key,
    /// Its address and port, or why leat has none such.
    vip: Result<(IpAddr, u16), String>,
}

impl Service {
    fn title(&self) -> String {
        format!("{} {}", self.key.0, self.key.1)
    }

    fn protocol(&self) -> ServiceProtocol {
        if self.key.0 == "-u" { ServiceProtocol::Udp } else { ServiceProtocol::Tcp }
    }
}

fn service(place: &Place, options: &[Given<'_>]) -> Result<Service, Failure> {
    let mut named = options.iter().filter_map(|option| {
        let shown = match option.name {
            "tcp-service" => "-t",
            "udp-service" => "-u",
            "sctp-service" => "--sctp-service",
            "fwmark-service" => "-f",
            _ => return None,
        };
        Some((shown, option.value))
    });
    let (Some((shown, address)), None) = (named.next(), named.next()) else {
        return Err(
            place.failure("the line needs one virtual server; write -t ADDR:PORT, -u ADDR:PORT or -f MARK once")
        );
    };
    let vip = match shown {
        "-f" => {
            number(place, "-f", address, 1, u32::MAX)?;
            Err("a virtual server by firewall mark has no counterpart; write a service for each of its addresses and ports".to_owned())
        }
        "--sctp-service" => Err("SCTP has no counterpart; leat balances TCP and UDP".to_owned()),
        _ => endpoint(place, address)?,
    };
    let text = match &vip {
        Ok((address, port)) => SocketAddr::new(*address, *port).to_string(),
        Err(_) => address.to_owned(),
    };
    Ok(Service { key: (shown, text), vip })
}

fn read_service(place: &Place, options: &[Given<'_>], server: &mut VirtualServer) -> Result<(), Failure> {
    for option in options {
        let value = option.value;
        match option.name {
            "tcp-service" | "udp-service" | "sctp-service" | "fwmark-service" | "numeric" | "ipv6" => {}
            "scheduler" => server.scheduler = Some(At { place: place.clone(), value: value.to_owned() }),
            "persistent" => {
                let seconds = match value {
                    "" => DEFAULT_PERSISTENCE,
                    given => number(place, "-p", given, 1, u64::from(u32::MAX))?,
                };
                server.persistence = Some(At { place: place.clone(), value: seconds });
            }
            "netmask" => netmask(place, value, server),
            "ops" => server.one_packet = Some(At { place: place.clone(), value: "-o" }),
            "pe" => server.leave_out(
                place,
                &format!("--pe {value}"),
                "persistence is by the client's address; what a packet holds is not looked at",
            ),
            "sched-flags" => {
                for flag in value.split(',') {
                    flag_of_scheduler(place, flag, server);
                }
            }
            name => return Err(does_not_belong(place, name, value, "a virtual server (-A)")),
        }
    }
    Ok(())
}

fn netmask(place: &Place, mask: &str, server: &mut VirtualServer) {
    if !["255.255.255.255", "32", "128"].contains(&mask) {
        let reason = "a client is one address in leat, so those of one network may get different backends";
        server.leave_out(place, &format!("-M {mask}"), reason);
    }
}

/// `sh-fallback` and `mh-fallback` are how leat works anyway.
fn flag_of_scheduler(place: &Place, flag: &str, server: &mut VirtualServer) {
    let scheduler = server.scheduler.as_ref().map_or("", |scheduler| &scheduler.value);
    // flag-1 and flag-2 are the kernel's names for what each scheduler calls otherwise.
    match (flag, scheduler) {
        ("sh-port" | "mh-port", _) | ("flag-2", "sh" | "mh") => server.hashes_port = true,
        ("sh-fallback" | "mh-fallback", _) | ("flag-1", "sh" | "mh") => {}
        _ => server.leave_out(place, &format!("-b {flag}"), "a flag that leat's schedulers do not have"),
    }
}

fn read_server(place: &Place, options: &[Given<'_>], server: &mut VirtualServer) -> Result<(), Failure> {
    let mut real = None;
    let mut forward = Forward::Dr;
    let mut weight = 1;
    let (mut tunnel, mut tunnel_port, mut checksum) = ("ipip", None, "");
    let (mut max_connections, mut lower_threshold) = (None, 0);
    for option in options {
        let value = option.value;
        match option.name {
            "tcp-service" | "udp-service" | "sctp-service" | "fwmark-service" | "numeric" | "ipv6" => {}
            "real-server" => real = Some(value),
            "masquerading" => forward = Forward::Nat,
            "gatewaying" => forward = Forward::Dr,
            "ipip" => forward = Forward::Ipip,
            "weight" => weight = number(place, "-w", value, 0, u16::MAX)?,
            "tun-type" => tunnel = value,
            "tun-port" => tunnel_port = Some(number(place, "--tun-port", value, 1, u16::MAX)?),
            "tun-csum" | "tun-nocsum" | "tun-remcsum" => checksum = option.name,
            "u-threshold" => max_connections = NonZeroU32::new(number(place, "-x", value, 0, u32::MAX)?),
            "l-threshold" => lower_threshold = number(place, "-y", value, 0, u32::MAX)?,
            name => return Err(does_not_belong(place, name, value, "a real server (-a)")),
        }
    }
    let Some(text) = real else {
        return Err(place.failure("-a has no real server; write -r ADDR:PORT"));
    };
    let title = format!("-r {text}");
    server.leave_out_lower_threshold(place, &format!("{title} -y {lower_threshold}"), lower_threshold);
    let (address, port) = match endpoint(place, text)? {
        Ok(endpoint) => endpoint,
        Err(reason) => {
            server.leave_out(place, &title, reason);
            return Ok(());
        }
    };
    if forward == Forward::Ipip {
        forward = match tunnel {
            "ipip" => Forward::Ipip,
            "gue" => {
                let Some(port) = tunnel_port else {
                    return Err(place.failure("--tun-type gue needs a port; write --tun-port PORT"));
                };
                if checksum == "tun-remcsum" {
                    server.change(
                        place,
                        &format!("{title} --tun-remcsum"),
                        "leat does not offload checksums; there is none",
                    );
                }
                Forward::Gue { port, checksum: checksum == "tun-csum" }
            }
            other => {
                server.leave_out(
                    place,
                    &title,
                    format_args!("tunnels of type {other} have no counterpart; ipip and gue have"),
                );
                return Ok(());
            }
        };
    }
    let (place, checks) = (place.clone(), Vec::new());
    server.servers.push(RealServer { place, title, address, port, weight, max_connections, forward, checks });
    Ok(())
}

fn does_not_belong(place: &Place, name: &str, value: &str, whom: &str) -> Failure {
    match name {
        "" => place.failure(format_args!("{value:?} belongs to no option; leave it out")),
        _ => place.failure(format_args!("--{name} is no option of {whom}; leave it out")),
    }
}

/// `ADDR[:PORT]`. Inside, an address that leat cannot have, and why.
#[allow(
    clippy::type_complexity,
    reason = "a mistake of the file, and a thing that leat does not have, are not the same"
)]
fn endpoint(place: &Place, text: &str) -> Result<Result<(IpAddr, u16), String>, Failure> {
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => 0,
        Some(name) if name.starts_with(|letter: char| letter.is_ascii_alphabetic()) => match port_names::port(name) {
            Some(port) => port,
            None => {
                return Ok(Err(format!(
                    "{name} is not a port that is known by this name; write numbers, as ipvsadm -S -n does"
                )));
            }
        },
        Some(digits) => number(place, text, digits, 0, u16::MAX)?,
    };
    if let Ok(address) = host.parse() {
        return Ok(Ok((address, port)));
    }
    if host.bytes().any(|byte| byte.is_ascii_alphabetic()) && !host.contains(':') {
        return Ok(Err(format!("{host} is a name, and names are not looked up; write numbers, as ipvsadm -S -n does")));
    }
    Err(place.failure(format_args!("{text:?} is not an address; write it as 10.0.0.1:80")))
}

fn number<T>(place: &Place, field: &str, text: &str, low: T, high: T) -> Result<T, Failure>
where
    T: TryFrom<i128> + PartialOrd + std::fmt::Display,
{
    value::number(field, text)
        .and_then(|given| value::in_range(field, given, low, high))
        .map_err(|reason| place.failure(reason))
}
