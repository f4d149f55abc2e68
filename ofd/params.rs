// SPDX-License-Identifier: GPL-2.0

//! `obdfilter.<name>.*`: what administrators see and set (`ost.md` 21).

use crate::device::Ofd;
use core::fmt;
use kapi::params::{Param, ParamDir};
use kapi::prelude::*;
use kapi::sync::atomic::Relaxed;
use target::Target;

/// The largest transfer that can be set, MiB.
const MAX_BRW_MIB: u32 = 16;

/// How a parameter is printed.
type Show = fn(&Ofd, &Target, &mut dyn fmt::Write) -> Result;
/// How it is set.
type Store = fn(&Ofd, &str) -> Result;

struct OfdParam {
    ofd: Arc<Ofd>,
    target: Arc<Target>,
    show: Show,
    store: Option<Store>,
}

impl Param for OfdParam {
    fn show(&self, out: &mut dyn fmt::Write) -> Result {
        (self.show)(&self.ofd, &self.target, out)
    }
    fn store(&self, value: &str) -> Result {
        self.store.map_or(Err(EPERM), |f| f(&self.ofd, value))
    }
    fn writable(&self) -> bool {
        self.store.is_some()
    }
}

fn number(value: &str) -> Result<u32> {
    value.trim().parse().map_err(|_| EINVAL)
}

fn switch(value: &str) -> Result<bool> {
    match value.trim() {
        "0" | "n" | "off" => Ok(false),
        "1" | "y" | "on" => Ok(true),
        _ => Err(EINVAL),
    }
}

/// Those that are printed only.
const SHOWN: &[(&str, Show)] = &[
    ("uuid", |_, t, out| Ok(writeln!(out, "{}", t.uuid())?)),
    ("fstype", |_, _, out| Ok(writeln!(out, "osd-ldiskfs")?)),
    ("instance", |_, t, out| {
        Ok(writeln!(out, "{}", t.instance())?)
    }),
    ("num_exports", |_, t, out| {
        Ok(writeln!(out, "{}", t.num_exports())?)
    }),
    ("tot_granted", |o, _, out| {
        Ok(writeln!(out, "{}", o.grants().0)?)
    }),
    ("tot_dirty", |o, _, out| {
        Ok(writeln!(out, "{}", o.grants().1)?)
    }),
    ("tot_pending", |o, _, out| {
        Ok(writeln!(out, "{}", o.grants().2)?)
    }),
    ("blocksize", |o, _, out| {
        Ok(writeln!(out, "{}", o.space().stat()?.0.bsize)?)
    }),
    ("kbytestotal", |o, _, out| {
        let s = o.space().stat()?.0;
        kbytes(out, s.blocks, s.bsize)
    }),
    ("kbytesfree", |o, _, out| {
        let s = o.space().stat()?.0;
        kbytes(out, s.bfree, s.bsize)
    }),
    ("kbytesavail", |o, _, out| {
        let s = o.space().stat()?.0;
        kbytes(out, s.bavail, s.bsize)
    }),
    ("filestotal", |o, _, out| {
        Ok(writeln!(out, "{}", o.space().stat()?.0.files)?)
    }),
    ("filesfree", |o, _, out| {
        Ok(writeln!(out, "{}", o.space().stat()?.0.ffree)?)
    }),
    ("last_id", |o, _, out| {
        o.groups
            .for_each(|seq, id| Ok(writeln!(out, "{seq:#x}:{id}")?))
    }),
];

fn kbytes(out: &mut dyn fmt::Write, blocks: u64, bsize: u32) -> Result {
    let kb = blocks.saturating_mul(bsize.into()) >> 10;
    Ok(writeln!(out, "{kb}")?)
}

/// Those that can be set, too.
const SET: &[(&str, Show, Store)] = &[
    (
        "stats",
        |o, _, out| o.stats().show(out),
        |o, _| {
            o.stats().clear();
            Ok(())
        },
    ),
    (
        "brw_size",
        |o, _, out| Ok(writeln!(out, "{}", o.brw_size() >> 20)?),
        |o, v| {
            let n = number(v)?;
            if n == 0 || n > MAX_BRW_MIB || !n.is_power_of_two() {
                return Err(ERANGE);
            }
            o.tunables.brw_size.store(n << 20, Relaxed);
            Ok(())
        },
    ),
    (
        "degraded",
        |o, _, out| flag(out, o.tunables.degraded.load(Relaxed)),
        |o, v| {
            o.tunables.degraded.store(switch(v)?, Relaxed);
            Ok(())
        },
    ),
    (
        "no_create",
        |o, _, out| flag(out, o.tunables.no_create.load(Relaxed)),
        |o, v| {
            o.set_no_create(switch(v)?);
            Ok(())
        },
    ),
    (
        "sync_journal",
        |o, _, out| flag(out, o.tunables.sync_journal.load(Relaxed)),
        |o, v| {
            o.tunables.sync_journal.store(switch(v)?, Relaxed);
            Ok(())
        },
    ),
    (
        "sync_lock_cancel",
        |o, _, out| {
            let on = o.tunables.sync_on_cancel.load(Relaxed);
            Ok(writeln!(out, "{}", if on { "always" } else { "never" })?)
        },
        |o, v| {
            let on = match v.trim() {
                "always" => true,
                "never" => false,
                _ => return Err(EINVAL),
            };
            o.tunables.sync_on_cancel.store(on, Relaxed);
            Ok(())
        },
    ),
    (
        "soft_sync_limit",
        |o, _, out| {
            Ok(writeln!(
                out,
                "{}",
                o.tunables.soft_sync_limit.load(Relaxed)
            )?)
        },
        |o, v| {
            o.tunables.soft_sync_limit.store(number(v)?, Relaxed);
            Ok(())
        },
    ),
    (
        "precreate_batch",
        |o, _, out| {
            Ok(writeln!(
                out,
                "{}",
                o.tunables.precreate_batch.load(Relaxed)
            )?)
        },
        |o, v| {
            let n = number(v)?;
            if n == 0 || n > 65536 {
                return Err(ERANGE);
            }
            o.tunables.precreate_batch.store(n, Relaxed);
            Ok(())
        },
    ),
];

fn flag(out: &mut dyn fmt::Write, on: bool) -> Result {
    Ok(writeln!(out, "{}", u32::from(on))?)
}

/// Makes them. They refer to the OST, which is to drop them at its end.
///
/// # Errors
/// `EEXIST`, `ENOMEM`.
pub(crate) fn make(ofd: &Arc<Ofd>, target: &Arc<Target>) -> Result<ParamDir> {
    let dir = ParamDir::new(format_args!("obdfilter/{}", target.name()))?;
    let param = |show: Show, store: Option<Store>| -> Result<Arc<dyn Param>> {
        Ok(Arc::new(
            OfdParam {
                ofd: ofd.clone(),
                target: target.clone(),
                show,
                store,
            },
            GFP_KERNEL,
        )?)
    };
    for (name, show) in SHOWN {
        dir.add(name, param(*show, None)?)?;
    }
    for (name, show, store) in SET {
        dir.add(name, param(*show, Some(*store))?)?;
    }
    Ok(dir)
}
