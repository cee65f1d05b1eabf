//! Packets in ordinary memory, and an output that keeps what it is given: the packet path without a port.

use super::{Output, Packet};
use crate::id::{PortId, WorkerId};

/// A frame in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Vec<u8>,
    ingress: PortId,
    /// Whether there is no room in front of it.
    is_tight: bool,
}

impl Frame {
    /// The frame `bytes`, as if it had come in on `ingress`.
    pub const fn new(bytes: Vec<u8>, ingress: PortId) -> Self {
        Self { bytes, ingress, is_tight: false }
    }

    /// The same without room to grow at its front.
    pub const fn tight(bytes: Vec<u8>, ingress: PortId) -> Self {
        Self { bytes, ingress, is_tight: true }
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Packet for Frame {
    fn data(&self) -> &[u8] {
        &self.bytes
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn frame_len(&self) -> usize {
        self.bytes.len()
    }

    fn ingress(&self) -> PortId {
        self.ingress
    }

    fn prepend(&mut self, len: usize) -> bool {
        if self.is_tight {
            return false;
        }
        self.bytes.splice(0..0, std::iter::repeat_n(0, len));
        true
    }

    fn trim_front(&mut self, len: usize) -> bool {
        if len >= self.bytes.len() {
            return false;
        }
        self.bytes.drain(..len);
        true
    }

    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }
}

/// Everything that a pipeline gave away, in order.
#[derive(Debug, Default)]
pub struct Recorder {
    /// What was sent, and where.
    pub transmitted: Vec<(PortId, Frame)>,
    /// What was given to other workers.
    pub handed_over: Vec<(WorkerId, Frame)>,
    /// How many packets were freed.
    pub discarded: usize,
    /// Whether there is no memory for packets of leat's own.
    pub is_full: bool,
}

impl Output<Frame> for Recorder {
    fn transmit(&mut self, packet: Frame, port: PortId) {
        self.transmitted.push((port, packet));
    }

    fn hand_over(&mut self, packet: Frame, to: WorkerId) -> Result<(), Frame> {
        self.handed_over.push((to, packet));
        Ok(())
    }

    fn discard(&mut self, _packet: Frame) {
        self.discarded += 1;
    }

    fn create(&mut self, frame: &[u8]) -> Option<Frame> {
        (!self.is_full).then(|| Frame::new(frame.to_vec(), PortId(0)))
    }
}
