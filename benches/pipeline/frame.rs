//! Packets in memory that are made, sent through the pipeline, and made again: what a port's mbufs are, without a port.

use leat::id::{PortId, WorkerId};
use leat::io::{Burst, Output, Packet};

/// Where a fresh frame begins, so that tunnels' headers fit in front.
const HEADROOM: usize = 128;
/// One frame's memory, as much as an mbuf has.
const BUFFER: usize = HEADROOM + 2048;
/// Frames in circulation: a few bursts, as in a port's ring that is polled often.
const FRAMES: usize = 512;

/// A frame in a buffer that is used again and again.
pub(crate) struct Frame {
    buffer: Box<[u8; BUFFER]>,
    start: usize,
    len: usize,
}

impl Packet for Frame {
    #[inline(always)]
    fn data(&self) -> &[u8] {
        &self.buffer[self.start..][..self.len]
    }

    #[inline(always)]
    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..][..self.len]
    }

    #[inline(always)]
    fn frame_len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn ingress(&self) -> PortId {
        PortId(0)
    }

    fn prepend(&mut self, len: usize) -> bool {
        let Some(start) = self.start.checked_sub(len) else { return false };
        self.start = start;
        self.len += len;
        true
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    #[inline(always)]
    fn prefetch(&self) {
        leat::arch::prefetch_read(&self.buffer[HEADROOM]);
    }
}

/// The pool of frames, and where the pipeline gives them back.
pub(crate) struct Frames {
    idle: Vec<Frame>,
    /// Frames that the pipeline sent.
    pub(crate) transmitted: u64,
    /// What it sent, kept apart while somebody wants to read it; otherwise sent frames are idle again at once.
    kept: Option<Vec<Frame>>,
}

impl Frames {
    pub(crate) fn new() -> Self {
        let frame = || Frame { buffer: Box::new([0; BUFFER]), start: HEADROOM, len: 0 };
        Self { idle: (0..FRAMES).map(|_| frame()).collect(), transmitted: 0, kept: None }
    }

    /// Adds a frame of `len` bytes that begins with `head` to `burst`; the bytes behind are what they were.
    #[inline(always)]
    pub(crate) fn make<const N: usize>(&mut self, head: &[u8; N], len: usize, burst: &mut Burst<Frame>) {
        let mut frame = self.idle.pop().expect("every burst gives its frames back");
        (frame.start, frame.len) = (HEADROOM, len);
        frame.buffer[HEADROOM..][..N].copy_from_slice(head);
        burst.push(frame);
    }

    /// Takes `burst` back without sending it anywhere.
    #[inline(always)]
    pub(crate) fn take_back(&mut self, burst: &mut Burst<Frame>) {
        self.idle.extend(burst.drain(..));
    }

    /// What `work` made the pipeline send, in order, given to `read` one by one.
    pub(crate) fn read_sent(&mut self, work: impl FnOnce(&mut Self), mut read: impl FnMut(&[u8])) {
        self.kept = Some(Vec::with_capacity(FRAMES));
        work(self);
        for frame in self.kept.take().into_iter().flatten() {
            read(frame.data());
            self.idle.push(frame);
        }
    }
}

impl Output<Frame> for Frames {
    #[inline(always)]
    fn transmit(&mut self, packet: Frame, _: PortId) {
        self.transmitted += 1;
        match &mut self.kept {
            None => self.idle.push(packet),
            Some(kept) => kept.push(packet),
        }
    }

    fn hand_over(&mut self, packet: Frame, _: WorkerId) -> Result<(), Frame> {
        Err(packet)
    }

    #[inline(always)]
    fn discard(&mut self, packet: Frame) {
        self.idle.push(packet);
    }

    fn create(&mut self, _: &[u8]) -> Option<Frame> {
        None
    }
}
