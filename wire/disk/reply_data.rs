// SPDX-License-Identifier: GPL-2.0

//! `reply_data`: replies to clients with several requests at a time (`spec/ondisk.md` 9.3).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};

/// Magic number of version 1, which is written.
pub const LRH_MAGIC_V1: u32 = 0xbdab_da01;
/// Magic number of version 2.
pub const LRH_MAGIC_V2: u32 = 0xbdab_da02;

/// `lsd_reply_header`.
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
pub struct LsdReplyHeader {
    /// Magic number of the version.
    pub lrh_magic: U32,
    /// Bytes of this header.
    pub lrh_header_size: U32,
    /// Bytes of a record.
    pub lrh_reply_size: U32,
    /// Anything.
    pub lrh_pad: [u8; 20],
}
assert_layout!(LsdReplyHeader, 32, lrh_header_size = 4, lrh_reply_size = 8);

/// Version of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyVersion {
    /// Records of 32 bytes.
    V1,
    /// Records of 64 bytes, with the index in a batch.
    V2,
}

impl ReplyVersion {
    /// Bytes of a record.
    pub const fn reply_size(self) -> usize {
        match self {
            ReplyVersion::V1 => size_of::<LsdReplyData>(),
            ReplyVersion::V2 => size_of::<LsdReplyDataV2>(),
        }
    }

    /// Where record `i` is in the file.
    pub const fn offset(self, i: u32) -> u64 {
        size_of::<LsdReplyHeader>() as u64 + i as u64 * self.reply_size() as u64
    }
}

impl LsdReplyHeader {
    /// The header of a new file.
    pub fn new() -> LsdReplyHeader {
        LsdReplyHeader {
            lrh_magic: LRH_MAGIC_V1.into(),
            lrh_header_size: (size_of::<LsdReplyHeader>() as u32).into(),
            lrh_reply_size: (size_of::<LsdReplyData>() as u32).into(),
            lrh_pad: [0; 20],
        }
    }

    /// The version.
    ///
    /// # Errors
    /// [`Malformed::Magic`]; [`Malformed::Value`]: sizes that are not the version's.
    pub fn version(&self) -> Result<ReplyVersion> {
        let version = match self.lrh_magic.get() {
            LRH_MAGIC_V1 => ReplyVersion::V1,
            LRH_MAGIC_V2 => ReplyVersion::V2,
            _ => return Err(Malformed::Magic),
        };
        if self.lrh_header_size.get() as usize != size_of::<LsdReplyHeader>()
            || self.lrh_reply_size.get() as usize != version.reply_size()
        {
            return Err(Malformed::Value);
        }
        Ok(version)
    }
}

/// `lsd_reply_data`, version 1.
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
pub struct LsdReplyData {
    /// Transaction.
    pub lrd_transno: U64,
    /// Request.
    pub lrd_xid: U64,
    /// Dispositions and the like.
    pub lrd_data: U64,
    /// Result.
    pub lrd_result: U32,
    /// The client: `lcd_generation` of its slot.
    pub lrd_client_gen: U32,
}
assert_layout!(
    LsdReplyData,
    32,
    lrd_xid = 8,
    lrd_data = 16,
    lrd_result = 24,
    lrd_client_gen = 28
);

/// `lsd_reply_data`, version 2.
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
pub struct LsdReplyDataV2 {
    /// As in version 1.
    pub lrd_v1: LsdReplyData,
    /// Index in the batch.
    pub lrd_batch_idx: U32,
    /// 0.
    pub lrd_padding: [U32; 7],
}
assert_layout!(LsdReplyDataV2, 64, lrd_batch_idx = 32);
