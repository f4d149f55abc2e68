// SPDX-License-Identifier: GPL-2.0

//! Transactions.

use crate::commit::{in_transaction, set_in_transaction};
use crate::device::Shared;
use crate::node::{position, Content, Index, Inode, Named, Node};
use crate::object::MemoryObject;
use crate::place::{self, Place};
use crate::Fid;
use core::ffi::CStr;
use kapi::prelude::*;
use osd::{settable_flags, Callback, Create, Journal, ObjectRef, SetAttr};
use std::collections::{BTreeMap, BTreeSet};

/// Directories with more links than this count as having one.
const LINK_MAX: u32 = 65000;
const NAME_MAX: usize = 255;
const XATTR_MAX: usize = 65536;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Plan,
    Run,
    Done,
}

/// A transaction, from plan to end.
pub(crate) struct Running {
    shared: std::sync::Arc<Shared>,
    phase: Phase,
    /// What is locked, in order: so two transactions do not wait for each other.
    locks: BTreeSet<Fid>,
    /// What had the names that are removed.
    removes: BTreeMap<(Fid, Vec<u8>), Fid>,
    locked: Vec<std::sync::Arc<Node>>,
    /// Made here, and without a name yet.
    nameless: Vec<std::sync::Arc<Node>>,
    callbacks: Vec<Callback>,
    failed: bool,
    sync: bool,
}

fn node(o: &ObjectRef) -> &std::sync::Arc<Node> {
    match o.as_any().downcast_ref::<MemoryObject>() {
        Some(o) => &o.node,
        None => panic!("{}: an object of another store", o.fid()),
    }
}

impl Running {
    pub(crate) fn new(shared: &std::sync::Arc<Shared>) -> Running {
        Running {
            shared: shared.clone(),
            phase: Phase::Plan,
            locks: BTreeSet::new(),
            removes: BTreeMap::new(),
            locked: Vec::new(),
            nameless: Vec::new(),
            callbacks: Vec::new(),
            failed: false,
            sync: false,
        }
    }

    fn lock(&mut self, o: &ObjectRef) {
        self.locks.insert(node(o).fid);
    }

    fn note<T>(&mut self, r: Result<T>) -> Result<T> {
        self.failed |= r.is_err();
        r
    }

    fn changed<R>(&self, o: &ObjectRef, f: impl FnOnce(&mut Inode) -> Result<R>) -> Result<R> {
        node(o).with(|i| {
            let r = f(i);
            self.shared.recount(i);
            r
        })
    }

    fn do_create(&mut self, o: &ObjectRef, what: &Create<'_>) -> Result {
        let fid = *o.fid();
        let n = node(o).clone();
        let mut slot = n.inode();
        if slot.is_some() {
            return Err(EEXIST);
        }
        let named = place::root_name(&fid);
        let place = self.shared.place(&fid);
        let inode = self.shared.make(&fid, what, self.shared.root.fid)?;
        if let Some(name) = named {
            let ty = (what.mode >> 12) & 0xf;
            let at = (position(name.as_bytes()), name.as_bytes().to_vec());
            let taken = self.shared.root.with(|r| {
                let names = &mut r.dir()?.names;
                Ok(names.contains_key(&at) || names.insert(at, Named { fid, ty }).is_some())
            })?;
            if taken {
                self.shared.free(inode);
                return Err(EEXIST);
            }
        }
        *slot = Some(inode);
        drop(slot);
        if place == Place::Index && named.is_none() {
            self.nameless.push(n);
        }
        Ok(())
    }

    fn do_insert(&mut self, dir: &ObjectRef, name: &[u8], o: &ObjectRef) -> Result {
        let (d, n) = (node(dir), node(o));
        let (ty, is_dir) = n.with(|i| Ok(((i.attr.mode >> 12) & 0xf, i.attr.is_dir())))?;
        if name == b"." || name == b".." {
            d.with(|i| i.dir().map(drop))?;
            return if name == b".." || dir.fid() == o.fid() {
                Ok(())
            } else {
                Err(EINVAL)
            };
        }
        if name.is_empty() || name.contains(&0) || name.contains(&b'/') {
            return Err(EINVAL);
        }
        if name.len() > NAME_MAX {
            return Err(ENAMETOOLONG);
        }
        let fid = *o.fid();
        d.with(|i| {
            let names = &mut i.dir()?.names;
            let at = (position(name), name.to_vec());
            if let Some(old) = names.get(&at) {
                // A file with a fixed number has its name from the start.
                let own = place::root_name(&fid).map(str::as_bytes) == Some(name);
                return if own && old.fid == fid {
                    Ok(())
                } else {
                    Err(EEXIST)
                };
            }
            names.insert(at, Named { fid, ty });
            Ok(())
        })?;
        if is_dir {
            n.with(|i| {
                i.dir()?.parent = *dir.fid();
                Ok(())
            })?;
        }
        self.nameless.retain(|x| x.fid != fid);
        Ok(())
    }

    fn do_destroy(&mut self, o: &ObjectRef) -> Result {
        let n = node(o).clone();
        let mut slot = n.inode();
        let inode = slot.as_mut().ok_or(ENOENT)?;
        if let Content::Dir(d) = &inode.content {
            if !d.names.is_empty() {
                return Err(ENOTEMPTY);
            }
        }
        if let Some(inode) = slot.take() {
            self.shared.free(inode);
        }
        if let Some(name) = place::root_name(o.fid()) {
            self.shared.root.with(|r| {
                let at = (position(name.as_bytes()), name.as_bytes().to_vec());
                r.dir()?.names.remove(&at);
                Ok(())
            })?;
        }
        self.nameless.retain(|x| x.fid != n.fid);
        Ok(())
    }

    /// Ends it. `Err` has what was never given a name.
    fn finish(&mut self) -> Result<(), Fid> {
        let mut result = Ok(());
        for n in std::mem::take(&mut self.nameless) {
            if let Some(inode) = n.inode().take() {
                self.shared.free(inode);
            }
            result = Err(n.fid);
        }
        self.phase = Phase::Done;
        set_in_transaction(false);
        for n in self.locked.drain(..) {
            n.unlock();
        }
        self.shared.commits.add(std::mem::take(&mut self.callbacks));
        if self.sync {
            self.shared.commits.sync();
        }
        result
    }
}

impl Journal for Running {
    fn plan_create(
        &mut self,
        o: &ObjectRef,
        _what: &Create<'_>,
        near: Option<(&ObjectRef, &[u8])>,
    ) -> Result {
        if matches!(self.shared.place(o.fid()), Place::Root | Place::Accounting) {
            return Err(EOPNOTSUPP);
        }
        self.lock(o);
        if let Some((dir, _)) = near {
            self.lock(dir);
        }
        Ok(())
    }

    fn plan_destroy(&mut self, o: &ObjectRef) -> Result {
        if !o.exists() {
            return Err(ENOENT);
        }
        if matches!(
            self.shared.place(o.fid()),
            Place::Root | Place::LastId(_) | Place::Accounting
        ) {
            return Err(EOPNOTSUPP);
        }
        self.lock(o);
        Ok(())
    }

    fn plan_insert(&mut self, dir: &ObjectRef, o: &ObjectRef) -> Result {
        self.lock(dir);
        self.lock(o);
        Ok(())
    }

    fn plan_insert_remote(&mut self, dir: &ObjectRef) -> Result {
        self.lock(dir);
        Ok(())
    }

    fn plan_remove(&mut self, dir: &ObjectRef, name: &[u8]) -> Result {
        let fid = dir.lookup(name)?;
        self.lock(dir);
        self.locks.insert(fid);
        self.removes.insert((*dir.fid(), name.to_vec()), fid);
        Ok(())
    }

    fn plan_attr(&mut self, o: &ObjectRef, _: &SetAttr) -> Result {
        self.lock(o);
        Ok(())
    }

    fn plan_xattr(&mut self, o: &ObjectRef, _: usize) -> Result {
        self.lock(o);
        Ok(())
    }

    fn plan_write(&mut self, _: &ObjectRef, _: u64, _: usize) -> Result {
        Ok(())
    }

    fn plan_append(&mut self, _: &ObjectRef, _: usize) -> Result {
        Ok(())
    }

    fn plan_record(&mut self, _: &ObjectRef) -> Result {
        Ok(())
    }

    fn start(&mut self) -> Result {
        if in_transaction() {
            return Err(EDEADLK);
        }
        for fid in &self.locks {
            let n = self.shared.node(fid);
            n.lock();
            self.locked.push(n);
        }
        set_in_transaction(true);
        self.phase = Phase::Run;
        Ok(())
    }

    fn create(
        &mut self,
        o: &ObjectRef,
        what: &Create<'_>,
        _near: Option<(&ObjectRef, &[u8])>,
    ) -> Result {
        let r = self.do_create(o, what);
        self.note(r)
    }

    fn destroy(&mut self, o: &ObjectRef) -> Result {
        let r = self.do_destroy(o);
        self.note(r)
    }

    fn insert(&mut self, dir: &ObjectRef, name: &[u8], o: &ObjectRef) -> Result {
        let r = self.do_insert(dir, name, o);
        self.note(r)
    }

    fn insert_remote(&mut self, dir: &ObjectRef, name: &[u8], fid: &Fid, mode: u32) -> Result {
        let ty = (mode >> 12) & 0xf;
        let r = node(dir).with(|i| {
            let names = &mut i.dir()?.names;
            let at = (position(name), name.to_vec());
            match (ty, names.contains_key(&at)) {
                (0, _) => Err(EINVAL),
                (_, true) => Err(EEXIST),
                _ => {
                    names.insert(at, Named { fid: *fid, ty });
                    Ok(())
                }
            }
        });
        self.note(r)
    }

    fn remove(&mut self, dir: &ObjectRef, name: &[u8]) -> Result {
        let planned = self.removes.get(&(*dir.fid(), name.to_vec()));
        let planned = planned.ok_or(EINVAL)?;
        if name == b"." || name == b".." {
            return Ok(());
        }
        let r = node(dir).with(|i| {
            let names = &mut i.dir()?.names;
            let at = (position(name), name.to_vec());
            let found = names.get(&at).ok_or(ENOENT)?;
            if found.fid != *planned {
                return Err(EAGAIN);
            }
            names.remove(&at);
            Ok(())
        });
        self.note(r)
    }

    fn ref_add(&mut self, o: &ObjectRef) -> Result {
        let r = self.changed(o, |i| {
            let n = &mut i.attr.nlink;
            match i.content {
                // Too many to count.
                Content::Dir(_) if *n == 1 => {}
                Content::Dir(_) if *n >= LINK_MAX => *n = 1,
                _ if *n >= LINK_MAX => return Err(EMLINK),
                _ => *n += 1,
            }
            Ok(())
        });
        self.note(r)
    }

    fn ref_del(&mut self, o: &ObjectRef) -> Result {
        let r = self.changed(o, |i| {
            if !(i.attr.is_dir() && i.attr.nlink == 1) {
                i.attr.nlink = i.attr.nlink.checked_sub(1).ok_or(EINVAL)?;
            }
            Ok(())
        });
        self.note(r)
    }

    fn set_attr(&mut self, o: &ObjectRef, set: &SetAttr) -> Result {
        if set.version.is_some_and(|v| v > i64::MAX as u64) {
            return self.note(Err(EINVAL));
        }
        let shared = self.shared.clone();
        let r = self.changed(o, |i| {
            let blocks = i.attr.blocks as i64 / 8;
            shared.space().add(i.owners(), -blocks, -1);
            let a = &mut i.attr;
            a.mode = set
                .mode
                .map_or(a.mode, |m| a.mode & osd::S_IFMT | m & !osd::S_IFMT);
            a.uid = set.uid.unwrap_or(a.uid);
            a.gid = set.gid.unwrap_or(a.gid);
            a.projid = set.projid.unwrap_or(a.projid);
            a.atime = set.atime.unwrap_or(a.atime);
            a.mtime = set.mtime.unwrap_or(a.mtime);
            a.ctime = set.ctime.unwrap_or(a.ctime);
            a.version = set.version.unwrap_or(a.version);
            let settable = settable_flags(a.mode);
            a.flags = set
                .flags
                .map_or(a.flags, |f| a.flags & !settable | f & settable);
            shared.space().add(i.owners(), blocks, 1);
            Ok(())
        });
        self.note(r)
    }

    fn set_xattr(&mut self, o: &ObjectRef, name: &CStr, value: Option<&[u8]>) -> Result {
        let r = self.changed(o, |i| {
            let known = [
                &b"user."[..],
                b"trusted.",
                b"security.",
                b"system.posix_acl_",
            ];
            if !known.iter().any(|k| name.to_bytes().starts_with(k)) {
                return Err(EOPNOTSUPP);
            }
            match value {
                Some(v) if v.len() > XATTR_MAX => return Err(E2BIG),
                Some(v) => drop(i.xattrs.insert(name.to_owned(), v.to_vec())),
                None => drop(i.xattrs.remove(name).ok_or(ENODATA)?),
            }
            Ok(())
        });
        self.note(r)
    }

    fn write(&mut self, o: &ObjectRef, off: u64, data: &[u8]) -> Result {
        let end = off.checked_add(data.len() as u64).ok_or(EFBIG)?;
        let shared = self.shared.clone();
        let r = self.changed(o, |i| {
            let old = i.count();
            let size = usize::try_from(end).map_err(|_| EFBIG)?;
            let v = i.small()?;
            if size > v.len() {
                shared.room(end.div_ceil(4096).saturating_sub(old))?;
                v.resize(size, 0);
            }
            let off = size - data.len();
            v[off..size].copy_from_slice(data);
            i.attr.size = v.len() as u64;
            Ok(())
        });
        self.note(r)
    }

    fn index_make(&mut self, o: &ObjectRef, key: usize, rec: usize) -> Result {
        let r = self.changed(o, |i| {
            if !matches!(i.content, Content::Closed) || key == 0 {
                return Err(EINVAL);
            }
            i.content = Content::Index(Index {
                key,
                rec,
                records: BTreeMap::new(),
            });
            i.attr.size = 8192;
            Ok(())
        });
        self.note(r)
    }

    fn index_insert(&mut self, o: &ObjectRef, key: &[u8], rec: &[u8]) -> Result {
        let r = self.changed(o, |i| {
            let index = i.index()?;
            if key.len() != index.key || rec.len() != index.rec {
                return Err(EINVAL);
            }
            if index.records.contains_key(key) {
                return Err(EEXIST);
            }
            index.records.insert(key.to_vec(), rec.to_vec());
            i.attr.size = i.count() * 4096;
            Ok(())
        });
        self.note(r)
    }

    fn index_update(&mut self, o: &ObjectRef, key: &[u8], rec: &[u8]) -> Result {
        let r = self.changed(o, |i| {
            let index = i.index()?;
            if key.len() != index.key || rec.len() != index.rec {
                return Err(EINVAL);
            }
            let old = index.records.get_mut(key).ok_or(ENOENT)?;
            old.copy_from_slice(rec);
            Ok(())
        });
        self.note(r)
    }

    fn index_delete(&mut self, o: &ObjectRef, key: &[u8]) -> Result {
        let r = self.changed(o, |i| {
            let index = i.index()?;
            if key.len() != index.key {
                return Err(EINVAL);
            }
            index.records.remove(key).map(drop).ok_or(ENOENT)
        });
        self.note(r)
    }

    fn on_commit(&mut self, call: Callback) -> Result {
        assert!(
            self.phase == Phase::Run,
            "on_commit outside of a transaction"
        );
        self.callbacks.push(call);
        Ok(())
    }

    fn set_sync(&mut self) {
        self.sync = true;
    }

    fn stop(&mut self) -> Result {
        let failed = self.failed;
        if let Err(fid) = self.finish() {
            assert!(failed, "{fid}: made, but without a name or a place");
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.phase == Phase::Run {
            // Nobody is left to hear of it.
            let _ = self.finish();
        }
    }
}
