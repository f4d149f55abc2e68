// SPDX-License-Identifier: GPL-2.0

//! Reading directories.

use super::inode::{Inode, Run};
use crate::cred::Cred;
use crate::mdc::DirEntry;
use crate::mount::Mount;
use kapi::prelude::*;
use std::sync::Arc as StdArc;
use wire::fid::Fid;

/// So many entries are given at a time.
const SOME: usize = 256;

/// An open directory.
pub struct Dir {
    pub(super) inode: StdArc<Inode>,
    cred: Cred,
    /// The run that was used last, and its start.
    last: std::sync::Mutex<Option<(u64, StdArc<Run>)>>,
}

impl Dir {
    /// The directory.
    pub fn fid(&self) -> Fid {
        self.inode.fid
    }
}

impl Mount {
    /// Opens a directory.
    ///
    /// # Errors
    /// `ENOTDIR`, `ENOENT`.
    pub fn open_dir(&self, fid: Fid, cred: &Cred) -> Result<Dir> {
        let k = self.known_attr(fid, cred)?;
        if !k.attr.is_dir() {
            return Err(ENOTDIR);
        }
        Ok(Dir {
            inode: self.inodes.get(fid),
            cred: cred.clone(),
            last: std::sync::Mutex::new(None),
        })
    }

    /// Entries from `start` on, the hash of a name or between two; at least one, or it is the
    /// end. What is given is all there is of each hash.
    ///
    /// # Errors
    /// Those of the MDT.
    pub fn read_dir(&self, dir: &Dir, start: u64) -> Result<Vec<DirEntry>> {
        let mut at = start;
        // A run that this falls into.
        let last = crate::sync::guard(&dir.last).clone();
        if let Some((from, run)) = last {
            let within = start > from && run.next.is_none_or(|n| start < n);
            if within && start != 0 {
                let rest: Vec<_> = after(&run, start);
                if !rest.is_empty() {
                    return Ok(rest);
                }
                match run.next {
                    Some(n) => at = n,
                    None => return Ok(Vec::new()),
                }
            }
        }
        loop {
            let run = self.run(dir, at)?;
            *crate::sync::guard(&dir.last) = Some((at, run.clone()));
            let found = after(&run, start);
            match run.next {
                _ if !found.is_empty() => return Ok(found),
                Some(n) => at = n,
                None => return Ok(found),
            }
        }
    }

    /// The run that begins at `hash`.
    fn run(&self, dir: &Dir, hash: u64) -> Result<StdArc<Run>> {
        let inode = &dir.inode;
        if let Some(r) = inode.run(hash) {
            return Ok(r);
        }
        if !inode.dir_locked() {
            if let Some(lock) = self.mdc.lock_dir(inode.fid, &dir.cred)? {
                if let Some(v) = lock.view() {
                    self.inodes.remember_lock(inode, &v);
                }
            }
        }
        let changes = inode.changes();
        let (mut entries, mut next) = self.mdc.read_dir(inode.fid, hash, &dir.cred)?;
        // Names of one hash stay together.
        while let (Some(n), Some(l)) = (next, entries.last().map(|e| e.hash)) {
            if n > l {
                break;
            }
            let (more, after) = self.mdc.read_dir(inode.fid, n, &dir.cred)?;
            let known = entries.iter().filter(|e| e.hash == n).count();
            let more: Vec<_> = more.into_iter().skip(known).collect();
            if more.is_empty() {
                next = after;
                break;
            }
            entries.extend(more);
            next = after;
        }
        let run = StdArc::new(Run { entries, next });
        self.inodes.remember_run(inode, hash, &run, changes);
        Ok(run)
    }
}

/// The next entries of a run from `start` on: some, and all there are of the last one's hash.
fn after(run: &Run, start: u64) -> Vec<DirEntry> {
    let first = run.entries.partition_point(|e| e.hash < start);
    let rest = run.entries.get(first..).unwrap_or(&[]);
    let hash = rest.get(SOME - 1).map(|e| e.hash);
    let n = match hash {
        Some(h) => rest.partition_point(|e| e.hash <= h),
        None => rest.len(),
    };
    rest.get(..n).unwrap_or(rest).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_hash_stay_together() {
        let entry = |hash| DirEntry {
            name: Vec::new(),
            fid: Fid::ZERO,
            kind: 0,
            hash,
        };
        let mut entries: Vec<_> = (0..SOME as u64 + 10).map(entry).collect();
        let same = SOME as u64 - 1;
        for e in entries.iter_mut().skip(SOME - 2).take(5) {
            e.hash = same;
        }
        let run = Run {
            entries,
            next: None,
        };
        let a = after(&run, 0);
        assert_eq!((a.len(), a.last().map(|e| e.hash)), (SOME + 3, Some(same)));
        let b = after(&run, same + 1);
        assert_eq!(b.len(), 7);
        assert!(after(&run, SOME as u64 + 10).is_empty());
    }
}
