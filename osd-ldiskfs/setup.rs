// SPDX-License-Identifier: GPL-2.0

//! What a mount finds on the device, or makes there (`ondisk.md` 3, 15.4, 18.1).

use crate::device::Device;
use crate::hierarchy::{local_dir, self_fid, Hierarchy};
use crate::index::{Mapping, ObjectIndex};
use crate::lma::{self, Lma};
use crate::place::{self, Name, Place};
use crate::txn::{Plan, Running};
use crate::Fid;
use kapi::ldiskfs::{BlockFile, Credits, Node, Walk};
use kapi::prelude::*;
use wire::fid::oid;

const OI_COUNT: u32 = 64;
const MAX_OI_COUNT: u32 = 1024;
/// Directories below a sequence, where `last_rcvd` does not say.
const BUCKETS: u32 = 32;

mod scrub {
    //! The file `OI_scrub` (`ondisk.md` 15.1).
    pub(crate) const LEN: usize = 400;
    pub(crate) const MAGIC: u32 = 0x4c5f_e253;
    pub(crate) const MAGIC_V1: u32 = 0x4c5f_d252;
    pub(crate) const FLAGS_AT: usize = 16;
    pub(crate) const MAGIC_AT: usize = 24;
    pub(crate) const OI_COUNT_AT: usize = 136;
    pub(crate) const INTERNAL_AT: usize = 138;
    /// OI files were made anew, or do not fit the inodes: a scan is due.
    pub(crate) const REBUILD: u64 = 0x3;
    pub(crate) const NO_OLD_FIDS: u16 = 1;
}

/// What a store needs of the device's layout.
pub(crate) struct Layout {
    /// The object index.
    pub(crate) oi: ObjectIndex,
    /// `O/`.
    pub(crate) hierarchy: Pin<KBox<Hierarchy>>,
    /// Where objects wait that are made before their place is known.
    pub(crate) nursery: Node,
}

/// A file of the target's own without a FID of its own; `init` fills a new one, for which it has
/// `blocks` blocks.
fn local_file(
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
    let lma = Lma {
        compat: lma::NOT_IN_OI,
        incompat: 0,
        fid: self_fid(&node)?,
    };
    h.set_xattr(&node, lma::NAME, Some(&lma.bytes()), true)?;
    init(&mut run, &node)?;
    run.stop()?;
    Ok(node)
}

/// Gives an inode an LMA.
fn label(dev: &Arc<Device>, node: &Node, compat: u32, fid: Fid) -> Result<Lma> {
    let lma = Lma {
        compat,
        incompat: 0,
        fid,
    };
    let mut plan = Plan::new(dev);
    plan.lock(node)?;
    plan.credits(Credits::Xattr, lma::LEN);
    let mut run = plan.start()?;
    run.handle()?
        .set_xattr(node, lma::NAME, Some(&lma.bytes()), true)?;
    run.stop()?;
    Ok(lma)
}

fn open_scrub(dev: &Arc<Device>) -> Result<u32> {
    let uuid = dev.mount().superblock().uuid;
    let mut block = KVec::from_elem(0_u8, scrub::LEN, GFP_KERNEL)?;
    let node = local_file(dev, dev.root(), b"OI_scrub", 1, |run, node| {
        let fields: [(usize, &[u8]); 4] = [
            (0, &uuid),
            (scrub::MAGIC_AT, &scrub::MAGIC.to_le_bytes()),
            (scrub::OI_COUNT_AT, &(OI_COUNT as u16).to_le_bytes()),
            (scrub::INTERNAL_AT, &scrub::NO_OLD_FIDS.to_le_bytes()),
        ];
        for (at, v) in fields {
            if let Some(to) = block.get_mut(at..at + v.len()) {
                to.copy_from_slice(v);
            }
        }
        BlockFile::open(node)?.write(run.handle()?, 0, &block)
    })?;
    let n = BlockFile::open(&node)?.read(0, &mut block)?;
    let at = |i: usize| block.get(i..).unwrap_or_default();
    let magic = at(scrub::MAGIC_AT).first_chunk().map(|b| u32::from_le_bytes(*b));
    let flags = at(scrub::FLAGS_AT).first_chunk().map(|b| u64::from_le_bytes(*b));
    let count = at(scrub::OI_COUNT_AT).first_chunk().map(|b| u16::from_le_bytes(*b));
    if n < scrub::INTERNAL_AT || !matches!(magic, Some(scrub::MAGIC | scrub::MAGIC_V1)) {
        pr_err!("OI_scrub is damaged\n");
        return Err(EUCLEAN);
    }
    if at(0).get(..16) != Some(&uuid) {
        pr_err!("the object index is that of another file system: it was restored from files\n");
        return Err(EUCLEAN);
    }
    if flags.is_none_or(|f| f & scrub::REBUILD != 0) {
        pr_err!("the object index waits for a scan of all inodes\n");
        return Err(EUCLEAN);
    }
    Ok(u32::from(count.unwrap_or(0)))
}

fn open_oi(dev: &Arc<Device>, count: u32) -> Result<ObjectIndex> {
    let root = dev.root();
    let mut nodes = KVec::new();
    let mut wanted = count;
    if wanted == 0 {
        // Old targets do not say; and the oldest have one without a number.
        if let Ok(one) = dev.lookup(root, b"oi.16") {
            nodes.push(one, GFP_KERNEL)?;
            return ObjectIndex::open(&nodes);
        }
        while wanted < MAX_OI_COUNT {
            let name = Name::new(format_args!("oi.16.{wanted}"));
            if dev.find(root, name.as_bytes())?.is_none() {
                break;
            }
            wanted += 1;
        }
        if wanted == 0 {
            wanted = OI_COUNT;
        }
    }
    if !wanted.is_power_of_two() || wanted > MAX_OI_COUNT {
        pr_err!("{} files of the object index\n", wanted);
        return Err(EUCLEAN);
    }
    let first = dev.find(root, b"oi.16.0")?.is_some();
    for i in 0..wanted {
        let name = Name::new(format_args!("oi.16.{i}"));
        if first && dev.find(root, name.as_bytes())?.is_none() && i > 0 && dev_used(dev)? {
            pr_err!("oi.16.{} is missing\n", i);
            return Err(EUCLEAN);
        }
        let n = local_file(dev, root, name.as_bytes(), 2, ObjectIndex::format)?;
        nodes.push(n, GFP_KERNEL)?;
    }
    ObjectIndex::open(&nodes)
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
pub(crate) fn open(dev: &Arc<Device>) -> Result<Layout> {
    let root = dev.root();
    if Lma::read(root)?.is_none() {
        label(dev, root, lma::NOT_IN_OI, Fid::local(oid::OSD_ROOT))?;
    }
    let flags = lma::NOT_IN_OI | lma::FID_ON_OST;
    let top = local_dir(dev, root, b"O", 0o755, flags, None)?;
    let mut nursery = top.clone();
    if !dev.is_ost() {
        let fid = Fid::local(oid::REMOTE_PARENT_DIR);
        nursery = local_dir(
            dev,
            root,
            b"REMOTE_PARENT_DIR",
            0o755,
            lma::NOT_IN_OI,
            Some(fid),
        )?;
    }
    let fid = Fid::local(oid::INDEX_BACKUP);
    local_dir(
        dev,
        root,
        b"index_backup",
        0o755,
        lma::NOT_IN_OI,
        Some(fid),
    )?;
    let count = open_scrub(dev)?;
    let oi = open_oi(dev, count)?;
    let hierarchy = Hierarchy::new(top, buckets(dev)?)?;
    let layout = Layout {
        oi,
        hierarchy,
        nursery,
    };
    scan(dev, &layout.oi)?;
    Ok(layout)
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
fn scan(dev: &Arc<Device>, oi: &ObjectIndex) -> Result {
    let root = dev.root();
    scan_dir(dev, oi, root, true)?;
    for name in SCANNED {
        match dev.lookup(root, name.as_bytes()) {
            Ok(dir) => scan_dir(dev, oi, &dir, false)?,
            Err(e) if e == ENOENT => {}
            Err(e) => return Err(e),
        }
    }
    if let Ok(ns) = dev.lookup(root, b"ROOT") {
        if let Ok(dot) = dev.lookup(&ns, b".lustre") {
            check(dev, oi, &dot, b".lustre", false)?;
            scan_dir(dev, oi, &dot, false)?;
        }
    }
    Ok(())
}

fn scan_dir(dev: &Arc<Device>, oi: &ObjectIndex, dir: &Node, root: bool) -> Result {
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
        match dev.mount().iget(e.ino, 0) {
            Ok(node) => check(dev, oi, &node, name, root)?,
            // An entry without an inode is e2fsck's business.
            Err(e) if e == ESTALE => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn check(dev: &Arc<Device>, oi: &ObjectIndex, node: &Node, name: &[u8], root: bool) -> Result {
    let lma = match Lma::read(node)? {
        Some(lma) => lma,
        None => {
            let known = place::NAMED
                .iter()
                .find(|(_, n)| root && n.as_bytes() == name);
            let fid = match known {
                Some((oid, _)) => Fid::local(*oid),
                None => self_fid(node)?,
            };
            label(dev, node, 0, fid)?
        }
    };
    if lma.compat & lma::NOT_IN_OI != 0
        || lma.incompat & lma::AGENT != 0
        || place::place(&lma.fid, dev.is_ost()) != Place::Index
    {
        return Ok(());
    }
    let here = Mapping::of(node)?;
    let known = oi.lookup(&lma.fid)?;
    if known == Some(here) {
        return Ok(());
    }
    let mut plan = Plan::new(dev);
    plan.more(oi_credits(dev));
    let mut run = plan.start()?;
    if known.is_some() {
        pr_warn!("{}: the index had another inode\n", lma.fid);
        oi.update(&mut run, &lma.fid, here)?;
    } else {
        oi.insert(&mut run, &lma.fid, here)?;
    }
    run.stop()?;
    Ok(())
}

/// Journal credits for a change of the object index: a leaf and its parent, split; more levels
/// are rare enough to be covered by what else a transaction does not use.
pub(crate) fn oi_credits(dev: &Device) -> u32 {
    let m = dev.mount();
    m.credits(Credits::Attr, 0) + 5 * m.credits(Credits::Block, 0) + m.credits(Credits::Append, 0)
}
