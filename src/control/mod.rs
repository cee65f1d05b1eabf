//! What runs beside the workers: it makes the snapshots that they see, answers the API, and watches.

mod api;
mod publish;
mod watch;

pub use api::{ListenError, Listener};
pub use publish::{PublishError, publish, wanted_ports};
pub use watch::Watch;
