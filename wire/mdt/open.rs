// SPDX-License-Identifier: GPL-2.0

//! Flags of inodes, of opens and of what an intent came to.

use crate::flags;

flags! {
    /// Flags of an inode as clients see and set them (`spec/ondisk.md` 8.2).
    pub struct InodeFlags: u32 {
        /// Undelete.
        const UNRM = 0x2;
        /// Compressed.
        const COMPR = 0x4;
        /// Synchronous updates.
        const SYNC = 0x8;
        /// May not change.
        const IMMUTABLE = 0x10;
        /// May only grow.
        const APPEND = 0x20;
        /// Not for dump.
        const NODUMP = 0x40;
        /// No access time.
        const NOATIME = 0x80;
        /// Not to be compressed.
        const NOCOMPR = 0x400;
        /// Directory with an index.
        const INDEX = 0x1000;
        /// Unlinked but open.
        const ORPHAN = 0x2000;
        /// Data go through the journal.
        const JOURNAL_DATA = 0x4000;
        /// Synchronous changes of a directory.
        const DIRSYNC = 0x10000;
        /// Top of a directory tree.
        const TOPDIR = 0x20000;
        /// Request: synchronous setattr.
        const SET_SYNC = 0x40000;
        /// Mapped by extents.
        const EXTENTS = 0x80000;
        /// Under fs-verity.
        const VERITY = 0x100000;
        /// Encrypted.
        const ENCRYPT = 0x800000;
        /// Data in the inode.
        const INLINE_DATA = 0x10000000;
        /// New entries take the directory's project.
        const PROJINHERIT = 0x20000000;
        /// Names without case.
        const CASEFOLD = 0x40000000;
    }
}

impl InodeFlags {
    /// What a setattr may change, and what the inode stores of it.
    pub const USER_MODIFIABLE: InodeFlags = InodeFlags::from_bits_retain(0x2003_04f8);
}

flags! {
    /// Dispositions: how far an intent came (`lock_policy_res1`, `spec/mdt.md` 5.5).
    pub struct Disposition: u64 {
        /// Executed.
        const IT_EXECD = 0x1;
        /// The lookup was done.
        const LOOKUP_EXECD = 0x2;
        /// There is no such name.
        const LOOKUP_NEG = 0x4;
        /// There is.
        const LOOKUP_POS = 0x8;
        /// Created by this request.
        const OPEN_CREATE = 0x10;
        /// Opened.
        const OPEN_OPEN = 0x20;
        /// Private to clients.
        const ENQ_OPEN_REF = 0x800000;
        /// Private to clients.
        const ENQ_CREATE_REF = 0x1000000;
        /// An open lock was granted.
        const OPEN_LOCK = 0x2000000;
        /// A lease was granted.
        const OPEN_LEASE = 0x4000000;
        /// A layout was made.
        const OPEN_STRIPE = 0x8000000;
        /// The open was denied.
        const OPEN_DENY = 0x10000000;
    }
}

flags! {
    /// Open flags in a create record, all 64 bits (`spec/mdt.md` 3.5). Others are to be ignored.
    pub struct OpenFlags: u64 {
        /// Read.
        const FMODE_READ = 0x1;
        /// Write.
        const FMODE_WRITE = 0x2;
        /// Execute; nobody may write meanwhile.
        const FMODE_EXEC = 0x4;
        /// Private to servers.
        const CREATED = 0x8;
        /// Only check for execution.
        const FMODE_EXECUTE = 0x10;
        /// Create.
        const CREAT = 0x40;
        /// Must not exist.
        const EXCL = 0x80;
        /// Will be truncated.
        const TRUNC = 0x200;
        /// Append.
        const APPEND = 0x400;
        /// Do not wait.
        const NONBLOCK = 0x800;
        /// Synchronous writes.
        const SYNC = 0x1000;
        /// Ignored.
        const LARGEFILE = 0x8000;
        /// Must be a directory.
        const DIRECTORY = 0x10000;
        /// Do not follow a symlink.
        const NOFOLLOW = 0x20000;
        /// By FID; the name does not count.
        const BY_FID = 0x800000;
        /// No objects yet.
        const DELAY_CREATE = 0x1000000;
        /// The owner may, whatever the mode.
        const OWNEROVERRIDE = 0x2000000;
        /// With an open lock.
        const LOCK = 0x20000000;
        /// The EA is a wanted layout.
        const HAS_EA = 0x40000000;
        /// The EA is a layout with objects.
        const HAS_OBJS = 0x80000000;
        /// Do not restore from the archive.
        const NORESTORE = 1 << 33;
        /// New stripes.
        const NEWSTRIPE = 1 << 34;
        /// Without a name.
        const VOLATILE = 1 << 35;
        /// With a lease.
        const LEASE = 1 << 36;
        /// For a release.
        const RELEASE = 1 << 37;
        /// For a resync; with mkdir: reply with the stripes.
        const RESYNC = 1 << 38;
        /// For a PCC.
        const PCC = 1 << 39;
        /// By FID.
        const OP_WITH_FID = 1 << 40;
        /// With the default stripes of the directory.
        const DEFAULT_LMV = 1 << 41;
    }
}

impl OpenFlags {
    /// The bits of access.
    pub const FMODE: OpenFlags = OpenFlags::FMODE_READ
        .union(OpenFlags::FMODE_WRITE)
        .union(OpenFlags::FMODE_EXEC);

    /// Whether a layout may be made by this open.
    pub fn may_create_layout(self) -> bool {
        self.contains(OpenFlags::FMODE_WRITE)
            && !self.intersects(OpenFlags::DELAY_CREATE | OpenFlags::LEASE)
    }
}

/// How the name of a file begins that gets none (`mdt.md` 7.7).
pub const VOLATILE_PREFIX: &[u8] = b".\x0c\x13\x14\x12:VOLATILE";
