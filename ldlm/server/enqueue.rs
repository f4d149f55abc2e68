// SPDX-License-Identifier: GPL-2.0

//! LDLM_ENQUEUE (spec/ldlm.md 7 to 9, 17).

use super::export::ExportLocks;
use super::local::LocalLock;
use super::lvb::Lvb;
use super::namespace::Namespace;
use super::run::now_s;
use super::table::LockRef;
use super::traits::LvbClass;
use crate::core::{flags, ibits, Desc, LockType, Mode, NewLock, Policy, ResId, State, Status};
use kapi::prelude::*;

/// ELDLM_LOCK_ABORTED: the intent was executed, but there is no lock.
const ABORTED: i32 = 301;

/// A decoded enqueue request.
#[derive(Clone, Copy, Debug)]
pub struct EnqueueReq {
    /// Request flags.
    pub flags: u32,
    /// The resource.
    pub res: ResId,
    /// The mode asked for.
    pub mode: Mode,
    /// What the lock shall cover; its type is that of the lock.
    pub policy: Policy,
    /// The client's handle.
    pub client_handle: u64,
    /// MSG_RESENT is set.
    pub resent: bool,
}

/// Up to 56 bytes of a value block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LvbBytes {
    bytes: Option<Lvb>,
    len: usize,
}

impl LvbBytes {
    pub(super) fn new(lvb: Lvb, len: usize) -> Self {
        LvbBytes {
            bytes: Some(lvb),
            len: len.min(Lvb::LEN),
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value block.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value.
    pub fn value(&self) -> Option<Lvb> {
        self.bytes
    }

    /// Copies the bytes to the beginning of `out`.
    ///
    /// # Errors
    /// `EOVERFLOW`: they do not fit.
    pub fn write(&self, out: &mut [u8]) -> Result {
        let all = self.bytes.unwrap_or_default().to_wire();
        let from = all.get(..self.len).ok_or(EOVERFLOW)?;
        out.get_mut(..self.len)
            .ok_or(EOVERFLOW)?
            .copy_from_slice(from);
        Ok(())
    }
}

/// What to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EnqueueReply {
    /// `pb_status`: 0, or +301 for an intent without a lock.
    pub status: i32,
    /// `lock_flags`.
    pub flags: u32,
    /// `lock_desc`; zeros if absent.
    pub desc: Option<Desc>,
    /// `lock_handle`: ours.
    pub cookie: u64,
    /// `lock_policy_res1`.
    pub res1: u64,
    /// `lock_policy_res2`.
    pub res2: u64,
    /// The value block.
    pub lvb: LvbBytes,
}

/// What an intent came to.
pub enum Intent {
    /// This lock is for the client; disposition bits, and the status of the operation.
    Lock(LocalLock, u64, i32),
    /// No lock; disposition bits, and the status of the operation.
    NoLock(u64, i32),
    /// Enqueue the lock that was asked for; disposition bits, and the status of the operation.
    Enqueue(u64, i32),
}

/// Executes the intent of an enqueue. An error is one of the request itself: it is answered with
/// an error reply, while what the operation came to goes into the [`Intent`].
pub trait IntentPolicy {
    /// Executes it. Locks taken for the operation are this function's business.
    fn execute(
        &mut self,
        ns: &Arc<Namespace>,
        exp: &Arc<ExportLocks>,
        req: &EnqueueReq,
    ) -> Result<Intent>;

    /// The request is here again, and `lock` is what it came to the first time: the rest of the
    /// reply is to be made again, under that lock. Returns the disposition bits and the status of
    /// the operation.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: there is no such intent.
    fn again(
        &mut self,
        ns: &Arc<Namespace>,
        req: &EnqueueReq,
        lock: &EnqueueReply,
    ) -> Result<(u64, i32)> {
        let _ = (ns, req, lock);
        Err(EOPNOTSUPP)
    }
}

impl Namespace {
    /// Handles an enqueue. Early cancels of the request are to be done before
    /// ([`Namespace::cancel`]).
    ///
    /// `intent` is there if the request has an intent buffer. HAS_INTENT without one is a glimpse
    /// for extents and for the data bit of inodes, and means nothing otherwise.
    ///
    /// # Errors
    /// Those of spec/ldlm.md 7.4; the request gets an error reply.
    pub fn enqueue(
        self: &Arc<Self>,
        exp: &Arc<ExportLocks>,
        req: &EnqueueReq,
        intent: Option<&mut dyn IntentPolicy>,
    ) -> Result<EnqueueReply> {
        if !req.mode.from_client() {
            return Err(EPROTO);
        }
        let replay = req.flags & flags::REPLAY != 0;
        if replay || req.resent {
            if let Some(mut r) = self.known(exp, req)? {
                if let Some(policy) = intent.filter(|_| !replay && r.cookie != 0) {
                    let (res1, res2) = policy.again(self, req, &r)?;
                    r.res1 = res1;
                    r.res2 = i64::from(res2) as u64;
                }
                return Ok(r);
            }
        }
        if replay {
            // Replayed locks are believed: only while all clients replay theirs.
            return match self.is_recovering() {
                true => self.replay(exp, req),
                false => Err(EPROTO),
            };
        }
        if !self.has_room(exp, req) {
            return Err(EINPROGRESS);
        }
        if req.flags & flags::HAS_INTENT != 0 {
            if let Some(policy) = intent {
                let done = policy.execute(self, exp, req)?;
                return self.answer_intent(exp, req, done);
            }
            match req.policy {
                Policy::Extent(_) => return self.glimpse_enqueue(exp, req),
                Policy::Ibits(b) if b.bits | b.try_bits == ibits::DOM && req.mode == Mode::Pr => {
                    return self.glimpse_enqueue(exp, req);
                }
                _ => {}
            }
        }
        self.enqueue_plain(exp, req)
    }

    /// Whether a client may have another lock. It will be asked to give up some if not.
    fn has_room(&self, exp: &ExportLocks, req: &EnqueueReq) -> bool {
        let unlocks = req.policy.lock_type() == LockType::Flock && req.mode == Mode::Nl;
        unlocks || !self.memory().is_full() && exp.has_room()
    }

    /// What the lock shall be like.
    pub(super) fn new_lock(exp: &ExportLocks, req: &EnqueueReq) -> NewLock {
        NewLock {
            cookie: 0,
            twin_cookie: 0,
            export: exp.id(),
            client_handle: req.client_handle,
            mode: req.mode,
            policy: req.policy,
            flags: req.flags,
            client_cookie: exp.id().0,
            peer: exp.options.peer,
            deadlock_ast: exp.options.flock_dead,
            glimpse: true,
            made: now_s(),
        }
    }

    pub(super) fn enqueue_plain(
        self: &Arc<Self>,
        exp: &Arc<ExportLocks>,
        req: &EnqueueReq,
    ) -> Result<EnqueueReply> {
        let mut new = Self::new_lock(exp, req);
        let r = self.create(&req.res, &mut new, Some(exp))?;
        let cookie = new.cookie;
        let ready = self.prepare_lvb(&r, cookie);
        let mut st = r.node.state.lock();
        let done = match (st.core.find(r.ix, cookie), ready) {
            (Some(_), Ok(())) => self.with(&mut st, |c, env| c.enqueue(r.ix, req.flags, env)),
            (Some(_), Err(e)) => {
                let _ = self.with(&mut st, |c, env| c.cancel(r.ix, env));
                Err(e)
            }
            (None, _) => Err(ENOTCONN),
        };
        drop(st);
        self.run(&r.node);
        let done = done?;
        match done.status {
            Status::Granted | Status::Waiting => {
                self.reply_lock(exp, &r, cookie, req.flags | done.flags)
            }
            Status::Done => Ok(EnqueueReply {
                flags: req.flags | done.flags,
                desc: Some(done.desc),
                cookie,
                ..Default::default()
            }),
            Status::Aborted => Ok(EnqueueReply {
                status: ABORTED,
                ..Default::default()
            }),
        }
    }

    /// Reads the value block of the resource if the lock has one.
    pub(super) fn prepare_lvb(&self, r: &LockRef, cookie: u64) -> Result {
        let view = r.node.state.lock().core.find(r.ix, cookie);
        if view.is_some_and(|v| self.ops.lvb_class(&v) == LvbClass::Ost) {
            self.init_lvb(&r.node)?;
        }
        Ok(())
    }

    /// Describes a lock in a reply, as it is now (spec/ldlm.md 7.2, steps 14 to 16).
    pub(super) fn reply_lock(
        self: &Arc<Self>,
        exp: &Arc<ExportLocks>,
        r: &LockRef,
        cookie: u64,
        flags: u32,
    ) -> Result<EnqueueReply> {
        let mut st = r.node.state.lock();
        let view = st.core.find(r.ix, cookie).filter(|v| v.export == exp.id());
        let reply = view.and_then(|_| self.with(&mut st, |c, env| c.reply(r.ix, env)));
        let (Some(view), Some(reply)) = (view, reply) else {
            drop(st);
            // Cancelled before it could be told: by the client itself, if not by its end.
            return Err(if exp.is_closed() { ENOTCONN } else { EAGAIN });
        };
        if reply.start_timer {
            let to = crate::core::AstTarget {
                export: view.export,
                client_handle: view.client_handle,
                cookie,
            };
            self.start_timer(exp, &to);
        }
        drop(st);
        let mut lvb = LvbBytes::default();
        if self.ops.lvb_class(&view) == LvbClass::Ost {
            if let Ok(l) = self.init_lvb(&r.node) {
                lvb = LvbBytes::new(l, exp.lvb_len());
            }
        }
        if reply.flags != 0 {
            // A lock that goes by itself on a conflict is gone now.
            self.run(&r.node);
        }
        Ok(EnqueueReply {
            status: 0,
            flags: flags | reply.flags,
            desc: Some(reply.desc),
            cookie,
            lvb,
            ..Default::default()
        })
    }

    /// The answer to a resent or replayed enqueue whose lock is there (spec/ldlm.md 9).
    fn known(
        self: &Arc<Self>,
        exp: &Arc<ExportLocks>,
        req: &EnqueueReq,
    ) -> Result<Option<EnqueueReply>> {
        // What a split of a file lock leaves has no handle at the client.
        let found = Some(req.client_handle)
            .filter(|h| *h != 0)
            .and_then(|h| exp.by_client_handle(h))
            .and_then(|c| Some((self.tables.handle(c)?, c)));
        let Some((r, cookie)) = found else {
            return Ok(None);
        };
        let view = r.node.state.lock().core.find(r.ix, cookie);
        let Some(v) = view.filter(|v| v.export == exp.id()) else {
            return Ok(None);
        };
        let mut f = req.flags | flags::LOCK_CHANGED | (v.flags & flags::NO_TIMEOUT);
        if v.state != State::Granted {
            f |= flags::BLOCK_GRANTED;
        }
        let mut reply = self.reply_lock(exp, &r, cookie, f)?;
        if req.flags & flags::REPLAY != 0 {
            reply.lvb = LvbBytes::default();
        }
        Ok(Some(reply))
    }

    /// A lock of the time before the restart: entered as the client says (spec/ldlm.md 17.5).
    fn replay(self: &Arc<Self>, exp: &Arc<ExportLocks>, req: &EnqueueReq) -> Result<EnqueueReply> {
        let held = req.flags & flags::BLOCK_GRANTED != 0;
        if !held && req.flags & flags::BLOCK_WAIT == 0 {
            let mut reply = self.enqueue_plain(exp, req)?;
            reply.lvb = LvbBytes::default();
            return Ok(reply);
        }
        let mut new = Self::new_lock(exp, req);
        let r = self.create(&req.res, &mut new, Some(exp))?;
        let mut st = r.node.state.lock();
        let done = match st.core.find(r.ix, new.cookie) {
            Some(_) => self.with(&mut st, |c, _| c.replay(r.ix, held)),
            None => Err(ENOTCONN),
        };
        drop(st);
        self.run(&r.node);
        done?;
        Ok(EnqueueReply {
            flags: req.flags,
            desc: Some(Desc {
                res: req.res,
                req_mode: req.mode,
                granted: held.then_some(req.mode),
                policy: req.policy,
                cancel_bits: 0,
            }),
            cookie: new.cookie,
            ..Default::default()
        })
    }

    /// Turns what an intent came to into a reply (spec/ldlm.md 8).
    fn answer_intent(
        self: &Arc<Self>,
        exp: &Arc<ExportLocks>,
        req: &EnqueueReq,
        done: Intent,
    ) -> Result<EnqueueReply> {
        let (mut reply, res1, res2) = match done {
            Intent::Lock(lock, res1, res2) => {
                let (r, cookie) = lock.hand_over(exp, req.client_handle, req.flags)?;
                let f = req.flags | flags::LOCK_CHANGED;
                (self.reply_lock(exp, &r, cookie, f)?, res1, res2)
            }
            Intent::Enqueue(res1, res2) if req.flags & flags::INTENT_ONLY == 0 => {
                (self.enqueue_plain(exp, req)?, res1, res2)
            }
            Intent::NoLock(res1, res2) | Intent::Enqueue(res1, res2) => {
                let reply = EnqueueReply {
                    status: ABORTED,
                    ..Default::default()
                };
                (reply, res1, res2)
            }
        };
        reply.res1 = res1;
        reply.res2 = i64::from(res2) as u64;
        Ok(reply)
    }
}

impl EnqueueReq {
    /// The type of the lock.
    pub fn lock_type(&self) -> LockType {
        self.policy.lock_type()
    }
}
