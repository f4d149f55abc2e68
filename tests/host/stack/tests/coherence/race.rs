// SPDX-License-Identifier: GPL-2.0

//! Threads of several clients that want the same at the same time.

use super::rng::{long, Rng};
use kapi::prelude::{EEXIST, EINVAL, EISDIR, ENODATA, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, ESTALE};
use lustre_client::attr::S_IFDIR;
use lustre_client::cred::Cred;
use lustre_client::fs::{Change, FileLock, LockKind, Make, OpenHow};
use lustre_client::mount::MountOptions;
use lustre_client::{Error, Result};
use stack::{Cluster, Mounted, RW};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Barrier;
use wire::fid::Fid;

/// Threads of each client.
const THREADS: usize = 2;

const APPEND: OpenHow = OpenHow { append: true, ..RW };
const EXCL: OpenHow = OpenHow { excl: true, ..RW };

fn world() -> Cluster {
    Cluster::new(3, &MountOptions::default())
}

/// Runs `f` in all threads of all clients, with the thread's number.
fn all(w: &Cluster, f: impl Fn(usize, &Mounted) + Sync) {
    let f = &f;
    std::thread::scope(|s| {
        for (i, c) in w.clients.iter().enumerate() {
            for t in 0..THREADS {
                s.spawn(move || f(i * THREADS + t, c));
            }
        }
    });
}

fn threads(w: &Cluster) -> usize {
    w.clients.len() * THREADS
}

/// A record: whose, the how many-th, its length, and bytes that follow from these.
fn record(thread: usize, n: usize) -> Vec<u8> {
    let len = 12 + (thread * 977 + n * 2309) % 9000;
    let mut r = Vec::with_capacity(len);
    for v in [thread, n, len] {
        r.extend_from_slice(&(v as u32).to_le_bytes());
    }
    r.extend((12..len).map(|i| (i * 7 + thread * 31 + n) as u8));
    r
}

/// How many records of each thread there are; they are whole, and in the order in which they were
/// written.
fn count_records(mut data: &[u8], threads: usize) -> Vec<usize> {
    let mut counts = vec![0; threads];
    while let Some(head) = data.first_chunk::<12>() {
        let word = |i: usize| u32::from_le_bytes(head[i..i + 4].try_into().unwrap()) as usize;
        let (thread, n, len) = (word(0), word(4), word(8));
        assert!(thread < threads && len <= data.len(), "a torn record");
        assert_eq!(n, counts[thread], "a record of thread {thread} is lost");
        let (this, rest) = data.split_at(len);
        assert!(this == record(thread, n), "record {n} of thread {thread}");
        counts[thread] += 1;
        data = rest;
    }
    assert!(data.is_empty(), "a torn record");
    counts
}

/// Appends of all threads, while somebody reads.
#[test]
fn appends() {
    let w = world();
    let n = 60 * long() as usize;
    for stripes in [1, 2] {
        let fid = w.file(&format!("log{stripes}"), stripes);
        let done = AtomicBool::new(false);
        std::thread::scope(|s| {
            // The end of a file of two objects is asked of each by itself, not of both at once.
            if stripes == 1 {
                s.spawn(|| follow(&w, fid, &done));
            }
            all(&w, |t, c| {
                let f = c.fs.open(fid, APPEND, &Cred::root()).unwrap();
                for i in 0..n {
                    c.fs.write(&f, 0, &record(t, i)).unwrap();
                }
                c.fs.flush(&f).unwrap();
                c.fs.close(&f);
            });
            done.store(true, Ordering::Relaxed);
        });
        for c in &w.clients {
            assert_eq!(
                count_records(&whole(c, fid), threads(&w)),
                vec![n; threads(&w)]
            );
        }
    }
    w.stop();
}

/// All there is in a file.
fn whole(c: &Mounted, fid: Fid) -> Vec<u8> {
    let f = c.fs.open(fid, RW, &Cred::root()).unwrap();
    let data = c.fs.read(&f, 0, 64 << 20).unwrap();
    c.fs.close(&f);
    data
}

fn follow(w: &Cluster, fid: Fid, done: &AtomicBool) {
    let mut before = vec![0; threads(w)];
    for c in w.clients.iter().cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let counts = count_records(&whole(c, fid), threads(w));
        let less = before.iter().zip(&counts).any(|(b, n)| b > n);
        assert!(!less, "{counts:?} records, and {before:?} before");
        before = counts;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A lock that only one thread has: how to take it, and how to give it back.
type Take = fn(&Mounted, &Places, usize);

struct Places {
    dir: Fid,
    counter: Fid,
}

fn whole_lock(thread: usize, kind: LockKind) -> FileLock {
    FileLock {
        start: 0,
        end: u64::MAX,
        owner: thread as u64,
        pid: thread as u32,
        kind,
    }
}

/// Tries until it works.
fn insist<T>(expected: Error, mut f: impl FnMut() -> Result<T>) -> T {
    loop {
        match f() {
            Ok(t) => return t,
            Err(e) if e == expected => std::thread::yield_now(),
            Err(e) => panic!("{e:?}"),
        }
    }
}

const WAYS: [(&str, Take, Take); 4] = [
    (
        "a file lock",
        |c, p, t| {
            let l = whole_lock(t, LockKind::Write);
            c.fs.set_lock(p.counter, &l, true).unwrap();
        },
        |c, p, t| {
            let l = whole_lock(t, LockKind::Unlock);
            c.fs.set_lock(p.counter, &l, false).unwrap();
        },
    ),
    (
        "a file that is made",
        |c, p, _| {
            let (f, _) = insist(EEXIST, || {
                let r = Cred::root();
                c.fs.create(p.dir, b"lock", (0o600, 0), EXCL, &r)
            });
            c.fs.close(&f);
        },
        |c, p, _| c.fs.remove(p.dir, b"lock", false, &Cred::root()).unwrap(),
    ),
    (
        "a directory that is made",
        |c, p, _| {
            insist(EEXIST, || mkdir(c, p.dir, "lock"));
        },
        |c, p, _| c.fs.remove(p.dir, b"lock", true, &Cred::root()).unwrap(),
    ),
    (
        "a file that is renamed",
        |c, p, t| {
            let mine = format!("taken-{t}");
            insist(ENOENT, || {
                let to = (p.dir, mine.as_bytes());
                c.fs.rename((p.dir, b"free"), to, &Cred::root())
            });
        },
        |c, p, t| {
            let mine = format!("taken-{t}");
            let from = (p.dir, mine.as_bytes());
            c.fs.rename(from, (p.dir, b"free"), &Cred::root()).unwrap();
        },
    ),
];

fn mkdir(c: &Mounted, dir: Fid, name: &str) -> Result<Fid> {
    let make = Make {
        mode: S_IFDIR | 0o755,
        rdev: 0,
        umask: 0,
        target: &[],
    };
    let k = c.fs.make(dir, name.as_bytes(), &make, &Cred::root())?;
    Ok(k.attr.fid)
}

/// Whoever has the lock reads a number, adds one and writes it: no addition is lost.
#[test]
fn counters() {
    let w = world();
    let n = 30 * long();
    w.file("free", 1);
    for (i, (what, take, give)) in WAYS.into_iter().enumerate() {
        let places = Places {
            dir: w.root,
            counter: w.file(&format!("counter{i}"), 1 + i as u16 % 2),
        };
        let add = |c: &Mounted| {
            let f = c.fs.open(places.counter, RW, &Cred::root()).unwrap();
            let before = c.fs.read(&f, 0, 8).unwrap();
            let before = before.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
            c.fs.write(&f, 0, &(before + 1).to_le_bytes()).unwrap();
            c.fs.close(&f);
        };
        all(&w, |t, c| {
            for _ in 0..n {
                take(c, &places, t);
                add(c);
                give(c, &places, t);
            }
        });
        let end = whole(&w.clients[0], places.counter);
        assert_eq!(end, (n * threads(&w) as u64).to_le_bytes(), "{what}");
    }
    w.stop();
}

/// All threads try the same at the same time, again and again: one succeeds, for the others it is
/// done already.
fn one_wins(
    w: &Cluster,
    rounds: usize,
    lost: Error,
    what: &str,
    f: impl Fn(&Mounted, usize, usize) -> Result<()> + Sync,
) {
    let start = Barrier::new(threads(w));
    let wins: Vec<AtomicUsize> = (0..rounds).map(|_| AtomicUsize::new(0)).collect();
    all(w, |t, c| {
        for (i, won) in wins.iter().enumerate() {
            start.wait();
            match f(c, i, t) {
                Ok(()) => {
                    won.fetch_add(1, Ordering::Relaxed);
                }
                Err(e) => assert_eq!(e, lost, "{what}, round {i}"),
            }
        }
    });
    for (i, won) in wins.iter().enumerate() {
        assert_eq!(
            won.load(Ordering::Relaxed),
            1,
            "winners of {what}, round {i}"
        );
    }
}

#[test]
fn winners() {
    let w = world();
    let n = 25 * long() as usize;
    let dir = mkdir(&w.clients[0], w.root, "d").unwrap();
    let r = Cred::root();
    one_wins(&w, n, EEXIST, "create", |c, i, _| {
        let name = format!("f{i}");
        let (f, _) = c.fs.create(dir, name.as_bytes(), (0o600, 0), EXCL, &r)?;
        c.fs.close(&f);
        Ok(())
    });
    one_wins(&w, n, ENOENT, "rename", |c, i, t| {
        let (old, new) = (format!("f{i}"), format!("f{i}-of-{t}"));
        c.fs.rename((dir, old.as_bytes()), (dir, new.as_bytes()), &r)?;
        c.fs.rename((dir, new.as_bytes()), (w.root, old.as_bytes()), &r)
    });
    one_wins(&w, n, EEXIST, "link", |c, i, _| {
        let name = format!("f{i}");
        let k = c.fs.lookup(w.root, name.as_bytes(), &r)?.ok_or(ENOENT)?;
        c.fs.link(k.attr.fid, dir, name.as_bytes(), &r).map(|_| ())
    });
    one_wins(&w, n, ENOENT, "unlink", |c, i, _| {
        let name = format!("f{i}");
        c.fs.remove(dir, name.as_bytes(), false, &r)
    });
    one_wins(&w, n, EEXIST, "mkdir", |c, i, _| {
        mkdir(c, dir, &format!("d{i}")).map(|_| ())
    });
    one_wins(&w, n, ENOENT, "rmdir", |c, i, _| {
        c.fs.remove(dir, format!("d{i}").as_bytes(), true, &r)
    });
    for c in &w.clients {
        let k = c.fs.stat(dir, &r).unwrap();
        assert_eq!(k.attr.nlink, 2);
        let f = c.fs.lookup(w.root, b"f0", &r).unwrap().unwrap();
        assert_eq!(f.attr.nlink, 1);
    }
    w.stop();
}

/// Some look many names up at a time, others rename one over the other and make them anew: nobody
/// waits for ever.
#[test]
fn lists_and_renames() {
    let w = world();
    let dir = mkdir(&w.clients[0], w.root, "d").unwrap();
    let r = Cred::root();
    let names: Vec<String> = (0..6).map(|i| format!("f{i}")).collect();
    let n = 150 * long() as usize;
    all(&w, |t, c| {
        let mut rng = Rng::new(t as u64);
        for _ in 0..n {
            let (a, b) = (rng.below(names.len()), rng.below(names.len()));
            let (a, b) = (names[a].as_bytes(), names[b].as_bytes());
            if t % THREADS == 0 {
                let all: Vec<&[u8]> = names.iter().map(|n| n.as_bytes()).collect();
                c.fs.lookup_many(dir, &all, &r);
            } else if rng.once_in(2) {
                match c.fs.create(dir, a, (0o600, 0), RW, &r) {
                    Ok((f, _)) => c.fs.close(&f),
                    Err(e) => assert_eq!(e, ENOENT),
                }
            } else if let Err(e) = c.fs.rename((dir, a), (dir, b), &r) {
                assert_eq!(e, ENOENT);
            }
        }
    });
    w.stop();
}

/// One of what programs do with names, at random; what others do at the same time may be in its way.
fn anything(c: &Mounted, rng: &mut Rng, dirs: &[Fid]) -> Result<()> {
    let r = Cred::root();
    let names: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
    let (dir, name) = (rng.pick(dirs), rng.pick(&names));
    let child = |c: &Mounted| {
        let k = c.fs.lookup(dir, name, &r)?.ok_or(ENOENT);
        k.map(|k| k.attr.fid)
    };
    match rng.below(11) {
        0 | 1 => {
            let (f, _) = c.fs.create(dir, name, (0o600, 0), RW, &r)?;
            let done = c.fs.write(&f, rng.below(100_000) as u64, b"some");
            c.fs.close(&f);
            done.map(drop)
        }
        2 | 3 => {
            c.fs.rename((dir, name), (rng.pick(dirs), rng.pick(&names)), &r)
        }
        4 => c.fs.remove(dir, name, rng.once_in(3), &r),
        5 => mkdir(c, dir, std::str::from_utf8(name).unwrap()).map(drop),
        6 => {
            c.fs.link(child(c)?, rng.pick(dirs), rng.pick(&names), &r)
                .map(drop)
        }
        7 => {
            let past = Some(Some(1_000_000 + rng.below(1000) as i64));
            let changes = [
                Change {
                    size: Some(rng.below(100_000) as u64),
                    ..Change::default()
                },
                Change {
                    mode: Some(0o700),
                    ..Change::default()
                },
                Change {
                    mtime: past,
                    atime: past,
                    ..Change::default()
                },
            ];
            c.fs.setattr(child(c)?, &rng.pick(&changes), &r).map(drop)
        }
        8 => c.fs.set_xattr(child(c)?, b"user.a", Some(name), 0, &r),
        9 => {
            c.fs.list_xattrs(child(c)?, &r)?;
            c.fs.get_xattr(child(c)?, b"user.a", &r).map(drop)
        }
        _ => {
            let d = c.fs.open_dir(dir, &r)?;
            let all = c.fs.read_dir(&d, 0)?;
            let all: Vec<&[u8]> = all.iter().map(|e| &e.name[..]).collect();
            c.fs.lookup_many(dir, &all, &r);
            Ok(())
        }
    }
}

/// Everything at once: only errors that come from what the others do, and nobody waits for ever.
#[test]
fn everything_at_once() {
    const FINE: [Error; 9] = [
        EEXIST, EINVAL, EISDIR, ENODATA, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, ESTALE,
    ];
    let w = world();
    let dirs: Vec<Fid> = (0..3)
        .map(|i| mkdir(&w.clients[0], w.root, &format!("d{i}")).unwrap())
        .collect();
    let n = 400 * long() as usize;
    all(&w, |t, c| {
        let mut rng = Rng::new(t as u64);
        for i in 0..n {
            if let Err(e) = anything(c, &mut rng, &dirs) {
                assert!(FINE.contains(&e), "{e:?} in step {i} of thread {t}");
            }
        }
    });
    w.stop();
}
