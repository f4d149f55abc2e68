// SPDX-License-Identifier: GPL-2.0

//! What a namespace needs from the layers around it.

use super::lvb::Lvb;
use super::run::AstDone;
use crate::core::{AstTarget, BlockingAst, CompletionAst, Desc, LockView, ResId};
use kapi::prelude::*;

/// Sends callbacks to one client: an export and its reverse import.
///
/// No call may wait for the client. Each is made without any lock of the lock manager held.
pub trait AstSender: Send + Sync {
    /// Sends LDLM_BL_CALLBACK. `done` is absent for a one-way notice, which is sent once.
    fn send_blocking(&self, ast: &BlockingAst, done: Option<AstDone>);

    /// Sends LDLM_CP_CALLBACK with `lvb` (which may be empty).
    fn send_completion(&self, ast: &CompletionAst, lvb: &[u8], done: Option<AstDone>);

    /// Sends LDLM_GL_CALLBACK; `data` is an `ldlm_gl_desc` for quota and barrier locks.
    fn send_glimpse(&self, to: &AstTarget, lock: &Desc, data: Option<&[u8; 64]>, done: AstDone);

    /// Evicts the client: it has not answered a callback, or kept a lock too long. To be done by
    /// another thread; it ends in [`super::Namespace::detach`].
    ///
    /// # Errors
    /// `ENOMEM`, `ESHUTDOWN`: it will not be done. It is asked for again when the lock's timer is
    /// looked at the next time.
    fn evict(&self, reason: &'static str) -> Result;

    /// Whether a request of the client that works under this lock is queued or running: the
    /// callback timer is then extended (spec/ldlm.md 15.2).
    fn is_busy(&self, cookie: u64) -> bool;
}

/// The value block that goes with a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LvbClass {
    /// None.
    None,
    /// Size, times and blocks: `ost_lvb`.
    Ost,
}

/// The target a namespace belongs to.
pub trait NamespaceOps: Send + Sync {
    /// Reads size, times and blocks of the object behind a resource. Called without any lock of
    /// the lock manager.
    ///
    /// # Errors
    /// `ENOENT`: no such object. `EINPROGRESS`: it may be re-created soon. They fail the enqueue.
    fn read_lvb(&self, res: &ResId) -> Result<Lvb>;

    /// Which value block goes with a lock.
    fn lvb_class(&self, lock: &LockView) -> LvbClass;

    /// A lock of the server itself that is held beyond its operation (COS, reply-ack) is in the
    /// way of somebody: a commit would release it.
    fn local_blocked(&self, res: &ResId, cookie: u64);

    /// A client's lock is about to go: the place for sync on cancel (spec/ldlm.md 19.5).
    fn cancelling(&self, res: &ResId, lock: &LockView);
}
