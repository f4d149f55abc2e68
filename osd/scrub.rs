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
}
