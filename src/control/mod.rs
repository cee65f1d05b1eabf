//! What runs beside the workers: it makes the snapshots that they see, answers the API, and watches.

mod api;
mod delivery;
mod liveness;
mod mailbox;
mod publish;
mod watch;

pub use api::{ListenError, Listener};
pub use delivery::Delivery;
pub use liveness::Liveness;
pub use mailbox::{Mailbox, Sender, mailbox};
pub use publish::{PublishError, publish, wanted_ports};
pub use watch::Watch;

/// Something for the log.
struct Line {
    level: log::Level,
    text: String,
}

impl Line {
    fn log(&self) {
        log::log!(self.level, "{}", self.text);
    }
}
