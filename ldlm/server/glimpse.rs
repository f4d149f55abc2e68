// SPDX-License-Identifier: GPL-2.0

//! Glimpses: size and times from the client that caches data (spec/ldlm.md 14).

use super::enqueue::{EnqueueReply, EnqueueReq, LvbBytes};
use super::export::ExportLocks;
use super::lvb::Lvb;
use super::namespace::Namespace;
use super::run::AstDone;
use super::table::Node;
use crate::core::{flags, AstTarget, Desc, LockType, Status};
use kapi::prelude::*;

/// Glimpse callbacks in flight for one request.
#[pin_data]
pub(super) struct GlimpseWait {
    #[pin]
    state: Mutex<WaitState>,
    #[pin]
    all: CondVar,
}

struct WaitState {
    outstanding: usize,
    heard: Option<Lvb>,
}

impl GlimpseWait {
    fn new(outstanding: usize) -> Result<Arc<Self>> {
        let state = WaitState {
            outstanding,
            heard: None,
        };
        Arc::pin_init(
            pin_init!(GlimpseWait {
                state <- new_mutex!(state),
                all <- new_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    /// A client has told what it knows.
    pub(super) fn merge(&self, l: &Lvb) {
        let mut st = self.state.lock();
        match &mut st.heard {
            Some(h) => h.grow(l),
            None => st.heard = Some(*l),
        }
    }

    /// One callback less.
    pub(super) fn answered(&self) {
        let mut st = self.state.lock();
        st.outstanding = st.outstanding.saturating_sub(1);
        if st.outstanding == 0 {
            self.all.notify_all();
        }
    }

    /// Waits for all of them. Every callback ends, with an answer or a time-out.
    fn wait(&self) -> Option<Lvb> {
        let mut st = self.state.lock();
        while st.outstanding != 0 {
            st = self.all.wait_timeout(st, Duration::from_secs(60)).0;
        }
        st.heard
    }
}

impl Namespace {
    /// A request for the size: the lock if it is free, else what its holders say.
    pub(super) fn glimpse_enqueue(
        self: &Arc<Self>,
        exp: &Arc<ExportLocks>,
        req: &EnqueueReq,
    ) -> Result<EnqueueReply> {
        let mut new = Self::new_lock(exp, req);
        let r = self.create(&req.res, &mut new, Some(exp))?;
        let cookie = new.cookie;
        let read = self.init_lvb(&r.node);
        let mut st = r.node.state.lock();
        // Speculative: nobody is called back, and nothing waits.
        let done = match (st.core.find(r.ix, cookie), &read) {
            (Some(_), Ok(_)) => self.with(&mut st, |core, env| core.try_enqueue(r.ix, env)),
            (Some(_), Err(e)) => {
                let _ = self.with(&mut st, |core, env| core.cancel(r.ix, env));
                Err(*e)
            }
            (None, _) => Err(ENOTCONN),
        };
        drop(st);
        match done {
            Ok(d) if d.status == Status::Granted => {
                self.run(&r.node);
                let f = req.flags | d.flags | flags::LOCK_CHANGED;
                self.reply_lock(exp, &r, cookie, f)
            }
            Err(e) if e != EAGAIN => {
                self.run(&r.node);
                Err(e)
            }
            _ => {
                let reply = self.ask_holders(exp, req, &r.node);
                self.run(&r.node);
                reply
            }
        }
    }

    fn ask_holders(
        self: &Arc<Self>,
        exp: &Arc<ExportLocks>,
        req: &EnqueueReq,
        node: &Arc<Node>,
    ) -> Result<EnqueueReply> {
        let mut lvb = self.init_lvb(node)?;
        let mut reply = EnqueueReply {
            status: 301,
            ..Default::default()
        };
        if req.flags & flags::BLOCK_NOWAIT == 0 {
            let st = node.state.lock();
            let scan = match node.kind {
                LockType::Extent => st.core.glimpse_extents(lvb.size)?,
                _ => st.core.glimpse_dom()?,
            };
            drop(st);
            if scan.destroying {
                let gone = i64::from(ENOENT.to_errno()) as u64;
                match node.kind {
                    LockType::Extent => reply.res1 = gone,
                    _ => reply.res2 = gone,
                }
            } else if !scan.targets.is_empty() {
                lvb = self.glimpse(node, &scan.targets, None)?;
            }
        }
        reply.lvb = LvbBytes::new(lvb, exp.lvb_len());
        Ok(reply)
    }

    /// Asks the holders of these locks and waits for their answers; returns the value block that
    /// results.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn glimpse(
        self: &Arc<Self>,
        node: &Arc<Node>,
        targets: &[(AstTarget, Desc)],
        data: Option<&[u8; 64]>,
    ) -> Result<Lvb> {
        let wait = GlimpseWait::new(targets.len())?;
        for (to, desc) in targets {
            let done = AstDone::glimpse(self, &wait, *to);
            match self.export(to.export) {
                Some(exp) => exp.sender.send_glimpse(to, desc, data, done),
                None => done.gone(),
            }
        }
        let heard = wait.wait();
        if let Some(h) = &heard {
            node.lvb.lock().grow(h);
        }
        self.refresh_lvb(node);
        self.init_lvb(node)
    }

    /// Asks the clients that cache data of this object for its present size, times and blocks:
    /// what a getattr of the server needs. `None`: the resource has no locks, the disk knows all.
    ///
    /// # Errors
    /// Those of reading the object; `ENOMEM`.
    pub fn glimpse_local(self: &Arc<Self>, res: &crate::core::ResId) -> Result<Option<Lvb>> {
        let Some(node) = self.tables.get(res) else {
            return Ok(None);
        };
        let lvb = self.init_lvb(&node)?;
        let scan = {
            let st = node.state.lock();
            match node.kind {
                LockType::Extent => st.core.glimpse_extents(lvb.size)?,
                _ => st.core.glimpse_dom()?,
            }
        };
        if scan.targets.is_empty() {
            return Ok(Some(lvb));
        }
        self.glimpse(&node, &scan.targets, None).map(Some)
    }

    /// Sends a glimpse with a descriptor to every holder of a lock on this resource, as quota and
    /// barriers do, and does not wait for answers (spec/ldlm.md 14.4).
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn notify_holders(
        self: &Arc<Self>,
        res: &crate::core::ResId,
        data: &[u8; 64],
    ) -> Result<usize> {
        let Some(node) = self.tables.get(res) else {
            return Ok(0);
        };
        let targets = node.state.lock().core.holders()?;
        for (to, desc) in targets.iter() {
            let done = AstDone::notice(self, *to);
            match self.export(to.export) {
                Some(exp) => exp.sender.send_glimpse(to, desc, Some(data), done),
                None => done.gone(),
            }
        }
        Ok(targets.len())
    }
}
