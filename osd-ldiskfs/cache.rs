// SPDX-License-Identifier: GPL-2.0

//! Objects in memory by FID, and FIDs by inode number.
//!
//! Those in use are always here, so that all who ask for a FID get the same object. Some that
//! nobody uses are kept for the next who asks; of them the clock hand takes those that nobody
//! asked for since it last came by.

use crate::object::Object;
use crate::Fid;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use kapi::ldiskfs::in_handle;
use kapi::prelude::*;

const PARTS: usize = 64;
/// Objects of a part that are kept, in use or not.
const KEPT: usize = 512;
/// Objects that the hand passes for one that is added; it takes two at most.
const STEPS: usize = 16;

/// An object of the cache.
#[pin_data]
struct Kept {
    #[pin]
    object: Object,
    users: AtomicUsize,
    recent: AtomicBool,
}

struct Objects {
    by_fid: RBTree<Fid, Arc<Kept>>,
    count: usize,
    hand: Fid,
}

#[pin_data]
struct Part {
    #[pin]
    objects: Mutex<Objects>,
    // Of the inodes whose numbers lead here; each has one slot.
    #[pin]
    fids: SpinLock<KVVec<(u64, Fid)>>,
}

/// Inodes whose FIDs a part remembers.
const FIDS: usize = 512;

/// The objects of a store.
pub(crate) struct Cache {
    parts: KVec<Pin<KBox<Part>>>,
}

/// An object in use.
pub(crate) struct Held(Arc<Kept>);

impl Held {
    /// One more user; under the lock of the part, so that the hand does not see none.
    fn new(kept: &Arc<Kept>) -> Held {
        kept.users.fetch_add(1, Ordering::Relaxed);
        kept.recent.store(true, Ordering::Relaxed);
        Held(kept.clone())
    }
}

impl core::ops::Deref for Held {
    type Target = Object;
    fn deref(&self) -> &Object {
        &self.0.object
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What the user did happens before the hand takes the object.
        self.0.users.fetch_sub(1, Ordering::Release);
    }
}

impl Objects {
    /// Moves the hand on by a few objects, and takes out what nobody wants.
    fn sweep(&mut self, out: &mut [Option<Arc<Kept>>; 2]) {
        let mut taken = 0;
        for _ in 0..STEPS {
            if taken == out.len() || self.count <= KEPT {
                return;
            }
            let at = match self.by_fid.cursor_lower_bound(&self.hand) {
                Some(c) => Some(c),
                None => self.by_fid.cursor_front(),
            };
            let Some(at) = at else { return };
            let (fid, kept) = at.current();
            let fid = *fid;
            let idle = kept.users.load(Ordering::Acquire) == 0
                && !kept.recent.swap(false, Ordering::Relaxed);
            self.hand = at.peek_next().map_or(Fid::default(), |(f, _)| *f);
            if idle {
                if let (Some(slot), Some(k)) = (out.get_mut(taken), self.by_fid.remove(&fid)) {
                    *slot = Some(k);
                    taken += 1;
                    self.count -= 1;
                }
            }
        }
    }
}

impl Objects {
    /// Takes out the object at or behind `fid` if nobody uses it; `next` is the one behind it.
    fn next_idle(&mut self, fid: &Fid, next: &mut Option<Fid>) -> Option<Arc<Kept>> {
        let at = self.by_fid.cursor_lower_bound(fid);
        *next = at.as_ref().and_then(|c| c.peek_next()).map(|(f, _)| *f);
        let (fid, kept) = at.as_ref()?.current();
        if kept.users.load(Ordering::Acquire) > 0 {
            return None;
        }
        let fid = *fid;
        self.count -= 1;
        self.by_fid.remove(&fid)
    }
}

impl Cache {
    /// An empty cache.
    pub(crate) fn new() -> Result<Cache> {
        let mut parts = KVec::with_capacity(PARTS, GFP_KERNEL)?;
        for _ in 0..PARTS {
            let none = KVVec::from_elem((0, Fid::default()), FIDS, GFP_KERNEL)?;
            let part = KBox::pin_init(
                pin_init!(Part {
                    objects <- new_mutex!(Objects {
                        by_fid: RBTree::new(),
                        count: 0,
                        hand: Fid::default(),
                    }),
                    fids <- new_spinlock!(none),
                }),
                GFP_KERNEL,
            )?;
            parts.push(part, GFP_KERNEL)?;
        }
        Ok(Cache { parts })
    }

    fn part(&self, fid: &Fid) -> Result<&Part> {
        let h = (fid.seq ^ u64::from(fid.oid)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        self.parts
            .get(h as usize % PARTS)
            .map(|p| &**p)
            .ok_or(EINVAL)
    }

    /// The object of `fid`. It may be one of which nothing is known yet.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn get(&self, fid: &Fid) -> Result<Held> {
        let part = self.part(fid)?;
        if let Some(kept) = part.objects.lock().by_fid.get(fid) {
            return Ok(Held::new(kept));
        }
        // The lock is taken inside handles, so nothing that waits for one may wait under it: no
        // memory is asked for.
        let kept = Arc::pin_init(
            pin_init!(Kept {
                object <- Object::new(*fid),
                users: AtomicUsize::new(0),
                recent: AtomicBool::new(false),
            }),
            GFP_NOFS,
        )?;
        let place = RBTreeNode::new(*fid, kept.clone(), GFP_NOFS)?;
        let mut old = [None, None];
        let mut objects = part.objects.lock();
        if let Some(kept) = objects.by_fid.get(fid) {
            return Ok(Held::new(kept));
        }
        objects.by_fid.insert(place);
        objects.count += 1;
        let held = Held::new(&kept);
        if !in_handle() {
            objects.sweep(&mut old);
        }
        drop(objects);
        // The last references to inodes go without the lock.
        drop(old);
        Ok(held)
    }

    /// Objects in memory.
    pub(crate) fn count(&self) -> usize {
        self.parts.iter().map(|p| p.objects.lock().count).sum()
    }

    fn with_slot<R>(&self, ino: u64, f: impl FnOnce(&mut (u64, Fid)) -> R) -> Option<R> {
        let part = self.parts.get(ino as usize % PARTS)?;
        let mut fids = part.fids.lock();
        fids.get_mut(ino as usize / PARTS % FIDS).map(f)
    }

    /// The FID of inode `ino`, if it is known and the object is in memory, in use or not.
    pub(crate) fn fid_of(&self, ino: u64) -> Option<Fid> {
        let fid = self.with_slot(ino, |s| (s.0 == ino).then_some(s.1))??;
        let part = self.part(&fid).ok()?;
        let objects = part.objects.lock();
        let kept = objects.by_fid.get(&fid)?;
        kept.recent.store(true, Ordering::Relaxed);
        Some(fid)
    }

    /// Inode `ino` is that of `fid`. Whoever frees an inode says so, see [`Cache::unname`].
    pub(crate) fn name(&self, ino: u64, fid: &Fid) {
        self.with_slot(ino, |s| *s = (ino, *fid));
    }

    /// Inode `ino` is going to be free for another object.
    pub(crate) fn unname(&self, ino: u64) {
        self.with_slot(ino, |s| {
            if s.0 == ino {
                s.0 = 0;
            }
        });
    }

    /// Forgets all objects that nobody uses.
    pub(crate) fn clear(&self) {
        for part in self.parts.iter() {
            let mut from = Some(Fid::default());
            while let Some(at) = from {
                let idle = part.objects.lock().next_idle(&at, &mut from);
                drop(idle);
            }
        }
    }
}
