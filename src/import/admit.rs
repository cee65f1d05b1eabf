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
        accepted.push_str(&emit::service(service, service.health.as_ref().map(|check| &check.probe)));
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
    let mut reason = reason.to_owned();
    if let Some(check) = &service.health {
        accepted.push_str(&emit::service(service, None));
        match validate(accepted) {
            Ok(()) => {
                let about = format!("{}: {}", service.title, check.title);
                service.unprobed = Some(Note::new(&check.place, about, Fate::LeftOut, reason));
                service.health = None;
                return;
            }
            Err(other) => reason = other,
        }
        accepted.truncate(before);
    }
    service.refused = Some(Note::new(&service.place, &service.title, Fate::LeftOut, reason));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Wishes;
    use super::super::check::{Check, Kind, Probe};
    use super::super::found::Forward;
    use super::super::note::Place;
    use super::super::settle::Backend;
    use super::*;
    use crate::scheduler::Algorithm;
    use crate::service::ServiceProtocol;

    fn place() -> Place {
        Place { file: "x".into(), line: 7 }
    }

    /// A service of a VIP that ends in `last`, whose interval no validator takes.
    fn service(last: u8, health: bool) -> Item {
        let interval = Duration::from_millis(1);
        let probe = Probe { kind: Kind::Tcp, interval, timeout: interval, fall: 1, port: None };
        let backend =
            Backend { place: place(), address: [10, 0, 0, 1].into(), port: 80, weight: 1, max_connections: None };
        Item::Service(Box::new(Planned {
            place: place(),
            title: format!("server {last}"),
            name: None,
            vip: [192, 0, 2, last].into(),
            protocol: ServiceProtocol::Tcp,
            port: 80,
            forward: Forward::Nat,
            scheduler: Algorithm::RoundRobin,
            persistence: None,
            one_packet: false,
            health: health.then(|| Check { place: place(), title: "TCP_CHECK".to_owned(), probe }),
            backends: vec![backend],
            refused: None,
            unprobed: None,
        }))
    }

    fn admitted(mut items: Vec<Item>, address: &str) -> Vec<Item> {
        let wishes = Wishes { addresses: vec![address.parse().unwrap()], ..Wishes::default() };
        let head = Head { from: "ipvsadm", name: "x", wishes: &wishes };
        admit(&head, &mut items).unwrap();
        items
    }

    #[test]
    fn a_health_check_that_is_refused_does_not_take_its_service_along() {
        let items = admitted(vec![service(1, false), service(2, true), service(3, false)], "10.0.0.254/24");
        assert_eq!(items.iter().filter_map(Item::live).count(), 3);
        let notes: Vec<String> = items.iter().flat_map(Item::notes).map(ToString::to_string).collect();
        assert!(notes.len() == 1 && notes[0].starts_with("x:7: server 2: TCP_CHECK: left out: "), "{notes:?}");
        let Item::Service(second) = &items[1] else { panic!("{items:?}") };
        assert!(second.health.is_none());
    }

    #[test]
    fn what_the_validator_refuses_stays_as_a_comment_with_its_reason() {
        let items = admitted(vec![service(1, false), service(255, true), service(3, false)], "192.0.2.254/24");
        let live: Vec<_> = items.iter().filter_map(Item::live).map(|service| service.title.as_str()).collect();
        assert_eq!(live, ["server 1", "server 3"]);
        let notes: Vec<String> = items.iter().flat_map(Item::notes).map(ToString::to_string).collect();
        assert_eq!(
            notes,
            [
                "x:7: server 255: left out: vip 192.0.2.255 is the broadcast address of 192.0.2.0/24; write the address of one host"
            ]
        );
    }
}
