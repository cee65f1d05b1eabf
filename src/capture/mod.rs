//! Chosen packets of a running leat, for people: what was decided about each, and how it looked before and after.
//!
//! ```text
//! worker: Spy ── Record, by a Watch's channel ──▶ API: lines of text, or pcapng
//! ```

mod pcapng;
mod spy;

pub use pcapng::Pcapng;
pub use spy::{Spied, Spy};
