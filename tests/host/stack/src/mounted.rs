// SPDX-License-Identifier: GPL-2.0

//! Clients with a mounted file system.

use crate::{limits, new_nid, ServerNode, PORT};
use lustre_client::config::{FsConfig, TargetConfig};
use lustre_client::mount::{Mount, MountOptions};
use lustre_client::node::{ClientNode, NodeOptions};
use std::sync::Arc;
use wire::nid::Nid;

/// Where a file system is.
#[derive(Clone)]
pub struct Place {
    /// Its name.
    pub fsname: String,
    /// Where its MDT is.
    pub mdt: Nid,
    /// Its OSTs: index and address.
    pub osts: Vec<(u32, Nid)>,
}

/// A client on a node of its own, and the file system that it has mounted.
pub struct Mounted {
    node: Arc<ClientNode>,
    /// The file system.
    pub fs: Arc<Mount>,
}

impl Mounted {
    /// Mounts the file system of that MDT, with OSTs of these indices at these addresses.
    pub fn new(mdt: &ServerNode, osts: &[(u32, Nid)], options: MountOptions) -> Mounted {
        let place = Place {
            fsname: mdt.fsname.clone(),
            mdt: mdt.nid,
            osts: osts.to_vec(),
        };
        Self::at(&place, options)
    }

    /// Mounts a file system.
    pub fn at(place: &Place, options: MountOptions) -> Mounted {
        let mut o = NodeOptions::new(new_nid());
        o.port = PORT;
        o.privileged = false;
        o.limits = limits();
        let node = ClientNode::start(&o).unwrap();
        let target = |kind: &str, index: u32, nid| TargetConfig {
            index,
            uuid: format!("{}-{kind}{index:04x}_UUID", place.fsname),
            nodes: vec![vec![nid]],
            inactive: false,
        };
        let osts = place.osts.iter().map(|(i, n)| target("OST", *i, *n));
        let osts: Vec<_> = osts.collect();
        let config = FsConfig::of_targets(&[target("MDT", 0, place.mdt)], &osts);
        let fs = Mount::configured(&node, config, options).unwrap();
        Mounted { node, fs }
    }

    /// Unmounts.
    pub fn stop(self) {
        self.fs.stop();
        self.node.stop();
    }
}
