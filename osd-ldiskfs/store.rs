// SPDX-License-Identifier: GPL-2.0

//! The store: objects by FID and by name, and what is done to them in transactions.

use crate::device::Device;
use crate::index::{Mapping, ObjectIndex};
use crate::lma;
use crate::object::{Cache, InUse};
use crate::place::{self, Name, Place};
use crate::setup::{self, Layout};
use crate::txn::{Plan, Running};
use crate::Fid;
use core::ffi::CStr;
use kapi::ldiskfs::{Attr, Credits, Ids, Node, Walk};
use kapi::prelude::*;
use wire::disk::lma::{LmaCompat, LmaIncompat};

const S_IFMT: u32 = 0o170000;
const S_IFDIR: u32 = 0o040000;
const S_IFREG: u32 = 0o100000;
/// Directories with more links than this count as having one (`DIR_NLINK`).
const LINK_MAX: u32 = 65000;
/// Inode flags that can be set (`ondisk.md` 8.2).
pub(crate) const SETTABLE_FLAGS: u32 = 0x2003_04f8;

/// A new object.
#[derive(Clone, Copy, Default, Debug)]
pub struct Create<'a> {
    /// Type and permissions.
    pub mode: u32,
    /// Of a device.
    pub rdev: u32,
    /// Of a symbolic link.
    pub target: Option<&'a CStr>,
}

/// Attributes to be set.
#[derive(Clone, Copy, Default, Debug)]
pub struct SetAttr {
    /// Permissions; the type stays.
    pub mode: Option<u32>,
    /// Owners.
    pub ids: Ids,
    /// Seconds and nanoseconds.
    pub atime: Option<(i64, u32)>,
    /// Seconds and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// Seconds and nanoseconds.
    pub ctime: Option<(i64, u32)>,
    /// Replaces [`SETTABLE_FLAGS`].
    pub flags: Option<u32>,
    /// The version: a transaction number.
    pub version: Option<u64>,
}

/// The objects of a device.
pub struct Store {
    // First, so that it is dropped while the device is still there.
    cache: Cache,
    layout: Layout,
    dev: Arc<Device>,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.cache.clear();
        self.dev.mount().flush_freed();
    }
}

/// Whether two FIDs are the same to a target: IDIFs of old OSTs lack the OST's index.
fn same_fid(a: &Fid, b: &Fid) -> bool {
    const INDEX: u64 = 0xffff_0000;
    a == b
        || a.is_idif()
            && b.is_idif()
            && a.oid == b.oid
            && a.ver == b.ver
            && a.seq & !INDEX == b.seq & !INDEX
            && (a.seq & INDEX == 0 || b.seq & INDEX == 0)
}

impl Store {
    /// Mounts the device at `path` and opens its layout; what is missing of it is made.
    ///
    /// # Errors
    /// `EINVAL`, `EUCLEAN`: it cannot be served, the log says why. `EBUSY`, `ENOSPC`, `EIO`.
    pub fn open(path: &CStr, ost: bool) -> Result<Arc<Store>> {
        let dev = Device::open(path, ost)?;
        let layout = setup::open(&dev)?;
        let store = Store {
            cache: Cache::new()?,
            layout,
            dev,
        };
        Ok(Arc::new(store, GFP_KERNEL)?)
    }

    /// The device.
    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.dev
    }

    /// Forgets the objects that nobody uses.
    pub fn shrink(&self) {
        self.cache.clear();
    }

    /// A plan for a transaction.
    pub fn plan(&self) -> Plan {
        Plan::new(&self.dev)
    }

    fn oi(&self) -> &ObjectIndex {
        &self.layout.oi
    }

    fn place(&self, fid: &Fid) -> Place {
        place::place(fid, self.dev.is_ost())
    }

    /// The object of `fid`, which may not exist.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: not an object (a quota file of ext4's). `EIO`.
    pub fn object(&self, fid: &Fid) -> Result<InUse> {
        if let Some(o) = self.cache.get(fid)? {
            return Ok(o);
        }
        let node = self.find_node(fid)?;
        self.cache.add(fid, node)
    }

    fn find_node(&self, fid: &Fid) -> Result<Option<Node>> {
        let none = |e: Error| {
            if e == ENOENT || e == ESTALE {
                Ok(None)
            } else {
                Err(e)
            }
        };
        let found = match self.place(fid) {
            Place::Root => return Ok(Some(self.dev.root().clone())),
            Place::Accounting => return Err(EOPNOTSUPP),
            Place::LastId(seq) => match self.layout.hierarchy.find(&self.dev, seq)? {
                Some(s) => self
                    .dev
                    .lookup(&s.dir, b"LAST_ID")
                    .map(Some)
                    .or_else(none)?,
                None => None,
            },
            Place::Hierarchy { seq, id } => match self.layout.hierarchy.find(&self.dev, seq)? {
                Some(s) => {
                    let name = place::object_name(seq, id);
                    self.dev
                        .lookup(s.bucket(id)?, name.as_bytes())
                        .map(Some)
                        .or_else(none)?
                }
                None => None,
            },
            Place::Index => match self.oi().lookup(fid)? {
                Some(m) => self
                    .dev
                    .mount()
                    .iget(m.ino.into(), m.generation)
                    .map(Some)
                    .or_else(none)?,
                None => match place::root_name(fid) {
                    Some(name) => self
                        .dev
                        .lookup(self.dev.root(), name.as_bytes())
                        .map(Some)
                        .or_else(none)?,
                    None => None,
                },
            },
        };
        let Some(node) = found else { return Ok(None) };
        // The inode has the last word on whose it is.
        match lma::read(&node)? {
            Some(lma) if !same_fid(&lma.fid(), fid) => {
                pr_warn!("{}: leads to the inode of {}\n", fid, lma.fid());
                Ok(None)
            }
            _ => Ok(Some(node)),
        }
    }

    /// The FID of the object of inode `ino`, which some directory names.
    ///
    /// # Errors
    /// `ESTALE`: no such inode. `EOPNOTSUPP`: it has a flag that is not known.
    pub fn fid_of(&self, ino: u64) -> Result<Fid> {
        let node = self.dev.mount().iget(ino, 0)?;
        let (fid, local) = self.identify(&node)?;
        // Whoever asks for the FID will ask for the object.
        if local && self.cache.get(&fid)?.is_none() {
            drop(self.cache.add(&fid, Some(node))?);
        }
        Ok(fid)
    }

    fn identify(&self, node: &Node) -> Result<(Fid, bool)> {
        Ok(match lma::read(node)? {
            Some(lma) => (lma.fid(), !lma.incompat().contains(LmaIncompat::AGENT)),
            None => (crate::hierarchy::self_fid(node)?, false),
        })
    }

    /// The FID of a name in a directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EIO`.
    pub fn lookup(&self, dir: &InUse, name: &[u8]) -> Result<Fid> {
        let found = self.dev.find(&dir.node()?, name)?.ok_or(ENOENT)?;
        self.entry_fid(dir, name, found.ino.into())
    }

    /// What is above the root of the name space is nobody's business.
    fn entry_fid(&self, dir: &InUse, name: &[u8], ino: u64) -> Result<Fid> {
        if name == b".." && dir.fid().is_root() {
            return Ok(*dir.fid());
        }
        self.fid_of(ino)
    }

    /// Calls `f` with name, FID, position and `DT_*` type of the entries of a directory in the order
    /// of their hashes, from position `pos` on. Returns where to go on; `i64::MAX` at the end.
    pub fn readdir(
        &self,
        dir: &InUse,
        pos: u64,
        f: &mut dyn FnMut(&[u8], &Fid, u64, u32) -> Result<Walk>,
    ) -> Result<u64> {
        dir.node()?
            .readdir(pos, &mut |e| match self.entry_fid(dir, e.name, e.ino) {
                Ok(fid) => f(e.name, &fid, e.pos, e.ty),
                // An entry without an inode: e2fsck's business, not the reader's.
                Err(e) if e == ESTALE => Ok(Walk::Next),
                Err(e) => Err(e),
            })
    }

    /// Whether a directory holds nothing but `.` and `..`.
    pub fn is_empty(&self, dir: &InUse) -> Result<bool> {
        self.dev.is_empty(&dir.node()?)
    }

    /// The attributes of an object.
    pub fn attr(&self, o: &InUse) -> Result<Attr> {
        Ok(o.node()?.attr())
    }

    // ---- plans ----

    fn plan_index(&self, plan: &mut Plan) {
        plan.more(setup::oi_credits(&self.dev));
    }

    /// Plans the creation of an object. `near` is the directory and the name that it will get, if
    /// they are known.
    pub fn plan_create(
        &self,
        plan: &mut Plan,
        o: &InUse,
        what: &Create<'_>,
        near: Option<(&InUse, &[u8])>,
    ) -> Result {
        plan.credits(Credits::Create, 0);
        plan.credits(Credits::XattrNew, lma::LEN);
        match self.place(o.fid()) {
            Place::LastId(seq) => plan.lock(&self.layout.hierarchy.make(&self.dev, seq)?.dir),
            Place::Hierarchy { seq, id } => {
                plan.lock(self.layout.hierarchy.make(&self.dev, seq)?.bucket(id)?)
            }
            Place::Index => {
                self.plan_index(plan);
                if place::root_name(o.fid()).is_some() {
                    plan.lock(self.dev.root())
                } else if let Some(Ok(d)) = near.map(|(d, _)| d.node()) {
                    plan.lock(&d)
                } else if what.mode & S_IFMT == S_IFREG {
                    Ok(())
                } else {
                    plan.nursery(&self.layout.nursery)
                }
            }
            _ => Err(EOPNOTSUPP),
        }
    }

    /// Plans the end of an object.
    pub fn plan_destroy(&self, plan: &mut Plan, o: &InUse) -> Result {
        plan.lock(&o.node()?)?;
        plan.credits(Credits::Unlink, 0);
        match self.place(o.fid()) {
            Place::Hierarchy { seq, id } => {
                plan.lock(self.layout.hierarchy.make(&self.dev, seq)?.bucket(id)?)
            }
            Place::Index => {
                self.plan_index(plan);
                Ok(())
            }
            _ => Err(EOPNOTSUPP),
        }
    }

    /// Plans a name for an object, which may be made in the same transaction.
    pub fn plan_insert(&self, plan: &mut Plan, dir: &InUse, o: &InUse) -> Result {
        plan.credits(Credits::Link, 0);
        // A directory that is made in the same transaction is locked from then on.
        if let Ok(d) = dir.node() {
            plan.lock(&d)?;
        }
        if let Ok(n) = o.node() {
            plan.lock(&n)?;
        }
        Ok(())
    }

    /// Plans the removal of a name.
    ///
    /// # Errors
    /// `ENOENT`: there is no such name.
    pub fn plan_remove(&self, plan: &mut Plan, dir: &InUse, name: &[u8]) -> Result {
        let d = dir.node()?;
        plan.credits(Credits::Unlink, 0);
        let child = self.dev.lookup(&d, name)?;
        plan.lock(&d)?;
        plan.lock(&child)
    }

    /// Plans changes of attributes, among them of these owners.
    pub fn plan_attr(&self, plan: &mut Plan, o: &InUse, ids: &Ids) -> Result {
        plan.ids(ids)?;
        match o.node() {
            Ok(n) => plan.lock(&n),
            // Made in the same transaction.
            Err(_) => Ok(()),
        }
    }

    /// Plans the setting or removal of an xattr of `len` bytes.
    pub fn plan_xattr(&self, plan: &mut Plan, o: &InUse, len: usize) -> Result {
        match o.node() {
            Ok(n) => {
                plan.credits(Credits::Xattr, len);
                plan.lock(&n)
            }
            Err(_) => {
                plan.credits(Credits::XattrNew, len);
                Ok(())
            }
        }
    }

    /// Plans a write through the journal.
    pub fn plan_write(&self, plan: &mut Plan, o: &InUse, off: u64, len: usize) -> Result {
        if o.exists() {
            let credits = o.with_blocks(|b| Ok(b.credits(off, len)))?;
            plan.more(credits);
        } else {
            let blocks = len.div_ceil(self.dev.mount().block_size()) + 1;
            let each = self.dev.mount().credits(Credits::Append, 0);
            plan.more(each * u32::try_from(blocks)?);
        }
        Ok(())
    }

    // ---- operations ----

    /// Makes the object: an inode with its FID, in the index or in its place in `O/`. Its link
    /// count is 1, that of a directory 2 (for `.`); ids are those of root, times zero.
    ///
    /// # Errors
    /// `EEXIST`: it exists, or another object has its place. `ENOSPC`, `EDQUOT`, `EIO`.
    pub fn create(
        &self,
        run: &mut Running,
        o: &InUse,
        what: &Create<'_>,
        near: Option<(&InUse, &[u8])>,
    ) -> Result {
        if o.exists() {
            return Err(EEXIST);
        }
        let fid = *o.fid();
        let place = self.place(&fid);
        let node = match &place {
            Place::LastId(seq) => {
                let s = self.layout.hierarchy.find(&self.dev, *seq)?.ok_or(EINVAL)?;
                self.create_named(run, &s.dir, b"LAST_ID", what)?
            }
            Place::Hierarchy { seq, id } => {
                let s = self.layout.hierarchy.find(&self.dev, *seq)?.ok_or(EINVAL)?;
                let name = place::object_name(*seq, *id);
                self.create_named(run, s.bucket(*id)?, name.as_bytes(), what)?
            }
            Place::Index => match place::root_name(&fid) {
                Some(name) => {
                    let root = self.dev.root().clone();
                    self.create_named(run, &root, name.as_bytes(), what)?
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
        near: Option<(&InUse, &[u8])>,
    ) -> Result<Node> {
        if let Some((dir, name)) = near {
            let d = dir.node()?;
            if run.handle()?.locked(d.ino()).is_some() && !run.is_removed(&d, name) {
                return self.create_named(run, &d, name, what);
            }
        }
        if what.mode & S_IFMT == S_IFREG {
            let root = self.dev.root().clone();
            return run.handle()?.create_unnamed(&root, what.mode);
        }
        let name = Name::new(format_args!("{fid}"));
        let nursery = run.nursery()?;
        self.create_named(run, &nursery, name.as_bytes(), what)
    }

    fn create_named(
        &self,
        run: &mut Running,
        dir: &Node,
        name: &[u8],
        what: &Create<'_>,
    ) -> Result<Node> {
        let node = run
            .handle()?
            .create(dir, name, what.mode, what.rdev, what.target)?;
        // Until all of the object is there, or it is inserted, it goes again at the end.
        run.nurse(dir, name, &node)?;
        Ok(node)
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
    pub fn destroy(&self, run: &mut Running, o: &InUse) -> Result {
        let node = o.node()?;
        let fid = *o.fid();
        run.handle()?.attr_mut(&node)?.nlink = 0;
        match self.place(&fid) {
            Place::Hierarchy { seq, id } => {
                let s = self.layout.hierarchy.find(&self.dev, seq)?.ok_or(EINVAL)?;
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
            let root = self.dev.root().clone();
            if self.dev.find(&root, name.as_bytes())?.is_some() {
                run.remove_name(&root, name.as_bytes(), &node)?;
            }
        }
        run.retire(o.set_node(None));
        Ok(())
    }

    /// Gives an object a name. `.` and `..` of a directory are checked: ext4 sets them itself.
    ///
    /// # Errors
    /// `EEXIST`. `EINVAL`: not what `.` or `..` says. `ENOSPC`, `EIO`.
    pub fn insert(&self, run: &mut Running, dir: &InUse, name: &[u8], o: &InUse) -> Result {
        let (d, n) = (dir.node()?, o.node()?);
        if name == b"." {
            return if d.same(&n) { Ok(()) } else { Err(EINVAL) };
        }
        if name == b".." {
            // A new directory comes to its parent with the insertion there.
            return Ok(());
        }
        if !run.is_nursed(&d, name, &n)
            && !run.is_removed(&d, name)
            && self.dev.find(&d, name)?.is_some()
        {
            return Err(EEXIST);
        }
        run.insert_name(&d, name, &n)
    }

    /// Takes a name away from an object; link counts stay.
    ///
    /// # Errors
    /// `ENOENT`. `EAGAIN`: it is not the object's that was planned for.
    pub fn remove(&self, run: &mut Running, dir: &InUse, name: &[u8]) -> Result {
        let d = dir.node()?;
        if name == b"." || name == b".." {
            // They go with the directory.
            return Ok(());
        }
        if run.is_removed(&d, name) {
            return Err(ENOENT);
        }
        let found = self.dev.find(&d, name)?.ok_or(ENOENT)?;
        let node = run.handle()?.locked(found.ino.into()).ok_or(EAGAIN)?;
        run.remove_name(&d, name, &node)
    }

    /// One link more.
    pub fn ref_add(&self, run: &mut Running, o: &InUse) -> Result {
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
    pub fn ref_del(&self, run: &mut Running, o: &InUse) -> Result {
        let n = o.node()?;
        let h = run.handle()?;
        let a = h.attr_mut(&n)?;
        let many = a.mode & S_IFMT == S_IFDIR && a.nlink == 1;
        if !many {
            a.nlink = a.nlink.checked_sub(1).ok_or(EINVAL)?;
        }
        h.apply(&n)
    }

    /// Sets attributes. The size is set by writing and by truncation.
    ///
    /// # Errors
    /// `EDQUOT`, `EINVAL` (no such id), `EIO`.
    pub fn set_attr(&self, run: &mut Running, o: &InUse, s: &SetAttr) -> Result {
        let n = o.node()?;
        let h = run.handle()?;
        if s.ids.uid.is_some() || s.ids.gid.is_some() || s.ids.projid.is_some() {
            h.set_ids(&n, &s.ids)?;
        }
        let a = h.attr_mut(&n)?;
        if let Some(mode) = s.mode {
            a.mode = (a.mode & S_IFMT) | (mode & !S_IFMT);
        }
        if let Some(t) = s.atime {
            (a.atime, a.atime_nsec) = t;
        }
        if let Some(t) = s.mtime {
            (a.mtime, a.mtime_nsec) = t;
        }
        if let Some(t) = s.ctime {
            (a.ctime, a.ctime_nsec) = t;
        }
        if let Some(v) = s.version {
            a.version = v;
        }
        h.apply(&n)?;
        if let Some(flags) = s.flags {
            h.set_flags(&n, flags, SETTABLE_FLAGS)?;
        }
        Ok(())
    }

    /// Sets an xattr, or removes it.
    ///
    /// # Errors
    /// `ENODATA`, `ENOSPC`, `E2BIG`, `EDQUOT`, `EIO`.
    pub fn set_xattr(
        &self,
        run: &mut Running,
        o: &InUse,
        name: &CStr,
        value: Option<&[u8]>,
    ) -> Result {
        run.handle()?.set_xattr(&o.node()?, name, value, false)
    }

    /// Writes through the journal.
    pub fn write(&self, run: &mut Running, o: &InUse, off: u64, data: &[u8]) -> Result {
        o.with_blocks(|b| b.write(run.handle()?, off, data))
    }

    /// Reads a file of journalled blocks; less at the end.
    pub fn read(&self, o: &InUse, off: u64, buf: &mut [u8]) -> Result<usize> {
        o.with_blocks(|b| b.read(off, buf))
    }
}
