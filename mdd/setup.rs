// SPDX-License-Identifier: GPL-2.0

//! The name space is opened, and made on a fresh target (`ondisk.md` 3.3, 4.5).

use crate::linkea::Links;
use crate::opens::Opens;
use crate::{Layouts, Mdd};
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef, SetAttr, Time};
use wire::disk::names::root as name;
use wire::fid::{oid, seq};

/// Something that every target has.
struct Fixed {
    fid: Fid,
    name: &'static str,
    mode: u32,
    /// Whether it records its name.
    linked: bool,
}

fn now() -> i64 {
    i64::try_from(kapi::time::real().as_secs()).unwrap_or(0)
}

/// Makes a directory under a name.
fn make_dir(osd: &Arc<dyn Device>, above: &ObjectRef, what: &Fixed) -> Result<ObjectRef> {
    let o = osd.object(&what.fid)?;
    if o.exists() {
        return Ok(o);
    }
    let create = Create::dir(what.mode);
    let t = Time::secs(now());
    let set = SetAttr {
        atime: Some(t),
        mtime: Some(t),
        ctime: Some(t),
        ..SetAttr::default()
    };
    let bytes = what.name.as_bytes();
    let mut links = Links::new()?;
    let mut plan = osd.plan()?;
    plan.create(&o, &create, Some((above, bytes)))?;
    plan.insert(above, &o)?;
    plan.attr(&o, &set)?;
    plan.attr(above, &SetAttr::default())?;
    if what.linked {
        links.add(above.fid(), bytes, t.sec)?;
        links.plan(&mut plan, &o)?;
    }
    let mut tx = plan.start()?;
    tx.create(&o, &create, Some((above, bytes)))?;
    if what.linked {
        links.write(&mut tx, &o)?;
    }
    tx.insert(above, bytes, &o)?;
    tx.ref_add(above)?;
    tx.set_attr(&o, &set)?;
    tx.stop()?;
    Ok(o)
}

/// The next free FID for a local file with a name. The counter is not behind it after a crash: it
/// is written first.
fn next_local(osd: &Arc<dyn Device>) -> Result<Fid> {
    let counter = osd.object(&Fid::new(seq::LOCAL_NAME, 0))?;
    let what = Create::file(0o644);
    let is_new = !counter.exists();
    let mut last = 1_u64;
    if !is_new {
        let mut raw = [0; 8];
        if counter.read(0, &mut raw)? == raw.len() {
            last = u64::from_le_bytes(raw);
        }
    }
    let next = u32::try_from(last)?.checked_add(1).ok_or(EINVAL)?;
    let mut plan = osd.plan()?;
    if is_new {
        plan.create(&counter, &what, None)?;
    }
    plan.write(&counter, 0, 8)?;
    let mut tx = plan.start()?;
    if is_new {
        tx.create(&counter, &what, None)?;
    }
    tx.write(&counter, 0, &u64::from(next).to_le_bytes())?;
    tx.stop()?;
    Ok(Fid::new(seq::LOCAL_NAME, next))
}

/// The directory of orphans.
fn pending(osd: &Arc<dyn Device>, above: &ObjectRef) -> Result<ObjectRef> {
    match above.lookup(name::PENDING.as_bytes()) {
        Ok(fid) => osd.object(&fid),
        Err(e) if e == ENOENT => {
            let what = Fixed {
                fid: next_local(osd)?,
                name: name::PENDING,
                mode: 0o755,
                linked: false,
            };
            make_dir(osd, above, &what)
        }
        Err(e) => Err(e),
    }
}

impl Mdd {
    /// Opens the name space of MDT0000; what is missing of it is made. Orphans of the last life
    /// are still there: [`Mdd::clean_orphans`].
    ///
    /// # Errors
    /// `ENOMEM`, `EIO`, `ENOSPC`, `EROFS`.
    pub fn open(osd: Arc<dyn Device>, layouts: Arc<dyn Layouts>) -> Result<Arc<Mdd>> {
        let above = osd.object(&Fid::local(oid::OSD_ROOT))?;
        let fixed = |fid, name, mode, linked| Fixed {
            fid,
            name,
            mode,
            linked,
        };
        let root = make_dir(&osd, &above, &fixed(Fid::ROOT, name::ROOT, 0o755, false))?;
        let dot = fixed(Fid::DOT_LUSTRE, ".lustre", 0o755, true);
        let dot = make_dir(&osd, &root, &dot)?;
        make_dir(&osd, &dot, &fixed(Fid::OBF, "fid", 0o100, false))?;
        make_dir(&osd, &dot, &fixed(Fid::LPF, "lost+found", 0o500, true))?;
        let pending = pending(&osd, &above)?;
        Arc::pin_init(
            pin_init!(Mdd {
                osd,
                layouts,
                root,
                pending,
                opens <- Opens::new(),
            }),
            GFP_KERNEL,
        )
    }
}
