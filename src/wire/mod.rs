//! What stands in packets: one file a protocol, each a view over bytes.

pub mod ethernet;

pub use ethernet::MacAddr;
