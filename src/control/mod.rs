//! What runs beside the workers: it makes the snapshots that they see, answers the API, and watches.

mod api;
mod delivery;
mod desk;
mod edit;
mod given_up;
mod inquirer;
mod listen;
mod liveness;
mod mailbox;
mod numbers;
mod publish;
mod ramp;
mod reload;
mod running;
mod serve;
mod supervisor;
mod token;
mod vips;
mod watch;
mod ways;

pub use api::{api, figures, openapi};
pub use delivery::Delivery;
pub use desk::{Answer, Asked, Desk, Refusal, Request, desk};
pub use edit::{Edit, EditError, Editor};
pub use inquirer::{Inquirer, Unanswered};
pub use listen::{ListenError, Listener, serve};
pub use mailbox::{Mailbox, Sender, mailbox};
pub use publish::{PublishError, Publisher, publish};
pub use reload::{ReloadError, Reloaded, reload};
pub use running::{ApplyError, Counts, Difference, Running};
pub use supervisor::Supervisor;
pub use token::{Token, TokenError};
pub use vips::Vips;
pub use watch::Watch;
pub use ways::{add_vlans, wanted_ports};

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
