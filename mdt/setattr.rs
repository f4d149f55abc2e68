// SPDX-License-Identifier: GPL-2.0

//! Attributes are set, or the default layout of a directory (`mdt.md` 8.1).

use crate::answer::{Answer, Wanted};
use crate::change::Change;
use crate::connect::MAX_EASIZE;
use crate::device::Core;
use crate::locks;
use crate::message;
use crate::open_files::Agreed;
use crate::reint::REC;
use crate::stats::Op;
use kapi::prelude::*;
use ldlm::core::{ibits, Mode};
use mdd::{AttrChange, CloseAttr};
use osd::ObjectRef;
use target::Request;
use wire::lmv::LMV_USER_MAGIC;
use wire::reint::{MdsAttr, MdsBias, RecSetattr};

const EADATA: usize = 4;
/// Of an id or a mode: it stays.
const KEEP: u32 = u32::MAX;

/// What makes another version of an object; times do not.
const VERSIONED: MdsAttr = MdsAttr::MODE
    .union(MdsAttr::UID)
    .union(MdsAttr::GID)
    .union(MdsAttr::PROJID)
    .union(MdsAttr::ATTR_FLAG)
    .union(MdsAttr::KILL_SUID)
    .union(MdsAttr::KILL_SGID);

/// What a record asks to change.
fn change(rec: &RecSetattr) -> AttrChange {
    let valid = rec.valid();
    let bias = MdsBias::from_bits_retain(rec.sa_bias.get());
    let number = |bit, v: u32| (valid.contains(bit) && v != KEEP).then_some(v);
    let time = |bit, t: i64| valid.contains(bit).then_some(t);
    AttrChange {
        mode: number(MdsAttr::MODE, rec.sa_mode.get()),
        uid: number(MdsAttr::UID, rec.sa_uid.get()),
        gid: number(MdsAttr::GID, rec.sa_gid.get()),
        projid: number(MdsAttr::PROJID, rec.sa_projid.get()),
        size: valid.contains(MdsAttr::SIZE).then_some(rec.sa_size.get()),
        atime: time(MdsAttr::ATIME, rec.sa_atime.get()),
        mtime: time(MdsAttr::MTIME, rec.sa_mtime.get()),
        ctime: time(MdsAttr::CTIME, rec.sa_ctime.get()),
        flags: valid
            .contains(MdsAttr::ATTR_FLAG)
            .then_some(rec.sa_attr_flags.get()),
        kill_suid: valid.contains(MdsAttr::KILL_SUID),
        kill_sgid: valid.contains(MdsAttr::KILL_SGID),
        force: valid.contains(MdsAttr::FORCE) || bias.contains(MdsBias::PERM_BYPASS),
        from_open: valid.contains(MdsAttr::FROM_OPEN),
        owner_override: valid.contains(MdsAttr::OVERRIDE) || bias.contains(MdsBias::OWNEROVERRIDE),
    }
}

/// The bits that a change takes away from clients.
fn lock_bits(valid: MdsAttr) -> u64 {
    let mut bits = ibits::UPDATE;
    let perm = MdsAttr::MODE
        | MdsAttr::UID
        | MdsAttr::GID
        | MdsAttr::KILL_SUID
        | MdsAttr::KILL_SGID
        | MdsAttr::ATTR_FLAG;
    if valid.intersects(perm) {
        bits |= ibits::PERM;
    }
    if valid.contains(MdsAttr::PROJID) {
        bits |= ibits::XATTR;
    }
    bits
}

impl Core {
    /// REINT_SETATTR.
    pub(crate) fn reint_setattr(&self, req: &mut Request<'_>) -> Result<Answer> {
        let rec = *req.rpc.get::<RecSetattr>(REC)?;
        let ea = message::bytes(req.rpc.msg(), EADATA, MAX_EASIZE)?;
        let o = self.mdd.object(&message::sane(rec.sa_fid.get())?)?;
        let agreed = Agreed::with(req);
        self.stats.count(Op::Setattr);
        if ea.is_empty() {
            self.set_attributes(req, &rec, &o)?;
        } else if rec.valid().is_empty() {
            self.set_default(req, &rec, &o, &ea)?;
        } else {
            return Err(EPROTO);
        }
        self.describe(&o, Wanted::ATTR, &agreed)
    }

    fn set_attributes(&self, req: &mut Request<'_>, rec: &RecSetattr, o: &ObjectRef) -> Result {
        let creds = self.creds_of_record(req, &rec.head);
        let valid = rec.valid();
        let ns = req.target.namespace().clone();
        let _lock = locks::lock(&ns, o.fid(), Mode::Pw, lock_bits(valid))?;
        let run = &mut Change::of(req);
        let size = MdsAttr::LSIZE | MdsAttr::LBLOCKS;
        if valid.intersects(size) && valid.difference(size).is_empty() {
            // A client has found out how large the file is.
            let told = CloseAttr {
                lazy: Some((rec.sa_size.get(), rec.sa_blocks.get())),
                ..CloseAttr::default()
            };
            return self.mdd.close_attr(run, o, &told).map(drop);
        }
        let done = self.mdd.setattr(run, &creds, o, &change(rec));
        if !valid.intersects(VERSIONED) {
            req.rpc.pre_versions = [0; 4];
        }
        done
    }

    fn set_default(
        &self,
        req: &mut Request<'_>,
        rec: &RecSetattr,
        o: &ObjectRef,
        ea: &[u8],
    ) -> Result {
        let magic = ea.first_chunk().map(|m| u32::from_le_bytes(*m));
        if magic == Some(LMV_USER_MAGIC) {
            return Err(EOPNOTSUPP);
        }
        if !o.attr()?.is_dir() {
            return Err(ENOTDIR);
        }
        let creds = self.creds_of_record(req, &rec.head);
        let ns = req.target.namespace().clone();
        let bits = ibits::UPDATE | ibits::XATTR | ibits::LAYOUT;
        let _lock = locks::lock(&ns, o.fid(), Mode::Pw, bits)?;
        let time = i64::try_from(kapi::time::real().as_secs())?;
        self.mdd
            .set_directory_default(&mut Change::of(req), &creds, o, ea, time)
    }
}
