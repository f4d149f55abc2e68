// SPDX-License-Identifier: GPL-2.0

//! Attributes of objects and of the store.

use core::ffi::CStr;

/// Bits of a mode that hold the type.
pub const S_IFMT: u32 = 0o170000;
/// Type of a regular file.
pub const S_IFREG: u32 = 0o100000;
/// Type of a directory.
pub const S_IFDIR: u32 = 0o040000;
/// Type of a symbolic link.
pub const S_IFLNK: u32 = 0o120000;

/// `FS_*_FL` that can be set on an object of this mode (`ondisk.md` 8.2): some are for directories
/// alone, and what is neither file nor directory has no others than not to be dumped and to keep
/// its access time.
pub const fn settable_flags(mode: u32) -> u32 {
    const ALL: u32 = 0x2003_04f8;
    const DIR: u32 = 0x2003_0000;
    match mode & S_IFMT {
        S_IFDIR => ALL,
        S_IFREG => ALL & !DIR,
        _ => 0xc0,
    }
}

/// A point in time since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Time {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, below 10^9.
    pub nsec: u32,
}

impl Time {
    /// A time of whole seconds, as the wire has them.
    pub const fn secs(sec: i64) -> Time {
        Time { sec, nsec: 0 }
    }
}

/// The attributes of an object.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Attr {
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of the attributes.
    pub ctime: Time,
    /// When it was made.
    pub btime: Time,
    /// The version that recovery goes by: a transaction number.
    pub version: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Project.
    pub projid: u32,
    /// Links.
    pub nlink: u32,
    /// Of a device: as Linux' `new_encode_dev()` has it.
    pub rdev: u32,
    /// `FS_*_FL`.
    pub flags: u32,
}

impl Attr {
    /// Whether the object is a directory.
    pub const fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    /// Whether the object is a regular file.
    pub const fn is_file(&self) -> bool {
        self.mode & S_IFMT == S_IFREG
    }

    /// Whether the object is a symbolic link.
    pub const fn is_symlink(&self) -> bool {
        self.mode & S_IFMT == 0o120000
    }
}

/// Attributes to be set: those that are some.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SetAttr {
    /// Permissions; the type stays.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Project.
    pub projid: Option<u32>,
    /// Last access.
    pub atime: Option<Time>,
    /// Last change of the content.
    pub mtime: Option<Time>,
    /// Last change of the attributes.
    pub ctime: Option<Time>,
    /// `FS_*_FL`; those of [`settable_flags`] are replaced.
    pub flags: Option<u32>,
    /// The version, below 2^63.
    pub version: Option<u64>,
}

impl SetAttr {
    /// Whether nothing is to be set.
    pub fn is_empty(&self) -> bool {
        *self == SetAttr::default()
    }
}

/// A new object. Its owners are root, its times zero; its link count is 1, that of a directory 2.
#[derive(Clone, Copy, Default, Debug)]
pub struct Create<'a> {
    /// Type and permissions.
    pub mode: u32,
    /// Of a device.
    pub rdev: u32,
    /// Of a symbolic link.
    pub target: Option<&'a CStr>,
}

impl Create<'_> {
    /// A regular file.
    pub const fn file(mode: u32) -> Create<'static> {
        Create {
            mode: S_IFREG | mode,
            rdev: 0,
            target: None,
        }
    }

    /// A directory.
    pub const fn dir(mode: u32) -> Create<'static> {
        Create {
            mode: S_IFDIR | mode,
            rdev: 0,
            target: None,
        }
    }
}

/// Space and inodes of a store.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StatFs {
    /// Blocks of `bsize` bytes.
    pub blocks: u64,
    /// Of these free.
    pub bfree: u64,
    /// Of these free for all.
    pub bavail: u64,
    /// Inodes.
    pub files: u64,
    /// Of these free.
    pub ffree: u64,
    /// Bytes in a block.
    pub bsize: u32,
    /// Longest name.
    pub namelen: u32,
    /// An error made the store read-only.
    pub readonly: bool,
}

/// Whose usage is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsageKind {
    /// A user's.
    User,
    /// A group's.
    Group,
    /// A project's.
    Project,
}

/// What somebody uses.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Bytes.
    pub space: u64,
    /// Inodes.
    pub inodes: u64,
}
