// SPDX-License-Identifier: GPL-2.0

//! Attributes, xattrs and file locks.

use super::{content, file_lock, Run};
use crate::model::{same, Id, Kind, LOCKED};
use kapi::prelude::{EEXIST, ENODATA};
use lustre_client::attr::now;
use lustre_client::cred::Cred;
use lustre_client::fs::{Change, LockKind};

const XATTRS: [&str; 3] = ["user.a", "user.b", "user.c"];

impl Run<'_> {
    pub(super) fn look_at(&mut self, c: usize) {
        if let Some(id) = self.any(|_| true) {
            self.tell(c, format!("stat of {id}"));
            self.stat(c, id);
        }
    }

    pub(super) fn set(&mut self, c: usize) {
        let Some(id) = self.any(|n| !matches!(n.kind, Kind::Symlink(_))) else {
            return;
        };
        let mut change = Change::default();
        match self.rng.below(3) {
            0 => change.mode = Some(self.rng.below(0o1000) as u32),
            1 => (change.uid, change.gid) = (Some(self.rng.below(9) as u32), Some(7)),
            // Not in the future: objects keep their own time, and the latest counts.
            _ => change.mtime = Some(Some(1_000_000 + self.rng.below(1000) as i64)),
        }
        self.tell(c, format!("{change:?} of {id}"));
        let before = now();
        let fs = &self.clients[c].fs;
        let got = fs.setattr(self.fid(id), &change, &Cred::root());
        let n = self.model.get_mut(id);
        n.ctime = before;
        n.mode = change.mode.unwrap_or(n.mode);
        n.owner = match (change.uid, change.gid) {
            (Some(u), Some(g)) => (u, g),
            _ => n.owner,
        };
        if let Some(Some(t)) = change.mtime {
            n.mtime = (t, t);
        }
        self.check(id, &got.unwrap());
        self.after(id);
    }

    /// An xattr as a client sees it.
    fn check_xattr(&mut self, c: usize, id: Id, name: &str) {
        self.tell(c, format!("{name} of {id}"));
        let fs = &self.clients[c].fs;
        let got = fs.get_xattr(self.fid(id), name.as_bytes(), &Cred::root());
        let want = self.model.get(id).xattrs.get(name);
        assert_eq!(got, want.cloned().ok_or(ENODATA), "the xattr");
    }

    pub(super) fn xattr(&mut self, c: usize) {
        let Some(id) = self.any(|n| !matches!(n.kind, Kind::Symlink(_))) else {
            return;
        };
        let name = self.rng.pick(&XATTRS);
        let other = self.client();
        self.check_xattr(other, id, name);
        let (fs, root) = (&self.clients[c].fs, Cred::root());
        let fid = self.fid(id);
        match self.rng.below(4) {
            0 | 1 => {
                let len = 1 + self.rng.below(40);
                let value = content(&mut self.rng, len);
                let how = self.rng.below(3) as u32;
                self.tell(c, format!("set of {name} of {id}, how {how}"));
                let got = fs.set_xattr(fid, name.as_bytes(), Some(&value), how, &root);
                let all = &mut self.model.get_mut(id).xattrs;
                let want = match (how, all.contains_key(name)) {
                    (1, true) => Err(EEXIST),
                    (2, false) => Err(ENODATA),
                    _ => Ok(all.insert(name.into(), value)),
                };
                same(&got, &want);
            }
            2 => {
                self.tell(c, format!("removal of {name} of {id}"));
                let got = fs.set_xattr(fid, name.as_bytes(), None, 0, &root);
                let all = &mut self.model.get_mut(id).xattrs;
                same(&got, &all.remove(name).ok_or(ENODATA));
            }
            _ => {
                self.tell(c, format!("list of xattrs of {id}"));
                let list = String::from_utf8(fs.list_xattrs(fid, &root).unwrap()).unwrap();
                let mut got: Vec<&str> = list.split_terminator('\0').collect();
                got.retain(|n| n.starts_with("user."));
                got.sort_unstable();
                let want: Vec<_> = self.model.get(id).xattrs.keys().collect();
                assert_eq!(got, want, "the names of xattrs");
            }
        }
        self.check_xattr(other, id, name);
    }

    pub(super) fn lock(&mut self, c: usize) {
        let Some(i) = self.open_of(c) else { return };
        let (id, owner) = (self.opens[i].id, 1 + self.rng.below(2) as u64);
        let (a, b) = (self.rng.below(LOCKED), self.rng.below(LOCKED));
        let range = (a.min(b), a.max(b));
        let kinds = [LockKind::Read, LockKind::Write, LockKind::Unlock];
        let kind = self.rng.pick(&kinds);
        let (fs, l) = (&self.clients[c].fs, file_lock(range, owner, kind));
        let fid = self.fid(id);
        if kind != LockKind::Unlock && self.rng.once_in(3) {
            self.tell(c, format!("test of a lock of {id}: {l:?}"));
            let got = fs.test_lock(fid, &l).unwrap();
            let n = self.model.get(id);
            assert_eq!(
                got.is_none(),
                n.can_lock(range, (c, owner), kind),
                "{got:?}"
            );
            if let Some(g) = got {
                // The answer has the holder's process, which is its owner's number, but not its owner.
                let (at, owner) = (g.start as usize, u64::from(g.pid));
                let holds = |who: usize| n.has_lock(at, (who, owner), g.kind);
                assert!((0..self.clients.len()).any(holds), "nobody has {g:?}");
            }
            return;
        }
        self.tell(c, format!("lock of {id}: {l:?}"));
        let got = fs.set_lock(fid, &l, false);
        let want = self.model.get_mut(id).lock(range, (c, owner), kind);
        same(&got, &want);
    }
}
