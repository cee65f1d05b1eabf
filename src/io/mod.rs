//! Where bursts of packets come from and go to.
//!
//! The packet path is written against [`Packet`] alone. DPDK's mbufs are one kind; [`memory::Frame`], for tests and
//! benchmarks without a port, is the other.

pub mod memory;

use arrayvec::ArrayVec;

/// The most packets that are handled together.
pub const BURST: usize = 32;

/// Packets that are handled together.
pub type Burst<P> = ArrayVec<P, BURST>;

/// A port, by DPDK's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

impl PortId {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A worker, counted from 0: the lcores in the order in which DPDK lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u16);

impl WorkerId {
    /// The worker that also asks and answers for all: it resolves next hops and announces addresses.
    pub const FIRST: Self = Self(0);

    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

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
