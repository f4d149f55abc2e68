// SPDX-License-Identifier: GPL-2.0

//! MDS_QUOTACTL and OST_QUOTACTL: what somebody uses of a target (`mdt.md` 17, `ost.md` 11.2). There are no
//! limits yet.

use crate::{Request, Served};
use kapi::prelude::*;
use osd::UsageKind;
use wire::quota::{quota_type, ObdDqblk, ObdQuotactl};

/// The limits of an id.
const Q_GETQUOTA: u32 = 0x80_0007;
/// What an id uses on this target.
const Q_GETOQUOTA: u32 = 0x80_0103;
/// All of limits and usage, of space and of inodes.
const ALL_VALID: u32 = 0xf;
/// Limits and times of grace, of space and of inodes: `dqb_valid`.
const LIMITS_VALID: u32 = 0x35;

/// Serves it; who has the `limits` of the file system tells them, too.
///
/// # Errors
/// `EOPNOTSUPP`: another question, or the store does not count. `EINVAL`: no such kind of id.
/// `EPROTO`: not such a request.
pub fn serve(req: &mut Request<'_>, limits: bool) -> Result<Served> {
    let mut q = *req.rpc.get::<ObdQuotactl>(1)?;
    let kind = || match q.qc_type.get() {
        quota_type::USER => Ok(UsageKind::User),
        quota_type::GROUP => Ok(UsageKind::Group),
        quota_type::PROJECT => Ok(UsageKind::Project),
        _ => Err(EINVAL),
    };
    let mut b = ObdDqblk::default();
    match q.qc_cmd.get() {
        Q_GETQUOTA if limits => {
            kind()?;
            b.dqb_valid.set(LIMITS_VALID);
        }
        Q_GETOQUOTA => {
            let usage = req.target.osd().usage(kind()?, q.qc_id.get())?;
            b.dqb_curspace.set(usage.space);
            b.dqb_curinodes.set(usage.inodes);
            b.dqb_valid.set(ALL_VALID);
        }
        _ => return Err(EOPNOTSUPP),
    }
    q.qc_dqblk = b;
    req.rpc.pack_reply(&[size_of::<ObdQuotactl>() as u32, 0])?;
    *req.rpc.reply_mut()?.get_mut::<ObdQuotactl>(1)? = q;
    Ok(Served::Reply(0))
}
