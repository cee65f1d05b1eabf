//! Puts the workers in their places: opens the ports, makes pools and rings, and deals them out to the lcores.

use std::path::Path;
use std::sync::Arc;

use dpdk_wrapper::{
    Clock, Consumer, Eal, LcoreInfo, Mempool, MempoolConfig, PortConfig, PortInfo, Producer, Queues, ring,
};
use siphasher::sip::SipHasher13;

use super::align::align;
use super::ending::Ending;
use super::outlet::{Outlet, Way};
use super::{HandOver, Worker};
use crate::config::eal::virtual_devices;
use crate::config::{Config, MacSetting};
use crate::conntrack::{self, ClientLoads, Conntrack, FlowMemory, Persistence};
use crate::control::{Delivery, PublishError, Publisher, Vips, add_vlans, wanted_ports};
use crate::counters::{PerWorker, WorkerCounters, per_worker};
use crate::courier::Courier;
use crate::flow::FlowHasher;
use crate::fragment::MOST_HELD;
use crate::id::{PortId, WorkerId};
use crate::inquiry::Line;
use crate::io::BURST;
use crate::pipeline::{Pipeline, Settings};
use crate::service::{Parts, Port, Snapshot};
use crate::steering::{Alignment, PortShare};
use crate::syncookie::Cookies;
use crate::time::Instant;
use crate::wire::MacAddr;

/// Packets that may be on their way to one worker, from all others together, each of which has a ring of its own to it…
const INBOX: usize = 4096;
/// … and the least and the most on one ring. Every packet that may be on its way takes an mbuf.
const SHORTEST_RING: usize = 128;
const LONGEST_RING: usize = 1024;

/// Clients that each worker remembers for persistence, as a share of its connections.
const CLIENTS_PER_CONNECTION: f64 = 0.25;

/// mbufs that each lcore keeps for itself.
const POOL_CACHE: u32 = 256;

/// Bytes of a buffer beside its data: about what DPDK's headers take.
const MBUF_OVERHEAD: u32 = 256;
/// Descriptors of each queue.
const DESCRIPTORS: u16 = 512;

/// The longest header in front of an Ethernet frame's payload: addresses, one VLAN tag, type.
const LONGEST_HEADER: usize = 18;

/// Why the workers could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// A port, a pool or a ring.
    #[error(transparent)]
    Dpdk(#[from] dpdk_wrapper::Error),
    /// The configuration does not fit these ports.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// EAL has too little memory for the packet buffers.
    #[error(
        "{error}: {mbufs} packet buffers for {lcores} lcores take {mebibytes} MiB; give EAL more memory, as hugepages \
         or by -m, or fewer lcores"
    )]
    Memory {
        /// What EAL says.
        error: dpdk_wrapper::Error,
        /// How many buffers.
        mbufs: u32,
        /// How many lcores they are for.
        lcores: usize,
        /// About how much memory they take.
        mebibytes: u32,
    },
    /// A virtual device that EAL was told to make is not there.
    #[error("--vdev={0}: EAL could not open this device, and says above why")]
    MissingDevice(String),
    /// Frames can be longer than a buffer.
    #[error("port {port}: an MTU of {mtu} is more than leat's buffers hold; set it to {most} or less")]
    Jumbo {
        /// The port.
        port: String,
        /// Its MTU, in bytes.
        mtu: u16,
        /// The longest that fits.
        most: usize,
    },
    /// There are more lcores than source ports to deal out.
    #[error("too many lcores: each needs a part of the source ports")]
    TooManyLcores,
    /// The operating system has no randomness.
    #[error("no random keys for hashes: {0}")]
    Random(#[from] getrandom::Error),
}

/// Everything that is running, or about to.
pub struct Deployment {
    /// One for each lcore, in their order.
    pub workers: Vec<Worker>,
    /// The ports, for their counters and for the end.
    pub ports: Vec<dpdk_wrapper::Port>,
    /// The same, as they are known by name and address.
    pub devices: Vec<Port>,
    /// How each port goes together with the steering, in their order.
    pub alignments: Vec<Alignment>,
    /// The packet buffers.
    pub pool: Mempool,
    /// What makes snapshots for these ports and workers.
    pub publisher: Publisher,
    /// What the workers see, and the way to give them something else.
    pub delivery: Delivery,
    /// What they count.
    pub counters: PerWorker<WorkerCounters>,
    /// The way of health checks to the first worker and back.
    pub courier: Arc<Courier>,
    /// The ways to ask the workers, in their order.
    pub lines: Vec<Arc<Line>>,
    /// What there is to say about it.
    pub notes: Vec<String>,
}

/// Opens the ports that `config` wants and makes a worker for each lcore. `arguments` are EAL's, which name the devices.
///
/// # Errors
///
/// As [`DeployError`] says. What was opened is closed again.
pub fn deploy(eal: &Eal, config: &Config, arguments: &[String]) -> Result<Deployment, DeployError> {
    let lcores = eal.lcores();
    let count = lcores.len();
    let mut notes = Vec::new();

    // EAL goes on without a device that fails, and half of what was asked for is not what was asked for.
    if let Some(missing) = virtual_ports(arguments).find(|device| !eal.has_port(device)) {
        return Err(DeployError::MissingDevice(missing.to_owned()));
    }
    let mut ports = Vec::new();
    let mut views = Vec::new();
    for id in eal.ports() {
        let port = eal.port(id)?;
        let info = port.info()?;
        views.push(Port {
            id: PortId(id.0),
            mac: mac_for(config.mac, &info, arguments),
            mtu: port.mtu()?,
            name: info.name,
            vlan: None,
        });
        ports.push(port);
    }
    let mut devices = views.clone();
    add_vlans(config, &mut views)?;
    let views = wanted_ports(config, views)?;
    let is_wanted = |id: PortId| views.iter().any(|view| view.device() == id);
    ports.retain(|port| is_wanted(PortId(port.id().0)));
    devices.retain(|device| is_wanted(device.id));
    let vlans: Vec<_> = views.iter().filter_map(|view| Some((view.id, view.vlan?))).collect();

    let pool = pool_config(ports.len(), count, config.buffers, &lcores);
    let pool = Mempool::new(eal, "leat", &pool).map_err(|error| DeployError::Memory {
        error,
        mbufs: pool.mbufs,
        lcores: count,
        mebibytes: (pool.mbufs / 1024 * (u32::from(pool.data_room) + MBUF_OVERHEAD)).div_ceil(1024),
    })?;
    for view in &views {
        let most = pool.buffer_len() - LONGEST_HEADER;
        if usize::from(view.mtu) > most {
            return Err(DeployError::Jumbo { port: view.name.clone(), mtu: view.mtu, most });
        }
    }

    let mut publisher = Publisher::new(views, count);
    publisher.set_silent(Vips::at_start(config).silent(config));
    let nothing = Snapshot::from(Parts::default());
    let snapshot = Arc::new(publisher.publish(config, &nothing, Instant::ZERO)?);
    let counters = per_worker(count);
    let hasher = FlowHasher::random()?;
    let cookies = Cookies::random()?;
    let clock = Clock::new(eal)?;
    let started = clock.cycles();

    let mut queues = Vec::new();
    for port in &mut ports {
        queues.push(start(port, count, &pool, &mut notes)?);
    }
    let (steering, alignments) = align(&mut ports, count as u16)?;
    let mut rings = rings(eal, count)?;
    let (delivery, mailboxes) = Delivery::new(Arc::clone(&snapshot), count);

    let courier = Arc::new(Courier::default());
    let ending = Arc::new(Ending::of(count));
    let lines: Vec<Arc<Line>> = (0..count).map(|_| Arc::default()).collect();
    let mut workers = Vec::new();
    for (index, mailbox) in mailboxes.into_iter().enumerate() {
        let id = WorkerId(index as u16);
        let mut receive = Vec::new();
        let mut ways: Vec<Option<Way>> = Vec::new();
        for (port, queues) in ports.iter().zip(&mut queues) {
            receive.extend(queues.receive.get_mut(index).and_then(Option::take));
            let at = usize::from(port.id().0);
            ways.resize_with(ways.len().max(at + 1), || None);
            ways[at] = Some(match queues.transmit.get_mut(index).and_then(Option::take) {
                Some(queue) => Way::Queue(queue, Box::default()),
                None => Way::Through(WorkerId((index % queues.transmit.len()) as u16)),
            });
        }
        for (id, vlan) in &vlans {
            ways.resize_with(ways.len().max(id.index() + 1), || None);
            ways[id.index()] = Some(Way::Tagged(*vlan));
        }
        let connections = config.connections;
        let conntrack = Conntrack::new(&conntrack::Settings {
            connections,
            ipv6: config.has_ipv6(),
            hasher,
            timeouts: config.timeouts,
            share: PortShare::new(&steering, id).ok_or(DeployError::TooManyLcores)?,
        });
        // What no service asks for is never touched, and takes no memory.
        let clients = (connections as f64 * CLIENTS_PER_CONNECTION) as usize;
        let pipeline = Pipeline::new(Settings {
            id,
            steering: steering.clone(),
            hasher,
            conntrack,
            persistence: Persistence::new(clients, hasher),
            flow_memory: FlowMemory::new(4 * clients),
            clients: Persistence::new(clients, hasher),
            loads: ClientLoads::new(clients, hasher),
            cookies,
            counters: Arc::clone(&counters),
            courier: Arc::clone(&courier),
        });
        let (outgoing, inbox) = rings.take(index);
        workers.push(Worker {
            id,
            queues: receive,
            vlans: vlans.clone(),
            inbox,
            outlet: Outlet::new(id, Arc::clone(&counters), pool.clone(), ways, outgoing),
            pipeline,
            snapshot: Arc::clone(&snapshot),
            mailbox,
            counters: Arc::clone(&counters),
            clock,
            started,
            ending: Arc::clone(&ending),
            line: Arc::clone(&lines[index]),
            inquiry: None,
        });
    }
    Ok(Deployment { workers, ports, devices, alignments, pool, publisher, delivery, counters, courier, lines, notes })
}

/// One port's queues, to be dealt out.
struct Dealt {
    receive: Vec<Option<dpdk_wrapper::RxQueue>>,
    transmit: Vec<Option<dpdk_wrapper::TxQueue>>,
}

/// Starts `port` with a queue for each lcore, as far as it has them.
fn start(
    port: &mut dpdk_wrapper::Port,
    lcores: usize,
    pool: &Mempool,
    notes: &mut Vec<String>,
) -> Result<Dealt, DeployError> {
    let info = port.info()?;
    let capped = |most: u16| (lcores as u16).min(most).max(1);
    let (rx_queues, tx_queues) = (capped(info.max_rx_queues), capped(info.max_tx_queues));
    if usize::from(rx_queues) < lcores {
        notes.push(format!("port {}: {rx_queues} of {lcores} lcores can receive from it", info.name));
    }
    let config = PortConfig {
        rx_queues,
        tx_queues,
        rx_descriptors: DESCRIPTORS,
        tx_descriptors: DESCRIPTORS,
        ..PortConfig::default()
    };
    let Queues { rx, tx, .. } = port.start(&config, &[pool])?;
    // leat answers to an Ethernet address of its own choice, so the port has to let it through; and neighbours' questions in
    // IPv6 come to a multicast group for each address (RFC 4861 §7.2.3), which promiscuous mode need not include.
    for switched in [port.set_promiscuous(true), port.set_all_multicast(true)] {
        if let Err(error) = switched {
            log::debug!("{error}");
        }
    }
    Ok(Dealt { receive: rx.into_iter().map(Some).collect(), transmit: tx.into_iter().map(Some).collect() })
}

/// The rings between each two workers.
struct Rings {
    producers: Vec<Vec<Option<Producer<HandOver>>>>,
    consumers: Vec<Vec<Consumer<HandOver>>>,
}

fn rings(eal: &Eal, count: usize) -> Result<Rings, DeployError> {
    let mut producers: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
    let mut consumers: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
    for (from, outgoing) in producers.iter_mut().enumerate() {
        for (to, incoming) in consumers.iter_mut().enumerate() {
            if from == to {
                outgoing.push(None);
                continue;
            }
            let (producer, consumer) = ring(eal, ring_len(count), None)?;
            outgoing.push(Some(producer));
            incoming.push(consumer);
        }
    }
    Ok(Rings { producers, consumers })
}

impl Rings {
    /// The ends that belong to one worker.
    fn take(&mut self, worker: usize) -> (Vec<Option<Producer<HandOver>>>, Vec<Consumer<HandOver>>) {
        (std::mem::take(&mut self.producers[worker]), std::mem::take(&mut self.consumers[worker]))
    }
}

/// Enough mbufs for every place where one can be.
fn pool_config(ports: usize, lcores: usize, least: u32, infos: &[LcoreInfo]) -> MempoolConfig {
    let in_queues = ports * lcores * 2 * usize::from(DESCRIPTORS);
    // A cache holds up to one and a half times its size.
    let in_caches = lcores * POOL_CACHE as usize * 3 / 2;
    let in_rings = lcores * (lcores - 1) * ring_len(lcores);
    let in_hands = lcores * (1024 + 4 * BURST + MOST_HELD);
    let mbufs = in_queues + in_caches + in_rings + in_hands;
    MempoolConfig {
        mbufs: least.max(mbufs as u32),
        cache: POOL_CACHE,
        socket: infos.first().and_then(|lcore| lcore.socket),
        ..MempoolConfig::default()
    }
}

/// How long each ring is among `lcores` workers.
fn ring_len(lcores: usize) -> usize {
    (INBOX / lcores.saturating_sub(1).max(1)).clamp(SHORTEST_RING, LONGEST_RING)
}

/// The names of the ports that EAL's arguments ask for with `--vdev`: devices of other kinds have other names.
pub(crate) fn virtual_ports(arguments: &[String]) -> impl Iterator<Item = &str> {
    let is_port = |name: &&str| {
        let is_network = ["net_", "eth_", "virtio_user"].iter().any(|kind| name.starts_with(kind));
        // This one looks for the host's own devices, and makes ports by other names.
        is_network && !name.starts_with("net_vdev_netvsc")
    };
    virtual_devices(arguments).map(|device| device.split(',').next().unwrap_or(device)).filter(is_port)
}

/// The Ethernet address that leat has on a port.
pub(crate) fn mac_for(setting: MacSetting, info: &PortInfo, arguments: &[String]) -> MacAddr {
    match setting {
        MacSetting::Fixed(mac) => mac,
        // The kernel's end of a tap has the port's address, and a bridge keeps frames for it to itself.
        MacSetting::Auto if info.driver == "net_tap" => {
            let device = arguments.iter().find(|argument| argument.contains(&info.name));
            made_up_mac(device.map_or(&info.name, |argument| argument))
        }
        MacSetting::Auto => MacAddr(info.mac),
    }
}

/// A locally administered address that stays the same for the same device in the same place: the machine and the
/// network namespace.
fn made_up_mac(device: &str) -> MacAddr {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let namespace = std::fs::read_link(Path::new("/proc/self/ns/net")).unwrap_or_default();
    let place = format!("{}\0{}\0{device}", machine.trim(), namespace.display());
    let [a, b, c, d, e, ..] = SipHasher13::new().hash(place.as_bytes()).to_be_bytes();
    MacAddr([0x02, a, b, c, d, e])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_that_is_asked_for_must_be_there() {
        let arguments = ["leat", "--vdev=net_tap0,iface=a", "--vdev", "net_pcap1", "--vdev=crypto_null0", "-l", "0"];
        let arguments = arguments.map(str::to_owned);
        assert_eq!(virtual_ports(&arguments).collect::<Vec<_>>(), ["net_tap0", "net_pcap1"]);
    }

    #[test]
    fn a_made_up_address_is_stable_and_differs_by_device() {
        let mac = made_up_mac("--vdev=net_tap0,iface=tapdpdk");
        assert_eq!(mac, made_up_mac("--vdev=net_tap0,iface=tapdpdk"));
        assert_ne!(mac, made_up_mac("--vdev=net_tap0,iface=other"));
        assert!(mac.is_unicast());
    }
}
