//! Pools of packet buffers.

use std::{ffi::CString, fmt, ptr::NonNull, sync::Arc};

use arrayvec::ArrayVec;
use dpdk_sys as sys;

use crate::{Eal, Error, Lcore, Mbuf, eal::Memory, mbuf};

/// How large a pool is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MempoolConfig {
    /// How many mbufs. One less than a power of two wastes no memory.
    pub mbufs: u32,
    /// How many mbufs each lcore keeps for itself: at most 512, and two thirds of all. Without that, every burst goes
    /// to memory that all lcores share.
    pub cache: u32,
    /// Bytes of one buffer, its headroom included: at least 128.
    pub data_room: u16,
    /// The socket (NUMA node) whose memory it takes. `None` for any.
    pub socket: Option<u32>,
}

impl Default for MempoolConfig {
    /// 8191 mbufs for frames of up to 2048 bytes, 256 in each lcore's cache, on any socket.
    fn default() -> Self {
        Self { mbufs: 8191, cache: 256, data_room: sys::RTE_MBUF_DEFAULT_BUF_SIZE as u16, socket: None }
    }
}

/// A pool of packet buffers. A clone is the same pool; it lives for as long as EAL does.
///
/// Only lcores take from it ([`Lcore`] says why). Any thread may give back, by dropping the [`Mbuf`].
#[derive(Clone)]
pub struct Mempool {
    pool: NonNull<sys::rte_mempool>,
    data_room: u16,
    _memory: Arc<Memory>,
}

// SAFETY: DPDK's pools are made to be used from many threads at once.
unsafe impl Send for Mempool {}
// SAFETY: as above.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// A new pool. `name` is for DPDK's telemetry and log, made unique by a number behind it: about 20 letters at most.
    ///
    /// # Errors
    ///
    /// When memory does not suffice, or the name or the configuration is out of bounds.
    pub fn new(eal: &Eal, name: &str, config: &MempoolConfig) -> Result<Self, Error> {
        let memory = eal.memory();
        let what = || format!("cannot make the pool {name} of {} mbufs", config.mbufs);
        let unique =
            CString::new(format!("{name}_{}", memory.unique())).map_err(|_| Error::new(what(), libc::EINVAL))?;
        if config.data_room < sys::RTE_PKTMBUF_HEADROOM as u16 {
            return Err(Error::new(what() + ", whose data room is smaller than their headroom", libc::EINVAL));
        }
        let socket = config.socket.map_or(-1, |socket| i32::try_from(socket).unwrap_or(i32::MAX));
        // SAFETY: EAL is up, and the name is a C string, which is copied.
        let pool = unsafe {
            sys::rte_pktmbuf_pool_create(unique.as_ptr(), config.mbufs, config.cache, 0, config.data_room, socket)
        };
        let pool = NonNull::new(pool).ok_or_else(|| Error::last(what()))?;
        memory.keep(unique, pool);
        Ok(Self { pool, data_room: config.data_room, _memory: Arc::clone(memory) })
    }

    /// An empty packet, with the default headroom. `None` when the pool is empty.
    #[inline]
    pub fn alloc(&self, _: Lcore) -> Option<Mbuf> {
        // SAFETY: the pool lives, and nobody else takes from this lcore's cache.
        let mbuf = NonNull::new(unsafe { sys::rte_pktmbuf_alloc(self.pool.as_ptr()) })?;
        // SAFETY: fresh from the pool.
        Some(unsafe { Mbuf::from_raw(mbuf) })
    }

    /// Adds `count` empty packets to `burst`, or as many as it has room for. Returns how many: that, or 0 when the pool
    /// has fewer.
    #[inline]
    pub fn alloc_bulk<const N: usize>(&self, _: Lcore, count: usize, burst: &mut ArrayVec<Mbuf, N>) -> usize {
        let alloc = |place, room: u16| {
            // SAFETY: as in `alloc`; there is room for so many pointers at that place.
            let code = unsafe { sys::rte_pktmbuf_alloc_bulk(self.pool.as_ptr(), place, room.into()) };
            if code == 0 { room } else { 0 }
        };
        // SAFETY: on success all the room is filled with fresh mbufs, otherwise none of it.
        unsafe { mbuf::fill(burst, count, alloc) }
    }

    /// A packet with a copy of `bytes`. `None` when the pool is empty, or a buffer too small.
    #[inline]
    pub fn copy(&self, lcore: Lcore, bytes: &[u8]) -> Option<Mbuf> {
        let mut mbuf = self.alloc(lcore)?;
        mbuf.append(bytes.len())?.copy_from_slice(bytes);
        Some(mbuf)
    }

    /// How many mbufs are out: with an owner, in a port's queue, or in a ring. Other lcores may change it meanwhile.
    pub fn in_use(&self) -> usize {
        // SAFETY: the pool lives.
        unsafe { sys::rte_mempool_in_use_count(self.pool.as_ptr()) as usize }
    }

    /// How many mbufs are left. Those in another lcore's cache cannot be taken by this one.
    pub fn available(&self) -> usize {
        // SAFETY: the pool lives.
        unsafe { sys::rte_mempool_avail_count(self.pool.as_ptr()) as usize }
    }

    /// Bytes of a packet that one fresh buffer can hold behind its headroom.
    pub fn buffer_len(&self) -> usize {
        usize::from(self.data_room) - sys::RTE_PKTMBUF_HEADROOM as usize
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.pool.as_ptr()
    }
}

impl fmt::Debug for Mempool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mempool")
            .field("in_use", &self.in_use())
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}
