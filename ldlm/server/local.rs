// SPDX-License-Identifier: GPL-2.0

//! Locks of the server itself (spec/ldlm.md 19).

use super::export::ExportLocks;
use super::namespace::Namespace;
use super::run::now_s;
use super::table::{LockRef, Node};
use crate::core::{
    flags, Enqueued, ExportId, LockIx, LockView, Mode, NewLock, Policy, ResId, State, Status,
};
use kapi::prelude::*;

/// How a lock of the server itself is taken.
#[derive(Clone, Copy, Debug)]
pub struct LocalOptions {
    /// `BLOCK_NOWAIT`, `SPECULATIVE`, `AST_DISCARD_DATA` (spec/ldlm.md 4).
    pub flags: u32,
    /// False for the lock of an object's destroy: a glimpse then finds the object gone.
    pub glimpse: bool,
    /// For COS: the client whose change it is about.
    pub client_cookie: u64,
}

impl Default for LocalOptions {
    fn default() -> Self {
        LocalOptions {
            flags: 0,
            glimpse: true,
            client_cookie: 0,
        }
    }
}

/// A held lock of the server itself; dropping it releases it.
///
/// Taking one may wait for clients: not to be done while holding anything that a client's flush
/// needs (a transaction, an inode lock). Dropping may send callbacks, but waits for nobody; as it
/// allocates, it is not for a commit callback: hand the lock to a thread there.
pub struct LocalLock {
    ns: Arc<Namespace>,
    at: Option<(LockRef, u64)>,
}

/// While somebody waits for a lock: how often to say so.
const PATIENCE: Duration = Duration::from_secs(60);

impl Namespace {
    /// Takes a lock for the server itself, waiting for its holders to give way.
    ///
    /// # Errors
    /// `EAGAIN`: it would have to wait and the flags forbid it, or only wishes were asked for and
    /// all are taken. `ESHUTDOWN`: the namespace stops. `EPROTO`: the resource has another type.
    /// `ENOMEM`.
    pub fn lock_local(
        self: &Arc<Self>,
        res: &ResId,
        mode: Mode,
        policy: Policy,
        options: LocalOptions,
    ) -> Result<LocalLock> {
        let new = NewLock {
            cookie: 0,
            twin_cookie: 0,
            export: ExportId::LOCAL,
            client_handle: 0,
            mode,
            policy,
            flags: options.flags,
            client_cookie: options.client_cookie,
            peer: 0,
            deadlock_ast: false,
            glimpse: options.glimpse,
            made: now_s(),
        };
        let (r, cookie, done) = self.enqueue_new(res, new, None, options.flags)?;
        self.run(&r.node);
        match done.status {
            Status::Granted => {}
            Status::Waiting => {
                if let Err(e) = self.wait_granted(&r, cookie) {
                    self.cancel_ref(&r, cookie, ExportId::LOCAL);
                    return Err(e);
                }
            }
            Status::Done | Status::Aborted => return Err(EAGAIN),
        }
        Ok(LocalLock {
            ns: self.clone(),
            at: Some((r, cookie)),
        })
    }

    fn wait_granted(&self, r: &LockRef, cookie: u64) -> Result {
        let mut st = r.node.state.lock();
        loop {
            let v = st.core.find(r.ix, cookie).ok_or(EAGAIN)?;
            if v.state == State::Granted {
                return Ok(());
            }
            if self.is_stopping() {
                return Err(ESHUTDOWN);
            }
            let (guard, late) = r.node.granted.wait_timeout(st, PATIENCE);
            st = guard;
            if late {
                let [a, b, c, d] = r.node.name.0;
                pr_warn!("ldlm: still waiting for a lock on {a:#x}:{b:#x}:{c:#x}:{d:#x}\n");
            }
        }
    }

    /// Makes a lock on the resource and enqueues it, by the rules or by `how`. The caller runs the
    /// resource.
    pub(super) fn enqueue_new(
        self: &Arc<Self>,
        res: &ResId,
        mut new: NewLock,
        exp: Option<&ExportLocks>,
        req: u32,
    ) -> Result<(LockRef, u64, Enqueued)> {
        let r = self.create(res, &mut new, exp)?;
        let mut st = r.node.state.lock();
        let done = match st.core.find(r.ix, new.cookie) {
            Some(_) => self.with(&mut st, |core, env| core.enqueue(r.ix, req, env)),
            // The export was detached meanwhile.
            None => Err(ENOTCONN),
        };
        drop(st);
        if done.is_err() {
            self.run(&r.node);
        }
        Ok((r, new.cookie, done?))
    }

    /// Makes a lock and enters it in all tables.
    pub(super) fn create(
        self: &Arc<Self>,
        res: &ResId,
        new: &mut NewLock,
        exp: Option<&ExportLocks>,
    ) -> Result<LockRef> {
        loop {
            let node = self.tables.get_or_create(res, new.policy.lock_type())?;
            let mut st = node.state.lock();
            if st.dead {
                continue;
            }
            new.cookie = random_cookie();
            new.twin_cookie = random_cookie();
            let made = st.core.create(new).and_then(|ix| {
                let twin = st.core.twin(ix);
                let r = self.enter(&node, ix, new.cookie, new.client_handle, exp);
                let t = match (twin, &r) {
                    (Some(t), Ok(_)) => self.enter(&node, t, new.twin_cookie, 0, exp).map(drop),
                    _ => Ok(()),
                };
                match r.and_then(|r| t.map(|()| r)) {
                    Ok(r) => Ok(r),
                    Err(e) => {
                        let _ = self.with(&mut st, |core, env| core.cancel(ix, env));
                        Err(e)
                    }
                }
            });
            drop(st);
            if made.is_err() {
                self.run(&node);
            }
            return made;
        }
    }

    fn enter(
        &self,
        node: &Arc<Node>,
        ix: LockIx,
        cookie: u64,
        client_handle: u64,
        exp: Option<&ExportLocks>,
    ) -> Result<LockRef> {
        let r = LockRef {
            node: node.clone(),
            ix,
        };
        let entry = super::table::Tables::handle_node(cookie, r.clone())?;
        if !self.tables.add_handle(cookie, entry) {
            // Two equal random numbers of 64 bits, or a broken generator.
            return Err(EAGAIN);
        }
        if let Some(exp) = exp {
            exp.add(client_handle, cookie)?;
        }
        Ok(r)
    }
}

/// A handle nobody can guess.
fn random_cookie() -> u64 {
    loop {
        let c = kapi::rand::u64();
        if c != 0 {
            return c;
        }
    }
}

impl LocalLock {
    /// The handle.
    pub fn cookie(&self) -> u64 {
        self.at.as_ref().map_or(0, |a| a.1)
    }

    /// The name of the resource.
    pub fn resource(&self) -> ResId {
        self.at.as_ref().map_or(ResId::default(), |a| a.0.node.name)
    }

    /// A look at it: mode, and what it covers (wishes that came true included).
    pub fn view(&self) -> Option<LockView> {
        let (r, cookie) = self.at.as_ref()?;
        r.node.state.lock().core.find(r.ix, *cookie)
    }

    /// Whether somebody waits for it.
    pub fn is_blocking(&self) -> bool {
        self.view().is_some_and(|v| v.ast_sent)
    }

    /// Weakens it to `mode` and, for inode bits, to `bits`; who waits for no more than what became
    /// free gets it.
    ///
    /// # Errors
    /// `EINVAL`: `mode` is not weaker, or no bit would remain.
    pub fn downgrade(&mut self, mode: Mode, bits: Option<u64>) -> Result {
        let (r, _) = self.at.as_ref().ok_or(EINVAL)?;
        let mut st = r.node.state.lock();
        let done = self
            .ns
            .with(&mut st, |core, env| core.downgrade(r.ix, mode, bits, env));
        drop(st);
        self.ns.run(&r.node);
        done
    }

    /// Makes it the lock of a client, under the client's handle: what an intent returns
    /// (spec/ldlm.md 8.2).
    pub(super) fn hand_over(
        mut self,
        exp: &ExportLocks,
        client_handle: u64,
        inherit: u32,
    ) -> Result<(LockRef, u64)> {
        let (r, cookie) = self.at.as_ref().ok_or(EINVAL)?;
        exp.add(client_handle, *cookie)?;
        let mut st = r.node.state.lock();
        let v = st.core.find(r.ix, *cookie).ok_or(EINVAL)?;
        let to = NewLock {
            cookie: *cookie,
            twin_cookie: 0,
            export: exp.id(),
            client_handle,
            mode: v.req_mode,
            policy: v.policy,
            flags: inherit & flags::INHERIT,
            client_cookie: exp.id().0,
            peer: exp.options.peer,
            deadlock_ast: exp.options.flock_dead,
            glimpse: true,
            made: now_s(),
        };
        // Detached meanwhile: nobody would cancel it.
        let moved = if exp.is_closed() {
            Err(ENOTCONN)
        } else {
            st.core.hand_over(r.ix, &to)
        };
        drop(st);
        if let Err(e) = moved {
            exp.remove(client_handle, *cookie);
            return Err(e);
        }
        self.at.take().ok_or(EINVAL)
    }
}

impl Drop for LocalLock {
    fn drop(&mut self) {
        if let Some((r, cookie)) = self.at.take() {
            self.ns.cancel_ref(&r, cookie, ExportId::LOCAL);
        }
    }
}
