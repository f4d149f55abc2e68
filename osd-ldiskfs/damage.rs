// SPDX-License-Identifier: GPL-2.0

//! What is said of damage: where it is. ext4 speaks for itself, of what it finds.

use crate::lma;
use kapi::ldiskfs::Node;
use kapi::prelude::*;

/// Logs that block `block` of an inode makes no sense as part of `what`, if that is why `e` is the
/// error; `advice` says what to do.
pub(crate) fn in_block(node: &Node, block: u32, what: &str, advice: &str, e: Error) {
    if ![EUCLEAN, EIO, EBADMSG].contains(&e) {
        return;
    }
    let ino = node.ino();
    match lma::read(node) {
        Ok(Some(lma)) => {
            let fid = lma.fid();
            pr_warn_ratelimited!(
                "inode {ino} ({fid}): block {block} of {what} is damaged or cannot be read{advice}\n"
            )
        }
        _ => pr_warn_ratelimited!(
            "inode {ino}: block {block} of {what} is damaged or cannot be read{advice}\n"
        ),
    }
}
