// SPDX-License-Identifier: GPL-2.0

//! Bulk requests, statfs and advice (`spec/ost.md` 4, 9, 11).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::flags;
use crate::ostid::OstId;

/// `obd_ioobj`: the object of a bulk request.
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
pub struct ObdIoobj {
    /// Object.
    pub ioo_oid: OstId,
    /// Upper half: memory descriptors that the client registered, less one.
    pub ioo_max_brw: U32,
    /// Number of [`NiobufRemote`] that follow.
    pub ioo_bufcnt: U32,
}
assert_layout!(ObdIoobj, 24, ioo_max_brw = 16, ioo_bufcnt = 20);

impl ObdIoobj {
    /// How many memory descriptors the client registered for the bulk, 1 to 65536.
    pub fn max_brw(&self) -> u32 {
        (self.ioo_max_brw.get() >> 16) + 1
    }

    /// Sets how many memory descriptors are registered, at least 1.
    pub fn set_max_brw(&mut self, count: u32) {
        self.ioo_max_brw.set(count.wrapping_sub(1) << 16);
    }
}

flags! {
    /// `OBD_BRW_*`: flags of a [`NiobufRemote`].
    pub struct BrwFlags: u32 {
        /// Read.
        const READ = 0x1;
        /// Write; may be missing on one.
        const WRITE = 0x2;
        /// The client will not wait.
        const NDELAY = 0x4;
        /// Synchronous.
        const SYNC = 0x8;
        /// Not used.
        const CHECK = 0x10;
        /// The space comes from the client's grant.
        const FROM_GRANT = 0x20;
        /// Private to servers.
        const GRANTED = 0x40;
        /// Direct.
        const NOCACHE = 0x80;
        /// Not held to quota.
        const NOQUOTA = 0x100;
        /// The server takes the lock.
        const SRVLOCK = 0x200;
        /// The commit may come later.
        const ASYNC = 0x400;
        /// The client is short of memory.
        const MEMALLOC = 0x800;
        /// User is over quota.
        const OVER_USRQUOTA = 0x1000;
        /// Group is over quota.
        const OVER_GRPQUOTA = 0x2000;
        /// Commit soon.
        const SOFT_SYNC = 0x4000;
        /// Project is over quota.
        const OVER_PRJQUOTA = 0x8000;
        /// Project quota holds for root too.
        const ROOT_PRJQUOTA = 0x10000;
        /// The client's memory is not for its CPU.
        const RDMA_ONLY = 0x20000;
        /// The writer may ignore quota.
        const SYS_RESOURCE = 0x40000;
        /// Compressed.
        const COMPRESSED = 0x80000;
        /// Compressed on trial.
        const SPECULATIVE_COMPR = 0x100000;
    }
}

impl BrwFlags {
    /// What a server must drop from what it gets.
    pub const SERVER_PRIVATE: BrwFlags = BrwFlags::from_bits_retain(0xc000_0040);
}

/// `niobuf_remote`: an extent of a bulk request.
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
pub struct NiobufRemote {
    /// Offset in the object.
    pub rnb_offset: U64,
    /// Bytes.
    pub rnb_len: U32,
    /// [`BrwFlags`].
    pub rnb_flags: U32,
}
assert_layout!(NiobufRemote, 16, rnb_len = 8, rnb_flags = 12);

impl NiobufRemote {
    /// [`NiobufRemote::rnb_flags`] as a set, without what only servers set.
    pub fn flags(&self) -> BrwFlags {
        BrwFlags::from_bits_retain(self.rnb_flags.get()) - BrwFlags::SERVER_PRIVATE
    }

    /// The offset behind the extent.
    pub fn end(&self) -> Option<u64> {
        self.rnb_offset
            .get()
            .checked_add(u64::from(self.rnb_len.get()))
    }
}

/// Most extents of a bulk request: pages of 4 KiB in 64 MiB.
pub const PTLRPC_MAX_BRW_PAGES: u32 = 16384;
/// Most bytes of data in the message itself.
pub const MAX_SHORT_IO: u32 = 64 << 10;

flags! {
    /// State of a target in a statfs.
    pub struct OsState: u32 {
        /// Its RAID rebuilds.
        const DEGRADED = 0x1;
        /// Read only.
        const READONLY = 0x2;
        /// No objects are to be created.
        const NOCREATE = 0x4;
        /// No space left.
        const ENOSPC = 0x20;
        /// No inodes left.
        const ENOINO = 0x40;
        /// Sum over all targets.
        const SUM = 0x100;
        /// Not a spinning disk.
        const NONROT = 0x200;
    }
}

/// `obd_statfs`.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct ObdStatfs {
    /// Magic number of the backend, not 0.
    pub os_type: U64,
    /// Blocks.
    pub os_blocks: U64,
    /// Free ones.
    pub os_bfree: U64,
    /// Those for users.
    pub os_bavail: U64,
    /// Inodes.
    pub os_files: U64,
    /// Free ones.
    pub os_ffree: U64,
    /// Opaque.
    pub os_fsid: [u8; 40],
    /// Bytes of a block.
    pub os_bsize: U32,
    /// Bytes of the longest name.
    pub os_namelen: U32,
    /// Bytes of the largest file.
    pub os_maxbytes: U64,
    /// [`OsState`].
    pub os_state: U32,
    /// Precreated objects; private to MDTs.
    pub os_fprecreated: U32,
    /// Blocks granted to the asking MDT.
    pub os_granted: U32,
    /// 0.
    pub os_spare: [U32; 7],
}
assert_layout!(
    ObdStatfs,
    144,
    os_blocks = 8,
    os_bfree = 16,
    os_bavail = 24,
    os_files = 32,
    os_ffree = 40,
    os_fsid = 48,
    os_bsize = 88,
    os_namelen = 92,
    os_maxbytes = 96,
    os_state = 104,
    os_fprecreated = 108,
    os_granted = 112,
    os_spare = 116
);

/// Magic number of ext4 as a backend.
pub const EXT4_SUPER_MAGIC: u64 = 0xef53;

/// `ladvise_hdr`; [`LuLadvise`]s follow.
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
pub struct LadviseHdr {
    /// [`LADVISE_MAGIC`].
    pub lah_magic: U32,
    /// How many follow.
    pub lah_count: U32,
    /// [`LADVISE_ASYNC`], [`LADVISE_UNSET`].
    pub lah_flags: U64,
    /// 0.
    pub lah_value1: U32,
    /// 0.
    pub lah_value2: U32,
    /// 0.
    pub lah_value3: U64,
}
assert_layout!(LadviseHdr, 32, lah_count = 4, lah_flags = 8);

/// `lu_ladvise`.
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
pub struct LuLadvise {
    /// 1: will be read, 2: will not be needed.
    pub lla_advice: U16,
    /// 0.
    pub lla_value1: U16,
    /// 0.
    pub lla_value2: U32,
    /// Where the extent begins.
    pub lla_start: U64,
    /// Where it ends.
    pub lla_end: U64,
    /// 0.
    pub lla_value3: U32,
    /// 0.
    pub lla_value4: U32,
}
assert_layout!(LuLadvise, 32, lla_start = 8, lla_end = 16);

/// Magic number of a [`LadviseHdr`].
pub const LADVISE_MAGIC: u32 = 0x1adf_1ce0;
/// Flag of a [`LadviseHdr`]: do not wait.
pub const LADVISE_ASYNC: u64 = 1;
/// Flag of a [`LadviseHdr`]: take back.
pub const LADVISE_UNSET: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_brw() {
        let mut o = ObdIoobj::default();
        assert_eq!(o.max_brw(), 1);
        o.ioo_max_brw.set(0x0003_0000);
        assert_eq!(o.max_brw(), 4);
        // What a client sends with data in the message.
        o.set_max_brw(0);
        assert_eq!((o.ioo_max_brw.get(), o.max_brw()), (0xffff_0000, 65536));
    }

    #[test]
    fn extent_ends() {
        let n = NiobufRemote {
            rnb_offset: u64::MAX.into(),
            rnb_len: 1.into(),
            rnb_flags: 0x8004_0442.into(),
        };
        assert_eq!(n.end(), None);
        assert_eq!(n.flags().bits(), 0x4_0402);
    }
}
