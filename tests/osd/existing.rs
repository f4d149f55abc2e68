// SPDX-License-Identifier: GPL-2.0

//! Reads the recorded disks of existing servers; `tests/osd/images` compares what the log says.

use crate::threads::file_name;
use crate::{Store, DEV};
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use osd::{Create, Device, Fid, Walk};
use osd_contract::ops::{make, remove, rename};
use osd_contract::{check, fails, ok, Stage};
use osd_ldiskfs::{mount, Options};
use wire::disk::scrub::{ScrubFlags, ScrubStatus};

/// A name that was found.
struct Seen {
    path: KVVec<u8>,
    fid: Fid,
}

/// Walks the name space of an MDT.
pub(crate) fn tree() -> Result {
    {
        // First without a trace.
        let mut m = ok!(mount(DEV, &Options { readonly: true }));
        let data = ok!(m.read_file(b"CONFIGS/mountdata", 65536));
        check!(data.len() == 12288);
        fails!(m.read_file(b"CONFIGS/mountdata", 100).map(drop), EFBIG);
        fails!(m.read_file(b"CONFIGS", 100).map(drop), EINVAL);
        fails!(m.read_file(b"CONFIGS/none", 100).map(drop), ENOENT);
        check!(ok!(m.superblock()).label.starts_with(b"lustre-MDT0000"));
        let d = ok!(m.open(false));
        check!(ok!(d.object(&Fid::ROOT)).exists() && ok!(m.statfs()).readonly);
        fails!(ok!(d.plan()).start().map(drop), EROFS);
    }
    walk(&Store::open(false)?)
}

/// The same, of an MDT whose index is lost or that of another file system.
pub(crate) fn damaged() -> Result {
    {
        let mut m = ok!(mount(DEV, &Options { readonly: true }));
        fails!(m.open(false).map(drop), EUCLEAN);
    }
    let s = Store::open(false)?;
    let before = ok!(s.device()?.scrub().ok_or(ENODEV));
    check!(before.running.is_some() || before.file.status() != ScrubStatus::Init);
    walk(&s)
}

/// The same, of an MDT whose index turns out to be damaged while it is in use: that is noted, and it
/// is made anew at the next mount.
pub(crate) fn spoiled() -> Result {
    {
        let s = Store::open(false)?;
        let d = s.device()?;
        let seen = tree_of(&*d)?;
        if let Some(m) = &s.mounted {
            m.forget();
        }
        let lost = seen.iter().filter(|f| d.object(&f.fid).is_err()).count();
        pr_info!("{} of {} objects are out of reach\n", lost, seen.len());
        check!(lost > 0);
        let begun = Instant::now();
        while !ok!(d.scrub().ok_or(ENODEV))
            .file
            .flags()
            .contains(ScrubFlags::RECREATED)
        {
            check!(begun.elapsed() < SCAN);
            kapi::time::sleep(Duration::from_millis(10));
        }
    }
    walk(&Store::open(false)?)
}

/// How long a scan of all inodes may take.
const SCAN: Duration = Duration::from_secs(60);

/// Waits until no object is hidden by a scan of all inodes.
pub(crate) fn scanned(d: &dyn Device) -> Result {
    let begun = Instant::now();
    loop {
        let s = ok!(d.scrub().ok_or(ENODEV));
        if s.running.is_none() && s.file.flags().is_empty() {
            pr_info!(
                "scrub {:?} {} checked {} updated {} failed\n",
                s.file.status(),
                s.file.sf_items_checked.get(),
                s.file.sf_items_updated.get(),
                s.file.sf_items_failed.get()
            );
            check!(s.file.sf_items_failed.get() == 0);
            return Ok(());
        }
        check!(begun.elapsed() < SCAN);
        kapi::time::sleep(Duration::from_millis(10));
    }
}

/// Makes names and objects, moves them, and leaves nothing of them.
fn change(d: &dyn Device) -> Result {
    const SEQ: u64 = 0x3_0000_0400;
    const FILES: u32 = 300;
    let top = ok!(d.object(&Fid::ROOT));
    let dirs = [1, 2].map(|n| {
        let fid = Fid::new(SEQ, n);
        make(d, &top, &file_name(n), fid, &Create::dir(0o755))
    });
    let [a, b] = dirs;
    let (a, b) = (ok!(a), ok!(b));
    for i in 0..FILES {
        let fid = Fid::new(SEQ, 10 + i);
        ok!(make(d, &a, &file_name(i), fid, &Create::file(0o644)));
    }
    for i in 0..FILES / 2 {
        // Some onto others.
        ok!(rename(d, &a, &file_name(i), &b, &file_name(i / 2)));
    }
    for i in 0..FILES {
        let (dir, name) = match i < FILES / 2 {
            true => (&b, file_name(i / 2)),
            false => (&a, file_name(i)),
        };
        if dir.lookup(&name).is_ok() {
            ok!(remove(d, dir, &name));
        }
    }
    for n in [1, 2] {
        ok!(remove(d, &top, &file_name(n)));
    }
    Ok(())
}

/// Walks the name space, and has the log say what is there.
fn tree_of(d: &dyn Device) -> Result<KVVec<Seen>> {
    let mut todo: KVVec<Seen> = KVVec::new();
    let mut path = KVVec::new();
    path.extend_from_slice(b".", GFP_KERNEL)?;
    let fid = Fid::ROOT;
    todo.push(Seen { path, fid }, GFP_KERNEL)?;
    let mut at = 0;
    while at < todo.len() {
        let (fid, len) = (todo[at].fid, todo[at].path.len());
        let o = ok!(d.object(&fid));
        check!(o.exists());
        let a = ok!(o.attr());
        pr_info!(
            "obj {} {:o} {} {} {} {} {}\n",
            fid,
            a.mode & 0o7777,
            a.uid,
            a.gid,
            a.nlink,
            a.mtime.sec,
            core::str::from_utf8(&todo[at].path)
                .unwrap_or("?")
                .escape_debug()
        );
        if a.is_dir() {
            let mut found: KVVec<Seen> = KVVec::new();
            ok!(o.readdir(0, &mut |e| {
                if e.name != b"." && e.name != b".." {
                    let mut path = KVVec::with_capacity(len + 1 + e.name.len(), GFP_KERNEL)?;
                    path.extend_from_slice(&todo[at].path, GFP_KERNEL)?;
                    path.push(b'/', GFP_KERNEL)?;
                    path.extend_from_slice(e.name, GFP_KERNEL)?;
                    found.push(Seen { path, fid: e.fid }, GFP_KERNEL)?;
                }
                Ok(Walk::Next)
            }));
            for f in found {
                let name = &f.path[len + 1..];
                check!(ok!(o.lookup(name)) == f.fid);
                todo.push(f, GFP_KERNEL)?;
            }
            fails!(o.lookup(b"no such name"), ENOENT);
        }
        at += 1;
    }
    Ok(todo)
}

fn walk(s: &Store) -> Result {
    let d = s.device()?;
    let todo = tree_of(&*d)?;
    scanned(&*d)?;
    // Now through the index alone.
    if let Some(m) = &s.mounted {
        m.forget();
    }
    for f in todo.iter() {
        check!(ok!(d.object(&f.fid)).exists());
    }
    change(&*d)?;
    pr_info!("tree {} objects\n", todo.len());
    Ok(())
}

/// Reads the objects of an OST.
pub(crate) fn objects() -> Result {
    let s = Store::open(true)?;
    let d = s.device()?;
    for seq in [0x2_4000_0400, 0x2_8000_0400, 0x1_0000_0000, 0x1_0001_0000] {
        let counter = ok!(d.object(&Fid::new(seq, 0)));
        if !counter.exists() {
            continue;
        }
        let mut last = [0; 8];
        check!(ok!(counter.read(0, &mut last)) == 8);
        let last = u64::from_le_bytes(last) as u32;
        let mut pages = ok!(Pages::new(64));
        let mut buf = KVVec::from_elem(0_u8, 64 * PAGE_SIZE, GFP_KERNEL)?;
        for oid in 1..=last {
            let o = ok!(d.object(&Fid::new(seq, oid)));
            if !o.exists() {
                continue;
            }
            let (mut pos, mut crc) = (0, !0);
            loop {
                let n = ok!(o.read_pages(&mut pages, 0, 64 * PAGE_SIZE, pos));
                if n == 0 {
                    break;
                }
                pages.copy_out(0, &mut buf[..n])?;
                crc = kapi::checksum::crc32(crc, &buf[..n]);
                pos += n as u64;
            }
            let size = ok!(o.attr()).size;
            check!(pos == size);
            pr_info!("obj {:x} {:x} {} {:08x}\n", seq, oid, size, !crc);
        }
    }
    Ok(())
}
