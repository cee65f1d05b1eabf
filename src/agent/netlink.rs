//! rtnetlink, one request at a time: the links, addresses, routes and rules of this network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// RTNLGRP_IPV4_ROUTE of linux/rtnetlink.h.
const GROUP_IPV4_ROUTE: u32 = 7;

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

    /// Every IPv4 address.
    pub(super) fn addresses(&mut self) -> io::Result<Vec<AddressMessage>> {
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Inet;
        self.dump(RouteNetlinkMessage::GetAddress(request), |answer| match answer {
            RouteNetlinkMessage::NewAddress(address) => Some(address),
            _ => None,
        })
    }

    /// Puts `address`/32 on an interface. Its scope is the host: so the kernel never chooses it as a source by itself,
    /// neither of connections nor of ARP.
    pub(super) fn add_host_address(&mut self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = 32;
        message.header.scope = AddressScope::Host;
        message.header.index = index;
        message.attributes =
            vec![AddressAttribute::Local(IpAddr::V4(address)), AddressAttribute::Address(IpAddr::V4(address))];
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Every IPv4 route of every table.
    pub(super) fn routes(&mut self) -> io::Result<Vec<RouteMessage>> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        self.dump(RouteNetlinkMessage::GetRoute(request), |answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => Some(route),
            _ => None,
        })
    }

    pub(super) fn add_route(&mut self, route: RouteMessage) -> io::Result<()> {
        self.change(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_EXCL)
    }

    pub(super) fn delete_route(&mut self, route: RouteMessage) -> io::Result<()> {
        self.change(RouteNetlinkMessage::DelRoute(route), 0)
    }

    /// Every IPv4 policy rule.
    pub(super) fn rules(&mut self) -> io::Result<Vec<RuleMessage>> {
        let mut request = RuleMessage::default();
        request.header.family = AddressFamily::Inet;
        self.dump(RouteNetlinkMessage::GetRule(request), |answer| match answer {
            RouteNetlinkMessage::NewRule(rule) => Some(rule),
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

/// News of IPv4 routes.
#[derive(Debug)]
pub(super) struct RouteNews(Socket);

impl RouteNews {
    /// Hears of every change from now on.
    pub(super) fn subscribe() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.add_membership(GROUP_IPV4_ROUTE)?;
        Ok(Self(socket))
    }

    /// Waits for a change of a route for which `concerns` is true. When news came faster than they were read, some are
    /// lost: that counts as a change.
    pub(super) fn wait(&self, concerns: impl Fn(&RouteMessage) -> bool) -> io::Result<()> {
        loop {
            let messages = match self.0.recv_from_full() {
                Ok((bytes, _)) => parse(&bytes)?,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let is_news = messages.into_iter().any(|message| match message.payload {
                NetlinkPayload::InnerMessage(
                    RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
                ) => concerns(&route),
                _ => false,
            });
            if is_news {
                return Ok(());
            }
        }
    }
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

/// The address itself.
pub(super) fn local_address(address: &AddressMessage) -> Option<Ipv4Addr> {
    address.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(local)) => Some(*local),
        _ => None,
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
