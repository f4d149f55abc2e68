// SPDX-License-Identifier: GPL-2.0

//! Layouts: where a file's data are (`spec/ondisk.md` 7.4, `spec/mdt.md` 20). The bytes are the
//! same in `trusted.lov`, in replies and, but for the objects, in what a user asks for.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::fid::Fid;
use crate::flags;
use crate::ostid::{OidSeq, OstId};

mod build;
mod pool;
mod read;

pub use build::{composite_head_size, plain_size, CompositeBuilder, PlainSpec};
pub use pool::{PoolName, INHERIT_POOL, NO_POOL};
pub use read::{Component, Composite, LovMd, Plain};

/// Name of the xattr.
pub const XATTR_NAME_LOV: &core::ffi::CStr = c"trusted.lov";

/// Plain layout.
pub const LOV_MAGIC_V1: u32 = 0x0bd1_0bd0;
/// Plain layout with a pool.
pub const LOV_MAGIC_V3: u32 = 0x0bd3_0bd0;
/// Plain layout of a user with a list of OSTs.
pub const LOV_MAGIC_SPECIFIC: u32 = 0x0bd5_0bd0;
/// Composite layout.
pub const LOV_MAGIC_COMP_V1: u32 = 0x0bd6_0bd0;
/// Opaque.
pub const LOV_MAGIC_FOREIGN: u32 = 0x0bd7_0bd0;
/// Composite layout with a component that can grow.
pub const LOV_MAGIC_SEL: u32 = 0x0bd8_0bd0;

/// Bytes of a pool's name with its NUL.
pub const LOV_MAXPOOLNAME: usize = 16;
/// Unit of a stripe's size.
pub const LOV_MIN_STRIPE_SIZE: u32 = 65536;
/// Most stripes.
pub const LOV_MAX_STRIPE_COUNT: u16 = 2000;
/// Stripe count: all OSTs.
pub const LOV_ALL_STRIPES: u16 = 0xffff;
/// Stripe offset: any OST.
pub const LOV_OFFSET_DEFAULT: u16 = 0xffff;
/// Counts from here up stand for no number of objects.
const COUNT_NOT_A_NUMBER: u16 = 0xffe0;
/// OST index of the dummy object of a component without objects.
pub const OST_INDEX_DUMMY: u32 = u32::MAX;
/// Most components.
pub const LOV_MAX_COMPONENTS: usize = 1024;
/// End of the last component: that of the file.
pub const LUSTRE_EOF: u64 = u64::MAX;

flags! {
    /// How data are spread over the objects.
    pub struct LovPattern: u32 {
        /// Striped.
        const RAID0 = 0x1;
        /// Not used.
        const RAID1 = 0x2;
        /// Parity.
        const PARITY = 0x4;
        /// On the MDT.
        const MDT = 0x100;
        /// Several objects on an OST.
        const OVERSTRIPING = 0x200;
        /// Elsewhere.
        const FOREIGN = 0x400;
        /// Compressed.
        const COMPRESS = 0x800;
        /// Some objects are lost.
        const F_HOLE = 0x40000000;
        /// Only in the archive.
        const F_RELEASED = 0x80000000;
    }
}

flags! {
    /// Flags of a component.
    pub struct LcmeFlags: u32 {
        /// Old data.
        const STALE = 0x1;
        /// Preferred for reading.
        const PREF_RD = 0x2;
        /// Preferred for writing.
        const PREF_WR = 0x4;
        /// Not reachable.
        const OFFLINE = 0x8;
        /// It has its objects.
        const INIT = 0x10;
        /// Not to be brought in step.
        const NOSYNC = 0x20;
        /// The component before can grow into it.
        const EXTENSION = 0x40;
        /// Parity.
        const PARITY = 0x80;
        /// Compressed.
        const COMPRESS = 0x100;
        /// Partly compressed.
        const PARTIAL = 0x200;
        /// Not to be compressed.
        const NOCOMPR = 0x400;
        /// The id is that of a link.
        const IS_LINK_ID = 0x40000000;
        /// User: not with this flag.
        const NEG = 0x80000000;
    }
}

/// State of the mirrors of a file, the low bits of `lcm_flags`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum FlrState {
    /// No mirrors.
    None = 0,
    /// In step.
    ReadOnly = 1,
    /// Being written.
    WritePending = 2,
    /// Being brought in step.
    SyncPending = 3,
}

/// The bits of [`FlrState`] in `lcm_flags`.
pub const LCM_FL_FLR_MASK: u16 = 0x3;
/// `lcm_flags`: in a read-only PCC.
pub const LCM_FL_PCC_RDONLY: u16 = 0x8;

/// `lov_mds_md_v1`; [`LovOstData`] follow.
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
pub struct LovMdsMdV1 {
    /// Magic number.
    pub lmm_magic: U32,
    /// [`LovPattern`].
    pub lmm_pattern: U32,
    /// The file.
    pub lmm_oi: OidSeq,
    /// Bytes of a stripe.
    pub lmm_stripe_size: U32,
    /// Stripes.
    pub lmm_stripe_count: U16,
    /// Generation; in defaults and in components without objects the first OST wanted.
    pub lmm_layout_gen: U16,
}
assert_layout!(
    LovMdsMdV1,
    32,
    lmm_pattern = 4,
    lmm_oi = 8,
    lmm_stripe_size = 24,
    lmm_stripe_count = 28,
    lmm_layout_gen = 30
);

/// `lov_mds_md_v3`; [`LovOstData`] follow.
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
pub struct LovMdsMdV3 {
    /// As without pool.
    pub v1: LovMdsMdV1,
    /// The pool.
    pub lmm_pool_name: [u8; LOV_MAXPOOLNAME],
}
assert_layout!(LovMdsMdV3, 48, lmm_pool_name = 32);

/// `lov_ost_data_v1`: an object.
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
pub struct LovOstData {
    /// Object.
    pub l_ost_oi: OstId,
    /// 0.
    pub l_ost_gen: U32,
    /// OST.
    pub l_ost_idx: U32,
}
assert_layout!(LovOstData, 24, l_ost_gen = 16, l_ost_idx = 20);

impl LovOstData {
    /// The object `fid` on an OST.
    pub fn new(fid: Fid, ost_index: u32) -> LovOstData {
        LovOstData {
            l_ost_oi: OstId::from_fid(fid),
            l_ost_gen: 0.into(),
            l_ost_idx: ost_index.into(),
        }
    }

    /// What stands in a component without objects.
    pub fn dummy() -> LovOstData {
        LovOstData {
            l_ost_idx: OST_INDEX_DUMMY.into(),
            ..LovOstData::default()
        }
    }

    /// Whether it is no object.
    pub fn is_dummy(&self) -> bool {
        self.l_ost_idx.get() == OST_INDEX_DUMMY
    }

    /// The object's FID.
    ///
    /// # Errors
    /// [`Malformed::Value`].
    pub fn fid(&self) -> Result<Fid> {
        let index = u16::try_from(self.l_ost_idx.get()).map_err(|_| Malformed::Value)?;
        self.l_ost_oi.to_fid(index)
    }
}

/// `lov_comp_md_v1`; [`LovCompMdEntry`]s follow, then their layouts.
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
pub struct LovCompMdV1 {
    /// [`LOV_MAGIC_COMP_V1`] or [`LOV_MAGIC_SEL`].
    pub lcm_magic: U32,
    /// Bytes in all.
    pub lcm_size: U32,
    /// Generation.
    pub lcm_layout_gen: U32,
    /// [`FlrState`] and [`LCM_FL_PCC_RDONLY`].
    pub lcm_flags: U16,
    /// Components.
    pub lcm_entry_count: U16,
    /// Mirrors, less one.
    pub lcm_mirror_count: U16,
    /// Parity.
    pub lcm_ec_count: u8,
    /// 0.
    pub lcm_padding: [u8; 13],
}
assert_layout!(
    LovCompMdV1,
    32,
    lcm_size = 4,
    lcm_layout_gen = 8,
    lcm_flags = 12,
    lcm_entry_count = 14,
    lcm_mirror_count = 16,
    lcm_ec_count = 18
);

impl LovCompMdV1 {
    /// State of the mirrors.
    pub fn flr_state(&self) -> FlrState {
        match self.lcm_flags.get() & LCM_FL_FLR_MASK {
            1 => FlrState::ReadOnly,
            2 => FlrState::WritePending,
            3 => FlrState::SyncPending,
            _ => FlrState::None,
        }
    }
}

/// `lov_comp_md_entry_v1`.
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
pub struct LovCompMdEntry {
    /// Mirror << 16 | number.
    pub lcme_id: U32,
    /// [`LcmeFlags`].
    pub lcme_flags: U32,
    /// Where it begins in the file.
    pub lcme_start: U64,
    /// Where it ends.
    pub lcme_end: U64,
    /// Where its layout is, from the start of the whole.
    pub lcme_offset: U32,
    /// Bytes of its layout.
    pub lcme_size: U32,
    /// 0.
    pub lcme_layout_gen: U32,
    /// When it was last in step, 48 bits of seconds; 16 bits of a mirror's link.
    pub lcme_time_and_mirror_id: U64,
    /// Data stripes.
    pub lcme_dstripe_count: u8,
    /// Code stripes.
    pub lcme_cstripe_count: u8,
    /// Kind of compression.
    pub lcme_compr_type: u8,
    /// Level, and bits of a chunk.
    pub lcme_compr_lvl: u8,
}
assert_layout!(
    LovCompMdEntry,
    48,
    lcme_flags = 4,
    lcme_start = 8,
    lcme_end = 16,
    lcme_offset = 24,
    lcme_size = 28,
    lcme_layout_gen = 32,
    lcme_time_and_mirror_id = 36,
    lcme_dstripe_count = 44,
    lcme_compr_lvl = 47
);

impl LovCompMdEntry {
    /// [`LovCompMdEntry::lcme_flags`] as a set.
    pub fn flags(&self) -> LcmeFlags {
        LcmeFlags::from_bits_retain(self.lcme_flags.get())
    }

    /// The mirror that it is part of.
    pub fn mirror_id(&self) -> u16 {
        ((self.lcme_id.get() >> 16) & 0x7fff) as u16
    }
}

/// `lov_foreign_md`; the value follows.
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
pub struct LovForeignMd {
    /// Magic number.
    pub lfm_magic: U32,
    /// Bytes of the value.
    pub lfm_length: U32,
    /// Kind.
    pub lfm_type: U32,
    /// Flags of the kind.
    pub lfm_flags: U32,
}
assert_layout!(
    LovForeignMd,
    16,
    lfm_length = 4,
    lfm_type = 8,
    lfm_flags = 12
);
