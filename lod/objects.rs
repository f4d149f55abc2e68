// SPDX-License-Identifier: GPL-2.0

//! The objects of files that have a layout: they end, and get other owners, with the file.

use crate::device::Lod;
use kapi::prelude::*;
use osd::{Callback, Fid, Plan, Transaction};
use osp::{Owner, Ticket};
use wire::lov::{Component, LovMd, LovOstData, Plain};

/// Changes to objects that follow a transaction. Dropped before [`Changes::commit`], they are not
/// made.
pub struct Changes {
    tickets: Arc<Tickets>,
    /// Queues the tickets.
    call: Option<Callback>,
}

/// Where the callback finds the tickets.
#[pin_data]
struct Tickets {
    #[pin]
    all: SpinLock<KVec<Ticket>>,
}

impl Tickets {
    fn take(&self) -> KVec<Ticket> {
        core::mem::take(&mut *self.all.lock())
    }
}

impl Changes {
    /// They are recorded in the transaction, and made once that is on disk. Only once.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn commit(&mut self, tx: &mut Transaction) -> Result {
        let Some(call) = self.call.take() else {
            return Ok(());
        };
        tx.on_commit(call)?;
        let mut tickets = self.tickets.take();
        tickets.iter_mut().for_each(|t| t.record(tx));
        *self.tickets.all.lock() = tickets;
        Ok(())
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
        plan: &mut Plan,
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
            let ticket = what(osp, fid)?;
            ticket.plan(plan)?;
            Ok(tickets.push(ticket, GFP_KERNEL)?)
        });
        match walk {
            // A file with a damaged layout is one all the same, and can be removed.
            Err(e) if e == EINVAL => pr_warn!("a damaged layout: its objects stay\n"),
            other => other?,
        }
        let none = tickets.is_empty();
        let tickets: Arc<Tickets> = Arc::pin_init(
            pin_init!(Tickets {
                all <- new_spinlock!(tickets),
            }),
            GFP_KERNEL,
        )?;
        if none {
            let call = None;
            return Ok(Changes { tickets, call });
        }
        let queued = tickets.clone();
        let call = move |done: Result| {
            let tickets = queued.take();
            if done.is_ok() {
                tickets.into_iter().for_each(Ticket::enqueue);
            }
        };
        Ok(Changes {
            tickets,
            call: Some(KBox::new(call, GFP_KERNEL)?),
        })
    }

    /// Plans the end of all objects of a layout.
    ///
    /// # Errors
    /// `EINPROGRESS`: too many changes wait for an OST. `ENOMEM`.
    pub fn destroy(&self, plan: &mut Plan, ea: &[u8]) -> Result<Changes> {
        self.plan_changes(plan, ea, |osp, fid| osp.destroy(core::iter::once(fid)))
    }

    /// Plans that all objects of a layout get other owners.
    ///
    /// # Errors
    /// As [`Lod::destroy`].
    pub fn set_owner(&self, plan: &mut Plan, ea: &[u8], owner: Owner) -> Result<Changes> {
        self.plan_changes(plan, ea, |osp, fid| {
            osp.set_owner(core::iter::once(fid), owner)
        })
    }
}
