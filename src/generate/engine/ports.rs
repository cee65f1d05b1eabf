//! Opens the ports and deals their queues out to the lcores.

use std::sync::Arc;

use dpdk_wrapper::{Clock, Eal, Mempool, MempoolConfig, Port, PortConfig, Queues};

use super::worker::{Side, Worker};
use super::{EngineError, Shared};
use crate::config::MacSetting;
use crate::generate::neighbors::Neighbors;
use crate::generate::plan::{NextHop, Plan};
use crate::generate::receiver::Receiver;
use crate::generate::stamp::Key;
use crate::io::BURST;
use crate::worker::{mac_for, virtual_ports};

/// Descriptors of each queue.
const DESCRIPTORS: u16 = 1024;

/// mbufs that each lcore keeps for itself.
const POOL_CACHE: u32 = 256;

/// Clients and backends.
const MOST_PORTS: usize = 2;

/// Why ports and memory could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A port, a pool or a clock.
    #[error(transparent)]
    Dpdk(#[from] dpdk_wrapper::Error),
    /// A virtual device that EAL was told to make is not there.
    #[error("--vdev={0}: EAL could not open this device, and says above why")]
    MissingDevice(String),
    /// There is nothing to send on.
    #[error("there is no port; name one to EAL, before `--`: --vdev=net_tap0,iface=NAME, or -a ADDRESS")]
    NoPort,
    /// More ports than sides.
    #[error("there are {0} ports, and leat-gen takes one or two: clients on the first, backends on the last")]
    TooManyPorts(usize),
    /// An lcore without a queue could not do anything.
    #[error("port {port} has {queues} queues, and each of {lcores} lcores needs one; give EAL fewer lcores with -l")]
    TooFewQueues {
        /// The port.
        port: String,
        /// What it has.
        queues: u16,
        /// What it would need.
        lcores: usize,
    },
}

/// All that is ready to run.
pub(super) struct Deployment {
    /// One for each lcore, in their order.
    pub(super) workers: Vec<Worker>,
    /// The ports, for their links and for the end.
    pub(super) ports: Vec<Port>,
    /// Their devices' names.
    pub(super) names: Vec<String>,
}

/// Opens all ports and makes a worker for each lcore.
pub(super) fn deploy(
    eal: &Eal,
    plan: &Plan,
    arguments: &[String],
    shared: &Arc<Shared>,
) -> Result<Deployment, EngineError> {
    let lcores = eal.lcores();
    if let Some(missing) = virtual_ports(arguments).find(|device| !eal.has_port(device)) {
        return Err(SetupError::MissingDevice(missing.to_owned()).into());
    }
    let ids = eal.ports();
    match ids.len() {
        0 => return Err(SetupError::NoPort.into()),
        1..=MOST_PORTS => {}
        more => return Err(SetupError::TooManyPorts(more).into()),
    }
    let pool = Mempool::new(
        eal,
        "leat-gen",
        &MempoolConfig {
            mbufs: pool_size(ids.len(), lcores.len()),
            cache: POOL_CACHE,
            socket: lcores.first().and_then(|lcore| lcore.socket),
            ..MempoolConfig::default()
        },
    )?;
    let (mut ports, mut names, mut sides) = (Vec::new(), Vec::new(), Vec::new());
    for (at, id) in ids.into_iter().enumerate() {
        let mut port = eal.port(id)?;
        let info = port.info()?;
        let queues = info.max_rx_queues.min(info.max_tx_queues);
        if usize::from(queues) < lcores.len() {
            return Err(SetupError::TooFewQueues { port: info.name, queues, lcores: lcores.len() }.into());
        }
        let config = PortConfig {
            rx_queues: lcores.len() as u16,
            tx_queues: lcores.len() as u16,
            rx_descriptors: DESCRIPTORS,
            tx_descriptors: DESCRIPTORS,
            ..PortConfig::default()
        };
        let Queues { rx, tx } = port.start(&config, &[&pool])?;
        // The address may be another one than the port's.
        if let Err(error) = port.set_promiscuous(true) {
            log::debug!("{error}");
        }
        let setting = plan.mac.filter(|_| at == 0).map_or(MacSetting::Auto, MacSetting::Fixed);
        let mac = mac_for(setting, &info, arguments);
        sides.push(rx.into_iter().zip(tx).map(move |(rx, tx)| Side::new(rx, tx, mac)));
        names.push(info.name);
        ports.push(port);
    }

    let clock = Clock::new(eal)?;
    let (started, key) = (clock.cycles(), Key(getrandom::u64()?));
    let neighbors = Neighbors {
        clients: plan.clients.as_ref().map(|clients| clients.flows),
        backends: plan.backends.clone(),
        next_hop: plan.clients.as_ref().and_then(|clients| match clients.next_hop {
            NextHop::Address(address) => Some(address),
            NextHop::Mac(_) => None,
        }),
    };
    let workers = (0..lcores.len())
        .map(|index| Worker {
            index,
            sides: sides.iter_mut().filter_map(Iterator::next).collect(),
            receiver: Receiver::new(plan, neighbors.clone(), key, Arc::clone(&shared.counters), index),
            neighbors: neighbors.clone(),
            clients: plan.clients.clone(),
            sender: None,
            burst: plan.burst,
            key,
            pool: pool.clone(),
            shared: Arc::clone(shared),
            clock,
            started,
        })
        .collect();
    Ok(Deployment { workers, ports, names })
}

/// Enough mbufs for every place where one can be.
fn pool_size(ports: usize, lcores: usize) -> u32 {
    let in_queues = ports * lcores * 2 * usize::from(DESCRIPTORS);
    // A cache holds up to one and a half times its size.
    let in_caches = lcores * POOL_CACHE as usize * 3 / 2;
    let in_hands = lcores * ports * 4 * BURST;
    (in_queues + in_caches + in_hands) as u32
}
