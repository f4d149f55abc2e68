// SPDX-License-Identifier: GPL-2.0

//! The name space of a metadata target on an object store: files, directories and their names,
//! attributes and xattrs, by the rules of POSIX (`mdt.md` 8, 19, 22, 23; `ondisk.md` 3.3, 7, 13).
//!
//! Nothing here knows of requests or locks of clients. Whoever calls a change holds the locks that
//! keep others away from the names and objects it is about, and runs the transaction: a [`Runner`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod acl;
mod create;
mod creds;
mod hsm;
mod layouts;
mod link;
mod linkea;
mod names;
mod opens;
mod orphans;
mod readdir;
mod rename;
mod reserve;
mod runner;
mod setattr;
mod setup;
mod som;
mod striping;
mod times;
mod unlink;
mod xattr;

pub use acl::{XATTR_ACL_ACCESS, XATTR_ACL_DEFAULT};
pub use create::NewObject;
pub use creds::{cap, Creds, MAY_EXEC, MAY_READ, MAY_WRITE, NO_GROUP};
pub use layouts::{Layouts, NewLayout, NoLayouts, Owner, Updates};
pub use names::{check_name, name_hash};
pub use opens::OpenMode;
pub use readdir::DirPages;
pub use rename::Rename;
pub use reserve::{Reserved, Wish};
pub use runner::{Alone, Runner};
pub use setattr::{AttrChange, CloseAttr};
pub use unlink::Removed;
pub use xattr::{XattrSet, XATTR_CREATE, XATTR_REPLACE};

use kapi::prelude::*;
use opens::Opens;
use osd::{Attr, Device, Fid, ObjectRef};

/// The name space of a target.
#[pin_data]
pub struct Mdd {
    osd: Arc<dyn Device>,
    layouts: Arc<dyn Layouts>,
    root: ObjectRef,
    pending: ObjectRef,
    #[pin]
    opens: Opens,
}

impl Mdd {
    /// The store.
    pub fn osd(&self) -> &Arc<dyn Device> {
        &self.osd
    }

    /// The root directory.
    pub fn root(&self) -> &ObjectRef {
        &self.root
    }

    /// An object of the name space.
    ///
    /// # Errors
    /// `EINVAL`: no FID that clients may name. `ENOENT`: it does not exist.
    pub fn object(&self, fid: &Fid) -> Result<ObjectRef> {
        if !fid.is_namespace_visible() || fid.ver != 0 {
            return Err(EINVAL);
        }
        let o = self.osd.object(fid)?;
        if o.exists() && !self.opens.is_dying(fid) {
            Ok(o)
        } else {
            Err(ENOENT)
        }
    }

    /// The attributes, as clients shall see them: what is unlinked and open has no links.
    pub fn attr(&self, o: &ObjectRef) -> Result<Attr> {
        let mut a = o.attr()?;
        if self.opens.is_unlinked(o.fid()) {
            a.nlink = 0;
        }
        Ok(a)
    }

    /// The FID of a name.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, those of [`check_name`].
    pub fn lookup(&self, dir: &ObjectRef, name: &[u8]) -> Result<Fid> {
        check_name(name)?;
        dir.lookup(name)
    }

    /// Whether `above` is `dir` or above it.
    pub fn is_above(&self, above: &Fid, dir: &Fid) -> Result<bool> {
        let mut at = *dir;
        // A path has not more parts than this; a longer walk is a circle on a damaged disk.
        for _ in 0..65536 {
            if at == *above {
                return Ok(true);
            }
            if at.is_root() || !at.is_namespace_visible() {
                return Ok(false);
            }
            let up = self.osd.object(&at)?.lookup(b"..")?;
            if up == at {
                return Ok(false);
            }
            at = up;
        }
        Err(ELOOP)
    }

    /// The target of a symbolic link, at most `max` bytes.
    ///
    /// # Errors
    /// `EINVAL`: not a link.
    pub fn readlink(&self, o: &ObjectRef, max: usize) -> Result<KVVec<u8>> {
        let mut v = KVVec::from_elem(0u8, max.min(4096), GFP_NOFS)?;
        let n = o.readlink(&mut v)?;
        v.truncate(n);
        Ok(v)
    }

    /// The layout of a file, or the default one of a directory.
    pub fn layout(&self, o: &ObjectRef) -> Result<Option<KVVec<u8>>> {
        o.xattr_opt(wire::lov::XATTR_NAME_LOV)
    }
}

#[cfg(test)]
mod tests;
