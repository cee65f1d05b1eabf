//! What has been counted, summed for people and for programs that look.
//!
//! [`Source`] knows where the counters are; [`Source::status`] reads them all at one moment; the status is written as
//! JSON by the API, as tables by [`tables`], for Prometheus by [`exposition`], and for `dpdk-telemetry.py` by `telemetry`.

mod prometheus;
mod status;
mod tables;
#[cfg(feature = "dpdk")]
mod telemetry;

pub use prometheus::{CONTENT_TYPE, exposition};
pub use status::{
    BackendStatus, BufferStatus, GivenUpStatus, HealthStatus, NeighborStatus, PortFigures, PortStatus, ServiceStatus,
    Source, Status, WorkerStatus,
};
pub(crate) use tables::columns;
pub use tables::tables;
#[cfg(feature = "dpdk")]
pub use telemetry::telemetry;
