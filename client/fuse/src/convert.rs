// SPDX-License-Identifier: GPL-2.0

//! Between what the kernel says and what Lustre says.

use fuser::{Errno, FileAttr, FileType, INodeNo, OpenAccMode, OpenFlags, Request, TimeOrNow};
use lustre_client::attr::{seconds, system_time, Attr};
use lustre_client::cred::Cred;
use lustre_client::fs::OpenHow;
use lustre_client::Error;

/// An error for the kernel.
pub fn errno(e: Error) -> Errno {
    Errno::from_i32(-e.to_errno())
}

/// The type of an inode.
pub fn kind(mode: u32) -> FileType {
    match mode & 0o170000 {
        0o010000 => FileType::NamedPipe,
        0o020000 => FileType::CharDevice,
        0o040000 => FileType::Directory,
        0o060000 => FileType::BlockDevice,
        0o120000 => FileType::Symlink,
        0o140000 => FileType::Socket,
        _ => FileType::RegularFile,
    }
}

/// A device number in the kernel's form, from Lustre's.
pub fn rdev_out(rdev: u32) -> u32 {
    let (major, minor) = ((rdev >> 8) & 0xff, rdev & 0xff);
    (major << 8) | minor
}

/// The other way round; `None`: the number is too large for Lustre.
pub fn rdev_in(rdev: u32) -> Option<u32> {
    let major = (rdev >> 8) & 0xfff;
    let minor = (rdev & 0xff) | ((rdev >> 12) & 0xfff00);
    (major < 256 && minor < 256).then_some((major << 8) | minor)
}

/// Attributes for the kernel.
pub fn attr(a: &Attr, ino: u64) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: a.size,
        blocks: a.blocks,
        atime: system_time(a.atime),
        mtime: system_time(a.mtime),
        ctime: system_time(a.ctime),
        crtime: system_time(a.btime),
        kind: kind(a.mode),
        perm: (a.mode & 0o7777) as u16,
        nlink: a.nlink,
        uid: a.uid,
        gid: a.gid,
        rdev: rdev_out(a.rdev),
        // What is good to read and write at a time.
        blksize: if a.is_file() { 4 << 20 } else { 4096 },
        flags: 0,
    }
}

/// A time to set: seconds, or now.
pub fn time(t: Option<TimeOrNow>) -> Option<Option<i64>> {
    t.map(|t| match t {
        TimeOrNow::SpecificTime(t) => Some(seconds(t)),
        TimeOrNow::Now => None,
    })
}

/// How a file is to be opened.
pub fn how(flags: OpenFlags) -> OpenHow {
    /// The kernel opens it to execute it.
    const FMODE_EXEC: i32 = 0x20;
    const O_EXCL: i32 = 0o200;
    const O_TRUNC: i32 = 0o1000;
    const O_APPEND: i32 = 0o2000;
    const O_DSYNC: i32 = 0o10000;
    let mode = flags.acc_mode();
    let has = |f: i32| flags.0 & f != 0;
    OpenHow {
        read: mode != OpenAccMode::O_WRONLY,
        write: mode != OpenAccMode::O_RDONLY,
        append: has(O_APPEND),
        excl: has(O_EXCL),
        trunc: has(O_TRUNC),
        sync: has(O_DSYNC),
        exec: has(FMODE_EXEC),
    }
}

/// The supplementary groups of a process.
fn groups(pid: u32) -> Vec<u32> {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
        return Vec::new();
    };
    let line = text.lines().find_map(|l| l.strip_prefix("Groups:"));
    line.unwrap_or("")
        .split_whitespace()
        .filter_map(|g| g.parse().ok())
        .collect()
}

/// Whether a signal waits for a thread, or the thread is gone.
pub fn has_signal(pid: u32) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
        return true;
    };
    let mask = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key));
        line.and_then(|l| u64::from_str_radix(l.trim(), 16).ok())
            .unwrap_or(0)
    };
    (mask("SigPnd:") | mask("ShdPnd:")) & !mask("SigBlk:") != 0
}

/// Who asks.
pub fn cred(req: &Request) -> Cred {
    Cred {
        uid: req.uid(),
        gid: req.gid(),
        groups: match req.uid() {
            // May do everything anyway.
            0 => Vec::new(),
            _ => groups(req.pid()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        assert_eq!(rdev_in(0x103), Some(0x103));
        assert_eq!(rdev_out(0x103), 0x103);
        assert_eq!(rdev_in(1 << 20), None);
        assert_eq!(kind(0o120777), FileType::Symlink);
    }

    #[test]
    fn signals() {
        assert!(!has_signal(std::process::id()));
        assert!(has_signal(u32::MAX));
    }

    #[test]
    fn open_flags() {
        let h = how(OpenFlags(0o2001));
        assert!(h.write && h.append && !h.read && !h.sync);
        assert!(how(OpenFlags(0)).read);
    }
}
