//! What is legal and yet likely not meant.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::{Backend, Config, HealthKind, Service};
use crate::scheduler::{Algorithm, TableSize};
use crate::service::{Mode, OnFailure, ServiceProtocol};

/// Slots for each backend below which shares differ by more than about a percent (Maglev, NSDI'16, §3.4).
const SLOTS_PER_BACKEND: usize = 100;

/// A sentence each.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.services.is_empty() {
        warnings.push("there is no service: every packet will be dropped, apart from ARP".to_owned());
    }
    let wholes: HashMap<IpAddr, &Service> = config
        .services
        .iter()
        .filter(|service| service.protocol == ServiceProtocol::Any)
        .map(|service| (service.vip, service))
        .collect();
    let held = held(config);
    for service in &config.services {
        let mut warn = |text: String| warnings.push(format!("service {:?}: {text}", service.name));
        alone(service, &mut warn);
        if let Some(kind) = service.health.as_ref().map(|health| health.kind)
            && config.standby
            && kind != HealthKind::Arp
            && !has_own_address(config)
        {
            warn(format!(
                "standby, health type {kind} and no own address: as long as the VIP is withdrawn, nothing is asked; write an \
                 own address in addresses of an [[interface]]"
            ));
        }
        let is_v4 = service.vip.is_ipv4();
        if service.mode == Mode::Nat && has_one_network(config, is_v4) {
            warn(format!(
                "in mode nat on one network, replies pass leat only where clients and backends cannot hear each other's \
                 {} (isolated bridge ports, a private VLAN); elsewhere give leat two ports, or an address in each of two \
                 networks, as the backends' gateway",
                if is_v4 { "ARP" } else { "neighbour discovery" }
            ));
        }
        for local in &service.local_addresses {
            let holder = |backend: &&Backend| held.contains(&(backend.address, *local));
            if let Some(backend) = service.backends.iter().find(holder) {
                warn(format!(
                    "its local address {local} is the VIP of a one-way service, which backend {} holds itself, so it \
                     ignores what comes from there; give the service local_addresses of its own",
                    backend.address
                ));
            }
        }
        for address in &service.local_addresses {
            if let Some(whole) = wholes.get(address) {
                warn(format!(
                    "its local address {address} is the VIP of {:?}, so what a backend opens to that looks like a reply; \
                     give it local_addresses of its own",
                    whole.name
                ));
            }
        }
    }
    warnings
}

/// Each backend of a one-way service with the VIP that it holds.
fn held(config: &Config) -> HashSet<(IpAddr, IpAddr)> {
    let one_way = config.services.iter().filter(|service| service.mode.is_one_way());
    one_way.flat_map(|service| service.backends.iter().map(|backend| (backend.address, service.vip))).collect()
}

/// Whether there is an address that is nothing but leat's.
fn has_own_address(config: &Config) -> bool {
    !config.addresses.is_empty() || config.interfaces.iter().any(|interface| !interface.addresses.is_empty())
}

/// Whether nothing says that clients and backends of one version are apart: at most one interface, and at most one prefix.
fn has_one_network(config: &Config, is_v4: bool) -> bool {
    let bound = config.interfaces.iter().flat_map(|interface| &interface.addresses);
    let own = config.addresses.iter().chain(bound).filter(|own| own.addr().is_ipv4() == is_v4);
    let networks: HashSet<IpNet> = own.map(IpNet::trunc).collect();
    config.interfaces.len() < 2 && networks.len() < 2
}

fn alone(service: &Service, warn: &mut impl FnMut(String)) {
    let Service { backends, scheduler, maglev_table_size, .. } = service;
    if backends.is_empty() {
        warn("it has no backends, so its packets will be dropped".to_owned());
    } else if backends.iter().all(|backend| backend.weight == 0) {
        warn("every backend has weight 0, so new connections will be dropped".to_owned());
    }
    if service.on_failure != OnFailure::Keep && service.health.is_none() {
        warn("without health no failure is noticed, so on_failure means nothing".to_owned());
    }
    for (key, is_given) in [("slow_start", service.slow_start.is_some()), ("panic", service.panic.is_some())] {
        if is_given && service.health.is_none() {
            warn(format!("without health no failure is noticed, so {key} means nothing"));
        }
    }
    if service.slow_start.is_some() && matches!(scheduler, Algorithm::RoundRobin | Algorithm::LeastConnections) {
        warn(format!("scheduler {scheduler} ignores weights, so slow_start means nothing; wrr and wlc obey them"));
    }
    let mut weights = backends.iter().map(|backend| backend.weight).filter(|weight| *weight > 0);
    let unequal = weights.next().is_some_and(|first| weights.any(|weight| weight != first));
    match scheduler {
        Algorithm::RoundRobin if unequal => {
            warn("scheduler rr ignores weights other than 0; wrr obeys them".to_owned())
        }
        Algorithm::LeastConnections if unequal => {
            warn("scheduler lc ignores weights other than 0; wlc obeys them".to_owned())
        }
        Algorithm::Maglev | Algorithm::SourceHash
            if (maglev_table_size.get() as usize) < backends.len().saturating_mul(SLOTS_PER_BACKEND) =>
        {
            warn(format!(
                "a {scheduler} table of {maglev_table_size} is small for {} backends, so their shares will be uneven; \
                 write at least {SLOTS_PER_BACKEND} slots a backend",
                backends.len()
            ));
        }
        Algorithm::Maglev | Algorithm::SourceHash => {}
        _ if *maglev_table_size != TableSize::default() => {
            warn(format!("scheduler {scheduler} has no table, so maglev_table_size means nothing"));
        }
        _ => {}
    }
}
