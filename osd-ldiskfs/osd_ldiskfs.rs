// SPDX-License-Identifier: GPL-2.0

//! The object store on a stock ext4: objects by FID, transactions, the layout of a target's disk
//! (`ondisk.md`). `Documentation/osd.md` says how.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod commit;
mod device;
mod dirhash;
mod hierarchy;
mod htree;
mod iam;
mod index;
mod lma;
mod object;
mod place;
mod records;
mod setup;
mod store;
mod txn;

pub use commit::Callback;
pub use object::{InUse, Object};
pub use store::{Create, SetAttr, Store};
pub use txn::{Plan, Running};
pub use wire::fid::Fid;
