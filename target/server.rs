// SPDX-License-Identifier: GPL-2.0

//! A server node: its RPC services, and its targets by name (`ptlrpc.md` 13).

use crate::device::Target;
use crate::drops;
use crate::silent::start_evictor;
use kapi::prelude::*;
use kapi::thread::Periodic;
use ptlrpc::export::ClientUuid;
use ptlrpc::node::Node;
use ptlrpc::request::ServerRequest;
use ptlrpc::service::{Handler, Service as RpcService, ServiceConfig};
use wire::opcode::{self as op, portal};

/// Largest metadata request: a layout or an xattr of 64 KiB and what goes around it, bytes.
const MAX_MDS: u32 = 68 * 1024;
/// Largest I/O request, bytes.
const MAX_IO: u32 = 264 * 1024;
/// Largest of the others, bytes.
const MAX_SMALL: u32 = 17 * 1024;
/// Requests that may wait for a thread.
const QUEUE: usize = 8192;

const fn service(
    name: &'static str,
    request_portal: u32,
    reply_portal: u32,
    max_request: u32,
    threads_max: u32,
) -> ServiceConfig {
    ServiceConfig {
        name,
        request_portal,
        reply_portal,
        max_request,
        threads_min: 2,
        threads_max,
        queue_max: QUEUE,
    }
}

/// What every node has.
const COMMON: &[ServiceConfig] = &[
    service(
        "ldlm_cb",
        portal::LDLM_CB_REQUEST,
        portal::LDLM_CB_REPLY,
        MAX_SMALL,
        16,
    ),
    service(
        "ldlm_cn",
        portal::LDLM_CANCEL_REQUEST,
        portal::LDLM_CANCEL_REPLY,
        MAX_SMALL,
        16,
    ),
];
/// What an MGS adds.
const MGS: &[ServiceConfig] = &[service(
    "ll_mgs",
    portal::MGS_REQUEST,
    portal::MGC_REPLY,
    MAX_SMALL,
    16,
)];
/// What MDTs add.
const MDS: &[ServiceConfig] = &[
    service("mdt", portal::MDS_REQUEST, portal::MDC_REPLY, MAX_MDS, 64),
    service("mdt_io", portal::MDS_IO, portal::MDC_REPLY, MAX_IO, 16),
    service(
        "mdt_rdpg",
        portal::MDS_READPAGE,
        portal::MDC_REPLY,
        MAX_SMALL,
        32,
    ),
    service(
        "mdt_fld",
        portal::FLD_REQUEST,
        portal::MDC_REPLY,
        MAX_SMALL,
        8,
    ),
    service(
        "mdt_seqm",
        portal::SEQ_METADATA,
        portal::MDC_REPLY,
        MAX_SMALL,
        8,
    ),
    service(
        "mdt_seqs",
        portal::SEQ_CONTROLLER,
        portal::MDC_REPLY,
        MAX_SMALL,
        8,
    ),
];
/// What OSTs add.
const OSS: &[ServiceConfig] = &[
    service(
        "ll_ost",
        portal::OST_REQUEST,
        portal::OSC_REPLY,
        MAX_SMALL,
        32,
    ),
    service("ll_ost_io", portal::OST_IO, portal::OSC_REPLY, MAX_IO, 64),
    service(
        "ll_ost_create",
        portal::OST_CREATE,
        portal::OSC_REPLY,
        MAX_SMALL,
        8,
    ),
    service(
        "ll_ost_seq",
        portal::SEQ_DATA,
        portal::OSC_REPLY,
        MAX_SMALL,
        8,
    ),
];

/// A kind of target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A management target.
    Mgs,
    /// A metadata target.
    Mdt,
    /// An object storage target.
    Ost,
}

/// Takes the lock callbacks that servers send to one of this node's imports.
pub trait LockClient: Send + Sync {
    /// Answers LDLM_BL_CALLBACK, LDLM_CP_CALLBACK or LDLM_GL_CALLBACK.
    fn callback(&self, req: KBox<ServerRequest>);
}

struct Targets {
    all: KVec<(Kind, Arc<Target>)>,
    services: KVec<(Option<Kind>, Arc<RpcService>)>,
}

/// A server node.
#[pin_data]
pub struct Server {
    node: Arc<Node>,
    #[pin]
    targets: Mutex<Targets>,
    /// Serialises what starts and stops targets.
    #[pin]
    changing: Mutex<()>,
    #[pin]
    evictor: Mutex<Option<Periodic>>,
    /// By the import's own cookie.
    #[pin]
    clients: Mutex<RBTree<u64, Arc<dyn LockClient>>>,
}

/// Requests of all portals come here.
struct Dispatch {
    server: Arc<Server>,
}

impl Handler for Dispatch {
    fn handle(&self, req: KBox<ServerRequest>) {
        self.server.dispatch(req);
    }

    fn is_high_priority(&self, req: &ServerRequest) -> bool {
        let opc = req.opc();
        if opc == op::OBD_PING || (op::is_connect(opc) && req.export().is_some()) {
            return true;
        }
        let Some(target) = req.export().and_then(|e| self.server.target_of(e)) else {
            return false;
        };
        if matches!(opc, op::LDLM_CANCEL | op::LDLM_CONVERT) {
            let request = req.msg().buf(1).unwrap_or_default();
            return target.namespace().is_urgent(request);
        }
        target.service().is_high_priority(&target, req)
    }
}

impl Server {
    /// Starts one on `node`.
    ///
    /// # Errors
    /// `ENOMEM`, `EAGAIN`: no threads to be had.
    pub fn start(node: &Arc<Node>) -> Result<Arc<Server>> {
        let server = Arc::pin_init(
            pin_init!(Server {
                node: node.clone(),
                targets <- new_mutex!(Targets {
                    all: KVec::new(),
                    services: KVec::new(),
                }),
                changing <- new_mutex!(()),
                evictor <- new_mutex!(None),
                clients <- new_mutex!(RBTree::new()),
            }),
            GFP_KERNEL,
        )?;
        let started = server.start_services(None);
        match started.and_then(|()| start_evictor(&server)) {
            Ok(e) => *server.evictor.lock() = Some(e),
            Err(e) => {
                server.stop();
                return Err(e);
            }
        }
        Ok(server)
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    fn start_services(self: &Arc<Self>, kind: Option<Kind>) -> Result {
        let configs = match kind {
            None => COMMON,
            Some(Kind::Mgs) => MGS,
            Some(Kind::Mdt) => MDS,
            Some(Kind::Ost) => OSS,
        };
        for c in configs {
            let handler = Arc::new(
                Dispatch {
                    server: self.clone(),
                },
                GFP_KERNEL,
            )?;
            let s = RpcService::start(&self.node, *c, handler)?;
            let mut targets = self.targets.lock();
            if let Err(e) = targets.services.push((kind, s.clone()), GFP_KERNEL) {
                drop(targets);
                s.stop();
                return Err(e.into());
            }
        }
        Ok(())
    }

    fn stop_services(&self, kind: Option<Kind>) {
        loop {
            let s = {
                let mut targets = self.targets.lock();
                let Some(i) = targets.services.iter().position(|(k, _)| *k == kind) else {
                    return;
                };
                targets.services.remove(i)
            };
            if let Ok((_, s)) = s {
                s.stop();
            }
        }
    }

    /// Makes a target known: from now on clients connect to it.
    ///
    /// # Errors
    /// `EEXIST`: there is one of that name. `ENOMEM`, `EAGAIN`.
    pub fn add(self: &Arc<Self>, kind: Kind, target: &Arc<Target>) -> Result {
        let _changing = self.changing.lock();
        if self.find(target.name().as_bytes()).is_some() {
            return Err(EEXIST);
        }
        let first = !self.targets.lock().all.iter().any(|(k, _)| *k == kind);
        if first {
            if let Err(e) = self.start_services(Some(kind)) {
                self.stop_services(Some(kind));
                return Err(e);
            }
        }
        let target = (kind, target.clone());
        Ok(self.targets.lock().all.push(target, GFP_KERNEL)?)
    }

    /// Takes a target away: no request reaches it any more, its clients are let go.
    pub fn remove(self: &Arc<Self>, target: &Arc<Target>) {
        let _changing = self.changing.lock();
        target.set_stopping();
        let kind = {
            let mut targets = self.targets.lock();
            let i = targets.all.iter().position(|(_, t)| Arc::ptr_eq(t, target));
            let Some(Ok((kind, _))) = i.map(|i| targets.all.remove(i)) else {
                return;
            };
            let last = !targets.all.iter().any(|(k, _)| *k == kind);
            last.then_some(kind)
        };
        if let Some(kind) = kind {
            self.stop_services(Some(kind));
        }
        // Requests that are being served by services that go on.
        target.for_each_export(&mut |e| {
            let mut patience = 600;
            while e.requests_in_progress() > 0 && patience > 0 {
                kapi::time::sleep(Duration::from_millis(50));
                patience -= 1;
            }
        });
        target.stop();
    }

    /// The target of this name or UUID.
    pub fn find(&self, name: &[u8]) -> Option<Arc<Target>> {
        let targets = self.targets.lock();
        targets
            .all
            .iter()
            .map(|(_, t)| t)
            .find(|t| t.name().as_bytes() == name || t.uuid().as_str().as_bytes() == name)
            .cloned()
    }

    /// Calls `f` for every target.
    pub fn for_each_target(&self, f: &mut dyn FnMut(Kind, &Arc<Target>)) {
        let mut all: KVec<(Kind, Arc<Target>)> = KVec::new();
        {
            let targets = self.targets.lock();
            for (k, t) in targets.all.iter() {
                if all.push((*k, t.clone()), GFP_KERNEL).is_err() {
                    break;
                }
            }
        }
        for (k, t) in &all {
            f(*k, t);
        }
    }

    /// Gives up clients that are not heard any more. No target comes or goes meanwhile.
    pub(crate) fn give_up_silent(&self) {
        let _changing = self.changing.lock();
        self.for_each_target(&mut |_, t| t.give_up_silent(Instant::now()));
    }

    /// Calls `f` for every RPC service.
    pub fn for_each_service(&self, f: &mut dyn FnMut(&Arc<RpcService>)) {
        let mut all: KVec<Arc<RpcService>> = KVec::new();
        {
            let targets = self.targets.lock();
            for (_, s) in targets.services.iter() {
                if all.push(s.clone(), GFP_KERNEL).is_err() {
                    break;
                }
            }
        }
        for s in &all {
            f(s);
        }
    }

    /// Lock callbacks for the import with this cookie go to `client`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn add_client(&self, cookie: u64, client: Arc<dyn LockClient>) -> Result {
        let place = RBTreeNode::new(cookie, client, GFP_KERNEL)?;
        self.clients.lock().insert(place);
        Ok(())
    }

    /// The import goes.
    pub fn remove_client(&self, cookie: u64) {
        let gone = self.clients.lock().remove(&cookie);
        drop(gone);
    }

    /// Ends everything. Targets were removed before, by their owners.
    pub fn stop(self: &Arc<Self>) {
        // Joins its thread.
        let evictor = self.evictor.lock().take();
        drop(evictor);
        let _changing = self.changing.lock();
        for kind in [Some(Kind::Ost), Some(Kind::Mdt), Some(Kind::Mgs), None] {
            self.stop_services(kind);
        }
    }

    fn target_of(&self, export: &ptlrpc::export::Export) -> Option<Arc<Target>> {
        let t: &Target = export.target.as_any().downcast_ref()?;
        self.by_address(t)
    }

    /// The target at this place in memory.
    fn by_address(&self, t: &Target) -> Option<Arc<Target>> {
        let targets = self.targets.lock();
        let mut all = targets.all.iter().map(|(_, t)| t);
        all.find(|a| core::ptr::eq(&***a, t)).cloned()
    }

    fn dispatch(&self, mut req: KBox<ServerRequest>) {
        let opc = req.opc();
        if op::is_connect(opc) {
            if drops::request(&req) {
                return req.discard();
            }
            let done = match self.connect_target(&req) {
                Ok(t) => t.connect(&mut req).map(|()| t.fill_reply(&mut req)),
                Err(e) => Err(e),
            };
            if drops::reply(&req) {
                return req.discard();
            }
            return match done {
                Ok(()) => req.reply(0),
                Err(e) => req.error(e),
            };
        }
        if matches!(
            opc,
            op::LDLM_BL_CALLBACK | op::LDLM_CP_CALLBACK | op::LDLM_GL_CALLBACK
        ) {
            let cookie = req.body().pb_handle.get();
            let client = self.clients.lock().get(&cookie).cloned();
            return match client {
                Some(c) => c.callback(req),
                None => req.error(ENOTCONN),
            };
        }
        let target = req.export().and_then(|e| self.target_of(e));
        match target {
            Some(t) => t.handle(req),
            None => req.error(ENOTCONN),
        }
    }

    fn connect_target(&self, req: &ServerRequest) -> Result<Arc<Target>> {
        let uuid = ClientUuid::from_wire(req.msg().buf(1).ok_or(EINVAL)?)?;
        let target = self.find(uuid.as_str().as_bytes()).ok_or(ENODEV)?;
        if target.is_stopping() {
            return Err(ENODEV);
        }
        Ok(target)
    }
}
