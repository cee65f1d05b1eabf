//! The snapshot that runs now, for everyone who is not a worker.

use std::sync::{Arc, PoisonError, RwLock};

use super::Snapshot;

/// Which snapshot runs now. Workers learn of a new one in another way, without a lock.
#[derive(Debug)]
pub struct Current(RwLock<Arc<Snapshot>>);

impl Current {
    /// `snapshot` runs.
    pub const fn new(snapshot: Arc<Snapshot>) -> Self {
        Self(RwLock::new(snapshot))
    }

    /// The snapshot that runs now. It stays as it is for as long as the caller holds it.
    pub fn load(&self) -> Arc<Snapshot> {
        // A pointer is whole, whatever a thread that held the lock died of.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on `snapshot` runs.
    pub fn store(&self, snapshot: Arc<Snapshot>) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, snapshot);
        // To free a large one takes a while, and readers need not wait for it.
        drop(current);
        drop(old);
    }
}
