//! Rings between two threads: one puts values in, one takes them out, neither waits.

use std::{
    ffi::CString,
    fmt,
    marker::PhantomData,
    mem::{MaybeUninit, align_of, size_of},
    ptr::{self, NonNull},
    sync::Arc,
};

use arrayvec::ArrayVec;
use dpdk_sys as sys;

use crate::{Eal, Error, eal::Memory};

/// A ring of `capacity` values for one producer and one consumer, which may be on different threads, lcores or not. What
/// is left in it when both ends are gone is dropped. `socket` is that of its memory (NUMA node), `None` for any.
///
/// # Errors
///
/// When memory does not suffice, or `capacity` is 0 or 2³⁰ and above.
pub fn ring<T: Send>(eal: &Eal, capacity: usize, socket: Option<u32>) -> Result<(Producer<T>, Consumer<T>), Error> {
    let ring = Arc::new(Ring::new(eal, capacity, socket)?);
    Ok((Producer { ring: Arc::clone(&ring) }, Consumer { ring }))
}

/// The end of a ring that takes values in.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
}

impl<T> Producer<T> {
    /// Puts one value in.
    ///
    /// # Errors
    ///
    /// Gives it back when the ring is full.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        let slot = MaybeUninit::new(Slot(value));
        // SAFETY: `self` is the only producer and is borrowed mutably; one slot is there.
        if unsafe { self.ring.enqueue(slot.as_ptr(), 1) } == 1 {
            return Ok(());
        }
        // SAFETY: initialised above, and the ring did not take it.
        Err(unsafe { slot.assume_init() }.0)
    }

    /// Puts in as many values from the front of `burst` as there is room for; those left move up, in order. Returns how
    /// many went in.
    #[inline]
    pub fn push_burst<const N: usize>(&mut self, burst: &mut ArrayVec<T, N>) -> usize {
        let len = burst.len();
        let first = burst.as_mut_ptr();
        // SAFETY: 0 is within the capacity; until the end of this function the values belong to it.
        unsafe { burst.set_len(0) };
        let taken = if Slot::<T>::IS_PLAIN {
            // SAFETY: `self` is the only producer and is borrowed mutably; so many slots are there.
            unsafe { self.ring.enqueue(first.cast(), len) }
        } else {
            (0..len)
                .take_while(|&index| {
                    // SAFETY: within the burst; moved out of it only if the ring takes it.
                    let slot = MaybeUninit::new(Slot(unsafe { first.wrapping_add(index).read() }));
                    // SAFETY: as above, with one slot.
                    unsafe { self.ring.enqueue(slot.as_ptr(), 1) == 1 }
                })
                .count()
        };
        // SAFETY: both lie in the burst's storage, which holds `len` values; the ring owns the first `taken`.
        unsafe { ptr::copy(first.wrapping_add(taken), first, len - taken) };
        // SAFETY: so many are left, and now at the front.
        unsafe { burst.set_len(len - taken) };
        taken
    }

    /// How many values are in it. The consumer may take some meanwhile.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether no value is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The end of a ring that gives values out.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
}

impl<T> Consumer<T> {
    /// Takes the value that has been in the ring longest.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        // SAFETY: `self` is the only consumer, and is borrowed mutably.
        unsafe { self.ring.pop() }
    }

    /// Adds the values that have been in the ring longest to `burst`, as many as it has room for. Returns how many.
    #[inline]
    pub fn pop_burst<const N: usize>(&mut self, burst: &mut ArrayVec<T, N>) -> usize {
        let len = burst.len();
        if Slot::<T>::IS_PLAIN {
            let spare = burst.as_mut_ptr().wrapping_add(len);
            // SAFETY: `self` is the only consumer and is borrowed mutably; there is room for N - len slots.
            let count = unsafe { self.ring.dequeue(spare.cast(), N - len) };
            // SAFETY: so many values were moved behind the others.
            unsafe { burst.set_len(len + count) };
            return count;
        }
        burst.extend(std::iter::from_fn(|| self.pop()).take(N - len));
        burst.len() - len
    }

    /// How many values are in it. The producer may add some meanwhile.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether no value is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A value as it lies in the ring: DPDK moves elements of whole 4-byte words, and this size is a multiple of 4.
#[repr(C, align(4))]
struct Slot<T>(T);

impl<T> Slot<T> {
    /// The size of an element in bytes. A value without any bytes would leave DPDK nothing to move.
    const SIZE: u32 = {
        assert!(size_of::<T>() > 0 && size_of::<Self>() <= 1 << 20, "a ring's values have 1 byte to 1 MiB");
        size_of::<Self>() as u32
    };

    /// Whether arrays of slots and of plain values look the same.
    const IS_PLAIN: bool = size_of::<Self>() == size_of::<T>() && align_of::<Self>() == align_of::<T>();
}

/// What both ends share.
struct Ring<T> {
    ring: NonNull<sys::rte_ring>,
    values: PhantomData<T>,
    _memory: Arc<Memory>,
}

// SAFETY: values move from one thread to another, which T allows; the ring itself is made for a producer and a consumer
// on different threads, and its two ends are what calls it.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    fn new(eal: &Eal, capacity: usize, socket: Option<u32>) -> Result<Self, Error> {
        let memory = eal.memory();
        let what = || format!("cannot make a ring of {capacity} values");
        // DPDK rounds up to a power of two in 32 bits, and does not notice when they overflow.
        let count = u32::try_from(capacity)
            .ok()
            .filter(|count| (1..1 << 30).contains(count))
            .ok_or_else(|| Error::new(what(), libc::EINVAL))?;
        let name = CString::new(format!("ring_{}", memory.unique())).map_err(|_| Error::new(what(), libc::EINVAL))?;
        let flags = sys::RING_F_SP_ENQ | sys::RING_F_SC_DEQ | sys::RING_F_EXACT_SZ;
        let socket = socket.map_or(-1, |socket| i32::try_from(socket).unwrap_or(i32::MAX));
        // SAFETY: EAL is up, and the name is a C string, which is copied.
        let ring = unsafe { sys::rte_ring_create_elem(name.as_ptr(), Slot::<T>::SIZE, count, socket, flags) };
        let ring = NonNull::new(ring).ok_or_else(|| Error::last(what()))?;
        Ok(Self { ring, values: PhantomData, _memory: Arc::clone(memory) })
    }

    /// Moves up to `count` values from `slots` into the ring, and returns how many.
    ///
    /// # Safety
    ///
    /// No other call is in here, `count` slots are there, and as many of the first as it returns are not used again.
    #[inline]
    unsafe fn enqueue(&self, slots: *const Slot<T>, count: usize) -> usize {
        // More than 2³² slots do not fit in memory.
        let (slots, count) = (slots.cast(), count as u32);
        // SAFETY: the ring lives, its elements have this size, and the rest is the caller's promise.
        let moved = unsafe {
            sys::rte_ring_sp_enqueue_burst_elem(self.ring.as_ptr(), slots, Slot::<T>::SIZE, count, ptr::null_mut())
        };
        moved as usize
    }

    /// Moves up to `count` values from the ring to `slots`, and returns how many.
    ///
    /// # Safety
    ///
    /// No other call is in here, and there is room for `count` slots.
    #[inline]
    unsafe fn dequeue(&self, slots: *mut Slot<T>, count: usize) -> usize {
        let (slots, count) = (slots.cast(), count as u32);
        // SAFETY: the ring lives, its elements have this size, and the rest is the caller's promise.
        let moved = unsafe {
            sys::rte_ring_sc_dequeue_burst_elem(self.ring.as_ptr(), slots, Slot::<T>::SIZE, count, ptr::null_mut())
        };
        moved as usize
    }

    /// # Safety
    ///
    /// No other call is in here or in `dequeue`.
    #[inline]
    unsafe fn pop(&self) -> Option<T> {
        let mut slot = MaybeUninit::<Slot<T>>::uninit();
        // SAFETY: the caller's promise; there is room for one slot.
        let count = unsafe { self.dequeue(slot.as_mut_ptr(), 1) };
        // SAFETY: a value was moved here.
        (count == 1).then(|| unsafe { slot.assume_init() }.0)
    }

    fn len(&self) -> usize {
        // SAFETY: the ring lives.
        unsafe { sys::rte_ring_count(self.ring.as_ptr()) as usize }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: both ends are gone.
        while let Some(value) = unsafe { self.pop() } {
            drop(value);
        }
        // SAFETY: nobody else knows the ring.
        unsafe { sys::rte_ring_free(self.ring.as_ptr()) };
    }
}
