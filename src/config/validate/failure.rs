//! The rules of what happens when something is missing: a backend that fails, a connection that is not known.

use std::time::Duration;

use super::super::draft::{Draft, DraftService};
use super::super::problem::Problems;
use super::super::{Config, DEFAULT_HEALTH_INTERVAL, DEFAULT_HEALTH_TIMEOUT, Health, HealthKind, Service, value};
use super::checked;
use super::interface::{self, prefixes};
use crate::service::{Mode, NoConnection, OnFailure};

/// `None` is none.
const HEALTH_TYPES: [(&str, Option<HealthKind>); 2] = [("none", None), ("arp", Some(HealthKind::Arp))];
const LATER_HEALTH_TYPES: [&str; 3] = ["icmp", "tcp", "http"];

/// Probes come no faster than this, and an answer gets at least as long.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How backends are probed.
pub(super) fn health(draft: &DraftService, problems: &Problems) -> Option<Option<Health>> {
    let Some(given) = &draft.extras.health else { return Some(None) };
    let context = &given.context;
    let kind = value::choice("type", &given.kind.value, &HEALTH_TYPES, &LATER_HEALTH_TYPES);
    let kind = problems.accept(kind, &given.kind.place, context);
    let interval = checked(problems, context, &given.interval, DEFAULT_HEALTH_INTERVAL, |text| {
        bounded("interval", text, LONGEST_INTERVAL)
    });
    let timeout = match &given.timeout {
        // What is shorter than the default is made for a short interval, and needs no second key.
        None => Some(interval.unwrap_or_default().min(DEFAULT_HEALTH_TIMEOUT)),
        Some(given) => {
            let timeout = bounded("timeout", &given.value, LONGEST_INTERVAL).and_then(|timeout| match interval {
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
    let (kind, interval, timeout, rise, fall) = (kind?, interval?, timeout?, rise?, fall?);
    Some(kind.map(|kind| Health { kind, interval, timeout, rise, fall }))
}

fn bounded(field: &str, text: &str, longest: Duration) -> Result<Duration, String> {
    let time = value::short_duration(field, text)?;
    if time < SHORTEST || time > longest {
        let (low, high) = (value::show_duration(SHORTEST), value::show_duration(longest));
        return Err(format!("{field} {text:?} is out of range; write {low} to {high}"));
    }
    Ok(time)
}

/// What becomes of a failed backend's connections.
pub(super) fn on_failure(draft: &DraftService, mode: Mode, problems: &Problems) -> Option<OnFailure> {
    let known = [OnFailure::Keep, OnFailure::Move].map(|what| (what.name(), what));
    checked(problems, &draft.context, &draft.extras.on_failure, OnFailure::default(), |text| {
        match value::choice("on_failure", text, &known, &["reset"])? {
            OnFailure::Move if mode == Mode::Fullnat => Err(
                "on_failure \"move\" is for nat and the one-way modes, and the mode is fullnat, whose connections have \
                 a source port at their backend; write keep"
                    .to_owned(),
            ),
            what => Ok(what),
        }
    })
}

/// What becomes of a segment without SYN that belongs to no connection.
pub(super) fn no_connection(draft: &DraftService, mode: Mode, problems: &Problems) -> Option<NoConnection> {
    let known = [NoConnection::Drop, NoConnection::Schedule].map(|what| (what.name(), what));
    checked(problems, &draft.context, &draft.extras.no_connection, NoConnection::default_of(mode), |text| {
        match value::choice("no_connection", text, &known, &["reset"])? {
            NoConnection::Schedule if mode == Mode::Fullnat => {
                Err("no_connection \"schedule\" in mode fullnat is not in this version; drop is".to_owned())
            }
            what => Ok(what),
        }
    })
}

/// ARP reaches whoever is on the link and answers.
pub(super) fn between_parts(draft: &Draft, config: &Config, problems: &Problems) {
    for (given, service) in draft.services.iter().zip(&config.services) {
        if service.health.is_some_and(|health| health.kind == HealthKind::Arp) {
            arp_reaches_backends(given, config, service, problems);
        }
    }
}

fn arp_reaches_backends(given: &DraftService, config: &Config, service: &Service, problems: &Problems) {
    for (draft, backend) in given.backends.iter().zip(&service.backends) {
        if let Some(mac) = &draft.mac {
            let message = format_args!(
                "backend {} has a mac and is never asked for it, so health type arp would learn nothing; leave one of \
                 the two out",
                backend.address
            );
            problems.report(&mac.place, &given.context, message);
        } else if interface::is_beyond_router(config, backend.address) {
            let message = format_args!(
                "backend {} is beyond a router, where health type arp cannot see it; write a backend in {}, or type none",
                backend.address,
                prefixes(config)
            );
            problems.report(&draft.address.place, &given.context, message);
        }
    }
}
