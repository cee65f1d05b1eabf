//! From the configuration and the ports that there are to the snapshot that workers see.
//!
//! This is where names become numbers, where each backend gets its next hop, and where the two meet that only the
//! running machine knows together: what was asked for, and which ports exist.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use crate::config::{self, Config, PortName};
use crate::counters::per_worker;
use crate::id::{BackendId, PortId, ServiceId};
use crate::neighbor::{Hop, Neighbor};
use crate::scheduler::{Member, Schedule, ScheduleError};
use crate::service::{Backend, Encapsulation, Forwarding, OwnAddress, Parts, PathMtu, Port, Route, Service, Snapshot};
use crate::time::Tick;
use crate::wire::MacAddr;

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
}

impl PublishError {
    /// Whether it is the configuration that has to change; otherwise it is the machine.
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::NoPort => false,
            Self::UnknownPort { .. } | Self::SamePort { .. } | Self::Schedule { .. } => true,
        }
    }
}

/// The snapshot that `config` means on `ports`, with counters for `workers` workers.
///
/// # Errors
///
/// As [`PublishError`] says.
pub fn publish(config: &Config, ports: Vec<Port>, workers: usize) -> Result<Snapshot, PublishError> {
    let interfaces = interfaces(config, &ports)?;
    let mut hops = NextHops { config, interfaces: &interfaces, ports: &ports, workers, known: HashMap::new() };
    let asker = asker_by_backend(config);
    let mut tunnels = Tunnels { config, path_mtus: HashMap::new() };
    let mut parts = Parts { own: own_addresses(config, &interfaces), ..Parts::default() };
    for (service, id) in config.services.iter().zip(0..) {
        let id = ServiceId(id);
        let mut members = Vec::new();
        for backend in &service.backends {
            let number = BackendId(parts.backends.len() as u32);
            let config::Backend { address, port, weight, mac, .. } = *backend;
            members.push(Member { backend: number, address, port, weight, up: true });
            parts.backends.push(Backend {
                service: id,
                address,
                port,
                weight,
                up: true,
                neighbor: hops.towards(address, mac, asker(address, service)),
                forwarding: tunnels.towards(address, service),
                mss_clamp: service.mss_clamp,
                counters: Arc::new(per_worker(workers)),
            });
        }
        let schedule = Schedule::new(service.scheduler, service.maglev_table_size, config.hash_seed, &members)
            .map_err(|error| PublishError::Schedule { service: service.name.clone(), error })?;
        parts.services.push(Service {
            name: service.name.clone(),
            vip: service.vip,
            protocol: service.protocol,
            port: service.port,
            mode: service.mode,
            schedule,
            local_addresses: service.local_addresses.clone(),
            persistence: service.persistence.map(Tick::count),
            flow_memory: service.flow_memory.map(Tick::count),
            proxy_arp: service.proxy_arp.clone(),
            no_connection: service.no_connection,
            on_failure: service.on_failure,
            backends: members.iter().map(|member| member.backend).collect(),
        });
    }
    parts.routes = routes(&interfaces, &mut hops);
    parts.neighbors = hops.known.into_values().collect();
    parts.neighbors.sort_by_key(|neighbor| neighbor.address());
    parts.ports = ports;
    Ok(Snapshot::from(parts))
}

/// In whose name a backend is asked for by ARP where leat has no own address near it: the service's local address or VIP.
/// One that holds a VIP itself, for a one-way service, would not answer that address, and is asked in nobody's name
/// (0.0.0.0, as RFC 5227 §2.1.1 has it).
fn asker_by_backend(config: &Config) -> impl Fn(Ipv4Addr, &config::Service) -> Ipv4Addr {
    let one_way = config.services.iter().filter(|service| service.mode.is_one_way());
    let holders: HashSet<_> = one_way.flat_map(|service| &service.backends).map(|backend| backend.address).collect();
    move |backend, service| {
        if holders.contains(&backend) {
            return Ipv4Addr::UNSPECIFIED;
        }
        service.local_addresses.first().copied().unwrap_or(service.vip)
    }
}

/// The ports that `config` wants used out of `all`: those of its interfaces, or all when it has none.
///
/// # Errors
///
/// As [`PublishError`] says.
pub fn wanted_ports(config: &Config, all: Vec<Port>) -> Result<Vec<Port>, PublishError> {
    if all.is_empty() {
        return Err(PublishError::NoPort);
    }
    if config.interfaces.is_empty() {
        return Ok(all);
    }
    let wanted: Vec<_> = interfaces(config, &all)?.iter().map(|(_, port)| *port).collect();
    Ok(all.into_iter().filter(|port| wanted.contains(&port.id)).collect())
}

/// Each configured interface with the port that it means.
fn interfaces<'a>(config: &'a Config, ports: &[Port]) -> Result<Vec<(&'a config::Interface, PortId)>, PublishError> {
    let mut found: Vec<(_, PortId)> = Vec::new();
    for interface in &config.interfaces {
        let port = ports.iter().find(|port| match &interface.port {
            PortName::Name(name) => *name == port.name,
            PortName::Number(number) => *number == port.id.0,
        });
        let (place, name) = (interface.place.clone(), interface.port.to_string());
        let Some(port) = port else {
            let there_is: Vec<_> = ports.iter().map(|port| format!("{} ({})", port.name, port.id.0)).collect();
            return Err(PublishError::UnknownPort { place, name, there_is: there_is.join(", ") });
        };
        if found.iter().any(|(_, id)| *id == port.id) {
            return Err(PublishError::SamePort { place, name });
        }
        found.push((interface, port.id));
    }
    Ok(found)
}

fn own_addresses(config: &Config, interfaces: &[(&config::Interface, PortId)]) -> Vec<OwnAddress> {
    let everywhere = config.addresses.iter().map(|net| OwnAddress { address: net.addr(), port: None });
    let bound = interfaces.iter().flat_map(|(interface, port)| {
        interface.addresses.iter().map(|net| OwnAddress { address: net.addr(), port: Some(*port) })
    });
    everywhere.chain(bound).collect()
}

/// What the interfaces say about ways to anywhere.
fn routes(interfaces: &[(&config::Interface, PortId)], hops: &mut NextHops<'_>) -> Vec<Route> {
    let mut routes = Vec::new();
    for (interface, port) in interfaces {
        for net in &interface.addresses {
            routes.push(Route { network: net.network(), prefix_len: net.prefix_len(), via: None });
        }
        let gateway = interface.gateway.map(|via| (Ipv4Net::default(), via));
        for (to, via) in interface.routes.iter().map(|route| (route.to, route.via)).chain(gateway) {
            let via = Some(hops.router(interface, *port, via));
            routes.push(Route { network: to.network(), prefix_len: to.prefix_len(), via });
        }
    }
    routes
}

/// Makes the way to each backend of a tunnel.
struct Tunnels<'a> {
    config: &'a Config,
    path_mtus: HashMap<Ipv4Addr, Arc<PathMtu>>,
}

impl Tunnels<'_> {
    /// What is done to packets of `service` on their way to the backend at `destination`.
    fn towards(&mut self, destination: Ipv4Addr, service: &config::Service) -> Forwarding {
        if service.mode.translates() {
            return Forwarding::Translate;
        }
        let Some(tunnel) = service.tunnel else { return Forwarding::Direct };
        let path_mtu = Arc::clone(self.path_mtus.entry(destination).or_default());
        Forwarding::Encapsulate(Encapsulation { source: self.source(destination), destination, tunnel, path_mtu })
    }

    /// An own address to send from: one in the same prefix as `destination`, or any that is no VIP of a one-way service,
    /// of which a checked configuration has one.
    fn source(&self, destination: Ipv4Addr) -> Ipv4Addr {
        let Config { addresses, interfaces, services, .. } = self.config;
        let own = || interfaces.iter().flat_map(|interface| &interface.addresses).chain(addresses);
        let is_vip = |address| services.iter().any(|service| service.mode.is_one_way() && service.vip == address);
        let usable = || own().filter(|net| !is_vip(net.addr()));
        let near = usable().find(|net| net.contains(&destination));
        near.or_else(|| usable().next()).map_or(Ipv4Addr::UNSPECIFIED, Ipv4Net::addr)
    }
}

/// What tells two neighbours apart: where they are looked for, and an Ethernet address that was configured.
type NeighborKey = (Ipv4Addr, Option<PortId>, Option<MacAddr>);

/// Makes each next hop once.
struct NextHops<'a> {
    config: &'a Config,
    interfaces: &'a [(&'a config::Interface, PortId)],
    ports: &'a [Port],
    workers: usize,
    known: HashMap<NeighborKey, Arc<Neighbor>>,
}

impl<'a> NextHops<'a> {
    /// The next hop to a backend at `address`. Where leat has no address on the way, it asks in the name of `local`.
    fn towards(&mut self, address: Ipv4Addr, mac: Option<MacAddr>, local: Ipv4Addr) -> Arc<Neighbor> {
        let covering = |(interface, port): &(&config::Interface, PortId)| {
            let net = interface.addresses.iter().find(|net| net.contains(&address))?;
            Some((net.addr(), *port))
        };
        let connected = self.interfaces.iter().find_map(covering);
        if let Some(mac) = mac {
            let port = connected.map_or(self.ports[0].id, |(_, port)| port);
            let key = (address, Some(port), Some(mac));
            let make = || Arc::new(Neighbor::fixed(address, Hop { mac, port }));
            return Arc::clone(self.known.entry(key).or_insert_with(make));
        }
        if let Some((asker, port)) = connected {
            return self.asked(address, asker, Some(port));
        }
        if let Some((interface, port, via)) = self.way_to(address) {
            return self.router(interface, port, via);
        }
        let own = self.config.addresses.iter().find(|net| net.contains(&address)).map_or(local, Ipv4Net::addr);
        self.asked(address, own, None)
    }

    /// The router `via`, which lies in one of the interface's own prefixes.
    fn router(&mut self, interface: &config::Interface, port: PortId, via: Ipv4Addr) -> Arc<Neighbor> {
        let asker = interface.addresses.iter().find(|net| net.contains(&via)).map_or(via, Ipv4Net::addr);
        self.asked(via, asker, Some(port))
    }

    fn asked(&mut self, address: Ipv4Addr, asker: Ipv4Addr, port: Option<PortId>) -> Arc<Neighbor> {
        let workers = self.workers;
        let make = || Arc::new(Neighbor::new(address, asker, port, workers));
        Arc::clone(self.known.entry((address, port, None)).or_insert_with(make))
    }

    /// The best configured way to `address`: the longest prefix, a gateway last.
    fn way_to(&self, address: Ipv4Addr) -> Option<(&'a config::Interface, PortId, Ipv4Addr)> {
        let ways = self.interfaces.iter().flat_map(|(interface, port)| {
            let gateway = interface.gateway.map(|via| (0, via));
            let routes = interface.routes.iter().filter(|route| route.to.contains(&address));
            let routes = routes.map(|route| (route.to.prefix_len(), route.via));
            routes.chain(gateway).map(|(len, via)| (len, (*interface, *port, via)))
        });
        ways.max_by_key(|(len, _)| *len).map(|(_, way)| way)
    }
}
