// SPDX-License-Identifier: GPL-2.0

//! Random transactions, against a model.

use crate::model::{self, fresh, name, Content, Model, Name, FLAGS, NAMES, XATTRS};
use crate::ops::{self, is_dir};
use crate::{check, ok, Random, Stage};
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef, Plan, SetAttr, Time, Transaction};

const SEQ: u64 = 0x2_0000_0403;
/// The number of the directory that all is in.
const TOP: u32 = 0x10_0000;
/// Objects at a time.
const MANY: usize = 60;
/// Operations between two looks at everything, and between two closings.
const LOOK: u32 = 50;
const REOPEN: u32 = 250;

/// Who has a part in each transaction.
pub(crate) trait Witness {
    /// Plans what he does in it.
    fn plan(&mut self, plan: &mut Plan) -> Result;
    /// It is about to start.
    fn starting(&mut self) -> Result;
    /// It runs, and others may.
    fn between(&mut self);
    /// Does his part.
    fn run(&mut self, run: &mut Transaction) -> Result;
    /// It has stopped.
    fn stopped(&mut self) -> Result;
}

/// Nobody.
impl Witness for () {
    fn plan(&mut self, _: &mut Plan) -> Result {
        Ok(())
    }
    fn starting(&mut self) -> Result {
        Ok(())
    }
    fn between(&mut self) {}
    fn run(&mut self, _: &mut Transaction) -> Result {
        Ok(())
    }
    fn stopped(&mut self) -> Result {
        Ok(())
    }
}

pub(crate) struct World<'a> {
    pub(crate) d: &'a dyn Device,
    pub(crate) m: &'a mut Model,
    pub(crate) rng: &'a mut Random,
    pub(crate) witness: &'a mut dyn Witness,
}

/// Makes a directory for what is to come.
pub(crate) fn start(d: &dyn Device, seq: u64, name: &[u8]) -> Result<Model> {
    let mut model = Model::new(seq);
    let (base, top) = (ok!(ops::root(d)), Fid::new(seq, TOP));
    ok!(ops::make(d, &base, name, top, &Create::dir(0o755)));
    let mut o = fresh(top, &Create::dir(0o755), *base.fid());
    (o.attr.mtime, o.attr.version) = (Time::secs(77), 0x1_0000_0005);
    o.xattrs[1] = Some((40, 3));
    model.objects.push(o, GFP_KERNEL)?;
    Ok(model)
}

pub(crate) fn check(stage: &mut dyn Stage, seed: u64, ops: u32) -> Result {
    let mut rng = Random::new(seed);
    let mut model = start(&*stage.device()?, SEQ, b"random")?;
    let mut i = 0;
    while i < ops {
        {
            let d = stage.device()?;
            let mut w = World {
                d: &*d,
                m: &mut model,
                rng: &mut rng,
                witness: &mut (),
            };
            loop {
                if let Err(e) = w.step() {
                    pr_err!("step {} of seed {}: {:?}\n", i, seed, e);
                    return Err(e);
                }
                i += 1;
                if i % LOOK == 0 {
                    model_all(&w, i, seed)?;
                }
                if i >= ops || i % REOPEN == 0 {
                    break;
                }
            }
        }
        stage.reopen()?;
    }
    model.compare_all(&*stage.device()?)
}

fn model_all(w: &World<'_>, i: u32, seed: u64) -> Result {
    w.m.compare_all(w.d).inspect_err(|_| {
        pr_err!("after step {} of seed {}\n", i, seed);
    })
}

impl World<'_> {
    fn plan(&mut self) -> Result<Plan> {
        let mut plan = ok!(self.d.plan());
        ok!(self.witness.plan(&mut plan));
        Ok(plan)
    }

    fn start(&mut self, plan: Plan) -> Result<Transaction> {
        ok!(self.witness.starting());
        let run = ok!(plan.start());
        self.witness.between();
        Ok(run)
    }

    fn stop(&mut self, mut run: Transaction) -> Result {
        self.witness.between();
        ok!(self.witness.run(&mut run));
        ok!(run.stop());
        self.witness.stopped()
    }

    fn any(&mut self, f: impl Fn(&model::Object) -> bool) -> Option<Fid> {
        let n = self.m.objects.iter().filter(|o| f(o)).count();
        let i = self.rng.below(n);
        let mut found = self.m.objects.iter().filter(|o| f(o));
        found.nth(i).map(|o| o.fid)
    }

    fn dir(&mut self) -> Result<Fid> {
        self.any(|o| is_dir(o.attr.mode)).ok_or(EIO)
    }

    fn object(&self, fid: &Fid) -> Result<ObjectRef> {
        let o = ok!(self.d.object(fid));
        check!(o.exists());
        Ok(o)
    }

    pub(crate) fn step(&mut self) -> Result {
        match self.rng.below(16) {
            0..=3 if self.m.objects.len() < MANY => self.create(),
            0..=4 => self.unlink(),
            5..=6 => self.rename(),
            7 => self.link(),
            8..=9 => self.attr(),
            10..=11 => self.xattr(),
            12..=13 => self.write(),
            14 => self.records(),
            _ => self.many(),
        }
    }

    /// A free name in a directory.
    fn free(&mut self) -> Result<Option<(Fid, usize)>> {
        let (dir, n) = (self.dir()?, self.rng.below(NAMES));
        Ok(self.m.lookup(&dir, n).is_none().then_some((dir, n)))
    }

    fn what(&mut self) -> Create<'static> {
        let mode = self.rng.below(0o10000) as u32;
        match self.rng.below(10) {
            0..=4 => Create::file(mode),
            5..=7 => Create::dir(mode),
            8 => Create {
                mode: 0o120777,
                rdev: 0,
                target: Some(
                    c"../some/where that is long enough not to be in the inode, some where",
                ),
            },
            _ => Create {
                mode: 0o020000 | mode,
                rdev: 0x0103,
                target: None,
            },
        }
    }

    fn name_it(&mut self, dir: Fid, n: usize, fid: Fid) -> Result {
        let name = n;
        Ok(self.m.names.push(Name { dir, name, fid }, GFP_KERNEL)?)
    }

    fn create(&mut self) -> Result {
        let Some((dir, n)) = self.free()? else {
            return Ok(());
        };
        let what = self.what();
        let fid = Fid::new(self.m.seq, self.m.next);
        self.m.next += 1;
        let (o, parent) = (ok!(self.d.object(&fid)), self.object(&dir)?);
        check!(!o.exists());
        let (b, len) = name(n);
        let near = (self.rng.below(3) > 0).then_some((&parent, &b[..len]));
        let xattr = (1 + self.rng.below(1500), self.rng.below(256) as u8);
        let value = KVVec::from_elem(xattr.1, xattr.0, GFP_KERNEL)?;
        let mut plan = self.plan()?;
        ok!(plan.create(&o, &what, near));
        ok!(plan.insert(&parent, &o));
        ok!(plan.xattr(&o, xattr.0));
        let mut run = self.start(plan)?;
        ok!(run.create(&o, &what, near));
        ok!(run.set_xattr(&o, XATTRS[0], &value));
        ok!(run.insert(&parent, &b[..len], &o));
        if is_dir(what.mode) {
            ok!(run.ref_add(&parent));
            self.m.object(&dir)?.attr.nlink += 1;
        }
        self.stop(run)?;
        let mut new = fresh(fid, &what, dir);
        new.xattrs[0] = Some(xattr);
        self.m.objects.push(new, GFP_KERNEL)?;
        self.name_it(dir, n, fid)
    }

    /// A name in a directory.
    fn some_name(&mut self) -> Option<(Fid, usize, Fid)> {
        let i = self.rng.below(self.m.names.len());
        self.m.names.get(i).map(|n| (n.dir, n.name, n.fid))
    }

    fn forget_name(&mut self, dir: &Fid, n: usize) {
        self.m.names.retain(|k| k.dir != *dir || k.name != n);
    }

    /// The links that the last name of an object takes along.
    fn drop_links(&mut self, run: &mut Transaction, o: &ObjectRef, dir: &ObjectRef) -> Result {
        let fid = *o.fid();
        ok!(run.ref_del(o));
        let m = self.m.object(&fid)?;
        if is_dir(m.attr.mode) {
            ok!(run.ref_del(o));
            ok!(run.ref_del(dir));
            self.m.object(dir.fid())?.attr.nlink -= 1;
        } else {
            m.attr.nlink -= 1;
            if m.attr.nlink > 0 {
                return Ok(());
            }
        }
        ok!(run.destroy(o));
        self.m.objects.retain(|o| o.fid != fid);
        Ok(())
    }

    fn unlink(&mut self) -> Result {
        let Some((dir, n, fid)) = self.some_name() else {
            return Ok(());
        };
        if self.m.entries(&fid) > 0 {
            return Ok(());
        }
        let (o, parent) = (self.object(&fid)?, self.object(&dir)?);
        let (b, len) = name(n);
        let last = self.m.object(&fid)?.attr.nlink == 1 || ok!(o.attr()).is_dir();
        let mut plan = self.plan()?;
        ok!(plan.remove(&parent, &b[..len]));
        if last {
            ok!(plan.destroy(&o));
        }
        let mut run = self.start(plan)?;
        ok!(run.remove(&parent, &b[..len]));
        self.drop_links(&mut run, &o, &parent)?;
        self.stop(run)?;
        self.forget_name(&dir, n);
        check!(o.exists() != last);
        Ok(())
    }

    fn rename(&mut self) -> Result {
        let (Some((from, old, fid)), to) = (self.some_name(), self.dir()?) else {
            return Ok(());
        };
        let new = self.rng.below(NAMES);
        let over = self.m.lookup(&to, new);
        let dir = is_dir(self.m.object(&fid)?.attr.mode);
        if dir && self.m.is_above(&fid, &to)? || over == Some(fid) {
            return Ok(());
        }
        if let Some(over) = over {
            let kind = is_dir(self.m.object(&over)?.attr.mode);
            if kind != dir || self.m.entries(&over) > 0 {
                return Ok(());
            }
        }
        let (o, p, q) = (self.object(&fid)?, self.object(&from)?, self.object(&to)?);
        let ((b, blen), (c, clen)) = (name(old), name(new));
        let mut plan = self.plan()?;
        ok!(plan.remove(&p, &b[..blen]));
        ok!(plan.insert(&q, &o));
        let replaced = over.map(|f| self.object(&f)).transpose()?;
        if let Some(r) = &replaced {
            ok!(plan.remove(&q, &c[..clen]));
            ok!(plan.destroy(r));
        }
        let mut run = self.start(plan)?;
        ok!(run.remove(&p, &b[..blen]));
        if let Some(r) = &replaced {
            ok!(run.remove(&q, &c[..clen]));
            self.drop_links(&mut run, r, &q)?;
            self.forget_name(&to, new);
        }
        ok!(run.insert(&q, &c[..clen], &o));
        if dir {
            ok!(run.ref_del(&p));
            ok!(run.ref_add(&q));
            self.m.object(&from)?.attr.nlink -= 1;
            self.m.object(&to)?.attr.nlink += 1;
            self.m.object(&fid)?.parent = to;
        }
        self.stop(run)?;
        self.forget_name(&from, old);
        self.name_it(to, new, fid)
    }

    fn link(&mut self) -> Result {
        let Some((dir, n)) = self.free()? else {
            return Ok(());
        };
        let Some(fid) = self.any(|o| !is_dir(o.attr.mode)) else {
            return Ok(());
        };
        let (o, parent) = (self.object(&fid)?, self.object(&dir)?);
        let (b, len) = name(n);
        let mut plan = self.plan()?;
        ok!(plan.insert(&parent, &o));
        let mut run = self.start(plan)?;
        ok!(run.insert(&parent, &b[..len], &o));
        ok!(run.ref_add(&o));
        self.stop(run)?;
        self.m.object(&fid)?.attr.nlink += 1;
        self.name_it(dir, n, fid)
    }

    fn attr(&mut self) -> Result {
        let fid = self.any(|_| true).ok_or(EIO)?;
        let o = self.object(&fid)?;
        let mut some = |n: usize| (self.rng.below(3) == 0).then(|| self.rng.below(n));
        let time = |s: Option<usize>| {
            s.map(|s| Time {
                sec: s as i64,
                nsec: (s % 1_000_000_000) as u32,
            })
        };
        let set = SetAttr {
            mode: some(0o10000).map(|m| m as u32),
            uid: some(3).map(|m| m as u32),
            gid: some(70_000).map(|m| m as u32),
            projid: some(5).map(|m| m as u32),
            atime: time(some(1 << 33)),
            mtime: time(some(1 << 33)),
            ctime: time(some(1 << 33)),
            flags: some(16).map(|f| (f as u32) << 4),
            version: some(1 << 40).map(|v| v as u64),
        };
        let mut plan = self.plan()?;
        ok!(plan.attr(&o, &set));
        let mut run = self.start(plan)?;
        ok!(run.set_attr(&o, &set));
        self.stop(run)?;
        let a = &mut self.m.object(&fid)?.attr;
        a.mode = set
            .mode
            .map_or(a.mode, |m| a.mode & osd::S_IFMT | m & !osd::S_IFMT);
        a.uid = set.uid.unwrap_or(a.uid);
        a.gid = set.gid.unwrap_or(a.gid);
        a.projid = set.projid.unwrap_or(a.projid);
        a.atime = set.atime.unwrap_or(a.atime);
        a.mtime = set.mtime.unwrap_or(a.mtime);
        a.ctime = set.ctime.unwrap_or(a.ctime);
        a.flags = set
            .flags
            .map_or(a.flags, |f| f & FLAGS & osd::settable_flags(a.mode));
        a.version = set.version.unwrap_or(a.version);
        Ok(())
    }

    fn xattr(&mut self) -> Result {
        // Linux has user xattrs on files and directories alone.
        let Some(fid) = self.any(|o| is_dir(o.attr.mode) || o.attr.is_file()) else {
            return Ok(());
        };
        let (o, i) = (self.object(&fid)?, self.rng.below(XATTRS.len()));
        let x = XATTRS[i];
        let known = self.m.object(&fid)?.xattrs[i].is_some();
        // Below a block, of which the other values take their part; or far above, with an inode.
        let most = [600, 60, 800, 20_000][self.rng.below(4)];
        let value = (self.rng.below(most), self.rng.below(256) as u8);
        let remove = known && self.rng.below(3) == 0;
        let mut plan = self.plan()?;
        ok!(plan.xattr(&o, value.0));
        let mut run = self.start(plan)?;
        if remove {
            ok!(run.del_xattr(&o, x));
        } else {
            let bytes = KVVec::from_elem(value.1, value.0, GFP_KERNEL)?;
            ok!(run.set_xattr(&o, x, &bytes));
        }
        self.stop(run)?;
        self.m.object(&fid)?.xattrs[i] = (!remove).then_some(value);
        Ok(())
    }

    fn write(&mut self) -> Result {
        let Some(fid) = self.any(|o| o.attr.is_file() && !matches!(o.content, Content::Index(_)))
        else {
            return Ok(());
        };
        let o = self.object(&fid)?;
        let (off, len) = (self.rng.below(30_000), 1 + self.rng.below(9000));
        let data = KVVec::from_elem(self.rng.below(256) as u8, len, GFP_KERNEL)?;
        let mut plan = self.plan()?;
        ok!(plan.write(&o, off as u64, data.len()));
        let mut run = self.start(plan)?;
        ok!(run.write(&o, off as u64, &data));
        self.stop(run)?;
        let m = self.m.object(&fid)?;
        if let Content::None = m.content {
            m.content = Content::Small(KVVec::new());
        }
        if let Content::Small(c) = &mut m.content {
            let end = (off + len).max(c.len());
            c.resize(end, 0, GFP_KERNEL)?;
            c[off..off + len].copy_from_slice(&data);
        }
        Ok(())
    }

    fn records(&mut self) -> Result {
        let Some(fid) = self.any(|o| o.attr.is_file() && !matches!(o.content, Content::Small(_)))
        else {
            return Ok(());
        };
        let o = self.object(&fid)?;
        let make = matches!(self.m.object(&fid)?.content, Content::None);
        let n = 1 + self.rng.below(8);
        let mut plan = self.plan()?;
        for _ in 0..n + 1 {
            ok!(plan.record(&o));
        }
        let mut run = self.start(plan)?;
        if make {
            ok!(run.index_make(&o, 8, 4));
            self.m.object(&fid)?.content = Content::Index(KVVec::new());
        }
        for _ in 0..n {
            let (k, v) = (
                1 + self.rng.below(500) as u64,
                self.rng.below(1 << 30) as u32,
            );
            let remove = self.rng.below(2) == 0;
            let (key, rec) = (k.to_be_bytes(), v.to_le_bytes());
            let Content::Index(all) = &mut self.m.object(&fid)?.content else {
                return Err(EIO);
            };
            let at = all.iter().position(|r| r.0 >= k).unwrap_or(all.len());
            if all.get(at).is_none_or(|r| r.0 != k) {
                ok!(run.index_insert(&o, &key, &rec));
                all.push((k, v), GFP_KERNEL)?;
                all[at..].rotate_right(1);
            } else if remove {
                ok!(run.index_delete(&o, &key));
                all.retain(|r| r.0 != k);
            } else {
                ok!(run.index_update(&o, &key, &rec));
                all[at].1 = v;
            }
        }
        self.stop(run)
    }

    /// A directory with files, in one transaction.
    fn many(&mut self) -> Result {
        let Some((top, n)) = self.free()? else {
            return Ok(());
        };
        if self.m.objects.len() + 4 > MANY {
            return Ok(());
        }
        let parent = self.object(&top)?;
        let (seq, first) = (self.m.seq, self.m.next);
        self.m.next += 4;
        let dir = ok!(self.d.object(&Fid::new(seq, first)));
        let (what, file) = (Create::dir(0o711), Create::file(0o622));
        let (b, len) = name(n);
        let mut plan = self.plan()?;
        ok!(plan.create(&dir, &what, Some((&parent, &b[..len]))));
        ok!(plan.insert(&parent, &dir));
        let mut files = KVec::new();
        for i in 1..4 {
            let o = ok!(self.d.object(&Fid::new(seq, first + i)));
            ok!(plan.create(&o, &file, None));
            ok!(plan.insert(&dir, &o));
            files.push(o, GFP_KERNEL)?;
        }
        let mut run = self.start(plan)?;
        ok!(run.create(&dir, &what, Some((&parent, &b[..len]))));
        ok!(run.insert(&parent, &b[..len], &dir));
        ok!(run.ref_add(&parent));
        for (i, o) in files.iter().enumerate() {
            ok!(run.create(o, &file, None));
            let (b, len) = name(i);
            ok!(run.insert(&dir, &b[..len], o));
        }
        self.stop(run)?;
        self.m.object(&top)?.attr.nlink += 1;
        let o = fresh(*dir.fid(), &what, top);
        self.m.objects.push(o, GFP_KERNEL)?;
        self.name_it(top, n, *dir.fid())?;
        for (i, o) in files.iter().enumerate() {
            let o = fresh(*o.fid(), &file, Fid::default());
            let fid = o.fid;
            self.m.objects.push(o, GFP_KERNEL)?;
            self.name_it(*dir.fid(), i, fid)?;
        }
        Ok(())
    }
}
