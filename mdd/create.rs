// SPDX-License-Identifier: GPL-2.0

//! New files, directories, symbolic links and devices (`mdt.md` 8.2, 20.3).

use crate::acl::{self, XATTR_ACL_ACCESS, XATTR_ACL_DEFAULT};
use crate::creds::{cap, inode_flags, Creds};
use crate::layouts::NewLayout;
use crate::linkea::Links;
use crate::names::check_new;
use crate::times::changed;
use crate::{xattr, Mdd, Reserved, Runner};
use core::ffi::CStr;
use kapi::prelude::*;
use osd::{Attr, Create, Fid, ObjectRef, SetAttr, Time, Transaction};
use wire::disk::names::fid_name;
use wire::fid::seq;
use wire::lov::XATTR_NAME_LOV;
use wire::mdt::InodeFlags;

const S_ISGID: u32 = 0o2000;
const S_IFMT: u32 = osd::S_IFMT;
/// What a name that does not exist has for a version.
pub(crate) const ENOENT_VERSION: u64 = 1;

/// A new object.
pub struct NewObject<'a> {
    /// Its FID, which the client chose.
    pub fid: Fid,
    /// Type and permissions.
    pub mode: u32,
    /// Permissions to take away where no default ACL decides.
    pub umask: u32,
    /// Of a device, as Linux' `new_encode_dev()` has it.
    pub rdev: u32,
    /// Of a symbolic link.
    pub target: Option<&'a CStr>,
    /// Seconds.
    pub time: i64,
    /// What a security module of the client gives it: name and value of an xattr of the name
    /// space `security`.
    pub security: Option<(&'a CStr, &'a [u8])>,
}

/// What a new object gets.
struct Gets {
    set: SetAttr,
    mode: u32,
    access: Option<KVVec<u8>>,
    default: Option<KVVec<u8>>,
    /// Default layout of a directory.
    lov: Option<KVVec<u8>>,
    layout: Option<KBox<dyn NewLayout>>,
    /// None if it gets no name.
    links: Option<Links>,
}

impl Gets {
    fn write(&mut self, tx: &mut Transaction, o: &ObjectRef) -> Result {
        if let Some(l) = &mut self.links {
            l.write(tx, o)?;
        }
        if let Some(l) = &mut self.layout {
            let ea = l.commit(tx, o.fid())?;
            tx.set_xattr(o, XATTR_NAME_LOV, &ea)?;
        }
        let acls = [
            (XATTR_ACL_ACCESS, &self.access),
            (XATTR_ACL_DEFAULT, &self.default),
            (XATTR_NAME_LOV, &self.lov),
        ];
        for (name, value) in acls {
            if let Some(v) = value {
                tx.set_xattr(o, name, v)?;
            }
        }
        Ok(())
    }
}

impl Mdd {
    fn check_kind(new: &NewObject<'_>) -> Result {
        if let Some((name, value)) = new.security {
            xattr::check_size(name, value)?;
            if !name.to_bytes().starts_with(b"security.") {
                return Err(EOPNOTSUPP);
            }
        }
        match new.mode & S_IFMT {
            0o120000 if new.target.is_none() => Err(EFAULT),
            0o120000 => match new.target {
                Some(t) if t.to_bytes().is_empty() => Err(EINVAL),
                Some(t) if t.to_bytes().len() >= 4096 => Err(ENAMETOOLONG),
                _ => Ok(()),
            },
            0o010000 | 0o020000 | 0o040000 | 0o060000 | 0o100000 | 0o140000 => Ok(()),
            _ => Err(EOPNOTSUPP),
        }
    }

    /// Owners and permissions of a new object.
    fn inherit(
        &self,
        dir: &ObjectRef,
        da: &Attr,
        name: Option<&[u8]>,
        new: &NewObject<'_>,
        c: &Creds,
    ) -> Result<Gets> {
        let kind = new.mode & S_IFMT;
        let is_dir = kind == 0o040000;
        let mut mode = new.mode;
        let mut gid = c.gid;
        if da.mode & S_ISGID != 0 {
            gid = da.gid;
            if is_dir {
                mode |= S_ISGID;
            } else if mode & 0o2010 == 0o2010 && !c.in_group(gid) && !c.has(cap::FSETID) {
                mode &= !S_ISGID;
            }
        }
        let inherited = match kind {
            0o120000 => None,
            _ => acl::read(dir, XATTR_ACL_DEFAULT)?,
        };
        let mut access = None;
        match &inherited {
            Some(d) => (mode, access) = acl::inherit(d, mode)?,
            // Nobody looks at the mode of a link.
            None if kind == 0o120000 => {}
            None => mode &= !(new.umask & 0o777),
        }
        let inherits = inode_flags(da).contains(InodeFlags::PROJINHERIT);
        let flags = (inherits && is_dir).then_some(InodeFlags::PROJINHERIT.bits());
        let t = Some(Time::secs(new.time));
        let links = match name {
            Some(name) => {
                let mut links = Links::new()?;
                links.add(dir.fid(), name, new.time)?;
                Some(links)
            }
            None => None,
        };
        Ok(Gets {
            set: SetAttr {
                mode: Some(mode & 0o7777),
                uid: Some(c.uid),
                gid: Some(gid),
                projid: inherits.then_some(da.projid),
                atime: t,
                mtime: t,
                ctime: t,
                flags,
                version: None,
            },
            mode,
            access,
            default: inherited.filter(|_| is_dir),
            lov: if is_dir { self.layout(dir)? } else { None },
            layout: None,
            links,
        })
    }

    /// Makes an object under a name; `layout` is what was reserved for a regular file.
    ///
    /// # Errors
    /// `EEXIST`: the name or the FID is taken. `EACCES`, `EPERM`, `ENOTDIR`, `ENOENT` (the
    /// directory is gone), `EMLINK`, `ENOSPC`, `EDQUOT`, `EOPNOTSUPP` (no such type),
    /// `ENAMETOOLONG`, those of the layout.
    pub fn create(
        &self,
        run: &mut dyn Runner,
        c: &Creds,
        dir: &ObjectRef,
        name: &[u8],
        new: &NewObject<'_>,
        layout: Reserved,
    ) -> Result<ObjectRef> {
        self.make(run, c, dir, Some(name), new, layout)
    }

    /// Makes a regular file without a name, with what one in `dir` would inherit. It is as one that was
    /// unlinked while it is open, but has a link all the time: the caller opens it, or abandons it.
    ///
    /// # Errors
    /// As [`Mdd::create`].
    pub fn create_unnamed(
        &self,
        run: &mut dyn Runner,
        c: &Creds,
        dir: &ObjectRef,
        new: &NewObject<'_>,
        layout: Reserved,
    ) -> Result<ObjectRef> {
        // A client chose the FID: another file's state is not touched.
        if self.osd.new_object(&new.fid)?.exists() {
            return Err(EEXIST);
        }
        self.opens.make_unnamed(&new.fid)?;
        let made = self.make(run, c, dir, None, new, layout);
        if made.is_err() {
            self.opens.destroyed(&new.fid);
        }
        made
    }

    fn make(
        &self,
        run: &mut dyn Runner,
        c: &Creds,
        dir: &ObjectRef,
        name: Option<&[u8]>,
        new: &NewObject<'_>,
        layout: Reserved,
    ) -> Result<ObjectRef> {
        let da = dir.attr()?;
        run.before([da.version, ENOENT_VERSION, 0, 0]);
        if let Some(name) = name {
            if dir.fid().seq == seq::DOT_LUSTRE {
                return Err(EPERM);
            }
            check_new(name)?;
            match dir.lookup(name) {
                Ok(_) => return Err(EEXIST),
                Err(e) if e == ENOENT => {}
                Err(e) => return Err(e),
            }
        }
        self.may_create(dir, &da, c)?;
        Self::check_kind(new)?;
        if !new.fid.is_norm() || new.fid.oid == 0 || new.fid.ver != 0 {
            return Err(EINVAL);
        }
        let o = self.osd.new_object(&new.fid)?;
        if o.exists() {
            return Err(EEXIST);
        }
        let mut gets = self.inherit(dir, &da, name, new, c)?;
        if new.mode & S_IFMT == 0o100000 {
            gets.layout = layout.layout()?;
        }
        let what = Create {
            mode: gets.mode,
            rdev: new.rdev,
            target: new.target,
        };
        let pending = fid_name(&new.fid).map_err(|_| EINVAL)?;
        let (place, name, times) = match name {
            Some(name) => (dir, name, changed(&da, new.time)),
            None => (&self.pending, pending.as_bytes(), SetAttr::default()),
        };
        let mut plan = self.osd.plan()?;
        plan.create(&o, &what, Some((place, name)))?;
        plan.insert(place, &o)?;
        plan.attr(&o, &gets.set)?;
        plan.attr(place, &times)?;
        if let Some(l) = &gets.links {
            l.plan(&mut plan, &o)?;
        }
        for v in [&gets.access, &gets.default, &gets.lov]
            .into_iter()
            .flatten()
        {
            plan.xattr(&o, v.len())?;
        }
        if let Some((_, value)) = new.security {
            plan.xattr(&o, value.len())?;
        }
        if let Some(l) = &gets.layout {
            plan.xattr(&o, l.ea_len())?;
            l.plan(&mut plan)?;
        }
        run.run(plan, &mut |tx, version| {
            tx.create(&o, &what, Some((place, name)))?;
            gets.write(tx, &o)?;
            tx.insert(place, name, &o)?;
            if what.mode & S_IFMT == 0o040000 {
                tx.ref_add(place)?;
            }
            tx.set_attr(place, &times)?;
            if let Some((name, value)) = new.security {
                tx.set_xattr(&o, name, value)?;
            }
            let mut set = gets.set;
            set.version = Some(version);
            tx.set_attr(&o, &set)
        })?;
        Ok(o)
    }

    /// Gives a regular file without a layout one, which is from [`Mdd::reserve_for`]. Whether that
    /// was done now.
    ///
    /// # Errors
    /// `EEXIST`: it has one, and another was wished for. Those of the layout. `EINPROGRESS`: it
    /// has another size now, or lost the layout that it had.
    pub fn make_layout(
        &self,
        run: &mut dyn Runner,
        o: &ObjectRef,
        layout: Reserved,
    ) -> Result<bool> {
        let a = o.attr()?;
        if !a.is_file() {
            return Err(EINVAL);
        }
        if self.layout(o)?.is_some() {
            return match layout.is_wished() {
                true => Err(EEXIST),
                false => Ok(false),
            };
        }
        let size = layout.size();
        let mut layout = layout.layout()?.ok_or(EINPROGRESS)?;
        if a.size != size {
            return Err(EINPROGRESS);
        }
        let mut plan = self.osd.plan()?;
        plan.xattr(o, layout.ea_len())?;
        plan.attr(o, &SetAttr::default())?;
        layout.plan(&mut plan)?;
        run.run(plan, &mut |tx, version| {
            let ea = layout.commit(tx, o.fid())?;
            tx.set_xattr(o, XATTR_NAME_LOV, &ea)?;
            let set = SetAttr {
                version: Some(version),
                ..SetAttr::default()
            };
            tx.set_attr(o, &set)
        })?;
        Ok(true)
    }
}
