// SPDX-License-Identifier: GPL-2.0

//! The userspace client's side of an OST.

use super::*;
use lustre_client::config::TargetConfig;
use lustre_client::layout::Stripe;
use lustre_client::mount::MountOptions;
use lustre_client::node::{ClientNode, NodeOptions};
use lustre_client::osc::{CleanCache, Object, Ost, Owner};
use std::sync::Arc as StdArc;

/// A client of an OST.
pub struct Client {
    node: StdArc<ClientNode>,
    pub ost: StdArc<Ost>,
}

impl Client {
    pub fn new(oss: &Oss, n: u8) -> Client {
        let mut options = NodeOptions::new(nid(oss.id, n));
        options.port = PORT;
        options.privileged = false;
        let node = ClientNode::start(&options).unwrap();
        let config = TargetConfig {
            index: INDEX.into(),
            uuid: uuid(oss.id).as_str().to_string(),
            nodes: vec![vec![nid(oss.id, 1)]],
            inactive: false,
        };
        let cache = StdArc::new(CleanCache::new(64 << 20));
        let name = format!("client-{}-{n}", oss.id);
        let tell = StdArc::new(|_: Fid| {});
        let options = MountOptions::default();
        let ost = Ost::new(&node, &config, &name, &cache, tell, &options).unwrap();
        let import = ost.target().unwrap().import().clone();
        import.wait_full(Duration::from_secs(10)).unwrap();
        Client { node, ost }
    }

    pub fn object(&self, fid: Fid) -> StdArc<Object> {
        let stripe = Stripe {
            ost: INDEX.into(),
            fid,
            id: OstId::from_fid(fid),
        };
        let owner = Owner {
            fid: Fid::new(0x2_0000_0401, 1),
            stripe: 0,
            uid: 10,
            gid: 20,
            stripe_size: 1 << 20,
            stripe_count: 1,
        };
        Object::of(&self.ost, &stripe, owner)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.ost.stop();
        self.node.stop();
    }
}

pub fn read(o: &StdArc<Object>, off: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0xee; len];
    o.read(off, &mut out).unwrap();
    out
}
