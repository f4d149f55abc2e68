// SPDX-License-Identifier: GPL-2.0

//! Random operations against a naive model of a file system. For each one the model knows all
//! that is wrong with it; the name space has to refuse it with one of these errors, or to do it.

use super::*;
use crate::{OpenMode, XattrSet};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const MODES: [u32; 7] = [0o755, 0o777, 0o1777, 0o2775, 0o700, 0o640, 0o6755];
const USERS: [u32; 3] = [0, 7, 8];

#[derive(Clone, Debug)]
enum Op {
    Create {
        dir: usize,
        name: usize,
        kind: u8,
        mode: usize,
    },
    Link {
        node: usize,
        dir: usize,
        name: usize,
    },
    Unlink {
        dir: usize,
        name: usize,
    },
    Rename {
        from: usize,
        name: usize,
        to: usize,
        new: usize,
    },
    Open(usize),
    Close(usize),
    Chmod(usize, usize),
    Chown(usize, usize, usize),
    SetXattr(usize, usize),
    DelXattr(usize, usize),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let node = || any::<usize>();
    let name = || 0..NAMES.len();
    prop_oneof![
        12 => (node(), name(), 0..5u8, 0..MODES.len())
            .prop_map(|(dir, name, kind, mode)| Op::Create { dir, name, kind, mode }),
        5 => (node(), node(), name()).prop_map(|(node, dir, name)| Op::Link { node, dir, name }),
        8 => (node(), name()).prop_map(|(dir, name)| Op::Unlink { dir, name }),
        12 => (node(), name(), node(), name())
            .prop_map(|(from, name, to, new)| Op::Rename { from, name, to, new }),
        4 => node().prop_map(Op::Open),
        4 => node().prop_map(Op::Close),
        2 => (node(), 0..MODES.len()).prop_map(|(n, m)| Op::Chmod(n, m)),
        2 => (node(), 0..3usize, 0..3usize).prop_map(|(n, u, g)| Op::Chown(n, u, g)),
        2 => (node(), name()).prop_map(|(n, x)| Op::SetXattr(n, x)),
        1 => (node(), name()).prop_map(|(n, x)| Op::DelXattr(n, x)),
        1 => Just(Op::Restart),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Dir,
    File,
    Symlink,
}

struct Node {
    o: ObjectRef,
    kind: Kind,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    ctime: i64,
    opens: u32,
    xattrs: BTreeMap<usize, Vec<u8>>,
    /// Of a directory.
    names: BTreeMap<usize, usize>,
    parent: usize,
}

impl Node {
    fn may(&self, who: u32, want: u32) -> bool {
        let class = match who {
            0 => return true,
            _ if who == self.uid => 6,
            _ if who == self.gid => 3,
            _ => 0,
        };
        want & !(self.mode >> class) == 0
    }

    fn owned(&self, who: u32) -> bool {
        who == 0 || who == self.uid
    }

    fn touch(&mut self, t: i64) {
        self.ctime = self.ctime.max(t);
    }

    fn change(&mut self, t: i64) {
        if t >= self.ctime {
            (self.mtime, self.ctime) = (t, t);
        }
    }
}

/// The model, and what it is a model of.
struct Both {
    w: World,
    nodes: BTreeMap<usize, Node>,
    next: usize,
}

type Errors = Vec<Error>;

impl Both {
    fn new() -> Both {
        let w = World::new();
        let o = w.root();
        let a = w.attr(&o);
        let root = Node {
            o,
            kind: Kind::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: a.mtime.sec,
            ctime: a.ctime.sec,
            opens: 0,
            xattrs: BTreeMap::new(),
            names: BTreeMap::new(),
            parent: 0,
        };
        let mut b = Both {
            w,
            nodes: BTreeMap::from([(0, root)]),
            next: 1,
        };
        b.w.time = a.ctime.sec;
        b
    }

    fn any(&self, n: usize) -> usize {
        *self.nodes.keys().nth(n % self.nodes.len()).unwrap()
    }

    fn dir(&self, n: usize) -> usize {
        let dirs: Vec<_> = self
            .nodes
            .iter()
            .filter(|d| d.1.kind == Kind::Dir)
            .collect();
        *dirs[n % dirs.len()].0
    }

    fn node(&self, id: usize) -> &Node {
        &self.nodes[&id]
    }

    fn at(&mut self, id: usize) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    /// The directories and names of a node.
    fn names_of(&self, id: usize) -> Vec<(usize, usize)> {
        let named = |(d, n): (&usize, &Node)| {
            let d = *d;
            let all = n.names.iter().filter(|x| *x.1 == id).map(|x| (d, *x.0));
            all.collect::<Vec<_>>()
        };
        self.nodes.iter().flat_map(named).collect()
    }

    fn is_nameless(&self, id: usize) -> bool {
        id != 0 && self.names_of(id).is_empty()
    }

    fn is_above(&self, above: usize, mut dir: usize) -> bool {
        while dir != 0 {
            if dir == above {
                return true;
            }
            dir = self.node(dir).parent;
        }
        above == 0
    }

    /// What is wrong with a new name in a directory.
    fn no_entry(&self, who: u32, dir: usize, errors: &mut Errors) {
        let d = self.node(dir);
        if d.kind != Kind::Dir {
            return errors.push(ENOTDIR);
        }
        if self.is_nameless(dir) {
            errors.push(ENOENT);
        }
        if !d.may(who, 3) {
            errors.push(EACCES);
        }
    }

    /// What is wrong with the removal of a name from a directory.
    fn no_removal(&self, who: u32, dir: usize, node: usize, errors: &mut Errors) {
        let (d, n) = (self.node(dir), self.node(node));
        if !d.may(who, 3) {
            errors.push(EACCES);
        }
        if d.mode & 0o1000 != 0 && !d.owned(who) && !n.owned(who) {
            errors.push(EPERM);
        }
    }

    /// A name is gone; perhaps the node with it.
    fn lost(&mut self, id: usize, t: i64) {
        if !self.is_nameless(id) {
            return self.at(id).touch(t);
        }
        if self.node(id).opens == 0 {
            self.nodes.remove(&id);
        } else {
            self.at(id).touch(t);
        }
    }

    fn create(&mut self, who: u32, dir: usize, name: usize, kind: u8, mode: u32) {
        let mut errors = Errors::new();
        self.no_entry(who, dir, &mut errors);
        let d = self.node(dir);
        if d.names.contains_key(&name) {
            errors.push(EEXIST);
        }
        let (kind, ty) = match kind {
            0 | 1 => (Kind::Dir, 0o040000),
            2 => (Kind::Symlink, 0o120000),
            _ => (Kind::File, 0o100000),
        };
        let o = d.o.clone();
        let made = self.w.create(&user(who), &o, NAMES[name], ty | mode);
        check(&errors, &made);
        let Ok(o) = made else { return };
        let t = self.w.time;
        let d = self.node(dir);
        let (mut mode, mut gid) = (mode, who);
        if d.mode & 0o2000 != 0 {
            gid = d.gid;
            if kind == Kind::Dir {
                mode |= 0o2000;
            } else if mode & 0o2010 == 0o2010 && gid != who && who != 0 {
                mode &= !0o2000;
            }
        }
        let node = Node {
            o,
            kind,
            mode,
            uid: who,
            gid,
            mtime: t,
            ctime: t,
            opens: 0,
            xattrs: BTreeMap::new(),
            names: BTreeMap::new(),
            parent: dir,
        };
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        let d = self.at(dir);
        d.names.insert(name, id);
        d.change(t);
    }

    fn link(&mut self, who: u32, node: usize, dir: usize, name: usize) {
        let mut errors = Errors::new();
        self.no_entry(who, dir, &mut errors);
        let (n, d) = (self.node(node), self.node(dir));
        if n.kind == Kind::Dir {
            errors.push(EPERM);
        }
        if self.is_nameless(node) {
            errors.push(ESTALE);
        }
        if d.names.contains_key(&name) {
            errors.push(EEXIST);
        }
        let (t, w) = (self.w.time, &mut self.w);
        let (c, n, d) = (
            user(who),
            self.nodes[&node].o.clone(),
            self.nodes[&dir].o.clone(),
        );
        let r = w
            .mdd
            .link(&mut w.run, &c, &n, &d, NAMES[name].as_bytes(), t);
        check(&errors, &r);
        if r.is_ok() {
            self.at(node).touch(t);
            let d = self.at(dir);
            d.names.insert(name, node);
            d.change(t);
        }
    }

    fn unlink(&mut self, who: u32, dir: usize, name: usize) {
        let d = self.node(dir);
        let found = self.w.mdd.lookup(&d.o, NAMES[name].as_bytes());
        let Some(id) = d.names.get(&name).copied() else {
            return assert_eq!(found.err(), Some(ENOENT));
        };
        assert_eq!(found, Ok(*self.node(id).o.fid()));
        let mut errors = Errors::new();
        self.no_removal(who, dir, id, &mut errors);
        if !self.node(id).names.is_empty() {
            errors.push(ENOTEMPTY);
        }
        let (c, n, d) = (user(who), self.node(id).o.clone(), d.o.clone());
        let (t, w) = (self.w.time, &mut self.w);
        let r = w
            .mdd
            .unlink(&mut w.run, &c, &d, NAMES[name].as_bytes(), &n, t);
        check(&errors, &r);
        let Ok(removed) = r else { return };
        let d = self.at(dir);
        d.names.remove(&name);
        d.change(t);
        self.removed(id, &removed);
        self.lost(id, t);
    }

    /// What a removal says of what is left.
    fn removed(&self, id: usize, r: &crate::Removed) {
        assert_eq!(r.fid, *self.node(id).o.fid());
        assert_eq!(r.attr.nlink as usize, self.names_of(id).len());
    }

    fn rename(&mut self, who: u32, from: usize, name: usize, to: usize, new: usize) {
        let Some(id) = self.node(from).names.get(&name).copied() else {
            return;
        };
        let victim = self.node(to).names.get(&new).copied();
        let mut errors = Errors::new();
        let n = self.node(id);
        if victim != Some(id) {
            self.no_removal(who, from, id, &mut errors);
            match victim.map(|v| (v, self.node(v))) {
                Some((v, vn)) => {
                    self.no_removal(who, to, v, &mut errors);
                    match (n.kind == Kind::Dir, vn.kind == Kind::Dir) {
                        (true, false) => errors.push(ENOTDIR),
                        (false, true) => errors.push(EISDIR),
                        _ if !vn.names.is_empty() => errors.push(ENOTEMPTY),
                        _ => {}
                    }
                    if v == from {
                        errors.push(EINVAL);
                    }
                }
                None => self.no_entry(who, to, &mut errors),
            }
            if n.kind == Kind::Dir && from != to {
                if !n.may(who, 2) {
                    errors.push(EACCES);
                }
                if self.is_above(id, to) {
                    errors.push(EINVAL);
                }
            }
        }
        let (f, t) = (self.node(from).o.clone(), self.node(to).o.clone());
        let r = self
            .w
            .rename(&user(who), (&f, NAMES[name]), (&t, NAMES[new]));
        check(&errors, &r);
        let Ok(removed) = r else { return };
        if victim == Some(id) {
            return assert!(removed.is_none());
        }
        let t = self.w.time;
        self.at(from).names.remove(&name);
        self.at(from).change(t);
        self.at(to).names.insert(new, id);
        self.at(to).change(t);
        self.at(id).touch(t);
        if self.node(id).kind == Kind::Dir {
            self.at(id).parent = to;
        }
        assert_eq!(victim.is_some(), removed.is_some());
        if let (Some(v), Some(r)) = (victim, removed) {
            self.removed(v, &r);
            self.lost(v, t);
        }
    }

    fn chmod(&mut self, who: u32, id: usize, mode: u32) {
        let n = self.node(id);
        let (o, gid) = (n.o.clone(), n.gid);
        let errors = if n.owned(who) { vec![] } else { vec![EPERM] };
        let t = self.w.time;
        let change = AttrChange {
            mode: Some(mode),
            ctime: Some(t),
            ..AttrChange::default()
        };
        let r = self.w.setattr(&user(who), &o, change);
        check(&errors, &r);
        if r.is_ok() {
            let keep = who == 0 || who == gid;
            let n = self.at(id);
            n.mode = if keep { mode } else { mode & !0o2000 };
            n.touch(t);
        }
    }

    fn chown(&mut self, who: u32, id: usize, uid: u32, gid: u32) {
        let n = self.node(id);
        let mine = n.uid == who && uid == n.uid && (gid == n.gid || gid == who);
        let errors = if who == 0 || mine {
            vec![]
        } else {
            vec![EPERM]
        };
        let (o, t) = (n.o.clone(), self.w.time);
        let change = AttrChange {
            uid: Some(uid),
            gid: Some(gid),
            ctime: Some(t),
            ..AttrChange::default()
        };
        let r = self.w.setattr(&user(who), &o, change);
        check(&errors, &r);
        if r.is_ok() {
            let n = self.at(id);
            (n.uid, n.gid) = (uid, gid);
            if n.kind != Kind::Dir {
                let group = if n.mode & 0o10 != 0 { 0o2000 } else { 0 };
                n.mode &= !(0o4000 | group);
            }
            n.touch(t);
        }
    }

    fn xattr(&mut self, who: u32, id: usize, name: usize, set: bool) {
        let n = self.node(id);
        let mut errors = Errors::new();
        if n.kind == Kind::Symlink {
            errors.push(EPERM);
        }
        if n.kind == Kind::Dir && n.mode & 0o1000 != 0 && !n.owned(who) {
            errors.push(EPERM);
        }
        if !set && !n.xattrs.contains_key(&name) {
            errors.push(ENODATA);
        }
        let (t, w) = (self.w.time, &mut self.w);
        let value = format!("{t} {who}").into_bytes();
        let full = std::ffi::CString::new(format!("user.{}", NAMES[name])).unwrap();
        let what = XattrSet {
            name: &full,
            value: set.then_some(&value[..]),
            flags: 0,
            time: t,
        };
        let r = w
            .mdd
            .set_xattr(&mut w.run, &user(who), &self.nodes[&id].o, &what);
        check(&errors, &r);
        if r.is_ok() {
            let n = self.at(id);
            match set {
                true => drop(n.xattrs.insert(name, value)),
                false => drop(n.xattrs.remove(&name)),
            }
            n.touch(t);
        }
    }

    fn close(&mut self, id: usize) {
        let n = self.at(id);
        if n.opens > 0 {
            n.opens -= 1;
            let (fid, last) = (*n.o.fid(), n.opens == 0);
            self.w.mdd.close(&fid, OpenMode::default());
            if last && self.is_nameless(id) {
                self.nodes.remove(&id);
            }
        }
    }

    fn restart(&mut self) {
        self.w.restart();
        let dead: Vec<_> = self
            .nodes
            .keys()
            .copied()
            .filter(|n| self.is_nameless(*n))
            .collect();
        assert_eq!(self.w.mdd.clean_orphans().unwrap(), dead.len());
        self.nodes.retain(|n, _| !dead.contains(n));
        for n in self.nodes.values_mut() {
            n.opens = 0;
        }
    }

    fn apply(&mut self, op: &Op, who: u32) {
        match *op {
            Op::Create {
                dir,
                name,
                kind,
                mode,
            } => {
                // Now and then in what is no directory.
                let dir = if dir % 16 == 0 {
                    self.any(dir / 16)
                } else {
                    self.dir(dir)
                };
                self.create(who, dir, name, kind, MODES[mode]);
            }
            Op::Link { node, dir, name } => self.link(who, self.any(node), self.dir(dir), name),
            Op::Unlink { dir, name } => self.unlink(who, self.dir(dir), name),
            Op::Rename {
                from,
                name,
                to,
                new,
            } => self.rename(who, self.dir(from), name, self.dir(to), new),
            Op::Open(n) => {
                let n = self.any(n);
                self.at(n).opens += 1;
                let o = self.node(n).o.clone();
                self.w.mdd.count_open(&o, OpenMode::default()).unwrap();
            }
            Op::Close(n) => self.close(self.any(n)),
            Op::Chmod(n, m) => self.chmod(who, self.any(n), MODES[m]),
            Op::Chown(n, u, g) => self.chown(who, self.any(n), USERS[u], USERS[g]),
            Op::SetXattr(n, x) => self.xattr(who, self.any(n), x, true),
            Op::DelXattr(n, x) => self.xattr(who, self.any(n), x, false),
            Op::Restart => self.restart(),
        }
    }

    /// Compares everything.
    fn compare(&self) {
        let w = &self.w;
        let mut orphans = BTreeSet::new();
        for (id, n) in &self.nodes {
            let a = w.attr(&n.o);
            let names = self.names_of(*id);
            assert_eq!(a.mode & 0o7777, n.mode, "{op}", op = n.o.fid());
            assert_eq!((a.uid, a.gid), (n.uid, n.gid));
            assert_eq!((a.mtime.sec, a.ctime.sec), (n.mtime, n.ctime));
            let dirs = |i: &&usize| self.node(**i).kind == Kind::Dir;
            let nlink = match (n.kind, self.is_nameless(*id)) {
                (_, true) => 0,
                (Kind::Dir, _) => 2 + n.names.values().filter(dirs).count() + (*id == 0) as usize,
                _ => names.len(),
            };
            assert_eq!(a.nlink as usize, nlink);
            if self.is_nameless(*id) {
                orphans.insert(*n.o.fid());
            } else if *id != 0 {
                let mut known: Vec<_> = names
                    .iter()
                    .map(|(d, x)| (*self.node(*d).o.fid(), NAMES[*x].to_string()))
                    .collect();
                known.sort();
                assert_eq!(w.links(&n.o), known);
            }
            for (x, v) in &n.xattrs {
                let name = std::ffi::CString::new(format!("user.{}", NAMES[*x])).unwrap();
                assert_eq!(&w.mdd.get_xattr(&n.o, &name).unwrap()[..], &v[..]);
            }
            let xattrs = w.mdd.list_xattr(&n.o).unwrap();
            let user = xattrs
                .split(|c| *c == 0)
                .filter(|n| n.starts_with(b"user."));
            assert_eq!(user.count(), n.xattrs.len());
            if n.kind == Kind::Dir {
                self.compare_dir(*id, n);
            }
        }
        assert_eq!(w.pending(), orphans);
        let files = self.nodes.values().filter(|n| n.kind == Kind::File);
        assert_eq!(w.fake.osts().live.len(), files.count());
        assert_eq!(w.fake.osts().reserved, 0);
    }

    fn compare_dir(&self, id: usize, n: &Node) {
        let mut found = BTreeMap::new();
        n.o.readdir(0, &mut |e| {
            found.insert(String::from_utf8(e.name.to_vec()).unwrap(), e.fid);
            Ok(osd::Walk::Next)
        })
        .unwrap();
        let up = found.remove("..").unwrap();
        if !self.is_nameless(id) {
            assert_eq!(up, *self.node(n.parent).o.fid());
        }
        found.remove(".").unwrap();
        found.remove(".lustre");
        let names = n.names.iter();
        let want = names.map(|(x, i)| (NAMES[*x].to_string(), *self.node(*i).o.fid()));
        assert_eq!(found, want.collect());
    }
}

#[track_caller]
fn check<T>(errors: &Errors, r: &Result<T>) {
    match r {
        Ok(_) => assert!(errors.is_empty(), "done in spite of {errors:?}"),
        Err(e) => assert!(errors.contains(e), "{e:?} is none of {errors:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn like_the_model(
        ops in prop::collection::vec((op(), 0..5usize, -1..3i64), 1..400),
    ) {
        let mut b = Both::new();
        let mode = AttrChange { mode: Some(0o777), ..AttrChange::default() };
        let root = b.w.root();
        let ctime = Some(b.w.time);
        b.w.setattr(&ROOT, &root, AttrChange { ctime, ..mode }).unwrap();
        b.at(0).mode = 0o777;
        for (i, (op, who, step)) in ops.iter().enumerate() {
            b.w.time += step;
            // Root most often.
            let who = USERS.get(*who).copied().unwrap_or(0);
            b.apply(op, who);
            if i % 8 == 0 {
                b.compare();
            }
        }
        b.compare();
        b.restart();
        b.compare();
    }
}
