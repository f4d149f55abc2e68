// SPDX-License-Identifier: GPL-2.0

//! `osd-ldiskfs.<svname>.oi_scrub` (`admin.md` 8.10).

use crate::params::line;
use core::fmt::{self, Write};
use kapi::prelude::*;
use osd::Scrub;
use wire::disk::scrub::{ScrubFile, ScrubFlags, ScrubStatus};

/// [`ScrubFile::sf_param`], by bit.
const PARAMS: [(u16, &str); 2] = [(1, "failout"), (2, "dryrun")];
const FLAGS: [(ScrubFlags, &str); 4] = [
    (ScrubFlags::RECREATED, "recreated"),
    (ScrubFlags::INCONSISTENT, "inconsistent"),
    (ScrubFlags::AUTO, "auto"),
    (ScrubFlags::UPGRADE, "upgrade"),
];

fn status(s: ScrubStatus) -> &'static str {
    match s {
        ScrubStatus::Init => "init",
        ScrubStatus::Scanning => "scanning",
        ScrubStatus::Completed => "completed",
        ScrubStatus::Failed => "failed",
        ScrubStatus::Stopped => "stopped",
        ScrubStatus::Paused => "paused",
        ScrubStatus::Crashed => "crashed",
    }
}

fn words<'a>(out: &mut dyn Write, name: &str, all: impl Iterator<Item = &'a str>) -> Result {
    let done = write!(out, "{name}:").and_then(|()| {
        let mut between = " ";
        for word in all {
            write!(out, "{between}{word}")?;
            between = ",";
        }
        writeln!(out)
    });
    done.map_err(|_: fmt::Error| ENOMEM)
}

/// A number that is none as long as it is zero.
struct Known(u64, &'static str);

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("N/A"),
            n => write!(f, "{n}{}", self.1),
        }
    }
}

fn since(now: u64, then: u64) -> Known {
    // Less than a second is told as one, zero being never.
    let ago = now.saturating_sub(then).max(1);
    Known(if then == 0 { 0 } else { ago }, " seconds")
}

/// Prints the state.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn write(out: &mut dyn Write, s: &Scrub) -> Result {
    let f: &ScrubFile = &s.file;
    let now = kapi::time::real().as_secs();
    let flags = f.flags();
    line(out, format_args!("name: OI_scrub"))?;
    line(out, format_args!("magic: {:#x}", f.sf_magic.get()))?;
    line(out, format_args!("oi_files: {}", f.sf_oi_count.get()))?;
    line(out, format_args!("status: {}", status(f.status())))?;
    let set = FLAGS.iter().filter(|(b, _)| flags.contains(*b));
    words(out, "flags", set.map(|(_, name)| *name))?;
    let param = f.sf_param.get();
    let set = PARAMS.iter().filter(|(b, _)| param & b != 0);
    words(out, "param", set.map(|(_, name)| *name))?;
    for (name, then) in [
        ("last_completed", f.sf_time_last_complete.get()),
        ("latest_start", f.sf_time_latest_start.get()),
        ("last_checkpoint", f.sf_time_last_checkpoint.get()),
    ] {
        line(out, format_args!("time_since_{name}: {}", since(now, then)))?;
    }
    for (name, at) in [
        ("latest_start_position", f.sf_pos_latest_start.get()),
        ("last_checkpoint_position", f.sf_pos_last_checkpoint.get()),
        ("first_failure_position", f.sf_pos_first_inconsistent.get()),
    ] {
        line(out, format_args!("{name}: {}", Known(at, "")))?;
    }
    let checked = f.sf_items_checked.get();
    for (name, n) in [
        ("checked", checked),
        ("updated", f.sf_items_updated.get()),
        ("failed", f.sf_items_failed.get()),
        ("prior_updated", f.sf_items_updated_prior.get()),
        ("noscrub", f.sf_items_noscrub.get()),
        ("igif", f.sf_items_igif.get()),
        ("success_count", f.sf_success_count.get().into()),
    ] {
        line(out, format_args!("{name}: {n}"))?;
    }
    let (at, more) = s.running.unwrap_or_default();
    let ran = u64::from(f.sf_run_time.get()).saturating_add(more.as_secs());
    let rate = checked.checked_div(ran).unwrap_or(checked);
    line(out, format_args!("run_time: {ran} seconds"))?;
    line(out, format_args!("average_speed: {rate} objects/sec"))?;
    if s.running.is_some() {
        line(out, format_args!("real_time_speed: {rate} objects/sec"))?;
    } else {
        line(out, format_args!("real_time_speed: N/A"))?;
    }
    line(out, format_args!("current_position: {}", Known(at, "")))?;
    for (name, n) in [
        ("scanned", s.lost_found.scanned),
        ("repaired", s.lost_found.repaired),
        ("failed", s.lost_found.failed),
    ] {
        line(out, format_args!("lf_{name}: {n}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use osd::LostFound;
    use wire::disk::scrub::OSD_OI_FID_NR;
    use zerocopy::FromZeros;

    fn text(s: &Scrub) -> String {
        let mut out = String::new();
        write(&mut out, s).unwrap();
        out
    }

    #[test]
    fn a_new_target() {
        let mut file = ScrubFile::new_zeroed();
        file.init(&[1; 16], OSD_OI_FID_NR);
        let out = text(&Scrub {
            file,
            running: None,
            lost_found: LostFound::default(),
        });
        assert!(out.starts_with(
            "name: OI_scrub\nmagic: 0x4c5fe253\noi_files: 64\nstatus: init\nflags:\nparam:\n\
             time_since_last_completed: N/A\n"
        ));
        assert!(out.contains("\nfirst_failure_position: N/A\nchecked: 0\nupdated: 0\n"));
        assert!(out.ends_with("real_time_speed: N/A\ncurrent_position: N/A\nlf_scanned: 0\nlf_repaired: 0\nlf_failed: 0\n"));
    }

    #[test]
    fn a_scan_that_runs() {
        let mut file = ScrubFile::new_zeroed();
        file.init(&[1; 16], OSD_OI_FID_NR);
        file.flag(ScrubFlags::INCONSISTENT | ScrubFlags::AUTO);
        file.set_status(ScrubStatus::Scanning);
        file.sf_items_checked.set(100);
        file.sf_run_time.set(3);
        let out = text(&Scrub {
            file,
            running: Some((4711, Duration::from_secs(2))),
            lost_found: LostFound::default(),
        });
        assert!(out.contains("status: scanning\nflags: inconsistent,auto\nparam:\n"));
        assert!(out.contains("run_time: 5 seconds\naverage_speed: 20 objects/sec\n"));
        assert!(out.contains("\ncurrent_position: 4711\nlf_scanned: 0\n"));
    }
}
