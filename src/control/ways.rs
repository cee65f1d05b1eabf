//! The ways to backends and back: ports, next hops, tunnels, routes and own addresses, from what the configuration says of
//! interfaces. What was there before and is still needed stays the same, with all that is known of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::PublishError;
use crate::config::{self, Config, HealthKind, PortName};
use crate::id::PortId;
use crate::neighbor::{Hop, Neighbor};
use crate::service::{Encapsulation, Forwarding, OwnAddress, PathMtu, Port, Route, Snapshot, Vlan};
use crate::wire::MacAddr;

/// In nobody's name, in either version.
pub(super) const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// In whose name a backend is asked for by ARP where leat has no own address near it: the service's local address or VIP.
/// One that holds a VIP itself, for a one-way service, would not answer that address, and is asked in nobody's name
/// (0.0.0.0, as RFC 5227 §2.1.1 has it).
pub(super) fn asker_by_backend(config: &Config) -> impl Fn(IpAddr, &config::Service) -> IpAddr {
    let one_way = config.services.iter().filter(|service| service.mode.is_one_way());
    let holders: HashSet<_> = one_way.flat_map(|service| &service.backends).map(|backend| backend.address).collect();
    move |backend, service| {
        if holders.contains(&backend) {
            return NOBODY;
        }
        let is_like = |address: &&IpAddr| address.is_ipv4() == backend.is_ipv4();
        service.local_addresses.iter().find(is_like).copied().unwrap_or(service.vip)
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
pub(super) fn interfaces<'a>(
    config: &'a Config,
    ports: &[Port],
) -> Result<Vec<(&'a config::Interface, PortId)>, PublishError> {
    let mut found: Vec<(_, PortId)> = Vec::new();
    for interface in &config.interfaces {
        let port = ports.iter().find(|port| is_on(interface, port) && interface.vlan == port.vlan.map(|vlan| vlan.tag));
        let name = match interface.vlan {
            Some(tag) => vlan_name(&interface.port.to_string(), tag),
            None => interface.port.to_string(),
        };
        let place = interface.place.clone();
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

/// What a VLAN of a device is called.
fn vlan_name(device: &str, tag: u16) -> String {
    format!("{device}.{tag}")
}

/// Whether the device behind `port` is that of `interface`.
fn is_on(interface: &config::Interface, port: &Port) -> bool {
    match &interface.port {
        PortName::Name(name) => match port.vlan {
            Some(vlan) => vlan_name(name, vlan.tag) == port.name,
            None => *name == port.name,
        },
        PortName::Number(number) => *number == port.device().0,
    }
}

/// The first number of a VLAN's port: DPDK has no more than 32 ports of its own.
const FIRST_VLAN: u16 = 64;

/// Adds to `ports`, which are devices, the VLANs on them that `config` names. A device that is not there is for [`wanted_ports`] to complain about.
///
/// # Errors
///
/// [`PublishError::TooManyVlans`].
pub fn add_vlans(config: &Config, ports: &mut Vec<Port>) -> Result<(), PublishError> {
    for interface in &config.interfaces {
        let Some(tag) = interface.vlan else { continue };
        let is_device = |port: &&Port| port.vlan.is_none() && is_on(interface, port);
        let Some(device) = ports.iter().find(is_device).cloned() else { continue };
        let vlan = Some(Vlan { tag, device: device.id });
        if ports.iter().any(|port| port.vlan == vlan) {
            continue;
        }
        let taken = ports.iter().filter(|port| port.vlan.is_some()).count() as u16;
        // A client's way back has eight bits for its port.
        let id = Some(FIRST_VLAN + taken).filter(|id| *id <= u8::MAX.into()).ok_or(PublishError::TooManyVlans)?;
        ports.push(Port { id: PortId(id), name: vlan_name(&device.name, tag), vlan, ..device });
    }
    Ok(())
}

/// Addresses that leat does not use because somebody else has them, and where that one is.
pub(super) type GivenUp = BTreeMap<IpAddr, Hop>;

pub(super) fn own_addresses(
    config: &Config,
    interfaces: &[(&config::Interface, PortId)],
    given_up: &GivenUp,
) -> Vec<OwnAddress> {
    let everywhere = config.addresses.iter().map(|net| OwnAddress { address: net.addr(), port: None });
    let bound = interfaces.iter().flat_map(|(interface, port)| {
        interface.addresses.iter().map(|net| OwnAddress { address: net.addr(), port: Some(*port) })
    });
    everywhere.chain(bound).filter(|own| !given_up.contains_key(&own.address)).collect()
}

/// What the interfaces say about ways to anywhere.
pub(super) fn routes(interfaces: &[(&config::Interface, PortId)], hops: &mut NextHops<'_>) -> Vec<Route> {
    let mut routes = Vec::new();
    for (interface, port) in interfaces {
        for net in &interface.addresses {
            routes.push(Route { network: net.trunc(), via: None });
        }
        let gateway = interface.gateway.map(|via| (config::value::everywhere(via), via));
        for (to, via) in interface.routes.iter().map(|route| (route.to, route.via)).chain(gateway) {
            let via = Some(hops.router(interface, *port, via));
            routes.push(Route { network: to, via });
        }
    }
    routes
}

/// Where health checks of a backend of `service` at `destination` leave from: an own address as [`source`] would
/// choose it, or the VIP where there is none. None where the checks are by ARP, or there are none.
pub(super) fn probe_source(
    config: &Config,
    given_up: &GivenUp,
    service: &config::Service,
    destination: IpAddr,
) -> Option<IpAddr> {
    let health = service.health.as_ref().filter(|health| health.kind != HealthKind::Arp);
    let is_like = |address: &&IpAddr| address.is_ipv4() == destination.is_ipv4();
    let local = || service.local_addresses.iter().find(is_like).copied().unwrap_or(service.vip);
    health.map(|_| source(config, given_up, destination).unwrap_or_else(local))
}

/// An own address to send from: one in the same prefix as `destination`, or any that is no VIP of a one-way service.
fn source(config: &Config, given_up: &GivenUp, destination: IpAddr) -> Option<IpAddr> {
    let Config { addresses, interfaces, services, .. } = config;
    let own = || interfaces.iter().flat_map(|interface| &interface.addresses).chain(addresses);
    let is_vip = |address| services.iter().any(|service| service.mode.is_one_way() && service.vip == address);
    let usable = || own().filter(|net| !is_vip(net.addr()) && !given_up.contains_key(&net.addr()));
    let near = usable().find(|net| net.contains(&destination));
    near.or_else(|| usable().find(|net| net.addr().is_ipv4() == destination.is_ipv4())).map(IpNet::addr)
}

/// Makes the way to each backend of a tunnel.
pub(super) struct Tunnels<'a> {
    config: &'a Config,
    given_up: &'a GivenUp,
    path_mtus: HashMap<IpAddr, Arc<PathMtu>>,
}

impl<'a> Tunnels<'a> {
    /// For `config`, with what was known of paths in `before`.
    pub(super) fn new(config: &'a Config, given_up: &'a GivenUp, before: &Snapshot) -> Self {
        let known = before.backends().filter_map(|(_, backend)| match &backend.forwarding {
            Forwarding::Encapsulate(way) => Some((way.destination, Arc::clone(&way.path_mtu))),
            Forwarding::Translate | Forwarding::Direct => None,
        });
        Self { config, given_up, path_mtus: known.collect() }
    }

    /// What is done to packets of `service` on their way to the backend at `destination`.
    pub(super) fn towards(&mut self, destination: IpAddr, service: &config::Service) -> Forwarding {
        if service.mode.translates() {
            return Forwarding::Translate;
        }
        let Some(tunnel) = service.tunnel else { return Forwarding::Direct };
        let path_mtu = Arc::clone(self.path_mtus.entry(destination).or_default());
        // A checked configuration has one, but somebody else may have it as well: then nothing is sent.
        let nobody = if destination.is_ipv4() { NOBODY } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        let source = source(self.config, self.given_up, destination).unwrap_or(nobody);
        Forwarding::Encapsulate(Encapsulation { source, destination, tunnel, path_mtu })
    }
}

/// What tells two neighbours apart: where they are looked for, and an Ethernet address that was configured.
type NeighborKey = (IpAddr, Option<PortId>, Option<MacAddr>);

/// Makes each next hop once.
pub(super) struct NextHops<'a> {
    config: &'a Config,
    interfaces: &'a [(&'a config::Interface, PortId)],
    ports: &'a [Port],
    workers: usize,
    given_up: &'a GivenUp,
    known: HashMap<NeighborKey, Arc<Neighbor>>,
    /// In whose name each is to be asked for: whoever needs it first says so.
    askers: HashMap<NeighborKey, IpAddr>,
}

impl<'a> NextHops<'a> {
    /// For `config`, with the next hops of `before`.
    pub(super) fn new(
        config: &'a Config,
        interfaces: &'a [(&'a config::Interface, PortId)],
        ports: &'a [Port],
        workers: usize,
        given_up: &'a GivenUp,
        before: &Snapshot,
    ) -> Self {
        let key = |neighbor: &Arc<Neighbor>| {
            let mac = neighbor.hop().filter(|_| neighbor.is_static()).map(|hop| hop.mac);
            (neighbor.address(), neighbor.port(), mac)
        };
        let known = before.neighbors().iter().map(|neighbor| (key(neighbor), Arc::clone(neighbor))).collect();
        Self { config, interfaces, ports, workers, given_up, known, askers: HashMap::new() }
    }

    /// From now on all are asked for in the right name.
    pub(super) fn commit(self) {
        for (key, asker) in self.askers {
            if let Some(neighbor) = self.known.get(&key) {
                neighbor.set_asker(asker);
            }
        }
    }

    /// The next hop to a backend at `address`. Where leat has no address on the way, it asks in the name of `local`.
    pub(super) fn towards(&mut self, address: IpAddr, mac: Option<MacAddr>, local: IpAddr) -> Arc<Neighbor> {
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
        let own = self.config.addresses.iter().find(|net| net.contains(&address)).map_or(local, IpNet::addr);
        self.asked(address, own, None)
    }

    /// The router `via`, which lies in one of the interface's own prefixes, or has a link-local address. That one may be asked in
    /// the name of any other, or of nobody.
    fn router(&mut self, interface: &config::Interface, port: PortId, via: IpAddr) -> Arc<Neighbor> {
        let is_usable =
            |net: &&IpNet| net.addr().is_ipv4() == via.is_ipv4() && !self.given_up.contains_key(&net.addr());
        let own = || interface.addresses.iter().chain(&self.config.addresses).filter(is_usable);
        let asker = own().find(|net| net.contains(&via)).or_else(|| own().next()).map_or(NOBODY, IpNet::addr);
        self.asked(via, asker, Some(port))
    }

    fn asked(&mut self, address: IpAddr, asker: IpAddr, port: Option<PortId>) -> Arc<Neighbor> {
        let (workers, key) = (self.workers, (address, port, None));
        let asker = if self.given_up.contains_key(&asker) { NOBODY } else { asker };
        self.askers.entry(key).or_insert(asker);
        let make = || Arc::new(Neighbor::new(address, asker, port, workers));
        Arc::clone(self.known.entry(key).or_insert_with(make))
    }

    /// The best configured way to `address`: the longest prefix, a gateway last.
    fn way_to(&self, address: IpAddr) -> Option<(&'a config::Interface, PortId, IpAddr)> {
        let ways = self.interfaces.iter().flat_map(|(interface, port)| {
            let gateway = interface.gateway.filter(|via| via.is_ipv4() == address.is_ipv4()).map(|via| (0, via));
            let routes = interface.routes.iter().filter(|route| route.to.contains(&address));
            let routes = routes.map(|route| (route.to.prefix_len(), route.via));
            routes.chain(gateway).map(|(len, via)| (len, (*interface, *port, via)))
        });
        ways.max_by_key(|(len, _)| *len).map(|(_, way)| way)
    }
}
