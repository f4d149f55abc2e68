// SPDX-License-Identifier: GPL-2.0

//! Objects of an OST that e2fsck found without a name, and put into `lost+found`, go back to where
//! their FIDs are looked for (`ondisk.md` 15.4).

use crate::device::Device;
use crate::hierarchy::Hierarchy;
use crate::lma;
use crate::place::{self, Name, Place};
use crate::txn::Plan;
use kapi::ldiskfs::{Credits, Node, Walk};
use kapi::prelude::*;
use osd::{LostFound, S_IFMT, S_IFREG};

/// Longer names are not e2fsck's.
const NAME_MAX: usize = 32;

/// Looks through `lost+found`.
///
/// # Errors
/// Those of reading it; what cannot be brought back is counted.
pub(crate) fn bring_back(dev: &Arc<Device>, hierarchy: &Hierarchy) -> Result<LostFound> {
    let mut counts = LostFound::default();
    let dir = match dev.lookup(dev.root(), b"lost+found") {
        Err(e) if e == ENOENT => return Ok(counts),
        other => other?,
    };
    let mut names: KVVec<Name> = KVVec::new();
    dir.readdir(0, &mut |e| {
        if e.name.starts_with(b"#") && e.name.len() <= NAME_MAX {
            let name = core::str::from_utf8(e.name).unwrap_or_default();
            names.push(Name::new(format_args!("{name}")), GFP_KERNEL)?;
        }
        Ok(Walk::Next)
    })?;
    for name in names.iter() {
        counts.scanned += 1;
        match back(dev, hierarchy, &dir, name.as_bytes()) {
            Ok(true) => counts.repaired += 1,
            Ok(false) => {}
            Err(e) => {
                counts.failed += 1;
                let name = core::str::from_utf8(name.as_bytes()).unwrap_or("?");
                pr_warn!("lost+found/{}: {:?}\n", name, e);
            }
        }
    }
    Ok(counts)
}

/// Whether it is back in its place.
fn back(dev: &Arc<Device>, hierarchy: &Hierarchy, dir: &Node, name: &[u8]) -> Result<bool> {
    let node = dev.lookup(dir, name)?;
    if node.attr().mode & S_IFMT != S_IFREG {
        return Ok(false);
    }
    let Some(lma) = lma::read(&node)? else {
        return Ok(false);
    };
    let fid = lma.fid();
    let Place::Hierarchy { seq, id } = place::place(&fid, true) else {
        return Ok(false);
    };
    let dirs = hierarchy.make(dev, seq)?;
    let (bucket, to) = (dirs.bucket(id)?, place::object_name(seq, id));
    if dev.find(bucket, to.as_bytes())?.is_some() {
        pr_warn!("{}: is in lost+found, and its place is taken\n", fid);
        return Ok(false);
    }
    let mut plan = Plan::new(dev);
    plan.credits(Credits::Rename, 0);
    plan.lock(dir)?;
    plan.lock(bucket)?;
    plan.lock(&node)?;
    let mut run = plan.start()?;
    let done = run
        .handle()?
        .rename(dir, name, &node, bucket, to.as_bytes());
    run.stop()?;
    done?;
    pr_info!("{}: back from lost+found\n", fid);
    Ok(true)
}
