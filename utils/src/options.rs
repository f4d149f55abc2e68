// SPDX-License-Identifier: GPL-2.0

//! Options that mkfs.lustre and tunefs.lustre share (spec `mgs-config.md` §2.1, §4).

use crate::failure::fail;
use crate::target::{check_fsname, check_nids, parse_index, Target};
use anyhow::Result;
use clap::Args;
use wire::disk::mountdata::LddFlags;

/// The options.
#[derive(Args, Debug, Default)]
pub struct Common {
    /// The device has the management service (MGS) of the file system
    #[arg(short = 'G', long)]
    pub mgs: bool,
    /// The device has no management service
    #[arg(short = 'N', long, conflicts_with = "mgs")]
    pub nomgs: bool,
    /// Name of the file system, 1 to 8 characters
    #[arg(short = 'L', long, value_name = "NAME")]
    pub fsname: Option<String>,
    /// Index of the target in the file system
    #[arg(short = 'i', long, value_name = "N")]
    pub index: Option<String>,
    /// NIDs of the MGS; given again: of its failover partner
    #[arg(
        short = 'm',
        long = "mgsnode",
        visible_alias = "mgsnid",
        value_name = "NID[,NID]"
    )]
    pub mgsnode: Vec<String>,
    /// NIDs of the failover partner
    #[arg(
        short = 'f',
        long = "failnode",
        visible_alias = "failover",
        value_name = "NID[,NID]"
    )]
    pub failnode: Vec<String>,
    /// NIDs of every node that may serve this target
    #[arg(
        short = 's',
        long,
        value_name = "NID[,NID]",
        conflicts_with = "failnode"
    )]
    pub servicenode: Vec<String>,
    /// A permanent parameter
    #[arg(short = 'p', long, value_name = "KEY=VALUE")]
    pub param: Vec<String>,
    /// Permanent mount options, instead of the defaults
    #[arg(short = 'o', long, value_name = "OPTIONS")]
    pub mountfsoptions: Option<String>,
    /// The LNet network that the target is restricted to
    #[arg(short = 't', long, value_name = "NET")]
    pub network: Option<String>,
    /// A comment, stored on the device
    #[arg(short = 'u', long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// The kind of the backing file system: ldiskfs
    #[arg(short = 'b', long, value_name = "TYPE", default_value = "ldiskfs")]
    pub backfstype: String,
    /// Prints what would be done, and changes nothing
    #[arg(short = 'n', long)]
    pub dryrun: bool,
    /// Prints less
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Prints more
    #[arg(short = 'v', long)]
    pub verbose: bool,
}

impl Common {
    /// Applies them to `t`.
    pub fn apply(&self, t: &mut Target) -> Result<()> {
        if self.backfstype != "ldiskfs" {
            return Err(fail(
                libc::EINVAL,
                format!(
                    "--backfstype={}: only ldiskfs is known here",
                    self.backfstype
                ),
            ));
        }
        if self.mgs {
            t.flags.insert(LddFlags::SV_TYPE_MGS);
        }
        if self.nomgs {
            t.flags.remove(LddFlags::SV_TYPE_MGS);
        }
        if let Some(n) = &self.fsname {
            check_fsname(n)?;
            t.fsname = n.clone();
        }
        if let Some(i) = &self.index {
            t.index = Some(parse_index(i)?);
            t.flags.remove(LddFlags::NEED_INDEX);
        }
        self.apply_nodes(t)?;
        for p in &self.param {
            let (key, value) = p.split_once('=').ok_or_else(|| {
                fail(
                    libc::EINVAL,
                    format!("--param {p}: it has the form KEY=VALUE"),
                )
            })?;
            t.remove_param(key);
            t.add_param(key, value)?;
            t.flags.insert(LddFlags::UPDATE);
        }
        if let Some(n) = &self.network {
            t.remove_param("network");
            t.add_param("network", n)?;
            t.flags.insert(LddFlags::UPDATE);
        }
        if let Some(o) = &self.mountfsoptions {
            t.mount_opts = o.clone();
        }
        if let Some(c) = &self.comment {
            t.comment = c.clone();
        }
        Ok(())
    }

    fn apply_nodes(&self, t: &mut Target) -> Result<()> {
        for n in self
            .mgsnode
            .iter()
            .chain(&self.failnode)
            .chain(&self.servicenode)
        {
            check_nids(n)?;
        }
        if !self.mgsnode.is_empty() {
            t.remove_param("mgsnode");
            t.add_param("mgsnode", &self.mgsnode.join(":"))?;
        }
        for (nodes, all_serve) in [(&self.failnode, false), (&self.servicenode, true)] {
            if nodes.is_empty() {
                continue;
            }
            t.remove_param("failover.node");
            t.add_param("failover.node", &nodes.join(":"))?;
            t.flags.insert(LddFlags::UPDATE);
            if all_serve {
                t.flags.insert(LddFlags::NO_PRIMNODE);
            } else {
                t.flags.remove(LddFlags::NO_PRIMNODE);
            }
        }
        Ok(())
    }
}

/// Checks that a target is one.
pub fn check(t: &Target) -> Result<()> {
    let is_mdt = t.has(LddFlags::SV_TYPE_MDT);
    let is_ost = t.has(LddFlags::SV_TYPE_OST);
    let is_mgs = t.has(LddFlags::SV_TYPE_MGS);
    let no = |text: &str| Err(fail(libc::EINVAL, text));
    if !is_mdt && !is_ost && !is_mgs {
        return no("say what the target is: --mgs, --mdt or --ost");
    }
    if is_ost && (is_mdt || is_mgs) {
        return no("--ost cannot be combined with --mgs or --mdt: an OST has its own device");
    }
    if (is_mdt || is_ost) && t.fsname.is_empty() {
        return no("--fsname is needed: which file system is the target part of?");
    }
    if !is_mdt && !is_ost && t.index.is_some() {
        return no("--index makes no sense for an MGS alone");
    }
    if !is_mgs && t.param("mgsnode").is_empty() {
        return no("--mgsnode is needed: where is the MGS? (or --mgs, if it is on this device)");
    }
    Ok(())
}
