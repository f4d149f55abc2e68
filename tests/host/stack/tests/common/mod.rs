// SPDX-License-Identifier: GPL-2.0

//! What the tests share.
#![allow(dead_code)]

use kapi::prelude::*;
use lustre_client::attr::S_IFDIR;
use lustre_client::cred::Cred;
use lustre_client::mdc::NewNode;
use mdt::Mdt;
use ptlrpc::limits::Limits;
use stack::{limits, new_nid, ServerNode, TestClient};
use wire::fid::Fid;

/// What takes a millisecond on an idle machine may take so long.
pub const QUICK: std::time::Duration = std::time::Duration::from_secs(2);

/// A node with an MDT that loses patience soon.
pub struct Mds {
    pub node: ServerNode,
    pub mdt: Arc<Mdt>,
    /// After which a connection without progress is closed.
    pub timeout: std::time::Duration,
}

/// Short time-outs.
pub fn impatient() -> Limits {
    Limits {
        obd_timeout: 4,
        enqueue_min: 2,
        ..limits()
    }
}

impl Mds {
    pub fn new() -> Mds {
        let timeout = Duration::from_secs(3);
        let node = ServerNode::start_with(new_nid(), impatient(), |c| c.timeout = timeout);
        let mdt = node.mdt(osd_memory::device());
        Mds { node, mdt, timeout }
    }

    pub fn make_dir(&self, c: &TestClient, name: &str) {
        let new = NewNode {
            parent: Fid::ROOT,
            name: name.as_bytes(),
            mode: S_IFDIR | 0o755,
            rdev: 0,
            umask: 0,
            target: b"",
            group: None,
        };
        c.mdc.create(&new, &Cred::root()).unwrap();
    }

    /// What a well-behaved client does: a directory comes and goes.
    pub fn use_it(&self, c: &TestClient, n: u32) {
        let name = format!("d{n}");
        let cred = Cred::root();
        self.make_dir(c, &name);
        c.mdc
            .unlink(Fid::ROOT, name.as_bytes(), Fid::ZERO, true, None, &cred)
            .unwrap();
    }

    pub fn stop(self) {
        self.mdt.stop();
        self.node.stop();
    }
}
