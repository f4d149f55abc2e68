// SPDX-License-Identifier: GPL-2.0

//! The parameters of a node (`admin.md` 7.1, 7.11).

use crate::node::ServerNode;
use crate::params::{line, number, show, show_number, trigger, tune, tune_number};
use crate::text::Text;
use core::fmt;
use kapi::params::ParamDir;
use kapi::prelude::*;
use ldlm::server::{LockMemory, LOCK_MEMORY};
use lnet::fail;
use ptlrpc::limits::Limits;

/// The version that tools and clients are told; its features are those of this release.
pub const VERSION: &str = "2.15.0";

/// A text that can be set.
#[pin_data]
struct Setting {
    #[pin]
    text: Mutex<Text>,
}

/// Longest `jobid_var` and `jobid_name`, bytes.
const JOBID_MAX: usize = 32;

fn setting(dir: &ParamDir, name: &str, first: &str, max: usize) -> Result {
    let first = Text::copy(first)?;
    let s = Arc::pin_init(
        pin_init!(Setting {
            text <- new_mutex!(first),
        }),
        GFP_KERNEL,
    )?;
    let read = s.clone();
    tune(
        dir,
        name,
        move |out| line(out, format_args!("{}", *read.text.lock())),
        move |value| {
            let valid = |c: u8| c.is_ascii_graphic() || c == b' ';
            if value.len() > max || !value.bytes().all(valid) {
                return Err(EINVAL);
            }
            *s.text.lock() = Text::copy(value)?;
            Ok(())
        },
    )
}

/// A time-out that can be set, in seconds.
fn limit(
    dir: &ParamDir,
    node: &Arc<ServerNode>,
    name: &str,
    get: fn(&Limits) -> u32,
    set: fn(&mut Limits, u32),
) -> Result {
    let (reader, writer) = (node.clone(), node.clone());
    tune_number(
        dir,
        name,
        move || get(&reader.limits()).into(),
        move |n| {
            let n = u32::try_from(n).map_err(|_| ERANGE)?;
            writer.set_limits(|l| set(l, n));
            Ok(())
        },
    )
}

/// The parameters of a node: they go when this is dropped.
pub struct Tree {
    _dir: ParamDir,
}

impl Tree {
    /// Makes them.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(node: &Arc<ServerNode>) -> Result<Tree> {
        let dir = ParamDir::new(format_args!(""))?;
        show(&dir, "version", |out| line(out, format_args!("{VERSION}")))?;
        show(&dir, "pinger", |out| line(out, format_args!("on")))?;
        let n = node.clone();
        show(&dir, "devices", move |out| n.devices.show(out))?;
        let n = node.clone();
        show(&dir, "health_check", move |out| health(&n, out))?;
        let n = node.clone();
        show_number(&dir, "ping_interval", move || {
            Ok(n.limits().ping_interval().into())
        })?;
        timeouts(&dir, node)?;
        locks(&dir)?;
        failures(&dir)?;
        setting(&dir, "jobid_var", "disable", JOBID_MAX)?;
        setting(&dir, "jobid_name", "%e.%u", JOBID_MAX)?;
        trigger(&dir, "debug_marker", |text| {
            if text != "clear" {
                pr_warn!("DEBUG MARKER: {}\n", text);
            }
            Ok(())
        })?;
        Ok(Tree { _dir: dir })
    }
}

/// The memory for locks (`ldlm.md` 21.3).
fn locks(dir: &ParamDir) -> Result {
    let m = &LOCK_MEMORY;
    let set = |mb| m.set_reclaim_mb(mb);
    tune_number(
        dir,
        "ldlm/lock_reclaim_threshold_mb",
        || m.reclaim_mb(),
        set,
    )?;
    let set = |mb| m.set_limit_mb(mb);
    tune_number(dir, "ldlm/lock_limit_mb", || m.limit_mb(), set)?;
    show_number(dir, "ldlm/lock_reclaim_threshold_count", || {
        Ok(LockMemory::count(m.reclaim_mb()))
    })?;
    show_number(dir, "ldlm/lock_limit_count", || {
        Ok(LockMemory::count(m.limit_mb()))
    })?;
    show_number(dir, "ldlm/lock_granted_count", || Ok(m.granted()))
}

/// Failures on demand (`admin.md` 12).
fn failures(dir: &ParamDir) -> Result {
    failure(dir, "fail_loc", fail::loc, fail::set_loc)?;
    failure(dir, "fail_val", fail::val, fail::set_val)?;
    failure(dir, "fail_err", fail::err, fail::set_err)
}

fn failure(dir: &ParamDir, name: &str, get: fn() -> u32, set: fn(u32)) -> Result {
    tune(
        dir,
        name,
        move |out| line(out, format_args!("{}", get())),
        move |text| {
            let n = match text.trim().strip_prefix('-') {
                Some(n) => 0u64.wrapping_sub(number(n)?),
                None => number(text)?,
            };
            // 64 bits wide for some, of which the lower ones mean something.
            set((n & 0xffff_ffff) as u32);
            Ok(())
        },
    )
}

fn timeouts(dir: &ParamDir, node: &Arc<ServerNode>) -> Result {
    limit(
        dir,
        node,
        "timeout",
        |l| l.obd_timeout,
        |l, n| l.obd_timeout = n.max(1),
    )?;
    limit(
        dir,
        node,
        "ldlm_timeout",
        |l| l.ldlm_timeout,
        |l, n| l.ldlm_timeout = n.max(1),
    )?;
    limit(
        dir,
        node,
        "bulk_timeout",
        |l| l.bulk_timeout,
        |l, n| l.bulk_timeout = n.max(1),
    )?;
    limit(dir, node, "at_min", |l| l.at.min, |l, n| l.at.min = n)?;
    limit(dir, node, "at_max", |l| l.at.max, |l, n| l.at.max = n)?;
    limit(
        dir,
        node,
        "at_history",
        |l| l.at.history,
        |l, n| l.at.history = n.max(1),
    )?;
    limit(dir, node, "at_extra", |l| l.at.extra, |l, n| l.at.extra = n)?;
    limit(
        dir,
        node,
        "at_early_margin",
        |l| l.at.early_margin,
        |l, n| l.at.early_margin = n,
    )
}

/// "healthy", unless the store of a target has given up.
fn health(node: &Arc<ServerNode>, out: &mut dyn fmt::Write) -> Result {
    let mut healthy = true;
    if let Some(up) = node.current() {
        up.server.for_each_target(&mut |_, t| {
            let well = t.osd().statfs().is_ok_and(|s| !s.readonly);
            healthy &= well || t.is_stopping();
        });
    }
    let word = if healthy { "healthy" } else { "NOT HEALTHY" };
    line(out, format_args!("{word}"))
}
