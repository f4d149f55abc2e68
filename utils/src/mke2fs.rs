// SPDX-License-Identifier: GPL-2.0

//! What `mke2fs` is told for each type of target (spec `mgs-config.md` §2.2).

use crate::failure::fail;
use crate::target::Target;
use anyhow::{Context, Result};
use std::process::{Command, Stdio};
use wire::disk::mountdata::LddFlags;

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// Smallest device, KiB.
pub const MIN_KIB: u64 = 32384;

/// Features that every target has. `dirdata` is not among them: stock ext4 refuses it.
const FEATURES: &str =
    "uninit_bg,extents,dir_nlink,quota,project,huge_file,large_dir,flex_bg,^fast_commit";

/// The arguments after `mke2fs`, up to the device.
pub fn arguments(t: &Target, device_kib: u64, user: &str, failover: bool) -> Result<Vec<String>> {
    let user: Vec<&str> = user.split_ascii_whitespace().collect();
    let given = |letter: &str| user.iter().any(|w| w.starts_with(letter));
    let is_mdt = t.has(LddFlags::SV_TYPE_MDT);
    let is_ost = t.has(LddFlags::SV_TYPE_OST);
    let bytes = device_kib * 1024;
    let label = t.label();
    if label.len() > 16 {
        return Err(fail(
            libc::EINVAL,
            format!("the label '{label}' is longer than 16 bytes"),
        ));
    }
    let mut args: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|w| w.to_string()));
    add(&["-q", "-j", "-b", "4096", "-L", &label]);
    if !given("-J") && bytes > GIB && (is_mdt || is_ost) {
        let most = if is_mdt { 4096 } else { 1024 };
        let mib = (bytes / 25 / (1 << 20)).min(most);
        add(&["-J", &format!("size={mib}")]);
    }
    if !given("-I") && (is_mdt || is_ost) {
        add(&["-I", if is_mdt { "1024" } else { "512" }]);
    }
    if !given("-i") && !given("-N") {
        let per_inode = match bytes {
            _ if is_mdt => Some(2560),
            _ if !is_ost => None,
            b if b > 16 * TIB => Some(1 << 20),
            b if b > 4 * TIB => Some(512 << 10),
            b if b > TIB => Some(256 << 10),
            b if b > 10 * GIB => Some(69905),
            _ => None,
        };
        if let Some(n) = per_inode {
            add(&["-i", &n.to_string()]);
        }
    }
    // The administrator's features come after ours in one list, so that they win.
    let mut features = FEATURES.to_string();
    if is_mdt {
        features += ",ea_inode";
    }
    if failover {
        features += ",mmp";
    }
    if bytes / 4096 > u64::from(u32::MAX) {
        features += ",64bit,^resize_inode";
    }
    let mut extended = "lazy_journal_init=1,lazy_itable_init=0,packed_meta_blocks=1".to_string();
    let mut rest = Vec::new();
    let mut words = user.iter();
    while let Some(w) = words.next() {
        for (letter, list) in [("-O", &mut features), ("-E", &mut extended)] {
            if let Some(value) = w.strip_prefix(letter) {
                let value = match value {
                    "" => words.next().copied().with_context(|| {
                        format!("--mkfsoptions: {letter} needs a value after it")
                    })?,
                    v => v,
                };
                list.push(',');
                list.push_str(value);
                break;
            }
        }
        if !w.starts_with("-O") && !w.starts_with("-E") {
            rest.push(w.to_string());
        }
    }
    if features.split(',').any(|f| f == "dirdata") {
        return Err(fail(
            libc::EINVAL,
            "--mkfsoptions: the feature dirdata is not known to this kernel's ext4; leave it out",
        ));
    }
    if is_ost && !given("-G") {
        add(&["-G", "256"]);
    }
    add(&["-O", &features, "-E", &extended]);
    args.extend(rest);
    args.push("-F".into());
    Ok(args)
}

/// Formats.
pub fn run(args: &[String], device: &str, size_kib: Option<u64>) -> Result<()> {
    let mut c = Command::new("mke2fs");
    c.args(args).arg(device);
    if let Some(k) = size_kib {
        c.arg(format!("{k}k"));
    }
    let out = c
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot run mke2fs: is e2fsprogs installed?")?;
    if !out.status.success() {
        return Err(fail(
            libc::EIO,
            format!(
                "mke2fs failed on {device}: {}",
                String::from_utf8_lossy(&out.stderr).trim()
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(flags: LddFlags, kib: u64, user: &str) -> String {
        let mut t = Target::new();
        t.flags = flags;
        t.fsname = "lustre".into();
        t.index = Some(0);
        arguments(&t, kib, user, false).unwrap().join(" ")
    }

    #[test]
    fn by_type_and_size() {
        let small = words(LddFlags::SV_TYPE_MDT, 200 << 10, "");
        assert!(small.contains("-I 1024") && small.contains("-i 2560") && !small.contains("-J"));
        assert!(small.contains("ea_inode") && !small.contains("dirdata"));
        let big = words(LddFlags::SV_TYPE_OST, 20 << 20, "");
        assert!(big.contains("-I 512") && big.contains("-J size=819") && big.contains("-i 69905"));
        assert!(big.contains("-G 256"));
        let mgs = words(LddFlags::SV_TYPE_MGS, 20 << 20, "");
        assert!(!mgs.contains("-I") && !mgs.contains("-J"));
    }

    #[test]
    fn the_administrator_wins() {
        let w = words(
            LddFlags::SV_TYPE_OST,
            20 << 20,
            "-I 256 -O ^huge_file -E stride=4 -m 0",
        );
        assert!(!w.contains("-I 512") && w.contains("-I 256") && w.contains("-m 0"));
        assert!(w.contains("^fast_commit,^huge_file") && w.contains(",stride=4"));
        assert_eq!(w.matches(" -O ").count(), 1);
    }
}
