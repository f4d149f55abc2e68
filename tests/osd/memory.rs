// SPDX-License-Identifier: GPL-2.0

//! Objects in memory: not too many, and one for all who ask.

use crate::Store;
use kapi::prelude::*;
use osd::{Create, Fid};
use osd_contract::ops::{make, root};
use osd_contract::{check, ok, Stage};

const SEQ: u64 = 0x2_0000_0400;
/// As many as are kept, and some.
const MOST: usize = 34_000;

/// Asks for many objects.
pub(crate) fn check(many: u32) -> Result {
    let s = Store::open(false)?;
    let (d, m) = (s.device()?, ok!(s.mounted.as_ref().ok_or(ENODEV)));
    let base = ok!(root(&*d));
    // In use before it exists, and all the time.
    let held = ok!(d.object(&Fid::new(SEQ, 1)));
    for i in 0..many {
        check!(!ok!(d.object(&Fid::new(SEQ, 10 + i))).exists());
    }
    pr_info!("{} objects in memory\n", m.in_memory());
    check!(m.in_memory() <= MOST && m.in_memory() >= MOST.min(many as usize) / 2);
    ok!(make(&*d, &base, b"one", Fid::new(SEQ, 1), &Create::file(0)));
    check!(held.exists());
    // The table of inode numbers does not tell of who had the number before.
    for i in 0..200 {
        let fid = Fid::new(SEQ + 1, 1 + i);
        ok!(make(&*d, &base, b"again", fid, &Create::file(0)));
        check!(ok!(base.lookup(b"again")) == fid);
        if i % 3 == 0 {
            m.forget();
            check!(ok!(base.lookup(b"again")) == fid);
        }
        ok!(osd_contract::ops::remove(&*d, &base, b"again"));
    }
    check!(!ok!(d.object(&Fid::new(SEQ + 1, 200))).exists());
    drop(held);
    m.forget();
    // The root, which is held.
    check!(m.in_memory() < 10);
    Ok(())
}
