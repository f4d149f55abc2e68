// SPDX-License-Identifier: GPL-2.0

//! Sequences that objects were made in: the last number of each (`ost.md` 7.1, `ondisk.md` 10.3).

use kapi::prelude::*;
use kapi::sync::atomic::{Acquire, Atomic, Release};
use osd::{Create, Device, ObjectRef, Plan, Transaction};
use wire::fid::{seq, seq_is_idif, seq_is_norm, Fid, IDIF_MAX_OID};

/// Bytes of a `LAST_ID`.
const LEN: usize = size_of::<u64>();
/// How long after the start MDTs are waited for to say which objects they use: nine times the
/// usual time-out (`recovery.md` 1).
const MDT_PATIENCE: Duration = Duration::from_secs(900);

/// The sequence whose counter counts the objects of that of `fid`.
fn counted_in(fid: &Fid) -> u64 {
    match seq_is_idif(fid.seq) {
        true => seq::OST_MDT0,
        false => fid.seq,
    }
}

/// `LAST_ID` of a sequence.
fn counter(s: u64, ost_index: u16) -> Option<Fid> {
    match s {
        seq::OST_MDT0 => Fid::idif(ost_index, 0),
        s => Some(Fid::new(s, 0)),
    }
}

/// The largest number that an object of a sequence may have.
fn largest(s: u64) -> u64 {
    match s {
        seq::OST_MDT0 => IDIF_MAX_OID,
        _ => u32::MAX.into(),
    }
}

/// A sequence.
#[pin_data]
pub(crate) struct Group {
    /// 0 for that of the oldest format, which has many sequences in its FIDs.
    seq: u64,
    ost_index: u16,
    file: ObjectRef,
    last: Atomic<u64>,
    /// Orphans are waited for, or being destroyed: who makes objects ends.
    pub(crate) cleaning: Atomic<bool>,
    /// The MDT has said since the start which objects it uses: those are there.
    pub(crate) settled: Atomic<bool>,
    /// Serialises what makes objects and destroys orphans. Outermost, and held over transactions.
    #[pin]
    pub(crate) making: Mutex<()>,
}

impl Group {
    /// The last object.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Acquire)
    }

    /// The transaction that wrote the number is over.
    pub(crate) fn set_last(&self, id: u64) {
        self.last.store(id, Release);
    }

    /// The largest number that there may be.
    pub(crate) fn max(&self) -> u64 {
        largest(self.seq)
    }

    /// The object with this number.
    ///
    /// # Errors
    /// `EOVERFLOW`: there is none.
    pub(crate) fn fid(&self, id: u64) -> Result<Fid> {
        match self.seq {
            seq::OST_MDT0 => Fid::idif(self.ost_index, id).ok_or(EOVERFLOW),
            s => {
                let oid = u32::try_from(id).map_err(|_| EOVERFLOW)?;
                Ok(Fid::new(s, oid))
            }
        }
    }

    /// The number will be written.
    pub(crate) fn plan(&self, plan: &mut Plan) -> Result {
        plan.write(&self.file, 0, LEN)
    }

    /// Writes the number.
    pub(crate) fn write(&self, tx: &mut Transaction, id: u64) -> Result {
        tx.write(&self.file, 0, &id.to_le_bytes())
    }

    /// Opens `LAST_ID`, or makes it.
    fn open(osd: &Arc<dyn Device>, s: u64, ost_index: u16) -> Result<Arc<Group>> {
        let fid = counter(s, ost_index).ok_or(EINVAL)?;
        // Number 0 is that of the counter, and 1 is not used in the newer ones.
        let first = u64::from(s != seq::OST_MDT0);
        let file = osd.object(&fid)?;
        let mut raw = [0u8; LEN];
        let found = match file.exists() {
            true => Some(file.read(0, &mut raw)?),
            false => None,
        };
        let last = match found {
            Some(LEN) => u64::from_le_bytes(raw),
            None | Some(0) => {
                let what = Create::file(0o666);
                let mut plan = osd.plan()?;
                if found.is_none() {
                    plan.create(&file, &what, None)?;
                }
                plan.write(&file, 0, LEN)?;
                let mut tx = plan.start()?;
                let mut done = Ok(());
                if found.is_none() {
                    done = tx.create(&file, &what, None);
                }
                done = done.and_then(|()| tx.write(&file, 0, &first.to_le_bytes()));
                tx.stop()?;
                done?;
                first
            }
            Some(n) => {
                pr_err!("{}: a counter of {} bytes\n", fid, n);
                return Err(EINVAL);
            }
        };
        if last > largest(s) {
            pr_err!("{}: no object has the number {:#x}\n", fid, last);
            return Err(EINVAL);
        }
        Arc::pin_init(
            pin_init!(Group {
                seq: s,
                ost_index,
                file,
                last: Atomic::<u64>::new(last),
                cleaning: Atomic::<bool>::new(false),
                settled: Atomic::<bool>::new(false),
                making <- new_mutex!(()),
            }),
            GFP_KERNEL,
        )
    }
}

/// All sequences that were asked for.
#[pin_data]
pub(crate) struct Groups {
    osd: Arc<dyn Device>,
    ost_index: u16,
    started: Instant,
    #[pin]
    known: Mutex<RBTree<u64, Arc<Group>>>,
    /// Serialises what opens sequences. Outside of all transactions.
    #[pin]
    opening: Mutex<()>,
}

impl Groups {
    pub(crate) fn new(osd: &Arc<dyn Device>, ost_index: u16) -> Result<Arc<Groups>> {
        let osd = osd.clone();
        Arc::pin_init(
            pin_init!(Groups {
                osd,
                ost_index,
                started: Instant::now(),
                known <- new_mutex!(RBTree::new()),
                opening <- new_mutex!(()),
            }),
            GFP_KERNEL,
        )
    }

    /// The sequence of `fid`; it is made if it is new.
    ///
    /// # Errors
    /// `EINVAL`: its counter is damaged. `EIO`, `ENOSPC`, `EROFS`.
    pub(crate) fn of(&self, fid: &Fid) -> Result<Arc<Group>> {
        let s = counted_in(fid);
        if let Some(g) = self.known.lock().get(&s) {
            return Ok(g.clone());
        }
        let _opening = self.opening.lock();
        if let Some(g) = self.known.lock().get(&s) {
            return Ok(g.clone());
        }
        let new = Group::open(&self.osd, s, self.ost_index)?;
        let node = RBTreeNode::new(s, new.clone(), GFP_KERNEL)?;
        self.known.lock().insert(node);
        Ok(new)
    }

    /// Whether an object that is not there may come: it was lost with the power of this server, and
    /// its MDT, which may have used it, has not said so yet.
    ///
    /// # Errors
    /// `EIO`, `ENOMEM`.
    pub(crate) fn may_come(&self, fid: &Fid) -> Result<bool> {
        let s = counted_in(fid);
        if self.started.elapsed() > MDT_PATIENCE || !(seq_is_norm(s) || s == seq::OST_MDT0) {
            return Ok(false);
        }
        if let Some(g) = self.known.lock().get(&s) {
            return Ok(!g.settled.load(Acquire));
        }
        match counter(s, self.ost_index) {
            Some(c) => Ok(self.osd.object(&c)?.exists()),
            None => Ok(false),
        }
    }

    /// Calls `f` for sequence and last number of all that were asked for.
    pub(crate) fn for_each(&self, mut f: impl FnMut(u64, u64) -> Result) -> Result {
        let known = self.known.lock();
        for g in known.values() {
            let s = match g.seq {
                seq::OST_MDT0 => Fid::idif(self.ost_index, 0).map_or(0, |f| f.seq),
                s => s,
            };
            f(s, g.last())?;
        }
        Ok(())
    }

    /// Forgets them, at the end.
    pub(crate) fn forget(&self) {
        let known = core::mem::replace(&mut *self.known.lock(), RBTree::new());
        drop(known);
    }
}
