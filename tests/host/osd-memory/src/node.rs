// SPDX-License-Identifier: GPL-2.0

//! What is "on disk": inodes by FID.

use crate::bulk::Bulk;
use crate::commit::in_transaction;
use kapi::prelude::*;
use osd::{Attr, Fid, Usage, UsageKind};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::ThreadId;

/// An index.
pub(crate) struct Index {
    pub(crate) key: usize,
    pub(crate) rec: usize,
    pub(crate) records: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a name leads to.
#[derive(Clone, Copy)]
pub(crate) struct Named {
    pub(crate) fid: Fid,
    pub(crate) ty: u32,
}

/// Names by hash.
pub(crate) struct Dir {
    pub(crate) parent: Fid,
    pub(crate) names: BTreeMap<(u64, Vec<u8>), Named>,
}

/// The position of a name: its hash, as a positive 63-bit number that is not the end.
pub(crate) fn position(name: &[u8]) -> u64 {
    let h = name.iter().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
    });
    // Room for `.` and `..` in front.
    ((h ^ (h >> 32)) >> 1).clamp(2, i64::MAX as u64 - 1)
}

impl Dir {
    pub(crate) fn get(&self, name: &[u8]) -> Option<Named> {
        self.names.get(&(position(name), name.to_vec())).copied()
    }
}

pub(crate) enum Content {
    /// A file that nobody has read or written.
    Closed,
    Small(Vec<u8>),
    Index(Index),
    Bulk(Bulk),
    Dir(Dir),
    Link(CString),
    /// Of a device, a pipe or a socket.
    None,
}

pub(crate) struct Inode {
    pub(crate) attr: Attr,
    pub(crate) xattrs: BTreeMap<CString, Vec<u8>>,
    pub(crate) content: Content,
}

impl Inode {
    pub(crate) fn owners(&self) -> [(UsageKind, u32); 3] {
        [
            (UsageKind::User, self.attr.uid),
            (UsageKind::Group, self.attr.gid),
            (UsageKind::Project, self.attr.projid),
        ]
    }

    pub(crate) fn dir(&mut self) -> Result<&mut Dir> {
        match &mut self.content {
            Content::Dir(d) => Ok(d),
            _ => Err(ENOTDIR),
        }
    }

    pub(crate) fn small(&mut self) -> Result<&mut Vec<u8>> {
        if let Content::Closed = self.content {
            self.content = Content::Small(Vec::new());
        }
        match &mut self.content {
            Content::Small(v) => Ok(v),
            Content::Bulk(_) | Content::Index(_) => Err(EBUSY),
            _ => Err(EINVAL),
        }
    }

    pub(crate) fn bulk(&mut self) -> Result<&mut Bulk> {
        if let Content::Closed = self.content {
            self.content = Content::Bulk(Bulk::default());
        }
        match &mut self.content {
            Content::Bulk(b) => Ok(b),
            Content::Small(_) | Content::Index(_) => Err(EBUSY),
            _ => Err(EINVAL),
        }
    }

    pub(crate) fn index(&mut self) -> Result<&mut Index> {
        match &mut self.content {
            Content::Index(i) => Ok(i),
            _ => Err(EINVAL),
        }
    }

    /// Blocks that the content takes.
    pub(crate) fn count(&self) -> u64 {
        match &self.content {
            Content::Small(v) => (v.len() as u64).div_ceil(4096),
            Content::Index(i) => ((i.key + i.rec) * i.records.len()).div_ceil(4096) as u64 + 2,
            Content::Bulk(b) => b.count(),
            Content::Dir(_) => 1,
            _ => 0,
        }
    }
}

#[derive(Default)]
struct Owner {
    owner: Mutex<Option<ThreadId>>,
    free: Condvar,
}

/// The place of an object.
pub(crate) struct Node {
    pub(crate) fid: Fid,
    lock: Owner,
    inode: Mutex<Option<Inode>>,
}

impl Node {
    pub(crate) fn new(fid: Fid, inode: Option<Inode>) -> Arc<Node> {
        Arc::new(Node {
            fid,
            lock: Owner::default(),
            inode: Mutex::new(inode),
        })
    }

    pub(crate) fn inode(&self) -> MutexGuard<'_, Option<Inode>> {
        self.inode.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Runs `f` on the inode.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Inode) -> Result<R>) -> Result<R> {
        f(self.inode().as_mut().ok_or(ENOENT)?)
    }

    fn owner(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.lock.owner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Locks the object for a transaction.
    pub(crate) fn lock(&self) {
        let mut o = self.owner();
        while o.is_some() {
            o = self.lock.free.wait(o).unwrap_or_else(|e| e.into_inner());
        }
        *o = Some(std::thread::current().id());
    }

    pub(crate) fn unlock(&self) {
        *self.owner() = None;
        self.lock.free.notify_all();
    }

    /// Waits until no transaction of another thread has the object.
    ///
    /// # Errors
    /// `EDEADLK`: the thread has a transaction that the object is not part of.
    pub(crate) fn settled(&self) -> Result {
        let me = std::thread::current().id();
        let mut o = self.owner();
        if in_transaction() && *o != Some(me) {
            eprintln!(
                "{}: read in a transaction that did not plan for it",
                self.fid
            );
            return Err(EDEADLK);
        }
        while o.is_some_and(|t| t != me) {
            o = self.lock.free.wait(o).unwrap_or_else(|e| e.into_inner());
        }
        Ok(())
    }
}

/// Space in use.
#[derive(Default)]
pub(crate) struct Space {
    pub(crate) blocks: u64,
    pub(crate) inodes: u64,
    usage: BTreeMap<(u8, u32), Usage>,
}

impl Space {
    pub(crate) fn usage(&self, kind: UsageKind, id: u32) -> Usage {
        self.usage
            .get(&(kind as u8, id))
            .copied()
            .unwrap_or_default()
    }

    /// Adds to (or takes from) what these owners use.
    pub(crate) fn add(&mut self, owners: [(UsageKind, u32); 3], blocks: i64, inodes: i64) {
        for (kind, id) in owners {
            let u = self.usage.entry((kind as u8, id)).or_default();
            u.space = u.space.wrapping_add_signed(blocks * 4096);
            u.inodes = u.inodes.wrapping_add_signed(inodes);
        }
    }
}
