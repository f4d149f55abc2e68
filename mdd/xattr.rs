// SPDX-License-Identifier: GPL-2.0

//! Extended attributes (`mdt.md` 8.6, 11).

use crate::acl::{self, XATTR_ACL_ACCESS, XATTR_ACL_DEFAULT};
use crate::creds::{cap, check_mutable, Creds};
use crate::times::touched;
use crate::{Mdd, Runner};
use core::ffi::CStr;
use kapi::prelude::*;
use osd::{Attr, ObjectRef, SetAttr};
use wire::disk::linkea::XATTR_NAME_LINK;
use wire::lov::XATTR_NAME_LOV;

pub use wire::reint::{XATTR_CREATE, XATTR_REPLACE};

const NAME_MAX: usize = 255;
const VALUE_MAX: usize = 65536;
const S_ISVTX: u32 = 0o1000;
const S_ISGID: u32 = 0o2000;
/// The layout, as users set it.
const LUSTRE_LOV: &CStr = c"lustre.lov";
/// What is the server's: backups that bring it back are told that they did.
const OURS: [&CStr; 10] = [
    c"trusted.lov",
    c"trusted.lma",
    c"trusted.lmv",
    c"trusted.link",
    c"trusted.fid",
    c"trusted.version",
    c"trusted.som",
    c"trusted.hsm",
    c"trusted.lfsck_ns",
    c"trusted.dmv",
];

/// An xattr to be set or removed.
#[derive(Clone, Copy, Debug)]
pub struct XattrSet<'a> {
    /// Its name, with the name space.
    pub name: &'a CStr,
    /// Its value; none: remove it.
    pub value: Option<&'a [u8]>,
    /// [`XATTR_CREATE`], [`XATTR_REPLACE`].
    pub flags: u32,
    /// Seconds.
    pub time: i64,
}

/// Whether name and value are not too long.
pub(crate) fn check_size(name: &CStr, value: &[u8]) -> Result {
    if name.to_bytes().len() > NAME_MAX {
        return Err(ERANGE);
    }
    if value.len() > VALUE_MAX {
        return Err(E2BIG);
    }
    Ok(())
}

fn is_acl(name: &CStr) -> bool {
    name == XATTR_ACL_ACCESS || name == XATTR_ACL_DEFAULT
}

/// What a change of an xattr comes to.
struct Write<'a> {
    name: &'a CStr,
    value: Option<&'a [u8]>,
    set: SetAttr,
}

impl Mdd {
    fn check_xattr(c: &Creds, a: &Attr, what: &XattrSet<'_>) -> Result {
        let name = what.name.to_bytes();
        if name.starts_with(b"user.") {
            if !a.is_dir() && !a.is_file() {
                return Err(EPERM);
            }
            if a.is_dir() && a.mode & S_ISVTX != 0 && !c.owns(a) {
                return Err(EPERM);
            }
        } else {
            let known = name.starts_with(b"trusted.") || name.starts_with(b"security.");
            if !known && !is_acl(what.name) {
                return Err(EOPNOTSUPP);
            }
            if !c.owns(a) {
                return Err(EPERM);
            }
        }
        check_mutable(a)
    }

    /// Sets or removes an xattr. Those that only the server knows to set are left alone, and that
    /// counts as done: whether anything was, and `run` was called.
    ///
    /// `lustre.lov` makes the layout of a file without one, or the default layout of a directory;
    /// to remove it from a directory removes that.
    ///
    /// # Errors
    /// `EPERM`, `EACCES`; `EEXIST`, `ENODATA`: by the flags, or there is nothing to remove;
    /// `EOPNOTSUPP`: the name space; `EINVAL`: the value; `E2BIG`, `ERANGE`: too long; `ENOSPC`.
    pub fn set_xattr(
        &self,
        run: &mut dyn Runner,
        c: &Creds,
        o: &ObjectRef,
        what: &XattrSet<'_>,
    ) -> Result<bool> {
        check_size(what.name, what.value.unwrap_or_default())?;
        let a = o.attr()?;
        run.before([a.version, 0, 0, 0]);
        if what.name.to_bytes().starts_with(b"lustre.") {
            return self.set_lov(run, c, o, &a, what);
        }
        if what.name.to_bytes().starts_with(b"trusted.") {
            if !c.has(cap::SYS_ADMIN) {
                return Err(EPERM);
            }
            if OURS.contains(&what.name) {
                return Ok(false);
            }
        }
        Self::check_xattr(c, &a, what)?;
        if is_acl(what.name) {
            return self.set_acl(run, c, o, &a, what);
        }
        let exists = match o.xattr(what.name, &mut []) {
            Ok(_) => true,
            Err(e) if e == ENODATA => false,
            Err(e) => return Err(e),
        };
        match (exists, what.value.is_some()) {
            (true, true) if what.flags & XATTR_CREATE != 0 => return Err(EEXIST),
            (false, true) if what.flags & XATTR_REPLACE != 0 => return Err(ENODATA),
            (false, false) => return Err(ENODATA),
            _ => {}
        }
        let write = Write {
            name: what.name,
            value: what.value,
            set: touched(&a, what.time),
        };
        self.write_xattr(run, o, write)
    }

    fn write_xattr(&self, run: &mut dyn Runner, o: &ObjectRef, mut w: Write<'_>) -> Result<bool> {
        let mut plan = self.osd.plan()?;
        plan.xattr(o, w.value.map_or(0, <[u8]>::len))?;
        plan.attr(o, &w.set)?;
        run.run(plan, &mut |tx, version| {
            match w.value {
                Some(v) => tx.set_xattr(o, w.name, v)?,
                None => match tx.del_xattr(o, w.name) {
                    // Nothing was there, and nothing shall be.
                    Err(e) if e == ENODATA => {}
                    other => other?,
                },
            }
            w.set.version = Some(version);
            tx.set_attr(o, &w.set)
        })?;
        Ok(true)
    }

    fn set_acl(
        &self,
        run: &mut dyn Runner,
        c: &Creds,
        o: &ObjectRef,
        a: &Attr,
        what: &XattrSet<'_>,
    ) -> Result<bool> {
        if a.is_symlink() {
            return Err(EOPNOTSUPP);
        }
        let value = what.value.filter(|v| !v.is_empty());
        let is_default = what.name == XATTR_ACL_DEFAULT;
        if is_default && !a.is_dir() {
            // There is none to be removed.
            return if value.is_none() {
                Ok(false)
            } else {
                Err(EACCES)
            };
        }
        let mut write = Write {
            name: what.name,
            value,
            set: touched(a, what.time),
        };
        if let Some(acl) = value {
            acl::check(acl)?;
            if !is_default {
                let mut mode = (a.mode & 0o7000) | acl::mode_bits(acl);
                if !c.in_group(a.gid) && !c.has(cap::FSETID) {
                    mode &= !S_ISGID;
                }
                write.set.mode = Some(mode);
                if acl::is_minimal(acl) {
                    write.value = None;
                }
            }
        }
        self.write_xattr(run, o, write)
    }

    fn set_lov(
        &self,
        run: &mut dyn Runner,
        c: &Creds,
        o: &ObjectRef,
        a: &Attr,
        what: &XattrSet<'_>,
    ) -> Result<bool> {
        if what.name != LUSTRE_LOV {
            return Err(EOPNOTSUPP);
        }
        if !c.owns(a) {
            return Err(EPERM);
        }
        check_mutable(a)?;
        match what.value {
            _ if a.is_dir() => {
                self.write_default(run, o, a, what.value, what.time)?;
                Ok(true)
            }
            Some(v) => self.make_layout(run, o, self.reserve_for(o, Some(v))),
            None => Err(EPERM),
        }
    }

    /// Sets the default layout of a directory, or removes it, as `spec` (a `lov_user_md`) says.
    ///
    /// # Errors
    /// `ENOTDIR`; `EPERM`: not the owner; `EINVAL`, `EOPNOTSUPP`: the layout.
    pub fn set_directory_default(
        &self,
        run: &mut dyn Runner,
        c: &Creds,
        dir: &ObjectRef,
        spec: &[u8],
        time: i64,
    ) -> Result {
        let a = dir.attr()?;
        run.before([a.version, 0, 0, 0]);
        if !a.is_dir() {
            return Err(ENOTDIR);
        }
        if !c.owns(&a) {
            return Err(EPERM);
        }
        check_mutable(&a)?;
        self.write_default(run, dir, &a, Some(spec), time)
    }

    fn write_default(
        &self,
        run: &mut dyn Runner,
        dir: &ObjectRef,
        a: &Attr,
        spec: Option<&[u8]>,
        time: i64,
    ) -> Result {
        let value = match spec {
            Some(s) => self.layouts.directory_default(s)?,
            None => None,
        };
        let write = Write {
            name: XATTR_NAME_LOV,
            value: value.as_deref(),
            set: touched(a, time),
        };
        self.write_xattr(run, dir, write)?;
        Ok(())
    }

    /// The value of an xattr.
    ///
    /// # Errors
    /// `ENODATA`: there is none; an empty value for the layout. `EOPNOTSUPP`: the name space.
    /// `ERANGE`: the name is too long. `ENOENT`: the names of what has none.
    pub fn get_xattr(&self, o: &ObjectRef, name: &CStr) -> Result<KVVec<u8>> {
        check_size(name, &[])?;
        if name == XATTR_NAME_LINK && self.opens.is_unlinked(o.fid()) {
            return Err(ENOENT);
        }
        let name = match name {
            n if n == LUSTRE_LOV => XATTR_NAME_LOV,
            n if n == c"lustre.pin" => c"trusted.pin",
            n => n,
        };
        match o.xattr_opt(name)? {
            Some(v) => Ok(v),
            None if name == XATTR_NAME_LOV => Ok(KVVec::new()),
            None => Err(ENODATA),
        }
    }

    /// The names of all xattrs, each with a NUL behind it. What is unlinked keeps its last name on disk, but
    /// does not show it.
    ///
    /// # Errors
    /// `ENOMEM`, `EIO`.
    pub fn list_xattr(&self, o: &ObjectRef) -> Result<KVVec<u8>> {
        let mut v = KVVec::from_elem(0u8, 1024, GFP_NOFS)?;
        loop {
            match o.list_xattr(&mut v) {
                Ok(n) => {
                    v.truncate(n);
                    break;
                }
                // There may be more between the two questions.
                Err(e) if e == ERANGE => {
                    let n = o.list_xattr(&mut [])?;
                    v.resize(n.max(1), 0, GFP_NOFS)?;
                }
                Err(e) => return Err(e),
            }
        }
        if self.opens.is_unlinked(o.fid()) {
            leave_out(&mut v, XATTR_NAME_LINK);
        }
        Ok(v)
    }
}

/// Takes a name out of a list.
fn leave_out(list: &mut KVVec<u8>, name: &CStr) {
    let name = name.to_bytes_with_nul();
    let names = || list.split_inclusive(|b| *b == 0);
    if names().any(|n| n == name) {
        let at = names().take_while(|n| *n != name).map(<[u8]>::len).sum();
        list.copy_within(at + name.len().., at);
        list.truncate(list.len() - name.len());
    }
}
