// SPDX-License-Identifier: GPL-2.0

//! One lock, as the core keeps it.

use super::types::{ExportId, Mode, Policy};

/// The number of a lock within its resource. Numbers are used again: whoever keeps one checks the
/// cookie with [`super::Resource::find`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockIx(pub(super) u32);

/// Where a lock is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Made, not enqueued yet.
    New,
    /// On the waiting list.
    Waiting,
    /// Held.
    Granted,
    /// Cancelled; its handle no longer resolves.
    Gone,
}

/// What a new lock is made from.
#[derive(Clone, Copy, Debug)]
pub struct NewLock {
    /// Its handle on this server: random, never 0.
    pub cookie: u64,
    /// The handle of the second lock that a file lock leaves when it splits one; other types
    /// ignore it.
    pub twin_cookie: u64,
    /// Whose it is; [`ExportId::LOCAL`] for the server's own.
    pub export: ExportId,
    /// The client's handle for it.
    pub client_handle: u64,
    /// The mode asked for.
    pub mode: Mode,
    /// What it shall cover.
    pub policy: Policy,
    /// The flags of the request; what a lock keeps of them is taken over.
    pub flags: u32,
    /// For COS: which client's change it protects.
    pub client_cookie: u64,
    /// Stands for the client's address: exports with the same one are mounts of one node.
    pub peer: u64,
    /// Whether the client understands that a wait was ended because of a deadlock.
    pub deadlock_ast: bool,
    /// Whether a glimpse may ask its holder (not so for the lock of an object's destroy).
    pub glimpse: bool,
    /// When it was asked for, in seconds of any clock: for those who look for old locks.
    pub made: u32,
}

/// A look at a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockView {
    /// Handle.
    pub cookie: u64,
    /// Whose it is.
    pub export: ExportId,
    /// The client's handle.
    pub client_handle: u64,
    /// State.
    pub state: State,
    /// The mode asked for.
    pub req_mode: Mode,
    /// The mode held.
    pub granted: Option<Mode>,
    /// What it covers; the request's range while waiting.
    pub policy: Policy,
    /// Whether its holder has been, or is about to be, told of a conflict.
    pub ast_sent: bool,
    /// Flags kept with the lock: INHERIT and AST masks.
    pub flags: u32,
    /// Whether it is the server's own.
    pub local: bool,
    /// When it was asked for.
    pub made: u32,
}

/// Who stands against a lock: the content of its blocking callback.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocker {
    pub(super) mode: Mode,
    pub(super) policy: Policy,
    /// The holder shall drop its dirty data instead of writing it.
    pub(super) discard: bool,
}

/// Things to tell, or to do, about a lock.
pub(super) mod pend {
    /// Tell the holder of a conflict.
    pub(in super::super) const BLOCKING: u8 = 1;
    /// Tell the waiter that it has the lock (or that its wait is over).
    pub(in super::super) const COMPLETION: u8 = 2;
    /// Drop it.
    pub(in super::super) const FREE: u8 = 4;
}

pub(super) struct Lock {
    pub(super) cookie: u64,
    pub(super) client_handle: u64,
    pub(super) client_cookie: u64,
    pub(super) export: ExportId,
    pub(super) peer: u64,
    pub(super) req_mode: Mode,
    pub(super) granted: Option<Mode>,
    pub(super) state: State,
    /// What it covers now.
    pub(super) policy: Policy,
    /// What was asked for.
    pub(super) req: Policy,
    pub(super) blocker: Option<Blocker>,
    pub(super) flags: u32,
    pub(super) made: u32,
    /// Place in the waiting queue: smaller is ahead.
    pub(super) pos: u64,
    /// The spare lock of a file lock, [`super::slab::NIL`] for none.
    pub(super) twin: u32,
    /// The next in the queue of things to do.
    pub(super) next_work: u32,
    pub(super) pend: u8,
    pub(super) queued: bool,
    pub(super) ast_sent: bool,
    pub(super) glimpse: bool,
    pub(super) deadlock_ast: bool,
}

impl Lock {
    pub(super) fn new(n: &NewLock, flags: u32) -> Self {
        Lock {
            cookie: n.cookie,
            client_handle: n.client_handle,
            client_cookie: n.client_cookie,
            export: n.export,
            peer: n.peer,
            req_mode: n.mode,
            granted: None,
            state: State::New,
            policy: n.policy,
            req: n.policy,
            blocker: None,
            flags,
            made: n.made,
            pos: 0,
            twin: super::slab::NIL,
            next_work: super::slab::NIL,
            pend: 0,
            queued: false,
            ast_sent: false,
            glimpse: n.glimpse,
            deadlock_ast: n.deadlock_ast,
        }
    }

    /// The range that must be free for it. A GROUP lock is always one on the whole object: its
    /// holders do as they please.
    pub(super) fn wanted(&self) -> (u64, u64) {
        match self.req_mode {
            Mode::Group => (0, u64::MAX),
            _ => self.req.range(),
        }
    }

    pub(super) fn view(&self) -> LockView {
        LockView {
            cookie: self.cookie,
            export: self.export,
            client_handle: self.client_handle,
            state: self.state,
            req_mode: self.req_mode,
            granted: self.granted,
            policy: self.policy,
            ast_sent: self.ast_sent,
            flags: self.flags,
            local: self.export.is_local(),
            made: self.made,
        }
    }
}
