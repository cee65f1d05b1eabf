//! The rules of services and their backends.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use super::super::draft::{Draft, DraftBackend, DraftService};
use super::super::problem::{Place, Problems};
use super::super::{Backend, Config, Service, value};
use super::Mention;
use crate::scheduler::{Algorithm, TableSize};
use crate::service::{Mode, ServiceProtocol};

/// Services are numbered in 16 bits.
const MAX_SERVICES: usize = u16::MAX as usize;

const LONGEST_NAME: usize = 64;
const PROTOCOLS: [(&str, ServiceProtocol); 3] =
    [("tcp", ServiceProtocol::Tcp), ("udp", ServiceProtocol::Udp), ("any", ServiceProtocol::Any)];
const MODES: [(&str, Mode); 1] = [("fullnat", Mode::Fullnat)];
const LATER_MODES: [&str; 4] = ["nat", "dr", "ipip", "gue"];

pub(super) fn service(draft: &DraftService, problems: &Problems) -> Option<Service> {
    let context = &draft.context;
    let vip = problems.accept(value::host("vip", &draft.vip.value), &draft.vip.place, context);
    let protocol = choice(problems, draft, &draft.protocol, "protocol", &PROTOCOLS, &[]);
    // A wrong VIP may have swallowed the port.
    let port = vip.and(protocol).and_then(|protocol| service_port(draft, protocol, problems));
    let mode = choice(problems, draft, &draft.mode, "mode", &MODES, &LATER_MODES);
    let scheduler = choice(problems, draft, &draft.scheduler, "scheduler", &schedulers(), &[]);
    let maglev_table_size = maglev_table_size(draft, problems);
    let local_addresses = local_addresses(draft, vip, protocol, problems);
    let persistence = draft
        .persistence
        .as_ref()
        .map(|given| problems.accept(value::duration("persistence", &given.value), &given.place, context));
    let backends = read_backends(draft, protocol, port, problems);
    let name = name(draft, problems);

    let (vip, protocol, port) = (vip?, protocol?, port?);
    let default_name = || match protocol {
        ServiceProtocol::Any => format!("any:{vip}"),
        _ => format!("{protocol}:{vip}:{port}"),
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
        persistence: persistence.map_or(Some(None), |given| given.map(Some))?,
        backends: backends?,
    })
}

fn choice<T: Copy + Default>(
    problems: &Problems,
    draft: &DraftService,
    given: &Option<super::At<String>>,
    field: &str,
    known: &[(&str, T)],
    later: &[&str],
) -> Option<T> {
    let Some(given) = given else { return Some(T::default()) };
    problems.accept(value::choice(field, &given.value, known, later), &given.place, &draft.context)
}

/// The name that was given, if one was.
fn name(draft: &DraftService, problems: &Problems) -> Option<Option<String>> {
    let Some(given) = &draft.name else { return Some(None) };
    let name = &given.value;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(legal) {
        return Some(Some(name.clone()));
    }
    problems.report(
        &given.place,
        &draft.context,
        format_args!("name {name:?} cannot be used; write 1 to {LONGEST_NAME} letters, digits, '.', '_', ':' or '-'"),
    );
    None
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
            let advice = in_words(draft, "port = 8080".to_owned(), || format!("{}:8080", draft.vip.value));
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

fn local_addresses(
    draft: &DraftService,
    vip: Option<Ipv4Addr>,
    protocol: Option<ServiceProtocol>,
    problems: &Problems,
) -> Option<Vec<Ipv4Addr>> {
    let any = protocol == Some(ServiceProtocol::Any);
    let option = in_words(draft, "local_addresses".to_owned(), || "--local-address".to_owned());
    if draft.local_addresses.is_empty() {
        if any {
            problems.report(
                &draft.place,
                &draft.context,
                format_args!("protocol any in mode fullnat needs a local address that is not the VIP; write {option}"),
            );
            return None;
        }
        return vip.map(|vip| vec![vip]);
    }
    let mut seen = HashSet::new();
    let checked = draft.local_addresses.iter().map(|given| {
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
    checked.collect::<Vec<_>>().into_iter().collect()
}

fn read_backends(
    draft: &DraftService,
    protocol: Option<ServiceProtocol>,
    port: Option<u16>,
    problems: &Problems,
) -> Option<Vec<Backend>> {
    let mut seen = HashSet::new();
    let mut backends = Vec::with_capacity(draft.backends.len());
    for given in &draft.backends {
        let Some(backend) = backend(given, &draft.context, protocol, port, problems) else { continue };
        if seen.insert((backend.address, backend.port)) {
            backends.push(backend);
            continue;
        }
        let shown = if backend.port == 0 { String::new() } else { format!(":{}", backend.port) };
        problems.report(
            &given.address.place,
            &draft.context,
            format_args!(
                "backend {}{shown} is there twice; write it once, with a weight if it is to get more",
                backend.address
            ),
        );
    }
    (backends.len() == draft.backends.len()).then_some(backends)
}

fn backend(
    draft: &DraftBackend,
    context: &str,
    protocol: Option<ServiceProtocol>,
    service_port: Option<u16>,
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
        Some(given) => problems.accept(value::port(given.value), &given.place, context),
    };
    let weight = match &draft.weight {
        None => Some(1),
        Some(given) => problems.accept(value::in_range("weight", given.value, 0, u16::MAX), &given.place, context),
    };
    let mac = draft.mac.as_ref().map(|given| problems.accept(value::station(&given.value), &given.place, context));
    Some(Backend {
        address: address?,
        port: port?,
        weight: weight?,
        mac: mac.map_or(Some(None), |given| given.map(Some))?,
    })
}

/// No name twice, and no VIP, protocol and port twice. An exact service beside an `any` is legal.
pub(super) fn unique(draft: &Draft, config: &Config, problems: &Problems) {
    let mut names: HashMap<&str, &Place> = HashMap::new();
    let mut keys: HashMap<(Ipv4Addr, ServiceProtocol, u16), &Place> = HashMap::new();
    for (index, (given, service)) in draft.services.iter().zip(&config.services).enumerate() {
        if index == MAX_SERVICES {
            problems.report(&given.place, "", format_args!("more than {MAX_SERVICES} services; write fewer"));
            return;
        }
        if let Some(first) = keys.insert((service.vip, service.protocol, service.port), &given.vip.place) {
            let shown = match service.protocol {
                ServiceProtocol::Any => format!("any {}", service.vip),
                _ => format!("{} {}:{}", service.protocol, service.vip, service.port),
            };
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

/// What to write, in the words of the front end that the service came from.
fn in_words(draft: &DraftService, file: String, argument: impl FnOnce() -> String) -> String {
    match draft.place {
        Place::File { .. } => file,
        Place::Argument(_) => argument(),
    }
}
