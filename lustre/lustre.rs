// SPDX-License-Identifier: GPL-2.0

//! The module: what `modprobe lustre` loads.
#![forbid(unsafe_code)]

use kapi::chardev::CharDevice;
use kapi::fs::Registration;
use kapi::prelude::*;
use obdclass::node::ServerNode;
use obdclass::tree::{Tree, VERSION};

mod lnet;
mod mount;
mod obd;

kernel::prelude::module! {
    type: Lustre,
    name: "lustre",
    authors: ["The Lustre server in Rust developers"],
    description: "Lustre server",
    license: "GPL v2",
    alias: [
        "lnet", "ksocklnd", "libcfs", "obdclass", "ptlrpc", "fld", "fid", "mgc", "mgs", "mds", "mdt",
        "mdd", "lod", "osp", "ost", "ofd", "lquota", "osd_ldiskfs", "osd-ldiskfs", "fs-lustre",
        "fs-lustre_tgt",
    ],
}

/// The release of this server.
const RELEASE: &str = "0.1.0";

/// What there is as long as the module is loaded. Dropped in this order.
struct Lustre {
    _types: [Registration; 2],
    _lnet: CharDevice,
    _obd: CharDevice,
    _tree: Tree,
    node: Arc<ServerNode>,
}

impl kernel::Module for Lustre {
    fn init(_module: &'static kernel::ThisModule) -> Result<Self> {
        let node = ServerNode::new(KBox::new(lnet::FromParams, GFP_KERNEL)?)?;
        let tree = Tree::new(&node)?;
        let control = Arc::new(obd::Control { node: node.clone() }, GFP_KERNEL)?;
        let obd = CharDevice::register(c"obd", 0o600, control)?;
        let control = Arc::new(lnet::Control { node: node.clone() }, GFP_KERNEL)?;
        let lnet = CharDevice::register(c"lnet", 0o600, control)?;
        let targets = Arc::new(mount::Targets { node: node.clone() }, GFP_KERNEL)?;
        // Servers are mounted as either.
        let types = [
            Registration::new(c"lustre", mount::MAGIC, targets.clone())?,
            Registration::new(c"lustre_tgt", mount::MAGIC, targets)?,
        ];
        pr_info!("Build Version: {}\n", VERSION);
        pr_info!("server {} loaded\n", RELEASE);
        Ok(Lustre {
            _types: types,
            _lnet: lnet,
            _obd: obd,
            _tree: tree,
            node,
        })
    }
}

impl Drop for Lustre {
    fn drop(&mut self) {
        // Mounts hold the module: there are none.
        if let Err(e) = self.node.down() {
            pr_err!("LNet does not stop: {:?}\n", e);
        }
        pr_info!("server {} unloaded\n", RELEASE);
    }
}
