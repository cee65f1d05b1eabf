//! What is legal and yet likely not meant.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::super::{Config, Service};
use crate::scheduler::{Algorithm, TableSize};
use crate::service::ServiceProtocol;

/// Slots for each backend below which shares differ by more than about a percent (Maglev, NSDI'16, §3.4).
const SLOTS_PER_BACKEND: usize = 100;

/// A sentence each.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.services.is_empty() {
        warnings.push("there is no service: every packet will be dropped, apart from ARP".to_owned());
    }
    let wholes: HashMap<Ipv4Addr, &Service> = config
        .services
        .iter()
        .filter(|service| service.protocol == ServiceProtocol::Any)
        .map(|service| (service.vip, service))
        .collect();
    for service in &config.services {
        let mut warn = |text: String| warnings.push(format!("service {:?}: {text}", service.name));
        alone(service, &mut warn);
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

fn alone(service: &Service, warn: &mut impl FnMut(String)) {
    let Service { backends, scheduler, maglev_table_size, .. } = service;
    if backends.is_empty() {
        warn("it has no backends, so its packets will be dropped".to_owned());
    } else if backends.iter().all(|backend| backend.weight == 0) {
        warn("every backend has weight 0, so new connections will be dropped".to_owned());
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
