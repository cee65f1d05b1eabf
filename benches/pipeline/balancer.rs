//! One worker's packet path as it runs in `leat`, with a configuration for the flows to be measured.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use leat::config;
use leat::conntrack::{ClientLoads, Conntrack, FlowMemory, Persistence, Settings as ConntrackSettings};
use leat::control::publish;
use leat::counters::{DropReason, PerWorker, WorkerCounters, per_worker};
use leat::flow::FlowHasher;
use leat::id::{PortId, WorkerId};
use leat::io::Burst;
use leat::pipeline::{Context, Pipeline, Settings, Silent};
use leat::service::{Mode, Port, Snapshot};
use leat::steering::{PortShare, Steering};
use leat::syncookie::Cookies;
use leat::time::Instant;
use leat::wire::MacAddr;

use crate::frame::{Frame, Frames};
use crate::template::{LEAT, Transport, Tuple};

/// Backends of the service.
const BACKENDS: usize = 32;
/// Connections that share one source address in `fullnat`, at most: 62,000 for each backend, of 64,511 ports.
pub(crate) const CONNECTIONS_PER_LOCAL_ADDRESS: usize = 62_000 * BACKENDS;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
const PORT: u16 = 80;
/// The first client's address: 100.64.0.0/10, which no other part of the configuration uses.
const CLIENTS: u32 = u32::from_be_bytes([100, 64, 0, 0]);
/// Flows of one client.
const PORTS_PER_CLIENT: u64 = 50_000;

/// How much time passes with one burst, as the pipeline sees it: 64 packets at 20 million a second.
const BURST_TIME: Duration = Duration::from_nanos(3200);

/// A packet path with one worker.
pub(crate) struct Balancer {
    snapshot: Snapshot,
    pipeline: Pipeline<Frame>,
    counters: PerWorker<WorkerCounters>,
    now: Instant,
}

impl Balancer {
    /// For up to `connections` connections through one service.
    pub(crate) fn new(mode: Mode, transport: Transport, connections: usize) -> Self {
        let config = config::file::load("benchmark", configuration(mode, transport, connections).as_bytes())
            .unwrap_or_else(|failure| panic!("{failure}"))
            .config;
        let port = Port { id: PortId(0), name: "memory".to_owned(), mac: MacAddr(LEAT), mtu: 9000, vlan: None };
        let snapshot = publish(&config, vec![port], 1).unwrap_or_else(|error| panic!("{error}"));
        let hasher = FlowHasher::random().expect("the system has random numbers");
        let steering = Steering::Modulo { workers: 1 };
        let share = PortShare::new(&steering, WorkerId(0)).expect("the only worker");
        let counters = per_worker(1);
        let (timeouts, ipv6) = (config.timeouts, config.has_ipv6());
        let conntrack = Conntrack::new(&ConntrackSettings { connections, ipv6, hasher, timeouts, share });
        let mut pipeline = Pipeline::new(Settings {
            id: WorkerId(0),
            steering,
            hasher,
            conntrack,
            persistence: Persistence::new(1024, hasher),
            flow_memory: FlowMemory::new(1024),
            clients: Persistence::new(connections.min(1 << 20), hasher),
            loads: ClientLoads::new(connections.min(1 << 20), hasher),
            cookies: Cookies::with_key((3, 4)),
            counters: Arc::clone(&counters),

            courier: Arc::default(),
        });
        pipeline.adopt(&snapshot);
        Self { snapshot, pipeline, counters, now: Instant::ZERO }
    }

    /// One turn of the worker's loop with `burst`.
    #[inline(always)]
    pub(crate) fn process(&mut self, burst: &mut Burst<Frame>, output: &mut Frames) {
        self.now = self.now + BURST_TIME;
        let mut context = Context { snapshot: &self.snapshot, now: self.now, output, tracer: &mut Silent };
        self.pipeline.process(burst, &mut context);
        self.pipeline.upkeep(&mut context);
    }

    /// What was dropped, and why.
    pub(crate) fn drops(&self) -> Vec<(DropReason, u64)> {
        let drops = &self.counters[0].drops;
        DropReason::ALL.iter().map(|&reason| (reason, drops.value(reason))).filter(|(_, count)| *count > 0).collect()
    }
}

/// What the client of flow number `flow` sends to the service.
#[inline(always)]
pub(crate) fn original(flow: u64) -> Tuple {
    Tuple {
        source: Ipv4Addr::from_bits(CLIENTS + (flow / PORTS_PER_CLIENT) as u32),
        destination: VIP,
        source_port: 10_000 + (flow % PORTS_PER_CLIENT) as u16,
        destination_port: PORT,
    }
}

fn configuration(mode: Mode, transport: Transport, connections: usize) -> String {
    let protocol = if transport.is_tcp() { "tcp" } else { "udp" };
    // Addresses of IPv6 end in those of IPv4.
    let (begin, prefix) = if transport.is_v6() { ("2001:db8::", 112) } else { ("", 16) };
    let locals: Vec<_> = (1..=connections.div_ceil(CONNECTIONS_PER_LOCAL_ADDRESS))
        .map(|last| format!("\"{begin}10.0.1.{last}\""))
        .collect();
    let more = match mode {
        Mode::Fullnat => format!("local_addresses = [{}]", locals.join(", ")),
        Mode::Nat | Mode::Dr | Mode::Ipip | Mode::Gue => String::new(),
    };
    let backends: String = (1..=BACKENDS)
        .map(|last| {
            format!("[[service.backend]]\naddress = \"{begin}10.0.2.{last}\"\nmac = \"02:00:00:00:02:{last:02x}\"\n")
        })
        .collect();
    format!(
        "[timeouts]\nudp = \"1h\"\n\
         [[interface]]\nport = 0\naddresses = [\"{begin}10.0.0.254/{prefix}\"]\n\
         [[service]]\nname = \"benchmark\"\nvip = \"{begin}{VIP}\"\nprotocol = \"{protocol}\"\nport = {PORT}\nmode = \"{mode}\"\n\
         {more}\n{backends}",
    )
}
