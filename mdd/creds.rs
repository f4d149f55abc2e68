// SPDX-License-Identifier: GPL-2.0

//! Who asks, and what he may (`mdt.md` 19).

use crate::acl;
use crate::Mdd;
use kapi::prelude::*;
use osd::{Attr, ObjectRef};
use wire::mdt::InodeFlags;

/// Search a directory, execute a file.
pub const MAY_EXEC: u32 = 1;
/// Write.
pub const MAY_WRITE: u32 = 2;
/// Read.
pub const MAY_READ: u32 = 4;

/// No supplementary group.
pub const NO_GROUP: u32 = u32::MAX;

const S_ISVTX: u32 = 0o1000;

/// Numbers of capabilities.
pub mod cap {
    /// Change owners.
    pub const CHOWN: u32 = 0;
    /// Read, write and search whatever the mode.
    pub const DAC_OVERRIDE: u32 = 1;
    /// Read and search whatever the mode.
    pub const DAC_READ_SEARCH: u32 = 2;
    /// Be as an owner.
    pub const FOWNER: u32 = 3;
    /// Keep set-group-id.
    pub const FSETID: u32 = 4;
    /// Make immutable.
    pub const LINUX_IMMUTABLE: u32 = 9;
    /// Much.
    pub const SYS_ADMIN: u32 = 21;
    /// Change projects.
    pub const SYS_RESOURCE: u32 = 24;
}

/// A caller.
#[derive(Clone, Copy, Debug)]
pub struct Creds {
    /// File system user.
    pub uid: u32,
    /// File system group.
    pub gid: u32,
    /// Supplementary groups that the request names, or [`NO_GROUP`].
    pub groups: [u32; 2],
    /// Effective capabilities, a bit each.
    pub caps: u32,
}

impl Creds {
    /// The server itself.
    pub const SERVER: Creds = Creds {
        uid: 0,
        gid: 0,
        groups: [NO_GROUP; 2],
        caps: u32::MAX,
    };

    /// From what a request says. Capabilities of others than root do not count.
    pub fn new(uid: u32, gid: u32, groups: [u32; 2], caps: u32) -> Creds {
        Creds {
            uid,
            gid,
            groups,
            caps: if uid == 0 { caps } else { 0 },
        }
    }

    /// Whether he has a capability of [`cap`].
    pub fn has(&self, cap: u32) -> bool {
        self.caps & (1 << cap) != 0
    }

    /// Whether he is in a group.
    pub fn in_group(&self, gid: u32) -> bool {
        gid == self.gid || (gid != NO_GROUP && self.groups.contains(&gid))
    }

    /// Whether he owns what has these attributes, or counts as an owner.
    pub fn owns(&self, a: &Attr) -> bool {
        a.uid == self.uid || self.has(cap::FOWNER)
    }

    /// Whether capabilities give `want` where the mode does not.
    fn overrides(&self, a: &Attr, want: u32) -> bool {
        let reads = self.has(cap::DAC_READ_SEARCH);
        let all = self.has(cap::DAC_OVERRIDE);
        if a.is_dir() {
            return all || (reads && want & MAY_WRITE == 0);
        }
        (reads && want == MAY_READ) || (all && (want & MAY_EXEC == 0 || a.mode & 0o111 != 0))
    }
}

/// The flags of an inode.
pub(crate) fn inode_flags(a: &Attr) -> InodeFlags {
    InodeFlags::from_bits_retain(a.flags)
}

/// Whether nothing about the inode may change: `EPERM`.
pub(crate) fn check_mutable(a: &Attr) -> Result {
    if inode_flags(a).intersects(InodeFlags::IMMUTABLE | InodeFlags::APPEND) {
        return Err(EPERM);
    }
    Ok(())
}

impl Mdd {
    /// Whether `c` may do `want` ([`MAY_READ`] and so on) with an object.
    ///
    /// # Errors
    /// `EACCES`: he may not.
    pub fn permission(&self, o: &ObjectRef, a: &Attr, c: &Creds, want: u32) -> Result {
        if want & MAY_WRITE != 0 && inode_flags(a).contains(InodeFlags::IMMUTABLE) {
            return Err(EACCES);
        }
        let want = want & 7;
        let granted = if a.uid == c.uid {
            (a.mode >> 6) & 7
        } else {
            // Without a group bit in the mode no entry of an ACL can give anything.
            let acl = match a.mode & 0o070 {
                0 => None,
                _ => acl::read(o, acl::XATTR_ACL_ACCESS)?,
            };
            match acl {
                Some(acl) => acl::granted(&acl, a, c, want)?,
                None if c.in_group(a.gid) => (a.mode >> 3) & 7,
                None => a.mode & 7,
            }
        };
        if want & !granted == 0 || c.overrides(a, want) {
            Ok(())
        } else {
            Err(EACCES)
        }
    }

    /// Whether entries may be made in a directory.
    pub(crate) fn may_create(&self, dir: &ObjectRef, a: &Attr, c: &Creds) -> Result {
        if !a.is_dir() {
            return Err(ENOTDIR);
        }
        if a.nlink == 0 || self.opens.is_orphan(dir.fid()) {
            return Err(ENOENT);
        }
        self.permission(dir, a, c, MAY_WRITE | MAY_EXEC)
    }

    /// Whether the entry of an object may be removed from a directory.
    pub(crate) fn may_delete(&self, dir: &ObjectRef, da: &Attr, a: &Attr, c: &Creds) -> Result {
        if !da.is_dir() {
            return Err(ENOTDIR);
        }
        self.permission(dir, da, c, MAY_WRITE | MAY_EXEC)?;
        if inode_flags(da).contains(InodeFlags::APPEND) {
            return Err(EPERM);
        }
        let sticky = da.mode & S_ISVTX != 0;
        if sticky && a.uid != c.uid && da.uid != c.uid && !c.has(cap::FOWNER) {
            return Err(EPERM);
        }
        check_mutable(a)
    }
}
