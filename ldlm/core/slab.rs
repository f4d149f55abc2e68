// SPDX-License-Identifier: GPL-2.0

//! The locks of one resource, by number.

use super::lock::Lock;
use kapi::prelude::*;

/// The number of no lock.
pub(super) const NIL: u32 = 0;

pub(super) enum Slot {
    Used(KBox<Lock>),
    /// The next free one.
    Free(u32),
}

/// Locks by number, from 1 on. Numbers of dropped locks are used again.
pub(super) struct Slab {
    slots: KVVec<Slot>,
    free: u32,
    used: u32,
}

impl Slab {
    pub(super) fn new() -> Self {
        Slab {
            slots: KVVec::new(),
            free: NIL,
            used: 0,
        }
    }

    /// How many locks there are.
    pub(super) fn len(&self) -> u32 {
        self.used
    }

    /// The highest number that has ever been given out.
    pub(super) fn high(&self) -> u32 {
        self.slots.len() as u32
    }

    fn slot(&self, ix: u32) -> Option<&Slot> {
        self.slots.get((ix as usize).checked_sub(1)?)
    }

    fn slot_mut(&mut self, ix: u32) -> Option<&mut Slot> {
        self.slots.get_mut((ix as usize).checked_sub(1)?)
    }

    /// Stores a lock.
    pub(super) fn add(&mut self, lock: KBox<Lock>) -> Result<u32> {
        let ix = self.free;
        if let Some(slot) = self.slot_mut(ix) {
            if let Slot::Free(next) = *slot {
                *slot = Slot::Used(lock);
                self.free = next;
                self.used += 1;
                return Ok(ix);
            }
        }
        if self.slots.len() >= u32::MAX as usize - 1 {
            return Err(ENOMEM);
        }
        self.slots.push(Slot::Used(lock), GFP_KERNEL)?;
        self.used += 1;
        Ok(self.high())
    }

    /// Drops a lock.
    pub(super) fn remove(&mut self, ix: u32) {
        let next = self.free;
        if let Some(slot @ Slot::Used(_)) = self.slot_mut(ix) {
            *slot = Slot::Free(next);
            self.free = ix;
            self.used -= 1;
        }
    }

    pub(super) fn get(&self, ix: u32) -> Option<&Lock> {
        match self.slot(ix)? {
            Slot::Used(l) => Some(l),
            Slot::Free(_) => None,
        }
    }

    pub(super) fn get_mut(&mut self, ix: u32) -> Option<&mut Lock> {
        match self.slot_mut(ix)? {
            Slot::Used(l) => Some(l),
            Slot::Free(_) => None,
        }
    }
}
