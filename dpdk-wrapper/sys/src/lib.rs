//! Declarations of the parts of the system's libdpdk that `dpdk-wrapper` uses, made by bindgen when this is built.
//!
//! Everything here is as C declares it, and as unsafe. Names that begin with `DPDK_SYS_` or `dpdk_sys_` are from
//! `wrapper.h`, which says why each exists; all others are DPDK's own.

/// The release of libdpdk that this was built against, such as `22.11.11`.
pub const DPDK_VERSION: &str = env!("DPDK_SYS_VERSION");

pub use bindings::*;

#[allow(
    warnings,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}
