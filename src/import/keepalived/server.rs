//! `virtual_server` and its `real_server`s.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::super::found::{At, Entry, Forward, RealServer, Vip, VirtualServer};
use super::super::note::{Fate, Note};
use super::checker::{self, Settings};
use super::group::Group;
use super::tree::Directive;
use super::values;
use crate::config::Failure;
use crate::service::ServiceProtocol;

/// How long `persistence_timeout` without a time lasts, in seconds.
const DEFAULT_PERSISTENCE: u64 = 360;

/// Keywords of a virtual server that leat has nothing for, and why.
const WITHOUT_COUNTERPART: &[(&str, &str)] = &[
    ("persistence_engine", "persistence is by the client's address; what a packet holds is not looked at"),
    ("ha_suspend", "a leat that does not hold the VIP goes on probing"),
    ("omega", "leat runs no scripts"),
    ("quorum", "leat balances while one backend is up"),
    ("hysteresis", "there is no quorum"),
    ("quorum_up", "leat runs no scripts; the log and the API say what is up"),
    ("quorum_down", "leat runs no scripts; the log and the API say what is up"),
    ("smtp_alert", "leat sends no mail; the log says what goes down and up"),
    ("sorry_server", "there is no backend for when all others are down"),
    ("sorry_server_inhibit", "there is no backend for when all others are down"),
    ("sorry_server_lvs_method", "there is no backend for when all others are down"),
    ("hashed", "a flag that leat's schedulers do not have"),
    ("flag-3", "a flag that leat's schedulers do not have"),
];

/// The same of a real server.
const REAL_WITHOUT_COUNTERPART: &[(&str, &str)] = &[
    ("notify_up", "leat runs no scripts; the log and the API say what is up"),
    ("notify_down", "leat runs no scripts; the log and the API say what is up"),
    ("smtp_alert", "leat sends no mail; the log says what goes down and up"),
    ("snmp_name", "a backend has no name"),
];

/// What a block says of itself and, if nothing else is said, of its real servers.
struct Defaults {
    settings: Settings,
    forward: Option<Forward>,
    weight: u16,
}

/// A virtual server, or why it is none of leat's.
pub(super) fn read(directive: &Directive, groups: &mut HashMap<&str, Group<'_>>) -> Result<Vec<Entry>, Failure> {
    let title = directive.shown();
    let left_out = |reason: String| Entry::Note(Note::new(&directive.place, &title, Fate::LeftOut, reason));
    let mut entries = Vec::new();
    let vips = match directive.value()? {
        "fwmark" => {
            let mark = directive.values().get(1).map_or("", String::as_str);
            values::number(&directive.place, "fwmark", mark, 0, u32::MAX)?;
            return Ok(vec![left_out(
                "a virtual server by firewall mark has no counterpart; write a service for each of its addresses and ports".to_owned(),
            )]);
        }
        "group" => {
            let name = directive.values().get(1).map_or("", String::as_str);
            let Some(group) = groups.get_mut(name) else {
                return Ok(vec![left_out(format!("there is no virtual_server_group {name}"))]);
            };
            group.is_used = true;
            entries.extend(std::mem::take(&mut group.notes).into_iter().map(Entry::Note));
            if group.vips.is_empty() {
                entries.push(left_out("its group has no address that leat can have".to_owned()));
            }
            group.vips.clone()
        }
        text => match values::address(text) {
            Ok(address) => {
                let port = values::port(directive, directive.values().get(1))?;
                vec![Vip { place: directive.place.clone(), address, port }]
            }
            Err(reason) => return Ok(vec![left_out(reason)]),
        },
    };
    let mut server = VirtualServer {
        place: directive.place.clone(),
        title,
        name: None,
        vips,
        protocol: ServiceProtocol::Udp,
        scheduler: None,
        hashes_port: false,
        persistence: None,
        one_packet: None,
        servers: Vec::new(),
        notes: Vec::new(),
    };
    match inside(directive, &mut server)? {
        true => entries.push(Entry::Server(Box::new(server))),
        false => entries.extend(server.notes.into_iter().map(Entry::Note)),
    }
    Ok(entries)
}

/// Whether leat can have it.
fn inside(directive: &Directive, server: &mut VirtualServer) -> Result<bool, Failure> {
    let mut defaults = Defaults { settings: Settings::default(), forward: None, weight: 1 };
    let mut protocol = None;
    for one in &directive.block {
        let place = &one.place;
        match one.keyword() {
            "real_server" => {}
            "lb_algo" | "lvs_sched" => {
                server.scheduler = Some(At { place: place.clone(), value: one.value()?.to_owned() })
            }
            "lb_kind" | "lvs_method" => {
                defaults.forward = forward(one, &one.shown(), server)?;
                if defaults.forward.is_none() {
                    return Ok(false);
                }
            }
            "protocol" => match one.value()?.to_ascii_uppercase().as_str() {
                "TCP" => protocol = Some(ServiceProtocol::Tcp),
                "UDP" => protocol = Some(ServiceProtocol::Udp),
                "SCTP" => {
                    server.leave_out(place, &one.shown(), "SCTP has no counterpart; leat balances TCP and UDP");
                    return Ok(false);
                }
                other => return Err(place.failure(format_args!("protocol {other:?} is unknown; write TCP or UDP"))),
            },
            "persistence_timeout" => {
                let seconds =
                    if one.values().is_empty() { DEFAULT_PERSISTENCE } else { one.number(0, u64::from(u32::MAX))? };
                server.persistence = Some(At { place: place.clone(), value: seconds });
            }
            "persistence_granularity" => granularity(one, server)?,
            "ops" => server.one_packet = Some(At { place: place.clone(), value: "ops" }),
            "snmp_name" => server.name = Some(At { place: place.clone(), value: one.value()?.to_owned() }),
            "weight" => defaults.weight = one.number(0, u16::MAX)?,
            "sh-port" | "mh-port" | "flag-2" => server.hashes_port = true,
            // How leat works anyway: the next slot that is up; and one address family.
            "sh-fallback" | "mh-fallback" | "flag-1" | "ip_family" => {}
            word => {
                if defaults.settings.read(one, server, "")? {
                } else if let Some((_, reason)) = WITHOUT_COUNTERPART.iter().find(|(known, _)| *known == word) {
                    server.leave_out(place, &one.shown(), reason);
                } else {
                    server.leave_out(place, &one.shown(), "a keyword that is not known here");
                }
            }
        }
    }
    if let Some(protocol) = protocol {
        server.protocol = protocol;
    } else {
        server.change(&directive.place, "no protocol", "keepalived takes UDP then, and so does this service");
    }
    if server.vips.iter().any(|vip| vip.port == 0) && server.persistence.as_ref().is_none_or(|given| given.value == 0) {
        server.persistence = Some(At { place: directive.place.clone(), value: DEFAULT_PERSISTENCE });
        server.change(
            &directive.place,
            "every port",
            "keepalived makes it persistent for 360 s then, and so is this service",
        );
    }
    for one in directive.block.iter().filter(|one| one.keyword() == "real_server") {
        real_server(one, &defaults, server)?;
    }
    Ok(true)
}

fn real_server(directive: &Directive, defaults: &Defaults, server: &mut VirtualServer) -> Result<(), Failure> {
    let title = directive.shown();
    let port = values::port(directive, directive.values().get(1))?;
    let address = match values::address(directive.value()?) {
        Ok(address) => address,
        Err(reason) => {
            server.leave_out(&directive.place, &title, reason);
            return Ok(());
        }
    };
    let mut settings = defaults.settings.clone();
    let mut weight = defaults.weight;
    let mut max_connections = None;
    let mut method = defaults.forward;
    let mut checkers = Vec::new();
    for one in &directive.block {
        let word = one.keyword();
        let what = format!("{title}: {}", one.shown());
        match word {
            "weight" => weight = one.number(0, u16::MAX)?,
            "uthreshold" => max_connections = NonZeroU32::new(one.number(0, u32::MAX)?),
            "lthreshold" => server.leave_out_lower_threshold(&one.place, &what, one.number(0, u32::MAX)?),
            "lb_kind" | "lvs_method" => {
                method = forward(one, &what, server)?;
                if method.is_none() {
                    return Ok(());
                }
            }
            _ if checker::is_checker(word) => checkers.push(one),
            _ => {
                if settings.read(one, server, &title)? {
                } else if let Some((_, reason)) = REAL_WITHOUT_COUNTERPART.iter().find(|(known, _)| *known == word) {
                    server.leave_out(&one.place, &what, reason);
                } else {
                    server.leave_out(&one.place, &what, "a keyword that is not known here");
                }
            }
        }
    }
    let mut checks = Vec::new();
    for one in checkers {
        checks.extend(checker::read(one, &settings, address, &title, server)?);
    }
    let forward = method.unwrap_or(Forward::Nat);
    let place = directive.place.clone();
    server.servers.push(RealServer { place, title, address, port, weight, max_connections, forward, checks });
    Ok(())
}

fn granularity(directive: &Directive, server: &mut VirtualServer) -> Result<(), Failure> {
    if !["255.255.255.255", "32", "128"].contains(&directive.value()?) {
        let reason = "a client is one address in leat, so those of one network may get different backends";
        server.leave_out(&directive.place, &directive.shown(), reason);
    }
    Ok(())
}

/// The forwarding method; none if leat has none such, which is said.
fn forward(directive: &Directive, what: &str, server: &mut VirtualServer) -> Result<Option<Forward>, Failure> {
    let place = &directive.place;
    match directive.value()? {
        "NAT" => return Ok(Some(Forward::Nat)),
        "DR" => return Ok(Some(Forward::Dr)),
        "TUN" => {}
        other => {
            let keyword = directive.keyword();
            return Err(place.failure(format_args!("{keyword} {other:?} is unknown; write NAT, DR or TUN")));
        }
    }
    let (mut kind, mut port, mut checksum) = ("ipip", None, false);
    let mut words = directive.values().iter().skip(1).map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "type" => kind = words.next().unwrap_or_default(),
            "port" => port = Some(values::number(place, "port", words.next().unwrap_or_default(), 1, u16::MAX)?),
            "nocsum" => {}
            "csum" => checksum = true,
            "remcsum" => server.change(place, what, "leat does not offload checksums; there is none"),
            other => {
                return Err(
                    place.failure(format_args!("TUN {other:?} is unknown; write type, port, nocsum, csum or remcsum"))
                );
            }
        }
    }
    match (kind, port) {
        ("ipip", _) => Ok(Some(Forward::Ipip)),
        ("gue", Some(port)) => Ok(Some(Forward::Gue { port, checksum })),
        ("gue", None) => Err(place.failure("type gue needs a port; write port 6080")),
        ("gre", _) => {
            server.leave_out(place, what, "tunnels of type gre have no counterpart; ipip and gue have");
            Ok(None)
        }
        (other, _) => Err(place.failure(format_args!("tunnel type {other:?} is unknown; write ipip, gue or gre"))),
    }
}
