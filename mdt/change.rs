// SPDX-License-Identifier: GPL-2.0

//! Changes on behalf of a request: numbered, recorded, answered with their number
//! (`recovery.md` 2, `mdt.md` 8).

use crate::open_files::Agreed;
use kapi::prelude::*;
use mdd::Runner;
use osd::{Plan, Transaction};
use target::Request;
use wire::connect::ConnectFlags;

/// Runs the transactions of a request.
pub(crate) struct Change<'a, 'r> {
    req: &'a mut Request<'r>,
}

impl<'a, 'r> Change<'a, 'r> {
    /// Of `req`.
    pub(crate) fn of(req: &'a mut Request<'r>) -> Change<'a, 'r> {
        Change { req }
    }
}

impl Runner for Change<'_, '_> {
    fn before(&mut self, versions: [u64; 4]) {
        self.req.rpc.pre_versions = versions;
    }

    fn run(&mut self, plan: Plan, body: &mut dyn FnMut(&mut Transaction, u64) -> Result) -> Result {
        let target = self.req.target;
        let mut change = target.start(plan, self.req.client()?)?;
        let number = change.transno();
        let done = body(&mut change, number);
        let result = done.as_ref().map_or_else(|e| e.to_errno(), |()| 0);
        let stopped = change.stop(self.req, result);
        let done = done.and(stopped);
        if done.is_err() {
            // The client must not believe that there is something to replay.
            self.req.rpc.transno = 0;
        }
        done
    }
}

/// Gives the reply a number though nothing was changed: what opens and closes files is replayed
/// too, but for clients and stores that are read-only (`recovery.md` 2, rule 7).
///
/// # Errors
/// `EIO`, `ENOMEM`.
pub(crate) fn number(req: &mut Request<'_>) -> Result {
    if req.rpc.transno != 0 || Agreed::with(req).has(ConnectFlags::RDONLY) {
        return Ok(());
    }
    let plan = req.target.plan()?;
    match Change::of(req).run(plan, &mut |_, _| Ok(())) {
        Err(e) if e == EROFS => Ok(()),
        done => done,
    }
}
