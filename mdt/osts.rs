// SPDX-License-Identifier: GPL-2.0

//! The objects of files: between the name space, which keeps layouts, and the LOD, which makes
//! them.

use kapi::prelude::*;
use lod::Lod;
use mdd::{Layouts, NewLayout, Owner, Updates};
use osd::{Fid, Plan, Transaction};

/// The OSTs as the name space sees them.
pub(crate) struct Osts(pub(crate) Arc<Lod>);

impl Layouts for Osts {
    fn prepare(
        &self,
        user: Option<&[u8]>,
        parent: Option<&[u8]>,
        root: Option<&[u8]>,
    ) -> Result<KBox<dyn NewLayout>> {
        let layout = Reserved(self.0.prepare(user, parent, root)?);
        Ok(KBox::new(layout, GFP_KERNEL)?)
    }

    fn directory_default(&self, user: &[u8]) -> Result<Option<KVVec<u8>>> {
        self.0.directory_default(user)
    }

    fn plan_destroy(&self, _: &mut Plan, ea: &[u8]) -> Result<KBox<dyn Updates>> {
        Ok(KBox::new(Later(self.0.destroy(ea)?), GFP_KERNEL)?)
    }

    fn plan_set_owner(&self, _: &mut Plan, ea: &[u8], owner: &Owner) -> Result<KBox<dyn Updates>> {
        Ok(KBox::new(Later(self.0.set_owner(ea, *owner)?), GFP_KERNEL)?)
    }
}

struct Reserved(lod::Layout);

impl NewLayout for Reserved {
    fn ea_len(&self) -> usize {
        self.0.ea_len()
    }

    fn plan(&self, plan: &mut Plan) -> Result {
        self.0.plan(plan)
    }

    fn commit(&mut self, tx: &mut Transaction, fid: &Fid) -> Result<KVVec<u8>> {
        self.0.commit(tx, fid)
    }
}

struct Later(lod::Changes);

impl Updates for Later {
    fn commit(&mut self, tx: &mut Transaction) -> Result {
        self.0.commit(tx)
    }
}
