// SPDX-License-Identifier: GPL-2.0

//! Where files get their objects on OSTs from: what the name space needs of the LOD.

use kapi::prelude::*;
use osd::{Fid, Plan, Transaction};

pub use lod::Owner;

/// Makes and ends the objects of files.
pub trait Layouts: Send + Sync {
    /// Chooses OSTs and reserves objects for a new file: `user` is what was wished for, `parent`
    /// and `root` are the defaults of the directories. It may wait, so no transaction is running.
    ///
    /// # Errors
    /// `EINVAL`, `EOPNOTSUPP`: the wish. `ENOSPC`, `EINPROGRESS`.
    fn prepare(
        &self,
        user: Option<&[u8]>,
        parent: Option<&[u8]>,
        root: Option<&[u8]>,
    ) -> Result<KBox<dyn NewLayout>>;

    /// What to store as the default of a directory for a wish; none: remove it.
    ///
    /// # Errors
    /// `EINVAL`, `EOPNOTSUPP`.
    fn directory_default(&self, user: &[u8]) -> Result<Option<KVVec<u8>>>;

    /// Plans the end of the objects of a layout.
    ///
    /// # Errors
    /// `EINPROGRESS`: too much is waiting already.
    fn plan_destroy(&self, plan: &mut Plan, ea: &[u8]) -> Result<KBox<dyn Updates>>;

    /// Plans that the objects of a layout get other owners.
    ///
    /// # Errors
    /// As [`Layouts::plan_destroy`].
    fn plan_set_owner(
        &self,
        plan: &mut Plan,
        ea: &[u8],
        owner: &Owner,
    ) -> Result<KBox<dyn Updates>>;
}

/// A layout with reserved objects. Dropped without [`NewLayout::commit`], they are given back.
pub trait NewLayout {
    /// Bytes of the xattr.
    fn ea_len(&self) -> usize;

    /// The file has this size already: its objects get their part of it. No transaction is
    /// running.
    ///
    /// # Errors
    /// `EINPROGRESS`: that cannot be done now.
    fn set_size(&mut self, size: u64) -> Result;

    /// Plans what is recorded about the objects.
    fn plan(&self, plan: &mut Plan) -> Result;

    /// Takes the objects for the file `fid`. Returns what goes into `trusted.lov`. Only once.
    fn commit(&mut self, tx: &mut Transaction, fid: &Fid) -> Result<KVVec<u8>>;
}

/// What is to be told to OSTs after a transaction. Dropped without [`Updates::commit`], nothing is.
pub trait Updates {
    /// Records it in the transaction. Only once.
    fn commit(&mut self, tx: &mut Transaction) -> Result;
}

/// A target without OSTs: files get no layout.
pub struct NoLayouts;

impl Layouts for NoLayouts {
    fn prepare(
        &self,
        _: Option<&[u8]>,
        _: Option<&[u8]>,
        _: Option<&[u8]>,
    ) -> Result<KBox<dyn NewLayout>> {
        Err(ENOSPC)
    }

    fn directory_default(&self, _: &[u8]) -> Result<Option<KVVec<u8>>> {
        Err(EOPNOTSUPP)
    }

    fn plan_destroy(&self, _: &mut Plan, _: &[u8]) -> Result<KBox<dyn Updates>> {
        Err(EOPNOTSUPP)
    }

    fn plan_set_owner(&self, _: &mut Plan, _: &[u8], _: &Owner) -> Result<KBox<dyn Updates>> {
        Err(EOPNOTSUPP)
    }
}
