// SPDX-License-Identifier: GPL-2.0

//! Imports: this node's side of a connection to a target (spec `ptlrpc.md` §11.3, `recovery.md`).

use crate::bulk::ClientBulk;
use crate::call::{Birth, Call, CallOptions, Outcome, Phase};
use crate::estimate::{request_timeout, Estimate};
use crate::export::ClientUuid;
use crate::message::Msg;
use crate::node::Node;
use crate::slots::Slots;
use kapi::prelude::*;
use wire::connect::ConnectData;
use wire::nid::Nid;

/// What an import connects to, and how.
pub struct ImportConfig {
    /// The target's UUID ("lustre-OST0000_UUID", "MGS").
    pub target_uuid: ClientUuid,
    /// Our UUID there.
    pub client_uuid: ClientUuid,
    /// Where the target may be: a NID per node, in the order to try.
    pub peers: KVec<Nid>,
    /// Portal of requests.
    pub request_portal: u32,
    /// Portal of their replies.
    pub reply_portal: u32,
    /// Opcode of the connect request.
    pub connect_opc: u32,
    /// Opcode of the disconnect request.
    pub disconnect_opc: u32,
    /// What we ask for.
    pub wanted: ConnectData,
    /// Modifying requests in flight at the most, if the target allows several.
    pub max_modify: u16,
    /// Who we are: client, MDT, OST, MGC (spec `ptlrpc.md` §12.1).
    pub part: u8,
}

/// Whom to tell what becomes of an import. Called without locks held; may sleep.
pub trait ImportEvents: Send + Sync {
    /// The connection is there, for the first time or again.
    fn active(&self, connect: &ConnectData) {
        let _ = connect;
    }
    /// The connection is lost; it is being made again.
    fn disconnected(&self) {}
    /// The target has forgotten us: locks and what they protect are gone.
    fn evicted(&self) {}
}

/// Where an import is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Not connected; the timer will try.
    Disconnected,
    /// A connect is under way.
    Connecting,
    /// Connected.
    Full,
    /// Given up for good.
    Closed,
}

/// What a call needs to know to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    pub(crate) peer: Nid,
    pub(crate) remote_cookie: u64,
    pub(crate) conn_cnt: u32,
    pub(crate) at_support: bool,
    pub(crate) rep_mbits: bool,
}

pub(crate) struct Inner {
    pub(crate) state: State,
    /// The server's cookie for us; zero before the first connect.
    pub(crate) remote_cookie: u64,
    pub(crate) conn_cnt: u32,
    /// Index into the peers.
    pub(crate) peer: usize,
    pub(crate) granted: ConnectData,
    /// Good-bye was said: whoever is told afterwards that it is unknown does not connect again.
    pub(crate) leaving: bool,
    /// We were connected at some time: being unknown then means being evicted.
    pub(crate) was_full: bool,
    pub(crate) next_try: Instant,
    /// When it was connected last.
    pub(crate) full_since: Option<Instant>,
    pub(crate) last_sent: Instant,
    pub(crate) last_committed: u64,
    pub(crate) last_error: Option<Error>,
    /// All unreplied calls by XID.
    pub(crate) calls: RBTree<u64, Arc<Call>>,
    estimate: Estimate,
    net_latency: Estimate,
}

/// A connection to a target.
#[pin_data]
pub struct Import {
    config: ImportConfig,
    node: Arc<Node>,
    events: Option<Arc<dyn ImportEvents>>,
    /// Our own cookie: what the server puts into `pb_handle` of its callbacks.
    pub(crate) own_cookie: u64,
    /// The way back from a server to a client: it does not connect by itself.
    pub(crate) reverse: bool,
    pub(crate) slots: Slots,
    #[pin]
    pub(crate) inner: Mutex<Inner>,
    #[pin]
    changed: CondVar,
}

impl Import {
    fn build(
        node: &Arc<Node>,
        config: ImportConfig,
        events: Option<Arc<dyn ImportEvents>>,
        reverse: bool,
    ) -> Result<Arc<Import>> {
        let wanted = config.wanted;
        let max_modify = config.max_modify;
        Arc::pin_init(
            try_pin_init!(Import {
                config,
                node: node.clone(),
                events,
                own_cookie: crate::ids::new_cookie(),
                reverse,
                slots: Slots::new(max_modify)?,
                inner <- new_mutex!(Inner {
                    state: State::Disconnected,
                    remote_cookie: 0,
                    conn_cnt: 0,
                    peer: 0,
                    granted: wanted,
                    leaving: false,
                    was_full: false,
                    next_try: Instant::now(),
                    full_since: None,
                    last_sent: Instant::now(),
                    last_committed: 0,
                    last_error: None,
                    calls: RBTree::new(),
                    estimate: Estimate::new(),
                    net_latency: Estimate::new(),
                }),
                changed <- new_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    /// A new import; it begins to connect at once and goes on until it is closed.
    ///
    /// # Errors
    /// `EINVAL`: no peers. `ENOMEM`.
    pub fn new(
        node: &Arc<Node>,
        config: ImportConfig,
        events: Option<Arc<dyn ImportEvents>>,
    ) -> Result<Arc<Import>> {
        if config.peers.is_empty() {
            return Err(EINVAL);
        }
        let import = Self::build(node, config, events, false)?;
        node.add_import(&import)?;
        import.clone().connect();
        Ok(import)
    }

    /// The way back to a client that has just connected: for lock callbacks.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn reverse(
        node: &Arc<Node>,
        config: ImportConfig,
        client_cookie: u64,
        conn_cnt: u32,
    ) -> Result<Arc<Import>> {
        let import = Self::build(node, config, None, true)?;
        {
            let mut inner = import.inner.lock();
            inner.state = State::Full;
            inner.remote_cookie = client_cookie;
            inner.conn_cnt = conn_cnt;
        }
        node.add_import(&import)?;
        Ok(import)
    }

    /// What it was made with.
    pub fn config(&self) -> &ImportConfig {
        &self.config
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Our cookie, for the `RMF_CONN` of connects and to know callbacks by.
    pub fn own_cookie(&self) -> u64 {
        self.own_cookie
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.inner.lock().state
    }

    /// What the target granted.
    pub fn connect_data(&self) -> ConnectData {
        self.inner.lock().granted
    }

    /// Highest transaction number that the target has on disk.
    pub fn last_committed(&self) -> u64 {
        self.inner.lock().last_committed
    }

    /// The NID that it talks to, or would talk to.
    pub fn peer(&self) -> Option<Nid> {
        let i = self.inner.lock().peer;
        self.config.peers.get(i).copied()
    }

    /// Waits until it is connected.
    ///
    /// # Errors
    /// `ETIMEDOUT`, or the last refusal; `ESHUTDOWN`: it was closed.
    pub fn wait_full(&self, timeout: Duration) -> Result {
        let deadline = Instant::now() + timeout;
        let mut inner = self.inner.lock();
        loop {
            match inner.state {
                State::Full => return Ok(()),
                State::Closed => return Err(inner.last_error.unwrap_or(ESHUTDOWN)),
                _ => {}
            }
            let left = deadline.duration_since(Instant::now());
            if left.is_zero() {
                return Err(inner.last_error.unwrap_or(ETIMEDOUT));
            }
            inner = self.changed.wait_timeout(inner, left).0;
        }
    }

    pub(crate) fn notify(&self) {
        self.changed.notify_all();
    }

    pub(crate) fn events(&self) -> Option<&Arc<dyn ImportEvents>> {
        self.events.as_ref()
    }

    pub(crate) fn link(&self) -> Result<Link> {
        let inner = self.inner.lock();
        let peer = *self.config.peers.get(inner.peer).ok_or(ENOTCONN)?;
        let full = inner.state == State::Full;
        Ok(Link {
            peer,
            remote_cookie: inner.remote_cookie,
            conn_cnt: inner.conn_cnt,
            at_support: full && inner.granted.has_at(),
            rep_mbits: full && inner.granted.has_rep_mbits(),
        })
    }

    /// `pb_last_xid`: all XIDs up to it have their replies here.
    pub(crate) fn last_xid(&self) -> u64 {
        let inner = self.inner.lock();
        let first = inner.calls.keys().next().copied();
        first.map_or(0, |x| x - 1)
    }

    /// Seconds that the next request may take.
    pub(crate) fn request_timeout(&self, now: Instant) -> u32 {
        let limits = self.node.limits();
        let now = now.as_nanos() / 1_000_000_000;
        let mut inner = self.inner.lock();
        let service = inner.estimate.get(now, &limits.at);
        let net = inner
            .net_latency
            .get(now, &limits.at)
            .min(limits.obd_timeout);
        u32::try_from(request_timeout(service).as_secs())
            .unwrap_or(u32::MAX)
            .saturating_add(net)
    }

    /// Learns from a final reply how long things take.
    pub(crate) fn observe(&self, sent_at: Instant, service_time: u32, estimate: u32) {
        let limits = self.node.limits();
        let now = Instant::recent();
        let elapsed = u32::try_from(now.duration_since(sent_at).as_secs()).unwrap_or(u32::MAX);
        let now = now.as_nanos() / 1_000_000_000;
        let mut inner = self.inner.lock();
        if estimate != 0 {
            inner.estimate.add(estimate, now, &limits.at);
        }
        if service_time <= elapsed.saturating_add(3) {
            let latency = elapsed.saturating_sub(service_time).saturating_add(1);
            inner.net_latency.add(latency, now, &limits.at);
        }
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// As [`Call::wait`], and `ENOMEM`.
    pub fn call(
        self: &Arc<Self>,
        msg: Msg,
        options: CallOptions,
        bulk: Option<ClientBulk>,
    ) -> Outcome {
        self.begin(msg, options, bulk)?.wait()
    }

    /// Sends a request; [`Call::wait`] has the outcome.
    ///
    /// # Errors
    /// `ENOMEM`, `ESHUTDOWN`.
    pub fn begin(
        self: &Arc<Self>,
        msg: Msg,
        options: CallOptions,
        bulk: Option<ClientBulk>,
    ) -> Result<Arc<Call>> {
        self.submit(msg, options, bulk, None)
    }

    /// Sends a request; `done` gets the outcome on a worker thread of the node.
    ///
    /// # Errors
    /// `ENOMEM`, `ESHUTDOWN`; `done` is not called then.
    pub fn call_async(
        self: &Arc<Self>,
        msg: Msg,
        options: CallOptions,
        bulk: Option<ClientBulk>,
        done: KBox<dyn Once<Outcome>>,
    ) -> Result {
        self.submit(msg, options, bulk, Some(done)).map(|_| ())
    }

    fn submit(
        self: &Arc<Self>,
        mut msg: Msg,
        options: CallOptions,
        bulk: Option<ClientBulk>,
        done: Option<KBox<dyn Once<Outcome>>>,
    ) -> Result<Arc<Call>> {
        msg.set_part(self.config.part);
        // The slot first, then the XID: XIDs grow within a slot.
        let tag = if options.modifies {
            self.slots.take()
        } else {
            0
        };
        let now = Instant::now();
        let enter = move || -> Result<Arc<Call>> {
            let mut inner = self.inner.lock();
            match inner.state {
                State::Closed => return Err(inner.last_error.unwrap_or(ESHUTDOWN)),
                State::Full => {}
                _ if options.no_delay => return Err(ENOTCONN),
                _ => {}
            }
            // Into the list as soon as it has its number: `last_xid` must never pass a call that
            // is still to be sent.
            let xid = self.node.next_xid();
            let call = Call::new(self, Birth { xid, tag, now }, msg, options, bulk, done)?;
            let node = RBTreeNode::new(xid, call.clone(), GFP_KERNEL)?;
            inner.calls.insert(node);
            inner.last_sent = now;
            Ok(call)
        };
        let call = match enter() {
            Ok(c) => c,
            Err(e) => {
                self.slots.give(tag);
                return Err(e);
            }
        };
        if self.state() == State::Full {
            self.transmit(&call, now);
        }
        Ok(call)
    }

    /// Sends a call; if the network refuses, the connection counts as lost.
    pub(crate) fn transmit(self: &Arc<Self>, call: &Arc<Call>, now: Instant) {
        if let Err(e) = call.send(now) {
            pr_debug!(
                "opcode {} to {}: {:?}\n",
                call.opc,
                self.config.target_uuid,
                e
            );
            // Its lock is not kept: `lost` takes that of every call.
            let conn_cnt = call.lock().conn_cnt;
            self.lost(conn_cnt);
        }
    }

    /// Takes a call out and ends it.
    pub(crate) fn complete(&self, call: &Arc<Call>, outcome: Result<(Msg, i32)>) {
        let was = self.inner.lock().calls.remove_node(&call.xid);
        if was.is_some() {
            self.slots.give(call.tag);
        }
        call.finish(outcome);
    }

    /// A reply to `call` is here.
    pub(crate) fn reply(self: &Arc<Self>, call: &Arc<Call>, msg: Msg) {
        let body = msg.body();
        let status = body.status();
        let (committed, service_time, estimate) = (
            body.pb_last_committed.get(),
            body.pb_service_time.get(),
            body.pb_timeout.get(),
        );
        let sent_at = call.lock().sent_at;
        self.observe(sent_at, service_time, estimate);
        let lost = status == ENOTCONN.to_errno() || status == ENODEV.to_errno();
        let is_connect =
            wire::opcode::is_connect(call.opc) || call.opc == self.config.disconnect_opc;
        if !is_connect {
            let mut inner = self.inner.lock();
            inner.last_committed = inner.last_committed.max(committed);
            drop(inner);
            if lost {
                // The target does not know us: what was asked is asked again once it does.
                let conn_cnt = {
                    let mut c = call.lock();
                    if c.phase == Phase::Sent {
                        c.phase = Phase::Waiting;
                    }
                    c.conn_cnt
                };
                if call.options.no_resend || self.reverse {
                    self.complete(call, Err(ENOTCONN));
                }
                return self.lost(conn_cnt);
            }
        }
        self.complete(call, Ok((msg, status)));
    }

    /// Gives up: calls end with `error`, nothing is sent any more.
    pub fn close(self: &Arc<Self>, error: Error) {
        let calls = {
            let mut inner = self.inner.lock();
            inner.state = State::Closed;
            inner.last_error = Some(error);
            core::mem::take(&mut inner.calls)
        };
        for call in calls.values() {
            self.slots.give(call.tag);
            call.finish(Err(error));
        }
        self.notify();
        self.node.remove_import(self);
    }

    fn farewell(self: &Arc<Self>) -> Result<Option<Arc<Call>>> {
        if self.state() != State::Full || self.reverse {
            return Ok(None);
        }
        let msg = Msg::request(self.config.disconnect_opc, wire::msg::OBD_VERSION, &[])?;
        let mut options = CallOptions::new(&[])?;
        options.no_resend = true;
        options.timeout = Some(5);
        self.inner.lock().leaving = true;
        self.begin(msg, options, None).map(Some)
    }

    /// Says good-bye to the target, waits until it has heard, and closes.
    pub fn disconnect(self: &Arc<Self>) {
        let heard = self.farewell().and_then(|call| match call {
            Some(c) => c.wait().map(|_| ()),
            None => Ok(()),
        });
        if let Err(e) = heard {
            pr_debug!("disconnect from {}: {:?}\n", self.config.target_uuid, e);
        }
        self.close(ESHUTDOWN);
    }

    /// Says good-bye and closes, for those of whom the target keeps nothing: it may be gone
    /// already, and nobody has to wait for that.
    pub fn leave(self: &Arc<Self>) {
        if let Err(e) = self.farewell() {
            pr_debug!("leaving {}: {:?}\n", self.config.target_uuid, e);
        }
        self.close(ESHUTDOWN);
    }
}
