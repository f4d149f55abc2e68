// SPDX-License-Identifier: GPL-2.0

//! What the tests share.
#![allow(dead_code)]

use kapi::prelude::*;
use lustre_client::attr::{Attr, S_IFDIR, S_IFREG};
use lustre_client::cred::Cred;
use lustre_client::mdc::{Looked, NewNode, OpenWish, Opened};
use lustre_client::Result;
use mdt::Mdt;
use ofd::Ofd;
use osd::Device;
use osd_memory::{Config, MemoryDevice};
use stack::{ServerNode, TestClient};
use wire::fid::Fid;
use wire::mdt::OpenFlags;

/// A node with an MDT, and a client.
pub struct World {
    pub node: ServerNode,
    pub mdt: Arc<Mdt>,
    pub c: TestClient,
    pub cred: Cred,
}

impl World {
    pub fn new() -> World {
        let node = ServerNode::start();
        let mdt = node.mdt(osd_memory::device());
        let c = TestClient::connect(&node);
        World {
            node,
            mdt,
            c,
            cred: Cred::root(),
        }
    }

    pub fn stop(self) {
        self.c.stop();
        self.mdt.stop();
        self.node.stop();
    }

    pub fn make(&self, parent: Fid, name: &str, mode: u32, target: &str) -> Result<Attr> {
        let n = NewNode {
            parent,
            name: name.as_bytes(),
            mode,
            rdev: 0,
            umask: 0o022,
            target: target.as_bytes(),
            group: None,
        };
        self.c.mdc.create(&n, &self.cred)
    }

    pub fn mkdir(&self, parent: Fid, name: &str) -> Result<Attr> {
        self.make(parent, name, S_IFDIR | 0o777, "")
    }

    pub fn open(&self, parent: Fid, name: &str, flags: OpenFlags) -> Result<Opened> {
        let fid = self.c.mdc.new_fid().unwrap();
        let w = OpenWish {
            parent,
            name: name.as_bytes(),
            fid,
            flags,
            mode: S_IFREG | 0o666,
            umask: 0o022,
            layout: &[],
            group: None,
        };
        let mut o = self.c.mdc.open(&w, &self.cred)?;
        // Whoever keeps it keeps the lock.
        o.found.lock = None;
        Ok(o)
    }

    pub fn create(&self, parent: Fid, name: &str) -> Attr {
        let o = self
            .open(parent, name, OpenFlags::FMODE_READ | OpenFlags::CREAT)
            .unwrap();
        assert!(o.created);
        self.c.mdc.close(o.handle.unwrap(), None, &o.found.attr.fid);
        o.found.attr
    }

    pub fn look(&self, parent: Fid, name: &str) -> Option<Attr> {
        match self
            .c
            .mdc
            .look_up((parent, None), name.as_bytes(), Fid::ZERO, &self.cred)
        {
            Ok(Looked::Found(f)) => Some(f.attr),
            Ok(Looked::Absent) => None,
            Err(e) => panic!("{name}: {e:?}"),
        }
    }

    pub fn unlink(&self, parent: Fid, name: &str, dir: bool) -> Result<Option<Attr>> {
        let child = Fid::ZERO;
        self.c
            .mdc
            .unlink(parent, name.as_bytes(), child, dir, None, &self.cred)
    }

    pub fn names(&self, dir: Fid) -> Vec<String> {
        let (mut all, mut start) = (Vec::new(), 0);
        loop {
            let (some, next) = self.c.mdc.read_dir(dir, start, &self.cred).unwrap();
            all.extend(some);
            match next {
                Some(n) => start = n,
                None => break,
            }
        }
        let mut names: Vec<_> = all
            .iter()
            .map(|e| String::from_utf8(e.name.clone()).unwrap())
            .collect();
        names.sort();
        names
    }
}

/// An MDT, and a node with two OSTs.
pub struct Striped {
    pub w: World,
    oss: ServerNode,
    osts: Vec<Arc<Ofd>>,
    stores: Vec<Arc<MemoryDevice>>,
}

impl Striped {
    pub fn new() -> Striped {
        let mut s = Striped::without_osts();
        s.add_osts();
        s
    }

    /// The MDT does not know the OSTs yet.
    pub fn without_osts() -> Striped {
        let w = World::new();
        let oss = ServerNode::start();
        Striped {
            w,
            oss,
            osts: Vec::new(),
            stores: Vec::new(),
        }
    }

    pub fn add_osts(&mut self) {
        let (w, oss) = (&self.w, &self.oss);
        for index in 0..2 {
            let store = MemoryDevice::with(Config {
                ost: true,
                ..Config::default()
            });
            self.osts
                .push(oss.ost(store.clone(), index, &w.node.fsname, &w.mdt));
            self.stores.push(store);
            let mut nids = KVec::new();
            nids.push(oss.nid, GFP_KERNEL).unwrap();
            w.mdt.add_ost(index.into(), nids).unwrap();
        }
        // Until then files would have to wait for their objects.
        for o in &w.mdt.lod().osts().unwrap() {
            for _ in 0..10_000 {
                if o.view().ready > 0 {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    pub fn has_object(&self, ost: u32, fid: &Fid) -> bool {
        self.stores[ost as usize].object(fid).unwrap().exists()
    }

    /// Bytes of an object on an OST.
    pub fn object_size(&self, ost: u32, fid: &Fid) -> u64 {
        let o = self.stores[ost as usize].object(fid).unwrap();
        o.attr().unwrap().size
    }

    pub fn stop(self) {
        let oss = self.oss;
        self.w.c.stop();
        self.w.mdt.stop();
        for o in &self.osts {
            o.stop(&oss.server);
        }
        oss.stop();
        self.w.node.stop();
    }
}
