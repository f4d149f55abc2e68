// SPDX-License-Identifier: GPL-2.0

//! Takes the FIDs out of directory entries, so that stock ext4 mounts the file system.
//!
//! The flag of an entry is cleared, and its data become slack. A block whose contents move (an index root
//! behind a `..` with data; a long `.`) or that has a checksum cannot be torn without loss, so it goes
//! through a scratch area first: three blocks of the journal, which is empty. A run that was cut is
//! continued by the next one: what was converted has no flags any more, and a torn block is written again.
//! The feature goes last, from the copies of the superblock before the superblock.

use super::dir::{self, Entry, FLAGS};
use super::ext4::{Fs, Inode, INCOMPAT_DIRDATA, INDEX_FL, ROOT_INO, SUPERBLOCK_AT};
use super::{bad, le16, le32, xattr, Disk, Result};
use wire::disk::linkea::{LinkEa, XATTR_NAME_LINK};
use wire::disk::lma::{LmaIncompat, LustreMdtAttrs, XATTR_NAME_LMA};
use wire::disk::names::root as top;
use wire::fid::Fid;

const SECTOR: usize = 512;
const JBD2_MAGIC: u32 = 0xc03b_3998;
const SCRATCH_MAGIC: &[u8; 8] = b"LRSTRIP1";
/// Magic, target, two checksums.
const SCRATCH_HEAD: usize = 24;
/// Bytes at the end of a directory block with its checksum.
const TAIL_SIZE: usize = 12;
/// Bytes of `.` without data: where `..` is, and the length that both have.
const DOT_LEN: usize = 12;
/// Where ext4 looks for the head of an index.
const DX_INFO_AT: usize = 24;
const DX_INFO_LEN: usize = 8;
const DX_ENTRY: usize = 8;
/// How many entries that stand in the way are told.
const MOST_TOLD: usize = 20;

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Directories.
    pub dirs: u64,
    /// Blocks written.
    pub blocks: u64,
}

/// Strips the file system on `disk`. `None`: there is nothing to strip.
///
/// # Errors
/// The device failed; or something has to be done first, and nothing was changed.
pub fn strip(disk: &dyn Disk) -> Result<Option<Done>> {
    let fs = Fs::open(disk)?;
    if fs.incompat() & INCOMPAT_DIRDATA == 0 {
        // A cut may have torn the superblock: its checksum is in another sector.
        let mut sb = fs.sb.clone();
        seal_superblock(&fs, &mut sb);
        if sb != fs.sb {
            disk.write(SUPERBLOCK_AT, &sb)?;
            disk.flush()?;
        }
        return Ok(None);
    }
    if fs.needs_recovery() {
        return bad(
            "the journal is not empty: mount the target once with the server that wrote it, unmount it, \
             and run this again",
        );
    }
    let s = Strip {
        scratch: scratch_area(&fs)?,
        fs,
        blocks: std::cell::Cell::new(0),
    };
    s.finish_torn()?;
    let dirs = s.directories()?;
    s.look(&dirs)?;
    for d in &dirs {
        s.directory(&s.fs.inode(*d)?)?;
    }
    s.write(s.scratch[0], &vec![0; s.fs.block_size])?;
    disk.flush()?;
    for at in s.fs.backups() {
        let mut sb = vec![0; 1024];
        disk.read(at, &mut sb)?;
        if le16(&sb, 0x38) == 0xef53 {
            s.clear_feature(at, sb)?;
        }
    }
    disk.flush()?;
    s.clear_feature(SUPERBLOCK_AT, s.fs.sb.clone())?;
    disk.flush()?;
    Ok(Some(Done {
        dirs: dirs.len() as u64,
        blocks: s.blocks.get(),
    }))
}

/// Three blocks of the journal.
fn scratch_area(fs: &Fs<'_>) -> Result<[u64; 3]> {
    let Some(ino) = fs.journal_ino() else {
        return bad("there is no journal in the file system");
    };
    let journal = fs.inode(ino)?;
    let head = fs.file_block(&journal, 0)?;
    let be32 = |at| le32(&head, at).swap_bytes();
    if be32(0) != JBD2_MAGIC {
        return bad("the journal is damaged");
    }
    if be32(0x1c) != 0 {
        return bad("the journal is not empty, though the superblock says so: run e2fsck of Lustre's e2fsprogs");
    }
    let first = be32(0x14);
    let mut all = [0; 3];
    for (i, b) in (first..).zip(all.iter_mut()) {
        match fs.map(&journal, i)? {
            Some(p) if i != 0 && p != 0 && p < fs.blocks => *b = p,
            _ => return bad("the journal is damaged"),
        }
    }
    Ok(all)
}

struct Strip<'d> {
    fs: Fs<'d>,
    scratch: [u64; 3],
    blocks: std::cell::Cell<u64>,
}

impl Strip<'_> {
    fn write(&self, block: u64, bytes: &[u8]) -> Result<()> {
        self.fs.disk.write(block * self.fs.block_size as u64, bytes)
    }

    /// Writes a block that may not be torn.
    fn write_whole(&self, block: u64, old: &[u8], new: &[u8]) -> Result<()> {
        let mut head = vec![0; self.fs.block_size];
        head[..8].copy_from_slice(SCRATCH_MAGIC);
        head[8..16].copy_from_slice(&block.to_le_bytes());
        head[16..20].copy_from_slice(&crc32c(!0, old).to_le_bytes());
        head[20..24].copy_from_slice(&crc32c(!0, new).to_le_bytes());
        self.write(self.scratch[1], old)?;
        self.write(self.scratch[2], new)?;
        self.fs.disk.flush()?;
        self.write(self.scratch[0], &head)?;
        self.fs.disk.flush()?;
        self.write(block, new)?;
        self.fs.disk.flush()
    }

    /// Writes a block again that a cut has torn. One that is neither the old nor the new one, sector by
    /// sector, was changed by somebody since and is left alone.
    fn finish_torn(&self) -> Result<()> {
        let head = self.fs.block(self.scratch[0])?;
        if head.get(..8) != Some(SCRATCH_MAGIC) || head.len() < SCRATCH_HEAD {
            return Ok(());
        }
        let (old, new) = (
            self.fs.block(self.scratch[1])?,
            self.fs.block(self.scratch[2])?,
        );
        if crc32c(!0, &old) != le32(&head, 16) || crc32c(!0, &new) != le32(&head, 20) {
            return Ok(());
        }
        let block = u64::from(le32(&head, 8)) | (u64::from(le32(&head, 12)) << 32);
        if block >= self.fs.blocks {
            return Ok(());
        }
        let is = self.fs.block(block)?;
        let mut sectors = is
            .chunks(SECTOR)
            .zip(old.chunks(SECTOR).zip(new.chunks(SECTOR)));
        if is != old && is != new && sectors.all(|(i, (o, n))| i == o || i == n) {
            self.write(block, &new)?;
            self.fs.disk.flush()?;
        }
        Ok(())
    }

    fn directories(&self) -> Result<Vec<u32>> {
        let mut dirs = Vec::new();
        for group in 0..self.fs.groups {
            for ino in self.fs.used_inodes(group)? {
                let inode = self.fs.inode(ino)?;
                if inode.is_dir() && inode.links() != 0 {
                    dirs.push(ino);
                }
            }
        }
        Ok(dirs)
    }

    /// Whether the FID of every entry is also elsewhere; and whether all can be read at all.
    fn look(&self, dirs: &[u32]) -> Result<()> {
        let root = self.fs.inode(ROOT_INO)?;
        let remote = dir::lookup(&self.fs, &root, top::REMOTE_PARENT_DIR.as_bytes())?;
        let mut lost = Vec::new();
        let mut n = 0;
        for ino in dirs {
            let d = self.fs.inode(*ino)?;
            let index = d.flags() & INDEX_FL != 0;
            let r = dir::blocks(&self.fs, &d, |i, _, b| {
                if i == 0 {
                    self.first_block(b, index)?;
                }
                // The FID in these entries is not reliable: the name is it.
                for e in dir::entries(b)?.iter().filter(|_| Some(*ino) != remote) {
                    if let Some(fid) = e.fid {
                        if !self.is_elsewhere(&d, e, fid, remote)? {
                            n += 1;
                            if lost.len() < MOST_TOLD {
                                let name = e.name.escape_ascii();
                                lost.push(format!("'{name}' in inode {ino}: {fid}"));
                            }
                        }
                    }
                }
                Ok(())
            });
            if let Err(super::Error::Bad(why)) = r {
                return bad(format!("directory inode {ino}: {why}"));
            }
            r?;
        }
        if n == 0 {
            return Ok(());
        }
        bad(format!(
            "{n} directory entries have a FID that is not in their inode and would be lost; run LFSCK on the \
             server that wrote the target. Nothing was changed.\n{}",
            lost.join("\n")
        ))
    }

    fn is_elsewhere(
        &self,
        d: &Inode,
        e: &Entry<'_>,
        fid: Fid,
        remote: Option<u32>,
    ) -> Result<bool> {
        if e.name == b"." {
            return Ok(true);
        }
        let parent = e.name == b"..";
        // A parent on this target is known by its inode.
        if parent && Some(e.ino) != remote {
            return Ok(true);
        }
        let inode = if parent {
            None
        } else {
            Some(self.fs.inode(e.ino)?)
        };
        let x = xattr::trusted(&self.fs, inode.as_ref().unwrap_or(d))?;
        let lma = x
            .get(XATTR_NAME_LMA)
            .and_then(|b| LustreMdtAttrs::parse(b).ok());
        let Some(child) = inode else {
            let agent = lma.is_some_and(|l| l.incompat().contains(LmaIncompat::AGENT));
            let link = x.get(XATTR_NAME_LINK).and_then(|b| LinkEa::parse(b).ok());
            return Ok(agent || link.is_some_and(|l| l.links().any(|l| l.parent == fid)));
        };
        Ok(match lma {
            Some(l) => l.fid() == fid,
            None => Fid::igif(child.ino, child.generation()) == fid,
        })
    }

    fn directory(&self, d: &Inode) -> Result<()> {
        let index = d.flags() & INDEX_FL != 0;
        let seed = self.seed(d);
        dir::blocks(&self.fs, d, |i, p, old| {
            let mut new = old.to_vec();
            let moved = if i == 0 {
                self.first_block(old, index)?
            } else {
                None
            };
            let moves = moved.is_some();
            if let Some(m) = moved {
                new = m;
            }
            let flagged: Vec<usize> = dir::entries(&new)?
                .iter()
                .filter(|e| e.flags != 0)
                .map(|e| e.at)
                .collect();
            for at in flagged {
                new[at + 7] &= !FLAGS;
            }
            if new == old {
                return Ok(());
            }
            if self.fs.has_csum() {
                self.seal(&mut new, seed, index && i == 0)?;
            }
            self.blocks.set(self.blocks.get() + 1);
            if moves || self.fs.has_csum() {
                self.write_whole(p, old, &new)
            } else {
                self.write(p, &new)
            }
        })
    }

    /// The first block with `.`, `..` and the head of an index where stock ext4 wants them; `None`: they are.
    fn first_block(&self, old: &[u8], index: bool) -> Result<Option<Vec<u8>>> {
        let all = dir::entries(old)?;
        let [dot, dotdot, ..] = all.as_slice() else {
            return bad("no '.' and '..'");
        };
        if dot.name != b"." || dotdot.name != b".." || dot.at != 0 {
            return bad("'.' and '..' are not the first entries");
        }
        let size = old.len();
        let info = dotdot.at + dotdot.min_len();
        let mut new = old.to_vec();
        new[4..6].copy_from_slice(&(DOT_LEN as u16).to_le_bytes());
        new.copy_within(dotdot.at..dotdot.at + DOT_LEN, DOT_LEN);
        new[DOT_LEN + 7] &= !FLAGS;
        if !index {
            if dotdot.at == DOT_LEN {
                return Ok(None);
            }
            let len = dotdot.rec_len + dotdot.at - DOT_LEN;
            new[DOT_LEN + 4..DOT_LEN + 6].copy_from_slice(&(len as u16).to_le_bytes());
            return Ok(Some(new));
        }
        let csum = if self.fs.has_csum() { DX_ENTRY } else { 0 };
        let room = |at: usize| (size.saturating_sub(at + DX_INFO_LEN + csum)) / DX_ENTRY;
        let (limit, count) = (le16(old, info + 8), usize::from(le16(old, info + 10)));
        let sane = dotdot.at + dotdot.rec_len == size
            && le32(old, info) == 0
            && old.get(info + 5) == Some(&(DX_INFO_LEN as u8))
            && usize::from(limit) == room(info)
            && (1..=room(info)).contains(&count);
        if !sane {
            return bad("the root of the index is damaged");
        }
        if info == DX_INFO_AT {
            return Ok(None);
        }
        let used = DX_INFO_LEN + count * DX_ENTRY;
        new[DOT_LEN + 4..DOT_LEN + 6].copy_from_slice(&((size - DOT_LEN) as u16).to_le_bytes());
        new[DX_INFO_AT..].fill(0);
        new[DX_INFO_AT..DX_INFO_AT + used].copy_from_slice(&old[info..info + used]);
        let limit = room(DX_INFO_AT) as u16;
        new[DX_INFO_AT + 8..DX_INFO_AT + 10].copy_from_slice(&limit.to_le_bytes());
        Ok(Some(new))
    }

    /// Sets the checksum of a directory block.
    fn seal(&self, block: &mut [u8], seed: u32, root: bool) -> Result<()> {
        let size = block.len();
        if root {
            let head = DX_INFO_AT + DX_INFO_LEN;
            let (limit, count) = (le16(block, head), le16(block, head + 2));
            let tail = head + usize::from(limit) * DX_ENTRY;
            let end = head + usize::from(count) * DX_ENTRY;
            if tail + DX_ENTRY > size || end > tail {
                return bad("the root of the index is damaged");
            }
            let sum = crc32c(crc32c(seed, &block[..end]), &block[tail..tail + 4]);
            let sum = crc32c(sum, &[0; 4]);
            block[tail + 4..tail + 8].copy_from_slice(&sum.to_le_bytes());
            return Ok(());
        }
        let at = size - TAIL_SIZE;
        if le32(block, at) != 0 || le16(block, at + 4) != TAIL_SIZE as u16 || block[at + 7] != 0xde
        {
            return bad("a directory block has no checksum");
        }
        let sum = crc32c(seed, &block[..at]);
        block[at + 8..].copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    /// What the checksums of an inode's blocks begin with.
    fn seed(&self, inode: &Inode) -> u32 {
        let csum_seed = self.fs.incompat() & 0x2000 != 0;
        let fs = if csum_seed {
            le32(&self.fs.sb, 0x270)
        } else {
            crc32c(!0, self.fs.uuid())
        };
        let seed = crc32c(fs, &inode.ino.to_le_bytes());
        crc32c(seed, &inode.generation().to_le_bytes())
    }

    fn clear_feature(&self, at: u64, mut sb: Vec<u8>) -> Result<()> {
        let incompat = le32(&sb, 0x60) & !INCOMPAT_DIRDATA;
        sb[0x60..0x64].copy_from_slice(&incompat.to_le_bytes());
        seal_superblock(&self.fs, &mut sb);
        self.fs.disk.write(at, &sb)
    }
}

fn seal_superblock(fs: &Fs<'_>, sb: &mut [u8]) {
    if fs.has_csum() {
        let sum = crc32c(!0, &sb[..0x3fc]);
        sb[0x3fc..0x400].copy_from_slice(&sum.to_le_bytes());
    }
}

/// CRC-32C without the last inversion, as ext4 has it.
fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |mut crc, b| {
        crc ^= u32::from(*b);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    /// The check value of the polynomial.
    #[test]
    fn crc() {
        assert_eq!(!super::crc32c(!0, b"123456789"), 0xe306_9283);
    }
}
