// SPDX-License-Identifier: GPL-2.0

//! Buffers of the device.

use super::ffi;
use super::{check, check_ptr, Handle, Mount, Node};
use crate::prelude::*;
use core::ptr::NonNull;

/// A block of the device in memory.
pub(super) struct Buffer {
    raw: NonNull<ffi::BufferHead>,
    len: usize,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { ffi::ldiskfs_brelse(self.raw.as_ptr()) }
    }
}

impl Buffer {
    /// Block `phys`, read if it must be.
    pub(super) fn read(mount: &Mount, phys: u64) -> Result<Buffer> {
        // SAFETY: the mount is live; the answer is a reference of ours.
        let raw = check_ptr(unsafe { ffi::ldiskfs_bread(mount.raw(), phys) })?;
        Ok(Buffer {
            raw,
            len: mount.block_size(),
        })
    }

    /// Block `phys`, which was allocated in this transaction: zeroes, and writable.
    pub(super) fn fresh(h: &Handle, phys: u64) -> Result<Buffer> {
        let mut err = 0;
        // SAFETY: the handle runs; the answer is a reference of ours.
        let raw = unsafe { ffi::ldiskfs_bnew(h.mount().raw(), h.raw(), phys, &mut err) };
        check(err)?;
        Ok(Buffer {
            raw: check_ptr(raw)?,
            len: h.mount().block_size(),
        })
    }

    /// Makes it part of the transaction, before it is changed.
    pub(super) fn write_access(&self, h: &Handle) -> Result {
        // SAFETY: the buffer is live, the handle runs.
        check(unsafe { ffi::ldiskfs_write_access(h.raw(), self.raw.as_ptr()) })
    }

    /// Whether this is block `n` of a directory, of which nobody changes the blocks meanwhile, as
    /// far as checksums tell.
    ///
    /// # Errors
    /// `EUCLEAN`: no; the log says where.
    pub(super) fn check_dir(&self, dir: &Node, n: u32) -> Result {
        // SAFETY: the node and the buffer are live.
        check(unsafe { ffi::ldiskfs_dir_check(dir.raw(), self.raw.as_ptr(), n) })
    }

    /// Says that it was changed.
    pub(super) fn dirty(&self, h: &Handle) -> Result {
        // SAFETY: the buffer is live, and the handle has write access to it.
        check(unsafe { ffi::ldiskfs_dirty_metadata(h.raw(), self.raw.as_ptr()) })
    }

    /// # Safety
    /// Nobody changes the block while the slice is in use.
    pub(super) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: the buffer is live and has a block's bytes; the rest is the caller's promise.
        unsafe { core::slice::from_raw_parts(ffi::ldiskfs_bdata(self.raw.as_ptr()), self.len) }
    }

    /// # Safety
    /// Nobody else uses the block while the slice is in use.
    pub(super) unsafe fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`.
        unsafe { core::slice::from_raw_parts_mut(ffi::ldiskfs_bdata(self.raw.as_ptr()), self.len) }
    }
}
