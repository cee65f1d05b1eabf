//! Which worker owns a flow: a function of the packet, the same on all workers, that no configuration changes.
//!
//! Packets go in by their key, and a [`WorkerId`] comes out. What arrives elsewhere is handed over, so the function need not
//! be what the ports do; but where it is, nothing is handed over. A `fullnat` connection's two directions must have one
//! owner. leat chooses the source port, and by it the owner of the answers: [`PortShare`] has the ports that lead to one
//! worker.
//!
//! - [`Steering::Modulo`] asks nothing of the ports: an original goes by its hash, an answer by its destination port.
//! - [`Steering::Rss`] computes what the ports' receive-side scaling does. Its hash is linear over GF(2), so the source ports
//!   whose answers arrive at one worker are known in closed form, without a search and without rules in the card.

mod alignment;
mod classes;
mod rss;
mod share;

pub use alignment::Alignment;
pub use rss::{Rss, RssError, random_key};
pub use share::{Base, PortShare};

use std::sync::Arc;

use crate::flow::FlowKey;
use crate::id::WorkerId;

/// How flows are dealt out to workers.
#[derive(Clone, Debug)]
pub enum Steering {
    /// By leat's own hash, and by the port number modulo the workers.
    Modulo {
        /// How many workers there are, at least 1.
        workers: u16,
    },
    /// As the ports do it.
    Rss(Arc<Rss>),
}

impl Steering {
    /// How many workers there are.
    pub fn workers(&self) -> u16 {
        match self {
            Self::Modulo { workers } => *workers,
            Self::Rss(rss) => rss.workers(),
        }
    }

    /// The worker that owns a client's flow which nothing ties to other flows: its packets' key, and leat's hash of that.
    #[inline]
    pub fn owner_of_original(&self, key: &FlowKey, hash: u64) -> WorkerId {
        match self {
            Self::Modulo { .. } => self.owner_of_hash(hash),
            Self::Rss(rss) => rss.owner(key),
        }
    }

    /// The worker that owns what is answered, with `key`, to a local address.
    #[inline]
    pub fn owner_of_reply(&self, key: &FlowKey) -> WorkerId {
        match self {
            Self::Modulo { workers } => WorkerId(key.dst_port % workers),
            Self::Rss(rss) => rss.owner(key),
        }
    }

    /// The worker that owns what leat's hash of it says, such as all that is a client's.
    #[inline]
    pub fn owner_of_hash(&self, hash: u64) -> WorkerId {
        // The high half: the connection table takes its buckets from the low one.
        WorkerId(((hash >> 32) % u64::from(self.workers())) as u16)
    }
}
