// SPDX-License-Identifier: GPL-2.0

//! Objects that are indices: sorted records in an IAM file.

use crate::iam::{self, Shape};
use crate::index::{Reader, Writer};
use crate::object::InUse;
use crate::store::Store;
use crate::txn::{Plan, Running};
use kapi::ldiskfs::Credits;
use kapi::prelude::*;

impl Store {
    /// Plans a change of an index, or its making.
    pub fn plan_record(&self, plan: &mut Plan, o: &InUse) -> Result {
        // Opened before the transaction, if it is there.
        if o.exists() {
            o.with_blocks(|_| Ok(()))?;
        }
        plan.credits(Credits::Attr, 0);
        for _ in 0..3 {
            plan.credits(Credits::Append, 0);
        }
        plan.more(6);
        Ok(())
    }

    /// Makes an empty index of an object without content.
    ///
    /// # Errors
    /// `EINVAL`: it has content. `ENOSPC`, `EIO`.
    pub fn index_make(&self, run: &mut Running, o: &InUse, key: usize, rec: usize) -> Result {
        o.with_blocks(|file| {
            let handle = run.handle()?;
            iam::create(&mut Writer { file, handle }, Shape { key, rec })
        })
    }

    /// Lengths of the keys and records of an index.
    ///
    /// # Errors
    /// `EIO`: it is none.
    pub fn index_shape(&self, o: &InUse) -> Result<(usize, usize)> {
        let s = o.with_blocks(|b| iam::shape(&Reader(b)))?;
        Ok((s.key, s.rec))
    }

    /// Copies the record of `key` to `rec`; false if there is none.
    pub fn index_get(&self, o: &InUse, key: &[u8], rec: &mut [u8]) -> Result<bool> {
        o.with_blocks(|b| iam::lookup(&Reader(b), key, rec))
    }

    /// Adds a record.
    ///
    /// # Errors
    /// `EEXIST`, `EINVAL` (lengths), `ENOSPC`, `EIO`.
    pub fn index_insert(&self, run: &mut Running, o: &InUse, key: &[u8], rec: &[u8]) -> Result {
        o.with_blocks(|file| {
            let handle = run.handle()?;
            iam::insert(&mut Writer { file, handle }, key, rec)
        })
    }

    /// Replaces a record.
    ///
    /// # Errors
    /// `ENOENT`, `EINVAL` (lengths), `EIO`.
    pub fn index_update(&self, run: &mut Running, o: &InUse, key: &[u8], rec: &[u8]) -> Result {
        o.with_blocks(|file| {
            let handle = run.handle()?;
            iam::update(&mut Writer { file, handle }, key, rec)
        })
    }

    /// Removes a record.
    ///
    /// # Errors
    /// `ENOENT`, `EIO`.
    pub fn index_delete(&self, run: &mut Running, o: &InUse, key: &[u8]) -> Result {
        o.with_blocks(|file| {
            let handle = run.handle()?;
            iam::delete(&mut Writer { file, handle }, key)
        })
    }

    /// Shows the first record at or behind `key` (or behind it only) to `f`; false at the end.
    pub fn index_next(
        &self,
        o: &InUse,
        key: &[u8],
        behind: bool,
        f: &mut dyn FnMut(&[u8], &[u8]) -> Result,
    ) -> Result<bool> {
        o.with_blocks(|b| iam::next(&Reader(b), key, behind, f))
    }
}
