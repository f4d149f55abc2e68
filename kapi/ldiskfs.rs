// SPDX-License-Identifier: GPL-2.0

//! ext4 as the store of a target: an internal mount, inodes, transactions that span several
//! operations, blocks written through the journal, bulk data.
//!
//! The kernel is a stock one: ext4's own functions are reached through the operation tables of
//! its inodes and its superblock. What that takes of C is in `kapi/ldiskfs_*.c`.
//!
//! # Order of locks
//!
//! Freeze protection, then the locks of inodes, directories before others and each in the order of
//! their numbers, then the jbd2 handle. [`Handle::start`] takes all three; nothing inside a handle waits for an inode's lock.

mod blocks;
mod buffer;
mod bulk;
mod dir;
mod ffi;
mod handle;
mod map;
mod mount;
mod node;

pub use blocks::BlockFile;
pub use bulk::{DataFile, Extent};
pub use dir::{DirEntry, Walk};
pub use ffi::{Attr, StatFs, Super};
pub use handle::{in_handle, Credits, Handle, Ids};
pub use mount::{probe, CommitSink, Dquot, Mount, QuotaKind};
pub use node::{Node, Shared};

use crate::prelude::*;

/// The result of a C function that returns 0 or a negative errno.
fn check(ret: core::ffi::c_int) -> Result {
    if ret < 0 {
        Err(Error::from_errno(ret))
    } else {
        Ok(())
    }
}

/// The same for those that return a length.
fn check_len(ret: i64) -> Result<usize> {
    usize::try_from(ret).map_err(|_| Error::from_errno(i32::try_from(ret).unwrap_or(-5)))
}

/// The pointer, or the errno that is encoded in it. Null is `ENOMEM`.
fn check_ptr<T>(ptr: *mut T) -> Result<core::ptr::NonNull<T>> {
    let code = ptr as isize;
    if (-4095..0).contains(&code) {
        return Err(Error::from_errno(code as i32));
    }
    core::ptr::NonNull::new(ptr).ok_or(ENOMEM)
}
