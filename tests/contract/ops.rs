// SPDX-License-Identifier: GPL-2.0

//! Transactions as the services make them.

use crate::{check, ok};
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef, SetAttr, Time, S_IFDIR, S_IFMT};
use wire::fid::oid;

/// The directory that all others are below.
///
/// # Errors
/// Those of the store.
pub fn root(d: &dyn Device) -> Result<ObjectRef> {
    d.object(&Fid::local(oid::OSD_ROOT))
}

/// Whether something of this mode is a directory.
pub fn is_dir(mode: u32) -> bool {
    mode & S_IFMT == S_IFDIR
}

/// What [`make`] sets.
pub fn made() -> SetAttr {
    SetAttr {
        mtime: Some(Time::secs(77)),
        version: Some(0x1_0000_0005),
        ..SetAttr::default()
    }
}

/// Makes an object with a name in a directory, with an xattr of 40 bytes, as a create does.
///
/// # Errors
/// Those of the store.
pub fn make(
    d: &dyn Device,
    parent: &ObjectRef,
    name: &[u8],
    fid: Fid,
    what: &Create<'_>,
) -> Result<ObjectRef> {
    let o = ok!(d.new_object(&fid));
    let mut plan = ok!(d.plan());
    ok!(plan.create(&o, what, Some((parent, name))));
    ok!(plan.insert(parent, &o));
    ok!(plan.xattr(&o, 40));
    let mut run = ok!(plan.start());
    ok!(run.create(&o, what, Some((parent, name))));
    ok!(run.set_xattr(&o, c"trusted.link", &[3; 40]));
    ok!(run.set_attr(&o, &made()));
    ok!(run.insert(parent, name, &o));
    if is_dir(what.mode) {
        ok!(run.ref_add(parent));
    }
    ok!(run.stop());
    Ok(o)
}

/// Removes the only name of an object, and the object.
///
/// # Errors
/// Those of the store.
pub fn remove(d: &dyn Device, parent: &ObjectRef, name: &[u8]) -> Result {
    let o = ok!(d.object(&ok!(parent.lookup(name))));
    let dir = ok!(o.attr()).is_dir();
    let mut plan = ok!(d.plan());
    ok!(plan.remove(parent, name));
    ok!(plan.destroy(&o));
    let mut run = ok!(plan.start());
    ok!(run.remove(parent, name));
    ok!(run.ref_del(&o));
    if dir {
        ok!(run.ref_del(parent));
    }
    ok!(run.destroy(&o));
    ok!(run.stop());
    check!(!o.exists());
    Ok(())
}

/// Moves a name; an object that had the new one as its last ends.
///
/// # Errors
/// Those of the store.
pub fn rename(d: &dyn Device, from: &ObjectRef, old: &[u8], to: &ObjectRef, new: &[u8]) -> Result {
    let o = ok!(d.object(&ok!(from.lookup(old))));
    let over = match to.lookup(new) {
        Ok(fid) => Some(ok!(d.object(&fid))),
        Err(e) if e == ENOENT => None,
        Err(e) => return Err(e),
    };
    let dir = ok!(o.attr()).is_dir();
    let mut last = false;
    let mut plan = ok!(d.plan());
    ok!(plan.remove(from, old));
    ok!(plan.insert(to, &o));
    if let Some(over) = &over {
        last = dir || ok!(over.attr()).nlink == 1;
        ok!(plan.remove(to, new));
        if last {
            ok!(plan.destroy(over));
        }
    }
    let mut run = ok!(plan.start());
    ok!(run.remove(from, old));
    if over.is_some() {
        ok!(run.remove(to, new));
    }
    ok!(run.insert(to, new, &o));
    if dir && from.fid() != to.fid() {
        ok!(run.ref_del(from));
        ok!(run.ref_add(to));
    }
    if let Some(over) = &over {
        ok!(run.ref_del(over));
        if dir {
            ok!(run.ref_del(over));
            ok!(run.ref_del(to));
        }
        if last {
            ok!(run.destroy(over));
        }
    }
    ok!(run.stop());
    Ok(())
}

/// Sets attributes.
///
/// # Errors
/// Those of the store.
pub fn set(d: &dyn Device, o: &ObjectRef, set: &SetAttr) -> Result {
    let mut plan = ok!(d.plan());
    ok!(plan.attr(o, set));
    let mut run = ok!(plan.start());
    ok!(run.set_attr(o, set));
    run.stop()
}

/// Makes an object that has a place of its own.
///
/// # Errors
/// Those of the store.
pub fn place(d: &dyn Device, fid: Fid, what: &Create<'_>) -> Result<ObjectRef> {
    let o = ok!(d.object(&fid));
    let mut plan = ok!(d.plan());
    ok!(plan.create(&o, what, None));
    let mut run = ok!(plan.start());
    ok!(run.create(&o, what, None));
    ok!(run.stop());
    Ok(o)
}

/// Writes small content.
///
/// # Errors
/// Those of the store.
pub fn write(d: &dyn Device, o: &ObjectRef, off: u64, data: &[u8]) -> Result {
    let mut plan = ok!(d.plan());
    ok!(plan.write(o, off, data.len()));
    let mut run = ok!(plan.start());
    ok!(run.write(o, off, data));
    run.stop()
}
