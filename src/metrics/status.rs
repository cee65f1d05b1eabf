//! Everything that leat counts, at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use crate::counters::{DropReason, PerWorker, WorkerCounters};
use crate::health::{BackendHealth, Report};
use crate::id::BackendId;
use crate::service::{Current, Port, Service, Snapshot};
use crate::steering::Alignment;

/// Where the figures come from.
pub struct Source {
    /// The configuration that runs.
    pub current: Arc<Current>,
    /// Which backends are alive.
    pub health: Arc<Report>,
    /// What the workers count.
    pub counters: PerWorker<WorkerCounters>,
    /// The devices behind the ports.
    pub devices: Vec<Port>,
    /// How each port goes together with the steering, in the same order.
    pub alignments: Vec<Alignment>,
    /// DPDK's number of each worker's lcore.
    pub lcores: Vec<usize>,
    /// The most connections of one worker.
    pub capacity: usize,
    /// When leat started.
    pub started: Instant,
    /// DPDK's release.
    pub dpdk: String,
    /// Cycles of the time stamp counter in a second.
    pub cycles_per_second: u64,
    /// Asks the ports for their own counters, in the order of the snapshot's ports, and the pool for its use.
    pub ask_ports: Box<dyn Fn() -> (Vec<PortFigures>, BufferStatus) + Send + Sync>,
}

/// What a port counts by itself.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub struct PortFigures {
    /// Whether its link is up.
    pub link_up: bool,
    /// Packets received.
    pub received: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets sent.
    pub transmitted: u64,
    /// Bytes sent.
    pub transmitted_bytes: u64,
    /// Packets lost because nobody took them out of the queue in time.
    pub missed: u64,
    /// Broken packets received.
    pub receive_errors: u64,
    /// Packets that could not be sent.
    pub transmit_errors: u64,
    /// Packets lost because no buffer was free.
    pub no_buffer: u64,
}

/// Use of the packet buffers.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub struct BufferStatus {
    /// How many hold a packet, or wait in a queue to receive one.
    pub in_use: usize,
    /// How many are free.
    pub available: usize,
}

/// All figures at one moment.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// leat's version.
    pub version: &'static str,
    /// DPDK's release.
    pub dpdk: String,
    /// Whole seconds since the start.
    pub uptime_seconds: u64,
    /// Cycles of the time stamp counter in a second.
    pub cycles_per_second: u64,
    /// The ports.
    pub ports: Vec<PortStatus>,
    /// The packet buffers.
    pub buffers: BufferStatus,
    /// The workers.
    pub workers: Vec<WorkerStatus>,
    /// The services.
    pub services: Vec<ServiceStatus>,
    /// The next hops.
    pub neighbors: Vec<NeighborStatus>,
    /// The own and local addresses that are not used, because another station has them.
    pub given_up: Vec<GivenUpStatus>,
}

/// One port.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PortStatus {
    /// DPDK's number.
    pub port: u16,
    /// DPDK's name.
    pub name: String,
    /// The Ethernet address that leat has there.
    pub mac: String,
    /// The longest payload of a frame, in bytes.
    pub mtu: u16,
    /// How its packets come to the lcores that own their flows: `one lcore`, `rss`, `hand-over` or `port mod lcores`.
    pub steering: &'static str,
    /// What the port counts.
    #[serde(flatten)]
    pub figures: PortFigures,
}

/// One worker.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: usize,
    /// DPDK's number of its lcore.
    pub lcore: usize,
    /// Packets taken from ports.
    pub received: u64,
    /// Bytes of those.
    pub received_bytes: u64,
    /// Packets given to ports.
    pub transmitted: u64,
    /// Bytes of those.
    pub transmitted_bytes: u64,
    /// Packets given to other workers.
    pub handed_over: u64,
    /// Packets taken from other workers.
    pub taken_over: u64,
    /// Packets that leat made itself, or answered.
    pub originated: u64,
    /// Rounds of the loop.
    pub polls: u64,
    /// Rounds that found packets.
    pub busy_polls: u64,
    /// Cycles of the time stamp counter that such rounds took.
    pub busy_cycles: u64,
    /// Connections in its table, in whatever state.
    pub connections: u64,
    /// The most connections that its table holds.
    pub capacity: usize,
    /// Resting connections that gave up their source port to a new one.
    pub ports_reused: u64,
    /// Half-open connections that made room for others before their time was over.
    pub half_open_evicted: u64,
    /// SYNs that were answered with a cookie.
    pub cookies_sent: u64,
    /// Cookies that clients have acknowledged.
    pub cookies_redeemed: u64,
    /// Acknowledgements of no cookie of leat's, or of one that is too old.
    pub cookies_refused: u64,
    /// The longest time between two polls that taking over a configuration has cost, in nanoseconds.
    pub longest_pause_ns: u64,
    /// Dropped packets, by reason; reasons that never occurred are left out.
    pub drops: BTreeMap<&'static str, u64>,
}

/// One service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Its VIP.
    pub vip: String,
    /// `tcp`, `udp` or `any`.
    pub protocol: String,
    /// Its port; 0 for `any`.
    pub port: u16,
    /// Whether leat answers for its VIP; not while it is withdrawn.
    pub announced: bool,
    /// Its mode.
    pub mode: String,
    /// Its scheduler.
    pub scheduler: String,
    /// Its local addresses; none but in `fullnat`.
    pub local_addresses: Vec<String>,
    /// Whether it is no longer configured, and here only until its connections have ended.
    pub removed: bool,
    /// Its backends.
    pub backends: Vec<BackendStatus>,
    /// The sum over its backends.
    pub total: Traffic,
}

/// What went to and came from one backend, or all of a service.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub struct Traffic {
    /// Connections open now.
    pub open: u64,
    /// Connections opened since the start.
    pub opened: u64,
    /// Packets towards backends.
    pub original_packets: u64,
    /// Bytes of those.
    pub original_bytes: u64,
    /// Packets from backends.
    pub reply_packets: u64,
    /// Bytes of those.
    pub reply_bytes: u64,
}

/// One backend of one service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BackendStatus {
    /// Its address.
    pub address: String,
    /// Its port; 0 in a service of protocol `any`.
    pub port: u16,
    /// Its weight.
    pub weight: u16,
    /// The most connections that it may have open at a time, if there is such a limit.
    pub max_connections: Option<u32>,
    /// Whether it is no longer configured, and here only until its connections have ended.
    pub draining: bool,
    /// Whether it is alive; nothing when it is not probed.
    pub health: Option<HealthStatus>,
    /// Connections in the tables, those that are over and rest included.
    pub connections: u64,
    /// Its traffic.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// Whether a backend is alive, and how that is known.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HealthStatus {
    /// `up` or `down`.
    pub state: &'static str,
    /// For how many whole seconds it has been so.
    pub for_seconds: u64,
    /// Why it is taken so.
    pub reason: String,
    /// How often it went down or came up since the start.
    pub changes: u64,
}

/// One next hop.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NeighborStatus {
    /// Its address; a link-local one with its zone, which is the port's name.
    pub address: String,
    /// Its Ethernet address, when it is known.
    pub mac: Option<String>,
    /// The port that it is reached through, when it is known.
    pub port: Option<u16>,
    /// Whether it was configured and not found by ARP.
    pub is_static: bool,
}

/// An address of leat's that another station has.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GivenUpStatus {
    /// The address.
    pub address: String,
    /// The other station's Ethernet address.
    pub mac: String,
    /// The port that it was heard on.
    pub port: u16,
}

impl Source {
    /// Reads everything. Counters go on meanwhile, so figures of one status may differ by what happened in between.
    pub fn status(&self) -> Status {
        let (figures, buffers) = (self.ask_ports)();
        let snapshot = self.current.load();
        let ports = self.devices.iter().zip(&self.alignments).zip(figures);
        let ports = ports.map(|((port, alignment), figures)| PortStatus {
            port: port.id.0,
            name: port.name.clone(),
            mac: port.mac.to_string(),
            mtu: port.mtu,
            steering: alignment.name(),
            figures,
        });
        let workers = self.counters.iter().zip(&self.lcores).enumerate();
        let neighbors = snapshot.neighbors().iter().map(|neighbor| NeighborStatus {
            address: snapshot.name_of(neighbor),
            mac: neighbor.hop().map(|hop| hop.mac.to_string()),
            port: neighbor.hop().map(|hop| hop.port.0),
            is_static: neighbor.is_static(),
        });
        let given_up = snapshot.given_up().iter().map(|(address, hop)| GivenUpStatus {
            address: address.to_string(),
            mac: hop.mac.to_string(),
            port: hop.port.0,
        });
        Status {
            version: env!("CARGO_PKG_VERSION"),
            dpdk: self.dpdk.clone(),
            uptime_seconds: self.started.elapsed().as_secs(),
            cycles_per_second: self.cycles_per_second,
            ports: ports.collect(),
            buffers,
            workers: workers.map(|(worker, (counters, lcore))| self.worker(worker, *lcore, counters)).collect(),
            services: snapshot.services().map(|(_, service)| self.service(service, &snapshot)).collect(),
            neighbors: neighbors.collect(),
            given_up: given_up.collect(),
        }
    }

    /// Packets dropped for `reason`, over all workers.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.counters.iter().map(|counters| counters.drops.value(reason)).sum()
    }

    fn worker(&self, worker: usize, lcore: usize, counters: &WorkerCounters) -> WorkerStatus {
        let drops = DropReason::ALL.iter().map(|reason| (reason.name(), counters.drops.value(*reason)));
        WorkerStatus {
            worker,
            lcore,
            received: counters.received.value(),
            received_bytes: counters.received_bytes.value(),
            transmitted: counters.transmitted.value(),
            transmitted_bytes: counters.transmitted_bytes.value(),
            handed_over: counters.handed_over.value(),
            taken_over: counters.taken_over.value(),
            originated: counters.originated.value(),
            polls: counters.polls.value(),
            busy_polls: counters.busy_polls.value(),
            busy_cycles: counters.busy_cycles.value(),
            connections: counters.connections.value(),
            capacity: self.capacity,
            ports_reused: counters.ports_reused.value(),
            half_open_evicted: counters.half_open_evicted.value(),
            cookies_sent: counters.cookies_sent.value(),
            cookies_redeemed: counters.cookies_redeemed.value(),
            cookies_refused: counters.cookies_refused.value(),
            longest_pause_ns: counters.longest_pause.value(),
            drops: drops.filter(|(_, packets)| *packets > 0).collect(),
        }
    }

    fn service(&self, service: &Service, snapshot: &Snapshot) -> ServiceStatus {
        let backends = service.all_backends().filter_map(|id| Some((id, snapshot.backend(id)?)));
        let backends: Vec<_> = backends
            .map(|(id, backend)| BackendStatus {
                address: backend.address.to_string(),
                port: backend.port,
                weight: backend.weight,
                max_connections: backend.max_connections,
                draining: backend.is_draining,
                health: self.health(id),
                connections: backend.connections(),
                traffic: backend.counters.iter().fold(Traffic::default(), |sum, counters| Traffic {
                    // A worker may count a connection out that another counted in.
                    open: sum.open.wrapping_add(counters.open.value()),
                    opened: sum.opened + counters.opened.value(),
                    original_packets: sum.original_packets + counters.original_packets.value(),
                    original_bytes: sum.original_bytes + counters.original_bytes.value(),
                    reply_packets: sum.reply_packets + counters.reply_packets.value(),
                    reply_bytes: sum.reply_bytes + counters.reply_bytes.value(),
                }),
            })
            .collect();
        ServiceStatus {
            name: service.name.clone(),
            vip: service.vip.to_string(),
            protocol: service.protocol.to_string(),
            port: service.port,
            announced: !snapshot.is_silent(service.vip),
            mode: service.mode.to_string(),
            scheduler: service.schedule.algorithm().to_string(),
            local_addresses: service.local_addresses.iter().map(ToString::to_string).collect(),
            removed: service.is_removed,
            total: backends.iter().fold(Traffic::default(), |sum, backend| sum.and(backend.traffic)),
            backends,
        }
    }
}

impl Source {
    fn health(&self, backend: BackendId) -> Option<HealthStatus> {
        let BackendHealth { is_up, since, reason, changes } = self.health.of(backend)?;
        Some(HealthStatus {
            state: if is_up { "up" } else { "down" },
            for_seconds: self.started.elapsed().saturating_sub(since.since(crate::time::Instant::ZERO)).as_secs(),
            reason: reason.to_string(),
            changes,
        })
    }
}

impl Status {
    /// Dropped packets by reason, over all workers.
    pub fn drops(&self) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        for (reason, packets) in self.workers.iter().flat_map(|worker| &worker.drops) {
            *sums.entry(*reason).or_default() += packets;
        }
        sums
    }
}

impl Traffic {
    /// Both together.
    const fn and(self, other: Self) -> Self {
        Self {
            open: self.open.wrapping_add(other.open),
            opened: self.opened + other.opened,
            original_packets: self.original_packets + other.original_packets,
            original_bytes: self.original_bytes + other.original_bytes,
            reply_packets: self.reply_packets + other.reply_packets,
            reply_bytes: self.reply_bytes + other.reply_bytes,
        }
    }
}
