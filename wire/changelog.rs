// SPDX-License-Identifier: GPL-2.0

//! Records of changes (`spec/mdt.md` 16).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::fid::LuFid;
use crate::flags;

macro_rules! types {
    ($( $(#[$doc:meta])* $name:ident = $value:expr, )*) => {
        /// What was changed.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum ChangelogType {
            $( $(#[$doc])* $name = $value, )*
        }

        impl TryFrom<u32> for ChangelogType {
            type Error = Malformed;

            fn try_from(v: u32) -> Result<ChangelogType> {
                match v {
                    $( $value => Ok(ChangelogType::$name), )*
                    _ => Err(Malformed::Value),
                }
            }
        }
    };
}

types! {
    /// By an administrator.
    Mark = 0,
    /// Regular file.
    Create = 1,
    /// Directory.
    Mkdir = 2,
    /// Link.
    Hardlink = 3,
    /// Symlink.
    Softlink = 4,
    /// Special file.
    Mknod = 5,
    /// Unlink.
    Unlink = 6,
    /// Rmdir.
    Rmdir = 7,
    /// Rename.
    Rename = 8,
    /// Second half of a rename, obsolete.
    Ext = 9,
    /// Open.
    Open = 10,
    /// Close.
    Close = 11,
    /// Layout.
    Layout = 12,
    /// Truncate.
    Trunc = 13,
    /// Attributes.
    Setattr = 14,
    /// Xattr.
    Setxattr = 15,
    /// Archive.
    Hsm = 16,
    /// Modification time.
    Mtime = 17,
    /// Change time.
    Ctime = 18,
    /// Access time.
    Atime = 19,
    /// Moved to another MDT.
    Migrate = 20,
    /// Mirrored file written.
    Flrw = 21,
    /// Mirrors in step.
    Resync = 22,
    /// Xattr read.
    Getxattr = 23,
    /// Open denied.
    DnOpen = 24,
}

impl ChangelogType {
    /// Its bit in a mask.
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// All that are recorded unless told otherwise.
    pub const DEFAULT_MASK: u32 = ((1 << 25) - 1)
        & !(ChangelogType::Atime.bit()
            | ChangelogType::Open.bit()
            | ChangelogType::Getxattr.bit()
            | ChangelogType::DnOpen.bit());
}

flags! {
    /// Flags of a record; the low 12 bits depend on the type.
    pub struct ChangelogFlags: u16 {
        /// Always.
        const VERSION = 0x1000;
        /// With [`ChangelogExtRename`].
        const RENAME = 0x2000;
        /// With a job.
        const JOBID = 0x4000;
        /// With [`ChangelogExtraFlags`].
        const EXTRA = 0x8000;
    }
}

flags! {
    /// What else a record has.
    pub struct ChangelogExtraFlags: u64 {
        /// User and group.
        const UIDGID = 0x1;
        /// NID.
        const NID = 0x2;
        /// Open flags.
        const OPEN = 0x4;
        /// Name of an xattr.
        const XATTR = 0x8;
        /// The NID is big endian.
        const NID_BE = 0x10;
    }
}

/// Bytes of a job.
pub const CHANGELOG_JOBID_SIZE: usize = 32;

/// `changelog_rec`; extensions and names follow.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct ChangelogRec {
    /// Bytes of the names.
    pub cr_namelen: U16,
    /// [`ChangelogFlags`].
    pub cr_flags: U16,
    /// [`ChangelogType`].
    pub cr_type: U32,
    /// Number.
    pub cr_index: U64,
    /// 0.
    pub cr_prev: U64,
    /// Seconds << 30 | nanoseconds.
    pub cr_time: U64,
    /// Object; in marks the flags.
    pub cr_tfid: LuFid,
    /// Directory.
    pub cr_pfid: LuFid,
}
assert_layout!(
    ChangelogRec,
    64,
    cr_flags = 2,
    cr_type = 4,
    cr_index = 8,
    cr_prev = 16,
    cr_time = 24,
    cr_tfid = 32,
    cr_pfid = 48
);

/// `changelog_ext_rename`.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct ChangelogExtRename {
    /// Object.
    pub cr_sfid: LuFid,
    /// The directory it was in.
    pub cr_spfid: LuFid,
}
assert_layout!(ChangelogExtRename, 32, cr_spfid = 16);

/// Value of the key `changelog_clear`: a user is done with records.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct ChangelogSetinfo {
    /// Up to this one; 0: all.
    pub cs_recno: U64,
    /// User.
    pub cs_id: U32,
}
assert_layout!(ChangelogSetinfo, 12, cs_id = 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        assert_eq!(ChangelogType::try_from(24), Ok(ChangelogType::DnOpen));
        assert!(ChangelogType::try_from(25).is_err());
        assert_eq!(ChangelogType::DEFAULT_MASK, 0x77_fbff);
    }
}
