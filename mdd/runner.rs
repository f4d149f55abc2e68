// SPDX-License-Identifier: GPL-2.0

//! Who runs the transactions of changes.

use kapi::prelude::*;
use osd::{Plan, Transaction};

/// Runs the transaction of one change.
pub trait Runner {
    /// The versions of the objects before the change, by slots (`mdt.md` 8). They are known before
    /// it is known whether the change can be made.
    fn before(&mut self, versions: [u64; 4]);

    /// Starts `plan`, calls `body` with the transaction and its number, and ends it. Called once
    /// for a change.
    ///
    /// # Errors
    /// Those of the start and the end, and of `body`.
    fn run(&mut self, plan: Plan, body: &mut dyn FnMut(&mut Transaction, u64) -> Result) -> Result;
}

/// Runs a transaction that is nobody's request.
pub struct Alone;

impl Runner for Alone {
    fn before(&mut self, _: [u64; 4]) {}

    fn run(&mut self, plan: Plan, body: &mut dyn FnMut(&mut Transaction, u64) -> Result) -> Result {
        let mut tx = plan.start()?;
        let done = body(&mut tx, 0);
        let stopped = tx.stop();
        done.and(stopped)
    }
}
