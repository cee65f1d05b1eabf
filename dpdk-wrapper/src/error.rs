//! The one error type: what was being done, and DPDK's reason.

use std::{borrow::Cow, ffi::CStr};

use dpdk_sys as sys;

/// What failed, and why, as an errno value with DPDK's or the C library's text for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {}", text(*errno))]
pub struct Error {
    what: Cow<'static, str>,
    errno: i32,
}

impl Error {
    /// The errno value, positive: one of the C library's, or one of DPDK's own above 1000.
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// Whether the port or the driver lacks what was asked for, rather than having failed at it.
    pub fn is_unsupported(&self) -> bool {
        self.errno == libc::ENOTSUP || self.errno == libc::ENOSYS
    }

    /// `errno` may be negative, as DPDK returns it, or positive, as `rte_errno` holds it.
    pub(crate) fn new(what: impl Into<Cow<'static, str>>, errno: i32) -> Self {
        Self { what: what.into(), errno: errno.saturating_abs() }
    }

    /// For functions that report through `rte_errno`, to be called on the same thread right after them.
    pub(crate) fn last(what: impl Into<Cow<'static, str>>) -> Self {
        // SAFETY: only reads a variable of the calling thread.
        let errno = unsafe { sys::dpdk_sys_errno() };
        Self::new(what, errno)
    }

    /// For functions that return 0, or a negative errno value.
    pub(crate) fn check(code: i32, what: impl FnOnce() -> String) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self::new(what(), code)) }
    }
}

fn text(errno: i32) -> String {
    // SAFETY: takes any number and returns a C string in memory of the calling thread, or a constant one.
    let text = unsafe { sys::rte_strerror(errno) };
    // SAFETY: as above; it is copied before anything else can call rte_strerror on this thread.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_what_and_why_whatever_the_sign_of_its_number() {
        let error = Error::new("port 3: promiscuous mode", -libc::ENOTSUP);
        assert_eq!(error.to_string(), "port 3: promiscuous mode: Operation not supported");
        assert!(error.is_unsupported());
        assert_eq!(Error::new("x", libc::EBUSY).errno(), libc::EBUSY);
    }
}
