// SPDX-License-Identifier: GPL-2.0

//! Names move, and replace others (`mdt.md` 8.5).

use crate::create::ENOENT_VERSION;
use crate::creds::{inode_flags, Creds, MAY_WRITE};
use crate::layouts::{Owner, Updates};
use crate::linkea::Links;
use crate::names::{check_new, check_old};
use crate::times::{changed, touched};
use crate::unlink::{Losing, Removed};
use crate::{Mdd, Runner};
use kapi::prelude::*;
use osd::{Attr, ObjectRef};
use wire::fid::seq;
use wire::mdt::InodeFlags;

/// What is renamed. The caller has looked both names up, under the locks that it holds.
#[derive(Clone, Copy)]
pub struct Rename<'a> {
    /// The directory of the old name.
    pub from: &'a ObjectRef,
    /// The old name.
    pub from_name: &'a [u8],
    /// The directory of the new name; perhaps the same.
    pub to: &'a ObjectRef,
    /// The new name.
    pub to_name: &'a [u8],
    /// What has the old name.
    pub o: &'a ObjectRef,
    /// What has the new name.
    pub victim: Option<&'a ObjectRef>,
    /// Seconds.
    pub time: i64,
}

impl Rename<'_> {
    fn is_move(&self) -> bool {
        self.from.fid() != self.to.fid()
    }

    /// Whether the names are those of the objects.
    fn check_names(&self) -> Result {
        check_old(self.from_name)?;
        check_new(self.to_name)?;
        if self.from.lookup(self.from_name)? != *self.o.fid() {
            return Err(EAGAIN);
        }
        let found = match self.to.lookup(self.to_name) {
            Ok(fid) => Some(fid),
            Err(e) if e == ENOENT => None,
            Err(e) => return Err(e),
        };
        match found == self.victim.map(|v| *v.fid()) {
            true => Ok(()),
            false => Err(EAGAIN),
        }
    }

    /// Whether objects and directories are different ones, and none has to stay where it is.
    fn check_fids(&self) -> Result {
        let dirs = [self.from.fid(), self.to.fid()];
        if dirs.iter().any(|d| d.seq == seq::DOT_LUSTRE) {
            return Err(EPERM);
        }
        for o in [Some(self.o), self.victim].into_iter().flatten() {
            if o.fid().is_root() || o.fid().seq == seq::DOT_LUSTRE {
                return Err(EPERM);
            }
            if dirs.contains(&o.fid()) {
                return Err(EINVAL);
            }
        }
        Ok(())
    }
}

/// The attributes of all that take part.
struct Attrs {
    from: Attr,
    to: Attr,
    o: Attr,
    victim: Option<Attr>,
}

impl Attrs {
    /// Out of the way of the stack, which the store and ext4 need.
    #[inline(never)]
    fn read(r: &Rename<'_>) -> Result<KBox<Attrs>> {
        let attrs = Attrs {
            from: r.from.attr()?,
            to: r.to.attr()?,
            o: r.o.attr()?,
            victim: r.victim.map(|v| v.attr()).transpose()?,
        };
        Ok(KBox::new(attrs, GFP_KERNEL)?)
    }
}

impl Mdd {
    fn check_rename(&self, c: &Creds, r: &Rename<'_>, a: &Attrs) -> Result {
        r.check_fids()?;
        self.may_delete(r.from, &a.from, &a.o, c)?;
        match (r.victim, &a.victim) {
            (Some(v), Some(va)) => {
                self.may_delete(r.to, &a.to, va, c)?;
                match (a.o.is_dir(), va.is_dir()) {
                    (true, false) => return Err(ENOTDIR),
                    (false, true) => return Err(EISDIR),
                    _ => self.check_victim(v, va)?,
                }
            }
            _ => self.may_create(r.to, &a.to, c)?,
        }
        if a.o.is_dir() && r.is_move() {
            // Its ".." changes.
            self.permission(r.o, &a.o, c, MAY_WRITE)?;
            if self.is_above(r.o.fid(), r.to.fid())? {
                return Err(EINVAL);
            }
        }
        if a.o.is_dir() && Self::new_project(a).is_some() {
            return Err(EXDEV);
        }
        Ok(())
    }

    /// The project that what comes into the target directory gets.
    fn new_project(a: &Attrs) -> Option<u32> {
        let inherits = inode_flags(&a.to).contains(InodeFlags::PROJINHERIT);
        (inherits && a.to.projid != a.o.projid).then_some(a.to.projid)
    }

    /// Renames. What had the new name is removed as by [`Mdd::unlink`] and returned; if that is the
    /// same object, nothing is done, and `run` is not called. Whoever moves a directory to another
    /// one keeps all others from doing so meanwhile.
    ///
    /// # Errors
    /// `ENOENT`, `EAGAIN`: the names are not those of the objects. `EINVAL`: a directory into
    /// itself, or one of the directories is one of the objects. `EEXIST`, `ENOTDIR`, `EISDIR`,
    /// `ENOTEMPTY`, `EXDEV` (another project), `EACCES`, `EPERM`, `ENOSPC`, `EINPROGRESS`: later.
    pub fn rename(
        &self,
        run: &mut dyn Runner,
        c: &Creds,
        what: &Rename<'_>,
    ) -> Result<Option<Removed>> {
        let r = what;
        let a = Attrs::read(r)?;
        let victim_version = a.victim.as_ref().map_or(ENOENT_VERSION, |v| v.version);
        run.before([a.from.version, a.to.version, a.o.version, victim_version]);
        r.check_names()?;
        if r.victim.is_some_and(|v| v.fid() == r.o.fid()) {
            return Ok(None);
        }
        self.check_rename(c, r, &a)?;
        let mut links = Links::read(r.o)?;
        links.remove(r.from.fid(), r.from_name)?;
        links.add(r.to.fid(), r.to_name, r.time)?;
        let (of_from, of_to) = (changed(&a.from, r.time), changed(&a.to, r.time));
        let mut of_object = touched(&a.o, r.time);
        of_object.projid = Self::new_project(&a);
        let mut plan = self.osd.plan()?;
        plan.remove(r.from, r.from_name)?;
        plan.insert(r.to, r.o)?;
        plan.attr(r.from, &of_from)?;
        plan.attr(r.to, &of_to)?;
        plan.attr(r.o, &of_object)?;
        links.plan(&mut plan, r.o)?;
        let mut updates: Option<KBox<dyn Updates>> = None;
        if let Some(projid) = of_object.projid {
            let owner = Owner {
                projid: Some(projid),
                ..Owner::default()
            };
            updates = self.plan_owner(&mut plan, r.o, &a.o, &owner)?;
        }
        let mut losing = match (r.victim, &a.victim) {
            (Some(v), Some(va)) => Some(Losing::plan(
                self,
                &mut plan,
                (v, va),
                (r.to, r.to_name),
                r.time,
            )?),
            _ => None,
        };
        let replaced_dir = a.victim.as_ref().is_some_and(Attr::is_dir);
        run.run(plan, &mut |tx, version| {
            tx.remove(r.from, r.from_name)?;
            if let Some(l) = &mut losing {
                tx.remove(r.to, r.to_name)?;
                l.keep(tx)?;
            }
            tx.insert(r.to, r.to_name, r.o)?;
            if let Some(l) = &mut losing {
                l.commit(tx)?;
            }
            if a.o.is_dir() && (r.is_move() || replaced_dir) {
                tx.ref_del(r.from)?;
                if r.is_move() && !replaced_dir {
                    tx.ref_add(r.to)?;
                }
            }
            links.write(tx, r.o)?;
            if let Some(u) = &mut updates {
                u.commit(tx)?;
            }
            tx.set_attr(r.from, &of_from)?;
            tx.set_attr(r.to, &of_to)?;
            of_object.version = Some(version);
            tx.set_attr(r.o, &of_object)
        })?;
        Ok(losing.zip(a.victim).map(|(l, va)| l.finish(va)))
    }
}
