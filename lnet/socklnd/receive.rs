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
use wire::socklnd::{Frame, FRAME_LNET, FRAME_NOOP};
use zerocopy::FromBytes;

/// Size of the buffer for heads.
const STAGING: usize = 8192;
/// What one connection may do before others have their turn.
const TURN: usize = 1 << 20;

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
    Nowhere,
}

enum State {
    /// At the beginning of a frame.
    Frame,
    /// The LNet header comes next.
    Header { zc: u64 },
    /// It was read, but there is no room for its payload.
    Stalled { header: Header, zc: u64 },
    /// `got` of `len` bytes of the payload are here.
    Payload {
        dest: Dest,
        got: usize,
        len: usize,
        zc: u64,
    },
}

/// The receiving side of a connection.
pub(super) struct Receiver {
    state: State,
    staging: KVVec<u8>,
    /// What of the buffer is filled and not used.
    start: usize,
    end: usize,
}

impl Receiver {
    pub(super) fn new() -> Result<Receiver> {
        Ok(Receiver {
            state: State::Frame,
            staging: KVVec::from_elem(0, STAGING, GFP_KERNEL)?,
            start: 0,
            end: 0,
        })
    }

    /// Receives until nothing is there (`false`), or this connection's turn is over or it waits
    /// for room (`true`).
    ///
    /// # Errors
    /// The connection is to be closed: `ECONNRESET` at its end, `EPROTO`, `ENOMEM`, or what the
    /// socket says.
    pub(super) fn run(&mut self, c: &Arc<Conn>) -> Result<bool> {
        let mut budget = TURN;
        loop {
            if budget == 0 {
                return Ok(true);
            }
            let state = core::mem::replace(&mut self.state, State::Frame);
            match state {
                State::Frame => match self.head::<{ size_of::<Frame>() }>(c)? {
                    None => {
                        c.receiving.store(self.end > self.start, Relaxed);
                        return Ok(false);
                    }
                    Some(b) => self.frame(c, &b)?,
                },
                State::Header { zc } => {
                    let header = match c.agreed.version {
                        4 => self.head::<HEADER16_SIZE>(c)?.map(|b| Header::decode16(&b)),
                        _ => self.head::<HEADER4_SIZE>(c)?.map(|b| Header::decode4(&b)),
                    };
                    let Some(header) = header else {
                        self.state = State::Header { zc };
                        return Ok(false);
                    };
                    let mut header = header.map_err(|e| {
                        pr_warn!("bad message from {}: {:?}\n", c.peer.key().1, e);
                        EPROTO
                    })?;
                    if let Some(nid) = c.agreed.forced {
                        header.src_nid = nid;
                    }
                    self.state = State::Stalled { header, zc };
                }
                State::Stalled { header, zc } => {
                    let len = header.payload_length as usize;
                    let dest = match c.lnd.lnet.incoming(&header) {
                        Incoming::Later => {
                            self.state = State::Stalled { header, zc };
                            return Ok(true);
                        }
                        Incoming::Discard => Dest::Nowhere,
                        Incoming::Message { delivery, accept } => Dest::Message {
                            delivery,
                            data: KVVec::with_capacity(accept, GFP_KERNEL)?,
                            accept,
                        },
                        Incoming::Sink {
                            delivery,
                            sink,
                            accept,
                        } => Dest::Sink {
                            delivery,
                            sink,
                            accept,
                        },
                    };
                    self.state = State::Payload {
                        dest,
                        got: 0,
                        len,
                        zc,
                    };
                }
                State::Payload {
                    mut dest,
                    mut got,
                    len,
                    zc,
                } => {
                    let r = self.payload(c, &mut dest, got, len);
                    match r {
                        Ok(n) => got += n,
                        Err(EAGAIN) => {}
                        Err(e) => {
                            self.state = State::Payload { dest, got, len, zc };
                            return Err(e);
                        }
                    }
                    if got < len {
                        self.state = State::Payload { dest, got, len, zc };
                        if r.is_err() {
                            return Ok(false);
                        }
                    } else {
                        self.complete(c, dest, zc)?;
                    }
                    budget = budget.saturating_sub(r.unwrap_or(0).max(256));
                }
            }
        }
    }

    /// The connection ends: whoever gave memory for what was being received gets it back.
    pub(super) fn abort(&mut self, lnd: &Socklnd, error: Error) {
        if let State::Payload { dest, .. } = core::mem::replace(&mut self.state, State::Frame) {
            match dest {
                Dest::Message { delivery, .. } => lnd.lnet.broken(delivery, None, error),
                Dest::Sink { delivery, sink, .. } => lnd.lnet.broken(delivery, Some(sink), error),
                Dest::Nowhere => {}
            }
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
            let room = self.staging.get_mut(self.end..).ok_or(EINVAL)?;
            match c.stream.try_recv(room) {
                Ok(0) if self.end == 0 => return Err(ECONNRESET),
                Ok(0) => return Err(EPROTO),
                Ok(n) => {
                    c.receiving.store(true, Relaxed);
                    c.moved();
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

    fn frame(&mut self, c: &Conn, b: &[u8]) -> Result {
        let f = Frame::ref_from_bytes(b).map_err(|_| EPROTO)?;
        // We never ask for acknowledgments, so only keepalives can carry a cookie.
        match f.kind.get() {
            FRAME_NOOP => self.state = State::Frame,
            FRAME_LNET => {
                self.state = State::Header {
                    zc: f.zc_request.get(),
                }
            }
            k => {
                pr_warn!("bad frame {:#x} from {}\n", k, c.peer.key().1);
                return Err(EPROTO);
            }
        }
        Ok(())
    }

    /// Receives some of a payload of which `got` of `len` bytes are here.
    fn payload(&mut self, c: &Conn, dest: &mut Dest, got: usize, len: usize) -> Result<usize> {
        let left = len - got;
        if left == 0 {
            return Ok(0);
        }
        if self.start == self.end {
            if let Dest::Sink { sink, accept, .. } = dest {
                if got < *accept {
                    let room = *accept - got;
                    let n = c
                        .stream
                        .try_recv_pages(&mut sink.pages, sink.off + got, room)?;
                    return if n == 0 {
                        Err(EPROTO)
                    } else {
                        c.moved();
                        Ok(n)
                    };
                }
            }
            let most = left.min(self.staging.len());
            let n = c
                .stream
                .try_recv(self.staging.get_mut(..most).ok_or(EINVAL)?)?;
            if n == 0 {
                return Err(EPROTO);
            }
            c.moved();
            (self.start, self.end) = (0, n);
        }
        let staged = (self.end - self.start).min(left);
        let from = self
            .staging
            .get(self.start..self.start + staged)
            .ok_or(EINVAL)?;
        let accepted = |accept: usize| {
            from.get(..accept.saturating_sub(got).min(staged))
                .ok_or(EINVAL)
        };
        match dest {
            Dest::Message { data, accept, .. } => {
                data.extend_from_slice(accepted(*accept)?, GFP_KERNEL)?;
            }
            Dest::Sink { sink, accept, .. } => {
                sink.pages.copy_in(sink.off + got, accepted(*accept)?)?;
            }
            Dest::Nowhere => {}
        }
        self.start += staged;
        Ok(staged)
    }

    /// A message is here, whole.
    fn complete(&mut self, c: &Arc<Conn>, dest: Dest, zc: u64) -> Result {
        self.state = State::Frame;
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
            Dest::Nowhere => {}
        }
        Ok(())
    }
}
