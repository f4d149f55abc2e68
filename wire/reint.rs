// SPDX-License-Identifier: GPL-2.0

//! Records of `MDS_REINT`: one 136-byte template, read differently by each operation
//! (`spec/mdt.md` 3.4).

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::Malformed;
use crate::fid::LuFid;
use crate::flags;
use crate::mdt::OpenFlags;

/// Operation of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ReintOp {
    /// Set attributes.
    Setattr = 1,
    /// Create a directory, symlink or special file.
    Create = 2,
    /// Link.
    Link = 3,
    /// Unlink.
    Unlink = 4,
    /// Rename.
    Rename = 5,
    /// Open; only in an intent.
    Open = 6,
    /// Set or remove an xattr.
    Setxattr = 7,
    /// Remove an entry without its object.
    Rmentry = 8,
    /// Move to another MDT.
    Migrate = 9,
    /// Begin to bring mirrors in step.
    Resync = 10,
}

impl TryFrom<u32> for ReintOp {
    type Error = Malformed;

    fn try_from(v: u32) -> Result<ReintOp, Malformed> {
        Ok(match v {
            1 => ReintOp::Setattr,
            2 => ReintOp::Create,
            3 => ReintOp::Link,
            4 => ReintOp::Unlink,
            5 => ReintOp::Rename,
            6 => ReintOp::Open,
            7 => ReintOp::Setxattr,
            8 => ReintOp::Rmentry,
            9 => ReintOp::Migrate,
            10 => ReintOp::Resync,
            _ => return Err(Malformed::Value),
        })
    }
}

flags! {
    /// `MDS_ATTR_*`: what a setattr record sets.
    pub struct MdsAttr: u64 {
        /// Mode.
        const MODE = 0x1;
        /// Owner.
        const UID = 0x2;
        /// Group.
        const GID = 0x4;
        /// Size.
        const SIZE = 0x8;
        /// Access time.
        const ATIME = 0x10;
        /// Modification time.
        const MTIME = 0x20;
        /// Change time.
        const CTIME = 0x40;
        /// Access time, a given one.
        const ATIME_SET = 0x80;
        /// Modification time, a given one.
        const MTIME_SET = 0x100;
        /// Whatever the permissions.
        const FORCE = 0x200;
        /// Inode flags.
        const ATTR_FLAG = 0x400;
        /// Drop set-user-id.
        const KILL_SUID = 0x800;
        /// Drop set-group-id.
        const KILL_SGID = 0x1000;
        /// Change time, a given one.
        const CTIME_SET = 0x2000;
        /// Part of an open with truncate.
        const FROM_OPEN = 0x4000;
        /// Blocks.
        const BLOCKS = 0x8000;
        /// Project.
        const PROJID = 0x10000;
        /// Lazy size.
        const LSIZE = 0x20000;
        /// Lazy blocks.
        const LBLOCKS = 0x40000;
        /// The owner may, whatever the mode.
        const OVERRIDE = 0x2000000;
    }
}

flags! {
    /// Bias bits of a record.
    pub struct MdsBias: u32 {
        /// The object is on another MDT.
        const CROSS_REF = 1 << 1;
        /// No permission check.
        const PERM_BYPASS = 1 << 3;
        /// No quota.
        const QUOTA_IGNORE = 1 << 5;
        /// Keep the orphan.
        const KEEP_ORPHAN = 1 << 7;
        /// Open in recovery.
        const RECOV_OPEN = 1 << 8;
        /// The client has written.
        const DATA_MODIFIED = 1 << 9;
        /// Create without a name.
        const CREATE_VOLATILE = 1 << 10;
        /// The owner may, whatever the mode.
        const OWNEROVERRIDE = 1 << 11;
        /// Close: release.
        const HSM_RELEASE = 1 << 12;
        /// Close: migrate.
        const CLOSE_MIGRATE = 1 << 13;
        /// Close: swap layouts.
        const CLOSE_LAYOUT_SWAP = 1 << 14;
        /// Close: merge layouts.
        const CLOSE_LAYOUT_MERGE = 1 << 15;
        /// Close: mirrors are in step.
        const CLOSE_RESYNC_DONE = 1 << 16;
        /// Close: split a mirror off.
        const CLOSE_LAYOUT_SPLIT = 1 << 17;
        /// Truncate keeps the lease.
        const TRUNC_KEEP_LEASE = 1 << 18;
        /// Close: attach to a PCC.
        const PCC_ATTACH = 1 << 19;
        /// Close: update times.
        const CLOSE_UPDATE_TIMES = 1 << 20;
        /// Create for a setstripe.
        const SETSTRIPE_CREATE = 1 << 21;
        /// By FID.
        const FID_OP = 1 << 22;
        /// Migrate only the entries.
        const MIGRATE_NSONLY = 1 << 23;
        /// Create with the default stripes.
        const CREATE_DEFAULT_LMV = 1 << 24;
        /// Swap layouts with their HSM state.
        const CLOSE_LAYOUT_SWAP_HSM = 1 << 25;
        /// Rename again.
        const RENAME_AGAIN = 1 << 26;
        /// The name is a hash.
        const NAMEHASH = 1 << 27;
    }
}

/// Flags of [`RecSetxattr`]: the xattr must not exist.
pub const XATTR_CREATE: u32 = 1;
/// Flags of [`RecSetxattr`]: the xattr must exist.
pub const XATTR_REPLACE: u32 = 2;

/// Bytes of every record.
pub const REINT_SIZE: usize = 136;

macro_rules! recs {
    ($(
        $(#[$outer:meta])*
        struct $name:ident { $( $(#[$inner:meta])* $field:ident: $t:ty, )* }
        [ $( $f:ident = $o:expr ),* ]
    )*) => { $(
        $(#[$outer])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub struct $name {
            /// Operation, capabilities and caller.
            pub head: RecHead,
            $( $(#[$inner])* pub $field: $t, )*
        }
        assert_layout!($name, REINT_SIZE, head = 0 $(, $f = $o)*);
    )* };
}

/// What all records begin with.
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
pub struct RecHead {
    /// [`ReintOp`].
    pub opcode: U32,
    /// The caller's capabilities, bits 0 to 31.
    pub cap: U32,
    /// The caller's file system user.
    pub fsuid: U32,
    /// 0; in create and open records the layout version of the parent.
    pub fsuid_h: U32,
    /// The caller's file system group.
    pub fsgid: U32,
    /// 0.
    pub fsgid_h: U32,
    /// Group of the first object if the caller is in it, or all ones.
    pub suppgid1: U32,
    /// 0.
    pub suppgid1_h: U32,
    /// Group of the second object if the caller is in it, or all ones.
    pub suppgid2: U32,
    /// 0.
    pub suppgid2_h: U32,
}
assert_layout!(
    RecHead,
    40,
    cap = 4,
    fsuid = 8,
    fsuid_h = 12,
    fsgid = 16,
    suppgid1 = 24,
    suppgid2 = 32
);

impl RecHead {
    /// The operation.
    ///
    /// # Errors
    /// [`Malformed::Value`]: there is no such one.
    pub fn op(&self) -> Result<ReintOp, Malformed> {
        ReintOp::try_from(self.opcode.get())
    }

    /// `cr_layout_ver` of create and open records: 0 not checked, 1 the parent is not striped,
    /// otherwise its layout version.
    pub fn layout_version(&self) -> u32 {
        self.fsuid_h.get()
    }
}

recs! {
    /// `mdt_rec_reint`, the template.
    struct RecReint {
        /// First object.
        rr_fid1: LuFid,
        /// Second object.
        rr_fid2: LuFid,
        /// Modification time, seconds.
        rr_mtime: I64,
        /// Access time, seconds.
        rr_atime: I64,
        /// Change time, seconds.
        rr_ctime: I64,
        /// Size.
        rr_size: U64,
        /// Blocks.
        rr_blocks: U64,
        /// [`MdsBias`].
        rr_bias: U32,
        /// Mode.
        rr_mode: U32,
        /// Flags.
        rr_flags: U32,
        /// Upper flags.
        rr_flags_h: U32,
        /// File mode mask.
        rr_umask: U32,
        /// Mirror to bring in step.
        rr_mirror_id: U16,
        /// 0.
        rr_padding_4: U16,
    }
    [rr_fid1 = 40, rr_fid2 = 56, rr_mtime = 72, rr_size = 96, rr_bias = 112, rr_umask = 128,
     rr_mirror_id = 132]

    /// `mdt_rec_setattr`.
    struct RecSetattr {
        /// Object.
        sa_fid: LuFid,
        /// [`MdsAttr`].
        sa_valid: U64,
        /// Owner.
        sa_uid: U32,
        /// Group.
        sa_gid: U32,
        /// Size.
        sa_size: U64,
        /// Blocks of 512 bytes.
        sa_blocks: U64,
        /// Modification time, seconds.
        sa_mtime: I64,
        /// Access time, seconds.
        sa_atime: I64,
        /// Change time, seconds.
        sa_ctime: I64,
        /// [`InodeFlags`](crate::mdt::InodeFlags).
        sa_attr_flags: U32,
        /// Type and mode.
        sa_mode: U32,
        /// [`MdsBias`].
        sa_bias: U32,
        /// Project.
        sa_projid: U32,
        /// 0.
        sa_padding_4: U32,
        /// 0.
        sa_padding_5: U32,
    }
    [sa_fid = 40, sa_valid = 56, sa_uid = 64, sa_gid = 68, sa_size = 72, sa_blocks = 80,
     sa_mtime = 88, sa_atime = 96, sa_ctime = 104, sa_attr_flags = 112, sa_mode = 116,
     sa_bias = 120, sa_projid = 124]

    /// `mdt_rec_create`, of creates and opens.
    struct RecCreate {
        /// Parent.
        cr_fid1: LuFid,
        /// New or opened object.
        cr_fid2: LuFid,
        /// Replay: cookie of the handle before.
        cr_open_handle_old: U64,
        /// Time, seconds.
        cr_time: I64,
        /// Device number; the archive in opens for a release.
        cr_rdev: U64,
        /// 0.
        cr_ioepoch: U64,
        /// 0.
        cr_padding_1: U64,
        /// Type and mode.
        cr_mode: U32,
        /// [`MdsBias`].
        cr_bias: U32,
        /// [`OpenFlags`], lower half.
        cr_flags_l: U32,
        /// [`OpenFlags`], upper half.
        cr_flags_h: U32,
        /// File mode mask.
        cr_umask: U32,
        /// 0.
        cr_padding_4: U32,
    }
    [cr_fid1 = 40, cr_fid2 = 56, cr_open_handle_old = 72, cr_time = 80, cr_rdev = 88,
     cr_ioepoch = 96, cr_mode = 112, cr_bias = 116, cr_flags_l = 120, cr_flags_h = 124,
     cr_umask = 128]

    /// `mdt_rec_link`.
    struct RecLink {
        /// Object.
        lk_fid1: LuFid,
        /// Directory.
        lk_fid2: LuFid,
        /// Time, seconds.
        lk_time: I64,
        /// 0.
        lk_padding_1: [U64; 4],
        /// [`MdsBias`].
        lk_bias: U32,
        /// 0.
        lk_padding_5: [U32; 5],
    }
    [lk_fid1 = 40, lk_fid2 = 56, lk_time = 72, lk_bias = 112]

    /// `mdt_rec_unlink`, of unlink and rmentry.
    struct RecUnlink {
        /// Directory.
        ul_fid1: LuFid,
        /// Object.
        ul_fid2: LuFid,
        /// Time, seconds.
        ul_time: I64,
        /// 0.
        ul_padding_2: [U64; 4],
        /// [`MdsBias`].
        ul_bias: U32,
        /// `S_IFDIR` for rmdir, otherwise 0.
        ul_mode: U32,
        /// 0.
        ul_padding_6: [U32; 4],
    }
    [ul_fid1 = 40, ul_fid2 = 56, ul_time = 72, ul_bias = 112, ul_mode = 116]

    /// `mdt_rec_rename`, of rename and migrate.
    struct RecRename {
        /// Source directory.
        rn_fid1: LuFid,
        /// Target directory; in migrate the object.
        rn_fid2: LuFid,
        /// Time, seconds.
        rn_time: I64,
        /// 0.
        rn_padding_1: [U64; 4],
        /// [`MdsBias`].
        rn_bias: U32,
        /// Type and mode of the object.
        rn_mode: U32,
        /// 0.
        rn_padding_5: [U32; 4],
    }
    [rn_fid1 = 40, rn_fid2 = 56, rn_time = 72, rn_bias = 112, rn_mode = 116]

    /// `mdt_rec_setxattr`.
    struct RecSetxattr {
        /// Object.
        sx_fid: LuFid,
        /// 0.
        sx_padding_1: [U32; 4],
        /// [`ObdMd`](crate::obdo::ObdMd): set or remove.
        sx_valid: U64,
        /// Time, seconds.
        sx_time: I64,
        /// 0.
        sx_padding_5: [U64; 3],
        /// Not used: the buffer's length counts.
        sx_size: U32,
        /// [`XATTR_CREATE`], [`XATTR_REPLACE`].
        sx_flags: U32,
        /// 0.
        sx_padding_8: [U32; 4],
    }
    [sx_fid = 40, sx_valid = 72, sx_time = 80, sx_size = 112, sx_flags = 116]

    /// `mdt_rec_resync`.
    struct RecResync {
        /// Object.
        rs_fid: LuFid,
        /// 0.
        rs_padding0: [u8; 16],
        /// Cookie of the lease lock.
        rs_lease_handle: U64,
        /// 0.
        rs_padding1: [U64; 4],
        /// [`MdsBias`].
        rs_bias: U32,
        /// 0.
        rs_padding4: [U32; 3],
        /// Mirror to bring in step; 0: all.
        rs_mirror_id_new: U32,
        /// The same field of older clients.
        rs_mirror_id_old: U16,
        /// 0.
        rs_padding9: U16,
    }
    [rs_fid = 40, rs_lease_handle = 72, rs_bias = 112, rs_mirror_id_new = 128, rs_mirror_id_old = 132]
}

impl RecSetattr {
    /// [`RecSetattr::sa_valid`] as a set.
    pub fn valid(&self) -> MdsAttr {
        MdsAttr::from_bits_retain(self.sa_valid.get())
    }
}

impl RecCreate {
    /// The open flags.
    pub fn open_flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(
            (u64::from(self.cr_flags_h.get()) << 32) | u64::from(self.cr_flags_l.get()),
        )
    }

    /// Sets the open flags.
    pub fn set_open_flags(&mut self, flags: OpenFlags) {
        self.cr_flags_l.set(flags.bits() as u32);
        self.cr_flags_h.set((flags.bits() >> 32) as u32);
    }
}
