//! Services and their backends, as the packet path sees them: numbered, immutable, one snapshot at a time.

mod clients;
mod current;
mod mode;
mod parts;
mod path_mtu;
mod snapshot;

pub use clients::{ClientLists, ClientTable};
pub use current::Current;
pub use mode::{Gue, GueVersion, Mode, Tunnel};
pub use parts::{OwnAddress, Parts, Port, Route, Vlan};
pub use path_mtu::PathMtu;
pub use snapshot::{Exit, Snapshot};

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::conntrack::ClientLimits;
use crate::counters::{BackendCounters, Counter, DropReason, PerWorker, ServiceCounters};
use crate::flow::Protocol;
use crate::id::{BackendId, ServiceId, WorkerId};
use crate::neighbor::Neighbor;
use crate::scheduler::Schedule;
use crate::time::Tick;

/// What clients talk to: a VIP, a protocol, a port.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name in the configuration.
    pub name: String,
    /// The address that clients know.
    pub vip: IpAddr,
    /// What it balances.
    pub protocol: ServiceProtocol,
    /// The port that clients know, in host byte order; 0 for protocol `any`.
    pub port: u16,
    /// How packets are forwarded.
    pub mode: Mode,
    /// How new connections get their backend.
    pub schedule: Schedule,
    /// The sources of packets to backends in `fullnat`; never empty there, and always in other modes.
    pub local_addresses: Vec<IpAddr>,
    /// For how many ticks after its last packet a client keeps its backend.
    pub persistence: Option<u32>,
    /// For how many ticks after its connection ended a flow finds its old backend.
    pub flow_memory: Option<u32>,
    /// Where addresses are taken for clients' when backends ask for them by ARP, in `nat`.
    pub proxy_arp: Vec<IpNet>,
    /// What becomes of a segment without SYN that belongs to no connection.
    pub no_connection: NoConnection,
    /// Whether leat answers SYNs in place of the backends.
    pub syn_proxy: SynProxy,
    /// Whose initial sequence numbers the backends see.
    pub sequence_numbers: SequenceNumbers,
    /// How the backends are told who their client is.
    pub client_address: ClientAddress,
    /// Whether each datagram is scheduled by itself.
    pub one_packet: bool,
    /// What becomes of the connections of a backend that fails.
    pub on_failure: OnFailure,
    /// The most connections that it may have open, over all workers and backends.
    pub max_connections: Option<u32>,
    /// The most new ones a second, over all workers and backends.
    pub max_rate: Option<u32>,
    /// What each client may have.
    pub client_limits: ClientLimits,
    /// What each worker counted for it.
    pub counters: PerWorker<ServiceCounters>,
    /// Its backends, in configured order.
    pub backends: Vec<BackendId>,
    /// Backends that are no longer configured and still have connections.
    pub draining: Vec<BackendId>,
    /// Whether it is no longer configured: it takes no connection, and those that it has go on.
    pub is_removed: bool,
    /// Whether the worker that owns a connection is told by the client's address alone, and not by its whole flow. It is so
    /// with persistence and in `nat`, and stays so as long as there may be connections from then.
    pub by_client: bool,
}

/// One real server of one service. It has cache lines of its own, which are found by a shift and not a multiplication.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Backend {
    /// Whose it is.
    pub service: ServiceId,
    /// Its address.
    pub address: IpAddr,
    /// Its port in host byte order; 0 in a service of protocol `any`, where the client's choice stays.
    pub port: u16,
    /// Its share of new connections.
    pub weight: u16,
    /// The most connections that it may have open, over all workers.
    pub max_connections: Option<u32>,
    /// The most new ones a second, over all workers.
    pub max_rate: Option<u32>,
    /// Whether it is alive.
    pub up: bool,
    /// Whether it is no longer configured: it takes no connection, and those that it has go on.
    pub is_draining: bool,
    /// The next hop to it: itself, or a router.
    pub neighbor: Arc<Neighbor>,
    /// What is done to a client's packet on its way to it.
    pub forwarding: Forwarding,
    /// The largest segment that SYNs may announce, in bytes.
    pub mss_clamp: Option<u16>,
    /// Whether a packet of a connection prolongs something else that is known of its client: its persistence, or that it
    /// is a client of `nat`.
    pub remembers_clients: bool,
    /// What each worker counted for it.
    pub counters: PerWorker<BackendCounters>,
}

/// What is done to a client's packet on its way to a backend.
#[derive(Clone, Debug)]
pub enum Forwarding {
    /// `fullnat` and `nat`: addresses and ports change.
    Translate,
    /// `dr`: nothing but the Ethernet addresses.
    Direct,
    /// `ipip` and `gue`: it travels inside another.
    Encapsulate(Encapsulation),
}

/// The way through a tunnel to one backend.
#[derive(Clone, Debug)]
pub struct Encapsulation {
    /// An own address of leat's, the outer source.
    pub source: IpAddr,
    /// The backend, the outer destination.
    pub destination: IpAddr,
    /// What is in between.
    pub tunnel: Tunnel,
    /// The longest outer packet that is known to arrive.
    pub path_mtu: Arc<PathMtu>,
}

impl Encapsulation {
    /// How many bytes longer a packet becomes: the outer headers.
    #[inline(always)]
    pub const fn overhead(&self) -> u16 {
        const IPV4: u16 = 20;
        const IPV6: u16 = 40;
        let ip = if self.destination.is_ipv4() { IPV4 } else { IPV6 };
        ip + self.tunnel.between()
    }
}

impl Service {
    /// The limit of its own that a new connection would pass, if any. Workers that ask at the same time may each open one more.
    pub fn limit_reached(&self, worker: WorkerId, now: Tick) -> Option<DropReason> {
        let sum = |counter: fn(&ServiceCounters) -> &Counter| {
            self.counters.iter().map(|counters| counter(counters).value()).fold(0, u64::wrapping_add)
        };
        if self.max_connections.is_some_and(|most| sum(|it| &it.open) >= u64::from(most)) {
            return Some(DropReason::ServiceFull);
        }
        let window = &self.counters[worker.index()].window;
        let has_room = |most| window.has_room(most, sum(|it| &it.opened), now);
        self.max_rate.is_some_and(|most| !has_room(most)).then_some(DropReason::ServiceRate)
    }

    /// All backends that may have connections: the configured ones, and those that drain.
    pub fn all_backends(&self) -> impl Iterator<Item = BackendId> + '_ {
        self.backends.iter().chain(&self.draining).copied()
    }
}

impl Backend {
    /// Whether its connections are not to stay with it.
    #[inline(always)]
    pub const fn is_abandoned(&self, on_failure: OnFailure) -> bool {
        !self.up && !matches!(on_failure, OnFailure::Keep)
    }

    /// Whether its connections' packets need nothing but what [`Self::forwarding`] says, most of the time.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        self.up && self.mss_clamp.is_none()
    }

    /// Whether it may be given new connections.
    #[inline(always)]
    pub const fn takes_connections(&self) -> bool {
        self.up && self.weight > 0 && !self.is_draining
    }

    /// Whether it has as many connections open as it may, or opens as many a second. Workers that ask at the same time may each
    /// open one more.
    #[inline]
    pub fn is_full(&self, worker: WorkerId, now: Tick) -> bool {
        let opened = || self.counters.iter().map(|counters| counters.opened.value()).fold(0, u64::wrapping_add);
        let window = &self.counters[worker.index()].window;
        self.max_connections.is_some_and(|most| self.open() >= u64::from(most))
            || self.max_rate.is_some_and(|most| !window.has_room(most, opened(), now))
    }

    /// Connections that are open now, over all workers.
    pub fn open(&self) -> u64 {
        self.counters.iter().map(|counters| counters.open.value()).fold(0, u64::wrapping_add)
    }

    /// Connections in the tables of all workers, in whatever state.
    pub fn connections(&self) -> u64 {
        self.counters.iter().map(|counters| counters.connections.value()).fold(0, u64::wrapping_add)
    }
}

/// What a service balances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceProtocol {
    /// One TCP port.
    #[default]
    Tcp,
    /// One UDP port.
    Udp,
    /// Every TCP and UDP port of the VIP, and ICMP echo. An exact service on the same VIP wins over it.
    Any,
}

impl ServiceProtocol {
    /// The transports that it takes in.
    pub const fn transports(self) -> &'static [Protocol] {
        match self {
            Self::Tcp => &[Protocol::Tcp],
            Self::Udp => &[Protocol::Udp],
            Self::Any => &[Protocol::Tcp, Protocol::Udp, Protocol::Icmp],
        }
    }
}

impl fmt::Display for ServiceProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Any => "any",
        })
    }
}

/// What becomes of a client's TCP segment without SYN that belongs to no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoConnection {
    /// It is dropped.
    Drop,
    /// It is answered with a RST.
    Reset,
    /// A backend is chosen for it, as for a new connection: after a failover the other instance goes on.
    Schedule,
}

impl NoConnection {
    /// What a service of `mode` does when nothing else was said.
    pub const fn default_of(mode: Mode) -> Self {
        if mode.is_one_way() { Self::Schedule } else { Self::Drop }
    }

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Reset => "reset",
            Self::Schedule => "schedule",
        }
    }
}

/// Which version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How a backend of `fullnat` is told who its client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAddress {
    /// It is not.
    #[default]
    Hidden,
    /// By a TCP option of this kind, in the segments that begin with the client's first byte.
    Option(u8),
    /// By a header before the client's first byte.
    Proxy(ProxyVersion),
}

/// Whose initial sequence numbers a backend of `fullnat` sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SequenceNumbers {
    /// leat's own where a source port may still be in TIME-WAIT at the backend, else the client's.
    #[default]
    Auto,
    /// leat's own.
    Own,
    /// The client's.
    Client,
}

/// Whether leat answers clients' SYNs in place of backends, with a cookie (RFC 4987 §3.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SynProxy {
    /// Never.
    #[default]
    Off,
    /// While many connections are half-open.
    Auto,
    /// Always.
    Always,
}

impl ClientAddress {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hidden => "none",
            Self::Option(_) => "toa",
            Self::Proxy(ProxyVersion::V1) => "proxy_v1",
            Self::Proxy(ProxyVersion::V2) => "proxy_v2",
        }
    }
}

macro_rules! named {
    ($type:ident: $($variant:ident = $name:literal),*) => {
        impl $type {
            /// All, in the order in which they are documented.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in the configuration.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

named!(SequenceNumbers: Auto = "auto", Own = "own", Client = "client");
named!(SynProxy: Off = "off", Auto = "auto", Always = "always");

/// What becomes of a backend's connections when it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnFailure {
    /// They stay with it.
    #[default]
    Keep,
    /// The next packet of each is scheduled anew.
    Move,
    /// They are ended: the next segment of a client is answered with a RST, and anything else begins anew.
    Reset,
}

impl OnFailure {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Move => "move",
            Self::Reset => "reset",
        }
    }
}
