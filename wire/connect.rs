// SPDX-License-Identifier: GPL-2.0

//! What the two ends of a connection agree on (spec `ptlrpc.md` §11).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

crate::flags! {
    /// `ocd_connect_flags`
    pub struct ConnectFlags: u64 {
        /// Mounted to read only.
        const RDONLY = 0x1;
        /// `ocd_index` counts.
        const INDEX = 0x2;
        /// From an MDT to an OST.
        const MDS = 0x4;
        /// `ocd_grant` counts.
        const GRANT = 0x8;
        /// The server takes locks for I/O without.
        const SRVLOCK = 0x10;
        /// `ocd_version` counts.
        const VERSION = 0x20;
        /// Targets register with NIDs as text.
        const MGS_NIDLIST = 0x40;
        /// POSIX ACLs.
        const ACL = 0x80;
        /// Extended attributes of users.
        const XATTR = 0x100;
        /// ACLs of more than 32 entries.
        const LARGE_ACL = 0x200;
        /// A form of fallocate that is no more.
        const OLD_FALLOC = 0x400;
        /// Historical.
        const TRANSNO = 0x800;
        /// Locks of inode bits: it is an MDT.
        const IBITS = 0x1000;
        /// The write barrier.
        const BARRIER = 0x2000;
        /// Attributes by FID.
        const ATTRFID = 0x4000;
        /// Device files are not opened at the server.
        const NODEVOH = 0x8000;
        /// `ocd_brw_size` counts.
        const BRW_SIZE = 0x4_0000;
        /// Dead; clients ask for it.
        const MDS_CAPA = 0x10_0000;
        /// Dead; clients ask for it.
        const OSS_CAPA = 0x20_0000;
        /// Several locks in a cancel, and cancels within other requests.
        const CANCELSET = 0x40_0000;
        /// Adaptive time-outs, early replies.
        const AT = 0x100_0000;
        /// `pb_slv` and `pb_limit` count.
        const LRU_RESIZE = 0x200_0000;
        /// From an MDT to an MDT.
        const MDS_MDS = 0x400_0000;
        /// `ocd_cksum_types` counts.
        const CKSUM = 0x2000_0000;
        /// FIDs.
        const FID = 0x4000_0000;
        /// `pb_pre_versions` count.
        const VBR = 0x8000_0000;
        /// Layouts with pools.
        const LOV_V3 = 1 << 32;
        /// Clients give back grant.
        const GRANT_SHRINK = 1 << 33;
        /// Numbers of destroyed orphans are not used again.
        const SKIP_ORPHAN = 1 << 34;
        /// `ocd_max_easize` counts.
        const MAX_EASIZE = 1 << 35;
        /// The protocol since 2.0. Always.
        const FULL20 = 1 << 36;
        /// Locks of layouts.
        const LAYOUTLOCK = 1 << 37;
        /// Directory hashes of 64 bits.
        const HASH64 = 1 << 38;
        /// `ocd_maxbytes` counts.
        const MAXBYTES = 1 << 39;
        /// The MGS tells where restarted targets are.
        const IMP_RECOV = 1 << 40;
        /// `pb_jobid` counts.
        const JOBSTATS = 1 << 41;
        /// The server applies the umask.
        const UMASK = 1 << 42;
        /// The server may say "later".
        const EINPROGRESS = 1 << 43;
        /// `ocd_grant_*` count.
        const GRANT_PARAM = 1 << 44;
        /// The first lock of a cancel tells its priority.
        const HPREQ_CHECK1 = 1 << 45;
        /// Lock value blocks with nanoseconds.
        const LVB_TYPE = 1 << 46;
        /// No recovery, no place in `last_rcvd`.
        const LIGHTWEIGHT = 1 << 48;
        /// Small I/O within the messages.
        const SHORTIO = 1 << 49;
        /// The client need not ping.
        const PINGLESS = 1 << 50;
        /// The server finds deadlocks of file locks.
        const FLOCK_DEAD = 1 << 51;
        /// The disposition tells of a new layout.
        const DISP_STRIPE = 1 << 52;
        /// Opens by FID have no name.
        const OPEN_BY_FID = 1 << 53;
        /// Requests of the online check.
        const LFSCK = 1 << 54;
        /// Several modifying requests; `ocd_maxmodrpcs` counts.
        const MULTIMODRPCS = 1 << 57;
        /// Striped directories.
        const DIR_STRIPE = 1 << 58;
        /// Subdirectories can be mounted.
        const SUBTREE = 1 << 59;
        /// `pb_mbits` is for bulk.
        const BULK_MBITS = 1 << 61;
        /// `ocd_connect_flags2` counts.
        const FLAGS2 = 1 << 63;
    }
}

crate::flags! {
    /// `ocd_connect_flags2`
    pub struct ConnectFlags2: u64 {
        /// Security context at create.
        const FILE_SECCTX = 0x1;
        /// Locks ahead of I/O.
        const LOCKAHEAD = 0x2;
        /// Migration of striped directories.
        const DIR_MIGRATE = 0x4;
        /// An MDT may add up the OSTs.
        const SUM_STATFS = 0x8;
        /// Several stripes on an OST.
        const OVERSTRIPING = 0x10;
        /// Mirrors.
        const FLR = 0x20;
        /// Inode bits can be given up one by one.
        const LOCK_CONVERT = 0x80;
        /// HSM archives as an array.
        const ARCHIVE_ID_ARRAY = 0x100;
        /// XIDs grow within a tag.
        const INC_XID = 0x200;
        /// Requests have the SELinux policy.
        const SELINUX_POLICY = 0x400;
        /// Lazy size on the MDT.
        const LSOM = 0x800;
        /// Persistent client cache.
        const PCC = 0x1000;
        /// The hash CRUSH of striped directories.
        const CRUSH = 0x2000;
        /// Data on an MDT are discarded later.
        const ASYNC_DISCARD = 0x4000;
        /// Encryption at the client.
        const ENCRYPT = 0x8000;
        /// The parent's FID in getattr.
        const GETATTR_PFID = 0x2_0000;
        /// Holes and data are sought at the OST.
        const LSEEK = 0x4_0000;
        /// Glimpses of data on an MDT use lock value blocks.
        const DOM_LVB = 0x8_0000;
        /// `pb_mbits` is for replies too.
        const REP_MBITS = 0x10_0000;
        /// Requests in batches.
        const BATCH_RPC = 0x40_0000;
        /// Persistent client cache to read from.
        const PCCRO = 0x80_0000;
        /// Contention is found out.
        const LOCK_CONTENTION = 0x200_0000;
        /// The first open takes a lock.
        const ATOMIC_OPEN_LOCK = 0x400_0000;
        /// Encrypted names.
        const ENCRYPT_NAME = 0x800_0000;
        /// Default layouts of directories are inherited.
        const DMV_IMP_INHERIT = 0x2000_0000;
        /// Paths of encrypted files.
        const ENCRYPT_FID2PATH = 0x4000_0000;
        /// Creation of objects is replayed.
        const REPLAY_CREATE = 0x8000_0000;
        /// NIDs of more than 8 bytes.
        const LARGE_NID = 1 << 32;
        /// Direct I/O of any alignment.
        const UNALIGNED_DIO = 1 << 34;
        /// `ocd_conn_policy` counts.
        const CONN_POLICY = 1 << 35;
        /// Where the mirror stands in a record.
        const MIRROR_ID_FIX = 1 << 37;
        /// The first page of a directory with its open.
        const READDIR_OPEN = 1 << 39;
        /// Erasure codes.
        const FLR_EC = 1 << 40;
    }
}

crate::flags! {
    /// `ocd_cksum_types`
    pub struct ChecksumTypes: u32 {
        /// CRC-32.
        const CRC32 = 0x1;
        /// Adler-32.
        const ADLER = 0x2;
        /// CRC-32C.
        const CRC32C = 0x4;
        /// T10 guards, IP checksums, 512 bytes.
        const T10IP512 = 0x10;
        /// T10 guards, IP checksums, 4 KiB.
        const T10IP4K = 0x20;
        /// T10 guards, CRCs, 512 bytes.
        const T10CRC512 = 0x40;
        /// T10 guards, CRCs, 4 KiB.
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
