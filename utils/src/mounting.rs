// SPDX-License-Identifier: GPL-2.0

//! Mounting targets: the option string, the system call, what its errors mean
//! (spec `mgs-config.md` §5, `admin.md` §6.2).

use crate::failure::fail;
use crate::target::Target;
use anyhow::{Context, Result};
use wire::disk::mountdata::LddFlags;

/// Options that are attributes of the mount, and whether they set or clear it.
const FLAGS: &[(&str, u64, bool)] = &[
    ("nosuid", libc::MOUNT_ATTR_NOSUID, true),
    ("suid", libc::MOUNT_ATTR_NOSUID, false),
    ("nodev", libc::MOUNT_ATTR_NODEV, true),
    ("dev", libc::MOUNT_ATTR_NODEV, false),
    ("noexec", libc::MOUNT_ATTR_NOEXEC, true),
    ("exec", libc::MOUNT_ATTR_NOEXEC, false),
    ("noatime", libc::MOUNT_ATTR_NOATIME, true),
    ("atime", libc::MOUNT_ATTR_NOATIME, false),
    ("relatime", libc::MOUNT_ATTR_RELATIME, true),
    // What is seen of a mounted target is read-only anyway.
    ("ro", libc::MOUNT_ATTR_RDONLY, true),
    ("rw", libc::MOUNT_ATTR_RDONLY, false),
];

/// Options that mean something to mount(8) or to us only.
const CONSUMED: &[&str] = &[
    "_netdev", "defaults", "auto", "noauto", "user", "nouser", "nofail", "loop", "sync", "async",
];

/// What the administrator's `-o` options come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Attributes of the mount, `MOUNT_ATTR_*`.
    pub flags: u64,
    /// What the kernel module reads.
    pub rest: Vec<String>,
    /// How often to try again.
    pub retry: u32,
}

impl MountOptions {
    /// Reads them.
    pub fn parse(text: &str) -> Result<MountOptions> {
        let mut o = MountOptions::default();
        for word in text.split(',').filter(|w| !w.is_empty()) {
            if let Some((_, flag, set)) = FLAGS.iter().find(|(n, _, _)| *n == word) {
                if *set {
                    o.flags |= flag;
                } else {
                    o.flags &= !flag;
                }
            } else if word == "remount" {
                return Err(fail(
                    libc::EOPNOTSUPP,
                    "-o remount: a target has to be unmounted, and mounted with other options",
                ));
            } else if let Some(n) = word.strip_prefix("retry=") {
                o.retry = n
                    .parse()
                    .map_err(|_| fail(libc::EINVAL, format!("-o {word}: a number is needed")))?;
            } else if !CONSUMED.contains(&word) && !word.starts_with("x-") {
                o.rest.push(word.to_string());
            }
        }
        Ok(o)
    }
}

/// The option string for the kernel.
pub fn server_options(t: &Target, admin: &MountOptions, device: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    words.extend(
        t.mount_opts
            .split(',')
            .filter(|w| !w.is_empty())
            .map(String::from),
    );
    words.extend(admin.rest.iter().cloned());
    words.push("osd=osd-ldiskfs".into());
    if t.has(LddFlags::SV_TYPE_MGS) {
        words.push("mgs".into());
    } else if !admin.rest.iter().any(|w| w.starts_with("mgsnode=")) {
        words.extend(t.param("mgsnode").iter().map(|n| format!("mgsnode={n}")));
    }
    for (flag, word) in [
        (LddFlags::VIRGIN, "virgin"),
        (LddFlags::UPDATE, "update"),
        (LddFlags::WRITECONF, "writeconf"),
        (LddFlags::NO_LOCAL_LOGS, "nolocallogs"),
        (LddFlags::NO_PRIMNODE, "noprimnode"),
    ] {
        if t.has(flag) {
            words.push(word.into());
        }
    }
    words.extend(
        t.params
            .split_ascii_whitespace()
            .filter(|w| !w.starts_with("mgsnode="))
            .map(|w| format!("param={w}")),
    );
    words.push(format!("svname={}", t.svname()));
    words.push(format!("device={device}"));
    words
}

/// What an error of a mount means to an administrator, where the kernel did not say more.
pub fn explain(errno: i32) -> &'static str {
    match errno {
        libc::EBUSY | libc::EINPROGRESS => "Is the backend filesystem mounted?",
        libc::ENODEV => "Are the lustre modules loaded? (try: modprobe lustre)",
        libc::ENOTBLK => "Do you need -o loop?",
        libc::ENOMEDIUM => "This filesystem needs at least 1 OST",
        libc::ENOENT => "Is the MGS specification correct? Is the filesystem name correct?",
        libc::EALREADY => "The target service is already running.",
        libc::ENXIO => "The target service failed to start (bad config log?). See dmesg.",
        libc::EIO => "Is the MGS running?",
        libc::EADDRINUSE => {
            "The target service's index is already in use. Format it with another --index, or \
             with --replace if it takes the place of a lost one."
        }
        libc::EROFS => "The device is read-only.",
        libc::EINVAL => "This may have multiple causes. See dmesg.",
        _ => "See dmesg.",
    }
}

/// A loop device for a file.
pub fn attach_loop(file: &str) -> Result<String> {
    let out = std::process::Command::new("losetup")
        .args(["--find", "--show", file])
        .stdin(std::process::Stdio::null())
        .output()
        .context("cannot run losetup: is util-linux installed?")?;
    if !out.status.success() {
        return Err(fail(
            libc::ENOTBLK,
            format!(
                "{file}: no loop device: {}",
                String::from_utf8_lossy(&out.stderr).trim()
            ),
        ));
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_string())
}

/// Gives a loop device back; one that is mounted goes when it is unmounted.
pub fn detach_loop(device: &str) {
    let done = std::process::Command::new("losetup")
        .args(["--detach", device])
        .stdin(std::process::Stdio::null())
        .status();
    if !done.is_ok_and(|s| s.success()) {
        eprintln!("warning: {device} stays attached");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_mount_of_an_ost() {
        let mut t = Target::new();
        t.flags = LddFlags::SV_TYPE_OST | LddFlags::VIRGIN | LddFlags::UPDATE;
        t.fsname = "lustre".into();
        t.index = Some(0);
        t.mount_opts = ",errors=remount-ro".into();
        t.add_param("mgsnode", "192.168.1.1@tcp").unwrap();
        t.add_param("sys.timeout", "20").unwrap();
        let o = server_options(&t, &MountOptions::default(), "/dev/sdb");
        assert_eq!(
            o.join(","),
            "errors=remount-ro,osd=osd-ldiskfs,mgsnode=192.168.1.1@tcp,virgin,update,\
             param=sys.timeout=20,svname=lustre-OST0000,device=/dev/sdb"
        );
    }

    #[test]
    fn admin_options() {
        let o = MountOptions::parse("rw,noatime,_netdev,retry=3,abort_recov,ro").unwrap();
        assert_eq!(o.flags, libc::MOUNT_ATTR_NOATIME | libc::MOUNT_ATTR_RDONLY);
        assert_eq!((o.retry, o.rest), (3, vec!["abort_recov".to_string()]));
        assert!(MountOptions::parse("retry=x").is_err());
        assert!(MountOptions::parse("remount,ro").is_err());
    }
}
