// SPDX-License-Identifier: GPL-2.0

//! Transactions, as the layers above have them.

use crate::face::{InUse, StoreRef};
use crate::object::Object;
use crate::txn::{Plan, Running};
use crate::Fid;
use core::ffi::CStr;
use kapi::prelude::*;
use osd::{Callback, Create, Journal, ObjectRef, SetAttr};

enum Phase {
    Plan(Plan),
    Run(Running),
    Done,
}

/// A transaction, from its plan to its end.
pub(crate) struct Txn {
    phase: Phase,
    // Behind what holds inodes.
    store: StoreRef,
}

impl Txn {
    /// A plan for nothing.
    pub(crate) fn new(store: StoreRef) -> Txn {
        Txn {
            phase: Phase::Plan(Plan::new(store.device())),
            store,
        }
    }

    fn plan(&mut self) -> Result<(&StoreRef, &mut Plan)> {
        match &mut self.phase {
            Phase::Plan(p) => Ok((&self.store, p)),
            _ => Err(EINVAL),
        }
    }

    fn run(&mut self) -> Result<(&StoreRef, &mut Running)> {
        match &mut self.phase {
            Phase::Run(r) => Ok((&self.store, r)),
            _ => Err(EINVAL),
        }
    }
}

/// What the store knows of an object of its own.
fn own<'a>(store: &StoreRef, o: &'a ObjectRef) -> Result<&'a Object> {
    let o = o.as_any().downcast_ref::<InUse>().ok_or(EXDEV)?;
    o.of(store)
}

fn own_near<'a>(
    store: &StoreRef,
    near: Option<(&'a ObjectRef, &'a [u8])>,
) -> Result<Option<(&'a Object, &'a [u8])>> {
    match near {
        Some((dir, name)) => Ok(Some((own(store, dir)?, name))),
        None => Ok(None),
    }
}

impl Journal for Txn {
    fn plan_create(
        &mut self,
        o: &ObjectRef,
        what: &Create<'_>,
        near: Option<(&ObjectRef, &[u8])>,
    ) -> Result {
        let (s, p) = self.plan()?;
        s.plan_create(p, own(s, o)?, what, own_near(s, near)?)
    }

    fn plan_destroy(&mut self, o: &ObjectRef) -> Result {
        let (s, p) = self.plan()?;
        s.plan_destroy(p, own(s, o)?)
    }

    fn plan_insert(&mut self, dir: &ObjectRef, o: &ObjectRef) -> Result {
        let (s, p) = self.plan()?;
        s.plan_insert(p, own(s, dir)?, own(s, o)?)
    }

    fn plan_insert_remote(&mut self, dir: &ObjectRef) -> Result {
        let (s, p) = self.plan()?;
        s.plan_insert_remote(p, own(s, dir)?)
    }

    fn plan_remove(&mut self, dir: &ObjectRef, name: &[u8]) -> Result {
        let (s, p) = self.plan()?;
        s.plan_remove(p, own(s, dir)?, name)
    }

    fn plan_attr(&mut self, o: &ObjectRef, set: &SetAttr) -> Result {
        let (s, p) = self.plan()?;
        s.plan_attr(p, own(s, o)?, set)
    }

    fn plan_xattr(&mut self, o: &ObjectRef, len: usize) -> Result {
        let (s, p) = self.plan()?;
        s.plan_xattr(p, own(s, o)?, len)
    }

    fn plan_write(&mut self, o: &ObjectRef, off: u64, len: usize) -> Result {
        let (s, p) = self.plan()?;
        s.plan_write(p, own(s, o)?, off, len)
    }

    fn plan_append(&mut self, o: &ObjectRef, len: usize) -> Result {
        let (s, p) = self.plan()?;
        s.plan_append(p, own(s, o)?, len)
    }

    fn plan_record(&mut self, o: &ObjectRef) -> Result {
        let (s, p) = self.plan()?;
        s.plan_record(p, own(s, o)?)
    }

    fn start(&mut self) -> Result {
        match core::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Plan(p) => {
                self.phase = Phase::Run(p.start()?);
                Ok(())
            }
            _ => Err(EINVAL),
        }
    }

    fn create(
        &mut self,
        o: &ObjectRef,
        what: &Create<'_>,
        near: Option<(&ObjectRef, &[u8])>,
    ) -> Result {
        let (s, r) = self.run()?;
        s.create(r, own(s, o)?, what, own_near(s, near)?)
    }

    fn destroy(&mut self, o: &ObjectRef) -> Result {
        let (s, r) = self.run()?;
        s.destroy(r, own(s, o)?)
    }

    fn insert(&mut self, dir: &ObjectRef, name: &[u8], o: &ObjectRef) -> Result {
        let (s, r) = self.run()?;
        s.insert(r, own(s, dir)?, name, own(s, o)?)
    }

    fn insert_remote(&mut self, dir: &ObjectRef, name: &[u8], fid: &Fid, mode: u32) -> Result {
        let (s, r) = self.run()?;
        s.insert_remote(r, own(s, dir)?, name, fid, mode)
    }

    fn remove(&mut self, dir: &ObjectRef, name: &[u8]) -> Result {
        let (s, r) = self.run()?;
        s.remove(r, own(s, dir)?, name)
    }

    fn ref_add(&mut self, o: &ObjectRef) -> Result {
        let (s, r) = self.run()?;
        s.ref_add(r, own(s, o)?)
    }

    fn ref_del(&mut self, o: &ObjectRef) -> Result {
        let (s, r) = self.run()?;
        s.ref_del(r, own(s, o)?)
    }

    fn set_attr(&mut self, o: &ObjectRef, set: &SetAttr) -> Result {
        let (s, r) = self.run()?;
        s.set_attr(r, own(s, o)?, set)
    }

    fn set_xattr(&mut self, o: &ObjectRef, name: &CStr, value: Option<&[u8]>) -> Result {
        let (s, r) = self.run()?;
        s.set_xattr(r, own(s, o)?, name, value)
    }

    fn write(&mut self, o: &ObjectRef, off: u64, data: &[u8]) -> Result {
        let (s, r) = self.run()?;
        s.write(r, own(s, o)?, off, data)
    }

    fn index_make(&mut self, o: &ObjectRef, key: usize, rec: usize) -> Result {
        let (s, r) = self.run()?;
        s.index_make(r, own(s, o)?, key, rec)
    }

    fn index_insert(&mut self, o: &ObjectRef, key: &[u8], rec: &[u8]) -> Result {
        let (s, r) = self.run()?;
        s.index_insert(r, own(s, o)?, key, rec)
    }

    fn index_update(&mut self, o: &ObjectRef, key: &[u8], rec: &[u8]) -> Result {
        let (s, r) = self.run()?;
        s.index_update(r, own(s, o)?, key, rec)
    }

    fn index_delete(&mut self, o: &ObjectRef, key: &[u8]) -> Result {
        let (s, r) = self.run()?;
        s.index_delete(r, own(s, o)?, key)
    }

    fn on_commit(&mut self, call: Callback) -> Result {
        self.run()?.1.on_commit(call)
    }

    fn set_sync(&mut self) {
        if let Ok((_, r)) = self.run() {
            r.set_sync();
        }
    }

    fn stop(&mut self) -> Result {
        match core::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Run(mut r) => self.store.take_back(&mut r).and(r.stop()),
            _ => Err(EINVAL),
        }
    }
}

impl Drop for Txn {
    fn drop(&mut self) {
        if let Phase::Run(_) = self.phase {
            if let Err(e) = self.stop() {
                pr_err!("osd-ldiskfs: a transaction ended with {:?}\n", e);
            }
        }
    }
}
