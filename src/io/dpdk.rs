//! Packets in DPDK's buffers.

use dpdk_wrapper::Mbuf;

use super::Packet;
use crate::id::PortId;

impl Packet for Mbuf {
    #[inline(always)]
    fn data(&self) -> &[u8] {
        Self::data(self)
    }

    #[inline(always)]
    fn data_mut(&mut self) -> &mut [u8] {
        Self::data_mut(self)
    }

    #[inline(always)]
    fn frame_len(&self) -> usize {
        self.packet_len()
    }

    #[inline(always)]
    fn ingress(&self) -> PortId {
        // A packet that leat made came in nowhere; no port has this number.
        PortId(self.port().map_or(u16::MAX, |port| port.0))
    }

    #[inline(always)]
    fn prepend(&mut self, len: usize) -> bool {
        Self::prepend(self, len).is_some()
    }

    fn trim_front(&mut self, len: usize) -> bool {
        len < self.data().len() && Self::trim_front(self, len).is_some()
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) {
        if let Some(excess) = self.packet_len().checked_sub(len) {
            // Only padding is cut off, which lies in the last segment.
            self.trim_back(excess);
        }
    }

    #[inline(always)]
    fn prefetch(&self) {
        Self::prefetch(self);
    }
}
