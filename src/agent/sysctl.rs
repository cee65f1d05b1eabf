//! Settings of interfaces in /proc/sys. Those of IPv4 can be put back; those of IPv6 are the agent's own device's only, and go
//! with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where those of IPv6 are, if the kernel has IPv6.
const IPV6: &str = "/proc/sys/net/ipv6/conf";

/// A setting of one interface, or of `all`: `net.ipv4.conf.INTERFACE.NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setting {
    interface: String,
    name: String,
}

impl Setting {
    pub(super) fn new(interface: &str, name: &str) -> Self {
        Self { interface: interface.to_owned(), name: name.to_owned() }
    }

    /// # Errors
    /// The kernel's.
    pub(super) fn read(&self) -> io::Result<i32> {
        let text = fs::read_to_string(self.path())?;
        text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("'{}'", text.trim())))
    }

    /// # Errors
    /// The kernel's.
    pub(super) fn write(&self, value: i32) -> io::Result<()> {
        fs::write(self.path(), value.to_string())
    }

    fn path(&self) -> PathBuf {
        ["/proc/sys/net/ipv4/conf", &self.interface, &self.name].iter().collect()
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "net.ipv4.conf.{}.{}", self.interface, self.name)
    }
}

/// Whether this kernel has IPv6.
pub(super) fn has_ipv6() -> bool {
    Path::new(IPV6).exists()
}

/// Sets `net.ipv6.conf.INTERFACE.NAME`.
///
/// # Errors
/// The kernel's; NotFound where it has no such setting.
pub(super) fn set_ipv6(interface: &str, name: &str, value: i32) -> io::Result<()> {
    fs::write(Path::new(IPV6).join(interface).join(name), value.to_string())
}
