//! Everything that the configuration means for a packet, in one immutable value.
//!
//! The control side builds a [`Snapshot`] from [`Parts`]; every worker holds one and swaps it whole. Looking things up
//! here is for a connection's first packet and for what belongs to no connection; the packets of known connections
//! only touch [`Snapshot::backend`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::{
    Backend, ClientTable, Encapsulation, Forwarding, Mode, OwnAddress, Parts, Port, Service, ServiceProtocol, Tunnel,
};
use crate::conntrack::{PoolKey, ReservedPorts};
use crate::courier;
use crate::flow::{FlowKey, Protocol};
use crate::id::{BackendId, PortId, ServiceId};
use crate::neighbor::{Announced, Announcement, Bell, Hop, Neighbor};
use crate::scheduler::Schedule;
use crate::wire::{MacAddr, ethernet};

/// The configuration as workers see it.
#[derive(Debug)]
pub struct Snapshot {
    parts: Parts,
    /// By [`ServiceId`]: whether some backend takes new connections.
    takes_connections: Vec<bool>,
    /// Whether any route leads to a next hop.
    has_routes: bool,
    index: Arc<Index>,
}

/// What is looked up by address or port. It does not depend on who is alive, and snapshots that differ only in that share
/// one.
#[derive(Debug)]
struct Index {
    listeners: HashMap<(IpAddr, Protocol, u16), ServiceId>,
    catch_all: HashMap<IpAddr, ServiceId>,
    local: HashSet<IpAddr>,
    addresses: HashMap<IpAddr, Option<PortId>>,
    backend_addresses: HashSet<IpAddr>,
    /// What backends answer from to local addresses that are also VIPs of protocol `any`: local address, protocol, and the
    /// backend's address and port, 0 for all of its ports.
    answers_to_whole: HashSet<(IpAddr, Protocol, IpAddr, u16)>,
    /// What the backends of `nat` services answer from.
    nat_backends: HashMap<IpAddr, Vec<(ServiceProtocol, u16)>>,
    gue_ports: HashSet<u16>,
    /// By the addresses of their outer headers, source and destination, the backends that tunnels lead to.
    tunnels: HashMap<(IpAddr, IpAddr), Vec<BackendId>>,
    /// Where answers to health checks come to.
    probe_sources: HashSet<IpAddr>,
    /// The VIPs that backends hold themselves and answer from.
    held: HashSet<IpAddr>,
    /// The pools of source ports that new connections may need.
    pools: HashSet<PoolKey>,
    /// Which clients are served, if not all.
    clients: Option<ClientTable>,
    port_by_id: Vec<Option<Port>>,
    /// By [`PortId`]; of numbers that nobody has, one that takes no frame.
    exits: Vec<Exit>,
}

/// What has to be known of a port to send a frame through it.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// The address that leat sends from there.
    pub mac: MacAddr,
    /// The longest frame that it takes, in bytes.
    pub longest: usize,
}

impl Exit {
    /// One that takes no frame.
    pub const NONE: Self = Self { mac: MacAddr([0; 6]), longest: 0 };
}

impl From<Parts> for Snapshot {
    fn from(mut parts: Parts) -> Self {
        // The longest prefix is met first, so the first match is the best.
        parts.routes.sort_by_key(|route| std::cmp::Reverse(route.network.prefix_len()));
        parts.neighbors.sort_by_key(|neighbor| neighbor.address());
        let (mut local, mut addresses) = (HashSet::new(), HashMap::new());
        for own in &parts.own {
            addresses.insert(own.address, own.port);
        }
        for service in parts.services.iter().flatten() {
            addresses.insert(service.vip, None);
            for address in &service.local_addresses {
                local.insert(*address);
                addresses.insert(*address, None);
            }
        }
        let (listeners, catch_all) = listeners(&parts);
        parts.announced = announced(&parts, &addresses);
        let services = listeners.keys().map(|&(vip, protocol, port)| (vip, protocol, port..=port));
        let probes = parts.probe_sources.iter().filter(|source| local.contains(*source));
        let probes = probes
            .flat_map(|&source| [Protocol::Tcp, Protocol::Icmp].map(|protocol| (source, protocol, courier::PORTS)));
        let reserved = ReservedPorts::new(services.chain(probes));
        if !reserved.is_same(&parts.reserved) {
            parts.reserved = Arc::new(reserved);
        }
        let backend_addresses = parts.backends.iter().flatten().map(|backend| backend.address).collect();
        let mut pools = HashSet::new();
        let mut answers_to_whole = HashSet::new();
        let mut nat_backends: HashMap<_, Vec<_>> = HashMap::new();
        let mut gue_ports = HashSet::new();
        let mut tunnels: HashMap<_, Vec<_>> = HashMap::new();
        for (id, backend) in (0..).map(BackendId).zip(&parts.backends) {
            let Some(backend) = backend else { continue };
            let Some(service) = parts.services.get(backend.service.index()).and_then(Option::as_ref) else { continue };
            if service.mode == Mode::Nat {
                nat_backends.entry(backend.address).or_default().push((service.protocol, backend.port));
            }
            for local in service.local_addresses.iter().filter(|local| catch_all.contains_key(local)) {
                let endpoint = |&protocol| (*local, protocol, backend.address, backend.port);
                answers_to_whole.extend(service.protocol.transports().iter().map(endpoint));
            }
            if !backend.is_draining {
                pools.extend(pools_of(service, backend));
            }
            if let Forwarding::Encapsulate(way) = &backend.forwarding {
                tunnels.entry((way.source, way.destination)).or_default().push(id);
                if let Tunnel::Gue(gue) = way.tunnel {
                    gue_ports.insert(gue.port);
                }
            }
        }
        let mut port_by_id = Vec::new();
        for port in &parts.ports {
            port_by_id.resize(port_by_id.len().max(port.id.index() + 1), None);
            port_by_id[port.id.index()] = Some(port.clone());
        }
        let index = Index {
            listeners,
            catch_all,
            local,
            addresses,
            backend_addresses,
            answers_to_whole,
            nat_backends,
            gue_ports,
            tunnels,
            probe_sources: parts.probe_sources.iter().copied().collect(),
            held: {
                let one_way = parts.services.iter().flatten().filter(|service| service.mode.is_one_way());
                one_way.map(|service| service.vip).collect()
            },
            pools,
            clients: client_table(&parts),
            exits: port_by_id.iter().map(exit).collect(),
            port_by_id,
        };
        Self::with_index(parts, Arc::new(index))
    }
}

/// Which clients are served, if not all. Backends are none: their packets come from the same side.
fn client_table(parts: &Parts) -> Option<ClientTable> {
    let backends = parts.backends.iter().flatten().map(|backend| backend.address);
    (!parts.clients.is_empty()).then(|| ClientTable::new(&parts.clients, backends))
}

fn exit(port: &Option<Port>) -> Exit {
    let longest = |port: &Port| ethernet::HEADER_LEN + usize::from(port.mtu);
    port.as_ref().map_or(Exit::NONE, |port| Exit { mac: port.mac, longest: longest(port) })
}

/// Which service listens where: by exact port, and on all of an address.
#[expect(clippy::type_complexity, reason = "two maps, each said once")]
fn listeners(parts: &Parts) -> (HashMap<(IpAddr, Protocol, u16), ServiceId>, HashMap<IpAddr, ServiceId>) {
    let (mut exact, mut whole) = (HashMap::new(), HashMap::new());
    let services = || (0..).map(ServiceId).zip(&parts.services).filter_map(|(id, it)| Some((id, it.as_ref()?)));
    let exact_of = |service: &Service| match service.protocol {
        ServiceProtocol::Tcp => Some((service.vip, Protocol::Tcp, service.port)),
        ServiceProtocol::Udp => Some((service.vip, Protocol::Udp, service.port)),
        ServiceProtocol::Any => None,
    };
    // One that was removed is still found, so that its packets come to the worker that knows them. Those in service are
    // found before it.
    for is_removed in [true, false] {
        for (id, service) in services().filter(|(_, service)| service.is_removed == is_removed) {
            match exact_of(service) {
                Some(listener) => exact.insert(listener, id),
                None => whole.insert(service.vip, id),
            };
        }
    }
    let in_service = |id: &ServiceId| parts.services[id.index()].as_ref().filter(|service| !service.is_removed);
    // The packets of one that another takes the place of find their worker through that one.
    exact.retain(|(vip, ..), id| {
        let successor = whole.get(vip).and_then(in_service);
        in_service(id).is_some()
            || successor.is_none_or(|successor| {
                parts.services[id.index()].as_ref().is_some_and(|service| service.by_client != successor.by_client)
            })
    });
    (exact, whole)
}

/// The own addresses to be announced, in order; those that were known before, with what was announced of them.
fn announced(parts: &Parts, addresses: &HashMap<IpAddr, Option<PortId>>) -> Vec<Arc<Announced>> {
    let before: HashMap<_, _> = parts.announced.iter().map(|before| (before.announcement(), before)).collect();
    let spoken_of = addresses.iter().filter(|(address, _)| !parts.silent.contains(*address));
    let vips: HashSet<_> = parts.services.iter().flatten().map(|service| service.vip).collect();
    let own: HashSet<_> = parts.own.iter().map(|own| own.address).collect();
    let gives_way = |address| !vips.contains(&address) && (own.contains(&address) || !parts.is_one_of_pair);
    let announcement = |(&address, &port)| Announcement { address, port, gives_way: gives_way(address) };
    let mut all: Vec<_> = spoken_of.map(announcement).collect();
    all.sort_by_key(|announcement| announcement.address);
    let announced = |announcement: Announcement| match before.get(&announcement) {
        Some(before) => Arc::clone(before),
        None if parts.silent_before.contains(&announcement.address) => Arc::new(Announced::taken_over(announcement)),
        None => Arc::new(Announced::new(announcement)),
    };
    all.into_iter().map(announced).collect()
}

/// Every pool of source ports that connections of `service` with `backend` may need.
fn pools_of<'a>(service: &'a Service, backend: &'a Backend) -> impl Iterator<Item = PoolKey> + 'a {
    service.local_addresses.iter().flat_map(move |&local| {
        service.protocol.transports().iter().map(move |&protocol| PoolKey {
            local,
            protocol,
            backend: backend.address,
            backend_port: if protocol == Protocol::Icmp { 0 } else { backend.port },
        })
    })
}

impl Snapshot {
    /// The same configuration with another set of backends alive.
    #[must_use]
    pub fn with_liveness(&self, up: impl Fn(BackendId) -> bool) -> Self {
        let mut parts = self.parts.clone();
        for (backend, id) in parts.backends.iter_mut().zip(0..) {
            if let Some(backend) = backend {
                backend.up = up(BackendId(id));
            }
        }
        for service in parts.services.iter_mut().flatten() {
            service.schedule = service.schedule.with_liveness(&up);
        }
        Self::with_index(parts, Arc::clone(&self.index))
    }

    /// The same configuration, where these services choose otherwise.
    #[must_use]
    pub fn with_schedules(&self, schedules: Vec<(ServiceId, Schedule)>) -> Self {
        let mut parts = self.parts.clone();
        for (id, schedule) in schedules {
            if let Some(Some(service)) = parts.services.get_mut(id.index()) {
                service.schedule = schedule;
            }
        }
        Self::with_index(parts, Arc::clone(&self.index))
    }

    fn with_index(parts: Parts, index: Arc<Index>) -> Self {
        let backend = |id: &BackendId| parts.backends.get(id.index()).and_then(Option::as_ref);
        let takes = |id: &BackendId| backend(id).is_some_and(Backend::takes_connections);
        let any_takes = |service: &Service| service.backends.iter().any(takes);
        let takes_connections = parts.services.iter().map(|service| service.as_ref().is_some_and(any_takes)).collect();
        let has_routes = parts.routes.iter().any(|route| route.via.is_some());
        Self { parts, takes_connections, has_routes, index }
    }

    /// Whether the two differ in nothing but who is alive.
    pub fn is_same_but_for_liveness(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.index, &other.index)
    }

    /// What it is made of.
    pub const fn parts(&self) -> &Parts {
        &self.parts
    }

    /// All services, in configured order; those that were removed, and have connections, come last.
    pub fn services(&self) -> impl Iterator<Item = (ServiceId, &Service)> {
        self.parts.order.iter().filter_map(|id| Some((*id, self.service(*id)?)))
    }

    /// All backends of all services, in the order of their numbers.
    pub fn backends(&self) -> impl Iterator<Item = (BackendId, &Backend)> {
        (0..).map(BackendId).zip(&self.parts.backends).filter_map(|(id, backend)| Some((id, backend.as_ref()?)))
    }

    /// Every next hop, in the order of their addresses.
    pub fn neighbors(&self) -> &[Arc<Neighbor>] {
        &self.parts.neighbors
    }

    /// What a next hop is called: by its address, with a zone (RFC 4007 §11) where that alone does not tell who is meant.
    pub fn name_of(&self, neighbor: &Neighbor) -> String {
        let port = neighbor.port().filter(|_| neighbor.is_link_local()).and_then(|id| self.port(id));
        let zone = port.map_or_else(String::new, |port| format!("%{}", port.name));
        format!("{}{zone}", neighbor.address())
    }

    /// Every port.
    pub fn ports(&self) -> &[Port] {
        &self.parts.ports
    }

    /// One service.
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.parts.services.get(id.index())?.as_ref()
    }

    /// Every next hop at `address`.
    pub fn neighbors_at(&self, address: IpAddr) -> &[Arc<Neighbor>] {
        let all = &self.parts.neighbors;
        let first = all.partition_point(|neighbor| neighbor.address() < address);
        let len = all[first..].iter().take_while(|neighbor| neighbor.address() == address).count();
        &all[first..][..len]
    }

    /// Whether a new connection of a service would find a backend.
    #[inline(always)]
    pub fn takes_connections(&self, id: ServiceId) -> bool {
        self.takes_connections.get(id.index()).is_some_and(|takes| *takes)
    }

    /// What to ring when a neighbour is to be probed.
    pub const fn bell(&self) -> &Arc<Bell> {
        &self.parts.bell
    }

    /// Whether a packet can be nothing but an answer to one of leat's own health checks.
    #[inline]
    pub fn is_probe_answer(&self, key: &FlowKey) -> bool {
        courier::PORTS.contains(&key.dst_port)
            && self.index.probe_sources.contains(&key.dst)
            && (self.index.backend_addresses.contains(&key.src) || self.index.held.contains(&key.src))
            && !self.index.listeners.contains_key(&(key.dst, key.protocol, key.dst_port))
    }

    /// Whether a packet is of one of leat's own health checks.
    pub fn is_probe(&self, key: &FlowKey) -> bool {
        courier::PORTS.contains(&key.src_port) && self.index.probe_sources.contains(&key.src)
    }

    /// The numbers of health checks on which a service listens by TCP, by address, ascending.
    pub fn taken_probe_ports(&self) -> HashMap<IpAddr, Vec<u16>> {
        let mut taken: HashMap<_, Vec<_>> = HashMap::new();
        for (vip, protocol, port) in self.index.listeners.keys() {
            if *protocol == Protocol::Tcp && courier::PORTS.contains(port) {
                taken.entry(*vip).or_default().push(*port);
            }
        }
        taken.values_mut().for_each(|ports| ports.sort_unstable());
        taken
    }

    /// One backend.
    #[inline(always)]
    pub fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.parts.backends.get(id.index())?.as_ref()
    }

    /// One port.
    #[inline(always)]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.index.port_by_id.get(id.index())?.as_ref()
    }

    /// The way out through one port.
    #[inline(always)]
    pub fn exit(&self, id: PortId) -> Exit {
        self.index.exits.get(id.index()).copied().unwrap_or(Exit::NONE)
    }

    /// The service that takes in what comes to `port` of `vip`, or did so until it was removed. With protocol `any` the one
    /// that has the whole address.
    pub fn listener(&self, vip: IpAddr, protocol: ServiceProtocol, port: u16) -> Option<ServiceId> {
        let exact = |protocol| self.index.listeners.get(&(vip, protocol, port));
        let exact = match protocol {
            ServiceProtocol::Tcp => exact(Protocol::Tcp),
            ServiceProtocol::Udp => exact(Protocol::Udp),
            ServiceProtocol::Any => None,
        };
        exact.or_else(|| self.index.catch_all.get(&vip)).copied()
    }

    /// The service that a client's packet `key` is for: the exact one before the one of protocol `any`. None for what
    /// looks like a backend's answer, which a packet to a service of protocol `any` can, where its VIP is another service's
    /// local address: every worker must see that alike, and only one of them has the connection.
    pub fn service_for(&self, key: &FlowKey) -> Option<ServiceId> {
        let exact = match key.protocol {
            Protocol::Tcp | Protocol::Udp => self.index.listeners.get(&(key.dst, key.protocol, key.dst_port)),
            Protocol::Icmp => None,
        };
        let whole = || self.index.catch_all.get(&key.dst).filter(|_| !self.answers_to_whole(key));
        exact.or_else(whole).copied()
    }

    /// Whether `key` is what a backend's answer to a local address that is also a VIP of protocol `any` looks like.
    fn answers_to_whole(&self, key: &FlowKey) -> bool {
        let from = |port| self.index.answers_to_whole.contains(&(key.dst, key.protocol, key.src, port));
        // An answer to a ping is told by its type.
        key.protocol != Protocol::Icmp && (from(key.src_port) || from(0))
    }

    /// The ports that services listen on: they are nobody's source port.
    pub const fn reserved_ports(&self) -> &Arc<ReservedPorts> {
        &self.parts.reserved
    }

    /// Whether new connections may need this pool of source ports.
    pub fn needs_pool(&self, key: &PoolKey) -> bool {
        self.index.pools.contains(key)
    }

    /// Whether backends may send to `address`, because leat talks to them from it.
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.index.local.contains(&address)
    }

    /// Whether some service has a backend at `address`.
    pub fn is_backend(&self, address: IpAddr) -> bool {
        self.index.backend_addresses.contains(&address)
    }

    /// Whether `address` is that of a backend of `service`.
    pub fn is_backend_of(&self, address: IpAddr, service: &Service) -> bool {
        let is_it = |id: BackendId| self.backend(id).is_some_and(|backend| backend.address == address);
        self.is_backend(address) && service.all_backends().any(is_it)
    }

    /// For a packet from a backend of a `nat` service to an address that is not leat's: whether it can be an answer to a
    /// client, by its protocol and port. Nothing for any other packet.
    pub fn nat_answers(&self, key: &FlowKey) -> Option<bool> {
        let endpoints = self.index.nat_backends.get(&key.src)?;
        let answers = |(protocol, port): &(ServiceProtocol, u16)| {
            protocol.transports().contains(&key.protocol) && (*port == 0 || *port == key.src_port)
        };
        Some(endpoints.iter().any(answers))
    }

    /// Whether `address` is that of a backend of a `nat` service.
    pub fn is_nat_backend(&self, address: IpAddr) -> bool {
        self.index.nat_backends.contains_key(&address)
    }

    /// Whether `address` lies where clients of a `nat` service are, as the configuration says.
    pub fn is_in_proxy_range(&self, address: IpAddr) -> bool {
        self.parts
            .services
            .iter()
            .flatten()
            .flat_map(|service| &service.proxy_arp)
            .any(|range| range.contains(&address))
    }

    /// Whether some service's tunnels go to this UDP port.
    pub fn is_gue_port(&self, port: u16) -> bool {
        self.index.gue_ports.contains(&port)
    }

    /// The tunnels whose packets go from `source` to `destination`.
    pub fn tunnels(&self, source: IpAddr, destination: IpAddr) -> impl Iterator<Item = &Encapsulation> {
        let backends = self.index.tunnels.get(&(source, destination)).into_iter().flatten();
        backends.filter_map(|id| match &self.backend(*id)?.forwarding {
            Forwarding::Encapsulate(way) => Some(way),
            Forwarding::Translate | Forwarding::Direct => None,
        })
    }

    /// An own address of leat's that it has on `port`, of IPv6 or of IPv4.
    pub fn own_address(&self, port: PortId, is_v6: bool) -> Option<IpAddr> {
        let is_there = |own: &&OwnAddress| own.address.is_ipv6() == is_v6 && own.port.is_none_or(|only| only == port);
        self.parts.own.iter().find(is_there).map(|own| own.address)
    }

    /// Whether `address` is leat's, whatever for, on `port`.
    pub fn owns(&self, address: IpAddr, port: PortId) -> bool {
        self.index.addresses.get(&address).is_some_and(|only| only.is_none_or(|only| only == port))
    }

    /// What was announced of `address`, if leat speaks of it.
    pub fn announced_at(&self, address: IpAddr) -> Option<&Announced> {
        let all = &self.parts.announced;
        let at = all.binary_search_by_key(&address, |announced| announced.announcement().address).ok()?;
        Some(&all[at])
    }

    /// The own and local addresses that leat does not use because somebody else has them, and where that one is.
    pub const fn given_up(&self) -> &BTreeMap<IpAddr, Hop> {
        &self.parts.given_up
    }

    /// Whether `address` is one that leat keeps silent about.
    pub fn is_silent(&self, address: IpAddr) -> bool {
        self.parts.silent.contains(&address)
    }

    /// Whether `address` is leat's on any port.
    pub fn owns_anywhere(&self, address: IpAddr) -> bool {
        self.index.addresses.contains_key(&address)
    }

    /// Which clients are served; none when all are.
    #[inline(always)]
    pub fn clients(&self) -> Option<&ClientTable> {
        self.index.clients.as_ref()
    }

    /// Whether any next hop is configured.
    #[inline(always)]
    pub const fn has_routes(&self) -> bool {
        self.has_routes
    }

    /// The configured next hop towards `address`; none when replies go back where the requests came from.
    #[inline(always)]
    pub fn route(&self, address: IpAddr) -> Option<&Arc<Neighbor>> {
        self.parts.routes.iter().find(|route| route.covers(address))?.via.as_ref()
    }

    /// The addresses to announce, and where.
    pub fn announced(&self) -> &[Arc<Announced>] {
        &self.parts.announced
    }
}
