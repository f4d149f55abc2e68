// SPDX-License-Identifier: GPL-2.0

//! OST_DESTROY (`ost.md` 8).

use crate::attr;
use crate::body;
use crate::client;
use crate::device::Ofd;
use crate::lock;
use kapi::prelude::*;
use lnet::fail::{self, point};
use target::{Client, Request, Served};
use wire::fid::Fid;
use wire::obdo::{ObdMd, Obdo};
use wire::ostid::OstId;

/// Objects that a request may destroy.
const MAX: u32 = 1024;
/// Buffer of a lock request with locks that the client gives up.
const CANCELS: usize = 2;

/// Serves it.
///
/// # Errors
/// `EPERM`: only MDTs destroy objects. `EPROTO`, `EBADF`: no objects. `EROFS`.
pub(crate) fn serve(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    client::may_write(req)?;
    if fail::check(point::OST_EROFS) {
        return Err(EROFS);
    }
    if !client::of(&req.export)?.terms().mdt {
        return Err(EPERM);
    }
    let asked = *req.rpc.get::<Obdo>(body::BUF)?;
    let first = body::fid_of(&asked.o_oi, ofd.index())?;
    if asked.o_oi.id() == 0 || first.is_last_id() {
        return Err(EPROTO);
    }
    let count = match asked.valid().contains(ObdMd::FLOBJCOUNT) {
        true => asked.o_misc.get(),
        false => 1,
    };
    if count == 0 || count > MAX {
        return Err(EPROTO);
    }
    if let Some(cancels) = req.rpc.msg().buf(CANCELS).filter(|b| !b.is_empty()) {
        let ns = req.target.namespace();
        ns.serve_early_cancel(&req.locks, cancels);
    }
    let mut result: Result = Ok(());
    let mut next = first;
    for _ in 0..count {
        let fid = next;
        match destroy(ofd, req, &fid) {
            // Already gone, which says nothing of the others.
            Err(e) if e == ENOENT && result.is_err() => {}
            Err(e) => result = Err(e),
            Ok(()) => {}
        }
        next = match following(&fid, ofd.index()) {
            Some(f) => f,
            None => break,
        };
    }
    let mut o = asked;
    o.set_valid(ObdMd::empty());
    o.o_oi = OstId::from_fid_verbatim(next);
    attr::reply(req, &o)?;
    let status = result.err().map_or(0, |e| e.to_errno());
    Ok(Served::Reply(status))
}

/// The object after one.
fn following(fid: &Fid, index: u16) -> Option<Fid> {
    if fid.is_idif() {
        return Fid::idif(index, fid.idif_id() + 1);
    }
    fid.oid.checked_add(1).map(|oid| Fid::new(fid.seq, oid))
}

fn destroy(ofd: &Ofd, req: &mut Request<'_>, fid: &Fid) -> Result {
    let o = ofd.osd().object(fid)?;
    if !o.exists() {
        return Err(ENOENT);
    }
    let target = req.target.clone();
    let export = req.export.clone();
    let lock = lock::take_last(&target, fid)?;
    let mut plan = target.plan()?;
    plan.destroy(&o)?;
    let mut tx = target.start(plan, Client::of(&export)?)?;
    let done = tx.destroy(&o);
    let status = done.as_ref().err().map_or(0, |e| e.to_errno());
    if done.is_err() {
        // Nothing was changed: no number is to be waited for.
        let before = req.rpc.transno;
        tx.stop(req, status)?;
        req.rpc.transno = before;
        return done;
    }
    tx.stop(req, 0)?;
    drop(lock);
    Ok(())
}
