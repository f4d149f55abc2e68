// SPDX-License-Identifier: GPL-2.0

//! Devices that take ioctls and nothing else.

use crate::alloc::{flags::GFP_KERNEL, KBox};
use crate::error::{code::*, Result};
use crate::ffi;
use crate::net::check;
use crate::sync::Arc;
use core::ptr::NonNull;
use kernel::ffi::{c_long, c_uint, c_ulong, c_void};

/// What handles the ioctls of a device.
pub trait Ioctl: Send + Sync {
    /// Handles one; several may be handled at once.
    ///
    /// # Errors
    /// `ENOTTY`: no such command.
    fn ioctl(&self, command: u32, arg: UserPtr) -> Result<u32>;
}

/// An address in the calling process; whatever it is, using it is safe.
#[derive(Clone, Copy)]
pub struct UserPtr(c_ulong);

impl UserPtr {
    /// The argument of an ioctl.
    pub(crate) fn new(arg: c_ulong) -> UserPtr {
        UserPtr(arg)
    }
    pub(crate) fn raw(self) -> c_ulong {
        self.0
    }
    /// The address as a number, for commands whose argument is one.
    pub fn value(self) -> u64 {
        self.0 as u64
    }
    /// The address `n` bytes further on.
    pub fn add(self, n: usize) -> UserPtr {
        UserPtr(self.0.wrapping_add(n as c_ulong))
    }
    /// Reads all of `to` from there.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn read(self, to: &mut [u8]) -> Result {
        // SAFETY: `to` is valid for writes of its length; the other address is checked.
        check(unsafe { ffi::lustre_kapi_copy_from_user(to.as_mut_ptr().cast(), self.0, to.len()) })
    }
    /// Writes all of `from` to there.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn write(self, from: &[u8]) -> Result {
        // SAFETY: `from` is valid for reads of its length; the other address is checked.
        check(unsafe { ffi::lustre_kapi_copy_to_user(self.0, from.as_ptr().cast(), from.len()) })
    }
}

impl From<u64> for UserPtr {
    /// An address that was found in a structure of the process.
    fn from(address: u64) -> UserPtr {
        UserPtr(address as c_ulong)
    }
}

/// Whether the calling process has `CAP_SYS_ADMIN`.
pub fn is_admin() -> bool {
    // SAFETY: no conditions.
    unsafe { ffi::lustre_kapi_is_admin() }
}

/// A device `/dev/<name>`. Dropping it removes it; calls that are under way end first.
///
/// # Invariants
///
/// `raw` is a registered device; `handler` is what it was registered with.
pub struct CharDevice {
    raw: NonNull<ffi::lustre_kapi_dev>,
    _handler: KBox<Arc<dyn Ioctl>>,
}

// SAFETY: a device belongs to no thread.
unsafe impl Send for CharDevice {}
// SAFETY: there is nothing to be done with a shared one.
unsafe impl Sync for CharDevice {}

impl CharDevice {
    /// Makes the device, with permissions `mode`.
    pub fn register(
        name: &'static kernel::str::CStr,
        mode: u16,
        handler: Arc<dyn Ioctl>,
    ) -> Result<CharDevice> {
        let handler = KBox::new(handler, GFP_KERNEL)?;
        let data = core::ptr::from_ref(&*handler).cast_mut().cast::<c_void>();
        // SAFETY: the name is copied; the handler stays where it is until the device is gone.
        let raw = kernel::error::from_err_ptr(unsafe {
            ffi::lustre_kapi_dev_register(kernel::str::CStrExt::as_char_ptr(name), mode, data)
        })?;
        // INVARIANT: just registered.
        Ok(CharDevice {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            _handler: handler,
        })
    }
}

impl Drop for CharDevice {
    fn drop(&mut self) {
        // SAFETY: registered by the type's invariant. After this the handler is not used; it is
        // freed with the other field.
        unsafe { ffi::lustre_kapi_dev_unregister(self.raw.as_ptr()) }
    }
}

/// # Safety
/// `data` is what a device was registered with.
#[no_mangle]
unsafe extern "C" fn lustre_kapi_rs_ioctl(
    data: *mut c_void,
    command: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: `CharDevice::register` registered such a pointer, valid while the device is.
    let handler = unsafe { &*data.cast::<Arc<dyn Ioctl>>() };
    match handler.ioctl(command, UserPtr(arg)) {
        Ok(n) => n as c_long,
        Err(e) => e.to_errno() as c_long,
    }
}
