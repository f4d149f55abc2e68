// SPDX-License-Identifier: GPL-2.0

//! The object store that the services stand on: objects by FID with attributes, xattrs and content,
//! directories, indices, and transactions that span them (`ondisk.md`).
//!
//! This crate is the contract; `osd-ldiskfs` keeps it on ext4, an implementation in memory keeps it
//! for tests. [`Device`] leads to [`Object`]s, which are read at any time and changed in a
//! [`Transaction`] only, after a [`Plan`] for it has said what will be changed.
//!
//! # What a transaction promises
//!
//! All of it is on disk after a crash, or nothing of it; nothing of a later one is without it.
//! [`Transaction::on_commit`] tells when. Bulk data ([`Object::write_pages`] and the calls beside
//! it) goes outside of transactions, and is on disk before any transaction that starts after it.
//!
//! # What is locked
//!
//! [`Plan::start`] locks the objects that were planned for, until the transaction stops; their
//! names, attributes and xattrs cannot change meanwhile but through the transaction. Between the
//! plan and the start they can: whoever relies on what he saw before keeps others away himself, or
//! looks again. Small content and records are locked for each call only, so that many transactions
//! may write to one table: an object that is planned for nothing else is not locked. A thread has
//! one transaction at a time, and waits in it for nothing: no network, no lock of a client, no
//! commit. Inside it, directories that it did not plan for cannot be looked at (`EDEADLK`), and
//! objects should be at hand ([`Device::object`] may read from disk).
//!
//! # What cannot be done by mistake
//!
//! Types leave no operation to a plan, and no plan to a transaction that runs; one that was stopped
//! is gone. That what is done was planned for is checked by [`Checked`]: always in memory, on ext4
//! in debug builds of the kernel.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod attr;
mod checked;
mod device;
mod object;
mod scrub;
mod transaction;

pub use attr::{
    settable_flags, Attr, Create, SetAttr, StatFs, Time, Usage, UsageKind, S_IFDIR, S_IFLNK,
    S_IFMT, S_IFREG,
};
pub use checked::{Checked, Complain};
pub use device::Device;
pub use object::{Entry, Extent, Object, ObjectRef, Walk};
pub use scrub::{LostFound, Scrub};
pub use transaction::{Callback, Journal, Plan, Transaction};
pub use wire::fid::Fid;
