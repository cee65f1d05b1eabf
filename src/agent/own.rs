//! Which addresses are this host's own: nothing that comes by the network may claim to be from one of them.
//!
//! Linux refuses IPv4 packets from its own addresses by itself, and takes those of IPv6. The list follows every change;
//! receivers read it as a whole, and only after it has changed.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::netlink::{self, Netlink, News};

/// The list, and news of it.
#[derive(Debug)]
pub(super) struct Own {
    news: News,
    addresses: Mutex<Arc<[IpAddr]>>,
    /// How often it was read. Written after the list, so who sees a new number finds a list at least as new.
    edition: AtomicU64,
}

impl Own {
    /// Reads the list; what changes from now on is news.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn learn(netlink: &mut Netlink) -> io::Result<Self> {
        let news = News::of_addresses()?;
        let addresses = Mutex::new(list(netlink)?);
        Ok(Self { news, addresses, edition: AtomicU64::new(1) })
    }

    /// Keeps the list as the host is, for ever.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn follow(&self, netlink: &mut Netlink) -> io::Result<Infallible> {
        loop {
            self.news.wait(netlink::is_about_addresses)?;
            *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = list(netlink)?;
            self.edition.fetch_add(1, Ordering::Release);
        }
    }

    /// The list, sorted, if it has been read again since `edition`, which becomes the present one. It begins at 0.
    #[inline(always)]
    pub(super) fn since(&self, edition: &mut u64) -> Option<Arc<[IpAddr]>> {
        let now = self.edition.load(Ordering::Acquire);
        if now == *edition {
            return None;
        }
        *edition = now;
        Some(Arc::clone(&self.addresses.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn list(netlink: &mut Netlink) -> io::Result<Arc<[IpAddr]>> {
    let mut addresses: Vec<_> = netlink.addresses()?.iter().filter_map(netlink::local_address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses.into())
}
