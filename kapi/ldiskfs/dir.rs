// SPDX-License-Identifier: GPL-2.0

//! Walks through directories.

use super::ffi;
use super::{check, check_ptr, Node};
use crate::prelude::*;
use core::ffi::{c_char, c_int, c_void};
use core::ptr::NonNull;

/// Whether a walk through a directory goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walk {
    /// The entry was taken.
    Next,
    /// The entry was not taken: end before it.
    Stop,
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// Raw bytes, as on disk.
    pub name: &'a [u8],
    /// The 64-bit hash: where a walk starts that begins with this entry.
    pub pos: u64,
    /// Inode number.
    pub ino: u64,
    /// `DT_*`.
    pub ty: u32,
}

struct Known {
    pos: u64,
    ino: u64,
    ty: u32,
    // Where the name begins among the names, and its length.
    name: usize,
    len: usize,
}

/// Entries that were read under the lock of the directory, and are shown without it.
struct Batch {
    entries: KVVec<Known>,
    names: KVVec<u8>,
    error: Result,
}

/// As many entries as a block of 4 KiB can have, or more.
const BATCH: usize = 512;

unsafe extern "C" fn fill(
    data: *mut c_void,
    name: *const c_char,
    len: u32,
    pos: u64,
    ino: u64,
    ty: u32,
) -> c_int {
    // SAFETY: `data` is the batch of `Node::readdir`, which is waiting for us.
    let batch = unsafe { &mut *data.cast::<Batch>() };
    // SAFETY: `name` has `len` bytes.
    let name = unsafe { core::slice::from_raw_parts(name.cast::<u8>(), len as usize) };
    if batch.entries.len() == BATCH {
        // This one comes again.
        return 1;
    }
    batch.error = batch.add(name, pos, ino, ty);
    batch.error.is_err() as c_int
}

impl Batch {
    fn add(&mut self, name: &[u8], pos: u64, ino: u64, ty: u32) -> Result {
        let known = Known {
            pos,
            ino,
            ty,
            name: self.names.len(),
            len: name.len(),
        };
        self.names.extend_from_slice(name, GFP_NOFS)?;
        Ok(self.entries.push(known, GFP_NOFS)?)
    }
}

/// An open directory.
struct DirFile(NonNull<ffi::File>);

impl Drop for DirFile {
    fn drop(&mut self) {
        // SAFETY: opened in `Node::readdir`.
        unsafe { ffi::ldiskfs_close(self.0.as_ptr()) }
    }
}

impl Node {
    /// Calls `f` for the entries of a directory in the order of their hashes, from position `pos`
    /// on. Returns where to go on. `f` is called without a lock. Not inside a handle.
    ///
    /// # Errors
    /// Those of `f` and of reading. `EDEADLK`: in a handle.
    pub fn readdir(
        &self,
        pos: u64,
        f: &mut dyn FnMut(DirEntry<'_>) -> Result<Walk>,
    ) -> Result<u64> {
        if super::in_handle() {
            return Err(EDEADLK);
        }
        // SAFETY: both are live; the answer is ours.
        let file =
            check_ptr(unsafe { ffi::ldiskfs_dir_open(self.mount().raw(), self.raw(), pos) })?;
        let file = DirFile(file);
        let mut batch = Batch {
            entries: KVVec::with_capacity(BATCH, GFP_KERNEL)?,
            names: KVVec::new(),
            error: Ok(()),
        };
        let mut at = pos;
        loop {
            let before = at;
            let data: *mut Batch = &mut batch;
            // SAFETY: the directory is open; `data` and `at` stay valid during the call.
            let ret = unsafe { ffi::ldiskfs_dir_next(file.0.as_ptr(), fill, data.cast(), &mut at) };
            check(ret)?;
            batch.error?;
            for k in batch.entries.iter() {
                let name = batch.names.get(k.name..k.name + k.len).ok_or(EINVAL)?;
                let (pos, ino, ty) = (k.pos, k.ino, k.ty);
                if f(DirEntry { name, pos, ino, ty })? == Walk::Stop {
                    return Ok(pos);
                }
            }
            if at == before {
                return Ok(at);
            }
            batch.entries.truncate(0);
            batch.names.truncate(0);
        }
    }
}
