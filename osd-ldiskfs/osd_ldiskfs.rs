// SPDX-License-Identifier: GPL-2.0

//! The object store on a stock ext4: what crate `osd` promises, with the layout of a target's
//! disk (`ondisk.md`). `Documentation/osd.md` says how.
//!
//! [`mount`] mounts a device; [`Mounted::open`] makes a store of it, once it is known what kind of
//! target it is.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod cache;
mod change;
mod commit;
mod damage;
mod device;
mod dirhash;
mod face;
mod hierarchy;
mod htree;
mod iam;
mod index;
mod journal;
mod lma;
mod lost_found;
mod mounted;
mod object;
mod oi_files;
mod place;
mod plan;
mod scrub;
mod setup;
mod store;
mod txn;

pub use mounted::{mount, Mounted, Options};
pub use wire::fid::Fid;
