//! rtnetlink, one request at a time: the links, addresses, routes and rules of this network namespace.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteFlags, RouteMessage};
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR of linux/rtnetlink.h.
const GROUPS_ADDRESS: [u32; 2] = [5, 9];
/// RTNLGRP_IPV4_ROUTE and RTNLGRP_IPV6_ROUTE.
const GROUPS_ROUTE: [u32; 2] = [7, 11];

/// An address that is valid for ever (INFINITY_LIFE_TIME).
const FOR_EVER: u32 = u32::MAX;

/// A connection to the kernel.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// # Errors
    /// The kernel's, as those of every other function here.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Every network interface.
    pub(super) fn links(&mut self) -> io::Result<Vec<LinkMessage>> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump(request, |answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link),
            _ => None,
        })
    }

    /// Brings an interface up.
    pub(super) fn bring_up(&mut self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.change(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Removes an interface.
    pub(super) fn delete_link(&mut self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        self.change(RouteNetlinkMessage::DelLink(link), 0)
    }

    /// Every address of IPv4 and IPv6.
    pub(super) fn addresses(&mut self) -> io::Result<Vec<AddressMessage>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.dump(request, |answer| match answer {
            RouteNetlinkMessage::NewAddress(address) if is_ip(address.header.family) => Some(address),
            _ => None,
        })
    }

    /// Puts `address` by itself on an interface, such that the kernel never chooses it as a source by itself.
    ///
    /// In IPv4 its scope, the host, sees to that, for connections and for ARP. In IPv6 an address has no such scope: there it
    /// is deprecated from the start (RFC 6724 §5, rule 3), nobody is asked whether it is taken, and no route is made of it.
    pub(super) fn add_host_address(&mut self, index: u32, address: IpAddr) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        match address {
            IpAddr::V4(_) => {
                message.header.family = AddressFamily::Inet;
                message.header.prefix_len = 32;
                message.header.scope = AddressScope::Host;
            }
            IpAddr::V6(_) => {
                message.header.family = AddressFamily::Inet6;
                message.header.prefix_len = 128;
                message.header.flags = AddressHeaderFlags::Nodad;
                let mut lifetimes = CacheInfo::default();
                (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (0, FOR_EVER);
                message.attributes.extend([
                    AddressAttribute::CacheInfo(lifetimes),
                    AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute),
                ]);
            }
        }
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Every route of IPv4 and IPv6 of every table, without what the kernel has only remembered of a destination.
    pub(super) fn routes(&mut self) -> io::Result<Vec<RouteMessage>> {
        let request = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        self.dump(request, |answer| match answer {
            RouteNetlinkMessage::NewRoute(route)
                if is_ip(route.header.address_family) && !route.header.flags.contains(RouteFlags::Cloned) =>
            {
                Some(route)
            }
            _ => None,
        })
    }

    pub(super) fn add_route(&mut self, route: RouteMessage) -> io::Result<()> {
        self.change(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_EXCL)
    }

    pub(super) fn delete_route(&mut self, route: RouteMessage) -> io::Result<()> {
        self.change(RouteNetlinkMessage::DelRoute(route), 0)
    }

    /// Every policy rule of IPv4 and IPv6.
    pub(super) fn rules(&mut self) -> io::Result<Vec<RuleMessage>> {
        let request = RouteNetlinkMessage::GetRule(RuleMessage::default());
        self.dump(request, |answer| match answer {
            RouteNetlinkMessage::NewRule(rule) if is_ip(rule.header.family) => Some(rule),
            _ => None,
        })
    }

    pub(super) fn add_rule(&mut self, rule: RuleMessage) -> io::Result<()> {
        self.change(RouteNetlinkMessage::NewRule(rule), NLM_F_CREATE | NLM_F_EXCL)
    }

    pub(super) fn delete_rule(&mut self, rule: RuleMessage) -> io::Result<()> {
        self.change(RouteNetlinkMessage::DelRule(rule), 0)
    }

    fn change(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let sequence = self.send(request, NLM_F_ACK | flags)?;
        loop {
            for message in self.receive()? {
                if let (true, NetlinkPayload::Error(error)) =
                    (message.header.sequence_number == sequence, message.payload)
                {
                    return error.code.map_or(Ok(()), |_| Err(error.to_io()));
                }
            }
        }
    }

    fn dump<T>(
        &mut self,
        request: RouteNetlinkMessage,
        pick: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        loop {
            if let Some(answers) = self.dump_once(request.clone(), &pick)? {
                return Ok(answers);
            }
        }
    }

    /// `None` when what was listed changed meanwhile.
    fn dump_once<T>(
        &mut self,
        request: RouteNetlinkMessage,
        pick: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Option<Vec<T>>> {
        let sequence = self.send(request, NLM_F_DUMP)?;
        let (mut answers, mut is_whole) = (Vec::new(), true);
        loop {
            for message in self.receive()? {
                if message.header.sequence_number != sequence {
                    continue;
                }
                is_whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.extend(pick(answer)),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::Done(_) => return Ok(is_whole.then_some(answers)),
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        Ok(self.sequence)
    }

    fn receive(&self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        parse(&self.socket.recv_from_full()?.0)
    }
}

/// News of what changes in this network namespace.
#[derive(Debug)]
pub(super) struct News(Socket);

impl News {
    /// Hears of every change of an address from now on.
    pub(super) fn of_addresses() -> io::Result<Self> {
        Self::subscribe(GROUPS_ADDRESS)
    }

    /// Hears of every change of a route from now on.
    pub(super) fn of_routes() -> io::Result<Self> {
        Self::subscribe(GROUPS_ROUTE)
    }

    fn subscribe(groups: [u32; 2]) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        for group in groups {
            socket.add_membership(group)?;
        }
        Ok(Self(socket))
    }

    /// Waits for news for which `concerns` is true. When they came faster than they were read, some are lost: that counts as
    /// such news.
    pub(super) fn wait(&self, concerns: impl Fn(&RouteNetlinkMessage) -> bool) -> io::Result<()> {
        loop {
            let messages = match self.0.recv_from_full() {
                Ok((bytes, _)) => parse(&bytes)?,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let is_news = messages.into_iter().any(|message| match message.payload {
                NetlinkPayload::InnerMessage(news) => concerns(&news),
                _ => false,
            });
            if is_news {
                return Ok(());
            }
        }
    }
}

/// Whether news are of an address.
pub(super) const fn is_about_addresses(news: &RouteNetlinkMessage) -> bool {
    matches!(news, RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_))
}

/// The route that news are of.
pub(super) const fn route_of(news: &RouteNetlinkMessage) -> Option<&RouteMessage> {
    match news {
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => Some(route),
        _ => None,
    }
}

fn is_ip(family: AddressFamily) -> bool {
    matches!(family, AddressFamily::Inet | AddressFamily::Inet6)
}

/// The interface's name.
pub(super) fn link_name(link: &LinkMessage) -> &str {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.as_str()),
            _ => None,
        })
        .unwrap_or_default()
}

/// The address itself. On a link of two ends the other attribute is the other end's; in IPv6 there is often no other.
pub(super) fn local_address(address: &AddressMessage) -> Option<IpAddr> {
    let find = |pick: fn(&AddressAttribute) -> Option<IpAddr>| address.attributes.iter().find_map(pick);
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(local) => Some(*local),
        _ => None,
    });
    local.or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn parse(mut bytes: &[u8]) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let message = NetlinkMessage::deserialize(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        // Messages are padded to four bytes.
        let length = (message.header.length as usize).next_multiple_of(4).max(4);
        messages.push(message);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(messages)
}
