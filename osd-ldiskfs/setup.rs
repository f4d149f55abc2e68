// SPDX-License-Identifier: GPL-2.0

//! What a mount finds on the device, or makes there (`ondisk.md` 3, 15.4, 18.1).

use crate::device::Device;
use crate::hierarchy::{local_dir, self_fid, Hierarchy, HIERARCHY};
use crate::index::{Mapping, ObjectIndex};
use crate::lma;
use crate::lost_found;
use crate::oi_files;
use crate::place::{self, Name, Place};
use crate::scrub::{Record, Scrub};
use crate::txn::{Plan, Running};
use crate::Fid;
use core::cell::Cell;
use kapi::ldiskfs::{BlockFile, Credits, Node, Walk};
use kapi::prelude::*;
use wire::disk::lma::{LmaCompat, LmaIncompat};
use wire::disk::scrub::{has, mark, Files};
use wire::fid::oid;

/// Directories below a sequence, where `last_rcvd` does not say.
const BUCKETS: u32 = 32;

/// What a store needs of the device's layout.
pub(crate) struct Layout {
    /// The object index.
    pub(crate) oi: Arc<ObjectIndex>,
    /// What puts it right.
    pub(crate) scrub: Arc<Scrub>,
    /// `O/`.
    pub(crate) hierarchy: Pin<KBox<Hierarchy>>,
    /// Where objects wait that are made before their place is known.
    pub(crate) nursery: Node,
}

/// A file of the target's own without a FID of its own; `init` fills a new one, for which it has
/// `blocks` blocks.
pub(crate) fn local_file(
    dev: &Arc<Device>,
    parent: &Node,
    name: &[u8],
    blocks: u32,
    init: impl FnOnce(&mut Running, &Node) -> Result,
) -> Result<Node> {
    match dev.lookup(parent, name) {
        Err(e) if e == ENOENT => {}
        other => return other,
    }
    let mut plan = Plan::new(dev);
    plan.lock(parent)?;
    plan.credits(Credits::Create, 0);
    plan.credits(Credits::XattrNew, lma::LEN);
    plan.more(blocks * dev.mount().credits(Credits::Append, 0));
    let mut run = plan.start()?;
    let h = run.handle()?;
    let node = h.create(parent, name, 0o100644, 0, None)?;
    let now = kapi::time::real().as_secs() as i64;
    let a = h.attr_mut(&node)?;
    (a.atime, a.mtime, a.ctime) = (now, now, now);
    lma::write(h, &node, &self_fid(&node)?, LmaCompat::NOT_IN_OI)?;
    init(&mut run, &node)?;
    run.stop()?;
    Ok(node)
}

/// Gives an inode an LMA.
fn label(dev: &Arc<Device>, node: &Node, compat: LmaCompat, fid: &Fid) -> Result {
    let mut plan = Plan::new(dev);
    plan.lock(node)?;
    plan.credits(Credits::Xattr, lma::LEN);
    let mut run = plan.start()?;
    lma::write(run.handle()?, node, fid, compat)?;
    run.stop()
}

/// Whether a first mount got past the index.
fn dev_used(dev: &Arc<Device>) -> Result<bool> {
    Ok(dev.find(dev.root(), b"last_rcvd")?.is_some())
}

fn buckets(dev: &Arc<Device>) -> Result<u32> {
    const SUBDIR_COUNT_AT: u64 = 86;
    let node = match dev.lookup(dev.root(), b"last_rcvd") {
        Ok(n) => n,
        Err(e) if e == ENOENT => return Ok(BUCKETS),
        Err(e) => return Err(e),
    };
    let mut b = [0; 2];
    let n = BlockFile::open(&node)?.read(SUBDIR_COUNT_AT, &mut b)?;
    Ok(match u16::from_le_bytes(b) {
        0 => BUCKETS,
        _ if n < 2 => BUCKETS,
        n => n.into(),
    })
}

/// Opens the layout of a device, and makes what is missing.
///
/// # Errors
/// `EUCLEAN`: it cannot be served as it is; the log says why. `ENOSPC`, `EIO`.
pub(crate) fn open(dev: &Arc<Device>, ost: bool) -> Result<Layout> {
    let root = dev.root();
    if lma::read(root)?.is_none() && !dev.is_readonly() {
        label(dev, root, LmaCompat::NOT_IN_OI, &Fid::local(oid::OSD_ROOT))?;
    }
    let top = local_dir(dev, root, b"O", 0o755, HIERARCHY, None)?;
    let mut nursery = top.clone();
    if !ost && !dev.is_readonly() {
        let fid = Fid::local(oid::REMOTE_PARENT_DIR);
        nursery = local_dir(
            dev,
            root,
            b"REMOTE_PARENT_DIR",
            0o755,
            LmaCompat::NOT_IN_OI,
            Some(fid),
        )?;
    }
    if !dev.is_readonly() {
        let fid = Fid::local(oid::INDEX_BACKUP);
        local_dir(
            dev,
            root,
            b"index_backup",
            0o755,
            LmaCompat::NOT_IN_OI,
            Some(fid),
        )?;
    }
    let used = dev_used(dev)?;
    let mut record = Record::open(dev, used)?;
    let oi = Arc::new(open_oi(dev, &mut record, used, ost)?, GFP_KERNEL)?;
    let scrub = Scrub::new(dev, &oi, ost, record)?;
    let hierarchy = Hierarchy::new(top, buckets(dev)?)?;
    let layout = Layout {
        oi,
        scrub,
        hierarchy,
        nursery,
    };
    if !dev.is_readonly() {
        if ost {
            let found = lost_found::bring_back(dev, &layout.hierarchy)?;
            layout.scrub.set_lost_found(found);
        }
        layout.scrub.start()?;
    }
    Ok(layout)
}

/// Opens the object index, with the local files in it. A file of the index that cannot take them is
/// made anew.
#[inline(never)]
fn open_oi(dev: &Arc<Device>, record: &mut Record, used: bool, ost: bool) -> Result<ObjectIndex> {
    let mut damaged: Files = [0; 128];
    loop {
        let oi = oi_files::open(dev, record, used)?;
        if dev.is_readonly() {
            return Ok(oi);
        }
        let scan = Scan {
            dev,
            oi: &oi,
            ost,
            broken: Cell::new(None),
        };
        match (scan.all(), scan.broken.get()) {
            (Ok(()), _) => return Ok(oi),
            // Once for each: a disk that fails is another matter.
            (Err(_), Some(i)) if !has(&damaged, i) => {
                mark(&mut damaged, i);
                record.disk.restart();
                record.disk.recreate(i);
                record.save(dev)?;
            }
            (Err(e), _) => return Err(e),
        }
    }
}

/// Directories of the root whose entries are scanned, too.
const SCANNED: &[&str] = &[
    "CONFIGS",
    "NIDTBL_VERSIONS",
    "quota_master",
    "quota_slave",
    "LFSCK",
    "update_log_dir",
];

/// Sees to it that local files have an LMA and are in the index.
struct Scan<'a> {
    dev: &'a Arc<Device>,
    oi: &'a ObjectIndex,
    ost: bool,
    /// The file of the index that turned out to be damaged.
    broken: Cell<Option<usize>>,
}

impl Scan<'_> {
    fn all(&self) -> Result {
        let root = self.dev.root();
        self.dir(root, true)?;
        for name in SCANNED {
            match self.dev.lookup(root, name.as_bytes()) {
                Ok(dir) => self.dir(&dir, false)?,
                Err(e) if e == ENOENT => {}
                Err(e) => return Err(e),
            }
        }
        if let Ok(ns) = self.dev.lookup(root, b"ROOT") {
            if let Ok(dot) = self.dev.lookup(&ns, b".lustre") {
                self.check(&dot, b".lustre", false)?;
                self.dir(&dot, false)?;
            }
        }
        Ok(())
    }

    fn dir(&self, dir: &Node, root: bool) -> Result {
        struct Entry {
            ino: u64,
            name: Name,
        }
        let mut found: KVVec<Entry> = KVVec::new();
        dir.readdir(0, &mut |e| {
            if e.name != b"." && e.name != b".." {
                let name = core::str::from_utf8(e.name).unwrap_or("?");
                let name = Name::new(format_args!("{name}"));
                found.push(Entry { ino: e.ino, name }, GFP_KERNEL)?;
            }
            Ok(Walk::Next)
        })?;
        for e in found.iter() {
            let name = e.name.as_bytes();
            if name.starts_with(b"oi.16") {
                continue;
            }
            match self.dev.mount().iget(e.ino, 0) {
                Ok(node) => self.check(&node, name, root)?,
                // An entry without an inode is e2fsck's business.
                Err(e) if e == ESTALE => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn check(&self, node: &Node, name: &[u8], root: bool) -> Result {
        let dev = self.dev;
        let fid = match lma::read(node)? {
            Some(lma)
                if lma.compat().contains(LmaCompat::NOT_IN_OI)
                    || lma.incompat().contains(LmaIncompat::AGENT) =>
            {
                return Ok(())
            }
            Some(lma) => lma.fid(),
            None => {
                let known = place::NAMED
                    .iter()
                    .find(|(_, n)| root && n.as_bytes() == name);
                let fid = match known {
                    Some((oid, _)) => Fid::local(*oid),
                    None => self_fid(node)?,
                };
                label(dev, node, LmaCompat::empty(), &fid)?;
                fid
            }
        };
        if place::place(&fid, self.ost) != Place::Index {
            return Ok(());
        }
        self.enter(node, &fid).inspect_err(|e| {
            if *e == EIO {
                self.broken.set(Some(self.oi.file_of(&fid)));
            }
        })
    }

    /// Sees to it that the index has an inode.
    fn enter(&self, node: &Node, fid: &Fid) -> Result {
        let dev = self.dev;
        let here = Mapping::of(node)?;
        let known = self.oi.lookup(fid)?;
        if known == Some(here) {
            return Ok(());
        }
        let mut plan = Plan::new(dev);
        plan.more(oi_credits(dev));
        let mut run = plan.start()?;
        if known.is_some() {
            pr_warn!("{}: the index had another inode\n", fid);
            self.oi.update(&mut run, fid, here)?;
        } else {
            self.oi.insert(&mut run, fid, here)?;
        }
        run.stop()
    }
}

/// Journal credits for a change of the object index: a leaf and its parent, split; more levels
/// are rare enough to be covered by what else a transaction does not use.
pub(crate) fn oi_credits(dev: &Device) -> u32 {
    let m = dev.mount();
    m.credits(Credits::Attr, 0) + 5 * m.credits(Credits::Block, 0) + m.credits(Credits::Append, 0)
}
