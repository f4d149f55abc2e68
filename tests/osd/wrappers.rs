// SPDX-License-Identifier: GPL-2.0

//! The wrappers of ext4 and jbd2 alone.

use crate::DEV;
use kapi::ldiskfs::{self, BlockFile, CommitSink, Credits, Handle, Mount, Walk};
use kapi::prelude::*;
use osd_contract::{check, ok};

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

/// Runs them.
pub(crate) fn check() -> Result {
    let s = ok!(ldiskfs::probe(DEV));
    check!(s.magic == 0xef53);
    let sink = Arc::new(Log, GFP_KERNEL)?;
    let m = ok!(Mount::open(
        DEV,
        c"user_xattr,acl,no_mbcache,nodelalloc",
        false,
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
