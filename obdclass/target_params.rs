// SPDX-License-Identifier: GPL-2.0

//! The parameters that targets have besides those of their own kinds: their locks, the OSTs of an
//! MDT (`admin.md` 7.3 to 7.7, 7.10).

use crate::params::{line, show, show_number, tune, tune_number};
use core::fmt;
use kapi::params::ParamDir;
use kapi::prelude::*;
use mdt::Mdt;
use osp::Osp;
use target::Target;
use wire::lov::{LOV_ALL_STRIPES, LOV_MAX_STRIPE_COUNT, LOV_MIN_STRIPE_SIZE, LOV_OFFSET_DEFAULT};
use wire::ost::ObdStatfs;

/// `ldlm.namespaces.<name>.*`
pub(crate) fn namespace(target: &Arc<Target>, name: fmt::Arguments<'_>) -> Result<ParamDir> {
    let dir = ParamDir::new(format_args!("ldlm/namespaces/{name}"))?;
    let ns = target.namespace().clone();
    show_number(&dir, "lock_count", move || Ok(ns.stats().locks))?;
    let ns = target.namespace().clone();
    show_number(&dir, "resource_count", move || Ok(ns.stats().resources))?;
    let ns = target.namespace().clone();
    show_number(&dir, "lock_timeouts", move || Ok(ns.stats().timeouts))?;
    let ns = target.namespace().clone();
    show_number(&dir, "pool/granted", move || Ok(ns.granted()))?;
    let ns = target.namespace().clone();
    show_number(&dir, "pool/limit", move || Ok(ns.volume().1.into()))?;
    let ns = target.namespace().clone();
    show_number(&dir, "pool/server_lock_volume", move || Ok(ns.volume().0))?;
    Ok(dir)
}

/// What targets of all kinds have.
fn common(dir: &ParamDir, target: &Arc<Target>) -> Result {
    let t = target.clone();
    show(dir, "uuid", move |out| {
        line(out, format_args!("{}", t.uuid()))
    })?;
    let t = target.clone();
    show_number(dir, "num_exports", move || Ok(t.num_exports() as u64))
}

/// `mgs.MGS.*`
pub(crate) fn mgs(target: &Arc<Target>, device: &str) -> Result<ParamDir> {
    let dir = ParamDir::new(format_args!("mgs/MGS"))?;
    common(&dir, target)?;
    show(&dir, "fstype", |out| line(out, format_args!("ldiskfs")))?;
    let device = crate::text::Text::copy(device)?;
    show(&dir, "mntdev", move |out| {
        line(out, format_args!("{device}"))
    })?;
    Ok(dir)
}

/// Adds to `mdt.<svname>.*`.
pub(crate) fn mdt(mdt: &Arc<Mdt>) -> Result {
    let dir = mdt.params();
    common(dir, mdt.target())?;
    let instance = mdt.target().instance();
    show_number(dir, "instance", move || Ok(instance.into()))?;
    let osd = mdt.target().osd().clone();
    crate::params::trigger(dir, "force_sync", move |_| osd.sync())?;
    // Clients of an earlier life are not waited for.
    show(dir, "recovery_status", |out| {
        line(out, format_args!("status: INACTIVE"))
    })
}

/// A number that is -1 where `all` stands for it.
fn signed(value: u16, all: u16) -> i32 {
    match value {
        v if v == all => -1,
        v => v.into(),
    }
}

fn from_signed(text: &str, all: u16, max: u16) -> Result<u16> {
    match text.trim() {
        "-1" => Ok(all),
        t => match t.parse::<u16>() {
            Ok(n) if n <= max => Ok(n),
            _ => Err(ERANGE),
        },
    }
}

/// `lod.<svname>-mdtlov.*`
pub(crate) fn lod(mdt: &Arc<Mdt>) -> Result<ParamDir> {
    let dir = ParamDir::new(format_args!("lod/{}-mdtlov", mdt.name()))?;
    let (get, set) = (mdt.lod().clone(), mdt.lod().clone());
    tune_number(
        &dir,
        "stripesize",
        move || get.desc().stripe_size.into(),
        move |n| {
            let size = u32::try_from(n).map_err(|_| ERANGE)?;
            if size == 0 || size % LOV_MIN_STRIPE_SIZE != 0 {
                return Err(EINVAL);
            }
            let mut desc = set.desc();
            desc.stripe_size = size;
            set.set_desc(desc);
            Ok(())
        },
    )?;
    let (get, set) = (mdt.lod().clone(), mdt.lod().clone());
    tune(
        &dir,
        "stripecount",
        move |out| {
            let n = signed(get.desc().stripe_count, LOV_ALL_STRIPES);
            line(out, format_args!("{n}"))
        },
        move |text| {
            let n = from_signed(text, LOV_ALL_STRIPES, LOV_MAX_STRIPE_COUNT)?;
            let mut desc = set.desc();
            desc.stripe_count = n.max(1);
            set.set_desc(desc);
            Ok(())
        },
    )?;
    let (get, set) = (mdt.lod().clone(), mdt.lod().clone());
    tune(
        &dir,
        "stripeoffset",
        move |out| {
            let n = signed(get.desc().stripe_offset, LOV_OFFSET_DEFAULT);
            line(out, format_args!("{n}"))
        },
        move |text| {
            let mut desc = set.desc();
            desc.stripe_offset = from_signed(text, LOV_OFFSET_DEFAULT, LOV_OFFSET_DEFAULT - 1)?;
            set.set_desc(desc);
            Ok(())
        },
    )?;
    show(&dir, "stripetype", |out| line(out, format_args!("1")))?;
    let l = mdt.lod().clone();
    show_number(&dir, "numobd", move || Ok(l.osts()?.len() as u64))?;
    let l = mdt.lod().clone();
    show_number(&dir, "activeobd", move || {
        let osts = l.osts()?;
        Ok(osts.iter().filter(|o| o.view().active).count() as u64)
    })?;
    let l = mdt.lod().clone();
    show(&dir, "target_obd", move |out| {
        for o in l.osts()?.iter() {
            let name = o.name().split("-osc-").next().unwrap_or_default();
            let state = if o.view().active {
                "ACTIVE"
            } else {
                "INACTIVE"
            };
            line(out, format_args!("{}: {name}_UUID {state}", o.index()))?;
        }
        Ok(())
    })?;
    Ok(dir)
}

/// `osp.<ost>-osc-<mdt>.*`
pub(crate) fn osp(osp: &Arc<Osp>) -> Result<ParamDir> {
    let dir = ParamDir::new(format_args!("osp/{}", osp.name()))?;
    let number = |name: &str, f: fn(&ObdStatfs) -> u64| -> Result {
        let o = osp.clone();
        show_number(&dir, name, move || Ok(o.statfs().as_ref().map_or(0, f)))
    };
    fn kib(s: &ObdStatfs, blocks: u64) -> u64 {
        blocks.saturating_mul(s.os_bsize.get().into()) / 1024
    }
    number("blocksize", |s| s.os_bsize.get().into())?;
    number("kbytestotal", |s| kib(s, s.os_blocks.get()))?;
    number("kbytesfree", |s| kib(s, s.os_bfree.get()))?;
    number("kbytesavail", |s| kib(s, s.os_bavail.get()))?;
    number("filestotal", |s| s.os_files.get())?;
    number("filesfree", |s| s.os_ffree.get())?;
    let o = osp.clone();
    show_number(&dir, "sync_changes", move || Ok(o.pending_changes().into()))?;
    let o = osp.clone();
    show_number(&dir, "destroys_in_flight", move || {
        Ok(o.pending_destroys().into())
    })?;
    let o = osp.clone();
    show_number(&dir, "old_sync_processed", move || {
        Ok(o.old_changes_sent().into())
    })?;
    let o = osp.clone();
    show(&dir, "ost_conn_uuid", move |out| match o.peer() {
        Some(nid) => line(out, format_args!("{nid}")),
        None => line(out, format_args!("<none>")),
    })?;
    let (get, set) = (osp.clone(), osp.clone());
    tune_number(
        &dir,
        "active",
        move || get.view().active.into(),
        move |n| match n {
            0 | 1 => {
                set.set_active(n == 1);
                Ok(())
            }
            _ => Err(EINVAL),
        },
    )?;
    Ok(dir)
}
