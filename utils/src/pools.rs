// SPDX-License-Identifier: GPL-2.0

//! Pools of OSTs: `lctl pool_new` and the like (spec `admin.md` §5.4).

use crate::failure::fail;
use crate::obd::mgs_pool;
use crate::params;
use anyhow::Result;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use wire::cfg::LcfgCommand;
use wire::svname::{FsName, SvKind, SvName};

/// How long an MDT may take to hear of a change.
const PATIENCE: Duration = Duration::from_secs(22);
const LOOK: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// A pool is made.
    New,
    /// An OST is put into it.
    Add,
    /// An OST is taken out of it.
    Remove,
    /// It ends.
    Destroy,
}

/// "fs.pool" in its two parts.
fn split(name: &str) -> Result<(&str, &str)> {
    match name.split_once('.') {
        Some((fs, pool)) if !fs.is_empty() && !pool.is_empty() => Ok((fs, pool)),
        _ => Err(fail(
            libc::EINVAL,
            format!("'{name}' has the form FSNAME.POOLNAME"),
        )),
    }
}

/// A range such as "0-7/2"; numbers are hexadecimal, the step is decimal.
fn range(text: &str) -> Option<impl Iterator<Item = u16>> {
    let (ends, step) = match text.split_once('/') {
        Some((ends, step)) => (ends, step.parse().ok().filter(|s| *s > 0)?),
        None => (text, 1),
    };
    let hex = |t: &str| u16::from_str_radix(t, 16).ok();
    let (first, last) = match ends.split_once('-') {
        Some((a, b)) => (hex(a)?, hex(b)?),
        None => (hex(ends)?, hex(ends)?),
    };
    (first <= last).then(|| (first..=last).step_by(step))
}

/// The OSTs that a word means: "OST0000", "fs-OST0000", "fs-OST0000_UUID", "OST[0-7/2,a]".
fn expand(fs: FsName, word: &str) -> Option<Vec<SvName>> {
    let bare = word.strip_suffix("_UUID").unwrap_or(word);
    let bare = bare
        .strip_prefix(fs.as_str())
        .and_then(|w| w.strip_prefix('-'))
        .unwrap_or(bare);
    let indices = bare.strip_prefix("OST")?;
    let indices: Vec<u16> = match indices.strip_prefix('[') {
        Some(list) => {
            let ranges: Option<Vec<_>> = list.strip_suffix(']')?.split(',').map(range).collect();
            ranges?.into_iter().flatten().collect()
        }
        None if indices.len() == 4 => vec![u16::from_str_radix(indices, 16).ok()?],
        None => return None,
    };
    let names = indices
        .into_iter()
        .map(|i| SvName::new(fs, SvKind::Ost, i.into()).ok());
    names.collect()
}

/// Directories of pools that this node knows: an MDT's, or a client's.
fn known(fs: &str) -> Vec<PathBuf> {
    let dirs = |kind: &str| params::find(&format!("{kind}.{fs}-*.pools"), false);
    let mut found = dirs("lod");
    if found.is_empty() {
        found = dirs("lov");
    }
    found.into_iter().map(|f| f.path).collect()
}

/// The OSTs of a pool, where it is known.
fn members(fs: &str, pool: &str) -> Option<Vec<String>> {
    let text = known(fs)
        .iter()
        .find_map(|d| fs::read_to_string(d.join(pool)).ok())?;
    Some(text.lines().map(str::to_owned).collect())
}

/// Waits until the MDT of this node has heard of a change; there need not be one.
fn wait(fs: &str, pool: &str, change: Change, ost: &str) {
    let (done, not) = match change {
        Change::New => (
            format!("Pool {fs}.{pool} created"),
            format!("pool {fs}.{pool} not found"),
        ),
        Change::Destroy => (
            format!("Pool {fs}.{pool} destroyed"),
            format!("pool {fs}.{pool} still found"),
        ),
        Change::Add => (
            format!("OST {ost} added to pool {fs}.{pool}"),
            format!("OST {ost} not found in pool {fs}.{pool}"),
        ),
        Change::Remove => (
            format!("OST {ost} removed from pool {fs}.{pool}"),
            format!("OST {ost} still found in pool {fs}.{pool}"),
        ),
    };
    if params::find(&format!("mdt.{fs}-MDT0000"), false).is_empty() {
        return;
    }
    let end = Instant::now() + PATIENCE;
    loop {
        let now = members(fs, pool);
        let inside = now.as_ref().is_some_and(|m| m.iter().any(|o| o == ost));
        let there = match change {
            Change::New => now.is_some(),
            Change::Destroy => now.is_none(),
            Change::Add => inside,
            Change::Remove => !inside,
        };
        if there {
            eprintln!("{done}");
            return;
        }
        if Instant::now() > end {
            eprintln!("Warning, {not}");
            return;
        }
        thread::sleep(LOOK);
    }
}

/// What an error of the MGS means.
fn refused(change: Change, fs: &str, pool: &str, ost: &str, errno: i32) -> anyhow::Error {
    let name = format!("{fs}.{pool}");
    let text = match (change, errno) {
        (_, libc::ENAMETOOLONG) => format!("pool name '{pool}' is too long (max is 15)"),
        (Change::New, libc::EEXIST) => format!("pool {name} already exists"),
        (_, libc::EINVAL) => format!(
            "pool {name}: there is no file system '{fs}', or the name has other characters than \
             letters, digits, '_', '-' and '.'"
        ),
        (Change::Destroy, libc::ENOTEMPTY) => {
            format!("pool {name} not empty, please remove all members")
        }
        (Change::Destroy, libc::ENOENT) | (_, libc::ENOMEDIUM) => format!("pool {name} not found"),
        (_, libc::EEXIST) => format!("{ost} is already in pool {name}"),
        (_, libc::ENODEV) => format!("{ost} is not part of the '{fs}' fs."),
        (_, libc::ENOENT) => format!("{ost} not found in pool {name}"),
        (_, e) => std::io::Error::from_raw_os_error(e).to_string(),
    };
    fail(errno, text)
}

fn one(change: Change, fs: &str, pool: &str, ost: Option<&str>, quick: bool) -> Result<()> {
    let command = match change {
        Change::New => LcfgCommand::PoolNew,
        Change::Add => LcfgCommand::PoolAdd,
        Change::Remove => LcfgCommand::PoolRem,
        Change::Destroy => LcfgCommand::PoolDel,
    };
    let shown = ost.unwrap_or_default();
    mgs_pool(command, &format!("{fs}.{pool}"), ost)?.map_err(|e| {
        let errno = e.raw_os_error().unwrap_or(libc::EIO);
        refused(change, fs, pool, shown, errno)
    })?;
    if !quick {
        wait(fs, pool, change, shown);
    }
    Ok(())
}

/// Changes pool "fs.pool" on the MGS of this node. With `quick` nobody waits for the MDT.
///
/// # Errors
/// What is wrong with the names, or what the MGS says.
pub fn change(change: Change, name: &str, osts: &[String], quick: bool) -> Result<()> {
    let (fs, pool) = split(name)?;
    if osts.is_empty() {
        return one(change, fs, pool, None, quick);
    }
    let fsname = FsName::new(fs.as_bytes());
    let fsname =
        fsname.map_err(|_| fail(libc::EINVAL, format!("'{fs}' is no file system name")))?;
    for word in osts {
        let names = expand(fsname, word).ok_or_else(|| {
            fail(
                libc::EINVAL,
                format!("'{word}' is no OST, such as {fs}-OST0000 or OST[0-7/2]"),
            )
        })?;
        for ost in names {
            one(change, fs, pool, Some(&format!("{ost}_UUID")), quick)?;
        }
    }
    Ok(())
}

/// Prints the pools of a file system, or the OSTs of "fs.pool".
///
/// # Errors
/// `ENOENT`: nothing is known here of the pool or the file system.
pub fn list(name: &str) -> Result<()> {
    if let Some((fs, pool)) = name.split_once('.') {
        let osts = members(fs, pool)
            .ok_or_else(|| fail(libc::ENOENT, format!("pool {fs}.{pool} not found")))?;
        println!("Pool: {fs}.{pool}");
        for o in osts {
            println!("{o}");
        }
        return Ok(());
    }
    let dirs = known(name);
    if dirs.is_empty() {
        return Err(fail(
            libc::ENOENT,
            format!("file system '{name}' is not known here (this is for MDS and client nodes)"),
        ));
    }
    println!("Pools from {name}:");
    let mut pools: Vec<String> = dirs
        .iter()
        .filter_map(|d| fs::read_dir(d).ok())
        .flat_map(|d| d.flatten())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    pools.sort();
    pools.dedup();
    for p in pools {
        println!("{name}.{p}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let fs = FsName::new(b"lustre").unwrap();
        let shown = |word: &str| {
            let names = expand(fs, word)?;
            Some(names.iter().map(SvName::to_string).collect::<Vec<_>>())
        };
        for word in ["OST0001", "lustre-OST0001", "lustre-OST0001_UUID"] {
            assert_eq!(shown(word).unwrap(), ["lustre-OST0001"]);
        }
        let all = ["lustre-OST0008", "lustre-OST000a", "lustre-OST000c"];
        assert_eq!(shown("OST[8-c/2]").unwrap(), all);
        assert_eq!(shown("lustre-OST[8,a-a,c]_UUID").unwrap(), all);
        for bad in [
            "",
            "OST",
            "OST1",
            "OST00001",
            "MDT0000",
            "other-OST0000",
            "OST[]",
            "OST[3-1]",
            "OST[0-7/0]",
            "OST[0-7",
            "OST[x]",
            "OST[0-10000]",
        ] {
            assert_eq!(shown(bad), None, "{bad}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(split("lustre.a.b").unwrap(), ("lustre", "a.b"));
        for bad in ["", "lustre", "lustre.", ".pool"] {
            assert!(split(bad).is_err());
        }
    }
}
