//! Lcores: DPDK's threads, one to a CPU as a rule, on which packets are processed.

use std::{
    any::Any,
    cell::Cell,
    ffi::{c_int, c_void},
    fmt,
    marker::PhantomData,
    mem,
    panic::{self, AssertUnwindSafe},
};

use dpdk_sys as sys;

use crate::{Eal, Error, affinity};

/// The number of an lcore, as in EAL's `-l` and `--lcores`. Not the number of a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LcoreId(u32);

impl LcoreId {
    /// The number: at least 0, and below DPDK's `RTE_MAX_LCORE`.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What EAL knows about an lcore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LcoreInfo {
    /// Its number.
    pub id: LcoreId,
    /// Whether it is the main one, the thread that started EAL.
    pub is_main: bool,
    /// The CPUs that it may run on.
    pub cpus: Vec<usize>,
    /// The socket (NUMA node) of those CPUs, for [`MempoolConfig::socket`](crate::MempoolConfig::socket). `None` when
    /// they are of several.
    pub socket: Option<u32>,
}

/// Proof that the calling thread is an lcore: what takes packet buffers asks for it.
///
/// Mempools keep a cache for each lcore; every other thread would go to the part that all share, where a thread that
/// loses its CPU at the wrong moment stalls all lcores. The token costs nothing, and cannot leave its thread:
///
/// ```compile_fail,E0277
/// fn hand_over(lcore: dpdk_wrapper::Lcore) {
///     std::thread::spawn(move || lcore.id());
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Lcore {
    id: LcoreId,
    not_send: PhantomData<*const ()>,
}

impl Lcore {
    /// The number of this lcore.
    pub fn id(self) -> LcoreId {
        self.id
    }

    /// The caller vouches that the calling thread is the lcore `id`.
    pub(crate) fn assume(id: LcoreId) -> Self {
        Self { id, not_send: PhantomData }
    }
}

/// Why an lcore returned no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LcoreError {
    /// Its closure panicked, with this message.
    #[error("panicked: {0}")]
    Panicked(String),
    /// EAL did not start it.
    #[error(transparent)]
    Launch(Error),
}

impl Eal {
    /// All lcores, by ascending number.
    pub fn lcores(&self) -> Vec<LcoreInfo> {
        // SAFETY: EAL is up.
        let main = unsafe { sys::rte_get_main_lcore() };
        let mut lcores = Vec::new();
        let mut id = u32::MAX;
        loop {
            // SAFETY: EAL is up; from u32::MAX, which is -1, it starts with lcore 0.
            id = unsafe { sys::rte_get_next_lcore(id, 0, 0) };
            if id >= sys::RTE_MAX_LCORE {
                return lcores;
            }
            lcores.push(LcoreInfo { id: LcoreId(id), is_main: id == main, cpus: cpus(id), socket: socket(id) });
        }
    }

    /// The token of the main lcore, which is the calling thread.
    pub fn main_lcore(&self) -> Lcore {
        // SAFETY: EAL is up. An Eal stays on the thread that made it, which EAL made its main lcore.
        Lcore::assume(LcoreId(unsafe { sys::rte_get_main_lcore() }))
    }

    /// Runs one closure on every lcore, the main one included, and returns when all are done, with their results by
    /// ascending number of the lcore. `work_of` makes the closures, all of them before the first runs.
    ///
    /// A panic ends only its own lcore's work and becomes [`LcoreError::Panicked`]; closures that wait for each other
    /// must see to it that the others hear of it. With `panic = "abort"` it ends the process as always.
    pub fn run<F, R>(&self, mut work_of: impl FnMut(&LcoreInfo) -> F) -> Vec<(LcoreId, Result<R, LcoreError>)>
    where
        F: FnOnce(Lcore) -> R + Send,
        R: Send,
    {
        let lcores = self.lcores();
        let mut jobs: Vec<Job<F, R>> =
            lcores.iter().map(|lcore| Job { id: lcore.id, work: Some(work_of(lcore)), result: None }).collect();

        // From here to the last wait nothing may unwind, and jobs are reached only by these pointers.
        let first = jobs.as_mut_ptr();
        let launched: Vec<Option<i32>> = lcores
            .iter()
            .enumerate()
            .map(|(index, lcore)| {
                let job: *mut Job<F, R> = first.wrapping_add(index);
                // SAFETY: the job stays where it is until rte_eal_wait_lcore below has returned for this lcore, and no
                // other thread touches it. A worker that is not idle refuses, and leaves it alone.
                (!lcore.is_main)
                    .then(|| unsafe { sys::rte_eal_remote_launch(Some(perform::<F, R>), job.cast(), lcore.id.0) })
            })
            .collect();
        if let Some(index) = lcores.iter().position(|lcore| lcore.is_main) {
            // SAFETY: the main lcore's own job, which no worker was given.
            unsafe { perform::<F, R>(first.wrapping_add(index).cast()) };
        }
        for lcore in lcores.iter().filter(|lcore| !lcore.is_main) {
            // SAFETY: EAL is up, and this is its main lcore. Returns at once for an lcore that was not launched.
            unsafe { sys::rte_eal_wait_lcore(lcore.id.0) };
        }

        jobs.into_iter().zip(launched).map(|(job, code)| (job.id, job.outcome(code.unwrap_or(0)))).collect()
    }
}

struct Job<F, R> {
    id: LcoreId,
    work: Option<F>,
    result: Option<Result<R, Box<dyn Any + Send>>>,
}

impl<F, R> Job<F, R> {
    /// `code` is what launching returned.
    fn outcome(self, code: i32) -> Result<R, LcoreError> {
        match self.result {
            Some(Ok(result)) => Ok(result),
            Some(Err(panic)) => Err(LcoreError::Panicked(message(&*panic))),
            None => Err(LcoreError::Launch(Error::new(format!("lcore {} was not launched", self.id), code))),
        }
    }
}

/// Does one job on the lcore that it is for.
///
/// # Safety
///
/// `job` points to a `Job<F, R>` that nothing else touches meanwhile, and the calling thread is the job's lcore.
unsafe extern "C" fn perform<F, R>(job: *mut c_void) -> c_int
where
    F: FnOnce(Lcore) -> R,
{
    ON_LCORE.set(true);
    // SAFETY: the caller's promise.
    let job = unsafe { &mut *job.cast::<Job<F, R>>() };
    if let Some(work) = job.work.take() {
        // Unwinding must not pass through C. Nobody sees what the closure left half done but its own captures, which
        // are dropped.
        let lcore = Lcore::assume(job.id);
        job.result = Some(panic::catch_unwind(AssertUnwindSafe(|| work(lcore))));
    }
    0
}

fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "something that is not text".to_owned())
}

fn cpus(lcore: u32) -> Vec<usize> {
    // SAFETY: EAL is up, and the number is that of an lcore.
    let set = unsafe { sys::rte_lcore_cpuset(lcore) };
    // SAFETY: both are the C library's cpu_set_t, an array of integers.
    let set = unsafe { mem::transmute::<sys::rte_cpuset_t, libc::cpu_set_t>(set) };
    affinity::cpus(&set)
}

fn socket(lcore: u32) -> Option<u32> {
    // SAFETY: EAL is up, and the number is that of an lcore.
    let socket = unsafe { sys::rte_lcore_to_socket_id(lcore) };
    // SOCKET_ID_ANY is -1.
    (socket != u32::MAX).then_some(socket)
}

thread_local! {
    static ON_LCORE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is an lcore of a living [`Eal`].
#[inline]
pub(crate) fn is_lcore() -> bool {
    ON_LCORE.get()
}

/// Marks the calling thread as the main lcore, or takes the mark away when its [`Eal`] goes.
pub(crate) fn mark_main(is_lcore: bool) {
    ON_LCORE.set(is_lcore);
}
