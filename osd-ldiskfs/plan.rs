// SPDX-License-Identifier: GPL-2.0

//! What a transaction on objects needs: credits, locks, records of usage.

use crate::change::ids;
use crate::lma;
use crate::object::Object;
use crate::place::{self, Place};
use crate::setup;
use crate::store::Store;
use crate::txn::Plan;
use kapi::ldiskfs::Credits;
use kapi::prelude::*;
use osd::{Create, SetAttr, S_IFMT, S_IFREG};

impl Store {
    fn plan_index(&self, plan: &mut Plan) {
        plan.more(setup::oi_credits(self.device()));
    }

    /// Plans the creation of an object. `near` is the directory and the name that it will get, if
    /// they are known.
    pub(crate) fn plan_create(
        &self,
        plan: &mut Plan,
        o: &Object,
        what: &Create<'_>,
        near: Option<(&Object, &[u8])>,
    ) -> Result {
        plan.credits(Credits::Create, 0);
        plan.credits(Credits::XattrNew, lma::LEN);
        match self.place(o.fid()) {
            Place::LastId(seq) => plan.lock(&self.layout().hierarchy.make(self.device(), seq)?.dir),
            Place::Hierarchy { seq, id } => plan.lock(
                self.layout()
                    .hierarchy
                    .make(self.device(), seq)?
                    .bucket(id)?,
            ),
            Place::Index => {
                self.plan_index(plan);
                if place::root_name(o.fid()).is_some() {
                    plan.lock(self.device().root())
                } else if let Some(Ok(d)) = near.map(|(d, _)| d.node()) {
                    plan.will_have_name();
                    plan.lock(&d)
                } else if what.mode & S_IFMT == S_IFREG {
                    Ok(())
                } else {
                    plan.nursery(&self.layout().nursery)
                }
            }
            _ => Err(EOPNOTSUPP),
        }
    }

    /// Plans the end of an object.
    pub(crate) fn plan_destroy(&self, plan: &mut Plan, o: &Object) -> Result {
        let node = o.node()?;
        plan.lock(&node)?;
        plan.credits(Credits::Unlink, 0);
        plan.more(node.drop_credits()?);
        // Opened before the transaction.
        o.if_blocks(|_| Ok(()))?;
        match self.place(o.fid()) {
            Place::Hierarchy { seq, id } => plan.lock(
                self.layout()
                    .hierarchy
                    .make(self.device(), seq)?
                    .bucket(id)?,
            ),
            Place::Index => {
                self.plan_index(plan);
                Ok(())
            }
            _ => Err(EOPNOTSUPP),
        }
    }

    /// Plans a name for an object, which may be made in the same transaction.
    pub(crate) fn plan_insert(&self, plan: &mut Plan, dir: &Object, o: &Object) -> Result {
        if o.exists() || !plan.takes_name() {
            plan.credits(Credits::Link, 0);
        }
        // A directory that is made in the same transaction is locked from then on.
        if let Ok(d) = dir.node() {
            plan.lock(&d)?;
        }
        if let Ok(n) = o.node() {
            plan.lock(&n)?;
        }
        Ok(())
    }

    /// Plans a name for an object of another target.
    pub(crate) fn plan_insert_remote(&self, plan: &mut Plan, dir: &Object) -> Result {
        plan.credits(Credits::Create, 0);
        plan.credits(Credits::XattrNew, lma::LEN);
        // A directory that is made in the same transaction is locked from then on.
        match dir.node() {
            Ok(d) => plan.lock(&d),
            Err(_) => Ok(()),
        }
    }

    /// Plans the removal of a name.
    ///
    /// # Errors
    /// `ENOENT`: there is no such name.
    pub(crate) fn plan_remove(&self, plan: &mut Plan, dir: &Object, name: &[u8]) -> Result {
        let d = dir.node()?;
        plan.credits(Credits::Unlink, 0);
        let child = self.device().lookup(&d, name)?;
        if lma::is_agent(&child)? {
            // It ends with its name.
            plan.credits(Credits::Unlink, 0);
        }
        plan.lock(&d)?;
        plan.lock(&child)
    }

    /// Plans changes of attributes, among them of these owners.
    pub(crate) fn plan_attr(&self, plan: &mut Plan, o: &Object, set: &SetAttr) -> Result {
        plan.ids(&ids(set))?;
        match o.node() {
            Ok(n) => plan.lock(&n),
            // Made in the same transaction.
            Err(_) => Ok(()),
        }
    }

    /// Plans the setting or removal of an xattr of `len` bytes.
    pub(crate) fn plan_xattr(&self, plan: &mut Plan, o: &Object, len: usize) -> Result {
        match o.node() {
            Ok(n) => {
                plan.credits(Credits::Xattr, len);
                plan.more(n.xattr_drop_credits(len));
                plan.lock(&n)
            }
            Err(_) => {
                plan.credits(Credits::XattrNew, len);
                Ok(())
            }
        }
    }

    /// Plans a write through the journal.
    pub(crate) fn plan_write(&self, plan: &mut Plan, o: &Object, off: u64, len: usize) -> Result {
        if o.exists() {
            let credits = o.with_blocks(|b| Ok(b.credits(off, len)))?;
            plan.more(credits);
            return Ok(());
        }
        self.plan_blocks(plan, len)
    }

    /// Plans a write through the journal behind the end.
    pub(crate) fn plan_append(&self, plan: &mut Plan, o: &Object, len: usize) -> Result {
        // Opened before the transaction, if it is there.
        if o.exists() {
            o.with_blocks(|_| Ok(()))?;
            plan.credits(Credits::Attr, 0);
        }
        self.plan_blocks(plan, len)
    }

    /// Credits for `len` bytes of new blocks, somewhere.
    fn plan_blocks(&self, plan: &mut Plan, len: usize) -> Result {
        let blocks = len.div_ceil(self.device().mount().block_size()) + 1;
        let each = self.device().mount().credits(Credits::Append, 0);
        plan.more(each.saturating_mul(u32::try_from(blocks)?));
        Ok(())
    }

    /// Plans a change of an index, or its making.
    pub(crate) fn plan_record(&self, plan: &mut Plan, o: &Object) -> Result {
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
}
