// SPDX-License-Identifier: GPL-2.0

//! What the two ends of a connection agree on (spec `ptlrpc.md` §11).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

crate::flags! {
    /// `ocd_connect_flags`
    pub struct ConnectFlags: u64 {
        const RDONLY = 0x1;
        const INDEX = 0x2;
        const MDS = 0x4;
        const GRANT = 0x8;
        const SRVLOCK = 0x10;
        const VERSION = 0x20;
        const MGS_NIDLIST = 0x40;
        const ACL = 0x80;
        const XATTR = 0x100;
        const LARGE_ACL = 0x200;
        const OLD_FALLOC = 0x400;
        const TRANSNO = 0x800;
        const IBITS = 0x1000;
        const BARRIER = 0x2000;
        const ATTRFID = 0x4000;
        const NODEVOH = 0x8000;
        const BRW_SIZE = 0x4_0000;
        const CANCELSET = 0x40_0000;
        const AT = 0x100_0000;
        const LRU_RESIZE = 0x200_0000;
        const MDS_MDS = 0x400_0000;
        const CKSUM = 0x2000_0000;
        const FID = 0x4000_0000;
        const VBR = 0x8000_0000;
        const LOV_V3 = 1 << 32;
        const GRANT_SHRINK = 1 << 33;
        const SKIP_ORPHAN = 1 << 34;
        const MAX_EASIZE = 1 << 35;
        const FULL20 = 1 << 36;
        const LAYOUTLOCK = 1 << 37;
        const HASH64 = 1 << 38;
        const MAXBYTES = 1 << 39;
        const IMP_RECOV = 1 << 40;
        const JOBSTATS = 1 << 41;
        const UMASK = 1 << 42;
        const EINPROGRESS = 1 << 43;
        const GRANT_PARAM = 1 << 44;
        const HPREQ_CHECK1 = 1 << 45;
        const LVB_TYPE = 1 << 46;
        const LIGHTWEIGHT = 1 << 48;
        const SHORTIO = 1 << 49;
        const PINGLESS = 1 << 50;
        const FLOCK_DEAD = 1 << 51;
        const DISP_STRIPE = 1 << 52;
        const OPEN_BY_FID = 1 << 53;
        const LFSCK = 1 << 54;
        const MULTIMODRPCS = 1 << 57;
        const DIR_STRIPE = 1 << 58;
        const SUBTREE = 1 << 59;
        const BULK_MBITS = 1 << 61;
        const FLAGS2 = 1 << 63;
    }
}

crate::flags! {
    /// `ocd_connect_flags2`
    pub struct ConnectFlags2: u64 {
        const FILE_SECCTX = 0x1;
        const LOCKAHEAD = 0x2;
        const DIR_MIGRATE = 0x4;
        const SUM_STATFS = 0x8;
        const OVERSTRIPING = 0x10;
        const FLR = 0x20;
        const LOCK_CONVERT = 0x80;
        const ARCHIVE_ID_ARRAY = 0x100;
        const INC_XID = 0x200;
        const SELINUX_POLICY = 0x400;
        const LSOM = 0x800;
        const PCC = 0x1000;
        const CRUSH = 0x2000;
        const ASYNC_DISCARD = 0x4000;
        const ENCRYPT = 0x8000;
        const GETATTR_PFID = 0x2_0000;
        const LSEEK = 0x4_0000;
        const DOM_LVB = 0x8_0000;
        const REP_MBITS = 0x10_0000;
        const BATCH_RPC = 0x40_0000;
        const PCCRO = 0x80_0000;
        const LOCK_CONTENTION = 0x200_0000;
        const ATOMIC_OPEN_LOCK = 0x400_0000;
        const ENCRYPT_NAME = 0x800_0000;
        const DMV_IMP_INHERIT = 0x2000_0000;
        const ENCRYPT_FID2PATH = 0x4000_0000;
        const REPLAY_CREATE = 0x8000_0000;
        const LARGE_NID = 1 << 32;
        const UNALIGNED_DIO = 1 << 34;
        const MIRROR_ID_FIX = 1 << 37;
        const READDIR_OPEN = 1 << 39;
        const FLR_EC = 1 << 40;
    }
}

crate::flags! {
    /// `ocd_cksum_types`
    pub struct ChecksumTypes: u32 {
        const CRC32 = 0x1;
        const ADLER = 0x2;
        const CRC32C = 0x4;
        const T10IP512 = 0x10;
        const T10IP4K = 0x20;
        const T10CRC512 = 0x40;
        const T10CRC4K = 0x80;
    }
}

/// `obd_connect_data`, the same in request and reply. A field counts only if its flag is set.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ConnectData {
    /// [`ConnectFlags`]
    pub ocd_connect_flags: U64,
    /// Version: major, minor, patch, fix, a byte each.
    pub ocd_version: U32,
    /// Bytes granted, or believed to be held.
    pub ocd_grant: U32,
    /// The target's index.
    pub ocd_index: U32,
    /// Largest bulk transfer, bytes.
    pub ocd_brw_size: U32,
    /// Inode lock bits known.
    pub ocd_ibits_known: U64,
    /// Block size, log2: client's pages, or the backend's blocks.
    pub ocd_grant_blkbits: u8,
    /// Space per inode, log2.
    pub ocd_grant_inobits: u8,
    /// Overhead of an extent, KiB.
    pub ocd_grant_tax_kb: U16,
    /// Most blocks of an extent.
    pub ocd_grant_max_blks: U32,
    /// First transaction that will be replayed.
    pub ocd_transno: U64,
    /// Index of the MDT.
    pub ocd_group: U32,
    /// [`ChecksumTypes`]
    pub ocd_cksum_types: U32,
    /// Largest extended attribute, bytes.
    pub ocd_max_easize: U32,
    /// Which life of the target this is.
    pub ocd_instance: U32,
    /// Largest object, bytes.
    pub ocd_maxbytes: U64,
    /// Modifying requests in flight.
    pub ocd_maxmodrpcs: U16,
    /// Policy bits.
    pub ocd_conn_policy: u8,
    /// Zero.
    pub padding0: u8,
    /// Zero.
    pub padding1: U32,
    /// [`ConnectFlags2`]
    pub ocd_connect_flags2: U64,
    /// Compression types.
    pub ocd_compr_type: U64,
    /// Zero.
    pub padding: [U64; 12],
}

const _: () = {
    assert!(size_of::<ConnectData>() == 192);
    assert!(core::mem::offset_of!(ConnectData, ocd_transno) == 40);
    assert!(core::mem::offset_of!(ConnectData, ocd_maxbytes) == 64);
    assert!(core::mem::offset_of!(ConnectData, ocd_connect_flags2) == 80);
};

impl Default for ConnectData {
    fn default() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }
}

/// A version as `ocd_version` has it.
pub const fn version(major: u8, minor: u8, patch: u8, fix: u8) -> u32 {
    u32::from_be_bytes([major, minor, patch, fix])
}

impl ConnectData {
    /// `ocd_connect_flags`
    pub fn flags(&self) -> ConnectFlags {
        ConnectFlags::from_bits_retain(self.ocd_connect_flags.get())
    }

    /// `ocd_connect_flags2`, if they count.
    pub fn flags2(&self) -> ConnectFlags2 {
        if self.flags().contains(ConnectFlags::FLAGS2) {
            ConnectFlags2::from_bits_retain(self.ocd_connect_flags2.get())
        } else {
            ConnectFlags2::empty()
        }
    }

    /// Sets both flag words.
    pub fn set_flags(&mut self, f: ConnectFlags, f2: ConnectFlags2) {
        self.ocd_connect_flags.set(f.bits());
        self.ocd_connect_flags2.set(f2.bits());
    }

    /// Whether all that is granted here was asked for in `wanted`.
    pub fn is_subset_of(&self, wanted: &ConnectData) -> bool {
        wanted.flags().contains(self.flags()) && wanted.flags2().contains(self.flags2())
    }

    /// Whether replies may be early.
    pub fn has_at(&self) -> bool {
        self.flags().contains(ConnectFlags::AT)
    }

    /// Whether replies have match bits of their own.
    pub fn has_rep_mbits(&self) -> bool {
        self.flags2().contains(ConnectFlags2::REP_MBITS)
    }

    /// Modifying requests that may be in flight, if several may.
    pub fn max_mod_rpcs(&self) -> Option<u16> {
        self.flags()
            .contains(ConnectFlags::MULTIMODRPCS)
            .then(|| self.ocd_maxmodrpcs.get().max(1))
    }
}
