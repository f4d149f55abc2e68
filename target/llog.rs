// SPDX-License-Identifier: GPL-2.0

//! Logs on a store: files of records with a bitmap of those that count (`mgs-config.md` 9,
//! `ondisk.md` 11).
//!
//! A [`Log`] is appended to and changed in the transactions of its owner; there is one of it for
//! a file at a time. Whoever only reads needs none: [`Reader`] serves the requests that read
//! logs, while they grow. What is read from disk is checked.

mod file;
mod head;
mod read;

pub use file::{Found, Log, LogKind};
pub use read::{Chunk, Reader, Search};

#[cfg(test)]
mod tests;
