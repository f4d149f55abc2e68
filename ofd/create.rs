// SPDX-License-Identifier: GPL-2.0

//! OST_CREATE: objects made ahead for MDTs, and what an MDT never used of them (`ost.md` 7).

use crate::attr;
use crate::body;
use crate::change::NEW_MODE;
use crate::client;
use crate::device::Ofd;
use crate::groups::Group;
use crate::lock;
use crate::space::MAX_PRECREATE;
use kapi::prelude::*;
use kapi::sync::atomic::{Acquire, Relaxed, Release};
use lnet::fail::{self, point};
use osd::{Create, ObjectRef};
use target::{Request, Served, Target};
use wire::fid::DATA_SEQ_WIDTH;
use wire::obdo::{ObdFl, ObdMd, Obdo};

/// Objects that a transaction makes at the most, unless it is set otherwise. Each is locked until it
/// ends, and lockdep knows of no more than 48 locks that a thread holds, those of an interrupt on its stack
/// among them.
pub(crate) const BATCH: u32 = 24;
/// An OST that is so far behind lost its objects.
const REPLACED: u64 = 5 * MAX_PRECREATE;
/// How long objects are made for one request.
const PATIENCE: Duration = Duration::from_secs(50);

/// Serves it.
///
/// # Errors
/// `EPERM`: none are made here, or not for this client. `ESTALE`: a request of before the client
/// connected anew. `EINVAL`: the counter of the sequence is damaged. `ENOSPC`. `EROFS`. `EPROTO`,
/// `EBADF`: no such sequence.
pub(crate) fn serve(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    client::may_write(req)?;
    if fail::check(point::OST_EROFS) {
        return Err(EROFS);
    }
    if fail::check_value(point::OST_ENOSPC, ofd.index().into()) {
        return Err(ENOSPC);
    }
    let terms = client::of(&req.export)?.terms();
    let asked = *req.rpc.get::<Obdo>(body::BUF)?;
    if !terms.mdt || ofd.tunables.no_create.load(Relaxed) {
        return Err(EPERM);
    }
    let flags = asked.flags();
    if flags.contains(ObdFl::RECREATE_OBJS) {
        // For a recovery that there is not.
        return Err(EINVAL);
    }
    let id = asked.o_oi.id();
    let group = ofd.groups.of(&body::fid_of(&asked.o_oi, ofd.index())?)?;
    if id > group.max() {
        return Err(ENOSPC);
    }
    let stale = req.rpc.body().pb_conn_cnt.get() < req.export.lock().conn_cnt;
    if stale {
        return Err(ESTALE);
    }
    let last = match flags.contains(ObdFl::DELORPHAN) {
        true => orphans(ofd, req.target, &group, id, terms.skip_orphan)?,
        false => precreate(ofd, &group, id)?,
    };
    group.settled.store(true, Release);
    let mut o = asked;
    o.set_valid(ObdMd::FLSIZE);
    o.o_flags.set(0);
    o.o_size.set(DATA_SEQ_WIDTH);
    body::set_id(&mut o, &group.fid(last)?);
    attr::reply(req, &o)
}

/// Makes objects up to `id`; the last that there is then, or the number after the last if it is
/// behind that already.
fn precreate(ofd: &Ofd, group: &Arc<Group>, id: u64) -> Result<u64> {
    let _making = group.making.lock();
    let last = group.last();
    if id < last {
        return Ok(last + 1);
    }
    if id == last {
        return Ok(last);
    }
    if group.cleaning.load(Acquire) {
        return Err(EAGAIN);
    }
    let wanted = id - last;
    if wanted > REPLACED {
        return restart(ofd, group, id);
    }
    let n = ofd.space().objects(wanted)?;
    make(ofd, group, last + n, false)
}

/// The objects up to `id` are gone with what the OST was before: only the last of them are made,
/// which are those that an MDT may still give away.
fn restart(ofd: &Ofd, group: &Arc<Group>, id: u64) -> Result<u64> {
    let from = id - MAX_PRECREATE.min(DATA_SEQ_WIDTH);
    pr_warn!(
        "sequence of {}: numbers up to {} are lost\n",
        group.fid(id)?,
        from
    );
    let mut plan = ofd.osd().plan()?;
    group.plan(&mut plan)?;
    let mut tx = plan.start()?;
    let done = group.write(&mut tx, from);
    tx.stop()?;
    done?;
    group.set_last(from);
    make(ofd, group, id, true)
}

/// Makes the objects behind the last up to `id`; the last that was made. `all`: also those for
/// which there is little space.
///
/// # Errors
/// Why not even one was made.
fn make(ofd: &Ofd, group: &Arc<Group>, id: u64, all: bool) -> Result<u64> {
    let begun = Instant::now();
    let mut batch = u64::from(ofd.tunables.precreate_batch.load(Relaxed)).max(1);
    let first = group.last();
    while group.last() < id && begun.elapsed() < PATIENCE {
        if !all && group.cleaning.load(Acquire) {
            break;
        }
        let last = group.last();
        let to = id.min(last + batch);
        match make_batch(ofd, group, last + 1, to) {
            Ok(made) if made < to => break,
            Ok(_) => {}
            // The journal does not take so much at a time.
            Err(e) if e == ENOSPC && batch > 1 => batch /= 2,
            Err(e) if last == first => return Err(e),
            Err(_) => break,
        }
    }
    Ok(group.last())
}

/// Makes the objects from `from` to `to` in a transaction; the last that is there then.
fn make_batch(ofd: &Ofd, group: &Arc<Group>, from: u64, to: u64) -> Result<u64> {
    let what = Create::file(NEW_MODE);
    let mut objects: KVec<(u64, ObjectRef)> = KVec::new();
    let mut plan = ofd.osd().plan()?;
    group.plan(&mut plan)?;
    for id in from..=to {
        let o = ofd.osd().object(&group.fid(id)?)?;
        // Made by a write that was sent again.
        if !o.exists() {
            plan.create(&o, &what, None)?;
            objects.push((id, o), GFP_KERNEL)?;
        }
    }
    let mut tx = plan.start()?;
    // The number first: it is never behind an object.
    let mut done = group.write(&mut tx, to);
    let mut last = to;
    if done.is_ok() {
        for (id, o) in &objects {
            match tx.create(o, &what, None) {
                Err(e) if e != EEXIST => {
                    done = Err(e);
                    last = id - 1;
                    break;
                }
                _ => {}
            }
        }
        if last < to {
            group.write(&mut tx, last)?;
        }
    }
    if to >= DATA_SEQ_WIDTH {
        // The MDT goes on to another sequence: it must find this one full.
        tx.set_sync();
    }
    tx.stop()?;
    if last >= from && (done.is_ok() || last < to) {
        group.set_last(last);
        return Ok(last);
    }
    done.map(|()| last)
}

/// Orphans are being destroyed, until dropped.
struct Cleaning<'a>(&'a Group);

impl Drop for Cleaning<'_> {
    fn drop(&mut self) {
        self.0.cleaning.store(false, Release);
    }
}

/// Destroys the objects behind `id`, which the MDT has not used; or makes those that it has used
/// and that are not there. The last that there is then.
fn orphans(
    ofd: &Ofd,
    target: &Arc<Target>,
    group: &Arc<Group>,
    id: u64,
    keep_last: bool,
) -> Result<u64> {
    group.cleaning.store(true, Release);
    let _making = group.making.lock();
    if !group.cleaning.load(Acquire) {
        // Somebody else has done it.
        return Ok(group.last());
    }
    let cleaning = Cleaning(group);
    let last = group.last();
    if id > last {
        drop(cleaning);
        return match id - last > REPLACED {
            true => restart(ofd, group, id),
            false => make(ofd, group, id, true),
        };
    }
    if last - id > MAX_PRECREATE {
        pr_warn_ratelimited!(
            "{}: has objects up to {}, but is told of {} only: none is destroyed\n",
            target.name(),
            group.fid(last)?,
            id
        );
        return Ok(last + 1);
    }
    for n in (id + 1..=last).rev() {
        destroy_orphan(ofd, target, group, n, (!keep_last).then_some(n - 1))?;
    }
    Ok(group.last())
}

/// Destroys one; `new_last` is the last number from now on.
fn destroy_orphan(
    ofd: &Ofd,
    target: &Arc<Target>,
    group: &Group,
    id: u64,
    new_last: Option<u64>,
) -> Result {
    let fid = group.fid(id)?;
    let o = ofd.osd().object(&fid)?;
    let there = o.exists();
    if !there && new_last.is_none() {
        return Ok(());
    }
    let _lock = match there {
        true => Some(lock::take_last(target, &fid)?),
        false => None,
    };
    let mut plan = ofd.osd().plan()?;
    if there {
        plan.destroy(&o)?;
    }
    if new_last.is_some() {
        group.plan(&mut plan)?;
    }
    let mut tx = plan.start()?;
    let mut done = match there {
        true => tx.destroy(&o),
        false => Ok(()),
    };
    if let (Ok(()), Some(n)) = (&done, new_last) {
        done = group.write(&mut tx, n);
    }
    tx.stop()?;
    match done {
        Err(e) if e != ENOENT => return Err(e),
        _ => {}
    }
    if let Some(n) = new_last {
        group.set_last(n);
    }
    Ok(())
}
