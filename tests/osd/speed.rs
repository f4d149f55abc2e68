// SPDX-License-Identifier: GPL-2.0

//! How fast the store is, beside ext4's operations alone (`bare.rs`). `tests/osd/rates` makes a table
//! of what the log says.

use crate::bare;
use crate::meter::{Meter, Work};
use crate::threads::file_name;
use crate::Store;
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef, SetAttr, Time, Walk};
use osd_contract::ops::{make, place, root, set};
use osd_contract::{check, ok, Stage};

/// Objects of each measurement with few and many: their rates should be the same.
const FEW: u32 = 5000;
/// The first sequence; each measurement has one of its own.
const SEQ: u64 = 0x2_0000_0400;
/// Files that are there, before what is measured with many.
const MANY_SEQ: u64 = 0x2_0001_0000;

/// Makes file `i` with an LMA, a layout and a name, as a create does.
pub(crate) fn create(d: &dyn Device, dir: &ObjectRef, seq: u64, i: u32) -> Result {
    let (o, name) = (ok!(d.new_object(&Fid::new(seq, 10 + i))), file_name(i));
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

fn names(s: &mut Store, meter: &Meter, seq: u64) -> Result {
    let d = s.device()?;
    let mut dirs = KVec::new();
    let base = ok!(root(&*d));
    for i in 0..meter.directories() {
        let (fid, name) = (Fid::new(seq, 1 + i), file_name(i + 10 * (seq - SEQ) as u32));
        dirs.push(
            ok!(make(&*d, &base, &name, fid, &Create::dir(0o755))),
            GFP_KERNEL,
        )?;
    }
    let dirs = Arc::new(dirs, GFP_KERNEL)?;
    let fid = move |w: &Work| Fid::new(seq, 10 + w.i);
    let rate = |what: &str, f: fn(&dyn Device, &ObjectRef, &Fid, &Work) -> Result| {
        let (d, dirs) = (d.clone(), dirs.clone());
        meter.rate(what, move |w| f(&*d, &dirs[w.dir], &fid(&w), &w))
    };
    rate("create", |d, dir, fid, w| create(d, dir, fid.seq, w.i))?;
    rate("lookup", |_, dir, fid, w| {
        check!(ok!(dir.lookup(&file_name(w.i))) == *fid);
        Ok(())
    })?;
    rate("inode", |d, _, fid, _| {
        check!(ok!(ok!(d.object(fid)).attr()).nlink == 1);
        Ok(())
    })?;
    rate("set attributes", |d, _, fid, w| {
        let attrs = SetAttr {
            mtime: Some(Time::secs(w.i.into())),
            ..SetAttr::default()
        };
        set(d, &ok!(d.object(fid)), &attrs)
    })?;
    rate("set xattr", |d, _, fid, _| {
        let o = ok!(d.object(fid));
        let mut plan = ok!(d.plan());
        ok!(plan.xattr(&o, 56));
        let mut run = ok!(plan.start());
        ok!(run.set_xattr(&o, c"trusted.lov", &[2; 56]));
        run.stop()
    })?;
    rate("get xattr", |d, _, fid, _| {
        let mut buf = [0; 64];
        check!(ok!(ok!(d.object(fid)).xattr(c"trusted.lov", &mut buf)) == 56);
        Ok(())
    })?;
    rate("insert", |d, dir, fid, w| {
        let (o, name) = (ok!(d.object(fid)), file_name(1_000_000 + w.i));
        let mut plan = ok!(d.plan());
        ok!(plan.insert(dir, &o));
        let mut run = ok!(plan.start());
        ok!(run.insert(dir, &name, &o));
        ok!(run.ref_add(&o));
        run.stop()
    })?;
    iterate(meter, &dirs)?;
    if let Some(m) = &s.mounted {
        m.forget();
    }
    rate("inode, forgotten", |d, _, fid, _| {
        check!(ok!(ok!(d.object(fid)).attr()).nlink == 2);
        Ok(())
    })?;
    rate("destroy", |d, dir, _, w| {
        let name = file_name(1_000_000 + w.i);
        let o = ok!(d.object(&ok!(dir.lookup(&name))));
        let mut plan = ok!(d.plan());
        ok!(plan.remove(dir, &name));
        ok!(plan.remove(dir, &file_name(w.i)));
        ok!(plan.destroy(&o));
        let mut run = ok!(plan.start());
        for name in [name, file_name(w.i)] {
            ok!(run.remove(dir, &name));
            ok!(run.ref_del(&o));
        }
        ok!(run.destroy(&o));
        run.stop()
    })
}

/// Reads the directories, with the FIDs of the entries; a rate of entries.
fn iterate(meter: &Meter, dirs: &Arc<KVec<ObjectRef>>) -> Result {
    let start = Instant::now();
    let mut entries = 0_u64;
    for dir in dirs.iter() {
        let mut at = 0;
        loop {
            let before = entries;
            at = ok!(dir.readdir(at, &mut |_| {
                entries += 1;
                Ok(Walk::Next)
            }));
            if entries == before {
                break;
            }
        }
    }
    let us = start.elapsed().as_micros().max(1) as u64;
    check!(entries >= u64::from(meter.total()));
    meter.say("entry read", entries * 1_000_000 / us);
    Ok(())
}

fn bulk(s: &Store, meter: &Meter, first: u32) -> Result {
    let d = s.device()?;
    let mut files = KVec::new();
    for t in 0..meter.threads {
        let o = ok!(place(&*d, Fid::new(1, first + t), &Create::file(0o644)));
        files.push(o, GFP_KERNEL)?;
    }
    let files = Arc::new(files, GFP_KERNEL)?;
    let (pages, len) = (ok!(meter.pages()), meter.pages * PAGE_SIZE);
    for what in ["new write", "write"] {
        let (files, pages, d) = (files.clone(), pages.clone(), d.clone());
        meter.rate(what, move |w| {
            let p = pages[w.thread].lock();
            let o = &files[w.thread];
            ok!(o.write_pages(&p, 0, len, w.nth * len as u64));
            // What gives it its number.
            set(&*d, o, &SetAttr::default())
        })?;
    }
    meter.rate("read", move |w| {
        let p: &mut Pages = &mut pages[w.thread].lock();
        check!(ok!(files[w.thread].read_pages(p, 0, len, w.nth * len as u64)) == len);
        Ok(())
    })
}

/// Measures both. `many`: what the store does with so many objects more, too.
pub(crate) fn measure(many: u32) -> Result {
    let meter = |kind, threads, apart| Meter {
        kind,
        threads,
        apart,
        each: FEW / threads,
        pages: 0,
    };
    let ways = [(1, false), (4, false), (4, true)];
    let transfers = |kind, threads, pages: usize| Meter {
        kind,
        threads,
        apart: true,
        each: (16384 / pages / threads as usize).clamp(5, 2000) as u32,
        pages,
    };
    let mut s = Store::open(false)?;
    // In UML, the host gives each page of memory when it is first used: whoever is measured first
    // would pay for it.
    for n in 0..3 {
        bulk(&s, &transfers("warm", 4, 4096), 1000 + 10 * n)?;
    }
    for (n, (threads, apart)) in ways.into_iter().enumerate() {
        names(&mut s, &meter("store", threads, apart), SEQ + n as u64)?;
    }
    let sizes = [1, 16, 256, 1024, 4096];
    for (n, pages) in sizes.into_iter().enumerate() {
        for threads in [1, 4] {
            bulk(
                &s,
                &transfers("store", threads, pages),
                100 + 10 * n as u32 + threads,
            )?;
        }
    }
    if many > 0 {
        fill(&s, many)?;
        names(&mut s, &meter("store, many", 1, false), SEQ + 9)?;
    }
    drop(s);
    let mut number = 9_000_000;
    for (threads, apart) in ways {
        bare::names(&meter("bare", threads, apart), number)?;
        number += threads;
    }
    for pages in sizes {
        for threads in [1, 4] {
            bare::bulk(&transfers("bare", threads, pages), number)?;
            number += 1;
        }
    }
    Ok(())
}

/// Makes `many` objects, in directories of 10,000.
fn fill(s: &Store, many: u32) -> Result {
    let d = s.device()?;
    let base = ok!(root(&*d));
    for n in 0..many.div_ceil(10_000) {
        let seq = MANY_SEQ + u64::from(n);
        let (fid, name) = (Fid::new(seq, 1), file_name(5_000_000 + n));
        let dir = ok!(make(&*d, &base, &name, fid, &Create::dir(0o755)));
        for i in 0..10_000 {
            create(&*d, &dir, seq, i)?;
        }
    }
    pr_info!(
        "{} objects in memory\n",
        s.mounted.as_ref().map_or(0, |m| m.in_memory())
    );
    Ok(())
}
