// SPDX-License-Identifier: GPL-2.0

//! The file system: operations by FID and name, as [`crate::mount::Mount`] offers them.
//!
//! What is cached answers without asking the servers, whoever asks: whether the caller may search
//! a directory is checked by the MDT only when it is asked, and otherwise left to the front.

mod attr;
mod dir;
mod file;
mod flock;
mod inode;
mod names;
mod path;
mod statfs;
mod striped;
mod xattr;

pub use attr::Change;
pub use dir::Dir;
pub use file::{File, OpenHow};
pub use flock::{FileLock, LockKind};
pub use inode::{Inode, Inodes, Known, Run, Watcher};
pub use names::Make;
pub use statfs::{FsStat, TargetStat};
pub use striped::Striped;

pub(crate) use inode::Link;
