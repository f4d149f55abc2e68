// SPDX-License-Identifier: GPL-2.0

//! Transactions that check that what is done was planned for: of debug builds and of tests.

use crate::{Callback, Create, Fid, Journal, ObjectRef, SetAttr};
use core::ffi::CStr;
use core::fmt;
use kapi::prelude::*;

/// What was planned for an object, less what has been done.
#[derive(Default)]
struct Planned {
    create: bool,
    destroy: bool,
    /// Something that locks it.
    lock: bool,
    ids: KVec<(u8, u32)>,
    xattrs: KVec<usize>,
    /// Names of those that were set: once more costs nothing.
    xattrs_set: KVec<KVec<u8>>,
    writes: KVec<(u64, u64)>,
    records: usize,
    remotes: usize,
}

impl Planned {
    /// Takes the smallest xattr that was planned and has room for `len` bytes.
    fn take_xattr(&mut self, name: &CStr, len: usize) -> Result<bool> {
        let name = name.to_bytes();
        if self.xattrs_set.iter().any(|n| **n == *name) {
            return Ok(true);
        }
        let fits = self.xattrs.iter().enumerate().filter(|(_, l)| **l >= len);
        let Some((i, _)) = fits.min_by_key(|(_, l)| **l) else {
            return Ok(false);
        };
        self.xattrs.remove(i).map_err(|_| EINVAL)?;
        let mut copy = KVec::new();
        copy.extend_from_slice(name, GFP_KERNEL)?;
        self.xattrs_set.push(copy, GFP_KERNEL)?;
        Ok(true)
    }
}

/// How a misuse is complained of: in the log by the kernel's, with a panic by that of tests.
pub type Complain = fn(fmt::Arguments<'_>);

/// A transaction that is checked. What was not planned for is complained of, and fails with
/// `EINVAL`; nothing of it is done.
pub struct Checked<J> {
    inner: J,
    complain: Complain,
    planned: KVec<(Fid, Planned)>,
    inserts: KVec<(Fid, Fid)>,
    removes: KVec<(Fid, KVec<u8>)>,
}

impl<J: Journal> Checked<J> {
    /// The checks around `inner`.
    pub fn new(inner: J, complain: Complain) -> Checked<J> {
        Checked {
            inner,
            complain,
            planned: KVec::new(),
            inserts: KVec::new(),
            removes: KVec::new(),
        }
    }

    fn plan(&mut self, fid: &Fid) -> Result<&mut Planned> {
        let at = match self.planned.iter().position(|(f, _)| f == fid) {
            Some(at) => at,
            None => {
                let new = (*fid, Planned::default());
                self.planned.push(new, GFP_KERNEL)?;
                self.planned.len() - 1
            }
        };
        self.planned.get_mut(at).map(|(_, p)| p).ok_or(EINVAL)
    }

    fn lock(&mut self, o: &ObjectRef) -> Result<&mut Planned> {
        let p = self.plan(o.fid())?;
        p.lock = true;
        Ok(p)
    }

    fn refuse<T>(&self, what: fmt::Arguments<'_>) -> Result<T> {
        (self.complain)(what);
        Err(EINVAL)
    }

    /// Whether something was planned for `o`, which `test` takes.
    fn require(
        &mut self,
        o: &ObjectRef,
        what: fmt::Arguments<'_>,
        test: impl FnOnce(&mut Planned) -> Result<bool>,
    ) -> Result {
        let found = self.planned.iter_mut().find(|(f, _)| f == o.fid());
        match found.map_or(Ok(false), |(_, p)| test(p))? {
            true => Ok(()),
            false => self.refuse(format_args!("{}: {what} was not planned for", o.fid())),
        }
    }

    fn require_lock(&mut self, o: &ObjectRef, what: &str) -> Result {
        self.require(o, format_args!("{what}"), |p| Ok(p.lock))
    }

    fn require_record(&mut self, o: &ObjectRef) -> Result {
        self.require(o, format_args!("one more record"), |p| {
            let left = p.records.checked_sub(1);
            p.records = left.unwrap_or(0);
            Ok(left.is_some())
        })
    }
}

impl<J: Journal> Journal for Checked<J> {
    fn plan_create(
        &mut self,
        o: &ObjectRef,
        what: &Create<'_>,
        near: Option<(&ObjectRef, &[u8])>,
    ) -> Result {
        self.inner.plan_create(o, what, near)?;
        self.lock(o)?.create = true;
        if let Some((dir, _)) = near {
            self.lock(dir)?;
        }
        Ok(())
    }

    fn plan_destroy(&mut self, o: &ObjectRef) -> Result {
        self.inner.plan_destroy(o)?;
        self.lock(o)?.destroy = true;
        Ok(())
    }

    fn plan_insert(&mut self, dir: &ObjectRef, o: &ObjectRef) -> Result {
        self.inner.plan_insert(dir, o)?;
        self.lock(dir)?;
        self.lock(o)?;
        self.inserts.push((*dir.fid(), *o.fid()), GFP_KERNEL)?;
        Ok(())
    }

    fn plan_insert_remote(&mut self, dir: &ObjectRef) -> Result {
        self.inner.plan_insert_remote(dir)?;
        self.lock(dir)?.remotes += 1;
        Ok(())
    }

    fn plan_remove(&mut self, dir: &ObjectRef, name: &[u8]) -> Result {
        self.inner.plan_remove(dir, name)?;
        self.lock(dir)?;
        self.plan(&dir.lookup(name)?)?.lock = true;
        let mut copy = KVec::new();
        copy.extend_from_slice(name, GFP_KERNEL)?;
        self.removes.push((*dir.fid(), copy), GFP_KERNEL)?;
        Ok(())
    }

    fn plan_attr(&mut self, o: &ObjectRef, set: &SetAttr) -> Result {
        self.inner.plan_attr(o, set)?;
        let p = self.lock(o)?;
        for (kind, id) in owners(set) {
            p.ids.push((kind, id), GFP_KERNEL)?;
        }
        Ok(())
    }

    fn plan_xattr(&mut self, o: &ObjectRef, len: usize) -> Result {
        self.inner.plan_xattr(o, len)?;
        self.lock(o)?.xattrs.push(len, GFP_KERNEL)?;
        Ok(())
    }

    fn plan_write(&mut self, o: &ObjectRef, off: u64, len: usize) -> Result {
        self.inner.plan_write(o, off, len)?;
        let end = off.saturating_add(len as u64);
        self.plan(o.fid())?.writes.push((off, end), GFP_KERNEL)?;
        Ok(())
    }

    fn plan_append(&mut self, o: &ObjectRef, len: usize) -> Result {
        self.inner.plan_append(o, len)?;
        let end = o.attr().map_or(0, |a| a.size);
        let p = self.plan(o.fid())?;
        p.writes.push((end, u64::MAX), GFP_KERNEL)?;
        Ok(())
    }

    fn plan_record(&mut self, o: &ObjectRef) -> Result {
        self.inner.plan_record(o)?;
        self.plan(o.fid())?.records += 1;
        Ok(())
    }

    fn start(&mut self) -> Result {
        self.inner.start()
    }

    fn create(
        &mut self,
        o: &ObjectRef,
        what: &Create<'_>,
        near: Option<(&ObjectRef, &[u8])>,
    ) -> Result {
        self.require(o, format_args!("create"), |p| Ok(p.create))?;
        self.inner.create(o, what, near)
    }

    fn destroy(&mut self, o: &ObjectRef) -> Result {
        self.require(o, format_args!("destroy"), |p| Ok(p.destroy))?;
        self.inner.destroy(o)
    }

    fn insert(&mut self, dir: &ObjectRef, name: &[u8], o: &ObjectRef) -> Result {
        if !self.inserts.contains(&(*dir.fid(), *o.fid())) {
            let (dir, o) = (dir.fid(), o.fid());
            return self.refuse(format_args!("{dir}: insert of {o} was not planned for"));
        }
        self.inner.insert(dir, name, o)
    }

    fn insert_remote(&mut self, dir: &ObjectRef, name: &[u8], fid: &Fid, mode: u32) -> Result {
        self.require(dir, format_args!("one more remote name"), |p| {
            let left = p.remotes.checked_sub(1);
            p.remotes = left.unwrap_or(0);
            Ok(left.is_some())
        })?;
        self.inner.insert_remote(dir, name, fid, mode)
    }

    fn remove(&mut self, dir: &ObjectRef, name: &[u8]) -> Result {
        let planned = |(d, n): &(Fid, KVec<u8>)| d == dir.fid() && **n == *name;
        if !self.removes.iter().any(planned) {
            let (dir, name) = (dir.fid(), name.escape_ascii());
            return self.refuse(format_args!("{dir}: remove of {name} was not planned for"));
        }
        self.inner.remove(dir, name)
    }

    fn ref_add(&mut self, o: &ObjectRef) -> Result {
        self.require_lock(o, "ref_add")?;
        self.inner.ref_add(o)
    }

    fn ref_del(&mut self, o: &ObjectRef) -> Result {
        self.require_lock(o, "ref_del")?;
        self.inner.ref_del(o)
    }

    fn set_attr(&mut self, o: &ObjectRef, set: &SetAttr) -> Result {
        self.require_lock(o, "set_attr")?;
        // Root's usage is always at hand.
        for owner in owners(set).filter(|(_, id)| *id != 0) {
            self.require(o, format_args!("id {}", owner.1), |p| {
                Ok(p.ids.contains(&owner))
            })?;
        }
        self.inner.set_attr(o, set)
    }

    fn set_xattr(&mut self, o: &ObjectRef, name: &CStr, value: Option<&[u8]>) -> Result {
        let len = value.map_or(0, <[u8]>::len);
        self.require(o, format_args!("{name:?} of {len} bytes"), |p| {
            p.take_xattr(name, len)
        })?;
        self.inner.set_xattr(o, name, value)
    }

    fn write(&mut self, o: &ObjectRef, off: u64, data: &[u8]) -> Result {
        let end = off.checked_add(data.len() as u64).ok_or(EFBIG)?;
        self.require(o, format_args!("a write at {off} to {end}"), |p| {
            Ok(p.writes.iter().any(|(from, to)| *from <= off && end <= *to))
        })?;
        self.inner.write(o, off, data)
    }

    fn index_make(&mut self, o: &ObjectRef, key: usize, rec: usize) -> Result {
        self.require_record(o)?;
        self.inner.index_make(o, key, rec)
    }

    fn index_insert(&mut self, o: &ObjectRef, key: &[u8], rec: &[u8]) -> Result {
        self.require_record(o)?;
        self.inner.index_insert(o, key, rec)
    }

    fn index_update(&mut self, o: &ObjectRef, key: &[u8], rec: &[u8]) -> Result {
        self.require_record(o)?;
        self.inner.index_update(o, key, rec)
    }

    fn index_delete(&mut self, o: &ObjectRef, key: &[u8]) -> Result {
        self.require_record(o)?;
        self.inner.index_delete(o, key)
    }

    fn on_commit(&mut self, call: Callback) -> Result {
        self.inner.on_commit(call)
    }

    fn set_sync(&mut self) {
        self.inner.set_sync();
    }

    fn stop(&mut self) -> Result {
        self.inner.stop()
    }
}

/// The owners that are set, each with its kind.
fn owners(set: &SetAttr) -> impl Iterator<Item = (u8, u32)> {
    let all = [(0, set.uid), (1, set.gid), (2, set.projid)];
    all.into_iter().filter_map(|(kind, id)| Some((kind, id?)))
}
