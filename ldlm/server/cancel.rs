// SPDX-License-Identifier: GPL-2.0

//! Cancel and convert (spec/ldlm.md 11, 12).

use super::export::ExportLocks;
use super::namespace::Namespace;
use super::table::{LockRef, Node};
use crate::core::{ExportId, Hint, Ibits, LockView, Mode, Policy, State};
use kapi::prelude::*;

impl Namespace {
    /// Cancels the locks of `exp` with these handles, from LDLM_CANCEL or riding in another
    /// request. Handles that are unknown or not of this export are skipped. Returns how many there
    /// were; LDLM_CANCEL answers +116 if none.
    ///
    /// Waiting locks are granted before this returns; their completions have been handed over.
    pub fn cancel(
        self: &Arc<Self>,
        exp: &ExportLocks,
        handles: impl Iterator<Item = u64>,
    ) -> usize {
        let mut found = 0;
        // What is free on one resource is granted when the next one is looked at.
        let mut pending: Option<(Arc<Node>, Hint)> = None;
        for cookie in handles {
            let Some(r) = self.tables.handle(cookie) else {
                continue;
            };
            if let Some((node, hint)) = pending.take() {
                if Arc::ptr_eq(&node, &r.node) {
                    pending = Some((node, hint));
                } else {
                    self.reprocess(&node, hint);
                }
            }
            if let Some(hint) = self.cancel_one(&r, cookie, exp.id()) {
                found += 1;
                let before = pending.take().map_or(Hint::NONE, |p| p.1);
                pending = Some((r.node, before.and(hint)));
            }
        }
        if let Some((node, hint)) = pending {
            self.reprocess(&node, hint);
        }
        found
    }

    /// Cancels one lock, if it is of this export; granting what waits for it is up to the caller.
    pub(super) fn cancel_one(&self, r: &LockRef, cookie: u64, of: ExportId) -> Option<Hint> {
        let view = r.node.state.lock().core.find(r.ix, cookie)?;
        if view.export != of {
            return None;
        }
        if !of.is_local() {
            if writes(&view) && view.flags & crate::core::flags::DISCARD_DATA == 0 {
                self.refresh_lvb(&r.node);
            }
            self.ops.cancelling(&r.node.name, &view);
        }
        let mut st = r.node.state.lock();
        st.core.find(r.ix, cookie)?;
        Some(self.with(&mut st, |core, env| core.cancel(r.ix, env)))
    }

    /// A client gives up all bits of a lock but `keep` (LDLM_CONVERT).
    ///
    /// # Errors
    /// `ENOENT`: no such lock of this export. `EPROTO`: it has another mode. `EINVAL`: no
    /// inode-bit lock, or nothing would remain. The field's clients look at none of them.
    pub fn convert(
        self: &Arc<Self>,
        exp: &ExportLocks,
        cookie: u64,
        mode: Mode,
        keep: u64,
    ) -> Result<Ibits> {
        let r = self.tables.handle(cookie).ok_or(ENOENT)?;
        let mut st = r.node.state.lock();
        let view = st.core.find(r.ix, cookie).ok_or(ENOENT)?;
        if view.export != exp.id() {
            return Err(ENOENT);
        }
        let left = self.with(&mut st, |core, env| core.convert(r.ix, mode, keep, env));
        // Who gives up nothing has not answered a callback, and his time goes on.
        let bits = |p: &Policy| match p {
            Policy::Ibits(b) => b.bits,
            _ => 0,
        };
        if left.as_ref().is_ok_and(|l| l.bits != bits(&view.policy)) {
            exp.disarm(view.client_handle, cookie);
        }
        drop(st);
        self.run(&r.node);
        left
    }
}

/// Whether the holder may have changed the object.
fn writes(v: &LockView) -> bool {
    v.state == State::Granted
        && matches!(
            v.granted,
            Some(Mode::Ex | Mode::Pw | Mode::Cw | Mode::Group)
        )
}
