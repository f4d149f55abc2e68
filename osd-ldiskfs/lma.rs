// SPDX-License-Identifier: GPL-2.0

//! `trusted.lma`: the FID of an inode, and flags (`ondisk.md` 7.2).

use crate::Fid;
use kapi::ldiskfs::{Handle, Node};
use kapi::prelude::*;
use wire::disk::lma::{LmaCompat, LmaIncompat, LustreMdtAttrs, LustreOstAttrs, XATTR_NAME_LMA};
use wire::error::Malformed;
use zerocopy::IntoBytes;

/// Length of what is written.
pub(crate) const LEN: usize = size_of::<LustreMdtAttrs>();

/// The LMA of an inode; none if it has none.
///
/// # Errors
/// `EINVAL`: too short. `EOPNOTSUPP`: a flag that is not known. `EIO`.
pub(crate) fn read(node: &Node) -> Result<Option<LustreMdtAttrs>> {
    let mut b = [0; size_of::<LustreOstAttrs>()];
    let n = match node.xattr(XATTR_NAME_LMA, &mut b) {
        Err(e) if e == ENODATA => return Ok(None),
        other => other?,
    };
    match LustreMdtAttrs::parse(b.get(..n).unwrap_or_default()) {
        Ok(lma) => Ok(Some(*lma)),
        Err(Malformed::Unsupported) => {
            pr_warn_ratelimited!(
                "inode {}: its LMA has a flag that is not known\n",
                node.ino()
            );
            Err(EOPNOTSUPP)
        }
        Err(_) => {
            pr_warn_ratelimited!("inode {}: its LMA is damaged\n", node.ino());
            Err(EINVAL)
        }
    }
}

/// Whether an inode stands for an object of another target.
///
/// # Errors
/// As [`read`].
pub(crate) fn is_agent(node: &Node) -> Result<bool> {
    Ok(read(node)?.is_some_and(|l| l.incompat().contains(LmaIncompat::AGENT)))
}

/// Has an inode without LMA stand for an object of another target.
pub(crate) fn write_agent(h: &mut Handle, node: &Node, fid: &Fid) -> Result {
    let lma = LustreMdtAttrs::new(*fid, LmaCompat::empty(), LmaIncompat::AGENT);
    h.set_xattr(node, XATTR_NAME_LMA, Some(lma.as_bytes()), true)
}

/// Gives an inode without LMA one.
pub(crate) fn write(h: &mut Handle, node: &Node, fid: &Fid, compat: LmaCompat) -> Result {
    let lma = LustreMdtAttrs::new(*fid, compat, LmaIncompat::empty());
    h.set_xattr(node, XATTR_NAME_LMA, Some(lma.as_bytes()), true)
}
