// SPDX-License-Identifier: GPL-2.0

//! A type of file system whose mounts are running services: `mount` starts one, `umount` ends it,
//! and what is seen in between is an empty directory that `df` knows the size of.

use crate::alloc::{flags::GFP_KERNEL, KBox};
use crate::chardev::UserPtr;
use crate::error::{code::*, Result};
use crate::ffi;
use crate::params::{to_c, Seq};
use crate::sync::Arc;
use core::fmt::{self, Write};
use core::ptr::NonNull;
use kernel::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use kernel::str::{CStr, CStrExt};

/// What `statfs` tells; counts are in units of `bsize` bytes and of objects.
#[derive(Clone, Copy, Default, Debug)]
pub struct StatFs {
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Blocks free for all.
    pub bavail: u64,
    /// All objects.
    pub files: u64,
    /// Free objects.
    pub ffree: u64,
    /// Bytes in a block.
    pub bsize: u32,
    /// Longest name.
    pub namelen: u32,
}

/// What starts services.
pub trait FileSystem: Send + Sync {
    /// Starts one. `source` is the device as given, `options` what follows `-o`, without the
    /// options that are the kernel's own. Runs in the process that mounts. What is written to
    /// `why` before an error is told to that process.
    fn mount(
        &self,
        source: &str,
        options: &str,
        why: &mut dyn fmt::Write,
    ) -> Result<KBox<dyn Mounted>>;
}

/// A running service.
pub trait Mounted: Send + Sync {
    /// Space and objects.
    fn statfs(&self) -> Result<StatFs>;
    /// Prints the options for `/proc/mounts`, each with a comma in front.
    fn show_options(&self, out: &mut dyn fmt::Write) -> Result;
    /// An ioctl on the directory that is seen.
    ///
    /// # Errors
    /// `ENOTTY`: no such command.
    fn ioctl(&self, command: u32, arg: UserPtr) -> Result<u32> {
        let _ = (command, arg);
        Err(ENOTTY)
    }
    /// `umount -f` has begun: waiting for others is to end. [`Mounted::umount`] follows, unless
    /// the mount is busy.
    fn umount_begin(&self);
    /// Ends it, and waits for the end. It is dropped after that.
    fn umount(&self);
}

/// The reason for a failure, with a NUL at its end; what is too long is cut.
struct Reason {
    text: [u8; 512],
    len: usize,
}

impl Write for Reason {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        // The last byte stays the terminator; NULs would end it early.
        let room = self.text.len() - 1 - self.len;
        for (to, from) in self
            .text
            .iter_mut()
            .skip(self.len)
            .take(room)
            .zip(s.bytes())
        {
            *to = if from == 0 { b'?' } else { from };
            self.len += 1;
        }
        Ok(())
    }
}

/// A registered type.
///
/// # Invariants
///
/// `raw` is registered; `handler` is what it was registered with.
pub struct Registration {
    raw: NonNull<ffi::lustre_kapi_fs>,
    _handler: KBox<Arc<dyn FileSystem>>,
}

// SAFETY: a type belongs to no thread.
unsafe impl Send for Registration {}
// SAFETY: there is nothing to be done with a shared one.
unsafe impl Sync for Registration {}

impl Registration {
    /// Registers a type; its superblocks tell `magic`. Each mount holds the module.
    ///
    /// # Errors
    /// `EBUSY`: there is a type of this name. `EMFILE`: two of ours are there already.
    pub fn new(
        name: &'static CStr,
        magic: u32,
        handler: Arc<dyn FileSystem>,
    ) -> Result<Registration> {
        let handler = KBox::new(handler, GFP_KERNEL)?;
        let data = core::ptr::from_ref(&*handler).cast_mut().cast::<c_void>();
        // SAFETY: the name is copied; the handler stays where it is until the type is gone.
        let raw = kernel::error::from_err_ptr(unsafe {
            ffi::lustre_kapi_fs_register(name.as_char_ptr(), magic, data)
        })?;
        // INVARIANT: just registered.
        Ok(Registration {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            _handler: handler,
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: registered by the type's invariant. Registrations go when the module does, so
        // nothing is mounted. The handler is freed with the other field.
        unsafe { ffi::lustre_kapi_fs_unregister(self.raw.as_ptr()) }
    }
}

/// What a superblock refers to.
type Super = KBox<dyn Mounted>;

/// # Safety
/// `data` is what a type was registered with, the texts are C strings, `fc` is the mount in the
/// making, `mounted` is valid for a write.
#[no_mangle]
unsafe extern "C" fn lustre_kapi_rs_mount(
    data: *mut c_void,
    source: *const c_char,
    options: *const c_char,
    fc: *mut kernel::bindings::fs_context,
    mounted: *mut *mut c_void,
) -> c_int {
    // SAFETY: `Registration::new` registered such a pointer, valid while the type is.
    let handler = unsafe { &*data.cast::<Arc<dyn FileSystem>>() };
    // SAFETY: by the function's own conditions; they live until this returns.
    let (source, options) = unsafe { (CStr::from_char_ptr(source), CStr::from_char_ptr(options)) };
    let mut why = Reason {
        text: [0; 512],
        len: 0,
    };
    let result = (|| {
        // The memory first: once the service runs, nothing here can fail.
        let room = KBox::<Super>::new_uninit(GFP_KERNEL)?;
        let m = handler.mount(source.to_str()?, options.to_str()?, &mut why)?;
        let raw = KBox::into_raw(KBox::write(room, m));
        // SAFETY: by the function's own conditions.
        unsafe { *mounted = raw.cast() };
        Ok(())
    })();
    if result.is_err() && why.len > 0 {
        // SAFETY: by the function's own conditions; the text ends in a NUL, and is copied.
        unsafe { ffi::lustre_kapi_fs_complain(fc, why.text.as_ptr().cast()) };
    }
    to_c(result)
}

/// # Safety
/// `mounted` comes from [`lustre_kapi_rs_mount`], and is not used again.
#[no_mangle]
unsafe extern "C" fn lustre_kapi_rs_umount(mounted: *mut c_void) {
    // SAFETY: `lustre_kapi_rs_mount` made it of such a box; it is given back here.
    let m = unsafe { KBox::<Super>::from_raw(mounted.cast()) };
    m.umount();
}

/// # Safety
/// `mounted` comes from [`lustre_kapi_rs_mount`].
#[no_mangle]
unsafe extern "C" fn lustre_kapi_rs_umount_begin(mounted: *mut c_void) {
    // SAFETY: `lustre_kapi_rs_mount` made it of such a box, which lives as long as the mount.
    unsafe { &*mounted.cast::<Super>() }.umount_begin();
}

/// # Safety
/// `mounted` comes from [`lustre_kapi_rs_mount`], `out` is valid for a write.
#[no_mangle]
unsafe extern "C" fn lustre_kapi_rs_statfs(
    mounted: *mut c_void,
    out: *mut ffi::lustre_kapi_statfs,
) -> c_int {
    // SAFETY: `lustre_kapi_rs_mount` made it of such a box, which lives as long as the mount.
    let m = unsafe { &*mounted.cast::<Super>() };
    to_c(m.statfs().map(|s| {
        let s = ffi::lustre_kapi_statfs {
            blocks: s.blocks,
            bfree: s.bfree,
            bavail: s.bavail,
            files: s.files,
            ffree: s.ffree,
            bsize: s.bsize,
            namelen: s.namelen,
        };
        // SAFETY: by the function's own conditions.
        unsafe { out.write(s) };
    }))
}

/// # Safety
/// `mounted` comes from [`lustre_kapi_rs_mount`], `m` is the file that is read.
#[no_mangle]
unsafe extern "C" fn lustre_kapi_rs_show_options(
    mounted: *mut c_void,
    m: *mut kernel::bindings::seq_file,
) -> c_int {
    // SAFETY: `lustre_kapi_rs_mount` made it of such a box, which lives as long as the mount.
    let mounted = unsafe { &*mounted.cast::<Super>() };
    // SAFETY: by the function's own conditions.
    let mut out = unsafe { Seq::new(m) };
    to_c(mounted.show_options(&mut out))
}

/// # Safety
/// `mounted` comes from [`lustre_kapi_rs_mount`].
#[no_mangle]
unsafe extern "C" fn lustre_kapi_rs_fs_ioctl(
    mounted: *mut c_void,
    command: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: `lustre_kapi_rs_mount` made it of such a box, which lives as long as the mount.
    let m = unsafe { &*mounted.cast::<Super>() };
    match m.ioctl(command, UserPtr::new(arg)) {
        Ok(n) => n as c_long,
        Err(e) => e.to_errno() as c_long,
    }
}
