// SPDX-License-Identifier: GPL-2.0

//! Names go, and objects with their last one (`mdt.md` 8.4, 9.4; `ondisk.md` 13.2).

use crate::creds::Creds;
use crate::layouts::Updates;
use crate::linkea::Links;
use crate::names::check_old;
use crate::opens::Fate;
use crate::times::{changed, touched};
use crate::{Mdd, Runner};
use kapi::prelude::*;
use osd::{Attr, Fid, ObjectRef, Plan, SetAttr, Transaction};
use wire::disk::names::{fid_name, Name};
use wire::fid::seq;

/// An object that lost a name.
#[derive(Clone, Copy, Debug)]
pub struct Removed {
    /// The object.
    pub fid: Fid,
    /// Its attributes, with the links that are left.
    pub attr: Attr,
}

/// What becomes of an object that loses a name, as it was planned.
pub(crate) enum Loss {
    /// It has others.
    One(Links),
    /// It is open.
    Orphan(Name),
    /// It goes.
    End(Option<KBox<dyn Updates>>),
}

/// An object that is about to lose a name. Dropped, it says so to those who have it open.
pub(crate) struct Losing<'a> {
    mdd: &'a Mdd,
    pub(crate) o: &'a ObjectRef,
    is_dir: bool,
    /// It is the last name.
    last: bool,
    loss: Loss,
    times: SetAttr,
    done: bool,
}

impl<'a> Losing<'a> {
    /// Plans that `o`, with the attributes `a`, loses the name `name` in `dir` at `time`.
    pub(crate) fn plan(
        mdd: &'a Mdd,
        plan: &mut Plan,
        (o, a): (&'a ObjectRef, &Attr),
        (dir, name): (&ObjectRef, &[u8]),
        time: i64,
    ) -> Result<Losing<'a>> {
        let mut this = Losing {
            mdd,
            o,
            is_dir: a.is_dir(),
            last: a.is_dir() || a.nlink <= 1,
            loss: Loss::End(None),
            times: touched(a, time),
            done: false,
        };
        plan.remove(dir, name)?;
        plan.attr(o, &SetAttr::default())?;
        if !this.last {
            let mut links = Links::read(o)?;
            links.remove(dir.fid(), name)?;
            links.plan(plan, o)?;
            this.loss = Loss::One(links);
            return Ok(this);
        }
        // From here on a drop takes it back.
        let fate = mdd.opens.unlink(o.fid());
        if fate.is_err() {
            this.last = false;
        }
        this.loss = match fate? {
            Fate::Keep => {
                plan.insert(&mdd.pending, o)?;
                plan.attr(&mdd.pending, &SetAttr::default())?;
                Loss::Orphan(fid_name(o.fid()).map_err(|_| EINVAL)?)
            }
            Fate::Destroy => Loss::End(mdd.plan_end(plan, o, a)?),
        };
        Ok(this)
    }

    /// Does the part of it that comes before the name goes to another object. The name has been
    /// removed already.
    pub(crate) fn keep(&mut self, tx: &mut Transaction) -> Result {
        let Loss::Orphan(name) = &self.loss else {
            return Ok(());
        };
        // The link that it lost is the one it has here.
        tx.insert(&self.mdd.pending, name.as_bytes(), self.o)?;
        if self.is_dir {
            tx.ref_add(&self.mdd.pending)?;
        }
        tx.set_attr(self.o, &self.times)
    }

    /// Does the rest.
    pub(crate) fn commit(&mut self, tx: &mut Transaction) -> Result {
        match &mut self.loss {
            Loss::One(links) => {
                tx.ref_del(self.o)?;
                links.write(tx, self.o)?;
                tx.set_attr(self.o, &self.times)
            }
            Loss::Orphan(_) => Ok(()),
            Loss::End(updates) => {
                if let Some(u) = updates {
                    u.commit(tx)?;
                }
                tx.destroy(self.o)
            }
        }
    }

    /// It was done and is in the journal.
    pub(crate) fn finish(mut self, a: Attr) -> Removed {
        self.done = true;
        let nlink = match (self.last, self.is_dir) {
            (true, _) => 0,
            (false, _) => a.nlink.saturating_sub(1),
        };
        Removed {
            fid: *self.o.fid(),
            attr: Attr {
                nlink,
                ctime: self.times.ctime.unwrap_or(a.ctime),
                ..a
            },
        }
    }
}

impl Drop for Losing<'_> {
    fn drop(&mut self) {
        if self.last && self.mdd.opens.unlinked(self.o.fid(), self.done) {
            self.mdd.end_orphan(self.o.fid());
        }
    }
}

impl Mdd {
    /// Plans the end of an object, and that of its objects on OSTs.
    pub(crate) fn plan_end(
        &self,
        plan: &mut Plan,
        o: &ObjectRef,
        a: &Attr,
    ) -> Result<Option<KBox<dyn Updates>>> {
        plan.destroy(o)?;
        if !a.is_file() {
            return Ok(None);
        }
        match self.layout(o)? {
            Some(ea) => Ok(Some(self.layouts.plan_destroy(plan, &ea)?)),
            None => Ok(None),
        }
    }

    /// Checks that an object may lose a name.
    pub(crate) fn check_victim(&self, o: &ObjectRef, a: &Attr) -> Result {
        let fid = o.fid();
        if fid.is_root() || fid.seq == seq::DOT_LUSTRE {
            return Err(EPERM);
        }
        if a.is_dir() && !o.is_empty_dir()? {
            return Err(ENOTEMPTY);
        }
        Ok(())
    }

    /// Removes the name `name` of `o` from `dir`, and `o` itself if it was the last one.
    ///
    /// # Errors
    /// `ENOENT`: it is not the name of `o`. `ENOTEMPTY`, `EPERM`, `EACCES`, `ENOTDIR`,
    /// `EINPROGRESS`: later.
    pub fn unlink(
        &self,
        run: &mut dyn Runner,
        c: &Creds,
        dir: &ObjectRef,
        name: &[u8],
        o: &ObjectRef,
        time: i64,
    ) -> Result<Removed> {
        check_old(name)?;
        let (a, da) = (o.attr()?, dir.attr()?);
        run.before([da.version, a.version, 0, 0]);
        if dir.lookup(name)? != *o.fid() {
            return Err(ENOENT);
        }
        if dir.fid().seq == seq::DOT_LUSTRE {
            return Err(EPERM);
        }
        self.may_delete(dir, &da, &a, c)?;
        self.check_victim(o, &a)?;
        let of_dir = changed(&da, time);
        let mut plan = self.osd.plan()?;
        plan.attr(dir, &of_dir)?;
        let mut losing = Losing::plan(self, &mut plan, (o, &a), (dir, name), time)?;
        run.run(plan, &mut |tx, _| {
            tx.remove(dir, name)?;
            losing.keep(tx)?;
            losing.commit(tx)?;
            if a.is_dir() {
                tx.ref_del(dir)?;
            }
            tx.set_attr(dir, &of_dir)
        })?;
        Ok(losing.finish(a))
    }
}
