// SPDX-License-Identifier: GPL-2.0

//! A store.

use crate::{Fid, ObjectRef, Plan, Scrub, StatFs, Usage, UsageKind};
use kapi::prelude::*;

/// The store of one target.
pub trait Device: Send + Sync {
    /// The object of `fid`, which may not exist (yet). All who ask for a FID get the same object.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: not an object that can be reached like this. `EINPROGRESS`: it may exist, the
    /// store is repairing what would tell; ask again later. `ENOMEM`, `EIO`.
    fn object(&self, fid: &Fid) -> Result<ObjectRef>;

    /// The object of a `fid` that was not used before and is about to be. A store that is not sure
    /// of what it lacks ([`Device::object`] says `EINPROGRESS` then) takes the caller's word.
    ///
    /// # Errors
    /// As [`Device::object`].
    fn new_object(&self, fid: &Fid) -> Result<ObjectRef> {
        self.object(fid)
    }

    /// A plan for a transaction.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn plan(&self) -> Result<Plan>;

    /// Space and inodes.
    ///
    /// # Errors
    /// `EIO`.
    fn statfs(&self) -> Result<StatFs>;

    /// What `id` uses.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: the store does not count. `EIO`.
    fn usage(&self, kind: UsageKind, id: u32) -> Result<Usage>;

    /// Everything that was done until now is on disk when this returns, and the callbacks have been
    /// called. Not in a transaction.
    ///
    /// # Errors
    /// `EIO`, `EROFS`.
    fn sync(&self) -> Result;

    /// Begins to bring to disk what was done until now, and does not wait.
    fn start_commit(&self);

    /// The UUID of the file system.
    fn uuid(&self) -> [u8; 16];

    /// The state of the repair of what leads from FIDs to objects; none: it needs none, ever.
    fn scrub(&self) -> Option<Scrub> {
        None
    }
}
