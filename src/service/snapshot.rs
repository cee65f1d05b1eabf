//! Everything that the configuration means for a packet, in one immutable value.
//!
//! The control side builds a [`Snapshot`] from [`Parts`]; every worker holds one and swaps it whole. Looking things up
//! here is for a connection's first packet and for what belongs to no connection; the packets of known connections
//! only touch [`Snapshot::backend`].

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::{Backend, Encapsulation, Forwarding, Mode, Service, ServiceProtocol, Tunnel};
use crate::flow::{FlowKey, Protocol};
use crate::id::{BackendId, PortId, ServiceId};
use crate::neighbor::{Announcement, Bell, Neighbor};
use crate::wire::MacAddr;

/// One configured way: packets for addresses that start like `network` go to `via`.
#[derive(Clone, Debug)]
pub struct Route {
    /// First address of the destinations.
    pub network: Ipv4Addr,
    /// How many leading bits of a destination must be those of `network`: 0 to 32.
    pub prefix_len: u8,
    /// The next hop; without one, the destinations are on the wire itself and replies go back where requests came from.
    pub via: Option<Arc<Neighbor>>,
}

impl Route {
    fn covers(&self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_len)).unwrap_or(0);
        (address.to_bits() ^ self.network.to_bits()) & mask == 0
    }
}

/// A port, as the packet path needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub id: PortId,
    /// DPDK's name for it.
    pub name: String,
    /// The address that leat sends from, answers to and is reached at there.
    pub mac: MacAddr,
    /// The longest payload of a frame, in bytes.
    pub mtu: u16,
}

/// An own address, and the only port on which it is leat's; all ports when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// The port.
    pub port: Option<PortId>,
}

/// What a snapshot is made of.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// By [`ServiceId`].
    pub services: Vec<Service>,
    /// By [`BackendId`].
    pub backends: Vec<Backend>,
    /// leat's own addresses, beside VIPs and local addresses.
    pub own: Vec<OwnAddress>,
    /// Ways to clients and backends, in any order.
    pub routes: Vec<Route>,
    /// Every next hop.
    pub neighbors: Vec<Arc<Neighbor>>,
    /// Every port.
    pub ports: Vec<Port>,
    /// Rung when a neighbour is to be probed.
    pub bell: Arc<Bell>,
}

/// The configuration as workers see it.
#[derive(Debug)]
pub struct Snapshot {
    parts: Parts,
    /// By [`ServiceId`]: whether some backend takes new connections.
    takes_connections: Vec<bool>,
    index: Arc<Index>,
}

/// What is looked up by address or port. It does not depend on who is alive, and snapshots that differ only in that share
/// one.
#[derive(Debug)]
struct Index {
    listeners: HashMap<(Ipv4Addr, Protocol, u16), ServiceId>,
    catch_all: HashMap<Ipv4Addr, ServiceId>,
    local: HashSet<Ipv4Addr>,
    addresses: HashMap<Ipv4Addr, Option<PortId>>,
    backend_addresses: HashSet<Ipv4Addr>,
    /// What the backends of `nat` services answer from.
    nat_backends: HashMap<Ipv4Addr, Vec<(ServiceProtocol, u16)>>,
    gue_ports: HashSet<u16>,
    port_by_id: Vec<Option<Port>>,
}

impl From<Parts> for Snapshot {
    fn from(mut parts: Parts) -> Self {
        // The longest prefix is met first, so the first match is the best.
        parts.routes.sort_by_key(|route| std::cmp::Reverse(route.prefix_len));
        let (mut listeners, mut catch_all) = (HashMap::new(), HashMap::new());
        let (mut local, mut addresses) = (HashSet::new(), HashMap::new());
        for own in &parts.own {
            addresses.insert(own.address, own.port);
        }
        for (service, id) in parts.services.iter().zip(0..) {
            let listener = match service.protocol {
                ServiceProtocol::Tcp => Some(Protocol::Tcp),
                ServiceProtocol::Udp => Some(Protocol::Udp),
                ServiceProtocol::Any => None,
            };
            match listener {
                Some(protocol) => listeners.insert((service.vip, protocol, service.port), ServiceId(id)),
                None => catch_all.insert(service.vip, ServiceId(id)),
            };
            addresses.insert(service.vip, None);
            for address in &service.local_addresses {
                local.insert(*address);
                addresses.insert(*address, None);
            }
        }
        let backend_addresses = parts.backends.iter().map(|backend| backend.address).collect();
        let mut nat_backends: HashMap<_, Vec<_>> = HashMap::new();
        let mut gue_ports = HashSet::new();
        for backend in &parts.backends {
            let Some(service) = parts.services.get(backend.service.index()) else { continue };
            if service.mode == Mode::Nat {
                nat_backends.entry(backend.address).or_default().push((service.protocol, backend.port));
            }
            if let Forwarding::Encapsulate(Encapsulation { tunnel: Tunnel::Gue(gue), .. }) = &backend.forwarding {
                gue_ports.insert(gue.port);
            }
        }
        let mut port_by_id = Vec::new();
        for port in &parts.ports {
            port_by_id.resize(port_by_id.len().max(port.id.index() + 1), None);
            port_by_id[port.id.index()] = Some(port.clone());
        }
        let index =
            Index { listeners, catch_all, local, addresses, backend_addresses, nat_backends, gue_ports, port_by_id };
        Self::with_index(parts, Arc::new(index))
    }
}

impl Snapshot {
    /// The same configuration with another set of backends alive.
    #[must_use]
    pub fn with_liveness(&self, up: impl Fn(BackendId) -> bool) -> Self {
        let mut parts = self.parts.clone();
        for (backend, id) in parts.backends.iter_mut().zip(0..) {
            backend.up = up(BackendId(id));
        }
        for service in &mut parts.services {
            service.schedule = service.schedule.with_liveness(&up);
        }
        Self::with_index(parts, Arc::clone(&self.index))
    }

    fn with_index(parts: Parts, index: Arc<Index>) -> Self {
        let takes = |id: &BackendId| parts.backends.get(id.index()).is_some_and(Backend::takes_connections);
        let takes_connections = parts.services.iter().map(|service| service.backends.iter().any(takes)).collect();
        Self { parts, takes_connections, index }
    }

    /// Whether the two differ in nothing but who is alive.
    pub fn is_same_but_for_liveness(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.index, &other.index)
    }

    /// All services.
    pub fn services(&self) -> &[Service] {
        &self.parts.services
    }

    /// All backends of all services.
    pub fn backends(&self) -> &[Backend] {
        &self.parts.backends
    }

    /// Every next hop.
    pub fn neighbors(&self) -> &[Arc<Neighbor>] {
        &self.parts.neighbors
    }

    /// Every port.
    pub fn ports(&self) -> &[Port] {
        &self.parts.ports
    }

    /// One service.
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.parts.services.get(id.index())
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

    /// One backend.
    #[inline(always)]
    pub fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.parts.backends.get(id.index())
    }

    /// One port.
    #[inline(always)]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.index.port_by_id.get(id.index())?.as_ref()
    }

    /// The service that a client's packet `key` is for: the exact one before the one of protocol `any`.
    pub fn service_for(&self, key: &FlowKey) -> Option<ServiceId> {
        let exact = match key.protocol {
            Protocol::Tcp | Protocol::Udp => self.index.listeners.get(&(key.dst, key.protocol, key.dst_port)),
            Protocol::Icmp => None,
        };
        exact.or_else(|| self.index.catch_all.get(&key.dst)).copied()
    }

    /// The ports of `address` that services listen on: they are nobody's source port.
    pub fn listening_ports(&self, address: Ipv4Addr, protocol: Protocol) -> Vec<u16> {
        let here = |(vip, transport, _): &&(Ipv4Addr, Protocol, u16)| *vip == address && *transport == protocol;
        self.index.listeners.keys().filter(here).map(|(.., port)| *port).collect()
    }

    /// Whether backends may send to `address`, because leat talks to them from it.
    pub fn is_local(&self, address: Ipv4Addr) -> bool {
        self.index.local.contains(&address)
    }

    /// Whether some service has a backend at `address`.
    pub fn is_backend(&self, address: Ipv4Addr) -> bool {
        self.index.backend_addresses.contains(&address)
    }

    /// Whether `address` is that of a backend of `service`.
    pub fn is_backend_of(&self, address: Ipv4Addr, service: &Service) -> bool {
        let is_it = |id: &BackendId| self.backend(*id).is_some_and(|backend| backend.address == address);
        self.is_backend(address) && service.backends.iter().any(is_it)
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
    pub fn is_nat_backend(&self, address: Ipv4Addr) -> bool {
        self.index.nat_backends.contains_key(&address)
    }

    /// Whether `address` lies where clients of a `nat` service are, as the configuration says.
    pub fn is_in_proxy_range(&self, address: Ipv4Addr) -> bool {
        self.parts.services.iter().flat_map(|service| &service.proxy_arp).any(|range| range.contains(&address))
    }

    /// Whether some service's tunnels go to this UDP port.
    pub fn is_gue_port(&self, port: u16) -> bool {
        self.index.gue_ports.contains(&port)
    }

    /// Whether `address` is leat's, whatever for, on `port`.
    pub fn owns(&self, address: Ipv4Addr, port: PortId) -> bool {
        self.index.addresses.get(&address).is_some_and(|only| only.is_none_or(|only| only == port))
    }

    /// Whether `address` is leat's on any port.
    pub fn owns_anywhere(&self, address: Ipv4Addr) -> bool {
        self.index.addresses.contains_key(&address)
    }

    /// The configured next hop towards `address`; none when replies go back where the requests came from.
    #[inline(always)]
    pub fn route(&self, address: Ipv4Addr) -> Option<&Arc<Neighbor>> {
        self.parts.routes.iter().find(|route| route.covers(address))?.via.as_ref()
    }

    /// The addresses to announce, and where.
    pub fn announcements(&self) -> Vec<Announcement> {
        let mut all: Vec<_> =
            self.index.addresses.iter().map(|(&address, &port)| Announcement { address, port }).collect();
        all.sort_by_key(|announcement| announcement.address);
        all
    }
}
