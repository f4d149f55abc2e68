// SPDX-License-Identifier: GPL-2.0

//! Parameters: the tree that `lctl get_param` and `set_param` read and write, in debugfs under
//! `lustre/`.

use crate::alloc::{flags::GFP_KERNEL, InPlaceInit, KBox, KVec};
use crate::error::{code::*, Result};
use crate::ffi;
use crate::net::check;
use crate::sync::{Arc, Mutex};
use core::fmt::{self, Write};
use core::pin::Pin;
use kernel::ffi::{c_char, c_int, c_void};

/// One parameter.
pub trait Param: Send + Sync {
    /// Prints the value, ending in a newline.
    fn show(&self, out: &mut dyn fmt::Write) -> Result;
    /// Takes a new value, without the newline.
    ///
    /// # Errors
    /// `EPERM` for what cannot be written, `EINVAL` for what makes no sense.
    fn store(&self, value: &str) -> Result {
        let _ = value;
        Err(EPERM)
    }
    /// Whether [`Param::store`] does anything.
    fn writable(&self) -> bool {
        false
    }
}

/// A file.
///
/// # Invariants
///
/// `path` ends in a NUL.
struct Entry {
    path: KVec<u8>,
    /// What the file refers to.
    _param: KBox<Arc<dyn Param>>,
}

/// A directory of parameters, removed with all that is in it when dropped.
///
/// Where debugfs has been turned off there are no files, and all else works.
///
/// # Invariants
///
/// `path` ends in a NUL. We hold the tree. The files of `entries` are the only ones that refer to
/// what is in there.
pub struct ParamDir {
    path: KVec<u8>,
    entries: Pin<KBox<Mutex<KVec<Entry>>>>,
}

/// Text in a vector.
struct Text(KVec<u8>);

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let r = self.0.extend_from_slice(s.as_bytes(), GFP_KERNEL);
        r.map_err(|_| fmt::Error)
    }
}

/// A C string of what is formatted.
fn c_string(args: fmt::Arguments<'_>) -> Result<KVec<u8>> {
    let mut text = Text(KVec::new());
    text.write_fmt(args).map_err(|_| ENOMEM)?;
    if text.0.contains(&0) {
        return Err(EINVAL);
    }
    text.0.push(0, GFP_KERNEL)?;
    Ok(text.0)
}

/// Without debugfs there is nothing to make, which is no error.
fn without_debugfs(r: Result) -> Result {
    match r {
        Err(ENODEV | EPERM) => Ok(()),
        r => r,
    }
}

impl ParamDir {
    /// A directory `path` ("osd-ldiskfs/lustre-OST0000") below the root of the tree, or the root
    /// itself; parents are made as needed.
    pub fn new(path: fmt::Arguments<'_>) -> Result<ParamDir> {
        let path = c_string(path)?;
        let entries = KBox::pin_init(crate::new_mutex!(KVec::new()), GFP_KERNEL)?;
        // SAFETY: no conditions but that sleeping is allowed.
        unsafe { ffi::lustre_kapi_params_get() };
        // INVARIANT: the path has its NUL, the tree is held, there are no files.
        let dir = ParamDir { path, entries };
        // SAFETY: the path is a C string.
        let r = check(unsafe { ffi::lustre_kapi_params_mkdir(dir.path.as_ptr().cast()) });
        without_debugfs(r)?;
        Ok(dir)
    }
    /// Adds a parameter. A name may contain `/`.
    ///
    /// # Errors
    /// `EEXIST`: there is one of this name. `ENOMEM`.
    pub fn add(&self, name: &str, param: Arc<dyn Param>) -> Result {
        let len = self.path.len().saturating_sub(1);
        let dir = core::str::from_utf8(self.path.get(..len).ok_or(EINVAL)?)?;
        let path = c_string(format_args!("{dir}/{name}"))?;
        let mode = if param.writable() { 0o644 } else { 0o444 };
        let param = KBox::new(param, GFP_KERNEL)?;
        let data = core::ptr::from_ref(&*param).cast_mut().cast::<c_void>();
        let mut entries = self.entries.lock();
        entries.reserve(1, GFP_KERNEL)?;
        // SAFETY: the path is a C string. The entry stays where it is until the file is gone: it
        // is put with those that are freed after the removal of their files.
        let r = check(unsafe { ffi::lustre_kapi_params_add(path.as_ptr().cast(), mode, data) });
        r?;
        // There is room, so the entry is not lost here while its file lives.
        // INVARIANT: the path has its NUL.
        let entry = Entry {
            path,
            _param: param,
        };
        entries.push(entry, GFP_KERNEL)?;
        Ok(())
    }
}

impl Drop for ParamDir {
    fn drop(&mut self) {
        let entries = core::mem::take(&mut *self.entries.lock());
        for e in entries.iter() {
            // SAFETY: the path is a C string by the type's invariant.
            unsafe { ffi::lustre_kapi_params_remove(e.path.as_ptr().cast()) };
        }
        // Nothing refers to the parameters any more.
        drop(entries);
        // SAFETY: the path is a C string by the type's invariant; we hold the tree, and give it up
        // last.
        unsafe {
            ffi::lustre_kapi_params_remove(self.path.as_ptr().cast());
            ffi::lustre_kapi_params_put();
        }
    }
}

/// The search for parameters.
struct Search<'a> {
    wanted: &'a dyn Fn(&str) -> bool,
    found: Result<KVec<Arc<dyn Param>>>,
}

/// The parameters whose path ("osd-ldiskfs/lustre-OST0000/uuid") is wanted. What is found may be
/// on its way out.
///
/// # Errors
/// `ENOMEM`.
pub fn find(wanted: &dyn Fn(&str) -> bool) -> Result<KVec<Arc<dyn Param>>> {
    let mut search = Search {
        wanted,
        found: Ok(KVec::new()),
    };
    // SAFETY: the search is what the callback below expects.
    unsafe { ffi::lustre_kapi_params_each(core::ptr::from_mut(&mut search).cast()) };
    search.found
}

/// # Safety
/// `ctx` is a [`Search`] that nobody else uses, `path` a C string, `data` what a file was made
/// with, which is not removed meanwhile.
#[no_mangle]
unsafe extern "C" fn lustre_kapi_rs_param_each(
    ctx: *mut c_void,
    path: *const c_char,
    data: *mut c_void,
) {
    // SAFETY: by the function's own conditions.
    let search = unsafe { &mut *ctx.cast::<Search<'_>>() };
    // SAFETY: as above.
    let path = unsafe { core::ffi::CStr::from_ptr(path.cast()) };
    let path = path.to_str().unwrap_or_default();
    let Ok(found) = &mut search.found else { return };
    if (search.wanted)(path.strip_prefix('/').unwrap_or(path)) {
        // SAFETY: `ParamDir::add` made the file with such a pointer, valid while the file is.
        let param = unsafe { &*data.cast::<Arc<dyn Param>>() };
        if found.push(param.clone(), GFP_KERNEL).is_err() {
            search.found = Err(ENOMEM);
        }
    }
}

/// A file that is being printed to; it grows as needed.
///
/// # Invariants
///
/// The pointer is to a file that is being read.
pub(crate) struct Seq(*mut kernel::bindings::seq_file);

impl Seq {
    /// # Safety
    /// `m` is a file that is being read, for as long as this is used.
    pub(crate) unsafe fn new(m: *mut kernel::bindings::seq_file) -> Seq {
        // INVARIANT: by the function's own conditions.
        Seq(m)
    }
}

impl Write for Seq {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        // SAFETY: the file is live by the type's invariant; `s` is valid for reads of its length.
        unsafe { ffi::lustre_kapi_seq_write(self.0, s.as_ptr().cast(), s.len()) };
        Ok(())
    }
}

pub(crate) fn to_c(r: Result) -> c_int {
    match r {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// # Safety
/// `data` is what a file was made with, `m` the file that is read.
#[no_mangle]
unsafe extern "C" fn lustre_kapi_rs_param_show(
    data: *mut c_void,
    m: *mut kernel::bindings::seq_file,
) -> c_int {
    // SAFETY: `ParamDir::add` made the file with such a pointer, valid while the file is.
    let param = unsafe { &*data.cast::<Arc<dyn Param>>() };
    // SAFETY: by the function's own conditions.
    let mut out = unsafe { Seq::new(m) };
    to_c(param.show(&mut out))
}

/// # Safety
/// `data` is what a file was made with, `value` has `len` bytes.
#[no_mangle]
unsafe extern "C" fn lustre_kapi_rs_param_store(
    data: *mut c_void,
    value: *const c_char,
    len: usize,
) -> c_int {
    // SAFETY: `ParamDir::add` made the file with such a pointer, valid while the file is.
    let param = unsafe { &*data.cast::<Arc<dyn Param>>() };
    // SAFETY: by the function's own conditions.
    let bytes = unsafe { core::slice::from_raw_parts(value.cast::<u8>(), len) };
    let Ok(text) = core::str::from_utf8(bytes) else {
        return EINVAL.to_errno();
    };
    to_c(param.store(text.strip_suffix('\n').unwrap_or(text)))
}
