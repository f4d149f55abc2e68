// SPDX-License-Identifier: GPL-2.0

//! Servers and clients in one process, over real TCP on the loopback network, for tests.
//!
//! Every node has an address of its own in 127.0.0.0/8, taken from the process id, so that test
//! programs run beside each other. Whatever cannot be set up is a panic.

mod client;
mod cluster;
mod mounted;
mod raw;
mod watch;

pub use client::TestClient;
pub use cluster::{Cluster, RW, STRIPE};
pub use mounted::{Mounted, Place};
pub use raw::{RawMessage, RawPeer};
pub use watch::{beside, own_memory, own_threads};

use kapi::net::Ipv4Addr;
use kapi::prelude::*;
use lnet::config::Accept;
use lnet::{Config, Lnet};
use mdt::{Desc, Mdt, MdtConfig};
use ofd::{Ofd, OfdConfig};
use osd::Device;
use ptlrpc::export::ClientUuid;
use ptlrpc::limits::Limits;
use ptlrpc::node::Node;
use std::sync::atomic::{AtomicU32, Ordering};
use target::Server;
use wire::nid::{Net, Nid};
use wire::seq::range_type;

/// TCP port of all nodes.
pub const PORT: u16 = 29988;

/// An address that no node has yet.
pub fn new_nid() -> Nid {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(n < 250, "too many nodes");
    let [_, _, b, c] = std::process::id().to_be_bytes();
    Nid::v4(Net::TCP, Ipv4Addr::new(127, b.max(1), c, n as u8))
}

/// Time-outs with which tests do not take long.
pub fn limits() -> Limits {
    let mut limits = Limits::DEFAULT;
    limits.at.min = 1;
    limits.at.early_margin = 2;
    limits.at.extra = 3;
    limits.obd_timeout = 20;
    limits
}

/// The text as the layers take it.
pub fn text(s: &str) -> KVVec<u8> {
    let mut v = KVVec::new();
    v.extend_from_slice(s.as_bytes(), GFP_KERNEL).unwrap();
    v
}

/// A server node.
pub struct ServerNode {
    /// Where it is.
    pub nid: Nid,
    /// Its services and targets.
    pub server: Arc<Server>,
    /// Name of the file system: of each node another one, as parameters are the process's.
    pub fsname: String,
}

impl ServerNode {
    /// Starts one.
    pub fn start() -> ServerNode {
        Self::start_at(new_nid())
    }

    /// Starts one that was there before.
    pub fn start_at(nid: Nid) -> ServerNode {
        Self::start_with(nid, limits(), |_| {})
    }

    /// Starts one with other time-outs, and another network.
    pub fn start_with(nid: Nid, limits: Limits, change: impl FnOnce(&mut Config)) -> ServerNode {
        let mut nids = KVec::new();
        nids.push(nid, GFP_KERNEL).unwrap();
        let mut c = Config::new(nids);
        c.port = PORT;
        c.accept = Accept::All;
        c.privileged = false;
        change(&mut c);
        let node = Node::start(&Lnet::start(c).unwrap(), limits).unwrap();
        let server = Server::start(&node).unwrap();
        ServerNode {
            nid,
            server,
            fsname: format!("t{}", nid.ipv4().unwrap().octets()[3]),
        }
    }

    /// UUID of its MDT.
    pub fn mdt_uuid(&self) -> String {
        format!("{}-MDT0000_UUID", self.fsname)
    }

    /// An MDT on it, which serves.
    pub fn mdt(&self, osd: Arc<dyn Device>) -> Arc<Mdt> {
        self.mdt_with(osd, &[])
    }

    /// The same, with OSTs: index and address.
    pub fn mdt_with(&self, osd: Arc<dyn Device>, osts: &[(u32, Nid)]) -> Arc<Mdt> {
        let config = MdtConfig {
            name: text(&format!("{}-MDT0000", self.fsname)),
            uuid: ClientUuid::new(self.mdt_uuid().as_bytes()).unwrap(),
            fsname: text(&self.fsname),
            index: 0,
            desc: Desc::default(),
        };
        let mdt = Mdt::start(&self.server, osd, config).unwrap();
        for (index, nid) in osts {
            let mut nids = KVec::new();
            nids.push(*nid, GFP_KERNEL).unwrap();
            mdt.add_ost(*index, nids).unwrap();
        }
        mdt.serve().unwrap();
        mdt
    }

    /// An OST on it, which gets its sequences from `mdt`, of whose file system it is.
    pub fn ost(&self, osd: Arc<dyn Device>, index: u16, fsname: &str, mdt: &Arc<Mdt>) -> Arc<Ofd> {
        let name = format!("{fsname}-OST{index:04x}");
        let (c, f) = (mdt.controller().clone(), mdt.fld().clone());
        let sequences = move || c.alloc_super(index.into(), range_type::OST);
        let ranges = move |seq: u64, kind: u32| f.lookup(seq, kind);
        let config = OfdConfig {
            uuid: ClientUuid::new(format!("{name}_UUID").as_bytes()).unwrap(),
            name: text(&name),
            index,
            sequences: Arc::new(sequences, GFP_KERNEL).unwrap(),
            ranges: Arc::new(ranges, GFP_KERNEL).unwrap(),
        };
        Ofd::start(&self.server, osd, config).unwrap()
    }

    /// Ends it; its targets have been stopped.
    pub fn stop(self) {
        self.server.stop();
        self.server.node().stop();
        self.server.node().lnet().stop();
    }
}
