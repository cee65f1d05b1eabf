//! The rules of how backends are probed.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::super::draft::{Draft, DraftHealth, DraftService};
use super::super::problem::{At, Problems};
use super::super::{
    Config, DEFAULT_HEALTH_INTERVAL, DEFAULT_HEALTH_TIMEOUT, Health, HealthKind, HttpCheck, Service, StatusRange, value,
};
use super::interface::{self, prefixes};
use super::{checked, own_addresses};
use crate::service::ServiceProtocol;

/// `None` is none.
const TYPES: [(&str, Option<HealthKind>); 5] = [
    ("none", None),
    ("arp", Some(HealthKind::Arp)),
    ("icmp", Some(HealthKind::Icmp)),
    ("tcp", Some(HealthKind::Tcp)),
    ("http", Some(HealthKind::Http)),
];

/// Probes come no faster than this, and an answer gets at least as long.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The longest path, host, and text to look for, in bytes.
const LONGEST_TEXT: usize = 512;

/// How backends are probed.
pub(super) fn health(draft: &DraftService, protocol: ServiceProtocol, problems: &Problems) -> Option<Option<Health>> {
    let Some(given) = &draft.extras.health else { return Some(None) };
    let context = &given.context;
    let kind = problems.accept(value::choice("type", &given.kind.value, &TYPES, &[]), &given.kind.place, context);
    let interval = checked(problems, context, &given.interval, DEFAULT_HEALTH_INTERVAL, |text| {
        bounded("interval", text, SHORTEST)
    });
    let timeout = match &given.timeout {
        // What is shorter than the default is made for a short interval, and needs no second key.
        None => Some(interval.unwrap_or_default().min(DEFAULT_HEALTH_TIMEOUT)),
        Some(given) => {
            let timeout = bounded("timeout", &given.value, SHORTEST).and_then(|timeout| match interval {
                Some(interval) if timeout > interval => Err(format!(
                    "timeout {:?} is longer than the interval, {}: the next probe would leave before this one is \
                     decided; write no more than the interval",
                    given.value,
                    value::show_duration(interval)
                )),
                _ => Ok(timeout),
            });
            problems.accept(timeout, &given.place, context)
        }
    };
    let rise = checked(problems, context, &given.rise, 1, |times| value::in_range("rise", *times, 1, u8::MAX));
    let fall = checked(problems, context, &given.fall, 1, |times| value::in_range("fall", *times, 1, u8::MAX));
    let start_delay = checked(problems, context, &given.start_delay, Duration::ZERO, |text| {
        bounded("start_delay", text, Duration::from_millis(1))
    });
    let jitter = checked(problems, context, &given.jitter, Duration::ZERO, |text| {
        let jitter = bounded("jitter", text, Duration::from_millis(1))?;
        match interval {
            Some(interval) if jitter > interval => Err(format!(
                "jitter {text:?} is longer than the interval, {}; write no more than that",
                value::show_duration(interval)
            )),
            _ => Ok(jitter),
        }
    });
    let (kind, interval, timeout, rise, fall) = (kind?, interval?, timeout?, rise?, fall?);
    let (start_delay, jitter) = (start_delay?, jitter?);
    let Some(kind) = kind else { return Some(None) };
    let port = port(given, kind, protocol, problems)?;
    let http = http(given, kind, problems)?;
    Some(Some(Health { kind, interval, timeout, rise, fall, start_delay, jitter, port, http }))
}

fn bounded(field: &str, text: &str, shortest: Duration) -> Result<Duration, String> {
    let time = value::short_duration(field, text)?;
    if time < shortest || time > LONGEST_INTERVAL {
        let (low, high) = (value::show_duration(shortest), value::show_duration(LONGEST_INTERVAL));
        return Err(format!("{field} {text:?} is out of range; write {low} to {high}"));
    }
    Ok(time)
}

/// Another port than the backend's.
fn port(given: &DraftHealth, kind: HealthKind, protocol: ServiceProtocol, problems: &Problems) -> Option<Option<u16>> {
    let context = &given.context;
    match &given.port {
        Some(port) if !kind.is_by_tcp() => {
            problems.report(
                &port.place,
                context,
                format_args!("port belongs to types tcp and http, and the type is {kind}"),
            );
            None
        }
        Some(port) => problems.accept(value::port(port.value), &port.place, context).map(Some),
        None if kind.is_by_tcp() && protocol == ServiceProtocol::Any => {
            let message = format_args!("type {kind} needs a port where the protocol is any; write port = 80");
            problems.report(&given.kind.place, context, message);
            None
        }
        None => Some(None),
    }
}

/// What is asked for and expected by HTTP.
fn http(given: &DraftHealth, kind: HealthKind, problems: &Problems) -> Option<Option<Arc<HttpCheck>>> {
    let context = &given.context;
    if kind != HealthKind::Http {
        let strings = [("path", &given.path), ("host", &given.host), ("body", &given.body)];
        let places = strings.iter().filter_map(|(key, given)| given.as_ref().map(|given| (*key, &given.place)));
        let status = given.status.iter().map(|given| {
            (
                "status",
                match given {
                    Ok(text) => &text.place,
                    Err(number) => &number.place,
                },
            )
        });
        let mut is_right = true;
        for (key, place) in places.chain(status) {
            is_right = false;
            problems.report(place, context, format_args!("{key} belongs to type http, and the type is {kind}"));
        }
        return is_right.then_some(None);
    }
    let path = checked(problems, context, &given.path, "/".to_owned(), |path| {
        let is_path =
            path.starts_with('/') && path.len() <= LONGEST_TEXT && path.bytes().all(|byte| byte.is_ascii_graphic());
        if is_path { Ok(path.clone()) } else { Err(format!("path {path:?} is none of a URL; write it as /health")) }
    });
    let host = checked(problems, context, &given.host, None, |host| {
        let is_host =
            !host.is_empty() && host.len() <= LONGEST_TEXT && host.bytes().all(|byte| byte.is_ascii_graphic());
        if is_host { Ok(Some(host.clone())) } else { Err(format!("host {host:?} is no name of a host")) }
    });
    let body = checked(problems, context, &given.body, None, |body| match body.len() {
        0 => Err("body is empty, and every body contains that; leave it out".to_owned()),
        len if len > LONGEST_TEXT => Err(format!("body is longer than {LONGEST_TEXT} bytes; write a part of it")),
        _ => Ok(Some(body.clone())),
    });
    let status = match &given.status {
        None => Some(vec![StatusRange { first: 200, last: 399 }]),
        Some(Err(number)) => problems.accept(one_status(number.value), &number.place, context).map(|range| vec![range]),
        Some(Ok(At { value, place })) => problems.accept(ranges(value), place, context),
    };
    Some(Some(Arc::new(HttpCheck { path: path?, host: host?, status: status?, body: body? })))
}

/// Ranges of status codes, such as `200-299,404`.
fn ranges(text: &str) -> Result<Vec<StatusRange>, String> {
    let wrong = || format!("status {text:?} is none; write it as 200, \"200-299\" or \"200,301-308\"");
    let code =
        |text: &str| text.trim().parse::<i128>().map_err(|_| wrong()).and_then(one_status).map(|range| range.first);
    let range = |text: &str| match text.split_once('-') {
        None => code(text).map(|code| StatusRange { first: code, last: code }),
        Some((first, last)) => {
            let (first, last) = (code(first)?, code(last)?);
            if first <= last { Ok(StatusRange { first, last }) } else { Err(wrong()) }
        }
    };
    text.split(',').map(range).collect()
}

fn one_status(code: i128) -> Result<StatusRange, String> {
    let code = value::in_range("status", code, 100_u16, 599)?;
    Ok(StatusRange { first: code, last: code })
}

/// What a type of probe needs from other parts.
pub(super) fn between_parts(draft: &Draft, config: &Config, problems: &Problems) {
    let one_way = config.services.iter().filter(|service| service.mode.is_one_way());
    let held: HashSet<IpAddr> = one_way.map(|service| service.vip).collect();
    let is_own = own_addresses(draft, config).iter().any(|(prefix, ..)| !held.contains(&prefix.addr()));
    for (given, service) in draft.services.iter().zip(&config.services) {
        match &service.health {
            Some(Health { kind: HealthKind::Arp, .. }) => arp_reaches_backends(given, config, service, problems),
            Some(health) if !is_own => probes_have_a_source(given, service, health, problems),
            _ => {}
        }
    }
}

/// ARP reaches whoever is on the link and answers.
fn arp_reaches_backends(given: &DraftService, config: &Config, service: &Service, problems: &Problems) {
    for (draft, backend) in given.backends.iter().zip(&service.backends) {
        if let Some(mac) = &draft.mac {
            let message = format_args!(
                "backend {} has a mac and is never asked for it, so health type arp would learn nothing; leave one of \
                 the two out, or use another type",
                backend.address
            );
            problems.report(&mac.place, &given.context, message);
        } else if interface::is_beyond_router(config, backend.address) {
            let message = format_args!(
                "backend {} is beyond a router, where health type arp cannot see it; write a backend in {}, or type icmp, \
                 tcp, http or none",
                backend.address,
                prefixes(config)
            );
            problems.report(&draft.address.place, &given.context, message);
        }
    }
}

/// A backend that holds the VIP ignores what comes from it; and a VIP whose ports are all the clients' has none for probes.
fn probes_have_a_source(given: &DraftService, service: &Service, health: &Health, problems: &Problems) {
    let (mode, kind) = (service.mode, health.kind);
    let why = if mode.is_one_way() {
        format!("in mode {mode}, where the backend holds the VIP itself")
    } else if service.protocol == ServiceProtocol::Any {
        "where the protocol is any, because all ports of the VIP are the clients'".to_owned()
    } else {
        return;
    };
    let place = given.extras.health.as_ref().map_or(&given.place, |health| &health.kind.place);
    let message = format_args!(
        "health type {kind} needs an own address to ask from {why}; write one in addresses of an [[interface]], or --address"
    );
    problems.report(place, &given.context, message);
}
