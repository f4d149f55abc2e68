// SPDX-License-Identifier: GPL-2.0

//! Taking back old locks when there are too many (spec/ldlm.md 21.3).

use super::export::ExportLocks;
use super::namespace::Namespace;
use super::run::now_s;
use super::table::Node;
use crate::core::{LockIx, LockType, State};
use kapi::prelude::*;

/// Locks taken back in one round.
const ROUND: usize = 512;
/// Locks taken back in a second, at most.
const MOST: usize = 16 * ROUND;
/// How old a lock must be, seconds: if there are too few of an age, the next counts.
const AGES: [u32; 2] = [450, 300];
/// The same when there is no room for any other.
const FULL: [u32; 4] = [450, 300, 60, 0];

/// Clients keep them whether they need them or not.
fn is_kept(kind: LockType) -> bool {
    matches!(kind, LockType::Extent | LockType::Ibits)
}

impl Namespace {
    /// Once a second: asks for old locks while there are too many of this node, and of clients that have too
    /// many.
    pub(super) fn relieve(self: &Arc<Self>) {
        if self.is_recovering() {
            return;
        }
        self.each_export(|exp| {
            if exp.take_crowded() {
                self.reclaim_of(exp);
            }
        });
        // Its part of those that are too many.
        let (memory, own) = (self.memory(), self.granted());
        let part = memory.excess().saturating_mul(own) / memory.granted().max(1);
        let mut left = usize::try_from(part).map_or(MOST, |n| n.min(MOST));
        while left > 0 {
            match self.reclaim(left.min(ROUND)) {
                0 => return,
                n => left = left.saturating_sub(n),
            }
        }
    }

    /// Asks clients to give up old locks, up to `max`. Returns how many were asked for.
    fn reclaim(self: &Arc<Self>, max: usize) -> usize {
        let ages = match self.memory().is_full() {
            true => &FULL[..],
            false => &AGES[..],
        };
        let mut rounds = ages.iter().map(|age| self.reclaim_older(*age, max));
        rounds.find(|n| *n != 0).unwrap_or(0)
    }

    /// Asks for up to `max` locks made `age` seconds ago or before. It goes on where it was the last time.
    pub(super) fn reclaim_older(self: &Arc<Self>, age: u32, max: usize) -> usize {
        let now = now_s();
        let mut asked = 0;
        let mut at = core::mem::take(&mut *self.reclaim_at.lock());
        // What is left of the table, and all of it.
        for _ in 0..2 {
            let done = self.tables.walk(&mut at, |node| {
                if is_kept(node.kind) {
                    asked += self.revoke_old(node, now, age);
                }
                asked < max
            });
            if !done {
                break;
            }
        }
        *self.reclaim_at.lock() = at;
        asked
    }

    fn revoke_old(self: &Arc<Self>, node: &Arc<Node>, now: u32, age: u32) -> usize {
        let mut asked = 0;
        let mut st = node.state.lock();
        let mut from = None;
        while let Some((ix, v)) = st.core.next_lock(from) {
            from = Some(ix);
            let old = now.saturating_sub(v.made) >= age;
            if old && v.state == State::Granted {
                asked += usize::from(self.with(&mut st, |c, env| c.revoke(ix, env)));
            }
        }
        drop(st);
        if asked > 0 {
            self.run(node);
        }
        asked
    }

    /// Asks a client for some of its locks.
    fn reclaim_of(self: &Arc<Self>, exp: &ExportLocks) -> usize {
        let mut asked = 0;
        // It may be that none can be asked for.
        for _ in 0..MOST {
            let Some(cookie) = exp.next_to_reclaim() else {
                break;
            };
            let Some(r) = self.tables.handle(cookie) else {
                continue;
            };
            if is_kept(r.node.kind) && self.revoke_one(&r.node, r.ix, cookie) {
                self.run(&r.node);
                asked += 1;
            }
            if asked == ROUND {
                break;
            }
        }
        asked
    }

    fn revoke_one(&self, node: &Node, ix: LockIx, cookie: u64) -> bool {
        let mut st = node.state.lock();
        st.core.find(ix, cookie).is_some() && self.with(&mut st, |c, env| c.revoke(ix, env))
    }
}
