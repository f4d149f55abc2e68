// SPDX-License-Identifier: GPL-2.0

//! Attributes.

use super::{ttls, Front, GROUP_EXEC, SETGID, SETUID};
use crate::convert::{attr, cred, errno};
use fuser::{ReplyAttr, Request};
use lustre_client::attr::Attr;
use lustre_client::fs::{Change, Known};
use lustre_client::Result;
use wire::fid::Fid;

impl Front {
    /// Tells of attributes.
    pub(super) fn show(&self, reply: ReplyAttr, k: Result<Known>) {
        match k {
            Ok(k) => {
                let ino = self.nodes.show(&k.attr.fid);
                reply.attr(&ttls(&k).0, &attr(&k.attr, ino));
            }
            Err(e) => reply.error(errno(e)),
        }
    }

    /// The mode after a change that takes set-uid bits away.
    pub(super) fn without_suid(a: &Attr) -> Option<u32> {
        let mut m = a.mode & 0o7777 & !SETUID;
        if m & GROUP_EXEC != 0 {
            m &= !SETGID;
        }
        (a.is_file() && m != a.mode & 0o7777).then_some(m)
    }

    /// Changes attributes, and takes set-uid bits away with the owner or by a new size.
    pub(super) fn change(&self, req: &Request, fid: Fid, mut c: Change) -> Result<Known> {
        let who = cred(req);
        let takes_bits = c.uid.is_some() || c.gid.is_some() || (c.size.is_some() && who.uid != 0);
        if takes_bits && c.mode.is_none() {
            let a = match self.fs.last_attr(fid) {
                Some(a) => a,
                None => self.fs.stat(fid, &who)?.attr,
            };
            c.mode = Self::without_suid(&a);
        }
        let attr = self.fs.setattr(fid, &c, &who)?;
        Ok(Known {
            attr,
            attr_locked: false,
            name_locked: false,
        })
    }
}
