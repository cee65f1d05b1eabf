//! The TUN device: what is written to it, the kernel takes for received.

use std::fmt;
use std::io;

use tun_rs::{DeviceBuilder, SyncDevice};

/// A TUN device that is there as long as this value, whatever ends the process.
pub(super) struct Device {
    device: SyncDevice,
    name: String,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Device").field(&self.name).finish()
    }
}

impl Device {
    /// Makes it; it is down and has no address yet.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn create(name: &str) -> io::Result<Self> {
        let device = DeviceBuilder::new().name(name).enable(false).build_sync()?;
        Ok(Self { device, name: name.to_owned() })
    }

    /// Hands a whole IP packet to the kernel.
    ///
    /// # Errors
    /// The kernel's: EIO while the device is down, EBADFD when it has been removed.
    #[inline(always)]
    pub(super) fn deliver(&self, packet: &[u8]) -> io::Result<()> {
        self.device.send(packet).map(drop)
    }
}
