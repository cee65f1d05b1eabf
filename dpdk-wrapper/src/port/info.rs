//! What a port is and what it can do.

use std::{
    ffi::{CStr, c_char},
    fmt,
    mem::MaybeUninit,
};

use dpdk_sys as sys;

use super::{HashFunctions, Port, RxOffloads, TxOffloads};
use crate::Error;

/// The number of a port, as DPDK counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a port is and what it can do, as its driver says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// The device's name, such as `net_tap0` or `0000:3b:00.0`.
    pub name: String,
    /// The driver's name, such as `net_tap`.
    pub driver: String,
    /// The Ethernet address.
    pub mac: [u8; 6],
    /// The socket (NUMA node) that it is attached to; `None` when it is attached to none.
    pub socket: Option<u32>,
    /// The most RX queues that it can have.
    pub max_rx_queues: u16,
    /// The most TX queues that it can have.
    pub max_tx_queues: u16,
    /// How many descriptors an RX queue may have.
    pub rx_descriptors: DescriptorLimits,
    /// How many descriptors a TX queue may have.
    pub tx_descriptors: DescriptorLimits,
    /// The smallest MTU, in bytes of an Ethernet frame's payload.
    pub min_mtu: u16,
    /// The largest MTU.
    pub max_mtu: u16,
    /// The RX offloads that it has.
    pub rx_offloads: RxOffloads,
    /// The TX offloads that it has.
    pub tx_offloads: TxOffloads,
    /// The headers that it can hash to choose an RX queue. Empty: it has no RSS that can be set.
    pub hash_functions: HashFunctions,
    /// Bytes of its hash key; 0 when the driver does not say.
    pub hash_key_len: usize,
    /// Entries of its redirection table; 0 when it has none.
    pub table_len: usize,
}

/// How many descriptors a queue may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorLimits {
    /// The fewest.
    pub min: u16,
    /// The most.
    pub max: u16,
    /// What their number must be a multiple of.
    pub align: u16,
}

/// The state of a port's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Whether frames can pass.
    pub is_up: bool,
    /// Megabits per second, as far as the driver knows.
    pub speed_mbps: Option<u32>,
    /// Whether both directions are free at once.
    pub is_full_duplex: bool,
}

impl Port {
    /// What the port is and what it can do.
    ///
    /// # Errors
    ///
    /// When the driver fails.
    pub fn info(&self) -> Result<PortInfo, Error> {
        let id = self.id();
        let device = device_info(id)?;
        Ok(PortInfo {
            name: self.name()?,
            driver: text(device.driver_name),
            mac: self.mac()?,
            socket: socket(id),
            max_rx_queues: device.max_rx_queues,
            max_tx_queues: device.max_tx_queues,
            rx_descriptors: limits(&device.rx_desc_lim),
            tx_descriptors: limits(&device.tx_desc_lim),
            min_mtu: device.min_mtu,
            max_mtu: device.max_mtu,
            rx_offloads: RxOffloads::from_bits(device.rx_offload_capa),
            tx_offloads: TxOffloads::from_bits(device.tx_offload_capa),
            hash_functions: HashFunctions::from_bits(device.flow_type_rss_offloads),
            hash_key_len: usize::from(device.hash_key_size),
            table_len: usize::from(device.reta_size),
        })
    }

    /// The Ethernet address.
    ///
    /// # Errors
    ///
    /// When the driver fails.
    pub fn mac(&self) -> Result<[u8; 6], Error> {
        let mut address = zeroed::<sys::rte_ether_addr>();
        // SAFETY: the port exists, and the address is written to a variable.
        let code = unsafe { sys::rte_eth_macaddr_get(self.id().0, address.as_mut_ptr()) };
        Error::check(code, || format!("port {} does not tell its address", self.id()))?;
        // SAFETY: an array of bytes, zeroed before anything was written.
        Ok(unsafe { address.assume_init() }.addr_bytes)
    }

    /// The MTU now, in bytes of an Ethernet frame's payload.
    ///
    /// # Errors
    ///
    /// When the driver fails.
    pub fn mtu(&self) -> Result<u16, Error> {
        let mut mtu = 0;
        // SAFETY: the port exists, and the number is written to a variable.
        let code = unsafe { sys::rte_eth_dev_get_mtu(self.id().0, &mut mtu) };
        Error::check(code, || format!("port {} does not tell its MTU", self.id()))?;
        Ok(mtu)
    }

    /// The state of the link now.
    ///
    /// # Errors
    ///
    /// When the driver fails or cannot tell.
    pub fn link(&self) -> Result<Link, Error> {
        let (mut speed, mut is_up, mut is_full_duplex) = (0, 0, 0);
        // SAFETY: the port exists, and the results are written to variables.
        let code = unsafe { sys::dpdk_sys_link(self.id().0, &mut speed, &mut is_up, &mut is_full_duplex) };
        Error::check(code, || format!("port {} does not tell its link's state", self.id()))?;
        // RTE_ETH_SPEED_NUM_NONE is 0, RTE_ETH_SPEED_NUM_UNKNOWN is u32::MAX.
        let speed_mbps = (speed != 0 && speed != u32::MAX).then_some(speed);
        Ok(Link { is_up: is_up != 0, speed_mbps, is_full_duplex: is_full_duplex != 0 })
    }

    fn name(&self) -> Result<String, Error> {
        let mut name = [0; sys::RTE_ETH_NAME_MAX_LEN as usize];
        // SAFETY: the port exists, and the buffer has the size that DPDK demands.
        let code = unsafe { sys::rte_eth_dev_get_name_by_port(self.id().0, name.as_mut_ptr()) };
        Error::check(code, || format!("port {} has no name", self.id()))?;
        Ok(text(name.as_ptr()))
    }
}

/// The driver's own description, with defaults for the configuration of queues.
pub(super) fn device_info(id: PortId) -> Result<sys::rte_eth_dev_info, Error> {
    let mut info = zeroed::<sys::rte_eth_dev_info>();
    // SAFETY: the description is written to a variable; a wrong number is refused.
    let code = unsafe { sys::rte_eth_dev_info_get(id.0, info.as_mut_ptr()) };
    Error::check(code, || format!("port {id} does not tell what it can do"))?;
    // SAFETY: numbers and pointers, for which zeros are valid, and which DPDK has filled in.
    Ok(unsafe { info.assume_init() })
}

/// The socket of the port, as DPDK's functions take it: -1 for any.
pub(super) fn socket_number(id: PortId) -> i32 {
    // SAFETY: EAL is up; a wrong number gives -1.
    unsafe { sys::rte_eth_dev_socket_id(id.0) }
}

/// Memory for a struct that DPDK fills in. Later releases add fields, which must be zero.
pub(super) fn zeroed<T>() -> MaybeUninit<T> {
    MaybeUninit::zeroed()
}

fn socket(id: PortId) -> Option<u32> {
    u32::try_from(socket_number(id)).ok()
}

fn limits(limits: &sys::rte_eth_desc_lim) -> DescriptorLimits {
    DescriptorLimits { min: limits.nb_min, max: limits.nb_max, align: limits.nb_align }
}

fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: a C string that DPDK returned, which lives while the port does.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
