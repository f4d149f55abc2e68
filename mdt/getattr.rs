// SPDX-License-Identifier: GPL-2.0

//! Attributes, of an object or of what a name stands for (`mdt.md` 5).

use crate::answer::{Answer, Wanted};
use crate::device::Core;
use crate::locks;
use crate::message;
use crate::open_files::Agreed;
use crate::stats::Op;
use kapi::prelude::*;
use ldlm::core::{ibits, Mode};
use ldlm::server::{EnqueueReply, Intent};
use mdd::MAY_EXEC;
use osd::{Attr, ObjectRef};
use target::{Request, Served};
use wire::connect::ConnectFlags;
use wire::mdt::{Disposition, MdtBody};
use wire::obdo::ObdMd;

/// Bytes of an `ldlm_reply`.
pub(crate) const DLM_REP: u32 = ldlm::msg::REPLY_LEN as u32;
/// What follows in the reply to an intent: CAPA1, FILE_SECCTX, DEFAULT_MDT_MD, FILE_ENCCTX.
const INTENT_REST: [u32; 4] = [0; 4];
/// What follows otherwise: CAPA1, CAPA2, FILE_ENCCTX.
const REST: [u32; 3] = [0; 3];
/// An object whose attributes have not changed for so long is not likely to change soon, seconds.
const OLD: i64 = 10;

/// How far every lookup has come.
pub(crate) const LOOKED_UP: Disposition = Disposition::IT_EXECD.union(Disposition::LOOKUP_EXECD);

fn is_old(a: &Attr) -> bool {
    let now = i64::try_from(kapi::time::real().as_secs()).unwrap_or(i64::MAX);
    a.ctime.sec.saturating_add(OLD) < now
}

/// Nothing but attributes go with a question for the FID alone.
fn is_raw(b: &MdtBody) -> bool {
    b.valid() == ObdMd::FLID
}

impl Core {
    /// MDS_GETATTR.
    #[inline(never)]
    pub(crate) fn getattr(&self, req: &mut Request<'_>) -> Result<Served> {
        let b = message::body(req.rpc, 1)?;
        let o = self.mdd.object(&message::object(&b)?)?;
        if b.valid().contains(ObdMd::FLDATAVERSION) {
            // Only data on the MDT have a version here.
            return Err(EOPNOTSUPP);
        }
        self.stats.count(Op::Getattr);
        let a = self.describe(&o, Wanted::by(&b), &Agreed::with(req))?;
        a.pack(req.rpc, &[], &REST)?;
        Ok(Served::Reply(0))
    }

    /// MDS_GETATTR_NAME.
    #[inline(never)]
    pub(crate) fn getattr_name(&self, req: &mut Request<'_>) -> Result<Served> {
        let b = message::body(req.rpc, 1)?;
        let name = message::name(req.rpc.msg(), 3)?;
        self.stats.count(Op::Getattr);
        let o = if name.is_empty() {
            self.mdd.object(&message::sane(b.mbo_fid2.get())?)?
        } else {
            let dir = self.directory(req, &b)?;
            let ns = req.target.namespace();
            let _name = locks::lock_name(ns, dir.fid(), &name, false)?;
            self.mdd.object(&self.mdd.lookup(&dir, &name)?)?
        };
        let a = if is_raw(&b) {
            Answer::only_fid(&o)
        } else {
            self.describe(&o, Wanted::by(&b), &Agreed::with(req))?
        };
        a.pack(req.rpc, &[], &REST)?;
        Ok(Served::Reply(0))
    }

    /// The directory that a body names, which the caller may search.
    fn directory(&self, req: &Request<'_>, b: &MdtBody) -> Result<ObjectRef> {
        let fid = message::sane(b.mbo_fid1.get())?;
        let gone = |e| if e == ENOENT { ESTALE } else { e };
        let dir = self.mdd.object(&fid).map_err(gone)?;
        let a = dir.attr().map_err(gone)?;
        if !a.is_dir() {
            return Err(ENOTDIR);
        }
        let c = self.creds_of_body(req, b);
        self.mdd.permission(&dir, &a, &c, MAY_EXEC)?;
        Ok(dir)
    }

    /// IT_LOOKUP (`look`) and IT_GETATTR.
    #[inline(never)]
    pub(crate) fn intent_getattr(&self, req: &mut Request<'_>, look: bool) -> Result<Intent> {
        let b = message::body(req.rpc, 3)?;
        let name = message::name(req.rpc.msg(), 5)?;
        self.stats.count(Op::Getattr);
        match self.find_and_lock(req, &b, &name, look) {
            // The client knows the directory no more than we do.
            Err((_, e)) if e == ESTALE => Err(ESTALE),
            Err((reached, e)) => {
                Answer::default().pack(req.rpc, &[DLM_REP], &INTENT_REST)?;
                Ok(Intent::NoLock(reached.bits(), e.to_errno()))
            }
            Ok(done) => Ok(done),
        }
    }

    fn find_and_lock(
        &self,
        req: &mut Request<'_>,
        b: &MdtBody,
        name: &[u8],
        look: bool,
    ) -> Result<Intent, (Disposition, Error)> {
        let ns = req.target.namespace().clone();
        let looked = |e| (LOOKED_UP, e);
        let mut by_name = None;
        let fid = if name.is_empty() {
            message::sane(b.mbo_fid2.get()).map_err(looked)?
        } else if matches!(name, b"." | b"..") {
            // Locks are taken from the root down: what is above would be taken too late.
            return Err(looked(EINVAL));
        } else {
            let dir = self.directory(req, b).map_err(looked)?;
            by_name = Some(locks::lock_name(&ns, dir.fid(), name, false).map_err(looked)?);
            match self.mdd.lookup(&dir, name) {
                Ok(fid) => fid,
                Err(e) if e == ENOENT => {
                    let none = Answer::default();
                    none.pack(req.rpc, &[DLM_REP], &INTENT_REST)
                        .map_err(looked)?;
                    let d = LOOKED_UP | Disposition::LOOKUP_NEG;
                    return Ok(Intent::NoLock(d.bits(), 0));
                }
                Err(e) => return Err(looked(e)),
            }
        };
        let o = self.mdd.object(&fid).map_err(looked)?;
        let found = LOOKED_UP | Disposition::LOOKUP_POS;
        let failed = |e| (found, e);
        if is_raw(b) {
            let a = Answer::only_fid(&o);
            a.pack(req.rpc, &[DLM_REP], &INTENT_REST).map_err(failed)?;
            return Ok(Intent::NoLock(found.bits(), 0));
        }
        let agreed = Agreed::with(req);
        let attr = self.mdd.attr(&o).map_err(failed)?;
        let mut bits = ibits::PERM;
        if by_name.is_some() || !self.mdd.is_orphan(&fid) {
            bits |= ibits::LOOKUP;
        }
        if !look || is_old(&attr) {
            bits |= ibits::UPDATE;
        }
        let wants_layout = b.mbo_eadatasize.get() > 0 && b.valid().contains(ObdMd::FLEASIZE);
        let wished = match attr.is_file() && wants_layout && agreed.has(ConnectFlags::LAYOUTLOCK) {
            true => ibits::LAYOUT,
            false => 0,
        };
        let known = agreed.ibits();
        let lock = match bits & known {
            // The client knows no locks of inodes.
            0 => None,
            bits => {
                Some(locks::lock_some(&ns, &fid, Mode::Pr, bits, wished & known).map_err(failed)?)
            }
        };
        // What the name stands for cannot change now: the object is locked, or nobody cares.
        drop(by_name);
        // It may have gone while we waited.
        let o = self.mdd.object(&fid).map_err(failed)?;
        let a = self.describe(&o, Wanted::by(b), &agreed).map_err(failed)?;
        a.pack(req.rpc, &[DLM_REP], &INTENT_REST).map_err(failed)?;
        Ok(match lock {
            Some(l) => Intent::Lock(l, found.bits(), 0),
            None => Intent::NoLock(found.bits(), 0),
        })
    }

    /// A lookup that is here again, and whose lock is there: what is under the lock is described
    /// again.
    #[inline(never)]
    pub(crate) fn getattr_again(
        &self,
        req: &mut Request<'_>,
        lock: &EnqueueReply,
    ) -> Result<(u64, i32)> {
        let b = message::body(req.rpc, 3)?;
        let o = self.mdd.object(&locks::object_of(lock)?)?;
        let a = self.describe(&o, Wanted::by(&b), &Agreed::with(req))?;
        a.pack(req.rpc, &[DLM_REP], &INTENT_REST)?;
        Ok(((LOOKED_UP | Disposition::LOOKUP_POS).bits(), 0))
    }
}

impl Answer {
    /// An answer that names an object and says no more.
    fn only_fid(o: &ObjectRef) -> Answer {
        let mut a = Answer::default();
        a.body.mbo_fid1 = (*o.fid()).into();
        a.body.set_valid(ObdMd::FLID);
        a
    }
}
