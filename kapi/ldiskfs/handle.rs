// SPDX-License-Identifier: GPL-2.0

//! A transaction: locks, a jbd2 handle, and the inodes that it changed.
//!
//! ext4 sets times, link counts and versions as a local file system would. Here they are the
//! caller's: the handle remembers the attributes of each inode it touches, puts them back after
//! each of ext4's operations, and writes the inode once when it stops.

use super::ffi;
use super::{check, check_ptr, Attr, Mount, Node};
use crate::prelude::*;
use core::ffi::CStr;
use core::ptr::NonNull;

/// What journal credits are asked for; see [`Mount::credits`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Credits {
    /// An inode with a name.
    Create = 0,
    /// A name for an inode.
    Link = 1,
    /// A name removed.
    Unlink = 2,
    /// A name moved.
    Rename = 3,
    /// An xattr set, with a value to be replaced.
    Xattr = 4,
    /// An xattr set that was not there.
    XattrNew = 5,
    /// Attributes with ids.
    Attr = 6,
    /// A mapped block changed.
    Block = 7,
    /// A block added to a file.
    Append = 8,
    /// As much as one handle may have.
    Max = 9,
}

/// Ids to be changed.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ids {
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Project.
    pub projid: Option<u32>,
}

/// Whether the current thread is inside a transaction.
pub fn in_handle() -> bool {
    // SAFETY: looks at the current task only.
    unsafe { ffi::ldiskfs_in_handle() }
}

/// The length of a name that ext4 may be given; the VFS, which would look, is not there.
fn name_len(name: &[u8]) -> Result<u32> {
    if name.is_empty() || name.iter().any(|b| matches!(b, 0 | b'/')) {
        return Err(EINVAL);
    }
    if name.len() > NAME_MAX {
        return Err(ENAMETOOLONG);
    }
    Ok(u32::try_from(name.len())?)
}

/// Longest name of an entry.
const NAME_MAX: usize = 255;
/// ext4's flags that new inodes have from their directory.
const INHERITED: u32 = 0x2201_c4cf;
/// Longest value of an xattr.
const XATTR_MAX: usize = 65536;

struct Touched {
    node: Node,
    want: Attr,
    // Only content was written: the inode may not be locked, and its attributes are not ours.
    content: bool,
    // A new file that has no name yet.
    unnamed: bool,
    // Made in this handle.
    new: bool,
}

/// A running transaction of the current thread.
pub struct Handle {
    mount: Arc<Mount>,
    raw: NonNull<ffi::Handle>,
    locked: KVec<Node>,
    touched: KVec<Touched>,
    credits: u32,
    stopped: bool,
}

/// What was locked before the handle failed to start.
struct Locks<'a> {
    mount: &'a Arc<Mount>,
    nodes: KVec<Node>,
    armed: bool,
}

impl Drop for Locks<'_> {
    fn drop(&mut self) {
        if self.armed {
            unlock_all(self.mount, &self.nodes);
        }
    }
}

fn unlock_all(mount: &Arc<Mount>, nodes: &KVec<Node>) {
    for n in nodes.iter() {
        // SAFETY: each node of the list is locked by this thread.
        unsafe { ffi::ldiskfs_unlock(n.raw()) };
    }
    // SAFETY: entered before the first lock was taken.
    unsafe { ffi::ldiskfs_freeze_leave(mount.raw()) };
}

impl Handle {
    /// Locks `nodes` (directories first, in the order of their numbers, each once) and starts a transaction with
    /// `credits` journal credits.
    ///
    /// # Errors
    /// `EDEADLK`: the thread is in a transaction already. `EROFS`: the journal gave up.
    /// `ENOSPC`: the journal is too small for so many credits.
    pub fn start(mount: &Arc<Mount>, mut nodes: KVec<Node>, credits: u32) -> Result<Handle> {
        if in_handle() {
            return Err(EDEADLK);
        }
        nodes.sort_unstable_by_key(|n| (!n.is_dir(), n.ino()));
        let mut unique = KVec::with_capacity(nodes.len() + 4, GFP_KERNEL)?;
        for n in nodes {
            if unique.last().is_none_or(|l: &Node| !l.same(&n)) {
                unique.push(n, GFP_KERNEL)?;
            }
        }
        // SAFETY: the mount is live; left by `unlock_all`.
        unsafe { ffi::ldiskfs_freeze_enter(mount.raw()) };
        for n in unique.iter() {
            // SAFETY: the node is live and unlocked by `unlock_all`; the order is fixed.
            unsafe { ffi::ldiskfs_lock(n.raw(), mount.raw()) };
        }
        let mut locks = Locks {
            mount,
            nodes: unique,
            armed: true,
        };
        let touched = KVec::with_capacity(8, GFP_KERNEL)?;
        let credits = credits.min(mount.credits(Credits::Max, 0));
        // SAFETY: the mount is live, the thread is in no handle.
        let raw = check_ptr(unsafe { ffi::ldiskfs_start(mount.raw(), credits) })?;
        locks.armed = false;
        Ok(Handle {
            mount: mount.clone(),
            raw,
            locked: core::mem::take(&mut locks.nodes),
            touched,
            credits,
            stopped: false,
        })
    }

    pub(super) fn raw(&self) -> *mut ffi::Handle {
        self.raw.as_ptr()
    }

    /// The device.
    pub fn mount(&self) -> &Arc<Mount> {
        &self.mount
    }

    /// The number of the jbd2 transaction that this handle is part of.
    pub fn tid(&self) -> u32 {
        // SAFETY: the handle is running.
        unsafe { ffi::ldiskfs_tid(self.raw()) }
    }

    /// Credits that are left.
    pub fn credits_left(&self) -> i32 {
        // SAFETY: the handle is running.
        unsafe { ffi::ldiskfs_credits_left(self.raw()) }
    }

    /// The inode of this number, if the handle has locked it.
    pub fn locked(&self, ino: u64) -> Option<Node> {
        self.locked.iter().find(|n| n.ino() == ino).cloned()
    }

    fn has_locked(&self, node: &Node) -> Result {
        if self.locked.iter().any(|n| n.same(node)) {
            Ok(())
        } else {
            pr_err!("inode {} changed without its lock\n", node.ino());
            Err(EDEADLK)
        }
    }

    /// An inode that nobody else knows yet joins the locked ones.
    fn adopt(&mut self, node: &Node) -> Result {
        self.locked.reserve(1, GFP_NOFS)?;
        let n = node.clone();
        // SAFETY: the node is live; unlocked by `unlock_all`.
        if !unsafe { ffi::ldiskfs_trylock(n.raw()) } {
            return Err(EDEADLK);
        }
        self.locked.push(n, GFP_NOFS)?;
        self.touch(node).map(|_| ())
    }

    /// The place of what is to be written for `node`, which is locked.
    fn touch(&mut self, node: &Node) -> Result<usize> {
        if let Some(i) = self.touched.iter().rposition(|t| t.node.same(node)) {
            if self.touched.get(i).is_some_and(|t| t.content) {
                self.has_locked(node)?;
                if let Some(t) = self.touched.get_mut(i) {
                    (t.want, t.content) = (node.attr(), false);
                }
            }
            return Ok(i);
        }
        self.has_locked(node)?;
        self.push(node, false)?;
        Ok(self.touched.len() - 1)
    }

    fn push(&mut self, node: &Node, content: bool) -> Result {
        let t = Touched {
            node: node.clone(),
            want: node.attr(),
            content,
            unnamed: false,
            new: false,
        };
        Ok(self.touched.push(t, GFP_NOFS)?)
    }

    /// Puts back what ext4 changed of the attributes that are the caller's.
    fn restore(&mut self, i: usize) {
        if let Some(t) = self.touched.get(i) {
            // SAFETY: the node is live, the attributes are valid.
            unsafe { ffi::ldiskfs_poke(t.node.raw(), &t.want) }
        }
    }

    fn links(&mut self, i: usize, n: u32) {
        if let Some(t) = self.touched.get(i) {
            let mut a = t.want;
            a.nlink = n;
            // SAFETY: as in `restore`.
            unsafe { ffi::ldiskfs_poke(t.node.raw(), &a) }
        }
    }

    /// Makes an inode with a name in `dir`. `target` is that of a symbolic link. The new inode's
    /// times are zero, its ids those of root, its version 0; a directory has the links `.` and
    /// its name; `dir` is left as it was but for the entry.
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC`, `EDQUOT`, `EMLINK`, `EIO`.
    pub fn create(
        &mut self,
        dir: &Node,
        name: &[u8],
        mode: u32,
        rdev: u32,
        target: Option<&CStr>,
    ) -> Result<Node> {
        let d = self.touch(dir)?;
        let len = name_len(name)?;
        let target = target.map_or(core::ptr::null(), |t| t.as_ptr());
        // SAFETY: `dir` is live and locked, `name` has `len` bytes, `target` is null or ends in
        // NUL; the answer is a reference of ours.
        let raw = unsafe { ffi::ldiskfs_create(dir.raw(), name.as_ptr(), len, mode, rdev, target) };
        self.restore(d);
        // SAFETY: as above.
        let node = unsafe { Node::from_raw(self.mount.clone(), check_ptr(raw)?) };
        self.adopt_new(&node, mode)?;
        Ok(node)
    }

    /// Makes a regular file without a name, in the neighbourhood of `dir`. If it has none when
    /// the transaction stops, it is freed.
    pub fn create_unnamed(&mut self, dir: &Node, mode: u32) -> Result<Node> {
        // SAFETY: both are live; the answer is a reference of ours.
        let raw = unsafe { ffi::ldiskfs_tmpfile(self.mount.raw(), dir.raw(), mode) };
        // SAFETY: as above.
        let node = unsafe { Node::from_raw(self.mount.clone(), check_ptr(raw)?) };
        self.adopt_new(&node, mode)?;
        let n = self.touch(&node)?;
        if let Some(t) = self.touched.get_mut(n) {
            t.unnamed = true;
        }
        Ok(node)
    }

    fn adopt_new(&mut self, node: &Node, mode: u32) -> Result {
        self.adopt(node)?;
        let n = self.touch(node)?;
        if let Some(t) = self.touched.get_mut(n) {
            t.new = true;
        }
        // What is inherited is the caller's business.
        self.set_flags(node, 0, INHERITED)?;
        let a = node.attr();
        if (a.uid, a.gid, a.projid) != (0, 0, 0) {
            let ids = Ids {
                uid: Some(0),
                gid: Some(0),
                projid: Some(0),
            };
            self.set_ids(node, &ids)?;
        }
        let a = self.attr_mut(node)?;
        a.mode = mode;
        a.nlink = a.nlink.max(1);
        a.version = 0;
        (a.atime, a.mtime, a.ctime) = (0, 0, 0);
        (a.atime_nsec, a.mtime_nsec, a.ctime_nsec) = (0, 0, 0);
        Ok(())
    }

    /// Adds a name. Link counts stay as they are, see [`Handle::attr_mut`].
    pub fn link(&mut self, dir: &Node, name: &[u8], node: &Node) -> Result {
        let (d, n) = (self.touch(dir)?, self.touch(node)?);
        // An orphan leaves ext4's list when it gets its first link.
        // SAFETY: the node is live.
        if unsafe { ffi::ldiskfs_is_orphan(node.raw()) } {
            self.links(n, 0);
        }
        let len = name_len(name)?;
        // SAFETY: both are live and locked, `name` has `len` bytes.
        let ret = unsafe { ffi::ldiskfs_link(dir.raw(), name.as_ptr(), len, node.raw()) };
        self.restore(d);
        self.restore(n);
        check(ret)?;
        if let Some(t) = self.touched.get_mut(n) {
            t.unnamed = false;
        }
        Ok(())
    }

    /// Removes a name. Link counts stay as they are. With `last`, the inode goes to ext4's list of
    /// orphans, from which it is freed after a crash; a directory must be empty then.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTEMPTY`, `EIO`.
    pub fn unlink(&mut self, dir: &Node, name: &[u8], node: &Node, last: bool) -> Result {
        let (d, n) = (self.touch(dir)?, self.touch(node)?);
        let len = name_len(name)?;
        let links = self.touched.get(n).map_or(0, |t| t.want.nlink);
        let rmdir = last && node.is_dir();
        // ext4 takes one off, or all of an empty directory's two.
        self.links(
            n,
            match (last, rmdir) {
                (true, true) => 2,
                (true, false) => 1,
                _ => links.saturating_add(1),
            },
        );
        // SAFETY: both are live and locked, `name` has `len` bytes.
        let ret = unsafe { ffi::ldiskfs_unlink(dir.raw(), name.as_ptr(), len, node.raw(), rmdir) };
        self.restore(d);
        self.restore(n);
        check(ret)
    }

    /// Moves a name. The `..` of a directory follows; link counts stay as they are.
    pub fn rename(
        &mut self,
        from: &Node,
        from_name: &[u8],
        node: &Node,
        to: &Node,
        to_name: &[u8],
    ) -> Result {
        let (f, t, n) = (self.touch(from)?, self.touch(to)?, self.touch(node)?);
        let (from_len, to_len) = (name_len(from_name)?, name_len(to_name)?);
        // SAFETY: all are live and locked, the names have their lengths.
        let ret = unsafe {
            ffi::ldiskfs_rename(
                from.raw(),
                from_name.as_ptr(),
                from_len,
                node.raw(),
                to.raw(),
                to_name.as_ptr(),
                to_len,
            )
        };
        self.restore(f);
        self.restore(t);
        self.restore(n);
        check(ret)
    }

    /// Sets an xattr, or removes it. `create` says that there is none yet.
    ///
    /// # Errors
    /// `ENODATA` (none to remove), `ENOSPC`, `E2BIG`, `ERANGE`, `EDQUOT`, `EEXIST`.
    pub fn set_xattr(
        &mut self,
        node: &Node,
        name: &CStr,
        value: Option<&[u8]>,
        create: bool,
    ) -> Result {
        if value.is_some_and(|v| v.len() > XATTR_MAX) {
            return Err(E2BIG);
        }
        let n = self.touch(node)?;
        // An empty value is a value: its pointer is not null.
        let (buf, len) = value.map_or((core::ptr::null(), 0), |v| (v.as_ptr(), v.len()));
        let mount = self.mount.raw();
        let set = |create| {
            let (len, flags) = (len as u64, i32::from(create));
            // SAFETY: the mount and the node are live, the thread is in this handle, `name` ends in
            // NUL, `buf` is null or has `len` bytes.
            unsafe { ffi::ldiskfs_setxattr(mount, node.raw(), name.as_ptr(), buf, len, flags) }
        };
        // ext4 wants no credits for the end of an old value where it knows that there is none; they
        // were not planned for on an inode that is new.
        let new = self.touched.get(n).is_some_and(|t| t.new);
        let mut ret = set(create || new);
        if ret == EEXIST.to_errno() && !create {
            ret = set(false);
        }
        self.restore(n);
        check(ret)
    }

    /// Removes the xattrs of an inode that is about to end, if a value has an inode of its own:
    /// ext4 would drop it later, and a power cut leave what it does not mount.
    ///
    /// # Errors
    /// `ENOSPC`: there are too few credits. `ENOMEM`, `EIO`.
    pub fn drop_values(&mut self, node: &Node) -> Result {
        let n = self.touch(node)?;
        // SAFETY: the mount and the node are live, the thread is in this handle.
        let ret = unsafe { ffi::ldiskfs_drop_values(self.mount.raw(), node.raw()) };
        self.restore(n);
        check(ret)
    }

    /// The attributes that are written when the transaction stops: times, version, link count and
    /// permission bits of `node` can be changed here. [`Handle::apply`] shows them to readers.
    pub fn attr_mut(&mut self, node: &Node) -> Result<&mut Attr> {
        let n = self.touch(node)?;
        self.touched.get_mut(n).map(|t| &mut t.want).ok_or(EINVAL)
    }

    /// Makes the changes of [`Handle::attr_mut`] visible.
    pub fn apply(&mut self, node: &Node) -> Result {
        let n = self.touch(node)?;
        self.restore(n);
        Ok(())
    }

    /// Changes owner, group or project, and their usage.
    ///
    /// # Errors
    /// `EDQUOT`, `EINVAL` (no such id), `EIO`.
    pub fn set_ids(&mut self, node: &Node, ids: &Ids) -> Result {
        let ptr = |id: &Option<u32>| id.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        let n = self.touch(node)?;
        // SAFETY: the node is live, the pointers are null or valid.
        let ret = unsafe {
            ffi::ldiskfs_setids(node.raw(), ptr(&ids.uid), ptr(&ids.gid), ptr(&ids.projid))
        };
        self.restore(n);
        check(ret)
    }

    /// Replaces the inode flags in `mask`.
    pub fn set_flags(&mut self, node: &Node, flags: u32, mask: u32) -> Result {
        self.touch(node)?;
        // SAFETY: the node is live.
        unsafe { ffi::ldiskfs_setflags(node.raw(), flags, mask) };
        Ok(())
    }

    /// Marks a file as written through the journal, see [`super::BlockFile`].
    pub(super) fn set_journalled(&mut self, node: &Node) -> Result {
        self.written(node)?;
        // SAFETY: the node is live.
        unsafe { ffi::ldiskfs_set_journal_data(node.raw()) };
        Ok(())
    }

    /// The inode is to be written, as its content has changed.
    pub(super) fn written(&mut self, node: &Node) -> Result {
        if self.touched.iter().any(|t| t.node.same(node)) {
            return Ok(());
        }
        self.push(node, true)
    }

    fn finish(&mut self) -> Result {
        if self.stopped {
            return Ok(());
        }
        self.stopped = true;
        let mut result = Ok(());
        for t in self.touched.iter_mut() {
            if t.unnamed {
                // The last reference frees it.
                t.want.nlink = 0;
            }
            if !t.content {
                // SAFETY: the node is live, the attributes are valid.
                unsafe { ffi::ldiskfs_poke(t.node.raw(), &t.want) };
            }
            // SAFETY: the node is live and the handle runs.
            result = result.and(check(unsafe { ffi::ldiskfs_dirty(t.node.raw()) }));
        }
        pr_debug!(
            "transaction: {} credits, {} left\n",
            self.credits,
            self.credits_left()
        );
        // SAFETY: the handle is running and not used after this.
        let ret = unsafe { ffi::ldiskfs_stop(self.mount.raw(), self.raw()) };
        unlock_all(&self.mount, &self.locked);
        result.and(check(ret))
    }

    /// Ends the transaction: writes the inodes, stops the handle, unlocks.
    ///
    /// # Errors
    /// `EIO`, `EROFS`: the journal gave up, nothing of the transaction may be relied on.
    pub fn stop(mut self) -> Result {
        self.finish()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(e) = self.finish() {
            pr_err!("transaction ended with {:?}\n", e);
        }
    }
}
