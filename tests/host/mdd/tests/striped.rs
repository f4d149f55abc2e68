// SPDX-License-Identifier: GPL-2.0

//! Files with objects on OSTs: name space, layouts and connections together.

#[path = "../../osp/tests/ost/mod.rs"]
mod ost;

use kapi::prelude::*;
use lod::{Desc, Lod, LodConfig, Pools};
use mdd::{Alone, AttrChange, Creds, Layouts, Mdd, NewObject, OpenMode, Wish};
use osd::{Device, Fid, ObjectRef};
use osd_memory::MemoryDevice;
use ost::{nid, node, stop, until, Ost};
use ptlrpc::node::Node;
use wire::lov::{
    composite_head_size, CompositeBuilder, LcmeFlags, LovCompMdEntry, LovCompMdV1, LovMd,
    LovOstData, LovPattern, PlainSpec, LOV_ALL_STRIPES, LOV_MAGIC_SPECIFIC, LOV_OFFSET_DEFAULT,
    LUSTRE_EOF, XATTR_NAME_LOV,
};

const ROOT: Creds = Creds::SERVER;

struct World {
    node: Arc<Node>,
    dev: Arc<MemoryDevice>,
    lod: Arc<Lod>,
    mdd: Arc<Mdd>,
    osts: Vec<Ost>,
    last: u32,
}

fn text(s: &str) -> KVVec<u8> {
    let mut v = KVVec::new();
    v.extend_from_slice(s.as_bytes(), GFP_KERNEL).unwrap();
    v
}

impl World {
    fn new(id: u8, osts: u16) -> World {
        let osts: Vec<_> = (0..osts)
            .map(|i| {
                let mut o = Ost::new(nid(id, 10 + i as u8), i);
                o.start();
                o
            })
            .collect();
        let node = node(nid(id, 1));
        let dev = MemoryDevice::new();
        let osd: Arc<dyn Device> = dev.clone();
        let config = LodConfig {
            fsname: text("test"),
            mdt_index: 0,
            osd: osd.clone(),
            desc: Desc::default(),
            max_ea: 4000,
        };
        let lod = Lod::new(&node, config).unwrap();
        // They come in any order.
        for i in (0..osts.len()).rev() {
            let mut peers = KVec::new();
            peers.push(nid(id, 10 + i as u8), GFP_KERNEL).unwrap();
            lod.add_ost(i as u32, peers).unwrap();
        }
        let layouts: Arc<dyn Layouts> = lod.clone();
        let mdd = Mdd::open(osd, layouts).unwrap();
        let w = World {
            node,
            dev,
            lod,
            mdd,
            osts,
            last: 0,
        };
        until("objects", || {
            let all = w.lod.osts().unwrap();
            let ready = all.iter().all(|o| o.view().ready > 0);
            ready
        });
        w
    }

    fn create(&mut self, dir: &ObjectRef, name: &str, layout: Wish<'_>) -> Result<ObjectRef> {
        self.make(dir, name, 0o100644, layout)
    }

    fn make(
        &mut self,
        dir: &ObjectRef,
        name: &str,
        mode: u32,
        layout: Wish<'_>,
    ) -> Result<ObjectRef> {
        self.last += 1;
        let new = NewObject {
            fid: Fid::new(0x2_0000_0400, self.last),
            mode,
            umask: 0,
            rdev: 0,
            target: None,
            time: 1,
            security: None,
        };
        let layout = self.mdd.reserve(&ROOT, dir, layout);
        self.mdd
            .create(&mut Alone, &ROOT, dir, name.as_bytes(), &new, layout)
    }

    fn root(&self) -> ObjectRef {
        self.mdd.root().clone()
    }

    fn unlink(&self, name: &str) -> Result {
        let root = self.root();
        let fid = self.mdd.lookup(&root, name.as_bytes())?;
        let o = self.mdd.object(&fid)?;
        self.mdd
            .unlink(&mut Alone, &ROOT, &root, name.as_bytes(), &o, 2)?;
        Ok(())
    }

    /// The objects of a file, with the OSTs that have them.
    fn objects(&self, o: &ObjectRef) -> Vec<(usize, Fid)> {
        let ea = self.mdd.layout(o).unwrap().unwrap();
        let LovMd::Plain(p) = LovMd::parse(&ea).unwrap() else {
            panic!("not plain");
        };
        assert_eq!(p.size(), ea.len());
        assert_eq!(p.md.lmm_oi.to_fid(), Ok(*o.fid()));
        let count = usize::from(p.md.lmm_stripe_count.get());
        assert_eq!((count, p.pattern()), (p.objects.len(), LovPattern::RAID0));
        let all = p.objects.iter();
        all.map(|o| (o.l_ost_idx.get() as usize, o.fid().unwrap()))
            .collect()
    }

    fn has(&self, (ost, fid): &(usize, Fid)) -> bool {
        self.osts[*ost].disk().objects.contains(fid)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.lod.stop();
        stop(&self.node);
    }
}

/// A user's wish.
fn wish(count: u16, offset: u16, pool: Option<&[u8]>) -> Vec<u8> {
    let spec = PlainSpec {
        pattern: LovPattern::empty(),
        fid: Fid::ZERO,
        stripe_size: 1 << 16,
        stripe_count: count,
        layout_gen: offset,
        pool,
    };
    let mut v = vec![0; spec.size(0)];
    spec.write(&[], &mut v).unwrap();
    v
}

const ANY: u16 = LOV_OFFSET_DEFAULT;

fn sorted(objects: &[(usize, Fid)]) -> Vec<usize> {
    let mut v: Vec<_> = objects.iter().map(|o| o.0).collect();
    v.sort();
    v
}

#[test]
fn files_have_objects() {
    let mut w = World::new(1, 4);
    let root = w.root();
    let f = w.create(&root, "f", Wish::Default).unwrap();
    let one = w.objects(&f);
    assert!(one.len() == 1 && w.has(&one[0]));
    let all = wish(LOV_ALL_STRIPES, ANY, None);
    let g = w.create(&root, "g", Wish::User(&all)).unwrap();
    let four = w.objects(&g);
    assert_eq!(sorted(&four), [0, 1, 2, 3]);
    assert!(four.iter().all(|o| w.has(o)) && !four.contains(&one[0]));
    let h = w.create(&root, "h", Wish::User(&wish(2, 3, None))).unwrap();
    let ea = w.mdd.layout(&h).unwrap().unwrap();
    assert_eq!(LovMd::parse(&ea).unwrap().size(), 32 + 48);
    let indices: Vec<_> = w.objects(&h).iter().map(|o| o.0).collect();
    assert_eq!(indices, [3, 0]);
    // A list of OSTs.
    let mut list = wish(2, 2, Some(b"x"));
    list[..4].copy_from_slice(&LOV_MAGIC_SPECIFIC.to_le_bytes());
    list[32..48].fill(0);
    for i in [2, 1] {
        let o = LovOstData::new(Fid::ZERO, i);
        list.extend(zerocopy::IntoBytes::as_bytes(&o));
    }
    let l = w.create(&root, "l", Wish::User(&list)).unwrap();
    let indices: Vec<_> = w.objects(&l).iter().map(|o| o.0).collect();
    assert_eq!(indices, [2, 1]);
    // The end.
    w.unlink("f").unwrap();
    w.unlink("g").unwrap();
    until("their end", || !one.iter().chain(&four).any(|o| w.has(o)));
    let kept = w.objects(&h);
    assert!(kept.iter().all(|o| w.has(o)));
}

#[test]
fn what_is_not_made() {
    let mut w = World::new(2, 2);
    let root = w.root();
    let mut create = |v: &[u8]| w.create(&root, "f", Wish::User(v)).err();
    assert_eq!(create(b""), Some(EINVAL));
    assert_eq!(create(&[0; 64]), Some(EINVAL));
    assert_eq!(create(&wish(1, 7, None)), Some(EINVAL));
    let mut odd = wish(1, ANY, None);
    odd[24] = 1;
    assert_eq!(create(&odd), Some(EINVAL));
    let mut dom = wish(0, ANY, None);
    dom[4..8].copy_from_slice(&LovPattern::MDT.bits().to_le_bytes());
    assert_eq!(create(&dom), Some(EOPNOTSUPP));
    let composite = composite(Fid::ZERO, &[(0, Fid::ZERO)]);
    assert_eq!(create(&composite), Some(EOPNOTSUPP));
    for i in 0..2 {
        w.lod.set_active(i, false).unwrap();
    }
    assert_eq!(w.create(&root, "f", Wish::Default).err(), Some(ENOSPC));
    assert!(w.mdd.lookup(&root, b"f").is_err());
}

#[test]
fn directories_have_defaults() {
    let mut w = World::new(3, 3);
    let root = w.root();
    let set = |w: &World, o: &ObjectRef, v: &[u8]| {
        w.mdd.set_directory_default(&mut Alone, &ROOT, o, v, 2)
    };
    set(&w, &root, &wish(2, ANY, None)).unwrap();
    let f = w.create(&root, "f", Wish::Default).unwrap();
    assert_eq!(w.objects(&f).len(), 2);
    let d = w.make(&root, "d", 0o040755, Wish::None).unwrap();
    assert_eq!(w.mdd.layout(&d).unwrap(), w.mdd.layout(&root).unwrap());
    let old = w.make(&d, "e", 0o040755, Wish::None).unwrap();
    set(&w, &d, &wish(3, ANY, None)).unwrap();
    let f = w.create(&d, "f", Wish::Default).unwrap();
    assert_eq!(w.objects(&f).len(), 3);
    let f = w.create(&old, "f", Wish::Default).unwrap();
    assert_eq!(w.objects(&f).len(), 2);
    // The size is said, the count is not: the root's counts.
    set(&w, &d, &wish(0, ANY, None)).unwrap();
    let f = w.create(&d, "g", Wish::Default).unwrap();
    assert_eq!(w.objects(&f).len(), 2);
    assert_eq!(set(&w, &d, &composite(Fid::ZERO, &[])), Err(EOPNOTSUPP));
    // Nothing said: none.
    let mut none = wish(0, ANY, None);
    none[24..28].fill(0);
    set(&w, &d, &none).unwrap();
    assert!(w.mdd.layout(&d).unwrap().is_none());
    // An own layout for one without.
    let f = w.create(&d, "h", Wish::None).unwrap();
    let two = wish(1, 2, None);
    let layout = w.mdd.reserve_for(&f, Some(&two));
    assert_eq!(w.mdd.make_layout(&mut Alone, &f, layout), Ok(true));
    assert_eq!(sorted(&w.objects(&f)), [2]);
}

#[test]
fn owners_go_along() {
    let mut w = World::new(4, 2);
    let root = w.root();
    let f = w
        .create(&root, "f", Wish::User(&wish(2, ANY, None)))
        .unwrap();
    let change = AttrChange {
        uid: Some(7),
        gid: Some(8),
        ..AttrChange::default()
    };
    w.mdd.setattr(&mut Alone, &ROOT, &f, &change).unwrap();
    for (ost, fid) in w.objects(&f) {
        until("the owner", || w.osts[ost].disk().owners.len() == 1);
        let (object, o) = w.osts[ost].disk().owners[0];
        assert_eq!((object, o.o_uid.get(), o.o_gid.get()), (fid, 7, 8));
    }
}

#[test]
fn open_files_keep_their_objects() {
    let mut w = World::new(5, 2);
    let root = w.root();
    let f = w.create(&root, "f", Wish::Default).unwrap();
    let g = w.create(&root, "g", Wish::Default).unwrap();
    let (of_f, of_g) = (w.objects(&f), w.objects(&g));
    for o in [&f, &g] {
        w.mdd.count_open(o, OpenMode::default()).unwrap();
    }
    w.unlink("f").unwrap();
    w.unlink("g").unwrap();
    w.dev.commit_all();
    std::thread::sleep(Duration::from_millis(50));
    assert!(w.has(&of_f[0]) && w.has(&of_g[0]));
    w.mdd.close(f.fid(), OpenMode::default());
    until("its end", || !w.has(&of_f[0]));
    assert!(w.has(&of_g[0]));
    // What was open when the MDT ended goes at the next start.
    let layouts: Arc<dyn Layouts> = w.lod.clone();
    let osd: Arc<dyn Device> = w.dev.clone();
    w.mdd = Mdd::open(osd, layouts).unwrap();
    assert_eq!(w.mdd.clean_orphans(), Ok(1));
    until("its end", || !w.has(&of_g[0]));
}

#[test]
fn no_osts() {
    let mut w = World::new(10, 0);
    let root = w.root();
    // It waits for one, but not for ever.
    assert_eq!(w.create(&root, "f", Wish::Default).err(), Some(EIO));
    assert!(w.mdd.lookup(&root, b"f").is_err());
    assert!(w.create(&root, "f", Wish::None).is_ok());
}

#[test]
fn osts_go_and_come() {
    let mut w = World::new(6, 2);
    let root = w.root();
    let f = w.create(&root, "f", Wish::User(&wish(1, 1, None))).unwrap();
    let of_f = w.objects(&f);
    w.osts[1].stop();
    let away = |w: &World, i: usize| !w.lod.osts().unwrap()[i].view().active;
    until("that it is away", || away(&w, 1));
    // The other one is used, and the file goes all the same.
    for i in 0..10 {
        let g = w.create(&root, &format!("g{i}"), Wish::User(&wish(2, ANY, None)));
        assert_eq!(sorted(&w.objects(&g.unwrap())), [0]);
    }
    w.unlink("f").unwrap();
    let user = wish(1, 1, None);
    assert_eq!(
        w.create(&root, "x", Wish::User(&user))
            .map(|o| w.objects(&o)[0].0),
        Ok(0)
    );
    w.osts[0].stop();
    until("that it is away", || away(&w, 0));
    let none = w.create(&root, "y", Wish::Default);
    assert_eq!(none.err(), Some(EINPROGRESS));
    assert!(w.has(&of_f[0]));
    for o in &mut w.osts {
        o.start();
    }
    until("its end", || !w.has(&of_f[0]));
    until("both", || !away(&w, 0) && !away(&w, 1));
    let both = wish(2, ANY, None);
    until("objects of both", || {
        let n = format!("z{}", w.last);
        let o = w.create(&root, &n, Wish::User(&both)).unwrap();
        w.objects(&o).len() == 2
    });
}

#[test]
fn pools() {
    let mut w = World::new(7, 3);
    let root = w.root();
    let mut members = KVec::new();
    members.extend_from_slice(&[0, 2], GFP_KERNEL).unwrap();
    let mut pools = Pools::new();
    pools.add(b"fast", members).unwrap();
    w.lod.set_pools(pools);
    let fast = wish(LOV_ALL_STRIPES, ANY, Some(b"fast"));
    let f = w.create(&root, "f", Wish::User(&fast)).unwrap();
    assert_eq!(sorted(&w.objects(&f)), [0, 2]);
    let ea = w.mdd.layout(&f).unwrap().unwrap();
    let LovMd::Plain(p) = LovMd::parse(&ea).unwrap() else {
        panic!();
    };
    assert_eq!(p.pool_name(), Some(&b"fast"[..]));
    let outside = wish(1, 1, Some(b"fast"));
    assert_eq!(
        w.create(&root, "g", Wish::User(&outside)).err(),
        Some(EINVAL)
    );
}

#[test]
fn space_of_all() {
    let w = World::new(8, 3);
    until("all", || {
        w.lod.statfs().is_some_and(|s| s.os_blocks.get() == 3 << 18)
    });
    assert!(w.lod.max_ea() <= 4000);
}

/// A composite layout: one component with these objects, one without.
fn composite(fid: Fid, objects: &[(u32, Fid)]) -> Vec<u8> {
    let mut v = vec![0; composite_head_size(2) + 512];
    let md = LovCompMdV1::default();
    let mut b = CompositeBuilder::new(&mut v, md, 2).unwrap();
    let spec = PlainSpec {
        pattern: LovPattern::RAID0,
        fid,
        stripe_size: 1 << 20,
        stripe_count: objects.len().max(1) as u16,
        layout_gen: 0,
        pool: None,
    };
    let objects: Vec<_> = objects.iter().map(|o| LovOstData::new(o.1, o.0)).collect();
    let mut entry = LovCompMdEntry::default();
    entry.lcme_id.set(1);
    entry.lcme_flags.set(LcmeFlags::INIT.bits());
    entry.lcme_end.set(1 << 20);
    b.push(entry, |to| spec.write(&objects, to)).unwrap();
    let mut entry = LovCompMdEntry::default();
    entry.lcme_id.set(2);
    entry.lcme_start.set(1 << 20);
    entry.lcme_end.set(LUSTRE_EOF);
    let none = [LovOstData::dummy()];
    b.push(entry, |to| spec.write(&none, to)).unwrap();
    let n = b.finish().unwrap();
    v.truncate(n);
    v
}

#[test]
fn composite_files_can_be_removed() {
    let mut w = World::new(9, 2);
    let root = w.root();
    let f = w
        .create(&root, "f", Wish::User(&wish(2, ANY, None)))
        .unwrap();
    let objects = w.objects(&f);
    let list: Vec<_> = objects.iter().map(|o| (o.0 as u32, o.1)).collect();
    let set = |w: &World, f: &ObjectRef, v: &[u8]| {
        let mut plan = w.dev.plan().unwrap();
        plan.xattr(f, v.len()).unwrap();
        let mut tx = plan.start().unwrap();
        tx.set_xattr(f, XATTR_NAME_LOV, v).unwrap();
        tx.stop().unwrap();
    };
    set(&w, &f, &composite(*f.fid(), &list));
    w.unlink("f").unwrap();
    until("their end", || !objects.iter().any(|o| w.has(o)));
    // Also those with objects on OSTs that nobody knows, and with no layout that one could read.
    let f = w.create(&root, "f", Wish::Default).unwrap();
    set(&w, &f, &composite(*f.fid(), &[(77, objects[0].1)]));
    w.unlink("f").unwrap();
    let f = w.create(&root, "f", Wish::Default).unwrap();
    set(&w, &f, b"no layout");
    w.unlink("f").unwrap();
}
