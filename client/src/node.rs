// SPDX-License-Identifier: GPL-2.0

//! This process on the network: LNet, PTLRPC and the service for callbacks.

use crate::callback::{CallbackHandler, Callbacks};
use kapi::prelude::*;
use lnet::config::Accept;
use lnet::{Config, Lnet};
use ptlrpc::limits::Limits;
use ptlrpc::node::Node;
use ptlrpc::service::{Handler, Service, ServiceConfig};
use std::sync::Arc as StdArc;
use wire::nid::Nid;
use wire::opcode::portal;

/// How a node is started.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Our NIDs.
    pub nids: Vec<Nid>,
    /// TCP port of all nodes.
    pub port: u16,
    /// Connect from ports below 1024, as servers expect.
    pub privileged: bool,
    /// Connections for bulk to a peer, each way.
    pub conns_per_peer: u32,
    /// Time-outs.
    pub limits: Limits,
}

impl NodeOptions {
    /// The defaults, with one NID.
    pub fn new(nid: Nid) -> NodeOptions {
        NodeOptions {
            nids: vec![nid],
            port: wire::socklnd::ACCEPT_PORT,
            privileged: true,
            conns_per_peer: 1,
            limits: Limits::DEFAULT,
        }
    }
}

/// A node.
pub struct ClientNode {
    node: Arc<Node>,
    service: Arc<Service>,
    callbacks: StdArc<Callbacks>,
}

fn start_lnet(options: &NodeOptions, accept: Accept) -> Result<Arc<Lnet>> {
    let mut nids = KVec::new();
    for n in &options.nids {
        nids.push(*n, GFP_KERNEL)?;
    }
    let mut c = Config::new(nids);
    c.port = options.port;
    c.privileged = options.privileged;
    c.conns_per_peer = options.conns_per_peer;
    c.accept = accept;
    Lnet::start(c)
}

impl ClientNode {
    /// Starts one.
    ///
    /// # Errors
    /// Those of sockets: `EADDRNOTAVAIL`, `EACCES`; `ENOMEM`, `EAGAIN`.
    pub fn start(options: &NodeOptions) -> Result<StdArc<ClientNode>> {
        let accept = match options.privileged {
            true => Accept::Secure,
            false => Accept::All,
        };
        let lnet = match start_lnet(options, accept) {
            // Somebody else listens there. Servers answer on the connections that we make.
            Err(e) if e == EADDRINUSE => start_lnet(options, Accept::None)?,
            l => l?,
        };
        let node = match Node::start(&lnet, options.limits) {
            Ok(n) => n,
            Err(e) => {
                lnet.stop();
                return Err(e);
            }
        };
        let callbacks = StdArc::new(Callbacks::default());
        let config = ServiceConfig {
            name: "ldlm_cbd",
            request_portal: portal::LDLM_CB_REQUEST,
            reply_portal: portal::LDLM_CB_REPLY,
            max_request: 8 << 10,
            threads_min: 2,
            threads_max: 8,
            queue_max: 10_000,
        };
        let handler: Arc<dyn Handler> = Arc::new(CallbackHandler(callbacks.clone()), GFP_KERNEL)?;
        match Service::start(&node, config, handler) {
            Ok(service) => Ok(StdArc::new(ClientNode {
                node,
                service,
                callbacks,
            })),
            Err(e) => {
                node.stop();
                lnet.stop();
                Err(e)
            }
        }
    }

    /// The PTLRPC node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Whom callbacks are for.
    pub fn callbacks(&self) -> &StdArc<Callbacks> {
        &self.callbacks
    }

    /// Ends it; its mounts are gone.
    pub fn stop(&self) {
        self.service.stop();
        self.node.stop();
        self.node.lnet().stop();
    }
}
