// SPDX-License-Identifier: GPL-2.0

//! Bulk transfers (spec `ptlrpc.md` §7). The client attaches its buffers and sends the request;
//! the server moves the data, and answers.

use crate::node::Node;
use crate::request::ServerRequest;
use kapi::pages::Pages;
use kapi::prelude::*;
use lnet::fail::{self, point};
use lnet::node::ResponseHandle;
use lnet::portal::{Detached, Target};
use lnet::{Entry, EntryHandle, Event, EventHandler, MatchSpec, Payload, ProcessId, PutArgs, Sink};
use wire::nid::Nid;

/// A piece of bulk data: one MD, at most 1 MiB.
pub struct Piece {
    /// The pages.
    pub pages: Arc<Pages>,
    /// Where the data begin, bytes.
    pub off: usize,
    /// How long they are, bytes.
    pub len: usize,
}

/// What a client's bulk buffers are for.
enum Buffers {
    /// Data for the server to read.
    Give(KVec<Piece>),
    /// Room for data of the server.
    Take(KVec<Slot>),
}

/// Room for one MD.
#[derive(Default)]
struct Slot {
    sink: Option<Sink>,
    filled: usize,
}

struct ClientInner {
    buffers: Buffers,
    attached: KVec<(EntryHandle, u64)>,
}

/// The bulk buffers of a call.
#[pin_data]
pub struct ClientShared {
    #[pin]
    inner: Mutex<ClientInner>,
}

/// The bulk buffers of a call.
pub struct ClientBulk {
    shared: Arc<ClientShared>,
    portal: u32,
    count: usize,
    node: Option<Arc<Node>>,
}

impl ClientBulk {
    fn new(portal: u32, count: usize, buffers: Buffers) -> Result<ClientBulk> {
        let shared = Arc::pin_init(
            pin_init!(ClientShared {
                inner <- new_mutex!(ClientInner {
                    buffers,
                    attached: KVec::new(),
                }),
            }),
            GFP_KERNEL,
        )?;
        Ok(ClientBulk {
            shared,
            portal,
            count,
            node: None,
        })
    }

    /// Data for the server to read.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn give(portal: u32, pieces: KVec<Piece>) -> Result<ClientBulk> {
        Self::new(portal, pieces.len(), Buffers::Give(pieces))
    }

    /// Room for data of the server.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn take(portal: u32, sinks: KVec<Sink>) -> Result<ClientBulk> {
        let mut slots = KVec::with_capacity(sinks.len(), GFP_KERNEL)?;
        for s in sinks {
            let slot = Slot {
                sink: Some(s),
                filled: 0,
            };
            slots.push(slot, GFP_KERNEL)?;
        }
        Self::new(portal, slots.len(), Buffers::Take(slots))
    }

    /// Number of MDs.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Attaches the buffers, at `first` and on. What was attached for an earlier attempt is
    /// taken away.
    pub(crate) fn register(&mut self, node: &Arc<Node>, peer: Nid, first: u64) -> Result {
        self.withdraw();
        self.node = Some(node.clone());
        let handler: Arc<dyn EventHandler> = self.shared.clone();
        let mut inner = self.shared.inner.lock();
        let inner = &mut *inner;
        for i in 0..self.count {
            let entry = match &mut inner.buffers {
                Buffers::Give(p) => {
                    let p = p.get(i).ok_or(EINVAL)?;
                    Entry::Source {
                        pages: p.pages.clone(),
                        off: p.off,
                        len: p.len,
                    }
                }
                Buffers::Take(s) => {
                    let s = s.get_mut(i).ok_or(EINVAL)?;
                    s.filled = 0;
                    // Still being filled by an earlier attempt: that will fail before long.
                    Entry::Sink(s.sink.take().ok_or(EBUSY)?)
                }
            };
            let bits = first + i as u64;
            let spec = MatchSpec {
                portal: self.portal,
                peer: Some(peer),
                match_bits: bits,
                ignore_bits: 0,
            };
            let target = Target {
                handler: handler.clone(),
                cookie: i as u64,
            };
            let h = node.lnet().attach(spec, entry, target)?;
            inner.attached.push((h, bits), GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Takes away what is still attached; how many buffers the server has not used.
    fn withdraw(&self) -> usize {
        let Some(node) = &self.node else { return 0 };
        let attached = core::mem::take(&mut self.shared.inner.lock().attached);
        let mut unused = 0;
        for (i, (h, bits)) in attached.iter().enumerate() {
            let Detached::Unused(sink) = node.lnet().detach(*h, *bits) else {
                continue;
            };
            unused += 1;
            if let Buffers::Take(s) = &mut self.shared.inner.lock().buffers {
                if let Some(s) = s.get_mut(i) {
                    s.sink = sink;
                }
            }
        }
        unused
    }

    /// The reply is here, with `status`: all buffers must have been used by now.
    ///
    /// # Errors
    /// `EPROTO`: they were not, though the server says that all went well.
    pub(crate) fn settle(self, status: i32) -> Result<ClientBulk> {
        if self.withdraw() > 0 && status >= 0 {
            return Err(EPROTO);
        }
        Ok(self)
    }

    pub(crate) fn cancel(self) {
        self.withdraw();
    }

    /// What was received: the buffers, and how many bytes of each are filled.
    pub fn into_received(self) -> KVec<(Sink, usize)> {
        let mut out = KVec::new();
        let mut inner = self.shared.inner.lock();
        if let Buffers::Take(slots) = &mut inner.buffers {
            for s in slots.iter_mut() {
                if let Some(sink) = s.sink.take() {
                    if out.push((sink, s.filled), GFP_KERNEL).is_err() {
                        break;
                    }
                }
            }
        }
        drop(inner);
        out
    }
}

impl EventHandler for ClientShared {
    fn event(&self, cookie: u64, event: Event) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let slot = match &mut inner.buffers {
            Buffers::Take(s) => s.get_mut(cookie as usize),
            Buffers::Give(_) => None,
        };
        match (event, slot) {
            (Event::Filled { sink, len }, Some(s)) => {
                s.sink = Some(sink);
                s.filled = len;
            }
            (Event::Failed { sink, .. }, Some(s)) => {
                if sink.is_some() {
                    s.sink = sink;
                }
            }
            _ => {}
        }
    }
}

struct ServerInner {
    left: usize,
    failed: Option<Error>,
    sinks: KVec<Option<(Sink, usize)>>,
}

/// A transfer that a server waits for.
#[pin_data]
struct Transfer {
    #[pin]
    inner: Mutex<ServerInner>,
    #[pin]
    done: CondVar,
}

impl Transfer {
    fn new(n: usize) -> Result<Arc<Transfer>> {
        let mut sinks = KVec::with_capacity(n, GFP_KERNEL)?;
        for _ in 0..n {
            sinks.push(None, GFP_KERNEL)?;
        }
        Arc::pin_init(
            pin_init!(Transfer {
                inner <- new_mutex!(ServerInner {
                    left: n,
                    failed: None,
                    sinks,
                }),
                done <- new_condvar!(),
            }),
            GFP_KERNEL,
        )
    }

    /// Waits until all is over, an error has come, or the time is up.
    fn wait(&self, timeout: Duration) -> Result {
        let deadline = Instant::now() + timeout;
        let mut inner = self.inner.lock();
        loop {
            if let Some(e) = inner.failed {
                return Err(e);
            }
            if inner.left == 0 {
                return Ok(());
            }
            let left = deadline.duration_since(Instant::now());
            if left.is_zero() {
                return Err(ETIMEDOUT);
            }
            inner = self.done.wait_timeout(inner, left).0;
        }
    }
}

impl EventHandler for Transfer {
    fn event(&self, cookie: u64, event: Event) {
        let mut inner = self.inner.lock();
        match event {
            Event::Filled { sink, len } => {
                if let Some(s) = inner.sinks.get_mut(cookie as usize) {
                    *s = Some((sink, len));
                }
                inner.left = inner.left.saturating_sub(1);
            }
            Event::Ack { .. } => inner.left = inner.left.saturating_sub(1),
            Event::Failed { error, .. } => inner.failed = Some(error),
            Event::Message { .. } | Event::Read => {}
        }
        drop(inner);
        self.done.notify_all();
    }
}

impl ServerRequest {
    fn bulk_args(&self, portal: u32, match_bits: u64) -> PutArgs {
        let peer = self.peer();
        PutArgs {
            source: Some(peer.self_nid),
            target: ProcessId {
                nid: peer.nid,
                pid: peer.pid,
            },
            portal,
            match_bits,
            offset: 0,
            hdr_data: 0,
        }
    }

    fn bulk_time(&self) -> Duration {
        let most = Duration::from_secs(self.node().limits().bulk_timeout.into());
        self.time_left().min(most)
    }

    /// Fetches the client's data, a buffer per MD at `first` and on; each comes back with the
    /// number of bytes that are filled.
    ///
    /// # Errors
    /// `ETIMEDOUT`, `ECONNRESET`, ...: not all came. The client is to get no reply then: it will
    /// send the request again.
    pub fn bulk_get(
        &self,
        portal: u32,
        first: u64,
        sinks: KVec<Sink>,
    ) -> Result<KVec<(Sink, usize)>> {
        let lnet = self.node().lnet();
        let transfer = Transfer::new(sinks.len())?;
        let mut handles: KVec<ResponseHandle> = KVec::with_capacity(sinks.len(), GFP_KERNEL)?;
        let mut result = Ok(());
        for (i, sink) in sinks.into_iter().enumerate() {
            let target = Target {
                handler: transfer.clone(),
                cookie: i as u64,
            };
            let args = self.bulk_args(portal, first + i as u64);
            match lnet.get(&args, sink, target) {
                Ok(h) => handles.push(h, GFP_KERNEL)?,
                Err(e) => {
                    result = Err(e);
                    break;
                }
            }
        }
        let result = result.and_then(|()| transfer.wait(self.bulk_time()));
        if let Err(e) = result {
            for h in handles {
                lnet.cancel(h);
            }
            return Err(e);
        }
        let sinks = core::mem::take(&mut transfer.inner.lock().sinks);
        let mut out = KVec::with_capacity(sinks.len(), GFP_KERNEL)?;
        for s in sinks {
            out.push(s.ok_or(EIO)?, GFP_KERNEL)?;
        }
        Ok(out)
    }

    /// Sends data to the client's buffers at `first` and on, and waits until it has them.
    ///
    /// # Errors
    /// As [`ServerRequest::bulk_get`].
    pub fn bulk_put(&self, portal: u32, first: u64, pieces: KVec<Piece>) -> Result {
        if fail::check(point::PTLRPC_BULK_PUT_NET) {
            return Err(ETIMEDOUT);
        }
        let lnet = self.node().lnet();
        let transfer = Transfer::new(pieces.len())?;
        let mut handles: KVec<ResponseHandle> = KVec::with_capacity(pieces.len(), GFP_KERNEL)?;
        let mut result = Ok(());
        for (i, p) in pieces.into_iter().enumerate() {
            let target = Target {
                handler: transfer.clone(),
                cookie: i as u64,
            };
            let args = self.bulk_args(portal, first + i as u64);
            let payload = Payload::Pages {
                pages: p.pages,
                off: p.off,
                len: p.len,
            };
            match lnet.put(&args, payload, Some(target)) {
                Ok(Some(h)) => handles.push(h, GFP_KERNEL)?,
                Ok(None) => {}
                Err(e) => {
                    result = Err(e);
                    break;
                }
            }
        }
        let result = result.and_then(|()| transfer.wait(self.bulk_time()));
        if result.is_err() {
            for h in handles {
                lnet.cancel(h);
            }
        }
        result
    }
}
