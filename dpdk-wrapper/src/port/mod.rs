//! Ports: what packets come in by and leave by.
//!
//! A [`Port`] is taken from EAL once, configured and started in one step that gives its queues out, and closed when it
//! and its queues are gone. Each queue is a value that holds the port started.

mod config;
mod info;
mod queue;
mod rss;
mod stats;

use std::{cell::Cell, ffi::CString, marker::PhantomData, mem, sync::Arc};

use dpdk_sys as sys;

pub use config::{HashFunctions, PortConfig, RssConfig, RxOffloads, TxOffloads};
pub use info::{DescriptorLimits, Link, PortId, PortInfo};
pub use queue::{Queues, RxQueue, TxQueue};
pub use rss::Rss;
pub use stats::{PortStats, QueueStats};

use crate::{Eal, Error, Mempool, eal::Memory};

/// A port that belongs to the holder. It may go to another thread, say one that reads its counters, while its queues
/// are polled elsewhere.
#[derive(Debug)]
pub struct Port {
    device: Arc<Device>,
    /// Drivers expect one thread at a time here.
    not_sync: PhantomData<Cell<()>>,
}

impl Eal {
    /// The ports that exist and that no other driver (bonding, failover) uses as parts of its own, by number.
    pub fn ports(&self) -> Vec<PortId> {
        let mut ports = Vec::new();
        let mut port = 0;
        loop {
            // SAFETY: EAL is up. Owner 0 is "no owner".
            let found = unsafe { sys::rte_eth_find_next_owned_by(port, 0) };
            match u16::try_from(found) {
                Ok(found) if u32::from(found) < sys::RTE_MAX_ETHPORTS => ports.push(PortId(found)),
                _ => return ports,
            }
            port = found as u16 + 1;
        }
    }

    /// Takes a port by its number.
    ///
    /// # Errors
    ///
    /// When there is none, or it was taken before.
    pub fn port(&self, id: PortId) -> Result<Port, Error> {
        if !self.ports().contains(&id) {
            return Err(Error::new(format!("there is no port {id}"), libc::ENODEV));
        }
        if !self.memory().take_port(id.0) {
            return Err(Error::new(format!("port {id} was taken before"), libc::EBUSY));
        }
        let device = Arc::new(Device { id, is_started: false, _memory: Arc::clone(self.memory()) });
        Ok(Port { device, not_sync: PhantomData })
    }

    /// Takes a port by its device's name, such as `net_tap0` or `0000:3b:00.0`.
    ///
    /// # Errors
    ///
    /// As [`port`](Self::port).
    pub fn port_named(&self, name: &str) -> Result<Port, Error> {
        self.port(number_of(name)?)
    }

    /// Whether there is a port of this name, also one that another driver uses as a part of its own.
    pub fn has_port(&self, name: &str) -> bool {
        number_of(name).is_ok()
    }
}

/// The number of the port with a device's name. EAL must be up.
fn number_of(name: &str) -> Result<PortId, Error> {
    let what = || format!("there is no port {name:?}");
    let c_name = CString::new(name).map_err(|_| Error::new(what(), libc::EINVAL))?;
    let mut id = 0;
    // SAFETY: EAL is up, the name is a C string, and the number is written to a variable.
    let code = unsafe { sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &mut id) };
    Error::check(code, what)?;
    Ok(PortId(id))
}

impl Port {
    /// The port's number.
    pub fn id(&self) -> PortId {
        self.device.id
    }

    /// Configures the port, sets its queues up, and starts it. RX queue `n` takes its mbufs from
    /// `pools[n % pools.len()]`.
    ///
    /// What the port lacks of offloads and hash functions is left out; the number of descriptors is adjusted to what it
    /// can. No more queues are made, and none fewer, than are asked for: [`PortInfo`] has the limits.
    ///
    /// # Errors
    ///
    /// When the port is started already, `pools` is empty, or the driver refuses: the port stays stopped then, and
    /// another configuration may be tried.
    pub fn start(&mut self, config: &PortConfig, pools: &[&Mempool]) -> Result<Queues, Error> {
        let id = self.id();
        let info = self.info()?;
        // No queue exists if nobody else holds the device; that also makes this the only access to it.
        let device = Arc::get_mut(&mut self.device)
            .filter(|device| !device.is_started)
            .ok_or_else(|| Error::new(format!("port {id} is started already"), libc::EBUSY))?;
        config.apply(id, &info, pools)?;
        // SAFETY: configured, with all queues set up.
        let code = unsafe { sys::rte_eth_dev_start(id.0) };
        Error::check(code, || format!("port {id} cannot start"))?;
        device.is_started = true;
        Ok(Queues::new(&self.device, config.rx_queues, config.tx_queues))
    }

    /// Stops the port. Packets in its queues are dropped, and their mbufs return to their pools: now, or when the port
    /// is closed. It may be started again.
    ///
    /// # Errors
    ///
    /// When a queue still exists, and when the driver fails. Stopping a stopped port does nothing.
    pub fn stop(&mut self) -> Result<(), Error> {
        let id = self.id();
        Arc::get_mut(&mut self.device)
            .ok_or_else(|| Error::new(format!("queues of port {id} are still in use"), libc::EBUSY))?
            .stop()
    }

    /// Switches promiscuous mode: whether the port receives frames for other addresses than its own.
    ///
    /// # Errors
    ///
    /// When the driver refuses; a port without the feature says so by [`Error::is_unsupported`].
    pub fn set_promiscuous(&mut self, on: bool) -> Result<(), Error> {
        let id = self.id();
        let set = if on { sys::rte_eth_promiscuous_enable } else { sys::rte_eth_promiscuous_disable };
        // SAFETY: the port exists.
        let code = unsafe { set(id.0) };
        Error::check(code, || format!("port {id}: promiscuous mode cannot be switched"))
    }

    /// Switches whether the port receives all multicast frames.
    ///
    /// # Errors
    ///
    /// When the driver refuses; a port without the feature says so by [`Error::is_unsupported`].
    pub fn set_all_multicast(&mut self, on: bool) -> Result<(), Error> {
        let id = self.id();
        let set = if on { sys::rte_eth_allmulticast_enable } else { sys::rte_eth_allmulticast_disable };
        // SAFETY: the port exists.
        let code = unsafe { set(id.0) };
        Error::check(code, || format!("port {id}: reception of all multicast cannot be switched"))
    }
}

/// The device behind a port and its queues: stopped and closed when the last of them goes. Mbufs that it held return to
/// their pools, which outlive it.
#[derive(Debug)]
struct Device {
    id: PortId,
    is_started: bool,
    _memory: Arc<Memory>,
}

impl Device {
    fn stop(&mut self) -> Result<(), Error> {
        if !mem::take(&mut self.is_started) {
            return Ok(());
        }
        // SAFETY: the port exists, and no queue of it: the device is borrowed mutably.
        let code = unsafe { sys::rte_eth_dev_stop(self.id.0) };
        Error::check(code, || format!("port {} cannot stop", self.id)).inspect_err(|_| self.is_started = true)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Nobody is left to be told of a failure. Closing a port that did not stop is refused by DPDK.
        let _ = self.stop();
        // SAFETY: the port exists; its number was handed out once, so nobody uses it any more.
        unsafe { sys::rte_eth_dev_close(self.id.0) };
    }
}
