// SPDX-License-Identifier: GPL-2.0

//! Open files and their data.

use super::{code, kept, ttls, Front, EBADF, EINVAL};
use crate::convert::{attr, cred, errno, how};
use fuser::{
    FileHandle, FopenFlags, Generation, INodeNo, OpenFlags, ReplyCreate, Request, WriteFlags,
};
use lustre_client::cred::Cred;
use lustre_client::fs::{Change, File, Known};
use lustre_client::Result;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

impl Front {
    /// The file behind a handle.
    pub(super) fn open_file(&self, fh: FileHandle) -> Result<Arc<File>> {
        self.files.get(fh.0).ok_or(code(EBADF))
    }

    /// How the kernel treats open files.
    pub(super) fn open_flags() -> FopenFlags {
        FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
    }

    /// Opens a file.
    pub(super) fn open_at(
        &self,
        req: &Request,
        ino: INodeNo,
        flags: OpenFlags,
    ) -> Result<FileHandle> {
        let f = self.fs.open(self.fid(ino)?, how(flags), &cred(req))?;
        self.nodes.count_open(ino.0, true);
        Ok(FileHandle(self.files.add(f)))
    }

    /// Makes a file, with its permissions and the umask, and opens it.
    pub(super) fn create_at(
        &self,
        req: &Request,
        (parent, name): (INodeNo, &OsStr),
        mode: (u32, u32),
        flags: OpenFlags,
    ) -> Result<(File, Known)> {
        let parent = self.fid(parent)?;
        let (f, k) = self
            .fs
            .create(parent, name.as_bytes(), mode, how(flags), &cred(req))?;
        Ok((f, self.fs.complete(k)?))
    }

    /// Tells of a file that was made.
    pub(super) fn created(&self, reply: ReplyCreate, made: Result<(File, Known)>) {
        match made {
            Ok((f, k)) => {
                let (a, n) = ttls(&k);
                let ttl = a.min(n);
                let ino = self.nodes.tell(k.attr.fid, kept(ttl, ttl));
                self.nodes.count_open(ino, true);
                let fh = FileHandle(self.files.add(f));
                let flags = Self::open_flags();
                reply.created(&ttl, &attr(&k.attr, ino), Generation(0), fh, flags);
            }
            Err(e) => reply.error(errno(e)),
        }
    }

    /// Writes, and takes set-uid bits away if the kernel says so.
    pub(super) fn write_at(
        &self,
        req: &Request,
        (ino, fh): (INodeNo, FileHandle),
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
    ) -> Result<()> {
        let f = self.open_file(fh)?;
        if flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
            let a = self.fs.stat(self.fid(ino)?, &cred(req))?.attr;
            if let Some(m) = Self::without_suid(&a) {
                let change = Change {
                    mode: Some(m),
                    ..Change::default()
                };
                // Who may write need not own it.
                self.fs.setattr(a.fid, &change, &Cred::root())?;
            }
        }
        self.fs.write(&f, offset, data)?;
        Ok(())
    }

    /// The next data, or the next hole, from an offset on.
    pub(super) fn seek_from(&self, fh: FileHandle, offset: i64, whence: i32) -> Result<i64> {
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        let (Ok(off), SEEK_DATA | SEEK_HOLE) = (u64::try_from(offset), whence) else {
            return Err(code(EINVAL));
        };
        let f = self.open_file(fh)?;
        let at = self.fs.seek(&f, off, whence == SEEK_HOLE)?;
        i64::try_from(at).map_err(|_| code(EINVAL))
    }
}
