//! What leat is told to do: the command line or a TOML file, parsed once into a [`Config`] that holds nothing illegal.
//!
//! ```text
//! arguments ── cli ──┐
//!                    ├─▶ draft (text and numbers, each with its place) ── validate ──▶ Config
//! leat.toml ── file ─┘
//! ```
//!
//! Both front ends only collect; every rule stands once, in `validate` and `value`, and every complaint names the
//! argument, or the file, line, column and field, what is wrong, and what would be right. `docs/CONFIGURATION.md` is the
//! reference of all keys. Nothing here opens a port, a socket or a clock.

pub mod cli;
pub mod eal;
pub mod file;
pub mod summary;

pub(crate) mod convention;
mod document;
mod draft;
pub mod emit;
mod problem;
mod timeouts;
mod validate;
pub(crate) mod value;

pub use problem::Failure;
pub(crate) use value::show_duration;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::conntrack::{ClientLimits, Timeouts};
use crate::scheduler::{Algorithm, TableSize};
use crate::service::{
    ClientAddress, ClientLists, Mode, NoConnection, OnFailure, SequenceNumbers, ServiceProtocol, SynProxy, Tunnel,
};
use crate::wire::MacAddr;

/// Where the API listens when nothing else is said.
pub const DEFAULT_API: &str = "/run/leat/leat.sock";

/// Entries of each lcore's connection table when nothing else is said.
pub const DEFAULT_CONNECTIONS: usize = 1 << 20;

/// The time between probes when nothing else is said.
pub const DEFAULT_HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// The time that an answer to a probe is awaited when nothing else is said.
pub const DEFAULT_HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest connection table of one lcore.
pub const MAX_CONNECTIONS: usize = 1 << 28;

/// The most packet buffers that can be asked for.
pub const MAX_BUFFERS: u32 = 1 << 24;

/// Everything that the command line or the file says, checked.
///
/// Only this module makes one, so who holds it need not check again: services are unique, ports are in range, no
/// backend is an address of leat's own, gateways are reachable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The Ethernet address to send from and to answer ARP with.
    pub mac: MacSetting,
    /// Where the control API listens.
    pub api: ApiAddress,
    /// The file with the token that clients show where the API listens on TCP, if they have to.
    pub api_token_file: Option<PathBuf>,
    /// Where Prometheus and browsers may read figures, if anywhere. The port is not 0.
    pub metrics: Option<SocketAddr>,
    /// The user that leat becomes once its ports are up, if it shall.
    pub user: Option<String>,
    /// Entries of each lcore's connection table: 1 to [`MAX_CONNECTIONS`].
    pub connections: usize,
    /// The least number of packet buffers: 0 to [`MAX_BUFFERS`]. There are more where queues and lcores hold more.
    pub buffers: u32,
    /// Idle times of connections: each a whole number of seconds, 1 s to 365 days.
    pub timeouts: Timeouts,
    /// Seed of the schedulers' hash. Instances that are to choose alike have the same one.
    pub hash_seed: u64,
    /// Whether all VIPs are another's at the start.
    pub standby: bool,
    /// Which clients are served. No prefix is there twice.
    pub clients: Arc<ClientLists>,
    /// Own addresses that belong to no interface in particular, each a host address with its prefix length.
    pub addresses: Vec<IpNet>,
    /// What is known of single ports. Empty: every port is used, and replies mirror the request.
    pub interfaces: Vec<Interface>,
    /// The services, in the order of the file. May be empty.
    pub services: Vec<Service>,
}

impl Config {
    /// Whether any connection can have an address of IPv6.
    pub fn has_ipv6(&self) -> bool {
        let of = |service: &Service| service.backends.iter().any(|backend| backend.address.is_ipv6());
        self.services.iter().any(|service| service.vip.is_ipv6() || of(service))
    }
}

/// The Ethernet address that leat uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MacSetting {
    /// The port's own, or on net_tap a stable one made for it.
    #[default]
    Auto,
    /// This unicast address.
    Fixed(MacAddr),
}

/// Where the control API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiAddress {
    /// A Unix socket: 1 to 107 bytes, without NUL.
    Unix(PathBuf),
    /// A TCP socket, with a port that is not 0. On an address that is not loopback clients have to show a token.
    Tcp(SocketAddr),
}

/// What is known of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interface {
    /// Which port.
    pub port: PortName,
    /// The VLAN on it, if it is not its untagged frames that are meant: 1 to 4094.
    pub vlan: Option<u16>,
    /// Where the file says so, `leat.toml:12:8`: whether there is such a port is found out later.
    pub place: String,
    /// Own addresses on it, each a host address with its prefix length.
    pub addresses: Vec<IpNet>,
    /// Next hop for what no prefix and no route covers. Lies in a prefix of `addresses`.
    pub gateway: Option<IpAddr>,
    /// Static routes, each destination once.
    pub routes: Vec<Route>,
}

/// How a port is named. Whether there is such a port is known only once EAL is up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortName {
    /// DPDK's device name, such as `net_tap0` or `0000:01:00.0`: 1 to 63 bytes.
    Name(String),
    /// DPDK's port number.
    Number(u16),
}

/// A static route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// Destination, host bits zero.
    pub to: IpNet,
    /// Next hop. Lies in a prefix of the interface's addresses.
    pub via: IpAddr,
}

/// One service: VIP, protocol and port, with its mode, scheduler and backends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Service {
    /// Unique. When the user gave none: `tcp:10.0.0.10:8080`, `any:10.0.0.10`.
    pub name: String,
    /// The virtual address.
    pub vip: IpAddr,
    /// What is balanced.
    pub protocol: ServiceProtocol,
    /// Host byte order; 0 exactly when the protocol is `any`.
    pub port: u16,
    /// How packets are forwarded.
    pub mode: Mode,
    /// How a new connection gets its backend.
    pub scheduler: Algorithm,
    /// Slots of the table of `maglev` and `sh`, no fewer than there are backends. Meaningless to other schedulers.
    pub maglev_table_size: TableSize,
    /// Sources of packets to the backends in `fullnat`. Never empty there: the VIP when nothing else was said; never the
    /// VIP in an `any`. Always empty in other modes, where the client's address stays.
    pub local_addresses: Vec<IpAddr>,
    /// Ranges of clients' addresses for which backends' ARP requests are answered, beside the clients that are known,
    /// and never for backends or own addresses. Host bits zero, each once. Empty in all modes but `nat`.
    pub proxy_arp: Vec<IpNet>,
    /// What packets travel inside: something exactly in `ipip` and `gue`, and then there is an own address that is no
    /// VIP of a one-way service.
    pub tunnel: Option<Tunnel>,
    /// The largest TCP segment that SYNs may announce, in bytes: 536 to 65495.
    pub mss_clamp: Option<u16>,
    /// How long a client's address keeps its backend after its last packet; whole seconds, not zero.
    pub persistence: Option<Duration>,
    /// How long after its connection ended a flow finds its old backend; whole seconds, not zero.
    pub flow_memory: Option<Duration>,
    /// How backends are probed, if they are.
    pub health: Option<Health>,
    /// How long a backend that is back takes to get its whole share; whole seconds, not zero.
    pub slow_start: Option<Duration>,
    /// Below this share of living backends, in percent, all are used: 1 to 100.
    pub panic: Option<u8>,
    /// What becomes of a failed backend's connections. Never `Move` in `fullnat`.
    pub on_failure: OnFailure,
    /// What becomes of a segment without SYN that belongs to no connection. Never `Schedule` in `fullnat`.
    pub no_connection: NoConnection,
    /// Whether leat answers SYNs in place of the backends. Off in the one-way modes and without TCP.
    pub syn_proxy: SynProxy,
    /// Whose initial sequence numbers the backends see. `Auto` in all modes but `fullnat`, where it means nothing.
    pub sequence_numbers: SequenceNumbers,
    /// How backends are told who their client is. `Hidden` in all modes but `fullnat`, and unless the protocol is `tcp`.
    pub client_address: ClientAddress,
    /// Whether each datagram is scheduled by itself: with `udp`, in a one-way mode.
    pub one_packet: bool,
    /// The most connections that it may have open, not 0.
    pub max_connections: Option<u32>,
    /// The most new ones a second, not 0.
    pub max_rate: Option<u32>,
    /// What each client may have; no limit of 0.
    pub client_limits: ClientLimits,
    /// The backends, each address and port once. Empty only from a file.
    pub backends: Vec<Backend>,
}

/// How a service's backends are probed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// By what.
    pub kind: HealthKind,
    /// From one probe of a backend to the next: whole milliseconds, 100 ms to 1 h.
    pub interval: Duration,
    /// How long an answer is awaited: whole milliseconds, 100 ms to the interval.
    pub timeout: Duration,
    /// After how many answers in a row a backend is up again: not 0.
    pub rise: u8,
    /// After how many missing answers in a row a backend is down: not 0.
    pub fall: u8,
    /// How long a backend that is new is left alone before its first probe.
    pub start_delay: Duration,
    /// Up to this much later, at random, each probe leaves: no more than the interval.
    pub jitter: Duration,
    /// The port that is asked, in host byte order, if it is not the backend's: only by TCP, and always there for `any`.
    pub port: Option<u16>,
    /// What is asked for: something exactly by HTTP.
    pub http: Option<Arc<HttpCheck>>,
}

/// What a backend is asked for by HTTP, and what it has to answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HttpCheck {
    /// The path with its query: visible ASCII that begins with `/`.
    pub path: String,
    /// What the header `Host` says, if it is not the address: visible ASCII.
    pub host: Option<String>,
    /// The status codes that are right: not empty.
    pub status: Vec<StatusRange>,
    /// What the first 64 KiB of the body must contain. Not empty.
    pub body: Option<String>,
}

/// Status codes of HTTP from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatusRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// By what a backend is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HealthKind {
    /// An ARP request. Every backend of the service is then on the link and has no configured Ethernet address.
    Arp,
    /// A ping.
    Icmp,
    /// A TCP connection.
    Tcp,
    /// A request by HTTP.
    Http,
}

impl HealthKind {
    /// Whether it takes a TCP connection.
    pub const fn is_by_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::Http)
    }
}

/// One backend of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Its port in host byte order; 0 exactly when the service's protocol is `any`. The service's in one-way modes.
    pub port: u16,
    /// Its share of new connections relative to the others; 0 gets none (drained).
    pub weight: u16,
    /// The most connections that it has open at a time, over all lcores, if there is such a limit; not 0.
    pub max_connections: Option<u32>,
    /// The most new ones a second, over all lcores, if there is such a limit; not 0.
    pub max_rate: Option<u32>,
    /// Its Ethernet address, when it is not to be resolved. Unicast.
    pub mac: Option<MacAddr>,
}

impl fmt::Display for HealthKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arp => "arp",
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Http => "http",
        })
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

impl HttpCheck {
    /// The status codes that are right, as a configuration file has them.
    pub fn statuses(&self) -> String {
        self.status.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for MacSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(mac) => mac.fmt(f),
        }
    }
}

impl fmt::Display for ApiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}
