//! Virtual servers in, services out: what each becomes in leat, and what is lost by it.
//!
//! IPVS has a forwarding method for each real server, keepalived any number of checkers; leat has one mode, one health
//! check and one scheduler for a service. Where the real servers differ, what most of them have is taken.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use super::Wishes;
use super::check::{Check, Kind};
use super::found::{Entry, Forward, RealServer, Vip, VirtualServer};
use super::note::{Fate, Note, Place};
use super::schedulers;
use crate::config::{file, show_duration, value};
use crate::scheduler::Algorithm;
use crate::service::ServiceProtocol;

/// As many as leat has numbers for.
const MOST_SERVICES: usize = u16::MAX as usize;

/// More do not fit in a file of leat's: a backend takes at least so many bytes.
const MOST_BACKENDS: usize = file::MAX_SIZE / 40;

/// One thing of the produced file, in the order of the input.
#[derive(Debug)]
pub(super) enum Item {
    /// A comment.
    Note(Note),
    /// A service, perhaps as a comment.
    Service(Box<Planned>),
}

/// A service as it is to be written.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) place: Place,
    pub(super) title: String,
    pub(super) name: Option<String>,
    pub(super) vip: IpAddr,
    pub(super) protocol: ServiceProtocol,
    /// 0 exactly when the protocol is `any`.
    pub(super) port: u16,
    pub(super) forward: Forward,
    pub(super) scheduler: Algorithm,
    pub(super) persistence: Option<Duration>,
    /// Only with protocol `udp`, in a one-way mode, and without persistence.
    pub(super) one_packet: bool,
    pub(super) health: Option<Check>,
    pub(super) backends: Vec<Backend>,
    /// Why it is a comment, if it is one.
    pub(super) refused: Option<Note>,
    /// Why its health check was taken away, if it was.
    pub(super) unprobed: Option<Note>,
}

/// A backend as it is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    pub(super) place: Place,
    pub(super) address: IpAddr,
    /// 0 exactly when the service's is.
    pub(super) port: u16,
    pub(super) weight: u16,
    pub(super) max_connections: Option<NonZeroU32>,
}

impl Item {
    /// What is said about it.
    pub(super) fn notes(&self) -> Box<dyn Iterator<Item = &Note> + '_> {
        match self {
            Self::Note(note) => Box::new(std::iter::once(note)),
            Self::Service(service) => Box::new(service.unprobed.iter().chain(&service.refused)),
        }
    }

    /// The service, if it is one and is not a comment.
    pub(super) fn live(&self) -> Option<&Planned> {
        match self {
            Self::Service(service) if service.refused.is_none() => Some(service),
            _ => None,
        }
    }
}

/// All that was found, as leat's services, apart from what only the validator knows.
pub(super) fn settle(found: Vec<Entry>, wishes: &Wishes) -> Vec<Item> {
    let mut settled = Settled::default();
    for entry in found {
        match entry {
            Entry::Note(note) => settled.items.push(Item::Note(note)),
            Entry::Server(server) => settled.server(*server, wishes),
        }
    }
    let Settled { items, .. } = settled;
    between_services(items, wishes)
}

#[derive(Default)]
struct Settled {
    items: Vec<Item>,
    services: usize,
    backends: usize,
    has_nat: bool,
}

impl Settled {
    fn server(&mut self, mut server: VirtualServer, wishes: &Wishes) {
        let notes = std::mem::take(&mut server.notes);
        let mut remarks = Remarks { title: server.title.clone(), seen: HashSet::new(), notes };
        let planned = self.plan(&server, &mut remarks);
        if planned.iter().any(|service| service.forward == Forward::Nat) && wishes.addresses.is_empty() && !self.has_nat
        {
            self.has_nat = true;
            remarks.add(
                &server.place,
                "mode nat",
                Fate::ToDo,
                "the backends' way to their clients must lead through leat: give it the address that is their gateway \
                 today, by --address or in an [[interface]]",
            );
        }
        // What settling found stands where it belongs, between the reader's remarks.
        remarks.notes.sort_by_key(|note| (note.place.file != server.place.file, note.place.line));
        self.items.extend(remarks.notes.into_iter().map(Item::Note));
        self.items.extend(planned.into_iter().map(|service| Item::Service(Box::new(service))));
    }

    fn plan(&mut self, server: &VirtualServer, remarks: &mut Remarks) -> Vec<Planned> {
        if server.vips.is_empty() {
            return Vec::new();
        }
        if server.servers.is_empty() {
            remarks.add_whole(&server.place, Fate::LeftOut, "it has no real server that leat can have as a backend");
            return Vec::new();
        }
        let asked = server.scheduler.as_ref();
        let name = asked.map_or(schedulers::DEFAULT, |asked| &asked.value);
        let (scheduler, note) = schedulers::nearest(name, server.hashes_port);
        if let Some(note) = note {
            let place = asked.map_or(&server.place, |asked| &asked.place);
            remarks.add(place, &format!("scheduler {name}"), Fate::Changed, note);
        }
        let persistence = persistence(server, remarks);
        let (forward, alike) = one_mode(server, remarks);
        let given_name = given_name(server, remarks);
        let mut planned = Vec::new();
        for vip in &server.vips {
            self.services += 1;
            if self.services > MOST_SERVICES || self.backends > MOST_BACKENDS {
                remarks.add(
                    &vip.place,
                    &vip.address.to_string(),
                    Fate::LeftOut,
                    "there are more than leat takes in a file",
                );
                break;
            }
            if let Err(reason) = value::host("vip", &vip.address.to_string()) {
                remarks.add(&vip.place, &vip.address.to_string(), Fate::LeftOut, reason);
                continue;
            }
            let protocol = protocol(server, vip, remarks);
            let (backends, kept) = backends(&alike, forward, vip, remarks);
            if backends.is_empty() {
                remarks.add_whole(&vip.place, Fate::LeftOut, "it has no real server that leat can have as a backend");
                continue;
            }
            self.backends += backends.len();
            planned.push(Planned {
                place: vip.place.clone(),
                title: server.title.clone(),
                name: given_name.clone(),
                vip: vip.address,
                protocol,
                port: vip.port,
                forward,
                scheduler,
                persistence,
                one_packet: one_packet(server, protocol, forward, persistence, remarks),
                health: one_check(&kept, vip, remarks),
                backends,
                refused: None,
                unprobed: None,
            });
        }
        planned
    }
}

/// The remarks about one virtual server, each once: what is true of a group's every address is said of the first.
struct Remarks {
    title: String,
    seen: HashSet<Note>,
    notes: Vec<Note>,
}

impl Remarks {
    fn add(&mut self, place: &Place, what: &str, fate: Fate, reason: impl std::fmt::Display) {
        self.insert(Note::new(place, format_args!("{}: {what}", self.title), fate, reason));
    }

    fn add_whole(&mut self, place: &Place, fate: Fate, reason: &str) {
        self.insert(Note::new(place, &self.title, fate, reason));
    }

    fn insert(&mut self, note: Note) {
        if self.seen.insert(note.clone()) {
            self.notes.push(note);
        }
    }
}

fn persistence(server: &VirtualServer, remarks: &mut Remarks) -> Option<Duration> {
    let given = server.persistence.as_ref().filter(|given| given.value > 0)?;
    let asked = Duration::from_secs(given.value);
    let kept = asked.min(value::LONGEST);
    if kept < asked {
        let reason = format!("{} is the longest that leat takes", show_duration(kept));
        remarks.add(&given.place, &format!("persistence of {} s", given.value), Fate::Changed, reason);
    }
    Some(kept)
}

/// Whether each datagram is scheduled by itself.
fn one_packet(
    server: &VirtualServer,
    protocol: ServiceProtocol,
    forward: Forward,
    persistence: Option<Duration>,
    remarks: &mut Remarks,
) -> bool {
    let Some(asked) = &server.one_packet else { return false };
    let reason = if server.protocol != ServiceProtocol::Udp {
        "only datagrams are scheduled one by one, in IPVS too; a connection keeps its backend"
    } else if protocol == ServiceProtocol::Any {
        "leat's one_packet is for a service of one port; a flow keeps its backend"
    } else if persistence.is_some() {
        "with persistence all datagrams of a client go to one backend, and nothing is left to schedule"
    } else if forward == Forward::Nat {
        "leat's one_packet is not for mode nat, where two backends' answers to one port of a client could not be told \
         apart; a flow keeps its backend. Mode fullnat has it"
    } else {
        return true;
    };
    remarks.add(&asked.place, asked.value, Fate::LeftOut, reason);
    false
}

/// A name is one service's, and of few letters.
fn given_name(server: &VirtualServer, remarks: &mut Remarks) -> Option<String> {
    let name = server.name.as_ref()?;
    let reason = if let Err(reason) = value::service_name(&name.value) {
        reason
    } else if server.vips.len() > 1 {
        "a group becomes several services, and a name is one service's".to_owned()
    } else {
        return Some(name.value.clone());
    };
    remarks.add(&name.place, &format!("the name {:?}", name.value), Fate::LeftOut, reason);
    None
}

/// The forwarding method that most real servers have, and those that have it.
fn one_mode<'s>(server: &'s VirtualServer, remarks: &mut Remarks) -> (Forward, Vec<&'s RealServer>) {
    let forward = most_frequent(server.servers.iter().map(|real| real.forward)).unwrap_or(Forward::Nat);
    let (alike, others): (Vec<_>, Vec<_>) = server.servers.iter().partition(|real| real.forward == forward);
    for real in others {
        let what = if real.forward.mode() == forward.mode() {
            "it has another tunnel port or checksum than most".to_owned()
        } else {
            format!(
                "its mode is {}, and a service has one mode, here {}, as most have",
                real.forward.mode(),
                forward.mode()
            )
        };
        remarks.add(&real.place, &real.title, Fate::LeftOut, format_args!("{what}; give it a service of its own"));
    }
    (forward, alike)
}

/// The first of those that are there most often.
fn most_frequent<T: Clone + Eq + std::hash::Hash>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: HashMap<T, (usize, usize)> = HashMap::new();
    for (order, one) in all.enumerate() {
        counts.entry(one).or_insert((0, order)).0 += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, (count, order))| (*count, std::cmp::Reverse(*order)));
    most.map(|(one, _)| one)
}

fn protocol(server: &VirtualServer, vip: &Vip, remarks: &mut Remarks) -> ServiceProtocol {
    if vip.port != 0 {
        return server.protocol;
    }
    let (has, other) = match server.protocol {
        ServiceProtocol::Udp => ("UDP", "TCP"),
        _ => ("TCP", "UDP"),
    };
    remarks.add(
        &vip.place,
        "every port",
        Fate::Changed,
        format_args!(
            "here it is every port of {has}; leat's protocol any balances {other} and ping of that address as well"
        ),
    );
    ServiceProtocol::Any
}

/// The backends of a service, each with the real server that it was.
fn backends<'s>(
    servers: &[&'s RealServer],
    forward: Forward,
    vip: &Vip,
    remarks: &mut Remarks,
) -> (Vec<Backend>, Vec<&'s RealServer>) {
    let mut seen = HashSet::new();
    let (mut backends, mut kept) = (Vec::new(), Vec::new());
    for real in servers {
        if let Err(reason) = value::host("address", &real.address.to_string()) {
            remarks.add(&real.place, &real.title, Fate::LeftOut, reason);
            continue;
        }
        let port = match real.port {
            0 => vip.port,
            port if forward.mode().is_one_way() && port != vip.port => {
                let reason = format!(
                    "mode {} leaves ports as they are, in IPVS too, so the backend's port is the service's",
                    forward.mode()
                );
                remarks.add(&real.place, &real.title, Fate::Changed, reason);
                vip.port
            }
            _ if vip.port == 0 => {
                let reason =
                    "it has one port for every port of the service, and leat's protocol any leaves ports as they are";
                remarks.add(&real.place, &real.title, Fate::LeftOut, reason);
                continue;
            }
            port => port,
        };
        if !seen.insert((real.address, port)) {
            remarks.add(&real.place, &real.title, Fate::LeftOut, "it is there twice");
            continue;
        }
        let RealServer { address, weight, max_connections, .. } = **real;
        backends.push(Backend { place: real.place.clone(), address, port, weight, max_connections });
        kept.push(*real);
    }
    (backends, kept)
}

/// The check that most backends have.
fn one_check(servers: &[&RealServer], vip: &Vip, remarks: &mut Remarks) -> Option<Check> {
    let checks: Vec<(&RealServer, Option<Check>)> =
        servers.iter().map(|real| (*real, check_of_one(real, vip, remarks))).collect();
    let taken = most_frequent(checks.iter().filter_map(|(_, check)| Some(check.as_ref()?.probe.clone())))?;
    let is_taken = |check: &Check| check.probe == taken;
    for (real, check) in &checks {
        let what = match check {
            Some(check) if is_taken(check) => continue,
            Some(check) => format!("its {} differs from what most have", check.title),
            None => "it has no checker that leat has".to_owned(),
        };
        let place = check.as_ref().map_or(&real.place, |check| &check.place);
        let every = show_duration(taken.interval);
        remarks.add(
            place,
            &real.title,
            Fate::Changed,
            format_args!(
                "{what}; a service has one health check, so it is checked as the others are: {}, every {every}",
                taken.kind.name()
            ),
        );
    }
    checks.into_iter().find_map(|(_, check)| check.filter(is_taken))
}

/// The check of a backend that says most.
fn check_of_one(real: &RealServer, vip: &Vip, remarks: &mut Remarks) -> Option<Check> {
    let port = if real.port == 0 || real.forward.mode().is_one_way() { vip.port } else { real.port };
    let usable = real.checks.iter().filter_map(|check| {
        let mut check = check.clone();
        if check.probe.kind == Kind::Icmp || check.probe.port == Some(port) {
            check.probe.port = None;
        } else if port == 0 && check.probe.port.is_none() {
            let reason = "it needs a port, and the service is every port; write one with connect_port";
            remarks.add(&check.place, &format!("{}: {}", real.title, check.title), Fate::LeftOut, reason);
            return None;
        }
        Some(check)
    });
    // Reversed, so that the first of several that say the same is taken.
    let mut usable: Vec<Check> = usable.collect();
    usable.reverse();
    let best = usable.iter().enumerate().max_by_key(|(_, check)| &check.probe.kind)?.0;
    let best = usable.remove(best);
    for other in usable.iter().rev() {
        let reason =
            format!("a backend has one health check in leat; {} of line {} says most", best.title, best.place.line);
        remarks.add(&other.place, &format!("{}: {}", real.title, other.title), Fate::LeftOut, reason);
    }
    Some(best)
}

/// No service twice; no backend is leat itself.
fn between_services(items: Vec<Item>, wishes: &Wishes) -> Vec<Item> {
    let vips: HashSet<IpAddr> = items.iter().filter_map(Item::live).map(|service| service.vip).collect();
    let is_leat = |address| vips.contains(&address) || wishes.addresses.iter().any(|own| own.addr() == address);
    let mut keys: HashMap<(IpAddr, ServiceProtocol, u16), Planned> = HashMap::new();
    let mut names: HashSet<String> = HashSet::new();
    // What is true of a real server is true of it in every service of a group, and is said once.
    let mut said: HashSet<Note> = HashSet::new();
    let mut checked = Vec::with_capacity(items.len());
    for item in items {
        let Item::Service(mut service) = item else {
            checked.push(item);
            continue;
        };
        let (leat, others): (Vec<_>, Vec<_>) =
            service.backends.into_iter().partition(|backend| is_leat(backend.address));
        for backend in leat {
            let about = format!("{}: {}", service.title, backend.address);
            let reason = "it is an address of leat's, and packets to it would come back for ever";
            let note = Note::new(&backend.place, about, Fate::LeftOut, reason);
            if said.insert(note.clone()) {
                checked.push(Item::Note(note));
            }
        }
        service.backends = others;
        let mut note =
            |fate, reason: String| checked.push(Item::Note(Note::new(&service.place, &service.title, fate, reason)));
        if service.backends.is_empty() {
            note(Fate::LeftOut, "it has no real server that leat can have as a backend".to_owned());
            continue;
        }
        let key = (service.vip, service.protocol, service.port);
        if let Some(first) = keys.get(&key) {
            let line = first.place.line;
            if service.protocol == ServiceProtocol::Any && is_same(first, &service) {
                note(Fate::Changed, format!("the service of line {line} has protocol any, which is this one as well"));
            } else {
                note(Fate::LeftOut, format!("its VIP, protocol and port are those of line {line}"));
            }
            continue;
        }
        if let Some(name) = &service.name
            && !names.insert(name.clone())
        {
            note(Fate::LeftOut, format!("the name {name:?} is another service's already"));
            service.name = None;
        }
        keys.insert(key, (*service).clone());
        checked.push(Item::Service(service));
    }
    checked
}

/// Whether two services that differ in their protocol do the same.
fn is_same(one: &Planned, other: &Planned) -> bool {
    let members = |service: &Planned| -> Vec<_> {
        service.backends.iter().map(|backend| (backend.address, backend.weight, backend.max_connections)).collect()
    };
    one.forward == other.forward
        && one.scheduler == other.scheduler
        && one.persistence == other.persistence
        && members(one) == members(other)
}
