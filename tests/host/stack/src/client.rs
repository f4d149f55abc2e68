// SPDX-License-Identifier: GPL-2.0

//! Clients.

use crate::{limits, new_nid, ServerNode, PORT};
use kapi::prelude::*;
use ldlm::client::{CacheOps, ClientView};
use lustre_client::config::TargetConfig;
use lustre_client::mdc::Mdc;
use lustre_client::node::{ClientNode, NodeOptions};
use lustre_client::target::TargetEvents;
use ptlrpc::call::{CallOptions, Reply};
use ptlrpc::message::Msg;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc as StdArc;

/// Counts the locks that servers called back.
#[derive(Default)]
struct Counter(StdArc<AtomicU32>);

impl CacheOps for Counter {
    fn give_up(&self, _: &ClientView, _: bool) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn glimpse(&self, _: &ClientView, _: &mut [u8; 64]) -> Option<usize> {
        None
    }
    fn granted(&self, _: &ClientView, _: &[u8]) {}
    fn droppable(&self, _: &ClientView) -> bool {
        true
    }
}

struct NoEvents;
impl TargetEvents for NoEvents {}

/// A client of an MDT, on a node of its own.
pub struct TestClient {
    node: StdArc<ClientNode>,
    /// The MDT.
    pub mdc: StdArc<Mdc>,
    given_up: StdArc<AtomicU32>,
}

impl TestClient {
    /// Connects to the MDT of a node.
    pub fn connect(mdt: &ServerNode) -> TestClient {
        Self::connect_with(mdt, false)
    }

    /// Connects, perhaps to read only.
    pub fn connect_with(mdt: &ServerNode, read_only: bool) -> TestClient {
        let given_up = StdArc::new(AtomicU32::new(0));
        let ops: Arc<dyn CacheOps> = Arc::new(Counter(given_up.clone()), GFP_KERNEL).unwrap();
        TestClient {
            given_up,
            ..Self::with_locks(mdt, read_only, ops)
        }
    }

    /// Connects; `ops` is told of the locks.
    pub fn with_locks(mdt: &ServerNode, read_only: bool, ops: Arc<dyn CacheOps>) -> TestClient {
        Self::with_events(mdt, read_only, ops, StdArc::new(NoEvents))
    }

    /// Connects; `ops` is told of the locks, `events` of the connection.
    pub fn with_events(
        mdt: &ServerNode,
        read_only: bool,
        ops: Arc<dyn CacheOps>,
        events: StdArc<dyn TargetEvents>,
    ) -> TestClient {
        let mut o = NodeOptions::new(new_nid());
        o.port = PORT;
        o.privileged = false;
        o.limits = limits();
        let node = ClientNode::start(&o).unwrap();
        let config = TargetConfig {
            index: 0,
            uuid: mdt.mdt_uuid(),
            nodes: vec![vec![mdt.nid]],
            inactive: false,
        };
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let uuid = format!("client-{n}");
        let mdc = Mdc::new(&node, &config, &uuid, read_only, ops, events).unwrap();
        mdc.target()
            .import()
            .wait_full(Duration::from_secs(10))
            .unwrap();
        TestClient {
            node,
            mdc: StdArc::new(mdc),
            given_up: StdArc::default(),
        }
    }

    /// How many locks went so far, called back or dropped.
    pub fn given_up(&self) -> u32 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Sends a request as it is; the reply, whatever its status.
    pub fn raw(&self, msg: Msg, portal: Option<u32>) -> Result<Reply> {
        // Room for whatever comes.
        let mut o = CallOptions::new(&[1 << 17])?;
        o.portal = portal;
        self.mdc.target().import().call(msg, o, None)
    }

    /// Says good-bye.
    pub fn stop(self) {
        self.mdc.target().stop();
        self.node.stop();
    }
}
