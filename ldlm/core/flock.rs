// SPDX-License-Identifier: GPL-2.0

//! POSIX and BSD file locks (spec/ldlm.md 6.5).
//!
//! They know no queue: a request waits only for locks that are held. The holder is never asked to
//! give up; the lock goes with an unlock, by merging, or with the export. Client and server merge
//! the same way, each on its own copy.

use super::flags;
use super::lock::{pend, State};
use super::resource::{Enqueued, Env, Hint, Resource, Status};
use super::slab::NIL;
use super::tree::Query;
use super::types::{ExportId, Flock, Mode, Policy};
use super::waits::Who;
use kapi::prelude::*;

/// A request, and whose it is.
#[derive(Clone, Copy)]
struct Wish {
    export: ExportId,
    peer: u64,
    cookie: u64,
    mode: Mode,
    f: Flock,
}

impl Wish {
    fn who(&self) -> Who {
        Who {
            peer: self.peer,
            owner: self.f.owner,
        }
    }
    fn range(&self) -> (u64, u64) {
        (self.f.start, self.f.end)
    }
    fn same_owner(&self, o: &Wish) -> bool {
        self.export == o.export && self.f.owner == o.f.owner
    }
}

/// The modes of file locks that are held.
const HELD: [Mode; 2] = [Mode::Pw, Mode::Pr];

impl Resource {
    fn flock_wish(&self, ix: u32) -> Option<Wish> {
        let l = self.slab.get(ix)?;
        let Policy::Flock(f) = l.policy else {
            return None;
        };
        Some(Wish {
            export: l.export,
            peer: l.peer,
            cookie: l.cookie,
            mode: l.granted.unwrap_or(l.req_mode),
            f,
        })
    }

    /// The first held lock of another owner in the way.
    fn flock_conflict(&self, w: &Wish) -> Option<u32> {
        let q = Query::overlap(w.range());
        for (m, t) in self.granted_trees() {
            if w.mode.compatible_with(m) {
                continue;
            }
            let mut at = self.trees.first(t, &q);
            while let Some(ix) = at {
                if self.flock_wish(ix).is_some_and(|o| !o.same_owner(w)) {
                    return Some(ix);
                }
                at = self.trees.next(ix, &q);
            }
        }
        None
    }

    pub(super) fn enqueue_flock(
        &mut self,
        ix: u32,
        req: u32,
        env: &mut Env<'_>,
    ) -> Result<Enqueued> {
        let w = self.flock_wish(ix).ok_or(EINVAL)?;
        if w.f.start > w.f.end || !matches!(w.mode, Mode::Pr | Mode::Pw | Mode::Nl) {
            return Err(EINVAL);
        }
        if w.mode == Mode::Nl {
            self.end_wait(&w, env);
        } else if let Some(g) = self.flock_conflict(&w) {
            if req & flags::BLOCK_NOWAIT != 0 {
                return Err(EAGAIN);
            }
            if req & flags::TEST_LOCK != 0 {
                return self.test_result(ix, Some(g));
            }
            let blocker = self.flock_wish(g).ok_or(EINVAL)?.who();
            if let Some(waits) = &mut env.waits {
                if waits.deadlock(w.who(), blocker) {
                    return Err(EDEADLK);
                }
                waits.set(w.who(), w.cookie, blocker)?;
            }
            self.set_waiting(ix);
            return self.outcome(ix, Status::Waiting, flags::BLOCK_GRANTED);
        }
        if req & flags::TEST_LOCK != 0 {
            return self.test_result(ix, None);
        }
        let (kept, freed) = self.merge(ix, &w);
        if freed {
            self.reprocess_flock(env);
        }
        let mut done = self.outcome(ix, Status::Granted, 0)?;
        if !kept {
            done.status = Status::Done;
        }
        done.desc.granted = Some(w.mode);
        done.desc.policy = Policy::Flock(w.f);
        Ok(done)
    }

    /// The answer to F_GETLK: the lock in the way, or NULL.
    fn test_result(&mut self, ix: u32, conflict: Option<u32>) -> Result<Enqueued> {
        let mut done = self.outcome(ix, Status::Done, flags::LOCK_CHANGED)?;
        match conflict.and_then(|g| self.flock_wish(g)) {
            Some(g) => {
                done.desc.req_mode = g.mode;
                if let Policy::Flock(f) = &mut done.desc.policy {
                    (f.start, f.end, f.pid) = (g.f.start, g.f.end, g.f.pid);
                }
            }
            None => done.desc.req_mode = Mode::Nl,
        }
        let _ = self.destroy(ix);
        Ok(done)
    }

    /// An unlock of exactly what its owner waits for ends that wait.
    fn end_wait(&mut self, w: &Wish, env: &mut Env<'_>) {
        let mut at = self.flock_waiter(None);
        while let Some(ix) = at {
            at = self.flock_waiter(Some(ix));
            let same = self
                .flock_wish(ix)
                .is_some_and(|o| o.same_owner(w) && o.range() == w.range());
            if same {
                self.stop_wait(ix, 0, env);
                return;
            }
        }
    }

    /// Takes `ix` out of the queue and says so to its owner.
    fn stop_wait(&mut self, ix: u32, why: u32, env: &mut Env<'_>) {
        self.forget_wait(ix, env);
        let _ = self.destroy(ix);
        if let Some(l) = self.slab.get_mut(ix) {
            l.ast_sent = true;
            l.flags |= why;
        }
        self.queue(ix, pend::COMPLETION);
    }

    pub(super) fn forget_wait(&mut self, ix: u32, env: &mut Env<'_>) {
        if let (Some(w), Some(waits)) = (self.flock_wish(ix), &mut env.waits) {
            waits.clear(w.who(), w.cookie);
        }
    }

    /// The next in the queue after `ix`.
    fn flock_waiter(&self, ix: Option<u32>) -> Option<u32> {
        let all = Query::overlap((0, u64::MAX));
        match ix {
            None => self.trees.first(&self.flock_queue, &all),
            Some(ix) => self.trees.next(ix, &all),
        }
    }

    /// Tries all that wait, until none can be granted any more.
    pub(super) fn reprocess_flock(&mut self, env: &mut Env<'_>) {
        loop {
            let mut again = false;
            let mut at = self.flock_waiter(None);
            while let Some(ix) = at {
                at = self.flock_waiter(Some(ix));
                let Some(w) = self.flock_wish(ix) else { return };
                match self.flock_conflict(&w).and_then(|g| self.flock_wish(g)) {
                    Some(g) => self.wait_on(ix, &w, &g, env),
                    None => {
                        self.forget_wait(ix, env);
                        let _ = self.unset_waiting(ix);
                        if let Some(l) = self.slab.get_mut(ix) {
                            l.state = State::New;
                        }
                        let (_, freed) = self.merge(ix, &w);
                        if let Some(l) = self.slab.get_mut(ix) {
                            l.granted = Some(w.mode);
                        }
                        self.announce(ix);
                        again |= freed;
                    }
                }
            }
            if !again {
                return;
            }
        }
    }

    /// `ix` still waits, now for `g`; perhaps this closes a circle.
    fn wait_on(&mut self, ix: u32, w: &Wish, g: &Wish, env: &mut Env<'_>) {
        let Some(waits) = &mut env.waits else { return };
        let deadlock = waits.deadlock(w.who(), g.who());
        // The entry exists since the enqueue; after a replay it may not, and is made if memory
        // allows: without it a deadlock stays undetected, no more.
        let _ = waits.set(w.who(), w.cookie, g.who());
        if deadlock && self.slab.get(ix).is_some_and(|l| l.deadlock_ast) {
            self.stop_wait(ix, flags::FLOCK_DEADLOCK, env);
        }
    }

    /// Carries the request `ix` out against the owner's own locks. Returns whether the lock
    /// remains (it may be absorbed by an older one), and whether something became free.
    fn merge(&mut self, ix: u32, w: &Wish) -> (bool, bool) {
        let mut freed = false;
        for m in HELD {
            if m != w.mode {
                freed |= self.cut_own(ix, w, m);
            }
        }
        self.drop_twin(ix);
        if w.mode == Mode::Nl || self.absorb(w) {
            let _ = self.destroy(ix);
            return (false, freed);
        }
        self.set_granted(ix);
        (true, freed)
    }

    /// Takes the range of `w` out of the owner's locks of mode `m`.
    fn cut_own(&mut self, ix: u32, w: &Wish, m: Mode) -> bool {
        let q = Query::overlap(w.range());
        let mut freed = false;
        let mut at = self.granted_in(m, &q, None);
        while let Some(o) = at {
            at = self.granted_in(m, &q, Some(o));
            let Some(own) = self.flock_wish(o).filter(|o| o.same_owner(w)) else {
                continue;
            };
            freed = true;
            let (head, tail) = (own.f.start < w.f.start, own.f.end > w.f.end);
            match (head, tail) {
                (false, false) => {
                    let _ = self.destroy(o);
                }
                (true, false) => self.set_range(o, own.f.start, w.f.start.saturating_sub(1)),
                (false, true) => self.set_range(o, w.f.end.saturating_add(1), own.f.end),
                (true, true) => {
                    self.set_range(o, w.f.end.saturating_add(1), own.f.end);
                    self.split_off(ix, &own, w.f.start.saturating_sub(1));
                }
            }
        }
        freed
    }

    fn granted_in(&self, m: Mode, q: &Query, after: Option<u32>) -> Option<u32> {
        match after {
            None => self.trees.first(self.granted.get(m.index())?, q),
            Some(ix) => self.trees.next(ix, q),
        }
    }

    /// The spare lock of `ix` becomes what remains of `own` below the cut.
    fn split_off(&mut self, ix: u32, own: &Wish, end: u64) {
        let twin = match self.slab.get_mut(ix) {
            Some(l) => core::mem::replace(&mut l.twin, NIL),
            None => NIL,
        };
        if let Some(t) = self.slab.get_mut(twin) {
            t.req_mode = own.mode;
            t.policy = Policy::Flock(Flock { end, ..own.f });
            t.req = t.policy;
            self.set_granted(twin);
        }
    }

    /// Lets an older lock of the same owner and mode that overlaps or adjoins grow over `w`.
    fn absorb(&mut self, w: &Wish) -> bool {
        let near = (w.f.start.saturating_sub(1), w.f.end.saturating_add(1));
        let q = Query::overlap(near);
        let mut keeper = None;
        let (mut start, mut end) = w.range();
        let mut at = self.granted_in(w.mode, &q, None);
        while let Some(o) = at {
            at = self.granted_in(w.mode, &q, Some(o));
            let Some(own) = self.flock_wish(o).filter(|o| o.same_owner(w)) else {
                continue;
            };
            (start, end) = (start.min(own.f.start), end.max(own.f.end));
            if keeper.is_none() {
                keeper = Some(o);
            } else {
                let _ = self.destroy(o);
            }
        }
        let Some(k) = keeper else { return false };
        self.set_range(k, start, end);
        true
    }

    /// Changes the range of a held file lock.
    fn set_range(&mut self, ix: u32, start: u64, end: u64) {
        let Some(l) = self.slab.get_mut(ix) else {
            return;
        };
        if let Policy::Flock(f) = &mut l.policy {
            (f.start, f.end) = (start, end);
        }
        let Some(mode) = l.granted else { return };
        if let Some(root) = self.granted.get_mut(mode.index()) {
            self.trees.remove(root, ix);
            self.trees.insert(root, ix, (start, end), 0);
        }
    }

    /// A file lock goes without its owner's doing (its export is gone): the wait, too.
    pub(super) fn cancel_flock(&mut self, ix: u32, env: &mut Env<'_>) -> Hint {
        self.forget_wait(ix, env);
        self.destroy(ix)
    }
}
