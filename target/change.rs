// SPDX-License-Identifier: GPL-2.0

//! Transactions on behalf of clients: numbered, recorded, and known when they are on disk.

use crate::client::Client;
use crate::device::Target;
use crate::service::Request;
use core::ops::{Deref, DerefMut};
use kapi::prelude::*;
use kapi::sync::atomic::Relaxed;
use osd::{Plan, Transaction};
use wire::disk::last_rcvd::LsdClientData;
use zerocopy::FromZeros;

/// A transaction of a client's request, running.
pub struct Change<'t> {
    target: &'t Arc<Target>,
    tx: Transaction,
    slot: Option<u32>,
    transno: u64,
}

impl Target {
    /// A plan for a transaction.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn plan(&self) -> Result<Plan> {
        self.osd().plan()
    }

    /// Starts a client's transaction: `plan`, and the record of it. Its number is the next one;
    /// transactions get to the disk in the order of their numbers.
    ///
    /// # Errors
    /// As [`Plan::start`].
    pub fn start(self: &Arc<Self>, mut plan: Plan, client: &Client) -> Result<Change<'_>> {
        if let Some(l) = &self.last_rcvd {
            l.plan(&mut plan, client.record)?;
        }
        let tx = plan.start()?;
        // In the transaction: the journal starts no later one before all of this one have ended.
        let transno = self.transno.fetch_add(1, Relaxed) + 1;
        Ok(Change {
            target: self,
            tx,
            slot: client.record,
            transno,
        })
    }
}

impl Change<'_> {
    /// Its number, which is also the version of the objects that it changes.
    pub fn transno(&self) -> u64 {
        self.transno
    }

    /// Ends it, with `result` as what the request came to. The reply gets the number.
    ///
    /// # Errors
    /// `EIO`, `EROFS`: nothing of it may be relied on.
    pub fn stop(mut self, req: &mut Request<'_>, result: i32) -> Result {
        if let Some(l) = &self.target.last_rcvd {
            let mut record = LsdClientData::new_zeroed();
            record.lcd_uuid = *req.export.client_uuid.padded();
            if req.rpc.opc() == wire::opcode::MDS_CLOSE {
                record.lcd_last_close_transno.set(self.transno);
                record.lcd_last_close_xid.set(req.rpc.xid());
                record.lcd_last_close_result.set(result as u32);
            } else {
                record.lcd_last_transno.set(self.transno);
                record.lcd_last_xid.set(req.rpc.xid());
                record.lcd_last_result.set(result as u32);
            }
            for (to, from) in record.lcd_pre_versions.iter_mut().zip(req.rpc.pre_versions) {
                to.set(from);
            }
            l.record(&mut self.tx, self.slot, &record)?;
        }
        let (commits, transno) = (self.target.commits.clone(), self.transno);
        let done = move |r: Result| {
            if r.is_ok() {
                commits.done(transno);
            }
        };
        self.tx.on_commit(KBox::new(done, GFP_NOFS)?)?;
        self.tx.stop()?;
        req.rpc.transno = transno;
        Ok(())
    }
}

impl Deref for Change<'_> {
    type Target = Transaction;
    fn deref(&self) -> &Transaction {
        &self.tx
    }
}

impl DerefMut for Change<'_> {
    fn deref_mut(&mut self) -> &mut Transaction {
        &mut self.tx
    }
}
