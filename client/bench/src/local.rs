// SPDX-License-Identifier: GPL-2.0

//! The same work on names in a directory of this machine, to compare with.

use crate::{per_second, together, Rate};
use anyhow::{bail, Result};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Makes the kernel forget what it has in memory.
fn drop_caches() -> Result<()> {
    Ok(fs::write("/proc/sys/vm/drop_caches", "3")?)
}

fn list(dir: &Path) -> Result<usize> {
    let mut n = 0;
    for entry in fs::read_dir(dir)? {
        fs::symlink_metadata(entry?.path())?;
        n += 1;
    }
    Ok(n)
}

/// All of it below `top` with `threads` threads and `files` files each.
pub fn run(top: &Path, threads: usize, files: usize) -> Result<Vec<Rate>> {
    let dirs: Vec<PathBuf> = (0..threads).map(|t| top.join(format!("meta{t}"))).collect();
    for d in &dirs {
        fs::create_dir(d)?;
    }
    let name = |t: usize, i: usize| top.join(format!("meta{t}/file{i:06}"));
    let mut out = Vec::new();
    let mut add = |op, t: Duration| {
        out.push(Rate {
            op,
            by: threads,
            rate: per_second((threads * files) as u64, t),
        })
    };
    let each = |f: &(dyn Fn(&Path) -> Result<()> + Sync)| {
        together(threads, |t| (0..files).try_for_each(|i| f(&name(t, i))))
    };
    let mut how = OpenOptions::new();
    how.write(true).create_new(true).mode(0o644);
    add("create", each(&|p| Ok(how.open(p).map(|_| ())?))?);
    drop_caches()?;
    add("stat", each(&|p| Ok(fs::symlink_metadata(p).map(|_| ())?))?);
    drop_caches()?;
    let t = together(threads, |t| match list(&top.join(format!("meta{t}")))? {
        n if n == files => Ok(()),
        n => bail!("{n} entries instead of {files}"),
    })?;
    add("readdir_stat", t);
    add("unlink", each(&|p| Ok(fs::remove_file(p)?))?);
    for d in &dirs {
        fs::remove_dir(d)?;
    }
    Ok(out)
}
