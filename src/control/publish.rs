//! From the configuration and the ports that there are to the snapshot that workers see.
//!
//! This is where names become numbers, where each backend gets its next hop, and where the two meet that only the
//! running machine knows together: what was asked for, and which ports exist.
//!
//! A configuration that follows another takes over what both have. A service is the same when it has the same VIP, protocol,
//! port and mode, and all the local addresses from before; a backend, when it has the same address and port in the same
//! service. What is the same keeps its number, counters, next hop and health. What is gone *drains*: it stays as long as
//! a worker has connections of it, and takes no new ones.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::numbers::Numbers;
use super::ramp::STEPS;
use super::ways::{
    GivenUp, NOBODY, NextHops, Tunnels, asker_by_backend, interfaces, own_addresses, probe_source, routes,
};
use crate::config::{self, Config};
use crate::counters::per_worker;
use crate::id::{BackendId, ServiceId};
use crate::neighbor::Neighbor;
use crate::scheduler::{Algorithm, Member, Schedule, ScheduleError, TableSize};
use crate::service::{Backend, Mode, Parts, Port, Service, ServiceProtocol, Snapshot};
use crate::time::{Instant, Tick};

/// Why a configuration cannot be run on these ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There is nothing to receive packets from.
    #[error("there is no port: give EAL one, such as --vdev=net_tap0, or bind a network card to a driver of DPDK's")]
    NoPort,
    /// An `[[interface]]` names a port that does not exist.
    #[error("{place}: [[interface]] port = {name:?}: there is no such port; there is {there_is}")]
    UnknownPort {
        /// Where the file says so.
        place: String,
        /// What it is called in the file.
        name: String,
        /// The ports that exist.
        there_is: String,
    },
    /// There are no numbers left for VLANs.
    #[error("more than 192 VLANs; write fewer [[interface]] with vlan")]
    TooManyVlans,
    /// Two `[[interface]]` mean the same port.
    #[error("{place}: [[interface]] port = {name:?}: another [[interface]] is the same port; write one for each port")]
    SamePort {
        /// Where the file says so.
        place: String,
        /// What it is called in the file.
        name: String,
    },
    /// A service's members do not fit its scheduler.
    #[error("service {service:?}: {error}")]
    Schedule {
        /// The service.
        service: String,
        /// Why not.
        error: ScheduleError,
    },
    /// More services than numbers for them.
    #[error("more than 65536 services, those that were removed and still have connections included")]
    TooManyServices,
    /// The connections of a service cannot be dealt out to the workers in another way.
    #[error(
        "service {service:?}: persistence, a limit of clients, or mode nat, for a VIP and port that were served without: on several lcores this \
         needs a restart, because the connections that there are would not be found"
    )]
    Ownership {
        /// The service.
        service: String,
    },
}

impl PublishError {
    /// Whether it is the configuration that has to change; otherwise it is the machine.
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::NoPort => false,
            Self::TooManyVlans
            | Self::UnknownPort { .. }
            | Self::SamePort { .. }
            | Self::Schedule { .. }
            | Self::TooManyServices
            | Self::Ownership { .. } => true,
        }
    }
}

/// The snapshot that `config` means on `ports`, with counters for `workers` workers, when nothing was there before.
///
/// # Errors
///
/// As [`PublishError`] says.
pub fn publish(config: &Config, ports: Vec<Port>, workers: usize) -> Result<Snapshot, PublishError> {
    Publisher::new(ports, workers).publish(config, &Snapshot::from(Parts::default()), Instant::ZERO)
}

/// Makes one snapshot after the other.
#[derive(Debug)]
pub struct Publisher {
    ports: Vec<Port>,
    workers: usize,
    services: Numbers,
    backends: Numbers,
    /// What each service's schedule was made of.
    arrangements: HashMap<ServiceId, Arrangement>,
    /// For how long after its last connection somebody may remember a backend of each service.
    memories: HashMap<ServiceId, Duration>,
    /// Addresses that leat keeps silent about.
    silent: HashSet<IpAddr>,
    /// Addresses that somebody else has.
    given_up: GivenUp,
}

/// What a schedule is made of: the same makes the same.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Arrangement {
    scheduler: Algorithm,
    table_size: TableSize,
    seed: u64,
    /// All of them up.
    members: Vec<Member>,
}

impl Publisher {
    /// For these ports, all of which are used, and so many workers.
    pub fn new(ports: Vec<Port>, workers: usize) -> Self {
        Self {
            ports,
            workers,
            services: Numbers::default(),
            backends: Numbers::default(),
            arrangements: HashMap::new(),
            memories: HashMap::new(),
            silent: HashSet::new(),
            given_up: GivenUp::new(),
        }
    }

    /// The ports.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// From now on leat keeps silent about these addresses.
    pub fn set_silent(&mut self, silent: HashSet<IpAddr>) {
        self.silent = silent;
    }

    /// The addresses that leat does not use because somebody else has them.
    pub(super) const fn given_up(&self) -> &GivenUp {
        &self.given_up
    }

    /// From now on leat does not use these addresses. Returns those from before.
    pub(super) fn set_given_up(&mut self, given_up: GivenUp) -> GivenUp {
        std::mem::replace(&mut self.given_up, given_up)
    }

    /// `before`, where each backend that `share_of` knows gets so many tenths of its share of new connections; `is_meant` says
    /// of which services.
    pub fn reweigh(
        &self,
        before: &Snapshot,
        is_meant: impl Fn(ServiceId) -> bool,
        share_of: impl Fn(BackendId) -> Option<u16>,
    ) -> Snapshot {
        let mut schedules = Vec::new();
        for (id, arrangement) in self.arrangements.iter().filter(|(id, _)| is_meant(**id)) {
            let Arrangement { scheduler, table_size, seed, members } = arrangement;
            let most = members.iter().map(|member| member.weight).max().unwrap_or_default().max(1);
            let is_whole = members.iter().all(|member| share_of(member.backend).is_none());
            let scale = if is_whole { 1 } else { STEPS.min(u16::MAX / most) };
            let members: Vec<_> = members
                .iter()
                .map(|member| {
                    let whole = u32::from(member.weight * scale);
                    let share =
                        share_of(member.backend).map_or(whole, |share| whole * u32::from(share) / u32::from(STEPS));
                    let weight = share.max(u32::from(member.weight.min(1))) as u16;
                    let up = before.backend(member.backend).is_some_and(|backend| backend.up);
                    Member { weight, up, ..*member }
                })
                .collect();
            // As many members as before fit as before.
            if let Ok(schedule) = Schedule::new(*scheduler, *table_size, *seed, &members) {
                schedules.push((*id, schedule));
            }
        }
        before.with_schedules(schedules)
    }

    /// The snapshot that `config` means after `before`, the last one that was made here.
    ///
    /// # Errors
    ///
    /// As [`PublishError`] says; nothing has changed then.
    pub fn publish(&mut self, config: &Config, before: &Snapshot, now: Instant) -> Result<Snapshot, PublishError> {
        let interfaces = interfaces(config, &self.ports)?;
        let mut next = Succession {
            before,
            heirs: heirs(before),
            services: self.services.clone(),
            backends: self.backends.clone(),
            now,
            hops: NextHops::new(config, &interfaces, &self.ports, self.workers, &self.given_up, before),
            tunnels: Tunnels::new(config, &self.given_up, before),
            parts: Parts {
                own: own_addresses(config, &interfaces, &self.given_up),
                ports: self.ports.clone(),
                timeouts: config.timeouts,
                announced: before.announced().to_vec(),
                reserved: Arc::clone(before.reserved_ports()),
                bell: Arc::clone(before.bell()),
                silent: self.silent.clone(),
                silent_before: before.parts().silent.clone(),
                given_up: self.given_up.clone(),
                is_one_of_pair: config.standby,
                clients: Arc::clone(&config.clients),
                ..Parts::default()
            },
        };
        let asker = asker_by_backend(config);
        let silent = &self.silent;
        // Nobody is to learn from a question that such an address is here.
        let asker = |backend: IpAddr, service: &config::Service| {
            Some(asker(backend, service)).filter(|asker| !silent.contains(asker)).unwrap_or(NOBODY)
        };
        let (mut arrangements, mut memories) = (HashMap::new(), HashMap::new());
        for service in &config.services {
            let id = next.service_id(service)?;
            let members = next.add_backends(id, service, self.workers, &asker);
            let arrangement = Arrangement {
                scheduler: service.scheduler,
                table_size: service.maglev_table_size,
                seed: config.hash_seed,
                members: members.iter().map(|member| Member { up: true, ..*member }).collect(),
            };
            let is_known = self.arrangements.get(&id) == Some(&arrangement);
            let schedule = match before.service(id).filter(|_| is_known) {
                Some(service) => again(&service.schedule, before, &members),
                None => Schedule::new(arrangement.scheduler, arrangement.table_size, arrangement.seed, &members)
                    .map_err(|error| PublishError::Schedule { service: service.name.clone(), error })?,
            };
            arrangements.insert(id, arrangement);
            let longest = [service.persistence, service.flow_memory, self.memories.get(&id).copied()];
            memories.insert(id, longest.into_iter().flatten().max().unwrap_or_default());
            let by_client = self.by_client(service, before)?;
            put(
                &mut next.parts.services,
                id.index(),
                Service {
                    name: service.name.clone(),
                    vip: service.vip,
                    protocol: service.protocol,
                    port: service.port,
                    mode: service.mode,
                    schedule,
                    local_addresses: {
                        let usable = service.local_addresses.iter().filter(|local| !self.given_up.contains_key(local));
                        usable.copied().collect()
                    },
                    persistence: service.persistence.map(Tick::count),
                    flow_memory: service.flow_memory.map(Tick::count),
                    proxy_arp: service.proxy_arp.clone(),
                    no_connection: service.no_connection,
                    syn_proxy: service.syn_proxy,
                    sequence_numbers: service.sequence_numbers,
                    client_address: service.client_address,
                    one_packet: service.one_packet,
                    max_connections: service.max_connections,
                    max_rate: service.max_rate,
                    client_limits: service.client_limits,
                    counters: before
                        .service(id)
                        .map_or_else(|| per_worker(self.workers), |before| Arc::clone(&before.counters)),
                    on_failure: service.on_failure,
                    backends: members.iter().map(|member| member.backend).collect(),
                    draining: Vec::new(),
                    is_removed: false,
                    by_client,
                },
            );
            next.parts.order.push(id);
        }
        next.drain_the_rest();
        next.parts.probe_sources = probe_sources(config, &self.given_up);
        next.parts.routes = routes(&interfaces, &mut next.hops);
        next.parts.neighbors = neighbors(&next.parts);
        next.hops.commit();
        (self.services, self.backends) = (next.services, next.backends);
        self.arrangements = arrangements;
        self.memories.extend(memories);
        Ok(Snapshot::from(next.parts))
    }

    /// `before` without backends that drained and of which no worker has a connection any more, and without the removed
    /// services that have no other.
    pub fn without(&mut self, before: &Snapshot, drained: &[BackendId], now: Instant) -> Snapshot {
        let mut parts = before.parts().clone();
        let drained: HashSet<_> = drained.iter().copied().collect();
        for id in &drained {
            let Some(backend) = parts.backends[id.index()].take() else { continue };
            self.backends.give_back(id.index(), now + self.memory(backend.service));
        }
        for (slot, id) in parts.services.iter_mut().zip(0..) {
            let Some(service) = slot else { continue };
            service.draining.retain(|id| !drained.contains(id));
            if service.is_removed && service.draining.is_empty() {
                let id = ServiceId(id);
                self.services.give_back(id.index(), now + self.memory(id));
                self.memories.remove(&id);
                *slot = None;
            }
        }
        parts.order.retain(|id| parts.services[id.index()].is_some());
        parts.neighbors = neighbors(&parts);
        Snapshot::from(parts)
    }

    fn memory(&self, service: ServiceId) -> Duration {
        self.memories.get(&service).copied().unwrap_or_default()
    }

    /// Whether the worker that owns a connection of `service` is told by the client alone.
    fn by_client(&self, service: &config::Service, before: &Snapshot) -> Result<bool, PublishError> {
        if self.workers == 1 {
            return Ok(false);
        }
        let is_needed = service.persistence.is_some() || service.client_limits.is_any() || service.mode == Mode::Nat;
        let listener = before.listener(service.vip, service.protocol, service.port);
        match listener.and_then(|id| before.service(id)).map(|before| before.by_client) {
            Some(true) => Ok(true),
            Some(false) if is_needed => Err(PublishError::Ownership { service: service.name.clone() }),
            Some(false) | None => Ok(is_needed),
        }
    }
}

/// What makes a service the same, beside its local addresses.
type ServiceKey = (IpAddr, ServiceProtocol, u16, Mode);

/// The services that may go on, those that drain last.
fn heirs(before: &Snapshot) -> HashMap<ServiceKey, Vec<ServiceId>> {
    let mut heirs: HashMap<_, Vec<_>> = HashMap::new();
    for (id, service) in before.services() {
        heirs.entry((service.vip, service.protocol, service.port, service.mode)).or_default().push(id);
    }
    heirs
}

/// A snapshot in the making, after another.
struct Succession<'a> {
    before: &'a Snapshot,
    heirs: HashMap<ServiceKey, Vec<ServiceId>>,
    services: Numbers,
    backends: Numbers,
    now: Instant,
    hops: NextHops<'a>,
    tunnels: Tunnels<'a>,
    parts: Parts,
}

impl Succession<'_> {
    /// The number of `service`: the one that it had, or a new one.
    fn service_id(&mut self, service: &config::Service) -> Result<ServiceId, PublishError> {
        let key = (service.vip, service.protocol, service.port, service.mode);
        let keeps_addresses = |id: &&ServiceId| {
            let before = self.before.service(**id).map_or(&[][..], |before| &before.local_addresses);
            before.iter().all(|address| service.local_addresses.contains(address))
        };
        if let Some(id) = self.heirs.get(&key).and_then(|heirs| heirs.iter().find(keeps_addresses)) {
            return Ok(*id);
        }
        let number = self.services.take(self.now);
        u16::try_from(number).map(ServiceId).map_err(|_| PublishError::TooManyServices)
    }

    /// Adds the backends of `service`, and returns them as its scheduler knows them.
    fn add_backends(
        &mut self,
        id: ServiceId,
        service: &config::Service,
        workers: usize,
        asker: &impl Fn(IpAddr, &config::Service) -> IpAddr,
    ) -> Vec<Member> {
        let known = self.before.service(id).into_iter().flat_map(Service::all_backends);
        let known = known.filter_map(|id| self.before.backend(id).map(|backend| (id, backend)));
        let known: HashMap<_, _> = known.map(|it| ((it.1.address, it.1.port), it)).collect();
        let mut members = Vec::new();
        for backend in &service.backends {
            let config::Backend { address, port, weight, max_connections, max_rate, mac, .. } = *backend;
            let before = known.get(&(address, port));
            let number = match before {
                Some((id, _)) => *id,
                None => BackendId(self.backends.take(self.now) as u32),
            };
            let counters = before.map_or_else(|| per_worker(workers), |(_, it)| Arc::clone(&it.counters));
            // What is not probed is not known to be dead.
            let up = service.health.is_none() || before.is_none_or(|(_, before)| before.up);
            members.push(Member { backend: number, address, port, weight, up });
            put(
                &mut self.parts.backends,
                number.index(),
                Backend {
                    service: id,
                    address,
                    port,
                    weight,
                    max_connections,
                    max_rate,
                    up,
                    is_draining: false,
                    neighbor: self.hops.towards(address, mac, asker(address, service)),
                    forwarding: self.tunnels.towards(address, service),
                    mss_clamp: service.mss_clamp,
                    remembers_clients: service.mode == Mode::Nat || service.persistence.is_some(),
                    counters,
                },
            );
        }
        members
    }

    /// Keeps what is not configured any more, for its connections.
    fn drain_the_rest(&mut self) {
        let Self { before, parts, .. } = self;
        for (id, service) in before.services() {
            if parts.services.get(id.index()).is_none_or(Option::is_none) {
                let removed =
                    Service { backends: Vec::new(), draining: Vec::new(), is_removed: true, ..service.clone() };
                put(&mut parts.services, id.index(), removed);
                parts.order.push(id);
            }
        }
        for (id, backend) in before.backends() {
            if parts.backends.get(id.index()).is_none_or(Option::is_none) {
                if let Some(Some(service)) = parts.services.get_mut(backend.service.index()) {
                    service.draining.push(id);
                }
                put(&mut parts.backends, id.index(), Backend { is_draining: true, ..backend.clone() });
            }
        }
    }
}

/// The same schedule for `members`, who may be up or down otherwise than they were in `before`.
fn again(schedule: &Schedule, before: &Snapshot, members: &[Member]) -> Schedule {
    let was_up = |member: &Member| before.backend(member.backend).is_some_and(|backend| backend.up);
    if members.iter().all(|member| was_up(member) == member.up) {
        return schedule.clone();
    }
    let up: HashMap<_, _> = members.iter().map(|member| (member.backend, member.up)).collect();
    schedule.with_liveness(|id| up.get(&id).copied().unwrap_or_default())
}

/// Every next hop that is needed.
fn neighbors(parts: &Parts) -> Vec<Arc<Neighbor>> {
    let backends = parts.backends.iter().flatten().map(|backend| &backend.neighbor);
    let all = backends.chain(parts.routes.iter().filter_map(|route| route.via.as_ref()));
    let mut seen = HashSet::new();
    all.filter(|neighbor| seen.insert(Arc::as_ptr(neighbor))).cloned().collect()
}

/// All addresses that health checks leave from.
fn probe_sources(config: &Config, given_up: &GivenUp) -> Vec<IpAddr> {
    let backends = config.services.iter().flat_map(|service| service.backends.iter().map(move |it| (service, it)));
    let sources: BTreeSet<_> =
        backends.filter_map(|(service, backend)| probe_source(config, given_up, service, backend.address)).collect();
    sources.into_iter().collect()
}

/// Puts `value` into place number `at`.
fn put<T>(places: &mut Vec<Option<T>>, at: usize, value: T) {
    if at >= places.len() {
        places.resize_with(at + 1, || None);
    }
    places[at] = Some(value);
}
