// SPDX-License-Identifier: GPL-2.0

//! Striped files: which OSTs the objects of a file are on, and what becomes of them
//! (`ost.md` 19, `mdt.md` 20).
//!
//! A [`Spec`] is what a new file shall be like, from what the user asks for and what the
//! directories above say. [`Lod::prepare`] reserves objects for it, outside of transactions; the
//! [`Layout`] is committed in the transaction that makes the file. Layouts are plain: striped, one
//! object on an OST. Others are read, so that files that have them can be removed, and not made.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod allocate;
mod choose;
mod device;
mod layout;
mod objects;
mod pools;
mod space;
mod spec;

pub use device::{Lod, LodConfig};
pub use layout::Layout;
pub use objects::Changes;
pub use osp::Owner;
pub use pools::Pools;
pub use spec::{Desc, Spec};
