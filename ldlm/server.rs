// SPDX-License-Identifier: GPL-2.0

//! The server side: namespaces of targets.
//!
//! A [`Namespace`] runs the grant core of each resource under the resource's own lock. What the
//! core wants done is fetched one by one and carried out after that lock is dropped, so nothing
//! that may sleep on the network happens under it.
//!
//! Callbacks are asynchronous: the [`AstSender`] of an export queues the request and reports the
//! outcome through the [`AstDone`] it was given, from any thread. A client may thus see a
//! completion before the reply of its enqueue, which it allows for (spec/ldlm.md 24).
//!
//! Lock order: stripe of the resource table, resource, then (each a leaf) file-lock waits, export,
//! handle table, export table.

mod cancel;
mod enqueue;
mod export;
mod glimpse;
mod local;
mod lvb;
mod memory;
mod namespace;
mod pdo;
mod prolong;
mod reclaim;
mod run;
mod serve;
mod table;
mod timer;
mod traits;
mod volume;

#[cfg(test)]
mod tests;

pub use enqueue::{EnqueueReply, EnqueueReq, Intent, IntentPolicy, LvbBytes};
pub use export::{ExportLocks, ExportOptions};
pub use local::{LocalLock, LocalOptions};
pub use lvb::Lvb;
pub use memory::{LockMemory, LOCK_MEMORY};
pub use namespace::{Namespace, NamespaceConfig, NamespaceStats};
pub use pdo::NameLock;
pub use prolong::Cover;
pub use run::{AstDone, AstOutcome};
pub use timer::start_timers;
pub use traits::{AstSender, LvbClass, NamespaceOps};
