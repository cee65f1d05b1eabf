//! Packets in memory that are made, sent through the pipeline, and made again: what a port's mbufs are, without a port.

use leat::id::{PortId, WorkerId};
use leat::io::{Burst, Output, Packet};

/// Where a fresh frame begins, so that tunnels' headers fit in front.
const HEADROOM: usize = 128;
/// The longest frame; as a mask, what makes it needless to ask whether a length is no longer.
const LONGEST: usize = 2047;
/// One frame's memory: somewhat more than an mbuf has, so that every frame that can begin and end where [`Buffer`] may say is in it.
const BUFFER: usize = u8::MAX as usize + LONGEST + 1;
/// Frames in circulation: a few bursts, as in a port's ring that is polled often.
const FRAMES: usize = 512;

/// A frame in a buffer that is used again and again: a pointer to all that there is of it, as an mbuf is.
pub(crate) struct Frame(Box<Buffer>);

#[repr(C, align(64))]
struct Buffer {
    len: u16,
    start: u8,
    bytes: Bytes,
}

#[repr(align(64))]
struct Bytes([u8; BUFFER]);

impl Buffer {
    /// Where the frame begins, and its length: as little to reckon as in an mbuf.
    #[inline(always)]
    fn bounds(&self) -> (usize, usize) {
        (self.start.into(), usize::from(self.len) & LONGEST)
    }
}

impl Packet for Frame {
    #[inline(always)]
    fn data(&self) -> &[u8] {
        let (start, len) = self.0.bounds();
        &self.0.bytes.0[start..][..len]
    }

    #[inline(always)]
    fn data_mut(&mut self) -> &mut [u8] {
        let (start, len) = self.0.bounds();
        &mut self.0.bytes.0[start..][..len]
    }

    #[inline(always)]
    fn frame_len(&self) -> usize {
        usize::from(self.0.len)
    }

    #[inline(always)]
    fn ingress(&self) -> PortId {
        PortId(0)
    }

    fn prepend(&mut self, len: usize) -> bool {
        let Some(start) = usize::from(self.0.start).checked_sub(len) else { return false };
        (self.0.start, self.0.len) = (start as u8, self.0.len + len as u16);
        true
    }

    fn trim_front(&mut self, len: usize) -> bool {
        if len >= usize::from(self.0.len) {
            return false;
        }
        (self.0.start, self.0.len) = (self.0.start + len as u8, self.0.len - len as u16);
        true
    }

    fn truncate(&mut self, len: usize) {
        self.0.len = self.0.len.min(len as u16);
    }

    #[inline(always)]
    fn prefetch(&self) {
        leat::arch::prefetch_read(&self.0.bytes.0[HEADROOM]);
    }
}

/// The pool of frames, and where the pipeline gives them back.
pub(crate) struct Frames {
    idle: Vec<Frame>,
    /// Frames that the pipeline sent.
    pub(crate) transmitted: u64,
}

impl Frames {
    pub(crate) fn new() -> Self {
        let frame = || Frame(Box::new(Buffer { start: HEADROOM as u8, len: 0, bytes: Bytes([0; BUFFER]) }));
        Self { idle: (0..FRAMES).map(|_| frame()).collect(), transmitted: 0 }
    }

    /// Adds a frame of `len` bytes that begins with `head` to `burst`; the bytes behind are what they were.
    #[inline(always)]
    pub(crate) fn make<const N: usize>(&mut self, head: &[u8; N], len: usize, burst: &mut Burst<Frame>) {
        let mut frame = self.idle.pop().expect("every burst gives its frames back");
        (frame.0.start, frame.0.len) = (HEADROOM as u8, len as u16);
        frame.0.bytes.0[HEADROOM..][..N].copy_from_slice(head);
        burst.push(frame);
    }

    /// Takes `burst` back without sending it anywhere.
    #[inline(always)]
    pub(crate) fn take_back(&mut self, burst: &mut Burst<Frame>) {
        self.idle.extend(burst.drain(..));
    }

    /// What `work`, which makes no frames, made the pipeline send, in order, given to `read` one by one.
    pub(crate) fn read_sent(&mut self, work: impl FnOnce(&mut Self), read: impl FnMut(&[u8])) {
        let before = self.idle.len();
        work(self);
        self.idle[before..].iter().map(Frame::data).for_each(read);
    }
}

impl Output<Frame> for Frames {
    #[inline(always)]
    fn transmit(&mut self, packet: Frame, _: PortId) {
        self.transmitted += 1;
        self.idle.push(packet);
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
