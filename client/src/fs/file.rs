// SPDX-License-Identifier: GPL-2.0

//! Open files.

use super::inode::{Inode, Known};
use super::striped::Striped;
use crate::attr::{S_IFMT, S_IFREG};
use crate::cred::Cred;
use crate::mdc::{Handle, OpenWish};
use crate::mount::Mount;
use crate::osc::WINDOW;
use crate::sync::guard;
use kapi::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc as StdArc, Mutex as StdMutex};
use wire::fid::Fid;
use wire::mdt::OpenFlags;

/// How far ahead is read.
const AHEAD: u64 = 16 << 20;
/// Sequential bytes before reading ahead begins.
const AHEAD_AFTER: u64 = 64 << 10;

/// How a file is opened: the flags of open(2) that count.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenHow {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// `O_APPEND`.
    pub append: bool,
    /// `O_EXCL`, of a create.
    pub excl: bool,
    /// `O_TRUNC`: will be truncated.
    pub trunc: bool,
    /// `O_SYNC` or `O_DSYNC`.
    pub sync: bool,
    /// For execution: nobody may write meanwhile.
    pub exec: bool,
}

impl OpenHow {
    fn flags(&self) -> OpenFlags {
        let mut f = OpenFlags::empty();
        f.set(OpenFlags::FMODE_READ, self.read || self.exec);
        f.set(OpenFlags::FMODE_WRITE, self.write);
        f.set(OpenFlags::FMODE_EXEC, self.exec);
        f.set(OpenFlags::APPEND, self.append);
        f.set(OpenFlags::TRUNC, self.trunc);
        f.set(OpenFlags::SYNC, self.sync);
        f
    }
}

/// What has been read in sequence.
#[derive(Default)]
struct Sequence {
    /// Where the next read would be if it went on.
    next: u64,
    /// Bytes read in sequence.
    run: u64,
    /// Read ahead up to here.
    ahead: u64,
}

/// An open file.
pub struct File {
    inode: StdArc<Inode>,
    how: OpenHow,
    handle: Option<Handle>,
    wrote: AtomicBool,
    sequence: StdMutex<Sequence>,
}

impl File {
    /// The file.
    pub fn fid(&self) -> Fid {
        self.inode.fid
    }

    /// How it was opened.
    pub fn how(&self) -> &OpenHow {
        &self.how
    }

    /// What is to be read ahead after a read of `off` to before `end`.
    fn ahead(&self, off: u64, end: u64) -> Option<(u64, u64)> {
        let mut s = guard(&self.sequence);
        if off != s.next {
            *s = Sequence {
                next: end,
                run: 0,
                ahead: end,
            };
            return None;
        }
        s.next = end;
        s.run += end - off;
        s.ahead = s.ahead.max(end);
        if s.run < AHEAD_AFTER || s.ahead >= end.saturating_add(AHEAD / 2) {
            return None;
        }
        let from = s.ahead;
        let to = end
            .saturating_add(AHEAD.min(s.run * 8))
            .next_multiple_of(WINDOW);
        s.ahead = to.max(from);
        (from < to).then_some((from, to))
    }
}

impl Mount {
    fn file(&self, inode: StdArc<Inode>, how: OpenHow, handle: Option<Handle>) -> File {
        File {
            inode,
            how,
            handle,
            wrote: AtomicBool::new(false),
            sequence: StdMutex::default(),
        }
    }

    /// Opens a file.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(&self, fid: Fid, how: OpenHow, cred: &Cred) -> Result<File> {
        let wish = OpenWish {
            parent: fid,
            name: b"",
            fid,
            // What the mode says was checked by whoever asks, or will be by the MDT.
            flags: how.flags() | OpenFlags::BY_FID | OpenFlags::OWNEROVERRIDE,
            mode: 0,
            umask: 0,
            layout: &[],
            group: self.inodes.get(fid).group(),
        };
        let o = self.mdc.open(&wish, cred)?;
        let (inode, _) = self.remember(&o.found, None)?;
        Ok(self.file(inode, how, o.handle))
    }

    /// Opens a file by name, and makes it if there is none.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn create(
        &self,
        parent: Fid,
        name: &[u8],
        (mode, umask): (u32, u32),
        how: OpenHow,
        cred: &Cred,
    ) -> Result<(File, Known)> {
        let dir = self.inodes.get(parent);
        let mut flags = how.flags() | OpenFlags::CREAT;
        flags.set(OpenFlags::EXCL, how.excl);
        let wish = OpenWish {
            parent,
            name,
            fid: self.mdc.new_fid()?,
            flags,
            mode: (mode & !S_IFMT) | S_IFREG,
            umask,
            layout: &[],
            group: dir.group(),
        };
        let o = self.inodes.own_change(|| self.mdc.open(&wish, cred))?;
        let (inode, mut known) = self.remember(&o.found, Some((&dir, name)))?;
        if o.created {
            // Nobody has written to it yet.
            (known.attr.size, known.attr.blocks) = (0, 0);
            known.attr.size_valid = true;
            if how.write {
                inode.set_fresh();
            }
        }
        known.attr_locked = false;
        if !known.attr.is_file() {
            if let Some(h) = o.handle {
                self.mdc.close(h, None, &inode.fid);
            }
            return Err(if known.attr.is_dir() { EISDIR } else { EEXIST });
        }
        Ok((self.file(inode, how, o.handle), known))
    }

    /// Reads up to `len` bytes at `off`; fewer only at the end.
    ///
    /// # Errors
    /// `EBADF`: not open for reading. Those of the OSTs.
    pub fn read(&self, f: &File, off: u64, len: usize) -> Result<Vec<u8>> {
        if !f.how.read && !f.how.exec {
            return Err(EBADF);
        }
        let Some(s) = self.objects(&f.inode)? else {
            return Ok(Vec::new());
        };
        let out = s.read(off, len)?;
        if !out.is_empty() {
            if let Some((from, to)) = f.ahead(off, off + out.len() as u64) {
                s.read_ahead(from, to);
            }
        }
        Ok(out)
    }

    /// Writes at `off`, or if the file was opened for appending, where it ends. Where it ended
    /// up.
    ///
    /// # Errors
    /// `EBADF`, `EFBIG`, `ENOSPC`, those of the OSTs.
    pub fn write(&self, f: &File, off: u64, data: &[u8]) -> Result<u64> {
        if !f.how.write {
            return Err(EBADF);
        }
        if off
            .checked_add(data.len() as u64)
            .is_none_or(|end| end > i64::MAX as u64)
        {
            return Err(EFBIG);
        }
        let s = self.objects_for_writing(&f.inode)?;
        f.wrote.store(true, Ordering::Relaxed);
        let at = if f.how.append {
            let _one = guard(&f.inode.append);
            s.append(data)?
        } else {
            s.write(off, data)?;
            off
        };
        if f.how.sync {
            s.sync()?;
        }
        Ok(at)
    }

    /// Tells errors of what was written, and has the rest written soon: for each close(2).
    ///
    /// # Errors
    /// Why data written earlier are not at the OSTs.
    pub fn flush(&self, f: &File) -> Result {
        if !f.wrote.load(Ordering::Relaxed) {
            return Ok(());
        }
        match f.inode.last_striped() {
            Some(s) => s.start_flush(),
            None => Ok(()),
        }
    }

    /// Has data and attributes on disk; only data with `data_only`.
    ///
    /// # Errors
    /// Why they are not.
    pub fn fsync(&self, fid: Fid, data_only: bool, cred: &Cred) -> Result {
        if let Some(s) = self.inodes.known(&fid).and_then(|i| i.last_striped()) {
            s.sync()?;
        }
        // The layout is on the MDT, and without it there are no data.
        let _ = data_only;
        self.mdc.sync(Some(fid), cred)
    }

    /// Ends with a file.
    pub fn close(&self, f: &File) {
        let Some(h) = f.handle else { return };
        let wrote = f.wrote.load(Ordering::Relaxed);
        let known = match (wrote, f.inode.last_attr(), f.inode.last_striped()) {
            (true, Some(a), Some(s)) => {
                let mut a = a;
                let data = s.known();
                data.merge(&mut a);
                // What was known of the MDT is as old as the lock on it; times that were set
                // since then, to whatever they were set, are with the data.
                a.mtime = data.mtime;
                if data.atime != 0 {
                    a.atime = data.atime;
                }
                Some(a)
            }
            _ => None,
        };
        self.mdc.close(h, known.as_ref(), &f.inode.fid);
    }

    /// fallocate(2) with its mode.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: the OSTs cannot. `ENOSPC`, `EBADF`, `EFBIG`.
    pub fn fallocate(&self, f: &File, mode: u32, off: u64, len: u64) -> Result {
        /// FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE.
        const KNOWN: u32 = 0x1 | 0x2 | 0x10;
        if !f.how.write {
            return Err(EBADF);
        }
        if mode & !KNOWN != 0 {
            return Err(EOPNOTSUPP);
        }
        let end = off.checked_add(len).filter(|e| *e <= i64::MAX as u64);
        let end = end.ok_or(EFBIG)?;
        if len == 0 {
            return Err(EINVAL);
        }
        f.wrote.store(true, Ordering::Relaxed);
        self.objects_for_writing(&f.inode)?
            .fallocate(mode, off, end)
    }

    /// The next data, or with `hole` the next hole, at or behind `off`.
    ///
    /// # Errors
    /// `ENXIO`: there is none, or the file ends before. Those of the OSTs.
    pub fn seek(&self, f: &File, off: u64, hole: bool) -> Result<u64> {
        let Some(s) = self.objects(&f.inode)? else {
            return Err(ENXIO);
        };
        let size = s.glimpse()?.size;
        if off >= size {
            return Err(ENXIO);
        }
        match s.seek(off, hole, size) {
            Ok(at) => at.ok_or(ENXIO),
            // An OST that does not know: all is data, and the end is a hole.
            Err(e) if e == EOPNOTSUPP => Ok(if hole { size } else { off }),
            Err(e) => Err(e),
        }
    }

    /// Writes everything that this client has cached, and has it and the MDT's changes on disk.
    ///
    /// # Errors
    /// The first reason why it is not.
    pub fn sync_all(&self) -> Result {
        // Who removed a file has no use for its data.
        let gone_is_fine = |r: Result| match r {
            Err(e) if e == ENOENT => Ok(()),
            r => r,
        };
        let mut done = Ok(());
        let mut synced: Vec<StdArc<Striped>> = Vec::new();
        for i in self.inodes.list() {
            if let Some(s) = i.last_striped() {
                done = done.and(gone_is_fine(s.start_flush()));
                synced.push(s);
            }
        }
        for s in synced {
            done = done.and(gone_is_fine(s.flush()));
        }
        for o in self.osts() {
            done = done.and(o.sync_all());
        }
        done.and(self.mdc.sync(None, &Cred::root()))
    }
}
