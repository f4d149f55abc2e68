// SPDX-License-Identifier: GPL-2.0

//! Plain and inode-bit locks, grouped by what they conflict with.
//!
//! Locks of one mode, bits and owner class all conflict with the same others. They form a group;
//! tests look at groups, of which there are few, and not at the thousands of clients that hold the
//! same lock on a directory. The first lock of a group, its leader, carries the group's data; all
//! links are numbers, so forming groups allocates nothing.

use super::slab::NIL;
use super::types::Mode;
use kapi::prelude::*;

/// What the locks of a group have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key {
    pub(super) mode: Mode,
    pub(super) bits: u64,
    pub(super) try_bits: u64,
    /// What else decides: group id, COS client or TXN initiator, by mode.
    pub(super) class: u64,
}

#[derive(Clone, Copy)]
struct Link {
    prev: u32,
    next: u32,
    /// The rest is of use in leaders only.
    key: Key,
    next_leader: u32,
    prev_leader: u32,
    last: u32,
    /// Members that have not been told of a conflict.
    untold: u32,
    /// The scan that has found the group blocked.
    mark: u32,
}

const EMPTY: Link = Link {
    prev: NIL,
    next: NIL,
    key: Key {
        mode: Mode::Nl,
        bits: 0,
        try_bits: 0,
        class: 0,
    },
    next_leader: NIL,
    prev_leader: NIL,
    last: NIL,
    untold: 0,
    mark: 0,
};

/// The first leader of a set of groups.
#[derive(Clone, Copy, Default)]
pub(super) struct Head(u32);

/// The links of all locks of a resource.
pub(super) struct Groups {
    links: KVVec<Link>,
    scratch: Link,
}

impl Groups {
    pub(super) fn new() -> Self {
        Groups {
            links: KVVec::new(),
            scratch: EMPTY,
        }
    }

    /// Makes room for locks up to number `ix`.
    pub(super) fn grow(&mut self, ix: u32) -> Result {
        while self.links.len() < ix as usize {
            self.links.push(EMPTY, GFP_KERNEL)?;
        }
        Ok(())
    }

    fn l(&self, ix: u32) -> &Link {
        (ix as usize)
            .checked_sub(1)
            .and_then(|i| self.links.get(i))
            .unwrap_or(&EMPTY)
    }

    fn m(&mut self, ix: u32) -> &mut Link {
        match (ix as usize).checked_sub(1) {
            Some(i) if i < self.links.len() => self.links.get_mut(i).unwrap_or(&mut self.scratch),
            _ => {
                self.scratch = EMPTY;
                &mut self.scratch
            }
        }
    }

    /// The leaders, one after the other: start with `None`.
    pub(super) fn next_leader(&self, head: Head, after: Option<u32>) -> Option<u32> {
        let ix = match after {
            None => head.0,
            Some(ix) => self.l(ix).next_leader,
        };
        (ix != NIL).then_some(ix)
    }

    pub(super) fn key(&self, leader: u32) -> Key {
        self.l(leader).key
    }

    /// The member after `ix` in its group.
    pub(super) fn next_member(&self, ix: u32) -> Option<u32> {
        let n = self.l(ix).next;
        (n != NIL).then_some(n)
    }

    /// How many members have not been told of a conflict.
    pub(super) fn untold(&self, leader: u32) -> u32 {
        self.l(leader).untold
    }

    pub(super) fn mark(&self, leader: u32) -> u32 {
        self.l(leader).mark
    }

    pub(super) fn set_mark(&mut self, leader: u32, mark: u32) {
        self.m(leader).mark = mark;
    }

    fn find(&self, head: Head, key: &Key) -> Option<u32> {
        let mut at = self.next_leader(head, None);
        while let Some(ix) = at {
            if self.l(ix).key == *key {
                return Some(ix);
            }
            at = self.next_leader(head, Some(ix));
        }
        None
    }

    /// Adds `ix` as the last of its group.
    pub(super) fn add(&mut self, head: &mut Head, ix: u32, key: Key, untold: bool) {
        let count = u32::from(untold);
        if let Some(leader) = self.find(*head, &key) {
            let last = self.l(leader).last;
            *self.m(ix) = Link {
                prev: last,
                key,
                ..EMPTY
            };
            self.m(last).next = ix;
            let l = self.m(leader);
            l.last = ix;
            l.untold += count;
            return;
        }
        *self.m(ix) = Link {
            key,
            next_leader: head.0,
            last: ix,
            untold: count,
            ..EMPTY
        };
        self.m(head.0).prev_leader = ix;
        head.0 = ix;
    }

    /// One member of the group of `ix` has been told of a conflict.
    pub(super) fn told(&mut self, head: Head, ix: u32) {
        let key = self.l(ix).key;
        if let Some(leader) = self.find(head, &key) {
            let l = self.m(leader);
            l.untold = l.untold.saturating_sub(1);
        }
    }

    /// Takes `ix` out of its group.
    pub(super) fn remove(&mut self, head: &mut Head, ix: u32, untold: bool) {
        if untold {
            self.told(*head, ix);
        }
        let l = *self.l(ix);
        if l.prev != NIL {
            self.m(l.prev).next = l.next;
            if l.next != NIL {
                self.m(l.next).prev = l.prev;
            } else if let Some(leader) = self.find(*head, &l.key) {
                self.m(leader).last = l.prev;
            }
        } else {
            // The leader: the next member takes over, or the group ends.
            let heir = if l.next != NIL { l.next } else { l.next_leader };
            if l.next != NIL {
                let h = self.m(l.next);
                h.prev = NIL;
                h.next_leader = l.next_leader;
                h.prev_leader = l.prev_leader;
                h.last = l.last;
                h.untold = l.untold;
                h.mark = l.mark;
                if l.next_leader != NIL {
                    self.m(l.next_leader).prev_leader = l.next;
                }
            } else if l.next_leader != NIL {
                self.m(l.next_leader).prev_leader = l.prev_leader;
            }
            if l.prev_leader != NIL {
                self.m(l.prev_leader).next_leader = heir;
            } else {
                head.0 = heir;
            }
        }
        *self.m(ix) = EMPTY;
    }
}
