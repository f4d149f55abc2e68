// SPDX-License-Identifier: GPL-2.0

//! Early replies: telling clients of slow requests to wait longer (spec `ptlrpc.md` §8.3).

use crate::message::Msg;
use crate::request::Shared;
use kapi::prelude::*;

struct Inner {
    /// Requests by deadline; the second part of the key tells equal deadlines apart.
    by_deadline: RBTree<(u64, u64), Arc<Shared>>,
    next: u64,
    stopping: bool,
}

/// The requests that wait for an answer, by deadline.
#[pin_data]
pub(crate) struct EarlyReplies {
    #[pin]
    inner: Mutex<Inner>,
    #[pin]
    wake: CondVar,
}

impl EarlyReplies {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(EarlyReplies {
            inner <- new_mutex!(Inner {
                by_deadline: RBTree::new(),
                next: 0,
                stopping: false,
            }),
            wake <- new_condvar!(),
        })
    }

    /// Watches over a request.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn add(&self, s: &Arc<Shared>) -> Result {
        if !s.at_support {
            return Ok(());
        }
        let mut inner = self.inner.lock();
        inner.next += 1;
        let key = (s.deadline_nanos(), inner.next);
        inner
            .by_deadline
            .try_create_and_insert(key, s.clone(), GFP_KERNEL)?;
        s.set_watch_key(key);
        Ok(())
    }

    /// The request is answered.
    pub(crate) fn remove(&self, s: &Shared) {
        let mut inner = self.inner.lock();
        let gone = inner.by_deadline.remove(&s.watch_key());
        drop(inner);
        drop(gone);
    }

    pub(crate) fn stop(&self) {
        self.inner.lock().stopping = true;
        self.wake.notify_all();
    }

    /// The thread's life: looks once a second, which is fine enough for margins of seconds and
    /// lets finished requests go soon.
    pub(crate) fn run(&self) {
        loop {
            let mut due: KVec<Arc<Shared>> = KVec::new();
            {
                let guard = self.inner.lock();
                if guard.stopping {
                    return;
                }
                let (mut inner, _) = self.wake.wait_timeout(guard, Duration::from_secs(1));
                if inner.stopping {
                    inner.by_deadline = RBTree::new();
                    return;
                }
                self.collect(&mut inner, &mut due);
            }
            for s in due {
                if let Err(e) = self.answer(&s) {
                    pr_debug!("no early reply to {}: {:?}\n", s.peer.nid, e);
                }
            }
        }
    }

    /// Takes out what is near its deadline, and what is finished among it.
    fn collect(&self, inner: &mut Inner, due: &mut KVec<Arc<Shared>>) {
        let now = Instant::now().as_nanos();
        loop {
            let first = inner.by_deadline.keys().next().copied();
            let Some(key) = first else { return };
            let Some(s) = inner.by_deadline.get(&key).cloned() else {
                return;
            };
            let margin = u64::from(s.node.limits().at.early_margin) * 1_000_000_000;
            if key.0 > now.saturating_add(margin) {
                return;
            }
            inner.by_deadline.remove(&key);
            if s.is_done() {
                continue;
            }
            if due.push(s, GFP_KERNEL).is_err() {
                // It will time out at the client, which resends.
                return;
            }
        }
    }

    /// Sends an early reply, if that gains time, and watches on.
    fn answer(&self, s: &Arc<Shared>) -> Result {
        let limits = s.node.limits();
        let elapsed = u32::try_from(s.arrival.elapsed().as_secs()).unwrap_or(u32::MAX);
        let total = s
            .service
            .note_duration(elapsed.saturating_add(limits.at.extra));
        let deadline = (s.arrival + Duration::from_secs(total.into())).as_nanos();
        let now = Instant::now().as_nanos();
        if deadline <= s.deadline_nanos() || s.deadline_nanos() <= now {
            return Ok(());
        }
        let mut m = Msg::new(&[])?;
        let body = m.body_mut()?;
        body.fill_reply(s.opc, 0, false);
        body.pb_timeout.set(total);
        body.pb_service_time.set(elapsed.max(1));
        m.seal_early()?;
        s.set_deadline(deadline);
        self.add(s)?;
        if s.is_done() {
            return Ok(());
        }
        crate::net::put(
            &s.node,
            &s.peer,
            s.service.config().reply_portal,
            s.reply_mbits(),
            0,
            m,
        )
    }
}
