// SPDX-License-Identifier: GPL-2.0

//! Blocks of an index file, variant lfix (`spec/ondisk.md` 5). The tree itself is in the OSD.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Magic number of a root block.
pub const IAM_LFIX_ROOT_MAGIC: u64 = 0x000b_edab_b1ed;
/// Magic number of a leaf block.
pub const IAM_LEAF_HEADER_MAGIC: u16 = 0x1976;
/// Magic number of a table of idle blocks.
pub const IAM_IDLE_HEADER_MAGIC: u16 = 0x7903;
/// Bytes of a block number.
pub const IAM_PTR_SIZE: u16 = 4;
/// Most levels of a tree, the root and the leaves' parents included.
pub const IAM_MAX_TREE_HEIGHT: usize = 5;

/// `iam_lfix_root`: the head of block 0; the index entries follow.
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
pub struct IamLfixRoot {
    /// [`IAM_LFIX_ROOT_MAGIC`].
    pub ilr_magic: U64,
    /// Bytes of a key.
    pub ilr_keysize: U16,
    /// Bytes of a record.
    pub ilr_recsize: U16,
    /// [`IAM_PTR_SIZE`].
    pub ilr_ptrsize: U16,
    /// Levels of index blocks below the root.
    pub ilr_indirect_levels: u8,
    /// 0.
    pub ilr_padding: u8,
}
assert_layout!(
    IamLfixRoot,
    16,
    ilr_keysize = 8,
    ilr_recsize = 10,
    ilr_ptrsize = 12,
    ilr_indirect_levels = 14
);

/// Slot 0 of an index block: how many slots.
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
pub struct DxCountLimit {
    /// Room for how many slots, this one too.
    pub limit: U16,
    /// How many are used, this one too.
    pub count: U16,
}
assert_layout!(DxCountLimit, 4, count = 2);

/// Slot 0 of the root.
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
pub struct IamRootCountLimit {
    /// As elsewhere.
    pub dx: DxCountLimit,
    /// The first table of idle blocks, 0: none.
    pub idle_blocks: U32,
}
assert_layout!(IamRootCountLimit, 8, idle_blocks = 4);

/// `iam_leaf_head`: the head of a leaf block; records follow.
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
pub struct IamLeafHead {
    /// [`IAM_LEAF_HEADER_MAGIC`].
    pub ill_magic: U16,
    /// How many records.
    pub ill_count: U16,
}
assert_layout!(IamLeafHead, 4, ill_count = 2);

/// `iam_idle_head`: the head of a table of idle blocks; their numbers follow.
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
pub struct IamIdleHead {
    /// [`IAM_IDLE_HEADER_MAGIC`].
    pub iih_magic: U16,
    /// How many blocks.
    pub iih_count: U16,
    /// The next table, 0: none.
    pub iih_next: U32,
}
assert_layout!(IamIdleHead, 8, iih_count = 2, iih_next = 4);

/// Bytes of an index entry.
pub const fn entry_size(keysize: usize) -> usize {
    keysize + IAM_PTR_SIZE as usize
}

/// Slots of an index block that is not the root.
pub const fn node_limit(blocksize: usize, keysize: usize) -> usize {
    blocksize / entry_size(keysize)
}

/// Slots of the root: fewer than of other index blocks, so that it fits into one when the tree grows.
pub const fn root_limit(blocksize: usize, keysize: usize) -> usize {
    let limit = blocksize.saturating_sub(size_of::<IamLfixRoot>()) / entry_size(keysize);
    if limit == node_limit(blocksize, keysize) {
        limit.saturating_sub(1)
    } else {
        limit
    }
}

/// Records of a leaf; 0 if a record has no bytes.
pub const fn leaf_capacity(blocksize: usize, keysize: usize, recsize: usize) -> usize {
    let room = blocksize.saturating_sub(size_of::<IamLeafHead>());
    match room.checked_div(keysize + recsize) {
        Some(n) => n,
        None => 0,
    }
}

/// Numbers in a table of idle blocks.
pub const fn idle_capacity(blocksize: usize) -> usize {
    blocksize.saturating_sub(size_of::<IamIdleHead>()) / IAM_PTR_SIZE as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of `spec/ondisk.md` 5.1.
    #[test]
    fn limits() {
        for (key, rec, root, node, leaf) in [
            (16, 8, 203, 204, 170),
            (8, 24, 340, 341, 127),
            (8, 32, 340, 341, 102),
            (8, 8, 340, 341, 255),
            (16, 1, 203, 204, 240),
            (24, 16, 145, 146, 102),
        ] {
            assert_eq!(root_limit(4096, key), root);
            assert_eq!(node_limit(4096, key), node);
            assert_eq!(leaf_capacity(4096, key, rec), leaf);
        }
        let root = IamLfixRoot {
            ilr_magic: IAM_LFIX_ROOT_MAGIC.into(),
            ..IamLfixRoot::default()
        };
        assert_eq!(
            root.as_bytes()[..8],
            [0xed, 0xb1, 0xab, 0xed, 0x0b, 0, 0, 0]
        );
    }
}
