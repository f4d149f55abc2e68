// SPDX-License-Identifier: GPL-2.0

//! Memory of processes that cache for a file system.

use std::process::Command;

const NAME: &str = "GLIBC_TUNABLES";
/// Data that the cache gives back are followed by others at once. To return their memory to the
/// kernel, and get it again by small pieces, takes more system calls and page faults than all
/// requests together.
const KEEP: &str = "glibc.malloc.top_pad=1048576:glibc.malloc.trim_threshold=67108864:\
    glibc.malloc.mmap_threshold=33554432";

/// Has the allocator of a process to be started keep memory that is free, unless its environment
/// already says what the allocator is to do.
pub fn keep(c: &mut Command) {
    if std::env::var_os(NAME).is_none() {
        c.env(NAME, KEEP);
    }
}

/// Whether this process was started so, or with other orders for the allocator.
pub fn is_kept() -> bool {
    std::env::var_os(NAME).is_some()
}
