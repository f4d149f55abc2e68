// SPDX-License-Identifier: GPL-2.0

//! Who asks, by what a request says (`mdt.md` 19.1, 19.2). The groups that clients name are
//! believed, as with `identity_upcall` NONE.

use crate::device::Core;
use mdd::{Creds, NO_GROUP};
use target::Request;
use wire::mdt::MdtBody;
use wire::msg::MsgFlags;
use wire::reint::RecHead;

impl Core {
    fn squashed(&self, req: &Request<'_>, c: Creds) -> Creds {
        if c.uid != 0 {
            return c;
        }
        let nid = req.rpc.peer().nid;
        match self.params.squash.lock().root_is(&nid) {
            Some((uid, gid)) => Creds::new(uid, gid, [NO_GROUP; 2], 0),
            None => c,
        }
    }

    /// Of a request with an `mdt_body`.
    pub(crate) fn creds_of_body(&self, req: &Request<'_>, b: &MdtBody) -> Creds {
        let groups = [b.mbo_suppgid.get(), NO_GROUP];
        let caps = b.mbo_capability.get();
        let c = Creds::new(b.mbo_fsuid.get(), b.mbo_fsgid.get(), groups, caps);
        self.squashed(req, c)
    }

    /// Of a request with a record.
    pub(crate) fn creds_of_record(&self, req: &Request<'_>, h: &RecHead) -> Creds {
        let groups = [h.suppgid1.get(), h.suppgid2.get()];
        let c = Creds::new(h.fsuid.get(), h.fsgid.get(), groups, h.cap.get());
        self.squashed(req, c)
    }

    /// Of a request that has neither: from the body that all have. Without ids it is nobody.
    pub(crate) fn creds_of_request(&self, req: &Request<'_>) -> Creds {
        let b = req.rpc.body();
        let (uid, gid) = match b.flags().contains(MsgFlags::PACK_UID_GID) {
            true => (b.pb_uid.get(), b.pb_gid.get()),
            false => (u32::MAX, u32::MAX),
        };
        self.squashed(req, Creds::new(uid, gid, [NO_GROUP; 2], u32::MAX))
    }
}
