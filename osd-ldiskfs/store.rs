// SPDX-License-Identifier: GPL-2.0

//! The store: objects by FID and by name.

use crate::cache::{Cache, Held};
use crate::device::Device;
use crate::index::{Mapping, ObjectIndex};
use crate::lma;
use crate::object::Object;
use crate::place::{self, Place};
use crate::scrub::Scrub;
use crate::setup::{self, Layout};
use crate::Fid;
use kapi::ldiskfs::Node;
use kapi::prelude::*;
use wire::disk::lma::LmaIncompat;

/// The objects of a device.
pub(crate) struct Store {
    // First, so that it is dropped while the device is still there.
    cache: Cache,
    layout: Layout,
    dev: Arc<Device>,
    ost: bool,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.layout.scrub.stop();
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

/// None instead of what does not exist.
fn optional(found: Result<Node>) -> Result<Option<Node>> {
    match found {
        Ok(n) => Ok(Some(n)),
        Err(e) if e == ENOENT || e == ESTALE => Ok(None),
        Err(e) => Err(e),
    }
}

impl Store {
    /// Opens the layout of a device, that of an OST or of another target; what is missing of it
    /// is made.
    ///
    /// # Errors
    /// `EUCLEAN`: it cannot be served, the log says why. `ENOSPC`, `EIO`, `ENOMEM`. `EROFS`:
    /// something is missing, and the device was mounted for reading alone.
    pub(crate) fn open(dev: Arc<Device>, ost: bool) -> Result<Arc<Store>> {
        let layout = setup::open(&dev, ost)?;
        let store = Store {
            cache: Cache::new()?,
            layout,
            dev,
            ost,
        };
        Ok(Arc::new(store, GFP_KERNEL)?)
    }

    /// The device.
    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.dev
    }

    /// What the device holds.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Forgets the objects that nobody uses.
    pub(crate) fn shrink(&self) {
        self.cache.clear();
    }

    /// Objects in memory, in use or not.
    pub(crate) fn in_memory(&self) -> usize {
        self.cache.count()
    }

    /// The object index.
    pub(crate) fn oi(&self) -> &ObjectIndex {
        &self.layout.oi
    }

    /// Where the object of `fid` is to be found.
    pub(crate) fn place(&self, fid: &Fid) -> Place {
        place::place(fid, self.ost)
    }

    /// The object of `fid`, which may not exist.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: not an object (a quota file of ext4's). `EINPROGRESS`: the index does not know
    /// yet. `EIO`, `ENOMEM`.
    pub(crate) fn object(&self, fid: &Fid) -> Result<Held> {
        let o = self.cache.get(fid)?;
        o.search(|| match self.find_node(fid)? {
            // Local files have been put into the index at the mount.
            None if (fid.is_norm() || fid.is_igif())
                && self.place(fid) == Place::Index
                && !self.scrub().trusts(fid) =>
            {
                Err(EINPROGRESS)
            }
            found => Ok(found),
        })?;
        Ok(o)
    }

    /// The object of a `fid` that was not used before.
    ///
    /// # Errors
    /// As [`Store::object`], without `EINPROGRESS`.
    pub(crate) fn new_object(&self, fid: &Fid) -> Result<Held> {
        let o = self.cache.get(fid)?;
        o.search(|| self.find_node(fid))?;
        Ok(o)
    }

    /// What puts the object index right.
    pub(crate) fn scrub(&self) -> &Scrub {
        &self.layout.scrub
    }

    /// Inode `node` is that of `fid` from now on.
    pub(crate) fn began(&self, node: &Node, fid: &Fid) {
        self.cache.name(node.ino(), fid);
    }

    /// Inode `node` is going to be free.
    pub(crate) fn ended(&self, node: &Node) {
        self.cache.unname(node.ino());
    }

    /// The same, whether anything is known of it or not.
    pub(crate) fn known(&self, fid: &Fid) -> Result<Held> {
        self.cache.get(fid)
    }

    fn find_node(&self, fid: &Fid) -> Result<Option<Node>> {
        let named = |dir: &Node, name: &[u8]| optional(self.dev.lookup(dir, name));
        let found = match self.place(fid) {
            Place::Root => return Ok(Some(self.dev.root().clone())),
            Place::Accounting => return Err(EOPNOTSUPP),
            Place::LastId(seq) => match self.layout.hierarchy.find(&self.dev, seq)? {
                Some(s) => named(&s.dir, b"LAST_ID")?,
                None => None,
            },
            Place::Hierarchy { seq, id } => match self.layout.hierarchy.find(&self.dev, seq)? {
                Some(s) => named(s.bucket(id)?, place::object_name(seq, id).as_bytes())?,
                None => None,
            },
            Place::Index => match (self.mapping(fid)?, place::root_name(fid)) {
                (Some(m), _) => optional(self.dev.mount().iget(m.ino.into(), m.generation))?,
                (None, Some(name)) => named(self.dev.root(), name.as_bytes())?,
                (None, None) => None,
            },
        };
        let Some(node) = found else { return Ok(None) };
        // The inode has the last word on whose it is.
        match lma::read(&node)? {
            Some(lma) if !same_fid(&lma.fid(), fid) => {
                if self.place(fid) == Place::Index && self.scrub().suspect(fid) {
                    return Err(EINPROGRESS);
                }
                pr_warn_ratelimited!("{}: leads to the inode of {}\n", fid, lma.fid());
                Ok(None)
            }
            _ => Ok(Some(node)),
        }
    }

    fn mapping(&self, fid: &Fid) -> Result<Option<Mapping>> {
        self.oi().lookup(fid).inspect_err(|e| {
            if *e == EIO {
                self.scrub().damaged(fid);
            }
        })
    }

    /// The FID of the object of inode `ino`, which some directory names.
    ///
    /// # Errors
    /// `ESTALE`: no such inode. `EOPNOTSUPP`: it has a flag that is not known.
    fn fid_of(&self, ino: u64) -> Result<Fid> {
        if let Some(fid) = self.cache.fid_of(ino) {
            return Ok(fid);
        }
        let node = self.dev.mount().iget(ino, 0)?;
        let Some(lma) = lma::read(&node)? else {
            return crate::hierarchy::self_fid(&node);
        };
        let fid = lma.fid();
        if !lma.incompat().contains(LmaIncompat::AGENT) {
            // Whoever asks for the FID will ask for the object.
            let o = self.cache.get(&fid)?;
            o.search(|| match node.attr().nlink {
                0 => self.find_node(&fid),
                _ => Ok(Some(node)),
            })?;
            // In this order: who ends the object ends the name behind that.
            self.cache.name(ino, &fid);
            if !o.node().is_ok_and(|n| n.ino() == ino) {
                self.cache.unname(ino);
            }
        }
        Ok(fid)
    }

    /// The FID of a name in a directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EIO`.
    pub(crate) fn lookup(&self, dir: &Object, name: &[u8]) -> Result<Fid> {
        let found = self.dev.find(&dir.node()?, name)?.ok_or(ENOENT)?;
        self.entry_fid(dir, name, found.ino.into())
    }

    /// The FID of an entry. What is above the root of the name space is nobody's business.
    pub(crate) fn entry_fid(&self, dir: &Object, name: &[u8], ino: u64) -> Result<Fid> {
        if name == b".." && dir.fid().is_root() {
            return Ok(*dir.fid());
        }
        self.fid_of(ino)
    }
}

/// How often an inode that is being made is looked at again.
const MAKING: u32 = 100;

/// Gets an inode by its number alone: ext4 says `ENOMEM` of one that is just being made, too. Not inside a
/// handle, nor with a directory locked.
pub(crate) fn when_made<T>(mut get: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..MAKING {
        match get() {
            Err(e) if e == ENOMEM => kapi::time::sleep(Duration::from_millis(10)),
            r => return r,
        }
    }
    get()
}
