//! The configuration that runs: how it changes, who of its backends is alive, and when what was removed is gone.
//!
//! [`Running::apply`] is the one way to another configuration, whoever asks for it. It changes all or nothing: what is
//! wrong with the new one is found out before anything is touched.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::given_up;
use super::liveness::{Panics, changed, liveness, news, panic_news, subjects};
use super::ramp::Ramps;
use super::{Delivery, Line, PublishError, Publisher, Vips, wanted_ports};
use crate::config::{self, Config};
use crate::courier::Courier;
use crate::flow::Endpoint;
use crate::health::{Change, Checker, Report};
use crate::id::{BackendId, ServiceId};
use crate::service::{Current, Snapshot};
use crate::time::Instant;

/// How often it is looked whether what drains is empty.
const LOOK: Duration = Duration::from_secs(1);

/// Why a configuration cannot take the place of the one that runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It differs in what cannot change while leat runs.
    #[error("{key}: {runs} runs, and the new configuration says {wanted}; this needs a restart")]
    NeedsRestart {
        /// The key in the file.
        key: &'static str,
        /// What runs.
        runs: String,
        /// What is asked for.
        wanted: String,
    },
    /// It does not fit the ports, or what runs.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// In what a configuration differs from the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Services that are new, that are gone, and that are there still and otherwise than before.
    pub services: Counts,
    /// The same for the backends of all services.
    pub backends: Counts,
    /// Whether anything else has changed.
    pub is_more: bool,
}

/// How many of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// New ones.
    pub added: usize,
    /// Those that are gone.
    pub removed: usize,
    /// Those that are there still, and otherwise.
    pub changed: usize,
}

/// What runs.
#[derive(Debug)]
pub struct Running {
    config: Config,
    publisher: Publisher,
    checker: Checker,
    delivery: Delivery,
    vips: Vips,
    ramps: Ramps,
    panics: Panics,
    next_look: Instant,
}

impl Running {
    /// `config` runs, as the snapshot that `delivery` begins with, which `publisher` made of it; `courier` brings health checks
    /// to the first worker.
    pub fn new(config: Config, publisher: Publisher, delivery: Delivery, courier: Arc<Courier>, now: Instant) -> Self {
        let snapshot = delivery.current().load();
        let checker = Checker::new(subjects(&config, &snapshot), Arc::clone(snapshot.bell()), courier, now);
        let vips = Vips::at_start(&config);
        let (ramps, panics) = (Ramps::default(), Panics::default());
        Self { config, publisher, checker, delivery, vips, ramps, panics, next_look: now }
    }

    /// The configuration that runs.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The snapshot that runs.
    pub const fn current(&self) -> &Arc<Current> {
        self.delivery.current()
    }

    /// What is thought of the backends.
    pub const fn report(&self) -> &Arc<Report> {
        self.checker.report()
    }

    /// Has `config` run instead, and says what that changes; what it does not change is not touched. Connections keep
    /// their backends; those of what is gone go on until they end.
    ///
    /// # Errors
    ///
    /// As [`ApplyError`] says. Nothing has changed then.
    pub fn apply(&mut self, config: Config, now: Instant) -> Result<Difference, ApplyError> {
        fixed(&self.config, &config, &self.publisher)?;
        let difference = Difference::between(&self.config, &config);
        if difference == Difference::default() {
            // Its lines may have moved.
            self.config = config;
            return Ok(difference);
        }
        let vips = self.vips.after_reload(&self.config, &config);
        self.run(config, vips, now)?;
        Ok(difference)
    }

    /// Announces `vip`, or withdraws it; all VIPs if none is named. Whether there is such a VIP, and that changes anything.
    ///
    /// # Errors
    ///
    /// As [`ApplyError`] says. Nothing has changed then.
    pub fn set_announced(
        &mut self,
        vip: Option<IpAddr>,
        is_announced: bool,
        now: Instant,
    ) -> Result<Option<bool>, ApplyError> {
        let Some(vips) = self.vips.with(&self.config, vip, is_announced) else { return Ok(None) };
        let is_change = vips != self.vips;
        if is_change {
            self.run(self.config.clone(), vips, now)?;
        }
        Ok(Some(is_change))
    }

    /// Tells the link of all of leat's addresses once more: it may be another one now.
    pub fn announce_again(&self) {
        let snapshot = self.current().load();
        snapshot.announced().iter().for_each(|announced| announced.announce_again());
        snapshot.bell().ring();
    }

    /// Has `config` run, with these VIPs.
    fn run(&mut self, config: Config, vips: Vips, now: Instant) -> Result<(), ApplyError> {
        let before = self.current().load();
        let mut given_up = self.publisher.given_up().clone();
        given_up.extend(given_up::found(&before));
        let given_up = given_up::still_there(&given_up, &config);
        let given_up_before = self.publisher.set_given_up(given_up);
        self.publisher.set_silent(vips.silent(&config));
        let snapshot = match self.publisher.publish(&config, &before, now) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.publisher.set_given_up(given_up_before);
                self.publisher.set_silent(self.vips.silent(&self.config));
                return Err(error.into());
            }
        };
        for line in given_up::news(snapshot.given_up(), &given_up_before) {
            line.log();
        }
        self.checker.adopt(subjects(&config, &snapshot), now);
        self.delivery.deliver(snapshot);
        (self.config, self.vips) = (config, vips);
        self.follow_health();
        // What is made of the configuration gives each backend its whole share.
        self.ramps.touch();
        Ok(())
    }

    /// Has the packets follow what is thought of the backends now.
    fn follow_health(&mut self) {
        let before = self.current().load();
        let (down, panics) = liveness(&self.config, &before, self.checker.report());
        for line in panic_news(&self.panics, &panics, &before) {
            line.log();
        }
        self.panics = panics;
        if let Some(after) = changed(&self.config, &before, &down) {
            self.delivery.deliver(after);
        }
    }

    /// Goes on with the slow starts, of which `changes` may begin and end some.
    fn ramp(&mut self, changes: Vec<Change>, now: Instant) {
        let before = self.current().load();
        let services = self.config.services.iter().zip(before.services());
        let times: HashMap<ServiceId, Duration> =
            services.filter_map(|(configured, (id, _))| Some((id, configured.slow_start?))).collect();
        let service_of = |id| before.backend(id).map(|backend| backend.service);
        let time_of = |id| times.get(&service_of(id)?).copied();
        for Change { backend, is_up, .. } in changes {
            if !is_up {
                self.ramps.end(backend);
            } else if time_of(backend).is_some() {
                self.ramps.begin(backend, now);
            }
        }
        let touched: HashSet<ServiceId> = self.ramps.advance(now, time_of).into_iter().filter_map(service_of).collect();
        if !touched.is_empty() {
            let after = self.publisher.reweigh(&before, |id| touched.contains(&id), |id| self.ramps.share(id));
            self.delivery.deliver(after);
        }
    }

    /// What [`Self::apply`] would change.
    ///
    /// # Errors
    ///
    /// [`ApplyError::NeedsRestart`], as [`Self::apply`] would say. Whether the rest fits the ports is found out only then.
    pub fn compare(&self, config: &Config) -> Result<Difference, ApplyError> {
        fixed(&self.config, config, &self.publisher)?;
        Ok(Difference::between(&self.config, config))
    }

    /// Does what is due.
    pub fn tend(&mut self, now: Instant) {
        self.delivery.tend();
        let changes = self.checker.poll(now);
        if !changes.is_empty() {
            let before = self.current().load();
            self.follow_health();
            for line in news(&before, &self.current().load(), &changes) {
                line.log();
            }
        }
        if !changes.is_empty() || !self.ramps.is_empty() {
            self.ramp(changes, now);
        }
        if now >= self.next_look {
            self.next_look = now + LOOK;
            self.let_go(now);
            self.give_up(now);
        }
    }

    /// Takes out of use the addresses that somebody else turned out to have.
    fn give_up(&mut self, now: Instant) {
        if given_up::found(&self.current().load()).is_empty() {
            return;
        }
        if let Err(error) = self.run(self.config.clone(), self.vips.clone(), now) {
            log::error!("an address that another station has stays in use: {error}");
        }
    }

    /// Whether every worker has taken over what runs; [`Self::tend`] finds out.
    pub fn is_settled(&self) -> bool {
        self.delivery.is_settled()
    }

    /// Whether [`Self::tend`] need not be called more often than once a second.
    pub fn is_idle(&self) -> bool {
        self.checker.is_idle() && self.delivery.is_settled()
    }

    /// Whether [`Self::tend`] is to be called again very soon: a health check waits for an answer to answer it in turn.
    pub fn is_talking(&self) -> bool {
        self.checker.is_talking()
    }

    /// Lets backends go that drained and are empty, and with them the services that were removed.
    fn let_go(&mut self, now: Instant) {
        // Who has not taken over the newest snapshot may still open connections of a backend that drains in it.
        if !self.delivery.is_settled() {
            return;
        }
        let snapshot = self.current().load();
        let is_empty = |id: &BackendId| snapshot.backend(*id).is_some_and(|backend| backend.connections() == 0);
        let draining = snapshot.services().flat_map(|(_, service)| &service.draining).copied();
        let drained: Vec<BackendId> = draining.filter(is_empty).collect();
        let is_over = snapshot.services().any(|(_, service)| service.is_removed && service.draining.is_empty());
        if drained.is_empty() && !is_over {
            return;
        }
        for line in farewell(&snapshot, &drained) {
            line.log();
        }
        let snapshot = self.publisher.without(&snapshot, &drained, now);
        self.checker.adopt(subjects(&self.config, &snapshot), now);
        self.delivery.deliver(snapshot);
    }
}

/// What the log says of backends that are gone now.
fn farewell(snapshot: &Snapshot, drained: &[BackendId]) -> Vec<Line> {
    let backends = drained.iter().filter_map(|id| snapshot.backend(*id));
    let text = backends.map(|backend| {
        let service = snapshot.service(backend.service).map_or("?", |service| &service.name);
        let address = Endpoint(backend.address, backend.port);
        format!("drained: service {service}, backend {address} has no connection left and is gone")
    });
    text.map(|text| Line { level: log::Level::Info, text }).collect()
}

/// Refuses what cannot change while leat runs.
fn fixed(runs: &Config, wanted: &Config, publisher: &Publisher) -> Result<(), ApplyError> {
    let refuse = |key, runs: String, wanted: String| Err(ApplyError::NeedsRestart { key, runs, wanted });
    if runs.mac != wanted.mac {
        return refuse("mac", runs.mac.to_string(), wanted.mac.to_string());
    }
    if runs.api != wanted.api {
        return refuse("api", runs.api.to_string(), wanted.api.to_string());
    }
    if runs.api_token_file != wanted.api_token_file {
        let shown = |path: &Option<std::path::PathBuf>| {
            path.as_ref().map_or("none".to_owned(), |path| path.display().to_string())
        };
        return refuse("api_token_file", shown(&runs.api_token_file), shown(&wanted.api_token_file));
    }
    if runs.metrics != wanted.metrics {
        let shown = |metrics: Option<std::net::SocketAddr>| metrics.map_or("none".to_owned(), |it| it.to_string());
        return refuse("metrics", shown(runs.metrics), shown(wanted.metrics));
    }
    if runs.user != wanted.user {
        let shown = |user: &Option<String>| user.clone().unwrap_or_else(|| "none".to_owned());
        return refuse("user", shown(&runs.user), shown(&wanted.user));
    }
    if runs.connections != wanted.connections {
        return refuse("connections", runs.connections.to_string(), wanted.connections.to_string());
    }
    if runs.buffers != wanted.buffers {
        return refuse("buffers", runs.buffers.to_string(), wanted.buffers.to_string());
    }
    let used = wanted_ports(wanted, publisher.ports().to_vec());
    if used.as_ref().is_ok_and(|used| used.len() == publisher.ports().len()) {
        return Ok(());
    }
    if let Err(error @ PublishError::SamePort { .. }) = used {
        return Err(error.into());
    }
    let runs: Vec<_> = publisher.ports().iter().map(|port| format!("{} ({})", port.name, port.id.0)).collect();
    let wanted: Vec<_> = wanted.interfaces.iter().map(|interface| interface.port.to_string()).collect();
    refuse("[[interface]] port", runs.join(", "), wanted.join(", "))
}

impl Difference {
    fn between(before: &Config, after: &Config) -> Self {
        let mut difference = Self::default();
        let service_key = |service: &config::Service| (service.vip, service.protocol, service.port);
        let mut old: HashMap<_, _> = before.services.iter().map(|service| (service_key(service), service)).collect();
        let mut is_same_order = before.services.len() == after.services.len();
        for (place, service) in after.services.iter().enumerate() {
            let Some(known) = old.remove(&service_key(service)) else {
                difference.services.added += 1;
                difference.backends.added += service.backends.len();
                continue;
            };
            difference.services.changed += usize::from(known != service);
            difference.backends.add(&backends_between(known, service));
            is_same_order &= before.services.get(place).is_some_and(|other| service_key(other) == service_key(service));
        }
        difference.services.removed = old.len();
        difference.backends.removed += old.values().map(|service| service.backends.len()).sum::<usize>();
        let is_same_order = is_same_order || difference.services.added + difference.services.removed > 0;
        difference.is_more = !is_same_order || rest(before) != rest(after);
        difference
    }
}

fn backends_between(before: &config::Service, after: &config::Service) -> Counts {
    let key = |backend: &config::Backend| (backend.address, backend.port);
    let mut old: HashMap<_, _> = before.backends.iter().map(|backend| (key(backend), backend)).collect();
    let mut counts = Counts::default();
    for backend in &after.backends {
        match old.remove(&key(backend)) {
            None => counts.added += 1,
            Some(known) => counts.changed += usize::from(known != backend),
        }
    }
    Counts { removed: old.len(), ..counts }
}

/// All but the services, and but the lines that the rest stands in.
fn rest(config: &Config) -> Config {
    let mut rest = Config { services: Vec::new(), ..config.clone() };
    for interface in &mut rest.interfaces {
        interface.place.clear();
    }
    rest
}

impl Counts {
    const fn add(&mut self, other: &Self) {
        self.added += other.added;
        self.removed += other.removed;
        self.changed += other.changed;
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::default() {
            return f.write_str("nothing has changed");
        }
        let counts = |Counts { added, removed, changed }: &Counts| {
            format!("{added} added, {removed} removed, {changed} changed")
        };
        write!(f, "services: {}; backends: {}", counts(&self.services), counts(&self.backends))?;
        if self.is_more { f.write_str("; other settings have changed") } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "running_tests.rs"]
mod tests;
