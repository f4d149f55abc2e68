// SPDX-License-Identifier: GPL-2.0

//! A server node: LNet, RPC and what serves targets, started at first use.

use crate::claims::Claims;
use crate::devices::Devices;
use crate::mgs_link::MgcTable;
use kapi::prelude::*;
use lnet::Lnet;
use mgs::Mgs;
use ptlrpc::limits::Limits;
use target::Server;

/// What the network is started with.
pub trait NetworkConfig: Send + Sync {
    /// Reads the configuration as it is now.
    ///
    /// # Errors
    /// `EINVAL`: it makes no sense. `ENODEV`, `EADDRNOTAVAIL`: no such interface or address.
    fn lnet(&self) -> Result<lnet::Config>;
}

/// A node that is up.
pub struct Up {
    /// The network.
    pub lnet: Arc<Lnet>,
    /// RPC.
    pub rpc: Arc<ptlrpc::node::Node>,
    /// What serves targets.
    pub server: Arc<Server>,
}

impl Up {
    fn start(config: lnet::Config, limits: Limits) -> Result<Arc<Up>> {
        let lnet = Lnet::start(config)?;
        let rpc = match ptlrpc::node::Node::start(&lnet, limits) {
            Ok(r) => r,
            Err(e) => {
                lnet.stop();
                return Err(e);
            }
        };
        let server = match Server::start(&rpc) {
            Ok(s) => s,
            Err(e) => {
                rpc.stop();
                lnet.stop();
                return Err(e);
            }
        };
        let up = Up {
            lnet: lnet.clone(),
            rpc: rpc.clone(),
            server: server.clone(),
        };
        Arc::new(up, GFP_KERNEL).map_err(|e| {
            server.stop();
            rpc.stop();
            lnet.stop();
            e.into()
        })
    }

    fn stop(&self) {
        self.server.stop();
        self.rpc.stop();
        self.lnet.stop();
    }
}

struct State {
    up: Option<Arc<Up>>,
    /// Who uses it.
    users: u32,
    limits: Limits,
}

/// A node.
#[pin_data]
pub struct ServerNode {
    config: KBox<dyn NetworkConfig>,
    /// The devices of its targets.
    pub devices: Arc<Devices>,
    /// The names of its targets.
    pub(crate) claims: Arc<Claims>,
    /// The connections to MGSs that its targets share.
    pub(crate) mgcs: Arc<MgcTable>,
    /// The MGS of this node.
    #[pin]
    pub(crate) mgs: Mutex<Option<Arc<Mgs>>>,
    #[pin]
    state: Mutex<State>,
}

impl ServerNode {
    /// One that is not up yet.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(config: KBox<dyn NetworkConfig>) -> Result<Arc<ServerNode>> {
        let (devices, claims, mgcs) = (Devices::new()?, Claims::new()?, MgcTable::new()?);
        Arc::pin_init(
            pin_init!(ServerNode {
                config,
                devices,
                claims,
                mgcs,
                mgs <- new_mutex!(None),
                state <- new_mutex!(State {
                    up: None,
                    users: 0,
                    limits: Limits::DEFAULT,
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Brings it up, if it is not.
    ///
    /// # Errors
    /// Those of the configuration. `EADDRINUSE`: something else has the port. `ENOMEM`, `EAGAIN`.
    pub fn up(&self) -> Result<Arc<Up>> {
        let mut state = self.state.lock();
        if let Some(up) = &state.up {
            return Ok(up.clone());
        }
        let up = Up::start(self.config.lnet()?, state.limits)?;
        state.up = Some(up.clone());
        for nid in up.lnet.nids() {
            pr_info!("LNet: added LNI {}\n", nid);
        }
        Ok(up)
    }

    /// Takes it down.
    ///
    /// # Errors
    /// `EBUSY`: it is in use.
    pub fn down(&self) -> Result {
        let mut state = self.state.lock();
        if state.users > 0 {
            return Err(EBUSY);
        }
        if let Some(up) = state.up.take() {
            for nid in up.lnet.nids() {
                pr_info!("LNet: removed LNI {}\n", nid);
            }
            up.stop();
        }
        Ok(())
    }

    /// The node, if it is up.
    pub fn current(&self) -> Option<Arc<Up>> {
        self.state.lock().up.clone()
    }

    /// Brings it up and keeps it so.
    ///
    /// # Errors
    /// As [`ServerNode::up`].
    pub fn use_it(self: &Arc<Self>) -> Result<InUse> {
        loop {
            self.up()?;
            let mut state = self.state.lock();
            // Somebody may have taken it down in between.
            if let Some(up) = state.up.clone() {
                state.users += 1;
                drop(state);
                return Ok(InUse {
                    node: self.clone(),
                    up,
                });
            }
        }
    }

    /// The MGS, if this node has one.
    pub fn mgs(&self) -> Option<Arc<Mgs>> {
        self.mgs.lock().clone()
    }

    /// The time-outs.
    pub fn limits(&self) -> Limits {
        self.state.lock().limits
    }

    /// Changes the time-outs, of the node that is up and of those to come.
    pub fn set_limits(&self, change: impl Fn(&mut Limits)) {
        let up = {
            let mut state = self.state.lock();
            change(&mut state.limits);
            state.up.clone()
        };
        if let Some(up) = up {
            up.rpc.set_limits(change);
        }
    }
}

/// A node that is up and stays so.
pub struct InUse {
    node: Arc<ServerNode>,
    up: Arc<Up>,
}

impl InUse {
    /// The node.
    pub fn node(&self) -> &Arc<ServerNode> {
        &self.node
    }
}

impl core::ops::Deref for InUse {
    type Target = Up;

    fn deref(&self) -> &Up {
        &self.up
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.node.state.lock().users -= 1;
    }
}
