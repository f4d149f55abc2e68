// SPDX-License-Identifier: GPL-2.0

//! How fast the store is, and how fast ext4's operations alone are.

use crate::threads::file_name;
use crate::{Store, DEV};
use kapi::ldiskfs::{Credits, DataFile, Handle, Mount};
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef, SetAttr, Time};
use osd_contract::ops::{place, remove, root, set};
use osd_contract::{check, ok, Stage};

const FILES: u32 = 6000;
const PART: u32 = 300;
const SEQ: u64 = 0x2_0000_0400;
/// Pages of one bulk transfer, and transfers.
const BULK: usize = 1024;
const TRANSFERS: u32 = 48;

/// Runs `f` for each number below `n`, in parts of which the fastest counts: others use the machine.
fn rate(what: &str, n: u32, part: u32, mut f: impl FnMut(u32) -> Result) -> Result {
    let mut best = u64::MAX;
    for first in (0..n).step_by(part as usize) {
        let start = Instant::now();
        for i in first..first + part {
            f(i)?;
        }
        best = best.min(start.elapsed().as_micros().max(1) as u64);
    }
    pr_info!("{}: {}/s\n", what, u64::from(part) * 1_000_000 / best);
    Ok(())
}

const BYTES: usize = BULK * PAGE_SIZE;

struct Deaf;
impl kapi::ldiskfs::CommitSink for Deaf {
    fn committed(&self, _tid: u32, _aborted: bool) {}
}

/// ext4's operations in a handle, and nothing else.
fn bare() -> Result {
    let options = c"user_xattr,acl,no_mbcache,nodelalloc,data=ordered";
    let m = ok!(Mount::open(
        DEV,
        options,
        false,
        Arc::new(Deaf, GFP_KERNEL)?
    ));
    let root = ok!(m.root());
    let credits = m.credits(Credits::Create, 0)
        + m.credits(Credits::XattrNew, 24)
        + m.credits(Credits::XattrNew, 56);
    let nodes = |n: &kapi::ldiskfs::Node| -> Result<_> {
        let mut v = KVec::new();
        v.push(n.clone(), GFP_KERNEL)?;
        Ok(v)
    };
    let mut h = ok!(Handle::start(&m, nodes(&root)?, credits));
    let dir = ok!(h.create(&root, b"bare", 0o040755, 0, None));
    ok!(h.attr_mut(&root)).nlink += 1;
    ok!(h.stop());
    rate("bare: creates", FILES, PART, |i| {
        let mut h = ok!(Handle::start(&m, nodes(&dir)?, credits));
        let f = ok!(h.create(&dir, &file_name(i), 0o100644, 0, None));
        ok!(h.set_xattr(&f, c"trusted.lma", Some(&[1; 24]), true));
        ok!(h.set_xattr(&f, c"trusted.lov", Some(&[1; 56]), true));
        h.stop()
    })?;
    let mut h = ok!(Handle::start(&m, nodes(&dir)?, credits));
    let f = ok!(h.create(&dir, b"bulk", 0o100644, 0, None));
    ok!(h.stop());
    rate("bare: setattrs", FILES, PART, |i| {
        let mut h = ok!(Handle::start(&m, nodes(&f)?, 8));
        ok!(h.attr_mut(&f)).mtime = i.into();
        h.stop()
    })?;
    let file = ok!(DataFile::open(&f));
    let mut pages = ok!(Pages::new(BULK));
    for what in ["bare: new writes of 4 MiB", "bare: writes of 4 MiB"] {
        rate(what, TRANSFERS, 4, |i| {
            file.write(&pages, 0, BYTES, u64::from(i) * BYTES as u64)
        })?;
    }
    rate("bare: reads of 4 MiB", TRANSFERS, 4, |i| {
        file.read(&mut pages, 0, BYTES, u64::from(i) * BYTES as u64)
            .map(drop)
    })
}

fn create(d: &dyn Device, dir: &ObjectRef, i: u32) -> Result {
    let (o, name) = (ok!(d.object(&Fid::new(SEQ, 10 + i))), file_name(i));
    let what = Create::file(0o644);
    let mut plan = ok!(d.plan());
    ok!(plan.create(&o, &what, Some((dir, &name))));
    ok!(plan.insert(dir, &o));
    ok!(plan.xattr(&o, 56));
    let mut run = ok!(plan.start());
    ok!(run.create(&o, &what, Some((dir, &name))));
    ok!(run.set_xattr(&o, c"trusted.lov", &[1; 56]));
    let attrs = SetAttr {
        mtime: Some(Time::secs(1)),
        ..SetAttr::default()
    };
    ok!(run.set_attr(&o, &attrs));
    ok!(run.insert(dir, &name, &o));
    run.stop()
}

/// A directory of its own.
fn own_dir(d: &dyn Device) -> Result<ObjectRef> {
    let (base, fid) = (ok!(root(d)), Fid::new(SEQ, 1));
    osd_contract::ops::make(d, &base, b"speed", fid, &Create::dir(0o755))
}

/// An object of its own.
fn own_object(d: &dyn Device) -> Result<ObjectRef> {
    place(d, Fid::new(1, 77), &Create::file(0o644))
}

fn store(s: &Store) -> Result {
    let d = s.device()?;
    let own = ok!(own_dir(&*d));
    rate("creates", FILES, PART, |i| create(&*d, &own, i))?;
    for round in ["at hand", "forgotten"] {
        pr_info!("objects {}\n", round);
        rate("lookups", FILES, PART, |i| {
            check!(ok!(own.lookup(&file_name(i))).oid == 10 + i);
            Ok(())
        })?;
        rate("objects with their attributes", FILES, PART, |i| {
            let o = ok!(d.object(&Fid::new(SEQ, 10 + i)));
            check!(ok!(o.attr()).nlink == 1);
            Ok(())
        })?;
        if let Some(m) = &s.mounted {
            m.forget();
        }
    }
    let o = ok!(d.object(&Fid::new(SEQ, 10)));
    rate("setattrs", FILES, PART, |i| {
        let attrs = SetAttr {
            mtime: Some(Time::secs(i.into())),
            ..SetAttr::default()
        };
        set(&*d, &o, &attrs)
    })?;
    rate("removals", FILES, PART, |i| {
        remove(&*d, &own, &file_name(i))
    })?;
    let o = ok!(own_object(&*d));
    let mut pages = ok!(Pages::new(BULK));
    for what in ["new writes of 4 MiB", "writes of 4 MiB"] {
        rate(what, TRANSFERS, 4, |i| {
            ok!(o.write_pages(&pages, 0, BYTES, u64::from(i) * BYTES as u64));
            // What gives it its number.
            set(&*d, &o, &SetAttr::default())
        })?;
    }
    rate("reads of 4 MiB", TRANSFERS, 4, |i| {
        o.read_pages(&mut pages, 0, BYTES, u64::from(i) * BYTES as u64)
            .map(drop)
    })
}

/// Measures both.
pub(crate) fn measure() -> Result {
    bare()?;
    store(&Store::open(false)?)
}

/// Does one of each, and has the log say what it took of the journal. For the table in
/// `Documentation/osd.md`.
pub(crate) fn credits() -> Result {
    let s = Store::open(false)?;
    let d = s.device()?;
    let own = ok!(own_dir(&*d));
    for i in 0..5000 {
        create(&*d, &own, i)?;
    }
    let log = ok!(own_object(&*d));
    let one = |what: &str, f: &dyn Fn() -> Result| -> Result {
        // What is in a transaction already takes no credits.
        d.sync()?;
        pr_info!("{}\n", what);
        kapi::log::set_debug(true);
        let r = f();
        kapi::log::set_debug(false);
        r
    };
    let file = ok!(d.object(&Fid::new(SEQ, 10)));
    one("create", &|| create(&*d, &own, 5000))?;
    one("remove", &|| remove(&*d, &own, &file_name(5000)))?;
    one("rename", &|| {
        osd_contract::ops::rename(&*d, &own, &file_name(1), &own, &file_name(6000))
    })?;
    one("attributes", &|| set(&*d, &file, &SetAttr::default()))?;
    let owners = SetAttr {
        uid: Some(7),
        gid: Some(8),
        projid: Some(9),
        ..SetAttr::default()
    };
    one("owners", &|| set(&*d, &file, &owners))?;
    for len in [100, 4000, 60_000] {
        pr_info!("of {} bytes\n", len);
        for what in ["new xattr", "xattr again"] {
            one(what, &|| {
                let value = KVVec::from_elem(len as u8, len, GFP_KERNEL)?;
                let mut plan = ok!(d.plan());
                ok!(plan.xattr(&file, len));
                let mut run = ok!(plan.start());
                ok!(run.set_xattr(&file, c"trusted.some", &value));
                run.stop()
            })?;
        }
    }
    one("first write", &|| {
        osd_contract::ops::write(&*d, &log, 0, &[1; 100])
    })?;
    one("write", &|| {
        osd_contract::ops::write(&*d, &log, 100, &[1; 100])
    })?;
    one("write of 64 KiB", &|| {
        let data = KVVec::from_elem(1, 65536, GFP_KERNEL)?;
        osd_contract::ops::write(&*d, &log, 4096, &data)
    })?;
    for many in [32, 64, 128] {
        pr_info!("{} objects of an OST\n", many);
        one("creates", &|| {
            let mut all = KVec::new();
            let mut plan = ok!(d.plan());
            for i in 0..many {
                let o = ok!(d.object(&Fid::new(1, many * 10 + i)));
                ok!(plan.create(&o, &Create::file(0o644), None));
                all.push(o, GFP_KERNEL)?;
            }
            let mut run = ok!(plan.start());
            for o in all.iter() {
                ok!(run.create(o, &Create::file(0o644), None));
            }
            run.stop()
        })?;
    }
    Ok(())
}
