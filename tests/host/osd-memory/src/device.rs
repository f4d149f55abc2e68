// SPDX-License-Identifier: GPL-2.0

//! The store.

use crate::commit::{not_in_transaction, Commits};
use crate::journal::Running;
use crate::node::{Content, Dir, Inode, Node, Space};
use crate::object::MemoryObject;
use crate::place::{self, Place};
use crate::Fid;
use kapi::prelude::*;
use osd::{Attr, Checked, Create, Device, ObjectRef, Plan, StatFs, Time, Usage, UsageKind};
use std::collections::BTreeMap;
use std::sync::MutexGuard;
use wire::disk::lma::{LmaCompat, LmaIncompat, LustreMdtAttrs, XATTR_NAME_LMA};
use wire::fid::oid;
use zerocopy::IntoBytes;

/// What a store is like.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Whether it is that of an OST.
    pub ost: bool,
    /// Blocks of 4 KiB.
    pub blocks: u64,
    /// Inodes.
    pub files: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            ost: false,
            blocks: 1 << 20,
            files: 1 << 18,
        }
    }
}

/// What devices, objects and transactions share.
pub(crate) struct Shared {
    config: Config,
    pub(crate) root: std::sync::Arc<Node>,
    pub(crate) commits: std::sync::Arc<Commits>,
    nodes: std::sync::Mutex<BTreeMap<Fid, std::sync::Arc<Node>>>,
    space: std::sync::Mutex<Space>,
}

impl Shared {
    pub(crate) fn node(&self, fid: &Fid) -> std::sync::Arc<Node> {
        let mut nodes = self.nodes.lock().unwrap_or_else(|e| e.into_inner());
        let node = nodes.entry(*fid).or_insert_with(|| Node::new(*fid, None));
        node.clone()
    }

    pub(crate) fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn place(&self, fid: &Fid) -> Place {
        place::place(fid, self.config.ost)
    }

    /// A new inode, counted.
    pub(crate) fn make(&self, fid: &Fid, what: &Create<'_>, parent: Fid) -> Result<Inode> {
        let content = match what.mode & osd::S_IFMT {
            0o040000 => Content::Dir(Dir {
                parent,
                names: BTreeMap::new(),
            }),
            0o100000 => Content::Closed,
            0o120000 => Content::Link(what.target.ok_or(EINVAL)?.to_owned()),
            0o010000 | 0o020000 | 0o060000 | 0o140000 => Content::None,
            _ => return Err(EINVAL),
        };
        let now = kapi::time::real();
        let mut inode = Inode {
            attr: Attr {
                mode: what.mode,
                rdev: what.rdev,
                nlink: 1,
                btime: Time {
                    sec: now.as_secs() as i64,
                    nsec: now.subsec_nanos(),
                },
                ..Attr::default()
            },
            xattrs: BTreeMap::new(),
            content,
        };
        match &inode.content {
            Content::Dir(_) => (inode.attr.nlink, inode.attr.size) = (2, 4096),
            Content::Link(t) => inode.attr.size = t.as_bytes().len() as u64,
            _ => {}
        }
        let compat = if place::flagged_on_ost(fid, &self.place(fid)) {
            LmaCompat::FID_ON_OST
        } else {
            LmaCompat::empty()
        };
        let lma = LustreMdtAttrs::new(*fid, compat, LmaIncompat::empty());
        inode
            .xattrs
            .insert(XATTR_NAME_LMA.to_owned(), lma.as_bytes().to_vec());
        let blocks = inode.count();
        inode.attr.blocks = blocks * 8;
        let mut space = self.space();
        if space.inodes >= self.config.files || space.blocks + blocks > self.config.blocks {
            return Err(ENOSPC);
        }
        space.inodes += 1;
        space.blocks += blocks;
        space.add(inode.owners(), blocks as i64, 1);
        Ok(inode)
    }

    /// Gives back what an inode uses.
    pub(crate) fn free(&self, inode: Inode) {
        let mut space = self.space();
        let blocks = inode.attr.blocks / 8;
        space.inodes -= 1;
        space.blocks -= blocks;
        space.add(inode.owners(), -(blocks as i64), -1);
    }

    /// Whether there is room for so many blocks more.
    pub(crate) fn room(&self, blocks: u64) -> Result {
        if self.space().blocks + blocks > self.config.blocks {
            return Err(ENOSPC);
        }
        Ok(())
    }

    /// Counts the blocks of an inode again.
    pub(crate) fn recount(&self, inode: &mut Inode) {
        let (old, new) = (inode.attr.blocks / 8, inode.count());
        if old != new {
            let mut space = self.space();
            let more = new as i64 - old as i64;
            space.blocks = space.blocks.wrapping_add_signed(more);
            space.add(inode.owners(), more, 0);
            inode.attr.blocks = new * 8;
        }
    }
}

/// A store in memory.
pub struct MemoryDevice {
    shared: std::sync::Arc<Shared>,
    objects: std::sync::Mutex<BTreeMap<Fid, ObjectRef>>,
}

impl MemoryDevice {
    /// An empty store of an MDT or MGT.
    pub fn new() -> Arc<MemoryDevice> {
        MemoryDevice::with(Config::default())
    }

    /// An empty store of this kind and size.
    pub fn with(config: Config) -> Arc<MemoryDevice> {
        let root = Node::new(Fid::local(oid::OSD_ROOT), None);
        let shared = std::sync::Arc::new(Shared {
            config,
            root: root.clone(),
            commits: Commits::start(),
            nodes: std::sync::Mutex::new(BTreeMap::from([(root.fid, root.clone())])),
            space: std::sync::Mutex::new(Space::default()),
        });
        let make = |fid: Fid, name: &[u8]| -> Result {
            let inode = shared.make(&fid, &Create::dir(0o755), root.fid)?;
            *shared.node(&fid).inode() = Some(inode);
            if fid != root.fid {
                let ty = 0o4;
                root.with(|r| {
                    r.attr.nlink += 1;
                    let names = &mut r.dir()?.names;
                    let at = (crate::node::position(name), name.to_vec());
                    names.insert(at, crate::node::Named { fid, ty });
                    Ok(())
                })?;
            }
            Ok(())
        };
        let mut fresh: Vec<(u32, &[u8])> = vec![
            (oid::OSD_ROOT, b""),
            (oid::OSD_LOST_FOUND, b"lost+found"),
            (oid::INDEX_BACKUP, b"index_backup"),
        ];
        if !config.ost {
            fresh.push((oid::REMOTE_PARENT_DIR, b"REMOTE_PARENT_DIR"));
        }
        for (oid, name) in fresh {
            make(Fid::local(oid), name).expect("room for the first directories");
        }
        let device = MemoryDevice {
            shared,
            objects: std::sync::Mutex::default(),
        };
        Arc::new(device, GFP_KERNEL).expect("memory")
    }

    /// Commits everything, and returns when the callbacks have been called.
    pub fn commit_all(&self) {
        self.shared.commits.sync();
    }

    /// While this is on, nothing is committed unless somebody waits for it.
    pub fn hold_commits(&self, on: bool) {
        self.shared.commits.hold(on);
    }
}

impl Drop for MemoryDevice {
    fn drop(&mut self) {
        self.shared.commits.stop();
    }
}

impl Device for MemoryDevice {
    fn object(&self, fid: &Fid) -> Result<ObjectRef> {
        if self.shared.place(fid) == Place::Accounting {
            return Err(EOPNOTSUPP);
        }
        let mut objects = self.objects.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(o) = objects.get(fid) {
            return Ok(o.clone());
        }
        let new = MemoryObject::new(&self.shared, self.shared.node(fid));
        let new: ObjectRef = Arc::new(new, GFP_KERNEL)?;
        objects.insert(*fid, new.clone());
        Ok(new)
    }

    fn plan(&self) -> Result<Plan> {
        let running = Running::new(&self.shared);
        let checked = Checked::new(running, |what| panic!("{what}"));
        Ok(Plan::new(KBox::new(checked, GFP_KERNEL)?))
    }

    fn statfs(&self) -> Result<StatFs> {
        let (c, s) = (&self.shared.config, self.shared.space());
        Ok(StatFs {
            blocks: c.blocks,
            bfree: c.blocks - s.blocks,
            bavail: c.blocks - s.blocks,
            files: c.files,
            ffree: c.files - s.inodes,
            bsize: 4096,
            namelen: 255,
            readonly: false,
        })
    }

    fn usage(&self, kind: UsageKind, id: u32) -> Result<Usage> {
        Ok(self.shared.space().usage(kind, id))
    }

    fn sync(&self) -> Result {
        not_in_transaction("sync()");
        self.shared.commits.sync();
        Ok(())
    }

    fn start_commit(&self) {
        self.shared.commits.begin();
    }

    fn uuid(&self) -> [u8; 16] {
        *b"osd-memory\0uuid\x01"
    }
}
