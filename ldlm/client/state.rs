// SPDX-License-Identifier: GPL-2.0

//! The locks of a cache, by handle, by resource and by age.

use super::company::Row;
use crate::core::{LockType, Mode, Policy, ResId};
use kapi::prelude::*;

/// Where a client's lock is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientState {
    /// The enqueue is on its way.
    Asked,
    /// The server has it in its queue.
    Waiting,
    /// Held.
    Granted,
    /// What is cached under it is being dropped.
    GoingAway,
    /// Refused, or lost with the connection.
    Failed,
}

/// A look at a client's lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientView {
    /// Our handle.
    pub handle: u64,
    /// The server's handle, 0 if not known yet.
    pub cookie: u64,
    /// The resource.
    pub res: ResId,
    /// The mode: held if granted, else asked for.
    pub mode: Mode,
    /// What it covers.
    pub policy: Policy,
    /// State.
    pub state: ClientState,
    /// The server wants it back.
    pub called_back: bool,
    /// Users.
    pub users: u32,
}

pub(super) struct Entry {
    pub(super) view: ClientView,
    /// Flags kept of request and reply.
    pub(super) flags: u32,
    /// Dirty data need not be written back.
    pub(super) discard: bool,
    /// When it became unused, monotonic ms.
    pub(super) unused_at: u64,
    pub(super) lvb: KVec<u8>,
    list: List,
    prev: u32,
    next: u32,
}

impl Entry {
    pub(super) fn new(view: ClientView, flags: u32) -> Self {
        Entry {
            view,
            flags,
            discard: false,
            unused_at: 0,
            lvb: KVec::new(),
            list: List::None,
            prev: NIL,
            next: NIL,
        }
    }

    /// Whether it stays in the cache when nobody uses it: file locks belong to processes, group
    /// locks are given back by their owners.
    pub(super) fn is_cached(&self) -> bool {
        self.view.policy.lock_type() != LockType::Flock && self.view.mode != Mode::Group
    }

    /// Whether somebody may start to use it.
    pub(super) fn is_usable(&self) -> bool {
        self.view.state == ClientState::Granted && !self.view.called_back
    }
}

/// Which list a lock is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum List {
    /// None: it is in use, or not granted yet.
    None,
    /// Unused, the longest unused first.
    Unused,
    /// To be given up.
    Doomed,
}

#[derive(Clone, Copy, Default)]
struct Ends {
    first: u32,
    last: u32,
    len: usize,
}

const NIL: u32 = 0;

/// The locks. Their handles are a slot number and a random half; lists run through the slots, so
/// that only [`Table::insert`] allocates.
#[derive(Default)]
pub(super) struct Table {
    slots: KVVec<Option<KBox<Entry>>>,
    free: KVVec<u32>,
    by_res: RBTree<(ResId, u32), ()>,
    len: usize,
    unused: Ends,
    doomed: Ends,
    pub(super) row: Row,
}

fn slot_of(handle: u64) -> u32 {
    handle as u32
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn slot(&self, ix: u32) -> Option<&Entry> {
        self.slots.get((ix as usize).checked_sub(1)?)?.as_deref()
    }

    fn slot_mut(&mut self, ix: u32) -> Option<&mut Entry> {
        self.slots
            .get_mut((ix as usize).checked_sub(1)?)?
            .as_deref_mut()
    }

    /// Stores a lock and gives it its handle. `salt`: a random number.
    pub(super) fn insert(&mut self, mut e: Entry, salt: u64) -> Result<u64> {
        let ix = match self.free.pop() {
            Some(ix) => ix,
            None => {
                let next = u32::try_from(self.slots.len() + 1)?;
                // Giving the slot back must not fail.
                let need = (self.slots.len() + 1).saturating_sub(self.free.len());
                self.free.reserve(need, GFP_KERNEL)?;
                self.slots.push(None, GFP_KERNEL)?;
                next
            }
        };
        let handle = ((salt | 1) << 32) | u64::from(ix);
        e.view.handle = handle;
        let key = (e.view.res, ix);
        let made = KBox::new(e, GFP_KERNEL).map_err(Error::from).and_then(|b| {
            self.by_res.try_create_and_insert(key, (), GFP_KERNEL)?;
            Ok(b)
        });
        match made {
            Ok(b) => {
                if let Some(s) = self.slots.get_mut(ix as usize - 1) {
                    *s = Some(b);
                }
                self.len += 1;
                Ok(handle)
            }
            Err(e) => {
                let _ = self.free.push_within_capacity(ix);
                Err(e)
            }
        }
    }

    pub(super) fn get(&self, handle: u64) -> Option<&Entry> {
        self.slot(slot_of(handle))
            .filter(|e| e.view.handle == handle)
    }

    pub(super) fn get_mut(&mut self, handle: u64) -> Option<&mut Entry> {
        self.slot_mut(slot_of(handle))
            .filter(|e| e.view.handle == handle)
    }

    /// Forgets a lock.
    pub(super) fn remove(&mut self, handle: u64) -> Option<KBox<Entry>> {
        self.get(handle)?;
        self.set_list(handle, List::None);
        let ix = slot_of(handle);
        let e = self.slots.get_mut((ix as usize).checked_sub(1)?)?.take()?;
        self.by_res.remove(&(e.view.res, ix));
        // There is room: see insert.
        let _ = self.free.push_within_capacity(ix);
        self.len -= 1;
        Some(e)
    }

    /// The server has put the lock on another resource.
    pub(super) fn move_to(&mut self, handle: u64, res: ResId) -> Result {
        let old = self.get(handle).ok_or(ENOENT)?.view.res;
        if old == res {
            return Ok(());
        }
        let ix = slot_of(handle);
        self.by_res
            .try_create_and_insert((res, ix), (), GFP_KERNEL)?;
        self.by_res.remove(&(old, ix));
        if let Some(e) = self.get_mut(handle) {
            e.view.res = res;
        }
        Ok(())
    }

    /// Calls `f` for the locks of a resource until it returns true; the handle of that one.
    pub(super) fn find_in(&self, res: &ResId, f: impl Fn(&Entry) -> bool) -> Option<u64> {
        let mut from = 0;
        loop {
            let c = self.by_res.cursor_lower_bound(&(*res, from))?;
            let (r, ix) = *c.current().0;
            if r != *res {
                return None;
            }
            if let Some(e) = self.slot(ix).filter(|e| f(e)) {
                return Some(e.view.handle);
            }
            from = ix.checked_add(1)?;
        }
    }

    /// All locks.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().filter_map(|s| s.as_deref())
    }

    fn ends(&mut self, l: List) -> Option<&mut Ends> {
        match l {
            List::None => None,
            List::Unused => Some(&mut self.unused),
            List::Doomed => Some(&mut self.doomed),
        }
    }

    /// Puts a lock at the end of a list, taking it off the one it is on.
    pub(super) fn set_list(&mut self, handle: u64, to: List) {
        let Some(e) = self.get(handle) else { return };
        let (from, prev, next) = (e.list, e.prev, e.next);
        if from == to {
            return;
        }
        let ix = slot_of(handle);
        if from != List::None {
            if let Some(p) = self.slot_mut(prev) {
                p.next = next;
            }
            if let Some(n) = self.slot_mut(next) {
                n.prev = prev;
            }
            if let Some(ends) = self.ends(from) {
                if ends.first == ix {
                    ends.first = next;
                }
                if ends.last == ix {
                    ends.last = prev;
                }
                ends.len -= 1;
            }
        }
        let mut last = NIL;
        if let Some(ends) = self.ends(to) {
            last = core::mem::replace(&mut ends.last, ix);
            if ends.first == NIL {
                ends.first = ix;
            }
            ends.len += 1;
        }
        if let Some(l) = self.slot_mut(last) {
            l.next = ix;
        }
        if let Some(e) = self.slot_mut(ix) {
            (e.list, e.prev, e.next) = (to, last, NIL);
        }
    }

    /// Where a lock is.
    pub(super) fn list_of(&self, handle: u64) -> List {
        self.get(handle).map_or(List::None, |e| e.list)
    }

    /// An unused lock is to be given up.
    pub(super) fn doom(&mut self, handle: u64) {
        if let Some(e) = self.get_mut(handle) {
            e.view.state = ClientState::GoingAway;
        }
        self.set_list(handle, List::Doomed);
    }

    /// The first lock of a list.
    pub(super) fn first(&mut self, l: List) -> Option<u64> {
        let ix = self.ends(l)?.first;
        self.slot(ix).map(|e| e.view.handle)
    }

    /// The lock after this one on its list.
    pub(super) fn next(&self, handle: u64) -> Option<u64> {
        let next = self.get(handle)?.next;
        self.slot(next).map(|e| e.view.handle)
    }

    /// How many locks are on a list.
    pub(super) fn list_len(&mut self, l: List) -> usize {
        self.ends(l).map_or(0, |e| e.len)
    }
}
