// SPDX-License-Identifier: GPL-2.0

//! The OSTs of a file system give files their objects.

use crate::layouts::{Layouts, NewLayout, Owner, Updates};
use kapi::prelude::*;
use lod::{Changes, Layout, Lod};
use osd::{Fid, Plan, Transaction};

impl Layouts for Lod {
    fn prepare(
        &self,
        user: Option<&[u8]>,
        parent: Option<&[u8]>,
        root: Option<&[u8]>,
    ) -> Result<KBox<dyn NewLayout>> {
        let layout = Lod::prepare(self, user, parent, root)?;
        Ok(KBox::new(layout, GFP_KERNEL)?)
    }

    fn directory_default(&self, user: &[u8]) -> Result<Option<KVVec<u8>>> {
        Lod::directory_default(self, user)
    }

    fn plan_destroy(&self, plan: &mut Plan, ea: &[u8]) -> Result<KBox<dyn Updates>> {
        Ok(KBox::new(self.destroy(plan, ea)?, GFP_KERNEL)?)
    }

    fn plan_set_owner(
        &self,
        plan: &mut Plan,
        ea: &[u8],
        owner: &Owner,
    ) -> Result<KBox<dyn Updates>> {
        Ok(KBox::new(self.set_owner(plan, ea, *owner)?, GFP_KERNEL)?)
    }
}

impl NewLayout for Layout {
    fn ea_len(&self) -> usize {
        Layout::ea_len(self)
    }

    fn set_size(&mut self, size: u64) -> Result {
        Layout::set_size(self, size)
    }

    fn plan(&self, plan: &mut Plan) -> Result {
        Layout::plan(self, plan)
    }

    fn commit(&mut self, tx: &mut Transaction, fid: &Fid) -> Result<KVVec<u8>> {
        Layout::commit(self, tx, fid)
    }
}

impl Updates for Changes {
    fn commit(&mut self, tx: &mut Transaction) -> Result {
        Changes::commit(self, tx)
    }
}
