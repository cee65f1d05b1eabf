//! What leat-agent changes on its host, and how it is undone.
//!
//! The device and the addresses on it go with the process, however it ends. Settings, rules and routes do not: what
//! they were is in a [`StateFile`] before they are touched.

use std::io;
use std::net::IpAddr;

use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};

use super::device::Device;
use super::mss::{self, SmallerSegments};
use super::netlink::{self, Netlink};
use super::options::Settings;
use super::own::Own;
use super::run::{Error, during};
use super::state::{Changed, State, StateFile};
use super::sysctl::{self, Setting};

/// The host, set up to receive for the VIPs.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) device: Device,
    pub(super) own: Own,
    pub(super) segments: Option<SmallerSegments>,
}

/// Undoes what an agent that did not end properly has left.
///
/// # Errors
/// When it cannot be undone.
pub(super) fn mend(file: &StateFile) -> Result<(), Error> {
    if undo(file)? {
        log::warn!("an agent before this one did not end properly; what it left is undone");
    }
    Ok(())
}

/// Brings back all settings, and removes rules and routes. Returns whether there was something to undo: a second time
/// there is not.
///
/// # Errors
/// When it cannot be undone; the file is still there then.
pub(super) fn undo(file: &StateFile) -> Result<bool, Error> {
    let state = file.load().map_err(during(format!("reading {}", file.path().display())))?;
    let Some(State { settings, routes }) = state else { return Ok(false) };
    if routes {
        Netlink::open()
            .and_then(|mut netlink| mss::clear(&mut netlink))
            .map_err(during("removing the routes of --mss"))?;
    }
    for Changed { setting, original, value } in settings {
        let now = setting.read().map_err(during(format!("reading {setting}")))?;
        if now == value {
            setting.write(original).map_err(during(format!("restoring {setting}")))?;
        } else {
            log::warn!("{setting} was {original}, was made {value}, and is {now} now: left alone");
        }
    }
    file.remove().map_err(during(format!("removing {}", file.path().display())))?;
    Ok(true)
}

/// Says what is in the way, before anything is changed.
///
/// # Errors
/// What is in the way.
pub(super) fn check(settings: &Settings) -> Result<(), Error> {
    if let Some(&vip) = settings.vips.iter().find(|vip| vip.is_ipv6())
        && !sysctl::has_ipv6()
    {
        return Err(Error::NoIpv6(vip));
    }
    let mut netlink = Netlink::open().map_err(during("asking the kernel for its interfaces"))?;
    let links = netlink.links().map_err(during("listing interfaces"))?;
    let named = |name: &str| links.iter().find(|link| netlink::link_name(link) == name);
    if named(&settings.device).is_some() {
        return Err(Error::DeviceExists(settings.device.clone()));
    }
    if let Some(interface) = &settings.interface
        && named(interface).is_none()
    {
        return Err(Error::NoInterface(interface.clone()));
    }
    for address in netlink.addresses().map_err(during("listing addresses"))? {
        let Some(vip) = netlink::local_address(&address).filter(|address| settings.vips.contains(address)) else {
            continue;
        };
        let link = links.iter().find(|link| link.header.index == address.header.index);
        if let Some(link) = link.filter(|link| tells_neighbors(link)) {
            return Err(Error::VipAnnounced { vip, interface: netlink::link_name(link).to_owned() });
        }
    }
    if settings.ipip
        && let Some(tunnel) = links.iter().find(|link| is_kernel_tunnel(link, settings))
    {
        log::warn!(
            "{} belongs to the kernel's own IP-in-IP tunnels, which answer what they do not take with ICMP errors, and \
             what they take is delivered twice: unload that module (docs/AGENT.md), or use it in place of leat-agent",
            netlink::link_name(tunnel)
        );
    }
    Ok(())
}

/// Sets the host up. What it changes is in the file first; when it fails, [`undo`] tidies up.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn set_up(settings: &Settings, file: &StateFile) -> Result<Host, Error> {
    let mut netlink = Netlink::open().map_err(during("asking the kernel for its interfaces"))?;
    let changes = no_arp_for_vips().map_err(during("reading the settings of ARP"))?;
    let state = State { settings: changes, routes: settings.mss.is_some() };
    file.save(&state).map_err(during(format!("writing {}", file.path().display())))?;
    for Changed { setting, value, .. } in &state.settings {
        setting.write(*value).map_err(during(format!("setting {setting}")))?;
    }

    let name = &settings.device;
    let device = Device::create(name).map_err(during(format!("creating the TUN device {name}")))?;
    set_up_device(&mut netlink, name, &settings.vips).map_err(during(format!("setting up {name}")))?;

    let own = Own::learn(&mut netlink).map_err(during("listing addresses"))?;
    let segments = settings
        .mss
        .map(|mss| SmallerSegments::announce(&mut netlink, &settings.vips, mss))
        .transpose()
        .map_err(during("copying the routes for --mss"))?;
    Ok(Host { device, own, segments })
}

/// Removes the device, and the VIPs with it: before ARP is answered for every address again.
///
/// # Errors
/// When it stays. That it is gone already is none.
pub(super) fn remove_device(name: &str) -> Result<(), Error> {
    let remove = || {
        let mut netlink = Netlink::open()?;
        match netlink.links()?.iter().find(|link| netlink::link_name(link) == name) {
            Some(link) => netlink.delete_link(link.header.index),
            None => Ok(()),
        }
    };
    remove().map_err(during(format!("removing {name}")))
}

/// What keeps the kernel from answering ARP for an address of the TUN device on any other interface, and from asking
/// with one (ip-sysctl: arp_ignore, arp_announce). `all` is the least of what holds for each interface, so interfaces
/// that come later are covered too.
///
/// Neighbour discovery needs nothing of the kind: a solicitation is answered for addresses of the interface that it comes in
/// by, and sent from one of that it goes out by.
fn no_arp_for_vips() -> io::Result<Vec<Changed>> {
    let mut changes = Vec::new();
    for (name, least) in [("arp_ignore", 1), ("arp_announce", 2)] {
        let setting = Setting::new("all", name);
        let original = setting.read()?;
        if original < least {
            changes.push(Changed { setting, original, value: least });
        }
    }
    Ok(changes)
}

fn set_up_device(netlink: &mut Netlink, name: &str, vips: &[IpAddr]) -> io::Result<()> {
    let links = netlink.links()?;
    let link = links.iter().find(|link| netlink::link_name(link) == name).ok_or(io::ErrorKind::NotFound)?;
    // Clients are not behind this device, so a strict check of the way back would drop all they send. The greater of
    // this and `all` holds: 2, the loose check, gets the better of a strict `all`.
    let strictness = Setting::new("all", "rp_filter").read()?;
    Setting::new(name, "rp_filter").write(if strictness == 0 { 0 } else { 2 })?;
    set_up_ipv6(name, vips.iter().any(IpAddr::is_ipv6))?;
    for &vip in vips {
        netlink.add_host_address(link.header.index, vip)?;
    }
    netlink.bring_up(link.header.index)
}

/// Nothing but what the agent writes belongs on the device: no address made up, no router asked for or heard. Addresses
/// outlive that somebody takes it down, as those of IPv4 do.
fn set_up_ipv6(name: &str, is_wanted: bool) -> io::Result<()> {
    if !sysctl::has_ipv6() {
        return Ok(());
    }
    if !is_wanted {
        return sysctl::set_ipv6(name, "disable_ipv6", 1);
    }
    // 1 is IN6_ADDR_GEN_MODE_NONE: not even a link-local address.
    for (setting, value) in [
        ("addr_gen_mode", 1),
        ("accept_ra", 0),
        ("accept_redirects", 0),
        ("router_solicitations", 0),
        ("keep_addr_on_down", 1),
        ("disable_ipv6", 0),
    ] {
        sysctl::set_ipv6(name, setting, value)?;
    }
    Ok(())
}

/// Whether ARP or neighbour discovery is answered there for an address that the interface has.
fn tells_neighbors(link: &LinkMessage) -> bool {
    !link.header.flags.intersects(LinkFlags::Loopback | LinkFlags::Noarp)
}

/// Whether the kernel takes tunnel packets by it that are the agent's. `tunl0`, `sit0` and `ip6tnl0` are there as soon as
/// their modules are loaded.
fn is_kernel_tunnel(link: &LinkMessage, settings: &Settings) -> bool {
    let has = |is_of_version: fn(&IpAddr) -> bool| settings.vips.iter().any(is_of_version);
    let is_ours = |kind: &InfoKind| match kind {
        InfoKind::IpIp => has(IpAddr::is_ipv4),
        InfoKind::SitTun => has(IpAddr::is_ipv6),
        InfoKind::Ip6Tnl => true,
        _ => false,
    };
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => {
            infos.iter().any(|info| matches!(info, LinkInfo::Kind(kind) if is_ours(kind)))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tunnels_are_recognised() {
        let link = |kind| {
            let mut link = LinkMessage::default();
            link.attributes = vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])];
            link
        };
        let settings = |vip: &str| Settings {
            vips: vec![vip.parse().unwrap()],
            ipip: true,
            gue: None,
            from: vec![],
            interface: None,
            device: "leat0".to_owned(),
            mss: None,
        };
        let (four, six) = (settings("20.0.0.1"), settings("2001:db8::10"));
        for (kind, takes_four, takes_six) in [
            (InfoKind::IpIp, true, false),
            (InfoKind::SitTun, false, true),
            (InfoKind::Ip6Tnl, true, true),
            (InfoKind::Veth, false, false),
        ] {
            let link = link(kind);
            assert_eq!((is_kernel_tunnel(&link, &four), is_kernel_tunnel(&link, &six)), (takes_four, takes_six));
        }
        assert!(!is_kernel_tunnel(&LinkMessage::default(), &four));
    }
}
