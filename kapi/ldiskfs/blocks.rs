// SPDX-License-Identifier: GPL-2.0

//! Files whose content goes through the journal, block by block: indices, logs, counters.
//!
//! Such a file is never read or written through the page cache. Its blocks are buffers of the
//! device, as those of directories are, so that a change is part of the transaction it is made
//! in. The mapping from file to device is read once, since asking ext4 takes the inode's lock.

use super::buffer::Buffer;
use super::ffi;
use super::{check, check_ptr, Credits, Handle, Node};
use crate::prelude::*;

/// A file written through the journal.
///
/// # Invariants
/// There is one `BlockFile` for an inode, and nobody else touches its blocks: a reference to the
/// content is as good as the reference to this.
pub struct BlockFile {
    node: Node,
    map: KVVec<u64>,
    size: u64,
    block_size: usize,
    marked: bool,
}

// SAFETY: nodes may be used from any thread, and the rest is plain data.
unsafe impl Send for BlockFile {}

/// The map of blocks is in memory: 8 bytes for each.
const MAX_SIZE: u64 = 16 << 30;

impl BlockFile {
    /// The file of an inode. The caller keeps it the only one.
    ///
    /// # Errors
    /// `EFBIG`: too large for such use. `ENOMEM`, `EIO`, `EUCLEAN`.
    pub fn open(node: &Node) -> Result<BlockFile> {
        let attr = node.attr();
        if attr.size > MAX_SIZE {
            return Err(EFBIG);
        }
        // ext4 prepares an inode for writing when it is opened.
        // SAFETY: both are live; the answer is ours and closed at once.
        let file = check_ptr(unsafe { ffi::ldiskfs_open(node.mount().raw(), node.raw()) })?;
        // SAFETY: opened above.
        unsafe { ffi::ldiskfs_close(file.as_ptr()) };
        // SAFETY: the node is live, and the content is the caller's alone.
        unsafe { ffi::ldiskfs_own_blocks(node.raw()) };
        let block_size = node.mount().block_size();
        let blocks = u32::try_from(attr.size.div_ceil(block_size as u64))?;
        let mut map = KVVec::with_capacity(blocks as usize, GFP_NOFS)?;
        node.with_map(|on_disk| {
            for b in 0..blocks {
                map.push(on_disk.find(b)?, GFP_NOFS)?;
            }
            Ok(())
        })?;
        Ok(BlockFile {
            node: node.clone(),
            map,
            size: attr.size,
            block_size,
            marked: node.is_journalled(),
        })
    }

    /// Its inode.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Bytes in it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes in a block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Blocks up to the end.
    pub fn blocks(&self) -> u64 {
        self.size.div_ceil(self.block_size as u64)
    }

    fn phys(&self, block: u64) -> u64 {
        usize::try_from(block)
            .ok()
            .and_then(|b| self.map.get(b).copied())
            .unwrap_or(0)
    }

    /// Shows block `block` to `f`; a hole is shown as none.
    ///
    /// # Errors
    /// `EIO`, and those of `f`.
    pub fn read_block<R>(&self, block: u64, f: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        let phys = self.phys(block);
        if phys == 0 {
            return Ok(f(None));
        }
        let b = Buffer::read(self.node.mount(), phys)?;
        // SAFETY: by the invariant the block changes only through `&mut self`.
        Ok(f(Some(unsafe { b.bytes() })))
    }

    /// Lets `f` change block `block` in the transaction. A block that is not there is made, as
    /// zeroes; the file then ends behind it if it ended before it.
    ///
    /// # Errors
    /// `ENOSPC`, `EDQUOT`, `EFBIG`, `EIO`, and those of `f`.
    pub fn write_block<R>(
        &mut self,
        h: &mut Handle,
        block: u64,
        f: impl FnOnce(&mut [u8]) -> Result<R>,
    ) -> Result<R> {
        let end = block
            .checked_add(1)
            .and_then(|b| b.checked_mul(self.block_size as u64))
            .ok_or(EFBIG)?;
        let size = if self.phys(block) == 0 {
            end.max(self.size)
        } else {
            self.size
        };
        self.change(h, block, size, f)
    }

    /// [`BlockFile::write_block`] with the size that the file has when a block is added.
    fn change<R>(
        &mut self,
        h: &mut Handle,
        block: u64,
        size: u64,
        f: impl FnOnce(&mut [u8]) -> Result<R>,
    ) -> Result<R> {
        if !self.marked {
            h.set_journalled(&self.node)?;
            self.marked = true;
        }
        let mut phys = self.phys(block);
        let mut b = if phys == 0 {
            let index = usize::try_from(block)?;
            if self.map.len() <= index {
                let more = index + 1 - self.map.len();
                self.map.reserve(more, GFP_NOFS)?;
            }
            h.written(&self.node)?;
            // SAFETY: the node is live and opened for writing; the handle runs.
            check(unsafe {
                ffi::ldiskfs_append(
                    h.mount().raw(),
                    self.node.raw(),
                    block,
                    size.min((block + 1).saturating_mul(self.block_size as u64)),
                    &mut phys,
                )
            })?;
            if self.map.len() <= index {
                self.map.resize(index + 1, 0, GFP_NOFS)?;
            }
            if let Some(m) = self.map.get_mut(index) {
                *m = phys;
            }
            self.size = self.size.max(size);
            Buffer::fresh(h, phys)?
        } else {
            let b = Buffer::read(self.node.mount(), phys)?;
            b.write_access(h)?;
            b
        };
        // SAFETY: as in `read_block`, with `&mut self`.
        let r = f(unsafe { b.bytes_mut() });
        // Even after an error: part of it may have been changed.
        b.dirty(h)?;
        r
    }

    /// Its content is not needed any more if the transaction commits, in which its inode ends: what
    /// becomes of the blocks later must not be overwritten with it.
    ///
    /// # Errors
    /// `EROFS`, `EIO`: the journal gave up.
    pub fn forget(&mut self, h: &mut Handle) -> Result {
        for phys in self.map.iter().filter(|p| **p != 0) {
            // SAFETY: the mount is live, the handle runs.
            check(unsafe { ffi::ldiskfs_forget(h.mount().raw(), h.raw(), *phys) })?;
        }
        Ok(())
    }

    /// Reads at byte `off`; less than asked for at the end. Holes read as zeroes.
    pub fn read(&self, off: u64, buf: &mut [u8]) -> Result<usize> {
        let n = usize::try_from(self.size.saturating_sub(off))
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let mut done = 0;
        while done < n {
            let at = off + done as u64;
            let in_block = (at % self.block_size as u64) as usize;
            let len = (self.block_size - in_block).min(n - done);
            let out = buf.get_mut(done..done + len).ok_or(EINVAL)?;
            self.read_block(at / self.block_size as u64, |data| {
                match data.and_then(|d| d.get(in_block..in_block + len)) {
                    Some(d) => out.copy_from_slice(d),
                    None => out.fill(0),
                }
            })?;
            done += len;
        }
        Ok(n)
    }

    /// Writes at byte `off` in the transaction; the file grows as needed.
    ///
    /// # Errors
    /// As [`BlockFile::write_block`].
    pub fn write(&mut self, h: &mut Handle, off: u64, data: &[u8]) -> Result {
        let bs = self.block_size;
        let end = off.checked_add(data.len() as u64).ok_or(EFBIG)?;
        let mut done = 0;
        while done < data.len() {
            let at = off + done as u64;
            let in_block = (at % bs as u64) as usize;
            let len = (bs - in_block).min(data.len() - done);
            let piece = data.get(done..done + len).ok_or(EINVAL)?;
            let size = self.size.max(at + len as u64);
            self.change(h, at / bs as u64, size, |d| {
                d.get_mut(in_block..in_block + len)
                    .ok_or(EIO)?
                    .copy_from_slice(piece);
                Ok(())
            })?;
            done += len;
        }
        if end > self.size {
            self.size = end;
        }
        h.written(&self.node)?;
        // SAFETY: the node is live; all blocks up to the end are mapped or holes.
        unsafe { ffi::ldiskfs_set_size(self.node.raw(), self.size) };
        Ok(())
    }

    /// Moves the end of the file, without freeing or adding blocks: what is cut reads as zeroes
    /// if the file grows again.
    pub fn set_size(&mut self, h: &mut Handle, size: u64) -> Result {
        if size < self.size {
            let bs = self.block_size as u64;
            let first = size / bs;
            for b in first..self.size.div_ceil(bs) {
                if self.phys(b) != 0 {
                    let keep = if b == first { (size % bs) as usize } else { 0 };
                    self.change(h, b, self.size, |d| {
                        d.get_mut(keep..).ok_or(EIO)?.fill(0);
                        Ok(())
                    })?;
                }
            }
        }
        self.size = size;
        h.written(&self.node)?;
        // SAFETY: the node is live.
        unsafe { ffi::ldiskfs_set_size(self.node.raw(), size) };
        Ok(())
    }

    /// Journal credits to write `len` bytes at `off`.
    pub fn credits(&self, off: u64, len: usize) -> u32 {
        let bs = self.block_size as u64;
        let mount = self.node.mount();
        let (first, end) = (off / bs, off.saturating_add(len as u64).div_ceil(bs));
        let mut credits = mount.credits(Credits::Attr, 0);
        for b in first..end.min(first.saturating_add(64)) {
            credits += if self.phys(b) == 0 {
                mount.credits(Credits::Append, 0)
            } else {
                mount.credits(Credits::Block, 0)
            };
        }
        credits
    }
}
