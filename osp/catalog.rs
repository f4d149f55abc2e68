// SPDX-License-Identifier: GPL-2.0

//! What waits for an OST, on disk: a catalog of logs of changes (`ost.md` 13.4, `ondisk.md` 11).
//! A change is recorded in the transaction that it follows, and its record is cancelled when the
//! OST has it on its disk.
//!
//! The catalog is made anew at a start when half of its indices are used: it never begins again
//! at its front. One that did, by the hand of another server, is made anew, too.

use crate::last_used::open_file;
use crate::queue::{Chain, Link};
use crate::records;
use kapi::prelude::*;
use kapi::sync::atomic::{Acquire, Atomic, Relaxed, Release};
use osd::{Create, Device, Fid, ObjectRef, Plan, Transaction, Walk};
use target::llog::{Log, LogKind};
use target::local::{self, More};
use wire::fid::{oid, seq};
use wire::llog::{
    rec_type, LlogCatid, LlogFlags, LlogLogidRec, LLOG_MAX_INDEX, LLOG_MIN_CHUNK_SIZE,
};
use wire::ostid::LlogLogid;
use zerocopy::{FromBytes, IntoBytes};

const CATALOG: LogKind<'static> = LogKind {
    flags: LlogFlags::IS_CAT
        .union(LlogFlags::IS_FIXSIZE)
        .union(LlogFlags::RM_ON_ERR),
    uuid: b"",
    slot: 0,
};

/// A log that is record `slot` of the catalog.
const fn plain(slot: u32) -> LogKind<'static> {
    LogKind {
        flags: LlogFlags::IS_PLAIN.union(LlogFlags::ZAP_WHEN_EMPTY),
        uuid: b"",
        slot,
    }
}

/// Records that transactions may add which found room before.
const SLACK: u32 = 4096;
/// Records that one transaction cancels.
const BATCH: usize = 256;
/// Logs that a new catalog takes over at the most.
const MAX_MOVED: usize = 4096;
/// Bytes of an entry of `CATALOGS`.
const ENTRY: usize = size_of::<LlogCatid>();
/// Bytes of a record of a catalog.
const LOGID: usize = size_of::<LlogLogidRec>();

/// A log of changes.
pub(crate) struct ChangeLog {
    log: Arc<Log>,
    /// Its record in the catalog.
    entry: u32,
    /// Who may still add changes.
    users: Atomic<u32>,
    /// Nobody else will: it goes when it is empty.
    closed: Atomic<bool>,
}

/// The right to add changes to a log.
pub(crate) struct Room(Arc<ChangeLog>);

impl Drop for Room {
    fn drop(&mut self) {
        // What was added is seen by who sees that nobody adds any more.
        self.0.users.fetch_sub(1, Release);
    }
}

impl Room {
    /// Plans for `n` changes.
    pub(crate) fn plan(&self, plan: &mut Plan, n: usize) -> Result {
        self.0.log.plan_each(plan, n, records::MAX_REC)
    }

    /// Records a change.
    ///
    /// # Errors
    /// `ENOSPC`, `EIO`, `ENOMEM`: it is not recorded.
    pub(crate) fn add(&self, tx: &mut Transaction, link: &mut Link) -> Result {
        let mut buf = [0; records::MAX_REC];
        let (kind, rec) = records::write(&link.change.fid, &link.change.op, &mut buf);
        let index = self.0.log.append(tx, kind, rec)?;
        link.record = Some((self.0.clone(), index));
        Ok(())
    }
}

/// The logs of one OST.
#[pin_data]
pub(crate) struct Catalog {
    osd: Arc<dyn Device>,
    ost_index: u16,
    log: Arc<Log>,
    /// Where changes are recorded now. Nothing else is done under its lock.
    #[pin]
    current: Mutex<Option<Arc<ChangeLog>>>,
    /// Logs of this life that are full. Nothing else is done under its lock.
    #[pin]
    full: Mutex<KVec<Arc<ChangeLog>>>,
    /// One log is made after the other. Not taken in transactions.
    #[pin]
    making: Mutex<()>,
}

/// A catalog as it was found.
struct Existing {
    log: Arc<Log>,
    /// Its logs, the oldest first: record and FID.
    entries: KVec<(u32, Fid)>,
    /// More can be added for a long time.
    good: bool,
}

/// A new catalog takes the place of an old one.
struct NewCatalog<'a> {
    file: &'a ObjectRef,
    at: u64,
    old: Option<&'a Existing>,
    log: Option<Arc<Log>>,
}

impl NewCatalog<'_> {
    fn entries(&self) -> &[(u32, Fid)] {
        self.old.map_or(&[], |o| &o.entries)
    }
}

impl More for NewCatalog<'_> {
    fn plan(&mut self, plan: &mut Plan, made: &ObjectRef) -> Result {
        plan.write(self.file, self.at, ENTRY)?;
        plan.write(
            made,
            0,
            LLOG_MIN_CHUNK_SIZE + self.entries().len().saturating_mul(LOGID),
        )?;
        match self.old {
            Some(old) => plan.destroy(old.log.file()),
            None => Ok(()),
        }
    }

    fn run(&mut self, tx: &mut Transaction, made: &ObjectRef) -> Result {
        let log = Log::open(made, CATALOG)?;
        for (_, fid) in self.entries() {
            add_log(&log, tx, fid)?;
        }
        let id = LlogCatid {
            lci_logid: LlogLogid::from_fid(*made.fid()),
            ..LlogCatid::default()
        };
        tx.write(self.file, self.at, id.as_bytes())?;
        if let Some(old) = self.old {
            tx.destroy(old.log.file())?;
        }
        self.log = Some(log);
        Ok(())
    }
}

fn add_log(catalog: &Log, tx: &mut Transaction, fid: &Fid) -> Result<u32> {
    let mut rec = LlogLogidRec {
        lid_id: LlogLogid::from_fid(*fid),
        ..LlogLogidRec::default()
    };
    catalog.append(tx, rec_type::LLOG_LOGID, rec.as_mut_bytes())
}

/// Records a new log in the catalog.
struct NewLog<'a> {
    catalog: &'a Log,
    entry: u32,
}

impl More for NewLog<'_> {
    fn plan(&mut self, plan: &mut Plan, _: &ObjectRef) -> Result {
        self.catalog.plan_each(plan, 1, LOGID)
    }

    fn run(&mut self, tx: &mut Transaction, made: &ObjectRef) -> Result {
        self.entry = add_log(self.catalog, tx, made.fid())?;
        Ok(())
    }
}

/// The logs of a catalog, the oldest first.
fn entries(catalog: &Log) -> Result<KVec<(u32, Fid)>> {
    let mut entries = KVec::new();
    let read = catalog.for_each(1, &mut |found| {
        let rec = LlogLogidRec::read_from_bytes(found.rec.bytes);
        match rec.ok().and_then(|r| r.lid_id.to_fid().ok()) {
            Some(fid) => entries.push((found.rec.index(), fid), GFP_KERNEL)?,
            None => pr_err!(
                "catalog of changes: record {:?} is none\n",
                found.rec.index()
            ),
        }
        Ok(Walk::Next)
    });
    match read {
        // What can be read counts.
        Err(e) if e == EIO => {}
        other => other?,
    }
    let last = catalog.last_index();
    let newer = entries.iter().take_while(|(i, _)| *i <= last).count();
    entries.rotate_left(newer);
    Ok(entries)
}

/// The catalog that `CATALOGS` names, if that is one.
fn existing(osd: &Arc<dyn Device>, file: &ObjectRef, at: u64) -> Result<Option<Existing>> {
    let mut raw = [0; ENTRY];
    if file.read(at, &mut raw)? < ENTRY {
        return Ok(None);
    }
    let id = LlogCatid::read_from_bytes(&raw).map_err(|_| EIO)?.lci_logid;
    if id.is_zero() {
        return Ok(None);
    }
    let opened = id
        .to_fid()
        .map_err(|_| EINVAL)
        .and_then(|fid| osd.object(&fid))
        .and_then(|o| Log::open(&o, CATALOG));
    let log = match opened {
        Err(e) if e == EINVAL || e == ENOENT || e == EOPNOTSUPP => {
            pr_err!("a damaged catalog of changes: objects may stay without a file\n");
            return Ok(None);
        }
        other => other?,
    };
    let entries = entries(&log)?;
    let last = log.last_index();
    // Records are where their indices say.
    let size = LLOG_MIN_CHUNK_SIZE as u64 + u64::from(last) * LOGID as u64;
    let in_place = match last {
        0 => entries.is_empty(),
        _ => log.file().attr()?.size == size,
    };
    let good = in_place && last < LLOG_MAX_INDEX / 2;
    Ok(Some(Existing { log, entries, good }))
}

impl Catalog {
    /// Opens the catalog of an OST, or makes one.
    ///
    /// # Errors
    /// `EFBIG`: it has to be made anew, and too many logs are in it. `EIO`, `ENOSPC`, `ENOMEM`.
    pub(crate) fn open(osd: &Arc<dyn Device>, ost_index: u16) -> Result<Arc<Catalog>> {
        let file = open_file(osd, oid::LLOG_CATALOGS)?;
        let at = u64::from(ost_index) * ENTRY as u64;
        let log = match existing(osd, &file, at)? {
            Some(found) if found.good => found.log,
            old => {
                if old.as_ref().is_some_and(|o| o.entries.len() > MAX_MOVED) {
                    return Err(EFBIG);
                }
                let mut new = NewCatalog {
                    file: &file,
                    at,
                    old: old.as_ref(),
                    log: None,
                };
                let what = Create::file(0o644);
                local::create(osd, None, &what, seq::LLOG, &mut new)?;
                new.log.ok_or(EIO)?
            }
        };
        Arc::pin_init(
            pin_init!(Catalog {
                osd: osd.clone(),
                ost_index,
                log,
                current <- new_mutex!(None),
                full <- new_mutex!(KVec::new()),
                making <- new_mutex!(()),
            }),
            GFP_KERNEL,
        )
    }

    /// The OST's index.
    pub(crate) fn ost_index(&self) -> u16 {
        self.ost_index
    }

    /// Where some more changes can be recorded. Not in a transaction.
    ///
    /// # Errors
    /// `ENOSPC`, `EIO`, `EROFS`, `ENOMEM`.
    pub(crate) fn room(&self) -> Result<Room> {
        if let Some(room) = self.with_room() {
            return Ok(room);
        }
        let _making = self.making.lock();
        if let Some(room) = self.with_room() {
            return Ok(room);
        }
        let mut more = NewLog {
            catalog: &self.log,
            entry: 0,
        };
        let what = Create::file(0o644);
        let made = local::create(&self.osd, None, &what, seq::LLOG, &mut more)?;
        let new = Arc::new(
            ChangeLog {
                log: Log::open(&made, plain(more.entry))?,
                entry: more.entry,
                users: Atomic::<u32>::new(1),
                closed: Atomic::<bool>::new(false),
            },
            GFP_KERNEL,
        )?;
        let room = Room(new.clone());
        let before = self.current.lock().replace(new);
        if let Some(before) = before {
            before.closed.store(true, Relaxed);
            // Without memory it is the next life that removes it.
            let _ = self.full.lock().push(before, GFP_KERNEL);
        }
        Ok(room)
    }

    fn with_room(&self) -> Option<Room> {
        let current = self.current.lock();
        let log = current.as_ref()?;
        if log.log.is_broken() || log.log.last_index() >= LLOG_MAX_INDEX - SLACK {
            return None;
        }
        log.users.fetch_add(1, Relaxed);
        Some(Room(log.clone()))
    }

    /// The logs of earlier lives, the latest first.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn old(&self) -> Result<KVec<Arc<ChangeLog>>> {
        let mut entries = entries(&self.log)?;
        let mut logs = KVec::new();
        while let Some((entry, fid)) = entries.pop() {
            let opened = self
                .osd
                .object(&fid)
                .and_then(|o| Log::open(&o, plain(entry)));
            match opened {
                Ok(log) => {
                    let log = ChangeLog {
                        log,
                        entry,
                        users: Atomic::<u32>::new(0),
                        closed: Atomic::<bool>::new(true),
                    };
                    logs.push(Arc::new(log, GFP_KERNEL)?, GFP_KERNEL)?;
                }
                Err(e) if e == ENOMEM => return Err(e),
                Err(e) => self.drop_entry(entry, fid, e)?,
            }
        }
        Ok(logs)
    }

    /// Forgets a log that is none.
    fn drop_entry(&self, entry: u32, fid: Fid, why: Error) -> Result {
        pr_err!(
            "log of changes {}: {:?}, objects may stay without a file\n",
            fid,
            why
        );
        if why != ENOENT && why != EINVAL {
            // It may be better another time.
            return Ok(());
        }
        let mut plan = self.osd.plan()?;
        self.log.plan_cancel(&mut plan)?;
        let mut tx = plan.start()?;
        let done = self.log.cancel(&mut tx, &[entry]);
        let stopped = tx.stop();
        done.and(stopped)
    }

    /// The changes of an old log, the first on top. Records that say nothing are cancelled.
    ///
    /// # Errors
    /// `ENOMEM`, `EIO`.
    pub(crate) fn load(&self, from: &Arc<ChangeLog>) -> Result<Chain> {
        let mut chain = Chain::new();
        let mut nothing: KVec<u32> = KVec::new();
        let read = from.log.for_each(1, &mut |found| {
            let index = found.rec.index();
            let Some((first, count, op)) = records::read(&found.rec, self.ost_index) else {
                nothing.push(index, GFP_KERNEL)?;
                return Ok(Walk::Next);
            };
            for i in 0..count {
                let fid = Fid::new(first.seq, first.oid + i);
                let mut link = Link::new(fid, op)?;
                // One record for several objects, as nobody writes them any more: it goes with
                // the last one.
                if i + 1 == count {
                    link.record = Some((from.clone(), index));
                }
                chain.push(link);
            }
            Ok(Walk::Next)
        });
        match read {
            // What stands before the damage counts.
            Err(e) if e == EIO => {}
            other => other?,
        }
        for part in nothing.chunks(BATCH) {
            self.cancel_in(from, part)?;
        }
        let mut turned = Chain::new();
        turned.push_all(chain);
        Ok(turned)
    }

    fn cancel_in(&self, from: &ChangeLog, indices: &[u32]) -> Result {
        let mut plan = self.osd.plan()?;
        from.log.plan_cancel(&mut plan)?;
        let mut tx = plan.start()?;
        let done = from.log.cancel(&mut tx, indices);
        let stopped = tx.stop();
        done.and(stopped)
    }

    /// Cancels the records of changes that are over; logs that are empty then go. What fails is
    /// done once more in the next life, which does no harm.
    pub(crate) fn cancel(&self, over: &mut Chain) {
        while let Some(first) = over.pop() {
            let Some((log, index)) = &first.record else {
                continue;
            };
            let more = core::iter::from_fn(|| over.pop_record(log));
            let mut indices = [0; BATCH];
            let mut n = 0;
            for (to, i) in indices.iter_mut().zip(core::iter::once(*index).chain(more)) {
                *to = i;
                n += 1;
            }
            let indices = indices.get(..n).unwrap_or_default();
            let done = self
                .cancel_in(log, indices)
                .and_then(|()| self.remove_if_over(log));
            if let Err(e) = done {
                pr_err!("records of changes are not cancelled: {:?}\n", e);
            }
        }
        // A change that was planned for and not made may have been the last that a log waited for.
        let full = core::mem::take(&mut *self.full.lock());
        for log in full {
            let done = self.remove_if_over(&log);
            let stays = log.log.file().exists() && done.is_ok();
            if let Err(e) = done {
                pr_err!("an empty log of changes stays: {:?}\n", e);
            }
            if stays {
                // As above.
                let _ = self.full.lock().push(log, GFP_KERNEL);
            }
        }
    }

    /// Removes a log that nothing is added to any more, if it is empty.
    pub(crate) fn remove_if_over(&self, log: &ChangeLog) -> Result {
        let file = log.log.file();
        if !log.closed.load(Relaxed)
            || log.users.load(Acquire) != 0
            || !log.log.is_empty()
            || !file.exists()
        {
            return Ok(());
        }
        let mut plan = self.osd.plan()?;
        self.log.plan_cancel(&mut plan)?;
        plan.destroy(file)?;
        let mut tx = plan.start()?;
        let done = self
            .log
            .cancel(&mut tx, &[log.entry])
            .and_then(|()| tx.destroy(file));
        let stopped = tx.stop();
        done.and(stopped)
    }

    /// At the end: nobody plans changes any more. Removes the log in use, if it is empty.
    pub(crate) fn close(&self) {
        let Some(log) = self.current.lock().take() else {
            return;
        };
        log.closed.store(true, Relaxed);
        if let Err(e) = self.remove_if_over(&log) {
            pr_err!("an empty log of changes stays: {:?}\n", e);
        }
    }
}

#[cfg(test)]
mod tests;
