// SPDX-License-Identifier: GPL-2.0

//! Sending on a connection.
//!
//! One thread at a time writes; others leave their message in the queue and go. No lock is held
//! while the socket is written to.

use super::conn::Conn;
use super::Socklnd;
use crate::budget::Charge;
use crate::event::Payload;
use crate::node::Outgoing;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};
use wire::lnet::{HEADER16_SIZE, HEADER4_SIZE};
use wire::socklnd::{Frame, FRAME_LNET, FRAME_NOOP};
use zerocopy::IntoBytes;

const FRAME_SIZE: usize = size_of::<Frame>();
/// Frames that may wait on one connection.
const FRAMES_MAX: usize = 8192;

/// How far sending got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pumped {
    /// All is sent, or the socket has no room: it will tell.
    Idle,
    /// There is more, for the scheduler's thread.
    More,
}

/// A frame on its way.
pub(super) struct Tx {
    head: [u8; FRAME_SIZE + HEADER16_SIZE],
    head_len: usize,
    /// Bytes sent of head and payload.
    done: usize,
    out: Option<Outgoing>,
    /// What it counts against what may wait for its peer.
    charge: Option<Charge>,
}

impl Tx {
    pub(super) fn message(out: Outgoing, version: u32) -> Result<KBox<Tx>, (Outgoing, Error)> {
        let frame = Frame {
            kind: FRAME_LNET.into(),
            csum: 0.into(),
            zc_request: 0.into(),
            zc_ack: 0.into(),
        };
        let mut head = [0; FRAME_SIZE + HEADER16_SIZE];
        let (f, h) = head.split_at_mut(FRAME_SIZE);
        f.copy_from_slice(frame.as_bytes());
        let len = if version == 4 {
            h.copy_from_slice(&out.header.encode16());
            HEADER16_SIZE
        } else {
            match (out.header.encode4(), h.get_mut(..HEADER4_SIZE)) {
                (Ok(b), Some(to)) => to.copy_from_slice(&b),
                _ => return Err((out, EAFNOSUPPORT)),
            }
            HEADER4_SIZE
        };
        Self::boxed(head, FRAME_SIZE + len, Some(out))
    }

    fn boxed(
        head: [u8; FRAME_SIZE + HEADER16_SIZE],
        head_len: usize,
        out: Option<Outgoing>,
    ) -> Result<KBox<Tx>, (Outgoing, Error)> {
        let tx = Tx {
            head,
            head_len,
            done: 0,
            out: None,
            charge: None,
        };
        match KBox::new(tx, GFP_KERNEL) {
            Ok(mut b) => {
                b.out = out;
                Ok(b)
            }
            Err(e) => Err((out.unwrap_or_else(empty), e.into())),
        }
    }

    fn len(&self) -> usize {
        self.head_len + self.out.as_ref().map_or(0, |o| o.payload.len())
    }

    /// Bytes of memory that only this frame holds.
    fn held(&self) -> u64 {
        let message = match self.out.as_ref().map(|o| &o.payload) {
            Some(Payload::Message(m)) => m.len(),
            _ => 0,
        };
        (size_of::<Tx>() + message) as u64
    }

    /// Whether somebody is told when it has left.
    fn is_watched(&self) -> bool {
        self.out.as_ref().is_some_and(|o| o.sent.is_some())
    }

    /// Writes once; how much.
    fn write(&self, c: &Conn) -> Result<usize> {
        let from = self.done.min(self.head_len);
        let head = self.head.get(from..self.head_len).ok_or(EINVAL)?;
        let at = self.done - from;
        match self.out.as_ref().map(|o| &o.payload) {
            Some(Payload::Message(m)) => {
                let body = m.get(at..).ok_or(EINVAL)?;
                c.stream.try_send(head, body, false)
            }
            Some(Payload::Pages { pages, off, len }) if head.is_empty() => {
                c.stream.try_send_pages(pages, off + at, len - at, false)
            }
            Some(Payload::Pages { len, .. }) => c.stream.try_send(head, &[], *len > 0),
            Some(Payload::Empty) | None => c.stream.try_send(head, &[], false),
        }
    }
}

struct Inner {
    queue: Deque<KBox<Tx>>,
    current: Option<KBox<Tx>>,
    /// A thread is writing.
    busy: bool,
    /// The socket has become writable since that thread last looked.
    writable: bool,
    /// The socket has no room; since when nothing moves.
    stuck_since: Option<Instant>,
    failed: bool,
}

/// The sending side of a connection.
#[pin_data]
pub(super) struct Transmitter {
    #[pin]
    inner: Mutex<Inner>,
    queued: Atomic<u64>,
}

impl Transmitter {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Transmitter {
            inner <- new_mutex!(Inner {
                queue: Deque::new(),
                current: None,
                busy: false,
                writable: false,
                stuck_since: None,
                failed: false,
            }),
            queued: Atomic::<u64>::new(0),
        })
    }

    /// Bytes that wait.
    pub(super) fn queued(&self) -> u64 {
        self.queued.load(Relaxed)
    }

    pub(super) fn stuck_since(&self) -> Option<Instant> {
        self.inner.lock().stuck_since
    }

    /// Queues a frame.
    ///
    /// # Errors
    /// `ECONNRESET`: the connection is closed. `ENOBUFS`: too much waits. `ENOMEM`.
    pub(super) fn push(&self, c: &Conn, mut tx: KBox<Tx>) -> Result<(), (Outgoing, Error)> {
        let len = tx.len() as u64;
        tx.charge = c.lnd.unsent.charge(&c.peer.unread, tx.held());
        let mut inner = self.inner.lock();
        let error = if inner.failed {
            ECONNRESET
        } else if tx.charge.is_none() || inner.queue.len() >= FRAMES_MAX {
            ENOBUFS
        } else if inner.queue.reserve(1, GFP_KERNEL).is_err() {
            ENOMEM
        } else {
            self.queued.fetch_add(len, Relaxed);
            return inner
                .queue
                .push_back(tx, GFP_KERNEL)
                .map_err(|e| (empty(), e.into()));
        };
        drop(inner);
        Err((KBox::into_inner(tx).out.unwrap_or_else(empty), error))
    }

    /// Queues a frame without a message.
    ///
    /// # Errors
    /// As [`Transmitter::push`].
    pub(super) fn push_noop(&self, c: &Conn, cookie: u64) -> Result {
        let frame = Frame {
            kind: FRAME_NOOP.into(),
            csum: 0.into(),
            zc_request: 0.into(),
            zc_ack: cookie.into(),
        };
        let mut head = [0; FRAME_SIZE + HEADER16_SIZE];
        if let Some(f) = head.get_mut(..FRAME_SIZE) {
            f.copy_from_slice(frame.as_bytes());
        }
        let tx = Tx::boxed(head, FRAME_SIZE, None).map_err(|(_, e)| e)?;
        self.push(c, tx).map_err(|(_, e)| e)
    }

    /// The socket has room again.
    pub(super) fn writable(&self) {
        let mut inner = self.inner.lock();
        inner.writable = true;
        inner.stuck_since = None;
    }

    /// Writes until all is gone, there is no room, or `budget` bytes are written. Only the
    /// scheduler's thread (`own`) writes what somebody is told of afterwards.
    ///
    /// # Errors
    /// What the socket says: the connection is to be closed.
    pub(super) fn pump(&self, c: &Arc<Conn>, budget: usize, own: bool) -> Result<Pumped> {
        let mut inner = self.inner.lock();
        if inner.busy || inner.failed || inner.stuck_since.is_some() {
            return Ok(Pumped::Idle);
        }
        inner.busy = true;
        let mut left = budget;
        loop {
            let tx = match inner.current.take() {
                Some(t) => Some(t),
                None => inner.queue.pop_front(),
            };
            let Some(mut tx) = tx else {
                inner.busy = false;
                return Ok(Pumped::Idle);
            };
            if left == 0 || (tx.is_watched() && !own) {
                inner.current = Some(tx);
                inner.busy = false;
                return Ok(Pumped::More);
            }
            inner.writable = false;
            drop(inner);
            let before = tx.done;
            let r = self.write_all(c, &mut tx);
            left = left.saturating_sub((tx.done - before).max(64));
            match r {
                Ok(()) => {
                    if let Some(out) = KBox::into_inner(tx).out {
                        c.lnd.lnet.sent(out);
                    }
                    inner = self.inner.lock();
                }
                Err(e) => {
                    inner = self.inner.lock();
                    inner.current = Some(tx);
                    if inner.failed {
                        // Closed meanwhile: what was being written was left to us. Its owner is
                        // told on another thread, as this one may be in the middle of anything.
                        inner.busy = false;
                        drop(inner);
                        let conn = c.clone();
                        let told = c.lnd.workers.connector(move || conn.bury());
                        if told.is_err() {
                            c.bury();
                        }
                        return Ok(Pumped::Idle);
                    }
                    if e == EAGAIN && inner.writable {
                        continue;
                    }
                    inner.busy = false;
                    if e == EAGAIN {
                        inner.stuck_since = Some(Instant::now());
                        return Ok(Pumped::Idle);
                    }
                    return Err(e);
                }
            }
        }
    }

    fn write_all(&self, c: &Arc<Conn>, tx: &mut Tx) -> Result {
        while tx.done < tx.len() {
            let n = tx.write(c)?;
            if n == 0 {
                return Err(EPIPE);
            }
            tx.done += n;
            self.queued.fetch_sub(n as u64, Relaxed);
        }
        Ok(())
    }

    /// Everything that waits fails, and so does what comes later.
    pub(super) fn fail(&self, lnd: &Socklnd, error: Error) {
        let (mut queue, current) = {
            let mut inner = self.inner.lock();
            inner.failed = true;
            inner.stuck_since = None;
            // What a thread is writing now, it takes care of itself.
            let current = if inner.busy {
                None
            } else {
                inner.current.take()
            };
            (core::mem::take(&mut inner.queue), current)
        };
        for tx in current
            .into_iter()
            .chain(core::iter::from_fn(|| queue.pop_front()))
        {
            if let Some(out) = KBox::into_inner(tx).out {
                lnd.lnet.send_failed(out, error);
            }
        }
    }
}

/// What stands for a message that is not there.
fn empty() -> Outgoing {
    use wire::lnet::{Command, Header, WireHandle};
    use wire::nid::Nid;
    Outgoing {
        header: Header {
            dest_nid: Nid::ANY,
            src_nid: Nid::ANY,
            dest_pid: 0,
            src_pid: 0,
            payload_length: 0,
            command: Command::Reply {
                dst: WireHandle::NONE,
            },
        },
        payload: Payload::Empty,
        response: None,
        sent: None,
    }
}
