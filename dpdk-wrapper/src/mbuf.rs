//! Packet buffers, owned.

use std::{
    fmt, mem,
    ptr::{self, NonNull},
};

use arrayvec::ArrayVec;
use dpdk_sys as sys;

use crate::{PortId, eal::off_lcore, lcore::is_lcore, segment::Segment};

/// A packet in its buffer (DPDK's `rte_mbuf`), owned: dropping it returns the buffer to its pool.
///
/// It may go to another thread, and be freed there; a whole burst is freed faster by [`free_bulk`]. A packet that did
/// not fit one buffer continues in others: [`data`](Self::data) is the first segment's, which holds the headers of all
/// but absurd packets.
///
/// Nothing here calls C but the drop, and every length is checked.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: whoever holds it is its only owner, and pools take mbufs back from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: what takes `&self` only reads.
unsafe impl Sync for Mbuf {}

/// What the port found out about a checksum of a packet that it received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumStatus {
    /// It did not look.
    Unknown,
    /// The checksum is right.
    Good,
    /// The checksum is wrong.
    Bad,
    /// The packet is whole, but its checksum field is not filled in: it comes from a virtual neighbour that left that
    /// to hardware.
    Absent,
}

impl Mbuf {
    /// Takes over an mbuf.
    ///
    /// # Safety
    ///
    /// `mbuf` is one that a pool or a port handed out whole, and nobody else owns it or reaches its buffer.
    #[inline(always)]
    pub(crate) unsafe fn from_raw(mbuf: NonNull<sys::rte_mbuf>) -> Self {
        Self(mbuf)
    }

    /// The data of the first segment.
    #[inline(always)]
    pub fn data(&self) -> &[u8] {
        // SAFETY: a writer would borrow the Mbuf mutably.
        unsafe { self.segment().data() }
    }

    /// The data of the first segment, to be written to.
    #[inline(always)]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: the Mbuf is borrowed mutably for as long as the slice lives.
        unsafe { self.segment().data_mut() }
    }

    /// The data of each segment, in order. Together they are the packet.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        // SAFETY: as in `data`; the chain is owned with its first segment.
        std::iter::successors(Some(self.segment()), |segment| segment.next()).map(|segment| unsafe { segment.data() })
    }

    /// Bytes of the packet, over all segments.
    #[inline(always)]
    pub fn packet_len(&self) -> usize {
        self.segment().packet_len() as usize
    }

    /// In how many segments it lies.
    #[inline(always)]
    pub fn segment_count(&self) -> usize {
        usize::from(self.segment().segments())
    }

    /// Bytes that [`prepend`](Self::prepend) can give.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.segment().data_off())
    }

    /// Bytes that [`append`](Self::append) can give, in the last segment.
    #[inline]
    pub fn tailroom(&self) -> usize {
        usize::from(self.segment().last().tailroom())
    }

    /// Grows the packet by `len` bytes at its front, and returns them: their value is whatever the buffer held. `None`,
    /// and nothing done, when the headroom is shorter.
    #[inline]
    pub fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        let first = self.segment();
        first.grow_front(u16::try_from(len).ok()?)?;
        first.resize_packet(first.packet_len() + len as u32);
        Some(&mut self.data_mut()[..len])
    }

    /// Takes `len` bytes off the packet's front, and returns what is left of the first segment. `None`, and nothing
    /// done, when the first segment is shorter.
    #[inline]
    pub fn trim_front(&mut self, len: usize) -> Option<&mut [u8]> {
        let first = self.segment();
        first.shrink_front(u16::try_from(len).ok()?)?;
        first.resize_packet(first.packet_len() - len as u32);
        Some(self.data_mut())
    }

    /// Grows the packet by `len` bytes at its end, and returns them: their value is whatever the buffer held. `None`,
    /// and nothing done, when the last segment's tailroom is shorter.
    #[inline]
    pub fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        let (first, last) = (self.segment(), self.segment().last());
        last.grow_back(u16::try_from(len).ok()?)?;
        first.resize_packet(first.packet_len() + len as u32);
        // SAFETY: the Mbuf, and with it the last segment, is borrowed mutably for as long as the slice lives.
        let data = unsafe { last.data_mut() };
        let start = data.len() - len;
        Some(&mut data[start..])
    }

    /// Takes `len` bytes off the packet's end. `None`, and nothing done, when the last segment is shorter.
    #[inline]
    pub fn trim_back(&mut self, len: usize) -> Option<()> {
        let (first, last) = (self.segment(), self.segment().last());
        last.shrink_back(u16::try_from(len).ok()?)?;
        first.resize_packet(first.packet_len() - len as u32);
        Some(())
    }

    /// The port that received it. `None` when it was allocated here.
    #[inline]
    pub fn port(&self) -> Option<PortId> {
        let port = self.segment().port();
        // RTE_MBUF_PORT_INVALID
        (port != u16::MAX).then_some(PortId(port))
    }

    /// Has the packet count as received by `port`, which need not exist: numbers beyond DPDK's ports are the caller's.
    #[inline]
    pub fn set_port(&mut self, port: PortId) {
        self.segment().assign_to(port.0);
    }

    /// The receive-side hash that the port computed, if it delivers that
    /// ([`RxOffloads::RSS_HASH`](crate::RxOffloads::RSS_HASH)).
    #[inline]
    pub fn rss_hash(&self) -> Option<u32> {
        let segment = self.segment();
        (segment.flags() & sys::DPDK_SYS_RTE_MBUF_F_RX_RSS_HASH != 0).then(|| segment.rss_hash())
    }

    /// The tag (priority, DEI and VLAN id, as a number) of the VLAN header that the port took off.
    #[inline]
    pub fn stripped_vlan(&self) -> Option<u16> {
        let segment = self.segment();
        (segment.flags() & sys::DPDK_SYS_RTE_MBUF_F_RX_VLAN_STRIPPED != 0).then(|| segment.vlan_tci())
    }

    /// The IPv4 header's checksum, as the port saw it.
    #[inline]
    pub fn ip_checksum(&self) -> ChecksumStatus {
        match self.segment().flags() & sys::DPDK_SYS_RTE_MBUF_F_RX_IP_CKSUM_MASK {
            sys::DPDK_SYS_RTE_MBUF_F_RX_IP_CKSUM_GOOD => ChecksumStatus::Good,
            sys::DPDK_SYS_RTE_MBUF_F_RX_IP_CKSUM_BAD => ChecksumStatus::Bad,
            sys::DPDK_SYS_RTE_MBUF_F_RX_IP_CKSUM_NONE => ChecksumStatus::Absent,
            _ => ChecksumStatus::Unknown,
        }
    }

    /// The TCP or UDP checksum, as the port saw it.
    #[inline]
    pub fn l4_checksum(&self) -> ChecksumStatus {
        match self.segment().flags() & sys::DPDK_SYS_RTE_MBUF_F_RX_L4_CKSUM_MASK {
            sys::DPDK_SYS_RTE_MBUF_F_RX_L4_CKSUM_GOOD => ChecksumStatus::Good,
            sys::DPDK_SYS_RTE_MBUF_F_RX_L4_CKSUM_BAD => ChecksumStatus::Bad,
            sys::DPDK_SYS_RTE_MBUF_F_RX_L4_CKSUM_NONE => ChecksumStatus::Absent,
            _ => ChecksumStatus::Unknown,
        }
    }

    /// Asks the CPU to bring the first cache line of the data closer, for a use some packets later.
    #[inline(always)]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint, which touches no memory that the program can observe.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.segment().data_ptr().cast_const().cast()) };
        }
    }

    #[inline(always)]
    fn segment(&self) -> Segment {
        // SAFETY: from_raw's promise. A Segment does not leave the method that asks for it, and only those that have
        // `&mut self` write.
        unsafe { Segment::new(self.0) }
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        if is_lcore() {
            // SAFETY: owned, and not used again.
            unsafe { sys::rte_pktmbuf_free(self.0.as_ptr()) };
        } else {
            free_off_lcore(self.0);
        }
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("port", &self.port())
            .field("packet_len", &self.packet_len())
            .field("segment_count", &self.segment_count())
            .finish_non_exhaustive()
    }
}

/// Frees all of `mbufs` at once, which costs much less than to drop them one by one.
#[inline]
pub fn free_bulk<const N: usize>(mbufs: &mut ArrayVec<Mbuf, N>) {
    let count = mbufs.len();
    if count == 0 {
        return;
    }
    let first: *mut *mut sys::rte_mbuf = mbufs.as_mut_ptr().cast();
    // SAFETY: 0 is within the capacity. From here on the mbufs belong to nobody but this function.
    unsafe { mbufs.set_len(0) };
    // A burst of 2³² does not fit in memory.
    // SAFETY: Mbuf is a transparent pointer, so these are `count` pointers to mbufs that are owned and not used again.
    let free = || unsafe { sys::rte_pktmbuf_free_bulk(first, count as u32) };
    if is_lcore() { free() } else { off_lcore(free) }
}

#[cold]
fn free_off_lcore(mbuf: NonNull<sys::rte_mbuf>) {
    // SAFETY: the caller owned it, and does not use it again.
    off_lcore(|| unsafe { sys::rte_pktmbuf_free(mbuf.as_ptr()) });
}

/// Lets C write up to `room` mbufs behind those of `burst`. `fill` gets the place and the room, and returns how many
/// it wrote.
///
/// # Safety
///
/// As many mbufs as `fill` returns are written from the place on, and are the caller's to own.
#[inline(always)]
pub(crate) unsafe fn fill<const N: usize>(
    burst: &mut ArrayVec<Mbuf, N>,
    room: usize,
    fill: impl FnOnce(*mut *mut sys::rte_mbuf, u16) -> u16,
) -> usize {
    let len = burst.len();
    let room = u16::try_from(room.min(N - len)).unwrap_or(u16::MAX);
    let spare: *mut *mut sys::rte_mbuf = burst.as_mut_ptr().wrapping_add(len).cast();
    let count = usize::from(fill(spare, room).min(room));
    // SAFETY: len + count is at most N, and the caller promises that the mbufs are there.
    unsafe { burst.set_len(len + count) };
    count
}

/// Lets C take mbufs from the front of `burst`, up to 65535 of them; those that it leaves move up, in order. `take`
/// gets the place and how many there are, and returns how many it took.
///
/// # Safety
///
/// `take` owns as many mbufs from the front on as it returns, and leaves the pointers to the others alone.
#[inline(always)]
pub(crate) unsafe fn take<const N: usize>(
    burst: &mut ArrayVec<Mbuf, N>,
    take: impl FnOnce(*mut *mut sys::rte_mbuf, u16) -> u16,
) -> usize {
    let len = burst.len();
    let first: *mut *mut sys::rte_mbuf = burst.as_mut_ptr().cast();
    let offered = u16::try_from(len).unwrap_or(u16::MAX);
    // SAFETY: 0 is within the capacity. Nobody owns the mbufs twice whatever happens below.
    unsafe { burst.set_len(0) };
    let taken = usize::from(take(first, offered).min(offered));
    if taken > 0 && taken < len {
        // SAFETY: both lie in the burst's storage, which holds `len` pointers.
        unsafe { ptr::copy(first.wrapping_add(taken), first, len - taken) };
    }
    // SAFETY: so many are left, and now at the front.
    unsafe { burst.set_len(len - taken) };
    taken
}

// Arrays of Mbuf are passed to C as arrays of pointers.
const _: () = assert!(mem::size_of::<Mbuf>() == mem::size_of::<*mut sys::rte_mbuf>());
