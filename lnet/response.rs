// SPDX-License-Identifier: GPL-2.0

//! Answers that are waited for: ACKs of our PUTs, REPLYs to our GETs (spec `lnet.md` §3, §11.4).

use crate::event::{Event, Sink};
use crate::portal::Target;
use kapi::prelude::*;
use wire::lnet::WireHandle;
use wire::nid::Nid;

/// What is waited for.
pub(crate) enum Wanted {
    Ack,
    Reply(Sink),
}

struct Pending {
    peer: Nid,
    target: Target,
    wanted: Wanted,
}

/// Answers that are waited for, by the handle that went out with the question.
#[pin_data]
pub(crate) struct Responses {
    /// This boot's cookie: answers to questions of an earlier life do not count.
    interface: u64,
    #[pin]
    table: Mutex<(u64, RBTree<u64, Pending>)>,
}

impl Responses {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Responses {
            interface: kapi::rand::u64() >> 1,
            table <- new_mutex!((1, RBTree::new())),
        })
    }

    fn wire(&self, object: u64) -> WireHandle {
        WireHandle {
            interface: self.interface.into(),
            object: object.into(),
        }
    }

    /// Waits for an answer; returns the handle to send along.
    pub(crate) fn add(
        &self,
        peer: Nid,
        target: Target,
        wanted: Wanted,
    ) -> Result<(u64, WireHandle)> {
        let mut t = self.table.lock();
        t.0 += 1;
        let object = t.0;
        let pending = Pending {
            peer,
            target,
            wanted,
        };
        t.1.try_create_and_insert(object, pending, GFP_KERNEL)?;
        Ok((object, self.wire(object)))
    }

    fn take(&self, object: u64) -> Option<Pending> {
        self.table.lock().1.remove(&object)
    }

    /// Waits no more; the sink, if it is still here.
    pub(crate) fn cancel(&self, object: u64) -> Option<Sink> {
        match self.take(object)?.wanted {
            Wanted::Reply(s) => Some(s),
            Wanted::Ack => None,
        }
    }

    /// Waits no more for what could not be asked. False: it has failed already, and that was told.
    pub(crate) fn withdraw(&self, object: u64) -> bool {
        self.take(object).is_some()
    }

    /// An ACK came.
    pub(crate) fn ack(&self, h: &WireHandle, mlength: u32) {
        if h.interface.get() != self.interface {
            return;
        }
        let p = {
            let mut t = self.table.lock();
            let is_ack =
                t.1.get(&h.object.get())
                    .is_some_and(|p| matches!(p.wanted, Wanted::Ack));
            if !is_ack {
                return;
            }
            t.1.remove(&h.object.get())
        };
        if let Some(p) = p {
            p.target
                .handler
                .event(p.target.cookie, Event::Ack { mlength });
        }
    }

    /// A REPLY comes: where its payload goes.
    pub(crate) fn reply(&self, h: &WireHandle) -> Option<(Target, Sink)> {
        if h.interface.get() != self.interface {
            return None;
        }
        let mut t = self.table.lock();
        let is_reply =
            t.1.get(&h.object.get())
                .is_some_and(|p| matches!(p.wanted, Wanted::Reply(_)));
        if !is_reply {
            return None;
        }
        let p = t.1.remove(&h.object.get())?;
        match p.wanted {
            Wanted::Reply(s) => Some((p.target, s)),
            Wanted::Ack => None,
        }
    }

    /// The peer is gone: nothing more comes from there.
    pub(crate) fn fail_peer(&self, peer: Nid, error: Error) {
        loop {
            let p = {
                let mut t = self.table.lock();
                let Some(key) = t.1.iter().find(|(_, p)| p.peer == peer).map(|(k, _)| *k) else {
                    return;
                };
                t.1.remove(&key)
            };
            if let Some(p) = p {
                p.fail(error);
            }
        }
    }

    /// One question could not be sent.
    pub(crate) fn fail(&self, object: u64, error: Error) {
        if let Some(p) = self.take(object) {
            p.fail(error);
        }
    }
}

impl Pending {
    fn fail(self, error: Error) {
        let sink = match self.wanted {
            Wanted::Reply(s) => Some(s),
            Wanted::Ack => None,
        };
        self.target
            .handler
            .event(self.target.cookie, Event::Failed { error, sink });
    }
}
