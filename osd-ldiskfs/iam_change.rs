// SPDX-License-Identifier: GPL-2.0

//! Changes to trees: records come, change and go, and blocks with them.

use super::*;

fn put16(b: &mut [u8], at: usize, v: usize) -> Result {
    put(b, at, &u16::try_from(v)?.to_le_bytes())
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
