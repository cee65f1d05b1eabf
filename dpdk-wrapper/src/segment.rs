//! The fields of `rte_mbuf`, and nothing else that knows them.
//!
//! A packet is a chain of mbufs, each a segment: a descriptor and a buffer. In the buffer lie, in this order, a
//! headroom of `data_off` bytes, `data_len` bytes of data, and a tailroom up to `buf_len`. The first segment's
//! descriptor also describes the packet: its length over all segments, their count, and what the port told of it.
//!
//! Fields are reached by their offsets, which `dpdk-sys` takes from the installed headers with their widths checked.

use std::{ptr::NonNull, slice};

use dpdk_sys as sys;

/// One segment of a packet that the holder owns.
#[derive(Clone, Copy)]
pub(crate) struct Segment(NonNull<sys::rte_mbuf>);

/// A getter, and a setter where one is named, for each field.
macro_rules! fields {
    ($($name:ident $(, $set:ident)?: $type:ty = $offset:ident;)*) => {$(
        #[inline(always)]
        pub(crate) fn $name(self) -> $type {
            let field = self.0.as_ptr().wrapping_byte_add(sys::$offset as usize).cast::<$type>();
            // SAFETY: Segment::new's promise; the field has this offset and width, and is aligned.
            unsafe { field.read() }
        }

        $(
            #[inline(always)]
            fn $set(self, value: $type) {
                let field = self.0.as_ptr().wrapping_byte_add(sys::$offset as usize).cast::<$type>();
                // SAFETY: as in the getter.
                unsafe { field.write(value) }
            }
        )?
    )*};
}

impl Segment {
    /// # Safety
    ///
    /// `mbuf` is one that a pool or a port handed out whole, its fields as DPDK keeps them; the caller owns it and its
    /// buffer alone, and keeps it for as long as the Segment and what it returns are used.
    #[inline(always)]
    pub(crate) unsafe fn new(mbuf: NonNull<sys::rte_mbuf>) -> Self {
        Self(mbuf)
    }

    fields! {
        buffer: *mut u8 = DPDK_SYS_MBUF_BUF_ADDR;
        data_off, set_data_off: u16 = DPDK_SYS_MBUF_DATA_OFF;
        segments: u16 = DPDK_SYS_MBUF_NB_SEGS;
        port, set_port: u16 = DPDK_SYS_MBUF_PORT;
        flags: u64 = DPDK_SYS_MBUF_OL_FLAGS;
        packet_len, set_packet_len: u32 = DPDK_SYS_MBUF_PKT_LEN;
        data_len, set_data_len: u16 = DPDK_SYS_MBUF_DATA_LEN;
        vlan_tci: u16 = DPDK_SYS_MBUF_VLAN_TCI;
        rss_hash: u32 = DPDK_SYS_MBUF_RSS_HASH;
        buf_len: u16 = DPDK_SYS_MBUF_BUF_LEN;
        next_mbuf: *mut sys::rte_mbuf = DPDK_SYS_MBUF_NEXT;
    }

    /// Has the packet count as received by this port.
    #[inline]
    pub(crate) fn assign_to(self, port: u16) {
        self.set_port(port);
    }

    /// The segment after this one.
    #[inline]
    pub(crate) fn next(self) -> Option<Self> {
        NonNull::new(self.next_mbuf()).map(Self)
    }

    /// The last segment, from this one on.
    #[inline]
    pub(crate) fn last(self) -> Self {
        let mut segment = self;
        while let Some(next) = segment.next() {
            segment = next;
        }
        segment
    }

    /// Where the data begins.
    #[inline(always)]
    pub(crate) fn data_ptr(self) -> *mut u8 {
        self.buffer().wrapping_add(usize::from(self.data_off()))
    }

    /// The data.
    ///
    /// # Safety
    ///
    /// Nothing writes to it during `'a`.
    #[inline(always)]
    pub(crate) unsafe fn data<'a>(self) -> &'a [u8] {
        // SAFETY: data_off + data_len is at most buf_len, the size of the buffer, and the caller keeps writers away.
        // Pools come from the kernel zeroed, so every byte has a value.
        unsafe { slice::from_raw_parts(self.data_ptr(), usize::from(self.data_len())) }
    }

    /// The data, to be written to.
    ///
    /// # Safety
    ///
    /// Nothing else reads it or writes to it during `'a`.
    #[inline(always)]
    pub(crate) unsafe fn data_mut<'a>(self) -> &'a mut [u8] {
        // SAFETY: as in `data`, and the caller keeps readers away too.
        unsafe { slice::from_raw_parts_mut(self.data_ptr(), usize::from(self.data_len())) }
    }

    /// Bytes between the data's end and the buffer's.
    #[inline]
    pub(crate) fn tailroom(self) -> u16 {
        self.buf_len() - self.data_off() - self.data_len()
    }

    /// Grows the data by `len` bytes into the headroom, if it has them. The packet's length is the caller's business,
    /// here and below.
    #[inline]
    pub(crate) fn grow_front(self, len: u16) -> Option<()> {
        self.set_data_off(self.data_off().checked_sub(len)?);
        self.set_data_len(self.data_len() + len);
        Some(())
    }

    /// Takes `len` bytes off the data's front, if it has them.
    #[inline]
    pub(crate) fn shrink_front(self, len: u16) -> Option<()> {
        self.set_data_len(self.data_len().checked_sub(len)?);
        self.set_data_off(self.data_off() + len);
        Some(())
    }

    /// Grows the data by `len` bytes into the tailroom, if it has them.
    #[inline]
    pub(crate) fn grow_back(self, len: u16) -> Option<()> {
        if len > self.tailroom() {
            return None;
        }
        self.set_data_len(self.data_len() + len);
        Some(())
    }

    /// Takes `len` bytes off the data's end, if it has them.
    #[inline]
    pub(crate) fn shrink_back(self, len: u16) -> Option<()> {
        self.set_data_len(self.data_len().checked_sub(len)?);
        Some(())
    }

    /// Sets the packet's length. For the first segment.
    #[inline]
    pub(crate) fn resize_packet(self, len: u32) {
        self.set_packet_len(len);
    }
}
