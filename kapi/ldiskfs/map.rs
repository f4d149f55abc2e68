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

/// The mapping of one file, which is locked.
pub(super) struct BlockMap<'a> {
    mount: &'a Mount,
    root: [u8; ROOT_LEN],
    extents: bool,
}

/// Blocks of a file that lie together on the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// The first one in the file.
    pub(super) first: u32,
    /// How many.
    pub(super) len: u32,
    /// The first one on the device.
    pub(super) phys: u64,
    /// Allocated and not written.
    pub(super) unwritten: bool,
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
    /// In a leaf: the extent that begins nearest before the block, and the one behind that.
    Leaf([Option<Run>; 2]),
    /// The child for the block, and where the one behind it begins.
    Child(u64, Option<u32>),
}

fn extent(node: &[u8], i: usize) -> Result<Run> {
    let at = 12 + i * 12;
    let (first, len) = (le32(node, at)?, le16(node, at + 4)?);
    let unwritten = len > MAX_WRITTEN;
    Ok(Run {
        first,
        len: u32::from(if unwritten { len - MAX_WRITTEN } else { len }),
        phys: u64::from(le16(node, at + 6)?) << 32 | u64::from(le32(node, at + 8)?),
        unwritten,
    })
}

fn step(node: &[u8], depth: u16, block: u32) -> Result<Step> {
    if le16(node, 0)? != EXTENT_MAGIC || le16(node, 6)? != depth {
        return Err(EUCLEAN);
    }
    let count = usize::from(le16(node, 2)?);
    // The last entry that does not begin behind the block.
    let (mut lo, mut hi) = (0, count);
    while lo < hi {
        let mid = lo + (hi - lo) / 2;
        if le32(node, 12 + mid * 12)? <= block {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    let (before, behind) = (lo.checked_sub(1), (lo < count).then_some(lo));
    if depth == 0 {
        let run = |i: Option<usize>| i.map(|i| extent(node, i)).transpose();
        return Ok(Step::Leaf([run(before)?, run(behind)?]));
    }
    // Before the first child there is nothing, so the first one is as good.
    let i = before.unwrap_or(0);
    let at = 12 + i * 12;
    let (low, high) = (le32(node, at + 4)?, le16(node, at + 8)?);
    let next = (i + 1 < count).then(|| le32(node, at + 12)).transpose()?;
    Ok(Step::Child(u64::from(high) << 32 | u64::from(low), next))
}

impl BlockMap<'_> {
    pub(super) fn new(mount: &Mount, root: [u8; ROOT_LEN], extents: bool) -> BlockMap<'_> {
        BlockMap {
            mount,
            root,
            extents,
        }
    }

    /// Whether the mapping is a tree of extents.
    pub(super) fn has_extents(&self) -> bool {
        self.extents
    }

    /// The device block of block `block` of the file; 0 if it is a hole or not written yet.
    ///
    /// # Errors
    /// `EUCLEAN`: the tree is damaged. `EIO`.
    pub(super) fn find(&self, block: u32) -> Result<u64> {
        if !self.extents {
            return self.find_indirect(block);
        }
        Ok(match self.leaf(block)?.0[0] {
            Some(e) if block - e.first < e.len && !e.unwritten => {
                e.phys + u64::from(block - e.first)
            }
            _ => 0,
        })
    }

    /// The extent that has block `block`, or the first behind it; not for indirect blocks.
    ///
    /// # Errors
    /// As [`BlockMap::find`].
    pub(super) fn run(&self, block: u32) -> Result<Option<Run>> {
        let mut from = block;
        loop {
            let ([before, behind], next) = self.leaf(from)?;
            if let Some(e) = before.filter(|e| e.first <= block && block - e.first < e.len) {
                return Ok(Some(e));
            }
            if let Some(e) = before.filter(|e| e.first > block).or(behind) {
                return Ok(Some(e));
            }
            match next {
                Some(n) if n > from => from = n,
                _ => return Ok(None),
            }
        }
    }

    /// What the leaf for a block says, and where the next leaf begins.
    fn leaf(&self, block: u32) -> Result<([Option<Run>; 2], Option<u32>)> {
        let mut depth = le16(&self.root, 6)?;
        if depth > MAX_DEPTH {
            return Err(EUCLEAN);
        }
        let mut behind = None;
        let mut step_to = step(&self.root, depth, block)?;
        loop {
            match step_to {
                Step::Leaf(runs) => return Ok((runs, behind)),
                Step::Child(b, next) => {
                    depth -= 1;
                    behind = next.or(behind);
                    let buf = Buffer::read(self.mount, b)?;
                    // SAFETY: the mapping is locked.
                    step_to = step(unsafe { buf.bytes() }, depth, block)?;
                }
            }
        }
    }

    fn find_indirect(&self, block: u32) -> Result<u64> {
        let mount = self.mount;
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
                    // SAFETY: as in `leaf`.
                    at = le32(unsafe { buf.bytes() }, slot * 4)?.into();
                }
                return Ok(at);
            }
            rest -= span;
        }
        Err(EFBIG)
    }
}
