//! The Environment Abstraction Layer: DPDK's start and end.

use std::{
    ffi::{CStr, CString, OsStr, c_char},
    fs,
    marker::PhantomData,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    ptr::{self, NonNull},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dpdk_sys as sys;

use crate::{Error, affinity, lcore};

/// DPDK, started. It can be started once in the life of a process.
///
/// The thread that starts it becomes the main lcore, and this value stays there. Pools, ports and rings keep EAL's
/// memory alive beyond it; when the last of all these is gone, EAL is cleaned up.
#[derive(Debug)]
pub struct Eal {
    memory: Arc<Memory>,
    not_send: PhantomData<*const ()>,
}

impl Eal {
    /// Starts EAL with its own arguments, the first of which is the program's name. EAL writes its log where its
    /// arguments say, by default to standard error and the system log; `--help` among them ends the process.
    ///
    /// # Errors
    ///
    /// When an argument holds a NUL byte or is none of EAL's, when EAL was started before, even in vain, and when it
    /// cannot start; it has then written more about it to its log.
    pub fn init<A>(arguments: impl IntoIterator<Item = A>) -> Result<Self, Error>
    where
        A: Into<Vec<u8>>,
    {
        static STARTED: AtomicBool = AtomicBool::new(false);

        let arguments = arguments
            .into_iter()
            .map(CString::new)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Error::new("an argument of EAL holds a NUL byte", libc::EINVAL))?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(Error::new("EAL was started before in this process", libc::EALREADY));
        }
        affinity::record()?;
        let left = start(arguments)?;

        lcore::mark_main(true);
        let eal = Self { memory: Arc::new(Memory::default()), not_send: PhantomData };
        match left {
            None => Ok(eal),
            Some(unknown) => Err(Error::new(format!("EAL does not take the argument {unknown:?}"), libc::EINVAL)),
        }
    }

    /// The folder in which EAL keeps what other processes may look at, and which goes when this process ends.
    pub fn runtime_folder(&self) -> Option<PathBuf> {
        runtime_folder()
    }

    /// Cleans EAL up, as dropping it does, and tells when that could not be done.
    ///
    /// # Errors
    ///
    /// When pools, ports, queues or rings still exist (EAL is then cleaned up with the last of them), when mbufs were
    /// not returned to their pools (their memory must then stay), and when EAL itself fails.
    pub fn shutdown(self) -> Result<(), Error> {
        let memory = Arc::clone(&self.memory);
        drop(self);
        match Arc::into_inner(memory) {
            None => Err(Error::new("pools, ports, queues or rings are left over from EAL", libc::EBUSY)),
            Some(mut memory) => {
                memory.cleaned_up = true;
                memory.clean_up()
            }
        }
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

impl Drop for Eal {
    fn drop(&mut self) {
        // Another thread may now hold what cleans EAL up in the end, so this one frees mbufs as ordinary threads do.
        lcore::mark_main(false);
    }
}

/// The release of DPDK that runs, such as `DPDK 22.11.11`.
pub fn version() -> &'static str {
    // SAFETY: has no preconditions.
    let version = unsafe { sys::rte_version() };
    // SAFETY: a C string that DPDK makes once and keeps.
    unsafe { CStr::from_ptr(version) }.to_str().unwrap_or("DPDK")
}

/// Returns the first argument that EAL did not take.
fn start(arguments: Vec<CString>) -> Result<Option<CString>, Error> {
    // EAL keeps pointers into its arguments and reorders the array, so both are its own for ever.
    let count = arguments.len();
    let argc = i32::try_from(count).map_err(|_| Error::new("too many arguments for EAL", libc::E2BIG))?;
    let argv: &mut [*mut c_char] =
        arguments.into_iter().map(CString::into_raw).chain([ptr::null_mut()]).collect::<Vec<_>>().leak();
    // Handlers run in the reverse order of their registration, so this one comes after EAL's own.
    // SAFETY: the handler is a function of this crate, takes nothing, does not panic and needs no state.
    unsafe { libc::atexit(remove_runtime_folder) };
    // SAFETY: argv holds argc C strings and a null pointer, all writable and never freed. It is called once.
    let taken = unsafe { sys::rte_eal_init(argc, argv.as_mut_ptr()) };
    let taken = usize::try_from(taken).map_err(|_| Error::last("EAL cannot start"))?;
    Ok(argv.get(taken + 1).filter(|argument| !argument.is_null()).map(|&argument| {
        // SAFETY: one of the C strings made above.
        unsafe { CStr::from_ptr(argument) }.to_owned()
    }))
}

/// The folder that EAL makes for each `--file-prefix`, if it has made one.
fn runtime_folder() -> Option<PathBuf> {
    // SAFETY: returns EAL's own buffer, which is empty until EAL has chosen a folder.
    let folder = unsafe { sys::rte_eal_get_runtime_dir() };
    // SAFETY: a C string that EAL keeps.
    let folder = unsafe { CStr::from_ptr(folder) };
    (!folder.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(folder.to_bytes())))
}

/// Removes that folder, which EAL leaves behind.
///
/// At the exit of the process: only then does EAL's telemetry remove its socket there. A folder in which another
/// process still has something stays.
extern "C" fn remove_runtime_folder() {
    if let Some(folder) = runtime_folder() {
        let _ = fs::remove_dir(folder);
    }
}

/// Keeps EAL's memory mapped for as long as something may point into it: pools, ports and rings share it.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pools: Mutex<Vec<Pool>>,
    ports: Mutex<Vec<u16>>,
    names: AtomicU64,
    cleaned_up: bool,
}

#[derive(Debug)]
struct Pool {
    name: CString,
    pool: NonNull<sys::rte_mempool>,
}

// SAFETY: a mempool may be used from any thread; only its counts are read here.
unsafe impl Send for Pool {}

impl Memory {
    /// A number that no other call returns: DPDK's named things need different names.
    pub(crate) fn unique(&self) -> u64 {
        self.names.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes a pool, which is to live as long as EAL does.
    pub(crate) fn keep(&self, name: CString, pool: NonNull<sys::rte_mempool>) {
        lock(&self.pools).push(Pool { name, pool });
    }

    /// Hands out a port's number once only; false when it was handed out before.
    pub(crate) fn take_port(&self, port: u16) -> bool {
        let mut ports = lock(&self.ports);
        let is_free = !ports.contains(&port);
        if is_free {
            ports.push(port);
        }
        is_free
    }

    /// Cleans EAL up, unless mbufs are out: someone may read them or free them later, and their memory must stay.
    ///
    /// No count can change behind its back: lcores are idle, as nobody is in [`Eal::run`] without an Eal; no port
    /// and no ring exists; and whoever else frees an mbuf does so in [`off_lcore`].
    fn clean_up(&mut self) -> Result<(), Error> {
        off_lcore(|| {
            for Pool { name, pool } in lock(&self.pools).iter() {
                // SAFETY: pools live until EAL is cleaned up, which happens below at the earliest.
                let out = unsafe { sys::rte_mempool_in_use_count(pool.as_ptr()) };
                if out > 0 {
                    let what = format!("EAL's memory must stay: {out} mbufs of the pool {name:?} are not returned");
                    return Err(Error::new(what, libc::EBUSY));
                }
            }
            // SAFETY: nothing that points into EAL's memory is left, and EAL can never be used again.
            let code = unsafe { sys::rte_eal_cleanup() };
            Error::check(code, || "EAL cannot clean up".to_owned())
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if !self.cleaned_up {
            // There is nobody to tell; Eal::shutdown is for those who want to know.
            let _ = self.clean_up();
        }
    }
}

/// Runs what ordinary threads do to pools, one thread at a time.
pub(crate) fn off_lcore<R>(work: impl FnOnce() -> R) -> R {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = lock(&ONE_AT_A_TIME);
    work()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
