// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::attr::{S_IFDIR, S_IFREG};
use kapi::prelude::{Arc as KArc, EEXIST, GFP_KERNEL};
use ldlm::client::{Answer, Cache, CacheConfig, CancelSender, Held, Want};
use ldlm::core::{flags, Desc, Ibits, ResId};
use std::sync::atomic::{AtomicU64, Ordering};

const DIR: Fid = Fid::new(0x2_0000_0401, 1);
const FILE: Fid = Fid::new(0x2_0000_0401, 2);

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Watcher for Told {
    fn attr_gone(&self, fid: Fid) {
        guard(&self.0).push(format!("attr {}", fid.oid));
    }
    fn names_gone(&self, _: Fid, names: &[(Fid, Vec<u8>)], own: bool) {
        for (parent, name) in names {
            let n = String::from_utf8_lossy(name);
            guard(&self.0).push(format!("entry {} {n} {own}", parent.oid));
        }
    }
    fn data_gone(&self, _: Fid) {}
}

struct Nobody;
impl CancelSender for Nobody {
    fn cancel(&self, _: &[u64]) {}
}

struct World {
    inodes: Arc<Inodes>,
    cache: Cache,
    told: Arc<Told>,
    cookie: AtomicU64,
}

impl World {
    fn new() -> World {
        let inodes = Arc::new(Inodes::default());
        let ops: KArc<dyn CacheOps> = KArc::new(Link(Arc::downgrade(&inodes)), GFP_KERNEL).unwrap();
        let sender: KArc<dyn CancelSender> = KArc::new(Nobody, GFP_KERNEL).unwrap();
        let cache = Cache::new(CacheConfig::default(), ops, sender).unwrap();
        let told = Arc::new(Told::default());
        inodes.watch(Some(told.clone()));
        World {
            inodes,
            cache,
            told,
            cookie: AtomicU64::new(1),
        }
    }

    fn lock(&self, fid: Fid, mode: Mode, bits: u64) -> Held {
        let res = ResId(LdlmResId::from_fid(fid).words());
        let policy = Policy::Ibits(Ibits {
            bits,
            ..Ibits::default()
        });
        let want = Want {
            res,
            mode,
            policy,
            flags: flags::HAS_INTENT,
        };
        let held = self.cache.prepare(&want).unwrap();
        let answer = Answer {
            flags: 0,
            desc: Desc {
                res,
                req_mode: mode,
                granted: Some(mode),
                policy,
                cancel_bits: 0,
            },
            cookie: self.cookie.fetch_add(1, Ordering::Relaxed),
            lvb: &[],
        };
        assert!(self.cache.answered(&held, &answer).unwrap());
        held
    }

    fn found(&self, fid: Fid, mode: u32, size: u64, lock: Option<Held>) -> Found {
        Found {
            attr: Attr {
                fid,
                mode,
                size,
                ..Attr::default()
            },
            layout: Vec::new(),
            acl: Some(Vec::new()),
            lock,
        }
    }

    fn enter(&self, f: &Found, name: Option<(&Arc<Inode>, &[u8])>) -> (Arc<Inode>, Known) {
        self.inodes.remember(f, name, |_| Ok(None)).unwrap()
    }

    fn call_back(&self, handle: u64) {
        assert_eq!(self.cache.blocking(handle, 0, 0), 0);
        self.cache.work();
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut guard(&self.told.0))
    }
}

const ALL: u64 = ibits::LOOKUP | ibits::UPDATE | ibits::PERM | ibits::LAYOUT;

#[test]
fn a_name_lasts_as_long_as_its_lock() {
    let w = World::new();
    let dir = w.inodes.get(DIR);
    let f = w.found(FILE, S_IFREG | 0o644, 5, Some(w.lock(FILE, Mode::Pr, ALL)));
    let handle = f.lock.as_ref().unwrap().handle();
    let (inode, known) = w.enter(&f, Some((&dir, b"name")));
    assert!(known.attr_locked && known.name_locked);
    assert_eq!(dir.child(b"name"), Some(FILE));
    assert_eq!(inode.attr().unwrap().size, 5);
    assert!(inode.striped().unwrap().is_none());
    // In use, it stays.
    w.call_back(handle);
    assert!(inode.attr().is_some());
    drop(f);
    w.cache.work();
    assert_eq!((inode.attr(), dir.child(b"name")), (None, None));
    assert!(inode.striped().is_none());
    assert_eq!(w.told(), ["entry 1 name false", "attr 2"]);
}

#[test]
fn two_locks() {
    let w = World::new();
    let dir = w.inodes.get(DIR);
    let a = w.lock(FILE, Mode::Pr, ibits::LOOKUP | ibits::PERM);
    let first = a.handle();
    let f = w.found(FILE, S_IFREG, 1, Some(a));
    let (inode, known) = w.enter(&f, Some((&dir, b"n")));
    assert!(known.name_locked && !known.attr_locked);
    drop(f);
    let f = w.found(
        FILE,
        S_IFREG,
        2,
        Some(w.lock(FILE, Mode::Pr, ibits::UPDATE)),
    );
    assert!(w.enter(&f, None).1.attr_locked);
    drop(f);
    // An answer without a lock does not replace one under it.
    let f = w.found(FILE, S_IFREG, 3, None);
    assert_eq!(w.enter(&f, None).1.attr.size, 2);
    w.call_back(first);
    assert_eq!((inode.attr(), dir.child(b"n")), (None, None));
    assert_eq!(inode.last_attr().unwrap().size, 3);
}

#[test]
fn what_cr_does_not_protect() {
    let w = World::new();
    let f = w.found(FILE, S_IFREG, 1, Some(w.lock(FILE, Mode::Cr, ALL)));
    let (inode, known) = w.enter(&f, None);
    assert!(known.name_locked && !known.attr_locked);
    assert_eq!(inode.attr(), None);
    assert!(inode.striped().is_some());
}

#[test]
fn own_changes() {
    let w = World::new();
    let dir = w.inodes.get(DIR);
    let f = w.found(FILE, S_IFREG, 1, Some(w.lock(FILE, Mode::Pr, ALL)));
    w.enter(&f, Some((&dir, b"n")));
    drop(f);
    let res = ResId(LdlmResId::from_fid(FILE).words());
    let bits = Policy::Ibits(Ibits {
        bits: ibits::FULL,
        ..Ibits::default()
    });
    let early = || w.cache.early(&res, Mode::Ex, &bits, 8);
    let gone = w.inodes.own_change(early).unwrap();
    assert_eq!(gone.len(), 1);
    assert_eq!(w.told(), ["entry 1 n true"]);
    // What came to nothing gives no answer.
    let f = w.found(FILE, S_IFREG, 1, Some(w.lock(FILE, Mode::Pr, ALL)));
    w.enter(&f, Some((&dir, b"n")));
    drop(f);
    let failed = w.inodes.own_change(|| early().and(Err::<(), _>(EEXIST)));
    assert_eq!(failed, Err(EEXIST));
    assert_eq!(w.told(), ["entry 1 n true", "attr 2"]);
    assert!(OWN.with_borrow(|o| o.is_none()));
}

#[test]
fn directories() {
    let w = World::new();
    let dir = w.inodes.get(DIR);
    let changes = dir.changes();
    dir.note_absent(b"no", changes);
    assert!(!dir.known_absent(b"no"), "nothing protects that");
    let f = w.found(DIR, S_IFDIR, 0, Some(w.lock(DIR, Mode::Pr, ibits::UPDATE)));
    let handle = f.lock.as_ref().unwrap().handle();
    w.enter(&f, None);
    drop(f);
    dir.note_absent(b"no", changes);
    assert!(dir.known_absent(b"no") && !dir.known_absent(b"yes"));
    let run = Arc::new(Run {
        entries: Vec::new(),
        next: None,
    });
    w.inodes.remember_run(&dir, 0, &run, changes);
    assert!(dir.run(0).is_some());
    w.call_back(handle);
    assert!(!dir.known_absent(b"no") && dir.run(0).is_none());
    // An answer from before the lock was lost does not count after it was had again.
    let f = w.found(DIR, S_IFDIR, 0, Some(w.lock(DIR, Mode::Pr, ibits::UPDATE)));
    w.enter(&f, None);
    dir.note_absent(b"no", changes);
    w.inodes.remember_run(&dir, 0, &run, changes);
    assert!(!dir.known_absent(b"no") && dir.run(0).is_none());
}

#[test]
fn a_lost_connection() {
    let w = World::new();
    let dir = w.inodes.get(DIR);
    let f = w.found(FILE, S_IFREG, 1, Some(w.lock(FILE, Mode::Pr, ALL)));
    w.cache.invalidate();
    // The lock is gone before its answer is taken.
    let (inode, _) = w.enter(&f, Some((&dir, b"n")));
    assert_eq!((inode.attr(), dir.child(b"n")), (None, None));
    let f = w.found(FILE, S_IFREG, 1, Some(w.lock(FILE, Mode::Pr, ALL)));
    w.enter(&f, Some((&dir, b"n")));
    w.cache.invalidate();
    assert_eq!((inode.attr(), dir.child(b"n")), (None, None));
}

#[test]
fn xattrs() {
    let w = World::new();
    let i = w.inodes.get(FILE);
    let lock = w.lock(FILE, Mode::Pr, ibits::XATTR);
    let all = HashMap::from([(b"user.a".to_vec(), b"1".to_vec())]);
    w.inodes.remember_xattrs(&i, &lock.view().unwrap(), all);
    assert_eq!(i.xattr(b"user.a"), Some(Some(b"1".to_vec())));
    assert_eq!(i.xattr(b"user.b"), Some(None));
    let handle = lock.handle();
    drop(lock);
    w.call_back(handle);
    assert_eq!(i.xattr(b"user.a"), None);
}

#[test]
fn idle_inodes_go() {
    let w = World::new();
    for i in 0..=u32::try_from(INODES_MAX).unwrap() {
        w.inodes.get(Fid::new(0x2_0000_0402, i + 1));
    }
    assert!(guard(&w.inodes.all).map.len() < 100);
}
