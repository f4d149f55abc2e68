// SPDX-License-Identifier: GPL-2.0

//! What the core wants done.

use super::types::{Desc, ExportId};

/// Whom a callback goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AstTarget {
    /// The export.
    pub export: ExportId,
    /// The client's handle of the lock.
    pub client_handle: u64,
    /// The server's handle of the lock.
    pub cookie: u64,
}

/// Tell a holder that its lock stands in the way (spec/ldlm.md 10.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockingAst {
    /// Whose lock.
    pub to: AstTarget,
    /// The lock that is blocked.
    pub desc: Desc,
    /// `DISCARD_DATA` or nothing.
    pub flags: u32,
    /// The lock has been cancelled already: a notice, no answer expected, no timer.
    pub one_way: bool,
}

/// Tell a waiter that its wait is over (spec/ldlm.md 10.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompletionAst {
    /// Whose lock.
    pub to: AstTarget,
    /// The lock itself, as granted; `granted` is `None` for a wait given up.
    pub desc: Desc,
    /// `AST_SENT`, `DISCARD_DATA`, `FLOCK_DEADLOCK`.
    pub flags: u32,
    /// The lock has been cancelled already: no answer expected.
    pub one_way: bool,
    /// It tells of a conflict too: the callback timer starts with it.
    pub start_timer: bool,
}

/// A lock that is no more: forget its handle, its timer, its place in the export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FreedLock {
    /// Handle.
    pub cookie: u64,
    /// Whose it was.
    pub export: ExportId,
    /// The client's handle.
    pub client_handle: u64,
}

/// One thing to do. Those about one lock come in the order in which they are to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send a blocking callback and start its timer.
    Blocking(BlockingAst),
    /// Send a completion callback.
    Completion(CompletionAst),
    /// A lock of the server itself stands in somebody's way.
    LocalBlocked(u64),
    /// Some lock of the server itself was granted: wake who waits on this resource.
    WakeLocal,
    /// A lock is gone.
    Freed(FreedLock),
}
