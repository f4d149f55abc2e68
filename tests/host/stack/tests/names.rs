// SPDX-License-Identifier: GPL-2.0

//! Two clients of one file system, each with its cache: what one changes the other sees.

use kapi::prelude::{EAGAIN, EEXIST, EISDIR, ENODATA, ENOENT, ENOTDIR, ENOTEMPTY};
use lustre_client::cred::Cred;
use lustre_client::fs::{Change, FileLock, LockKind, Make, OpenHow};
use lustre_client::mount::MountOptions;
use lustre_client::Result;
use mdt::Mdt;
use proptest::prelude::*;
use stack::{Mounted, ServerNode};
use std::collections::{BTreeMap, BTreeSet};
use wire::fid::Fid;

/// A client.
struct Client(Mounted);

impl Client {
    fn new(mdt: &ServerNode) -> Client {
        Client(Mounted::new(mdt, &[], MountOptions::default()))
    }

    fn make(&self, dir: Fid, name: &str, mode: u32) -> Result<Fid> {
        let m = Make {
            mode,
            rdev: 0,
            umask: 0o022,
            target: b"target",
        };
        let k = self.0.fs.make(dir, name.as_bytes(), &m, &Cred::root())?;
        Ok(k.attr.fid)
    }

    fn mkdir(&self, dir: Fid, name: &str) -> Result<Fid> {
        self.make(dir, name, 0o040755)
    }

    fn look(&self, dir: Fid, name: &str) -> Option<Fid> {
        let k = self
            .0
            .fs
            .lookup(dir, name.as_bytes(), &Cred::root())
            .unwrap();
        k.map(|k| k.attr.fid)
    }

    fn names(&self, dir: Fid) -> Result<BTreeSet<String>> {
        let d = self.0.fs.open_dir(dir, &Cred::root())?;
        let (mut at, mut out) = (0, BTreeSet::new());
        loop {
            let all = self.0.fs.read_dir(&d, at)?;
            let Some(last) = all.last() else { break };
            at = last.hash + 1;
            for e in &all {
                let n = String::from_utf8(e.name.clone()).unwrap();
                if n != "." && n != ".." {
                    assert!(out.insert(n), "twice");
                }
            }
        }
        Ok(out)
    }

    fn remove(&self, dir: Fid, name: &str, is_dir: bool) -> Result<()> {
        self.0
            .fs
            .remove(dir, name.as_bytes(), is_dir, &Cred::root())
    }

    fn rename(&self, a: (Fid, &str), b: (Fid, &str)) -> Result<()> {
        let (a, b) = ((a.0, a.1.as_bytes()), (b.0, b.1.as_bytes()));
        self.0.fs.rename(a, b, &Cred::root())
    }

    fn mode(&self, fid: Fid) -> Result<u32> {
        Ok(self.0.fs.stat(fid, &Cred::root())?.attr.mode & 0o7777)
    }

    fn chmod(&self, fid: Fid, mode: u32) -> Result<()> {
        let c = Change {
            mode: Some(mode),
            ..Change::default()
        };
        self.0.fs.setattr(fid, &c, &Cred::root()).map(|_| ())
    }

    fn stop(self) {
        self.0.stop();
    }
}

struct World {
    mds: ServerNode,
    mdt: kapi::sync::Arc<Mdt>,
    a: Client,
    b: Client,
    root: Fid,
}

impl World {
    fn new() -> World {
        let mds = ServerNode::start();
        let mdt = mds.mdt(osd_memory::device());
        let (a, b) = (Client::new(&mds), Client::new(&mds));
        let root = a.0.fs.root();
        World {
            mds,
            mdt,
            a,
            b,
            root,
        }
    }

    fn stop(self) {
        self.a.stop();
        self.b.stop();
        self.mdt.stop();
        self.mds.stop();
    }
}

#[test]
fn names() {
    let w = World::new();
    let (a, b, root) = (&w.a, &w.b, w.root);
    // Absent, and known to be so; then it is there.
    assert_eq!(b.names(root).unwrap(), BTreeSet::new());
    assert_eq!(b.look(root, "d"), None);
    assert_eq!(b.look(root, "d"), None);
    let d = a.mkdir(root, "d").unwrap();
    assert_eq!(b.look(root, "d"), Some(d));
    assert_eq!(a.mkdir(root, "d"), Err(EEXIST));
    assert_eq!(b.names(root).unwrap(), BTreeSet::from(["d".into()]));
    // Renamed under the other's feet.
    assert_eq!(a.look(root, "d"), Some(d));
    b.rename((root, "d"), (root, "e")).unwrap();
    assert_eq!(a.look(root, "d"), None);
    assert_eq!(a.look(root, "e"), Some(d));
    // Removed.
    assert_eq!(b.look(root, "e"), Some(d));
    a.remove(root, "e", true).unwrap();
    assert_eq!(b.look(root, "e"), None);
    assert_eq!(b.names(root).unwrap(), BTreeSet::new());
    assert_eq!(b.mode(d), Err(ENOENT));
    w.stop();
}

#[test]
fn attributes() {
    let w = World::new();
    let (a, b, root) = (&w.a, &w.b, w.root);
    let d = a.mkdir(root, "d").unwrap();
    assert_eq!((a.mode(d), b.mode(d)), (Ok(0o755), Ok(0o755)));
    a.chmod(d, 0o700).unwrap();
    assert_eq!((a.mode(d), b.mode(d)), (Ok(0o700), Ok(0o700)));
    let nlink = |c: &Client| c.0.fs.stat(root, &Cred::root()).unwrap().attr.nlink;
    let before = nlink(b);
    a.mkdir(root, "e").unwrap();
    assert_eq!((nlink(a), nlink(b)), (before + 1, before + 1));
    let c = Change {
        mtime: Some(Some(1_000_000)),
        uid: Some(7),
        ..Change::default()
    };
    b.0.fs.setattr(d, &c, &Cred::root()).unwrap();
    let at = a.0.fs.stat(d, &Cred::root()).unwrap().attr;
    assert_eq!((at.mtime, at.uid), (1_000_000, 7));
    w.stop();
}

#[test]
fn others() {
    let w = World::new();
    let (a, b, root) = (&w.a, &w.b, w.root);
    let l = a.make(root, "l", 0o120777).unwrap();
    assert_eq!(b.0.fs.readlink(l, &Cred::root()).unwrap(), b"target");
    let f = a.make(root, "f", 0o010644).unwrap();
    b.0.fs.link(f, root, b"g", &Cred::root()).unwrap();
    assert_eq!(a.look(root, "g"), Some(f));
    assert_eq!(a.0.fs.stat(f, &Cred::root()).unwrap().attr.nlink, 2);
    assert_eq!(a.remove(root, "g", true), Err(ENOTDIR));
    let d = a.mkdir(root, "d").unwrap();
    assert_eq!(b.remove(root, "d", false), Err(EISDIR));
    a.mkdir(d, "sub").unwrap();
    assert_eq!(b.remove(root, "d", true), Err(ENOTEMPTY));
    // A file, open, loses its name.
    let how = OpenHow {
        read: true,
        ..OpenHow::default()
    };
    let made =
        a.0.fs
            .create(root, b"open", (0o644, 0o022), how, &Cred::root());
    let (file, k) = made.unwrap();
    b.remove(root, "open", false).unwrap();
    assert_eq!(
        a.0.fs.stat(k.attr.fid, &Cred::root()).unwrap().attr.nlink,
        0
    );
    assert_eq!(a.0.fs.read(&file, 0, 10).unwrap(), b"");
    a.0.fs.close(&file);
    w.stop();
}

#[test]
fn xattrs() {
    let w = World::new();
    let (a, b, root) = (&w.a, &w.b, w.root);
    let r = Cred::root();
    let d = a.mkdir(root, "d").unwrap();
    let get = |c: &Client| c.0.fs.get_xattr(d, b"user.x", &r);
    assert_eq!((get(a), get(b)), (Err(ENODATA), Err(ENODATA)));
    a.0.fs.set_xattr(d, b"user.x", Some(b"1"), 0, &r).unwrap();
    assert_eq!((get(a), get(b)), (Ok(b"1".to_vec()), Ok(b"1".to_vec())));
    b.0.fs.set_xattr(d, b"user.x", Some(b"22"), 0, &r).unwrap();
    assert_eq!((get(a), get(b)), (Ok(b"22".to_vec()), Ok(b"22".to_vec())));
    let list = a.0.fs.list_xattrs(d, &r).unwrap();
    assert!(list.starts_with(b"user.x\0") || list.ends_with(b"\0user.x\0"));
    assert!(!list.windows(8).any(|w| w == b"trusted."), "{list:?}");
    a.0.fs.set_xattr(d, b"user.x", None, 0, &r).unwrap();
    assert_eq!((get(a), get(b)), (Err(ENODATA), Err(ENODATA)));
    w.stop();
}

#[test]
fn file_locks() {
    let w = World::new();
    let (a, b) = (&w.a, &w.b);
    let f = a.make(w.root, "f", 0o010644).unwrap();
    let lock = |start, end, kind| FileLock {
        start,
        end,
        owner: 1,
        pid: 42,
        kind,
    };
    a.0.fs
        .set_lock(f, &lock(0, 9, LockKind::Write), false)
        .unwrap();
    let want = lock(5, 20, LockKind::Read);
    assert_eq!(b.0.fs.set_lock(f, &want, false), Err(EAGAIN));
    let who = b.0.fs.test_lock(f, &want).unwrap().unwrap();
    assert_eq!(
        (who.start, who.end, who.pid, who.kind),
        (0, 9, 42, LockKind::Write)
    );
    assert_eq!(
        b.0.fs.test_lock(f, &lock(10, 20, LockKind::Write)),
        Ok(None)
    );
    b.0.fs
        .set_lock(f, &lock(10, 20, LockKind::Write), false)
        .unwrap();
    // One who waits gets it when it is given back.
    let (fs, l) = (b.0.fs.clone(), lock(0, 9, LockKind::Write));
    let waiter = std::thread::spawn(move || fs.set_lock(f, &l, true));
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!waiter.is_finished());
    a.0.fs
        .set_lock(f, &lock(0, 9, LockKind::Unlock), false)
        .unwrap();
    waiter.join().unwrap().unwrap();
    assert_eq!(
        a.0.fs.set_lock(f, &lock(0, 0, LockKind::Read), false),
        Err(EAGAIN)
    );
    w.stop();
}

#[test]
fn paths() {
    let w = World::new();
    let d = w.a.mkdir(w.root, "d").unwrap();
    let f = w.a.make(d, "f", 0o010644).unwrap();
    w.b.0.fs.link(f, w.root, b"g", &Cred::root()).unwrap();
    let mut p = w.b.0.fs.paths(f).unwrap();
    p.sort();
    assert_eq!(p, [&b"d/f"[..], b"g"]);
    assert_eq!(w.b.0.fs.paths(w.root).unwrap(), [b""]);
    w.stop();
}

#[test]
fn many_entries() {
    let w = World::new();
    let d = w.a.mkdir(w.root, "many").unwrap();
    std::thread::scope(|s| {
        for t in 0..4 {
            let c = if t % 2 == 0 { &w.a } else { &w.b };
            s.spawn(move || {
                for i in 0..250 {
                    c.mkdir(d, &format!("{t}-a-name-to-fill-pages-{i}"))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(w.a.names(d).unwrap().len(), 1000);
    assert_eq!(w.b.names(d).unwrap(), w.a.names(d).unwrap());
    w.stop();
}

/// A step of one of two clients in a tree of two directories with few names.
#[derive(Clone, Debug)]
enum Step {
    Make(usize, usize),
    Look(usize, usize),
    List(usize),
    Remove(usize, usize),
    Rename((usize, usize), (usize, usize)),
    Chmod(usize, usize, u32),
    Stat(usize, usize),
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn step() -> impl Strategy<Value = (bool, Step)> {
    let at = || (0..2_usize, 0..NAMES.len());
    let s = prop_oneof![
        at().prop_map(|(d, n)| Step::Make(d, n)),
        at().prop_map(|(d, n)| Step::Look(d, n)),
        (0..2_usize).prop_map(Step::List),
        at().prop_map(|(d, n)| Step::Remove(d, n)),
        (at(), at()).prop_map(|(a, b)| Step::Rename(a, b)),
        (at(), 0..0o1000_u32).prop_map(|((d, n), m)| Step::Chmod(d, n, m)),
        at().prop_map(|(d, n)| Step::Stat(d, n)),
    ];
    (any::<bool>(), s)
}

type Model = [BTreeMap<usize, (Fid, u32)>; 2];

fn run(c: &Client, dirs: [Fid; 2], m: &mut Model, s: &Step) {
    match *s {
        Step::Make(d, n) => {
            let r = c.mkdir(dirs[d], NAMES[n]);
            match m[d].contains_key(&n) {
                true => assert_eq!(r, Err(EEXIST)),
                false => {
                    m[d].insert(n, (r.unwrap(), 0o755));
                }
            }
        }
        Step::Look(d, n) => {
            assert_eq!(c.look(dirs[d], NAMES[n]), m[d].get(&n).map(|e| e.0));
        }
        Step::List(d) => {
            let want: BTreeSet<String> = m[d].keys().map(|n| NAMES[*n].to_string()).collect();
            assert_eq!(c.names(dirs[d]).unwrap(), want);
        }
        Step::Remove(d, n) => {
            let r = c.remove(dirs[d], NAMES[n], true);
            assert_eq!(r.is_ok(), m[d].remove(&n).is_some(), "{r:?}");
        }
        Step::Rename(a, b) => {
            let r = c.rename((dirs[a.0], NAMES[a.1]), (dirs[b.0], NAMES[b.1]));
            match m[a.0].remove(&a.1) {
                Some(e) => {
                    r.unwrap();
                    m[b.0].insert(b.1, e);
                }
                None => assert_eq!(r, Err(ENOENT)),
            }
        }
        Step::Chmod(d, n, mode) => {
            if let Some(e) = m[d].get_mut(&n) {
                c.chmod(e.0, mode).unwrap();
                e.1 = mode;
            }
        }
        Step::Stat(d, n) => {
            if let Some(e) = m[d].get(&n) {
                assert_eq!(c.mode(e.0).unwrap(), e.1);
            }
        }
    }
}

/// Whichever of two clients does something, both see it at once.
#[test]
fn random_steps() {
    use proptest::test_runner::{Config, TestRunner};
    let w = World::new();
    let count = std::cell::Cell::new(0_u16);
    let mut runner = TestRunner::new(Config {
        cases: 12,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&prop::collection::vec(step(), 60), |steps| {
            count.set(count.get() + 1);
            let count = count.get();
            let dirs = [
                w.a.mkdir(w.root, &format!("{count}-x")).unwrap(),
                w.b.mkdir(w.root, &format!("{count}-y")).unwrap(),
            ];
            let mut m = Model::default();
            for (first, s) in &steps {
                let c = if *first { &w.a } else { &w.b };
                run(c, dirs, &mut m, s);
            }
            Ok(())
        })
        .unwrap();
    w.stop();
}
