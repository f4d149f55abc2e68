// SPDX-License-Identifier: GPL-2.0

//! Sending on a connection.
//!
//! One thread at a time writes; others leave their message in the queue and go. No lock is held
//! while the socket is written to.

use super::conn::Conn;
use super::Socklnd;
use crate::event::Payload;
use crate::node::Outgoing;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};
use wire::lnet::{HEADER16_SIZE, HEADER4_SIZE};
use wire::socklnd::{Frame, FRAME_LNET, FRAME_NOOP};
use zerocopy::IntoBytes;

const FRAME_SIZE: usize = size_of::<Frame>();

/// A frame on its way.
pub(super) struct Tx {
    head: [u8; FRAME_SIZE + HEADER16_SIZE],
    head_len: usize,
    /// Bytes sent of head and payload.
    done: usize,
    out: Option<Outgoing>,
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
        // A failed allocation takes the message along; whoever waits for its answer times out.
        match KBox::new(
            Tx {
                head,
                head_len,
                done: 0,
                out: None,
            },
            GFP_KERNEL,
        ) {
            Ok(mut b) => {
                b.out = out;
                Ok(b)
            }
            Err(e) => match out {
                Some(o) => Err((o, e.into())),
                None => Err((empty(), e.into())),
            },
        }
    }

    fn len(&self) -> usize {
        self.head_len + self.out.as_ref().map_or(0, |o| o.payload.len())
    }

    /// Writes once; how much.
    fn write(&self, c: &Conn) -> Result<usize> {
        let more = self.len() > self.head_len;
        if self.done < self.head_len {
            let head = self.head.get(self.done..self.head_len).ok_or(EINVAL)?;
            return c.stream.try_send(head, more);
        }
        let at = self.done - self.head_len;
        match self.out.as_ref().map(|o| &o.payload) {
            Some(Payload::Message(m)) => c.stream.try_send(m.get(at..).ok_or(EINVAL)?, false),
            Some(Payload::Pages { pages, off, len }) => {
                c.stream.try_send_pages(pages, off + at, len - at, false)
            }
            Some(Payload::Empty) | None => Ok(0),
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
    stuck_since: Option<u64>,
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

    pub(super) fn stuck_since(&self) -> Option<u64> {
        self.inner.lock().stuck_since
    }

    pub(super) fn push(&self, tx: KBox<Tx>) -> Result<(), (Outgoing, Error)> {
        let len = tx.len() as u64;
        let mut inner = self.inner.lock();
        if inner.queue.reserve(1, GFP_KERNEL).is_err() {
            drop(inner);
            let out = KBox::into_inner(tx).out.unwrap_or_else(empty);
            return Err((out, ENOMEM));
        }
        self.queued.fetch_add(len, Relaxed);
        if inner.queue.push_back(tx, GFP_KERNEL).is_err() {
            self.queued.fetch_sub(len, Relaxed);
        }
        Ok(())
    }

    /// An acknowledgment of a zero-copy message.
    pub(super) fn push_noop(&self, cookie: u64) -> Result {
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
        self.push(tx).map_err(|(_, e)| e)
    }

    /// The socket has room again.
    pub(super) fn writable(&self) {
        let mut inner = self.inner.lock();
        inner.writable = true;
        inner.stuck_since = None;
    }

    /// Writes until all is gone or there is no room.
    ///
    /// # Errors
    /// What the socket says: the connection is to be closed.
    pub(super) fn pump(&self, c: &Arc<Conn>) -> Result {
        let mut inner = self.inner.lock();
        if inner.busy || inner.failed || (inner.stuck_since.is_some() && !inner.writable) {
            return Ok(());
        }
        inner.busy = true;
        loop {
            let tx = match inner.current.take() {
                Some(t) => Some(t),
                None => inner.queue.pop_front(),
            };
            let Some(mut tx) = tx else {
                inner.busy = false;
                return Ok(());
            };
            inner.writable = false;
            drop(inner);
            let r = self.write_all(c, &mut tx);
            inner = self.inner.lock();
            match r {
                Ok(()) => {
                    drop(inner);
                    let out = KBox::into_inner(tx).out;
                    if let Some(out) = out {
                        c.lnd.lnet.sent(out);
                    }
                    inner = self.inner.lock();
                }
                Err(e) => {
                    inner.current = Some(tx);
                    if e == EAGAIN && !inner.failed {
                        if inner.writable {
                            continue;
                        }
                        inner.stuck_since = Some(Instant::now().as_nanos());
                        inner.busy = false;
                        return Ok(());
                    }
                    inner.busy = false;
                    if inner.failed {
                        drop(inner);
                        self.fail(&c.lnd, ECONNRESET);
                        return Ok(());
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

    /// Everything that waits fails.
    pub(super) fn fail(&self, lnd: &Socklnd, error: Error) {
        let (mut queue, current) = {
            let mut inner = self.inner.lock();
            inner.failed = true;
            // What a thread is writing now, it takes care of itself.
            let current = if inner.busy {
                None
            } else {
                inner.current.take()
            };
            (core::mem::take(&mut inner.queue), current)
        };
        self.queued.store(0, Relaxed);
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
