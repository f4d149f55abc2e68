// SPDX-License-Identifier: GPL-2.0

//! IAM files of the lfix variant (`ondisk.md` 5): B+trees with keys and records of fixed length.
//! Without I/O of its own: it works on whatever holds the blocks.

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
fn put16(b: &mut [u8], at: usize, v: usize) -> Result {
    put(b, at, &u16::try_from(v)?.to_le_bytes())
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

/// Makes an empty tree in a file without blocks: a root, and a leaf with one record of zeroes.
pub(crate) fn create(b: &mut dyn BlocksMut, s: Shape) -> Result {
    if b.count() != 0 || s.key > MAX_KEY {
        return Err(EINVAL);
    }
    let bs = b.block_size();
    b.write(0, &mut |d| {
        put(d, 0, &ROOT_MAGIC.to_le_bytes())?;
        put16(d, 8, s.key)?;
        put16(d, 10, s.rec)?;
        put16(d, 12, PTR)?;
        put16(d, ROOT_GAP, s.root_limit(bs))?;
        put16(d, ROOT_GAP + 2, 2)?;
        put(d, ROOT_GAP + s.entry() + s.key, &1_u32.to_le_bytes())
    })?;
    b.write(1, &mut |d| {
        put(d, 0, &LEAF_MAGIC.to_le_bytes())?;
        put16(d, 2, 1)
    })
}

/// Takes a block from the idle pool, or adds one; it holds zeroes.
fn allocate(b: &mut dyn BlocksMut) -> Result<u32> {
    let mut idle = 0;
    b.read(0, &mut |d| {
        idle = le32(d, ROOT_GAP + 4)?;
        Ok(())
    })?;
    if idle == 0 {
        let n = b.count();
        b.write(n, &mut |_| Ok(()))?;
        return Ok(n);
    }
    let (mut last, mut follow) = (None, 0);
    b.read(idle, &mut |d| {
        let count = usize::from(le16(d, 2)?);
        if le16(d, 0)? != IDLE_MAGIC || count > (d.len() - IDLE_HEAD) / 4 {
            return Err(EIO);
        }
        follow = le32(d, 4)?;
        if count > 0 {
            last = Some(le32(d, IDLE_HEAD + (count - 1) * 4)?);
        }
        Ok(())
    })?;
    let n = match last {
        Some(n) => {
            b.write(idle, &mut |d| {
                let count = usize::from(le16(d, 2)?);
                put16(d, 2, count - 1)
            })?;
            n
        }
        None => {
            b.write(0, &mut |d| put(d, ROOT_GAP + 4, &follow.to_le_bytes()))?;
            idle
        }
    };
    if n == 0 || n >= b.count() {
        return Err(EIO);
    }
    b.write(n, &mut |d| {
        d.fill(0);
        Ok(())
    })?;
    Ok(n)
}

/// Gives a block to the idle pool.
fn release(b: &mut dyn BlocksMut, n: u32) -> Result {
    let mut idle = 0;
    b.read(0, &mut |d| {
        idle = le32(d, ROOT_GAP + 4)?;
        Ok(())
    })?;
    let mut room = false;
    if idle != 0 {
        b.read(idle, &mut |d| {
            room = usize::from(le16(d, 2)?) < (d.len() - IDLE_HEAD) / 4;
            Ok(())
        })?;
    }
    if room {
        return b.write(idle, &mut |d| {
            let count = usize::from(le16(d, 2)?);
            put(d, IDLE_HEAD + count * 4, &n.to_le_bytes())?;
            put16(d, 2, count + 1)
        });
    }
    b.write(n, &mut |d| {
        d.fill(0);
        put(d, 0, &IDLE_MAGIC.to_le_bytes())?;
        put(d, 4, &idle.to_le_bytes())
    })?;
    b.write(0, &mut |d| put(d, ROOT_GAP + 4, &n.to_le_bytes()))
}

/// Puts `{key, child}` behind slot `slot` of a node that has room.
fn add_entry(
    b: &mut dyn BlocksMut,
    f: &Frame,
    s: &Shape,
    slot: usize,
    key: &[u8],
    child: u32,
) -> Result {
    b.write(f.block, &mut |d| {
        let count = usize::from(le16(d, f.gap + 2)?);
        let at = f.gap + (slot + 1) * s.entry();
        let end = f.gap + count * s.entry();
        if at > end || end + s.entry() > d.len() {
            return Err(EIO);
        }
        d.copy_within(at..end, at + s.entry());
        put(d, at, key)?;
        put(d, at + s.key, &child.to_le_bytes())?;
        put16(d, f.gap + 2, count + 1)
    })
}

/// Makes the root's entries a node of their own, below the root.
fn grow(b: &mut dyn BlocksMut, p: &mut Path) -> Result {
    if p.depth >= MAX_LEVELS {
        return Err(ENOSPC);
    }
    let s = p.shape;
    let bs = b.block_size();
    let n = allocate(b)?;
    let root = p.frames[0];
    let mut copy = KVec::new();
    b.read(0, &mut |d| {
        let end = ROOT_GAP + root.count * s.entry();
        copy.extend_from_slice(d.get(ROOT_GAP..end).ok_or(EIO)?, GFP_NOFS)?;
        Ok(())
    })?;
    b.write(n, &mut |d| {
        put(d, 0, &copy)?;
        put16(d, 0, s.node_limit(bs))
    })?;
    b.write(0, &mut |d| {
        put16(d, ROOT_GAP + 2, 2)?;
        let at = ROOT_GAP + s.entry();
        d.get_mut(at..at + s.key).ok_or(EIO)?.fill(0);
        put(d, at + s.key, &n.to_le_bytes())?;
        *d.get_mut(14).ok_or(EIO)? += 1;
        Ok(())
    })?;
    p.frames.copy_within(0..MAX_LEVELS, 1);
    p.depth += 1;
    p.frames[1] = Frame {
        block: n,
        gap: 0,
        limit: s.node_limit(bs),
        ..root
    };
    p.frames[0] = Frame {
        slot: 1,
        count: 2,
        ..root
    };
    Ok(())
}

/// Splits the full node at `level`, whose parent has room. The frame then is the half that holds
/// the slot that was followed.
fn split_node(b: &mut dyn BlocksMut, p: &mut Path, level: usize) -> Result {
    let s = p.shape;
    let bs = b.block_size();
    let f = *p.frames.get(level).ok_or(EIO)?;
    let n = allocate(b)?;
    let keep = f.count / 2 + 1;
    let moved = f.count - keep;
    let mut copy = KVec::new();
    b.read(f.block, &mut |d| {
        let at = f.gap + keep * s.entry();
        let end = f.gap + f.count * s.entry();
        copy.extend_from_slice(d.get(at..end).ok_or(EIO)?, GFP_NOFS)?;
        Ok(())
    })?;
    let pivot = Key::new(copy.get(..s.key).ok_or(EIO)?)?;
    b.write(n, &mut |d| {
        put(d, s.entry(), &copy)?;
        put16(d, 0, s.node_limit(bs))?;
        put16(d, 2, moved + 1)
    })?;
    b.write(f.block, &mut |d| put16(d, f.gap + 2, keep))?;
    let parent = *p.frames.get(level - 1).ok_or(EIO)?;
    add_entry(b, &parent, &s, parent.slot, pivot.bytes(), n)?;
    let right = f.slot >= keep;
    if let Some(parent) = p.frames.get_mut(level - 1) {
        parent.count += 1;
        parent.slot += usize::from(right);
    }
    if let Some(f) = p.frames.get_mut(level) {
        if right {
            *f = Frame {
                block: n,
                gap: 0,
                slot: f.slot - keep + 1,
                count: moved + 1,
                limit: s.node_limit(bs),
            };
        } else {
            f.count = keep;
        }
    }
    Ok(())
}

/// Makes room in the parent of the leaf, then splits the leaf. Returns the leaf for position `at`
/// and the position there.
fn split_leaf(
    b: &mut dyn BlocksMut,
    p: &mut Path,
    at: usize,
    count: usize,
) -> Result<(u32, usize)> {
    let full = |f: &Frame| f.count >= f.limit;
    // From the lowest node with room on down, every node is split, highest first.
    let safe = (0..=p.depth)
        .rev()
        .find(|l| p.frames.get(*l).is_some_and(|f| !full(f)));
    let mut first = match safe {
        Some(l) => l + 1,
        None => {
            grow(b, p)?;
            // The copy of the root has room for one more.
            2
        }
    };
    while first <= p.depth {
        split_node(b, p, first)?;
        first += 1;
    }
    let s = p.shape;
    let n = allocate(b)?;
    let keep = count / 2;
    let mut copy = KVec::new();
    b.read(p.leaf, &mut |d| {
        let from = LEAF_HEAD + keep * s.record();
        let end = LEAF_HEAD + count * s.record();
        copy.extend_from_slice(d.get(from..end).ok_or(EIO)?, GFP_NOFS)?;
        Ok(())
    })?;
    let pivot = Key::new(copy.get(..s.key).ok_or(EIO)?)?;
    b.write(n, &mut |d| {
        put(d, 0, &LEAF_MAGIC.to_le_bytes())?;
        put16(d, 2, count - keep)?;
        put(d, LEAF_HEAD, &copy)
    })?;
    b.write(p.leaf, &mut |d| put16(d, 2, keep))?;
    let parent = *p.frames.get(p.depth).ok_or(EIO)?;
    add_entry(b, &parent, &s, parent.slot, pivot.bytes(), n)?;
    // A key at the border is below the pivot.
    Ok(if at > keep {
        (n, at - keep)
    } else {
        (p.leaf, at)
    })
}

/// Adds a record.
///
/// # Errors
/// `EEXIST`. `EINVAL`: the lengths are not the tree's. `ENOSPC`, `EIO`.
pub(crate) fn insert(b: &mut dyn BlocksMut, key: &[u8], rec: &[u8]) -> Result {
    let mut p = walk(&*b, key)?;
    let s = p.shape;
    if s.rec != rec.len() {
        return Err(EINVAL);
    }
    let mut here = None;
    b.read(p.leaf, &mut |d| {
        here = Some(spot(d, &s, key)?);
        Ok(())
    })?;
    let spot = here.ok_or(EIO)?;
    if spot.found {
        return Err(EEXIST);
    }
    let (mut leaf, mut at) = (p.leaf, spot.at);
    if spot.count >= s.leaf_limit(b.block_size()) {
        (leaf, at) = split_leaf(b, &mut p, spot.at, spot.count)?;
    }
    b.write(leaf, &mut |d| {
        let count = leaf_count(d, &s)?;
        let from = LEAF_HEAD + at * s.record();
        let end = LEAF_HEAD + count * s.record();
        if from > end || end + s.record() > d.len() {
            return Err(EIO);
        }
        d.copy_within(from..end, from + s.record());
        put(d, from, key)?;
        put(d, from + s.key, rec)?;
        put16(d, 2, count + 1)
    })
}

/// Replaces a record.
///
/// # Errors
/// `ENOENT`. `EINVAL`: the lengths are not the tree's. `EIO`.
pub(crate) fn update(b: &mut dyn BlocksMut, key: &[u8], rec: &[u8]) -> Result {
    let p = walk(&*b, key)?;
    let s = p.shape;
    if s.rec != rec.len() {
        return Err(EINVAL);
    }
    b.write(p.leaf, &mut |d| {
        let spot = spot(d, &s, key)?;
        if !spot.found {
            return Err(ENOENT);
        }
        put(d, LEAF_HEAD + spot.at * s.record() + s.key, rec)
    })
}

/// Removes a record. A leaf that becomes empty goes to the idle pool if its parent has others.
///
/// # Errors
/// `ENOENT`, `EIO`.
pub(crate) fn delete(b: &mut dyn BlocksMut, key: &[u8]) -> Result {
    let p = walk(&*b, key)?;
    let s = p.shape;
    let mut left = 0;
    b.write(p.leaf, &mut |d| {
        let spot = spot(d, &s, key)?;
        if !spot.found {
            return Err(ENOENT);
        }
        let at = LEAF_HEAD + spot.at * s.record();
        let end = LEAF_HEAD + spot.count * s.record();
        d.copy_within(at + s.record()..end, at);
        left = spot.count - 1;
        put16(d, 2, left)
    })?;
    let parent = *p.frames.get(p.depth).ok_or(EIO)?;
    if left > 0 || parent.count <= 2 {
        return Ok(());
    }
    b.write(parent.block, &mut |d| {
        let at = parent.gap + parent.slot * s.entry();
        let end = parent.gap + parent.count * s.entry();
        d.copy_within(at + s.entry()..end, at);
        put16(d, parent.gap + 2, parent.count - 1)
    })?;
    release(b, p.leaf)
}

#[cfg(test)]
#[path = "iam_tests.rs"]
mod tests;
