// SPDX-License-Identifier: GPL-2.0

//! MDS_REINT: the changes of names and objects (`mdt.md` 8).

use crate::answer::Answer;
use crate::device::Core;
use crate::open_files::Agreed;
use kapi::prelude::*;
use lnet::fail::{self, point};
use ptlrpc::message::Msg;
use target::{Request, Served};
use wire::connect::ConnectFlags;
use wire::mdt::MdtBody;
use wire::reint::{RecReint, ReintOp};

/// Buffer of the record.
pub(crate) const REC: usize = 1;
const BODY: u32 = size_of::<MdtBody>() as u32;

fn op(msg: &Msg) -> Result<ReintOp> {
    let rec: &RecReint = msg.get(REC).map_err(|_| EFAULT)?;
    rec.head.op().map_err(|_| EFAULT)
}

/// Which buffer names locks to be given up along with the request.
const fn cancel_buf(op: ReintOp) -> Option<usize> {
    match op {
        ReintOp::Setattr | ReintOp::Rename => Some(6),
        ReintOp::Create | ReintOp::Link | ReintOp::Setxattr => Some(5),
        ReintOp::Unlink => Some(4),
        _ => None,
    }
}

/// The locks to be given up along with a request.
pub(crate) fn cancels(msg: &Msg) -> Option<&[u8]> {
    let op = op(msg).ok()?;
    msg.buf(cancel_buf(op)?).filter(|b| !b.is_empty())
}

/// The buffers of the reply: as the format has them, though nothing is in them.
fn reply(op: ReintOp, symlink: bool) -> &'static [u32] {
    match op {
        ReintOp::Create if symlink => &[BODY, 0],
        ReintOp::Create => &[BODY, 0, 0],
        ReintOp::Link | ReintOp::Setxattr => &[BODY],
        _ => &[BODY, 0, 0, 0, 0],
    }
}

impl Core {
    /// MDS_REINT.
    #[inline(never)]
    pub(crate) fn reint(&self, req: &mut Request<'_>) -> Result<Served> {
        fail::pause(point::MDS_REINT_DELAY, |_| Duration::from_secs(10));
        let op = op(req.rpc.msg())?;
        if cancel_buf(op).is_none() {
            return Err(EOPNOTSUPP);
        }
        if Agreed::with(req).has(ConnectFlags::RDONLY) {
            return Err(EROFS);
        }
        if let Some(c) = cancels(req.rpc.msg()) {
            req.target.namespace().serve_early_cancel(&req.locks, c);
        }
        let symlink = op == ReintOp::Create && crate::create::is_symlink(req.rpc.msg());
        let done = match op {
            ReintOp::Setattr => self.reint_setattr(req),
            ReintOp::Create => self.reint_create(req),
            ReintOp::Link => self.reint_link(req),
            ReintOp::Unlink => self.reint_unlink(req),
            ReintOp::Rename => self.reint_rename(req),
            ReintOp::Setxattr => self.reint_setxattr(req),
            _ => Err(EOPNOTSUPP),
        };
        req.rpc.pack_reply(reply(op, symlink))?;
        match done {
            Ok(Answer { body, .. }) => {
                *req.rpc.reply_mut()?.get_mut::<MdtBody>(REC)? = body;
                Ok(Served::Reply(0))
            }
            Err(e) => {
                req.rpc.transno = 0;
                Ok(Served::Reply(e.to_errno()))
            }
        }
    }
}
