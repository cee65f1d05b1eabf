//! How a port is set up before it starts.

use dpdk_sys as sys;

use super::{
    PortId, PortInfo,
    info::{device_info, socket_number, zeroed},
};
use crate::{Error, Mempool};

/// How a port is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConfig {
    /// How many RX queues, from 1 to [`PortInfo::max_rx_queues`].
    pub rx_queues: u16,
    /// How many TX queues, from 1 to [`PortInfo::max_tx_queues`].
    pub tx_queues: u16,
    /// Descriptors of each RX queue, adjusted to the driver's limits.
    pub rx_descriptors: u16,
    /// Descriptors of each TX queue, adjusted to the driver's limits.
    pub tx_descriptors: u16,
    /// The MTU, in bytes of an Ethernet frame's payload. `None` for 1500, or the port's largest if that is less.
    pub mtu: Option<u16>,
    /// How RX queues are chosen, where there are several and the port can be told.
    pub rss: RssConfig,
    /// Offloads to switch on, as far as the port has them.
    pub rx_offloads: RxOffloads,
    /// Offloads to switch on, as far as the port has them.
    pub tx_offloads: TxOffloads,
}

impl Default for PortConfig {
    /// One queue each way of 1024 descriptors, and nothing that changes a packet on its way in: the hash of the packet
    /// where it is to be had, and packets in several segments both ways.
    fn default() -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: None,
            rss: RssConfig::default(),
            rx_offloads: RxOffloads::RSS_HASH,
            tx_offloads: TxOffloads::MULTI_SEGMENT,
        }
    }
}

/// Receive-side scaling: which of the headers are hashed, and with which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RssConfig {
    /// The headers to hash, as far as the port can.
    pub functions: HashFunctions,
    /// The key; `None` for the driver's own. Its length must be [`PortInfo::hash_key_len`], or 40 bytes where that is 0.
    /// Some drivers heed it only in [`Port::set_hash`](super::Port::set_hash), and some never: [`Port::rss`](super::Port::rss)
    /// tells.
    pub key: Option<Vec<u8>>,
}

impl Default for RssConfig {
    /// Addresses and ports of TCP and UDP, addresses of other packets, and the driver's key.
    fn default() -> Self {
        Self {
            functions: HashFunctions::IPV4 | HashFunctions::IPV6 | HashFunctions::TCP | HashFunctions::UDP,
            key: None,
        }
    }
}

/// A set of DPDK's flags.
macro_rules! flags {
    ($(#[$doc:meta])* $name:ident { $($(#[$flag_doc:meta])* $flag:ident = $value:expr;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name(u64);

        impl $name {
            /// None.
            pub const NONE: Self = Self(0);
            $($(#[$flag_doc])* pub const $flag: Self = Self($value);)*

            /// From DPDK's own bits.
            pub const fn from_bits(bits: u64) -> Self {
                Self(bits)
            }

            /// As DPDK's own bits.
            pub const fn bits(self) -> u64 {
                self.0
            }

            /// These, but for `other`.
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// Whether all of `other` are here.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether none are here.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }
        }

        impl std::ops::BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl std::ops::BitAnd for $name {
            type Output = Self;

            fn bitand(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
        }
    };
}

flags! {
    /// What a port can do to packets as they come in (DPDK's `RTE_ETH_RX_OFFLOAD_*`).
    RxOffloads {
        /// Checks the IPv4 header's checksum ([`Mbuf::ip_checksum`](crate::Mbuf::ip_checksum)).
        IPV4_CHECKSUM = sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
        /// Checks TCP's checksum ([`Mbuf::l4_checksum`](crate::Mbuf::l4_checksum)).
        TCP_CHECKSUM = sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
        /// Checks UDP's checksum ([`Mbuf::l4_checksum`](crate::Mbuf::l4_checksum)).
        UDP_CHECKSUM = sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
        /// Delivers the hash that chose the queue ([`Mbuf::rss_hash`](crate::Mbuf::rss_hash)).
        RSS_HASH = sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_RSS_HASH;
        /// Spreads a frame over several mbufs where one is too small. Switched on by itself where the MTU needs it.
        SCATTER = sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_SCATTER;
        /// Takes the VLAN header off ([`Mbuf::stripped_vlan`](crate::Mbuf::stripped_vlan)).
        VLAN_STRIP = sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
    }
}

flags! {
    /// What a port can do to packets as they leave (DPDK's `RTE_ETH_TX_OFFLOAD_*`).
    TxOffloads {
        /// Sends packets that lie in several segments. Some drivers are slower with it.
        MULTI_SEGMENT = sys::DPDK_SYS_RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    }
}

flags! {
    /// Headers that a port can hash to choose an RX queue (DPDK's `RTE_ETH_RSS_*`).
    HashFunctions {
        /// The addresses of IPv4 packets.
        IPV4 = sys::DPDK_SYS_RTE_ETH_RSS_IPV4
            | sys::DPDK_SYS_RTE_ETH_RSS_FRAG_IPV4
            | sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV4_OTHER;
        /// The addresses of IPv6 packets.
        IPV6 = sys::DPDK_SYS_RTE_ETH_RSS_IPV6
            | sys::DPDK_SYS_RTE_ETH_RSS_FRAG_IPV6
            | sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV6_OTHER;
        /// The addresses and ports of TCP segments over IPv4.
        IPV4_TCP = sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV4_TCP;
        /// The addresses and ports of UDP datagrams over IPv4.
        IPV4_UDP = sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV4_UDP;
        /// The addresses and ports of TCP segments over IPv6.
        IPV6_TCP = sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV6_TCP;
        /// The addresses and ports of UDP datagrams over IPv6.
        IPV6_UDP = sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV6_UDP;
        /// The addresses and ports of TCP segments.
        TCP = sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV4_TCP | sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV6_TCP;
        /// The addresses and ports of UDP datagrams.
        UDP = sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV4_UDP | sys::DPDK_SYS_RTE_ETH_RSS_NONFRAG_IPV6_UDP;
    }
}

/// What a port is told to do.
struct Features {
    rx_offloads: RxOffloads,
    tx_offloads: TxOffloads,
    /// Empty: no receive-side scaling.
    hash_functions: HashFunctions,
}

/// What DPDK gives a port that is not told its MTU.
const ETHERNET_MTU: u16 = 1500;

impl PortConfig {
    /// Configures the stopped port `id`, and sets its queues up.
    pub(super) fn apply(&self, id: PortId, info: &PortInfo, pools: &[&Mempool]) -> Result<(), Error> {
        if self.rx_queues == 0 || self.tx_queues == 0 {
            return Err(Error::new(format!("port {id} needs a queue each way"), libc::EINVAL));
        }
        if pools.is_empty() {
            return Err(Error::new(format!("port {id} needs a pool to receive into"), libc::EINVAL));
        }
        let device = device_info(id)?;
        let smallest_buffer = pools.iter().map(|pool| pool.buffer_len()).min().unwrap_or(0);
        let features = self.features(info, smallest_buffer);
        self.configure(id, info, &features)?;
        self.set_mtu(id)?;
        self.set_up_queues(id, &device, pools, &features)
    }

    /// What of all that is asked for the port has, and can use.
    fn features(&self, info: &PortInfo, smallest_buffer: usize) -> Features {
        /// Ethernet header, two VLAN headers, and the frame check sequence that some drivers store.
        const OVERHEAD: usize = 14 + 2 * 4 + 4;

        let hash_functions =
            if self.rx_queues > 1 { self.rss.functions & info.hash_functions } else { HashFunctions::NONE };
        let mut rx_offloads = self.rx_offloads;
        if hash_functions.is_empty() {
            // DPDK refuses to deliver a hash that nobody computes.
            rx_offloads = rx_offloads.without(RxOffloads::RSS_HASH);
        }
        if usize::from(self.mtu.unwrap_or(ETHERNET_MTU)) + OVERHEAD > smallest_buffer {
            rx_offloads = rx_offloads | RxOffloads::SCATTER;
        }
        Features {
            rx_offloads: rx_offloads & info.rx_offloads,
            tx_offloads: self.tx_offloads & info.tx_offloads,
            hash_functions,
        }
    }

    fn configure(&self, id: PortId, info: &PortInfo, features: &Features) -> Result<(), Error> {
        // SAFETY: numbers and pointers, for which zeros are valid: "the default", or "off".
        let mut conf = unsafe { zeroed::<sys::rte_eth_conf>().assume_init() };
        conf.rxmode.offloads = features.rx_offloads.bits();
        conf.rxmode.mtu = self.mtu.unwrap_or(0).into();
        conf.txmode.offloads = features.tx_offloads.bits();
        if !features.hash_functions.is_empty() {
            conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf = self.rss.hash_conf(id, info)?;
        }
        // SAFETY: the port exists and is stopped; the configuration and the key outlive the call.
        let code = unsafe { sys::rte_eth_dev_configure(id.0, self.rx_queues, self.tx_queues, &conf) };
        Error::check(code, || {
            format!("port {id} cannot be set up with {} RX and {} TX queues", self.rx_queues, self.tx_queues)
        })
    }

    /// Some drivers heed the MTU of the configuration, others only this.
    fn set_mtu(&self, id: PortId) -> Result<(), Error> {
        let Some(mtu) = self.mtu else { return Ok(()) };
        // SAFETY: the port exists, is configured and is stopped.
        let code = unsafe { sys::rte_eth_dev_set_mtu(id.0, mtu) };
        Error::check(code, || format!("port {id} cannot have an MTU of {mtu}"))
    }

    fn set_up_queues(
        &self,
        id: PortId,
        device: &sys::rte_eth_dev_info,
        pools: &[&Mempool],
        features: &Features,
    ) -> Result<(), Error> {
        let (mut rx_descriptors, mut tx_descriptors) = (self.rx_descriptors, self.tx_descriptors);
        // SAFETY: the port exists, and the numbers are variables.
        let code = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(id.0, &mut rx_descriptors, &mut tx_descriptors) };
        Error::check(code, || format!("port {id} has no queues of {} descriptors", self.rx_descriptors))?;

        let socket = socket_number(id) as u32;
        let mut rx_conf = device.default_rxconf;
        rx_conf.offloads = features.rx_offloads.bits();
        let mut tx_conf = device.default_txconf;
        tx_conf.offloads = features.tx_offloads.bits();
        for (queue, pool) in (0..self.rx_queues).zip(pools.iter().cycle()) {
            // SAFETY: the port is configured with so many queues and stopped; pools live as long as EAL does.
            let code =
                unsafe { sys::rte_eth_rx_queue_setup(id.0, queue, rx_descriptors, socket, &rx_conf, pool.as_ptr()) };
            Error::check(code, || format!("port {id}: RX queue {queue} cannot be set up"))?;
        }
        for queue in 0..self.tx_queues {
            // SAFETY: the port is configured with so many queues, and stopped.
            let code = unsafe { sys::rte_eth_tx_queue_setup(id.0, queue, tx_descriptors, socket, &tx_conf) };
            Error::check(code, || format!("port {id}: TX queue {queue} cannot be set up"))?;
        }
        Ok(())
    }
}

impl RssConfig {
    /// As DPDK takes it, without what the port lacks. It points into the key.
    pub(super) fn hash_conf(&self, id: PortId, info: &PortInfo) -> Result<sys::rte_eth_rss_conf, Error> {
        // SAFETY: numbers and a pointer, for which zeros are valid: the driver's own key.
        let mut conf = unsafe { zeroed::<sys::rte_eth_rss_conf>().assume_init() };
        conf.rss_hf = (self.functions & info.hash_functions).bits();
        if let Some(key) = &self.key {
            let expected = hash_key_len(info.hash_key_len);
            let len = u8::try_from(key.len()).ok().filter(|&len| usize::from(len) == expected).ok_or_else(|| {
                let what = format!("port {id} takes a hash key of {expected} bytes, and this one has {}", key.len());
                Error::new(what, libc::EINVAL)
            })?;
            // Drivers copy the key and do not write to it; DPDK's struct cannot say so, as it serves for reading too.
            conf.rss_key = key.as_ptr().cast_mut();
            conf.rss_key_len = len;
        }
        Ok(conf)
    }
}

/// Bytes of the hash key of a port that tells this length, 0 being none.
pub(super) fn hash_key_len(told: usize) -> usize {
    /// That of nearly all drivers: two IPv6 addresses, two ports, and 4 bytes.
    const USUAL: usize = 40;

    if told == 0 { USUAL } else { told }
}

#[cfg(test)]
mod tests {
    use super::{super::DescriptorLimits, *};

    #[test]
    fn a_port_is_told_to_do_only_what_it_can_and_what_is_asked() {
        let checksum = RxOffloads::TCP_CHECKSUM;
        let able =
            port(RxOffloads::RSS_HASH | RxOffloads::SCATTER | checksum, HashFunctions::TCP | HashFunctions::IPV4);
        let unable = port(RxOffloads::NONE, HashFunctions::NONE);
        let one_queue = PortConfig::default();
        let two_queues = PortConfig { rx_queues: 2, ..PortConfig::default() };
        let asks_checksum = PortConfig { rx_offloads: checksum, ..PortConfig::default() };
        let jumbo = PortConfig { mtu: Some(9000), ..PortConfig::default() };

        // Configuration, port, bytes of the smallest buffer; RX offloads and hash functions.
        let rows = [
            (&one_queue, &able, 2048, RxOffloads::NONE, HashFunctions::NONE),
            (&two_queues, &able, 2048, RxOffloads::RSS_HASH, HashFunctions::TCP | HashFunctions::IPV4),
            (&two_queues, &unable, 2048, RxOffloads::NONE, HashFunctions::NONE),
            (&asks_checksum, &able, 2048, checksum, HashFunctions::NONE),
            (&asks_checksum, &unable, 2048, RxOffloads::NONE, HashFunctions::NONE),
            (&one_queue, &able, 1525, RxOffloads::SCATTER, HashFunctions::NONE),
            (&one_queue, &able, 1526, RxOffloads::NONE, HashFunctions::NONE),
            (&jumbo, &able, 2048, RxOffloads::SCATTER, HashFunctions::NONE),
            (&jumbo, &able, 9216, RxOffloads::NONE, HashFunctions::NONE),
            (&jumbo, &unable, 2048, RxOffloads::NONE, HashFunctions::NONE),
        ];
        for (index, (config, info, buffer, rx_offloads, hash_functions)) in rows.into_iter().enumerate() {
            let features = config.features(info, buffer);
            assert_eq!((features.rx_offloads, features.hash_functions), (rx_offloads, hash_functions), "row {index}");
            assert_eq!(features.tx_offloads, info.tx_offloads & TxOffloads::MULTI_SEGMENT, "row {index}");
        }
    }

    fn port(rx_offloads: RxOffloads, hash_functions: HashFunctions) -> PortInfo {
        let any = DescriptorLimits { min: 0, max: u16::MAX, align: 1 };
        PortInfo {
            name: "net_test0".to_owned(),
            driver: "net_test".to_owned(),
            mac: [2, 0, 0, 0, 0, 1],
            socket: None,
            max_rx_queues: 8,
            max_tx_queues: 8,
            rx_descriptors: any,
            tx_descriptors: any,
            min_mtu: 46,
            max_mtu: 9000,
            rx_offloads,
            tx_offloads: TxOffloads::MULTI_SEGMENT,
            hash_functions,
            hash_key_len: 40,
            table_len: 128,
        }
    }
}
