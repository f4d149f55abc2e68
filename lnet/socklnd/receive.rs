// SPDX-License-Identifier: GPL-2.0

//! Receiving on a connection: frames, headers, payloads (spec `lnet.md` §7.5).
//!
//! Heads and small payloads come through a buffer, so that one call brings many; the bulk of a
//! large payload goes from the socket straight to where it belongs.

use super::conn::Conn;
use super::Socklnd;
use crate::event::Sink;
use crate::node::{Delivery, Incoming};
use kapi::prelude::*;
use kapi::sync::atomic::Relaxed;
use wire::lnet::{Header, HEADER16_SIZE, HEADER4_SIZE};
use wire::socklnd::{Frame, FRAME_LNET, FRAME_NOOP, KEEPALIVE};
use zerocopy::FromBytes;

/// Size of the buffer for heads.
const STAGING: usize = 8192;
/// What one connection may do before others have their turn, bytes.
const TURN: usize = 1 << 20;
/// How long a message may hold up what comes behind it before it is dropped; its sender will send
/// it again.
const STALL_MAX: Duration = Duration::from_secs(2);

/// Where the bytes of a payload go.
enum Dest {
    Message {
        delivery: Delivery,
        data: KVVec<u8>,
        accept: usize,
    },
    Sink {
        delivery: Delivery,
        sink: Sink,
        accept: usize,
    },
    Push(Header),
    Nowhere,
}

enum State {
    /// At the beginning of a frame.
    Frame,
    /// The LNet header comes next.
    Header { zc: u64 },
    /// It was read, but there is no room for its payload.
    Stalled {
        header: Header,
        zc: u64,
        since: Instant,
    },
    /// `got` of `len` bytes of the payload are here.
    Payload {
        dest: Dest,
        got: usize,
        len: usize,
        zc: u64,
    },
}

/// How far receiving got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// Nothing more is there; the poller will tell.
    Idle,
    /// There may be more, but others have their turn.
    More,
    /// There is no room for what has come.
    Stalled,
}

/// What was being received when the connection ended.
pub(super) struct Broken(Dest);

impl Broken {
    /// Whoever gave memory for it gets it back.
    pub(super) fn fail(self, lnd: &Socklnd, error: Error) {
        match self.0 {
            Dest::Message { delivery, .. } => lnd.lnet.broken(delivery, None, error),
            Dest::Sink { delivery, sink, .. } => lnd.lnet.broken(delivery, Some(sink), error),
            Dest::Push(_) | Dest::Nowhere => {}
        }
    }
}

/// The receiving side of a connection.
pub(super) struct Receiver {
    state: State,
    staging: KVVec<u8>,
    /// What of the buffer is filled and not used.
    start: usize,
    end: usize,
    /// The socket gave less than was asked for: the poller tells when there is more.
    drained: bool,
    /// When this turn began.
    now: Instant,
}

impl Receiver {
    pub(super) fn new() -> Receiver {
        Receiver {
            state: State::Frame,
            staging: KVVec::new(),
            start: 0,
            end: 0,
            drained: false,
            now: Instant::now(),
        }
    }

    /// A buffer for heads.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn buffer() -> Result<KVVec<u8>> {
        Ok(KVVec::from_elem(0, STAGING, GFP_KERNEL)?)
    }

    /// Receives until nothing is there, this connection's turn is over, or it waits for room.
    ///
    /// # Errors
    /// The connection is to be closed: `ECONNRESET` at its end, `EPROTO`, or what the socket says.
    pub(super) fn run(&mut self, c: &Arc<Conn>, now: Instant) -> Result<Progress> {
        // Of the many connections only those have a buffer that have something in it.
        if self.staging.is_empty() {
            self.staging = c.sched.take_buffer()?;
        }
        let progress = self.receive(c, now);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            c.sched.give_buffer(core::mem::take(&mut self.staging));
        }
        progress
    }

    fn receive(&mut self, c: &Arc<Conn>, now: Instant) -> Result<Progress> {
        let mut budget = TURN;
        self.now = now;
        self.drained = false;
        while budget > 0 {
            let state = core::mem::replace(&mut self.state, State::Frame);
            match state {
                State::Frame => match self.head::<{ size_of::<Frame>() }>(c)? {
                    None => {
                        c.receiving.store(self.end > self.start, Relaxed);
                        return Ok(Progress::Idle);
                    }
                    Some(b) => {
                        self.frame(c, &b)?;
                        budget = budget.saturating_sub(b.len());
                    }
                },
                State::Header { zc } => {
                    let Some(header) = self.header(c)? else {
                        self.state = State::Header { zc };
                        return Ok(Progress::Idle);
                    };
                    self.state = State::Stalled {
                        header,
                        zc,
                        since: now,
                    };
                }
                State::Stalled { header, zc, since } => match self.destination(c, &header, since) {
                    Some(dest) => {
                        c.receiving.store(true, Relaxed);
                        self.state = State::Payload {
                            dest,
                            got: 0,
                            len: header.payload_length as usize,
                            zc,
                        };
                    }
                    None => {
                        // It is not the peer that does not move.
                        c.receiving.store(false, Relaxed);
                        self.state = State::Stalled { header, zc, since };
                        return Ok(Progress::Stalled);
                    }
                },
                State::Payload {
                    mut dest,
                    got,
                    len,
                    zc,
                } => {
                    let r = self.payload(c, &mut dest, got, len);
                    let n = r.unwrap_or(0);
                    if got + n < len {
                        self.state = State::Payload {
                            dest,
                            got: got + n,
                            len,
                            zc,
                        };
                        match r {
                            Ok(_) => {}
                            Err(EAGAIN) => return Ok(Progress::Idle),
                            Err(e) => return Err(e),
                        }
                    } else {
                        self.complete(c, dest, zc);
                    }
                    budget = budget.saturating_sub(n.max(256));
                }
            }
        }
        Ok(Progress::More)
    }

    /// The connection has ended: what was being received.
    pub(super) fn abandon(&mut self) -> Broken {
        match core::mem::replace(&mut self.state, State::Frame) {
            State::Payload { dest, .. } => Broken(dest),
            _ => Broken(Dest::Nowhere),
        }
    }

    /// The next `N` bytes, if they are here.
    fn head<const N: usize>(&mut self, c: &Conn) -> Result<Option<[u8; N]>> {
        while self.end - self.start < N {
            if self.start > 0 {
                self.staging.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            match self.fill(c, STAGING) {
                Ok(0) if self.end == 0 => return Err(ECONNRESET),
                Ok(0) => return Err(EPROTO),
                Ok(n) => {
                    c.receiving.store(true, Relaxed);
                    self.end += n;
                }
                Err(EAGAIN) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        let mut out = [0; N];
        let from = self.staging.get(self.start..self.start + N).ok_or(EINVAL)?;
        out.copy_from_slice(from);
        self.start += N;
        Ok(Some(out))
    }

    /// Receives behind what is in the buffer, up to byte `to` of it.
    ///
    /// # Errors
    /// `EAGAIN`: nothing is there.
    fn fill(&mut self, c: &Conn, to: usize) -> Result<usize> {
        // Behind data may come the end, of which the poller tells but once.
        if self.drained && !c.is_ended() {
            return Err(EAGAIN);
        }
        let room = self.staging.get_mut(self.end..to).ok_or(EINVAL)?;
        let n = c.stream.try_recv(room)?;
        self.drained = n < room.len();
        c.moved(self.now);
        Ok(n)
    }

    fn frame(&mut self, c: &Conn, b: &[u8]) -> Result {
        let f = Frame::ref_from_bytes(b).map_err(|_| EPROTO)?;
        let (kind, ack) = (f.kind.get(), f.zc_ack.get());
        // We never ask for acknowledgments, so nothing but a keepalive can carry a cookie here.
        let good = match kind {
            FRAME_NOOP => {
                (ack == 0 || ack == KEEPALIVE) && f.zc_request.get() == 0 && f.csum.get() == 0
            }
            FRAME_LNET => ack == 0,
            _ => false,
        };
        if !good {
            pr_warn_ratelimited!("bad frame {:#x} from {}\n", kind, c.peer.key().1);
            return Err(EPROTO);
        }
        if kind == FRAME_LNET {
            self.state = State::Header {
                zc: f.zc_request.get(),
            };
        }
        Ok(())
    }

    /// The LNet header, if it is here.
    fn header(&mut self, c: &Conn) -> Result<Option<Header>> {
        let header = match c.agreed.version {
            4 => self.head::<HEADER16_SIZE>(c)?.map(|b| Header::decode16(&b)),
            _ => self.head::<HEADER4_SIZE>(c)?.map(|b| Header::decode4(&b)),
        };
        let Some(header) = header else {
            return Ok(None);
        };
        let (ours, theirs) = c.peer.key();
        let mut header = header.map_err(|e| {
            pr_warn_ratelimited!("bad message from {}: {:?}\n", theirs, e);
            EPROTO
        })?;
        if let Some(nid) = c.agreed.forced {
            header.src_nid = nid;
        }
        if header.dest_nid != ours
            && (header.dest_nid.net() == ours.net() || c.lnd.lnet.is_local(&header.dest_nid))
        {
            pr_warn_ratelimited!("{} takes us for {}\n", theirs, header.dest_nid);
            return Err(EPROTO);
        }
        Ok(Some(header))
    }

    /// Where the payload of a message goes; `None`: there is no room now.
    fn destination(&self, c: &Conn, header: &Header, since: Instant) -> Option<Dest> {
        let (_, theirs) = c.peer.key();
        if header.src_nid != theirs && header.src_nid.net() == theirs.net() {
            // Nobody speaks for a neighbour.
            pr_warn_ratelimited!("{} claims to be {}\n", theirs, header.src_nid);
            return Some(Dest::Nowhere);
        }
        Some(match c.lnd.lnet.incoming(header, &c.peer.received) {
            Incoming::Later if self.now.duration_since(since) < STALL_MAX => return None,
            Incoming::Later => {
                pr_warn_ratelimited!("no room for a message from {}, dropped\n", header.src_nid);
                Dest::Nowhere
            }
            Incoming::Discard => Dest::Nowhere,
            Incoming::Push => Dest::Push(*header),
            Incoming::Message { delivery, accept } => {
                match KVVec::with_capacity(accept, GFP_KERNEL) {
                    Ok(data) => Dest::Message {
                        delivery,
                        data,
                        accept,
                    },
                    Err(e) => {
                        c.lnd.lnet.broken(delivery, None, e.into());
                        Dest::Nowhere
                    }
                }
            }
            Incoming::Sink {
                delivery,
                sink,
                accept,
            } => Dest::Sink {
                delivery,
                sink,
                accept,
            },
        })
    }

    /// Receives some of a payload of which `got` of `len` bytes are here.
    fn payload(&mut self, c: &Conn, dest: &mut Dest, got: usize, len: usize) -> Result<usize> {
        let left = len - got;
        if left == 0 {
            return Ok(0);
        }
        if self.start == self.end {
            match dest {
                // The bulk of it, straight to its place.
                Dest::Sink { sink, accept, .. } if got < *accept => {
                    let room = *accept - got;
                    let n = c
                        .stream
                        .try_recv_pages(&mut sink.pages, sink.off + got, room)?;
                    c.moved(self.now);
                    return if n == 0 { Err(EPROTO) } else { Ok(n) };
                }
                _ => {
                    (self.start, self.end) = (0, 0);
                    // No more than this: what follows may be bulk that needs no copy.
                    self.end = self.fill(c, left.min(STAGING))?;
                    if self.end == 0 {
                        return Err(EPROTO);
                    }
                }
            }
        }
        let staged = (self.end - self.start).min(left);
        let from = self
            .staging
            .get(self.start..self.start + staged)
            .ok_or(EINVAL)?;
        match dest {
            Dest::Message { data, accept, .. } => {
                let take = accept.saturating_sub(got).min(staged);
                data.extend_from_slice(from.get(..take).ok_or(EINVAL)?, GFP_KERNEL)?;
            }
            Dest::Sink { sink, accept, .. } => {
                let take = accept.saturating_sub(got).min(staged);
                let take = from.get(..take).ok_or(EINVAL)?;
                if !take.is_empty() {
                    sink.pages.copy_in(sink.off + got, take)?;
                }
            }
            Dest::Push(_) | Dest::Nowhere => {}
        }
        self.start += staged;
        Ok(staged)
    }

    /// A message is here, whole.
    fn complete(&mut self, c: &Arc<Conn>, dest: Dest, zc: u64) {
        if zc != 0 {
            c.acknowledge(zc);
        }
        match dest {
            Dest::Message { delivery, data, .. } => c.lnd.lnet.delivered(delivery, data),
            Dest::Sink {
                delivery,
                sink,
                accept,
            } => c.lnd.lnet.filled(delivery, sink, accept),
            Dest::Push(header) => c.lnd.lnet.pushed(&header),
            Dest::Nowhere => {}
        }
    }
}
