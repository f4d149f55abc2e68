// SPDX-License-Identifier: GPL-2.0

//! The module: what `modprobe lustre` loads.
#![forbid(unsafe_code)]

use kapi::prelude::*;

kernel::prelude::module! {
    type: Lustre,
    name: "lustre",
    authors: ["The Lustre server in Rust developers"],
    description: "Lustre server",
    license: "GPL v2",
    alias: [
        "lnet", "ksocklnd", "ptlrpc", "obdclass", "mgc", "mgs", "mds", "mdt", "mdd", "lod", "osp",
        "ost", "ofd", "lquota", "osd_ldiskfs", "osd-ldiskfs", "fs-lustre", "fs-lustre_tgt",
    ],
}

/// The version that the module reports.
const VERSION: &str = "0.1.0";

struct Lustre;

impl kernel::Module for Lustre {
    fn init(_module: &'static kernel::ThisModule) -> Result<Self> {
        pr_info!("server {} loaded\n", VERSION);
        Ok(Lustre)
    }
}

impl Drop for Lustre {
    fn drop(&mut self) {
        pr_info!("server {} unloaded\n", VERSION);
    }
}
