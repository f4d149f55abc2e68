// SPDX-License-Identifier: GPL-2.0

//! How full the file system is.

use crate::mount::Mount;
use kapi::error::Result;
use wire::ost::{ObdStatfs, OsState};

/// The state of the file system, or of a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FsStat {
    /// Bytes of a block.
    pub bsize: u32,
    /// Blocks.
    pub blocks: u64,
    /// Free ones.
    pub bfree: u64,
    /// Those for users.
    pub bavail: u64,
    /// Inodes.
    pub files: u64,
    /// Free ones.
    pub ffree: u64,
    /// Bytes of the longest name.
    pub namelen: u32,
}

/// A target and its state.
pub struct TargetStat {
    /// Its UUID.
    pub uuid: String,
    /// Its index.
    pub index: u32,
    /// An MDT; else an OST.
    pub is_mdt: bool,
    /// Its state, or why there is none.
    pub stat: Result<FsStat>,
}

fn convert(s: &ObdStatfs) -> FsStat {
    FsStat {
        bsize: s.os_bsize.get().max(1),
        blocks: s.os_blocks.get(),
        bfree: s.os_bfree.get(),
        bavail: s.os_bavail.get(),
        files: s.os_files.get(),
        ffree: s.os_ffree.get(),
        namelen: s.os_namelen.get(),
    }
}

impl Mount {
    /// The state of the file system: space of the OSTs, inodes of the MDT.
    ///
    /// # Errors
    /// Those of the MDT.
    pub fn statfs(&self) -> Result<FsStat> {
        let mdt = self.mdc.statfs(true)?;
        let state = OsState::from_bits_retain(mdt.os_state.get());
        let mut all = convert(&mdt);
        if state.contains(OsState::SUM) {
            return Ok(all);
        }
        (all.blocks, all.bfree, all.bavail) = (0, 0, 0);
        let mut objects = 0_u64;
        for o in self.osts() {
            // One that does not answer has no space to offer.
            let Ok(s) = o.statfs() else { continue };
            let s = convert(&s);
            let scale = |n: u64| {
                let n = u128::from(n) * u128::from(s.bsize) / u128::from(all.bsize);
                u64::try_from(n).unwrap_or(u64::MAX)
            };
            all.blocks = all.blocks.saturating_add(scale(s.blocks));
            all.bfree = all.bfree.saturating_add(scale(s.bfree));
            all.bavail = all.bavail.saturating_add(scale(s.bavail));
            objects = objects.saturating_add(s.ffree);
        }
        // A file needs an object, too.
        if objects < all.ffree {
            all.files = all.files - all.ffree + objects;
            all.ffree = objects;
        }
        Ok(all)
    }

    /// The state of each target: the MDT, then the OSTs.
    pub fn target_stats(&self) -> Vec<TargetStat> {
        let name = |c: &ptlrpc::import::ImportConfig| c.target_uuid.to_string();
        let mut out = vec![TargetStat {
            uuid: name(self.mdc.target().import().config()),
            index: 0,
            is_mdt: true,
            stat: self.mdc.statfs(false).map(|s| convert(&s)),
        }];
        for o in self.osts() {
            out.push(TargetStat {
                uuid: o.uuid.clone(),
                index: o.index,
                is_mdt: false,
                stat: o.statfs().map(|s| convert(&s)),
            });
        }
        out
    }
}
