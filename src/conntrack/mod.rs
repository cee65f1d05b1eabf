//! Connections: which are open, in what state, and which source port each one has towards its backend.

mod timeouts;

pub use timeouts::Timeouts;
