// SPDX-License-Identifier: GPL-2.0

//! A server's way to other targets: an MDT's to each OST (OSP, `ost.md` 13), and that of every
//! target to MDT0000 (LWP, `ost.md` 18).
//!
//! An [`Osp`] has objects made on its OST ahead of need, hands them out one by one, and remembers
//! the last one in `lov_objid` in the transaction that uses it: after a crash, what is above that
//! belongs to no file and is destroyed. What becomes of objects later, their end and their owners, goes
//! to the OST once the transaction of the MDT is on disk.
//!
//! A change that waits is recorded in the transaction that it follows; what the OST had not on its
//! disk when the MDT ended is sent once more in its next life.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod catalog;
mod changes;
mod device;
mod last_used;
mod lwp;
mod pool;
mod precreate;
mod queue;
mod records;
mod requests;
mod space;
mod state;

pub use changes::{Owner, Ticket};
pub use device::{Osp, OspConfig, Reservation, View};
pub use lwp::{Lwp, LwpConfig};
