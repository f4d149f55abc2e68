// SPDX-License-Identifier: GPL-2.0

//! The object store in memory, for tests of the layers above it on the host.
//!
//! It behaves as `osd-ldiskfs` does, and is stricter: what breaks the contract of the crate `osd`
//! (an operation that was not planned for, bulk data inside a transaction, an object that is made
//! and gets no place) is a panic, which fails the test that does it.

mod bulk;
mod commit;
mod device;
mod journal;
mod node;
mod object;
#[allow(dead_code)]
#[path = "../../../../osd-ldiskfs/place.rs"]
mod place;

pub use device::{Config, MemoryDevice};
use kapi::prelude::*;
use osd::{Device, Fid};

/// An empty store of an MDT or MGT.
pub fn device() -> Arc<dyn Device> {
    MemoryDevice::new()
}
