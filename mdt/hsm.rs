// SPDX-License-Identifier: GPL-2.0

//! MDS_HSM_STATE_GET and MDS_HSM_STATE_SET (`mdt.md` 18).

use crate::change::Change;
use crate::device::Core;
use crate::locks;
use crate::message;
use crate::open_files::Agreed;
use kapi::prelude::*;
use ldlm::core::{ibits, Mode};
use target::{Request, Served};
use wire::connect::ConnectFlags;
use wire::mdt::{HsmStateSet, HsmUserState, MdtBody};

const BODY: u32 = size_of::<MdtBody>() as u32;

impl Core {
    /// MDS_HSM_STATE_GET.
    #[inline(never)]
    pub(crate) fn hsm_state_get(&self, req: &mut Request<'_>) -> Result<Served> {
        let b = message::body(req.rpc, 1)?;
        let o = self.mdd.object(&message::sane(b.mbo_fid1.get())?)?;
        let state = self.mdd.hsm_state(&o)?;
        req.rpc
            .pack_reply(&[BODY, size_of::<HsmUserState>() as u32])?;
        let r = req.rpc.reply_mut()?.get_mut::<HsmUserState>(2)?;
        r.hus_states = state.hsm_flags;
        let archive = u32::try_from(state.hsm_arch_id.get());
        r.hus_archive_id.set(archive.unwrap_or(0));
        Ok(Served::Reply(0))
    }

    /// MDS_HSM_STATE_SET. Clients send it after each write that ends in new attributes, whether there is
    /// an archive or not: what is refused is an answer like others.
    #[inline(never)]
    pub(crate) fn hsm_state_set(&self, req: &mut Request<'_>) -> Result<Served> {
        if Agreed::with(req).has(ConnectFlags::RDONLY) {
            return Err(EROFS);
        }
        let b = message::body(req.rpc, 1)?;
        let change = *req.rpc.get::<HsmStateSet>(3)?;
        let creds = self.creds_of_body(req, &b);
        let o = self.mdd.object(&message::sane(b.mbo_fid1.get())?)?;
        let done = match self.mdd.new_hsm_state(&creds, &o, &change) {
            // Nobody's cached xattrs are called back for nothing.
            Ok(None) => Ok(()),
            Ok(Some(_)) => {
                let ns = req.target.namespace().clone();
                let _lock = locks::lock(&ns, o.fid(), Mode::Ex, ibits::XATTR)?;
                self.mdd
                    .set_hsm_state(&mut Change::of(req), &creds, &o, &change)
            }
            Err(e) => Err(e),
        };
        let status = match done {
            Ok(()) => 0,
            Err(e) if [EINVAL, EPERM, EACCES].contains(&e) => e.to_errno(),
            Err(e) => return Err(e),
        };
        req.rpc.pack_reply(&[])?;
        Ok(Served::Reply(status))
    }
}
