// SPDX-License-Identifier: GPL-2.0

//! Bulk data of files: between pages and disk, outside transactions.

use super::ffi;
use super::map::Run;
use super::{check, check_len, check_ptr, in_handle, Node};
use crate::pages::{Pages, PAGE_SIZE};
use crate::prelude::*;
use core::ptr::NonNull;

/// An open file. Reading and writing leave its times alone.
pub struct DataFile {
    raw: NonNull<ffi::File>,
    node: Node,
}

// SAFETY: files are used from any thread; ext4 locks what it changes.
unsafe impl Send for DataFile {}
// SAFETY: as above. The position of the file is not used, but for seeking, which locks it.
unsafe impl Sync for DataFile {}

/// `fallocate`: the size stays.
const FALLOC_KEEP_SIZE: u32 = 1;
/// `fallocate`: free the blocks of the range.
const FALLOC_PUNCH_HOLE: u32 = 2;
/// `fallocate`: zeroes, with blocks.
const FALLOC_ZERO_RANGE: u32 = 16;
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

impl DataFile {
    /// Opens the file of an inode.
    pub fn open(node: &Node) -> Result<DataFile> {
        // SAFETY: both are live; the answer is ours.
        let raw = check_ptr(unsafe { ffi::ldiskfs_open(node.mount().raw(), node.raw()) })?;
        Ok(DataFile {
            raw,
            node: node.clone(),
        })
    }

    /// Its inode.
    pub fn node(&self) -> &Node {
        &self.node
    }

    fn transfer(
        &self,
        pages: &Pages,
        off: usize,
        len: usize,
        pos: u64,
        write: bool,
        direct: bool,
    ) -> Result<usize> {
        if in_handle() {
            return Err(EDEADLK);
        }
        if len == 0 {
            return Ok(0);
        }
        let end = off.checked_add(len).ok_or(EINVAL)?;
        if end > pages.len()
            || pos
                .checked_add(len as u64)
                .is_none_or(|e| e > i64::MAX as u64)
        {
            return Err(EINVAL);
        }
        let first = off / PAGE_SIZE;
        let count = end.div_ceil(PAGE_SIZE) - first;
        let mut bv = KVVec::with_capacity(count, GFP_KERNEL)?;
        for i in first..first + count {
            let from = off.max(i * PAGE_SIZE);
            let to = end.min((i + 1) * PAGE_SIZE);
            bv.push(
                ffi::BioVec {
                    page: pages.raw_page(i).ok_or(EINVAL)?.cast(),
                    len: (to - from) as u32,
                    offset: (from % PAGE_SIZE) as u32,
                },
                GFP_KERNEL,
            )?;
        }
        // SAFETY: the file is open; the vector describes pages that the reference keeps.
        check_len(unsafe {
            ffi::ldiskfs_rw(
                self.raw.as_ptr(),
                bv.as_mut_ptr(),
                u32::try_from(count)?,
                len as u64,
                pos,
                write,
                direct,
            )
        })
    }

    /// Reads `len` bytes at `pos` into `pages` at byte `off`; less at the end of the file.
    ///
    /// # Errors
    /// `EIO`, `EINVAL` (the pages are too few), `EDEADLK` (in a handle).
    pub fn read(&self, pages: &mut Pages, off: usize, len: usize, pos: u64) -> Result<usize> {
        let mut done = 0;
        while done < len {
            let n = self.transfer(
                pages,
                off + done,
                len - done,
                pos + done as u64,
                false,
                false,
            )?;
            if n == 0 {
                break;
            }
            done += n;
        }
        Ok(done)
    }

    /// Writes `len` bytes of `pages` at byte `off` to `pos`. When it returns, the data is on its
    /// way to the disk's cache and is on disk with the next commit: whole blocks go there
    /// directly, the ends that are not through the page cache, which is then written out.
    ///
    /// # Errors
    /// `ENOSPC`, `EDQUOT`, `EFBIG`, `EIO`, `EINVAL` (the pages are too few), `EDEADLK`.
    pub fn write(&self, pages: &Pages, off: usize, len: usize, pos: u64) -> Result {
        let bs = PAGE_SIZE as u64;
        let end = pos.checked_add(len as u64).ok_or(EFBIG)?;
        // Direct I/O wants memory and disk aligned alike.
        let aligned = off as u64 % 512 == pos % 512;
        let (head, tail) = (pos.next_multiple_of(bs), end - end % bs);
        if !aligned || head >= tail {
            self.write_cached(pages, off, len, pos)?;
            return self.flush(pos, end);
        }
        let (head_len, body_len) = ((head - pos) as usize, (tail - head) as usize);
        if head_len > 0 {
            self.write_cached(pages, off, head_len, pos)?;
            self.flush(pos, head)?;
        }
        let mut done = 0;
        while done < body_len {
            let at = off + head_len + done;
            let n = self.transfer(pages, at, body_len - done, head + done as u64, true, true)?;
            if n == 0 {
                return Err(EIO);
            }
            done += n;
        }
        let tail_len = (end - tail) as usize;
        if tail_len > 0 {
            self.write_cached(pages, off + head_len + body_len, tail_len, tail)?;
            self.flush(tail, end)?;
        }
        Ok(())
    }

    fn write_cached(&self, pages: &Pages, off: usize, len: usize, pos: u64) -> Result {
        let mut done = 0;
        while done < len {
            let n = self.transfer(
                pages,
                off + done,
                len - done,
                pos + done as u64,
                true,
                false,
            )?;
            if n == 0 {
                return Err(EIO);
            }
            done += n;
        }
        Ok(())
    }

    fn flush(&self, start: u64, end: u64) -> Result {
        // SAFETY: the file is open.
        check(unsafe { ffi::ldiskfs_flush_range(self.raw.as_ptr(), start, end.saturating_sub(1)) })
    }

    /// Writes out what the page cache has of the file.
    pub fn sync_data(&self) -> Result {
        self.flush(0, i64::MAX as u64)
    }

    fn fallocate(&self, mode: u32, off: u64, len: u64) -> Result {
        if in_handle() {
            return Err(EDEADLK);
        }
        // SAFETY: the file is open.
        check(unsafe { ffi::ldiskfs_fallocate(self.raw.as_ptr(), mode, off, len) })
    }

    /// Writes out the block that holds `at`, unless it begins there. ext4 zeroes part of a block in
    /// the page cache only, and promises nothing of when that gets to the disk.
    fn flush_part(&self, at: u64) -> Result {
        let bs = self.node.mount().block_size() as u64;
        match at % bs {
            0 => Ok(()),
            n => self.flush(at - n, (at - n).saturating_add(bs)),
        }
    }

    /// Cuts or extends the file. What was cut off is gone from the disk with the next commit.
    ///
    /// # Errors
    /// `EFBIG`, `EIO`, `EDEADLK` (in a handle).
    pub fn truncate(&self, size: u64) -> Result {
        self.node.truncate(size)?;
        self.flush_part(size)
    }

    /// Frees the blocks of a range, from the disk with the next commit; the size stays.
    pub fn punch(&self, off: u64, len: u64) -> Result {
        self.fallocate(FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, off, len)?;
        self.flush_part(off)?;
        self.flush_part(off.saturating_add(len))
    }

    /// Reserves blocks for a range. `keep_size`: the file does not grow.
    pub fn preallocate(&self, off: u64, len: u64, keep_size: bool) -> Result {
        self.fallocate(if keep_size { FALLOC_KEEP_SIZE } else { 0 }, off, len)
    }

    /// Makes a range read as zeroes, with blocks; on disk with the next commit.
    pub fn zero_range(&self, off: u64, len: u64, keep_size: bool) -> Result {
        let end = off.checked_add(len).ok_or(EFBIG)?;
        // ext4 would read the block of the old end back, what is to be zeroed in it included, and
        // keep that as what is to be written.
        if !keep_size && end > self.node.attr().size {
            self.node.truncate(end)?;
        }
        self.fallocate(FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, off, len)?;
        self.flush_part(off)?;
        self.flush_part(end)
    }

    fn seek(&self, off: u64, whence: u32) -> Result<u64> {
        // SAFETY: the file is open.
        check_len(unsafe { ffi::ldiskfs_seek(self.raw.as_ptr(), off, whence) }).map(|n| n as u64)
    }

    /// The first byte of data from `off` on; `ENXIO` if there is none.
    pub fn seek_data(&self, off: u64) -> Result<u64> {
        self.seek(off, SEEK_DATA)
    }

    /// The first byte of a hole from `off` on; the end of the file is one. `ENXIO` behind it.
    pub fn seek_hole(&self, off: u64) -> Result<u64> {
        self.seek(off, SEEK_HOLE)
    }
}

/// A run of blocks of a file that lie together on the device, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Where it is in the file.
    pub logical: u64,
    /// Where it is on the device.
    pub physical: u64,
    /// Its length.
    pub len: u64,
    /// Its blocks are reserved and not written.
    pub unwritten: bool,
}

/// Blocks that are looked at for one run where the map has no extents.
const RUN_BLOCKS: u32 = 8192;

impl DataFile {
    /// The first extent that ends behind `off`; none behind the last. A long one may come in parts.
    ///
    /// # Errors
    /// `EDEADLK` (in a handle), `EUCLEAN`, `EIO`.
    pub fn extent(&self, off: u64) -> Result<Option<Extent>> {
        if in_handle() {
            return Err(EDEADLK);
        }
        let bs = self.node.mount().block_size() as u64;
        let Ok(block) = u32::try_from(off / bs) else {
            return Ok(None);
        };
        let run = match self.node.with_map(|m| match m.has_extents() {
            true => m.run(block).map(Some),
            false => Ok(None),
        })? {
            Some(run) => run,
            None => self.indirect_run(off)?,
        };
        Ok(run.map(|r| Extent {
            logical: u64::from(r.first) * bs,
            physical: r.phys * bs,
            len: u64::from(r.len) * bs,
            unwritten: r.unwritten,
        }))
    }

    /// The same for a file with indirect blocks.
    fn indirect_run(&self, off: u64) -> Result<Option<Run>> {
        let bs = self.node.mount().block_size() as u64;
        let start = match self.seek_data(off) {
            Ok(at) => at,
            Err(e) if e == ENXIO => return Ok(None),
            Err(e) => return Err(e),
        };
        let end = u32::try_from(self.seek_hole(start)?.div_ceil(bs))?;
        let first = u32::try_from(start / bs)?;
        self.node.with_map(|m| {
            let phys = m.find(first)?;
            let mut len = 1;
            while first + len < end
                && len < RUN_BLOCKS
                && m.find(first + len)? == phys + u64::from(len)
            {
                len += 1;
            }
            Ok(Some(Run {
                first,
                len,
                phys,
                unwritten: false,
            }))
        })
    }
}

impl Drop for DataFile {
    fn drop(&mut self) {
        // SAFETY: opened in `open`.
        unsafe { ffi::ldiskfs_close(self.raw.as_ptr()) }
    }
}
