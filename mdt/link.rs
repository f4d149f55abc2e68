// SPDX-License-Identifier: GPL-2.0

//! Names come and go (`mdt.md` 8.3, 8.4).

use crate::answer::{fill_attr, Answer};
use crate::change::Change;
use crate::device::Core;
use crate::locks;
use crate::message;
use crate::reint::REC;
use crate::stats::Op;
use kapi::prelude::*;
use ldlm::core::{ibits, Mode};
use mdd::Removed;
use target::Request;
use wire::mdt::InodeFlags;
use wire::reint::{RecLink, RecUnlink};

const S_IFMT: u32 = osd::S_IFMT;
const S_IFDIR: u32 = 0o040000;

impl Core {
    /// REINT_LINK.
    pub(crate) fn reint_link(&self, req: &mut Request<'_>) -> Result<Answer> {
        let rec = *req.rpc.get::<RecLink>(REC)?;
        let creds = self.creds_of_record(req, &rec.head);
        let name = message::name(req.rpc.msg(), 4)?;
        let o = self.mdd.object(&message::sane(rec.lk_fid1.get())?)?;
        let dir = self.mdd.object(&message::sane(rec.lk_fid2.get())?)?;
        if o.attr()?.is_dir() {
            // It may be the directory that is locked next.
            return Err(EPERM);
        }
        let ns = req.target.namespace().clone();
        let _name = locks::lock_name(&ns, dir.fid(), &name, true)?;
        let _lock = locks::lock(&ns, o.fid(), Mode::Ex, ibits::UPDATE | ibits::XATTR)?;
        // It may have gone while we waited.
        let o = self.mdd.object(o.fid())?;
        let time = rec.lk_time.get();
        self.mdd
            .link(&mut Change::of(req), &creds, &o, &dir, &name, time)?;
        self.stats.count(Op::Link);
        Ok(Answer::default())
    }

    /// REINT_UNLINK.
    pub(crate) fn reint_unlink(&self, req: &mut Request<'_>) -> Result<Answer> {
        let rec = *req.rpc.get::<RecUnlink>(REC)?;
        let creds = self.creds_of_record(req, &rec.head);
        let name = message::name(req.rpc.msg(), 3)?;
        if matches!(&name[..], b"." | b"..") {
            // Locks are taken from the root down.
            return Err(EINVAL);
        }
        let dir = self.mdd.object(&message::sane(rec.ul_fid1.get())?)?;
        let ns = req.target.namespace().clone();
        let _name = locks::lock_name(&ns, dir.fid(), &name, true)?;
        let o = self.mdd.object(&self.mdd.lookup(&dir, &name)?)?;
        if o.fid() == dir.fid() {
            return Err(EINVAL);
        }
        let bits = ibits::LOOKUP | ibits::UPDATE;
        let _lock = locks::lock(&ns, o.fid(), Mode::Ex, bits)?;
        let is_dir = o.attr()?.is_dir();
        match (rec.ul_mode.get() & S_IFMT == S_IFDIR, is_dir) {
            (true, false) => return Err(ENOTDIR),
            (false, true) => return Err(EISDIR),
            _ => {}
        }
        let time = rec.ul_time.get();
        let removed = self
            .mdd
            .unlink(&mut Change::of(req), &creds, &dir, &name, &o, time)?;
        self.stats
            .count(if is_dir { Op::Rmdir } else { Op::Unlink });
        Ok(self.describe_removed(&removed))
    }

    /// What is left of an object that lost a name: clients believe the number of links.
    pub(crate) fn describe_removed(&self, r: &Removed) -> Answer {
        let mut a = Answer::default();
        fill_attr(&mut a.body, &r.fid, &r.attr);
        if self.mdd.is_orphan(&r.fid) {
            let flags = r.attr.flags | InodeFlags::ORPHAN.bits();
            a.body.mbo_flags.set(flags);
        }
        a
    }
}
