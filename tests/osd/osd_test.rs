// SPDX-License-Identifier: GPL-2.0

//! osd_test.ko: tests of osd-ldiskfs on the device /dev/ubdb. Loading it runs the test of the
//! number given; it fails to load if the test fails.
#![forbid(unsafe_code)]

use kapi::ldiskfs::{self, BlockFile, CommitSink, Credits, Handle, Ids, Mount, Walk};
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use osd_ldiskfs::{Create, Fid, InUse, SetAttr, Store};

kernel::prelude::module! {
    type: Test,
    name: "osd_test",
    authors: ["The Lustre server in Rust developers"],
    description: "Tests of osd-ldiskfs",
    license: "GPL v2",
    params: {
        test: i32 {
            default: 0,
            description: "number of the test",
        },
    },
}

/// What a test checks; the line is in the log if it does not hold.
macro_rules! check {
    ($cond:expr) => {
        if !$cond {
            pr_err!("line {}: {}\n", line!(), stringify!($cond));
            return Err(EINVAL);
        }
    };
}

/// Runs what must succeed; the line is in the log if it does not.
macro_rules! ok {
    ($e:expr) => {
        match $e {
            Ok(v) => v,
            Err(e) => {
                pr_err!("line {}: {}: {:?}\n", line!(), stringify!($e), e);
                return Err(e.into());
            }
        }
    };
}

struct Log;
impl CommitSink for Log {
    fn committed(&self, tid: u32, aborted: bool) {
        pr_info!("transaction {} committed, aborted {}\n", tid, aborted);
    }
}

fn one<T>(t: T) -> Result<KVec<T>> {
    let mut v = KVec::new();
    v.push(t, GFP_KERNEL)?;
    Ok(v)
}

/// The wrappers of ext4 and jbd2 alone.
fn wrappers() -> Result {
    let s = ok!(ldiskfs::probe(c"/dev/ubdb"));
    check!(s.magic == 0xef53);
    let sink = Arc::new(Log, GFP_KERNEL)?;
    let m = ok!(Mount::open(
        c"/dev/ubdb",
        c"user_xattr,acl,no_mbcache,nodelalloc",
        sink
    ));
    let root = ok!(m.root());
    let mut h = ok!(Handle::start(&m, one(root.clone())?, 150));
    let f = ok!(h.create(&root, b"t1", 0o100644, 0, None));
    ok!(h.set_xattr(&f, c"trusted.lma", Some(&[7; 24]), true));
    let mut b = ok!(BlockFile::open(&f));
    ok!(b.write(&mut h, 4000, &[b'x'; 5000]));
    ok!(h.attr_mut(&f)).version = 0x2_0000_0001;
    ok!(h.attr_mut(&f)).mtime = 1000;
    pr_info!("credits left {}\n", h.credits_left());
    ok!(h.stop());
    check!(f.attr().size == 9000 && f.attr().version == 0x2_0000_0001 && f.attr().mtime == 1000);
    check!(f.attr().nlink == 1 && f.attr().ctime == 0);
    let mut h = ok!(Handle::start(&m, one(root.clone())?, 200));
    let t = ok!(h.create_unnamed(&root, 0o100600));
    ok!(h.link(&root, b"t2", &t));
    ok!(h.create_unnamed(&root, 0o100600));
    let d = ok!(h.create(&root, b"d", 0o40755, 0, None));
    let e = ok!(h.create(&d, b"e", 0o40755, 0, None));
    ok!(h.rename(&d, b"e", &e, &root, b"e2"));
    ok!(h.attr_mut(&d)).nlink = 0;
    ok!(h.unlink(&root, b"d", &d, true));
    ok!(h.attr_mut(&root)).nlink += 1;
    ok!(h.stop());
    ok!(m.sync());
    check!(e.ino() != d.ino());
    check!(ok!(e.parent_ino()) == 2);
    drop((b, d, e));
    let mut names = 0;
    let end = ok!(root.readdir(0, &mut |e| {
        pr_info!(
            "{:x} {}\n",
            e.pos,
            core::str::from_utf8(e.name).unwrap_or("?")
        );
        names += 1;
        Ok(Walk::Next)
    }));
    check!(names == 6 && end == i64::MAX as u64);
    let (ino, gen) = (f.ino(), f.attr().generation);
    drop(f);
    let f = ok!(m.iget(ino, gen));
    check!(m.iget(ino, gen.wrapping_add(1)).is_err());
    let b = ok!(BlockFile::open(&f));
    let mut buf = [1; 16];
    check!(ok!(b.read(3992, &mut buf)) == 16 && buf == *b"\0\0\0\0\0\0\0\0xxxxxxxx");
    check!(ok!(b.read(8990, &mut buf)) == 10);
    check!(
        ok!(f
            .xattr(c"trusted.lma", &mut buf)
            .or_else(|e| if e == ERANGE { Ok(24) } else { Err(e) }))
            == 24
    );
    check!(m.credits(Credits::Max, 0) > 150);
    Ok(())
}

const DEV: &core::ffi::CStr = c"/dev/ubdb";
const REG: Create<'static> = Create {
    mode: 0o100644,
    rdev: 0,
    target: None,
};

fn dir() -> Create<'static> {
    Create {
        mode: 0o40755,
        ..REG
    }
}

/// Makes an object with a name in a directory, as a create does.
fn make(s: &Arc<Store>, parent: &InUse, name: &[u8], fid: Fid, what: &Create<'_>) -> Result<InUse> {
    let o = ok!(s.object(&fid));
    let is_dir = what.mode & 0o170000 == 0o40000;
    let mut plan = s.plan();
    ok!(s.plan_create(&mut plan, &o, what, Some((parent, name))));
    ok!(s.plan_insert(&mut plan, parent, &o));
    ok!(s.plan_xattr(&mut plan, &o, 40));
    let mut run = ok!(plan.start());
    ok!(s.create(&mut run, &o, what, Some((parent, name))));
    ok!(s.set_xattr(&mut run, &o, c"trusted.link", Some(&[3; 40])));
    let set = SetAttr {
        mtime: Some((77, 0)),
        version: Some(0x1_0000_0005),
        ..SetAttr::default()
    };
    ok!(s.set_attr(&mut run, &o, &set));
    ok!(s.insert(&mut run, parent, name, &o));
    if is_dir {
        ok!(s.ref_add(&mut run, parent));
    }
    ok!(run.stop());
    Ok(o)
}

/// Removes a name and the object.
fn remove(s: &Arc<Store>, parent: &InUse, name: &[u8]) -> Result {
    let fid = ok!(s.lookup(parent, name));
    let o = ok!(s.object(&fid));
    let is_dir = ok!(s.attr(&o)).mode & 0o170000 == 0o40000;
    let mut plan = s.plan();
    ok!(s.plan_remove(&mut plan, parent, name));
    ok!(s.plan_destroy(&mut plan, &o));
    let mut run = ok!(plan.start());
    ok!(s.remove(&mut run, parent, name));
    ok!(s.ref_del(&mut run, &o));
    if is_dir {
        ok!(s.ref_del(&mut run, parent));
    }
    ok!(s.destroy(&mut run, &o));
    ok!(run.stop());
    check!(!o.exists());
    Ok(())
}

/// Renames within a directory over another object, which ends.
fn replace(
    s: &Arc<Store>,
    parent: &InUse,
    from: &[u8],
    by: &InUse,
    to: &[u8],
    over: &InUse,
) -> Result {
    let is_dir = ok!(s.attr(over)).mode & 0o170000 == 0o40000;
    let mut plan = s.plan();
    ok!(s.plan_remove(&mut plan, parent, from));
    ok!(s.plan_remove(&mut plan, parent, to));
    ok!(s.plan_insert(&mut plan, parent, by));
    ok!(s.plan_destroy(&mut plan, over));
    let mut run = ok!(plan.start());
    ok!(s.remove(&mut run, parent, from));
    ok!(s.remove(&mut run, parent, to));
    ok!(s.insert(&mut run, parent, to, by));
    ok!(s.ref_del(&mut run, over));
    if is_dir {
        ok!(s.ref_del(&mut run, over));
        ok!(s.ref_del(&mut run, parent));
    }
    ok!(s.destroy(&mut run, over));
    ok!(run.stop());
    Ok(())
}

/// A fresh device: the layout, objects and names, a second mount.
fn fresh() -> Result {
    let seq = 0x2_0000_0400;
    {
        let s = ok!(Store::open(DEV, false));
        let base = ok!(s.object(&Fid::new(0x2_0000_0001, 13)));
        let root = ok!(make(&s, &base, b"ROOT", Fid::new(0x2_0000_0007, 1), &dir()));
        check!(ok!(s.attr(&root)).nlink == 2);
        let a = ok!(make(&s, &root, b"a", Fid::new(seq, 1), &dir()));
        let b = ok!(make(&s, &a, b"b", Fid::new(seq, 2), &dir()));
        let link = Create {
            mode: 0o120777,
            rdev: 0,
            target: Some(c"where/to"),
        };
        ok!(make(&s, &a, b"l", Fid::new(seq, 3), &link));
        let fifo = Create {
            mode: 0o10600,
            ..REG
        };
        ok!(make(&s, &a, b"p", Fid::new(seq, 4), &fifo));
        let f = ok!(make(&s, &b, b"f", Fid::new(seq, 5), &REG));
        check!(ok!(s.attr(&f)).nlink == 1 && ok!(s.attr(&f)).mtime == 77);
        check!(ok!(s.attr(&a)).nlink == 3 && ok!(s.attr(&a)).mtime == 77);
        for i in 0..600_u32 {
            let mut name = *b"file-000";
            name[5] += (i / 100) as u8;
            name[6] += (i / 10 % 10) as u8;
            name[7] += (i % 10) as u8;
            ok!(make(&s, &b, &name, Fid::new(seq, 100 + i), &REG));
        }
        check!(ok!(s.lookup(&b, b"file-321")) == Fid::new(seq, 421));
        check!(s.lookup(&b, b"file-600").is_err());
        // Rename of a directory: b from a to the root of the name space.
        let mut plan = s.plan();
        ok!(s.plan_remove(&mut plan, &a, b"b"));
        ok!(s.plan_insert(&mut plan, &root, &b));
        let mut run = ok!(plan.start());
        ok!(s.remove(&mut run, &a, b"b"));
        ok!(s.insert(&mut run, &root, b"b2", &b));
        ok!(s.ref_del(&mut run, &a));
        ok!(s.ref_add(&mut run, &root));
        ok!(run.stop());
        check!(ok!(s.attr(&b)).nlink == 2 && ok!(s.attr(&a)).nlink == 2);
        check!(ok!(s.lookup(&b, b"..")) == Fid::new(0x2_0000_0007, 1));
        // A second name for f, the first one goes.
        let mut plan = s.plan();
        ok!(s.plan_insert(&mut plan, &root, &f));
        let mut run = ok!(plan.start());
        ok!(s.insert(&mut run, &root, b"f2", &f));
        ok!(s.ref_add(&mut run, &f));
        ok!(run.stop());
        check!(ok!(s.attr(&f)).nlink == 2);
        let mut plan = s.plan();
        ok!(s.plan_remove(&mut plan, &b, b"f"));
        let mut run = ok!(plan.start());
        ok!(s.remove(&mut run, &b, b"f"));
        ok!(s.ref_del(&mut run, &f));
        ok!(run.stop());
        check!(ok!(s.attr(&f)).nlink == 1);
        for i in 0..300_u32 {
            let mut name = *b"file-000";
            name[5] += (i / 100) as u8;
            name[6] += (i / 10 % 10) as u8;
            name[7] += (i % 10) as u8;
            ok!(remove(&s, &b, &name));
        }
        ok!(remove(&s, &a, b"l"));
        check!(!ok!(s.is_empty(&a)));
        ok!(remove(&s, &a, b"p"));
        check!(ok!(s.is_empty(&a)));
        ok!(remove(&s, &root, b"a"));
        // Renames over a file and over an empty directory.
        let over = ok!(make(&s, &root, b"over", Fid::new(seq, 6000), &REG));
        let by = ok!(make(&s, &root, b"by", Fid::new(seq, 6001), &REG));
        ok!(replace(&s, &root, b"by", &by, b"over", &over));
        check!(ok!(s.lookup(&root, b"over")) == Fid::new(seq, 6001) && !over.exists());
        let over = ok!(make(&s, &root, b"overd", Fid::new(seq, 6002), &dir()));
        let by = ok!(make(&s, &root, b"byd", Fid::new(seq, 6003), &dir()));
        ok!(replace(&s, &root, b"byd", &by, b"overd", &over));
        check!(ok!(s.lookup(&root, b"overd")) == Fid::new(seq, 6003) && !over.exists());
        // A file that is written through the journal.
        let rcvd = ok!(s.object(&Fid::new(0x2_0000_0001, 11)));
        let mut plan = s.plan();
        ok!(s.plan_create(&mut plan, &rcvd, &REG, None));
        ok!(s.plan_write(&mut plan, &rcvd, 8192, 128));
        let mut run = ok!(plan.start());
        ok!(s.create(&mut run, &rcvd, &REG, None));
        ok!(s.write(&mut run, &rcvd, 8192, &[9; 128]));
        ok!(run.stop());
        // Objects that are made without knowing their place.
        let (d2, f3, f4) = (
            ok!(s.object(&Fid::new(seq, 5000))),
            ok!(s.object(&Fid::new(seq, 5001))),
            ok!(s.object(&Fid::new(seq, 5002))),
        );
        let mut plan = s.plan();
        for (o, what) in [(&d2, dir()), (&f3, REG), (&f4, REG)] {
            ok!(s.plan_create(&mut plan, o, &what, None));
            ok!(s.plan_insert(&mut plan, &root, o));
        }
        let mut run = ok!(plan.start());
        ok!(s.create(&mut run, &d2, &dir(), None));
        ok!(s.create(&mut run, &f3, &REG, None));
        ok!(s.create(&mut run, &f4, &REG, None));
        ok!(s.insert(&mut run, &root, b"d2", &d2));
        ok!(s.ref_add(&mut run, &root));
        // Into the directory that is just being made; f4 stays without a name and is lost.
        ok!(s.insert(&mut run, &d2, b"f3", &f3));
        ok!(run.stop());
        check!(ok!(s.lookup(&d2, b"..")) == Fid::new(0x2_0000_0007, 1));
        check!(ok!(s.lookup(&d2, b"f3")) == Fid::new(seq, 5001));
        // An llog, by its place.
        let log = ok!(s.object(&Fid::new(1, 5)));
        let mut plan = s.plan();
        ok!(s.plan_create(&mut plan, &log, &REG, None));
        let mut run = ok!(plan.start());
        ok!(s.create(&mut run, &log, &REG, None));
        ok!(run.stop());
    }
    let s = ok!(Store::open(DEV, false));
    let root = ok!(s.object(&Fid::new(0x2_0000_0007, 1)));
    let b = ok!(s.object(&ok!(s.lookup(&root, b"b2"))));
    check!(ok!(s.attr(&b)).version == 0x1_0000_0005);
    let mut n = 0;
    ok!(s.readdir(&b, 0, &mut |_, _, _, _| {
        n += 1;
        Ok(Walk::Next)
    }));
    check!(n == 302);
    check!(!ok!(s.object(&Fid::new(seq, 100))).exists());
    check!(ok!(s.object(&Fid::new(seq, 400))).exists());
    check!(ok!(s.object(&Fid::new(1, 5))).exists());
    let rcvd = ok!(s.object(&Fid::new(0x2_0000_0001, 11)));
    let mut buf = [0; 256];
    check!(ok!(s.read(&rcvd, 8191, &mut buf)) == 129 && buf[0] == 0 && buf[128] == 9);
    Ok(())
}

/// A name found in the walk of [`tree`].
struct Seen {
    path: KVVec<u8>,
    fid: Fid,
}

/// Walks the name space of an existing MDT; the log gets what `tests/osd/images` compares.
fn tree() -> Result {
    let s = ok!(Store::open(DEV, false));
    let mut todo: KVVec<Seen> = KVVec::new();
    let mut path = KVVec::new();
    path.extend_from_slice(b".", GFP_KERNEL)?;
    todo.push(
        Seen {
            path,
            fid: Fid::new(0x2_0000_0007, 1),
        },
        GFP_KERNEL,
    )?;
    let mut at = 0;
    while at < todo.len() {
        let (fid, len) = (todo[at].fid, todo[at].path.len());
        let o = ok!(s.object(&fid));
        check!(o.exists());
        let a = ok!(s.attr(&o));
        pr_info!(
            "obj {} {:o} {} {} {} {} {}\n",
            fid,
            a.mode & 0o7777,
            a.uid,
            a.gid,
            a.nlink,
            a.mtime,
            core::str::from_utf8(&todo[at].path)
                .unwrap_or("?")
                .escape_debug()
        );
        if a.mode & 0o170000 == 0o40000 {
            let mut found: KVVec<Seen> = KVVec::new();
            ok!(s.readdir(&o, 0, &mut |name, fid, _, _| {
                if name != b"." && name != b".." {
                    let mut path = KVVec::with_capacity(len + 1 + name.len(), GFP_KERNEL)?;
                    path.extend_from_slice(&todo[at].path, GFP_KERNEL)?;
                    path.push(b'/', GFP_KERNEL)?;
                    path.extend_from_slice(name, GFP_KERNEL)?;
                    found.push(Seen { path, fid: *fid }, GFP_KERNEL)?;
                }
                Ok(Walk::Next)
            }));
            for f in found {
                let name = &f.path[len + 1..];
                check!(ok!(s.lookup(&o, name)) == f.fid);
                todo.push(f, GFP_KERNEL)?;
            }
            check!(s.lookup(&o, b"no such name").is_err());
        }
        at += 1;
    }
    // Now through the index alone.
    s.shrink();
    for f in todo.iter() {
        check!(ok!(s.object(&f.fid)).exists());
    }
    pr_info!("tree {} objects\n", todo.len());
    Ok(())
}

/// Reads the objects of an existing OST.
fn objects() -> Result {
    let s = ok!(Store::open(DEV, true));
    for seq in [0x2_4000_0400, 0x2_8000_0400, 0x1_0000_0000, 0x1_0001_0000] {
        let counter = ok!(s.object(&Fid::new(seq, 0)));
        if !counter.exists() {
            continue;
        }
        let mut last = [0; 8];
        check!(ok!(s.read(&counter, 0, &mut last)) == 8);
        let last = u64::from_le_bytes(last) as u32;
        let mut pages = ok!(Pages::new(64));
        let mut buf = KVVec::from_elem(0_u8, 64 * PAGE_SIZE, GFP_KERNEL)?;
        for oid in 1..=last {
            let o = ok!(s.object(&Fid::new(seq, oid)));
            if !o.exists() {
                continue;
            }
            let a = ok!(s.attr(&o));
            let data = ok!(o.data()).ok_or(EINVAL)?;
            let (mut pos, mut crc) = (0, !0);
            loop {
                let n = ok!(data.read(&mut pages, 0, 64 * PAGE_SIZE, pos));
                if n == 0 {
                    break;
                }
                pages.copy_out(0, &mut buf[..n])?;
                crc = kapi::checksum::crc32(crc, &buf[..n]);
                pos += n as u64;
            }
            check!(pos == a.size);
            pr_info!("obj {:x} {:x} {} {:08x}\n", seq, oid, a.size, !crc);
        }
    }
    Ok(())
}

/// Waits for a commit.
#[pin_data]
struct Flag {
    #[pin]
    set: Mutex<bool>,
    #[pin]
    changed: CondVar,
}

/// A fresh OST: a batch of objects, their data, owners and end.
fn data() -> Result {
    let s = ok!(Store::open(DEV, true));
    let seq = 0x2_8000_0400;
    let pre = Create {
        mode: 0o107666,
        ..REG
    };
    let last = ok!(s.object(&Fid::new(seq, 0)));
    let mut batch: KVec<InUse> = KVec::new();
    for oid in 1..=32 {
        batch.push(ok!(s.object(&Fid::new(seq, oid))), GFP_KERNEL)?;
    }
    let mut plan = s.plan();
    ok!(s.plan_create(&mut plan, &last, &REG, None));
    ok!(s.plan_write(&mut plan, &last, 0, 8));
    let flag = Arc::pin_init(
        pin_init!(Flag { set <- new_mutex!(false), changed <- new_condvar!() }),
        GFP_KERNEL,
    )?;
    let mut run = ok!(plan.start());
    ok!(s.create(&mut run, &last, &REG, None));
    ok!(s.write(&mut run, &last, 0, &32_u64.to_le_bytes()));
    let f2 = flag.clone();
    let call = move |r: Result| {
        *f2.set.lock() = r.is_ok();
        f2.changed.notify_all();
    };
    ok!(run.on_commit(KBox::new(call, GFP_KERNEL)?));
    run.set_sync();
    ok!(run.stop());
    check!(*flag.set.lock());
    for part in batch.chunks(4) {
        let mut plan = s.plan();
        for o in part {
            ok!(s.plan_create(&mut plan, o, &pre, None));
        }
        let mut run = ok!(plan.start());
        for o in part {
            ok!(s.create(&mut run, o, &pre, None));
        }
        ok!(run.stop());
    }
    let o = batch[4].clone();
    let a = ok!(s.attr(&o));
    check!(a.mode == 0o107666 && a.mtime == 0 && a.nlink == 1 && a.version == 0);
    // Bulk data: ragged at both ends, over three MiB.
    let len = 3 * 1024 * 1024 + 777;
    let mut pages = ok!(Pages::new(len / PAGE_SIZE + 2));
    let mut pattern = KVVec::with_capacity(len, GFP_KERNEL)?;
    for i in 0..len {
        pattern.push((i * 7 + i / 4096) as u8, GFP_KERNEL)?;
    }
    let pos = 5 * 4096 + 100_u64;
    ok!(pages.copy_in(100, &pattern));
    let file = ok!(o.data()).ok_or(EINVAL)?;
    ok!(file.write(&pages, 100, len, pos));
    check!(ok!(s.attr(&o)).size == pos + len as u64);
    let ids = Ids {
        uid: Some(500),
        gid: Some(501),
        projid: Some(7),
    };
    let set = SetAttr {
        mode: Some(0o666),
        ids,
        mtime: Some((1_700_000_000, 0)),
        version: Some(9),
        ..SetAttr::default()
    };
    let mut plan = s.plan();
    ok!(s.plan_attr(&mut plan, &o, &ids));
    let mut run = ok!(plan.start());
    ok!(s.set_attr(&mut run, &o, &set));
    ok!(run.stop());
    let a = ok!(s.attr(&o));
    check!(a.uid == 500 && a.gid == 501 && a.projid == 7 && a.mode == 0o100666 && a.version == 9);
    check!(a.mtime == 1_700_000_000 && a.atime == 0);
    let mut back = ok!(Pages::new(len / PAGE_SIZE + 2));
    check!(ok!(file.read(&mut back, 0, len + 100, pos - 100)) == len + 100);
    let mut got = KVVec::from_elem(1_u8, len + 100, GFP_KERNEL)?;
    ok!(back.copy_out(0, &mut got));
    check!(got[..100].iter().all(|b| *b == 0) && got[100..] == pattern[..]);
    check!(ok!(file.seek_data(0)) == 5 * 4096 && ok!(file.seek_hole(5 * 4096)) == a.size);
    ok!(file.punch(1 << 20, 1 << 20));
    check!(ok!(file.seek_hole(5 * 4096)) == 1 << 20 && ok!(file.seek_data(1 << 20)) == 2 << 20);
    // An overwrite in place, unaligned in memory against the disk.
    ok!(pages.copy_in(0, b"overwritten"));
    ok!(file.write(&pages, 3, 8, pos + 50));
    check!(ok!(file.read(&mut back, 0, 8, pos + 50)) == 8);
    ok!(back.copy_out(0, &mut got[..8]));
    check!(&got[..8] == b"rwritten");
    let (mut at, mut mapped) = (0, 0);
    while let Some(e) = ok!(file.extent(at)) {
        check!(e.logical >= at && e.physical.is_some());
        mapped += e.len;
        at = e.logical + e.len;
    }
    check!(mapped == (1 << 20) - 5 * 4096 + (1 << 20) + 6 * 4096);
    ok!(ok!(o.node()).truncate(10_000));
    check!(ok!(s.attr(&o)).size == 10_000 && ok!(s.attr(&o)).mtime == 1_700_000_000);
    check!(ok!(s.attr(&o)).version == 9);
    ok!(file.preallocate(0, 1 << 20, true));
    check!(ok!(s.attr(&o)).blocks >= 2048);
    drop(file);
    for o in batch.iter().skip(10) {
        let mut plan = s.plan();
        ok!(s.plan_destroy(&mut plan, o));
        let mut run = ok!(plan.start());
        ok!(s.destroy(&mut run, o));
        ok!(run.stop());
        check!(!o.exists());
    }
    drop(batch);
    drop((o, last));
    s.shrink();
    check!(!ok!(s.object(&Fid::new(seq, 11))).exists());
    check!(ok!(s.object(&Fid::new(seq, 10))).exists());
    Ok(())
}

fn file_name(i: u32) -> [u8; 12] {
    let mut name = *b"file-0000000";
    let mut n = i;
    for b in name.iter_mut().rev().take(7) {
        *b = b'0' + (n % 10) as u8;
        n /= 10;
    }
    name
}

/// Renames a file from one directory to another.
fn rename(s: &Arc<Store>, from: &InUse, to: &InUse, name: &[u8]) -> Result {
    let o = ok!(s.object(&ok!(s.lookup(from, name))));
    let mut plan = s.plan();
    ok!(s.plan_remove(&mut plan, from, name));
    ok!(s.plan_insert(&mut plan, to, &o));
    let mut run = ok!(plan.start());
    ok!(s.remove(&mut run, from, name));
    ok!(s.insert(&mut run, to, name, &o));
    ok!(run.stop());
    Ok(())
}

const THREADS: u32 = 4;

fn worker(s: &Arc<Store>, root: &InUse, all: &InUse, t: u32, rounds: u32) -> Result {
    let seq = 0x2_0000_0400 + u64::from(t);
    let dirname = file_name(9_000_000 + t);
    let own = ok!(make(s, root, &dirname, Fid::new(seq, 1), &dir()));
    for i in 0..rounds {
        let name = file_name(t * 1_000_000 + i);
        ok!(make(s, &own, &name, Fid::new(seq, 10 + i), &REG));
        if i % 3 == 0 {
            // Everybody's directory gets it: renames meet there, in both directions.
            ok!(rename(s, &own, all, &name));
            check!(ok!(s.lookup(all, &name)) == Fid::new(seq, 10 + i));
            if i % 2 == 0 {
                ok!(rename(s, all, &own, &name));
            }
        }
        if i % 5 == 4 {
            let old = file_name(t * 1_000_000 + i - 4);
            let parent = if (i - 4) % 3 == 0 && (i - 4) % 2 != 0 {
                all
            } else {
                &own
            };
            ok!(remove(s, parent, &old));
        }
        if i % 64 == 0 {
            let mut n = 0;
            ok!(s.readdir(all, 0, &mut |_, _, _, _| {
                n += 1;
                Ok(Walk::Next)
            }));
        }
    }
    Ok(())
}

/// Threads that work in directories of their own and in one of all.
fn threads(rounds: u32) -> Result {
    let s = ok!(Store::open(DEV, false));
    let base = ok!(s.object(&Fid::new(0x2_0000_0001, 13)));
    let root = ok!(make(&s, &base, b"ROOT", Fid::new(0x2_0000_0007, 1), &dir()));
    let all = ok!(make(&s, &root, b"all", Fid::new(0x2_0000_0500, 1), &dir()));
    let start = Instant::now();
    let failed = Arc::pin_init(
        pin_init!(Flag { set <- new_mutex!(false), changed <- new_condvar!() }),
        GFP_KERNEL,
    )?;
    let mut handles = KVec::new();
    for t in 0..THREADS {
        let (s, root, all, failed) = (s.clone(), root.clone(), all.clone(), failed.clone());
        let run = move || {
            if worker(&s, &root, &all, t, rounds).is_err() {
                *failed.set.lock() = true;
            }
        };
        handles.push(
            kapi::thread::spawn(format_args!("worker{t}"), run)?,
            GFP_KERNEL,
        )?;
    }
    for h in handles {
        h.join();
    }
    let ms = start.elapsed().as_millis() as u64;
    let n = u64::from(rounds * THREADS);
    pr_info!("{} creates with renames and removals in {} ms\n", n, ms);
    check!(!*failed.set.lock());
    let start = Instant::now();
    let own = ok!(make(
        &s,
        &root,
        b"speed",
        Fid::new(0x2_0000_0600, 1),
        &dir()
    ));
    for i in 0..rounds {
        ok!(make(
            &s,
            &own,
            &file_name(i),
            Fid::new(0x2_0000_0600, 10 + i),
            &REG
        ));
    }
    let ms = start.elapsed().as_millis().max(1) as u64;
    pr_info!("one thread: {} creates/s\n", u64::from(rounds) * 1000 / ms);
    let start = Instant::now();
    for i in 0..rounds {
        check!(ok!(s.lookup(&own, &file_name(i))).oid == 10 + i);
    }
    let ms = start.elapsed().as_micros().max(1) as u64;
    pr_info!(
        "one thread: {} lookups/s\n",
        u64::from(rounds) * 1_000_000 / ms
    );
    let start = Instant::now();
    for i in 0..rounds {
        ok!(remove(&s, &own, &file_name(i)));
    }
    let ms = start.elapsed().as_millis().max(1) as u64;
    pr_info!("one thread: {} removals/s\n", u64::from(rounds) * 1000 / ms);
    Ok(())
}

/// Works until the machine is switched off, saying what is safe.
fn until_killed() -> Result {
    let s = ok!(Store::open(DEV, false));
    let base = ok!(s.object(&Fid::new(0x2_0000_0001, 13)));
    let root = ok!(make(&s, &base, b"ROOT", Fid::new(0x2_0000_0007, 1), &dir()));
    let seq = 0x2_0000_0400;
    for i in 0..10_000_000_u32 {
        let o = ok!(s.object(&Fid::new(seq, 1 + i)));
        let mut plan = s.plan();
        ok!(s.plan_create(&mut plan, &o, &REG, None));
        ok!(s.plan_insert(&mut plan, &root, &o));
        let mut run = ok!(plan.start());
        ok!(s.create(&mut run, &o, &REG, None));
        ok!(s.insert(&mut run, &root, &file_name(i), &o));
        if i % 50 == 0 {
            let call = move |r: Result| pr_info!("safe {} {}\n", i, r.is_ok());
            ok!(run.on_commit(KBox::new(call, GFP_KERNEL)?));
        }
        if i % 400 == 399 {
            run.set_sync();
        }
        ok!(run.stop());
        drop(o);
        if i >= 200 {
            ok!(remove(&s, &root, &file_name(i - 200)));
        }
    }
    Ok(())
}

/// After [`until_killed`]: names, objects and the index agree.
fn after_kill() -> Result {
    let s = ok!(Store::open(DEV, false));
    let root = ok!(s.object(&Fid::new(0x2_0000_0007, 1)));
    check!(root.exists());
    let (mut first, mut last, mut n) = (u32::MAX, 0, 0);
    ok!(s.readdir(&root, 0, &mut |name, fid, _, _| {
        if name.starts_with(b"file-") {
            check!(name == file_name(fid.oid - 1));
            first = first.min(fid.oid);
            last = last.max(fid.oid);
            n += 1;
        }
        Ok(Walk::Next)
    }));
    // Creations and removals are in order: nothing is missing in between.
    check!(n > 0 && n == last - first + 1);
    s.shrink();
    for oid in first..=last {
        check!(ok!(s.object(&Fid::new(0x2_0000_0400, oid))).exists());
    }
    for oid in (1..first).rev().take(500) {
        check!(!ok!(s.object(&Fid::new(0x2_0000_0400, oid))).exists());
    }
    check!(!ok!(s.object(&Fid::new(0x2_0000_0400, last + 1))).exists());
    pr_info!("files {} to {}\n", first - 1, last - 1);
    // And it goes on.
    ok!(make(
        &s,
        &root,
        b"after",
        Fid::new(0x2_0000_0400, last + 1),
        &REG
    ));
    Ok(())
}

struct Test;

impl kernel::Module for Test {
    fn init(_module: &'static kernel::ThisModule) -> Result<Self> {
        match module_parameters::test.value() {
            1 => wrappers()?,
            2 => fresh()?,
            3 => tree()?,
            4 => objects()?,
            5 => data()?,
            6 => threads(2000)?,
            7 => until_killed()?,
            8 => after_kill()?,
            9 => threads(60)?,
            _ => return Err(EINVAL),
        }
        Ok(Test)
    }
}
