// SPDX-License-Identifier: GPL-2.0

//! The files of the object index at the mount: found, made, or made anew (`ondisk.md` 4.2, 15.2).

use crate::device::Device;
use crate::index::ObjectIndex;
use crate::place::Name;
use crate::scrub::Record;
use crate::setup::local_file;
use crate::txn::Plan;
use kapi::ldiskfs::{Credits, Node, Walk};
use kapi::prelude::*;
use wire::disk::names::root as top;
use wire::disk::scrub::{has, Files, ScrubFlags, OSD_OI_FID_NR, OSD_OI_FID_NR_MAX};

const MAX_COUNT: usize = OSD_OI_FID_NR_MAX as usize;

fn name(i: usize) -> Name {
    Name::new(format_args!("{}{i}", top::OI_PREFIX))
}

/// How many files there are: as many as `record` says, or, on old targets, as are found.
fn count(dev: &Arc<Device>, record: &Record) -> Result<usize> {
    let mut n = usize::from(record.disk.sf_oi_count.get());
    if n == 0 {
        while n < MAX_COUNT && dev.find(dev.root(), name(n).as_bytes())?.is_some() {
            n += 1;
        }
    }
    if n == 0 {
        n = OSD_OI_FID_NR.into();
    }
    if !n.is_power_of_two() {
        pr_err!("{} files of the object index\n", n);
        return Err(EUCLEAN);
    }
    Ok(n)
}

/// Removes a file of the index.
fn remove(dev: &Arc<Device>, name: &[u8]) -> Result {
    let node = dev.lookup(dev.root(), name)?;
    let mut plan = Plan::new(dev);
    plan.lock(dev.root())?;
    plan.lock(&node)?;
    plan.credits(Credits::Unlink, 0);
    plan.more(node.drop_credits()?);
    let mut run = plan.start()?;
    let h = run.handle()?;
    h.drop_values(&node)?;
    h.attr_mut(&node)?.nlink = 0;
    h.unlink(dev.root(), name, &node, true)?;
    run.stop()
}

fn remove_all(dev: &Arc<Device>) -> Result {
    let mut names: KVVec<Name> = KVVec::new();
    dev.root().readdir(0, &mut |e| {
        if e.name.starts_with(b"oi.16") {
            let name = core::str::from_utf8(e.name).unwrap_or_default();
            names.push(Name::new(format_args!("{name}")), GFP_KERNEL)?;
        }
        Ok(Walk::Next)
    })?;
    names.iter().try_for_each(|n| remove(dev, n.as_bytes()))
}

/// A file of the index, if it is there and good.
fn find(dev: &Arc<Device>, name: &[u8]) -> Result<Option<Node>> {
    match dev.lookup(dev.root(), name) {
        Ok(node) => Ok(ObjectIndex::is_file(&node).then_some(node)),
        Err(e) if e == ENOENT || e == ESTALE => Ok(None),
        Err(e) => Err(e),
    }
}

/// Opens the index of a target, `used` if it has been served before. What is lost or damaged is
/// made anew, and `record` says so: all inodes are to be scanned then.
///
/// # Errors
/// `EUCLEAN`: the index is to be made anew, and the mount is for reading alone; or the number of
/// its files is none that can be. `ENOSPC`, `EIO`, `ENOMEM`.
pub(crate) fn open(dev: &Arc<Device>, record: &mut Record, used: bool) -> Result<ObjectIndex> {
    let root = dev.root();
    let uuid = dev.mount().superblock().uuid;
    let restored = record.disk.sf_uuid != uuid;
    let mut lost: Files = match record.disk.is_unfinished() {
        // These have been made anew, and are not complete.
        true => [0; 128],
        false => record.disk.sf_oi_bitmap,
    };
    if restored {
        pr_warn!("the object index is lost, or that of another file system: it is made anew\n");
        dev.can_repair()?;
        record.disk.restart();
        record.disk.sf_oi_bitmap = [0; 128];
        lost = [0; 128];
        record
            .disk
            .flag(ScrubFlags::INCONSISTENT | ScrubFlags::AUTO);
        record.save(dev)?;
        remove_all(dev)?;
    }
    // The oldest targets have one without a number.
    if let Ok(one) = dev.lookup(root, b"oi.16") {
        return ObjectIndex::open(&[one]);
    }
    let n = count(dev, record)?;
    let mut nodes = KVec::with_capacity(n, GFP_KERNEL)?;
    for i in 0..n {
        let name = name(i);
        if used && !restored {
            let found = find(dev, name.as_bytes())?.filter(|_| !has(&lost, i));
            if let Some(node) = found {
                nodes.push(node, GFP_KERNEL)?;
                continue;
            }
            pr_warn!("oi.16.{} is lost or damaged: it is made anew\n", i);
            dev.can_repair()?;
            // Written down first: a crash must not leave an empty one that nobody suspects.
            record.disk.restart();
            record.disk.recreate(i);
            record.save(dev)?;
            match remove(dev, name.as_bytes()) {
                Err(e) if e == ENOENT => {}
                other => other?,
            }
        }
        let node = local_file(dev, root, name.as_bytes(), 2, ObjectIndex::format)?;
        nodes.push(node, GFP_KERNEL)?;
    }
    if restored {
        record.disk.sf_uuid = uuid;
        record.disk.sf_oi_count.set(u16::try_from(n)?);
        record.save(dev)?;
    }
    ObjectIndex::open(&nodes)
}
