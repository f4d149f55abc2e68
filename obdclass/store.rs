// SPDX-License-Identifier: GPL-2.0

//! The parameters of a store: `osd-ldiskfs.<svname>.*` (`admin.md` 7.3, 7.8).

use crate::params::{line, show, show_number, trigger};
use crate::scrub;
use crate::text::Text;
use kapi::params::ParamDir;
use kapi::prelude::*;
use osd::{Device, StatFs};

fn kib(s: &StatFs, blocks: u64) -> u64 {
    blocks.saturating_mul(s.bsize.into()) / 1024
}

/// Adds the parameters that all devices with space have.
///
/// # Errors
/// `EEXIST`, `ENOMEM`.
pub fn statfs_params(dir: &ParamDir, osd: &Arc<dyn Device>) -> Result {
    let number = |name: &str, f: fn(&StatFs) -> u64| -> Result {
        let osd = osd.clone();
        show_number(dir, name, move || Ok(f(&osd.statfs()?)))
    };
    number("blocksize", |s| s.bsize.into())?;
    number("kbytestotal", |s| kib(s, s.blocks))?;
    number("kbytesfree", |s| kib(s, s.bfree))?;
    number("kbytesavail", |s| kib(s, s.bavail))?;
    number("filestotal", |s| s.files)?;
    number("filesfree", |s| s.ffree)?;
    number("namelen_max", |s| s.namelen.into())
}

/// Makes the directory of parameters of the store of `svname` on `device`.
///
/// # Errors
/// `ENOMEM`.
pub(crate) fn params(osd: &Arc<dyn Device>, svname: &str, device: &str) -> Result<ParamDir> {
    let dir = ParamDir::new(format_args!("osd-ldiskfs/{svname}"))?;
    statfs_params(&dir, osd)?;
    let name = Text::copy(svname)?;
    show(&dir, "uuid", move |out| {
        line(out, format_args!("{name}-osd_UUID"))
    })?;
    let device = Text::copy(device)?;
    show(&dir, "mntdev", move |out| {
        line(out, format_args!("{device}"))
    })?;
    show(&dir, "fstype", |out| line(out, format_args!("ldiskfs")))?;
    if osd.scrub().is_some() {
        let store = osd.clone();
        show(&dir, "oi_scrub", move |out| {
            scrub::write(out, &store.scrub().ok_or(ENODEV)?)
        })?;
    }
    let store = osd.clone();
    trigger(&dir, "force_sync", move |_| store.sync())?;
    Ok(dir)
}
