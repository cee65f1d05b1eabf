//! Smaller segments from the clients, so that they still fit when leat has put another header in front of them.
//!
//! How long a client's segments may be is said by the server's SYN-ACK, which goes past leat. Linux takes it from the
//! route that the SYN-ACK leaves by (`advmss`, ip-route(8)). So the main table is copied to one of the agent's own,
//! with `advmss` on every route, and rules have packets from the VIPs look there first; a copy that lacks a route does no
//! harm, since the lookup goes on to the main table. The copy follows every change of the original.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::Nla as _;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHopFlags, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

use super::netlink::{self, Netlink, News};

/// The table, and the mark of all that is the agent's: "leat" in ASCII.
const TABLE: u32 = 0x6c65_6174;

/// Before the main table's rule, 32766, and after the rules that people make.
const RULE_PRIORITY: u32 = 32_700;

/// IPv4 and TCP without options: what an MTU has beyond the MSS.
const HEADERS: u32 = 40;
/// What IPv6 has more: its clients' segments are to be so much shorter.
const LONGER_HEADER: u32 = 20;

/// The smallest MSS that Linux works with (TCP_MIN_MSS).
pub(super) const LEAST: u16 = 88;

/// The copied table and its rules.
#[derive(Debug)]
pub(super) struct SmallerSegments {
    mss: u16,
    news: News,
    /// Whether the copy is still to be kept; held while it is changed.
    is_wanted: Mutex<bool>,
}

impl SmallerSegments {
    /// Makes connections to `vips` announce an MSS of at most `mss`, and in IPv6 20 bytes less.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn announce(netlink: &mut Netlink, vips: &[IpAddr], mss: u16) -> io::Result<Self> {
        let news = News::of_routes()?;
        synchronise(netlink, mss)?;
        for &vip in vips {
            netlink.add_rule(rule(vip))?;
        }
        Ok(Self { mss, news, is_wanted: Mutex::new(true) })
    }

    /// Keeps the copy like the main table, until [`end`](Self::end).
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn follow(&self, netlink: &mut Netlink) -> io::Result<()> {
        loop {
            self.news.wait(|news| netlink::route_of(news).is_some_and(|route| table(route) != TABLE))?;
            let is_wanted = self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner);
            if !*is_wanted {
                return Ok(());
            }
            synchronise(netlink, self.mss)?;
        }
    }

    /// Stops following; the table stays for [`clear`] to remove.
    pub(super) fn end(&self) {
        *self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// Removes rules and table, also those that another agent has left.
///
/// # Errors
/// The kernel's.
pub(super) fn clear(netlink: &mut Netlink) -> io::Result<()> {
    for rule in netlink.rules()? {
        if rule.attributes.contains(&RuleAttribute::Table(TABLE)) {
            netlink.delete_rule(rule)?;
        }
    }
    for route in copies(netlink.routes()?) {
        netlink.delete_route(route)?;
    }
    Ok(())
}

/// Makes the copy what it should be now.
fn synchronise(netlink: &mut Netlink, mss: u16) -> io::Result<()> {
    let mtus = netlink.links()?.iter().filter_map(mtu).collect();
    let routes = netlink.routes()?;
    let wanted: Vec<_> = routes
        .iter()
        .filter(|route| table(route) == u32::from(RouteHeader::RT_TABLE_MAIN))
        .map(|route| copy(route, mss, &mtus))
        .collect();
    let present = copies(routes);
    for route in present.iter().filter(|route| !wanted.contains(route)) {
        allow(netlink.delete_route(route.clone()), libc::ESRCH)?;
    }
    // A gateway must be reachable when its route is added: what is directly connected comes first.
    let (near, far): (Vec<_>, Vec<_>) =
        wanted.into_iter().filter(|route| !present.contains(route)).partition(|route| !has_gateway(route));
    for route in near.into_iter().chain(far) {
        // An interface may go away meanwhile: then there will be news again.
        if let Err(error) = allow(netlink.add_route(route.clone()), libc::EEXIST) {
            log::warn!(
                "a route is not copied for --mss, clients behind it may send longer segments: {error}: {route:?}"
            );
        }
    }
    Ok(())
}

/// A change that somebody else, the kernel for one, has made already is no failure.
fn allow(result: io::Result<()>, errno: i32) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(errno) => Ok(()),
        other => other,
    }
}

/// The routes of the copied table, as [`copy`] writes them.
fn copies(routes: Vec<RouteMessage>) -> Vec<RouteMessage> {
    routes.into_iter().filter(|route| table(route) == TABLE).map(settable).collect()
}

/// A route of the main table as it should stand in the copy.
fn copy(route: &RouteMessage, mss: u16, mtus: &HashMap<u32, u32>) -> RouteMessage {
    let mut route = settable(route.clone());
    if route.header.kind == RouteType::Unicast {
        limit(&mut route, mss, mtus);
    }
    route.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Table(_)));
    route.attributes.push(RouteAttribute::Table(TABLE));
    route.header.table = RouteHeader::RT_TABLE_UNSPEC;
    in_order(route)
}

/// Adds `advmss` to a route: `mss`, or less where the route says so or its interface's MTU leaves no more.
fn limit(route: &mut RouteMessage, mss: u16, mtus: &HashMap<u32, u32>) {
    let longer = if route.header.address_family == AddressFamily::Inet6 { LONGER_HEADER } else { 0 };
    let headers = HEADERS + longer;
    let mss = u32::from(mss).saturating_sub(longer).max(LEAST.into());
    let mut metrics = Vec::new();
    let mut interfaces = Vec::new();
    for attribute in &mut route.attributes {
        match attribute {
            RouteAttribute::Metrics(own) => metrics.append(own),
            RouteAttribute::Oif(index) => interfaces.push(*index),
            RouteAttribute::MultiPath(hops) => interfaces.extend(hops.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    let by_interface = interfaces.iter().filter_map(|index| mtus.get(index)).map(|mtu| mtu.saturating_sub(headers));
    let by_route = metrics.iter().filter_map(|metric| match metric {
        RouteMetric::Advmss(advmss) => Some(*advmss),
        RouteMetric::Mtu(mtu) => Some(mtu.saturating_sub(headers)),
        _ => None,
    });
    let advmss = by_interface.chain(by_route).fold(mss, u32::min);
    metrics.retain(|metric| !matches!(metric, RouteMetric::Advmss(_)));
    metrics.push(RouteMetric::Advmss(advmss));
    metrics.sort_by_key(|metric| metric.kind());
    route.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Metrics(_)));
    route.attributes.push(RouteAttribute::Metrics(metrics));
}

/// A listed route without what is only ever read: its state, and next-hop objects, which are listed spelt out as well.
fn settable(mut route: RouteMessage) -> RouteMessage {
    route.header.flags &= RouteFlags::Onlink;
    route.header.table = RouteHeader::RT_TABLE_UNSPEC;
    route.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::CacheInfo(_) | RouteAttribute::NhId(_)));
    for attribute in &mut route.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            for hop in hops {
                hop.flags &= RouteNextHopFlags::Onlink;
            }
        }
    }
    in_order(route)
}

/// With the attributes in one order, so that routes can be compared.
fn in_order(mut route: RouteMessage) -> RouteMessage {
    route.attributes.sort_by_key(|attribute| attribute.kind());
    route
}

fn has_gateway(route: &RouteMessage) -> bool {
    route.attributes.iter().any(|attribute| {
        matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_))
    })
}

fn table(route: &RouteMessage) -> u32 {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        })
        .unwrap_or(route.header.table.into())
}

fn mtu(link: &LinkMessage) -> Option<(u32, u32)> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some((link.header.index, *mtu)),
        _ => None,
    })
}

fn rule(vip: IpAddr) -> RuleMessage {
    let mut rule = RuleMessage::default();
    (rule.header.family, rule.header.src_len) = match vip {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    rule.header.action = RuleAction::ToTable;
    rule.attributes =
        vec![RuleAttribute::Source(vip), RuleAttribute::Priority(RULE_PRIORITY), RuleAttribute::Table(TABLE)];
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.kind = RouteType::Unicast;
        route.attributes = attributes;
        route
    }

    fn advmss(route: &RouteMessage) -> Option<u32> {
        route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Metrics(metrics) => metrics.iter().find_map(|metric| match metric {
                RouteMetric::Advmss(advmss) => Some(*advmss),
                _ => None,
            }),
            _ => None,
        })
    }

    #[test]
    fn what_is_announced_is_never_more_than_route_and_interface_allow() {
        let mtus = HashMap::from([(2, 1500), (3, 1400)]);
        let oif = RouteAttribute::Oif;
        let metrics = |metric| RouteAttribute::Metrics(vec![metric]);
        for (what, attributes, mss, expected) in [
            ("as asked", vec![oif(2)], 1428, 1428),
            ("an MTU of 1500", vec![oif(2)], 8000, 1460),
            ("an MTU of 1400", vec![oif(3)], 1428, 1360),
            ("an own advmss below", vec![oif(2), metrics(RouteMetric::Advmss(1000))], 1428, 1000),
            ("an own advmss above", vec![oif(2), metrics(RouteMetric::Advmss(1460))], 1428, 1428),
            ("an own MTU below", vec![metrics(RouteMetric::Mtu(1300)), oif(2)], 1428, 1260),
            ("an interface that is gone", vec![oif(9)], 1428, 1428),
        ] {
            assert_eq!(advmss(&copy(&route(attributes), mss, &mtus)), Some(expected), "{what}");
        }
    }

    #[test]
    fn ipv6_leaves_20_bytes_less() {
        let mtus = HashMap::from([(2, 1500)]);
        for (mss, expected) in [(1440, 1420), (8000, 1440), (90, 88)] {
            let mut route = route(vec![RouteAttribute::Oif(2)]);
            route.header.address_family = AddressFamily::Inet6;
            assert_eq!(advmss(&copy(&route, mss, &mtus)), Some(expected), "{mss}");
        }
    }

    #[test]
    fn a_copy_that_comes_back_from_the_kernel_is_recognised() {
        let mut original = route(vec![RouteAttribute::Table(254), RouteAttribute::Oif(2)]);
        original.header.table = 254;
        let wanted = copy(&original, 1428, &HashMap::new());
        let mut listed = wanted.clone();
        listed.header.flags = RouteFlags::Linkdown;
        listed.attributes.reverse();
        assert_eq!(copies(vec![original, listed]), vec![wanted]);
    }

    #[test]
    fn a_route_that_leads_nowhere_is_copied_as_it_is() {
        let mut unreachable = route(vec![]);
        unreachable.header.kind = RouteType::Unreachable;
        assert_eq!(advmss(&copy(&unreachable, 1428, &HashMap::new())), None);
    }
}
