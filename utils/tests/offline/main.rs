// SPDX-License-Identifier: GPL-2.0

//! lustre-fsck and the removal of `dirdata`, on disks of existing servers.

mod damage;
mod disk;
mod strip;
