// SPDX-License-Identifier: GPL-2.0

//! Locks that go along with one that another node wants.
//!
//! Who goes through a tree that this node has written asks for the lock of each file, one after
//! another, and waits each time until this node has let go. When that goes on for a while, the
//! locks that were last used next to the wanted one are given up unasked: the other node finds
//! them free. The order is that of last use, in which neighbours are mostly of the same
//! directory.

use super::cache::Cache;
use super::state::{ClientState, ClientView, List, Table};
use crate::core::{LockType, Mode};

/// Calls that follow each other within so many milliseconds make a row.
const ROW_MS: u64 = 1000;
/// Calls of a row that bring no company.
const FREE: u32 = 4;
/// Locks that follow one at most.
const MOST: u32 = 256;

/// How often locks of this node have been wanted lately.
#[derive(Default)]
pub(super) struct Row {
    /// The last time, in milliseconds.
    at: u64,
    /// Times, since the row began.
    calls: u32,
    /// The first lock that is to follow, and how many.
    follow: Option<(u64, u32)>,
}

impl Row {
    /// One more lock is wanted, behind which `next` is on the list of unused ones.
    fn call(&mut self, now: u64, next: Option<u64>) {
        self.calls = match now.saturating_sub(self.at) {
            0..=ROW_MS => self.calls.saturating_add(1),
            _ => 1,
        };
        self.at = now;
        let n = self.calls.saturating_sub(FREE).saturating_mul(4).min(MOST);
        if let (Some(next), 1..) = (next, n) {
            self.follow = Some((next, n));
        }
    }
}

/// Only locks for writing hinder those who read.
fn hinders(v: &ClientView) -> bool {
    v.policy.lock_type() == LockType::Extent && v.mode == Mode::Pw
}

impl Cache {
    /// An unused lock is wanted by another node, and is given up.
    pub(super) fn doom_wanted(&self, t: &mut Table, handle: u64, now: u64) {
        let Some(view) = t.get(handle).map(|e| e.view) else {
            return;
        };
        if hinders(&view) {
            let next = t.next(handle);
            t.row.call(now, next);
        }
        t.doom(handle);
    }

    /// Dooms the locks that are to follow others; whether there are any.
    pub(super) fn doom_company(&self) -> bool {
        let Some((first, n)) = self.table().lock().row.follow.take() else {
            return false;
        };
        let mut any = false;
        let mut at = Some(first);
        for _ in 0..n {
            let Some(handle) = at else { break };
            let (next, view) = {
                let t = self.table().lock();
                if t.list_of(handle) != List::Unused {
                    break;
                }
                (t.next(handle), t.get(handle).map(|e| e.view))
            };
            // What has to be written first may stay until it is asked for. The owner of what is
            // cached is asked without the table: it may give up locks itself.
            if view.is_some_and(|v| hinders(&v) && self.ops().droppable(&v)) {
                let mut t = self.table().lock();
                if t.list_of(handle) == List::Unused {
                    t.doom(handle);
                    any = true;
                }
            }
            at = next;
        }
        any
    }

    /// A lock for writing was asked for the state of what it protects. One that nobody has used
    /// for long is given up: whoever asks is likely to read.
    pub(super) fn looked_at(&self, handle: u64) {
        let now = self.tick();
        let limit = u64::try_from(self.config().dirty_age.as_millis()).unwrap_or(u64::MAX);
        let mut t = self.table().lock();
        let old = t.list_of(handle) == List::Unused
            && t.get(handle).is_some_and(|e| {
                e.view.state == ClientState::Granted
                    && hinders(&e.view)
                    && now.saturating_sub(e.unused_at) >= limit
            });
        if old {
            self.doom_wanted(&mut t, handle, now);
            drop(t);
            self.todo().notify_one();
        }
    }
}
