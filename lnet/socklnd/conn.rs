// SPDX-License-Identifier: GPL-2.0

//! A connection in use.

use super::hello::Agreed;
use super::peer::Peer;
use super::receive::{Progress, Receiver};
use super::sched::Scheduler;
use super::transmit::{Pumped, Transmitter, Tx};
use super::Socklnd;
use crate::node::Outgoing;
use kapi::net::{Event, TcpStream};
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Full, Relaxed};

/// What one thread that is not the scheduler's sends of what others have queued, bytes.
const HELP: usize = 256 << 10;
/// What the scheduler's thread sends before other connections have their turn, bytes.
const TURN: usize = 4 << 20;

/// A flag that says whether it was set before.
pub(super) struct Flag(Atomic<bool>);

impl Flag {
    fn new() -> Flag {
        Flag(Atomic::<bool>::new(false))
    }

    /// Sets it; whether it was set already.
    pub(super) fn set(&self) -> bool {
        self.0.xchg(true, Full)
    }

    pub(super) fn clear(&self) {
        self.0.xchg(false, Full);
    }
}

/// What is still to be done for a connection that was served.
#[derive(Clone, Copy)]
pub(super) struct Next {
    /// Something, at once.
    pub(super) more: bool,
    /// Something, when there is room for what it has received.
    pub(super) stalled: bool,
}

impl Next {
    const NOTHING: Next = Next {
        more: false,
        stalled: false,
    };
}

/// A connection. Its receiver belongs to its scheduler's thread; anybody may send.
#[pin_data]
pub(crate) struct Conn {
    pub(super) lnd: Arc<Socklnd>,
    pub(super) peer: Arc<Peer>,
    pub(super) sched: Arc<Scheduler>,
    pub(super) stream: TcpStream,
    pub(super) agreed: Agreed,
    pub(super) token: u64,
    /// 1: closed.
    closed: Atomic<u32>,
    /// An errno: a sender has met it, the scheduler's thread is to close the connection. A sender
    /// may hold locks that those who are told about the end want.
    doomed: Atomic<i32>,
    /// The poller has told of the connection's end; data may still be there.
    ended: Atomic<bool>,
    /// It is in the scheduler's queues.
    pub(super) in_again: Flag,
    pub(super) in_stalled: Flag,
    /// Nanoseconds of the monotonic clock: the last time that bytes came.
    last_receive: Atomic<u64>,
    /// In the middle of a frame, and the peer's turn.
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
    ) -> Result<Arc<Conn>> {
        Arc::pin_init(
            pin_init!(Conn {
                lnd: lnd.clone(),
                peer: peer.clone(),
                sched: sched.clone(),
                stream,
                agreed,
                token,
                closed: Atomic::<u32>::new(0),
                doomed: Atomic::<i32>::new(0),
                ended: Atomic::<bool>::new(false),
                in_again: Flag::new(),
                in_stalled: Flag::new(),
                last_receive: Atomic::<u64>::new(Instant::now().as_nanos()),
                receiving: Atomic::<bool>::new(false),
                receiver <- new_mutex!(Receiver::new()),
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
        self.closed.load(Relaxed) != 0
    }

    /// Whether nothing follows what is there to be received.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    pub(super) fn moved(&self, now: Instant) {
        self.last_receive.store(now.as_nanos(), Relaxed);
    }

    /// How long nothing has come.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        let last = self.last_receive.load(Relaxed);
        Duration::from_nanos(now.as_nanos().saturating_sub(last))
    }

    /// Sends a message; gives it back if that fails. Nobody is told of anything before this
    /// returns.
    ///
    /// # Errors
    /// `ECONNRESET`: the connection is closed. `ENOBUFS`: too much waits. `ENOMEM`.
    pub(super) fn enqueue(self: &Arc<Self>, out: Outgoing) -> Result<(), (Outgoing, Error)> {
        self.transmitter
            .push(self, Tx::message(out, self.agreed.version)?)?;
        self.help();
        Ok(())
    }

    /// Sends a frame without a message: the acknowledgment of `cookie`, or a keepalive.
    pub(super) fn enqueue_noop(self: &Arc<Self>, cookie: u64) {
        match self.transmitter.push_noop(self, cookie) {
            Ok(()) => self.help(),
            Err(e) => self.doom(e),
        }
    }

    /// Sends what can be sent now, on a thread that has other things to do.
    fn help(self: &Arc<Self>) {
        match self.transmitter.pump(self, HELP, false) {
            Ok(Pumped::Idle) => {}
            Ok(Pumped::More) => self.sched.again(self),
            Err(e) => self.doom(e),
        }
    }

    /// Has the scheduler's thread close it.
    fn doom(&self, e: Error) {
        self.doomed.store(e.to_errno(), Relaxed);
        self.sched.again(self);
    }

    /// Acknowledges a zero-copy message of the peer, on the connection that is for that.
    pub(super) fn acknowledge(self: &Arc<Self>, cookie: u64) {
        let conn = self.peer.ack_conn().unwrap_or_else(|| self.clone());
        conn.enqueue_noop(cookie);
    }

    /// Does what can be done, on the scheduler's thread.
    pub(super) fn ready(self: &Arc<Self>, e: &Event, now: Instant) -> Next {
        let errno = self.doomed.load(Relaxed);
        if errno != 0 {
            self.close(Error::from_errno(errno));
            return Next::NOTHING;
        }
        if e.closed {
            self.ended.store(true, Relaxed);
        }
        if e.writable {
            self.transmitter.writable();
        }
        let mut next = Next::NOTHING;
        match self.transmitter.pump(self, TURN, true) {
            Ok(Pumped::Idle) => {}
            Ok(Pumped::More) => next.more = true,
            Err(e) => {
                self.close(e);
                return Next::NOTHING;
            }
        }
        if !e.readable || self.is_closed() {
            return next;
        }
        let progress = self.receiver.lock().run(self, now);
        match progress {
            Ok(Progress::Idle) => {}
            Ok(Progress::More) => next.more = true,
            Ok(Progress::Stalled) => next.stalled = true,
            Err(e) => self.close(e),
        }
        // Closed by another thread meanwhile, which could not get at the receiver? The barrier
        // pairs with the one in `end`: one of the two sees the other.
        if self.closed.fetch_add(0, Full) != 0 {
            let broken = self.receiver.lock().abandon();
            broken.fail(&self.lnd, ECONNRESET);
            return Next::NOTHING;
        }
        next
    }

    /// Has the scheduler look at it: the first events may have come before it was known.
    pub(super) fn kick(&self) {
        self.sched.again(self);
    }

    /// Has what a thread was writing when this was closed fail.
    pub(super) fn bury(&self) {
        self.transmitter.fail(&self.lnd, ECONNRESET);
    }

    /// Whether bytes should have moved and did not.
    pub(super) fn is_stuck(&self, now: Instant, timeout: Duration) -> bool {
        let receive = self.receiving.load(Relaxed) && self.silence(now) > timeout;
        let send = self
            .transmitter
            .stuck_since()
            .is_some_and(|t| now.duration_since(t) > timeout);
        receive || send
    }

    /// Ends it, and the peer's other connections, as its node may be gone.
    pub(super) fn close(self: &Arc<Self>, error: Error) {
        self.peer.close(&self.lnd, error);
        // It may not be known to its peer yet.
        self.end(error);
    }

    /// Ends this one: what is queued fails, memory that was being received into goes back.
    pub(super) fn end(self: &Arc<Self>, error: Error) {
        if self.closed.xchg(1, Full) != 0 {
            return;
        }
        self.sched.remove(self);
        self.stream.shutdown();
        self.lnd.forget_one();
        self.transmitter.fail(&self.lnd, error);
        // If the scheduler's thread is receiving just now, it sees that it is closed afterwards.
        let broken = self.receiver.try_lock().map(|mut r| r.abandon());
        if let Some(b) = broken {
            b.fail(&self.lnd, error);
        }
    }
}
