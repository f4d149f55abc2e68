// SPDX-License-Identifier: GPL-2.0

//! IT_LAYOUT: a client wants to know the layout of a file, or to write where nothing is yet
//! (`mdt.md` 6.3).

use crate::device::Core;
use crate::locks;
use crate::open_files::{Agreed, MdtClient};
use kapi::prelude::*;
use ldlm::core::{flags, ibits, Mode, Policy};
use ldlm::msg::{self, REPLY_LEN};
use ldlm::server::{EnqueueReply, EnqueueReq, Intent};
use mdd::MAY_WRITE;
use osd::{Fid, ObjectRef};
use target::Request;
use wire::connect::ConnectFlags;
use wire::lov::{FlrState, LcmeFlags, LovMd};
use wire::mdt::{Disposition, LayoutIntent, LayoutOp};

/// Buffer of the `layout_intent`.
const INTENT: usize = 3;

/// Whether all of a layout before `end` has objects.
///
/// # Errors
/// `EOPNOTSUPP`: it has not, or writing changes more than that.
fn check_complete(ea: &[u8], end: u64) -> Result {
    match LovMd::parse(ea) {
        Ok(LovMd::Plain(_)) => Ok(()),
        Ok(LovMd::Composite(c)) => {
            let whole = c
                .entries
                .iter()
                .all(|e| e.lcme_start.get() >= end || e.flags().contains(LcmeFlags::INIT));
            match whole && c.md.flr_state() == FlrState::None {
                true => Ok(()),
                false => Err(EOPNOTSUPP),
            }
        }
        _ => Err(EOPNOTSUPP),
    }
}

impl Core {
    /// IT_LAYOUT.
    #[inline(never)]
    pub(crate) fn intent_layout(
        &self,
        req: &mut Request<'_>,
        enqueue: &EnqueueReq,
    ) -> Result<Intent> {
        let agreed = Agreed::with(req);
        if !agreed.has(ConnectFlags::LAYOUTLOCK) || !agreed.has(ConnectFlags::LVB_TYPE) {
            return Err(EOPNOTSUPP);
        }
        let intent = *req.rpc.get::<LayoutIntent>(INTENT)?;
        match enqueue.policy {
            Policy::Ibits(b) if b.bits == ibits::LAYOUT && b.try_bits == 0 => {}
            _ => return Err(EPROTO),
        }
        let done = self.layout_lock(req, enqueue, &intent);
        // What the layout is, is known when the lock is there: `layout_granted`.
        req.rpc.pack_reply(&[REPLY_LEN as u32, 0])?;
        Ok(done.unwrap_or_else(|e| {
            req.rpc.transno = 0;
            Intent::NoLock(Disposition::IT_EXECD.bits(), e.to_errno())
        }))
    }

    fn layout_lock(
        &self,
        req: &mut Request<'_>,
        enqueue: &EnqueueReq,
        intent: &LayoutIntent,
    ) -> Result<Intent> {
        let fid = Fid::from_res_name(&enqueue.res.0);
        let o = self.mdd.object(&fid)?;
        let executed = Disposition::IT_EXECD.bits();
        match LayoutOp::try_from(intent.lai_opc.get()).map_err(|_| EINVAL)? {
            LayoutOp::Access if enqueue.mode == Mode::Cr => Ok(Intent::Enqueue(executed, 0)),
            // Clients do not change layouts themselves.
            LayoutOp::Access => Err(EPROTO),
            LayoutOp::Write | LayoutOp::Trunc => {
                self.layout_for_writing(req, &o, intent)?;
                let ns = req.target.namespace();
                let lock = locks::lock(ns, &fid, Mode::Cr, ibits::LAYOUT)?;
                Ok(Intent::Lock(lock, executed, 0))
            }
            _ => Err(EOPNOTSUPP),
        }
    }

    /// Sees to it that a file can be written where `intent` says.
    fn layout_for_writing(
        &self,
        req: &mut Request<'_>,
        o: &ObjectRef,
        intent: &LayoutIntent,
    ) -> Result {
        if Agreed::with(req).has(ConnectFlags::RDONLY) {
            return Err(EROFS);
        }
        let a = o.attr()?;
        if !a.is_file() || intent.lai_start.get() >= intent.lai_end.get() {
            return Err(EINVAL);
        }
        if !req.own::<MdtClient>()?.writes(o.fid()) {
            let creds = self.creds_of_request(req);
            self.mdd.permission(o, &a, &creds, MAY_WRITE)?;
        }
        let end = match LayoutOp::try_from(intent.lai_opc.get()) {
            Ok(LayoutOp::Trunc) => u64::MAX,
            _ => intent.lai_end.get(),
        };
        if let Some(ea) = self.mdd.layout(o)? {
            return check_complete(&ea, end);
        }
        self.make_layout(req, o, None).map(drop)
    }

    /// An IT_LAYOUT that is here again, and whose lock is there.
    #[inline(never)]
    pub(crate) fn layout_again(&self, req: &mut Request<'_>) -> Result<(u64, i32)> {
        req.rpc.pack_reply(&[REPLY_LEN as u32, 0])?;
        Ok((Disposition::IT_EXECD.bits(), 0))
    }

    /// The lock of an IT_LAYOUT was enqueued: if it is granted, the layout goes with it.
    #[inline(never)]
    pub(crate) fn layout_granted(&self, req: &mut Request<'_>, lock: &EnqueueReply) -> Result {
        let granted = lock.desc.is_some_and(|d| d.granted.is_some());
        if !granted || lock.flags & flags::BLOCK_GRANTED != 0 {
            return Ok(());
        }
        let o = self.mdd.object(&locks::object_of(lock)?)?;
        let ea = self.mdd.layout(&o)?.unwrap_or_default();
        let len = u32::try_from(ea.len())?;
        req.rpc.pack_reply(&[REPLY_LEN as u32, len])?;
        let reply = req.rpc.reply_mut()?;
        reply
            .buf_mut(1)
            .ok_or(EPROTO)?
            .copy_from_slice(&msg::reply(lock));
        reply.buf_mut(2).ok_or(EPROTO)?.copy_from_slice(&ea);
        Ok(())
    }
}
