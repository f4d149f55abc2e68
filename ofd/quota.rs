// SPDX-License-Identifier: GPL-2.0

//! OST_QUOTACTL: what somebody uses of this OST (`ost.md` 11.2).

use crate::device::Ofd;
use kapi::prelude::*;
use osd::UsageKind;
use target::{Request, Served};
use wire::quota::{quota_type, ObdQuotactl};

/// What an id uses on an OST.
const Q_GETOQUOTA: u32 = 0x80_0103;
/// All of limits and usage, of space and of inodes.
const ALL_VALID: u32 = 0xf;

/// Serves it.
///
/// # Errors
/// `EOPNOTSUPP`: another question, or the store does not count. `EPROTO`: not such a request.
pub(crate) fn serve(ofd: &Ofd, req: &mut Request<'_>) -> Result<Served> {
    let mut q = *req.rpc.get::<ObdQuotactl>(1)?;
    if q.qc_cmd.get() != Q_GETOQUOTA {
        return Err(EOPNOTSUPP);
    }
    let kind = match q.qc_type.get() {
        quota_type::USER => UsageKind::User,
        quota_type::GROUP => UsageKind::Group,
        quota_type::PROJECT => UsageKind::Project,
        _ => return Err(EINVAL),
    };
    let usage = ofd.osd().usage(kind, q.qc_id.get())?;
    q.qc_dqblk = Default::default();
    q.qc_dqblk.dqb_curspace.set(usage.space);
    q.qc_dqblk.dqb_curinodes.set(usage.inodes);
    q.qc_dqblk.dqb_valid.set(ALL_VALID);
    req.rpc.pack_reply(&[size_of::<ObdQuotactl>() as u32, 0])?;
    *req.rpc.reply_mut()?.get_mut::<ObdQuotactl>(1)? = q;
    Ok(Served::Reply(0))
}
