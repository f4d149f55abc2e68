// SPDX-License-Identifier: GPL-2.0

//! Xattrs are set and removed (`mdt.md` 8.6).

use crate::answer::Answer;
use crate::change::Change;
use crate::connect::MAX_EASIZE;
use crate::device::Core;
use crate::getxattr::check_known;
use crate::locks;
use crate::message::{self, Text, NAME_MAX};
use crate::open_files::Agreed;
use crate::reint::REC;
use crate::stats::Op;
use kapi::prelude::*;
use ldlm::core::{ibits, Mode};
use mdd::XattrSet;
use target::Request;
use wire::obdo::ObdMd;
use wire::reint::RecSetxattr;

impl Core {
    /// REINT_SETXATTR.
    pub(crate) fn reint_setxattr(&self, req: &mut Request<'_>) -> Result<Answer> {
        let rec = *req.rpc.get::<RecSetxattr>(REC)?;
        let name = match Text::read(req.rpc.msg(), 3, NAME_MAX) {
            Err(e) if e == ENAMETOOLONG => return Err(ERANGE),
            r => r?,
        };
        let name = name.as_c_str();
        if name.is_empty() {
            return Err(EINVAL);
        }
        let given = message::bytes(req.rpc.msg(), 4, MAX_EASIZE)?;
        let valid = ObdMd::from_bits_retain(rec.sx_valid.get());
        let value = if valid.contains(ObdMd::FLXATTRRM) {
            None
        } else if valid.contains(ObdMd::FLXATTR) {
            Some(&given[..])
        } else {
            return Err(EINVAL);
        };
        check_known(name, &Agreed::with(req))?;
        let creds = self.creds_of_record(req, &rec.head);
        let o = self.mdd.object(&message::sane(rec.sx_fid.get())?)?;
        let mut bits = ibits::UPDATE;
        bits |= match name == mdd::XATTR_ACL_ACCESS {
            // The mode goes with it.
            true => ibits::PERM,
            false => ibits::XATTR,
        };
        let text = name.to_bytes();
        if text.starts_with(b"lustre.lov") || text.starts_with(b"trusted.lov") {
            bits |= ibits::LAYOUT;
        }
        let ns = req.target.namespace().clone();
        let _lock = locks::lock(&ns, o.fid(), Mode::Ex, bits)?;
        let what = XattrSet {
            name,
            value,
            flags: rec.sx_flags.get(),
            time: rec.sx_time.get(),
        };
        self.mdd
            .set_xattr(&mut Change::of(req), &creds, &o, &what)?;
        self.stats.count(Op::Setxattr);
        Ok(Answer::default())
    }
}
