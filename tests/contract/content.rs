// SPDX-License-Identifier: GPL-2.0

//! Small content and indices, case by case.

use crate::ops::{make, root, write};
use crate::{check, fails, ok, Stage};
use kapi::pages::Pages;
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef};

const SEQ: u64 = 0x2_0000_0401;

pub(crate) fn check(stage: &mut dyn Stage, records: u64) -> Result {
    {
        let d = stage.device()?;
        let base = ok!(root(&*d));
        let dir = ok!(make(
            &*d,
            &base,
            b"content",
            Fid::new(SEQ, 1),
            &Create::dir(0o755)
        ));
        small(&*d, &dir)?;
        index(&*d, &dir, records)?;
        log(&*d)?;
    }
    stage.reopen()?;
    let d = stage.device()?;
    let o = ok!(d.object(&Fid::new(SEQ, 2)));
    let mut buf = [1; 32];
    check!(ok!(o.read(8180, &mut buf)) == 32 && buf[..12] == [0; 12] && buf[12..] == [9; 20]);
    let o = ok!(d.object(&Fid::new(SEQ, 3)));
    check!(ok!(o.index_shape()) == (8, 16));
    let mut rec = [0; 16];
    check!(ok!(o.index_get(&200_u64.to_be_bytes(), &mut rec)) && rec == [200; 16]);
    check!(ok!(ok!(d.object(&Fid::new(1, 5))).read(0, &mut buf)) == 3);
    Ok(())
}

fn small(d: &dyn Device, dir: &ObjectRef) -> Result {
    let o = ok!(make(
        d,
        dir,
        b"small",
        Fid::new(SEQ, 2),
        &Create::file(0o644)
    ));
    let mut buf = [1; 64];
    check!(ok!(o.read(0, &mut buf)) == 0);
    ok!(write(d, &o, 8192, &[9; 128]));
    check!(ok!(o.attr()).size == 8320);
    check!(ok!(o.attr()).mtime.sec == 77 && ok!(o.attr()).version == 0x1_0000_0005);
    check!(ok!(o.read(8190, &mut buf[..4])) == 4 && buf[..4] == [0, 0, 9, 9]);
    check!(ok!(o.read(8310, &mut buf)) == 10 && ok!(o.read(8320, &mut buf)) == 0);
    check!(ok!(o.read(u64::MAX, &mut buf)) == 0);
    ok!(write(d, &o, 10, b"begin"));
    check!(ok!(o.attr()).size == 8320);
    check!(ok!(o.read(8, &mut buf[..8])) == 8 && buf[..8] == *b"\0\0begin\0");
    let mut plan = ok!(d.plan());
    ok!(plan.write(&o, u64::MAX - 4, 8));
    let mut run = ok!(plan.start());
    fails!(run.write(&o, u64::MAX - 4, &[0; 8]), EFBIG);
    ok!(run.stop());
    // It is not bulk data, nor an index.
    let mut pages = ok!(Pages::new(1));
    fails!(o.read_pages(&mut pages, 0, 10, 0), EBUSY);
    fails!(o.write_pages(&pages, 0, 10, 0), EBUSY);
    fails!(o.truncate(0), EBUSY);
    fails!(o.index_shape(), EINVAL);
    fails!(o.index_get(&[0; 8], &mut buf), EINVAL);
    Ok(())
}

fn index(d: &dyn Device, dir: &ObjectRef, n: u64) -> Result {
    let o = ok!(make(
        d,
        dir,
        b"index",
        Fid::new(SEQ, 3),
        &Create::file(0o644)
    ));
    let mut plan = ok!(d.plan());
    ok!(plan.record(&o));
    let mut run = ok!(plan.start());
    ok!(run.index_make(&o, 8, 16));
    ok!(run.stop());
    check!(ok!(o.index_shape()) == (8, 16));
    for part in 0..n / 10 {
        let mut plan = ok!(d.plan());
        for _ in 0..12 {
            ok!(plan.record(&o));
        }
        let mut run = ok!(plan.start());
        for i in part * 10..part * 10 + 10 {
            // Not in order.
            let k = i * 7 % n + 1;
            ok!(run.index_insert(&o, &k.to_be_bytes(), &[k as u8; 16]));
        }
        let k = part * 10 * 7 % n + 1;
        fails!(run.index_insert(&o, &k.to_be_bytes(), &[0; 16]), EEXIST);
        fails!(
            run.index_update(&o, &u64::MAX.to_be_bytes(), &[0; 16]),
            ENOENT
        );
        ok!(run.stop());
    }
    let (mut key, mut rec) = (1_u64.to_be_bytes(), [0; 16]);
    for i in 1..=n {
        check!(ok!(o.index_next(&mut key, &mut rec)));
        check!(key == i.to_be_bytes() && rec == [i as u8; 16]);
        key = (i + 1).to_be_bytes();
    }
    check!(!ok!(o.index_next(&mut key, &mut rec)));
    check!(!ok!(o.index_get(&(n + 1).to_be_bytes(), &mut rec)));
    fails!(o.index_get(&[0; 4], &mut rec), EINVAL);
    fails!(o.index_get(&[0; 8], &mut rec[..8]), EINVAL);
    for i in 1..=n {
        if i % 100 == 0 {
            continue;
        }
        let mut plan = ok!(d.plan());
        ok!(plan.record(&o));
        ok!(plan.record(&o));
        let mut run = ok!(plan.start());
        ok!(run.index_delete(&o, &i.to_be_bytes()));
        fails!(run.index_delete(&o, &i.to_be_bytes()), ENOENT);
        ok!(run.stop());
    }
    let mut key = 101_u64.to_be_bytes();
    check!(ok!(o.index_next(&mut key, &mut rec)) && key == 200_u64.to_be_bytes());
    fails!(o.read_pages(&mut ok!(Pages::new(1)), 0, 10, 0), EBUSY);
    Ok(())
}

/// A file with a place of its own.
fn log(d: &dyn Device) -> Result {
    let o = ok!(d.object(&Fid::new(1, 5)));
    let mut plan = ok!(d.plan());
    ok!(plan.create(&o, &Create::file(0o644), None));
    ok!(plan.write(&o, 0, 3));
    let mut run = ok!(plan.start());
    ok!(run.create(&o, &Create::file(0o644), None));
    ok!(run.write(&o, 0, b"log"));
    ok!(run.stop());
    let o = ok!(d.object(&Fid::new(1, 6)));
    let mut plan = ok!(d.plan());
    ok!(plan.create(&o, &Create::file(0o644), None));
    let mut run = ok!(plan.start());
    ok!(run.create(&o, &Create::file(0o644), None));
    ok!(run.stop());
    let mut plan = ok!(d.plan());
    ok!(plan.destroy(&o));
    let mut run = ok!(plan.start());
    ok!(run.destroy(&o));
    ok!(run.stop());
    check!(!o.exists());
    Ok(())
}
