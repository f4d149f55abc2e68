// SPDX-License-Identifier: GPL-2.0

//! Names.

use super::{content, Run};
use crate::model::{same, Id, Kind};
use kapi::prelude::{EEXIST, EISDIR};
use lustre_client::attr::{now, S_IFDIR, S_IFLNK, S_IFREG};
use lustre_client::cred::Cred;
use lustre_client::fs::{Make, OpenHow};
use stack::RW;
use std::collections::BTreeMap;

impl Run<'_> {
    pub(super) fn create(&mut self, c: usize) {
        let (dir, name) = self.place(c);
        let how = OpenHow {
            excl: self.rng.once_in(3),
            append: self.rng.once_in(3),
            ..RW
        };
        let mode = self.rng.below(0o1000) as u32;
        self.tell(c, format!("create of {name} in {dir}, {how:?}"));
        let known = self.model.child(dir, name);
        let want = match known.map(|id| &self.model.get(id).kind) {
            None => Ok(()),
            Some(Kind::File(_)) if !how.excl => Ok(()),
            Some(Kind::Dir(_)) if !how.excl => Err(EISDIR),
            Some(_) => Err(EEXIST),
        };
        let fs = &self.clients[c].fs;
        let before = now();
        let made = fs.create(
            self.fid(dir),
            name.as_bytes(),
            (mode, 0),
            how,
            &Cred::root(),
        );
        let when = (before, now());
        same(&made, &want);
        let Ok((file, known_attr)) = made else { return };
        let id = known.unwrap_or_else(|| {
            let kind = Kind::File(Vec::new());
            self.model.make((dir, name), kind, mode, file.fid(), when)
        });
        self.check(id, &fs.complete(known_attr).unwrap().attr);
        self.keep_open(c, id, file);
        self.after(dir);
    }

    /// A directory, a symlink, or a file without objects.
    pub(super) fn make(&mut self, c: usize) {
        let (dir, name) = self.place(c);
        let target = content(&mut self.rng, 20);
        let target: Vec<u8> = target.iter().map(|b| b'a' + b % 26).collect();
        let (kind, format, mode) = match self.rng.below(4) {
            0 => (Kind::Symlink(target.clone()), S_IFLNK, 0o777),
            1 => (Kind::File(Vec::new()), S_IFREG, 0o640),
            _ => (Kind::Dir(BTreeMap::new()), S_IFDIR, 0o750),
        };
        self.tell(c, format!("make of {name} in {dir}, type {format:o}"));
        let make = Make {
            mode: format | mode,
            rdev: 0,
            umask: 0,
            target: &target,
        };
        let want = self.model.is_free(dir, name);
        let fs = &self.clients[c].fs;
        let before = now();
        let made = fs.make(self.fid(dir), name.as_bytes(), &make, &Cred::root());
        let when = (before, now());
        same(&made, &want);
        let Ok(known) = made else { return };
        let id = self
            .model
            .make((dir, name), kind, mode, known.attr.fid, when);
        if format == S_IFREG && self.rng.once_in(2) {
            self.set_stripes(c, id);
        }
        self.after(dir);
        self.after(id);
    }

    /// Gives a file objects, if it has none.
    pub(super) fn set_stripes(&mut self, c: usize, id: Id) {
        let n = 1 + self.rng.below(2) as u16;
        self.tell(c, format!("{n} stripes for {id}"));
        self.clients[c].set_stripes(self.fid(id), n).unwrap();
    }

    pub(super) fn remove(&mut self, c: usize) {
        let (dir, name) = self.place(c);
        let known = self.model.child(dir, name);
        // Mostly as what it is.
        let is_dir = known.is_some_and(|id| self.model.get(id).is_dir());
        let as_dir = is_dir != self.rng.once_in(8);
        self.tell(
            c,
            format!("remove of {name} in {dir}, as a directory: {as_dir}"),
        );
        let fs = &self.clients[c].fs;
        let before = now();
        let got = fs.remove(self.fid(dir), name.as_bytes(), as_dir, &Cred::root());
        let want = self.model.remove(dir, name, as_dir, (before, now()));
        same(&got, &want);
        let Ok(ended) = want else { return };
        self.ended(ended);
        self.after(dir);
        if let (Some(id), None) = (known, ended) {
            self.after(id);
        }
    }

    pub(super) fn rename(&mut self, c: usize) {
        let (from, to) = (self.place(c), self.place(c));
        let (id, victim) = (
            self.model.child(from.0, from.1),
            self.model.child(to.0, to.1),
        );
        let over = |v: Id| self.model.get(v).is_dir() && self.model.is_within(from.0, v);
        if victim.is_some_and(over) {
            // The kernels of clients refuse that without asking.
            return;
        }
        self.tell(c, format!("rename of {from:?} to {to:?}"));
        let at = |p: (Id, &'static str)| (self.fid(p.0), p.1.as_bytes());
        let fs = &self.clients[c].fs;
        let before = now();
        let got = fs.rename(at(from), at(to), &Cred::root());
        let want = self.model.rename(from, to, (before, now()));
        same(&got, &want);
        let Ok(ended) = want else { return };
        self.ended(ended);
        let left = victim.filter(|_| ended.is_none());
        for id in [Some(from.0), Some(to.0), id, left].into_iter().flatten() {
            self.after(id);
        }
    }

    pub(super) fn link(&mut self, c: usize) {
        let Some(id) = self.any(|_| true) else { return };
        let (dir, name) = self.place(c);
        self.tell(c, format!("link of {id} as {name} in {dir}"));
        let fs = &self.clients[c].fs;
        let before = now();
        let got = fs.link(self.fid(id), self.fid(dir), name.as_bytes(), &Cred::root());
        let want = self.model.link(id, dir, name, (before, now()));
        same(&got, &want);
        self.after(dir);
        self.after(id);
    }

    pub(super) fn look_up(&mut self, c: usize) {
        let (dir, name) = self.place(c);
        self.tell(c, format!("look-up of {name} in {dir}"));
        let known = self.model.child(dir, name);
        let got = self.look(c, dir, name, known);
        if let (Some(k), Some(id)) = (got, known) {
            let whole = self.clients[c].fs.complete(k);
            self.check(id, &whole.unwrap().attr);
        }
    }

    pub(super) fn list(&mut self, c: usize) {
        let dir = self.dir(c);
        self.tell(c, format!("list of {dir}"));
        self.check_list(c, dir, true);
    }

    /// The entries of a directory; `whole`: and all about them.
    pub(super) fn check_list(&self, c: usize, dir: Id, whole: bool) {
        let (fs, root) = (&self.clients[c].fs, Cred::root());
        let d = fs.open_dir(self.fid(dir), &root).unwrap();
        let (mut at, mut got) = (0, BTreeMap::new());
        loop {
            let some = fs.read_dir(&d, at).unwrap();
            let Some(last) = some.last() else { break };
            at = last.hash + 1;
            let named = some.iter().filter(|e| e.name != b"." && e.name != b"..");
            got.extend(named.map(|e| (String::from_utf8(e.name.clone()).unwrap(), e.fid)));
        }
        let entries = self.model.get(dir).entries();
        let want = entries.iter().map(|(n, id)| (n.to_string(), self.fid(*id)));
        assert_eq!(got, want.collect(), "the entries");
        if !whole {
            return;
        }
        let names: Vec<&[u8]> = entries.keys().map(|n| n.as_bytes()).collect();
        let all = fs.lookup_many(self.fid(dir), &names, &root);
        for (k, id) in all.into_iter().zip(entries.values()) {
            self.check(*id, &k.expect("a name").attr);
        }
    }

    pub(super) fn read_link(&mut self, c: usize) {
        let Some(id) = self.any(|n| matches!(n.kind, Kind::Symlink(_))) else {
            return;
        };
        self.tell(c, format!("readlink of {id}"));
        let got = self.clients[c].fs.readlink(self.fid(id), &Cred::root());
        match &self.model.get(id).kind {
            Kind::Symlink(t) => assert_eq!(&got.unwrap(), t, "the target"),
            _ => unreachable!("it was a symlink"),
        }
    }

    /// What is gone is so for everybody. Who had it open may not have told the MDT yet that it is
    /// closed, so that it may be seen still, without a name.
    pub(super) fn ghost(&mut self, c: usize) {
        if self.gone.is_empty() {
            return;
        }
        let fid = self.gone[self.rng.below(self.gone.len())];
        self.tell(c, format!("stat of {fid}, which is gone"));
        let fs = &self.clients[c].fs;
        if let Ok(k) = fs.stat(fid, &Cred::root()) {
            assert_eq!(k.attr.nlink, 0, "the links of what is gone");
        }
        let got = fs.lookup(fid, b"a", &Cred::root());
        assert!(!matches!(got, Ok(Some(_))), "a name in what is gone");
    }
}
