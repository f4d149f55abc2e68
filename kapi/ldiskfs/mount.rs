// SPDX-License-Identifier: GPL-2.0

//! The mounted device.

use super::ffi;
use super::{check, check_ptr, Credits, Node, StatFs, Super};
use crate::chardev::UserPtr;
use crate::prelude::*;
use core::ffi::{c_int, c_void, CStr};
use core::ptr::NonNull;

/// Hears of each transaction that reached the disk.
pub trait CommitSink: Send + Sync {
    /// Transaction `tid` is on disk, with all before it; or the journal gave up, and it never
    /// will be. Runs in the journal's thread: it may sleep, but must not start a transaction.
    fn committed(&self, tid: u32, aborted: bool);
}

/// A kind of quota.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuotaKind {
    /// By user.
    User = 0,
    /// By group.
    Group = 1,
    /// By project.
    Project = 2,
}

/// An ext4 device in exclusive use. Unmounted when the last reference is dropped; every [`Node`]
/// holds one.
pub struct Mount {
    raw: NonNull<ffi::Mount>,
    block_size: usize,
    // What the C side calls back with; outlives the mount.
    _sink: KBox<Arc<dyn CommitSink>>,
}

// SAFETY: a super block may be used from every thread; the C functions lock what they change.
unsafe impl Send for Mount {}
// SAFETY: as above.
unsafe impl Sync for Mount {}

/// Reads the superblock of a device that is not mounted.
///
/// # Errors
/// Those of opening and reading the device.
pub fn probe(path: &CStr) -> Result<Super> {
    let mut s = Super::default();
    // SAFETY: `path` ends in NUL, `s` is valid for the answer.
    check(unsafe { ffi::ldiskfs_probe(path.as_ptr(), &mut s) })?;
    Ok(s)
}

unsafe extern "C" fn committed(data: *mut c_void, tid: u32, aborted: c_int) {
    // SAFETY: `data` is the box of `Mount::open`, which lives until after the unmount.
    let sink = unsafe { &*data.cast::<Arc<dyn CommitSink>>() };
    sink.committed(tid, aborted != 0);
}

impl Mount {
    /// Mounts `path` with ext4's options `options`.
    ///
    /// # Errors
    /// `EBUSY`: it is mounted elsewhere. `EINVAL`: ext4 does not know a feature, there is no
    /// journal or fast commits are on. `EROFS`: the device is read-only, and the mount is not to
    /// be. Others of the mount.
    pub fn open(
        path: &CStr,
        options: &CStr,
        readonly: bool,
        sink: Arc<dyn CommitSink>,
    ) -> Result<Arc<Mount>> {
        let sink = KBox::new(sink, GFP_KERNEL)?;
        let data: *const Arc<dyn CommitSink> = &*sink;
        let mut raw = core::ptr::null_mut();
        // SAFETY: the strings end in NUL; `data` stays valid as long as the mount, see `Drop`.
        check(unsafe {
            ffi::ldiskfs_mount(
                path.as_ptr(),
                options.as_ptr(),
                readonly,
                committed,
                data.cast_mut().cast(),
                &mut raw,
            )
        })?;
        let raw = NonNull::new(raw).ok_or(EINVAL)?;
        // If this allocation fails the mount is dropped, that is, unmounted.
        let mut s = Super::default();
        // SAFETY: the mount is live, `s` is valid for the answer.
        unsafe { ffi::ldiskfs_super_of(raw.as_ptr(), &mut s) };
        let mount = Mount {
            raw,
            block_size: s.block_size as usize,
            _sink: sink,
        };
        Ok(Arc::new(mount, GFP_KERNEL)?)
    }

    pub(super) fn raw(&self) -> *mut ffi::Mount {
        self.raw.as_ptr()
    }

    /// The superblock.
    pub fn superblock(&self) -> Super {
        let mut s = Super::default();
        // SAFETY: the mount is live, `s` is valid for the answer.
        unsafe { ffi::ldiskfs_super_of(self.raw(), &mut s) };
        s
    }

    /// Bytes in a block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Space and inodes.
    pub fn statfs(&self) -> Result<StatFs> {
        let mut s = StatFs::default();
        // SAFETY: the mount is live, `s` is valid for the answer.
        check(unsafe { ffi::ldiskfs_statfs(self.raw(), &mut s) })?;
        Ok(s)
    }

    /// Writes everything to disk; the callbacks of what is committed have been called then. Not
    /// inside a handle.
    pub fn sync(&self) -> Result {
        // SAFETY: the mount is live.
        check(unsafe { ffi::ldiskfs_sync(self.raw()) })
    }

    /// One of ext4's ioctls on the file system, for the process that calls.
    ///
    /// # Errors
    /// Those of the ioctl. `ENOTTY`: there is no such one.
    pub fn ioctl(&self, command: u32, arg: UserPtr) -> Result<u32> {
        // SAFETY: the mount is live; whatever the argument is, it is checked as one of a process.
        let rc = unsafe { ffi::ldiskfs_ioctl(self.raw(), command, arg.raw()) };
        match u32::try_from(rc) {
            Ok(n) => Ok(n),
            Err(_) => Err(Error::from_errno(i32::try_from(rc).unwrap_or(-22))),
        }
    }

    /// Starts a commit of the running transaction and does not wait for it.
    pub fn start_commit(&self) {
        // SAFETY: the mount is live. It returns whether there was something to commit.
        unsafe { ffi::ldiskfs_start_commit(self.raw()) };
    }

    /// Waits until transaction `tid` is on disk and its callbacks have been called. Not inside a
    /// handle.
    pub fn wait_commit(&self, tid: u32) -> Result {
        // SAFETY: the mount is live.
        check(unsafe { ffi::ldiskfs_wait_commit(self.raw(), tid) })
    }

    /// Waits until the inodes that were let go inside handles are freed.
    pub fn flush_freed(&self) {
        // SAFETY: the mount is live.
        unsafe { ffi::ldiskfs_flush_iput(self.raw()) }
    }

    /// Journal credits for an operation; `len` is the length of an xattr's value.
    pub fn credits(&self, what: Credits, len: usize) -> u32 {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        // SAFETY: the mount is live.
        unsafe { ffi::ldiskfs_credits(self.raw(), what as u32, len) }
    }

    /// The root directory.
    pub fn root(self: &Arc<Self>) -> Result<Node> {
        // SAFETY: the mount is live; the answer is a reference of ours.
        let raw = check_ptr(unsafe { ffi::ldiskfs_root(self.raw()) })?;
        // SAFETY: as above.
        Ok(unsafe { Node::from_raw(self.clone(), raw) })
    }

    /// The inode with this number, if it is in use; with generation 0 of any generation. Not
    /// inside a handle.
    ///
    /// # Errors
    /// `ESTALE`: not in use, or another generation. `EIO`, `EUCLEAN`.
    pub fn iget(self: &Arc<Self>, ino: u64, generation: u32) -> Result<Node> {
        // SAFETY: as for `root`.
        let raw = check_ptr(unsafe { ffi::ldiskfs_iget(self.raw(), ino, generation) })?;
        // SAFETY: as for `root`.
        Ok(unsafe { Node::from_raw(self.clone(), raw) })
    }

    /// Moves `ino` to the first inode in use from there on, and says whether there is one. What
    /// ext4 keeps for itself is left out; what others free meanwhile is not.
    ///
    /// # Errors
    /// `EIO`: it cannot be told, up to where `ino` is now.
    pub fn next_inode(&self, ino: &mut u64) -> Result<bool> {
        // SAFETY: the mount is live, `ino` is valid for the answer.
        match check(unsafe { ffi::ldiskfs_next_inode(self.raw(), ino) }) {
            Err(e) if e == ENOENT => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Keeps the usage record of an id in memory, so that a transaction need not make it; none
    /// if that kind of quota is off. Not inside a handle.
    pub fn dquot(self: &Arc<Self>, kind: QuotaKind, id: u32) -> Result<Option<Dquot>> {
        // SAFETY: the mount is live; the answer is a reference of ours, or null.
        let raw = unsafe { ffi::ldiskfs_dqget(self.raw(), kind as u32, id) };
        if raw.is_null() {
            return Ok(None);
        }
        Ok(Some(Dquot {
            raw: check_ptr(raw)?,
            _mount: self.clone(),
        }))
    }

    /// Bytes and inodes that an id uses. `EOPNOTSUPP` if that kind of quota is off.
    pub fn usage(&self, kind: QuotaKind, id: u32) -> Result<(u64, u64)> {
        let (mut space, mut inodes) = (0, 0);
        // SAFETY: the mount is live, the places are valid.
        check(unsafe {
            ffi::ldiskfs_get_dqblk(self.raw(), kind as u32, id, &mut space, &mut inodes)
        })?;
        Ok((space, inodes))
    }

    /// The first id from `id` on that has a usage record; `ENOENT` behind the last.
    pub fn next_usage_id(&self, kind: QuotaKind, id: u32) -> Result<u32> {
        let mut id = id;
        // SAFETY: the mount is live, `id` is valid.
        check(unsafe { ffi::ldiskfs_next_dqid(self.raw(), kind as u32, &mut id) })?;
        Ok(id)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // SAFETY: the last reference: no node is left. After this no callback runs.
        unsafe { ffi::ldiskfs_umount(self.raw()) }
    }
}

/// A usage record held in memory.
pub struct Dquot {
    raw: NonNull<c_void>,
    _mount: Arc<Mount>,
}

// SAFETY: a dquot reference may be given up by any thread.
unsafe impl Send for Dquot {}
// SAFETY: there is nothing to do with a shared one.
unsafe impl Sync for Dquot {}

impl Drop for Dquot {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { ffi::ldiskfs_dqput(self.raw.as_ptr()) }
    }
}
