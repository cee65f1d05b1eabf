//! Questions to workers that are balancing: which connections are there, which backend would this flow get, tell me of these
//! packets.
//!
//! ```text
//! API: Line::ask ── Inquiry ──▶ worker, a little between bursts
//!                 ◀── the same, with its answer ──
//! ```
//!
//! A worker allocates nothing for it, frees nothing and waits for nobody: a question brings the room for its answer along, and
//! goes back whole.

mod filter;
mod line;
mod survey;
mod watch;

pub use filter::{Filter, FilterError, Side};
pub use line::{Inquiry, Line};
pub use survey::Survey;
pub use watch::{Channel, Fate, Record, Watch};

use std::sync::Arc;

use crate::conntrack::Connection;
use crate::counters::DropReason;
use crate::flow::FlowKey;
use crate::id::{BackendId, ServiceId, WorkerId};
use crate::scheduler::Why;

/// What a worker can be asked, with the place for its answer.
#[derive(Debug)]
pub enum Question {
    /// Which of its connections match.
    Survey(Survey),
    /// What it would do with a packet of this flow.
    Explain {
        /// A client's packet that would open a connection, as it comes.
        flow: FlowKey,
        /// The answer.
        outlook: Outlook,
    },
    /// That it tells of some packets from now on.
    Watch {
        /// Of which, and where.
        watch: Arc<Watch>,
        /// Whether it does; not when it does so for too many already.
        accepted: bool,
    },
}

/// What one worker would do with a client's packet.
#[derive(Clone, Copy, Debug)]
pub enum Outlook {
    /// Not asked yet.
    Unasked,
    /// No service is there for it.
    NoService,
    /// Give it to this worker, which owns such flows.
    Elsewhere {
        /// The service that it is for.
        service: ServiceId,
        /// The owner.
        owner: WorkerId,
    },
    /// It belongs to this connection.
    Known(Connection),
    /// Drop it.
    Refused {
        /// The service that it is for, if it came so far.
        service: Option<ServiceId>,
        /// Why.
        reason: DropReason,
    },
    /// Open a connection with this backend.
    New {
        /// The service that it is for.
        service: ServiceId,
        /// The backend.
        backend: BackendId,
        /// Why this one.
        grounds: Grounds,
    },
}

/// Why a new connection gets its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// The flow had it before, and its service remembers flows.
    Remembered,
    /// The client had it before, and persistence keeps it.
    Persistent,
    /// The scheduler chose this one, which has as many connections as it may; so another.
    Instead(BackendId),
    /// The scheduler chose it.
    Chosen(Why),
}
