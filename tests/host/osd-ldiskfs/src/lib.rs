// SPDX-License-Identifier: GPL-2.0

//! The parts of osd-ldiskfs that need no ext4, for tests.

// Without the store, not all of them is used.
#![allow(dead_code, unused_imports)]

#[path = "../../../../osd-ldiskfs/dirhash.rs"]
pub mod dirhash;
#[path = "../../../../osd-ldiskfs/htree.rs"]
pub mod htree;
#[path = "../../../../osd-ldiskfs/iam.rs"]
pub mod iam;
#[path = "../../../../osd-ldiskfs/place.rs"]
pub mod place;

pub use wire::fid::Fid;
