// SPDX-License-Identifier: GPL-2.0

//! The name space over a store in memory. Objects on OSTs are numbers in a set here.

mod changes;
mod model;
mod names;

use crate::creds::{Creds, NO_GROUP};
use crate::{AttrChange, Layouts, Mdd, NewLayout, NewObject, Owner, Rename, Runner, Updates, Wish};
use kapi::prelude::*;
use osd::{Attr, Device, Fid, ObjectRef, Plan, Transaction};
use osd_memory::MemoryDevice;
use std::collections::BTreeSet;
use std::sync::{Arc as StdArc, Mutex as StdMutex};
use wire::disk::linkea::{LinkEa, XATTR_NAME_LINK};

/// What the files of a test have on OSTs.
#[derive(Default)]
struct Osts {
    next: u64,
    live: BTreeSet<u64>,
    reserved: u64,
    owners: Vec<(u64, Owner)>,
    /// What objects got before their files had them.
    sizes: Vec<u64>,
    /// Every wish, with the defaults above it.
    wishes: Vec<[Option<Vec<u8>>; 3]>,
    /// What is planned next fails like this.
    fail: Option<Error>,
}

#[derive(Clone, Default)]
struct Fake(StdArc<StdMutex<Osts>>);

impl Fake {
    fn osts(&self) -> std::sync::MutexGuard<'_, Osts> {
        self.0.lock().unwrap()
    }

    fn failure(&self) -> Result {
        self.osts().fail.map_or(Ok(()), Err)
    }
}

struct FakeLayout(Fake, Option<u64>);

impl Drop for FakeLayout {
    fn drop(&mut self) {
        if self.1.is_some() {
            self.0.osts().reserved -= 1;
        }
    }
}

impl NewLayout for FakeLayout {
    fn ea_len(&self) -> usize {
        8
    }

    fn set_size(&mut self, size: u64) -> Result {
        self.0.failure()?;
        self.0.osts().sizes.push(size);
        Ok(())
    }

    fn plan(&self, _: &mut Plan) -> Result {
        Ok(())
    }

    fn commit(&mut self, _: &mut Transaction, _: &Fid) -> Result<KVVec<u8>> {
        let n = self.1.take().expect("only once");
        let mut osts = self.0.osts();
        osts.reserved -= 1;
        assert!(osts.live.insert(n));
        let mut ea = KVVec::new();
        ea.extend_from_slice(&n.to_le_bytes(), GFP_KERNEL)?;
        Ok(ea)
    }
}

struct FakeUpdates(Fake, u64, Option<Owner>);

impl Updates for FakeUpdates {
    fn commit(&mut self, _: &mut Transaction) -> Result {
        let mut osts = self.0.osts();
        match self.2 {
            Some(owner) => osts.owners.push((self.1, owner)),
            None => assert!(osts.live.remove(&self.1), "object {} ends twice", self.1),
        }
        Ok(())
    }
}

fn number(ea: &[u8]) -> u64 {
    u64::from_le_bytes(ea.try_into().unwrap())
}

impl Layouts for Fake {
    fn prepare(
        &self,
        user: Option<&[u8]>,
        parent: Option<&[u8]>,
        root: Option<&[u8]>,
    ) -> Result<KBox<dyn NewLayout>> {
        self.failure()?;
        let mut osts = self.osts();
        let wish = [user, parent, root].map(|w| w.map(<[u8]>::to_vec));
        osts.wishes.push(wish);
        osts.next += 1;
        osts.reserved += 1;
        let layout = FakeLayout(self.clone(), Some(osts.next));
        Ok(KBox::new(layout, GFP_KERNEL)?)
    }

    fn directory_default(&self, user: &[u8]) -> Result<Option<KVVec<u8>>> {
        match user {
            b"bad" => Err(EINVAL),
            b"" => Ok(None),
            _ => {
                let mut v = KVVec::new();
                v.extend_from_slice(user, GFP_KERNEL)?;
                Ok(Some(v))
            }
        }
    }

    fn plan_destroy(&self, _: &mut Plan, ea: &[u8]) -> Result<KBox<dyn Updates>> {
        self.failure()?;
        let u = FakeUpdates(self.clone(), number(ea), None);
        Ok(KBox::new(u, GFP_KERNEL)?)
    }

    fn plan_set_owner(&self, _: &mut Plan, ea: &[u8], o: &Owner) -> Result<KBox<dyn Updates>> {
        self.failure()?;
        let u = FakeUpdates(self.clone(), number(ea), Some(*o));
        Ok(KBox::new(u, GFP_KERNEL)?)
    }
}

/// Runs transactions with growing numbers.
#[derive(Default)]
struct Numbered {
    last: u64,
    before: [u64; 4],
    fail: Option<Error>,
}

impl Runner for Numbered {
    fn before(&mut self, versions: [u64; 4]) {
        self.before = versions;
    }

    fn run(&mut self, plan: Plan, body: &mut dyn FnMut(&mut Transaction, u64) -> Result) -> Result {
        if let Some(e) = self.fail {
            return Err(e);
        }
        let mut tx = plan.start()?;
        self.last += 1;
        let done = body(&mut tx, self.last);
        done.expect("what was checked does not fail");
        tx.stop()
    }
}

const ROOT: Creds = Creds::SERVER;

fn user(id: u32) -> Creds {
    Creds::new(id, id, [NO_GROUP; 2], u32::MAX)
}

struct World {
    dev: Arc<MemoryDevice>,
    fake: Fake,
    mdd: Arc<Mdd>,
    run: Numbered,
    last: u32,
    time: i64,
}

impl World {
    fn new() -> World {
        let dev = MemoryDevice::new();
        let fake = Fake::default();
        let mdd = World::open(&dev, &fake);
        World {
            dev,
            fake,
            mdd,
            run: Numbered::default(),
            last: 0,
            time: 1000,
        }
    }

    fn open(dev: &Arc<MemoryDevice>, fake: &Fake) -> Arc<Mdd> {
        let osd: Arc<dyn Device> = dev.clone();
        let layouts: Arc<dyn Layouts> = Arc::new(fake.clone(), GFP_KERNEL).unwrap();
        Mdd::open(osd, layouts).unwrap()
    }

    /// As after a crash: what was open is not any more.
    fn restart(&mut self) {
        self.mdd = World::open(&self.dev, &self.fake);
    }

    fn root(&self) -> ObjectRef {
        self.mdd.root().clone()
    }

    fn fid(&mut self) -> Fid {
        self.last += 1;
        Fid::new(0x2_0000_0400, self.last)
    }

    fn new_object(&mut self, mode: u32, umask: u32) -> NewObject<'static> {
        NewObject {
            fid: self.fid(),
            mode,
            umask,
            rdev: 0,
            target: None,
            time: self.time,
            security: None,
        }
    }

    fn create(&mut self, c: &Creds, dir: &ObjectRef, name: &str, mode: u32) -> Result<ObjectRef> {
        let new = NewObject {
            target: (mode & osd::S_IFMT == 0o120000).then_some(c"target"),
            ..self.new_object(mode, 0)
        };
        self.create_as(c, dir, name, &new, Wish::Default)
    }

    fn create_as(
        &mut self,
        c: &Creds,
        dir: &ObjectRef,
        name: &str,
        new: &NewObject<'_>,
        layout: Wish<'_>,
    ) -> Result<ObjectRef> {
        let layout = self.mdd.reserve(c, dir, layout);
        self.mdd
            .create(&mut self.run, c, dir, name.as_bytes(), new, layout)
    }

    fn file(&mut self, dir: &ObjectRef, name: &str) -> ObjectRef {
        self.create(&ROOT, dir, name, 0o100644).unwrap()
    }

    fn dir(&mut self, dir: &ObjectRef, name: &str) -> ObjectRef {
        self.create(&ROOT, dir, name, 0o040755).unwrap()
    }

    fn unlink(&mut self, dir: &ObjectRef, name: &str) -> Result<crate::Removed> {
        let o = self.find(dir, name)?;
        self.mdd
            .unlink(&mut self.run, &ROOT, dir, name.as_bytes(), &o, self.time)
    }

    fn link(&mut self, o: &ObjectRef, dir: &ObjectRef, name: &str) -> Result {
        self.mdd
            .link(&mut self.run, &ROOT, o, dir, name.as_bytes(), self.time)
    }

    fn find(&self, dir: &ObjectRef, name: &str) -> Result<ObjectRef> {
        let fid = self.mdd.lookup(dir, name.as_bytes())?;
        self.mdd.object(&fid)
    }

    fn rename(
        &mut self,
        c: &Creds,
        (from, from_name): (&ObjectRef, &str),
        (to, to_name): (&ObjectRef, &str),
    ) -> Result<Option<crate::Removed>> {
        let o = self.find(from, from_name)?;
        let victim = self.find(to, to_name).ok();
        let what = Rename {
            from,
            from_name: from_name.as_bytes(),
            to,
            to_name: to_name.as_bytes(),
            o: &o,
            victim: victim.as_ref(),
            time: self.time,
        };
        self.mdd.rename(&mut self.run, c, &what)
    }

    fn setattr(&mut self, c: &Creds, o: &ObjectRef, change: AttrChange) -> Result {
        self.mdd.setattr(&mut self.run, c, o, &change)
    }

    fn attr(&self, o: &ObjectRef) -> Attr {
        self.mdd.attr(o).unwrap()
    }

    /// The names that an object knows it has.
    fn links(&self, o: &ObjectRef) -> Vec<(Fid, String)> {
        let ea = o.xattr_vec(XATTR_NAME_LINK).unwrap();
        let links = LinkEa::parse(&ea).unwrap();
        let mut all: Vec<_> = links
            .links()
            .map(|l| (l.parent, String::from_utf8(l.name.to_vec()).unwrap()))
            .collect();
        all.sort();
        all
    }

    /// The FIDs of what waits for its end.
    fn pending(&self) -> BTreeSet<Fid> {
        let mut all = BTreeSet::new();
        self.mdd
            .pending
            .readdir(0, &mut |e| {
                if !matches!(e.name, b"." | b"..") {
                    all.insert(e.fid);
                }
                Ok(osd::Walk::Next)
            })
            .unwrap();
        all
    }
}
