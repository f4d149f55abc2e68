// SPDX-License-Identifier: GPL-2.0

//! Finding a name in an ext4 directory, linear or indexed, over its blocks.
//!
//! ext4's own lookup makes dentries, and the dcache would tie each directory to one name and one
//! parent; here names move without it. Only reading is done here, changes are ext4's.

use crate::dirhash::{Hash, Hasher};
use kapi::prelude::*;

/// The blocks of a directory.
pub(crate) trait Blocks {
    /// Calls `f` with block `n`; with none for a hole.
    fn block(&self, n: u32, f: &mut dyn FnMut(Option<&[u8]>) -> Result) -> Result;
    /// Number of blocks.
    fn count(&self) -> u32;
}

/// How names are hashed where the directory does not say it itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashInfo {
    /// Whether bytes of names are unsigned.
    pub(crate) unsigned: bool,
    /// The file system's seed.
    pub(crate) seed: [u32; 4],
}

/// An entry that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// Inode number.
    pub(crate) ino: u32,
    /// ext4's file type, without data flags.
    pub(crate) ty: u8,
}

const MAX_LEVELS: u8 = 3;
const INFO_AT: usize = 24;

fn le16(b: &[u8], at: usize) -> Result<u16> {
    let b = b.get(at..).and_then(|b| b.first_chunk()).ok_or(EUCLEAN)?;
    Ok(u16::from_le_bytes(*b))
}

fn le32(b: &[u8], at: usize) -> Result<u32> {
    let b = b.get(at..).and_then(|b| b.first_chunk()).ok_or(EUCLEAN)?;
    Ok(u32::from_le_bytes(*b))
}

/// Calls `f` for the live entries of a block until it returns false.
pub(crate) fn entries(block: &[u8], mut f: impl FnMut(Found, &[u8]) -> bool) -> Result {
    let mut at = 0;
    while at + 8 <= block.len() {
        let rec_len = match le16(block, at + 4)? {
            // 64 KiB blocks.
            0 | 0xffff if block.len() == 0x10000 => 0x10000,
            n => usize::from(n),
        };
        let (ino, len) = (le32(block, at)?, block.get(at + 6).copied().unwrap_or(0));
        if rec_len < 8 || rec_len % 4 != 0 || rec_len > block.len() - at {
            return Err(EUCLEAN);
        }
        if ino != 0 && len != 0 {
            if 8 + usize::from(len) > rec_len {
                return Err(EUCLEAN);
            }
            let name = block
                .get(at + 8..at + 8 + usize::from(len))
                .ok_or(EUCLEAN)?;
            let ty = block.get(at + 7).copied().unwrap_or(0) & 0xf;
            if !f(Found { ino, ty }, name) {
                return Ok(());
            }
        }
        at += rec_len;
    }
    Ok(())
}

fn search(block: &[u8], name: &[u8]) -> Result<Option<Found>> {
    let mut found = None;
    entries(block, |e, n| {
        if n == name {
            found = Some(e);
        }
        found.is_none()
    })?;
    Ok(found)
}

/// A position in a node of the index.
#[derive(Clone, Copy, Default)]
struct Frame {
    block: u32,
    /// Where the entries begin.
    start: usize,
    at: u16,
    count: u16,
}

/// The last entry of the index node that does not lie behind `hash`; entry 0 has no hash.
fn pick(node: &[u8], start: usize, hash: u32) -> Result<(u16, u16)> {
    let (limit, count) = (le16(node, start)?, le16(node, start + 2)?);
    if count == 0 || count > limit || start + usize::from(count) * 8 > node.len() {
        return Err(EUCLEAN);
    }
    let (mut lo, mut hi) = (1, count);
    while lo < hi {
        let mid = lo + (hi - lo) / 2;
        if le32(node, start + usize::from(mid) * 8)? > hash {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    Ok((lo - 1, count))
}

/// Looks for `name`. `indexed`: the directory has ext4's index flag.
///
/// # Errors
/// `EUCLEAN`: the directory is damaged. `EIO`.
pub(crate) fn lookup(
    dir: &dyn Blocks,
    indexed: bool,
    hashing: &HashInfo,
    name: &[u8],
) -> Result<Option<Found>> {
    if !indexed || name == b"." || name == b".." {
        return linear(dir, if indexed { 1 } else { dir.count() }, name);
    }
    let mut frames = [Frame::default(); MAX_LEVELS as usize + 1];
    let mut hash = Hash { major: 0, minor: 0 };
    let mut levels = 0;
    let mut next = 0;
    dir.block(0, &mut |b| {
        let b = b.ok_or(EUCLEAN)?;
        let version = *b.get(INFO_AT + 4).ok_or(EUCLEAN)?;
        let info_len = *b.get(INFO_AT + 5).ok_or(EUCLEAN)?;
        levels = *b.get(INFO_AT + 6).ok_or(EUCLEAN)?;
        if levels >= MAX_LEVELS || info_len != 8 {
            return Err(EUCLEAN);
        }
        let hasher = Hasher::new(version, hashing.unsigned, hashing.seed).ok_or(EUCLEAN)?;
        hash = hasher.hash(name);
        next = descend(&mut frames, 0, 0, INFO_AT + 8, b, hash.major)?;
        Ok(())
    })?;
    for level in 1..=usize::from(levels) {
        let block = next;
        dir.block(block, &mut |b| {
            next = descend(&mut frames, level, block, 8, b.ok_or(EUCLEAN)?, hash.major)?;
            Ok(())
        })?;
    }
    loop {
        let mut found = None;
        dir.block(next, &mut |b| {
            found = search(b.ok_or(EUCLEAN)?, name)?;
            Ok(())
        })?;
        if found.is_some() {
            return Ok(found);
        }
        // Names of one hash may go on in the next block; its index entry then says so.
        match advance(dir, &mut frames, usize::from(levels), hash.major)? {
            Some(block) => next = block,
            None => return Ok(None),
        }
    }
}

fn linear(dir: &dyn Blocks, blocks: u32, name: &[u8]) -> Result<Option<Found>> {
    let mut found = None;
    for n in 0..blocks {
        dir.block(n, &mut |b| {
            if let Some(b) = b {
                found = search(b, name)?;
            }
            Ok(())
        })?;
        if found.is_some() {
            break;
        }
    }
    Ok(found)
}

fn descend(
    frames: &mut [Frame],
    level: usize,
    block: u32,
    start: usize,
    node: &[u8],
    hash: u32,
) -> Result<u32> {
    let (at, count) = pick(node, start, hash)?;
    *frames.get_mut(level).ok_or(EUCLEAN)? = Frame {
        block,
        start,
        at,
        count,
    };
    child(node, start, at)
}

fn child(node: &[u8], start: usize, at: u16) -> Result<u32> {
    Ok(le32(node, start + usize::from(at) * 8 + 4)? & 0x0fff_ffff)
}

fn advance(
    dir: &dyn Blocks,
    frames: &mut [Frame],
    levels: usize,
    hash: u32,
) -> Result<Option<u32>> {
    let Some(level) = (0..=levels)
        .rev()
        .find(|l| frames.get(*l).is_some_and(|f| f.at + 1 < f.count))
    else {
        return Ok(None);
    };
    let mut next = None;
    if let Some(f) = frames.get_mut(level) {
        f.at += 1;
        let f = *f;
        dir.block(f.block, &mut |b| {
            let b = b.ok_or(EUCLEAN)?;
            if le32(b, f.start + usize::from(f.at) * 8)? & !1 == hash {
                next = Some(child(b, f.start, f.at)?);
            }
            Ok(())
        })?;
    }
    for l in level + 1..=levels {
        let Some(block) = next else { break };
        dir.block(block, &mut |b| {
            let b = b.ok_or(EUCLEAN)?;
            let count = le16(b, 10)?;
            *frames.get_mut(l).ok_or(EUCLEAN)? = Frame {
                block,
                start: 8,
                at: 0,
                count,
            };
            next = Some(child(b, 8, 0)?);
            Ok(())
        })?;
    }
    Ok(next)
}

/// Whether the directory holds nothing but `.` and `..`.
pub(crate) fn is_empty(dir: &dyn Blocks) -> Result<bool> {
    let mut empty = true;
    for n in 0..dir.count() {
        dir.block(n, &mut |b| {
            let Some(b) = b else { return Ok(()) };
            // An index node of an indexed directory looks like one dead entry.
            entries(b, |_, name| {
                empty = name == b"." || name == b"..";
                empty
            })
        })?;
        if !empty {
            break;
        }
    }
    Ok(empty)
}
