// SPDX-License-Identifier: GPL-2.0

//! What a crash leaves.

use crate::threads::file_name;
use crate::Store;
use kapi::prelude::*;
use osd::{Create, Fid, Walk};
use osd_contract::ops::{make, remove, root};
use osd_contract::{check, ok, Stage};

const SEQ: u64 = 0x2_0000_0400;

/// Works until the machine is switched off, saying what is safe.
pub(crate) fn until_killed() -> Result {
    let s = Store::open(false)?;
    let d = s.device()?;
    let base = ok!(root(&*d));
    let top = ok!(make(&*d, &base, b"ROOT", Fid::ROOT, &Create::dir(0o755)));
    let what = Create::file(0o644);
    for i in 0..10_000_000_u32 {
        let (o, name) = (ok!(d.object(&Fid::new(SEQ, 1 + i))), file_name(i));
        let mut plan = ok!(d.plan());
        ok!(plan.create(&o, &what, None));
        ok!(plan.insert(&top, &o));
        let mut run = ok!(plan.start());
        ok!(run.create(&o, &what, None));
        ok!(run.insert(&top, &name, &o));
        if i % 50 == 0 {
            let call = move |r: Result| pr_info!("safe {} {}\n", i, r.is_ok());
            ok!(run.on_commit(KBox::new(call, GFP_KERNEL)?));
        }
        if i % 400 == 399 {
            run.set_sync();
        }
        ok!(run.stop());
        if i >= 200 {
            ok!(remove(&*d, &top, &file_name(i - 200)));
        }
    }
    Ok(())
}

/// After [`until_killed`]: names, objects and the index agree.
pub(crate) fn after() -> Result {
    let s = Store::open(false)?;
    let d = s.device()?;
    let top = ok!(d.object(&Fid::ROOT));
    check!(top.exists());
    let (mut first, mut last, mut n) = (u32::MAX, 0, 0);
    ok!(top.readdir(0, &mut |e| {
        if e.name.starts_with(b"file-") {
            if e.name != file_name(e.fid.oid - 1) {
                return Err(EIO);
            }
            first = first.min(e.fid.oid);
            last = last.max(e.fid.oid);
            n += 1;
        }
        Ok(Walk::Next)
    }));
    // Creations and removals are in order: nothing is missing in between.
    check!(n > 0 && n == last - first + 1);
    if let Some(m) = &s.mounted {
        m.forget();
    }
    for oid in first..=last {
        check!(ok!(d.object(&Fid::new(SEQ, oid))).exists());
    }
    for oid in (1..first).rev().take(500) {
        check!(!ok!(d.object(&Fid::new(SEQ, oid))).exists());
    }
    check!(!ok!(d.object(&Fid::new(SEQ, last + 1))).exists());
    pr_info!("files {} to {}\n", first - 1, last - 1);
    // And it goes on.
    let next = Fid::new(SEQ, last + 1);
    ok!(make(&*d, &top, b"after", next, &Create::file(0o644)));
    Ok(())
}
