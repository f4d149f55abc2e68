// SPDX-License-Identifier: GPL-2.0

//! IAM files of the lfix variant (`ondisk.md` 5): B+trees with keys and records of fixed length.
//! Without I/O of its own: it works on whatever holds the blocks.

#[path = "iam_change.rs"]
mod change;

pub(crate) use change::{create, delete, insert, update};

use kapi::prelude::*;
use wire::disk::iam::{
    IAM_IDLE_HEADER_MAGIC as IDLE_MAGIC, IAM_LEAF_HEADER_MAGIC as LEAF_MAGIC,
    IAM_LFIX_ROOT_MAGIC as ROOT_MAGIC,
};

/// Bytes before the entries of the root.
const ROOT_GAP: usize = 16;
const PTR: usize = 4;
const LEAF_HEAD: usize = 4;
const IDLE_HEAD: usize = 8;
/// Levels of index below the root.
const MAX_LEVELS: usize = 4;
/// Longest key of any index.
const MAX_KEY: usize = 32;

/// What holds the blocks of a tree.
pub(crate) trait Blocks {
    /// Bytes in a block.
    fn block_size(&self) -> usize;
    /// Number of blocks.
    fn count(&self) -> u32;
    /// Shows block `n`.
    fn read(&self, n: u32, f: &mut dyn FnMut(&[u8]) -> Result) -> Result;
}

/// The same in a transaction.
pub(crate) trait BlocksMut: Blocks {
    /// Changes block `n`; if it is the one behind the last, it is added, as zeroes.
    fn write(&mut self, n: u32, f: &mut dyn FnMut(&mut [u8]) -> Result) -> Result;
}

fn le16(b: &[u8], at: usize) -> Result<u16> {
    let b = b.get(at..).and_then(|b| b.first_chunk()).ok_or(EIO)?;
    Ok(u16::from_le_bytes(*b))
}
fn le32(b: &[u8], at: usize) -> Result<u32> {
    let b = b.get(at..).and_then(|b| b.first_chunk()).ok_or(EIO)?;
    Ok(u32::from_le_bytes(*b))
}
fn put(b: &mut [u8], at: usize, v: &[u8]) -> Result {
    b.get_mut(at..at + v.len()).ok_or(EIO)?.copy_from_slice(v);
    Ok(())
}

/// Lengths of keys and records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    /// Bytes of a key.
    pub(crate) key: usize,
    /// Bytes of a record.
    pub(crate) rec: usize,
}

impl Shape {
    fn entry(&self) -> usize {
        self.key + PTR
    }
    fn record(&self) -> usize {
        self.key + self.rec
    }
    fn leaf_limit(&self, bs: usize) -> usize {
        (bs - LEAF_HEAD) / self.record()
    }
    fn node_limit(&self, bs: usize) -> usize {
        bs / self.entry()
    }
    fn root_limit(&self, bs: usize) -> usize {
        let n = (bs - ROOT_GAP) / self.entry();
        n - usize::from(n == self.node_limit(bs))
    }
}

/// A key, by value.
#[derive(Clone, Copy)]
struct Key {
    buf: [u8; MAX_KEY],
    len: usize,
}

impl Key {
    fn new(k: &[u8]) -> Result<Key> {
        let mut buf = [0; MAX_KEY];
        put(&mut buf, 0, k)?;
        Ok(Key { buf, len: k.len() })
    }
    fn bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }
}

/// A node on the way to a leaf.
#[derive(Clone, Copy, Default)]
struct Frame {
    block: u32,
    gap: usize,
    slot: usize,
    count: usize,
    limit: usize,
}

struct Path {
    shape: Shape,
    frames: [Frame; MAX_LEVELS + 1],
    depth: usize,
    leaf: u32,
}

/// Where a key is in a leaf, or would be.
struct Spot {
    at: usize,
    found: bool,
    count: usize,
}

fn root_shape(b: &[u8]) -> Result<(Shape, usize)> {
    let magic = b.first_chunk().map(|m| u64::from_le_bytes(*m));
    let (key, rec, ptr) = (le16(b, 8)?, le16(b, 10)?, le16(b, 12)?);
    let levels = usize::from(*b.get(14).ok_or(EIO)?);
    let shape = Shape {
        key: key.into(),
        rec: rec.into(),
    };
    if magic != Some(ROOT_MAGIC) {
        return Err(EINVAL);
    }
    if usize::from(ptr) != PTR
        || !(4..=MAX_KEY).contains(&shape.key)
        || shape.rec == 0
        || levels > MAX_LEVELS
        || shape.record() * 2 + LEAF_HEAD > b.len()
    {
        return Err(EIO);
    }
    Ok((shape, levels))
}

/// The lengths that the tree was made for.
///
/// # Errors
/// `EINVAL`: no tree. `EIO`: a damaged one.
pub(crate) fn shape(b: &dyn Blocks) -> Result<Shape> {
    let mut s = None;
    b.read(0, &mut |d| {
        s = Some(root_shape(d)?.0);
        Ok(())
    })?;
    s.ok_or(EIO)
}

/// Reads an index node and steps to the child for `key`.
fn step(d: &[u8], block: u32, gap: usize, s: &Shape, key: &[u8]) -> Result<(Frame, u32)> {
    let (limit, count) = (usize::from(le16(d, gap)?), usize::from(le16(d, gap + 2)?));
    if count < 2 || count > limit || gap + limit * s.entry() > d.len() {
        return Err(EIO);
    }
    let slot_key = |i: usize| {
        let at = gap + i * s.entry();
        d.get(at..at + s.key).ok_or(EIO)
    };
    // The key of slot 1 stands for minus infinity.
    let (mut lo, mut hi) = (2, count);
    while lo < hi {
        let mid = lo + (hi - lo) / 2;
        if slot_key(mid)? <= key {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    let slot = lo - 1;
    let child = le32(d, gap + slot * s.entry() + s.key)?;
    if child == 0 {
        return Err(EIO);
    }
    let f = Frame {
        block,
        gap,
        slot,
        count,
        limit,
    };
    Ok((f, child))
}

fn walk<B: Blocks + ?Sized>(b: &B, key: &[u8]) -> Result<Path> {
    let mut p = Path {
        shape: Shape { key: 0, rec: 0 },
        frames: [Frame::default(); MAX_LEVELS + 1],
        depth: 0,
        leaf: 0,
    };
    b.read(0, &mut |d| {
        (p.shape, p.depth) = root_shape(d)?;
        if p.shape.key != key.len() {
            return Err(EINVAL);
        }
        let (f, child) = step(d, 0, ROOT_GAP, &p.shape, key)?;
        p.frames[0] = f;
        p.leaf = child;
        Ok(())
    })?;
    for level in 1..=p.depth {
        let block = p.leaf;
        b.read(block, &mut |d| {
            let (f, child) = step(d, block, 0, &p.shape, key)?;
            *p.frames.get_mut(level).ok_or(EIO)? = f;
            p.leaf = child;
            Ok(())
        })?;
    }
    Ok(p)
}

fn leaf_count(d: &[u8], s: &Shape) -> Result<usize> {
    let count = usize::from(le16(d, 2)?);
    if le16(d, 0)? != LEAF_MAGIC || count > s.leaf_limit(d.len()) {
        return Err(EIO);
    }
    Ok(count)
}

fn leaf_key<'a>(d: &'a [u8], s: &Shape, i: usize) -> Result<&'a [u8]> {
    let at = LEAF_HEAD + i * s.record();
    d.get(at..at + s.key).ok_or(EIO)
}

fn leaf_rec<'a>(d: &'a [u8], s: &Shape, i: usize) -> Result<&'a [u8]> {
    let at = LEAF_HEAD + i * s.record() + s.key;
    d.get(at..at + s.rec).ok_or(EIO)
}

fn spot(d: &[u8], s: &Shape, key: &[u8]) -> Result<Spot> {
    let count = leaf_count(d, s)?;
    let (mut lo, mut hi) = (0, count);
    while lo < hi {
        let mid = lo + (hi - lo) / 2;
        if leaf_key(d, s, mid)? < key {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    let found = lo < count && leaf_key(d, s, lo)? == key;
    Ok(Spot {
        at: lo,
        found,
        count,
    })
}

/// Copies the record of `key` to `rec`; false if there is none.
///
/// # Errors
/// `EINVAL`: no tree, or the lengths are not its. `EIO`: the tree is damaged.
pub(crate) fn lookup(b: &dyn Blocks, key: &[u8], rec: &mut [u8]) -> Result<bool> {
    let p = walk(b, key)?;
    if p.shape.rec != rec.len() {
        return Err(EINVAL);
    }
    let mut found = false;
    b.read(p.leaf, &mut |d| {
        let s = spot(d, &p.shape, key)?;
        if s.found {
            rec.copy_from_slice(leaf_rec(d, &p.shape, s.at)?);
            found = true;
        }
        Ok(())
    })?;
    Ok(found)
}

/// Replaces `key` and `rec` by the first record with a key not below `key`; false if there is none.
///
/// # Errors
/// `EINVAL`: the lengths are not the tree's. `EIO`: the tree is damaged.
pub(crate) fn next(b: &dyn Blocks, key: &mut [u8], rec: &mut [u8]) -> Result<bool> {
    let mut p = walk(b, key)?;
    if p.shape.rec != rec.len() {
        return Err(EINVAL);
    }
    let mut leaf = p.leaf;
    let mut found = false;
    let mut first = true;
    loop {
        b.read(leaf, &mut |d| {
            let at = if first { spot(d, &p.shape, key)?.at } else { 0 };
            if at < leaf_count(d, &p.shape)? {
                key.copy_from_slice(leaf_key(d, &p.shape, at)?);
                rec.copy_from_slice(leaf_rec(d, &p.shape, at)?);
                found = true;
            }
            Ok(())
        })?;
        if found {
            return Ok(true);
        }
        first = false;
        // Empty leaves occur in the middle.
        match next_leaf(b, &mut p)? {
            Some(n) => leaf = n,
            None => return Ok(false),
        }
    }
}

fn next_leaf(b: &dyn Blocks, p: &mut Path) -> Result<Option<u32>> {
    let Some(level) = (0..=p.depth)
        .rev()
        .find(|l| p.frames.get(*l).is_some_and(|f| f.slot + 1 < f.count))
    else {
        return Ok(None);
    };
    let s = p.shape;
    let f = p.frames.get_mut(level).ok_or(EIO)?;
    f.slot += 1;
    let f = *f;
    let mut child = 0;
    b.read(f.block, &mut |d| {
        child = le32(d, f.gap + f.slot * s.entry() + s.key)?;
        Ok(())
    })?;
    for l in level + 1..=p.depth {
        let block = child;
        b.read(block, &mut |d| {
            let count = usize::from(le16(d, 2)?);
            *p.frames.get_mut(l).ok_or(EIO)? = Frame {
                block,
                gap: 0,
                slot: 1,
                count,
                limit: usize::from(le16(d, 0)?),
            };
            child = le32(d, s.entry() + s.key)?;
            Ok(())
        })?;
    }
    Ok(Some(child))
}

#[cfg(test)]
#[path = "../tests/host/osd-ldiskfs/src/iam_tests.rs"]
mod tests;
