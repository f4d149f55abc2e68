// SPDX-License-Identifier: GPL-2.0

//! Objects in memory, and the cache of them by FID.

use crate::Fid;
use core::sync::atomic::{AtomicUsize, Ordering};
use kapi::ldiskfs::{BlockFile, DataFile, Node};
use kapi::prelude::*;

/// How the content of an object is reached. It does not change between the two while the object
/// is in memory: the one goes through the journal, the other through the page cache.
#[derive(Default)]
pub(crate) enum Content {
    /// Not asked for yet.
    #[default]
    Closed,
    /// Small, and written in transactions.
    Blocks(BlockFile),
    /// Bulk data.
    Data(Arc<DataFile>),
}

/// What an object had open.
pub(crate) struct Retired {
    _content: Content,
    _node: Option<Node>,
}

/// An object. It may not exist (yet, or any more): then it has no inode.
#[pin_data]
pub struct Object {
    fid: Fid,
    users: AtomicUsize,
    #[pin]
    node: SpinLock<Option<Node>>,
    #[pin]
    content: Mutex<Content>,
}

impl Object {
    fn new(fid: Fid, node: Option<Node>) -> Result<Arc<Object>> {
        Arc::pin_init(
            pin_init!(Object {
                fid,
                users: AtomicUsize::new(0),
                node <- new_spinlock!(node),
                content <- new_mutex!(Content::Closed),
            }),
            GFP_KERNEL,
        )
    }

    /// Its FID.
    pub fn fid(&self) -> &Fid {
        &self.fid
    }

    /// Its inode.
    ///
    /// # Errors
    /// `ENOENT`: it does not exist.
    pub fn node(&self) -> Result<Node> {
        self.node.lock().clone().ok_or(ENOENT)
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        self.node.lock().is_some()
    }

    /// It exists now, or does not any more. What it had is given back, to be dropped when the
    /// transaction has stopped.
    pub(crate) fn set_node(&self, node: Option<Node>) -> Retired {
        let mut content = self.content.lock();
        Retired {
            _content: core::mem::take(&mut *content),
            _node: core::mem::replace(&mut *self.node.lock(), node),
        }
    }

    /// Runs `f` on its content as a file of journalled blocks.
    ///
    /// # Errors
    /// `ENOENT`. `EBUSY`: it is in use for bulk data. Those of opening it and of `f`.
    pub fn with_blocks<R>(&self, f: impl FnOnce(&mut BlockFile) -> Result<R>) -> Result<R> {
        let mut content = self.content.lock();
        if let Content::Closed = *content {
            *content = Content::Blocks(BlockFile::open(&self.node()?)?);
        }
        match &mut *content {
            Content::Blocks(b) => f(b),
            _ => Err(EBUSY),
        }
    }

    /// Its content as bulk data; none if it is a file of journalled blocks.
    ///
    /// # Errors
    /// `ENOENT`, and those of opening it.
    pub fn data(&self) -> Result<Option<Arc<DataFile>>> {
        let mut content = self.content.lock();
        if let Content::Closed = *content {
            let file = DataFile::open(&self.node()?)?;
            *content = Content::Data(Arc::new(file, GFP_KERNEL)?);
        }
        Ok(match &*content {
            Content::Data(d) => Some(d.clone()),
            _ => None,
        })
    }
}

/// Objects kept without a user, for each part of the cache.
const SPARE: usize = 512;
const PARTS: usize = 32;

#[pin_data]
struct Part {
    #[pin]
    objects: Mutex<RBTree<Fid, Arc<Object>>>,
    spare: AtomicUsize,
}

/// The objects of a store by FID.
pub(crate) struct Cache {
    parts: KVec<Arc<Part>>,
}

/// An object in use.
pub struct InUse {
    object: Arc<Object>,
    part: Arc<Part>,
}

impl core::ops::Deref for InUse {
    type Target = Object;
    fn deref(&self) -> &Object {
        &self.object
    }
}

impl Clone for InUse {
    fn clone(&self) -> InUse {
        self.object.users.fetch_add(1, Ordering::Relaxed);
        InUse {
            object: self.object.clone(),
            part: self.part.clone(),
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if self.object.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.part.spare.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Cache {
    /// An empty cache.
    pub(crate) fn new() -> Result<Cache> {
        let mut parts = KVec::with_capacity(PARTS, GFP_KERNEL)?;
        for _ in 0..PARTS {
            let part = Arc::pin_init(
                pin_init!(Part {
                    objects <- new_mutex!(RBTree::new()),
                    spare: AtomicUsize::new(0),
                }),
                GFP_KERNEL,
            )?;
            parts.push(part, GFP_KERNEL)?;
        }
        Ok(Cache { parts })
    }

    fn part(&self, fid: &Fid) -> Result<&Arc<Part>> {
        let h = (fid.seq ^ u64::from(fid.oid)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        self.parts.get(h as usize % PARTS).ok_or(EINVAL)
    }

    /// The object of `fid`, if it is in memory.
    pub(crate) fn get(&self, fid: &Fid) -> Result<Option<InUse>> {
        let part = self.part(fid)?;
        let objects = part.objects.lock();
        Ok(objects.get(fid).map(|o| Self::used(part, o)))
    }

    fn used(part: &Arc<Part>, o: &Arc<Object>) -> InUse {
        o.users.fetch_add(1, Ordering::Relaxed);
        InUse {
            object: o.clone(),
            part: part.clone(),
        }
    }

    /// Adds an object with the inode that was found for it; if somebody else was faster, theirs
    /// is the one.
    pub(crate) fn add(&self, fid: &Fid, node: Option<Node>) -> Result<InUse> {
        let part = self.part(fid)?;
        let new = Object::new(*fid, node)?;
        let place = RBTreeNode::new(*fid, new.clone(), GFP_KERNEL)?;
        let mut objects = part.objects.lock();
        if let Some(o) = objects.get(fid) {
            return Ok(Self::used(part, o));
        }
        objects.insert(place);
        let new = Self::used(part, &new);
        let old = if part.spare.load(Ordering::Relaxed) > SPARE {
            Self::shrink(&mut objects, part)
        } else {
            KVec::new()
        };
        drop(objects);
        // The last references to inodes go without the lock.
        drop(old);
        Ok(new)
    }

    /// Takes out objects that nobody uses.
    fn shrink(objects: &mut RBTree<Fid, Arc<Object>>, part: &Part) -> KVec<Arc<Object>> {
        let mut out = KVec::new();
        if out.reserve(SPARE, GFP_KERNEL).is_ok() {
            for (_, o) in objects.iter() {
                if o.users.load(Ordering::Acquire) == 0
                    && out.push_within_capacity(o.clone()).is_err()
                {
                    break;
                }
            }
            for o in out.iter() {
                objects.remove(&o.fid);
            }
            part.spare.store(0, Ordering::Relaxed);
        }
        out
    }

    /// Forgets all objects that nobody uses.
    pub(crate) fn clear(&self) {
        for part in self.parts.iter() {
            loop {
                let out = Self::shrink(&mut part.objects.lock(), part);
                if out.is_empty() {
                    break;
                }
            }
        }
    }
}
