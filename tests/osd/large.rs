// SPDX-License-Identifier: GPL-2.0

//! A directory whose tree has a level more than ext4 had without `large_dir`. Small blocks and long names
//! bring that about with names that can be counted.

use crate::Store;
use kapi::prelude::*;
use osd::{Create, Fid, ObjectRef, SetAttr, Walk};
use osd_contract::ops::{make, root};
use osd_contract::{check, ok, Stage};

const SEQ: u64 = 0x2_0000_0400;
/// Names of an object: ext4 allows a few more.
const LINKS: u32 = 60_000;
const NAME: usize = 250;

fn name(i: u32) -> [u8; NAME] {
    let mut name = [b'n'; NAME];
    let digits = crate::threads::file_name(i);
    name[..digits.len()].copy_from_slice(&digits);
    name
}

/// Gives `o` the names `from..to` in `dir`, many in a transaction.
fn link(s: &Store, dir: &ObjectRef, o: &ObjectRef, from: u32, to: u32) -> Result {
    let d = s.device()?;
    let mut i = from;
    while i < to {
        let end = to.min(i + 8);
        let mut plan = ok!(d.plan());
        ok!(plan.attr(o, &SetAttr::default()));
        for _ in i..end {
            ok!(plan.insert(dir, o));
        }
        let mut run = ok!(plan.start());
        for n in i..end {
            ok!(run.insert(dir, &name(n), o));
            ok!(run.ref_add(o));
        }
        ok!(run.stop());
        i = end;
    }
    Ok(())
}

fn unlink(s: &Store, dir: &ObjectRef, o: &ObjectRef, i: u32) -> Result {
    let mut plan = ok!(s.device()?.plan());
    ok!(plan.remove(dir, &name(i)));
    let mut run = ok!(plan.start());
    ok!(run.remove(dir, &name(i)));
    ok!(run.ref_del(o));
    run.stop()
}

/// How many names there are; each is seen once.
fn count(dir: &ObjectRef, total: u32) -> Result<u32> {
    let mut seen = KVVec::from_elem(false, total as usize, GFP_KERNEL)?;
    let mut n = 0;
    // From where the last part ended, as clients do.
    let (mut at, mut parts) = (0, 0);
    loop {
        let mut left = 1000;
        let (before, next) = (
            n,
            ok!(dir.readdir(at, &mut |e| {
                if left == 0 {
                    return Ok(Walk::Stop);
                }
                if e.name.len() == NAME {
                    let digits = e.name[5..12].iter();
                    let i = digits.fold(0, |n, b| n * 10 + usize::from(b - b'0'));
                    check!(!core::mem::replace(&mut seen[i], true));
                    n += 1;
                }
                left -= 1;
                Ok(Walk::Next)
            })),
        );
        if n == before {
            pr_info!("{n} names in {parts} parts\n");
            return Ok(n);
        }
        (at, parts) = (next, parts + 1);
    }
}

/// Makes `total` names, finds them, removes some.
pub(crate) fn check(total: u32) -> Result {
    let mut s = Store::open(false)?;
    let d = s.device()?;
    let base = ok!(root(&*d));
    let dir = ok!(make(
        &*d,
        &base,
        b"large",
        Fid::new(SEQ, 1),
        &Create::dir(0o755)
    ));
    let objects = total.div_ceil(LINKS);
    let start = Instant::now();
    for k in 0..objects {
        let (first, end) = (k * LINKS, total.min((k + 1) * LINKS));
        let fid = Fid::new(SEQ, 10 + k);
        let o = ok!(make(
            &*d,
            &base,
            &name(k + 9_000_000),
            fid,
            &Create::file(0o600)
        ));
        link(&s, &dir, &o, first, end)?;
    }
    let size = ok!(dir.attr()).size;
    let ms = start.elapsed().as_millis() as u64;
    pr_info!("{total} names, {size} bytes, in {ms} ms\n");
    // Two levels of a block of 1 KiB lead to 123 * 126 blocks.
    check!(size > 123 * 126 * 1024);
    drop((dir, base, d));
    s.reopen()?;
    let d = s.device()?;
    let dir = ok!(d.object(&Fid::new(SEQ, 1)));
    check!(count(&dir, total)? == total);
    for i in 0..total {
        check!(ok!(dir.lookup(&name(i))) == Fid::new(SEQ, 10 + i / LINKS));
    }
    check!(dir.lookup(&name(total)).err() == Some(ENOENT));
    let mut left = total;
    for i in (0..total).step_by(7) {
        let o = ok!(d.object(&Fid::new(SEQ, 10 + i / LINKS)));
        unlink(&s, &dir, &o, i)?;
        check!(dir.lookup(&name(i)).err() == Some(ENOENT));
        left -= 1;
    }
    check!(count(&dir, total)? == left);
    Ok(())
}
