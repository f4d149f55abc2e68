// SPDX-License-Identifier: GPL-2.0

//! Calls: requests that this node sends, until their replies are here.

use crate::bulk::ClientBulk;
use crate::import::Import;
use crate::message::Msg;
use kapi::prelude::*;
use wire::msg::MsgFlags;

/// How a call behaves.
#[derive(Clone, Copy, Debug)]
pub struct CallOptions {
    /// The portal it goes to; the import's own if `None`.
    pub portal: Option<u32>,
    /// The portal of its reply; the import's own if `None`.
    pub reply_portal: Option<u32>,
    /// Fails instead of being sent again on a new connection.
    pub no_resend: bool,
    /// Fails at once when there is no connection, instead of waiting for one.
    pub no_delay: bool,
    /// Changes something: takes a slot (tag), so that its reply can be told again.
    pub modifies: bool,
    /// Seconds it may take; as the adaptive time-outs say if `None`.
    pub timeout: Option<u32>,
    /// Room for the reply, bytes of the whole message.
    pub reply_size: u32,
}

impl CallOptions {
    /// An ordinary call whose reply has buffers of at most these lengths after the body.
    ///
    /// # Errors
    /// `EOVERFLOW`: no message can be so large.
    pub fn new(reply_lens: &[u32]) -> Result<CallOptions> {
        let size = wire::msg::packed_size(reply_lens).ok_or(EOVERFLOW)?;
        Ok(CallOptions {
            portal: None,
            reply_portal: None,
            no_resend: false,
            no_delay: false,
            modifies: false,
            timeout: None,
            reply_size: u32::try_from(size)?,
        })
    }
}

/// What happened to a call.
pub type Outcome = Result<Reply>;

/// A reply, with what came by bulk.
pub struct Reply {
    /// The message.
    pub msg: Msg,
    /// `pb_status`: zero, a negative errno, or what the operation defines.
    pub status: i32,
    /// The bulk buffers, filled if the operation fills them.
    pub bulk: Option<ClientBulk>,
}

impl Reply {
    /// The status as a result: negative is an error.
    pub fn check(self) -> Result<Reply> {
        if self.status < 0 {
            return Err(Error::from_errno(self.status));
        }
        Ok(self)
    }
}

/// Where a call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Not sent: waits for the connection, or is to be sent again.
    Waiting,
    /// On its way.
    Sent,
    /// Over; the outcome is there or was taken.
    Done,
}

pub(crate) struct CallInner {
    pub(crate) phase: Phase,
    pub(crate) msg: Msg,
    pub(crate) bulk: Option<ClientBulk>,
    outcome: Option<Outcome>,
    on_done: Option<KBox<dyn Once<Outcome>>>,
    pub(crate) sent_at: Instant,
    pub(crate) deadline: Instant,
    /// Connection generation it was last sent in.
    pub(crate) conn_cnt: u32,
    pub(crate) attempts: u32,
    /// The receive buffer of the attempt under way.
    pub(crate) receive: Option<crate::net::Receive>,
    /// The attempt under way may get early replies.
    at_support: bool,
    /// Its connection is lost, and it is not to be sent again.
    pub(crate) doomed: bool,
    pub(crate) reply_size: u32,
}

/// A call. It lives in its import's list until it is done.
#[pin_data]
pub struct Call {
    /// The XID.
    pub xid: u64,
    /// The opcode.
    pub opc: u32,
    pub(crate) tag: u16,
    pub(crate) options: CallOptions,
    pub(crate) import: Arc<Import>,
    #[pin]
    inner: Mutex<CallInner>,
    #[pin]
    done: CondVar,
}

/// What a call is known by, and when it began.
pub(crate) struct Birth {
    pub(crate) xid: u64,
    pub(crate) tag: u16,
    pub(crate) now: Instant,
}

impl Call {
    pub(crate) fn new(
        import: &Arc<Import>,
        birth: Birth,
        msg: Msg,
        options: CallOptions,
        bulk: Option<ClientBulk>,
        on_done: Option<KBox<dyn Once<Outcome>>>,
    ) -> Result<Arc<Call>> {
        let Birth { xid, tag, now } = birth;
        let opc = msg.body().pb_opc.get();
        Arc::pin_init(
            try_pin_init!(Call {
                xid,
                opc,
                tag,
                options,
                import: import.clone(),
                inner <- new_mutex!(CallInner {
                    phase: Phase::Waiting,
                    msg,
                    bulk,
                    outcome: None,
                    on_done,
                    sent_at: now,
                    deadline: now,
                    conn_cnt: 0,
                    attempts: 0,
                    receive: None,
                    at_support: false,
                    doomed: false,
                    reply_size: options.reply_size,
                }),
                done <- new_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, CallInner> {
        self.inner.lock()
    }

    /// Ends it with `outcome`, unless it is over already. Whoever waits wakes; a completion
    /// function runs on one of the node's worker threads.
    pub(crate) fn finish(&self, outcome: Result<(Msg, i32)>) {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Done {
            return;
        }
        inner.phase = Phase::Done;
        let receive = inner.receive.take();
        let bulk = inner.bulk.take();
        let on_done = inner.on_done.take();
        drop(inner);
        // No buffer of ours is written to any more once these are gone.
        if let Some(r) = receive {
            r.cancel();
        }
        let outcome = match (outcome, bulk) {
            (Ok((msg, status)), Some(b)) => b.settle(status).map(|b| Reply {
                msg,
                status,
                bulk: Some(b),
            }),
            (Ok((msg, status)), None) => Ok(Reply {
                msg,
                status,
                bulk: None,
            }),
            (Err(e), Some(b)) => {
                b.cancel();
                Err(e)
            }
            (Err(e), None) => Err(e),
        };
        match on_done {
            Some(f) => self.import.node().run(f, outcome),
            None => {
                self.inner.lock().outcome = Some(outcome);
                self.done.notify_all();
            }
        }
    }

    /// Waits for the outcome.
    ///
    /// # Errors
    /// `ETIMEDOUT`, `EIO` (evicted), `ESHUTDOWN` (the import was closed), `ENOTCONN`.
    pub fn wait(&self) -> Outcome {
        let mut inner = self.inner.lock();
        loop {
            if let Some(o) = inner.outcome.take() {
                return o;
            }
            inner = self.done.wait(inner);
        }
    }

    /// Whether the outcome is there; it is waited for so long at the most.
    pub fn is_over(&self, limit: Duration) -> bool {
        let mut inner = self.inner.lock();
        if inner.outcome.is_none() && !limit.is_zero() {
            inner = self.done.wait_timeout(inner, limit).0;
        }
        inner.outcome.is_some()
    }

    /// Whether replies at offset zero are early ones.
    pub(crate) fn expects_early(&self) -> bool {
        self.inner.lock().at_support
    }

    /// The server asks for `total` seconds since the request was sent.
    pub(crate) fn early(&self, total: u32) {
        let mut inner = self.inner.lock();
        let deadline = inner.sent_at + Duration::from_secs(u64::from(total) + 1);
        inner.deadline = inner.deadline.max(deadline);
    }

    /// Sends it, for the first time or again, at the time `now`. The import's lock is not held.
    ///
    /// # Errors
    /// What the network says; the call stays where it was.
    pub(crate) fn send(self: &Arc<Self>, now: Instant) -> Result {
        let import = &self.import;
        let node = import.node();
        let link = import.link()?;
        let portal = self
            .options
            .portal
            .unwrap_or(import.config().request_portal);
        let reply_portal = self
            .options
            .reply_portal
            .unwrap_or(import.config().reply_portal);
        let timeout = match self.options.timeout {
            Some(t) => t,
            None => import.request_timeout(now),
        };
        // Before the call's own lock: the import's comes first.
        let last_xid = import.last_xid();
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Done {
            return Ok(());
        }
        let again = inner.attempts > 0;
        inner.attempts += 1;
        inner.phase = Phase::Sent;
        inner.conn_cnt = link.conn_cnt;
        inner.at_support = link.at_support;
        inner.sent_at = now;
        inner.deadline = inner.sent_at + Duration::from_secs(u64::from(timeout) + 1);
        if let Some(r) = inner.receive.take() {
            r.cancel();
        }
        let mds = inner.bulk.as_ref().map_or(1, ClientBulk::count);
        let base = if again { node.next_xid() } else { self.xid };
        let mbits = base + (mds as u64).saturating_sub(1);
        let use_mbits = link.rep_mbits || inner.bulk.is_some();
        if let Some(b) = inner.bulk.as_mut() {
            b.register(node, link.peer, base)?;
        }
        let room = inner.reply_size;
        inner.msg.set_request_header(room, link.at_support);
        let body = inner.msg.body_mut()?;
        body.pb_handle.set(link.remote_cookie);
        body.pb_conn_cnt.set(link.conn_cnt);
        body.pb_last_xid.set(last_xid);
        body.pb_timeout.set(timeout);
        body.pb_tag.set(self.tag);
        body.pb_mbits.set(if use_mbits { mbits } else { 0 });
        let mut flags = body.flags();
        if again {
            flags.insert(MsgFlags::RESENT);
        }
        body.set_flags(flags);
        let match_bits = if link.rep_mbits { mbits } else { self.xid };
        let receive =
            crate::net::Receive::post(node, self.clone(), link.peer, reply_portal, match_bits)?;
        inner.receive = Some(receive);
        let copy = inner.msg.try_clone()?;
        drop(inner);
        crate::net::put_request(node, link.peer, portal, self.xid, copy)
    }
}
