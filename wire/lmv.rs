// SPDX-License-Identifier: GPL-2.0

//! Stripes of directories (`spec/ondisk.md` 7.7, 7.8, `spec/mdt.md` 21).

use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::fid::LuFid;
use crate::flags;

/// Name of the xattr of a striped directory and its shards.
pub const XATTR_NAME_LMV: &core::ffi::CStr = c"trusted.lmv";
/// Name of the xattr with the stripes that new directories get.
pub const XATTR_NAME_DEFAULT_LMV: &core::ffi::CStr = c"trusted.dmv";
/// Striped directory.
pub const LMV_MAGIC_V1: u32 = 0x0cd2_0cd0;
/// What a user asks for.
pub const LMV_USER_MAGIC: u32 = 0x0cd3_0cd0;
/// Shard of a striped directory.
pub const LMV_MAGIC_STRIPE: u32 = 0x0cd4_0cd0;
/// Opaque.
pub const LMV_MAGIC_FOREIGN: u32 = 0x0cd5_0cd0;
/// What a user asks for with a list of MDTs; only the place tells it from a shard.
pub const LMV_USER_MAGIC_SPECIFIC: u32 = 0x0cd4_0cd0;
/// Stripe offset: any MDT.
pub const LMV_OFFSET_DEFAULT: u32 = u32::MAX;
/// Inheritance: without end.
pub const LMV_INHERIT_UNLIMITED: u8 = 0;
/// Inheritance: none below.
pub const LMV_INHERIT_END: u8 = 1;
/// Inheritance: the deepest.
pub const LMV_INHERIT_MAX: u8 = 250;
/// Inheritance: not at all.
pub const LMV_INHERIT_NONE: u8 = 255;

/// How names go to shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum LmvHashType {
    /// Sum of the bytes.
    AllChars = 1,
    /// FNV-1a.
    Fnv1a64 = 2,
    /// Consistent, with temporary names near the true ones.
    Crush = 3,
    /// The same, with better rules for those.
    Crush2 = 4,
}

/// The bits of [`LmvHashType`] in a hash type.
pub const LMV_HASH_TYPE_MASK: u32 = 0xffff;

impl TryFrom<u32> for LmvHashType {
    type Error = Malformed;

    fn try_from(v: u32) -> Result<LmvHashType> {
        Ok(match v & LMV_HASH_TYPE_MASK {
            1 => LmvHashType::AllChars,
            2 => LmvHashType::Fnv1a64,
            3 => LmvHashType::Crush,
            4 => LmvHashType::Crush2,
            _ => return Err(Malformed::Value),
        })
    }
}

flags! {
    /// Flags in a hash type.
    pub struct LmvHashFlags: u32 {
        /// Several shards on an MDT.
        const OVERSTRIPED = 0x1000000;
        /// Must not be changed by the balancer.
        const FIXED = 0x2000000;
        /// Shards are being merged.
        const MERGE = 0x4000000;
        /// Shards are being split.
        const SPLIT = 0x8000000;
        /// The stripes were lost.
        const LOST_LMV = 0x10000000;
        /// The type is wrong.
        const BAD_TYPE = 0x20000000;
        /// Entries are being moved.
        const MIGRATION = 0x80000000;
    }
}

/// `lmv_mds_md_v1`; on the wire the FIDs of the shards follow.
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
pub struct LmvMdsMdV1 {
    /// Magic number.
    pub lmv_magic: U32,
    /// Shards.
    pub lmv_stripe_count: U32,
    /// MDT of the directory itself; in a shard its number.
    pub lmv_master_mdt_index: U32,
    /// [`LmvHashType`] and [`LmvHashFlags`].
    pub lmv_hash_type: U32,
    /// Version.
    pub lmv_layout_version: U32,
    /// Where the shards of the layout before begin.
    pub lmv_migrate_offset: U32,
    /// Hash type of the layout before.
    pub lmv_migrate_hash: U32,
    /// 0.
    pub lmv_padding2: U32,
    /// 0.
    pub lmv_padding3: U64,
    /// The pool.
    pub lmv_pool_name: [u8; 16],
}
assert_layout!(
    LmvMdsMdV1,
    56,
    lmv_stripe_count = 4,
    lmv_master_mdt_index = 8,
    lmv_hash_type = 12,
    lmv_layout_version = 16,
    lmv_migrate_offset = 20,
    lmv_migrate_hash = 24,
    lmv_pool_name = 40
);

impl LmvMdsMdV1 {
    /// A view of the xattr, and the shards behind it if there are.
    ///
    /// # Errors
    /// [`Malformed::Short`], [`Malformed::Magic`].
    pub fn parse(bytes: &[u8]) -> Result<(&LmvMdsMdV1, &[LuFid])> {
        let (md, rest) = LmvMdsMdV1::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
        if !matches!(md.lmv_magic.get(), LMV_MAGIC_V1 | LMV_MAGIC_STRIPE) {
            return Err(Malformed::Magic);
        }
        let n = match rest.len() / size_of::<LuFid>() {
            0 => 0,
            _ => md.lmv_stripe_count.get() as usize,
        };
        let (fids, _) =
            <[LuFid]>::ref_from_prefix_with_elems(rest, n).map_err(|_| Malformed::Short)?;
        Ok((md, fids))
    }
}

/// `lmv_user_md_v1`; [`LmvUserMdsData`] may follow. Also the content of `trusted.dmv`.
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
pub struct LmvUserMdV1 {
    /// [`LMV_USER_MAGIC`].
    pub lum_magic: U32,
    /// Shards.
    pub lum_stripe_count: I32,
    /// First MDT, or [`LMV_OFFSET_DEFAULT`].
    pub lum_stripe_offset: U32,
    /// [`LmvHashType`] and [`LmvHashFlags`].
    pub lum_hash_type: U32,
    /// Kind.
    pub lum_type: U32,
    /// How deep it is inherited.
    pub lum_max_inherit: u8,
    /// How deep it is inherited round robin.
    pub lum_max_inherit_rr: u8,
    /// 0.
    pub lum_padding1: U16,
    /// 0.
    pub lum_padding2: U32,
    /// 0.
    pub lum_padding3: U32,
    /// The pool.
    pub lum_pool_name: [u8; 16],
}
assert_layout!(
    LmvUserMdV1,
    48,
    lum_stripe_count = 4,
    lum_stripe_offset = 8,
    lum_hash_type = 12,
    lum_type = 16,
    lum_max_inherit = 20,
    lum_max_inherit_rr = 21,
    lum_padding2 = 24,
    lum_pool_name = 32
);

impl LmvUserMdV1 {
    /// The default that the root of a new file system gets.
    pub fn root_default() -> LmvUserMdV1 {
        LmvUserMdV1 {
            lum_magic: LMV_USER_MAGIC.into(),
            lum_stripe_count: 1.into(),
            lum_stripe_offset: LMV_OFFSET_DEFAULT.into(),
            lum_max_inherit: LMV_INHERIT_UNLIMITED,
            lum_max_inherit_rr: 3,
            ..LmvUserMdV1::default()
        }
    }
}

/// `lmv_user_mds_data`: an MDT that a user wants.
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
pub struct LmvUserMdsData {
    /// Shard.
    pub lum_fid: LuFid,
    /// 0.
    pub lum_padding: U32,
    /// MDT.
    pub lum_mds: U32,
}
assert_layout!(LmvUserMdsData, 24, lum_padding = 16, lum_mds = 20);

/// FNV-1a of 64 bits.
pub fn fnv_1a_64(name: &[u8]) -> u64 {
    name.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Sum of the bytes.
pub fn all_chars(name: &[u8]) -> u32 {
    name.iter()
        .fold(0, |h: u32, &b| h.wrapping_add(u32::from(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The xattr of a root, `spec/ondisk.md` 20.5.
    #[test]
    fn root_default() {
        let d = LmvUserMdV1::root_default();
        let mut want = [0; 48];
        want[..12].copy_from_slice(&[0xd0, 0x0c, 0xd3, 0x0c, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        want[21] = 3;
        assert_eq!(d.as_bytes(), want);
    }

    #[test]
    fn hashes() {
        assert_eq!(fnv_1a_64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a_64(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(all_chars(b"\xff\x01"), 256);
    }

    #[test]
    fn shards() {
        let md = LmvMdsMdV1 {
            lmv_magic: LMV_MAGIC_V1.into(),
            lmv_stripe_count: 2.into(),
            ..LmvMdsMdV1::default()
        };
        let mut bytes = md.as_bytes().to_vec();
        assert!(LmvMdsMdV1::parse(&bytes).unwrap().1.is_empty());
        bytes.extend([7; 16]);
        assert_eq!(LmvMdsMdV1::parse(&bytes), Err(Malformed::Short));
        bytes.extend([8; 16]);
        assert_eq!(LmvMdsMdV1::parse(&bytes).unwrap().1.len(), 2);
        bytes[0] = 0;
        assert_eq!(LmvMdsMdV1::parse(&bytes), Err(Malformed::Magic));
    }
}
