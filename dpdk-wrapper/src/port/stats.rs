//! A port's counters, since it was started first.

use std::{collections::BTreeMap, ffi::CStr, ptr};

use dpdk_sys as sys;

use super::{Port, info::zeroed};
use crate::Error;

/// A port's counters. Bytes are those of Ethernet frames; whether with the frame check sequence depends on the driver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets lost because the RX queue was full: it was not polled often enough.
    pub rx_missed: u64,
    /// Broken packets received.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets not received because the pool was empty.
    pub rx_no_mbuf: u64,
}

/// The counters of the queues of one number, where the driver keeps them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Packets received on the RX queue.
    pub rx_packets: Option<u64>,
    /// Bytes received on the RX queue.
    pub rx_bytes: Option<u64>,
    /// Packets sent on the TX queue.
    pub tx_packets: Option<u64>,
    /// Bytes sent on the TX queue.
    pub tx_bytes: Option<u64>,
}

impl Port {
    /// The port's counters.
    ///
    /// # Errors
    ///
    /// When the driver fails or keeps none.
    pub fn stats(&self) -> Result<PortStats, Error> {
        let mut stats = zeroed::<sys::rte_eth_stats>();
        // SAFETY: the port exists, and the counters are written to a variable.
        let code = unsafe { sys::rte_eth_stats_get(self.id().0, stats.as_mut_ptr()) };
        Error::check(code, || format!("port {} does not tell its counters", self.id()))?;
        // SAFETY: numbers, zeroed before anything was written.
        let stats = unsafe { stats.assume_init() };
        Ok(PortStats {
            rx_packets: stats.ipackets,
            tx_packets: stats.opackets,
            rx_bytes: stats.ibytes,
            tx_bytes: stats.obytes,
            rx_missed: stats.imissed,
            rx_errors: stats.ierrors,
            tx_errors: stats.oerrors,
            rx_no_mbuf: stats.rx_nombuf,
        })
    }

    /// All counters that the driver keeps, by DPDK's names for them.
    ///
    /// # Errors
    ///
    /// When the driver fails or keeps none.
    pub fn extended_stats(&self) -> Result<BTreeMap<String, u64>, Error> {
        let id = self.id();
        let what = || format!("port {id} does not tell its extended counters");
        let count = |code: i32| usize::try_from(code).map_err(|_| Error::new(what(), code));

        // SAFETY: the port exists; without room, the number of counters is returned.
        let room = unsafe { sys::rte_eth_xstats_get_names(id.0, ptr::null_mut(), 0) };
        let room = count(room)?;
        let size = u32::try_from(room).map_err(|_| Error::new(what(), libc::ERANGE))?;
        let mut names = vec![sys::rte_eth_xstat_name { name: [0; NAME_LEN] }; room];
        // SAFETY: the port exists, and there is room for so many names.
        let named = count(unsafe { sys::rte_eth_xstats_get_names(id.0, names.as_mut_ptr(), size) })?;
        let mut values = vec![sys::rte_eth_xstat { id: 0, value: 0 }; room];
        // SAFETY: the port exists, and there is room for so many counters.
        let valued = count(unsafe { sys::rte_eth_xstats_get(id.0, values.as_mut_ptr(), size) })?;

        // A driver that has more counters by now returned their number and wrote none.
        names.truncate(if named > room { 0 } else { named });
        values.truncate(if valued > room { 0 } else { valued });
        let named_value = |counter: &sys::rte_eth_xstat| {
            let name = &names.get(usize::try_from(counter.id).ok()?)?.name;
            // SAFETY: DPDK ends the name with a NUL byte within the array.
            let name = unsafe { CStr::from_ptr(name.as_ptr()) };
            Some((name.to_string_lossy().into_owned(), counter.value))
        };
        Ok(values.iter().filter_map(named_value).collect())
    }

    /// The counters of the queues that have any, by the queue's number.
    ///
    /// # Errors
    ///
    /// As [`extended_stats`](Self::extended_stats).
    pub fn queue_stats(&self) -> Result<Vec<QueueStats>, Error> {
        let counters = self.extended_stats()?;
        let queue_stats = |queue: u16| {
            let counter = |name: &str| counters.get(&name.replace('#', &queue.to_string())).copied();
            QueueStats {
                rx_packets: counter("rx_q#_packets"),
                rx_bytes: counter("rx_q#_bytes"),
                tx_packets: counter("tx_q#_packets"),
                tx_bytes: counter("tx_q#_bytes"),
            }
        };
        Ok((0..).map(queue_stats).take_while(|stats| *stats != QueueStats::default()).collect())
    }
}

/// Bytes of a counter's name, as DPDK stores it.
const NAME_LEN: usize = size_of::<sys::rte_eth_xstat_name>();
