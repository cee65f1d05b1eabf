//! The rules: a draft in, a [`Config`] out, or every rule that it breaks.
//!
//! First each value and each part by itself, then the rules between parts, which need parts that are whole.

mod failure;
mod forwarding;
mod handshake;
mod health;
mod interface;
mod service;
mod warnings;

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::draft::{Draft, DraftClients};
use super::file::Loaded;
use super::problem::{At, Failure, Place, Problems};
use super::{ApiAddress, Config, DEFAULT_API, DEFAULT_CONNECTIONS, MAX_BUFFERS, MAX_CONNECTIONS, timeouts, value};
use crate::conntrack::Timeouts;
use crate::service::ClientLists;

/// Applies every rule.
///
/// # Errors
/// All that is wrong, as far as one mistake does not hide another.
pub(super) fn validate(draft: &Draft) -> Result<Loaded, Failure> {
    let problems = Problems::default();
    let config = parts(draft, &problems);
    problems.into_result()?;

    let problems = Problems::default();
    if let Some(given) = &draft.api {
        problems.accept(value::guarded(&config.api, config.api_token_file.is_some()), &given.place, "");
    }
    interface::unique_ports(draft, &config, &problems);
    interface::unique_routes(draft, &config, &problems);
    service::unique(draft, &config, &problems);
    forwarding::between_parts(draft, &config, &problems);
    health::between_parts(draft, &config, &problems);
    addresses_between_parts(draft, &config, &problems);
    problems.into_result()?;

    let warnings = warnings::warnings(&config);
    Ok(Loaded { config, warnings })
}

/// The parts that are right by themselves; as long as nothing was reported, all of them.
fn parts(draft: &Draft, problems: &Problems) -> Config {
    Config {
        mac: setting(problems, &draft.mac, |text| value::mac_setting(text)).unwrap_or_default(),
        api: setting(problems, &draft.api, |text| value::api(text))
            .unwrap_or_else(|| ApiAddress::Unix(DEFAULT_API.into())),
        api_token_file: setting(problems, &draft.api_token_file, |text| value::token_file(text)),
        metrics: setting(problems, &draft.metrics, |text| value::metrics(text)),
        user: setting(problems, &draft.user, |text| value::user(text)),
        connections: setting(problems, &draft.connections, |given| {
            value::in_range("connections", *given, 1, MAX_CONNECTIONS)
        })
        .unwrap_or(DEFAULT_CONNECTIONS),
        buffers: setting(problems, &draft.buffers, |given| value::in_range("buffers", *given, 0, MAX_BUFFERS))
            .unwrap_or_default(),
        hash_seed: setting(problems, &draft.hash_seed, |given| value::in_range("hash_seed", *given, 0, u64::MAX))
            .unwrap_or_default(),
        standby: draft.standby.as_ref().is_some_and(|given| given.value),
        timeouts: read_timeouts(draft, problems),
        clients: read_clients(&draft.clients, problems).into(),
        addresses: draft.addresses.iter().filter_map(|given| own_address(problems, given, "")).collect(),
        interfaces: draft.interfaces.iter().filter_map(|given| interface::interface(given, problems)).collect(),
        services: draft.services.iter().filter_map(|given| service::service(given, problems)).collect(),
    }
}

fn setting<T, U>(problems: &Problems, given: &Option<At<T>>, check: impl Fn(&T) -> Result<U, String>) -> Option<U> {
    let given = given.as_ref()?;
    problems.accept(check(&given.value), &given.place, "")
}

/// The value that was given, if it is right; `default` if there is none.
fn checked<T, U>(
    problems: &Problems,
    context: &str,
    given: &Option<At<T>>,
    default: U,
    check: impl Fn(&T) -> Result<U, String>,
) -> Option<U> {
    match given {
        None => Some(default),
        Some(given) => problems.accept(check(&given.value), &given.place, context),
    }
}

/// What to write, in the words of the front end that `place` belongs to.
fn in_words(place: &Place, file: impl Into<String>, argument: impl FnOnce() -> String) -> String {
    match place {
        Place::File { .. } => file.into(),
        Place::Argument(_) => argument(),
    }
}

fn read_timeouts(draft: &Draft, problems: &Problems) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for (name, timeout) in timeouts::fields(&mut timeouts) {
        let Some((_, given)) = draft.timeouts.iter().find(|(given, _)| *given == name) else { continue };
        if let Some(duration) = problems.accept(value::duration(name, &given.value), &given.place, "timeouts") {
            *timeout = duration;
        }
    }
    timeouts
}

fn read_clients(draft: &DraftClients, problems: &Problems) -> ClientLists {
    let mut lists = ClientLists::default();
    let mut known = HashMap::new();
    for (name, given, list) in [("deny", &draft.deny, &mut lists.deny), ("allow", &draft.allow, &mut lists.allow)] {
        for given in given {
            let prefix = value::network(name, &given.value).and_then(|prefix| match known.insert(prefix, name) {
                None => Ok(prefix),
                Some(before) if before == name => Err(format!("{name} {prefix} is there twice; write it once")),
                Some(before) => Err(format!("{name} {prefix} is in {before} as well; choose one of the two")),
            });
            list.extend(problems.accept(prefix, &given.place, "clients"));
        }
    }
    lists
}

fn own_address(problems: &Problems, given: &At<String>, context: &str) -> Option<IpNet> {
    problems.accept(value::host_prefix("own address", &given.value), &given.place, context)
}

/// An address and where it is written.
struct Mention<'d> {
    what: &'static str,
    address: IpAddr,
    place: &'d Place,
    context: &'d str,
}

/// No own address is there twice; no backend and no next hop is leat itself; nothing is a network's broadcast address.
fn addresses_between_parts(draft: &Draft, config: &Config, problems: &Problems) {
    let own = own_addresses(draft, config);
    let mut seen: HashMap<IpAddr, &Place> = HashMap::new();
    let mut broadcasts: HashMap<IpAddr, IpNet> = HashMap::new();
    for (prefix, place, context) in &own {
        if let Some(first) = seen.insert(prefix.addr(), place) {
            let message = format_args!("own address {} is there already ({first}); write it once", prefix.addr());
            problems.report(place, context, message);
        }
        if value::is_broadcast(prefix, prefix.broadcast()) {
            broadcasts.insert(prefix.broadcast(), prefix.trunc());
        }
    }

    let ours = service::vips_and_locals(draft, config);
    let mut leat: HashMap<IpAddr, &str> = own.iter().map(|(prefix, ..)| (prefix.addr(), "an own address")).collect();
    leat.extend(
        ours.iter().map(|mention| (mention.address, if mention.what == "vip" { "a VIP" } else { "a local address" })),
    );

    let mut others = service::backends(draft, config);
    others.extend(interface::next_hops(draft, config));
    for other in &others {
        if let Some(kind) = leat.get(&other.address) {
            problems.report(other.place, other.context, format_args!(
                "{} {} is {kind} of leat's, and packets to it would come back for ever; write another host's address",
                other.what, other.address
            ));
        }
    }
    for mention in ours.iter().chain(&others) {
        if let Some(prefix) = broadcasts.get(&mention.address) {
            problems.report(
                mention.place,
                mention.context,
                format_args!(
                    "{} {} is the broadcast address of {prefix}; write the address of one host",
                    mention.what, mention.address
                ),
            );
        }
    }
}

/// Every own address with its prefix, and where it is written.
fn own_addresses<'d>(draft: &'d Draft, config: &Config) -> Vec<(IpNet, &'d Place, &'d str)> {
    let loose = draft.addresses.iter().zip(&config.addresses).map(|(given, prefix)| (*prefix, &given.place, ""));
    let bound = draft.interfaces.iter().zip(&config.interfaces).flat_map(|(given, interface)| {
        let places = given.addresses.iter().map(|address| &address.place);
        interface.addresses.iter().zip(places).map(|(prefix, place)| (*prefix, place, given.context.as_str()))
    });
    loose.chain(bound).collect()
}
