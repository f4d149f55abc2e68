// SPDX-License-Identifier: GPL-2.0

//! Renames (`mdt.md` 8.5).

use crate::answer::Answer;
use crate::change::Change;
use crate::device::Core;
use crate::locks::{self, name_number};
use crate::message;
use crate::reint::REC;
use crate::stats::Op;
use kapi::prelude::*;
use ldlm::core::{ibits, Mode};
use ldlm::server::{LocalLock, NameLock, Namespace};
use mdd::{Creds, Rename};
use osd::{Fid, ObjectRef};
use target::Request;
use wire::reint::RecRename;

const S_IFMT: u32 = osd::S_IFMT;
const S_IFDIR: u32 = 0o040000;

/// A rename, as it was asked for.
struct Wish {
    rec: RecRename,
    creds: Creds,
    from: ObjectRef,
    to: ObjectRef,
    from_name: KVec<u8>,
    to_name: KVec<u8>,
}

impl Wish {
    fn between_dirs(&self) -> bool {
        self.from.fid() != self.to.fid()
    }
}

/// The two names, locked. Fields are dropped from the last taken to the first.
struct Names {
    _second: Option<NameLock>,
    /// The second one, if it is in the same directory.
    _other: Option<LocalLock>,
    _first: NameLock,
}

/// The objects, locked likewise.
struct Objects {
    _second: Option<LocalLock>,
    _first: LocalLock,
}

impl Core {
    /// REINT_RENAME.
    pub(crate) fn reint_rename(&self, req: &mut Request<'_>) -> Result<Answer> {
        let rec = *req.rpc.get::<RecRename>(REC)?;
        let msg = req.rpc.msg();
        let (from_name, to_name) = (message::name(msg, 4)?, message::name(msg, 5)?);
        for n in [&from_name, &to_name] {
            mdd::check_name(n)?;
            if matches!(&n[..], b"." | b"..") {
                return Err(EINVAL);
            }
        }
        let wish = Wish {
            rec,
            creds: self.creds_of_record(req, &rec.head),
            from: self.mdd.object(&message::sane(rec.rn_fid1.get())?)?,
            to: self.mdd.object(&message::sane(rec.rn_fid2.get())?)?,
            from_name,
            to_name,
        };
        let ns = req.target.namespace().clone();
        if !wish.between_dirs() {
            let done = self.rename(req, &ns, &wish)?;
            self.stats.count(Op::SamedirRename);
            return Ok(done);
        }
        // While directories move, it is not known which one is above which. The client tells
        // whether one is going to; if it is wrong we begin anew.
        let mut mode = match rec.rn_mode.get() & S_IFMT {
            S_IFDIR => Mode::Ex,
            _ => Mode::Pr,
        };
        loop {
            let _renames = locks::lock(&ns, &Fid::BFL, mode, ibits::UPDATE)?;
            match self.rename_between(req, &ns, &wish, mode)? {
                Some(done) => {
                    self.stats.count(Op::CrossdirRename);
                    return Ok(done);
                }
                None => mode = Mode::Ex,
            }
        }
    }

    /// Between directories; `None`: a directory is to move, which needs the lock of renames in EX.
    fn rename_between(
        &self,
        req: &mut Request<'_>,
        ns: &Arc<Namespace>,
        w: &Wish,
        mode: Mode,
    ) -> Result<Option<Answer>> {
        if mode != Mode::Ex {
            let o = self.mdd.object(&self.mdd.lookup(&w.from, &w.from_name)?)?;
            if o.attr()?.is_dir() {
                return Ok(None);
            }
        }
        match self.rename_locked(req, ns, w, mode == Mode::Ex) {
            Err(e) if e == EDEADLK && mode != Mode::Ex => Ok(None),
            r => r.map(Some),
        }
    }

    fn rename(&self, req: &mut Request<'_>, ns: &Arc<Namespace>, w: &Wish) -> Result<Answer> {
        self.rename_locked(req, ns, w, true)
    }

    fn lock_names(&self, ns: &Arc<Namespace>, w: &Wish) -> Result<Names> {
        let (from, to) = (*w.from.fid(), *w.to.fid());
        let mut first = (from, name_number(&w.from_name));
        let mut second = (to, name_number(&w.to_name));
        let swap = match w.between_dirs() {
            false => second.1 < first.1,
            true if self.mdd.is_above(&from, &to)? => false,
            true => self.mdd.is_above(&to, &from)? || to < from,
        };
        if swap {
            core::mem::swap(&mut first, &mut second);
        }
        let lock = |(fid, number): &(Fid, u32)| locks::lock_number(ns, fid, *number, true);
        let _first = lock(&first)?;
        let (mut _second, mut _other) = (None, None);
        if w.between_dirs() {
            _second = Some(lock(&second)?);
        } else if first != second {
            _other = Some(locks::lock_other_number(ns, &second.0, second.1)?);
        }
        Ok(Names {
            _second,
            _other,
            _first,
        })
    }

    fn lock_objects(
        &self,
        ns: &Arc<Namespace>,
        o: &ObjectRef,
        victim: Option<&ObjectRef>,
    ) -> Result<Objects> {
        let mut first = (*o.fid(), ibits::LOOKUP | ibits::XATTR);
        let mut second = victim.map(|v| (*v.fid(), ibits::LOOKUP | ibits::UPDATE));
        if let Some(s) = second.as_mut().filter(|s| s.0 < first.0) {
            core::mem::swap(s, &mut first);
        }
        let lock = |(fid, bits): &(Fid, u64)| locks::lock(ns, fid, Mode::Ex, *bits);
        let _first = lock(&first)?;
        let _second = second.as_ref().map(lock).transpose()?;
        Ok(Objects { _second, _first })
    }

    /// `EDEADLK`: a directory is to move between directories, and `moves_dirs` is not set.
    fn rename_locked(
        &self,
        req: &mut Request<'_>,
        ns: &Arc<Namespace>,
        w: &Wish,
        moves_dirs: bool,
    ) -> Result<Answer> {
        let _names = self.lock_names(ns, w)?;
        let o = self.mdd.object(&self.mdd.lookup(&w.from, &w.from_name)?)?;
        let victim = match self.mdd.lookup(&w.to, &w.to_name) {
            Ok(fid) => Some(self.mdd.object(&fid)?),
            Err(e) if e == ENOENT => None,
            Err(e) => return Err(e),
        };
        if victim.as_ref().is_some_and(|v| v.fid() == o.fid()) {
            return Ok(Answer::default());
        }
        let is_dir = o.attr()?.is_dir();
        if is_dir && w.between_dirs() && !moves_dirs {
            return Err(EDEADLK);
        }
        // What is above may not be locked below.
        for d in [w.from.fid(), w.to.fid()] {
            if o.fid() == d || victim.as_ref().is_some_and(|v| v.fid() == d) {
                return Err(EINVAL);
            }
        }
        if w.between_dirs() {
            if is_dir && self.mdd.is_above(o.fid(), w.to.fid())? {
                return Err(EINVAL);
            }
            if let Some(v) = &victim {
                if v.attr()?.is_dir() && self.mdd.is_above(v.fid(), w.from.fid())? {
                    return Err(ENOTEMPTY);
                }
            }
        }
        let _objects = self.lock_objects(ns, &o, victim.as_ref())?;
        let what = Rename {
            from: &w.from,
            from_name: &w.from_name,
            to: &w.to,
            to_name: &w.to_name,
            o: &o,
            victim: victim.as_ref(),
            time: w.rec.rn_time.get(),
        };
        let removed = self.mdd.rename(&mut Change::of(req), &w.creds, &what)?;
        self.stats.count(Op::Rename);
        Ok(removed.map_or_else(Answer::default, |r| self.describe_removed(&r)))
    }
}
