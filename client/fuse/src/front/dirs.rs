// SPDX-License-Identifier: GPL-2.0

//! Directories: their entries, one by one or with attributes.

use super::{code, kept, ttls, Front, EBADF};
use crate::convert::{attr, cred, kind};
use fuser::{FileHandle, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus, Request};
use lustre_client::attr::Attr;
use lustre_client::fs::{Dir, Known};
use lustre_client::mdc::DirEntry;
use lustre_client::Result;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Entries that are looked up at a time.
const BATCH: usize = 16;

/// An open directory, and what of the last answer did not fit.
pub(super) struct OpenDir {
    dir: Dir,
    /// Entries of one hash: the offset at which they are asked for, and which are left.
    rest: Mutex<(u64, Vec<DirEntry>)>,
}

impl Front {
    /// Opens a directory.
    pub(super) fn open_directory(&self, req: &Request, ino: INodeNo) -> Result<FileHandle> {
        let dir = self.fs.open_dir(self.fid(ino)?, &cred(req))?;
        let d = OpenDir {
            dir,
            rest: Mutex::default(),
        };
        Ok(FileHandle(self.dirs.add(d)))
    }

    fn open_dir(&self, fh: FileHandle) -> Result<Arc<OpenDir>> {
        self.dirs.get(fh.0).ok_or(code(EBADF))
    }

    /// Entries of a directory from an offset on, as many as are at hand, each with the offset
    /// behind it.
    fn list(&self, d: &OpenDir, offset: u64) -> Result<Vec<DirEntry>> {
        let mut rest = d.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if rest.0 == offset && !rest.1.is_empty() {
            return Ok(std::mem::take(&mut rest.1));
        }
        rest.1.clear();
        drop(rest);
        self.fs.read_dir(&d.dir, offset)
    }

    /// Keeps entries that did not fit, if they cannot be asked for by an offset of their own:
    /// `last` went out, and the first of them has the same hash.
    fn keep(d: &OpenDir, last: Option<u64>, left: &[DirEntry]) {
        let Some(hash) = last else { return };
        let same = left.iter().take_while(|e| e.hash == hash).count();
        if let (true, Some(same)) = (same > 0, left.get(..same)) {
            let mut rest = d.rest.lock().unwrap_or_else(PoisonError::into_inner);
            *rest = (hash + 1, same.to_vec());
        }
    }

    /// Attributes of entries. `None`: not to be had, or not wanted.
    fn look_many(&self, req: &Request, d: &OpenDir, all: &[DirEntry]) -> Vec<Option<Known>> {
        let is_dots = |e: &DirEntry| matches!(&*e.name, b"." | b"..");
        let wanted = all.iter().filter(|e| !is_dots(e)).map(|e| &*e.name);
        let names: Vec<&[u8]> = wanted.collect();
        let found = self.fs.lookup_many(d.dir.fid(), &names, &cred(req));
        let mut found = found.into_iter();
        let known = |e| match is_dots(e) {
            true => None,
            false => found.next().flatten(),
        };
        all.iter().map(known).collect()
    }

    /// Adds entries from an offset on, as many as there is room for.
    pub(super) fn fill(
        &self,
        fh: FileHandle,
        offset: u64,
        reply: &mut ReplyDirectory,
    ) -> Result<()> {
        let d = self.open_dir(fh)?;
        let (mut at, mut any) = (offset, false);
        loop {
            let all = match self.list(&d, at) {
                Ok(a) => a,
                Err(e) if !any => return Err(e),
                // What is here goes out; the error comes with the next question.
                Err(_) => return Ok(()),
            };
            if all.is_empty() {
                return Ok(());
            }
            let mut last = None;
            for (i, e) in all.iter().enumerate() {
                let ino = INodeNo(self.nodes.show(&e.fid));
                let name = OsStr::from_bytes(&e.name);
                if reply.add(ino, e.hash + 1, kind(e.kind), name) {
                    Self::keep(&d, last, all.get(i..).unwrap_or(&[]));
                    return Ok(());
                }
                any = true;
                last = Some(e.hash);
                at = e.hash + 1;
            }
        }
    }

    /// Adds entries that are at hand from an offset on, with attributes where there are any.
    pub(super) fn fill_plus(
        &self,
        req: &Request,
        fh: FileHandle,
        offset: u64,
        reply: &mut ReplyDirectoryPlus,
    ) -> Result<()> {
        let d = self.open_dir(fh)?;
        let all = self.list(&d, offset)?;
        let mut last = None;
        for (n, part) in all.chunks(BATCH).enumerate() {
            let known = self.look_many(req, &d, part);
            for (i, (e, k)) in part.iter().zip(known).enumerate() {
                let name = OsStr::from_bytes(&e.name);
                // Without attributes the kernel asks when it needs them: number 0 says so.
                let (ino, ttl, a) = match &k {
                    Some(k) => {
                        let (a, n) = ttls(k);
                        let ttl = a.min(n);
                        let ino = self.nodes.tell(k.attr.fid, kept(ttl, ttl));
                        (ino, ttl, attr(&k.attr, ino))
                    }
                    None => {
                        let a = Attr {
                            mode: e.kind,
                            ..Attr::default()
                        };
                        (0, Duration::ZERO, attr(&a, self.nodes.show(&e.fid)))
                    }
                };
                if reply.add(INodeNo(ino), e.hash + 1, name, &ttl, &a, Generation(0)) {
                    if ino != 0 {
                        self.nodes.forget(ino, 1);
                    }
                    let at = n * BATCH + i;
                    Self::keep(&d, last, all.get(at..).unwrap_or(&[]));
                    return Ok(());
                }
                last = Some(e.hash);
            }
        }
        Ok(())
    }
}
