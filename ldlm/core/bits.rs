// SPDX-License-Identifier: GPL-2.0

//! Plain and inode-bit locks (spec/ldlm.md 6.3, 6.4, 18).
//!
//! Two locks conflict if their modes do and they have a bit in common; a plain lock is one on a
//! single bit. A lock is granted exactly if it conflicts neither with a held lock nor with one
//! ahead of it in the queue, so different bits do not hold one another up.

use super::flags;
use super::groups::{Head, Key};
use super::lists::key_of;
use super::resource::{Enqueued, Env, Resource, Status};
use super::types::{ibits, LockType, Mode, Policy};
use kapi::prelude::*;

/// A request, as the tests see it.
#[derive(Clone, Copy)]
struct Wish {
    key: Key,
    /// Bits needed.
    bits: u64,
    /// Bits wished for.
    try_bits: u64,
    gid: u64,
    client_cookie: u64,
    initiator: u32,
}

/// What a test found.
struct Found {
    /// A lock on bits that are needed is in the way.
    blocked: bool,
    /// One of those is a GROUP lock.
    behind_group: bool,
    /// The wishes that remain.
    try_bits: u64,
}

impl Wish {
    /// Whether the locks of a group forbid the request where bits are in common.
    fn conflicts(&self, g: &Key) -> bool {
        match (self.key.mode, g.mode) {
            (Mode::Group, Mode::Group) => self.gid != g.class,
            (_, Mode::Cos) if self.client_cookie != 0 && self.client_cookie == g.class => false,
            (_, Mode::Txn) if u64::from(self.initiator) == g.class && self.initiator != 0 => false,
            (a, b) => !a.compatible_with(b),
        }
    }
}

impl Resource {
    fn bits_wish(&self, ix: u32) -> Option<Wish> {
        let l = self.slab.get(ix)?;
        let (bits, try_bits) = l.req.bits();
        Some(Wish {
            key: key_of(l, l.req_mode),
            bits,
            try_bits,
            gid: l.req.gid(),
            client_cookie: l.client_cookie,
            initiator: match l.req {
                Policy::Ibits(b) => b.initiator,
                _ => 0,
            },
        })
    }

    /// Tests against the groups of one set; of the waiting ones only those ahead of `pos` count.
    fn against(&self, head: Head, w: &Wish, pos: Option<u64>, found: &mut Found) {
        let mut leader = None;
        while let Some(g) = self.groups.next_leader(head, leader) {
            leader = Some(g);
            let key = self.groups.key(g);
            if let Some(pos) = pos {
                // Leaders are ahead of their groups. GROUP requests go before ordinary ones.
                let ahead = self.slab.get(g).is_some_and(|l| l.pos < pos);
                if !ahead || (w.key.mode == Mode::Group && key.mode != Mode::Group) {
                    continue;
                }
            }
            if !w.conflicts(&key) {
                continue;
            }
            found.try_bits &= !(key.bits | key.try_bits);
            if key.bits & w.bits != 0 {
                found.blocked = true;
                found.behind_group |= key.mode == Mode::Group;
            }
        }
        found.blocked |= w.bits | found.try_bits == 0;
    }

    fn bits_test(&self, w: &Wish, pos: u64) -> Found {
        let mut found = Found {
            blocked: false,
            behind_group: false,
            try_bits: w.try_bits,
        };
        self.against(self.granted_groups, w, None, &mut found);
        self.against(self.waiting_groups, w, Some(pos), &mut found);
        found
    }

    fn joins_group(&self, w: &Wish) -> bool {
        let mut leader = None;
        while let Some(g) = self.groups.next_leader(self.granted_groups, leader) {
            let key = self.groups.key(g);
            if key.mode == Mode::Group && key.class == w.gid {
                return true;
            }
            leader = Some(g);
        }
        false
    }

    /// A waiting GROUP lock with this id.
    pub(super) fn bits_group_waiter(&self, gid: u64) -> Option<u32> {
        let mut leader = None;
        loop {
            leader = self.groups.next_leader(self.waiting_groups, leader);
            let key = self.groups.key(leader?);
            if key.mode == Mode::Group && key.class == gid {
                return leader;
            }
        }
    }

    /// The first waiting lock that the held lock `ix` is in the way of.
    pub(super) fn bits_waiter_against(&self, ix: u32) -> Option<u32> {
        let l = self.slab.get(ix)?;
        let held = key_of(l, l.granted?);
        let mut best = None;
        let mut leader = None;
        while let Some(g) = self.groups.next_leader(self.waiting_groups, leader) {
            leader = Some(g);
            // To COS and TXN locks not all members of a group are alike.
            let each = matches!(held.mode, Mode::Cos | Mode::Txn);
            let mut at = Some(g);
            while let Some(m) = at {
                at = self.groups.next_member(m).filter(|_| each);
                let Some(w) = self.bits_wish(m) else { break };
                if w.bits & held.bits == 0 || !w.conflicts(&held) {
                    continue;
                }
                let pos = self.slab.get(m).map_or(u64::MAX, |l| l.pos);
                if best.is_none_or(|(p, _)| pos < p) {
                    best = Some((pos, m));
                }
                break;
            }
        }
        best.map(|b| b.1)
    }

    pub(super) fn enqueue_bits(
        &mut self,
        ix: u32,
        req: u32,
        env: &mut Env<'_>,
    ) -> Result<Enqueued> {
        let w = self.bits_wish(ix).ok_or(EINVAL)?;
        if w.key.mode == Mode::Group {
            if self.kind == LockType::Ibits && w.bits | w.try_bits != ibits::DOM {
                return Err(EPROTO);
            }
            if self.joins_group(&w) {
                return self.grant_bits(ix, w.try_bits, env);
            }
        }
        let found = self.bits_test(&w, u64::MAX);
        if !found.blocked {
            return self.grant_bits(ix, found.try_bits, env);
        }
        if w.bits == 0 {
            return self.outcome(ix, Status::Aborted, 0);
        }
        let nowait = flags::SPECULATIVE | flags::BLOCK_NOWAIT;
        let behind_group = found.behind_group
            || (w.key.mode == Mode::Group && self.bits_group_waiter(w.gid).is_some());
        if behind_group && req & nowait != 0 {
            return Err(EAGAIN);
        }
        self.set_waiting(ix);
        self.notify_bits(ix, &w, env);
        self.outcome(ix, Status::Waiting, flags::BLOCK_GRANTED)
    }

    fn grant_bits(&mut self, ix: u32, try_bits: u64, env: &mut Env<'_>) -> Result<Enqueued> {
        let changed = self.settle_bits(ix, try_bits);
        self.set_granted(ix);
        self.check_waiters(ix, env);
        let flags = if changed { flags::LOCK_CHANGED } else { 0 };
        self.outcome(ix, Status::Granted, flags)
    }

    /// Makes the wishes that can be fulfilled part of the lock. True if there were any.
    fn settle_bits(&mut self, ix: u32, try_bits: u64) -> bool {
        if let Some(l) = self.slab.get_mut(ix) {
            if let (Policy::Ibits(p), Policy::Ibits(r)) = (&mut l.policy, l.req) {
                p.bits = r.bits | try_bits;
                p.try_bits = 0;
                return r.try_bits != 0;
            }
        }
        false
    }

    /// Tells all holders in the way that have not been told.
    fn notify_bits(&mut self, ix: u32, w: &Wish, env: &Env<'_>) {
        let Some(by) = self.as_blocker(ix) else {
            return;
        };
        let mut leader = None;
        while let Some(g) = self.groups.next_leader(self.granted_groups, leader) {
            leader = Some(g);
            let key = self.groups.key(g);
            if key.mode == Mode::Group || key.bits & w.bits == 0 || !w.conflicts(&key) {
                continue;
            }
            let mut at = Some(g);
            while let (Some(holder), true) = (at, self.groups.untold(g) > 0) {
                self.notify(holder, &by, env);
                at = self.groups.next_member(holder);
            }
        }
    }

    /// Grants what has become grantable. Groups are tried in the order of their first members; if
    /// that one is blocked, so are those behind it.
    pub(super) fn reprocess_bits(&mut self, env: &mut Env<'_>) {
        self.scan = self.scan.wrapping_add(1);
        let scan = self.scan;
        while let Some((ix, pos)) = self.first_unmarked(scan) {
            let Some(w) = self.bits_wish(ix) else { return };
            let found = self.bits_test(&w, pos);
            if found.blocked {
                self.groups.set_mark(ix, scan);
                continue;
            }
            self.grant_waiting_bits(ix, found.try_bits, env);
        }
    }

    fn grant_waiting_bits(&mut self, ix: u32, try_bits: u64, env: &mut Env<'_>) {
        let _ = self.unset_waiting(ix);
        self.settle_bits(ix, try_bits);
        self.set_granted(ix);
        self.announce(ix);
        self.check_waiters(ix, env);
    }

    fn first_unmarked(&self, scan: u32) -> Option<(u32, u64)> {
        let mut best: Option<(u32, u64)> = None;
        let mut leader = None;
        while let Some(g) = self.groups.next_leader(self.waiting_groups, leader) {
            leader = Some(g);
            let Some(l) = self.slab.get(g) else { continue };
            if self.groups.mark(g) != scan && best.is_none_or(|b| l.pos < b.1) {
                best = Some((g, l.pos));
            }
        }
        best
    }
}
