// SPDX-License-Identifier: GPL-2.0

//! Byte-range locks (spec/ldlm.md 6.2, 18).
//!
//! Order of the queue: GROUP locks first, those of one id together, then the others as they came.
//! A lock is granted exactly if it conflicts neither with a held lock nor with one ahead of it, so
//! ranges that are apart do not hold one another up.

use super::flags;
use super::lock::Blocker;
use super::resource::{Enqueued, Env, Resource, Status};
use super::tree::{Query, Root};
use super::types::{Mode, ALL_MODES};
use kapi::prelude::*;

/// A request, as the tests see it.
#[derive(Clone, Copy)]
struct Wish {
    mode: Mode,
    range: (u64, u64),
    gid: u64,
    /// Only those ahead of this place count.
    pos: u64,
}

impl Resource {
    fn wish(&self, ix: u32, pos: u64) -> Option<Wish> {
        let l = self.slab.get(ix)?;
        Some(Wish {
            mode: l.req_mode,
            range: l.wanted(),
            gid: l.req.gid(),
            pos,
        })
    }

    /// Whether GROUP locks are held that shut the request out, wherever it is.
    fn shut_out(&self, w: &Wish) -> bool {
        let group = self.granted.get(Mode::Group.index());
        group.is_some_and(|g| !g.is_empty())
            && match w.mode {
                Mode::Group => self.group_gid != w.gid,
                m => !m.compatible_with(Mode::Group),
            }
    }

    /// Whether a held lock is in the way.
    fn held_against(&self, w: &Wish) -> bool {
        self.shut_out(w)
            || self
                .granted_trees()
                .filter(|(m, _)| *m != Mode::Group && !w.mode.compatible_with(*m))
                .any(|(_, t)| self.trees.first(t, &Query::overlap(w.range)).is_some())
    }

    /// Whether a waiting lock ahead is in the way.
    fn queued_against(&self, w: &Wish) -> bool {
        if self.n_waiting == 0 {
            return false;
        }
        self.waiting_trees().any(|(m, t)| match (w.mode, m) {
            (Mode::Group, Mode::Group) => {
                let (mut at, all) = (None, Query::below((0, u64::MAX), w.pos));
                loop {
                    at = match at {
                        None => self.trees.first(t, &all),
                        Some(ix) => self.trees.next(ix, &all),
                    };
                    match at {
                        None => break false,
                        Some(ix) if self.gid(ix) != w.gid => break true,
                        Some(_) => {}
                    }
                }
            }
            // GROUP locks go before the others.
            (Mode::Group, _) => false,
            (o, Mode::Group) if !o.compatible_with(Mode::Group) => self
                .trees
                .first(t, &Query::below((0, u64::MAX), w.pos))
                .is_some(),
            (o, m) => {
                !o.compatible_with(m)
                    && self.trees.first(t, &Query::below(w.range, w.pos)).is_some()
            }
        })
    }

    fn gid(&self, ix: u32) -> u64 {
        self.slab.get(ix).map_or(0, |l| l.req.gid())
    }

    /// A waiting GROUP lock with this id.
    pub(super) fn extent_group_waiter(&self, gid: u64) -> Option<u32> {
        let t = self.waiting.get(Mode::Group.index())?;
        let all = Query::overlap((0, u64::MAX));
        let mut at = self.trees.first(t, &all);
        while let Some(ix) = at {
            if self.gid(ix) == gid {
                return Some(ix);
            }
            at = self.trees.next(ix, &all);
        }
        None
    }

    /// A waiting lock that the held lock `ix` is in the way of.
    pub(super) fn extent_waiter_against(&self, ix: u32) -> Option<u32> {
        let l = self.slab.get(ix)?;
        let (mode, range) = (l.granted?, l.policy.range());
        self.waiting_trees()
            .filter(|(m, _)| !mode.compatible_with(*m))
            .find_map(|(_, t)| self.trees.first(t, &Query::overlap(range)))
    }

    pub(super) fn enqueue_extent(
        &mut self,
        ix: u32,
        req: u32,
        env: &mut Env<'_>,
    ) -> Result<Enqueued> {
        // Behind everything that waits; a GROUP lock is ahead of all that are not.
        let w = self.wish(ix, u64::MAX).ok_or(EINVAL)?;
        if w.range.0 > w.range.1 {
            return Err(EINVAL);
        }
        let groups = |set: &[Root]| set.get(Mode::Group.index()).is_some_and(|t| !t.is_empty());
        let joins = w.mode == Mode::Group && groups(&self.granted) && self.group_gid == w.gid;
        if joins {
            return self.grant_extent(ix, env);
        }
        let held = self.held_against(&w);
        if !held && !self.queued_against(&w) {
            return self.grant_extent(ix, env);
        }
        let behind_group = self.shut_out(&w)
            || (groups(&self.waiting)
                && (w.mode == Mode::Group || !w.mode.compatible_with(Mode::Group)));
        if req & flags::SPECULATIVE != 0 || (req & flags::BLOCK_NOWAIT != 0 && behind_group) {
            return Err(EAGAIN);
        }
        self.set_waiting(ix);
        if let (true, Some(by)) = (held, self.as_blocker(ix)) {
            self.notify_extents(&w, &by, env);
        }
        if let Some(l) = self.slab.get_mut(ix) {
            l.flags |= flags::NO_TIMEOUT;
        }
        self.outcome(
            ix,
            Status::Waiting,
            flags::BLOCK_GRANTED | flags::NO_TIMEOUT,
        )
    }

    fn grant_extent(&mut self, ix: u32, env: &mut Env<'_>) -> Result<Enqueued> {
        let changed = self.expand(ix);
        self.set_granted(ix);
        self.check_waiters(ix, env);
        let flags = if changed { flags::LOCK_CHANGED } else { 0 };
        self.outcome(ix, Status::Granted, flags)
    }

    /// Tells all holders in the way that have not been told.
    fn notify_extents(&mut self, w: &Wish, by: &Blocker, env: &Env<'_>) {
        if env.quiet {
            return;
        }
        let untold = Query::below(w.range, 1);
        for m in ALL_MODES {
            if m == Mode::Group || w.mode.compatible_with(m) {
                continue;
            }
            // Being told takes a lock out of the result: always take the first.
            while let Some(ix) = self
                .granted
                .get(m.index())
                .and_then(|t| self.trees.first(t, &untold))
            {
                self.notify(ix, by, env);
                self.trees.set_aux(ix, 1);
            }
        }
    }

    /// Something became free in `range`.
    pub(super) fn reprocess_extent(&mut self, range: (u64, u64), env: &mut Env<'_>) {
        self.reprocess_group(env);
        let groups = |set: &[Root]| set.get(Mode::Group.index()).is_some_and(|t| !t.is_empty());
        if groups(&self.granted) || groups(&self.waiting) {
            // They shut out all others, which NULL locks never are among: those never wait.
            return;
        }
        // Modes whose remaining waiters are all shut out in this range.
        let mut shut = 0;
        // Fast: the first in the queue, as long as each settles the matter for those behind it.
        while let Some(ix) = self.first_waiter(range, shut) {
            let Some(w) = self.slab.get(ix).and_then(|l| self.wish(ix, l.pos)) else {
                return;
            };
            let free = !self.held_against(&w) && !self.queued_against(&w);
            if free {
                self.complete(ix, env);
            }
            if w.range.0 <= range.0 && w.range.1 >= range.1 {
                shut |= !w.mode.compatible();
            }
            if !free && shut & w.mode as u32 == 0 {
                self.reprocess_each(range, shut, env);
                return;
            }
        }
    }

    /// The waiter that is first in the queue among those in `range` and not of the modes `shut`.
    fn first_waiter(&self, range: (u64, u64), shut: u32) -> Option<u32> {
        self.waiting_trees()
            .filter(|(m, _)| *m != Mode::Group && shut & *m as u32 == 0)
            .filter_map(|(_, t)| self.trees.min_aux(t, Query::overlap(range)))
            .min_by_key(|f| f.1)
            .map(|f| f.0)
    }

    /// Tries every waiter in `range`. What one is granted never frees another, so any order will
    /// do.
    fn reprocess_each(&mut self, range: (u64, u64), shut: u32, env: &mut Env<'_>) {
        let q = Query::overlap(range);
        for m in ALL_MODES {
            if m == Mode::Group || shut & m as u32 != 0 {
                continue;
            }
            let first = |s: &Self| s.trees.first(s.waiting.get(m.index())?, &q);
            let mut at = first(self);
            while let Some(ix) = at {
                at = self.trees.next(ix, &q);
                let Some(w) = self.slab.get(ix).and_then(|l| self.wish(ix, l.pos)) else {
                    return;
                };
                if !self.held_against(&w) && !self.queued_against(&w) {
                    self.complete(ix, env);
                }
            }
        }
    }

    /// Grants the GROUP locks at the head of the queue if they can be.
    fn reprocess_group(&mut self, env: &mut Env<'_>) {
        let all = Query::overlap((0, u64::MAX));
        loop {
            let head = self
                .waiting
                .get(Mode::Group.index())
                .and_then(|t| self.trees.min_aux(t, all));
            let Some((ix, pos)) = head else { return };
            let Some(w) = self.wish(ix, pos) else { return };
            if self.held_against(&w) {
                return;
            }
            self.complete(ix, env);
        }
    }
}
