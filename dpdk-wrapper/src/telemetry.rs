//! Answers of our own on DPDK's telemetry socket, which `dpdk-telemetry.py` asks.
//!
//! DPDK calls a C function with the command's name from a thread of its own, and knows no way to take a command back. So
//! one function stands for all commands and looks the answer up in a table, which [`Telemetry`] clears when it goes.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    mem,
    panic::{self, AssertUnwindSafe},
    ptr::NonNull,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use dpdk_sys as sys;

use crate::{Eal, Error};

/// One thing of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TelemetryValue {
    /// A text. DPDK cuts what is longer than 127 bytes.
    Text(String),
    /// A number.
    Number(u64),
    /// More of the same. DPDK has room for two levels of this within an answer.
    Dict(TelemetryDict),
}

/// Names with their values: at most 256, and of letters, digits, `_` and `/`. DPDK writes at most 16 KiB of them, as JSON.
pub type TelemetryDict = Vec<(String, TelemetryValue)>;

/// Answers a command, whose parameters are in the text; None when it does not understand them.
type Answer = Box<dyn Fn(&str) -> Option<TelemetryDict> + Send + Sync>;

static ANSWERS: RwLock<Vec<(CString, Answer)>> = RwLock::new(Vec::new());

/// Commands that are answered as long as this lives. After that DPDK still lists them, and answers `null`.
#[derive(Debug)]
pub struct Telemetry {
    commands: Vec<CString>,
}

impl Telemetry {
    /// Without commands.
    pub fn new(_: &Eal) -> Self {
        Self { commands: Vec::new() }
    }

    /// Adds a command, such as `/leat/status`, that `answer` answers, with `help` for who asks for that. It is called on
    /// DPDK's own thread, with what follows the command after a comma.
    ///
    /// # Errors
    ///
    /// When DPDK refuses the name (it begins with a slash, and has fewer than 56 bytes), has no memory, or has the
    /// command already.
    pub fn register(
        &mut self,
        command: &str,
        help: &str,
        answer: impl Fn(&str) -> Option<TelemetryDict> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let nul = |_| Error::new("a telemetry command holds a NUL byte", libc::EINVAL);
        let name = CString::new(command).map_err(nul)?;
        let help = CString::new(help).map_err(nul)?;
        if read().iter().any(|(known, _)| *known == name) {
            return Err(Error::new(format!("telemetry command {command}"), libc::EEXIST));
        }
        // The table is not locked meanwhile: DPDK holds a lock of its own when it calls.
        // SAFETY: both texts are C strings, which DPDK copies; the function has the type that it wants, lives for ever,
        // and does not unwind.
        let code = unsafe { sys::rte_telemetry_register_cmd(name.as_ptr(), Some(respond), help.as_ptr()) };
        Error::check(code, || format!("telemetry command {command}"))?;
        write().push((name.clone(), Box::new(answer)));
        self.commands.push(name);
        Ok(())
    }
}

impl Drop for Telemetry {
    /// Waits for answers that are being given, and drops what they hold.
    fn drop(&mut self) {
        let mut answers = write();
        let (gone, kept) = mem::take(&mut *answers).into_iter().partition(|(name, _)| self.commands.contains(name));
        *answers = kept;
        drop(answers);
        drop::<Vec<_>>(gone);
    }
}

fn read() -> RwLockReadGuard<'static, Vec<(CString, Answer)>> {
    ANSWERS.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> RwLockWriteGuard<'static, Vec<(CString, Answer)>> {
    ANSWERS.write().unwrap_or_else(PoisonError::into_inner)
}

/// What DPDK calls. Returns 0, or a negative errno value.
extern "C" fn respond(command: *const c_char, parameters: *const c_char, data: *mut sys::rte_tel_data) -> c_int {
    let Some(data) = NonNull::new(data) else { return -libc::EINVAL };
    if command.is_null() {
        return -libc::EINVAL;
    }
    // SAFETY: not null, and a C string that DPDK keeps during the call.
    let command = unsafe { CStr::from_ptr(command) };
    let parameters = match parameters.is_null() {
        true => c"",
        // SAFETY: as the command.
        false => unsafe { CStr::from_ptr(parameters) },
    };
    let answer = panic::catch_unwind(AssertUnwindSafe(|| {
        let answers = read();
        let (_, answer) = answers.iter().find(|(name, _)| name.as_c_str() == command)?;
        answer(parameters.to_str().ok()?)
    }));
    match answer {
        Ok(Some(dict)) => fill(data, &dict),
        Ok(None) | Err(_) => -libc::EINVAL,
    }
}

/// Makes `data` a dictionary.
fn fill(data: NonNull<sys::rte_tel_data>, dict: &TelemetryDict) -> c_int {
    // SAFETY: the caller has `data` from DPDK, for filling.
    let code = unsafe { sys::rte_tel_data_start_dict(data.as_ptr()) };
    if code != 0 {
        return code;
    }
    for (name, value) in dict {
        let Ok(name) = CString::new(name.as_str()) else { return -libc::EINVAL };
        let code = match value {
            TelemetryValue::Text(text) => {
                let Ok(text) = CString::new(text.as_str()) else { return -libc::EINVAL };
                // SAFETY: a dictionary was started there; both are C strings, which are copied.
                unsafe { sys::rte_tel_data_add_dict_string(data.as_ptr(), name.as_ptr(), text.as_ptr()) }
            }
            // SAFETY: a dictionary was started there; the name is a C string, which is copied.
            TelemetryValue::Number(number) => unsafe {
                sys::dpdk_sys_tel_add_dict_uint(data.as_ptr(), name.as_ptr(), *number)
            },
            TelemetryValue::Dict(inner) => add_inner(data, &name, inner),
        };
        // A text that was cut is still told.
        if code != 0 && code.abs() != libc::E2BIG {
            return code;
        }
    }
    0
}

fn add_inner(data: NonNull<sys::rte_tel_data>, name: &CStr, inner: &TelemetryDict) -> c_int {
    // SAFETY: has no preconditions.
    let Some(container) = NonNull::new(unsafe { sys::rte_tel_data_alloc() }) else { return -libc::ENOMEM };
    let mut code = fill(container, inner);
    if code == 0 {
        // SAFETY: a dictionary was started in `data`, and the container is filled. From here on it is DPDK's to free
        // (`keep` is 0), if it takes it.
        code = unsafe { sys::rte_tel_data_add_dict_container(data.as_ptr(), name.as_ptr(), container.as_ptr(), 0) };
    }
    if code != 0 {
        // SAFETY: made above, and not taken.
        unsafe { sys::rte_tel_data_free(container.as_ptr()) };
    }
    code
}
