// SPDX-License-Identifier: GPL-2.0

//! Lock callbacks to a client (`ptlrpc.md` 14.5, `ldlm.md` 10).

use crate::client::Client;
use crate::device::Target;
use kapi::prelude::*;
use ldlm::core::{AstTarget, BlockingAst, CompletionAst, Desc};
use ldlm::msg;
use ldlm::server::{AstDone, AstOutcome, AstSender, Lvb};
use ptlrpc::call::{CallOptions, Outcome};
use ptlrpc::export::Export;
use ptlrpc::import::Import;
use ptlrpc::message::Msg;
use wire::msg::DLM_VERSION;
use wire::opcode::{portal, LDLM_BL_CALLBACK, LDLM_CP_CALLBACK, LDLM_GL_CALLBACK};

/// How long a client has to answer a callback; to give up the lock it has longer.
const ANSWER_TIME: u32 = 11;

/// Sends callbacks to one client.
pub(crate) struct Sender {
    pub(crate) target: Arc<Target>,
    pub(crate) export: Arc<Export>,
}

/// Whom to tell of the outcome.
struct Waiting(Option<AstDone>);

impl Waiting {
    fn end(mut self, outcome: Outcome) {
        let Some(done) = self.0.take() else { return };
        match outcome {
            Ok(r) => done.complete(AstOutcome::Replied(r.status, r.msg.buf(1).unwrap_or(&[]))),
            Err(e) => done.complete(AstOutcome::Failed(e)),
        }
    }
}

impl Sender {
    fn send(
        &self,
        opc: u32,
        request: &[u8],
        rest: &[u8],
        reply_lens: &[u32],
        done: Option<AstDone>,
    ) -> Result {
        let import: Arc<Import> = self.export.reverse_import().ok_or(ENOTCONN)?;
        let lens = [u32::try_from(request.len())?, u32::try_from(rest.len())?];
        let lens = if rest.is_empty() {
            lens.get(..1).ok_or(EINVAL)?
        } else {
            &lens
        };
        let mut m = Msg::request(opc, DLM_VERSION, lens)?;
        m.buf_mut(1).ok_or(EPROTO)?.copy_from_slice(request);
        if !rest.is_empty() {
            m.buf_mut(2).ok_or(EPROTO)?.copy_from_slice(rest);
        }
        let mut options = CallOptions::new(reply_lens)?;
        options.portal = Some(portal::LDLM_CB_REQUEST);
        options.reply_portal = Some(portal::LDLM_CB_REPLY);
        options.no_resend = true;
        options.timeout = Some(ANSWER_TIME);
        let waiting = Waiting(done);
        import.call_async(
            m,
            options,
            None,
            KBox::new(move |o: Outcome| waiting.end(o), GFP_KERNEL)?,
        )
    }

    fn try_send(
        &self,
        opc: u32,
        request: &[u8],
        rest: &[u8],
        reply_lens: &[u32],
        done: Option<AstDone>,
    ) {
        // An outcome that is dropped reports the failure.
        if let Err(e) = self.send(opc, request, rest, reply_lens, done) {
            let (t, c) = (self.target.name(), &self.export.client_uuid);
            pr_debug!("{}: lock callback to {}: {:?}\n", t, c, e);
        }
    }
}

impl AstSender for Sender {
    fn send_blocking(&self, ast: &BlockingAst, done: Option<AstDone>) {
        let b = msg::callback(ast.flags, &ast.desc, ast.to.client_handle, ast.to.cookie);
        self.try_send(LDLM_BL_CALLBACK, &b, &[], &[], done);
    }

    fn send_completion(&self, ast: &CompletionAst, lvb: &[u8], done: Option<AstDone>) {
        let b = msg::callback(ast.flags, &ast.desc, ast.to.client_handle, ast.to.cookie);
        self.try_send(LDLM_CP_CALLBACK, &b, lvb, &[], done);
    }

    fn send_glimpse(&self, to: &AstTarget, lock: &Desc, data: Option<&[u8; 64]>, done: AstDone) {
        let b = msg::callback(0, lock, to.client_handle, 0);
        let data = data.map_or(&[][..], |d| d);
        let room = [Lvb::LEN as u32];
        self.try_send(LDLM_GL_CALLBACK, &b, data, &room, Some(done));
    }

    fn evict(&self, reason: &'static str) -> Result {
        let (target, export) = (self.target.clone(), self.export.clone());
        let spawned = self.target.node().spawn_job(move || {
            target.evict(&export, reason);
        });
        spawned.inspect_err(|e| {
            let (t, c) = (self.target.name(), &self.export.client_uuid);
            pr_warn_ratelimited!("{}: cannot evict {}: {:?}\n", t, c, e);
        })
    }

    fn is_busy(&self, cookie: u64) -> bool {
        Client::of(&self.export).is_ok_and(|c| c.is_busy(cookie))
    }
}
