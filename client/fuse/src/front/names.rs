// SPDX-License-Identifier: GPL-2.0

//! Names: looking them up, making, linking, moving and removing them.

use super::{code, kept, ttls, Front, EINVAL, ENOENT, NAME_TTL};
use crate::convert::{attr, cred, errno};
use fuser::{Generation, INodeNo, RenameFlags, ReplyEntry, Request};
use lustre_client::fs::{Known, Make};
use lustre_client::Result;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

impl Front {
    /// Tells of a name and what it stands for.
    pub(super) fn entry(&self, reply: ReplyEntry, k: Result<Known>) {
        match k {
            Ok(k) => {
                let (mut a, n) = ttls(&k);
                if self.nodes.known(&k.attr.fid).is_none() {
                    // What the kernel does not know yet it cannot be told to forget.
                    a = a.min(NAME_TTL);
                }
                let ino = self.nodes.tell(k.attr.fid, kept(a, n));
                reply.entry_with_ttls(&a, &n, &attr(&k.attr, ino), Generation(0));
            }
            Err(e) => reply.error(errno(e)),
        }
    }

    /// Looks a name up.
    pub(super) fn look(&self, req: &Request, parent: INodeNo, name: &OsStr) -> Result<Known> {
        let c = cred(req);
        let k = self.fs.lookup(self.fid(parent)?, name.as_bytes(), &c)?;
        self.fs.complete(k.ok_or(code(ENOENT))?)
    }

    /// Makes something that has a name.
    pub(super) fn make_named(
        &self,
        req: &Request,
        (parent, name): (INodeNo, &OsStr),
        make: &Make<'_>,
    ) -> Result<Known> {
        let parent = self.fid(parent)?;
        self.fs.make(parent, name.as_bytes(), make, &cred(req))
    }

    /// Makes something of which the answer does not have all attributes.
    pub(super) fn make_whole(
        &self,
        req: &Request,
        at: (INodeNo, &OsStr),
        make: &Make<'_>,
    ) -> Result<Known> {
        self.fs.complete(self.make_named(req, at, make)?)
    }

    /// Removes a directory, or something else.
    pub(super) fn remove_named(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        dir: bool,
    ) -> Result<()> {
        let parent = self.fid(parent)?;
        self.fs.remove(parent, name.as_bytes(), dir, &cred(req))
    }

    /// A further name for a file.
    pub(super) fn link_named(
        &self,
        req: &Request,
        ino: INodeNo,
        (parent, name): (INodeNo, &OsStr),
    ) -> Result<Known> {
        let (file, parent) = (self.fid(ino)?, self.fid(parent)?);
        let k = self.fs.link(file, parent, name.as_bytes(), &cred(req))?;
        self.fs.complete(k)
    }

    /// Another name in place of one.
    pub(super) fn rename_named(
        &self,
        req: &Request,
        (parent, name): (INodeNo, &OsStr),
        (newparent, newname): (INodeNo, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        // The protocol has none of these; callers then do without.
        if !flags.is_empty() {
            return Err(code(EINVAL));
        }
        let from = (self.fid(parent)?, name.as_bytes());
        let to = (self.fid(newparent)?, newname.as_bytes());
        self.fs.rename(from, to, &cred(req))
    }
}
