// SPDX-License-Identifier: GPL-2.0

//! A connection in use.

use super::hello::Agreed;
use super::peer::Peer;
use super::receive::Receiver;
use super::sched::Scheduler;
use super::transmit::{Transmitter, Tx};
use super::Socklnd;
use crate::node::Outgoing;
use kapi::net::TcpStream;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Full, Relaxed};

/// A connection. Its receiver belongs to its scheduler's thread; anybody may send.
#[pin_data]
pub(crate) struct Conn {
    pub(super) lnd: Arc<Socklnd>,
    pub(super) peer: Arc<Peer>,
    sched: Arc<Scheduler>,
    pub(super) stream: TcpStream,
    pub(super) agreed: Agreed,
    pub(super) token: u64,
    /// We made it.
    pub(super) active: bool,
    closed: Atomic<bool>,
    /// Nanoseconds of the monotonic clock: the last time that bytes moved.
    last_receive: Atomic<u64>,
    /// In the middle of a frame.
    pub(super) receiving: Atomic<bool>,
    #[pin]
    receiver: Mutex<Receiver>,
    #[pin]
    pub(super) transmitter: Transmitter,
}

impl Conn {
    pub(super) fn new(
        lnd: &Arc<Socklnd>,
        peer: &Arc<Peer>,
        sched: &Arc<Scheduler>,
        stream: TcpStream,
        agreed: Agreed,
        token: u64,
        active: bool,
    ) -> Result<Arc<Conn>> {
        Arc::pin_init(
            try_pin_init!(Conn {
                lnd: lnd.clone(),
                peer: peer.clone(),
                sched: sched.clone(),
                stream,
                agreed,
                token,
                active,
                closed: Atomic::<bool>::new(false),
                last_receive: Atomic::<u64>::new(Instant::now().as_nanos()),
                receiving: Atomic::<bool>::new(false),
                receiver <- new_mutex!(Receiver::new()?),
                transmitter <- Transmitter::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Bytes that wait to be sent.
    pub(super) fn queued(&self) -> u64 {
        self.transmitter.queued()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    pub(super) fn moved(&self) {
        self.last_receive.store(Instant::now().as_nanos(), Relaxed);
    }

    /// Sends a message.
    ///
    /// # Errors
    /// `ECONNRESET`: the connection is closed. `ENOMEM`.
    pub(super) fn enqueue(self: &Arc<Self>, out: Outgoing) -> Result {
        self.try_enqueue(out).map_err(|(_, e)| e)
    }

    /// The same; gives the message back if it fails.
    pub(super) fn try_enqueue(self: &Arc<Self>, out: Outgoing) -> Result<(), (Outgoing, Error)> {
        if self.is_closed() {
            return Err((out, ECONNRESET));
        }
        self.transmitter
            .push(Tx::message(out, self.agreed.version)?)?;
        if self.is_closed() {
            // It was closed meanwhile; nobody else looks at the queue any more.
            self.transmitter.fail(&self.lnd, ECONNRESET);
            return Ok(());
        }
        self.pump();
        Ok(())
    }

    /// Acknowledges a zero-copy message of the peer, on the connection that is for that.
    pub(super) fn acknowledge(self: &Arc<Self>, cookie: u64) {
        let conn = self.peer.ack_conn().unwrap_or_else(|| self.clone());
        match conn.transmitter.push_noop(cookie) {
            Ok(()) => conn.pump(),
            Err(e) => conn.close(e),
        }
    }

    /// Sends what can be sent now.
    pub(super) fn pump(self: &Arc<Self>) {
        if let Err(e) = self.transmitter.pump(self) {
            self.close(e);
        }
    }

    /// The poller has said that something may be done. True: there is more to do at once.
    pub(super) fn ready(self: &Arc<Self>, readable: bool, writable: bool) -> bool {
        if writable {
            self.transmitter.writable();
            self.pump();
        }
        if !readable || self.is_closed() {
            return false;
        }
        let mut r = self.receiver.lock();
        match r.run(self) {
            Ok(more) => more,
            Err(e) => {
                r.abort(&self.lnd, e);
                drop(r);
                self.close(e);
                false
            }
        }
    }

    /// Has the scheduler look at it: the first events may have come before it was known.
    pub(super) fn kick(self: &Arc<Self>) {
        self.sched.again(self.token);
    }

    /// Whether bytes should have moved and did not.
    pub(super) fn is_stuck(&self, now: Instant, timeout: Duration) -> bool {
        let since = |ns: u64| Duration::from_nanos(now.as_nanos().saturating_sub(ns));
        let receive =
            self.receiving.load(Relaxed) && since(self.last_receive.load(Relaxed)) > timeout;
        let send = self
            .transmitter
            .stuck_since()
            .is_some_and(|t| since(t) > timeout);
        receive || send
    }

    /// Ends it: what is queued fails, and so do the peer's other connections, as its node may be
    /// gone.
    pub(crate) fn close(self: &Arc<Self>, error: Error) {
        if self.closed.xchg(true, Full) {
            return;
        }
        self.sched.remove(self);
        self.stream.shutdown();
        self.transmitter.fail(&self.lnd, error);
        if self.peer.remove(self) {
            self.peer.close(&self.lnd, error);
            self.lnd.ended(&self.peer, error);
        }
    }
}
