//! What a [`Snapshot`](super::Snapshot) is made of: the control side fills it in, and nothing is looked up in it.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Backend, ClientLists, Service};
use crate::conntrack::{ReservedPorts, Timeouts};
use crate::id::{PortId, ServiceId};
use crate::neighbor::{Announced, Bell, Hop, Neighbor};
use crate::wire::MacAddr;

/// One configured way: packets for addresses in `network` go to `via`.
#[derive(Clone, Debug)]
pub struct Route {
    /// The destinations.
    pub network: IpNet,
    /// The next hop; without one, the destinations are on the wire itself and replies go back where requests came from.
    pub via: Option<Arc<Neighbor>>,
}

impl Route {
    pub(super) fn covers(&self, address: IpAddr) -> bool {
        self.network.contains(&address)
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
    /// Where it is not the device itself that is meant, but one of its VLANs.
    pub vlan: Option<Vlan>,
}

/// A VLAN of a device, which is a port like any other to the packet path (IEEE 802.1Q).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The number in its frames' tags: 1 to 4094.
    pub tag: u16,
    /// The device.
    pub device: PortId,
}

impl Port {
    /// The device behind it.
    pub fn device(&self) -> PortId {
        self.vlan.map_or(self.id, |vlan| vlan.device)
    }
}

/// An own address, and the only port on which it is leat's; all ports when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Option<PortId>,
}

/// What a snapshot is made of.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// By [`ServiceId`]; numbers that nobody has are left out.
    pub services: Vec<Option<Service>>,
    /// By [`BackendId`](crate::id::BackendId); numbers that nobody has are left out.
    pub backends: Vec<Option<Backend>>,
    /// The services in configured order, then those that were removed.
    pub order: Vec<ServiceId>,
    /// leat's own addresses, beside VIPs and local addresses.
    pub own: Vec<OwnAddress>,
    /// Those of leat's addresses that health checks leave from.
    pub probe_sources: Vec<IpAddr>,
    /// Addresses that leat keeps silent about: it answers no ARP for them and announces none.
    pub silent: HashSet<IpAddr>,
    /// The same in the snapshot before.
    pub silent_before: HashSet<IpAddr>,
    /// Whether local addresses go to another instance with the VIPs, and so are kept where somebody has them, as those are.
    pub is_one_of_pair: bool,
    /// Own and local addresses that somebody else has, with where that one is: leat does not use them, and they are in nothing else
    /// here.
    pub given_up: BTreeMap<IpAddr, Hop>,
    /// Ways to clients and backends, in any order.
    pub routes: Vec<Route>,
    /// Every next hop, in any order.
    pub neighbors: Vec<Arc<Neighbor>>,
    /// Every port.
    pub ports: Vec<Port>,
    /// Idle times of connections.
    pub timeouts: Timeouts,
    /// What was announced before, whether it still is leat's or not.
    pub announced: Vec<Arc<Announced>>,
    /// The reserved ports from before: they are used again if they are still the same.
    pub reserved: Arc<ReservedPorts>,
    /// Which clients are served.
    pub clients: Arc<ClientLists>,
    /// Rung when a neighbour is to be probed.
    pub bell: Arc<Bell>,
}
