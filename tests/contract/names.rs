// SPDX-License-Identifier: GPL-2.0

//! Objects, their names and attributes, case by case.

use crate::ops::{self, make, remove, rename, root};
use crate::{check, fails, ok, Stage};
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef, SetAttr, Time, Walk};
use wire::fid::{oid, seq};

const SEQ: u64 = 0x2_0000_0400;
/// The root of the name space.
const ROOT: Fid = Fid {
    seq: 0x2_0000_0007,
    oid: 1,
    ver: 0,
};

fn fid(n: u32) -> Fid {
    Fid::new(SEQ, n)
}

fn numbered(i: u32) -> [u8; 8] {
    let mut name = *b"file-000";
    name[5] += (i / 100) as u8;
    name[6] += (i / 10 % 10) as u8;
    name[7] += (i % 10) as u8;
    name
}

fn count(o: &ObjectRef, from: u64) -> Result<(usize, u64)> {
    let (mut n, mut last) = (0, 0);
    let end = o.readdir(from, &mut |e| {
        if e.pos < last {
            return Err(EINVAL);
        }
        last = e.pos;
        n += 1;
        Ok(Walk::Next)
    })?;
    Ok((n, end))
}

pub(crate) fn check(stage: &mut dyn Stage, files: u32) -> Result {
    {
        let d = stage.device()?;
        fresh(&*d)?;
        let base = ok!(root(&*d));
        let top = ok!(make(&*d, &base, b"ROOT", ROOT, &Create::dir(0o755)));
        many(&*d, &top, files)?;
        kinds(&*d, &top)?;
        moves(&*d, &top)?;
        nameless(&*d, &top)?;
        attributes(&*d, &top)?;
        xattrs(&*d, &top)?;
        errors(&*d, &top)?;
        remote(&*d, &top)?;
    }
    stage.reopen()?;
    let d = stage.device()?;
    let top = ok!(d.object(&ROOT));
    let b = ok!(d.object(&ok!(top.lookup(b"b2"))));
    check!(*b.fid() == fid(2) && ok!(b.attr()).version == 0x1_0000_0005);
    let left = files - files / 2;
    check!(ok!(count(&b, 0)) == (left as usize + 2, i64::MAX as u64));
    check!(!ok!(d.object(&fid(100))).exists());
    check!(ok!(d.object(&fid(99 + files))).exists());
    // Unlike the rest, it had no name and no place.
    check!(!ok!(d.object(&fid(5003))).exists());
    let a = ok!(ok!(d.object(&ok!(top.lookup(b"attributes")))).attr());
    check!(a.uid == 500 && a.gid == 501 && a.projid == 502 && a.version == 9);
    check!(a.atime == Time { sec: 1, nsec: 2 } && a.mode == 0o100711);
    Ok(())
}

fn fresh(d: &dyn Device) -> Result {
    let base = ok!(root(d));
    check!(ok!(base.attr()).is_dir());
    let s = ok!(d.statfs());
    check!(s.bfree > 0 && s.bfree <= s.blocks && s.ffree > 0 && s.ffree <= s.files);
    check!(s.namelen == 255 && !s.readonly && s.bsize.is_power_of_two());
    let none = ok!(d.object(&fid(1)));
    check!(!none.exists() && *none.fid() == fid(1));
    fails!(none.attr(), ENOENT);
    fails!(none.lookup(b"x"), ENOENT);
    fails!(none.read(0, &mut [0]), ENOENT);
    fails!(none.xattr(c"trusted.lma", &mut []), ENOENT);
    let acct = Fid {
        seq: seq::LOCAL_FILE,
        oid: oid::ACCT_USER,
        ver: 0,
    };
    fails!(d.object(&acct).map(drop), EOPNOTSUPP);
    let mut plan = ok!(d.plan());
    fails!(plan.create(&base, &Create::dir(0), None), EOPNOTSUPP);
    fails!(plan.remove(&base, b"no such name"), ENOENT);
    let run = ok!(ok!(d.plan()).start());
    fails!(ok!(d.plan()).start().map(drop), EDEADLK);
    ok!(run.stop());
    ok!(ok!(ok!(d.plan()).start()).stop());
    Ok(())
}

/// A directory of more than a block.
fn many(d: &dyn Device, top: &ObjectRef, files: u32) -> Result {
    check!(ok!(top.attr()).nlink == 2);
    let a = ok!(make(d, top, b"a", fid(1), &Create::dir(0o755)));
    let b = ok!(make(d, &a, b"b", fid(2), &Create::dir(0o700)));
    check!(ok!(top.attr()).nlink == 3 && ok!(a.attr()).nlink == 3 && ok!(b.attr()).nlink == 2);
    check!(ok!(b.is_empty_dir()) && !ok!(a.is_empty_dir()));
    let f = ok!(make(d, &b, b"f", fid(5), &Create::file(0o644)));
    let attr = ok!(f.attr());
    check!(attr.nlink == 1 && attr.mtime == Time::secs(77) && attr.mode == 0o100644);
    check!(attr.atime == Time::default() && attr.ctime == Time::default());
    check!(attr.uid == 0 && attr.gid == 0 && attr.projid == 0 && attr.size == 0);
    check!(attr.version == 0x1_0000_0005 && attr.btime > Time::default());
    for i in 0..files {
        ok!(make(
            d,
            &b,
            &numbered(i),
            fid(100 + i),
            &Create::file(0o644)
        ));
    }
    check!(ok!(b.lookup(b"file-221")) == fid(321));
    fails!(b.lookup(&numbered(files)), ENOENT);
    check!(ok!(b.lookup(b".")) == fid(2) && ok!(b.lookup(b"..")) == fid(1));
    check!(ok!(top.lookup(b"..")) == ROOT);
    let all = files as usize + 3;
    check!(ok!(count(&b, 0)) == (all, i64::MAX as u64));
    check!(ok!(b.attr()).mtime == Time::secs(77));
    // In parts: each entry comes once.
    let (mut pos, mut n, mut parts) = (0, 0, 0);
    while pos < i64::MAX as u64 {
        let mut left = 50;
        pos = ok!(b.readdir(pos, &mut |e| {
            if left == 0 {
                return Ok(Walk::Stop);
            }
            if e.name.starts_with(b"file-") && (e.ty != 8 || e.fid.seq != SEQ) {
                return Err(EIO);
            }
            left -= 1;
            n += 1;
            Ok(Walk::Next)
        }));
        parts += 1;
        check!(parts < 100);
    }
    check!(n == all && parts > all / 50);
    // Whoever walks may look.
    ok!(b.readdir(0, &mut |e| {
        if b.lookup(e.name)? == e.fid {
            Ok(Walk::Next)
        } else {
            Err(EIO)
        }
    }));
    fails!(b.readdir(0, &mut |_| Err(ENOMEM)), ENOMEM);
    for i in 0..files / 2 {
        ok!(remove(d, &b, &numbered(i)));
    }
    check!(ok!(count(&b, 0)).0 == all - files as usize / 2);
    Ok(())
}

fn kinds(d: &dyn Device, top: &ObjectRef) -> Result {
    let a = ok!(d.object(&ok!(top.lookup(b"a"))));
    let link = Create {
        mode: 0o120777,
        rdev: 0,
        target: Some(c"where/to"),
    };
    let l = ok!(make(d, &a, b"l", fid(3), &link));
    let mut buf = [0; 16];
    check!(ok!(l.readlink(&mut buf)) == 8 && buf.starts_with(b"where/to"));
    check!(ok!(l.readlink(&mut buf[..3])) == 3 && ok!(l.attr()).size == 8);
    let fifo = Create {
        mode: 0o010600,
        ..Create::default()
    };
    ok!(make(d, &a, b"p", fid(4), &fifo));
    let device = Create {
        mode: 0o020600,
        rdev: 0x0501,
        target: None,
    };
    let c = ok!(make(d, &a, b"c", fid(6), &device));
    check!(ok!(c.attr()).rdev == 0x0501);
    ok!(a.readdir(0, &mut |e| {
        let ty = match e.name {
            b"l" => 10,
            b"p" => 1,
            b"c" => 2,
            _ => 4,
        };
        if e.ty == ty {
            Ok(Walk::Next)
        } else {
            Err(EIO)
        }
    }));
    fails!(l.lookup(b"x"), ENOTDIR);
    fails!(a.readlink(&mut buf), EINVAL);
    fails!(c.read(0, &mut buf), EINVAL);
    fails!(a.read(0, &mut buf), EINVAL);
    fails!(a.truncate(0), EINVAL);
    for name in [&b"l"[..], b"p", b"c"] {
        ok!(remove(d, &a, name));
    }
    Ok(())
}

fn moves(d: &dyn Device, top: &ObjectRef) -> Result {
    let a = ok!(d.object(&ok!(top.lookup(b"a"))));
    let b = ok!(d.object(&ok!(a.lookup(b"b"))));
    let f = ok!(d.object(&ok!(b.lookup(b"f"))));
    // A directory goes to another one.
    ok!(rename(d, &a, b"b", top, b"b2"));
    check!(ok!(b.lookup(b"..")) == ROOT && ok!(top.lookup(b"b2")) == fid(2));
    check!(ok!(a.attr()).nlink == 2 && ok!(b.attr()).nlink == 2 && ok!(a.is_empty_dir()));
    // A second name; the first one goes.
    let mut plan = ok!(d.plan());
    ok!(plan.insert(top, &f));
    let mut run = ok!(plan.start());
    ok!(run.insert(top, b"f2", &f));
    ok!(run.ref_add(&f));
    ok!(run.stop());
    check!(ok!(f.attr()).nlink == 2);
    let mut plan = ok!(d.plan());
    ok!(plan.remove(&b, b"f"));
    let mut run = ok!(plan.start());
    ok!(run.remove(&b, b"f"));
    ok!(run.ref_del(&f));
    ok!(run.stop());
    check!(ok!(f.attr()).nlink == 1 && ok!(top.lookup(b"f2")) == fid(5));
    fails!(b.lookup(b"f"), ENOENT);
    ok!(remove(d, top, b"a"));
    check!(!a.exists());
    // Over a file, and over an empty directory.
    for (n, what) in [(6000, Create::file(0o644)), (6010, Create::dir(0o755))] {
        let links = ok!(top.attr()).nlink;
        let over = ok!(make(d, top, b"over", fid(n), &what));
        ok!(make(d, top, b"by", fid(n + 1), &what));
        ok!(rename(d, top, b"by", top, b"over"));
        check!(ok!(top.lookup(b"over")) == fid(n + 1) && !over.exists());
        fails!(top.lookup(b"by"), ENOENT);
        ok!(remove(d, top, b"over"));
        check!(ok!(top.attr()).nlink == links);
    }
    Ok(())
}

/// Objects that are made before it is known where.
fn nameless(d: &dyn Device, top: &ObjectRef) -> Result {
    let dir = ok!(d.object(&fid(5000)));
    let (f, g) = (ok!(d.object(&fid(5001))), ok!(d.object(&fid(5002))));
    let mut plan = ok!(d.plan());
    ok!(plan.create(&dir, &Create::dir(0o755), None));
    ok!(plan.insert(top, &dir));
    for o in [&f, &g] {
        ok!(plan.create(o, &Create::file(0o644), None));
        ok!(plan.insert(&dir, o));
    }
    let mut run = ok!(plan.start());
    ok!(run.create(&dir, &Create::dir(0o755), None));
    ok!(run.create(&f, &Create::file(0o644), None));
    ok!(run.create(&g, &Create::file(0o600), None));
    ok!(run.insert(top, b"new", &dir));
    ok!(run.ref_add(top));
    // Into the directory that is just being made.
    ok!(run.insert(&dir, b"f", &f));
    ok!(run.insert(&dir, b"g", &g));
    ok!(run.stop());
    check!(ok!(dir.lookup(b"..")) == ROOT && ok!(dir.lookup(b"f")) == fid(5001));
    check!(ok!(g.attr()).mode == 0o100600 && ok!(g.attr()).nlink == 1);
    // A name that fails leaves an object without one, which does not stay.
    let lost = ok!(d.object(&fid(5003)));
    let mut plan = ok!(d.plan());
    ok!(plan.create(&lost, &Create::file(0), None));
    ok!(plan.insert(&dir, &lost));
    let mut run = ok!(plan.start());
    ok!(run.create(&lost, &Create::file(0), None));
    fails!(run.insert(&dir, b"f", &lost), EEXIST);
    let _ = run.stop();
    drop(lost);
    // A file with a fixed number has its name from the start.
    let rcvd = ok!(d.object(&Fid::local(oid::LAST_RCVD)));
    let base = ok!(root(d));
    let mut plan = ok!(d.plan());
    ok!(plan.create(&rcvd, &Create::file(0o644), None));
    ok!(plan.insert(&base, &rcvd));
    let mut run = ok!(plan.start());
    ok!(run.create(&rcvd, &Create::file(0o644), None));
    ok!(run.insert(&base, b"last_rcvd", &rcvd));
    ok!(run.stop());
    check!(ok!(base.lookup(b"last_rcvd")) == *rcvd.fid() && ok!(rcvd.attr()).nlink == 1);
    Ok(())
}

fn attributes(d: &dyn Device, top: &ObjectRef) -> Result {
    let before = ok!(d.usage(osd::UsageKind::User, 500)).inodes;
    let o = ok!(make(d, top, b"attributes", fid(7000), &Create::file(0o644)));
    ok!(ops::set(
        d,
        &o,
        &SetAttr {
            mode: Some(0o140711),
            uid: Some(500),
            gid: Some(501),
            projid: Some(502),
            atime: Some(Time { sec: 1, nsec: 2 }),
            mtime: Some(Time { sec: 3, nsec: 4 }),
            ctime: Some(Time {
                sec: 5,
                nsec: 999_999_999
            }),
            flags: Some(0x40),
            version: Some(u64::MAX >> 1),
        }
    ));
    let a = ok!(o.attr());
    // The type stays.
    check!(a.mode == 0o100711 && a.uid == 500 && a.gid == 501 && a.projid == 502);
    check!(a.atime == Time { sec: 1, nsec: 2 } && a.mtime == Time { sec: 3, nsec: 4 });
    check!(a.ctime.nsec == 999_999_999 && a.version == u64::MAX >> 1 && a.flags & 0xff == 0x40);
    check!(ok!(d.usage(osd::UsageKind::User, 500)).inodes == before + 1);
    let mut set = SetAttr {
        flags: Some(0),
        ..SetAttr::default()
    };
    check!(!set.is_empty());
    ok!(ops::set(d, &o, &set));
    check!(ok!(o.attr()).flags & 0xff == 0 && ok!(o.attr()).uid == 500);
    set.version = Some(9);
    ok!(ops::set(d, &o, &set));
    check!(ok!(o.attr()).version == 9 && ok!(o.attr()).mtime.sec == 3);
    Ok(())
}

/// Names of objects of other targets.
fn remote(d: &dyn Device, top: &ObjectRef) -> Result {
    let dir = ok!(make(d, top, b"remote", fid(7100), &Create::dir(0o755)));
    let kinds = [
        (&b"file"[..], 0o100644, 7),
        (b"dir", 0o040755, 8),
        (b"link", 0o120777, 9),
        (b"pipe", 0o010600, 10),
    ];
    let away = |n| Fid::new(SEQ + 99, n);
    let mut plan = ok!(d.plan());
    for _ in 0..=kinds.len() {
        ok!(plan.insert_remote(&dir));
    }
    let mut run = ok!(plan.start());
    for (name, mode, n) in kinds {
        ok!(run.insert_remote(&dir, name, &away(n), mode));
    }
    fails!(
        run.insert_remote(&dir, b"file", &away(11), 0o100644),
        EEXIST
    );
    ok!(run.stop());
    for (name, mode, n) in kinds {
        check!(ok!(dir.lookup(name)) == away(n));
        // It is none of ours.
        check!(!ok!(d.object(&away(n))).exists());
        let mut seen = false;
        ok!(dir.readdir(0, &mut |e| {
            seen |= e.name == name && e.fid == away(n) && e.ty == mode >> 12;
            Ok(Walk::Next)
        }));
        check!(seen);
    }
    let mut plan = ok!(d.plan());
    for (name, _, _) in kinds {
        ok!(plan.remove(&dir, name));
    }
    ok!(plan.insert_remote(&dir));
    let mut run = ok!(plan.start());
    for (name, _, _) in kinds {
        ok!(run.remove(&dir, name));
    }
    // A name that is free in the same transaction.
    ok!(run.insert_remote(&dir, b"dir", &away(12), 0o040000));
    ok!(run.stop());
    check!(ok!(dir.lookup(b"dir")) == away(12));
    fails!(dir.lookup(b"file"), ENOENT);
    let mut plan = ok!(d.plan());
    ok!(plan.remove(&dir, b"dir"));
    let mut run = ok!(plan.start());
    ok!(run.remove(&dir, b"dir"));
    ok!(run.stop());
    check!(ok!(dir.is_empty_dir()) && ok!(dir.attr()).nlink == 2);
    remove(d, top, b"remote")
}

/// An ACL: version 2, then tag, permissions and id of the owner, user 7, the group, the mask and others.
#[rustfmt::skip]
const ACL: [u8; 44] = [
    2, 0, 0, 0,
    1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff,
    2, 0, 4, 0, 7, 0, 0, 0,
    4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
    16, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
    32, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
];

fn xattrs(d: &dyn Device, top: &ObjectRef) -> Result {
    let o = ok!(make(d, top, b"xattrs", fid(7001), &Create::file(0o644)));
    let mut buf = [0; 64];
    check!(ok!(o.xattr(c"trusted.link", &mut [])) == 40);
    check!(ok!(o.xattr(c"trusted.link", &mut buf)) == 40 && buf[..40] == [3; 40]);
    fails!(o.xattr(c"trusted.link", &mut buf[..39]), ERANGE);
    fails!(o.xattr(c"trusted.none", &mut buf), ENODATA);
    let long = KVVec::from_elem(5_u8, 3000, GFP_KERNEL)?;
    let mut plan = ok!(d.plan());
    ok!(plan.xattr(&o, 3000));
    ok!(plan.xattr(&o, 0));
    ok!(plan.xattr(&o, 0));
    ok!(plan.xattr(&o, 0));
    ok!(plan.xattr(&o, 4));
    ok!(plan.xattr(&o, ACL.len()));
    let mut run = ok!(plan.start());
    ok!(run.set_xattr(&o, c"user.long", &long));
    ok!(run.set_xattr(&o, c"system.posix_acl_access", &ACL));
    ok!(run.set_xattr(&o, c"trusted.empty", &[]));
    ok!(run.del_xattr(&o, c"trusted.link"));
    fails!(run.del_xattr(&o, c"trusted.none"), ENODATA);
    fails!(run.set_xattr(&o, c"nonsense", &[1; 4]), EOPNOTSUPP);
    ok!(run.stop());
    check!(ok!(o.xattr(c"trusted.empty", &mut buf)) == 0);
    fails!(o.xattr(c"trusted.link", &mut buf), ENODATA);
    check!(ok!(o.xattr_vec(c"user.long"))[..] == long[..]);
    check!(ok!(o.xattr_opt(c"user.none")).is_none());
    let n = ok!(o.list_xattr(&mut []));
    fails!(o.list_xattr(&mut buf[..n - 1]), ERANGE);
    let mut list = KVVec::from_elem(0_u8, n, GFP_KERNEL)?;
    check!(ok!(o.list_xattr(&mut list)) == n);
    let has = |name: &[u8]| list.split(|b| *b == 0).any(|n| n == name);
    check!(has(b"user.long") && has(b"trusted.empty") && has(b"trusted.lma"));
    check!(has(b"system.posix_acl_access") && !has(b"system.posix_acl_default"));
    check!(!has(b"trusted.link"));
    Ok(())
}

fn errors(d: &dyn Device, top: &ObjectRef) -> Result {
    let o = ok!(make(d, top, b"errors", fid(7002), &Create::file(0o644)));
    let mut plan = ok!(d.plan());
    ok!(plan.create(&o, &Create::file(0), None));
    ok!(plan.insert(top, &o));
    let mut run = ok!(plan.start());
    fails!(run.create(&o, &Create::file(0), None), EEXIST);
    fails!(run.insert(top, b"errors", &o), EEXIST);
    fails!(run.insert(top, b"", &o), EINVAL);
    fails!(run.insert(top, b"a/b", &o), EINVAL);
    fails!(run.insert(top, b"a\0b", &o), EINVAL);
    fails!(run.insert(top, &[b'x'; 256], &o), ENAMETOOLONG);
    ok!(run.insert(top, &[b'x'; 255], &o));
    ok!(run.ref_add(&o));
    ok!(run.stop());
    check!(ok!(top.lookup(&[b'x'; 255])) == fid(7002) && ok!(o.attr()).nlink == 2);
    // A name that leads elsewhere by now.
    let mut plan = ok!(d.plan());
    ok!(plan.remove(top, b"errors"));
    ok!(rename(d, top, b"xattrs", top, b"errors"));
    let mut run = ok!(plan.start());
    fails!(run.remove(top, b"errors"), EAGAIN);
    ok!(run.stop());
    check!(ok!(top.lookup(b"errors")) == fid(7001) && ok!(o.attr()).nlink == 1);
    Ok(())
}
