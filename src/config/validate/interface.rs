//! The rules of interfaces: ports, prefixes, next hops.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::draft::{Draft, DraftInterface, DraftPort};
use super::super::problem::{At, Place, Problems};
use super::super::{Config, Interface, PortName, Route, value};
use super::{Mention, checked, own_address};

/// The largest number of a VLAN (IEEE 802.1Q §9.6).
const LARGEST_TAG: u16 = 4094;

/// The longest name of a DPDK device, without the closing NUL (`RTE_ETH_NAME_MAX_LEN`).
const LONGEST_NAME: usize = 63;

pub(super) fn interface(draft: &DraftInterface, problems: &Problems) -> Option<Interface> {
    let context = &draft.context;
    let port = problems.accept(port_name(&draft.port.value), &draft.port.place, context);
    let addresses: Vec<IpNet> =
        draft.addresses.iter().filter_map(|given| own_address(problems, given, context)).collect();
    if addresses.len() < draft.addresses.len() {
        // A wrong prefix was reported; whether next hops lie in it cannot be told.
        return None;
    }
    let next_hop = |what, given: &At<String>| {
        let hop = value::next_hop(what, &given.value).and_then(|hop| connected(what, hop, &addresses));
        problems.accept(hop, &given.place, context)
    };
    let gateway = draft.gateway.as_ref().map(|given| next_hop("gateway", given));
    let routes: Vec<Option<Route>> = draft
        .routes
        .iter()
        .map(|given| {
            let to = problems.accept(value::network("to", &given.to.value), &given.to.place, context);
            let via = next_hop("via", &given.via);
            Some(Route { to: to?, via: via? })
        })
        .collect();
    let vlan =
        checked(problems, context, &draft.vlan, None, |tag| value::in_range("vlan", *tag, 1, LARGEST_TAG).map(Some));
    Some(Interface {
        port: port?,
        vlan: vlan?,
        place: draft.port.place.to_string(),
        addresses,
        gateway: gateway.map_or(Some(None), |hop| hop.map(Some))?,
        routes: routes.into_iter().collect::<Option<_>>()?,
    })
}

fn port_name(given: &DraftPort) -> Result<PortName, String> {
    let number = match given {
        DraftPort::Number(number) => *number,
        DraftPort::Name(name) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) => {
            value::number("port", name)?
        }
        DraftPort::Name(name) => {
            let fits = (1..=LONGEST_NAME).contains(&name.len());
            return if fits && name.bytes().all(|byte| byte.is_ascii_graphic()) {
                Ok(PortName::Name(name.clone()))
            } else {
                Err(format!(
                    "port {name:?} is no device's name; write one of 1 to {LONGEST_NAME} letters, such as \"net_tap0\", or its number"
                ))
            };
        }
    };
    value::in_range("port", number, 0, u16::MAX).map(PortName::Number)
}

fn connected(what: &str, hop: IpAddr, addresses: &[IpNet]) -> Result<IpAddr, String> {
    // A link-local address is on any link.
    let is_local = matches!(hop, IpAddr::V6(hop) if hop.is_unicast_link_local());
    if is_local || addresses.iter().any(|prefix| prefix.contains(&hop)) {
        return Ok(hop);
    }
    let prefixes: Vec<String> = addresses.iter().map(|prefix| prefix.trunc().to_string()).collect();
    Err(if prefixes.is_empty() {
        format!("{what} {hop} cannot be reached: the interface has no address; write one with its prefix in addresses")
    } else {
        let list = value::list(prefixes.iter().map(String::as_str), "or");
        format!("{what} {hop} cannot be reached from this interface; write an address in {list}")
    })
}

pub(super) fn unique_ports(draft: &Draft, config: &Config, problems: &Problems) {
    let mut seen: HashMap<(&PortName, Option<u16>), &Place> = HashMap::new();
    for (given, interface) in draft.interfaces.iter().zip(&config.interfaces) {
        if let Some(first) = seen.insert((&interface.port, interface.vlan), &given.port.place) {
            let of = interface.vlan.map(|tag| format!("VLAN {tag} of ")).unwrap_or_default();
            problems.report(
                &given.port.place,
                &given.context,
                format_args!(
                    "{of}port {} has an [[interface]] already ({first}); write one for each port and VLAN",
                    interface.port
                ),
            );
        }
    }
}

/// No destination has two ways. A gateway is the way to everywhere.
pub(super) fn unique_routes(draft: &Draft, config: &Config, problems: &Problems) {
    let mut seen: HashMap<IpNet, &Place> = HashMap::new();
    for (given, interface) in draft.interfaces.iter().zip(&config.interfaces) {
        let default = interface.gateway.map(value::everywhere).into_iter();
        let default = default.zip(given.gateway.iter().map(|gateway| &gateway.place));
        let places = given.routes.iter().map(|route| &route.to.place);
        let routes = interface.routes.iter().map(|route| route.to).zip(places);
        for (to, place) in default.chain(routes) {
            if let Some(first) = seen.insert(to, place) {
                let what = match to.prefix_len() {
                    0 => format!("everywhere ({to}, a gateway)"),
                    _ => to.to_string(),
                };
                problems.report(
                    place,
                    &given.context,
                    format_args!("there is a route to {what} already ({first}); write one"),
                );
            }
        }
    }
}

/// Whether packets to `address` go to a router first. Without interfaces, or through one that has no addresses, it may
/// be on the link.
pub(super) fn is_beyond_router(config: &Config, address: IpAddr) -> bool {
    let interfaces = &config.interfaces;
    if interfaces.iter().flat_map(|interface| &interface.addresses).any(|prefix| prefix.contains(&address)) {
        return false;
    }
    let is_like = |other: IpAddr| other.is_ipv4() == address.is_ipv4();
    let is_routed = |interface: &Interface| {
        interface.gateway.is_some_and(is_like) || interface.routes.iter().any(|route| route.to.contains(&address))
    };
    let all_have_prefixes =
        !interfaces.is_empty() && interfaces.iter().all(|it| it.addresses.iter().any(|prefix| is_like(prefix.addr())));
    all_have_prefixes || interfaces.iter().any(is_routed)
}

/// The networks that interfaces are connected to, as a list for messages.
pub(super) fn prefixes(config: &Config) -> String {
    let networks = config.interfaces.iter().flat_map(|interface| &interface.addresses);
    let networks: Vec<String> = networks.map(|prefix| prefix.trunc().to_string()).collect();
    value::list(networks.iter().map(String::as_str), "or")
}

/// The gateways and the next hops of routes.
pub(super) fn next_hops<'d>(draft: &'d Draft, config: &Config) -> Vec<Mention<'d>> {
    let mut hops = Vec::new();
    for (given, interface) in draft.interfaces.iter().zip(&config.interfaces) {
        let context = given.context.as_str();
        if let (Some(gateway), Some(address)) = (&given.gateway, interface.gateway) {
            hops.push(Mention { what: "gateway", address, place: &gateway.place, context });
        }
        let vias = given.routes.iter().zip(&interface.routes);
        hops.extend(vias.map(|(given, route)| Mention {
            what: "via",
            address: route.via,
            place: &given.via.place,
            context,
        }));
    }
    hops
}
