// SPDX-License-Identifier: GPL-2.0

//! The grant core: locks of one resource as a state machine.
//!
//! A [`Resource`] holds the granted and the waiting locks of one name. Events are its methods:
//! enqueue, cancel, convert, downgrade, handover, replay. What follows for others (a blocking
//! callback for a holder, a completion for a waiter that got its lock, a lock that is gone) is
//! queued inside the resource and fetched with [`Resource::next_action`]. The queue is threaded
//! through the locks themselves, so an event never fails half way for want of memory: all that can
//! fail is [`Resource::create`].
//!
//! Nothing here sleeps, sends, or reads a clock. The caller serialises calls on one resource.

mod action;
mod bits;
mod expand;
mod extent;
pub mod flags;
mod flock;
mod glimpse;
mod groups;
mod lists;
mod lock;
mod resource;
mod slab;
mod tree;
mod types;
mod waits;
mod work;

#[cfg(test)]
mod tests;

/// What a lock takes within its resource, bytes.
#[cfg(test)]
pub(crate) const SIZE_OF_LOCK: usize = size_of::<lock::Lock>() + size_of::<slab::Slot>();

pub use action::{Action, AstTarget, BlockingAst, CompletionAst, FreedLock};
pub use glimpse::GlimpseScan;
pub use lock::{LockIx, LockView, NewLock, State};
pub use resource::{Enqueued, Env, Hint, Reply, Resource, Status};
pub use types::{ibits, Desc, ExportId, Extent, Flock, Ibits, LockType, Mode, Policy, ResId};
pub use waits::FlockWaits;
