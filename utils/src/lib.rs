// SPDX-License-Identifier: GPL-2.0

//! What the administrator's tools share: targets and their names, the ext4 device below them,
//! errors that say what to do next.

pub mod device;
pub mod failure;
pub mod fsmount;
pub mod lfs;
pub mod lnet;
pub mod mke2fs;
pub mod mounting;
pub mod obd;
pub mod offline;
pub mod options;
pub mod params;
pub mod pools;
pub mod target;

/// The version that all tools and the module report.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
