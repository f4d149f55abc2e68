// SPDX-License-Identifier: GPL-2.0

//! Where the blocks of a file lie: ext4's extent tree and the older map of indirect blocks.

use super::buffer::Buffer;
use super::Mount;
use crate::prelude::*;

/// Bytes of the root in the inode.
pub(super) const ROOT_LEN: usize = 60;
const EXTENT_MAGIC: u16 = 0xf30a;
/// Extents longer than this are allocated but not written.
const MAX_WRITTEN: u16 = 0x8000;
const MAX_DEPTH: u16 = 5;
const DIRECT: u32 = 12;

/// The mapping of one file, at the moment it was asked for.
pub(super) struct BlockMap {
    root: [u8; ROOT_LEN],
    extents: bool,
}

fn le16(b: &[u8], at: usize) -> Result<u16> {
    let b = b.get(at..).and_then(|b| b.first_chunk()).ok_or(EUCLEAN)?;
    Ok(u16::from_le_bytes(*b))
}

fn le32(b: &[u8], at: usize) -> Result<u32> {
    let b = b.get(at..).and_then(|b| b.first_chunk()).ok_or(EUCLEAN)?;
    Ok(u32::from_le_bytes(*b))
}

/// What a node of the extent tree says about a block.
enum Step {
    Block(u64),
    Child(u64),
}

fn step(node: &[u8], depth: u16, block: u32) -> Result<Step> {
    if le16(node, 0)? != EXTENT_MAGIC || le16(node, 6)? != depth {
        return Err(EUCLEAN);
    }
    // The last entry that does not begin behind the block.
    let (mut lo, mut hi) = (0, usize::from(le16(node, 2)?));
    while lo < hi {
        let mid = lo + (hi - lo) / 2;
        if le32(node, 12 + mid * 12)? <= block {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    let Some(at) = lo.checked_sub(1).map(|i| 12 + i * 12) else {
        return Ok(Step::Block(0));
    };
    if depth > 0 {
        let (low, high) = (le32(node, at + 4)?, le16(node, at + 8)?);
        return Ok(Step::Child(u64::from(high) << 32 | u64::from(low)));
    }
    let (first, len) = (le32(node, at)?, le16(node, at + 4)?);
    let start = u64::from(le16(node, at + 6)?) << 32 | u64::from(le32(node, at + 8)?);
    let skip = block - first;
    if len <= MAX_WRITTEN && skip < u32::from(len) {
        Ok(Step::Block(start + u64::from(skip)))
    } else {
        Ok(Step::Block(0))
    }
}

impl BlockMap {
    pub(super) fn new(root: [u8; ROOT_LEN], extents: bool) -> BlockMap {
        BlockMap { root, extents }
    }

    /// The device block of block `block` of the file; 0 if it is a hole or not written yet.
    ///
    /// # Errors
    /// `EUCLEAN`: the tree is damaged. `EIO`.
    pub(super) fn find(&self, mount: &Mount, block: u32) -> Result<u64> {
        if self.extents {
            self.find_extent(mount, block)
        } else {
            self.find_indirect(mount, block)
        }
    }

    fn find_extent(&self, mount: &Mount, block: u32) -> Result<u64> {
        let mut depth = le16(&self.root, 6)?;
        if depth > MAX_DEPTH {
            return Err(EUCLEAN);
        }
        let mut next = step(&self.root, depth, block)?;
        loop {
            match next {
                Step::Block(b) => return Ok(b),
                Step::Child(b) => {
                    depth -= 1;
                    let buf = Buffer::read(mount, b)?;
                    // SAFETY: the caller has the lock under which the mapping changes.
                    next = step(unsafe { buf.bytes() }, depth, block)?;
                }
            }
        }
    }

    fn find_indirect(&self, mount: &Mount, block: u32) -> Result<u64> {
        let per = u64::from(u32::try_from(mount.block_size() / 4)?);
        let mut rest = u64::from(block);
        if block < DIRECT {
            return Ok(le32(&self.root, block as usize * 4)?.into());
        }
        rest -= u64::from(DIRECT);
        let mut span = 1;
        for level in 0..3 {
            span *= per;
            if rest < span {
                let mut at = u64::from(le32(&self.root, (DIRECT as usize + level) * 4)?);
                while at != 0 && span > 1 {
                    span /= per;
                    let buf = Buffer::read(mount, at)?;
                    let slot = usize::try_from(rest / span)?;
                    rest %= span;
                    // SAFETY: as in `find_extent`.
                    at = le32(unsafe { buf.bytes() }, slot * 4)?.into();
                }
                return Ok(at);
            }
            rest -= span;
        }
        Err(EFBIG)
    }
}
