// SPDX-License-Identifier: GPL-2.0

//! Attributes change (`mdt.md` 8.1, 9.1, 19.5, 22).

use crate::acl::{self, XATTR_ACL_ACCESS};
use crate::creds::{cap, inode_flags, Creds, MAY_WRITE};
use crate::layouts::{Owner, Updates};
use crate::som;
use crate::times::touched;
use crate::{Mdd, Runner};
use kapi::prelude::*;
use osd::{Attr, Fid, ObjectRef, Plan, SetAttr, Time};
use wire::disk::som::XATTR_NAME_SOM;
use wire::mdt::InodeFlags;

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o010;
/// Flags that keep an inode from being changed.
const FROZEN: InodeFlags = InodeFlags::IMMUTABLE.union(InodeFlags::APPEND);
/// The group whose members may change projects (`enable_chprojid_gid`).
const PROJECT_GROUP: u32 = 0;
/// A read counts for `atime` when it is so much later than the one before, seconds.
const ATIME_DIFF: i64 = 60;

/// What a setattr shall change. "Keep the old value" (-1 of an id or mode) is `None`.
#[derive(Clone, Copy, Default, Debug)]
pub struct AttrChange {
    /// Permissions; the type is ignored.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Project.
    pub projid: Option<u32>,
    /// Size.
    pub size: Option<u64>,
    /// Last access, seconds. Clients mark all times as given ones (`*_SET`), also those of a
    /// touch that says none, and check themselves that others than the owner say none.
    pub atime: Option<i64>,
    /// Last change of the content.
    pub mtime: Option<i64>,
    /// Last change of attributes; it does not go back.
    pub ctime: Option<i64>,
    /// `MDS_ATTR_ATTR_FLAG`: all flags that clients may set.
    pub flags: Option<u32>,
    /// `MDS_ATTR_KILL_SUID`
    pub kill_suid: bool,
    /// `MDS_ATTR_KILL_SGID`
    pub kill_sgid: bool,
    /// `MDS_ATTR_FORCE`, or the bias `PERM_BYPASS`: nothing about permissions is checked.
    pub force: bool,
    /// `MDS_ATTR_FROM_OPEN`: that the file may be written was checked by the open.
    pub from_open: bool,
    /// `MDS_ATTR_OVERRIDE`, or the bias `OWNEROVERRIDE`: an owner may write whatever the mode.
    pub owner_override: bool,
}

impl AttrChange {
    /// Whether something other than times changes.
    fn is_lasting(&self) -> bool {
        let ids = self.uid.or(self.gid).or(self.projid);
        ids.or(self.mode).or(self.flags).is_some() || self.kill_suid || self.kill_sgid
    }
}

/// What a close tells of a file.
#[derive(Clone, Copy, Default, Debug)]
pub struct CloseAttr {
    /// Last access, seconds.
    pub atime: Option<i64>,
    /// Last change of the content.
    pub mtime: Option<i64>,
    /// Last change of attributes.
    pub ctime: Option<i64>,
    /// Size and blocks as the client believes them to be, for `trusted.som`.
    pub lazy: Option<(u64, u64)>,
}

/// The flags after a change, as far as clients set them.
fn check_flags(a: &Attr, change: &AttrChange, c: &Creds) -> Result<Option<u32>> {
    let Some(flags) = change.flags else {
        return Ok(None);
    };
    let new = InodeFlags::from_bits_retain(flags);
    if new.unknown() != 0 {
        return Err(EOPNOTSUPP);
    }
    let new = InodeFlags::from_bits_retain(flags & InodeFlags::USER_MODIFIABLE.bits());
    let flipped = InodeFlags::from_bits_retain(new.bits() ^ a.flags);
    let may = c.owns(a) && (!flipped.intersects(FROZEN) || c.has(cap::LINUX_IMMUTABLE));
    if !change.force && !may {
        return Err(EPERM);
    }
    Ok(Some(new.bits()))
}

/// Whether the project may change, or whether it is inherited.
fn check_project(a: &Attr, change: &AttrChange, c: &Creds) -> Result {
    let inherits = change.flags.is_some_and(|f| {
        InodeFlags::from_bits_retain(f ^ a.flags).contains(InodeFlags::PROJINHERIT)
    });
    let changes = change.projid.is_some_and(|p| p != a.projid) || inherits;
    if !changes || change.force || c.has(cap::SYS_RESOURCE) || c.in_group(PROJECT_GROUP) {
        return Ok(());
    }
    Err(EPERM)
}

/// The owners after a change, checked.
fn check_owners(a: &Attr, change: &AttrChange, c: &Creds) -> Result<Owner> {
    let mine = a.uid == c.uid;
    let may = change.force || c.has(cap::CHOWN);
    if let Some(uid) = change.uid {
        if !(may || (mine && uid == a.uid)) {
            return Err(EPERM);
        }
    }
    if let Some(gid) = change.gid {
        if !(may || (mine && (gid == a.gid || c.in_group(gid)))) {
            return Err(EPERM);
        }
    }
    check_project(a, change, c)?;
    Ok(Owner {
        uid: change.uid.filter(|id| *id != a.uid),
        gid: change.gid.filter(|id| *id != a.gid),
        projid: change.projid.filter(|id| *id != a.projid),
    })
}

/// The permissions after a change; none: as they are.
fn check_mode(a: &Attr, change: &AttrChange, c: &Creds) -> Result<Option<u32>> {
    let old = a.mode & 0o7777;
    if let Some(mode) = change.mode {
        if !change.force && !c.owns(a) {
            return Err(EPERM);
        }
        let mut mode = mode & 0o7777;
        let in_group = c.in_group(change.gid.unwrap_or(a.gid));
        if !in_group && !c.has(cap::FSETID) && !change.force {
            mode &= !S_ISGID;
        }
        return Ok((mode != old).then_some(mode));
    }
    let chown = !a.is_dir() && change.uid.or(change.gid).is_some();
    let mut mode = old;
    if chown || change.kill_suid {
        mode &= !S_ISUID;
    }
    // Without permission for the group to execute, the bit means something else.
    if (chown || change.kill_sgid) && mode & S_IXGRP != 0 {
        mode &= !S_ISGID;
    }
    if mode == old {
        return Ok(None);
    }
    if !(change.force || chown || c.owns(a)) {
        return Err(EPERM);
    }
    Ok(Some(mode))
}

fn now() -> i64 {
    i64::try_from(kapi::time::real().as_secs()).unwrap_or(i64::MAX)
}

/// What is to be done for a setattr, checked.
struct Checked {
    set: SetAttr,
    owner: Owner,
    /// The ACL, if the new mode changes it.
    acl: Option<KVVec<u8>>,
}

impl Mdd {
    fn check_size(&self, o: &ObjectRef, a: &Attr, change: &AttrChange, c: &Creds) -> Result {
        if a.is_dir() {
            return Err(EISDIR);
        }
        if !a.is_file() {
            return Err(EINVAL);
        }
        let mine = change.owner_override && a.uid == c.uid;
        if !change.force && !change.from_open && !mine {
            self.permission(o, a, c, MAY_WRITE)?;
        }
        if self.opens.is_executed(o.fid()) {
            return Err(ETXTBSY);
        }
        Ok(())
    }

    fn check_times(&self, o: &ObjectRef, a: &Attr, change: &AttrChange, c: &Creds) -> Result {
        let alone = !change.is_lasting() && change.ctime.is_some();
        // Whoever may change the size may change the times with it; the time of a change goes
        // with the change.
        if change.size.is_some() || !(alone || change.atime.or(change.mtime).is_some()) {
            return Ok(());
        }
        if change.force || c.owns(a) {
            return Ok(());
        }
        self.permission(o, a, c, MAY_WRITE)
    }

    fn check_setattr(
        &self,
        o: &ObjectRef,
        a: &Attr,
        change: &AttrChange,
        c: &Creds,
    ) -> Result<Checked> {
        if *o.fid() == Fid::OBF {
            return Err(EPERM);
        }
        let flags = check_flags(a, change, c)?;
        let owner = check_owners(a, change, c)?;
        let mode = check_mode(a, change, c)?;
        // Only the flags themselves can change, by those who may.
        let others = change.mode.or(change.uid).or(change.gid).is_some()
            || change.size.is_some()
            || change.atime.or(change.mtime).is_some()
            || owner.projid.is_some();
        if others && inode_flags(a).intersects(FROZEN) {
            return Err(EPERM);
        }
        if change.size.is_some() {
            self.check_size(o, a, change, c)?;
        }
        self.check_times(o, a, change, c)?;
        let acl = match mode {
            Some(m) if !a.is_symlink() => acl::read(o, XATTR_ACL_ACCESS)?.map(|mut acl| {
                acl::chmod(&mut acl, m);
                acl
            }),
            _ => None,
        };
        let late = change.is_lasting() || change.size.is_some();
        let ctime = change.ctime.or_else(|| late.then(now));
        let set = SetAttr {
            mode,
            uid: owner.uid,
            gid: owner.gid,
            projid: owner.projid,
            atime: change.atime.map(Time::secs),
            mtime: change.mtime.map(Time::secs),
            ctime: ctime.and_then(|t| touched(a, t).ctime),
            flags,
            version: None,
        };
        Ok(Checked { set, owner, acl })
    }

    /// Plans that the objects of a file get other owners, if it has objects.
    pub(crate) fn plan_owner(
        &self,
        plan: &mut Plan,
        o: &ObjectRef,
        a: &Attr,
        owner: &Owner,
    ) -> Result<Option<KBox<dyn Updates>>> {
        if !a.is_file() || *owner == Owner::default() {
            return Ok(None);
        }
        match self.layout(o)? {
            Some(ea) => Ok(Some(self.layouts.plan_set_owner(plan, &ea, owner)?)),
            None => Ok(None),
        }
    }

    /// Changes attributes. A change of owners goes to the objects on OSTs, too. The size of a file
    /// with objects is theirs, and the client's to change; here only the guess in `trusted.som`
    /// follows.
    ///
    /// # Errors
    /// `EPERM`, `EACCES`; `EISDIR`, `EINVAL`: no size for such a type; `ETXTBSY`: the size of
    /// what is executed; `EOPNOTSUPP`: flags; `EFBIG`, `EDQUOT`, `ENOSPC`; `EINPROGRESS`: later.
    pub fn setattr(
        &self,
        run: &mut dyn Runner,
        c: &Creds,
        o: &ObjectRef,
        change: &AttrChange,
    ) -> Result {
        let a = o.attr()?;
        run.before([a.version, 0, 0, 0]);
        let Checked {
            mut set,
            owner,
            acl,
        } = self.check_setattr(o, &a, change, c)?;
        let mut som = None;
        if let Some(size) = change.size {
            match self.layout(o)? {
                Some(_) => som = som::resized(o, size)?,
                None if size != a.size => o.truncate(size)?,
                None => {}
            }
        }
        let mut plan = self.osd.plan()?;
        plan.attr(o, &set)?;
        if let Some(acl) = &acl {
            plan.xattr(o, acl.len())?;
        }
        if let Some(som) = &som {
            plan.xattr(o, som.len())?;
        }
        let mut updates = self.plan_owner(&mut plan, o, &a, &owner)?;
        run.run(plan, &mut |tx, version| {
            if let Some(acl) = &acl {
                tx.set_xattr(o, XATTR_ACL_ACCESS, acl)?;
            }
            if let Some(som) = &som {
                tx.set_xattr(o, XATTR_NAME_SOM, som)?;
            }
            if let Some(u) = &mut updates {
                u.commit(tx)?;
            }
            if change.is_lasting() {
                set.version = Some(version);
            }
            tx.set_attr(o, &set)
        })
    }

    /// Takes over what a close tells: times that are later, and the lazy size of a regular file. Somebody
    /// may have set the modification time since the data were written: then the change time is no later.
    /// Whether there was something, and `run` was called.
    ///
    /// # Errors
    /// `ENOSPC`, `EIO`.
    pub fn close_attr(
        &self,
        run: &mut dyn Runner,
        o: &ObjectRef,
        told: &CloseAttr,
    ) -> Result<bool> {
        let a = o.attr()?;
        let later = |t: Option<i64>, old: Time| t.map(Time::secs).filter(|t| *t > old);
        let newest = told.ctime.is_none_or(|t| Time::secs(t) > a.ctime);
        let read_at = Time::secs(a.atime.sec.saturating_add(ATIME_DIFF));
        let set = SetAttr {
            atime: later(told.atime, read_at),
            mtime: later(told.mtime, a.mtime).filter(|_| newest),
            ctime: later(told.ctime, a.ctime),
            ..SetAttr::default()
        };
        let som = match told.lazy {
            Some((size, blocks)) if a.is_file() => som::grown(o, size, blocks)?,
            _ => None,
        };
        if set.is_empty() && som.is_none() {
            return Ok(false);
        }
        let mut plan = self.osd.plan()?;
        plan.attr(o, &set)?;
        if let Some(som) = &som {
            plan.xattr(o, som.len())?;
        }
        run.run(plan, &mut |tx, _| {
            if let Some(som) = &som {
                tx.set_xattr(o, XATTR_NAME_SOM, som)?;
            }
            tx.set_attr(o, &set)
        })?;
        Ok(true)
    }
}
