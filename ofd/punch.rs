// SPDX-License-Identifier: GPL-2.0

//! Truncates, holes and reserved blocks (`ost.md` 5.3, 5.4).

use crate::attr;
use crate::body;
use crate::change::{Change, Owners};
use crate::client;
use crate::connect::MAX_BYTES;
use crate::device::Ofd;
use crate::lock::{self, Scope};
use kapi::prelude::*;
use lnet::fail::{self, point};
use osd::ObjectRef;
use target::{Client, Request, Served};
use wire::obdo::{ObdMd, Obdo};

/// Modes of fallocate.
const KEEP_SIZE: u32 = 1;
const PUNCH_HOLE: u32 = 2;
const ZERO_RANGE: u32 = 0x10;

/// Gives a change of an object's blocks its number, times and owners.
fn record(req: &mut Request<'_>, object: &ObjectRef, change: &Change) -> Result {
    let export = req.export.clone();
    let target = req.target.clone();
    let mut plan = target.plan()?;
    let parent = change.plan(&mut plan, object)?;
    let mut tx = target.start(plan, Client::of(&export)?)?;
    let version = tx.transno();
    let applied = change.apply(&mut tx, object, parent, Some(version));
    let status = applied.as_ref().err().map_or(0, |e| e.to_errno());
    if let (Ok(old), Some(v)) = (&applied, req.rpc.pre_versions.first_mut()) {
        *v = old.version;
    }
    tx.stop(req, status)?;
    applied.map(drop)
}

/// OST_PUNCH: the object gets another size.
///
/// # Errors
/// `EPROTO`: a hole, which is asked for otherwise. `ESTALE`: no lock, or an older layout. `ENOENT`.
/// `EROFS`. `EFBIG`.
pub(crate) fn punch(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    client::may_write(req)?;
    fail::pause(point::OST_PAUSE_PUNCH, fail::seconds);
    let (o, fid) = body::read(req.rpc, ofd.index())?;
    let both = ObdMd::FLSIZE | ObdMd::FLBLOCKS;
    if !o.valid().contains(both) || o.o_blocks.get() != u64::MAX {
        return Err(EPROTO);
    }
    let size = o.o_size.get();
    if size > MAX_BYTES {
        return Err(EFBIG);
    }
    let export = req.export.clone();
    let state = Client::of(&export)?;
    let scope = Scope {
        first: size,
        last: u64::MAX,
        write: true,
    };
    let ours = lock::wants_ours(&o);
    let held = lock::hold(req, state, &o, &fid, scope, ours, size == 0)?;
    if req.rpc.time_left().is_zero() {
        return Ok(Served::Drop);
    }
    let object = ofd.osd().object(&fid)?;
    object.attr()?;
    let change = Change::new(&o, Owners::First);
    change.check_layout(&object)?;
    ofd.stamp(req, &fid)?;
    object.truncate(size)?;
    record(req, &object, &change)?;
    drop(held);
    let attr = lock::tell(req.target, &object, false)?;
    let mut out = Obdo::default();
    body::set_id(&mut out, &fid);
    out.set_valid(ObdMd::FLID | ObdMd::FLBLOCKS);
    out.o_blocks.set(attr.blocks);
    attr::reply(req, &out)
}

/// OST_FALLOCATE.
///
/// # Errors
/// `EOPNOTSUPP`: a client of before 2.15, or another mode. `EINVAL`: an empty range. `ENOENT`.
/// `EROFS`. `ENOSPC`. `EFBIG`.
pub(crate) fn fallocate(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    client::may_write(req)?;
    let (o, fid) = body::read(req.rpc, ofd.index())?;
    if !o.valid().contains(ObdMd::FLSIZE | ObdMd::FLBLOCKS) {
        return Err(EOPNOTSUPP);
    }
    let mode = o.o_nlink.get();
    if mode & !(KEEP_SIZE | PUNCH_HOLE | ZERO_RANGE) != 0
        || mode & (PUNCH_HOLE | ZERO_RANGE) == PUNCH_HOLE | ZERO_RANGE
    {
        return Err(EOPNOTSUPP);
    }
    let (start, end) = (o.o_size.get(), o.o_blocks.get());
    if start >= end {
        return Err(EINVAL);
    }
    let hole = mode & PUNCH_HOLE != 0;
    let end = match end > MAX_BYTES {
        // Nothing is there that could be freed.
        true if hole => MAX_BYTES,
        true => return Err(EFBIG),
        false => end,
    };
    let object = ofd.osd().object(&fid)?;
    object.attr()?;
    let export = req.export.clone();
    let held = match lock::wants_ours(&o) {
        true => {
            let scope = Scope {
                first: start,
                last: end.max(start + 1) - 1,
                write: true,
            };
            let state = Client::of(&export)?;
            Some(lock::hold(req, state, &o, &fid, scope, true, false)?)
        }
        false => None,
    };
    let change = Change::new(&o, Owners::Always);
    change.check_layout(&object)?;
    ofd.stamp(req, &fid)?;
    let keep = mode & KEEP_SIZE != 0;
    match end.checked_sub(start).filter(|n| *n > 0) {
        // A hole behind the largest size.
        None => {}
        Some(len) if hole => object.punch(start, len)?,
        Some(len) if mode & ZERO_RANGE != 0 => object.zero_range(start, len, keep)?,
        Some(len) => object.preallocate(start, len, keep)?,
    }
    record(req, &object, &change)?;
    drop(held);
    let attr = lock::tell(req.target, &object, false)?;
    let mut out = Obdo::default();
    body::set_id(&mut out, &fid);
    out.set_valid(ObdMd::FLID);
    body::set_attrs(&mut out, &attr, body::ATTRS);
    attr::reply(req, &out)
}
