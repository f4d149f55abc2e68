// SPDX-License-Identifier: GPL-2.0

//! Opens and closes, and the end of what has no name (`mdt.md` 9.4, `ondisk.md` 13.2).

use crate::runner::{Alone, Runner};
use crate::{Mdd, OpenMode};
use kapi::prelude::*;
use osd::{Fid, ObjectRef, SetAttr, Walk};
use wire::disk::names::fid_name;

/// Orphans that are looked up before they are destroyed.
const BATCH: usize = 64;

impl Mdd {
    /// Counts an open of an object, to be ended by [`Mdd::close`].
    ///
    /// # Errors
    /// `ENOENT`: it is going. `ETXTBSY`: writing and execution exclude each other.
    pub fn count_open(&self, o: &ObjectRef, mode: OpenMode) -> Result {
        self.opens.open(o.fid(), mode)
    }

    /// Ends an open. What has no name and is not open any more is destroyed.
    pub fn close(&self, fid: &Fid, mode: OpenMode) {
        if self.opens.close(fid, mode) {
            self.end_orphan(fid);
        }
    }

    /// Whether an object has no name.
    pub fn is_orphan(&self, fid: &Fid) -> bool {
        self.opens.is_orphan(fid)
    }

    /// Ends what was made without a name, unless it is open.
    pub fn abandon(&self, fid: &Fid) {
        if self.opens.abandon(fid) {
            self.end_orphan(fid);
        }
    }

    /// Destroys an orphan that was marked as dying.
    pub(crate) fn end_orphan(&self, fid: &Fid) {
        if let Err(e) = self.destroy_orphan(fid) {
            pr_err!("orphan {} stays until the next mount: {:?}\n", fid, e);
        }
        self.opens.destroyed(fid);
    }

    fn destroy_orphan(&self, fid: &Fid) -> Result {
        let o = self.osd.object(fid)?;
        let name = fid_name(fid).map_err(|_| EINVAL)?;
        self.destroy_pending(&o, name.as_bytes())
    }

    fn destroy_pending(&self, o: &ObjectRef, name: &[u8]) -> Result {
        let a = o.attr()?;
        let mut plan = self.osd.plan()?;
        plan.remove(&self.pending, name)?;
        plan.attr(&self.pending, &SetAttr::default())?;
        let mut updates = self.plan_end(&mut plan, o, &a)?;
        Alone.run(plan, &mut |tx, _| {
            tx.remove(&self.pending, name)?;
            if let Some(u) = &mut updates {
                u.commit(tx)?;
            }
            if a.is_dir() {
                tx.ref_del(&self.pending)?;
            }
            tx.destroy(o)
        })
    }

    /// Destroys the orphans that nobody has open. Returns how many.
    ///
    /// # Errors
    /// `ENOMEM`, `EIO`. A single orphan that cannot be destroyed is reported and stays.
    pub fn clean_orphans(&self) -> Result<usize> {
        let mut pos = 0;
        let mut count = 0;
        loop {
            let mut batch: KVec<(Fid, KVec<u8>)> = KVec::with_capacity(BATCH, GFP_KERNEL)?;
            pos = self.pending.readdir(pos, &mut |e| {
                if e.name == b"." || e.name == b".." {
                    return Ok(Walk::Next);
                }
                if batch.len() == BATCH {
                    return Ok(Walk::Stop);
                }
                let mut name = KVec::new();
                name.extend_from_slice(e.name, GFP_KERNEL)?;
                batch.push((e.fid, name), GFP_KERNEL)?;
                Ok(Walk::Next)
            })?;
            let more = batch.len() == BATCH;
            for (fid, name) in &batch {
                if self.opens.is_orphan(fid) {
                    continue;
                }
                let done = self
                    .osd
                    .object(fid)
                    .and_then(|o| self.destroy_pending(&o, name));
                match done {
                    Ok(()) => count += 1,
                    Err(e) => pr_err!("orphan {} stays: {:?}\n", fid, e),
                }
            }
            if !more {
                return Ok(count);
            }
        }
    }
}
