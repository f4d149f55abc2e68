// SPDX-License-Identifier: GPL-2.0

//! The store and its objects, as the layers above have them.

use crate::cache::Held;
use crate::iam;
use crate::index::Reader;
use crate::journal::Txn;
use crate::mounted::User;
use crate::object::Object;
use crate::store::{when_made, Store};
use crate::Fid;
use core::any::Any;
use core::ffi::CStr;
use core::fmt;
use kapi::ldiskfs::{self, QuotaKind};
use kapi::pages::Pages;
use kapi::prelude::*;
use osd::{Attr, Checked, Entry, Extent, ObjectRef, StatFs, Time, Usage, UsageKind, Walk};

/// A store in use. As long as there is one, and each object and each transaction has one, the
/// device stays mounted.
#[derive(Clone)]
pub(crate) struct StoreRef {
    // In this order: when the last user is gone, nobody has the store.
    store: Arc<Store>,
    _user: Arc<User>,
}

impl core::ops::Deref for StoreRef {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

impl StoreRef {
    /// The first user of a store.
    pub(crate) fn new(store: Arc<Store>, user: Arc<User>) -> StoreRef {
        StoreRef { store, _user: user }
    }

    fn in_use(&self, held: Held) -> Result<ObjectRef> {
        let o = InUse {
            held,
            store: self.clone(),
        };
        Ok(Arc::new(o, GFP_NOFS)?)
    }
}

fn misused(what: fmt::Arguments<'_>) {
    pr_err!("BUG: {}\n", what);
}

impl osd::Device for StoreRef {
    fn object(&self, fid: &Fid) -> Result<ObjectRef> {
        self.in_use(self.store.object(fid)?)
    }

    fn new_object(&self, fid: &Fid) -> Result<ObjectRef> {
        self.in_use(self.store.new_object(fid)?)
    }

    fn scrub(&self) -> Option<osd::Scrub> {
        Some(self.store.scrub().report())
    }

    fn plan(&self) -> Result<osd::Plan> {
        let txn = Txn::new(self.clone());
        Ok(osd::Plan::new(match cfg!(debug_assertions) {
            true => KBox::new(Checked::new(txn, misused), GFP_KERNEL)?,
            false => KBox::new(txn, GFP_KERNEL)?,
        }))
    }

    fn statfs(&self) -> Result<StatFs> {
        self.device().statfs()
    }

    fn usage(&self, kind: UsageKind, id: u32) -> Result<Usage> {
        let kind = match kind {
            UsageKind::User => QuotaKind::User,
            UsageKind::Group => QuotaKind::Group,
            UsageKind::Project => QuotaKind::Project,
        };
        let (space, inodes) = self.device().mount().usage(kind, id)?;
        Ok(Usage { space, inodes })
    }

    fn sync(&self) -> Result {
        if ldiskfs::in_handle() {
            return Err(EDEADLK);
        }
        self.device().mount().sync()
    }

    fn start_commit(&self) {
        self.device().mount().start_commit();
    }

    fn uuid(&self) -> [u8; 16] {
        self.device().mount().superblock().uuid
    }
}

/// An object in use.
pub(crate) struct InUse {
    held: Held,
    // Behind what holds an inode.
    store: StoreRef,
}

impl InUse {
    /// What `store` knows of it.
    ///
    /// # Errors
    /// `EXDEV`: it belongs to another store.
    pub(crate) fn of(&self, store: &StoreRef) -> Result<&Object> {
        if !Arc::ptr_eq(&self.store.store, &store.store) {
            return Err(EXDEV);
        }
        Ok(&self.held)
    }
}

/// Attributes as the layers above have them.
fn attr(a: &ldiskfs::Attr) -> Attr {
    let time = |sec, nsec| Time { sec, nsec };
    Attr {
        size: a.size,
        blocks: a.blocks,
        atime: time(a.atime, a.atime_nsec),
        mtime: time(a.mtime, a.mtime_nsec),
        ctime: time(a.ctime, a.ctime_nsec),
        btime: time(a.btime, a.btime_nsec),
        version: a.version,
        mode: a.mode,
        uid: a.uid,
        gid: a.gid,
        projid: a.projid,
        nlink: a.nlink,
        rdev: a.rdev,
        flags: a.flags,
    }
}

/// An index that cannot be one is a file of another kind.
fn index<R>(r: Result<R>) -> Result<R> {
    r.map_err(|e| if e == EBUSY { EINVAL } else { e })
}

impl osd::Object for InUse {
    fn fid(&self) -> &Fid {
        self.held.fid()
    }

    fn exists(&self) -> bool {
        self.held.exists()
    }

    fn attr(&self) -> Result<Attr> {
        Ok(attr(&self.held.node()?.attr()))
    }

    fn xattr(&self, name: &CStr, buf: &mut [u8]) -> Result<usize> {
        self.held.node()?.xattr(name, buf)
    }

    fn list_xattr(&self, buf: &mut [u8]) -> Result<usize> {
        self.held.node()?.list_xattr(buf)
    }

    fn readlink(&self, buf: &mut [u8]) -> Result<usize> {
        self.held.node()?.readlink(buf)
    }

    fn lookup(&self, name: &[u8]) -> Result<Fid> {
        self.store.lookup(&self.held, name)
    }

    fn readdir(&self, pos: u64, f: &mut dyn FnMut(&Entry<'_>) -> Result<Walk>) -> Result<u64> {
        let node = self.held.node()?;
        if !node.is_dir() {
            return Err(ENOTDIR);
        }
        node.readdir(pos, &mut |e| {
            // The name may have gone since it was read, and its inode be another one's that is being made.
            let fid = match when_made(|| self.store.entry_fid(&self.held, e.name, e.ino)) {
                Ok(fid) => fid,
                // An entry without an inode: e2fsck's business, not the reader's.
                Err(e) if e == ESTALE => return Ok(ldiskfs::Walk::Next),
                Err(e) => return Err(e),
            };
            let entry = Entry {
                name: e.name,
                fid,
                pos: e.pos,
                ty: e.ty,
            };
            Ok(match f(&entry)? {
                Walk::Next => ldiskfs::Walk::Next,
                Walk::Stop => ldiskfs::Walk::Stop,
            })
        })
    }

    fn is_empty_dir(&self) -> Result<bool> {
        self.store.device().is_empty(&self.held.node()?)
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> Result<usize> {
        self.held.with_blocks(|b| b.read(off, buf))
    }

    fn index_shape(&self) -> Result<(usize, usize)> {
        let s = index(self.held.with_blocks(|b| iam::shape(&Reader(b))))?;
        Ok((s.key, s.rec))
    }

    fn index_get(&self, key: &[u8], rec: &mut [u8]) -> Result<bool> {
        index(self.held.with_blocks(|b| iam::lookup(&Reader(b), key, rec)))
    }

    fn index_next(&self, key: &mut [u8], rec: &mut [u8]) -> Result<bool> {
        index(self.held.with_blocks(|b| iam::next(&Reader(b), key, rec)))
    }

    fn read_pages(&self, pages: &mut Pages, at: usize, len: usize, pos: u64) -> Result<usize> {
        self.held.data()?.read(pages, at, len, pos)
    }

    fn write_pages(&self, pages: &Pages, at: usize, len: usize, pos: u64) -> Result {
        self.held.data()?.write(pages, at, len, pos)
    }

    fn truncate(&self, size: u64) -> Result {
        self.held.data()?.truncate(size)
    }

    fn punch(&self, off: u64, len: u64) -> Result {
        self.held.data()?.punch(off, len)
    }

    fn preallocate(&self, off: u64, len: u64, keep_size: bool) -> Result {
        self.held.data()?.preallocate(off, len, keep_size)
    }

    fn zero_range(&self, off: u64, len: u64, keep_size: bool) -> Result {
        self.held.data()?.zero_range(off, len, keep_size)
    }

    fn seek_data(&self, off: u64) -> Result<u64> {
        self.held.data()?.seek_data(off)
    }

    fn seek_hole(&self, off: u64) -> Result<u64> {
        self.held.data()?.seek_hole(off)
    }

    fn extent(&self, off: u64) -> Result<Option<Extent>> {
        Ok(self.held.data()?.extent(off)?.map(|e| Extent {
            logical: e.logical,
            physical: e.physical,
            len: e.len,
            unwritten: e.unwritten,
        }))
    }

    fn sync_data(&self) -> Result {
        self.held.data()?.sync_data()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
