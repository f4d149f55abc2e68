// SPDX-License-Identifier: GPL-2.0

//! Bodies of metadata requests and replies (`spec/mdt.md` 3, 5, 6, 9).

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::Malformed;
use crate::fid::LuFid;
use crate::flags;
use crate::obdo::ObdMd;

mod hsm;
mod open;

pub use hsm::{HsmStateSet, HsmUserState, HsmValid};
pub use open::{Disposition, InodeFlags, OpenFlags, VOLATILE_PREFIX};

/// `mdt_body`.
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
pub struct MdtBody {
    /// Object, or parent.
    pub mbo_fid1: LuFid,
    /// Child, or parent.
    pub mbo_fid2: LuFid,
    /// Cookie of an open handle.
    pub mbo_handle: U64,
    /// [`ObdMd`].
    pub mbo_valid: U64,
    /// Size; in a readpage request the hash to start from.
    pub mbo_size: U64,
    /// Modification time, seconds.
    pub mbo_mtime: I64,
    /// Access time, seconds.
    pub mbo_atime: I64,
    /// Change time, seconds.
    pub mbo_ctime: I64,
    /// Blocks of 512 bytes.
    pub mbo_blocks: U64,
    /// Data version.
    pub mbo_version: U64,
    /// [`MS_RESTORE`] or 0.
    pub mbo_t_state: U64,
    /// The caller's file system user.
    pub mbo_fsuid: U32,
    /// The caller's file system group.
    pub mbo_fsgid: U32,
    /// The caller's effective capabilities, bits 0 to 31.
    pub mbo_capability: U32,
    /// Type and mode; in a readpage request [`LudaFlags`](crate::dirent::LudaFlags).
    pub mbo_mode: U32,
    /// Owner; in requests the caller's real user.
    pub mbo_uid: U32,
    /// Group; in requests the caller's real group.
    pub mbo_gid: U32,
    /// [`InodeFlags`].
    pub mbo_flags: U32,
    /// Device number, 8 bits major, 8 bits minor.
    pub mbo_rdev: U32,
    /// Link count; in a readpage request the bytes wanted.
    pub mbo_nlink: U32,
    /// Layout generation that the data version belongs to.
    pub mbo_layout_gen: U32,
    /// Supplementary group that the caller is in, or all ones.
    pub mbo_suppgid: U32,
    /// Bytes of layout or other EA, or how many are wanted.
    pub mbo_eadatasize: U32,
    /// Bytes of ACL; of all values in a reply with all xattrs.
    pub mbo_aclsize: U32,
    /// Bytes of the largest layout; number of xattrs in a reply with all of them.
    pub mbo_max_mdsize: U32,
    /// 0.
    pub mbo_unused3: U32,
    /// 0.
    pub mbo_uid_h: U32,
    /// 0.
    pub mbo_gid_h: U32,
    /// Project.
    pub mbo_projid: U32,
    /// Size of the component on the MDT.
    pub mbo_dom_size: U64,
    /// Blocks of the component on the MDT.
    pub mbo_dom_blocks: U64,
    /// Time of birth, seconds.
    pub mbo_btime: I64,
    /// Xattrs known to be absent (2.18).
    pub mbo_xattr_absent: U64,
    /// 0.
    pub mbo_padding_10: U64,
}
assert_layout!(
    MdtBody,
    216,
    mbo_fid2 = 16,
    mbo_handle = 32,
    mbo_valid = 40,
    mbo_size = 48,
    mbo_mtime = 56,
    mbo_atime = 64,
    mbo_ctime = 72,
    mbo_blocks = 80,
    mbo_version = 88,
    mbo_t_state = 96,
    mbo_fsuid = 104,
    mbo_fsgid = 108,
    mbo_capability = 112,
    mbo_mode = 116,
    mbo_uid = 120,
    mbo_gid = 124,
    mbo_flags = 128,
    mbo_rdev = 132,
    mbo_nlink = 136,
    mbo_layout_gen = 140,
    mbo_suppgid = 144,
    mbo_eadatasize = 148,
    mbo_aclsize = 152,
    mbo_max_mdsize = 156,
    mbo_projid = 172,
    mbo_dom_size = 176,
    mbo_dom_blocks = 184,
    mbo_btime = 192,
    mbo_xattr_absent = 200,
    mbo_padding_10 = 208
);

impl MdtBody {
    /// [`MdtBody::mbo_valid`] as a set.
    pub fn valid(&self) -> ObdMd {
        ObdMd::from_bits_retain(self.mbo_valid.get())
    }

    /// Sets [`MdtBody::mbo_valid`].
    pub fn set_valid(&mut self, valid: ObdMd) {
        self.mbo_valid.set(valid.bits());
    }

    /// Adds to [`MdtBody::mbo_valid`].
    pub fn add_valid(&mut self, valid: ObdMd) {
        self.set_valid(self.valid() | valid);
    }
}

/// [`MdtBody::mbo_t_state`]: the file is being restored from an archive.
pub const MS_RESTORE: u64 = 1;

/// `mbo_suppgid` and the like: no group.
pub const NO_GROUP: u32 = u32::MAX;

/// `mdt_ioepoch`: the handle to close.
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
pub struct MdtIoepoch {
    /// Cookie of the open handle.
    pub mio_open_handle: U64,
    /// Not used.
    pub mio_unused1: U64,
    /// Not used.
    pub mio_unused2: U32,
    /// 0.
    pub mio_padding: U32,
}
assert_layout!(MdtIoepoch, 24, mio_unused1 = 8, mio_padding = 20);

/// `close_data`: what a close with an intent works on.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct CloseData {
    /// Cookie of the lease lock.
    pub cd_handle: U64,
    /// The other object.
    pub cd_fid: LuFid,
    /// Its data version.
    pub cd_data_version: U64,
    /// Depends on the intent; see the methods.
    pub cd_union: [u8; 64],
}
assert_layout!(
    CloseData,
    96,
    cd_fid = 8,
    cd_data_version = 24,
    cd_union = 32
);

impl CloseData {
    /// How many ids of components are in the union of a resync; more than
    /// [`CloseData::INLINE_IDS`] are in a buffer of their own.
    pub fn resync_count(&self) -> u32 {
        self.word(0)
    }

    /// Ids that the union has room for.
    pub const INLINE_IDS: usize = 15;

    /// The id at `i` of the components that were resynced.
    pub fn resync_id(&self, i: usize) -> Option<u32> {
        (i < Self::INLINE_IDS).then(|| self.word(i + 1))
    }

    /// The mirror to split off.
    pub fn mirror_id(&self) -> u16 {
        self.word(0) as u16
    }

    /// The archive that a PCC attaches to.
    pub fn archive_id(&self) -> u32 {
        self.word(0)
    }

    /// The other data version of a swap.
    pub fn data_version2(&self) -> u64 {
        (u64::from(self.word(1)) << 32) | u64::from(self.word(0))
    }

    fn word(&self, i: usize) -> u32 {
        self.cd_union
            .get(i * 4..)
            .and_then(|b| b.first_chunk())
            .map_or(0, |b| u32::from_le_bytes(*b))
    }
}

/// Operation of a [`LayoutIntent`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum LayoutOp {
    /// Only read the layout.
    Access = 0,
    /// Not supported.
    Read = 1,
    /// The extent will be written.
    Write = 2,
    /// Not supported.
    Glimpse = 3,
    /// Truncate.
    Trunc = 4,
    /// Not supported.
    Release = 5,
    /// Not supported.
    Restore = 6,
    /// Make a read-only PCC copy.
    PccroSet = 7,
    /// Drop it.
    PccroClear = 8,
    /// Change.
    Change = 9,
}

impl TryFrom<u32> for LayoutOp {
    type Error = Malformed;

    fn try_from(v: u32) -> Result<LayoutOp, Malformed> {
        Ok(match v {
            0 => LayoutOp::Access,
            1 => LayoutOp::Read,
            2 => LayoutOp::Write,
            3 => LayoutOp::Glimpse,
            4 => LayoutOp::Trunc,
            5 => LayoutOp::Release,
            6 => LayoutOp::Restore,
            7 => LayoutOp::PccroSet,
            8 => LayoutOp::PccroClear,
            9 => LayoutOp::Change,
            _ => return Err(Malformed::Value),
        })
    }
}

/// `layout_intent`.
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
pub struct LayoutIntent {
    /// [`LayoutOp`].
    pub lai_opc: U32,
    /// 0.
    pub lai_flags: U32,
    /// Where the extent begins.
    pub lai_start: U64,
    /// Where it ends; all ones: at the end of the file.
    pub lai_end: U64,
}
assert_layout!(LayoutIntent, 24, lai_flags = 4, lai_start = 8, lai_end = 16);

flags! {
    /// Flags of [`SwapLayouts`].
    pub struct SwapFlags: u64 {
        /// The first data version must match.
        const CHECK_DV1 = 0x1;
        /// The second data version must match.
        const CHECK_DV2 = 0x2;
        /// Keep modification times.
        const KEEP_MTIME = 0x4;
        /// Keep access times.
        const KEEP_ATIME = 0x8;
        /// At close.
        const CLOSE = 0x10;
        /// The data versions are there.
        const WITH_DV12 = 0x20;
        /// Private to servers: for a release.
        const MDS_RELEASE = 0x80000000;
    }
}

/// `mdc_swap_layouts`. Old clients send the flags alone.
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
pub struct SwapLayouts {
    /// [`SwapFlags`].
    pub msl_flags: U64,
    /// Data version of the first file.
    pub msl_dv1: U64,
    /// Data version of the second file.
    pub msl_dv2: U64,
}
assert_layout!(SwapLayouts, 24, msl_dv1 = 8, msl_dv2 = 16);

/// `getinfo_fid2path`: asks for the path of a FID; the path follows.
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
pub struct GetinfoFid2path {
    /// Object.
    pub gf_fid: LuFid,
    /// Record number of a changelog, or all ones.
    pub gf_recno: U64,
    /// Which of its links.
    pub gf_linkno: U32,
    /// Bytes of room for the path.
    pub gf_pathlen: U32,
}
assert_layout!(
    GetinfoFid2path,
    32,
    gf_recno = 16,
    gf_linkno = 24,
    gf_pathlen = 28
);

/// Head of data that come in an open reply (`NIOBUF_INLINE`); the bytes follow.
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
pub struct NiobufInline {
    /// Offset in the file.
    pub rnb_offset: U64,
    /// Bytes.
    pub rnb_len: U32,
    /// 0.
    pub rnb_flags: U32,
}
assert_layout!(NiobufInline, 16, rnb_len = 8, rnb_flags = 12);

/// Head of an ACL in the form that xattrs have on the wire.
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
pub struct PosixAclXattrHeader {
    /// [`POSIX_ACL_XATTR_VERSION`].
    pub a_version: U32,
}
assert_layout!(PosixAclXattrHeader, 4);

/// Version of ACLs on the wire.
pub const POSIX_ACL_XATTR_VERSION: u32 = 2;

/// Entry of an ACL on the wire.
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
pub struct PosixAclXattrEntry {
    /// Whom it is about.
    pub e_tag: U16,
    /// Permissions, 3 bits.
    pub e_perm: U16,
    /// User or group; all ones where the tag needs none.
    pub e_id: U32,
}
assert_layout!(PosixAclXattrEntry, 8, e_perm = 2, e_id = 4);
