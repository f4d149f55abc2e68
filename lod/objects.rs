// SPDX-License-Identifier: GPL-2.0

//! The objects of files that have a layout: they end, and get other owners, with the file.

use crate::device::Lod;
use kapi::prelude::*;
use osd::{Callback, Fid, Transaction};
use osp::{Owner, Ticket};
use wire::lov::{Component, LovMd, LovOstData, Plain};

/// Changes to objects that follow a transaction. Dropped before [`Changes::commit`], they are not
/// made.
pub struct Changes {
    queue: Option<Callback>,
}

impl Changes {
    /// They are made once the transaction is on disk. Only once.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn commit(&mut self, tx: &mut Transaction) -> Result {
        match self.queue.take() {
            Some(call) => tx.on_commit(call),
            None => Ok(()),
        }
    }
}

fn each_stripe(plain: &Plain<'_>, f: &mut dyn FnMut(&LovOstData) -> Result) -> Result {
    plain.stripes().iter().try_for_each(f)
}

/// Calls `f` for each object of a layout, whatever kind it is.
pub(crate) fn each_object(ea: &[u8], f: &mut dyn FnMut(&LovOstData) -> Result) -> Result {
    match LovMd::parse(ea).map_err(|_| EINVAL)? {
        LovMd::Plain(p) => each_stripe(&p, f),
        LovMd::Composite(c) => {
            c.entries
                .iter()
                .try_for_each(|e| match c.blob(e).map_err(|_| EINVAL)? {
                    Component::Plain(p) => each_stripe(&p, f),
                    Component::Foreign(..) => Ok(()),
                })
        }
        LovMd::Foreign(..) => Ok(()),
    }
}

impl Lod {
    /// Plans something for each object of a layout.
    fn plan_changes(
        &self,
        ea: &[u8],
        what: impl Fn(&osp::Osp, Fid) -> Result<Ticket>,
    ) -> Result<Changes> {
        let mut tickets = KVec::new();
        let set = self.set();
        let walk = each_object(ea, &mut |o| {
            let index = o.l_ost_idx.get();
            let (Ok(fid), Some(osp)) = (o.fid(), set.find(index)) else {
                pr_warn!("object {:?}: its OST is not known, it stays\n", o);
                return Ok(());
            };
            tickets.push(what(osp, fid)?, GFP_KERNEL)?;
            Ok(())
        });
        match walk {
            // A file with a damaged layout is one all the same, and can be removed.
            Err(e) if e == EINVAL => pr_warn!("a damaged layout: its objects stay\n"),
            other => other?,
        }
        if tickets.is_empty() {
            return Ok(Changes { queue: None });
        }
        let call = move |done: Result| {
            if done.is_ok() {
                tickets.into_iter().for_each(Ticket::enqueue);
            }
        };
        Ok(Changes {
            queue: Some(KBox::new(call, GFP_KERNEL)?),
        })
    }

    /// Plans the end of all objects of a layout.
    ///
    /// # Errors
    /// `EINPROGRESS`: too many changes wait for an OST. `ENOMEM`.
    pub fn destroy(&self, ea: &[u8]) -> Result<Changes> {
        self.plan_changes(ea, |osp, fid| osp.destroy(core::iter::once(fid)))
    }

    /// Plans that all objects of a layout get other owners.
    ///
    /// # Errors
    /// As [`Lod::destroy`].
    pub fn set_owner(&self, ea: &[u8], owner: Owner) -> Result<Changes> {
        self.plan_changes(ea, |osp, fid| osp.set_owner(core::iter::once(fid), owner))
    }
}
