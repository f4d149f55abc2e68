// SPDX-License-Identifier: GPL-2.0

//! A resource: its locks, and what happens to them.

use super::flags;
use super::groups::{Groups, Head};
use super::lock::{pend, Blocker, Lock, LockIx, LockView, NewLock, State};
use super::slab::{Slab, NIL};
use super::tree::{Root, Trees};
use super::types::{Desc, Ibits, LockType, Mode, Policy, ResId, MODES};
use super::waits::FlockWaits;
use kapi::prelude::*;

/// What an event may use besides the resource.
#[derive(Default)]
pub struct Env<'a> {
    /// Who waits for whose file locks, over all resources of the namespace. Without it there is no
    /// deadlock detection; resources of other types do not need it.
    pub waits: Option<&'a mut FlockWaits>,
    /// During recovery holders are not told of conflicts; [`Resource::recovered`] makes up for it.
    pub quiet: bool,
}

/// How an enqueue ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// The lock is held.
    Granted,
    /// It waits; a completion follows.
    Waiting,
    /// Done, and nothing remains on the server: an unlock, a test, or a file lock merged into an
    /// older one of its owner.
    Done,
    /// Only wishes were asked for, and none could be fulfilled: no lock.
    Aborted,
}

/// The outcome of an enqueue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Enqueued {
    /// How it ended.
    pub status: Status,
    /// Flags to add to the reply: `LOCK_CHANGED`, `BLOCK_GRANTED`, `NO_TIMEOUT`.
    pub flags: u32,
    /// The lock as the reply shall describe it.
    pub desc: Desc,
}

/// A lock as a reply describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The lock.
    pub desc: Desc,
    /// `AST_SENT`, `DISCARD_DATA` with it, or nothing.
    pub flags: u32,
    /// The reply tells of a conflict: start the callback timer now.
    pub start_timer: bool,
}

/// Where something became free: what to look at again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use = "waiting locks may have become grantable"]
pub struct Hint(pub(super) Option<(u64, u64)>);

impl Hint {
    /// Nothing became free.
    pub const NONE: Hint = Hint(None);
    pub(super) const ALL: Hint = Hint(Some((0, u64::MAX)));

    /// Both.
    pub fn and(self, o: Hint) -> Hint {
        Hint(match (self.0, o.0) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        })
    }
}

/// The locks of one name.
pub struct Resource {
    pub(super) name: ResId,
    pub(super) kind: LockType,
    pub(super) slab: Slab,
    /// Extent and file locks by range, by mode.
    pub(super) trees: Trees,
    pub(super) granted: [Root; MODES],
    pub(super) waiting: [Root; MODES],
    /// Waiting file locks by their place in the queue.
    pub(super) flock_queue: Root,
    /// Plain and inode-bit locks.
    pub(super) groups: Groups,
    pub(super) granted_groups: Head,
    pub(super) waiting_groups: Head,
    pub(super) scan: u32,
    /// The group id of the granted GROUP locks on an extent resource.
    pub(super) group_gid: u64,
    pub(super) n_granted: u32,
    pub(super) n_waiting: u32,
    pub(super) seq: u64,
    pub(super) work_first: u32,
    pub(super) work_last: u32,
    pub(super) wake_local: bool,
}

impl Resource {
    /// A resource without locks.
    pub fn new(name: ResId, kind: LockType) -> Self {
        Resource {
            name,
            kind,
            slab: Slab::new(),
            trees: Trees::new(),
            granted: [Root::default(); MODES],
            waiting: [Root::default(); MODES],
            flock_queue: Root::default(),
            groups: Groups::new(),
            granted_groups: Head::default(),
            waiting_groups: Head::default(),
            scan: 0,
            group_gid: 0,
            n_granted: 0,
            n_waiting: 0,
            seq: 0,
            work_first: NIL,
            work_last: NIL,
            wake_local: false,
        }
    }

    /// Its name.
    pub fn name(&self) -> ResId {
        self.name
    }

    /// The type of its locks.
    pub fn lock_type(&self) -> LockType {
        self.kind
    }

    /// How many locks there are, in any state.
    pub fn len(&self) -> u32 {
        self.slab.len()
    }

    /// Whether there is no lock.
    pub fn is_empty(&self) -> bool {
        self.slab.len() == 0
    }

    /// How many locks are held.
    pub fn granted(&self) -> u32 {
        self.n_granted
    }

    /// How many locks wait.
    pub fn waiting(&self) -> u32 {
        self.n_waiting
    }

    /// Checks that `ix` is the lock with this handle and not cancelled.
    pub fn find(&self, ix: LockIx, cookie: u64) -> Option<LockView> {
        self.view(ix)
            .filter(|v| v.cookie == cookie && v.state != State::Gone)
    }

    /// A look at a lock, even one that is gone but not freed.
    pub fn view(&self, ix: LockIx) -> Option<LockView> {
        Some(self.slab.get(ix.0)?.view())
    }

    /// Calls `f` for each lock that is not gone.
    pub fn for_each(&self, mut f: impl FnMut(LockIx, &LockView)) {
        for ix in 1..=self.slab.high() {
            if let Some(l) = self.slab.get(ix).filter(|l| l.state != State::Gone) {
                f(LockIx(ix), &l.view());
            }
        }
    }

    /// The next lock after `from` that is not gone.
    pub fn next_lock(&self, from: Option<LockIx>) -> Option<(LockIx, LockView)> {
        let mut at = from.map_or(0, |i| i.0);
        loop {
            at = at.checked_add(1).filter(|n| *n <= self.slab.high())?;
            if let Some(l) = self.slab.get(at).filter(|l| l.state != State::Gone) {
                return Some((LockIx(at), l.view()));
            }
        }
    }

    /// Makes a lock, in no list yet. Everything that allocates is done here.
    ///
    /// # Errors
    /// `EPROTO`: the type is not that of the resource. `ENOMEM`.
    pub fn create(&mut self, new: &NewLock) -> Result<LockIx> {
        if new.policy.lock_type() != self.kind {
            return Err(EPROTO);
        }
        let keep = new.flags & (flags::INHERIT | flags::AST_DISCARD_DATA);
        let ix = self.store(KBox::new(Lock::new(new, keep), GFP_KERNEL)?)?;
        if self.kind == LockType::Flock {
            let twin = NewLock {
                cookie: new.twin_cookie,
                client_handle: 0,
                ..*new
            };
            let made = KBox::new(Lock::new(&twin, keep), GFP_KERNEL)
                .map_err(Error::from)
                .and_then(|l| self.store(l));
            match made {
                Ok(t) => {
                    if let Some(l) = self.slab.get_mut(ix) {
                        l.twin = t;
                    }
                }
                Err(e) => {
                    self.slab.remove(ix);
                    return Err(e);
                }
            }
        }
        Ok(LockIx(ix))
    }

    fn store(&mut self, lock: KBox<Lock>) -> Result<u32> {
        let ix = self.slab.add(lock)?;
        let grown = match self.kind {
            LockType::Extent | LockType::Flock => self.trees.grow(ix),
            LockType::Plain | LockType::Ibits => self.groups.grow(ix),
        };
        if let Err(e) = grown {
            self.slab.remove(ix);
            return Err(e);
        }
        Ok(ix)
    }

    /// The spare lock made along with a file lock, to be entered in the same tables.
    pub fn twin(&self, ix: LockIx) -> Option<LockIx> {
        let t = self.slab.get(ix.0)?.twin;
        (t != NIL).then_some(LockIx(t))
    }

    /// Asks for the lock (spec/ldlm.md 6). `req` are the flags of the request.
    ///
    /// # Errors
    /// The lock is gone then. `EAGAIN`: it would have to wait and may not. `EDEADLK`: the file
    /// lock would wait for itself. `EPROTO`: GROUP on other bits than DOM. `ENOMEM`.
    pub fn enqueue(&mut self, ix: LockIx, req: u32, env: &mut Env<'_>) -> Result<Enqueued> {
        let r = match self.kind {
            LockType::Extent => self.enqueue_extent(ix.0, req, env),
            LockType::Plain | LockType::Ibits => self.enqueue_bits(ix.0, req, env),
            LockType::Flock => self.enqueue_flock(ix.0, req, env),
        };
        match r {
            Ok(e) => {
                if e.status == Status::Aborted {
                    let _ = self.destroy(ix.0);
                }
                Ok(e)
            }
            Err(e) => {
                let _ = self.destroy(ix.0);
                Err(e)
            }
        }
    }

    /// Asks for the lock without telling anybody: it is granted at once or not at all.
    ///
    /// # Errors
    /// The lock is gone then. `EAGAIN`: it is not free. `EPROTO` as for [`Resource::enqueue`].
    pub fn try_enqueue(&mut self, ix: LockIx, env: &mut Env<'_>) -> Result<Enqueued> {
        let quiet = core::mem::replace(&mut env.quiet, true);
        let r = self.enqueue(ix, flags::SPECULATIVE | flags::BLOCK_NOWAIT, env);
        env.quiet = quiet;
        let r = r?;
        match r.status {
            Status::Waiting => {
                let _ = self.cancel(ix, env);
                Err(EAGAIN)
            }
            _ => {
                self.check_waiters(ix.0, env);
                Ok(r)
            }
        }
    }

    /// Enters a lock that a client replays in recovery, without any test: it was `granted` before,
    /// or waited.
    ///
    /// # Errors
    /// `EINVAL`: no such new lock.
    pub fn replay(&mut self, ix: LockIx, granted: bool) -> Result {
        let l = self.slab.get(ix.0).ok_or(EINVAL)?;
        if l.state != State::New {
            return Err(EINVAL);
        }
        self.drop_twin(ix.0);
        if granted {
            self.set_granted(ix.0);
        } else {
            self.set_waiting(ix.0);
        }
        Ok(())
    }

    /// Asks a client to give a lock up although nobody waits for it: there are too many. False if
    /// it has been asked already, or is not one to ask for.
    pub fn revoke(&mut self, ix: LockIx, env: &mut Env<'_>) -> bool {
        let Some(l) = self.slab.get(ix.0) else {
            return false;
        };
        let ours = l.export.is_local() || l.state != State::Granted;
        if ours || l.ast_sent || l.granted == Some(Mode::Group) || env.quiet {
            return false;
        }
        let mut policy = l.policy;
        if let Policy::Ibits(b) = &mut policy {
            // No bits to give up in particular: all of the lock.
            b.bits = 0;
        }
        let by = Blocker {
            mode: Mode::Ex,
            policy,
            discard: false,
        };
        self.notify(ix.0, &by, env);
        true
    }

    /// Recovery has ended: grants what can be granted, tells holders of those that cannot.
    pub fn recovered(&mut self, env: &mut Env<'_>) {
        self.reprocess(Hint::ALL, env);
        for ix in 1..=self.slab.high() {
            if self.slab.get(ix).is_some_and(|l| l.state == State::Granted) {
                self.check_waiters(ix, env);
            }
        }
    }

    /// Cancels a lock, granted, waiting or new. What waited for it is granted by a following
    /// [`Resource::reprocess`].
    pub fn cancel(&mut self, ix: LockIx, env: &mut Env<'_>) -> Hint {
        match self.kind {
            LockType::Flock => self.cancel_flock(ix.0, env),
            _ => self.destroy(ix.0),
        }
    }

    /// Looks at waiting locks again after something became free (spec/ldlm.md 18).
    pub fn reprocess(&mut self, hint: Hint, env: &mut Env<'_>) {
        let Some(range) = hint.0 else { return };
        if self.n_waiting == 0 {
            return;
        }
        match self.kind {
            LockType::Extent => self.reprocess_extent(range, env),
            LockType::Plain | LockType::Ibits => self.reprocess_bits(env),
            LockType::Flock => self.reprocess_flock(env),
        }
    }

    /// A client gives up all bits but `keep` (spec/ldlm.md 12).
    ///
    /// # Errors
    /// `EINVAL`: no held inode-bit lock, or nothing would remain. `EPROTO`: `mode` is not the
    /// lock's.
    pub fn convert(
        &mut self,
        ix: LockIx,
        mode: Mode,
        keep: u64,
        env: &mut Env<'_>,
    ) -> Result<Ibits> {
        let l = self.slab.get(ix.0).ok_or(EINVAL)?;
        let (State::Granted, Policy::Ibits(mut b)) = (l.state, l.policy) else {
            return Err(EINVAL);
        };
        if l.granted != Some(mode) {
            return Err(EPROTO);
        }
        let keep = b.bits & keep;
        if keep == 0 {
            return Err(EINVAL);
        }
        if keep == b.bits {
            return Ok(b);
        }
        b.bits = keep;
        self.regrant(ix.0, mode, Policy::Ibits(b), env);
        Ok(b)
    }

    /// Weakens a held lock to `mode` (and, for inode bits, to `bits`): EX to CR for a layout, PW
    /// to COS or TXN at the end of a transaction.
    ///
    /// # Errors
    /// `EINVAL`: not held, or `mode` conflicts with more than the present one.
    pub fn downgrade(
        &mut self,
        ix: LockIx,
        mode: Mode,
        bits: Option<u64>,
        env: &mut Env<'_>,
    ) -> Result {
        let l = self.slab.get(ix.0).ok_or(EINVAL)?;
        let Some(old) = l.granted.filter(|_| l.state == State::Granted) else {
            return Err(EINVAL);
        };
        let mut policy = l.policy;
        let group = mode == Mode::Group || old == Mode::Group;
        // COS locks out new readers, which the PW lock before it did not; those that are there
        // may stay.
        let cos = mode == Mode::Cos && matches!(old, Mode::Ex | Mode::Pw);
        if group || (!cos && old.compatible() & !mode.compatible() != 0) {
            return Err(EINVAL);
        }
        if let (Policy::Ibits(b), Some(bits)) = (&mut policy, bits) {
            if b.bits & bits == 0 {
                return Err(EINVAL);
            }
            b.bits &= bits;
        }
        self.regrant(ix.0, mode, policy, env);
        Ok(())
    }

    fn regrant(&mut self, ix: u32, mode: Mode, policy: Policy, env: &mut Env<'_>) {
        let _ = self.unset_granted(ix);
        if let Some(l) = self.slab.get_mut(ix) {
            l.req_mode = mode;
            l.policy = policy;
            l.req = policy;
            l.ast_sent = false;
            l.blocker = None;
            l.pend &= !pend::BLOCKING;
        }
        self.set_granted(ix);
        self.reprocess(Hint::ALL, env);
        self.check_waiters(ix, env);
    }

    /// Makes a held lock of the server the lock of a client: what an intent returns
    /// (spec/ldlm.md 8.2).
    ///
    /// # Errors
    /// `EINVAL`: not held, or not the server's own.
    pub fn hand_over(&mut self, ix: LockIx, to: &NewLock) -> Result {
        let l = self.slab.get_mut(ix.0).ok_or(EINVAL)?;
        if l.state != State::Granted || !l.export.is_local() || to.export.is_local() {
            return Err(EINVAL);
        }
        l.export = to.export;
        l.client_handle = to.client_handle;
        l.client_cookie = to.client_cookie;
        l.peer = to.peer;
        l.glimpse = to.glimpse;
        l.flags |= to.flags & flags::INHERIT;
        // A conflict known so far travels with the reply.
        l.pend &= !pend::BLOCKING;
        Ok(())
    }

    /// Cancels a lock and has it freed.
    pub(super) fn destroy(&mut self, ix: u32) -> Hint {
        let hint = match self.slab.get(ix).map(|l| l.state) {
            None | Some(State::Gone) => return Hint::NONE,
            Some(State::New) => Hint::NONE,
            Some(State::Waiting) => self.unset_waiting(ix),
            Some(State::Granted) => self.unset_granted(ix),
        };
        self.drop_twin(ix);
        if let Some(l) = self.slab.get_mut(ix) {
            l.state = State::Gone;
            l.pend &= !(pend::BLOCKING | pend::COMPLETION);
        }
        self.queue(ix, pend::FREE);
        hint
    }

    /// The spare lock of a file lock is not needed any more.
    pub(super) fn drop_twin(&mut self, ix: u32) {
        let twin = match self.slab.get_mut(ix) {
            Some(l) => core::mem::replace(&mut l.twin, NIL),
            None => NIL,
        };
        if twin != NIL {
            let _ = self.destroy(twin);
        }
    }
}
