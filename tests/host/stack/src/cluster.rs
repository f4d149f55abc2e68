// SPDX-License-Identifier: GPL-2.0

//! A whole file system: an MDT, two OSTs, and clients that have it mounted.

use crate::{Mounted, ServerNode};
use kapi::prelude::*;
use lustre_client::cred::Cred;
use lustre_client::fs::{Make, OpenHow};
use lustre_client::mount::MountOptions;
use mdt::Mdt;
use ofd::Ofd;
use wire::fid::Fid;
use wire::lov::{LovPattern, PlainSpec};

/// To read and write.
pub const RW: OpenHow = OpenHow {
    read: true,
    write: true,
    append: false,
    excl: false,
    trunc: false,
    sync: false,
    exec: false,
};

/// Bytes of a stripe of files that [`Cluster::file`] makes.
pub const STRIPE: u32 = 65536;

/// A file system with its clients.
pub struct Cluster {
    mds: ServerNode,
    mdt: Arc<Mdt>,
    oss: ServerNode,
    osts: Vec<Arc<Ofd>>,
    /// Those who have it mounted.
    pub clients: Vec<Mounted>,
    /// The directory that is mounted.
    pub root: Fid,
}

impl Cluster {
    /// Starts one with so many clients.
    pub fn new(clients: usize, options: &MountOptions) -> Cluster {
        let (mds, oss) = (ServerNode::start(), ServerNode::start());
        let at = [(0, oss.nid), (1, oss.nid)];
        let mdt = mds.mdt(osd_memory::device());
        let mut osts = Vec::new();
        for (index, nid) in &at {
            let store = osd_memory::MemoryDevice::with(osd_memory::Config {
                ost: true,
                ..osd_memory::Config::default()
            });
            osts.push(oss.ost(store, *index as u16, &mds.fsname, &mdt));
            let mut nids = KVec::new();
            nids.push(*nid, GFP_KERNEL).unwrap();
            mdt.add_ost(*index, nids).unwrap();
        }
        let clients: Vec<_> = (0..clients)
            .map(|_| Mounted::new(&mds, &at, options.clone()))
            .collect();
        let root = clients[0].fs.root();
        Cluster {
            mds,
            mdt,
            oss,
            osts,
            clients,
            root,
        }
    }

    /// The first two clients.
    pub fn two(&self) -> (&Mounted, &Mounted) {
        (&self.clients[0], &self.clients[1])
    }

    /// A file with so many stripes, made by the first client.
    pub fn file(&self, name: &str, stripes: u16) -> Fid {
        let c = &self.clients[0];
        let make = Make {
            mode: 0o100644,
            rdev: 0,
            umask: 0o022,
            target: &[],
        };
        let made = c.fs.make(self.root, name.as_bytes(), &make, &Cred::root());
        let fid = made.unwrap().attr.fid;
        c.set_stripes(fid, stripes).unwrap();
        fid
    }

    /// Ends all of it.
    pub fn stop(self) {
        for c in self.clients {
            c.stop();
        }
        self.mdt.stop();
        self.mds.stop();
        for o in &self.osts {
            o.stop(&self.oss.server);
        }
        self.oss.stop();
    }
}

impl Mounted {
    /// Gives a file without objects a layout of so many stripes.
    ///
    /// # Errors
    /// Those of the MDT.
    pub fn set_stripes(&self, fid: Fid, stripes: u16) -> lustre_client::Result<()> {
        let spec = PlainSpec {
            pattern: LovPattern::RAID0,
            fid: Fid::ZERO,
            stripe_size: STRIPE,
            stripe_count: stripes,
            layout_gen: 0xffff,
            pool: None,
        };
        let mut ea = vec![0; spec.size(0)];
        spec.write(&[], &mut ea).unwrap();
        self.fs
            .set_xattr(fid, b"lustre.lov", Some(&ea), 0, &Cred::root())
    }
}
