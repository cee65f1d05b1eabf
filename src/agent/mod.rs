//! leat-agent, the host agent of a backend behind leat's `ipip` and `gue` modes.
//!
//! A tunnel packet comes in by a raw socket (IP protocols 4 and 41) or a UDP socket (GUE), over IPv4 or IPv6, loses its
//! outer headers, is checked, and goes into the kernel by a TUN device that holds the VIPs; the backend's replies leave by
//! the host's own routes, straight to the client. What that takes on the host is set up at the start and undone at the end:
//!
//! ```text
//! options → run → host (device, sysctl, mss, state: what changes on the host, and back)
//!               → own (which addresses are the host's, as they change)
//!               → receive (socket → gue → inner → device), one thread a socket
//!               → report (what was counted)
//! ```
//!
//! [`gue`], [`inner`], [`ecn`] and [`offload`] are functions of bytes; the rest talks to Linux.

mod device;
mod drops;
pub mod ecn;
pub mod gue;
mod host;
pub mod inner;
mod mss;
mod netlink;
pub mod offload;
mod options;
mod own;
mod receive;
mod report;
mod run;
mod state;
mod sysctl;
mod version;

pub use drops::{DropCounters, DropReason};
pub use options::{Options, Settings};
pub use run::run;
pub use version::Version;
