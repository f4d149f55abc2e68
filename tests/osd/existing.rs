// SPDX-License-Identifier: GPL-2.0

//! Reads the recorded disks of existing servers; `tests/osd/images` compares what the log says.

use crate::{Store, DEV};
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use osd::{Fid, Walk};
use osd_contract::{check, fails, ok, Stage};
use osd_ldiskfs::{mount, Options};

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
    let s = Store::open(false)?;
    let d = s.device()?;
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
    // Now through the index alone.
    if let Some(m) = &s.mounted {
        m.forget();
    }
    for f in todo.iter() {
        check!(ok!(d.object(&f.fid)).exists());
    }
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
