// SPDX-License-Identifier: GPL-2.0

//! Attributes of inodes as the MDT gives them (spec `mdt.md` 3.1, 3.3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wire::fid::Fid;
use wire::mdt::MdtBody;
use wire::obdo::ObdMd;

/// Bits of the mode that are the type.
pub const S_IFMT: u32 = 0o170000;
/// Directory.
pub const S_IFDIR: u32 = 0o040000;
/// Regular file.
pub const S_IFREG: u32 = 0o100000;
/// Symbolic link.
pub const S_IFLNK: u32 = 0o120000;

/// Attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attr {
    /// The object.
    pub fid: Fid,
    /// Type and mode.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Links.
    pub nlink: u32,
    /// Device number, major << 8 | minor.
    pub rdev: u32,
    /// Bytes; of a file with objects only a hint.
    pub size: u64,
    /// Blocks of 512 bytes; likewise.
    pub blocks: u64,
    /// Whether size and blocks are so, whatever OSTs say.
    pub size_valid: bool,
    /// Seconds.
    pub atime: i64,
    /// Seconds.
    pub mtime: i64,
    /// Seconds.
    pub ctime: i64,
    /// Seconds.
    pub btime: i64,
    /// Flags of the inode.
    pub flags: u32,
    /// Project.
    pub projid: u32,
}

impl Attr {
    /// What a reply says.
    pub fn from_body(b: &MdtBody) -> Attr {
        Attr {
            fid: b.mbo_fid1.get(),
            mode: b.mbo_mode.get(),
            uid: b.mbo_uid.get(),
            gid: b.mbo_gid.get(),
            nlink: b.mbo_nlink.get(),
            rdev: b.mbo_rdev.get(),
            size: b.mbo_size.get(),
            blocks: b.mbo_blocks.get(),
            size_valid: b.valid().contains(ObdMd::FLSIZE),
            atime: b.mbo_atime.get(),
            mtime: b.mbo_mtime.get(),
            ctime: b.mbo_ctime.get(),
            btime: b.mbo_btime.get(),
            flags: b.mbo_flags.get(),
            projid: b.mbo_projid.get(),
        }
    }

    /// The type bits.
    pub fn kind(&self) -> u32 {
        self.mode & S_IFMT
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == S_IFDIR
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind() == S_IFREG
    }
}

/// Now, in seconds since the epoch.
pub fn now() -> i64 {
    seconds(SystemTime::now())
}

/// A point in time as the protocol has it.
pub fn seconds(t: SystemTime) -> i64 {
    match t.duration_since(UNIX_EPOCH) {
        Ok(d) => i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
        // Rounded towards the past, as the kernel does.
        Err(e) => {
            let d = e.duration();
            let s = i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
            -s - i64::from(d.subsec_nanos() > 0)
        }
    }
}

/// The other way round.
pub fn system_time(s: i64) -> SystemTime {
    let d = Duration::from_secs(s.unsigned_abs());
    if s >= 0 {
        UNIX_EPOCH.checked_add(d).unwrap_or(UNIX_EPOCH)
    } else {
        UNIX_EPOCH.checked_sub(d).unwrap_or(UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for s in [0, 1, -1, 1_700_000_000, -5_000_000] {
            assert_eq!(seconds(system_time(s)), s);
        }
        let before = UNIX_EPOCH - Duration::from_millis(500);
        assert_eq!(seconds(before), -1);
    }
}
