//! Asks leat's own validator about what was planned, so that the file is one that leat accepts.
//!
//! The validator judges whole files, so the services are tried together, and in halves where that fails: one that is
//! refused costs a few tries, not one for each service. What is refused stays in the file as a comment.

use super::emit::{self, Head};
use super::note::{self, Fate, Note};
use super::settle::{Item, Planned};
use crate::config::{Failure, file};

/// Marks the services that the validator refuses, or takes their health check away where that is enough.
///
/// # Errors
/// The own addresses or the port that were asked for are wrong themselves.
pub(super) fn admit(head: &Head<'_>, items: &mut [Item]) -> Result<(), Failure> {
    let mut accepted = emit::interface(head.wishes);
    validate(&accepted).map_err(|reason| note::failure(format_args!("--address or --port: {reason}")))?;
    let mut services: Vec<&mut Planned> = items
        .iter_mut()
        .filter_map(|item| match item {
            Item::Service(service) => Some(&mut **service),
            Item::Note(_) => None,
        })
        .collect();
    if head.wishes.addresses.is_empty() {
        services
            .iter_mut()
            .filter(|service| service.forward.mode().is_tunnel())
            .for_each(|service| without_source(service));
        services.retain(|service| service.refused.is_none());
    }
    try_all(&mut services, &mut accepted);
    Ok(())
}

/// IPVS sends its tunnels from any address of the host; the input does not say which.
fn without_source(service: &mut Planned) {
    let reason = format!(
        "mode {} needs an own address of leat's to send its tunnels from; import it again with --address ADDR/LEN, or write \
         an [[interface]] and take the # away",
        service.forward.mode()
    );
    service.refused = Some(Note::new(&service.place, &service.title, Fate::LeftOut, reason));
}

/// Appends to `accepted` those of the services that the validator accepts beside them.
fn try_all(services: &mut [&mut Planned], accepted: &mut String) {
    if services.is_empty() {
        return;
    }
    let before = accepted.len();
    for service in services.iter() {
        accepted.push_str(&emit::service(service, validated_health(service)));
    }
    let Err(reason) = validate(accepted) else { return };
    accepted.truncate(before);
    match services {
        [service] => alone(service, accepted, &reason),
        _ => {
            let (first, second) = services.split_at_mut(services.len() / 2);
            try_all(first, accepted);
            try_all(second, accepted);
        }
    }
}

/// A service that is refused as it is.
fn alone(service: &mut Planned, accepted: &mut String, reason: &str) {
    let before = accepted.len();
    let about = |what: &str| format!("{}{what}", service.title);
    if let Some(check) = &service.health
        && check.probe.kind.is_validated()
    {
        accepted.push_str(&emit::service(service, None));
        if validate(accepted).is_ok() {
            let what = format!(": {}", check.title);
            service.unprobed = Some(Note::new(&check.place, about(&what), Fate::LeftOut, reason));
            service.health = None;
            return;
        }
        accepted.truncate(before);
    }
    service.refused = Some(Note::new(&service.place, about(""), Fate::LeftOut, reason));
}

fn validated_health(service: &Planned) -> Option<&super::check::Probe> {
    service.health.as_ref().map(|check| &check.probe).filter(|probe| probe.kind.is_validated())
}

/// The first thing that is wrong, without a place in a file that nobody has seen.
fn validate(text: &str) -> Result<(), String> {
    const NAME: &str = "file";
    let Err(failure) = file::load(NAME, text.as_bytes()) else { return Ok(()) };
    let first = failure.message.lines().next().unwrap_or_default();
    let said = first.strip_prefix("leat: ").unwrap_or(first);
    // `file:12:8: service 3, backend 1: address …`
    let said = said.strip_prefix(NAME).map_or(said, |rest| rest.split_once(": ").map_or(rest, |(_, said)| said));
    let said = match said.split_once(": ") {
        Some((context, said)) if context.starts_with("service ") || context.starts_with("interface ") => said,
        _ => said,
    };
    Err(said.to_owned())
}
