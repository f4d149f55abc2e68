// SPDX-License-Identifier: GPL-2.0

//! The repair of an index of objects.

use kapi::prelude::*;
use wire::disk::scrub::ScrubFile;

/// How a scan of all inodes stands (`admin.md` 8.10).
#[derive(Clone, Copy, Debug)]
pub struct Scrub {
    /// What is on disk, or will be with the next checkpoint.
    pub file: ScrubFile,
    /// Where the scan is and for how long it has run, if it runs.
    pub running: Option<(u64, Duration)>,
    /// What the mount found in `lost+found`.
    pub lost_found: LostFound,
}

/// What became of the files in `lost+found`.
#[derive(Clone, Copy, Default, Debug)]
pub struct LostFound {
    /// Files there.
    pub scanned: u64,
    /// Objects that are where they belong again.
    pub repaired: u64,
    /// Objects that could not be brought back.
    pub failed: u64,
}
