// SPDX-License-Identifier: GPL-2.0

//! Attributes.

use super::{ttls, Front, GROUP_EXEC, SETGID, SETUID};
use crate::convert::{attr, cred, errno};
use fuser::{ReplyAttr, Request};
use lustre_client::attr::Attr;
use lustre_client::cred::Cred;
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
        if (c.uid.is_some() || c.gid.is_some()) && c.mode.is_none() {
            c.mode = Self::without_suid(&self.recent(fid, &who)?);
        }
        let mut attr = self.fs.setattr(fid, &c, &who)?;
        if c.size.is_some() && c.mode.is_none() {
            attr = self.take_suid(fid, &who)?.unwrap_or(attr);
        }
        Ok(Known {
            attr,
            attr_locked: false,
            name_locked: false,
        })
    }

    /// Attributes, maybe old ones.
    fn recent(&self, fid: Fid, who: &Cred) -> Result<Attr> {
        match self.fs.last_attr(fid) {
            Some(a) => Ok(a),
            None => Ok(self.fs.stat(fid, who)?.attr),
        }
    }

    /// Takes set-uid bits away after a change of the data by somebody other than root; the attributes then, if there
    /// were any. Who may write need not own it.
    pub(super) fn take_suid(&self, fid: Fid, who: &Cred) -> Result<Option<Attr>> {
        if who.uid == 0 {
            return Ok(None);
        }
        let Some(m) = Self::without_suid(&self.recent(fid, who)?) else {
            return Ok(None);
        };
        let change = Change {
            mode: Some(m),
            ..Change::default()
        };
        self.fs.setattr(fid, &change, &Cred::root()).map(Some)
    }
}
