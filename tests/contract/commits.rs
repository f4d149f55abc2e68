// SPDX-License-Identifier: GPL-2.0

//! When transactions are on disk, and who hears of it.

use crate::ops::{make, root, set};
use crate::{check, ok, Stage};
use kapi::prelude::*;
use osd::{Create, Fid, SetAttr};

/// Counts calls.
#[pin_data]
struct Calls {
    #[pin]
    seen: Mutex<KVec<(u32, bool)>>,
    #[pin]
    changed: CondVar,
}

fn call(calls: &Arc<Calls>, n: u32) -> Result<osd::Callback> {
    let calls = calls.clone();
    let f = move |r: Result| {
        // Without memory the test fails, which is well.
        let _ = calls.seen.lock().push((n, r.is_ok()), GFP_NOFS);
        calls.changed.notify_all();
    };
    Ok(KBox::new(f, GFP_KERNEL)?)
}

pub(crate) fn check(stage: &mut dyn Stage) -> Result {
    let d = stage.device()?;
    let calls = Arc::pin_init(
        pin_init!(Calls { seen <- new_mutex!(KVec::new()), changed <- new_condvar!() }),
        GFP_KERNEL,
    )?;
    let base = ok!(root(&*d));
    let o = ok!(make(
        &*d,
        &base,
        b"commits",
        Fid::new(0x2_0000_0402, 1),
        &Create::file(0)
    ));
    // In order, and all of them when somebody waits.
    for i in 0..100 {
        let mut plan = ok!(d.plan());
        ok!(plan.attr(&o, &SetAttr::default()));
        let mut run = ok!(plan.start());
        let version = Some(u64::from(i));
        ok!(run.set_attr(
            &o,
            &SetAttr {
                version,
                ..SetAttr::default()
            }
        ));
        ok!(run.on_commit(call(&calls, i)?));
        if i == 99 {
            run.set_sync();
        }
        if i == 50 {
            // Dropped, it stops.
            drop(run);
        } else {
            ok!(run.stop());
        }
    }
    {
        let seen = calls.seen.lock();
        check!(seen.len() == 100);
        check!(seen.iter().enumerate().all(|(i, s)| *s == (i as u32, true)));
    }
    check!(ok!(o.attr()).version == 99);
    // `sync` is as good.
    let mut run = ok!(ok!(d.plan()).start());
    ok!(run.on_commit(call(&calls, 100)?));
    ok!(run.stop());
    ok!(set(&*d, &o, &SetAttr::default()));
    ok!(d.sync());
    check!(calls.seen.lock().len() == 101);
    // And without anybody who waits, it comes some time.
    let mut run = ok!(ok!(d.plan()).start());
    ok!(run.on_commit(call(&calls, 101)?));
    ok!(run.stop());
    d.start_commit();
    let mut seen = calls.seen.lock();
    for _ in 0..200 {
        if seen.len() == 102 {
            return Ok(());
        }
        (seen, _) = calls.changed.wait_timeout(seen, Duration::from_millis(100));
    }
    pr_err!("a transaction was never committed\n");
    Err(EINVAL)
}
