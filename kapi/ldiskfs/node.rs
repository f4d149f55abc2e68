// SPDX-License-Identifier: GPL-2.0

//! Inodes in use.

use super::buffer::Buffer;
use super::ffi;
use super::map::{self, BlockMap};
use super::{check, check_len, Attr, Mount};
use crate::prelude::*;
use core::ffi::CStr;
use core::ptr::NonNull;

/// A reference to an inode. Dropping the last one of an unlinked inode frees it; inside a handle
/// that is left to a worker.
pub struct Node {
    raw: NonNull<ffi::Dentry>,
    mount: Arc<Mount>,
}

// SAFETY: dentries and inodes are used from every thread; the kernel locks what it changes.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

impl Node {
    /// # Safety
    /// `raw` is a dentry with an inode of this mount, a reference that passes to the node.
    pub(super) unsafe fn from_raw(mount: Arc<Mount>, raw: NonNull<ffi::Dentry>) -> Node {
        Node { raw, mount }
    }

    pub(super) fn raw(&self) -> *mut ffi::Dentry {
        self.raw.as_ptr()
    }

    /// The device it is on.
    pub fn mount(&self) -> &Arc<Mount> {
        &self.mount
    }

    /// Inode number.
    pub fn ino(&self) -> u64 {
        // SAFETY: the node is live.
        unsafe { ffi::ldiskfs_ino(self.raw()) }
    }

    /// Whether both are the same inode in memory.
    pub fn same(&self, other: &Node) -> bool {
        // SAFETY: both are live.
        unsafe { ffi::ldiskfs_same_inode(self.raw(), other.raw()) }
    }

    /// The attributes as they are in memory.
    pub fn attr(&self) -> Attr {
        let mut a = Attr::default();
        // SAFETY: the node is live, `a` is valid for the answer.
        unsafe { ffi::ldiskfs_getattr(self.raw(), &mut a) };
        a
    }

    /// Whether it is a file whose content has been written through the journal, see
    /// [`super::BlockFile`].
    pub fn is_journalled(&self) -> bool {
        const JOURNAL_DATA_FL: u32 = 0x4000;
        let a = self.attr();
        a.mode & 0o170000 == 0o100000 && a.flags & JOURNAL_DATA_FL != 0
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.attr().mode & 0o170000 == 0o040000
    }

    /// Locks the inode shared. No lock is taken if the caller's handle has locked it.
    ///
    /// # Errors
    /// `EDEADLK`: in a handle that does not have the lock, and it is not free.
    pub fn shared(&self) -> Result<Shared<'_>> {
        // SAFETY: the node is live.
        let ret = unsafe { ffi::ldiskfs_lock_shared(self.raw()) };
        check(ret)?;
        Ok(Shared {
            node: self,
            taken: ret > 0,
            _thread: core::marker::PhantomData,
        })
    }

    /// The value of an xattr, at most `buf.len()` bytes; an empty `buf` asks for the length.
    ///
    /// # Errors
    /// `ENODATA`: there is none. `ERANGE`: it is longer.
    pub fn xattr(&self, name: &CStr, buf: &mut [u8]) -> Result<usize> {
        let ptr = if buf.is_empty() {
            core::ptr::null_mut()
        } else {
            buf.as_mut_ptr()
        };
        // SAFETY: the node is live, `name` ends in NUL, `ptr` is null or has `len` bytes.
        check_len(unsafe {
            ffi::ldiskfs_getxattr(self.raw(), name.as_ptr(), ptr, buf.len() as u64)
        })
    }

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

    /// The names of all xattrs, each with a NUL behind it; an empty `buf` asks for the length.
    ///
    /// # Errors
    /// `ERANGE`: `buf` is too short.
    pub fn list_xattr(&self, buf: &mut [u8]) -> Result<usize> {
        let ptr = if buf.is_empty() {
            core::ptr::null_mut()
        } else {
            buf.as_mut_ptr()
        };
        // SAFETY: the node is live, `ptr` is null or has `len` bytes.
        check_len(unsafe { ffi::ldiskfs_listxattr(self.raw(), ptr, buf.len() as u64) })
    }

    /// Credits for the change of an xattr to `len` bytes, beside [`super::Credits::Xattr`]: values
    /// that have inodes may go.
    pub fn xattr_drop_credits(&self, len: usize) -> u32 {
        // SAFETY: the node is live.
        unsafe { ffi::ldiskfs_xattr_drop_credits(self.raw(), len as u64) }
    }

    /// Credits for [`super::Handle::drop_values`].
    ///
    /// # Errors
    /// `ENOMEM`, `EIO`.
    pub fn drop_credits(&self) -> Result<u32> {
        let mut credits = 0;
        // SAFETY: the node is live, `credits` is valid for the answer.
        check(unsafe { ffi::ldiskfs_drop_credits(self.raw(), &mut credits) })?;
        Ok(credits)
    }

    /// The target of a symbolic link, cut to `buf`.
    ///
    /// # Errors
    /// `EINVAL`: not a link.
    pub fn readlink(&self, buf: &mut [u8]) -> Result<usize> {
        let len = u32::try_from(buf.len()).unwrap_or(u32::MAX);
        // SAFETY: the node is live, `buf` has `len` bytes.
        check_len(unsafe { ffi::ldiskfs_readlink(self.raw(), buf.as_mut_ptr(), len) })
    }

    /// The inode number that `..` names. Not inside a handle.
    pub fn parent_ino(&self) -> Result<u64> {
        let mut ino = 0;
        // SAFETY: the node is live, `ino` is valid.
        check(unsafe { ffi::ldiskfs_parent(self.raw(), &mut ino) })?;
        Ok(ino)
    }

    /// Shows `f` how the blocks of the file lie on the device, which does not change meanwhile.
    pub(super) fn with_map<R>(&self, f: impl FnOnce(&BlockMap<'_>) -> Result<R>) -> Result<R> {
        let mut root = [0; map::ROOT_LEN];
        // SAFETY: the node is live, `root` has the bytes of a root; unlocked below.
        let ret = unsafe { ffi::ldiskfs_map_lock(self.raw(), root.as_mut_ptr()) };
        check(ret)?;
        let r = f(&BlockMap::new(&self.mount, root, ret > 0));
        // SAFETY: locked above.
        unsafe { ffi::ldiskfs_map_unlock(self.raw()) };
        r
    }

    /// Cuts or extends the file. Takes transactions of its own: not inside a handle.
    ///
    /// # Errors
    /// `EFBIG`, `EINVAL` (not a file), `EDEADLK` (in a handle), `EIO`.
    pub fn truncate(&self, size: u64) -> Result {
        if super::in_handle() {
            return Err(EDEADLK);
        }
        // SAFETY: the mount is live; left below.
        unsafe { ffi::ldiskfs_freeze_enter(self.mount.raw()) };
        // SAFETY: the node is live; unlocked below.
        unsafe { ffi::ldiskfs_lock(self.raw(), self.mount.raw()) };
        // SAFETY: the node is live and locked.
        let ret = unsafe { ffi::ldiskfs_truncate(self.raw(), size) };
        // SAFETY: locked above.
        unsafe { ffi::ldiskfs_unlock(self.raw()) };
        // SAFETY: entered above.
        unsafe { ffi::ldiskfs_freeze_leave(self.mount.raw()) };
        check(ret)
    }
}

impl Clone for Node {
    fn clone(&self) -> Node {
        // SAFETY: the node is live; the answer is the same dentry with one more reference.
        let raw = unsafe { ffi::ldiskfs_get(self.raw()) };
        Node {
            raw: NonNull::new(raw).unwrap_or(self.raw),
            mount: self.mount.clone(),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { ffi::ldiskfs_put(self.raw()) }
    }
}

/// An inode locked shared.
pub struct Shared<'a> {
    node: &'a Node,
    taken: bool,
    // Locks are given back by the thread that took them.
    _thread: core::marker::PhantomData<*mut u8>,
}

impl Shared<'_> {
    /// Shows block `block` of a directory to `f`; a hole is shown as none.
    ///
    /// # Errors
    /// `ENOTDIR`, `EIO`, `EUCLEAN` (the mapping is damaged, or a checksum is wrong).
    pub fn dir_block<R>(&self, block: u32, f: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        if !self.node.is_dir() {
            return Err(ENOTDIR);
        }
        let mount = &self.node.mount;
        let phys = self.node.with_map(|m| m.find(block))?;
        if phys == 0 {
            return Ok(f(None));
        }
        let b = Buffer::read(mount, phys)?;
        b.check_dir(&self.node, block)?;
        // SAFETY: a directory's blocks change only under its lock, which we have.
        Ok(f(Some(unsafe { b.bytes() })))
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        if self.taken {
            // SAFETY: taken in `Node::shared`.
            unsafe { ffi::ldiskfs_unlock_shared(self.node.raw()) }
        }
    }
}
