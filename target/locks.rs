// SPDX-License-Identifier: GPL-2.0

//! Requests about locks (`ldlm.md` 7 to 11).

use crate::device::Target;
use crate::service::{Request, Served};
use kapi::prelude::*;
use ldlm::core::flags;
use ldlm::msg::{self, REPLY_LEN};
use ldlm::server::{EnqueueReply, EnqueueReq, ExportLocks, Intent, IntentPolicy, Namespace};
use lnet::fail::{self, point};
use ptlrpc::request::ServerRequest;
use wire::ldlm::eldlm;
use wire::mdt::Disposition;
use wire::msg::MsgFlags;
use wire::opcode::portal;

/// Buffer of the `ldlm_request`, and of the `ldlm_reply`.
const BUF: usize = 1;
/// Buffer of the value block in a reply without an intent.
const LVB_BUF: usize = 2;

/// Leads the lock manager to the service.
struct Policy<'a, 'r> {
    req: &'a mut Request<'r>,
}

impl IntentPolicy for Policy<'_, '_> {
    fn execute(
        &mut self,
        _: &Arc<Namespace>,
        _: &Arc<ExportLocks>,
        enqueue: &EnqueueReq,
    ) -> Result<Intent> {
        let service = self.req.target.service().clone();
        service.intent(self.req, enqueue)
    }

    fn again(
        &mut self,
        _: &Arc<Namespace>,
        _: &EnqueueReq,
        lock: &EnqueueReply,
    ) -> Result<(u64, i32)> {
        let service = self.req.target.service().clone();
        service.intent_again(self.req, lock)
    }
}

impl Target {
    /// LDLM_ENQUEUE.
    pub(crate) fn enqueue(self: &Arc<Self>, req: &mut Request<'_>) -> Result<Served> {
        if fail::check(point::LDLM_ENQUEUE_OLD_EXPORT) {
            return Err(ENOTCONN);
        }
        if req.rpc.portal() == portal::OST_REQUEST && fail::check(point::LDLM_ENQUEUE_EXTENT_ERR) {
            return Err(ENOMEM);
        }
        let msg_flags = req.rpc.flags();
        let resent = msg_flags.contains(MsgFlags::RESENT);
        let replay = msg_flags.contains(MsgFlags::REPLAY);
        let mut request = KVec::new();
        request.extend_from_slice(req.rpc.msg().buf(BUF).ok_or(EPROTO)?, GFP_KERNEL)?;
        let intent = req.rpc.msg().buf(2).is_some_and(|b| b.len() >= 8)
            && msg::LockMsg::parse(&request)?.raw_flags() & flags::HAS_INTENT != 0;
        let locks = req.locks.clone();
        let ns = self.namespace().clone();
        let reply = if intent {
            let mut policy = Policy { req };
            ns.serve_enqueue(&locks, &request, resent, replay, Some(&mut policy))?
        } else {
            ns.serve_enqueue(&locks, &request, resent, replay, None)?
        };
        if !req.rpc.has_reply() {
            let lvb = u32::try_from(reply.lvb.len())?;
            req.rpc.pack_reply(&[REPLY_LEN as u32, lvb])?;
            if !reply.lvb.is_empty() {
                let out = req.rpc.reply_mut()?.buf_mut(LVB_BUF).ok_or(EPROTO)?;
                reply.lvb.write(out)?;
            }
        }
        req.rpc
            .reply_mut()?
            .buf_mut(BUF)
            .and_then(|b| b.get_mut(..REPLY_LEN))
            .ok_or(EPROTO)?
            .copy_from_slice(&msg::reply(&reply));
        let service = self.service().clone();
        service.enqueued(req, &reply)?;
        Ok(Served::Reply(reply.status))
    }

    /// The reply to an enqueue is sent again. The lock that it gives may have been taken back
    /// meanwhile, as the client did not know of it: then it gets the rest without the lock.
    pub(crate) fn enqueued_before(&self, rpc: &mut ServerRequest, status: i32) -> Result<Served> {
        let Some(reply) = rpc.reply_mut()?.buf(BUF).filter(|b| b.len() == REPLY_LEN) else {
            return Ok(Served::Reply(status));
        };
        let old = msg::ReplyMsg::parse(reply)?;
        if old.cookie == 0 || self.namespace().find(old.cookie).is_some() {
            return Ok(Served::Reply(status));
        }
        let without = EnqueueReply {
            res1: old.res1 & !Disposition::OPEN_LOCK.bits(),
            res2: old.res2,
            ..EnqueueReply::default()
        };
        let out = rpc.reply_mut()?.buf_mut(BUF).ok_or(EPROTO)?;
        out.copy_from_slice(&msg::reply(&without));
        Ok(Served::Reply(eldlm::LOCK_ABORTED))
    }

    /// LDLM_CANCEL.
    pub(crate) fn cancel(self: &Arc<Self>, req: &mut Request<'_>) -> Result<Served> {
        let request = req.rpc.msg().buf(BUF).ok_or(EPROTO)?;
        let status = self.namespace().serve_cancel(&req.locks, request)?;
        req.rpc.pack_reply(&[])?;
        Ok(Served::Reply(status))
    }

    /// LDLM_CONVERT.
    pub(crate) fn convert(self: &Arc<Self>, req: &mut Request<'_>) -> Result<Served> {
        let request = req.rpc.msg().buf(BUF).ok_or(EPROTO)?;
        let reply = self.namespace().serve_convert(&req.locks, request)?;
        req.rpc.pack_reply(&[REPLY_LEN as u32])?;
        let out = req.rpc.reply_mut()?.buf_mut(BUF).ok_or(EPROTO)?;
        out.copy_from_slice(&reply);
        Ok(Served::Reply(0))
    }
}
