//! Which backends are probed, and what follows from one's going down or coming up: one line in the log, and a snapshot that
//! says so.

use std::collections::HashMap;
use std::sync::Arc;

use super::Line;
use super::ways::probe_source;
use crate::config::Config;
use crate::courier;
use crate::flow::Protocol;
use crate::health::{Change, Place, Subject, Target};
use crate::id::BackendId;
use crate::service::{Service, Snapshot};

/// All backends that are to be probed; those that drain as long as their service is.
pub(super) fn subjects(config: &Config, snapshot: &Snapshot) -> Vec<Subject> {
    let mut subjects = Vec::new();
    // Services that were removed come last, and are not configured.
    for (configured, (_, service)) in config.services.iter().zip(snapshot.services()) {
        let Some(health) = &configured.health else { continue };
        for id in service.all_backends() {
            let Some(backend) = snapshot.backend(id) else { continue };
            let target = match probe_source(config, configured, backend.address) {
                None if backend.neighbor.is_static() => continue,
                None => Target::Neighbor(Arc::clone(&backend.neighbor)),
                Some(source) => {
                    let one_way = configured.mode.is_one_way();
                    let destination = if one_way { configured.vip } else { backend.address };
                    let port = health.port.unwrap_or(backend.port);
                    let taken = courier::PORTS.filter(|port| snapshot.listens(source, Protocol::Tcp, *port)).collect();
                    Target::Place(Place { source, destination, port, taken })
                }
            };
            subjects.push(Subject { backend: id, target, health: health.clone() });
        }
    }
    subjects
}

/// `snapshot` with what has changed.
pub(super) fn changed(snapshot: &Snapshot, changes: &[Change]) -> Snapshot {
    let changes: HashMap<BackendId, bool> = changes.iter().map(|change| (change.backend, change.is_up)).collect();
    snapshot.with_liveness(|id| {
        let was_up = || snapshot.backend(id).is_some_and(|backend| backend.up);
        changes.get(&id).copied().unwrap_or_else(was_up)
    })
}

/// What the log says: each change, and which services have nobody left.
pub(super) fn news(before: &Snapshot, after: &Snapshot, changes: &[Change]) -> Vec<Line> {
    let mut lines = Vec::new();
    for Change { backend, is_up, reason } in changes {
        let Some(backend) = after.backend(*backend) else { continue };
        let service = after.service(backend.service).map_or("?", |service| &service.name);
        let address = backend.address;
        let address = if backend.port == 0 { address.to_string() } else { format!("{address}:{}", backend.port) };
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

fn nobody_left(service: &Service) -> Line {
    let text = format!("service {}: no server is up; packets of new connections are dropped", service.name);
    Line { level: log::Level::Error, text }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{self, HealthKind};
    use crate::control::publish;
    use crate::health::Reason;
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
        let port = Port { id: PortId(0), name: "test".to_owned(), mac: MacAddr([2; 6]), mtu: 1500 };
        publish(&config(), vec![port], 1).unwrap()
    }

    fn change(backend: u32, is_up: bool) -> Change {
        let silent = Reason::Silent { kind: HealthKind::Arp, timeout: Duration::from_secs(3), times: 1 };
        let reason = if is_up { Reason::Answers(HealthKind::Arp) } else { silent };
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
        let one = changed(&all, &[change(0, false)]);
        assert_eq!(
            texts(&all, &one, &[change(0, false)]),
            ["server down: service web, backend 10.0.0.2:80: no answer to ARP for 3s"]
        );
        let none = changed(&one, &[change(1, false)]);
        assert_eq!(
            texts(&one, &none, &[change(1, false)]),
            [
                "server down: service web, backend 10.0.0.3:8080: no answer to ARP for 3s",
                "service web: no server is up; packets of new connections are dropped",
            ]
        );
        let back = changed(&none, &[change(0, true)]);
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
