// SPDX-License-Identifier: GPL-2.0

//! An instance of LNet: sending, and what becomes of what is received.

use crate::budget::{Budget, Charge, Share};
use crate::config::Config;
use crate::event::{Event, MessageBuf, Payload, PeerWatcher, ProcessId, Sink};
use crate::loopback::Loopback;
use crate::portal::{Detached, Entry, EntryHandle, GetMatch, MatchSpec, Portals, PutMatch, Target};
use crate::response::{Responses, Wanted};
use crate::socklnd::Socklnd;
use kapi::prelude::*;
use wire::lnet::{Command, Header, WireHandle, PID_LUSTRE};
use wire::nid::Nid;

/// What a PUT or GET is addressed with.
#[derive(Clone, Copy, Debug)]
pub struct PutArgs {
    /// Which of our NIDs it comes from; any that reaches the target if `None`.
    pub source: Option<Nid>,
    /// For whom.
    pub target: ProcessId,
    /// Portal.
    pub portal: u32,
    /// Match bits.
    pub match_bits: u64,
    /// Offset at the target, if that takes one.
    pub offset: u32,
    /// Delivered with the event.
    pub hdr_data: u64,
}

/// Names an answer that is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResponseHandle(u64);

/// A message on its way out.
pub(crate) struct Outgoing {
    pub(crate) header: Header,
    pub(crate) payload: Payload,
    /// The answer that is waited for: it fails if the message cannot be sent.
    pub(crate) response: Option<u64>,
    /// Told [`Event::Read`] when the message has left.
    pub(crate) sent: Option<Target>,
}

/// Where the payload of a message that arrives goes.
pub(crate) enum Incoming {
    /// Into a buffer of its own of so many bytes; then [`Lnet::delivered`].
    Message { delivery: Delivery, accept: usize },
    /// Into a sink; then [`Lnet::filled`].
    Sink {
        delivery: Delivery,
        sink: Sink,
        accept: usize,
    },
    /// Nowhere, but [`Lnet::pushed`] wants to know that all of it has come.
    Push,
    /// Nowhere: it is read and forgotten.
    Discard,
    /// There is no room now: ask again soon.
    Later,
}

/// What is to be said when a payload is here.
pub(crate) struct Delivery {
    header: Header,
    target: Target,
    charge: Option<Charge>,
    mlength: u32,
    ack: Option<WireHandle>,
}

/// An instance.
#[pin_data]
pub struct Lnet {
    pub(crate) config: Config,
    portals: Arc<Portals>,
    budget: Budget,
    #[pin]
    pub(crate) responses: Responses,
    #[pin]
    socklnd: Mutex<Option<Arc<Socklnd>>>,
    #[pin]
    loopback: Mutex<Option<Arc<Loopback>>>,
    #[pin]
    watcher: SpinLock<Option<Arc<dyn PeerWatcher>>>,
}

impl Lnet {
    /// Starts one: it listens and connects from now on.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`: an address or port is not to be had. `ENOMEM`.
    pub fn start(config: Config) -> Result<Arc<Lnet>> {
        let budget = Budget::new(config.receive_budget, config.receive_budget)?;
        let portals = Portals::new()?;
        let lnet = Arc::pin_init(
            try_pin_init!(Lnet {
                config,
                portals,
                budget,
                responses <- Responses::new(),
                socklnd <- new_mutex!(None),
                loopback <- new_mutex!(None),
                watcher <- new_spinlock!(None),
            }),
            GFP_KERNEL,
        )?;
        let lo = Loopback::start(&lnet)?;
        *lnet.loopback.lock() = Some(lo);
        match Socklnd::start(&lnet) {
            Ok(s) => *lnet.socklnd.lock() = Some(s),
            Err(e) => {
                lnet.stop();
                return Err(e);
            }
        }
        Ok(lnet)
    }

    /// Ends it: connections are closed, threads end, what is waited for fails.
    pub fn stop(&self) {
        let s = self.socklnd.lock().take();
        if let Some(s) = s {
            s.stop();
        }
        let lo = self.loopback.lock().take();
        if let Some(lo) = lo {
            lo.stop();
        }
        self.portals.clear();
        *self.watcher.lock() = None;
    }

    /// Our NIDs, the primary one first; without the loopback.
    pub fn nids(&self) -> &[Nid] {
        &self.config.nids
    }

    /// Who is told when a peer is lost.
    pub fn watch_peers(&self, watcher: Option<Arc<dyn PeerWatcher>>) {
        let old = core::mem::replace(&mut *self.watcher.lock(), watcher);
        drop(old);
    }

    /// Whether `nid` is one of ours.
    pub fn is_local(&self, nid: &Nid) -> bool {
        nid.is_lo() || self.config.nids.contains(nid)
    }

    /// Bytes of messages that were received and not yet served.
    pub fn receive_backlog(&self) -> u64 {
        self.budget.used()
    }

    /// Attaches a match entry.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM`.
    pub fn attach(&self, spec: MatchSpec, entry: Entry, target: Target) -> Result<EntryHandle> {
        if spec.portal == wire::lnet::RESERVED_PORTAL {
            return Err(EINVAL);
        }
        self.portals.attach(spec, entry, target)
    }

    /// Takes a match entry away.
    pub fn detach(&self, h: EntryHandle, match_bits: u64) -> Detached {
        self.portals.detach(h, match_bits)
    }

    fn source_for(&self, args: &PutArgs) -> Result<Nid> {
        if args.target.nid.is_lo() {
            return Ok(Nid::LO);
        }
        if let Some(n) = args.source {
            return if self.is_local(&n) {
                Ok(n)
            } else {
                Err(EINVAL)
            };
        }
        if self.is_local(&args.target.nid) {
            return Ok(args.target.nid);
        }
        let net = args.target.nid.net();
        self.config
            .nids
            .iter()
            .find(|n| n.net() == net)
            .copied()
            .ok_or(ENETUNREACH)
    }

    fn header(&self, args: &PutArgs, payload: usize, command: Command) -> Result<Header> {
        Ok(Header {
            dest_nid: args.target.nid,
            src_nid: self.source_for(args)?,
            dest_pid: args.target.pid,
            src_pid: PID_LUSTRE,
            payload_length: u32::try_from(payload)?,
            command,
        })
    }

    /// Sends `payload`. With `ack`, [`Event::Ack`] or [`Event::Failed`] comes to it.
    ///
    /// # Errors
    /// `EHOSTUNREACH`, `ENETUNREACH`: there is no way to the peer now. `EINVAL`, `ENOMEM`.
    /// Nothing comes to `ack` then.
    pub fn put(
        &self,
        args: &PutArgs,
        payload: Payload,
        ack: Option<Target>,
    ) -> Result<Option<ResponseHandle>> {
        if !payload.is_valid() {
            return Err(EINVAL);
        }
        let (response, wmd) = match ack {
            Some(t) => {
                let (id, w) = self.responses.add(args.target.nid, t, Wanted::Ack)?;
                (Some(id), w)
            }
            None => (None, WireHandle::NONE),
        };
        let command = Command::Put {
            ack: wmd,
            match_bits: args.match_bits,
            hdr_data: args.hdr_data,
            portal: args.portal,
            offset: args.offset,
        };
        let sent = match self.header(args, payload.len(), command) {
            Ok(header) => self.send(Outgoing {
                header,
                payload,
                response,
                sent: None,
            }),
            Err(e) => return self.unsent(response, e).map(|()| None),
        };
        match sent {
            Ok(()) => Ok(response.map(ResponseHandle)),
            Err((_, e)) => self
                .unsent(response, e)
                .map(|()| response.map(ResponseHandle)),
        }
    }

    /// A question could not be sent. Fine if the answer has failed already: that was told.
    fn unsent(&self, response: Option<u64>, e: Error) -> Result {
        match response {
            Some(id) if !self.responses.withdraw(id) => Ok(()),
            _ => Err(e),
        }
    }

    /// Asks for data into `sink`: [`Event::Filled`] or [`Event::Failed`] comes to `target`.
    ///
    /// # Errors
    /// As [`Lnet::put`]; the sink is lost then.
    pub fn get(&self, args: &PutArgs, sink: Sink, target: Target) -> Result<ResponseHandle> {
        if !sink.is_valid() {
            return Err(EINVAL);
        }
        let length = u32::try_from(sink.len)?;
        let (id, wmd) = self
            .responses
            .add(args.target.nid, target, Wanted::Reply(sink))?;
        let command = Command::Get {
            reply: wmd,
            match_bits: args.match_bits,
            portal: args.portal,
            offset: args.offset,
            length,
        };
        let sent = match self.header(args, 0, command) {
            Ok(header) => self
                .send(Outgoing {
                    header,
                    payload: Payload::Empty,
                    response: Some(id),
                    sent: None,
                })
                .map_err(|(_, e)| e),
            Err(e) => Err(e),
        };
        match sent {
            Ok(()) => {}
            Err(e) => self.unsent(Some(id), e)?,
        }
        Ok(ResponseHandle(id))
    }

    /// Waits no more for an answer; the sink, if it is still here.
    pub fn cancel(&self, h: ResponseHandle) -> Option<Sink> {
        self.responses.cancel(h.0)
    }

    /// Sends a message; gives it back if that fails.
    pub(crate) fn send(&self, out: Outgoing) -> Result<(), (Outgoing, Error)> {
        if self.is_local(&out.header.dest_nid) {
            let lo = self.loopback.lock().clone();
            return match lo {
                Some(lo) => lo.send(out),
                None => Err((out, ESHUTDOWN)),
            };
        }
        let s = self.socklnd.lock().clone();
        match s {
            Some(s) => s.send(out),
            None => Err((out, ESHUTDOWN)),
        }
    }

    /// The last connection to a peer is gone.
    pub(crate) fn peer_down(&self, nid: Nid, error: Error) {
        self.responses.fail_peer(nid, error);
        let w = self.watcher.lock().clone();
        if let Some(w) = w {
            w.peer_down(nid);
        }
    }

    /// A message could not be sent.
    pub(crate) fn send_failed(&self, out: Outgoing, error: Error) {
        if let Some(id) = out.response {
            self.responses.fail(id, error);
        }
        if let Some(t) = out.sent {
            t.handler
                .event(t.cookie, Event::Failed { error, sink: None });
        }
    }

    /// A message has left.
    pub(crate) fn sent(&self, out: Outgoing) {
        if let Some(t) = out.sent {
            t.handler.event(t.cookie, Event::Read);
        }
    }

    /// A header has arrived: where does its payload go? It counts against `share` of the receive
    /// budget, if it counts.
    pub(crate) fn incoming(&self, h: &Header, share: &Share) -> Incoming {
        if !self.is_local(&h.dest_nid) {
            // We are no router.
            return Incoming::Discard;
        }
        let from = ProcessId {
            nid: h.src_nid,
            pid: h.src_pid,
        };
        match h.command {
            Command::Put {
                portal: wire::lnet::RESERVED_PORTAL,
                match_bits,
                ..
            } => {
                // A push: that it was received is all that the peer wants to know. Peers with
                // several NIDs are told apart by them.
                if match_bits == wire::lnet::PING_MATCHBITS {
                    Incoming::Push
                } else {
                    Incoming::Discard
                }
            }
            Command::Put {
                ack,
                match_bits,
                portal,
                ..
            } => {
                let Some(m) = self
                    .portals
                    .put(portal, &from, match_bits, h.payload_length)
                else {
                    pr_debug!("dropped a PUT from {} to portal {}\n", h.src_nid, portal);
                    return Incoming::Discard;
                };
                self.incoming_put(h, share, m, (!ack.is_none()).then_some(ack))
            }
            Command::Get {
                reply,
                match_bits,
                portal,
                length,
                offset,
            } => {
                self.answer_get(h, reply, (portal, match_bits), offset, length);
                Incoming::Discard
            }
            Command::Ack { dst, mlength, .. } => {
                self.responses.ack(&dst, mlength);
                Incoming::Discard
            }
            Command::Reply { dst } => match self.responses.reply(&dst) {
                Some((target, sink)) if h.payload_length as usize > sink.len => {
                    // More than we have asked for.
                    let (error, sink) = (EMSGSIZE, Some(sink));
                    target
                        .handler
                        .event(target.cookie, Event::Failed { error, sink });
                    Incoming::Discard
                }
                Some((target, sink)) => {
                    let accept = h.payload_length as usize;
                    Incoming::Sink {
                        delivery: Delivery {
                            header: *h,
                            target,
                            charge: None,
                            mlength: h.payload_length,
                            ack: None,
                        },
                        sink,
                        accept,
                    }
                }
                None => Incoming::Discard,
            },
        }
    }

    fn incoming_put(
        &self,
        h: &Header,
        share: &Share,
        m: PutMatch,
        ack: Option<WireHandle>,
    ) -> Incoming {
        match m {
            PutMatch::Message {
                target,
                service,
                accept,
            } => {
                let charge = if service {
                    match self.budget.charge(share, accept.into()) {
                        Some(c) => Some(c),
                        None => return Incoming::Later,
                    }
                } else {
                    None
                };
                Incoming::Message {
                    delivery: Delivery {
                        header: *h,
                        target,
                        charge,
                        mlength: accept,
                        ack,
                    },
                    accept: accept as usize,
                }
            }
            PutMatch::Sink {
                target,
                sink,
                accept,
            } => Incoming::Sink {
                delivery: Delivery {
                    header: *h,
                    target,
                    charge: None,
                    mlength: accept,
                    ack,
                },
                sink,
                accept: accept as usize,
            },
        }
    }

    /// The payload of a message is here.
    pub(crate) fn delivered(&self, d: Delivery, data: KVVec<u8>) {
        if let Some(ack) = d.ack {
            self.send_ack(&d.header, ack, d.mlength);
        }
        let Command::Put {
            match_bits,
            hdr_data,
            offset,
            ..
        } = d.header.command
        else {
            return;
        };
        d.target.handler.event(
            d.target.cookie,
            Event::Message {
                from: ProcessId {
                    nid: d.header.src_nid,
                    pid: d.header.src_pid,
                },
                self_nid: d.header.dest_nid,
                match_bits,
                hdr_data,
                offset,
                buf: MessageBuf {
                    data,
                    charge: d.charge,
                },
            },
        );
    }

    /// A sink is filled.
    pub(crate) fn filled(&self, d: Delivery, sink: Sink, len: usize) {
        // First the event: who gets the ACK may rely on our knowing of the data.
        d.target
            .handler
            .event(d.target.cookie, Event::Filled { sink, len });
        if let Some(ack) = d.ack {
            self.send_ack(&d.header, ack, d.mlength);
        }
    }

    /// A payload will not come whole.
    pub(crate) fn broken(&self, d: Delivery, sink: Option<Sink>, error: Error) {
        if sink.is_some() {
            d.target
                .handler
                .event(d.target.cookie, Event::Failed { error, sink });
        }
    }

    /// The way back of `h`.
    fn back(&self, h: &Header, payload_length: u32, command: Command) -> Header {
        Header {
            dest_nid: h.src_nid,
            src_nid: h.dest_nid,
            dest_pid: h.src_pid,
            src_pid: PID_LUSTRE,
            payload_length,
            command,
        }
    }

    fn send_ack(&self, h: &Header, dst: WireHandle, mlength: u32) {
        let Command::Put { match_bits, .. } = h.command else {
            return;
        };
        if dst.is_none() {
            return;
        }
        let command = Command::Ack {
            dst,
            match_bits,
            mlength,
        };
        let out = Outgoing {
            header: self.back(h, 0, command),
            payload: Payload::Empty,
            response: None,
            sent: None,
        };
        if let Err((_, e)) = self.send(out) {
            pr_debug!("no ACK to {}: {:?}\n", h.src_nid, e);
        }
    }

    /// A push has come, whole.
    pub(crate) fn pushed(&self, h: &Header) {
        if let Command::Put { ack, .. } = h.command {
            self.send_ack(h, ack, h.payload_length);
        }
    }

    fn answer_get(&self, h: &Header, dst: WireHandle, at: (u32, u64), offset: u32, length: u32) {
        let (portal, match_bits) = at;
        let from = ProcessId {
            nid: h.src_nid,
            pid: h.src_pid,
        };
        let is_ping =
            portal == wire::lnet::RESERVED_PORTAL && match_bits == wire::lnet::PING_MATCHBITS;
        let (payload, sent) = if is_ping {
            match crate::ping::info(&self.config.nids, offset, length) {
                Ok(data) => (Payload::Message(data), None),
                Err(e) => {
                    pr_debug!("no answer to a ping of {}: {:?}\n", h.src_nid, e);
                    return;
                }
            }
        } else {
            let Some(m) = self.portals.get(portal, &from, match_bits) else {
                pr_debug!("dropped a GET from {} to portal {}\n", h.src_nid, portal);
                return;
            };
            let GetMatch {
                target,
                pages,
                off,
                len,
            } = m;
            let len = len.min(length as usize);
            (Payload::Pages { pages, off, len }, Some(target))
        };
        let mut header = self.back(h, 0, Command::Reply { dst });
        header.payload_length = payload.len() as u32;
        let out = Outgoing {
            header,
            payload,
            response: None,
            sent,
        };
        if let Err((out, e)) = self.send(out) {
            pr_debug!("no REPLY to {}: {:?}\n", h.src_nid, e);
            self.send_failed(out, e);
        }
    }
}
