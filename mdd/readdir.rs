// SPDX-License-Identifier: GPL-2.0

//! Pages of directory entries (`mdt.md` 10).

use crate::Mdd;
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use osd::{Fid, ObjectRef, Walk};
use wire::dirent::{DirEntry, DirPageBuilder, LudaFlags, LU_PAGE_SIZE, MDS_DIR_END_OFF};

/// What a client wants to read of a directory.
#[derive(Clone, Copy, Debug)]
pub struct DirPages {
    /// The hash to begin with.
    pub start: u64,
    /// What entries shall have.
    pub wanted: LudaFlags,
    /// The client knows hashes of 64 bits; otherwise it gets the upper half of them.
    pub hash64: bool,
}

impl DirPages {
    fn hash(&self, pos: u64) -> u64 {
        match self.hash64 {
            true => pos,
            false => pos >> 32,
        }
    }

    fn pos(&self, hash: u64) -> u64 {
        match self.hash64 {
            true => hash,
            false => hash << 32,
        }
    }
}

/// The end of a directory as the store has it.
const END: u64 = i64::MAX as u64;

const _: () = assert!(PAGE_SIZE == LU_PAGE_SIZE);

impl Mdd {
    /// Fills `pages` with the entries of a directory from a hash on. Returns how many pages have
    /// something, at least one.
    ///
    /// # Errors
    /// `ENOTDIR`, `EIO`.
    pub fn readdir(&self, dir: &ObjectRef, want: &DirPages, pages: &mut Pages) -> Result<usize> {
        let mut start = want.start;
        let dead = self.opens.is_orphan(dir.fid());
        if !dir.attr()?.is_dir() {
            return Err(ENOTDIR);
        }
        for i in 0..pages.count() {
            let page = pages.page_mut(i).ok_or(EINVAL)?;
            let mut wanted = want.wanted;
            wanted.set(LudaFlags::HASH_64BIT, want.hash64);
            let mut b = DirPageBuilder::new(page, start, wanted);
            let pos = want.pos(start);
            if dead || start == MDS_DIR_END_OFF || pos >= END {
                b.finish(None);
                return Ok(i + 1);
            }
            let next = dir.readdir(pos, &mut |e| {
                if e.fid == Fid::DOT_LUSTRE && dir.fid().is_root() {
                    return Ok(Walk::Next);
                }
                let fid = match (e.name, dir.fid().is_root()) {
                    // What is above the root is nobody's business.
                    (b"..", true) => *dir.fid(),
                    _ => e.fid,
                };
                let entry = DirEntry {
                    hash: want.hash(e.pos),
                    fid: Some(fid),
                    file_type: Some((e.ty << 12) as u16),
                    name: e.name,
                };
                match b.push(&entry) {
                    Ok(()) => Ok(Walk::Next),
                    Err(wire::error::Malformed::NoRoom) => Ok(Walk::Stop),
                    Err(_) => Err(EIO),
                }
            })?;
            if next >= END {
                b.finish(None);
                return Ok(i + 1);
            }
            b.finish(Some(want.hash(next)));
            start = want.hash(next);
        }
        Ok(pages.count())
    }
}
