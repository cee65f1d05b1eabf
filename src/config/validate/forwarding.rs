//! The rules of modes: what each needs, and which settings belong to it.

use std::collections::HashSet;
use std::fmt::Display;
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::draft::{Draft, DraftService};
use super::super::problem::{At, Place, Problems};
use super::super::{Config, Service, value};
use super::interface::{self, prefixes};
use super::{checked, in_words, own_addresses};
use crate::service::{Gue, GueVersion, Mode, ServiceProtocol, Tunnel};
use crate::wire::ip;

/// The least segment size that every host must take (RFC 9293 §3.7.1), and the largest that fits behind two headers of
/// 20 bytes in the largest packet.
const MSS: (u16, u16) = (536, u16::MAX - 40);

/// The sources of packets to the backends.
pub(super) fn local_addresses(
    draft: &DraftService,
    vip: Option<IpAddr>,
    protocol: Option<ServiceProtocol>,
    mode: Option<Mode>,
    problems: &Problems,
) -> Option<Vec<IpAddr>> {
    let any = protocol == Some(ServiceProtocol::Any);
    let option = in_words(&draft.place, "local_addresses", || "--local-address".to_owned());
    match (mode?, draft.local_addresses.first()) {
        (Mode::Fullnat, Some(_)) => {}
        (Mode::Fullnat, None) if any => {
            problems.report(
                &draft.place,
                &draft.context,
                format_args!("protocol any in mode fullnat needs a local address that is not the VIP; write {option}"),
            );
            return None;
        }
        (Mode::Fullnat, None) => return vip.map(|vip| vec![vip]),
        (_, None) => return Some(Vec::new()),
        (mode, Some(first)) => {
            let what = format!("local address {:?}", first.value);
            belongs_elsewhere(draft, &first.place, &what, Mode::Fullnat, mode, problems);
            return None;
        }
    }
    let mut seen = HashSet::new();
    let addresses = draft.local_addresses.iter().map(|given| {
        let address = value::host("local address", &given.value).and_then(|address| {
            if any && Some(address) == vip {
                return Err(format!(
                    "local address {address} is the VIP, all ports of which belong to protocol any; write another address"
                ));
            }
            if !seen.insert(address) {
                return Err(format!("local address {address} is there twice; write it once"));
            }
            Ok(address)
        });
        problems.accept(address, &given.place, &draft.context)
    });
    // All are looked at before the first failure counts.
    addresses.collect::<Vec<_>>().into_iter().collect()
}

/// What packets travel inside.
pub(super) fn tunnel(draft: &DraftService, mode: Mode, problems: &Problems) -> Option<Option<Tunnel>> {
    let context = &draft.context;
    let (port, version, checksum) = (&draft.extras.gue_port, &draft.extras.gue_version, &draft.extras.gue_checksum);
    if mode == Mode::Gue {
        let default = Gue::default();
        let port =
            checked(problems, context, port, default.port, |port| value::in_range("gue_port", *port, 1, u16::MAX));
        let version = checked(problems, context, version, default.version, |version| gue_version(*version));
        let checksum = checksum.as_ref().map_or(default.checksum, |given| given.value);
        return Some(Some(Tunnel::Gue(Gue { port: port?, version: version?, checksum })));
    }
    let given = [("gue_port", place(port)), ("gue_version", place(version)), ("gue_checksum", place(checksum))];
    let mut is_right = true;
    for (key, place) in given {
        if let Some(place) = place {
            belongs_elsewhere(draft, place, key, Mode::Gue, mode, problems);
            is_right = false;
        }
    }
    is_right.then_some((mode == Mode::Ipip).then_some(Tunnel::Ipip))
}

fn place<T>(given: &Option<At<T>>) -> Option<&Place> {
    given.as_ref().map(|given| &given.place)
}

fn gue_version(given: i128) -> Result<GueVersion, String> {
    match given {
        0 => Ok(GueVersion::V0),
        1 => Ok(GueVersion::V1),
        _ => Err(format!("gue_version {given} is unknown; write 0, with GUE's header, or 1, for the bare packet")),
    }
}

/// The ranges of clients for which leat answers backends' ARP requests.
pub(super) fn proxy_arp(draft: &DraftService, mode: Mode, problems: &Problems) -> Option<Vec<IpNet>> {
    let given = &draft.extras.proxy_arp;
    if let Some(first) = given.first().filter(|_| mode != Mode::Nat) {
        belongs_elsewhere(draft, &first.place, "proxy_arp", Mode::Nat, mode, problems);
        return None;
    }
    let mut seen = HashSet::new();
    let ranges = given.iter().map(|given| {
        let range = value::network("proxy_arp", &given.value).and_then(|range| {
            if range.network().is_loopback() || range.network().is_multicast() {
                return Err(format!("proxy_arp {range} is no range of hosts; write the addresses of clients"));
            }
            if ip::is_link_local(range.network()) {
                return Err(format!(
                    "proxy_arp {range} has link-local addresses, whose hosts the backends hear themselves; write the addresses of clients"
                ));
            }
            if !seen.insert(range) {
                return Err(format!("proxy_arp {range} is there twice; write it once"));
            }
            Ok(range)
        });
        problems.accept(range, &given.place, &draft.context)
    });
    // All are looked at before the first failure counts.
    ranges.collect::<Vec<_>>().into_iter().collect()
}

/// The largest segment that SYNs may announce.
pub(super) fn mss_clamp(draft: &DraftService, protocol: ServiceProtocol, problems: &Problems) -> Option<Option<u16>> {
    checked(problems, &draft.context, &draft.extras.mss_clamp, None, |bytes| {
        if protocol == ServiceProtocol::Udp {
            return Err("mss_clamp is about TCP, and the protocol is udp; leave it out".to_owned());
        }
        value::in_range("mss_clamp", *bytes, MSS.0, MSS.1).map(Some)
    })
}

/// Why a backend cannot have `port` in `mode`, if it cannot.
pub(super) fn backend_port(mode: Option<Mode>, port: u16, service_port: Option<u16>) -> Result<u16, String> {
    match (mode, service_port) {
        (Some(mode), Some(service_port)) if mode.is_one_way() && port != service_port => Err(format!(
            "port {port}: mode {mode} leaves ports as they are, and the service's is {service_port}; leave the port out"
        )),
        _ => Ok(port),
    }
}

fn belongs_elsewhere(
    draft: &DraftService,
    place: &Place,
    what: impl Display,
    home: Mode,
    mode: Mode,
    problems: &Problems,
) {
    let advice = in_words(&draft.place, format!("leave it out, or write mode = \"{home}\""), || {
        format!("leave it out, or write --mode {home}")
    });
    problems.report(
        place,
        &draft.context,
        format_args!("{what} belongs to mode {home}, and the mode is {mode}; {advice}"),
    );
}

/// What a mode needs from other parts: an own address, a backend on the link, clients in a range.
pub(super) fn between_parts(draft: &Draft, config: &Config, problems: &Problems) {
    let own: Vec<IpAddr> = own_addresses(draft, config).iter().map(|(prefix, ..)| prefix.addr()).collect();
    let one_way = config.services.iter().filter(|service| service.mode.is_one_way());
    let held: HashSet<IpAddr> = one_way.map(|service| service.vip).collect();
    let ours: HashSet<IpAddr> = own
        .iter()
        .copied()
        .chain(config.services.iter().flat_map(|service| service.local_addresses.iter().copied().chain([service.vip])))
        .collect();
    for (given, service) in draft.services.iter().zip(&config.services) {
        families(given, service, problems);
        if service.mode.is_tunnel() {
            tunnel_source(given, service, &own, &held, problems);
        }
        if service.mode == Mode::Dr {
            backends_on_the_link(given, config, service, problems);
        }
        proxy_arp_has_clients(given, service, &ours, problems);
    }
}

/// Which addresses must be of the same version of IP.
fn families(given: &DraftService, service: &Service, problems: &Problems) {
    let name = |address: IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let Service { vip, mode, .. } = service;
    for (draft, backend) in given.backends.iter().zip(&service.backends) {
        let (address, place) = (backend.address, &draft.address.place);
        let is_like = |other: &IpAddr| other.is_ipv4() == address.is_ipv4();
        if *mode == Mode::Fullnat && !service.local_addresses.iter().any(is_like) {
            let option = in_words(&given.place, "local_addresses", || "--local-address".to_owned());
            let message = format_args!(
                "backend {address} is of {}, and there is no local address of {} to send to it from; write one in {option}",
                name(address),
                name(address)
            );
            problems.report(place, &given.context, message);
        } else if !is_like(vip) && matches!(mode, Mode::Nat | Mode::Dr) {
            let message = format_args!(
                "backend {address} is of {}, and the VIP {vip} of {}, between which mode {mode} cannot translate; write a \
                 backend of {}, or mode fullnat, ipip or gue",
                name(address),
                name(*vip),
                name(*vip)
            );
            problems.report(place, &given.context, message);
        }
    }
    for (draft, address) in given.local_addresses.iter().zip(&service.local_addresses) {
        let is_used = |backend: &super::super::Backend| backend.address.is_ipv4() == address.is_ipv4();
        if !service.backends.is_empty() && !service.backends.iter().any(is_used) {
            let message = format_args!(
                "local address {address} is of {}, and no backend is; write one of the backends' version, or leave it out",
                name(*address)
            );
            problems.report(&draft.place, &given.context, message);
        }
    }
    for (draft, range) in given.extras.proxy_arp.iter().zip(&service.proxy_arp) {
        if range.addr().is_ipv4() != service.vip.is_ipv4() {
            let message = format_args!(
                "proxy_arp {range} is of {}, and the VIP's clients are of {}; write their range",
                name(range.addr()),
                name(service.vip)
            );
            problems.report(&draft.place, &given.context, message);
        }
    }
}

/// Backends hold the VIPs of one-way services, and a Linux host ignores what comes from an address that it holds.
fn tunnel_source(given: &DraftService, service: &Service, own: &[IpAddr], held: &HashSet<IpAddr>, problems: &Problems) {
    // With no backends yet, any will do.
    let lacks =
        |backend: &IpAddr| !own.iter().any(|address| !held.contains(address) && address.is_ipv4() == backend.is_ipv4());
    let backends = service.backends.iter().map(|backend| backend.address);
    let Some(backend) = backends.chain(service.backends.is_empty().then_some(service.vip)).find(lacks) else { return };
    let own: Vec<IpAddr> = own.iter().filter(|address| address.is_ipv4() == backend.is_ipv4()).copied().collect();
    let mode = service.mode;
    let place = given.mode.as_ref().map_or(&given.place, |mode| &mode.place);
    let advice =
        in_words(&given.place, "write one in addresses of an [[interface]]", || "write --address ADDR/LEN".to_owned());
    let version = if backend.is_ipv4() { "" } else { " of IPv6" };
    let message = match own.first() {
        None => format!(
            "mode {mode} needs an own address{version} to send its tunnels from: a backend holds the VIP itself and ignores what \
             comes from it; {advice}"
        ),
        Some(address) => format!(
            "mode {mode} needs an own address that is not a VIP to send its tunnels from, and {address} is one: a backend \
             holds the VIP itself and ignores what comes from it; {advice}"
        ),
    };
    problems.report(place, &given.context, message);
}

/// A router would send a packet for the VIP back to leat.
fn backends_on_the_link(given: &DraftService, config: &Config, service: &Service, problems: &Problems) {
    for (draft, backend) in given.backends.iter().zip(&service.backends) {
        // With a configured Ethernet address it is on the link whatever its address.
        if backend.mac.is_none() && interface::is_beyond_router(config, backend.address) {
            let message = format_args!(
                "backend {} is beyond a router, which mode dr cannot cross, as its packets still have the VIP as their \
                 destination; write a backend in {}, or mode ipip or gue",
                backend.address,
                prefixes(config)
            );
            problems.report(&draft.address.place, &given.context, message);
        }
    }
}

/// A range in which leat itself and backends are everyone is no range of clients.
fn proxy_arp_has_clients(given: &DraftService, service: &Service, ours: &HashSet<IpAddr>, problems: &Problems) {
    // Most services have none, and a set for each of ten thousand would take as many times ten thousand steps.
    if service.proxy_arp.is_empty() {
        return;
    }
    let backends = service.backends.iter().map(|backend| backend.address);
    let excluded: HashSet<IpAddr> = ours.iter().copied().chain(backends).collect();
    for (given_range, range) in given.extras.proxy_arp.iter().zip(&service.proxy_arp) {
        let size = 1_u128.checked_shl(u32::from(range.max_prefix_len() - range.prefix_len())).unwrap_or(u128::MAX);
        let inside = excluded.iter().filter(|address| range.contains(*address)).count();
        if inside as u128 == size {
            let message = format_args!(
                "proxy_arp {range} holds nothing but addresses of leat's own and backends, for which leat never answers \
                 in another's name; write the range of the clients"
            );
            problems.report(&given_range.place, &given.context, message);
        }
    }
}
