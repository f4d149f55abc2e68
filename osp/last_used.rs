// SPDX-License-Identifier: GPL-2.0

//! `lov_objid` and `lov_objseq`: the last object used on each OST (`ondisk.md` 10.4).

use kapi::prelude::*;
use osd::{Create, Device, ObjectRef, Plan, Transaction};
use wire::fid::{oid, Fid};

/// Bytes of an entry.
const ENTRY: usize = size_of::<u64>();

/// One OST's entries.
#[pin_data]
pub(crate) struct LastUsed {
    osd: Arc<dyn Device>,
    ids: ObjectRef,
    seqs: ObjectRef,
    at: u64,
    /// Numbers are handed out and written in the same order. Taken within transactions only.
    #[pin]
    order: Mutex<()>,
}

/// A file of the MDT for all OSTs; it is made if it is not there.
pub(crate) fn open_file(osd: &Arc<dyn Device>, oid: u32) -> Result<ObjectRef> {
    let file = osd.object(&Fid::local(oid))?;
    if file.exists() {
        return Ok(file);
    }
    let what = Create::file(0o644);
    let mut plan = osd.plan()?;
    plan.create(&file, &what, None)?;
    let mut tx = plan.start()?;
    let made = tx.create(&file, &what, None);
    tx.stop()?;
    match made {
        // Another OST's was faster.
        Err(e) if e != EEXIST => Err(e),
        _ => Ok(file),
    }
}

fn read(file: &ObjectRef, at: u64) -> Result<u64> {
    let mut entry = [0; ENTRY];
    let n = file.read(at, &mut entry)?;
    // The files end with the last OST that was ever used.
    Ok(if n == ENTRY {
        u64::from_le_bytes(entry)
    } else {
        0
    })
}

impl LastUsed {
    /// Opens the files, or makes them.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`, `ENOMEM`.
    pub(crate) fn open(osd: &Arc<dyn Device>, ost_index: u16) -> Result<Arc<LastUsed>> {
        let ids = open_file(osd, oid::LOV_OBJID)?;
        let seqs = open_file(osd, oid::LOV_OBJSEQ)?;
        Arc::pin_init(
            pin_init!(LastUsed {
                osd: osd.clone(),
                ids,
                seqs,
                at: u64::from(ost_index) * ENTRY as u64,
                order <- new_mutex!(()),
            }),
            GFP_KERNEL,
        )
    }

    /// Sequence and number; zeros if nothing was used yet.
    ///
    /// # Errors
    /// `EIO`.
    pub(crate) fn load(&self) -> Result<(u64, u64)> {
        Ok((read(&self.seqs, self.at)?, read(&self.ids, self.at)?))
    }

    /// Writes both; they are on disk when this returns.
    ///
    /// # Errors
    /// `EIO`, `EROFS`, `ENOSPC`.
    pub(crate) fn store(&self, seq: u64, id: u64) -> Result {
        let mut plan = self.osd.plan()?;
        plan.write(&self.ids, self.at, ENTRY)?;
        plan.write(&self.seqs, self.at, ENTRY)?;
        let mut tx = plan.start()?;
        tx.write(&self.ids, self.at, &id.to_le_bytes())?;
        tx.write(&self.seqs, self.at, &seq.to_le_bytes())?;
        tx.set_sync();
        tx.stop()
    }

    /// Hands a number out and writes it, one after the other.
    pub(crate) fn in_order<R>(&self, f: impl FnOnce(&LastUsed) -> R) -> R {
        let _order = self.order.lock();
        f(self)
    }

    /// Waits until what was handed out is written. Not in a transaction.
    pub(crate) fn settle(&self) {
        drop(self.order.lock());
    }

    /// A number will be written.
    pub(crate) fn plan(&self, plan: &mut Plan) -> Result {
        plan.write(&self.ids, self.at, ENTRY)
    }

    /// Writes a number.
    pub(crate) fn write(&self, tx: &mut Transaction, id: u64) -> Result {
        tx.write(&self.ids, self.at, &id.to_le_bytes())
    }
}
