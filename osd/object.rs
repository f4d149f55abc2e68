// SPDX-License-Identifier: GPL-2.0

//! Objects: what is read of them, and bulk data.

use crate::{Attr, Fid};
use core::any::Any;
use core::ffi::CStr;
use kapi::pages::Pages;
use kapi::prelude::*;

/// An object in use.
pub type ObjectRef = Arc<dyn Object>;

/// Whether a walk goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walk {
    /// The entry was taken.
    Next,
    /// The entry was not taken: end before it.
    Stop,
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Raw bytes.
    pub name: &'a [u8],
    /// Of the object that it names.
    pub fid: Fid,
    /// A walk from here begins with this entry: its 64-bit hash.
    pub pos: u64,
    /// `DT_*`.
    pub ty: u32,
}

/// A run of blocks of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// First byte in the file.
    pub logical: u64,
    /// First byte on the device.
    pub physical: u64,
    /// Bytes.
    pub len: u64,
    /// Allocated and not written.
    pub unwritten: bool,
}

/// An object, which may not exist. Its content is bytes, names or records, by how it was made.
///
/// Every call on an object that does not exist is `ENOENT`. All may be `EIO`.
pub trait Object: Send + Sync {
    /// Its FID.
    fn fid(&self) -> &Fid;

    /// Whether it exists.
    fn exists(&self) -> bool;

    /// The attributes.
    fn attr(&self) -> Result<Attr>;

    /// The value of an xattr, at most `buf.len()` bytes; an empty `buf` asks for the length.
    ///
    /// # Errors
    /// `ENODATA`: there is none. `ERANGE`: it is longer.
    fn xattr(&self, name: &CStr, buf: &mut [u8]) -> Result<usize>;

    /// The names of all xattrs, each with a NUL behind it; an empty `buf` asks for the length.
    ///
    /// # Errors
    /// `ERANGE`: they are longer.
    fn list_xattr(&self, buf: &mut [u8]) -> Result<usize>;

    /// The target of a symbolic link, cut to `buf`.
    ///
    /// # Errors
    /// `EINVAL`: not a link.
    fn readlink(&self, buf: &mut [u8]) -> Result<usize>;

    /// The FID of a name in a directory, `..` among them.
    ///
    /// # Errors
    /// `ENOENT`: no such name. `ENOTDIR`.
    fn lookup(&self, name: &[u8]) -> Result<Fid>;

    /// Calls `f` for the entries of a directory, `.` and `..` among them, in the order of their
    /// positions, from position `pos` on. Returns where to go on; `i64::MAX` at the end. Not in a
    /// transaction.
    ///
    /// # Errors
    /// `ENOTDIR`, and those of `f`.
    fn readdir(&self, pos: u64, f: &mut dyn FnMut(&Entry<'_>) -> Result<Walk>) -> Result<u64>;

    /// Whether a directory holds nothing but `.` and `..`.
    ///
    /// # Errors
    /// `ENOTDIR`.
    fn is_empty_dir(&self) -> Result<bool>;

    /// Reads small content: a log, a table. Less than `buf.len()` at the end.
    ///
    /// # Errors
    /// `EBUSY`: the object holds bulk data. `EINVAL`: no file.
    fn read(&self, off: u64, buf: &mut [u8]) -> Result<usize>;

    /// Bytes in the keys and in the records of an index.
    ///
    /// # Errors
    /// `EINVAL`: not an index.
    fn index_shape(&self) -> Result<(usize, usize)>;

    /// Looks up the record of `key`; whether there is one.
    ///
    /// # Errors
    /// `EINVAL`: not an index, or another shape.
    fn index_get(&self, key: &[u8], rec: &mut [u8]) -> Result<bool>;

    /// The first record whose key is not below `key`; both are replaced. Whether there is one.
    ///
    /// # Errors
    /// `EINVAL`: not an index, or another shape.
    fn index_next(&self, key: &mut [u8], rec: &mut [u8]) -> Result<bool>;

    /// Reads bulk data into pages at byte offset `at`: `len` bytes from `pos` on, holes as zeros.
    /// Returns how many there are before the end of the file; the rest is not changed. Not in a
    /// transaction.
    ///
    /// # Errors
    /// `EBUSY`: the object holds small content. `EINVAL`: no file, or the pages are too few.
    fn read_pages(&self, pages: &mut Pages, at: usize, len: usize, pos: u64) -> Result<usize>;

    /// Writes bulk data from pages. It is on the device when this returns, and safe from a crash
    /// when a transaction that starts later is. Times stay as they are. Not in a transaction.
    ///
    /// # Errors
    /// `ENOSPC`, `EDQUOT`, `EFBIG`, `EBUSY`.
    fn write_pages(&self, pages: &Pages, at: usize, len: usize, pos: u64) -> Result;

    /// Cuts or extends bulk data. Not in a transaction, as the rest of the calls; safe from a crash
    /// when a transaction that starts later is, as they are, too.
    ///
    /// # Errors
    /// `EFBIG`.
    fn truncate(&self, size: u64) -> Result;

    /// Makes a hole; the size stays.
    fn punch(&self, off: u64, len: u64) -> Result;

    /// Allocates blocks.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG`.
    fn preallocate(&self, off: u64, len: u64, keep_size: bool) -> Result;

    /// Makes a range read as zeros and allocates it.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG`.
    fn zero_range(&self, off: u64, len: u64, keep_size: bool) -> Result;

    /// The first byte of data not before `off`.
    ///
    /// # Errors
    /// `ENXIO`: `off` is at the end or behind, or there is none.
    fn seek_data(&self, off: u64) -> Result<u64>;

    /// The first byte of a hole not before `off`; the end is one.
    ///
    /// # Errors
    /// `ENXIO`: `off` is at the end or behind.
    fn seek_hole(&self, off: u64) -> Result<u64>;

    /// The run of blocks that holds `off`, or the first behind it.
    fn extent(&self, off: u64) -> Result<Option<Extent>>;

    /// Brings bulk data to disk.
    fn sync_data(&self) -> Result;

    /// For the implementation, which knows its own objects.
    fn as_any(&self) -> &dyn Any;
}

impl dyn Object {
    /// The value of an xattr of any length.
    ///
    /// # Errors
    /// `ENODATA`, `ENOMEM`.
    pub fn xattr_vec(&self, name: &CStr) -> Result<KVVec<u8>> {
        let mut v = KVVec::new();
        v.resize(256, 0, GFP_NOFS)?;
        loop {
            match self.xattr(name, &mut v) {
                Ok(n) => {
                    v.truncate(n);
                    return Ok(v);
                }
                // It may grow between the two questions.
                Err(e) if e == ERANGE => {
                    let n = self.xattr(name, &mut [])?;
                    v.resize(n.max(1), 0, GFP_NOFS)?;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// The same, with none for an xattr that does not exist.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn xattr_opt(&self, name: &CStr) -> Result<Option<KVVec<u8>>> {
        match self.xattr_vec(name) {
            Ok(v) => Ok(Some(v)),
            Err(e) if e == ENODATA => Ok(None),
            Err(e) => Err(e),
        }
    }
}
