//! The rules of services and their backends.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::super::draft::{Draft, DraftBackend, DraftService};
use super::super::problem::{At, Place, Problems};
use super::super::{Backend, Config, Service, value};
use super::{Mention, checked, failure, forwarding, handshake, health, in_words};
use crate::conntrack::ClientLimits;
use crate::flow::{Endpoint, endpoint};
use crate::scheduler::{Algorithm, TableSize};
use crate::service::{Mode, ServiceProtocol};

/// Services are numbered in 16 bits.
const MAX_SERVICES: usize = u16::MAX as usize;

const PROTOCOLS: [(&str, ServiceProtocol); 3] =
    [("tcp", ServiceProtocol::Tcp), ("udp", ServiceProtocol::Udp), ("any", ServiceProtocol::Any)];

pub(super) fn service(draft: &DraftService, problems: &Problems) -> Option<Service> {
    let context = &draft.context;
    let vip = problems.accept(value::host("vip", &draft.vip.value), &draft.vip.place, context);
    let protocol = choice(problems, draft, &draft.protocol, "protocol", &PROTOCOLS);
    // A wrong VIP may have swallowed the port.
    let port = vip.and(protocol).and_then(|protocol| service_port(draft, protocol, problems));
    let mode = choice(problems, draft, &draft.mode, "mode", &Mode::ALL.map(|mode| (mode.name(), mode)));
    let scheduler = choice(problems, draft, &draft.scheduler, "scheduler", &schedulers());
    let maglev_table_size = maglev_table_size(draft, problems);
    let local_addresses = forwarding::local_addresses(draft, vip, protocol, mode, problems);
    let proxy_arp = mode.and_then(|mode| forwarding::proxy_arp(draft, mode, problems));
    let tunnel = mode.and_then(|mode| forwarding::tunnel(draft, mode, problems));
    let mss_clamp = protocol.and_then(|protocol| forwarding::mss_clamp(draft, protocol, problems));
    let time =
        |field, given| checked(problems, context, given, None, |text: &String| value::duration(field, text).map(Some));
    let persistence = time("persistence", &draft.persistence);
    let flow_memory = time("flow_memory", &draft.extras.flow_memory);
    let slow_start = time("slow_start", &draft.extras.slow_start);
    let panic = checked(problems, context, &draft.extras.panic, None, |share| {
        value::in_range("panic", *share, 1, 100_u8).map(Some)
    });
    let health = protocol.and_then(|protocol| health::health(draft, protocol, problems));
    let on_failure = mode.and_then(|mode| failure::on_failure(draft, mode, problems));
    let no_connection = mode.and_then(|mode| failure::no_connection(draft, mode, problems));
    let syn_proxy =
        mode.zip(protocol).and_then(|(mode, protocol)| handshake::syn_proxy(draft, mode, protocol, problems));
    let sequence_numbers =
        mode.zip(protocol).and_then(|(mode, protocol)| handshake::sequence_numbers(draft, mode, protocol, problems));
    let client_address =
        mode.zip(protocol).and_then(|(mode, protocol)| handshake::client_address(draft, mode, protocol, problems));
    let one_packet = mode.zip(protocol).and_then(|(mode, protocol)| one_packet(draft, mode, protocol, problems));
    let limit = |field, given: &Option<At<i128>>| {
        checked(problems, context, given, None, |given| value::in_range(field, *given, 1, u32::MAX).map(Some))
    };
    let max_connections = limit("max_connections", &draft.extras.max_connections);
    let max_rate = limit("max_rate", &draft.extras.max_rate);
    let client_limit = |field, given: &Option<At<i128>>| {
        checked(problems, context, given, None, |given| value::in_range(field, *given, 1, u16::MAX).map(Some))
    };
    let client_connections = client_limit("client_max_connections", &draft.extras.client_max_connections);
    let client_rate = client_limit("client_max_rate", &draft.extras.client_max_rate);
    let backends = read_backends(draft, protocol, port, mode, problems);
    let name = name(draft, problems);

    let (vip, protocol, port) = (vip?, protocol?, port?);
    let default_name = || match protocol {
        ServiceProtocol::Any => format!("any:{vip}"),
        _ => format!("{protocol}:{}", Endpoint(vip, port)),
    };
    Some(Service {
        name: name?.unwrap_or_else(default_name),
        vip,
        protocol,
        port,
        mode: mode?,
        scheduler: scheduler?,
        maglev_table_size: maglev_table_size?,
        local_addresses: local_addresses?,
        proxy_arp: proxy_arp?,
        tunnel: tunnel?,
        mss_clamp: mss_clamp?,
        persistence: persistence?,
        flow_memory: flow_memory?,
        health: health?,
        slow_start: slow_start?,
        panic: panic?,
        on_failure: on_failure?,
        no_connection: no_connection?,
        syn_proxy: syn_proxy?,
        sequence_numbers: sequence_numbers?,
        client_address: client_address?,
        one_packet: one_packet?,
        max_connections: max_connections?,
        max_rate: max_rate?,
        client_limits: ClientLimits { connections: client_connections?, rate: client_rate? },
        backends: backends?,
    })
}

/// Whether each datagram is scheduled by itself.
fn one_packet(draft: &DraftService, mode: Mode, protocol: ServiceProtocol, problems: &Problems) -> Option<bool> {
    checked(problems, &draft.context, &draft.extras.one_packet, false, |one_packet| {
        if *one_packet && protocol != ServiceProtocol::Udp {
            return Err(format!("one_packet is about UDP, and the protocol is {protocol}; write protocol = \"udp\""));
        }
        if *one_packet && mode == Mode::Nat {
            return Err(
                "one_packet is for fullnat and the one-way modes: in nat the answers of several backends to one \
                        client could not be told apart; leave it out"
                    .to_owned(),
            );
        }
        Ok(*one_packet)
    })
}

fn choice<T: Copy + Default>(
    problems: &Problems,
    draft: &DraftService,
    given: &Option<At<String>>,
    field: &str,
    known: &[(&str, T)],
) -> Option<T> {
    checked(problems, &draft.context, given, T::default(), |text| value::choice(field, text, known, &[]))
}

/// The name that was given, if one was.
fn name(draft: &DraftService, problems: &Problems) -> Option<Option<String>> {
    let Some(given) = &draft.name else { return Some(None) };
    let name = value::service_name(&given.value).map(|()| given.value.clone());
    problems.accept(name, &given.place, &draft.context).map(Some)
}

fn service_port(draft: &DraftService, protocol: ServiceProtocol, problems: &Problems) -> Option<u16> {
    let context = &draft.context;
    match (protocol, &draft.port) {
        (ServiceProtocol::Any, None) => Some(0),
        (ServiceProtocol::Any, Some(given)) => {
            problems.report(&given.place, context, "protocol any is every port of the VIP; leave the port out");
            None
        }
        (_, Some(given)) => problems.accept(value::port(given.value), &given.place, context),
        (_, None) => {
            let advice = in_words(&draft.place, "port = 8080", || endpoint(&draft.vip.value, 8080));
            problems.report(
                &draft.place,
                context,
                format_args!("the port is missing, and {protocol} needs one; write {advice}"),
            );
            None
        }
    }
}

/// The schedulers with their names.
fn schedulers() -> [(&'static str, Algorithm); Algorithm::ALL.len()] {
    Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm))
}

fn maglev_table_size(draft: &DraftService, problems: &Problems) -> Option<TableSize> {
    let backends = draft.backends.len();
    let fits = |size: TableSize| backends <= size.get() as usize;
    let Some(given) = &draft.maglev_table_size else {
        let size = TableSize::default();
        if !fits(size) {
            problems.report(
                &draft.place,
                &draft.context,
                format_args!(
                    "{backends} backends do not fit in a maglev table of {size}; write a larger maglev_table_size"
                ),
            );
            return None;
        }
        return Some(size);
    };
    let size = u64::try_from(given.value)
        .map_err(|_| format!("{} is negative", given.value))
        .and_then(|size| TableSize::new(size).map_err(|error| error.to_string()))
        .map_err(|error| format!("maglev_table_size: {error}"))
        .and_then(|size| {
            let small =
                || format!("maglev_table_size {size} is less than the number of backends, {backends}; write more");
            if fits(size) { Ok(size) } else { Err(small()) }
        });
    problems.accept(size, &given.place, &draft.context)
}

fn read_backends(
    draft: &DraftService,
    protocol: Option<ServiceProtocol>,
    port: Option<u16>,
    mode: Option<Mode>,
    problems: &Problems,
) -> Option<Vec<Backend>> {
    let mut seen = HashSet::new();
    let mut backends = Vec::with_capacity(draft.backends.len());
    for given in &draft.backends {
        let Some(backend) = backend(given, &draft.context, protocol, port, mode, problems) else { continue };
        if seen.insert((backend.address, backend.port)) {
            backends.push(backend);
            continue;
        }
        let shown = Endpoint(backend.address, backend.port);
        problems.report(
            &given.address.place,
            &draft.context,
            format_args!("backend {shown} is there twice; write it once, with a weight if it is to get more"),
        );
    }
    (backends.len() == draft.backends.len()).then_some(backends)
}

fn backend(
    draft: &DraftBackend,
    context: &str,
    protocol: Option<ServiceProtocol>,
    service_port: Option<u16>,
    mode: Option<Mode>,
    problems: &Problems,
) -> Option<Backend> {
    let address = problems.accept(value::host("backend", &draft.address.value), &draft.address.place, context);
    let port = match &draft.port {
        None => service_port,
        Some(given) if protocol == Some(ServiceProtocol::Any) => {
            problems.report(
                &given.place,
                context,
                "a backend of protocol any has no port of its own; leave the port out",
            );
            None
        }
        Some(given) => {
            let port = value::port(given.value).and_then(|port| forwarding::backend_port(mode, port, service_port));
            problems.accept(port, &given.place, context)
        }
    };
    let weight = checked(problems, context, &draft.weight, 1, |given| value::in_range("weight", *given, 0, u16::MAX));
    let max_connections = checked(problems, context, &draft.max_connections, None, |given| {
        value::in_range("max_connections", *given, 1, u32::MAX).map(Some)
    });
    let max_rate = checked(problems, context, &draft.max_rate, None, |given| {
        value::in_range("max_rate", *given, 1, u32::MAX).map(Some)
    });
    let mac = checked(problems, context, &draft.mac, None, |text| value::station(text).map(Some));
    Some(Backend {
        address: address?,
        port: port?,
        weight: weight?,
        max_connections: max_connections?,
        max_rate: max_rate?,
        mac: mac?,
    })
}

/// No name twice, and no VIP, protocol and port twice. An exact service beside an `any` is legal.
pub(super) fn unique(draft: &Draft, config: &Config, problems: &Problems) {
    let mut names: HashMap<&str, &Place> = HashMap::new();
    let mut keys: HashMap<(IpAddr, ServiceProtocol, u16), &Place> = HashMap::new();
    for (index, (given, service)) in draft.services.iter().zip(&config.services).enumerate() {
        if index == MAX_SERVICES {
            problems.report(&given.place, "", format_args!("more than {MAX_SERVICES} services; write fewer"));
            return;
        }
        if let Some(first) = keys.insert((service.vip, service.protocol, service.port), &given.vip.place) {
            let shown = format!("{} {}", service.protocol, Endpoint(service.vip, service.port));
            problems.report(
                &given.vip.place,
                &given.context,
                format_args!("{shown} is a service already ({first}); write its backends there"),
            );
            continue;
        }
        let place = given.name.as_ref().map_or(&given.place, |name| &name.place);
        if let Some(first) = names.insert(&service.name, place) {
            problems.report(
                place,
                &given.context,
                format_args!("name {:?} is taken already ({first}); write another", service.name),
            );
        }
    }
}

/// The VIPs and the local addresses that are written somewhere.
pub(super) fn vips_and_locals<'d>(draft: &'d Draft, config: &Config) -> Vec<Mention<'d>> {
    let mut mentions = Vec::new();
    for (given, service) in draft.services.iter().zip(&config.services) {
        let context = given.context.as_str();
        let locals = given.local_addresses.iter().zip(&service.local_addresses);
        mentions.extend(locals.map(|(given, address)| Mention {
            what: "local address",
            address: *address,
            place: &given.place,
            context,
        }));
        mentions.push(Mention { what: "vip", address: service.vip, place: &given.vip.place, context });
    }
    mentions
}

/// The backends of all services.
pub(super) fn backends<'d>(draft: &'d Draft, config: &Config) -> Vec<Mention<'d>> {
    let services = draft.services.iter().zip(&config.services);
    services
        .flat_map(|(given, service)| {
            given.backends.iter().zip(&service.backends).map(|(draft, backend)| Mention {
                what: "backend",
                address: backend.address,
                place: &draft.address.place,
                context: &given.context,
            })
        })
        .collect()
}
