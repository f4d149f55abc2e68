// SPDX-License-Identifier: GPL-2.0

//! Files of a target's own: found by name in directories of its own, their FIDs from counters
//! (`ondisk.md` 3, 4.5).

use kapi::prelude::*;
use osd::{Create, Device, ObjectRef, Plan, SetAttr, Time, Transaction};
use wire::fid::{oid, Fid};

/// What a counter begins with: the first number handed out is 2.
const FIRST: u64 = 1;
/// Numbers in a row that may turn out to be taken before somebody has to look into it.
const TRIES: u32 = 1000;

/// The root directory of the store.
///
/// # Errors
/// `EIO`, `ENOMEM`.
pub fn root(osd: &Arc<dyn Device>) -> Result<ObjectRef> {
    osd.object(&Fid::local(oid::OSD_ROOT))
}

/// The object of a name in a directory, if there is one.
///
/// # Errors
/// `ENOTDIR`, `EIO`, `ENOMEM`.
pub fn find(osd: &Arc<dyn Device>, dir: &ObjectRef, name: &[u8]) -> Result<Option<ObjectRef>> {
    match dir.lookup(name) {
        Ok(fid) => Ok(Some(osd.object(&fid)?)),
        Err(e) if e == ENOENT => Ok(None),
        Err(e) => Err(e),
    }
}

/// The object of a name in a directory; it is made if there is none, with a number of sequence
/// `seq`.
///
/// # Errors
/// As [`find`] and [`create`].
pub fn find_or_create(
    osd: &Arc<dyn Device>,
    dir: &ObjectRef,
    name: &[u8],
    what: &Create<'_>,
    seq: u64,
) -> Result<ObjectRef> {
    if let Some(o) = find(osd, dir, name)? {
        return Ok(o);
    }
    match create(osd, Some((dir, name)), what, seq, &mut NoMore) {
        // Somebody else was faster.
        Err(e) if e == EEXIST => find(osd, dir, name)?.ok_or(EEXIST),
        other => other,
    }
}

/// The object of a name in a directory; it is made if there is none, with this FID.
///
/// # Errors
/// `ENOSPC`, `EIO`, `ENOMEM`.
pub fn find_or_create_fixed(
    osd: &Arc<dyn Device>,
    dir: &ObjectRef,
    name: &[u8],
    what: &Create<'_>,
    fid: &Fid,
) -> Result<ObjectRef> {
    if let Some(o) = find(osd, dir, name)? {
        return Ok(o);
    }
    let o = osd.object(fid)?;
    let at = Some((dir, name));
    let mut plan = osd.plan()?;
    plan.create(&o, what, at)?;
    plan.insert(dir, &o)?;
    let mut tx = plan.start()?;
    let made = tx
        .create(&o, what, at)
        .and_then(|()| name_it(&mut tx, dir, name, &o, what));
    tx.stop()?;
    match made {
        // Somebody else was faster.
        Err(e) if e == EEXIST => find(osd, dir, name)?.ok_or(EEXIST),
        Err(e) => Err(e),
        Ok(()) => Ok(o),
    }
}

fn name_it(
    tx: &mut Transaction,
    dir: &ObjectRef,
    name: &[u8],
    o: &ObjectRef,
    what: &Create<'_>,
) -> Result {
    tx.insert(dir, name, o)?;
    if what.mode & osd::S_IFMT == Create::dir(0).mode {
        tx.ref_add(dir)?;
    }
    Ok(())
}

/// What else the transaction that makes an object does.
pub trait More {
    /// Plans for it.
    ///
    /// # Errors
    /// Those of planning; nothing happens then.
    fn plan(&mut self, plan: &mut Plan, made: &ObjectRef) -> Result {
        let _ = (plan, made);
        Ok(())
    }

    /// Does it, once the object is there and has its name.
    ///
    /// # Errors
    /// Those of the transaction.
    fn run(&mut self, tx: &mut Transaction, made: &ObjectRef) -> Result {
        let _ = (tx, made);
        Ok(())
    }
}

/// Nothing else.
pub struct NoMore;

impl More for NoMore {}

/// Makes an object with the next number of sequence `seq`, under a name in a directory if `at`
/// says so, and does what `more` says, all in one transaction. Its times are now.
///
/// # Errors
/// `EEXIST`: the name is taken. `EOVERFLOW`: all numbers are used. `ENOSPC`, `EIO`, `ENOMEM`, and
/// those of `more`.
pub fn create(
    osd: &Arc<dyn Device>,
    at: Option<(&ObjectRef, &[u8])>,
    what: &Create<'_>,
    seq: u64,
    more: &mut dyn More,
) -> Result<ObjectRef> {
    let counter = counter(osd, seq)?;
    let now = kapi::time::real();
    let now = Time {
        sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        nsec: now.subsec_nanos(),
    };
    let times = SetAttr {
        atime: Some(now),
        mtime: Some(now),
        ctime: Some(now),
        ..SetAttr::default()
    };
    let mut last = read(&counter)?;
    for _ in 0..TRIES {
        let next = last.checked_add(1).ok_or(EOVERFLOW)?;
        let fid = Fid::new(seq, u32::try_from(next).map_err(|_| EOVERFLOW)?);
        let o = osd.object(&fid)?;
        if o.exists() {
            // The counter is behind, as after an unclean copy of the store.
            last = next;
            continue;
        }
        let mut plan = osd.plan()?;
        // Attributes: that locks the counter, among all who have this store.
        plan.attr(&counter, &SetAttr::default())?;
        plan.write(&counter, 0, size_of::<u64>())?;
        plan.create(&o, what, at)?;
        plan.attr(&o, &times)?;
        if let Some((dir, _)) = at {
            plan.insert(dir, &o)?;
        }
        more.plan(&mut plan, &o)?;
        let mut tx = plan.start()?;
        let current = read(&counter)?;
        if current > last || o.exists() {
            tx.stop()?;
            last = current.max(last);
            continue;
        }
        let made = make(&mut tx, &counter, next, &o, what, at, &times)
            .and_then(|()| more.run(&mut tx, &o));
        tx.stop()?;
        made?;
        return Ok(o);
    }
    pr_err!("no free number in sequence {:#x} near {}\n", seq, last);
    Err(EIO)
}

fn make(
    tx: &mut Transaction,
    counter: &ObjectRef,
    number: u64,
    o: &ObjectRef,
    what: &Create<'_>,
    at: Option<(&ObjectRef, &[u8])>,
    times: &SetAttr,
) -> Result {
    tx.write(counter, 0, &number.to_le_bytes())?;
    tx.create(o, what, at)?;
    tx.set_attr(o, times)?;
    if let Some((dir, name)) = at {
        name_it(tx, dir, name, o, what)?;
    }
    Ok(())
}

/// Takes a name away and ends its object.
///
/// # Errors
/// `ENOENT`: there is no such name. `EIO`, `EROFS`.
pub fn remove(osd: &Arc<dyn Device>, dir: &ObjectRef, name: &[u8]) -> Result {
    let o = osd.object(&dir.lookup(name)?)?;
    let mut plan = osd.plan()?;
    plan.remove(dir, name)?;
    plan.destroy(&o)?;
    let mut tx = plan.start()?;
    let done = tx.remove(dir, name).and_then(|()| tx.destroy(&o));
    tx.stop()?;
    done
}

/// Gives an object another name in its directory; what had that name ends.
///
/// # Errors
/// `ENOENT`: there is no `from`. `EIO`, `EROFS`, `ENOSPC`.
pub fn rename(osd: &Arc<dyn Device>, dir: &ObjectRef, from: &[u8], to: &[u8]) -> Result {
    let o = osd.object(&dir.lookup(from)?)?;
    let old = find(osd, dir, to)?;
    let mut plan = osd.plan()?;
    plan.remove(dir, from)?;
    if let Some(old) = &old {
        plan.remove(dir, to)?;
        plan.destroy(old)?;
    }
    plan.insert(dir, &o)?;
    let mut tx = plan.start()?;
    let mut work = || -> Result {
        if let Some(old) = &old {
            tx.remove(dir, to)?;
            tx.destroy(old)?;
        }
        tx.remove(dir, from)?;
        tx.insert(dir, to, &o)
    };
    let done = work();
    tx.stop()?;
    done
}

/// The file that counts the numbers of a sequence.
fn counter(osd: &Arc<dyn Device>, seq: u64) -> Result<ObjectRef> {
    let file = osd.object(&Fid::new(seq, 0))?;
    if file.exists() {
        return Ok(file);
    }
    let what = Create::file(0o644);
    let mut plan = osd.plan()?;
    plan.create(&file, &what, None)?;
    plan.write(&file, 0, size_of::<u64>())?;
    let mut tx = plan.start()?;
    let made = tx
        .create(&file, &what, None)
        .and_then(|()| tx.write(&file, 0, &FIRST.to_le_bytes()));
    tx.stop()?;
    match made {
        // Somebody else was faster.
        Err(e) if e != EEXIST => Err(e),
        _ => Ok(file),
    }
}

/// The last number that was handed out.
fn read(counter: &ObjectRef) -> Result<u64> {
    let mut b = [0; size_of::<u64>()];
    match counter.read(0, &mut b)? {
        0 => Ok(FIRST),
        n if n == b.len() => Ok(u64::from_le_bytes(b).max(FIRST)),
        _ => Err(EINVAL),
    }
}
