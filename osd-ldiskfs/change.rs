// SPDX-License-Identifier: GPL-2.0

//! What is done to objects inside a transaction.

use crate::hierarchy::self_fid;
use crate::iam::{self, Shape};
use crate::index::{Mapping, Writer};
use crate::lma;
use crate::object::Object;
use crate::place::{self, Name, Place};
use crate::store::Store;
use crate::txn::{Nursed, Running};
use crate::Fid;
use core::ffi::CStr;
use kapi::ldiskfs::{Ids, Node};
use kapi::prelude::*;
use osd::{settable_flags, Create, SetAttr, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};
use wire::disk::lma::LmaCompat;

/// Directories with more links than this count as having one (`DIR_NLINK`).
const LINK_MAX: u32 = 65000;

/// The owners among attributes.
pub(crate) fn ids(set: &SetAttr) -> Ids {
    Ids {
        uid: set.uid,
        gid: set.gid,
        projid: set.projid,
    }
}

impl Store {
    /// Makes the object: an inode with its FID, in the index or in its place in `O/`. Its link
    /// count is 1, that of a directory 2 (for `.`); ids are those of root, times zero.
    ///
    /// # Errors
    /// `EEXIST`: it exists, or another object has its place. `ENOSPC`, `EDQUOT`, `EIO`.
    pub(crate) fn create(
        &self,
        run: &mut Running,
        o: &Object,
        what: &Create<'_>,
        near: Option<(&Object, &[u8])>,
    ) -> Result {
        if o.exists() {
            return Err(EEXIST);
        }
        let fid = *o.fid();
        let place = self.place(&fid);
        let node = match &place {
            Place::LastId(seq) => {
                let s = self
                    .layout()
                    .hierarchy
                    .find(self.device(), *seq)?
                    .ok_or(EINVAL)?;
                self.create_named(run, &fid, &s.dir, b"LAST_ID", what)?
            }
            Place::Hierarchy { seq, id } => {
                let s = self
                    .layout()
                    .hierarchy
                    .find(self.device(), *seq)?
                    .ok_or(EINVAL)?;
                let name = place::object_name(*seq, *id);
                self.create_named(run, &fid, s.bucket(*id)?, name.as_bytes(), what)?
            }
            Place::Index => match place::root_name(&fid) {
                Some(name) => {
                    let root = self.device().root().clone();
                    self.create_named(run, &fid, &root, name.as_bytes(), what)?
                }
                None => self.create_placeless(run, &fid, what, near)?,
            },
            _ => return Err(EOPNOTSUPP),
        };
        run.handle()?.apply(&node)?;
        let compat = if place::flagged_on_ost(&fid, &place) {
            LmaCompat::FID_ON_OST
        } else {
            LmaCompat::empty()
        };
        lma::write(run.handle()?, &node, &fid, compat)?;
        if place == Place::Index {
            self.map_object(run, &fid, &node)?;
        }
        if place != Place::Index || place::root_name(&fid).is_some() {
            run.settle(&node);
        }
        self.began(&node, &fid);
        run.retire(o.set_node(Some(node)));
        Ok(())
    }

    /// Makes an inode that will be inserted later in the transaction: with the name that it is
    /// to get, without one, or with one in the nursery.
    fn create_placeless(
        &self,
        run: &mut Running,
        fid: &Fid,
        what: &Create<'_>,
        near: Option<(&Object, &[u8])>,
    ) -> Result<Node> {
        if let Some((dir, name)) = near {
            let d = dir.node()?;
            if run.handle()?.locked(d.ino()).is_some() && !run.is_removed(&d, name) {
                return self.create_named(run, fid, &d, name, what);
            }
        }
        if what.mode & S_IFMT == S_IFREG {
            let root = self.device().root().clone();
            let node = run.handle()?.create_unnamed(&root, what.mode)?;
            run.nurse(fid, None, &node)?;
            return Ok(node);
        }
        let name = Name::new(format_args!("{fid}"));
        let nursery = run.nursery()?;
        self.create_named(run, fid, &nursery, name.as_bytes(), what)
    }

    fn create_named(
        &self,
        run: &mut Running,
        fid: &Fid,
        dir: &Node,
        name: &[u8],
        what: &Create<'_>,
    ) -> Result<Node> {
        let node = run
            .handle()?
            .create(dir, name, what.mode, what.rdev, what.target)?;
        // Until all of the object is there, or it is inserted, it goes again at the end.
        run.nurse(fid, Some((dir, name)), &node)?;
        Ok(node)
    }

    /// Takes back the objects of a transaction that were never inserted, or not completed.
    pub(crate) fn take_back(&self, run: &mut Running) -> Result {
        let mut result = Ok(());
        while let Some(lost) = run.lost() {
            result = result.and(self.take_back_one(run, lost));
        }
        result
    }

    fn take_back_one(&self, run: &mut Running, lost: Nursed) -> Result {
        self.drop_values(run, &lost.fid, &lost.node)?;
        let h = run.handle()?;
        h.attr_mut(&lost.node)?.nlink = 0;
        if let Some((dir, name)) = &lost.at {
            h.unlink(dir, name, &lost.node, true)?;
        }
        if self.place(&lost.fid) == Place::Index {
            match self.oi().delete(run, &lost.fid) {
                Err(e) if e != ENOENT => return Err(e),
                _ => {}
            }
        }
        let o = self.known(&lost.fid)?;
        if o.node().is_ok_and(|n| n.same(&lost.node)) {
            o.if_blocks(|b| b.forget(run.handle()?))?;
            run.retire(o.set_node(None));
        }
        self.ended(&lost.node);
        Ok(())
    }

    /// Large values of an object that ends are dropped in the same transaction.
    fn drop_values(&self, run: &mut Running, fid: &Fid, node: &Node) -> Result {
        match run.handle()?.drop_values(node) {
            // More than there was when it was planned: ext4 does it a little later.
            Err(e) if e == ENOSPC || e == ENOMEM => {
                pr_debug!("{}: large xattrs are dropped later: {:?}\n", fid, e);
                Ok(())
            }
            other => other,
        }
    }

    /// An entry of a dead inode, or of one that is not the FID's, is replaced.
    fn map_object(&self, run: &mut Running, fid: &Fid, node: &Node) -> Result {
        let to = Mapping::of(node)?;
        match self.oi().insert(run, fid, to) {
            Err(e) if e == EEXIST => {}
            other => return other,
        }
        // `find_node` found nobody when the object was looked up: the entry is stale.
        pr_warn!("{}: a stale entry of the index is replaced\n", fid);
        self.oi().update(run, fid, to)
    }

    /// Ends an object: its place in the index or in `O/` is gone, and the inode with the last
    /// reference. Names in directories are the caller's to remove.
    pub(crate) fn destroy(&self, run: &mut Running, o: &Object) -> Result {
        let node = o.node()?;
        let fid = *o.fid();
        self.drop_values(run, &fid, &node)?;
        o.if_blocks(|b| b.forget(run.handle()?))?;
        run.handle()?.attr_mut(&node)?.nlink = 0;
        match self.place(&fid) {
            Place::Hierarchy { seq, id } => {
                let s = self
                    .layout()
                    .hierarchy
                    .find(self.device(), seq)?
                    .ok_or(EINVAL)?;
                let name = place::object_name(seq, id);
                run.remove_name(s.bucket(id)?, name.as_bytes(), &node)?;
            }
            Place::Index => match self.oi().delete(run, &fid) {
                // It was found by its name in the root.
                Err(e) if e == ENOENT => {}
                other => other?,
            },
            _ => return Err(EOPNOTSUPP),
        }
        if let Some(name) = place::root_name(&fid) {
            let root = self.device().root().clone();
            if self.device().find(&root, name.as_bytes())?.is_some() {
                run.remove_name(&root, name.as_bytes(), &node)?;
            }
        }
        run.retire(o.set_node(None));
        self.ended(&node);
        Ok(())
    }

    /// Gives an object a name. `.` and `..` of a directory are checked: ext4 sets them itself.
    ///
    /// # Errors
    /// `EEXIST`. `EINVAL`: not what `.` or `..` says. `ENOSPC`, `EIO`.
    pub(crate) fn insert(
        &self,
        run: &mut Running,
        dir: &Object,
        name: &[u8],
        o: &Object,
    ) -> Result {
        let (d, n) = (dir.node()?, o.node()?);
        if name == b"." {
            return if d.same(&n) { Ok(()) } else { Err(EINVAL) };
        }
        if name == b".." {
            // A new directory comes to its parent with the insertion there.
            return Ok(());
        }
        if !run.is_nursed(&d, name, &n) && !run.is_removed(&d, name) {
            if let Some(found) = self.device().find(&d, name)? {
                // A file with a fixed number has its name from the start.
                let own = place::root_name(o.fid()).map(str::as_bytes) == Some(name);
                return if own && n.ino() == u64::from(found.ino) {
                    Ok(())
                } else {
                    Err(EEXIST)
                };
            }
        }
        run.insert_name(&d, name, &n)
    }

    /// Takes a name away from an object; link counts stay.
    ///
    /// # Errors
    /// `ENOENT`. `EAGAIN`: it is not the object's that was planned for.
    pub(crate) fn remove(&self, run: &mut Running, dir: &Object, name: &[u8]) -> Result {
        let d = dir.node()?;
        if name == b"." || name == b".." {
            // They go with the directory.
            return Ok(());
        }
        if run.is_removed(&d, name) {
            return Err(ENOENT);
        }
        let found = self.device().find(&d, name)?.ok_or(ENOENT)?;
        let node = run.handle()?.locked(found.ino.into()).ok_or(EAGAIN)?;
        if lma::is_agent(&node)? {
            run.handle()?.attr_mut(&node)?.nlink = 0;
        }
        run.remove_name(&d, name, &node)
    }

    /// Gives an object of another target a name: that of an inode which stands for it
    /// (`ondisk.md` 13.3).
    ///
    /// # Errors
    /// `EEXIST`. `EINVAL`: no type. `ENOSPC`, `EIO`.
    pub(crate) fn insert_remote(
        &self,
        run: &mut Running,
        dir: &Object,
        name: &[u8],
        fid: &Fid,
        mode: u32,
    ) -> Result {
        let d = dir.node()?;
        run.make_way(&d, name)?;
        if self.device().find(&d, name)?.is_some() {
            return Err(EEXIST);
        }
        let kind = mode & S_IFMT;
        let text = Name::new(format_args!("{fid}\0"));
        let target = match kind {
            0 => return Err(EINVAL),
            S_IFLNK => CStr::from_bytes_with_nul(text.as_bytes()).ok(),
            _ => None,
        };
        let node = run.handle()?.create(&d, name, kind, 0, target)?;
        // Should the rest fail, it goes again; the FID is nobody's here.
        run.nurse(&self_fid(&node)?, Some((&d, name)), &node)?;
        run.handle()?.apply(&node)?;
        lma::write_agent(run.handle()?, &node, fid)?;
        run.settle(&node);
        Ok(())
    }

    /// One link more.
    pub(crate) fn ref_add(&self, run: &mut Running, o: &Object) -> Result {
        let n = o.node()?;
        let h = run.handle()?;
        let a = h.attr_mut(&n)?;
        let dir = a.mode & S_IFMT == S_IFDIR;
        // ext4 counts 1 for a directory with too many.
        if !(dir && a.nlink == 1) {
            a.nlink = a.nlink.checked_add(1).ok_or(EMLINK)?;
            if a.nlink > LINK_MAX {
                if !dir {
                    a.nlink -= 1;
                    return Err(EMLINK);
                }
                a.nlink = 1;
            }
        }
        h.apply(&n)
    }

    /// One link less.
    pub(crate) fn ref_del(&self, run: &mut Running, o: &Object) -> Result {
        let n = o.node()?;
        let h = run.handle()?;
        let a = h.attr_mut(&n)?;
        let many = a.mode & S_IFMT == S_IFDIR && a.nlink == 1;
        if !many {
            a.nlink = a.nlink.checked_sub(1).ok_or(EINVAL)?;
        }
        h.apply(&n)?;
        run.uncount(&n)
    }

    /// Sets attributes. The size is set by writing and by truncation.
    ///
    /// # Errors
    /// `EDQUOT`, `EINVAL` (no such id), `EIO`.
    pub(crate) fn set_attr(&self, run: &mut Running, o: &Object, s: &SetAttr) -> Result {
        let n = o.node()?;
        // Linux keeps a flag in the highest bit.
        if s.version.is_some_and(|v| v > i64::MAX as u64) {
            return Err(EINVAL);
        }
        let h = run.handle()?;
        if s.uid.is_some() || s.gid.is_some() || s.projid.is_some() {
            h.set_ids(&n, &ids(s))?;
        }
        let a = h.attr_mut(&n)?;
        let settable = settable_flags(a.mode);
        if let Some(mode) = s.mode {
            a.mode = (a.mode & S_IFMT) | (mode & !S_IFMT);
        }
        if let Some(t) = s.atime {
            (a.atime, a.atime_nsec) = (t.sec, t.nsec);
        }
        if let Some(t) = s.mtime {
            (a.mtime, a.mtime_nsec) = (t.sec, t.nsec);
        }
        if let Some(t) = s.ctime {
            (a.ctime, a.ctime_nsec) = (t.sec, t.nsec);
        }
        if let Some(v) = s.version {
            a.version = v;
        }
        h.apply(&n)?;
        if let Some(flags) = s.flags {
            h.set_flags(&n, flags, settable)?;
        }
        Ok(())
    }

    /// Sets an xattr, or removes it.
    ///
    /// # Errors
    /// `ENODATA`, `ENOSPC`, `E2BIG`, `EDQUOT`, `EIO`.
    pub(crate) fn set_xattr(
        &self,
        run: &mut Running,
        o: &Object,
        name: &CStr,
        value: Option<&[u8]>,
    ) -> Result {
        run.handle()?.set_xattr(&o.node()?, name, value, false)
    }

    /// Writes through the journal.
    pub(crate) fn write(&self, run: &mut Running, o: &Object, off: u64, data: &[u8]) -> Result {
        o.with_blocks(|b| b.write(run.handle()?, off, data))
    }

    /// Makes an empty index of an object without content.
    ///
    /// # Errors
    /// `EINVAL`: it has content. `ENOSPC`, `EIO`.
    pub(crate) fn index_make(
        &self,
        run: &mut Running,
        o: &Object,
        key: usize,
        rec: usize,
    ) -> Result {
        o.with_blocks(|file| {
            let handle = run.handle()?;
            iam::create(&mut Writer { file, handle }, Shape { key, rec })
        })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// `EEXIST`, `EINVAL` (lengths), `ENOSPC`, `EIO`.
    pub(crate) fn index_insert(
        &self,
        run: &mut Running,
        o: &Object,
        key: &[u8],
        rec: &[u8],
    ) -> Result {
        o.with_blocks(|file| {
            let handle = run.handle()?;
            iam::insert(&mut Writer { file, handle }, key, rec)
        })
    }

    /// Replaces a record.
    ///
    /// # Errors
    /// `ENOENT`, `EINVAL` (lengths), `EIO`.
    pub(crate) fn index_update(
        &self,
        run: &mut Running,
        o: &Object,
        key: &[u8],
        rec: &[u8],
    ) -> Result {
        o.with_blocks(|file| {
            let handle = run.handle()?;
            iam::update(&mut Writer { file, handle }, key, rec)
        })
    }

    /// Removes a record.
    ///
    /// # Errors
    /// `ENOENT`, `EIO`.
    pub(crate) fn index_delete(&self, run: &mut Running, o: &Object, key: &[u8]) -> Result {
        o.with_blocks(|file| {
            let handle = run.handle()?;
            iam::delete(&mut Writer { file, handle }, key)
        })
    }
}
