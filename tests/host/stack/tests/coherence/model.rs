// SPDX-License-Identifier: GPL-2.0

//! What a tree of files has to be like: no caches, no clients, one thing after the other.

use kapi::prelude::{Error, EAGAIN, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM};
use lustre_client::fs::LockKind;
use lustre_client::Result;
use std::collections::BTreeMap;
use wire::fid::Fid;

/// Number of a node.
pub type Id = usize;
/// Who holds file locks: which client, which owner of it.
pub type Owner = (usize, u64);

/// Bytes that file locks are taken of.
pub const LOCKED: usize = 12;

/// What a node is.
pub enum Kind {
    File(Vec<u8>),
    Dir(BTreeMap<&'static str, Id>),
    Symlink(Vec<u8>),
}

/// A file, directory or symlink.
pub struct Node {
    pub fid: Fid,
    pub kind: Kind,
    pub mode: u32,
    pub owner: (u32, u32),
    pub nlink: u32,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The time of the last change of the content is between these, seconds.
    pub mtime: (i64, i64),
    /// That of the last change at all is not before this.
    pub ctime: i64,
    pub opens: u32,
    locks: [BTreeMap<Owner, LockKind>; LOCKED],
}

impl Node {
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir(_))
    }

    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File(_))
    }

    pub fn data(&mut self) -> &mut Vec<u8> {
        match &mut self.kind {
            Kind::File(d) => d,
            _ => panic!("no file"),
        }
    }

    pub fn entries(&self) -> &BTreeMap<&'static str, Id> {
        match &self.kind {
            Kind::Dir(d) => d,
            _ => panic!("no directory"),
        }
    }

    fn entries_mut(&mut self) -> &mut BTreeMap<&'static str, Id> {
        match &mut self.kind {
            Kind::Dir(d) => d,
            _ => panic!("no directory"),
        }
    }

    /// Whether somebody else's lock is in the way of this one, at one byte.
    fn conflict(&self, at: usize, who: Owner, kind: LockKind) -> bool {
        self.locks[at]
            .iter()
            .any(|(o, k)| *o != who && (kind == LockKind::Write || *k == LockKind::Write))
    }

    /// Whether that lock could be had.
    pub fn can_lock(&self, range: (usize, usize), who: Owner, kind: LockKind) -> bool {
        kind == LockKind::Unlock || !(range.0..=range.1).any(|b| self.conflict(b, who, kind))
    }

    /// Takes a lock or gives it back.
    pub fn lock(&mut self, range: (usize, usize), who: Owner, kind: LockKind) -> Result<()> {
        if !self.can_lock(range, who, kind) {
            return Err(EAGAIN);
        }
        for b in range.0..=range.1 {
            match kind {
                LockKind::Unlock => self.locks[b].remove(&who),
                k => self.locks[b].insert(who, k),
            };
        }
        Ok(())
    }

    /// Whether `who` has such a lock at a byte.
    pub fn has_lock(&self, at: usize, who: Owner, kind: LockKind) -> bool {
        self.locks[at].get(&who) == Some(&kind)
    }
}

/// The tree.
pub struct Model {
    nodes: BTreeMap<Id, Node>,
    next: Id,
}

/// The root's number.
pub const ROOT: Id = 0;

impl Model {
    pub fn new(fid: Fid) -> Model {
        let mut m = Model {
            nodes: BTreeMap::new(),
            next: 0,
        };
        m.add(Kind::Dir(BTreeMap::new()), 0o755, fid, (0, i64::MAX));
        m
    }

    pub fn get(&self, id: Id) -> &Node {
        &self.nodes[&id]
    }

    pub fn get_mut(&mut self, id: Id) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node")
    }

    pub fn child(&self, dir: Id, name: &str) -> Option<Id> {
        self.get(dir).entries().get(name).copied()
    }

    fn add(&mut self, kind: Kind, mode: u32, fid: Fid, when: (i64, i64)) -> Id {
        let nlink = match kind {
            Kind::Dir(_) => 2,
            _ => 1,
        };
        let node = Node {
            fid,
            kind,
            mode,
            owner: (0, 0),
            nlink,
            xattrs: BTreeMap::new(),
            mtime: when,
            ctime: when.0,
            opens: 0,
            locks: Default::default(),
        };
        self.nodes.insert(self.next, node);
        self.next += 1;
        self.next - 1
    }

    /// The content of a directory changed.
    fn touch(&mut self, dir: Id, when: (i64, i64)) {
        let n = self.get_mut(dir);
        n.mtime = when;
        n.ctime = when.0;
    }

    /// Whether a new name may be given.
    pub fn is_free(&self, dir: Id, name: &str) -> Result<()> {
        match self.child(dir, name) {
            Some(_) => Err(EEXIST),
            None => Ok(()),
        }
    }

    /// Something new, of a name that is free.
    pub fn make(
        &mut self,
        (dir, name): (Id, &'static str),
        kind: Kind,
        mode: u32,
        fid: Fid,
        when: (i64, i64),
    ) -> Id {
        let is_dir = matches!(kind, Kind::Dir(_));
        let id = self.add(kind, mode, fid, when);
        let d = self.get_mut(dir);
        d.nlink += u32::from(is_dir);
        let before = d.entries_mut().insert(name, id);
        assert_eq!(before, None);
        self.touch(dir, when);
        id
    }

    /// Another name.
    pub fn link(&mut self, id: Id, dir: Id, name: &'static str, when: (i64, i64)) -> Result<()> {
        if self.get(id).is_dir() {
            return Err(EPERM);
        }
        self.is_free(dir, name)?;
        let n = self.get_mut(id);
        n.nlink += 1;
        n.ctime = when.0;
        self.get_mut(dir).entries_mut().insert(name, id);
        self.touch(dir, when);
        Ok(())
    }

    /// Whether a name can be removed as a directory's, or as another thing's.
    fn removable(&self, id: Id, as_dir: bool) -> Result<()> {
        match (&self.get(id).kind, as_dir) {
            (Kind::Dir(d), true) if d.is_empty() => Ok(()),
            (Kind::Dir(_), true) => Err(ENOTEMPTY),
            (Kind::Dir(_), false) => Err(EISDIR),
            (_, true) => Err(ENOTDIR),
            (_, false) => Ok(()),
        }
    }

    /// Takes a name away. The FID, if that was the end of a node.
    pub fn remove(
        &mut self,
        dir: Id,
        name: &str,
        as_dir: bool,
        when: (i64, i64),
    ) -> Result<Option<Fid>> {
        let id = self.child(dir, name).ok_or(ENOENT)?;
        self.removable(id, as_dir)?;
        self.get_mut(dir).entries_mut().remove(name);
        self.touch(dir, when);
        Ok(self.unname(id, dir, when))
    }

    fn unname(&mut self, id: Id, dir: Id, when: (i64, i64)) -> Option<Fid> {
        if self.get(id).is_dir() {
            self.get_mut(dir).nlink -= 1;
            self.get_mut(id).nlink = 0;
        } else {
            let n = self.get_mut(id);
            n.nlink -= 1;
            n.ctime = when.0;
        }
        self.reap(id)
    }

    /// A node that has neither names nor users ends.
    pub fn reap(&mut self, id: Id) -> Option<Fid> {
        let n = self.get(id);
        if n.nlink > 0 || n.opens > 0 {
            return None;
        }
        self.nodes.remove(&id).map(|n| n.fid)
    }

    /// Whether `id` is `dir` or in it, at whatever depth.
    pub fn is_within(&self, id: Id, dir: Id) -> bool {
        id == dir
            || self
                .get(dir)
                .entries()
                .values()
                .any(|c| self.get(*c).is_dir() && self.is_within(id, *c))
    }

    /// Renames. The FID of what ended by that.
    pub fn rename(
        &mut self,
        from: (Id, &'static str),
        to: (Id, &'static str),
        when: (i64, i64),
    ) -> Result<Option<Fid>> {
        let id = self.child(from.0, from.1).ok_or(ENOENT)?;
        let is_dir = self.get(id).is_dir();
        if is_dir && self.is_within(to.0, id) {
            return Err(EINVAL);
        }
        let victim = self.child(to.0, to.1);
        if victim == Some(id) {
            return Ok(None);
        }
        if let Some(v) = victim {
            self.removable(v, is_dir)?;
        }
        let mut gone = None;
        if let Some(v) = victim {
            self.get_mut(to.0).entries_mut().remove(to.1);
            gone = self.unname(v, to.0, when);
        }
        self.get_mut(from.0).entries_mut().remove(from.1);
        self.get_mut(to.0).entries_mut().insert(to.1, id);
        if is_dir {
            self.get_mut(from.0).nlink -= 1;
            self.get_mut(to.0).nlink += 1;
        }
        self.get_mut(id).ctime = when.0;
        self.touch(from.0, when);
        self.touch(to.0, when);
        Ok(gone)
    }

    /// All directories, with the names that lead there.
    pub fn dirs(&self) -> Vec<(Id, Vec<&'static str>)> {
        let mut out: Vec<(Id, Vec<&'static str>)> = vec![(ROOT, Vec::new())];
        let mut at = 0;
        while let Some((id, path)) = out.get(at).cloned() {
            for (name, c) in self.get(id).entries() {
                if self.get(*c).is_dir() {
                    let mut p = path.clone();
                    p.push(*name);
                    out.push((*c, p));
                }
            }
            at += 1;
        }
        out
    }
}

/// The same error, or none in both cases.
pub fn same<T, U>(got: &Result<T>, want: &Result<U>) {
    let error = |e: Option<&Error>| e.copied();
    assert_eq!(
        error(got.as_ref().err()),
        error(want.as_ref().err()),
        "the error"
    );
}
