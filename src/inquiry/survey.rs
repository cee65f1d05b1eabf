//! A look through all connections of a worker, a piece between each two bursts.

use super::Filter;
use crate::conntrack::Connection;
use crate::id::ServiceId;
use crate::service::Snapshot;

/// Connections that match, as one worker has them. Those that come and go while it looks may be missed.
#[derive(Debug)]
pub struct Survey {
    filter: Filter,
    /// The number of the service that the filter names.
    service: Option<ServiceId>,
    /// Whether those that match are to be ended.
    pub ends: bool,
    /// The record that is next to be looked at.
    pub at: usize,
    found: Vec<Connection>,
    matched: u64,
}

impl Survey {
    /// For those that `filter` lets through, whose service, if it names one, has this number. The first `most` are listed,
    /// all are counted, and ended if `ends`.
    pub fn new(filter: Filter, service: Option<ServiceId>, most: usize, ends: bool) -> Self {
        Self { filter, service, ends, at: 0, found: Vec::with_capacity(most), matched: 0 }
    }

    /// Whether `connection` is one of those.
    pub fn wants(&self, connection: &Connection, snapshot: &Snapshot) -> bool {
        let backend = snapshot.backend(connection.backend());
        self.service.is_none_or(|service| backend.is_some_and(|backend| backend.service == service))
            && self.filter.matches_connection(connection, backend.map(|backend| (backend.address, backend.port)))
    }

    /// Takes in one that is.
    pub fn take_in(&mut self, connection: &Connection) {
        self.matched += 1;
        if self.found.len() < self.found.capacity() {
            self.found.push(*connection);
        }
    }

    /// How many there are.
    pub const fn matched(&self) -> u64 {
        self.matched
    }

    /// Those that are listed.
    pub fn found(&self) -> &[Connection] {
        &self.found
    }
}
