//! Where bursts of packets come from and go to.
//!
//! The packet path is written against [`Packet`] alone. DPDK's mbufs are one kind; [`memory::Frame`], for tests and
//! benchmarks without a port, is the other.

#[cfg(feature = "dpdk")]
mod dpdk;
pub mod memory;

use arrayvec::ArrayVec;

use crate::id::{PortId, WorkerId};

/// The most packets that are handled together.
pub const BURST: usize = 64;

/// Packets that are handled together.
pub type Burst<P> = ArrayVec<P, BURST>;

/// An owned packet: an Ethernet frame, of which at least the start is in one piece.
pub trait Packet: Sized {
    /// The first piece of the frame; most often all of it.
    fn data(&self) -> &[u8];

    /// The first piece of the frame, to change.
    fn data_mut(&mut self) -> &mut [u8];

    /// Bytes of the whole frame, over all its pieces.
    fn frame_len(&self) -> usize;

    /// The port that it came in on.
    fn ingress(&self) -> PortId;

    /// Makes room for `len` more bytes in front of the frame. Their content is anything. Returns whether there was room.
    fn prepend(&mut self, len: usize) -> bool;

    /// Cuts `len` bytes off the front of the frame. Returns whether its first piece had more of them.
    fn trim_front(&mut self, len: usize) -> bool;

    /// Cuts the frame to `len` bytes, if it is longer.
    fn truncate(&mut self, len: usize);

    /// Asks the processor to bring the headers into its cache.
    fn prefetch(&self) {}
}

/// What the pipeline does with packets that it is done with. Each call takes the packet away for good.
pub trait Output<P> {
    /// Sends `packet` out of `port`, as it is.
    fn transmit(&mut self, packet: P, port: PortId);

    /// Gives `packet` to the worker that owns it; gives it back when that worker's ring is full.
    ///
    /// # Errors
    ///
    /// The packet itself.
    fn hand_over(&mut self, packet: P, to: WorkerId) -> Result<(), P>;

    /// Frees `packet`. Its reason is already counted.
    fn discard(&mut self, packet: P);

    /// A new packet with the bytes of `frame`, for what leat says by itself; `None` when there is no memory for it.
    fn create(&mut self, frame: &[u8]) -> Option<P>;
}
