// SPDX-License-Identifier: GPL-2.0

//! A request that arrived at a server, and the reply to it.

use crate::export::Export;
use crate::message::Msg;
use crate::node::Node;
use crate::service::Service;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};
use lnet::budget::Charge;
use wire::msg::{MsgFlags, PtlrpcBody};
use wire::nid::Nid;

/// Size of a message of one body: the place before it in a client's reply buffer is for early
/// replies (spec `ptlrpc.md` §5.3).
pub const EARLY_SIZE: u32 = 224;

/// The sender of a request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Where the client is.
    pub nid: Nid,
    /// Its LNet process.
    pub pid: u32,
    /// Which of our NIDs it talked to; the reply comes from there.
    pub self_nid: Nid,
}

/// Where a client waits for what it has asked for.
#[derive(Clone, Copy)]
struct Places {
    /// The reply.
    reply: u64,
    /// `pb_mbits`: its bulk buffers.
    bulk: u64,
    /// Something goes there already: a resend is a request of its own.
    fixed: bool,
}

/// What of a request others may change or need while a thread works on it: a resend of it moves
/// the deadline and the match bits, the early-reply thread reads them.
#[pin_data]
pub struct Shared {
    /// The node.
    pub(crate) node: Arc<Node>,
    /// The service.
    pub(crate) service: Arc<Service>,
    /// The sender.
    pub peer: Peer,
    /// The XID.
    pub xid: u64,
    /// The opcode.
    pub opc: u32,
    /// When it came.
    pub arrival: Instant,
    /// The client understands early replies, so replies go to offset [`EARLY_SIZE`].
    pub(crate) at_support: bool,
    /// `pb_conn_cnt`.
    pub(crate) conn_cnt: u32,
    /// When the client gives up, nanoseconds of the monotonic clock.
    deadline: Atomic<u64>,
    #[pin]
    places: SpinLock<Places>,
    /// The final reply was sent, or none will be.
    done: Atomic<bool>,
    /// Under which key the early replies' thread watches it; a serial number of zero: not.
    watch_deadline: Atomic<u64>,
    watch_serial: Atomic<u64>,
}

impl Shared {
    /// When the client gives up.
    pub fn deadline_nanos(&self) -> u64 {
        self.deadline.load(Relaxed)
    }

    pub(crate) fn set_deadline(&self, nanos: u64) {
        self.deadline.store(nanos, Relaxed)
    }

    pub(crate) fn watch_key(&self) -> (u64, u64) {
        (
            self.watch_deadline.load(Relaxed),
            self.watch_serial.load(Relaxed),
        )
    }

    pub(crate) fn set_watch_key(&self, key: (u64, u64)) {
        self.watch_deadline.store(key.0, Relaxed);
        self.watch_serial.store(key.1, Relaxed);
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Relaxed)
    }

    /// Match bits of the reply.
    pub(crate) fn reply_mbits(&self) -> u64 {
        self.places.lock().reply
    }

    /// Data or the reply go out now; where to.
    fn fix(&self) -> Places {
        let mut places = self.places.lock();
        places.fixed = true;
        *places
    }

    /// A resend of the request came: it is answered there, and by then. False if that is too late:
    /// the client has taken away what it had where the answer goes, and would get half of it.
    pub(crate) fn take_over(&self, newer: &Shared) -> bool {
        let to = *newer.places.lock();
        {
            let mut places = self.places.lock();
            if places.fixed {
                return false;
            }
            *places = to;
        }
        let d = newer.deadline_nanos();
        if d > self.deadline_nanos() {
            self.set_deadline(d);
        }
        true
    }
}

/// A request being served. Dropping it without a reply sends none: the client will resend.
pub struct ServerRequest {
    shared: Arc<Shared>,
    msg: Msg,
    /// What the message counts against the receive budget.
    _charge: Option<Charge>,
    export: Option<Arc<Export>>,
    /// The export's list has it.
    entered: bool,
    reply: Option<Msg>,
    /// Transaction number of the reply.
    pub transno: u64,
    /// Versions of the objects before the operation.
    pub pre_versions: [u64; 4],
    /// `pb_op_flags` of the reply, for connects.
    pub op_flags: u32,
    /// `pb_handle` of the reply, for connects.
    pub reply_handle: u64,
    /// Highest transaction number on disk, for the reply.
    pub last_committed: u64,
    /// `pb_slv` and `pb_limit` of the reply: how many locks the client should keep.
    pub lock_volume: (u64, u32),
    high_priority: bool,
    saved_status: i32,
}

impl ServerRequest {
    /// From a message that passed the checks of its envelope and body.
    ///
    /// # Errors
    /// `ENOMEM`. `EPROTO`: no time is given for a request with adaptive time-outs.
    pub(crate) fn new(
        node: &Arc<Node>,
        service: &Arc<Service>,
        peer: Peer,
        xid: u64,
        msg: Msg,
        charge: Option<Charge>,
    ) -> Result<KBox<ServerRequest>> {
        let arrival = Instant::now();
        let body = msg.body();
        let at_support = msg.at_support();
        let timeout = match (at_support, body.pb_timeout.get()) {
            (true, 0) => return Err(EPROTO),
            (true, t) => t,
            (false, _) => node.limits().obd_timeout,
        };
        let deadline = arrival + Duration::from_secs(timeout.into());
        let export = node.exports().get(body.pb_handle.get());
        let rep_mbits = export
            .as_ref()
            .is_some_and(|e| e.lock().connect.has_rep_mbits());
        let mbits = body.pb_mbits.get();
        let reply_mbits = if rep_mbits && mbits != 0 && !wire::opcode::is_connect(body.pb_opc.get())
        {
            mbits
        } else {
            xid
        };
        let places = Places {
            reply: reply_mbits,
            bulk: if mbits != 0 { mbits } else { xid },
            fixed: false,
        };
        let shared = Arc::pin_init(
            pin_init!(Shared {
                node: node.clone(),
                service: service.clone(),
                peer,
                xid,
                opc: body.pb_opc.get(),
                arrival,
                at_support,
                conn_cnt: body.pb_conn_cnt.get(),
                deadline: Atomic::<u64>::new(deadline.as_nanos()),
                places <- new_spinlock!(places),
                done: Atomic::<bool>::new(false),
                watch_deadline: Atomic::<u64>::new(0),
                watch_serial: Atomic::<u64>::new(0),
            }),
            GFP_KERNEL,
        )?;
        Ok(KBox::new(
            ServerRequest {
                shared,
                msg,
                _charge: charge,
                export,
                entered: false,
                reply: None,
                transno: 0,
                pre_versions: [0; 4],
                op_flags: 0,
                reply_handle: 0,
                last_committed: 0,
                lock_volume: (0, 0),
                high_priority: false,
                saved_status: 0,
            },
            GFP_KERNEL,
        )?)
    }

    /// What others see of it.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The node it arrived at.
    pub fn node(&self) -> &Arc<Node> {
        &self.shared.node
    }

    /// The request's message.
    pub fn msg(&self) -> &Msg {
        &self.msg
    }

    /// The opcode.
    pub fn opc(&self) -> u32 {
        self.shared.opc
    }

    /// The XID.
    pub fn xid(&self) -> u64 {
        self.shared.xid
    }

    /// The sender.
    pub fn peer(&self) -> Peer {
        self.shared.peer
    }

    /// The portal it came in by.
    pub fn portal(&self) -> u32 {
        self.shared.service.config().request_portal
    }

    /// The request's body.
    pub fn body(&self) -> &PtlrpcBody {
        self.msg.body()
    }

    /// `pb_flags`.
    pub fn flags(&self) -> MsgFlags {
        self.msg.body().flags()
    }

    /// The export that `pb_handle` names, if there is one.
    pub fn export(&self) -> Option<&Arc<Export>> {
        self.export.as_ref()
    }

    /// The export.
    ///
    /// # Errors
    /// `ENOTCONN`: there is none, or the client was evicted: it is to connect again.
    pub fn connected(&self) -> Result<Arc<Export>> {
        match &self.export {
            Some(e) if !e.is_failed() => Ok(e.clone()),
            _ => Err(ENOTCONN),
        }
    }

    /// A connect has made or found the export.
    pub fn set_export(&mut self, export: Arc<Export>) {
        self.leave();
        self.export = Some(export);
    }

    /// Whether it goes before others.
    pub fn is_high_priority(&self) -> bool {
        self.high_priority
    }

    pub(crate) fn set_high_priority(&mut self, on: bool) {
        self.high_priority = on;
    }

    /// Buffer `i` of the request as a `T`.
    ///
    /// # Errors
    /// `EPROTO`: missing or too short.
    pub fn get<T>(&self, i: usize) -> Result<&T>
    where
        T: zerocopy::FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
    {
        self.msg.get(i)
    }

    /// Makes the reply, with buffers of these lengths after the body, all zero.
    ///
    /// # Errors
    /// `ENOMEM`, `EOVERFLOW`.
    pub fn pack_reply(&mut self, lens: &[u32]) -> Result {
        self.reply = Some(Msg::new(lens)?);
        Ok(())
    }

    /// The reply.
    ///
    /// # Errors
    /// `EPROTO`: it was not made yet.
    pub fn reply_mut(&mut self) -> Result<&mut Msg> {
        self.reply.as_mut().ok_or(EPROTO)
    }

    /// Whether a reply was made.
    pub fn has_reply(&self) -> bool {
        self.reply.is_some()
    }

    /// How large a reply the client has room for; `lm_repsize`.
    pub fn reply_room(&self) -> u32 {
        self.msg.repsize()
    }

    /// The time left until the client gives up.
    pub fn time_left(&self) -> Duration {
        let now = Instant::now().as_nanos();
        Duration::from_nanos(self.shared.deadline_nanos().saturating_sub(now))
    }

    /// First match bits and number of the client's bulk buffers, if there may be up to `max` of
    /// them, a power of two (spec `ptlrpc.md` §7.2).
    ///
    /// # Errors
    /// `EPROTO`: `max` is no power of two.
    pub fn bulk_match(&self, max: u64) -> Result<(u64, usize)> {
        let last = self.shared.places.lock().bulk;
        Self::buffers_before(last, max)
    }

    /// The same for a transfer that begins now: from here on a resend, which has other buffers, is
    /// a request of its own.
    ///
    /// # Errors
    /// As [`ServerRequest::bulk_match`].
    pub fn bulk_begin(&self, max: u64) -> Result<(u64, usize)> {
        Self::buffers_before(self.shared.fix().bulk, max)
    }

    fn buffers_before(last: u64, max: u64) -> Result<(u64, usize)> {
        if !max.is_power_of_two() || max > crate::ids::XID_STEP {
            return Err(EPROTO);
        }
        let first = last & !(max - 1);
        Ok((first, usize::try_from(last - first)? + 1))
    }

    /// Enters it into its export's list; `false`: it is a resend of one that is there already, and
    /// will be answered as the resend wants it.
    pub(crate) fn enter(&mut self) -> Result<bool> {
        if let Some(e) = &self.export {
            if !e.enter(self.shared.xid, &self.shared)? {
                return Ok(false);
            }
            self.entered = true;
        }
        Ok(true)
    }

    fn leave(&mut self) {
        if self.entered {
            if let Some(e) = &self.export {
                e.leave(self.shared.xid, &self.shared);
            }
            self.entered = false;
        }
    }

    /// Sends the reply with `status`: zero, a negative errno, or what the operation defines. A
    /// reply that was not packed is an empty one for zero, an error reply otherwise.
    pub fn reply(mut self: KBox<Self>, status: i32) {
        let packed = self.reply.take();
        let is_error = packed.is_none() && status < 0;
        let reply = match packed {
            Some(m) => Ok(m),
            None => Msg::new(&[]),
        };
        match reply {
            Ok(m) => self.send(m, status, is_error),
            Err(e) => {
                pr_warn_ratelimited!("no memory for a reply to opcode {}: {:?}\n", self.opc(), e)
            }
        }
    }

    /// The reply is one that was sent before.
    pub fn set_saved(&mut self, msg: Option<Msg>, status: i32) {
        self.reply = msg;
        self.saved_status = status;
    }

    /// The status of the reply that was sent before.
    pub fn saved_status(&self) -> i32 {
        self.saved_status
    }

    /// Sends an error reply, whatever was packed.
    pub fn error(mut self: KBox<Self>, e: Error) {
        self.reply = None;
        self.reply(e.to_errno());
    }

    /// Sends no reply.
    pub fn discard(self: KBox<Self>) {
        pr_debug!("opcode {} xid {} gets no reply\n", self.opc(), self.xid());
    }

    fn send(&mut self, mut m: Msg, status: i32, is_error: bool) {
        let s = &self.shared;
        let took = s.service.finished(s, &self.flags(), is_error);
        let fill = m.body_mut().map(|b| {
            b.fill_reply(s.opc, status, is_error);
            b.pb_handle.set(self.reply_handle);
            b.pb_last_committed.set(self.last_committed);
            b.pb_slv.set(self.lock_volume.0);
            b.pb_limit.set(self.lock_volume.1);
            b.pb_transno.set(self.transno);
            b.pb_op_flags.set(self.op_flags);
            b.pb_service_time.set(took.service_time);
            b.pb_timeout.set(took.estimate);
            for (to, from) in b.pb_pre_versions.iter_mut().zip(self.pre_versions) {
                to.set(from);
            }
        });
        s.done.store(true, Relaxed);
        let place = s.fix().reply;
        let offset = if s.at_support { EARLY_SIZE } else { 0 };
        let sent = fill.and_then(|()| {
            crate::net::put(
                &s.node,
                &s.peer,
                s.service.config().reply_portal,
                place,
                offset,
                m,
            )
        });
        if let Err(e) = sent {
            // The client resends when its time is up.
            pr_debug!("reply to {}: {:?}\n", s.peer.nid, e);
        }
    }
}

impl Drop for ServerRequest {
    fn drop(&mut self) {
        self.shared.done.store(true, Relaxed);
        self.shared.node.early_replies().remove(&self.shared);
        self.leave();
    }
}
