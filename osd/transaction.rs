// SPDX-License-Identifier: GPL-2.0

//! Transactions: planned, started, stopped. What a type does not offer cannot be done in its phase.

use crate::{Create, Fid, ObjectRef, SetAttr};
use core::ffi::CStr;
use kapi::prelude::*;

/// Called with `Ok` when a transaction is on disk, with an error if it never will be. It runs in
/// the journal's thread: it must not wait for storage or network, nor free much.
pub type Callback = KBox<dyn Once<Result>>;

/// What an implementation does for a transaction; see [`Plan`] and [`Transaction`] for the calls.
/// Those named `plan_*` come before `start`, the others between `start` and `stop`. A transaction
/// belongs to the thread that started it.
#[allow(missing_docs)]
pub trait Journal {
    fn plan_create(
        &mut self,
        o: &ObjectRef,
        what: &Create<'_>,
        near: Option<(&ObjectRef, &[u8])>,
    ) -> Result;
    fn plan_destroy(&mut self, o: &ObjectRef) -> Result;
    fn plan_insert(&mut self, dir: &ObjectRef, o: &ObjectRef) -> Result;
    fn plan_insert_remote(&mut self, dir: &ObjectRef) -> Result;
    fn plan_remove(&mut self, dir: &ObjectRef, name: &[u8]) -> Result;
    fn plan_attr(&mut self, o: &ObjectRef, set: &SetAttr) -> Result;
    fn plan_xattr(&mut self, o: &ObjectRef, len: usize) -> Result;
    fn plan_write(&mut self, o: &ObjectRef, off: u64, len: usize) -> Result;
    fn plan_append(&mut self, o: &ObjectRef, len: usize) -> Result;
    fn plan_record(&mut self, o: &ObjectRef) -> Result;
    fn start(&mut self) -> Result;

    fn create(
        &mut self,
        o: &ObjectRef,
        what: &Create<'_>,
        near: Option<(&ObjectRef, &[u8])>,
    ) -> Result;
    fn destroy(&mut self, o: &ObjectRef) -> Result;
    fn insert(&mut self, dir: &ObjectRef, name: &[u8], o: &ObjectRef) -> Result;
    fn insert_remote(&mut self, dir: &ObjectRef, name: &[u8], fid: &Fid, mode: u32) -> Result;
    fn remove(&mut self, dir: &ObjectRef, name: &[u8]) -> Result;
    fn ref_add(&mut self, o: &ObjectRef) -> Result;
    fn ref_del(&mut self, o: &ObjectRef) -> Result;
    fn set_attr(&mut self, o: &ObjectRef, set: &SetAttr) -> Result;
    fn set_xattr(&mut self, o: &ObjectRef, name: &CStr, value: Option<&[u8]>) -> Result;
    fn write(&mut self, o: &ObjectRef, off: u64, data: &[u8]) -> Result;
    fn index_make(&mut self, o: &ObjectRef, key: usize, rec: usize) -> Result;
    fn index_insert(&mut self, o: &ObjectRef, key: &[u8], rec: &[u8]) -> Result;
    fn index_update(&mut self, o: &ObjectRef, key: &[u8], rec: &[u8]) -> Result;
    fn index_delete(&mut self, o: &ObjectRef, key: &[u8]) -> Result;
    fn on_commit(&mut self, call: Callback) -> Result;
    fn set_sync(&mut self);
    fn stop(&mut self) -> Result;
}

/// What a transaction will do. Objects that the transaction itself makes are planned like others.
/// Planning may read from disk; it changes nothing.
pub struct Plan(KBox<dyn Journal>);

impl Plan {
    /// For implementations: the face of a new journal handle.
    pub fn new(journal: KBox<dyn Journal>) -> Plan {
        Plan(journal)
    }

    /// An object will be made, and get attributes, but for ids. `near` is the directory and the
    /// name that it will get, if known: that saves moving it there when it is inserted.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: there is no place for objects with such a FID.
    pub fn create(
        &mut self,
        o: &ObjectRef,
        what: &Create<'_>,
        near: Option<(&ObjectRef, &[u8])>,
    ) -> Result {
        self.0.plan_create(o, what, near)
    }

    /// An object will be destroyed.
    pub fn destroy(&mut self, o: &ObjectRef) -> Result {
        self.0.plan_destroy(o)
    }

    /// An object will get a name, and links and times will change on it and on the directory.
    pub fn insert(&mut self, dir: &ObjectRef, o: &ObjectRef) -> Result {
        self.0.plan_insert(dir, o)
    }

    /// An object of another target will get a name, and links and times will change on the directory.
    pub fn insert_remote(&mut self, dir: &ObjectRef) -> Result {
        self.0.plan_insert_remote(dir)
    }

    /// A name will go, and links and times will change on what it names and on the directory.
    ///
    /// # Errors
    /// `ENOENT`: there is no such name.
    pub fn remove(&mut self, dir: &ObjectRef, name: &[u8]) -> Result {
        self.0.plan_remove(dir, name)
    }

    /// Attributes will change, and links. Ids other than 0 have to be those of `set`.
    pub fn attr(&mut self, o: &ObjectRef, set: &SetAttr) -> Result {
        self.0.plan_attr(o, set)
    }

    /// An xattr will be set to a value of `len` bytes, or removed.
    pub fn xattr(&mut self, o: &ObjectRef, len: usize) -> Result {
        self.0.plan_xattr(o, len)
    }

    /// Small content will be written.
    pub fn write(&mut self, o: &ObjectRef, off: u64, len: usize) -> Result {
        self.0.plan_write(o, off, len)
    }

    /// Small content will be written in one piece where the file ends by then: others may make it
    /// longer meanwhile.
    pub fn append(&mut self, o: &ObjectRef, len: usize) -> Result {
        self.0.plan_append(o, len)
    }

    /// A record of an index will be inserted, changed or deleted, or an index made.
    pub fn record(&mut self, o: &ObjectRef) -> Result {
        self.0.plan_record(o)
    }

    /// Takes the locks and starts.
    ///
    /// # Errors
    /// `ENOSPC`: the journal cannot take so much. `EROFS`, `EIO`, `EDEADLK`: the thread has a
    /// transaction already.
    pub fn start(mut self) -> Result<Transaction> {
        self.0.start()?;
        Ok(Transaction(self.0))
    }
}

/// A transaction that runs. What fails in it leaves the rest in place: there is no way back, so
/// whoever uses it checks before. Dropped, it stops.
pub struct Transaction(KBox<dyn Journal>);

impl Transaction {
    /// Makes an object. OST objects, llogs, counters and files with fixed numbers have a place of
    /// their own, and those of the latter that have a name in the root directory get it here; to
    /// insert it once more does no harm. Others have to be inserted in the same transaction, or
    /// they are gone when it stops.
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC`, `EDQUOT`.
    pub fn create(
        &mut self,
        o: &ObjectRef,
        what: &Create<'_>,
        near: Option<(&ObjectRef, &[u8])>,
    ) -> Result {
        self.0.create(o, what, near)
    }

    /// Ends an object, which is freed with the last use. Its names are the caller's to remove.
    ///
    /// # Errors
    /// `ENOTEMPTY`: a directory with names, which may show only when the transaction stops.
    pub fn destroy(&mut self, o: &ObjectRef) -> Result {
        self.0.destroy(o)
    }

    /// Gives an object a name. The link counts stay; `.` and `..` of a directory come with the
    /// insertion of its own name.
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC`.
    pub fn insert(&mut self, dir: &ObjectRef, name: &[u8], o: &ObjectRef) -> Result {
        self.0.insert(dir, name, o)
    }

    /// Gives an object of another target a name. Of `mode`, the type counts; [`Transaction::remove`]
    /// takes the name away, and what stands for the object here. It is no object of this store.
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC`. `EINVAL`: no type.
    pub fn insert_remote(&mut self, dir: &ObjectRef, name: &[u8], fid: &Fid, mode: u32) -> Result {
        self.0.insert_remote(dir, name, fid, mode)
    }

    /// Takes a name away; the link counts stay.
    ///
    /// # Errors
    /// `ENOENT`. `EAGAIN`: it names another object than when it was planned for.
    pub fn remove(&mut self, dir: &ObjectRef, name: &[u8]) -> Result {
        self.0.remove(dir, name)
    }

    /// Counts one link more.
    ///
    /// # Errors
    /// `EMLINK`.
    pub fn ref_add(&mut self, o: &ObjectRef) -> Result {
        self.0.ref_add(o)
    }

    /// Counts one link less.
    pub fn ref_del(&mut self, o: &ObjectRef) -> Result {
        self.0.ref_del(o)
    }

    /// Sets attributes.
    ///
    /// # Errors
    /// `EDQUOT`, `EINVAL`: no such id.
    pub fn set_attr(&mut self, o: &ObjectRef, set: &SetAttr) -> Result {
        self.0.set_attr(o, set)
    }

    /// Sets an xattr.
    ///
    /// # Errors
    /// `ENOSPC`, `E2BIG`, `EDQUOT`.
    pub fn set_xattr(&mut self, o: &ObjectRef, name: &CStr, value: &[u8]) -> Result {
        self.0.set_xattr(o, name, Some(value))
    }

    /// Removes an xattr.
    ///
    /// # Errors
    /// `ENODATA`.
    pub fn del_xattr(&mut self, o: &ObjectRef, name: &CStr) -> Result {
        self.0.set_xattr(o, name, None)
    }

    /// Writes small content; the file grows as needed.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG`.
    pub fn write(&mut self, o: &ObjectRef, off: u64, data: &[u8]) -> Result {
        self.0.write(o, off, data)
    }

    /// Makes an index of a new, empty file: keys and records have so many bytes.
    pub fn index_make(&mut self, o: &ObjectRef, key: usize, rec: usize) -> Result {
        self.0.index_make(o, key, rec)
    }

    /// Inserts a record.
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC`.
    pub fn index_insert(&mut self, o: &ObjectRef, key: &[u8], rec: &[u8]) -> Result {
        self.0.index_insert(o, key, rec)
    }

    /// Replaces a record.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn index_update(&mut self, o: &ObjectRef, key: &[u8], rec: &[u8]) -> Result {
        self.0.index_update(o, key, rec)
    }

    /// Deletes a record.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn index_delete(&mut self, o: &ObjectRef, key: &[u8]) -> Result {
        self.0.index_delete(o, key)
    }

    /// Calls `call` when the transaction is on disk.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn on_commit(&mut self, call: Callback) -> Result {
        self.0.on_commit(call)
    }

    /// [`stop`](Transaction::stop) waits until the transaction is on disk and its callbacks have
    /// been called.
    pub fn set_sync(&mut self) {
        self.0.set_sync();
    }

    /// Ends the transaction and gives the locks back.
    ///
    /// # Errors
    /// `EIO`, `EROFS`: nothing of the transaction may be relied on; callbacks hear of it, too.
    pub fn stop(mut self) -> Result {
        self.0.stop()
    }
}
