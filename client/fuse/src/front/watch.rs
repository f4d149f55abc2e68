// SPDX-License-Identifier: GPL-2.0

//! What the kernel is told when locks are called back.

use crate::nodes::Nodes;
use crate::notify::Notifier;
use lustre_client::fs::Watcher;
use std::sync::Arc;
use wire::fid::Fid;

/// Tells the kernel what to forget.
pub(super) struct Watch {
    pub(super) nodes: Arc<Nodes>,
    pub(super) notifier: Arc<Notifier>,
}

impl Watcher for Watch {
    fn attr_gone(&self, fid: Fid) {
        if let Some(ino) = self.nodes.take_attr(&fid) {
            self.notifier.attr(ino);
        }
    }

    fn names_gone(&self, fid: Fid, names: &[(Fid, Vec<u8>)], own: bool) {
        if !self.nodes.take_name(&fid) {
            return;
        }
        for (parent, name) in names {
            if let Some(ino) = self.nodes.known(parent) {
                self.notifier.entry(ino, name, !own);
            }
        }
    }

    fn data_gone(&self, fid: Fid) {
        self.attr_gone(fid);
        if let Some(ino) = self.nodes.opened(&fid) {
            self.notifier.pages(ino);
        }
    }
}
