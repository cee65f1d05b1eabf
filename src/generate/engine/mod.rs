//! Runs a plan on DPDK's ports: sets them up, has every lcore send and receive, and conducts the phases.
//!
//! Each lcore has a queue of its own of every port, and everything that it writes is its own: its sender with its part of
//! the flows, its receiver, its counters. `Shared` is what they and the conductor, an ordinary thread, see together.

mod conductor;
mod ports;
mod worker;

pub use ports::SetupError;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crossbeam::channel::Receiver;
use dpdk_wrapper::Eal;

use super::measure::{Counters, Latency};
use super::plan::{NextHop, Plan, Traffic};
use super::report::{Findings, Report};
use crate::config::show_duration;
use crate::counters::{Counter, PerWorker, per_worker};
use crate::wire::MacAddr;
use conductor::Conductor;

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Ports, queues or memory.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A port's other side is not there.
    #[error("port {port} has had no link for {}: is its other side running?", show_duration(*wait))]
    NoLink {
        /// The port.
        port: String,
        /// How long it was waited for.
        wait: Duration,
    },
    /// The next hop is unknown.
    #[error(
        "{address} has not answered {} for {}; give its Ethernet address with --to-mac, or another --gateway",
        if address.is_ipv6() { "neighbour solicitations" } else { "ARP" },
        show_duration(*wait)
    )]
    NoNextHop {
        /// Who was asked for.
        address: std::net::IpAddr,
        /// How long.
        wait: Duration,
    },
    /// A device.
    #[error(transparent)]
    Dpdk(#[from] dpdk_wrapper::Error),
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The operating system has no randomness.
    #[error("no random key for the packets' checks: {0}")]
    Random(#[from] getrandom::Error),
    /// A thread has panicked, and has said so.
    #[error("{0} has panicked")]
    Panic(String),
}

/// Runs `plan` from start to end, or to the first of `signals`. `arguments` are EAL's. With `quiet`, nothing is said while
/// it runs.
///
/// # Errors
/// As [`EngineError`] says. The ports are stopped then, too.
pub fn run(
    eal: &Eal,
    plan: &Plan,
    arguments: &[String],
    signals: Receiver<i32>,
    quiet: bool,
) -> Result<Report, EngineError> {
    let lcores = eal.lcores().len();
    let shared = Arc::new(Shared::new(plan, lcores));
    let ports::Deployment { workers, ports, names } = ports::deploy(eal, plan, arguments, &shared)?;

    let conductor = Conductor { shared: Arc::clone(&shared), plan: plan.clone(), ports, names, signals, quiet };
    let conductor = thread::Builder::new().name("control".to_owned()).spawn(move || {
        if let Err(error) = dpdk_wrapper::reset_affinity() {
            log::warn!("the control thread stays on the main lcore's CPU: {error}");
        }
        conductor.conduct()
    })?;

    let mut workers = workers.into_iter();
    let results = eal.run(|_| {
        let worker = workers.next();
        move |lcore| worker.map(|worker| worker.run(lcore))
    });
    let (mut ports, outcome) = conductor.join().map_err(|_| EngineError::Panic("the control thread".to_owned()))?;
    let mut latency = Latency::default();
    for (lcore, result) in results {
        let of_lcore = result.map_err(|error| EngineError::Panic(format!("lcore {lcore}: {error}")))?;
        of_lcore.iter().for_each(|of_lcore| latency.add(of_lcore));
    }
    for port in &mut ports {
        port.stop()?;
    }
    let outcome = outcome?;
    Ok(Report::new(&Findings {
        figures: outcome.figures,
        sending: outcome.sending,
        flows: plan.clients.as_ref().map_or(0, |clients| clients.flows.count()),
        opening: outcome.opening,
        connections: plan.clients.as_ref().is_some_and(|clients| clients.traffic == Traffic::Connections),
        latency: &latency,
        dpdk: dpdk_wrapper::version(),
    }))
}

/// What everybody is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Phase {
    /// Find the next hop, and answer.
    Prepare,
    /// Open flows.
    Open,
    /// Receive what is under way.
    Settle,
    /// Send and measure.
    Measure,
    /// Receive what is under way, again.
    Drain,
    /// End.
    Stop,
}

impl Phase {
    const ALL: [Self; 6] = [Self::Prepare, Self::Open, Self::Settle, Self::Measure, Self::Drain, Self::Stop];
}

/// What lcores and the conductor share.
#[derive(Debug)]
struct Shared {
    phase: AtomicU8,
    /// The six bytes of the next hop's Ethernet address; 0 until it is known.
    next_hop: AtomicU64,
    counters: PerWorker<Counters>,
    stages: PerWorker<Stage>,
}

/// How far an lcore is.
#[derive(Debug, Default)]
struct Stage {
    /// 1 when its loop has begun.
    is_up: Counter,
    /// The last phase in which it has sent all that was its part.
    finished: Counter,
    /// How long it sent in [`Phase::Measure`].
    sending_nanos: Counter,
}

impl Shared {
    fn new(plan: &Plan, lcores: usize) -> Self {
        let shared = Self {
            phase: AtomicU8::new(Phase::Prepare as u8),
            next_hop: AtomicU64::new(0),
            counters: per_worker(lcores),
            stages: per_worker(lcores),
        };
        if let Some(NextHop::Mac(mac)) = plan.clients.as_ref().map(|clients| clients.next_hop) {
            shared.set_next_hop(mac);
        }
        shared
    }

    #[inline(always)]
    fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Relaxed))]
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    fn next_hop(&self) -> Option<MacAddr> {
        let [_, _, mac @ ..] = self.next_hop.load(Relaxed).to_be_bytes();
        Some(MacAddr(mac)).filter(|mac| mac.is_unicast())
    }

    fn set_next_hop(&self, MacAddr([a, b, c, d, e, f]): MacAddr) {
        self.next_hop.store(u64::from_be_bytes([0, 0, a, b, c, d, e, f]), Relaxed);
    }
}
