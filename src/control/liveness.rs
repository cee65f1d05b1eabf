//! Which backends are probed, and what follows from one's going down or coming up: one line in the log, and a snapshot that
//! says so.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Line;
use super::ways::probe_source;
use crate::config::Config;
use crate::flow::Endpoint;
use crate::health::{Change, Place, Report, Subject, Target};
use crate::id::{BackendId, ServiceId};
use crate::service::{Service, Snapshot};

/// All backends that are to be probed; those that drain as long as their service is.
pub(super) fn subjects(config: &Config, snapshot: &Snapshot) -> Vec<Subject> {
    let (mut subjects, taken) = (Vec::new(), snapshot.taken_probe_ports());
    // Services that were removed come last, and are not configured.
    for (configured, (_, service)) in config.services.iter().zip(snapshot.services()) {
        let Some(health) = &configured.health else { continue };
        for id in service.all_backends() {
            let Some(backend) = snapshot.backend(id) else { continue };
            let target = match probe_source(config, snapshot.given_up(), configured, backend.address) {
                None if backend.neighbor.is_static() => continue,
                None => Target::Neighbor(Arc::clone(&backend.neighbor)),
                // The answer would go to whoever has the address now.
                Some(source) if snapshot.is_silent(source) || snapshot.given_up().contains_key(&source) => continue,
                Some(source) => {
                    let one_way = configured.mode.is_one_way();
                    let destination = if one_way { configured.vip } else { backend.address };
                    let port = health.port.unwrap_or(backend.port);
                    let taken = taken.get(&source).cloned().unwrap_or_default();
                    Target::Place(Place { source, destination, port, taken })
                }
            };
            subjects.push(Subject { backend: id, target, health: health.clone() });
        }
    }
    subjects
}

/// Services that use all of their backends because too few are alive, with how many are, and how many there are.
pub(super) type Panics = BTreeMap<ServiceId, (usize, usize)>;

/// Which backends are taken as down, and which services panic, by what `report` says.
pub(super) fn liveness(config: &Config, snapshot: &Snapshot, report: &Report) -> (HashSet<BackendId>, Panics) {
    let (mut down, mut panics) = (HashSet::new(), Panics::new());
    for (configured, (id, service)) in config.services.iter().zip(snapshot.services()) {
        if configured.health.is_none() {
            continue;
        }
        let is_down = |backend: &BackendId| report.of(*backend).is_some_and(|health| !health.is_up);
        let has_weight = |id: &&BackendId| snapshot.backend(**id).is_some_and(|backend| backend.weight > 0);
        let all = service.backends.iter().filter(has_weight).count();
        let alive = service.backends.iter().filter(has_weight).filter(|backend| !is_down(backend)).count();
        match configured.panic {
            Some(share) if alive * 100 < all * usize::from(share) => drop(panics.insert(id, (alive, all))),
            _ => down.extend(service.all_backends().filter(is_down)),
        }
    }
    (down, panics)
}

/// `snapshot` where those of `config`'s backends are down that `down` names; nothing if they are already.
pub(super) fn changed(config: &Config, snapshot: &Snapshot, down: &HashSet<BackendId>) -> Option<Snapshot> {
    let services = config.services.iter().zip(snapshot.services()).map(|(_, (_, service))| service);
    let known: HashSet<BackendId> = services.flat_map(Service::all_backends).collect();
    let was_up = |id: BackendId| snapshot.backend(id).is_some_and(|backend| backend.up);
    let is_up = |id: BackendId| if known.contains(&id) { !down.contains(&id) } else { was_up(id) };
    known.iter().any(|id| was_up(*id) != is_up(*id)).then(|| snapshot.with_liveness(is_up))
}

/// What the log says: each change, which services have nobody left, and which panic.
pub(super) fn news(before: &Snapshot, after: &Snapshot, changes: &[Change]) -> Vec<Line> {
    let mut lines = Vec::new();
    for Change { backend, is_up, reason } in changes {
        let Some(backend) = after.backend(*backend) else { continue };
        let service = after.service(backend.service).map_or("?", |service| &service.name);
        let address = Endpoint(backend.address, backend.port);
        let (level, what) = if *is_up { (log::Level::Info, "up") } else { (log::Level::Warn, "down") };
        lines.push(Line { level, text: format!("server {what}: service {service}, backend {address}: {reason}") });
    }
    for (id, service) in after.services() {
        if before.takes_connections(id) && !after.takes_connections(id) {
            lines.push(nobody_left(service));
        }
    }
    lines
}

/// What the log says of services that begin or cease to panic.
pub(super) fn panic_news(before: &Panics, after: &Panics, snapshot: &Snapshot) -> Vec<Line> {
    let name = |id: &ServiceId| snapshot.service(*id).map_or("?", |service| &service.name);
    let begun = after.iter().filter(|(id, _)| !before.contains_key(id)).map(|(id, (alive, all))| Line {
        level: log::Level::Error,
        text: format!("service {}: only {alive} of {all} servers are up, so all of them are used (panic)", name(id)),
    });
    let over = before.keys().filter(|id| !after.contains_key(id)).map(|id| Line {
        level: log::Level::Info,
        text: format!("service {}: enough servers are up again; those that are down are left out", name(id)),
    });
    begun.chain(over).collect()
}

fn nobody_left(service: &Service) -> Line {
    let text = format!("service {}: no server is up; packets of new connections are dropped", service.name);
    Line { level: log::Level::Error, text }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config;
    use crate::control::publish;
    use crate::health::{Question, Reason};
    use crate::id::PortId;
    use crate::service::Port;
    use crate::wire::MacAddr;

    const PROBED: &str = "[[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 80\nhealth = { type = \"arp\" }\n\
                          backend = [{ address = \"10.0.0.2\" }, { address = \"10.0.0.3\", port = 8080 }]\n\
                          [[service]]\nname = \"dns\"\nvip = \"10.0.0.10\"\nport = 53\nprotocol = \"udp\"\n\
                          backend = [{ address = \"10.0.0.2\" }]\n";

    fn config() -> Config {
        config::file::load("test.toml", PROBED.as_bytes()).unwrap_or_else(|error| panic!("{error}")).config
    }

    fn snapshot() -> Snapshot {
        let port = Port { id: PortId(0), name: "test".to_owned(), mac: MacAddr([2; 6]), mtu: 1500, vlan: None };
        publish(&config(), vec![port], 1).unwrap()
    }

    fn change(backend: u32, is_up: bool) -> Change {
        let silent = Reason::Silent { question: Question::Arp, timeout: Duration::from_secs(3), times: 1 };
        let reason = if is_up { Reason::Answers(Question::Arp) } else { silent };
        Change { backend: BackendId(backend), is_up, reason }
    }

    fn texts(before: &Snapshot, after: &Snapshot, changes: &[Change]) -> Vec<String> {
        news(before, after, changes).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn only_backends_of_services_with_a_checker_are_probed() {
        let snapshot = snapshot();
        let probed: Vec<_> = subjects(&config(), &snapshot).iter().map(|subject| subject.backend.0).collect();
        assert_eq!(probed, [0, 1]);
    }

    #[test]
    fn each_change_is_a_line_and_so_is_a_service_that_has_nobody_left() {
        let all = snapshot();
        let changed = |before: &Snapshot, change: Change| {
            let is_down = |(id, backend): (BackendId, &crate::service::Backend)| {
                let is_up = if id == change.backend { change.is_up } else { backend.up };
                (!is_up).then_some(id)
            };
            super::changed(&config(), before, &before.backends().filter_map(is_down).collect()).unwrap()
        };
        let one = changed(&all, change(0, false));
        assert_eq!(
            texts(&all, &one, &[change(0, false)]),
            ["server down: service web, backend 10.0.0.2:80: no answer to ARP for 3s"]
        );
        let none = changed(&one, change(1, false));
        assert_eq!(
            texts(&one, &none, &[change(1, false)]),
            [
                "server down: service web, backend 10.0.0.3:8080: no answer to ARP for 3s",
                "service web: no server is up; packets of new connections are dropped",
            ]
        );
        let back = changed(&none, change(0, true));
        assert_eq!(
            texts(&none, &back, &[change(0, true)]),
            ["server up: service web, backend 10.0.0.2:80: answers ARP"]
        );
        let up = |snapshot: &Snapshot| snapshot.backends().map(|(_, backend)| backend.up).collect::<Vec<_>>();
        assert_eq!(up(&none), [false, false, true], "a service that is not probed keeps its backends");
        assert_eq!(up(&back), [true, false, true]);
        assert!(back.is_same_but_for_liveness(&all) && !back.is_same_but_for_liveness(&self::snapshot()));
    }
}
