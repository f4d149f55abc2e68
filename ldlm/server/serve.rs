// SPDX-License-Identifier: GPL-2.0

//! The requests of clients, from their buffers to what is answered.

use super::enqueue::{EnqueueReply, IntentPolicy};
use super::export::ExportLocks;
use super::namespace::Namespace;
use crate::core::Ibits;
use crate::msg::{self, LockMsg, REPLY_LEN};
use kapi::prelude::*;

/// LUSTRE_ESTALE: none of the locks to cancel is known.
const STALE: i32 = 116;

impl Namespace {
    /// LDLM_ENQUEUE: `request` is the `ldlm_request` buffer. Early cancels that ride in it are
    /// carried out first, unless the message is a replay. The reply's buffers are
    /// [`msg::reply`] and [`EnqueueReply::lvb`].
    ///
    /// # Errors
    /// Those of spec/ldlm.md 7.4; they go into an error reply.
    pub fn serve_enqueue(
        self: &Arc<Self>,
        exp: &Arc<ExportLocks>,
        request: &[u8],
        resent: bool,
        replay: bool,
        intent: Option<&mut dyn IntentPolicy>,
    ) -> Result<EnqueueReply> {
        let m = LockMsg::parse(request)?;
        let req = m.enqueue(resent)?;
        if !replay {
            self.cancel(exp, m.cancels_of_enqueue());
        }
        self.enqueue(exp, &req, intent)
    }

    /// LDLM_CANCEL: the status of the reply, 0 or +116.
    ///
    /// # Errors
    /// `EPROTO`: no `ldlm_request`.
    pub fn serve_cancel(self: &Arc<Self>, exp: &ExportLocks, request: &[u8]) -> Result<i32> {
        let found = self.cancel(exp, LockMsg::parse(request)?.handles(0));
        Ok(if found == 0 { STALE } else { 0 })
    }

    /// Early cancels in the `ldlm_request` of another operation, from slot 0 on. To be done before
    /// the operation takes locks, and not for a replay. What cannot be read cancels nothing.
    pub fn serve_early_cancel(self: &Arc<Self>, exp: &ExportLocks, request: &[u8]) {
        if let Ok(m) = LockMsg::parse(request) {
            self.cancel(exp, m.handles(0));
        }
    }

    /// LDLM_CONVERT: the `ldlm_reply`. A lock that is gone is no error, as the client wanted less
    /// of it anyway.
    ///
    /// # Errors
    /// `EPROTO`: no `ldlm_request`, or the lock has another mode. `EFAULT`: no such mode.
    pub fn serve_convert(
        self: &Arc<Self>,
        exp: &ExportLocks,
        request: &[u8],
    ) -> Result<[u8; REPLY_LEN]> {
        let m = LockMsg::parse(request)?;
        let (cookie, mode, keep) = m.convert()?;
        let own = self.find(cookie).filter(|(_, v)| v.export == exp.id());
        let client_handle = own.map_or(0, |(_, v)| v.client_handle);
        let left = match self.convert(exp, cookie, mode, keep) {
            Ok(left) => left,
            Err(e) if e == EPROTO => return Err(e),
            Err(_) => Ibits::default(),
        };
        Ok(msg::convert_reply(m.raw_flags(), client_handle, &left))
    }

    /// Whether a CANCEL or CONVERT names a lock that has been called back, and is urgent
    /// (spec/ldlm.md 11.4).
    pub fn is_urgent(&self, request: &[u8]) -> bool {
        LockMsg::parse(request).is_ok_and(|m| m.handles(0).any(|h| self.is_called_back(h)))
    }
}
