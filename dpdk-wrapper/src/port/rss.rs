//! Receive-side scaling as the port does it now: read back, and changed.
//!
//! The port hashes a packet's headers with its key (Toeplitz, unless told otherwise), and the low bits of the hash
//! choose an entry of the redirection table, which names the RX queue.

use std::ptr;

use dpdk_sys as sys;

use super::{
    HashFunctions, Port, PortId, RssConfig,
    config::hash_key_len,
    info::{device_info, zeroed},
};
use crate::Error;

/// Entries in each of the groups that DPDK passes a redirection table in.
const GROUP: usize = sys::RTE_ETH_RETA_GROUP_SIZE as usize;

/// Receive-side scaling as a port does it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rss {
    /// The headers that it hashes; `None` when the port does not tell these and the key.
    pub functions: Option<HashFunctions>,
    /// The key; `None` when the port does not tell.
    pub key: Option<Vec<u8>>,
    /// The RX queue of each entry of the redirection table; `None` when the port does not tell or has none.
    pub table: Option<Vec<u16>>,
}

impl Port {
    /// What of its receive-side scaling the port tells. It must have been started.
    ///
    /// # Errors
    ///
    /// When the driver fails; what it merely lacks is `None` in the result.
    pub fn rss(&self) -> Result<Rss, Error> {
        let device = device_info(self.id())?;
        let hash = if_supported(hash(self.id(), device.hash_key_size))?;
        let table = if_supported(table(self.id(), device.reta_size))?;
        let (functions, key) = hash.unzip();
        Ok(Rss { functions, key: key.filter(|key| !key.is_empty()), table })
    }

    /// Changes the headers that are hashed, as far as the port can, and the key, if one is given. The port must have been
    /// started with several RX queues.
    ///
    /// # Errors
    ///
    /// When the key's length is wrong, or the driver refuses; a port without the feature says so by
    /// [`Error::is_unsupported`].
    pub fn set_hash(&mut self, rss: &RssConfig) -> Result<(), Error> {
        let id = self.id();
        let mut conf = rss.hash_conf(id, &self.info()?)?;
        // SAFETY: the port exists; the configuration and the key outlive the call, which copies them.
        let code = unsafe { sys::rte_eth_dev_rss_hash_update(id.0, &mut conf) };
        Error::check(code, || format!("port {id} refuses the hash functions or the key"))
    }

    /// Replaces the redirection table: the RX queue of each entry.
    ///
    /// # Errors
    ///
    /// When the length is not that of the port's table ([`PortInfo::table_len`](super::PortInfo::table_len)), or the
    /// driver refuses, as for a queue that does not exist.
    pub fn set_redirection_table(&mut self, table: &[u16]) -> Result<(), Error> {
        let id = self.id();
        let device = device_info(id)?;
        if device.reta_size == 0 {
            return Err(Error::new(format!("port {id} has no redirection table"), libc::ENOTSUP));
        }
        if table.len() != usize::from(device.reta_size) {
            let what =
                format!("port {id} has a redirection table of {} entries, not {}", device.reta_size, table.len());
            return Err(Error::new(what, libc::EINVAL));
        }
        let mut groups = groups(device.reta_size);
        for (group, entries) in groups.iter_mut().zip(table.chunks(GROUP)) {
            group.reta[..entries.len()].copy_from_slice(entries);
        }
        // SAFETY: the port exists, and there are groups for so many entries.
        let code = unsafe { sys::rte_eth_dev_rss_reta_update(id.0, groups.as_mut_ptr(), device.reta_size) };
        Error::check(code, || format!("port {id} refuses the redirection table"))
    }
}

/// The hash functions, and the key, empty when the driver does not tell it.
fn hash(id: PortId, key_len: u8) -> Result<(HashFunctions, Vec<u8>), Error> {
    // As long as any key can be, for drivers that do not ask how long it is.
    let mut key = vec![0; usize::from(u8::MAX)];
    // SAFETY: numbers and a pointer, for which zeros are valid.
    let mut conf = unsafe { zeroed::<sys::rte_eth_rss_conf>().assume_init() };
    conf.rss_key = key.as_mut_ptr();
    conf.rss_key_len = hash_key_len(key_len.into()) as u8;
    // SAFETY: the port exists, and the key is longer than the length says.
    let code = unsafe { sys::rte_eth_dev_rss_hash_conf_get(id.0, &mut conf) };
    Error::check(code, || format!("port {id} does not tell its hash key"))?;

    key.truncate(usize::from(conf.rss_key_len));
    let is_told = ptr::eq(conf.rss_key, key.as_ptr()) && key.iter().any(|&byte| byte != 0);
    Ok((HashFunctions::from_bits(conf.rss_hf), if is_told { key } else { Vec::new() }))
}

fn table(id: PortId, len: u16) -> Result<Vec<u16>, Error> {
    if len == 0 {
        return Err(Error::new(format!("port {id} has no redirection table"), libc::ENOTSUP));
    }
    let mut groups = groups(len);
    // SAFETY: the port exists, and there are groups for so many entries.
    let code = unsafe { sys::rte_eth_dev_rss_reta_query(id.0, groups.as_mut_ptr(), len) };
    Error::check(code, || format!("port {id} does not tell its redirection table"))?;
    Ok(groups.iter().flat_map(|group| group.reta).take(usize::from(len)).collect())
}

/// Groups for a table of `len` entries, all of which are meant.
fn groups(len: u16) -> Vec<sys::rte_eth_rss_reta_entry64> {
    let count = usize::from(len).div_ceil(GROUP);
    (0..count)
        .map(|group| {
            let entries = (usize::from(len) - group * GROUP).min(GROUP) as u32;
            sys::rte_eth_rss_reta_entry64 { mask: u64::MAX >> (GROUP as u32 - entries), reta: [0; GROUP] }
        })
        .collect()
}

fn if_supported<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_unsupported() => Ok(None),
        Err(error) => Err(error),
    }
}
