//! Which backend a new connection gets.
//!
//! The control side builds a [`Schedule`] of a service from its members; it is immutable and every lcore reads the
//! same one. An lcore asks it with [`Schedule::choose`] once for each new connection, with the flow as the client
//! sent it, and lends it a [`Turn`] of its own: the little that must be remembered between two choices. What comes
//! back is a [`Choice`]: the backend, and [`Why`].
//!
//! `maglev` and `sh` look into a table of slots and remember nothing, so every lcore, process and machine with the
//! same members and seed chooses alike. One step a file:
//!
//! ```text
//! hash ─┐
//! apportion → maglev ─┬─ failover → slots     maglev, sh
//! ring ─┬─ round_robin                        rr
//!       └─ least_connections                  lc, wlc
//! weighted_round_robin                        wrr
//! ```
//!
//! A member of weight 0 (drained) or one that is down is never chosen, by any of them.

mod algorithm;
mod apportion;
mod choice;
mod failover;
mod hash;
mod least_connections;
mod maglev;
mod ring;
mod round_robin;
mod slots;
mod table_size;
mod weighted_round_robin;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod paper_tests;
#[cfg(test)]
mod tests;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use choice::{Choice, Slot, Why};
pub use table_size::{TableSize, TableSizeError};

use crate::flow::FlowKey;
use std::net::IpAddr;

use crate::id::BackendId;
use hash::SchedulerHash;
use ring::Ring;
use slots::SlotTable;
use weighted_round_robin::WeightedTurns;

/// What a scheduler knows of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub backend: BackendId,
    /// Its address.
    pub address: IpAddr,
    /// Its port in host byte order; 0 in a service of protocol `any`.
    pub port: u16,
    /// Its share of new connections relative to the others; 0 gets none (drained).
    pub weight: u16,
    /// Whether it is alive.
    pub up: bool,
}

/// A service's members arranged for choosing. Immutable; a clone shares what is large.
#[derive(Clone, Debug)]
pub struct Schedule {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Maglev(SlotTable),
    SourceHash(SlotTable),
    RoundRobin(Ring),
    WeightedRoundRobin(WeightedTurns),
    LeastConnections(Ring),
    WeightedLeastConnections(Ring),
}

/// What one lcore remembers of one service between two choices.
///
/// It outlives the [`Schedule`]: a new one, with other members or another algorithm, goes on from where the last
/// one was as far as that makes sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The member chosen last and its place in the configured order, for `rr` and the ties of `lc` and `wlc`.
    last: Option<(BackendId, u32)>,
    /// How far the round of `wrr` has come.
    position: u32,
}

/// Members that do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// More than a schedule can number.
    #[error("{members} backends in one service: at most {} are possible", Schedule::MAX_MEMBERS)]
    TooManyMembers {
        /// How many there are.
        members: usize,
    },
    /// Fewer slots than members that want one.
    #[error("{members} backends do not fit in a table of {size} entries: choose a larger prime, best 100 for each")]
    TableTooSmall {
        /// How many members have a weight above 0.
        members: usize,
        /// The table's size.
        size: TableSize,
    },
}

impl Schedule {
    /// The most members that one service can have.
    pub const MAX_MEMBERS: usize = u16::MAX as usize;

    /// Arranges `members`, in their configured order, for `algorithm`.
    ///
    /// `size` and `seed` matter to `maglev` and `sh` only. Instances that shall choose alike need the same of both.
    ///
    /// # Errors
    ///
    /// When there are more members than [`Self::MAX_MEMBERS`], or more of positive weight than slots in the table.
    pub fn new(algorithm: Algorithm, size: TableSize, seed: u64, members: &[Member]) -> Result<Self, ScheduleError> {
        if members.len() > Self::MAX_MEMBERS {
            return Err(ScheduleError::TooManyMembers { members: members.len() });
        }
        let table = || SlotTable::new(SchedulerHash::new(seed), size, members);
        let kind = match algorithm {
            Algorithm::Maglev => Kind::Maglev(table()?),
            Algorithm::SourceHash => Kind::SourceHash(table()?),
            Algorithm::RoundRobin => Kind::RoundRobin(Ring::new(members)),
            Algorithm::WeightedRoundRobin => Kind::WeightedRoundRobin(WeightedTurns::new(members)),
            Algorithm::LeastConnections => Kind::LeastConnections(Ring::new(members)),
            Algorithm::WeightedLeastConnections => Kind::WeightedLeastConnections(Ring::new(members)),
        };
        Ok(Self { kind })
    }

    /// The same members with another set of them alive. Much cheaper than [`Self::new`], and equal to it.
    pub fn with_liveness(&self, up: impl Fn(BackendId) -> bool) -> Self {
        let kind = match &self.kind {
            Kind::Maglev(table) => Kind::Maglev(table.with_liveness(up)),
            Kind::SourceHash(table) => Kind::SourceHash(table.with_liveness(up)),
            Kind::RoundRobin(ring) => Kind::RoundRobin(ring.with_liveness(up)),
            Kind::WeightedRoundRobin(turns) => Kind::WeightedRoundRobin(turns.with_liveness(up)),
            Kind::LeastConnections(ring) => Kind::LeastConnections(ring.with_liveness(up)),
            Kind::WeightedLeastConnections(ring) => Kind::WeightedLeastConnections(ring.with_liveness(up)),
        };
        Self { kind }
    }

    /// Chooses the backend of a new connection; none when no member is up with a weight above 0.
    ///
    /// `flow` is the client's own packet, as it came to the VIP. `open` tells how many connections a backend has
    /// open now over all lcores; only `lc` and `wlc` ask, once for each member. It neither allocates nor panics.
    #[inline]
    pub fn choose(&self, flow: &FlowKey, turn: &mut Turn, open: impl Fn(BackendId) -> u64) -> Option<Choice> {
        match &self.kind {
            Kind::Maglev(table) => {
                let (backend, slot) = table.look_up(table.hash().flow(flow))?;
                Some(Choice { backend, why: Why::Maglev(slot) })
            }
            Kind::SourceHash(table) => {
                let (backend, slot) = table.look_up(table.hash().client(flow.src))?;
                Some(Choice { backend, why: Why::Source(slot) })
            }
            Kind::RoundRobin(ring) => round_robin::choose(ring, turn),
            Kind::WeightedRoundRobin(turns) => turns.choose(turn),
            Kind::LeastConnections(ring) => least_connections::choose(ring, turn, open),
            Kind::WeightedLeastConnections(ring) => least_connections::choose_weighted(ring, turn, open),
        }
    }

    /// The algorithm that it was built for.
    pub const fn algorithm(&self) -> Algorithm {
        match self.kind {
            Kind::Maglev(_) => Algorithm::Maglev,
            Kind::SourceHash(_) => Algorithm::SourceHash,
            Kind::RoundRobin(_) => Algorithm::RoundRobin,
            Kind::WeightedRoundRobin(_) => Algorithm::WeightedRoundRobin,
            Kind::LeastConnections(_) => Algorithm::LeastConnections,
            Kind::WeightedLeastConnections(_) => Algorithm::WeightedLeastConnections,
        }
    }

    /// The backend of each slot of the table as it stands, in the order of the slots. Nothing for an algorithm
    /// without a table, or when no member can be chosen.
    pub fn entries(&self) -> impl Iterator<Item = BackendId> + '_ {
        let table = match &self.kind {
            Kind::Maglev(table) | Kind::SourceHash(table) => Some(table),
            _ => None,
        };
        table.into_iter().flat_map(SlotTable::entries)
    }
}
