// SPDX-License-Identifier: GPL-2.0
//! Mounts a Lustre file system through FUSE.
fn main() {}
