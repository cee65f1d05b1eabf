//! What a run does: the command line, understood and checked.

use std::net::IpAddr;
use std::time::Duration;

use super::flows::Flows;
use super::order::Order;
use super::sizes::Sizes;
use crate::wire::MacAddr;

/// A whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What the clients do; `None` when only backends are played.
    pub clients: Option<Clients>,
    /// The addresses that are played as backends, which may be none.
    pub backends: Vec<IpAddr>,
    /// What a backend does with a packet that reaches it.
    pub answer: Answer,
    /// Ethernet address to send from; `None` for the port's.
    pub mac: Option<MacAddr>,
    /// When to end; `None` for when a signal says so.
    pub duration: Option<Duration>,
    /// Most packets at once, 1 to 64.
    pub burst: usize,
}

/// How backends answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// By the way that the packet came: through the balancer.
    Back,
    /// Past the balancer, straight to the client: so what reaches the backend counts as returned.
    Direct,
}

/// What the clients do.
#[derive(Clone, Debug, PartialEq)]
pub struct Clients {
    /// The service's address.
    pub vip: IpAddr,
    /// The service's port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who they are.
    pub flows: Flows,
    /// Which one is next.
    pub order: Order,
    /// Where the random order begins.
    pub seed: u64,
    /// How long frames are.
    pub sizes: Sizes,
    /// What they send.
    pub traffic: Traffic,
    /// Packets, or connections, a second over all lcores; `None` for as many as possible.
    pub rate: Option<f64>,
    /// Packets, or connections, over all lcores; `None` for no end.
    pub count: Option<u64>,
    /// Where to send to.
    pub next_hop: NextHop,
    /// How long the link and the next hop are waited for.
    pub wait: Duration,
}

/// What flows are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl Protocol {
    /// IANA's number, as in the header of IPv4 or IPv6.
    #[inline(always)]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

#[cfg(test)]
impl From<Protocol> for crate::flow::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

/// What clients send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Traffic {
    /// Packets that do not depend on each other.
    Packets {
        /// Of 2³² TCP segments so many are SYNs.
        syns: u64,
        /// How many flows a second are opened by a SYN each before the measurement; `None` for not at all.
        open_rate: Option<f64>,
    },
    /// Whole TCP connections: opened, used for one exchange, closed.
    Connections,
}

/// The Ethernet address that clients' packets go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// This one.
    Mac(MacAddr),
    /// That of the host with this address, found by ARP or by neighbour discovery.
    Address(IpAddr),
}
