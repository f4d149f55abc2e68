// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.

use super::inode::Inode;
use crate::cred::Cred;
use crate::mdc::OpenWish;
use crate::mdc::SetAttr;
use crate::mount::Mount;
use crate::sync::guard;
use kapi::prelude::*;
use std::collections::HashMap;
use std::sync::Arc as StdArc;
use wire::fid::Fid;
use wire::mdt::OpenFlags;
use wire::obdo::ObdMd;

/// Room for a layout.
const LAYOUT_MAX: u32 = 65536;

const ACL: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// The names that the layout goes by.
fn is_layout(name: &[u8]) -> bool {
    matches!(name, b"lustre.lov" | b"trusted.lov")
}

/// Names that the file system keeps for itself.
fn is_internal(name: &[u8]) -> bool {
    const OWN: [&[u8]; 8] = [
        b"trusted.lma",
        b"trusted.link",
        b"trusted.fid",
        b"trusted.som",
        b"trusted.hsm",
        b"trusted.version",
        b"trusted.lmv",
        b"trusted.dmv",
    ];
    OWN.contains(&name)
}

impl Mount {
    /// The value of an xattr.
    ///
    /// # Errors
    /// `ENODATA`: there is none. `EOPNOTSUPP`, `EACCES`.
    pub fn get_xattr(&self, fid: Fid, name: &[u8], cred: &Cred) -> Result<Vec<u8>> {
        if is_layout(name) {
            return self.get_layout(fid, cred);
        }
        let inode = self.inodes.get(fid);
        if name == ACL {
            if let Some(acl) = inode.acl() {
                return if acl.is_empty() {
                    Err(ENODATA)
                } else {
                    Ok(acl)
                };
            }
        }
        if name == ACL_DEFAULT && self.known_attr(fid, cred).is_ok_and(|k| !k.attr.is_dir()) {
            return Err(ENODATA);
        }
        match self.cached_xattr(&inode, name, cred)? {
            Some(found) => found.ok_or(ENODATA),
            None => self.mdc.get_xattr(fid, name, cred),
        }
    }

    /// An xattr of the cache, which is filled if there is nothing in it. `None`: it cannot be.
    fn cached_xattr(
        &self,
        inode: &StdArc<Inode>,
        name: &[u8],
        cred: &Cred,
    ) -> Result<Option<Option<Vec<u8>>>> {
        if let Some(x) = inode.xattr(name) {
            return Ok(Some(x));
        }
        let _one = guard(&inode.xattr_fetch);
        if let Some(x) = inode.xattr(name) {
            return Ok(Some(x));
        }
        if !self.fill_xattrs(inode, cred)? {
            return Ok(None);
        }
        Ok(inode.xattr(name))
    }

    /// Fetches all xattrs with a lock on them; whether that could be done.
    fn fill_xattrs(&self, inode: &StdArc<Inode>, cred: &Cred) -> Result<bool> {
        let Some((pairs, lock)) = self.mdc.all_xattrs(inode.fid, cred)? else {
            return Ok(false);
        };
        let all: HashMap<_, _> = pairs.into_iter().collect();
        let Some(v) = lock.view() else {
            return Ok(false);
        };
        self.inodes.remember_xattrs(inode, &v, all);
        Ok(true)
    }

    /// The names of all xattrs that are anybody's business, each with its NUL.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, those of the MDT.
    pub fn list_xattrs(&self, fid: Fid, cred: &Cred) -> Result<Vec<u8>> {
        let inode = self.inodes.get(fid);
        // Fills the cache, if that can be.
        self.cached_xattr(&inode, b"", cred)?;
        let names = match inode.xattr_names() {
            Some(n) => n,
            None => {
                let list = self.mdc.list_xattrs(fid, cred)?;
                let all = list.split(|b| *b == 0).filter(|n| !n.is_empty());
                all.map(<[u8]>::to_vec).collect()
            }
        };
        let mut out = Vec::new();
        let mut has_layout = false;
        for n in names {
            if is_layout(&n) {
                has_layout = true;
                continue;
            }
            let private = n.starts_with(b"trusted.") && (cred.uid != 0 || is_internal(&n));
            if !private {
                out.extend_from_slice(&n);
                out.push(0);
            }
        }
        if has_layout {
            out.extend_from_slice(b"lustre.lov\0");
        }
        Ok(out)
    }

    /// The layout of a file, or the default layout of a directory.
    fn get_layout(&self, fid: Fid, cred: &Cred) -> Result<Vec<u8>> {
        let valid = ObdMd::FLEASIZE | ObdMd::FLDIREA;
        let got = self.mdc.getattr(fid, valid, LAYOUT_MAX, cred)?;
        match got.valid.intersects(valid) && !got.ea.is_empty() {
            true => Ok(got.ea),
            false => Err(ENODATA),
        }
    }

    /// Sets an xattr, or (without value) removes it. `how`: 0, `XATTR_CREATE` or `XATTR_REPLACE`.
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA`, `EPERM`, `ENOSPC`, `E2BIG`, `EOPNOTSUPP`.
    pub fn set_xattr(
        &self,
        fid: Fid,
        name: &[u8],
        value: Option<&[u8]>,
        how: u32,
        cred: &Cred,
    ) -> Result {
        if is_layout(name) {
            return self.set_layout(fid, value, cred);
        }
        let inode = self.inodes.get(fid);
        let done = self
            .inodes
            .own_change(|| self.mdc.set_xattr(fid, name, value, how, cred));
        inode.drop_xattrs();
        done
    }

    /// Gives a file without objects a layout, or a directory a default one; without value, takes
    /// the default away.
    fn set_layout(&self, fid: Fid, value: Option<&[u8]>, cred: &Cred) -> Result {
        let k = self.known_attr(fid, cred)?;
        if k.attr.is_dir() {
            // Nothing at all: the defaults of the file system.
            let none = {
                use zerocopy::IntoBytes;
                let md = wire::lov::LovMdsMdV1 {
                    lmm_magic: wire::lov::LOV_MAGIC_V1.into(),
                    lmm_layout_gen: wire::lov::LOV_OFFSET_DEFAULT.into(),
                    ..Default::default()
                };
                md.as_bytes().to_vec()
            };
            let v = value.unwrap_or(&none);
            self.inodes.own_change(|| {
                self.mdc
                    .setattr(fid, &SetAttr::default(), v, Some(k.attr.gid), cred)
            })?;
            return Ok(());
        }
        let v = value.ok_or(EOPNOTSUPP)?;
        if !k.attr.is_file() {
            return Err(EOPNOTSUPP);
        }
        if let Some(Some(_)) = self.inodes.get(fid).striped() {
            // As below.
            return Ok(());
        }
        let wish = OpenWish {
            parent: fid,
            name: b"",
            fid,
            flags: OpenFlags::FMODE_WRITE | OpenFlags::BY_FID | OpenFlags::HAS_EA,
            mode: 0,
            umask: 0,
            layout: v,
            group: None,
        };
        let o = match self.inodes.own_change(|| self.mdc.open(&wish, cred)) {
            // Copies of files bring the layout of the original along, after they have got one.
            Err(e) if e == EEXIST => return Ok(()),
            o => o?,
        };
        if let Some(h) = o.handle {
            self.mdc.close(h, None, &fid);
        }
        self.remember(&o.found, None)?;
        Ok(())
    }
}
