// SPDX-License-Identifier: GPL-2.0

//! Requests come in here (`mdt.md` 1).
//!
//! What serves them is not inlined here: the frame of this would be as large as all of theirs, and
//! stay below the one that runs.

use crate::connect;
use crate::device::Core;
use crate::open_files::MdtClient;
use kapi::prelude::*;
use ldlm::server::{EnqueueReply, EnqueueReq, Intent};
use lnet::fail::{self, point};
use ptlrpc::export::{ClientState, Export};
use ptlrpc::request::ServerRequest;
use target::{Client, Request, Served, Target};
use wire::connect::ConnectData;
use wire::ldlm::{IntentOp, LdlmIntent};
use wire::opcode as op;

/// Buffer of the lock request in an enqueue.
const DLM_REQ: usize = 1;
/// Buffer of the intent's opcode.
const INTENT: usize = 2;

/// The operation of an intent.
fn intent_op(rpc: &ServerRequest) -> Result<IntentOp> {
    let i = rpc.get::<LdlmIntent>(INTENT)?;
    Ok(IntentOp::from_bits_retain(i.opc.get()))
}

impl target::Service for Core {
    fn negotiate(
        &self,
        _: &Arc<Target>,
        _: Option<&Arc<Export>>,
        wanted: &ConnectData,
        data: &mut ConnectData,
    ) -> Result {
        connect::negotiate(wanted, data)
    }

    fn client_state(&self) -> Result<Arc<dyn ClientState>> {
        Ok(MdtClient::new()?)
    }

    fn serve(&self, req: &mut Request<'_>) -> Result<Served> {
        match req.rpc.opc() {
            op::MDS_GETATTR => self.getattr(req),
            op::MDS_GETATTR_NAME => self.getattr_name(req),
            op::MDS_CLOSE => self.close(req),
            op::MDS_REINT => self.reint(req),
            op::MDS_READPAGE => self.readpage(req),
            op::MDS_GET_ROOT => self.get_root(req),
            op::MDS_STATFS => self.statfs(req),
            op::MDS_SYNC => self.sync(req),
            op::MDS_SET_INFO => self.set_info(req),
            op::MDS_GET_INFO => self.get_info(req),
            op::MDS_GETXATTR => self.getxattr(req),
            op::MDS_HSM_STATE_GET => self.hsm_state_get(req),
            op::MDS_HSM_STATE_SET => self.hsm_state_set(req),
            op::MDS_QUOTACTL => target::quota::serve(req, true),
            op::SEQ_QUERY => target::seq::serve(req, Some(&self.seq), Some(&self.controller)),
            op::FLD_QUERY | op::FLD_READ => self.fld.serve(req),
            _ => Err(EOPNOTSUPP),
        }
    }

    fn intent(&self, req: &mut Request<'_>, enqueue: &EnqueueReq) -> Result<Intent> {
        fail::pause(point::MDS_INTENT_DELAY, |_| Duration::from_secs(10));
        let op = intent_op(req.rpc)?;
        match op {
            IntentOp::LOOKUP | IntentOp::GETATTR => {
                self.intent_getattr(req, op == IntentOp::LOOKUP)
            }
            IntentOp::GETXATTR => self.intent_getxattr(req),
            IntentOp::LAYOUT => self.intent_layout(req, enqueue),
            _ if op == IntentOp::OPEN || op == IntentOp::OPEN | IntentOp::CREAT => {
                self.intent_open(req, op.contains(IntentOp::CREAT))
            }
            _ => Err(EOPNOTSUPP),
        }
    }

    fn intent_again(&self, req: &mut Request<'_>, lock: &EnqueueReply) -> Result<(u64, i32)> {
        match intent_op(req.rpc)? {
            IntentOp::LOOKUP | IntentOp::GETATTR => self.getattr_again(req, lock),
            IntentOp::GETXATTR => self.getxattr_again(req, lock),
            IntentOp::LAYOUT => self.layout_again(req),
            // The answer to what changes something is kept until the client has it: this one has
            // got it, and closed the file.
            _ => Err(ESTALE),
        }
    }

    fn enqueued(&self, req: &mut Request<'_>, lock: &EnqueueReply) -> Result {
        match intent_op(req.rpc) {
            Ok(IntentOp::LAYOUT) => self.layout_granted(req, lock),
            _ => Ok(()),
        }
    }

    fn is_high_priority(&self, target: &Arc<Target>, req: &ServerRequest) -> bool {
        // Locks that others wait for are given up along with these.
        let cancels = match req.opc() {
            op::MDS_REINT => crate::reint::cancels(req.msg()),
            op::LDLM_ENQUEUE => req.msg().buf(DLM_REQ),
            _ => None,
        };
        cancels.is_some_and(|c| target.namespace().is_urgent(c))
    }

    fn client_gone(&self, target: &Arc<Target>, export: &Arc<Export>) {
        let Ok(client) = Client::of(export).and_then(|c| c.own::<MdtClient>()) else {
            return;
        };
        let mut n = 0;
        while let Some(f) = client.take_any() {
            self.mdd.close(f.object.fid(), f.mode());
            n += 1;
        }
        if n > 0 {
            let (name, who) = (target.name(), &export.client_uuid);
            pr_debug!("{}: {} had {} files open\n", name, who, n);
        }
    }
}
