// SPDX-License-Identifier: GPL-2.0

//! Messages over LNet: where PTLRPC and LNet meet.

use crate::call::Call;
use crate::message::Msg;
use crate::node::Node;
use crate::request::{Peer, EARLY_SIZE};
use crate::service::Service;
use kapi::prelude::*;
use lnet::portal::Target;
use lnet::{Entry, EntryHandle, Event, EventHandler, Lnet, MatchSpec, Payload, ProcessId, PutArgs};
use wire::lnet::PID_LUSTRE;
use wire::nid::Nid;

/// Sends a message back to the sender of a request.
pub(crate) fn put(
    node: &Node,
    peer: &Peer,
    portal: u32,
    match_bits: u64,
    offset: u32,
    m: Msg,
) -> Result {
    let args = PutArgs {
        source: Some(peer.self_nid),
        target: ProcessId {
            nid: peer.nid,
            pid: peer.pid,
        },
        portal,
        match_bits,
        offset,
        hdr_data: 0,
    };
    let payload = Payload::Message(m.into_bytes()?);
    node.lnet().put(&args, payload, None).map(|_| ())
}

/// Sends a request.
pub(crate) fn put_request(node: &Node, nid: Nid, portal: u32, xid: u64, m: Msg) -> Result {
    let args = PutArgs {
        source: None,
        target: ProcessId {
            nid,
            pid: PID_LUSTRE,
        },
        portal,
        match_bits: xid,
        offset: 0,
        hdr_data: 0,
    };
    let payload = Payload::Message(m.into_bytes()?);
    node.lnet().put(&args, payload, None).map(|_| ())
}

/// Hands the messages of a portal to a service.
struct Listener(Arc<Service>);

impl EventHandler for Listener {
    fn event(&self, _cookie: u64, event: Event) {
        if let Event::Message {
            from,
            self_nid,
            match_bits,
            buf,
            ..
        } = event
        {
            let peer = Peer {
                nid: from.nid,
                pid: from.pid,
                self_nid,
            };
            self.0.incoming(peer, match_bits, buf);
        }
    }
}

/// A service's portal, open.
pub(crate) struct Listening(EntryHandle);

/// Opens a portal.
pub(crate) fn listen(lnet: &Lnet, service: &Arc<Service>) -> Result<Listening> {
    let c = service.config();
    let handler: Arc<dyn EventHandler> = Arc::new(Listener(service.clone()), GFP_KERNEL)?;
    let spec = MatchSpec {
        portal: c.request_portal,
        peer: None,
        match_bits: 0,
        ignore_bits: !0,
    };
    let entry = Entry::Messages {
        max: c.max_request,
        service: true,
    };
    let handle = lnet.attach(spec, entry, Target { handler, cookie: 0 })?;
    Ok(Listening(handle))
}

/// Closes it.
pub(crate) fn unlisten(lnet: &Lnet, l: Listening) {
    lnet.detach(l.0, 0);
}

/// Takes the replies to a call.
struct ReplyTo(Arc<Call>);

impl EventHandler for ReplyTo {
    fn event(&self, _cookie: u64, event: Event) {
        let Event::Message { offset, buf, .. } = event else {
            return;
        };
        let call = &self.0;
        let Ok(msg) = Msg::parse(buf.data) else {
            pr_debug!("bad reply to opcode {}\n", call.opc);
            return;
        };
        if call.expects_early() && offset != EARLY_SIZE {
            if offset == 0 && msg.check_early() {
                call.early(msg.body().pb_timeout.get());
            }
            return;
        }
        call.import.reply(call, msg);
    }
}

/// Where a call's replies come in.
pub(crate) struct Receive {
    node: Arc<Node>,
    handle: EntryHandle,
    match_bits: u64,
}

impl Receive {
    pub(crate) fn post(
        node: &Arc<Node>,
        call: Arc<Call>,
        peer: Nid,
        portal: u32,
        match_bits: u64,
    ) -> Result<Receive> {
        let handler: Arc<dyn EventHandler> = Arc::new(ReplyTo(call), GFP_KERNEL)?;
        let spec = MatchSpec {
            portal,
            peer: Some(peer),
            match_bits,
            ignore_bits: 0,
        };
        let entry = Entry::Messages {
            max: wire::lnet::MAX_PAYLOAD,
            service: false,
        };
        let handle = node
            .lnet()
            .attach(spec, entry, Target { handler, cookie: 0 })?;
        Ok(Receive {
            node: node.clone(),
            handle,
            match_bits,
        })
    }

    pub(crate) fn cancel(self) {
        self.node.lnet().detach(self.handle, self.match_bits);
    }
}
