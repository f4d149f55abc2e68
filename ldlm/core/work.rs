// SPDX-License-Identifier: GPL-2.0

//! What a resource wants done, and what it says of its locks.

use super::action::{Action, AstTarget, BlockingAst, CompletionAst, FreedLock};
use super::flags;
use super::lock::{pend, Blocker, Lock, LockIx, State};
use super::resource::{Env, Reply, Resource};
use super::slab::NIL;
use super::types::{Desc, LockType, Mode, Policy, ResId};

impl Resource {
    /// Describes a lock for a reply (spec/ldlm.md 7.2, steps 14 and 15). To be called once, just
    /// before the reply goes out.
    pub fn reply(&mut self, ix: LockIx, env: &mut Env<'_>) -> Option<Reply> {
        let name = self.name;
        let l = self.slab.get_mut(ix.0)?;
        if l.state == State::Gone {
            return None;
        }
        let mut r = Reply {
            desc: desc_of(name, l),
            flags: 0,
            start_timer: false,
        };
        if l.ast_sent {
            r.flags = flags::AST_SENT | (l.flags & flags::AST);
            if let (Policy::Ibits(_), Some(b)) = (l.policy, l.blocker) {
                r.desc.cancel_bits = b.policy.bits().0;
            }
            if l.state == State::Granted && l.pend & pend::COMPLETION == 0 {
                l.pend &= !pend::BLOCKING;
                if l.flags & flags::CANCEL_ON_BLOCK != 0 {
                    let hint = self.destroy(ix.0);
                    self.reprocess(hint, env);
                } else {
                    r.start_timer = true;
                }
            }
        }
        Some(r)
    }

    /// The next thing to do, in order.
    pub fn next_action(&mut self, env: &mut Env<'_>) -> Option<Action> {
        if core::mem::take(&mut self.wake_local) {
            return Some(Action::WakeLocal);
        }
        loop {
            let ix = self.work_first;
            let name = self.name;
            let l = self.slab.get_mut(ix)?;
            if l.pend & pend::COMPLETION != 0 {
                l.pend &= !(pend::COMPLETION | pend::BLOCKING);
                return Some(Action::Completion(self.completion(ix, env)?));
            }
            if l.pend & pend::BLOCKING != 0 {
                l.pend &= !pend::BLOCKING;
                if l.state != State::Granted {
                    continue;
                }
                if l.export.is_local() {
                    return Some(Action::LocalBlocked(l.cookie));
                }
                let Some(blocker) = l.blocker else { continue };
                let one_way = l.flags & flags::CANCEL_ON_BLOCK != 0;
                let ast = BlockingAst {
                    to: target_of(l),
                    desc: blocker_desc(name, &blocker),
                    flags: l.flags & flags::AST,
                    one_way,
                };
                if one_way {
                    let hint = self.destroy(ix);
                    self.reprocess(hint, env);
                }
                return Some(Action::Blocking(ast));
            }
            self.work_first = l.next_work;
            l.next_work = NIL;
            l.queued = false;
            if self.work_first == NIL {
                self.work_last = NIL;
            }
            if l.pend & pend::FREE != 0 {
                let freed = FreedLock {
                    cookie: l.cookie,
                    export: l.export,
                    client_handle: l.client_handle,
                };
                self.slab.remove(ix);
                return Some(Action::Freed(freed));
            }
        }
    }

    fn completion(&mut self, ix: u32, env: &mut Env<'_>) -> Option<CompletionAst> {
        let name = self.name;
        let l = self.slab.get(ix)?;
        let desc = desc_of(name, l);
        let gone = l.state == State::Gone;
        let mut ast = CompletionAst {
            to: target_of(l),
            desc,
            flags: 0,
            one_way: false,
            start_timer: false,
        };
        if l.ast_sent {
            ast.flags = flags::AST_SENT | (l.flags & flags::AST);
            if let (Policy::Ibits(_), Some(b)) = (l.policy, l.blocker) {
                ast.desc.cancel_bits = b.policy.bits().0;
            }
            if !gone && l.flags & flags::CANCEL_ON_BLOCK != 0 {
                ast.one_way = true;
                let hint = self.destroy(ix);
                self.reprocess(hint, env);
            } else {
                ast.start_timer = !gone;
            }
        }
        Some(ast)
    }

    /// Enters `ix` in the queue of things to do.
    pub(super) fn queue(&mut self, ix: u32, what: u8) {
        let last = self.work_last;
        let Some(l) = self.slab.get_mut(ix) else {
            return;
        };
        l.pend |= what;
        if l.queued {
            return;
        }
        l.queued = true;
        l.next_work = NIL;
        self.work_last = ix;
        match self.slab.get_mut(last) {
            Some(p) => p.next_work = ix,
            None => self.work_first = ix,
        }
    }

    /// Tells the holder `ix` of a conflict with `by`, once.
    pub(super) fn notify(&mut self, ix: u32, by: &Blocker, env: &Env<'_>) {
        if env.quiet {
            return;
        }
        let Some(l) = self.slab.get_mut(ix) else {
            return;
        };
        if l.ast_sent || l.state != State::Granted || l.granted == Some(Mode::Group) {
            return;
        }
        l.ast_sent = true;
        l.blocker = Some(*by);
        if by.discard {
            l.flags |= flags::DISCARD_DATA;
        }
        let (mode, covered) = (l.granted, l.pend & pend::COMPLETION != 0);
        match self.kind {
            LockType::Extent => self.trees.set_aux(ix, 1),
            LockType::Plain | LockType::Ibits => self.groups.told(self.granted_groups, ix),
            LockType::Flock => {}
        }
        // A completion still to be sent carries the news.
        if mode.is_some() && !covered {
            self.queue(ix, pend::BLOCKING);
        }
    }

    /// What the blocking callback of `ix` against others says.
    pub(super) fn as_blocker(&self, ix: u32) -> Option<Blocker> {
        let l = self.slab.get(ix)?;
        Some(Blocker {
            mode: l.req_mode,
            policy: l.req,
            discard: l.flags & flags::AST_DISCARD_DATA != 0,
        })
    }

    /// A held lock may stand in the way of waiting ones that are not in its favour: tell it.
    pub(super) fn check_waiters(&mut self, ix: u32, env: &mut Env<'_>) {
        if self.n_waiting == 0 || env.quiet {
            return;
        }
        let found = match self.kind {
            LockType::Extent => self.extent_waiter_against(ix),
            LockType::Plain | LockType::Ibits => self.bits_waiter_against(ix),
            LockType::Flock => None,
        };
        if let Some(by) = found.and_then(|w| self.as_blocker(w)) {
            self.notify(ix, &by, env);
        }
    }

    /// Queues the completion of `ix`.
    pub(super) fn announce(&mut self, ix: u32) {
        if self.slab.get(ix).is_some_and(|l| l.export.is_local()) {
            self.wake_local = true;
        } else {
            self.queue(ix, pend::COMPLETION);
        }
    }
}

pub(super) fn desc_of(res: ResId, l: &Lock) -> Desc {
    Desc {
        res,
        req_mode: l.req_mode,
        granted: l.granted,
        policy: match l.policy {
            // The client merges by itself: it wants the range of its request.
            Policy::Flock(_) => l.req,
            p => p,
        },
        cancel_bits: 0,
    }
}

/// The descriptor that goes with a blocking callback.
fn blocker_desc(res: ResId, b: &Blocker) -> Desc {
    let mut policy = b.policy;
    let mut cancel_bits = 0;
    match &mut policy {
        // The field's servers send no end; clients do not read the range.
        Policy::Extent(e) => e.end = e.start,
        Policy::Ibits(i) => {
            cancel_bits = i.bits;
            i.try_bits = 0;
        }
        Policy::Plain | Policy::Flock(_) => {}
    }
    Desc {
        res,
        req_mode: b.mode,
        granted: None,
        policy,
        cancel_bits,
    }
}

fn target_of(l: &Lock) -> AstTarget {
    AstTarget {
        export: l.export,
        client_handle: l.client_handle,
        cookie: l.cookie,
    }
}
