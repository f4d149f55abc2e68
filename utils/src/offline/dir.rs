// SPDX-License-Identifier: GPL-2.0

//! Directory entries as they are stored, with the FID behind the name (`spec/ondisk.md` 6.1).

use super::ext4::{Fs, Inode};
use super::{bad, le16, le32, Result};
use wire::fid::{Fid, LuFidBe};
use zerocopy::FromBytes;

/// Flag in an entry's type: a FID follows the name.
pub const LUFID: u8 = 0x10;
/// All flags.
pub const FLAGS: u8 = 0xf0;
/// Type of the checksum at the end of a block.
const TAIL: u8 = 0xde;

/// An entry in use.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// Where it begins in the block.
    pub at: usize,
    /// Its length there.
    pub rec_len: usize,
    /// The inode.
    pub ino: u32,
    /// Type without flags.
    pub kind: u8,
    /// Flags of the type.
    pub flags: u8,
    /// The name.
    pub name: &'a [u8],
    /// The FID behind it.
    pub fid: Option<Fid>,
}

impl Entry<'_> {
    /// What the entry needs, its data included.
    pub fn min_len(&self) -> usize {
        let data = if self.flags & LUFID != 0 { 18 } else { 0 };
        (8 + self.name.len() + data).next_multiple_of(4)
    }
}

fn rec_len(raw: u16, block_size: usize) -> usize {
    match raw {
        0 | 0xffff if block_size >= 65536 => block_size,
        n => usize::from(n),
    }
}

/// The entries of a block that are in use.
pub fn entries(block: &[u8]) -> Result<Vec<Entry<'_>>> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < block.len() {
        let Some(head) = block.get(at..at + 8) else {
            return bad(format!("the entry at {at} is cut"));
        };
        let len = rec_len(le16(head, 4), block.len());
        let (ino, name_len, raw) = (le32(head, 0), usize::from(head[6]), head[7]);
        if len < 12 || len % 4 != 0 || at + len > block.len() || 8 + name_len > len {
            return bad(format!("the entry at {at} has a bad length"));
        }
        let body = &block[at..at + len];
        if ino != 0 && !(name_len == 0 && raw == TAIL) {
            let mut e = Entry {
                at,
                rec_len: len,
                ino,
                kind: raw & !FLAGS,
                flags: raw & FLAGS,
                name: &body[8..8 + name_len],
                fid: None,
            };
            if e.flags & LUFID != 0 {
                let data = body.get(8 + name_len + 1..).unwrap_or(&[]);
                let n = data.first().map_or(0, |n| usize::from(*n));
                let fid = data
                    .get(1..)
                    .and_then(|d| LuFidBe::read_from_prefix(d).ok());
                match fid {
                    Some((f, _)) if n > 16 && n % 16 == 1 && n <= data.len() => {
                        e.fid = Some(f.get())
                    }
                    _ => return bad(format!("the entry at {at} has damaged data")),
                }
            }
            out.push(e);
        }
        at += len;
    }
    Ok(out)
}

/// Calls `f` with every block of a directory and where it is.
pub fn blocks(
    fs: &Fs<'_>,
    dir: &Inode,
    mut f: impl FnMut(u32, u64, &[u8]) -> Result<()>,
) -> Result<()> {
    for n in 0..fs.file_blocks(dir)? {
        let Some(p) = fs.map(dir, n)? else {
            return bad(format!("block {n} of the directory is missing"));
        };
        f(n, p, &fs.block(p)?)?;
    }
    Ok(())
}

/// The inode of a name.
pub fn lookup(fs: &Fs<'_>, dir: &Inode, name: &[u8]) -> Result<Option<u32>> {
    let mut found = None;
    blocks(fs, dir, |_, _, b| {
        found = found.or(entries(b)?.iter().find(|e| e.name == name).map(|e| e.ino));
        Ok(())
    })?;
    Ok(found)
}
