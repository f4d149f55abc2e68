// SPDX-License-Identifier: GPL-2.0

//! Where a file's extents are on the disk (`spec/ost.md` 10.1).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::obdo::Obdo;

/// `fiemap`; [`FiemapExtent`]s follow.
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
pub struct Fiemap {
    /// Where the range begins.
    pub fm_start: U64,
    /// Its bytes.
    pub fm_length: U64,
    /// Flags of the ioctl, and [`FIEMAP_FLAG_DEVICE_ORDER`].
    pub fm_flags: U32,
    /// How many extents were found.
    pub fm_mapped_extents: U32,
    /// Room for how many; 0: only count.
    pub fm_extent_count: U32,
    /// 0.
    pub fm_reserved: U32,
}
assert_layout!(
    Fiemap,
    32,
    fm_length = 8,
    fm_flags = 16,
    fm_mapped_extents = 20,
    fm_extent_count = 24
);

/// `fiemap_extent`.
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
pub struct FiemapExtent {
    /// Offset in the object.
    pub fe_logical: U64,
    /// Offset on the device.
    pub fe_physical: U64,
    /// Bytes.
    pub fe_length: U64,
    /// 0.
    pub fe_reserved64: [U64; 2],
    /// Flags of the ioctl.
    pub fe_flags: U32,
    /// The client puts the OST's index there.
    pub fe_reserved: [U32; 3],
}
assert_layout!(
    FiemapExtent,
    56,
    fe_physical = 8,
    fe_length = 16,
    fe_flags = 40
);

/// Wait for data that are not written yet.
pub const FIEMAP_FLAG_SYNC: u32 = 0x1;
/// A flag of clients, to be ignored.
pub const FIEMAP_FLAG_DEVICE_ORDER: u32 = 0x4000_0000;

/// `ll_fiemap_info_key`: the key of the request.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct LlFiemapInfoKey {
    /// `fiemap`.
    pub lfik_name: [u8; 8],
    /// Object.
    pub lfik_oa: Obdo,
    /// Range.
    pub lfik_fiemap: Fiemap,
}
assert_layout!(LlFiemapInfoKey, 248, lfik_oa = 8, lfik_fiemap = 216);
