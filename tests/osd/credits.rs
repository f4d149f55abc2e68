// SPDX-License-Identifier: GPL-2.0

//! What transactions take of the journal.

use crate::speed::create;
use crate::threads::file_name;
use crate::Store;
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef, SetAttr};
use osd_contract::ops::{place, remove, root, set};
use osd_contract::{ok, Stage};

const SEQ: u64 = 0x2_0000_0400;

/// A directory of its own.
fn own_dir(d: &dyn Device) -> Result<ObjectRef> {
    let (base, fid) = (ok!(root(d)), Fid::new(SEQ, 1));
    osd_contract::ops::make(d, &base, b"credits", fid, &Create::dir(0o755))
}

/// An object of its own.
fn own_object(d: &dyn Device) -> Result<ObjectRef> {
    place(d, Fid::new(1, 77), &Create::file(0o644))
}

/// Does one of each, and has the log say what it took of the journal. For the table in
/// `Documentation/osd.md`.
pub(crate) fn measure() -> Result {
    let s = Store::open(false)?;
    let d = s.device()?;
    let own = ok!(own_dir(&*d));
    for i in 0..5000 {
        create(&*d, &own, SEQ, i)?;
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
    one("create", &|| create(&*d, &own, SEQ, 5000))?;
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
